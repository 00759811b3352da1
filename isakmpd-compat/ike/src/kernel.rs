//! What the engine wants of the kernel. Requests leave as events, answers come back as inputs;
//! `-n`, the recording fake, XFRM and PF_KEY answer them in the program.

use std::net::SocketAddr;
use std::time::Duration;

use isakmp_proto::identity::Identity;
use kx_secret::SecretBytes;

use crate::sa::Selector;

/// Names a request for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One direction of one protocol.
pub struct SaParameters {
    /// 2 AH, 3 ESP, 4 IPCOMP.
    pub protocol: u8,
    /// As on the wire.
    pub spi: u32,
    /// TRANSFORM_ID (isakmpd-wire 1.4).
    pub transform: u8,
    /// AUTHENTICATION_ALGORITHM attribute; 0: none.
    pub authentication: u16,
    /// Encryption key with its salt where there is one; empty for AH.
    pub encryption_key: SecretBytes,
    /// Authentication key; may be empty.
    pub authentication_key: SecretBytes,
    /// Tunnel mode.
    pub tunnel: bool,
    /// UDP encapsulation: ports of the outer header are those of the addresses.
    pub udp_encapsulation: bool,
    /// Packets.
    pub replay_window: u32,
    /// Hard lifetime.
    pub seconds: Option<u32>,
    /// Hard lifetime.
    pub kilobytes: Option<u32>,
}

/// What a flow of a pair of SAs carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Our side: address, network, protocol and port.
    pub local: Selector,
    /// The peer's side.
    pub remote: Selector,
    /// `NAT-ID` in place of the local side for what goes out.
    pub nat: Option<Selector>,
}

/// Both directions of a suite, ready to be used.
pub struct Installation {
    /// Name of the connection, where it has one.
    pub name: Option<String>,
    /// Ends of the tunnel; ports are those of IKE (for UDP encapsulation).
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// Innermost first, each protocol's incoming SA.
    pub incoming: Vec<SaParameters>,
    /// Innermost first, each protocol's outgoing SA.
    pub outgoing: Vec<SaParameters>,
    /// What they carry.
    pub flow: Flow,
    /// The flow is to be put, too; else it is there already (made on demand), or `-a` leaves it to others.
    pub with_flow: bool,
    /// Phase 1 identities, ours and the peer's.
    pub local_id: Identity,
    /// The peer's.
    pub remote_id: Identity,
}

/// A request.
pub enum Request {
    /// An SPI for an incoming SA; answered by `Engine::handle_spi`.
    AllocateSpi {
        /// For the answer.
        ticket: Ticket,
        /// 2 AH, 3 ESP, 4 IPCOMP.
        protocol: u8,
        /// Destination of the SA.
        local: SocketAddr,
        /// Its source.
        remote: SocketAddr,
    },
    /// An SPI that will not be used.
    ReleaseSpi {
        /// 2 AH, 3 ESP, 4 IPCOMP.
        protocol: u8,
        /// As allocated.
        spi: u32,
        /// Destination of the SA.
        local: SocketAddr,
        /// Its source.
        remote: SocketAddr,
    },
    /// The incoming SAs of a suite that the peer may use before we know that it does: our answer to its offer leaves
    /// after this. `outgoing` is empty. Not answered; what fails here fails again with the whole suite, which follows
    /// as [`Request::Install`], or [`Request::ReleaseSpi`] takes them away.
    InstallIncoming(Box<Installation>),
    /// New SAs; answered by `Engine::handle_installed`. The incoming ones may be there already.
    Install(Ticket, Box<Installation>),
    /// SAs to remove, with their flow unless a newer SA has it.
    Remove {
        /// Ends.
        local: SocketAddr,
        /// The peer.
        remote: SocketAddr,
        /// Protocol, incoming SPI, outgoing SPI.
        protocols: Vec<(u8, u32, u32)>,
        /// To be removed, too.
        flow: Option<Flow>,
    },
    /// SAs in UDP whose peer has another port now, at the same address. Not answered.
    Move {
        /// Our end.
        local: SocketAddr,
        /// Where the peer was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
        /// Protocol, incoming SPI, outgoing SPI.
        protocols: Vec<(u8, u32, u32)>,
    },
    /// When did the SA carry traffic last? Answered by `Engine::handle_last_use`.
    LastUse {
        /// For the answer.
        ticket: Ticket,
        /// 2 AH, 3 ESP.
        protocol: u8,
        /// Incoming SPI.
        spi: u32,
        /// Destination of the SA.
        local: SocketAddr,
        /// Its source.
        remote: SocketAddr,
    },
}

/// An SA of the kernel ran out (soft or hard).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expire {
    /// 2 AH, 3 ESP, 4 IPCOMP.
    pub protocol: u8,
    /// As on the wire.
    pub spi: u32,
    /// Destination of the SA: ours for an incoming one.
    pub destination: std::net::IpAddr,
    /// Gone already.
    pub hard: bool,
    /// Ever used.
    pub used: bool,
}

/// A packet of an incoming SA in UDP, which the kernel found authentic, came from another place than the SA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// 3 ESP.
    pub protocol: u8,
    /// As on the wire.
    pub spi: u32,
    /// Where the SA has the peer.
    pub old: SocketAddr,
    /// Where the packet came from.
    pub new: SocketAddr,
}

/// Answer to [`Request::LastUse`]: how long ago; `None`: never, or not known.
pub type Idle = Option<Duration>;
