//! `-n`: the kernel takes no part.

use std::net::SocketAddr;

use ike::kernel::{Flow, Idle, Installation};

use super::{Kernel, random_spi};

/// Random SPIs, and nothing else.
#[derive(Debug, Default)]
pub struct NoKernel;

impl Kernel for NoKernel {
    fn allocate_spi(&mut self, protocol: u8, _: SocketAddr, _: SocketAddr) -> Option<u32> {
        random_spi(protocol)
    }

    fn release_spi(&mut self, _: u8, _: u32, _: SocketAddr, _: SocketAddr) {}

    fn install(&mut self, _: &Installation) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self, _: SocketAddr, _: SocketAddr, _: &[(u8, u32, u32)], _: Option<&Flow>) {}

    fn last_use(&mut self, _: u8, _: u32, _: SocketAddr, _: SocketAddr) -> Idle {
        None
    }
}
