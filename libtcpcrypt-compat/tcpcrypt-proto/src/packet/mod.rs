//! IP packets with TCP inside: read where they lie, written with complete checksums.

pub mod checksum;
mod flags;
mod fresh;
mod ipv6;
mod notes;
pub mod options;
mod rewrite;
mod too_big;
mod view;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

pub use flags::Flags;
pub use fresh::Fresh;
pub use notes::{Checksum, Notes};
pub use options::OptionBuf;
pub use rewrite::Rewrite;
pub use too_big::TooBig;
pub use view::{ParseError, View, ends_of_refused};

pub use crate::seq::Seq;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the local kernel onto the wire (hook OUTPUT).
    Out,
    /// From the wire to the local kernel (hook INPUT).
    In,
}

/// The two ends of a connection as this host sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FourTuple {
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl FourTuple {
    /// The ends of a packet that goes this way.
    #[must_use]
    pub fn of(source: SocketAddr, destination: SocketAddr, direction: Direction) -> FourTuple {
        let (local, remote) = match direction {
            Direction::Out => (source, destination),
            Direction::In => (destination, source),
        };
        FourTuple { local, remote }
    }

    /// The same, seen on a network interface: link-local addresses mean something on theirs alone, and get its
    /// index as their scope (RFC 4007). 0 is no interface.
    #[must_use]
    pub fn on_interface(mut self, index: u32) -> FourTuple {
        for end in [&mut self.local, &mut self.remote] {
            if let SocketAddr::V6(end) = end {
                if end.ip().is_unicast_link_local() {
                    end.set_scope_id(index);
                }
            }
        }
        self
    }

    /// The interface that link-local addresses belong to; 0 for others.
    #[must_use]
    pub fn interface(&self) -> u32 {
        let scope = |end: &SocketAddr| match end {
            SocketAddr::V6(end) => end.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        scope(&self.remote).max(scope(&self.local))
    }
}

/// Two words where the derived one has a dozen pieces: every packet is looked up several times.
impl Hash for FourTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u32::from(self.local.port()) << 16 | u32::from(self.remote.port());
        match (self.local.ip(), self.remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addresses = u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits());
                state.write_u64(addresses);
                state.write_u64(u64::from(ports));
            }
            (local, remote) => {
                local.hash(state);
                remote.hash(state);
                state.write_u32(ports);
            }
        }
    }
}
