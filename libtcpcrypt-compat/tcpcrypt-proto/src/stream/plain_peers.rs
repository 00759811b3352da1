//! Who answered without ENO lately: a proxy leaves connections to such peers alone.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Peers remembered at most.
const CAPACITY: usize = 4096;

/// How long.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The memory: addresses with ports, since each port may be somebody else behind one address.
#[derive(Default)]
pub(crate) struct PlainPeers {
    since: HashMap<SocketAddr, Instant>,
    /// Oldest first; an entry counts if the map has the same instant.
    order: VecDeque<(Instant, SocketAddr)>,
}

impl PlainPeers {
    pub(crate) fn remember(&mut self, peer: SocketAddr, now: Instant) {
        self.expire(now);
        while self.order.len() >= CAPACITY {
            self.forget_oldest();
        }
        self.since.insert(peer, now);
        self.order.push_back((now, peer));
    }

    pub(crate) fn forget(&mut self, peer: &SocketAddr) {
        self.since.remove(peer);
    }

    pub(crate) fn knows(&mut self, peer: &SocketAddr, now: Instant) -> bool {
        self.expire(now);
        self.since.contains_key(peer)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            if now.saturating_duration_since(*since) < LIFETIME {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((since, peer)) = self.order.pop_front() {
            if self.since.get(&peer) == Some(&since) {
                self.since.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use super::{CAPACITY, LIFETIME, PlainPeers};

    fn peer(number: usize) -> SocketAddr {
        let [_, a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
        SocketAddr::from(([10, a, b, c], 80))
    }

    #[test]
    fn bounded_in_number_and_time() {
        let start = Instant::now();
        let mut peers = PlainPeers::default();
        for number in 0..CAPACITY * 2 {
            peers.remember(peer(number), start);
        }
        assert!(peers.since.len() <= CAPACITY && peers.order.len() <= CAPACITY);
        assert!(!peers.knows(&peer(0), start));
        assert!(peers.knows(&peer(CAPACITY * 2 - 1), start));
        peers.remember(peer(1), start + LIFETIME / 2);
        let later = start + LIFETIME + Duration::from_secs(1);
        assert!(peers.knows(&peer(1), later));
        assert!(!peers.knows(&peer(CAPACITY * 2 - 1), later));
        peers.forget(&peer(1));
        assert!(!peers.knows(&peer(1), later));
    }

    #[test]
    fn seen_again_stays_longer() {
        let start = Instant::now();
        let mut peers = PlainPeers::default();
        peers.remember(peer(1), start);
        peers.remember(peer(1), start + LIFETIME / 2);
        assert!(peers.knows(&peer(1), start + LIFETIME));
    }
}
