//! `kx-sc-hsm-tool`: a drop-in for OpenSC's sc-hsm-tool.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use kx_hsm::sc_hsm_tool;
use kx_hsm::sc_hsm_tool::console::Streams;

fn main() -> ExitCode {
    // PINs and shares pass through. Where it is not allowed the program is still of use.
    let _ = kx_sys::hardening::forbid_core_dumps();
    let mut words = std::env::args_os();
    let argv0 = words.next().unwrap_or_default();
    let Ok(mut console) = Streams::standard() else {
        return ExitCode::FAILURE;
    };
    let status = sc_hsm_tool::run(&argv0, words, &|name| std::env::var_os(name), &mut console);
    ExitCode::from(status)
}
