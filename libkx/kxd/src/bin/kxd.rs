//! kxd: the key exchange daemon. See kxd(1).
#![forbid(unsafe_code)]

use std::process::ExitCode;

use kx_sys::wiping_alloc::WipingAllocator;

/// Copies of keys in buffers that are not ours end with those buffers.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let argv0 = args.next().unwrap_or_else(|| "kxd".into());
    kxd::server::run(&argv0, args)
}
