//! The sessions that can be resumed, of the original's dialect (tcpcrypt spec 4.4) and of the standard (7.4).
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

use crate::eno::{ResumeId, Tep};
use crate::legacy::keys::{Role, Session};
use crate::rfc8548::keys as standard;

/// Sessions held at most.
pub const CAPACITY: usize = 16384;

/// Sessions held at most of one peer in one role: a single host must not push out all others.
pub const PEER_CAPACITY: usize = 1024;

/// How long a session can be resumed.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Which sessions a connection may choose from. In the standard either host may resume any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Legacy(Role),
    Standard,
}

/// A session, in a box, so that the tree moves a pointer about and leaves no copies of keys behind.
enum Stored {
    Legacy(Box<Session>),
    Standard(Box<standard::Session>),
}

impl Stored {
    fn scope(&self) -> Scope {
        match self {
            Stored::Legacy(session) => Scope::Legacy(session.suite().role),
            Stored::Standard(_) => Scope::Standard,
        }
    }

    /// What the peer asks for it by.
    fn name(&self) -> ResumeId {
        match self {
            Stored::Legacy(session) => session.resume_id(),
            Stored::Standard(session) => session.asked_by(),
        }
    }

    fn legacy(self) -> Option<Session> {
        match self {
            Stored::Legacy(session) => Some(*session),
            Stored::Standard(_) => None,
        }
    }

    fn standard(self) -> Option<standard::Session> {
        match self {
            Stored::Standard(session) => Some(*session),
            Stored::Legacy(_) => None,
        }
    }
}

/// Which session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(Scope, ResumeId);

impl From<&Session> for Name {
    fn from(session: &Session) -> Self {
        Name(Scope::Legacy(session.suite().role), session.resume_id())
    }
}

impl From<&standard::Session> for Name {
    fn from(session: &standard::Session) -> Self {
        Name(Scope::Standard, session.asked_by())
    }
}

struct Entry {
    peer: IpAddr,
    expires: Instant,
    session: Stored,
}

/// Sessions by age, by name, and by peer, those of each role and dialect apart.
#[derive(Default)]
pub struct SessionCache {
    /// The key counts up, so the first is the oldest. Lifetimes are equal, so it is the first to expire as well.
    entries: BTreeMap<u64, Entry>,
    by_name: BTreeMap<(Scope, ResumeId), u64>,
    by_peer: BTreeMap<(Scope, IpAddr), BTreeSet<u64>>,
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
        self.store(peer, Stored::Legacy(Box::new(session)), now);
    }

    /// Stores what a later connection with `peer` may use, whoever opens it.
    pub fn put_standard(&mut self, peer: IpAddr, session: standard::Session, now: Instant) {
        self.store(peer, Stored::Standard(Box::new(session)), now);
    }

    fn store(&mut self, peer: IpAddr, session: Stored, now: Instant) {
        self.expire(now);
        let scope = session.scope();
        let name = (scope, session.name());
        // The same name again means the same keys again. That one must not be there twice.
        if let Some(&old) = self.by_name.get(&name) {
            self.remove(old);
        }
        let oldest_of_peer = self
            .by_peer
            .get(&(scope, peer))
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
        self.by_peer.entry((scope, peer)).or_default().insert(place);
        let entry = Entry {
            peer,
            expires: now.checked_add(LIFETIME).unwrap_or(now),
            session,
        };
        self.entries.insert(place, entry);
    }

    /// Takes a session for a connection we open to `peer`: the newest, which the peer is likeliest to have too.
    pub fn take_for_peer(&mut self, peer: IpAddr, now: Instant) -> Option<Session> {
        self.expire(now);
        let scope = Scope::Legacy(Role::Client);
        let newest = *self.by_peer.get(&(scope, peer))?.last()?;
        self.remove(newest)?.legacy()
    }

    /// Takes a session of the standard for a connection we open to `peer`: the newest that began with a key exchange
    /// which `usable` takes.
    pub fn take_standard_for_peer(
        &mut self,
        peer: IpAddr,
        usable: impl Fn(Tep) -> bool,
        now: Instant,
    ) -> Option<standard::Session> {
        self.expire(now);
        let of_peer = self.by_peer.get(&(Scope::Standard, peer))?;
        let newest = *of_peer.iter().rev().find(|place| {
            let session = self.entries.get(place).map(|entry| &entry.session);
            matches!(session, Some(Stored::Standard(session)) if usable(session.suite().tep))
        })?;
        self.remove(newest)?.standard()
    }

    /// Takes the session that a client named. Where it connects from does not matter.
    pub fn take_by_id(&mut self, id: &ResumeId, now: Instant) -> Option<Session> {
        self.expire(now);
        let place = *self.by_name.get(&(Scope::Legacy(Role::Server), *id))?;
        self.remove(place)?.legacy()
    }

    /// Takes the session of the standard that a peer named by its half of the identifier
    /// ([`standard::Session::asked_by`]).
    pub fn take_standard_by_id(
        &mut self,
        id: &ResumeId,
        now: Instant,
    ) -> Option<standard::Session> {
        self.expire(now);
        let place = *self.by_name.get(&(Scope::Standard, *id))?;
        self.remove(place)?.standard()
    }

    /// Forgets one session, if it is still there.
    pub(crate) fn forget(&mut self, name: &Name) {
        if let Some(&place) = self.by_name.get(&(name.0, name.1)) {
            self.remove(place);
        }
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

    fn remove(&mut self, place: u64) -> Option<Stored> {
        let Entry { peer, session, .. } = self.entries.remove(&place)?;
        let scope = session.scope();
        self.by_name.remove(&(scope, session.name()));
        let key = (scope, peer);
        if let Some(of_peer) = self.by_peer.get_mut(&key) {
            of_peer.remove(&place);
            if of_peer.is_empty() {
                self.by_peer.remove(&key);
            }
        }
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use kx_crypto::aead::Algorithm;
    use kx_crypto::secret::SecretBytes;

    use super::{CAPACITY, LIFETIME, PEER_CAPACITY, SessionCache};
    use crate::eno::{EnoOption, Kind, ResumeId, Tep};
    use crate::legacy::keys::{Exchange, Role, Session};
    use crate::rfc8547::Host;
    use crate::rfc8548::keys as standard;

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

    fn standard(host: Host, tep: Tep, number: u32) -> standard::Session {
        let option = EnoOption::of(Kind::Standard, &[]);
        let exchange = standard::Exchange {
            a: &option,
            b: &option,
            init1: &number.to_be_bytes(),
            init2: &[],
            nonce_a: &[0; 32],
            shared_secret: &SecretBytes::default(),
        };
        let suite = standard::Suite {
            host,
            tep,
            algorithm: Algorithm::Aes128Gcm,
        };
        exchange.session(suite, tep.octet()).enable().next
    }

    /// Whoever was A, either may open the next connection; and the dialects do not mix.
    #[test]
    fn sessions_of_the_standard() {
        let now = Instant::now();
        let mut cache = SessionCache::new();
        cache.put(peer(1), session(Role::Client, 1), now);
        for host in [Host::A, Host::B] {
            cache.put_standard(peer(1), standard(host, Tep::X25519, 1), now);
            let id = standard(host.peer(), Tep::X25519, 1);
            let name = ResumeId::new(Tep::X25519, &id.our_half());
            assert!(cache.take_by_id(&name, now).is_none());
            let taken = cache.take_standard_by_id(&name, now).unwrap();
            assert_eq!(taken.suite().host, host);
            assert!(cache.take_standard_by_id(&name, now).is_none());
            cache.put_standard(peer(1), taken, now);
            let mut take = |number| cache.take_standard_for_peer(peer(number), |_| true, now);
            assert!(take(2).is_none());
            assert_eq!(
                take(1).unwrap().our_half(),
                standard(host, Tep::X25519, 1).our_half()
            );
            assert!(take(1).is_none());
        }
        assert!(cache.take_for_peer(peer(1), now).is_some());
        assert!(cache.is_empty() && cache.by_peer.is_empty() && cache.by_name.is_empty());
        // The newest of those that will do.
        for (tep, number) in [(Tep::X25519, 1), (Tep::X25519, 2), (Tep::P256, 3)] {
            cache.put_standard(peer(1), standard(Host::A, tep, number), now);
        }
        let mut take = |tep| {
            let taken = cache.take_standard_for_peer(peer(1), |of| of == tep, now);
            taken.map(|session| session.our_half())
        };
        assert_eq!(take(Tep::X448), None);
        for number in [2, 1] {
            let wanted = standard(Host::A, Tep::X25519, number).our_half();
            assert_eq!(take(Tep::X25519), Some(wanted));
        }
        assert_eq!(take(Tep::X25519), None);
        assert_eq!(cache.len(), 1);
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
