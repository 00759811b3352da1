//! What the program must do or know.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::journal::Record;
use crate::kernel::Request;

/// One thing for the program, in the order in which they happened.
pub enum Event {
    /// A line to log.
    Log(Record),
    /// Something for the kernel.
    Kernel(Request),
    /// A message to the packet capture, in clear with the ENC flag cleared (isakmpd.md "Packet capture").
    /// Only made while `Engine::set_capture(true)`.
    Capture(Captured),
    /// The last SA and the last message of a shutdown are gone.
    Drained,
}

/// A message for the capture file.
pub struct Captured {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who was to get it.
    pub to: SocketAddr,
    /// The message in clear.
    pub octets: Vec<u8>,
}

/// Whom an address means, whatever the port: link-local addresses say so only together with their link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The interface of a link-local IPv6 address by its number; else 0.
    pub zone: u32,
}

impl Address {
    /// A port of it.
    #[must_use]
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(_) => SocketAddr::new(self.ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.zone).into(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let zone = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(address) => address.scope_id(),
        };
        let ip = address.ip();
        Self { ip, zone }
    }
}

impl From<IpAddr> for Address {
    /// One that is good on every link.
    fn from(ip: IpAddr) -> Self {
        Self { ip, zone: 0 }
    }
}

/// Where a datagram came from, or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Our end: address and port of one of our sockets.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// On the NAT-T port: four zero octets stand before the message (the program strips and adds them).
    pub encapsulated: bool,
}

/// A datagram to send. `keepalive`: the one octet 0xff, without marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// A NAT keepalive: sent as it is.
    pub keepalive: bool,
}
