//! `make bench`: kxd and the original side by side, whole processes, in one run.
//!
//! Each subject gets the same certificates, the same key of 2048 octets, its log in a file, and the
//! same load (ApacheBench, 8 connections) over loopback. Subjects take turns within a round, so that what else
//! the machine does hits both. CPU time is the scheduler's own (nanoseconds, all threads of the
//! server); the client's is not in it. Printed are medians over the rounds, and ratios to the first
//! subject.
//!
//! usage: kx-bench [-rounds N] [-quick] NAME=DIRECTORY...

mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Figures;
use server::{Setup, Subject};

/// Fresh connections, keep-alive requests, idle connections per round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    fresh: usize,
    keep_alive: usize,
    idle: usize,
}

/// Clients that ask at the same time.
pub(crate) const CLIENTS: usize = 8;

fn main() -> ExitCode {
    let mut rounds = 3;
    let mut amounts = Amounts {
        fresh: 2400,
        keep_alive: 40_000,
        idle: 1000,
    };
    let mut subjects = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(word) = args.next() {
        match word.as_str() {
            "-rounds" => rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            "-quick" => {
                amounts = Amounts {
                    fresh: 400,
                    keep_alive: 4000,
                    idle: 200,
                }
            }
            _ => match word.split_once('=') {
                Some((name, dir)) => {
                    subjects.push(Subject {
                        name: name.to_owned(),
                        bin: PathBuf::from(dir),
                    });
                }
                None => {
                    eprintln!("usage: kx-bench [-rounds N] [-quick] NAME=DIRECTORY...");
                    return ExitCode::from(2);
                }
            },
        }
    }
    match run(&subjects, rounds, amounts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("kx-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    subjects: &[Subject],
    rounds: usize,
    amounts: Amounts,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let setup = Setup::make()?;
    let mut all: Vec<Vec<Figures>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for (subject, figures) in subjects.iter().zip(&mut all) {
            report::progress(&format!("round {round}/{rounds}: {}", subject.name));
            figures.push(server::measure(&setup, subject, amounts)?);
        }
    }
    report::progress("");
    print!("{}", report::table(subjects, &all, amounts));
    Ok(())
}
