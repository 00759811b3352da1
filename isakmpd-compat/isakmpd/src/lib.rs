//! isakmpd(8) as a library: everything but `main`, so that tests reach it.
//!
//! The protocol is in `ike`, the configuration in `isakmpd-conf`; here are the command line, the FIFO, the
//! sockets, the log and what needs root.
#![forbid(unsafe_code)]

pub mod capture;
pub mod certpatch;
pub mod check;
pub mod confinement;
pub mod daemon;
mod der;
pub mod fifo;
pub mod files;
pub mod host;
pub mod kernel;
pub mod log;
pub mod monitor;
pub mod options;
pub mod pid_file;
pub mod pki;
pub mod policy;
pub mod random;
pub mod reload;
pub mod results;
mod scan;
pub mod sockets;
pub mod startup;
pub mod workers;

use std::ffi::{OsStr, OsString};
use std::io::Write;

use log::Log;
use options::{Options, Stop, usage};

/// What `--version` says.
const VERSION: &str = concat!("isakmpd (kx) ", env!("CARGO_PKG_VERSION"), "\n");

/// Runs the program; returns its exit status. `posix`: the variable `POSIXLY_CORRECT` is there.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>, posix: bool) -> u8 {
    let argv0 = arguments.next().unwrap_or_else(|| "isakmpd".into());
    let root = rustix::process::getuid().is_root();
    let log = std::rc::Rc::new(Log::stderr(root));
    let parsed = Options::parse(arguments.collect(), posix);
    let levels = match &parsed {
        Ok(options) => &options.levels,
        Err((_, levels)) => levels,
    };
    for level in levels {
        if !log.apply(level) {
            if let options::Level::Wrong(text) = level {
                log.print(format!("parse_args: -D argument unparseable: {text}"));
            }
        }
    }
    match parsed {
        Err((stop, _)) => stopped(&argv0, &stop),
        Ok(options) if options.check => check::run(&options),
        Ok(options) => startup::run(options, &log),
    }
}

fn stopped(argv0: &OsStr, stop: &Stop) -> u8 {
    // Nobody is left to be told of a closed output.
    match stop {
        Stop::Help => {
            let _ = std::io::stdout().write_all(&usage(argv0));
            return 0;
        }
        Stop::Version => {
            let _ = std::io::stdout().write_all(VERSION.as_bytes());
            return 0;
        }
        Stop::Getopt(error) => {
            let _ = std::io::stderr().write_all(&error.line(argv0));
            let _ = std::io::stderr().write_all(&usage(argv0));
        }
        Stop::Operand => {
            let _ = std::io::stderr().write_all(&usage(argv0));
        }
    }
    1
}
