//! IP packets with TCP inside: read where they lie, written with complete checksums.

pub mod checksum;
mod flags;
mod fresh;
pub mod options;
mod rewrite;
mod view;

use std::net::SocketAddr;

pub use flags::Flags;
pub use fresh::Fresh;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourTuple {
    /// This host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}
