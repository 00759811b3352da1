//! kxc: fetches one key from a kxd server and prints it.
//!
//! Command line, texts and exit codes are the original's (kxd spec sections 1 and 8); the flags for
//! several servers, retries and time limits are ours.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kx_cli::goflag::{self, Flag, Kind, Parsed};
use kx_log::golog::stderr_octets;
use kx_log::goquote::quote;
use kxc::{ClientBuilder, FetchError, PemSource, SecretBytes};

const FLAGS: [Flag; 8] = [
    Flag {
        name: "client_cert",
        kind: Kind::String(""),
        usage: "File containing the client certificate",
    },
    Flag {
        name: "client_key",
        kind: Kind::String(""),
        usage: "File containing the client private key",
    },
    Flag {
        name: "connect_timeout",
        kind: Kind::Duration(0),
        usage: "Limit for reaching one server; 0 is 10s with -retry or -fallback_urls, else none",
    },
    Flag {
        name: "fallback_urls",
        kind: Kind::String(""),
        usage: "More URLs to ask if the first gives no key, separated by spaces",
    },
    Flag {
        name: "retry",
        kind: Kind::Duration(0),
        usage: "How long to go on trying while no server can be reached",
    },
    Flag {
        name: "retry_wait",
        kind: Kind::Duration(1_000_000_000),
        usage: "Wait before the second try; doubles up to 10s",
    },
    Flag {
        name: "server_cert",
        kind: Kind::String(""),
        usage: "File containing valid server certificate(s)",
    },
    Flag {
        name: "timeout",
        kind: Kind::Duration(0),
        usage: "Limit for everything; 0 is none",
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| OsString::from("kxc"));
    let parsed = match goflag::parse(&name, &FLAGS, words) {
        Ok(parsed) => parsed,
        Err(stop) => return stop.report(),
    };
    match fetch(&parsed) {
        Ok(key) => print(&key),
        Err(failures) => {
            for failure in failures {
                report(&failure);
            }
            ExitCode::FAILURE
        }
    }
}

fn fetch(flags: &Parsed) -> Result<SecretBytes, Vec<FetchError>> {
    let file = |name| PemSource::File(PathBuf::from(flags.string(name)));
    // A negative duration is as none.
    let duration =
        |name| Duration::from_nanos(u64::try_from(flags.duration(name)).unwrap_or_default());
    let mut settings = ClientBuilder::new();
    settings
        .client_cert(file("client_cert"))
        .client_key(file("client_key"))
        .server_cert(file("server_cert"))
        .timeout(duration("timeout"))
        .retry(duration("retry"))
        .retry_wait(duration("retry_wait"));
    if !duration("connect_timeout").is_zero() {
        settings.connect_timeout(duration("connect_timeout"));
    }
    let client = settings.build().map_err(|e| vec![e])?;
    // The key must not end on a disk; where the system refuses, going on is better than no key.
    // Not before the files are read: the process could then no longer open its own /dev/fd/N.
    let _ = kx_sys::hardening::forbid_core_dumps();
    client.fetch_any(&urls(flags))
}

/// The first word, and what `-fallback_urls` adds. Other words are not looked at, as in the original.
fn urls(flags: &Parsed) -> Vec<&[u8]> {
    let first = flags
        .rest()
        .first()
        .map_or(&b""[..], |word| word.as_bytes());
    let more = OsStr::as_bytes(flags.string("fallback_urls"));
    let more = more
        .split(u8::is_ascii_whitespace)
        .filter(|url| !url.is_empty());
    std::iter::once(first).chain(more).collect()
}

fn report(failure: &FetchError) {
    if let FetchError::HttpStatus {
        status_text, body, ..
    } = failure
    {
        // The body need not be text; it is shown as it came.
        let mut line = format!("HTTP error {} getting key: ", quote(status_text)).into_bytes();
        line.extend_from_slice(body);
        stderr_octets(&line);
    } else {
        stderr_octets(failure.to_string().as_bytes());
    }
}

fn print(key: &SecretBytes) -> ExitCode {
    match Stdout.write_all(key.as_slice()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard output without the library's buffer, which would keep an unwiped copy of the key.
struct Stdout;

impl io::Write for Stdout {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), octets)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
