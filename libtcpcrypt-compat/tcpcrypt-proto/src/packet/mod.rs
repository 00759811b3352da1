//! IP packets with TCP inside: read where they lie, written with complete checksums.

pub mod checksum;
mod flags;
mod fresh;
mod notes;
pub mod options;
mod rewrite;
mod view;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

pub use flags::Flags;
pub use fresh::Fresh;
pub use notes::{Checksum, Notes};
pub use options::OptionBuf;
pub use rewrite::Rewrite;
pub use view::{ParseError, View};

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
