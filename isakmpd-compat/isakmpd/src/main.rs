//! isakmpd(8), the ISAKMP/IKEv1 key management daemon.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let posix = std::env::var_os("POSIXLY_CORRECT").is_some();
    ExitCode::from(isakmpd::run(std::env::args_os(), posix))
}
