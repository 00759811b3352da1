//! One host's tcpcrypt: all its connections, the settings of its ports, the requests of its programs.
//!
//! Whoever holds an [`Endpoint`] gives it every packet that comes or goes, every request and the time, and
//! takes from it what to send, to answer, to write into the log, and when to come back.

use std::time::Instant;

use crate::config::Config;
use crate::entropy::Entropy;
use crate::event::Event;
use crate::verdict::{Direction, Verdict};

/// Names the program that sent a request, so that the answer finds it. The holder's own numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Numbers about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections in the handshake.
    pub half_open: usize,
    /// Encrypted connections.
    pub encrypted: usize,
    /// Closed connections whose last segments are still translated.
    pub tombstones: usize,
    /// Sessions that can be resumed.
    pub sessions: usize,
    /// Ports with settings.
    pub ports: usize,
    /// Requests that wait for a handshake.
    pub waiting_requests: usize,
    /// Connections that became encrypted, by a full exchange.
    pub exchanged: u64,
    /// Connections that became encrypted, by resumption.
    pub resumed: u64,
    /// Connections that we tried to encrypt and that became plain.
    pub plain: u64,
    /// Connections that were reset by us.
    pub reset: u64,
}

/// tcpcrypt of one host.
pub struct Endpoint {
    _config: Config,
    _entropy: Box<dyn Entropy + Send>,
}

impl Endpoint {
    /// An endpoint without connections. `entropy` is where nonces and keys come from.
    #[must_use]
    pub fn new(config: Config, entropy: Box<dyn Entropy + Send>, _now: Instant) -> Self {
        Self {
            _config: config,
            _entropy: entropy,
        }
    }

    /// Decides about a packet, an IP packet from its first octet on. With [`Verdict::Replace`] the whole
    /// packet to be sent in its place was appended to `out`; else `out` is as it was.
    pub fn handle_packet(
        &mut self,
        _now: Instant,
        _direction: Direction,
        _packet: &[u8],
        _out: &mut Vec<u8>,
    ) -> Verdict {
        Verdict::Accept
    }

    /// Appends the next packet to be sent by ourselves. [`Direction::Out`] is for the wire, [`Direction::In`]
    /// for this host's own TCP. To be called until there is none, after each of the other calls.
    pub fn poll_transmit(&mut self, _out: &mut Vec<u8>) -> Option<Direction> {
        None
    }

    /// Takes a request of the control socket. What is not one is dropped.
    pub fn handle_control(&mut self, _now: Instant, _client: ClientId, _datagram: &[u8]) {}

    /// Appends the next answer, which may come long after the request.
    pub fn poll_control(&mut self, _out: &mut Vec<u8>) -> Option<ClientId> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due at `now`. Early and late calls do no harm.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Resets every encrypted connection, at both ends: the packets come from
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn shutdown(&mut self) {}

    /// Numbers for a dump of the state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
