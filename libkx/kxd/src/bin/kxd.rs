//! kxd: the key exchange daemon. See kxd(1).
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let argv0 = args.next().unwrap_or_else(|| "kxd".into());
    kxd::server::run(&argv0, args)
}
