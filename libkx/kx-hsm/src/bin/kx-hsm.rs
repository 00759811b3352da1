//! `kx-hsm`: key domains of SmartCard-HSMs, for those who keep the keys.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // PINs and shares pass through. Where it is not allowed the program is still of use.
    let _ = kx_sys::hardening::forbid_core_dumps();
    ExitCode::from(kx_hsm::run::run(std::env::args_os().skip(1)))
}
