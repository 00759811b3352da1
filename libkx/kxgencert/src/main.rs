//! `kxgencert`: writes a self-signed certificate and its key (kxd spec 9).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::SystemTime;

use kx_cli::goflag::{self, Flag, Kind};
use kxgencert::{Hosts, Request, files};

const FLAGS: [Flag; 5] = [
    Flag {
        name: "host",
        kind: Kind::String("localhost"),
        usage: "Hostnames/IPs to generate the certificate for (comma separated)",
    },
    Flag {
        name: "validfor",
        kind: Kind::Duration(87_600 * 3_600 * 1_000_000_000),
        usage: "How long will the certificate be valid for (default: 10y)",
    },
    Flag {
        name: "organization",
        kind: Kind::String(""),
        usage: "Organization to use in the certificate, useful for debugging",
    },
    Flag {
        name: "cert",
        kind: Kind::String("cert.pem"),
        usage: "Where to write the generated certificate",
    },
    Flag {
        name: "key",
        kind: Kind::String("key.pem"),
        usage: "Where to write the generated key",
    },
];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let argv0 = args.next().unwrap_or_default();
    match run(&argv0, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn run(argv0: &OsString, args: impl Iterator<Item = OsString>) -> Result<(), ExitCode> {
    let flags = goflag::parse(argv0, &FLAGS, args).map_err(|stop| stop.report())?;
    let request = Request {
        organization: flags.string("organization").as_bytes(),
        hosts: Hosts::from_list(flags.string("host").as_bytes()),
        now: SystemTime::now(),
        valid_for: flags.duration("validfor"),
    };
    let pair = kxgencert::generate(&request).map_err(|error| fail(error.to_string().as_bytes()))?;
    files::write(&pair, flags.string("cert"), flags.string("key"))
        .map_err(|error| fail(error.message()))
}

/// Errors go to stdout, as the original's do.
fn fail(message: &[u8]) -> ExitCode {
    // With stdout closed the exit code still tells.
    let _ = io::stdout().write_all(&[message, b"\n"].concat());
    ExitCode::FAILURE
}
