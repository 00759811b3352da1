//! The sessions that can be resumed (tcpcrypt spec 4.4).
//!
//! A session is taken out before it is named in a SYN or accepted, so that no two connections can have it.
//! The connection either enables it, and stores what comes after it, or lets it fall. One that was never
//! enabled may be put back.
//!
//! Everything is bounded: the oldest session makes room for the newest, of its peer if that one has many,
//! and after an hour a session is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::eno::ResumeId;
use crate::legacy::keys::{Role, Session};

/// Sessions held at most.
pub const CAPACITY: usize = 16384;

/// Sessions held at most of one peer in one role: a single host must not push out all others.
pub const PEER_CAPACITY: usize = 1024;

/// How long a session can be resumed.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

struct Entry {
    peer: IpAddr,
    expires: Instant,
    /// In a box, so that the tree moves a pointer about and leaves no copies of keys behind.
    session: Box<Session>,
}

/// Sessions by age, by name, and by role and peer.
#[derive(Default)]
pub struct SessionCache {
    /// The key counts up, so the first is the oldest. Lifetimes are equal, so it is the first to expire as well.
    entries: BTreeMap<u64, Entry>,
    by_name: BTreeMap<(Role, ResumeId), u64>,
    by_peer: BTreeMap<(Role, IpAddr), BTreeSet<u64>>,
    stored: u64,
}

impl SessionCache {
    /// An empty cache. It grows with what it holds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of sessions, those that have expired and were not asked for included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Stores what a later connection with `peer` may use. Our role in it is the session's.
    pub fn put(&mut self, peer: IpAddr, session: Session, now: Instant) {
        self.expire(now);
        let role = session.suite().role;
        let name = (role, session.resume_id());
        // The same name again means the same keys again. That one must not be there twice.
        if let Some(&old) = self.by_name.get(&name) {
            self.remove(old);
        }
        let oldest_of_peer = self
            .by_peer
            .get(&(role, peer))
            .filter(|of_peer| of_peer.len() >= PEER_CAPACITY)
            .and_then(|of_peer| of_peer.first().copied());
        let oldest = || self.entries.keys().next().copied();
        let full = self.entries.len() >= CAPACITY;
        if let Some(old) = oldest_of_peer.or_else(|| oldest().filter(|_| full)) {
            self.remove(old);
        }
        let place = self.stored;
        self.stored = self.stored.wrapping_add(1);
        self.by_name.insert(name, place);
        self.by_peer.entry((role, peer)).or_default().insert(place);
        let entry = Entry {
            peer,
            expires: now.checked_add(LIFETIME).unwrap_or(now),
            session: Box::new(session),
        };
        self.entries.insert(place, entry);
    }

    /// Takes a session for a connection we open to `peer`: the newest, which the peer is likeliest to have too.
    pub fn take_for_peer(&mut self, peer: IpAddr, now: Instant) -> Option<Session> {
        self.expire(now);
        let of_peer = self.by_peer.get(&(Role::Client, peer))?;
        let newest = *of_peer.last()?;
        self.remove(newest)
    }

    /// Takes the session that a client named. Where it connects from does not matter.
    pub fn take_by_id(&mut self, id: &ResumeId, now: Instant) -> Option<Session> {
        self.expire(now);
        let place = *self.by_name.get(&(Role::Server, *id))?;
        self.remove(place)
    }

    /// Forgets all sessions.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_name.clear();
        self.by_peer.clear();
    }

    /// Forgets what has expired. The other methods do so too.
    pub fn expire(&mut self, now: Instant) {
        while let Some((&oldest, entry)) = self.entries.first_key_value() {
            if entry.expires > now {
                break;
            }
            self.remove(oldest);
        }
    }

    fn remove(&mut self, place: u64) -> Option<Session> {
        let Entry { peer, session, .. } = self.entries.remove(&place)?;
        let role = session.suite().role;
        self.by_name.remove(&(role, session.resume_id()));
        let key = (role, peer);
        if let Some(of_peer) = self.by_peer.get_mut(&key) {
            of_peer.remove(&place);
            if of_peer.is_empty() {
                self.by_peer.remove(&key);
            }
        }
        Some(*session)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use kx_crypto::aead::Algorithm;
    use kx_crypto::secret::SecretBytes;

    use super::{CAPACITY, LIFETIME, PEER_CAPACITY, SessionCache};
    use crate::eno::{EnoOption, Tep};
    use crate::legacy::keys::{Exchange, Role, Session};

    fn session(role: Role, number: u32) -> Session {
        let exchange = Exchange {
            syn: &EnoOption::bare(),
            syn_ack: &EnoOption::bare(),
            init1: &number.to_be_bytes(),
            init2: &[],
            client_nonce: &[0; 32],
            shared_secret: &SecretBytes::default(),
        };
        let first = exchange.session(role, Tep::P256, Algorithm::Aes128Gcm);
        first.enable().next
    }

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn taken_once() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        for role in [Role::Client, Role::Server] {
            cache.put(peer(1), session(role, 1), now);
        }
        let id = session(Role::Server, 1).resume_id();
        assert!(cache.take_for_peer(peer(2), now).is_none());
        let client = cache.take_for_peer(peer(1), now).unwrap();
        assert_eq!(client.suite().role, Role::Client);
        assert!(cache.take_for_peer(peer(1), now).is_none());
        assert_eq!(cache.len(), 1);
        let server = cache.take_by_id(&id, now).unwrap();
        assert_eq!(server.suite().role, Role::Server);
        assert!(cache.take_by_id(&id, now).is_none());
        assert!(cache.is_empty() && cache.by_peer.is_empty() && cache.by_name.is_empty());
        cache.put(peer(1), client, now);
        assert!(cache.take_by_id(&id, now).is_none(), "the other way round");
        assert!(cache.take_for_peer(peer(1), now).is_some());
    }

    #[test]
    fn same_keys_are_there_once() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        cache.put(peer(1), session(Role::Server, 1), now);
        cache.put(peer(2), session(Role::Server, 1), now);
        assert_eq!((cache.len(), cache.by_peer.len()), (1, 1));
    }

    #[test]
    fn newest_first() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        for number in 0..3 {
            cache.put(peer(1), session(Role::Client, number), now);
        }
        for number in [2, 1, 0] {
            let taken = cache.take_for_peer(peer(1), now).unwrap();
            assert_eq!(taken.id(), session(Role::Client, number).id());
        }
    }

    #[test]
    fn expires() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        cache.put(peer(1), session(Role::Client, 1), now);
        cache.put(
            peer(1),
            session(Role::Client, 2),
            now + Duration::from_secs(1),
        );
        let nearly = now + LIFETIME - Duration::from_millis(1);
        cache.expire(nearly);
        assert_eq!(cache.len(), 2);
        cache.expire(now + LIFETIME);
        assert_eq!(cache.len(), 1);
        let late = now + LIFETIME + Duration::from_secs(1);
        assert!(cache.take_for_peer(peer(1), late).is_none());
        assert!(cache.is_empty());
    }

    #[test]
    fn bounded() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        let server = |number| session(Role::Server, number);
        for number in 0..u32::try_from(PEER_CAPACITY).unwrap() + 1 {
            cache.put(peer(1), server(number), now);
        }
        assert_eq!(cache.len(), PEER_CAPACITY);
        assert!(cache.take_by_id(&server(0).resume_id(), now).is_none());
        assert!(cache.take_by_id(&server(1).resume_id(), now).is_some());
        for number in 0..u32::try_from(CAPACITY).unwrap() {
            cache.put(peer(2 + number), server(1_000_000 + number), now);
        }
        assert_eq!(cache.len(), CAPACITY);
        assert_eq!(cache.by_name.len(), CAPACITY);
        assert!(cache.take_by_id(&server(2).resume_id(), now).is_none());
        cache.clear();
        assert!(cache.is_empty());
    }
}
