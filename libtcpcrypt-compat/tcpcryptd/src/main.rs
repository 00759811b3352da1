//! The tcpcrypt daemon. See tcpcryptd(8).
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
    ExitCode::from(tcpcryptd::run(std::env::args_os(), posix))
}
