//! Where SAs and flows are put (isakmpd 6). The engine asks, one of these answers.

mod database;
mod fake;
mod flow;
mod ipsec;
mod none;
mod pf_key;
mod sa;
mod xfrm;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use ike::kernel::{Expire, Flow, Idle, Installation, Mapping};
use isakmpd_conf::acquire::Acquire;
use kx_sys::xfrm::Selector;

pub use database::{Database, Found, Name};
pub use fake::Fake;
pub use ipsec::{Ipsec, MARK};
pub use none::NoKernel;
pub use pf_key::{PfKey, REQIDS as PF_KEY_REQIDS};
pub use xfrm::{REQIDS as XFRM_REQIDS, Xfrm};

/// The environment variable that names the file of [`Fake`]. It counts only together with `-n`.
pub const FAKE_VARIABLE: &str = "KX_ISAKMPD_FAKE_KERNEL";

/// The environment variable that names the one interface to be used, `xfrm` or `pfkey`, in place of the first that is
/// to be had.
pub const INTERFACE_VARIABLE: &str = "KX_ISAKMPD_KERNEL";

/// Something that the kernel tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An SA ran out.
    Expire(Expire),
    /// A peer behind a NAT has another place.
    Mapping(Mapping),
    /// A packet found the flow of the connection of this name, and no SA.
    Lost(String),
    /// A packet wants what somebody else's policy says.
    Acquire(Box<Acquired>),
}

/// A question of the kernel's about a policy that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquired {
    /// The connection that was made for the same question before.
    pub known: Option<String>,
    /// What the SAs must have, so that the policy finds them.
    pub reqid: u32,
    /// The policy's traffic.
    pub selector: Selector,
    /// For the connection.
    pub question: Acquire,
}

/// A kernel.
pub trait Kernel {
    /// An SPI for an SA from `remote` to `local`. None: there is none.
    fn allocate_spi(&mut self, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<u32>;

    /// An SPI that is not wanted any more.
    fn release_spi(&mut self, protocol: u8, spi: u32, local: SocketAddr, remote: SocketAddr);

    /// The ways in of a suite that is not whole yet. What fails here fails again with [`Kernel::install`], or is
    /// released.
    fn install_incoming(&mut self, installation: &Installation) {
        let _ = installation;
    }

    /// New SAs and their flow. Ways in may be there already.
    ///
    /// # Errors
    /// What is to be logged; nothing is installed then.
    fn install(&mut self, installation: &Installation) -> Result<(), String>;

    /// SAs to remove: protocol, incoming SPI, outgoing SPI; and their flow.
    fn remove(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        protocols: &[(u8, u32, u32)],
        flow: Option<&Flow>,
    );

    /// SAs in UDP (protocol, incoming SPI, outgoing SPI) whose peer has another port now, at the same address.
    fn move_peer(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
        protocols: &[(u8, u32, u32)],
    ) {
        let _ = (local, from, to, protocols);
    }

    /// How long ago traffic came in by the SA.
    fn last_use(&mut self, protocol: u8, spi: u32, local: SocketAddr, remote: SocketAddr) -> Idle;

    /// A connection was written for a question of the kernel's.
    fn acquired(&mut self, connection: &str, acquired: &Acquired) {
        let _ = (connection, acquired);
    }

    /// What becomes readable when there are notices.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The notices that came.
    fn notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}

/// Number of IPComp among the protocols; its SPIs have 16 bits.
const IPCOMP: u8 = 4;

/// An SPI at random, among those that are nobody's by agreement (RFC 4303 2.1, RFC 3173 3.3).
fn random_spi(protocol: u8) -> Option<u32> {
    let mut octets = [0; 4];
    kx_crypto::random::fill(&mut octets).ok()?;
    let number = u32::from_be_bytes(octets);
    Some(match protocol {
        IPCOMP => 0x100 + number % (0xf000 - 0x100),
        _ => number.max(0x100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_are_in_their_range() {
        for _ in 0..1000 {
            assert!(random_spi(3).expect("random") >= 0x100);
            assert!((0x100..0xf000).contains(&random_spi(IPCOMP).expect("random")));
        }
    }
}
