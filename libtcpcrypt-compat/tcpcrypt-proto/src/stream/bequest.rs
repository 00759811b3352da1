//! What a stream leaves behind for later connections.

use std::net::IpAddr;
use std::time::Instant;

use crate::cache::Name;
use crate::conn::Unconfirmed;
use crate::endpoint::Endpoint;

/// A session for a later connection, and what was learned of the peer. It belongs to the endpoint's thread: a stream
/// that another one carries is parted from it ([`Stream::part_from_bequest`](super::Stream::part_from_bequest)).
pub struct Bequest {
    /// What is to be remembered of the peer once it has shown that it has the keys.
    later: Option<(IpAddr, Box<Unconfirmed>)>,
    /// The session that the connection leaves behind.
    leaves: Name,
}

impl Bequest {
    pub(super) fn new(later: Option<(IpAddr, Box<Unconfirmed>)>, leaves: Name) -> Self {
        Self { later, leaves }
    }

    /// A record of the peer was genuine ([`Stream::is_authenticated`](super::Stream::is_authenticated)): what was kept
    /// back is remembered, once.
    pub fn confirm(&mut self, host: &mut Endpoint, now: Instant) {
        if let Some((peer, later)) = self.later.take() {
            later.confirm(&mut host.stream_context(now), peer);
        }
    }

    /// Forgets the session that the connection leaves behind (RFC 8548 section 3.5).
    pub fn forget_session(&mut self, host: &mut Endpoint, now: Instant) {
        if let Some((_, later)) = &mut self.later {
            later.forget_session();
        }
        host.stream_context(now).cache.forget(&self.leaves);
    }
}
