//! `make demo`: the main job of every system built so far, live, for a person to read.
//!
//! Everything happens in a temporary directory, on loopback and in network namespaces of its own,
//! with the programs that were just built, and is removed afterwards. Each step prints the command a person would type, what came
//! back, and ends the demo if that is not what it should be.

mod kxd;
mod show;
mod tcpcrypt;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let Some(bin) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: kx-demo DIRECTORY-OF-THE-PROGRAMS");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match kxd::run(&bin).and_then(|()| tcpcrypt::run(&bin)) {
        Ok(()) => {
            show::end(began.elapsed());
            ExitCode::SUCCESS
        }
        Err(e) => {
            show::failed(&e.to_string());
            ExitCode::FAILURE
        }
    }
}
