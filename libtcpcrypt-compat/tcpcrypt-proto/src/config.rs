//! What the daemon's options decide, and the bounds that keep hostile input from growing anything.

use std::time::Duration;

use kx_crypto::aead::Algorithm;

use crate::dialect::Policy;
use crate::eno::{Kind, Tep};
use crate::rfc8548::frame::KeyLimits;

/// How an endpoint behaves (options of tcpcryptd, tcpcrypt spec 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Without it new connections pass untouched (`-d` clears it). Those that are encrypted go on.
    pub enabled: bool,
    /// Sessions are stored and resumed (`-c` clears it).
    pub session_cache: bool,
    /// INIT messages are sent again by timer (`-i` clears it). Bounds in time hold without it, too.
    pub timers: bool,
    /// The key exchange that moves to the front of what is offered (`-C`).
    pub prefer: Option<Tep>,
    /// The ciphers offered in INIT1 in the original's dialect, the preferred one first. As a server we follow the
    /// client's order.
    pub ciphers: [Algorithm; 2],
    /// Which dialects are spoken (`--eno`). The default here is what the original does.
    pub eno: Policy,
    /// The ciphers of the standard, the preferred one first: in this order host A offers them, and host B chooses.
    pub standard_ciphers: [Algorithm; 3],
    /// How much is sealed under one key in the standard.
    pub key_limits: KeyLimits,
    /// Events on failed authentication and on connections that end up plain are
    /// [fatal](crate::event::Event::fatal) (`-D`).
    pub debug: bool,
    /// Octets of the longest packet on the path; what is added to an MSS option is derived from it.
    pub mtu: u16,
    /// Key exchanges are reported as events, for test captures (spec 9).
    pub key_log: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            session_cache: true,
            timers: true,
            prefer: None,
            ciphers: [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm],
            eno: Policy::Legacy,
            standard_ciphers: [
                Algorithm::Aes128Gcm,
                Algorithm::Aes256Gcm,
                Algorithm::ChaCha20Poly1305,
            ],
            key_limits: KeyLimits::default(),
            debug: false,
            mtu: 1500,
            key_log: false,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Whether an ENO option of this kind in a SYN says anything to us.
    pub(crate) fn reads(&self, kind: Kind) -> bool {
        match (self.eno, kind) {
            (Policy::Off, _) | (Policy::Legacy, Kind::Standard) => false,
            (Policy::Legacy, Kind::Experimental) | (Policy::Standard | Policy::Auto, _) => true,
        }
    }

    /// Whether the standard is spoken at all.
    pub(crate) fn speaks_standard(&self) -> bool {
        matches!(self.eno, Policy::Standard | Policy::Auto)
    }

    /// Whether new connections may become encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        self.enabled && self.eno != Policy::Off
    }
}

/// How much is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, those in the handshake included. Beyond it new ones are plain.
    pub connections: usize,
    /// Connections in the handshake that others opened to us. The oldest gives way.
    pub half_open: usize,
    /// The same of one remote address, or of one /64 over IPv6, so that one host cannot push out the others.
    pub half_open_per_peer: usize,
    /// How long a handshake may take before it is given up.
    pub handshake: Duration,
    /// Closed connections whose last segments are still translated. The oldest gives way.
    pub tombstones: usize,
    /// How long they are kept after their end and after all that the local TCP still sends: longer than Linux
    /// waits between two attempts (`TCP_RTO_MAX`, 120 s). Whoever forges the acknowledgement that ends a
    /// connection for us can make the local TCP disbelieve it, by timestamps; what that repeats once we have
    /// forgotten would be in the clear.
    pub tombstone_time: Duration,
    /// How long an encrypted connection may be without a packet: as long as Linux's connection tracking waits
    /// (`nf_conntrack_tcp_timeout_established`, five days).
    pub idle: Duration,
    /// Requests that wait for the end of a handshake.
    pub waiting_requests: usize,
    /// How long they wait before they are answered with EBUSY.
    pub request_wait: Duration,
    /// Ports that have settings.
    pub ports: usize,
    /// Events that nobody has read. Later ones are only counted.
    pub events: usize,
    /// Packets that wait for [`poll_transmit`](crate::endpoint::Endpoint::poll_transmit), not counting those
    /// of encrypted connections, which hold them back themselves.
    pub packets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 262_144,
            half_open: 16_384,
            half_open_per_peer: 4096,
            handshake: Duration::from_secs(130),
            tombstones: 65_536,
            tombstone_time: Duration::from_secs(130),
            idle: Duration::from_secs(5 * 24 * 60 * 60),
            waiting_requests: 1024,
            request_wait: Duration::from_secs(4),
            ports: 65_535,
            events: 1024,
            packets: 4096,
        }
    }
}
