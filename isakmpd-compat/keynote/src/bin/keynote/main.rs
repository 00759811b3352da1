//! keynote(1): evaluates, signs and verifies KeyNote assertions and makes keys, with the arguments and
//! messages of the original library's command.
#![forbid(unsafe_code)]

mod keygen;
mod print;
mod sign;
mod sigver;
mod verify;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use zeroize::Zeroizing;

/// Octets of a file of assertions or of a key.
const MOST_FILE: u64 = 16 << 20;

/// What ends a subcommand early: lines for standard error, in that order.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }
}

/// Exit status of a subcommand that came to its end.
type Outcome = Result<ExitCode, Failure>;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next();
    let arguments: Vec<OsString> = arguments.collect();
    let outcome = match command.as_ref().and_then(|command| command.to_str()) {
        Some("sign") => sign::run(&arguments),
        Some("sigver") => sigver::run(&arguments),
        Some("verify") => verify::run(arguments),
        Some("keygen") => keygen::run(&arguments),
        _ => Err(Failure::new(USAGE)),
    };
    match outcome {
        Ok(status) => status,
        Err(Failure(text)) => {
            // Nobody is left to be told if this fails.
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "Usage:\n\
    \tsign ...\n\
    \tsigver ...\n\
    \tverify ...\n\
    \tkeygen ...\n\
    Issue one of the commands by itself to get more help, e.g., keynote sign\n";

/// The content of a file.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failure = |error: &io::Error| {
        let text = system_text(error);
        Failure::new(format!("{}: {text}\n", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| failure(&error))?;
    let mut content = Zeroizing::new(Vec::new());
    file.take(MOST_FILE.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| failure(&error))?;
    if content.len() as u64 > MOST_FILE {
        return Err(failure(&io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(content)
}

/// As perror(3) says it.
fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Writes to standard output.
fn show(text: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output
        .write_all(text)
        .and_then(|()| output.flush())
        .map_err(|error| Failure::new(format!("standard output: {}\n", system_text(&error))))
}

/// The name of an algorithm, with the colon that belongs to it.
fn algorithm_name(argument: &std::ffi::OsStr) -> String {
    let name = argument.to_string_lossy();
    if name.ends_with(':') {
        return name.into_owned();
    }
    eprintln!("Algorithm name [{name}] should be terminated with a colon, fixing.");
    format!("{name}:")
}
