//! What is remembered of peers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Known;

#[derive(Debug)]
struct Entry {
    known: Known,
    since: Instant,
    /// Its place in the order.
    place: u64,
}

/// What is known of peers, for an hour each. Bounded: the oldest knowledge makes room for the newest.
#[derive(Debug, Default)]
pub struct Memory {
    peers: BTreeMap<IpAddr, Entry>,
    /// The key counts up, so the first is the oldest.
    order: BTreeMap<u64, IpAddr>,
    stored: u64,
}

impl Memory {
    /// Peers remembered at most.
    pub const CAPACITY: usize = 16384;

    /// How long.
    pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

    /// What is known of a peer at `now`.
    #[must_use]
    pub fn known(&self, peer: IpAddr, now: Instant) -> Option<Known> {
        let entry = self.peers.get(&peer)?;
        (now.saturating_duration_since(entry.since) < Self::LIFETIME).then_some(entry.known)
    }

    /// Remembers it in place of what was known before.
    pub fn learn(&mut self, peer: IpAddr, known: Known, now: Instant) {
        let entry = Entry {
            known,
            since: now,
            place: self.stored,
        };
        self.stored = self.stored.wrapping_add(1);
        self.order.insert(entry.place, peer);
        if let Some(old) = self.peers.insert(peer, entry) {
            self.order.remove(&old.place);
        }
        while let Some((&place, &peer)) = self.order.first_key_value() {
            let expired = self.known(peer, now).is_none();
            if !expired && self.order.len() <= Self::CAPACITY {
                break;
            }
            self.order.remove(&place);
            self.peers.remove(&peer);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.peers.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::super::Known;
    use super::Memory;
    use crate::eno::Kind;

    const STANDARD: Known = Known::Speaks(Kind::Standard);

    fn peer(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn for_an_hour() {
        let now = Instant::now();
        let mut memory = Memory::default();
        assert_eq!(memory.known(peer(1), now), None);
        memory.learn(peer(1), STANDARD, now);
        let nearly = now + Memory::LIFETIME - Duration::from_millis(1);
        assert_eq!(memory.known(peer(1), nearly), Some(STANDARD));
        assert_eq!(memory.known(peer(2), nearly), None);
        assert_eq!(memory.known(peer(1), now + Memory::LIFETIME), None);
        memory.learn(peer(1), Known::DeclinedStandard, nearly);
        // The older entry's end is not this one's.
        memory.learn(peer(2), STANDARD, now + Memory::LIFETIME);
        let later = now + Memory::LIFETIME;
        assert_eq!(memory.known(peer(1), later), Some(Known::DeclinedStandard));
        assert_eq!((memory.order.len(), memory.peers.len()), (2, 2));
        memory.learn(peer(3), STANDARD, later + Memory::LIFETIME);
        assert_eq!((memory.order.len(), memory.peers.len()), (1, 1));
        memory.clear();
        assert_eq!((memory.order.len(), memory.peers.len()), (0, 0));
    }

    #[test]
    fn bounded() {
        let now = Instant::now();
        let mut memory = Memory::default();
        for number in 0..Memory::CAPACITY + 10 {
            let at = now + Duration::from_micros(u64::try_from(number).unwrap());
            memory.learn(peer(number), STANDARD, at);
        }
        assert_eq!(memory.peers.len(), Memory::CAPACITY);
        assert_eq!(memory.known(peer(9), now), None);
        assert_eq!(memory.known(peer(10), now), Some(STANDARD));
        let later = now + Duration::from_secs(1);
        for _ in 0..100 {
            memory.learn(peer(10), STANDARD, later);
        }
        // A peer that is met often pushes nobody out.
        assert_eq!(memory.order.len(), Memory::CAPACITY);
        assert_eq!(memory.known(peer(10), later), Some(STANDARD));
        assert_eq!(memory.known(peer(11), later), Some(STANDARD));
    }
}
