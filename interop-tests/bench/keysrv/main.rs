//! `make bench` for keysrv: whole services on loopback, with keys and group of 1024 bits, asked by clients of
//! the tests' own on the same machine. Ours, and the original if `KX_REF_INFERNO` names one, take turns in each
//! round; printed are medians.
//!
//! usage: kx-bench-keysrv [-rounds N] [-quick] DIRECTORY-OF-OURS

mod load;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use interop_tests::inferno::original::original;
use rustix::process::{Resource, getrlimit, setrlimit};

use load::{Amounts, Subject};

fn main() -> ExitCode {
    let mut rounds = 3;
    let mut amounts = Amounts {
        each: Duration::from_secs(3),
        users: 10_000,
        connections: 1000,
    };
    let mut ours: Option<PathBuf> = None;
    let mut args = std::env::args().skip(1);
    while let Some(word) = args.next() {
        match word.as_str() {
            "-rounds" => rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            "-quick" => {
                amounts = Amounts {
                    each: Duration::from_millis(300),
                    users: 1000,
                    connections: 50,
                }
            }
            dir => ours = Some(Path::new(dir).join("inferno-auth")),
        }
    }
    let Some(ours) = ours.filter(|program| program.is_file()) else {
        eprintln!("usage: kx-bench-keysrv [-rounds N] [-quick] DIRECTORY");
        return ExitCode::from(2);
    };
    // A descriptor for each connection, here and there.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, files) {
        eprintln!("kx-bench-keysrv: descriptors: {e}");
    }
    let mut subjects = vec![Subject::Ours(ours)];
    match original() {
        Some(original) => subjects.insert(0, Subject::Original(original)),
        None => println!("KX_REF_INFERNO names no original; it is left out.\n"),
    }
    let mut all = vec![Vec::new(); subjects.len()];
    for round in 1..=rounds {
        for (subject, figures) in subjects.iter().zip(&mut all) {
            eprintln!("round {round}/{rounds}: {}", subject.name());
            figures.push(load::measure(subject, amounts));
        }
    }
    print!("{}", report::table(&subjects, &all, amounts));
    ExitCode::SUCCESS
}
