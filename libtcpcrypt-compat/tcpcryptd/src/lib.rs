//! tcpcryptd as a library: everything but `main`, so that tests reach it.
//!
//! The protocol is in `tcpcrypt-proto`; here are the command line, the way into the kernel and back,
//! the control socket and the giving up of privileges.
#![forbid(unsafe_code)]

pub mod control_socket;
pub mod divert;
pub mod event_loop;
pub mod guard;
pub mod injector;
pub mod key_log;
pub mod log;
pub mod options;
pub mod redirect;
pub mod rule_watch;
pub mod self_tests;
pub mod startup;
pub mod usage;

use std::ffi::OsString;
use std::io::Write;

use log::Log;
use options::{Options, Stop};
use startup::StartError;

/// What a shell says of the original, which aborts when a check of debug mode (`-D`) fails.
const ABORTED: u8 = 128 + 6;

/// Octets of freed memory that stay with the process.
const KEPT_MEMORY: u32 = 4 << 20;

/// Runs the program; returns its exit code. `posix`: the variable `POSIXLY_CORRECT` is there.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>, posix: bool) -> u8 {
    let argv0 = arguments.next().unwrap_or_else(|| "tcpcryptd".into());
    let options = match Options::parse(arguments.collect(), posix) {
        Ok(options) => options,
        Err(stop) => return stopped(&argv0, &stop),
    };
    let mut log = Log::new(&argv0, options.verbosity);
    // Buffers of a busy stream come and go; giving each back costs more than all else about it.
    kx_sys::memory::set_trim_threshold(KEPT_MEMORY);
    match startup::run(&options, &mut log) {
        Ok(()) => 0,
        Err(error) => {
            log.complain(&error);
            log.dump(&[], "");
            match error {
                StartError::Check => ABORTED,
                _ => 1,
            }
        }
    }
}

fn stopped(argv0: &OsString, stop: &Stop) -> u8 {
    let mut out = std::io::stdout().lock();
    // Nobody is left to be told of a closed standard output.
    let mut show = |text: &[u8]| {
        let _ = out.write_all(text).and_then(|()| out.flush());
    };
    match stop {
        Stop::Help => {
            show(&usage::text(argv0));
            return 0;
        }
        Stop::Version => {
            show(usage::VERSION.as_bytes());
            return 0;
        }
        Stop::UnknownWord => show(&usage::text(argv0)),
        Stop::Getopt(error) => {
            let _ = std::io::stderr().write_all(&error.line(argv0));
            show(&usage::text(argv0));
        }
        other => Log::new(argv0, 0).complain(other),
    }
    1
}
