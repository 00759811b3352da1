//! All connections, by the names that events and packets know them by.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tcpcrypt_proto::eno::EnoOption;
use tcpcrypt_proto::packet::{FourTuple, Seq};
use tcpcrypt_proto::stream::Bequest;

use super::connection::{Connection, Names, Redirected};

/// SYNs whose SYN-ACK has not come by, at most.
const SYNS: usize = 16_384;
/// The kernel answers a SYN at once, or not at all.
const SYN_LIFETIME: Duration = Duration::from_secs(5);

/// Names one connection, also when its place is taken by another later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

/// Which of a connection's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Near,
    Far,
}

impl Key {
    /// The number that epoll gets for a socket.
    pub(super) fn token(self, side: Side) -> u64 {
        let side = u64::from(side == Side::Far);
        u64::from(self.generation) << 32 | u64::from(self.index) << 1 | side
    }

    /// The socket that epoll means.
    pub(super) fn of_token(token: u64) -> (Key, Side) {
        let [low, high] = [token & u64::from(u32::MAX), token >> 32];
        let key = Key {
            index: u32::try_from(low >> 1).unwrap_or(u32::MAX),
            generation: u32::try_from(high).unwrap_or(0),
        };
        let side = match low & 1 {
            0 => Side::Near,
            _ => Side::Far,
        };
        (key, side)
    }
}

struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
    away: Option<Box<Away>>,
}

/// A connection that a worker carries.
pub(super) struct Away {
    pub worker: usize,
    pub names: Names,
    pub bequest: Option<Bequest>,
}

/// The connections.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    pub by_onward: HashMap<FourTuple, Key>,
    pub by_redirected: HashMap<Redirected, Key>,
    pub by_listed: HashMap<FourTuple, Key>,
    /// Of connections whose opener's half stands.
    pub by_accepted: HashMap<Redirected, Key>,
    timers: BTreeSet<(Instant, Key)>,
    count: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, connection: Box<Connection>) -> Key {
        self.count += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                connection: None,
                away: None,
            });
            u32::try_from(self.places.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        let mut key = Key {
            index,
            generation: 0,
        };
        let names = (connection.onward, connection.redirected, connection.listed);
        if let Some(place) = self.place(key) {
            // 0 is for descriptors that belong to no connection.
            place.generation = place.generation.checked_add(1).unwrap_or(1);
            place.connection = Some(connection);
            key.generation = place.generation;
        }
        self.by_onward.insert(names.0, key);
        self.by_redirected.insert(names.1, key);
        self.by_listed.insert(names.2, key);
        key
    }

    fn place(&mut self, key: Key) -> Option<&mut Place> {
        self.places.get_mut(usize::try_from(key.index).ok()?)
    }

    /// A connection that is still there.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Connection> {
        let place = self.place(key)?;
        match place.generation == key.generation {
            true => place.connection.as_deref_mut(),
            false => None,
        }
    }

    /// Takes a connection out for a moment.
    pub(super) fn take(&mut self, key: Key) -> Option<Box<Connection>> {
        let place = self.place(key)?;
        match place.generation == key.generation {
            true => place.connection.take(),
            false => None,
        }
    }

    /// Puts it back.
    pub(super) fn put_back(&mut self, key: Key, connection: Box<Connection>) {
        if let Some(place) = self.place(key) {
            place.connection = Some(connection);
        }
    }

    /// A connection that was taken out is with a worker.
    pub(super) fn put_away(&mut self, key: Key, away: Away) {
        if let Some(place) = self.place(key) {
            place.away = Some(Box::new(away));
        }
    }

    /// A connection that a worker carries.
    pub(super) fn away(&mut self, key: Key) -> Option<&mut Away> {
        let place = self.place(key)?;
        match place.generation == key.generation {
            true => place.away.as_deref_mut(),
            false => None,
        }
    }

    /// A connection that a worker carried does not come back.
    pub(super) fn forget_away(&mut self, key: Key) -> Option<Away> {
        let away = self.take_away(key)?;
        self.forget_names(key, &away.names);
        Some(away)
    }

    /// A worker gives one back.
    pub(super) fn take_away(&mut self, key: Key) -> Option<Away> {
        let place = self.place(key)?;
        match place.generation == key.generation {
            true => place.away.take().map(|away| *away),
            false => None,
        }
    }

    /// Those that a worker carries.
    pub(super) fn keys_of_worker(&self, worker: usize) -> Vec<Key> {
        let keys = self.places.iter().zip(0..).filter_map(|(place, index)| {
            let generation = place.generation;
            let away = place.away.as_ref()?;
            (away.worker == worker).then_some(Key { index, generation })
        });
        keys.collect()
    }

    /// A connection that was taken out does not come back.
    pub(super) fn forget(&mut self, key: Key, connection: &mut Connection) {
        self.set_deadline(key, connection, None);
        self.forget_names(key, &connection.names());
    }

    fn forget_names(&mut self, key: Key, names: &Names) {
        self.count = self.count.saturating_sub(1);
        self.forget_redirected(key, &names.redirected);
        if self.by_onward.get(&names.onward) == Some(&key) {
            self.by_onward.remove(&names.onward);
        }
        if self.by_listed.get(&names.listed) == Some(&key) {
            self.by_listed.remove(&names.listed);
        }
        if self.by_accepted.get(&names.redirected) == Some(&key) {
            self.by_accepted.remove(&names.redirected);
        }
        self.free.push(key.index);
    }

    fn forget_redirected(&mut self, key: Key, redirected: &Redirected) {
        if self.by_redirected.get(redirected) == Some(&key) {
            self.by_redirected.remove(redirected);
        }
    }

    /// The opener's half stands.
    pub(super) fn accepted(&mut self, key: Key, connection: &Connection) {
        self.forget_redirected(key, &connection.redirected);
        self.by_accepted.insert(connection.redirected, key);
    }

    pub(super) fn set_deadline(
        &mut self,
        key: Key,
        connection: &mut Connection,
        deadline: Option<Instant>,
    ) {
        if let Some(old) = connection.deadline.take() {
            self.timers.remove(&(old, key));
        }
        if let Some(at) = deadline {
            self.timers.insert((at, key));
            connection.deadline = Some(at);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next connection whose deadline has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = *self.timers.first()?;
        if at > now {
            return None;
        }
        self.timers.remove(&(at, key));
        if let Some(connection) = self.get(key) {
            connection.deadline = None;
        }
        Some(key)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.by_listed.values().copied().collect()
    }
}

/// A SYN of a peer, or of an application that we were asked about, until its SYN-ACK comes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenSyn {
    pub offer: Option<EnoOption>,
    /// Rules asked about it, so ours.
    pub asked: bool,
    /// It permits selective acknowledgements.
    pub sack: bool,
}

/// Those SYNs, by who sent them and their number.
#[derive(Debug, Default)]
pub(super) struct Syns {
    seen: HashMap<(SocketAddr, Seq), (SeenSyn, Instant)>,
    order: VecDeque<(Instant, (SocketAddr, Seq))>,
}

impl Syns {
    pub(super) fn note(&mut self, now: Instant, from: SocketAddr, isn: Seq, syn: SeenSyn) {
        while let Some((since, _)) = self.order.front() {
            let fresh = now.saturating_duration_since(*since) < SYN_LIFETIME;
            if fresh && self.order.len() < SYNS {
                break;
            }
            if let Some((since, name)) = self.order.pop_front() {
                if self.seen.get(&name).is_some_and(|(_, at)| *at == since) {
                    self.seen.remove(&name);
                }
            }
        }
        self.seen.insert((from, isn), (syn, now));
        self.order.push_back((now, (from, isn)));
    }

    pub(super) fn take(&mut self, from: SocketAddr, isn: Seq) -> Option<SeenSyn> {
        self.seen.remove(&(from, isn)).map(|(syn, _)| syn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_sockets() {
        for side in [Side::Near, Side::Far] {
            for (index, generation) in [(0, 1), (7, u32::MAX), (u32::MAX >> 1, 3)] {
                let key = Key { index, generation };
                assert_eq!(Key::of_token(key.token(side)), (key, side));
            }
        }
    }

    #[test]
    fn syns_are_bounded() {
        let now = Instant::now();
        let mut syns = Syns::default();
        let from: SocketAddr = "10.0.0.1:1".parse().expect("address");
        let syn = SeenSyn {
            offer: None,
            asked: true,
            sack: true,
        };
        for number in 0..40_000 {
            syns.note(now, from, Seq(number), syn);
        }
        assert!(syns.seen.len() <= SYNS && syns.order.len() <= SYNS);
        assert!(syns.take(from, Seq(0)).is_none());
        assert!(syns.take(from, Seq(39_999)).is_some());
        assert!(syns.take(from, Seq(39_999)).is_none());
        syns.note(now + SYN_LIFETIME, from, Seq(1), syn);
        assert_eq!(syns.seen.len(), 1);
    }
}
