//! `make demo`: the main job of every system built so far, live, for a person to read.
//!
//! Everything happens in a temporary directory, on loopback and in network namespaces of its own,
//! with the programs that were just built, and is removed afterwards. Each step prints the command a person would type, what came
//! back, and ends the demo if that is not what it should be.

mod isakmpd;
mod keysrv;
mod kxd;
mod show;
mod tcpcrypt;
mod vpn;
mod xkek;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use interop_tests::machine;

/// A system's story, told with the programs in a directory.
type System = fn(&Path) -> Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let Some(bin) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: kx-demo DIRECTORY-OF-THE-PROGRAMS [SYSTEM]");
        return ExitCode::from(2);
    };
    // One system alone, for whoever works on it.
    let only = std::env::args().nth(2);
    let began = Instant::now();
    let systems: [(&str, System); 6] = [
        ("kxd", kxd::run),
        ("tcpcrypt", tcpcrypt::run),
        ("isakmpd", isakmpd::run),
        ("keysrv", keysrv::run),
        ("xkek", xkek::run),
        ("vpn", vpn::run),
    ];
    let mut wanted = systems.iter().filter(|(name, _)| match &only {
        Some(only) => only == name,
        // Minutes, not seconds.
        None => *name != "vpn",
    });
    match wanted.try_for_each(|(_, run)| run(&bin)) {
        Ok(()) => {
            // Whoever started that machine says the last word.
            if !machine::is_inside() {
                show::end(began.elapsed());
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            show::failed(&e.to_string());
            ExitCode::FAILURE
        }
    }
}
