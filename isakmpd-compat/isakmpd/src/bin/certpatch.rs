//! certpatch(8): puts a subjectAltName into a certificate and signs it again.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
    let run = isakmpd::certpatch::run(std::env::args_os(), posix, &mut std::io::stdout());
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::stderr().write_all(error.to_string().as_bytes());
            ExitCode::FAILURE
        }
    }
}
