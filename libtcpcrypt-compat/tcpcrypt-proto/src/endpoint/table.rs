//! The connections of a host, by their four addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Limits;
use crate::conn::{Active, Established, Passive};
use crate::network;
use crate::packet::{FourTuple, Seq};

use super::timers::Timers;
use super::tombstones::{Ended, Order};

/// One connection. What it is at the moment lies in a box, so that the table is small and nothing of the
/// handshake stays behind.
pub(super) struct Connection {
    pub state: State,
    /// A SYN that came for the same addresses. The local TCP says by its SYN-ACK whether it takes it.
    pub successor: Option<Box<Successor>>,
    /// Its entry among the timers.
    pub entered: Option<Instant>,
    /// Whether it is in the queue of those that may have packets to send.
    pub ready: bool,
    /// Its place among the handshakes that others began.
    half_open: Option<u64>,
}

/// What a connection is at the moment.
pub(super) enum State {
    Unwanted(Box<Unwanted>),
    Active(Box<Active>),
    Passive(Box<Passive>),
    Encrypted(Box<Established>),
    Ended(Box<Ended>),
}

/// A connection that the application wants plain, until its SYN, which may have to be repeated, is answered.
pub(super) struct Unwanted {
    pub isn: Seq,
    pub since: Instant,
}

/// A connection that may take the place of another.
pub(super) struct Successor {
    pub isn: Seq,
    /// `None`: it will be plain.
    pub machine: Option<Box<Passive>>,
}

impl Connection {
    fn new(state: State) -> Self {
        Self {
            state,
            successor: None,
            entered: None,
            ready: false,
            half_open: None,
        }
    }

    /// When the connection wants to be called.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let (own, bound) = match &self.state {
            State::Unwanted(it) => (None, it.since.checked_add(limits.handshake)),
            State::Active(machine) => {
                let bound = machine.started().checked_add(limits.handshake);
                (machine.deadline(), bound)
            }
            State::Passive(machine) => {
                let bound = machine.started().checked_add(limits.handshake);
                (machine.deadline(), bound)
            }
            State::Encrypted(established) => {
                let bound = established.seen.checked_add(limits.idle);
                (established.flow.poll_timeout(), bound)
            }
            State::Ended(_) => (None, None),
        };
        let successor = self.successor_began();
        let successor = successor.and_then(|began| began.checked_add(limits.handshake));
        own.into_iter().chain(bound).chain(successor).min()
    }

    /// When the handshake began that may take the place of this connection.
    pub(super) fn successor_began(&self) -> Option<Instant> {
        let machine = self.successor.as_ref()?.machine.as_ref()?;
        Some(machine.started())
    }
}

/// Handshakes that others began, the oldest first, of all and of each peer.
#[derive(Default)]
struct HalfOpen {
    all: BTreeMap<u64, FourTuple>,
    by_peer: HashMap<IpAddr, BTreeSet<u64>>,
    count: u64,
}

impl HalfOpen {
    fn add(&mut self, tuple: FourTuple) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.all.insert(self.count, tuple);
        let peer = network::of_host(tuple.remote.ip());
        let of_peer = self.by_peer.entry(peer).or_default();
        of_peer.insert(self.count);
        self.count
    }

    fn remove(&mut self, tuple: &FourTuple, place: u64) {
        self.all.remove(&place);
        let peer = network::of_host(tuple.remote.ip());
        if let Some(of_peer) = self.by_peer.get_mut(&peer) {
            of_peer.remove(&place);
            if of_peer.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
    }

    fn one_too_many(&self, peer: IpAddr, limits: &Limits) -> Option<FourTuple> {
        let of_peer = self.by_peer.get(&network::of_host(peer));
        let of_peer = of_peer.filter(|of_peer| of_peer.len() >= limits.half_open_per_peer);
        if let Some(oldest) = of_peer.and_then(BTreeSet::first) {
            return self.all.get(oldest).copied();
        }
        let full = self.all.len() >= limits.half_open;
        self.all.values().next().copied().filter(|_| full)
    }
}

/// All connections. The hash is keyed at random: peers choose half of a tuple.
#[derive(Default)]
pub(super) struct Table {
    connections: HashMap<FourTuple, Connection>,
    half_open: HalfOpen,
    ended: usize,
    /// Those that programs can list, in their order.
    pub encrypted: BTreeSet<FourTuple>,
    pub timers: Timers,
    pub order: Order,
}

impl Table {
    pub(super) fn get(&self, tuple: &FourTuple) -> Option<&Connection> {
        self.connections.get(tuple)
    }

    pub(super) fn get_mut(&mut self, tuple: &FourTuple) -> Option<&mut Connection> {
        self.connections.get_mut(tuple)
    }

    /// Connections that have not ended.
    pub(super) fn alive(&self) -> usize {
        self.connections.len().saturating_sub(self.ended)
    }

    pub(super) fn ended(&self) -> usize {
        self.ended
    }

    /// Handshakes.
    pub(super) fn half_open(&self) -> usize {
        self.alive().saturating_sub(self.encrypted.len())
    }

    /// Octets in the buffers of encrypted connections.
    pub(super) fn footprint(&self) -> usize {
        let each = |connection: &Connection| match &connection.state {
            State::Encrypted(established) => established.flow.footprint(),
            _ => 0,
        };
        self.connections.values().map(each).sum()
    }

    pub(super) fn tuples(&self) -> Vec<FourTuple> {
        self.connections.keys().copied().collect()
    }

    /// The handshake that has to give way before `peer` can begin another.
    pub(super) fn one_too_many(&self, peer: IpAddr, limits: &Limits) -> Option<FourTuple> {
        self.half_open.one_too_many(peer, limits)
    }

    pub(super) fn insert(&mut self, tuple: FourTuple, state: State, limits: &Limits) {
        self.remove(&tuple);
        self.connections.insert(tuple, Connection::new(state));
        self.entered(&tuple);
        self.schedule(&tuple, limits);
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) -> Option<Connection> {
        self.left(tuple);
        let connection = self.connections.remove(tuple)?;
        self.timers.forget(tuple, connection.entered);
        Some(connection)
    }

    /// Puts another state in the place of a connection's.
    pub(super) fn change(&mut self, tuple: &FourTuple, state: State, limits: &Limits) {
        self.left(tuple);
        if let Some(connection) = self.connections.get_mut(tuple) {
            connection.state = state;
        }
        self.entered(tuple);
        self.schedule(tuple, limits);
    }

    /// Enters the connection among the timers.
    pub(super) fn schedule(&mut self, tuple: &FourTuple, limits: &Limits) {
        if let Some(connection) = self.connections.get_mut(tuple) {
            let wanted = connection.deadline(limits);
            self.timers.want(tuple, wanted, &mut connection.entered);
        }
    }

    fn entered(&mut self, tuple: &FourTuple) {
        let Some(connection) = self.connections.get_mut(tuple) else {
            return;
        };
        match &connection.state {
            State::Unwanted(..) | State::Active(_) => {}
            State::Passive(_) => connection.half_open = Some(self.half_open.add(*tuple)),
            State::Encrypted(_) => {
                self.encrypted.insert(*tuple);
            }
            State::Ended(_) => self.ended += 1,
        }
    }

    fn left(&mut self, tuple: &FourTuple) {
        let Some(connection) = self.connections.get_mut(tuple) else {
            return;
        };
        if let Some(place) = connection.half_open.take() {
            self.half_open.remove(tuple, place);
        }
        match &connection.state {
            State::Unwanted(..) | State::Active(_) | State::Passive(_) => {}
            State::Encrypted(_) => {
                self.encrypted.remove(tuple);
            }
            State::Ended(_) => self.ended = self.ended.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Connection, Established, Passive};
    use crate::packet::FourTuple;

    /// An idle encrypted connection: its box, its entry here, among the timers and in the list. The trees are
    /// at least half full. Buffers for short messages are 1.5 kB at most.
    #[test]
    fn small() {
        let entry = size_of::<(FourTuple, Connection)>() * 8 / 7 + 1;
        let ordered = size_of::<FourTuple>() + size_of::<(Instant, FourTuple)>();
        let sum = size_of::<Established>() + 2 * entry + 2 * ordered;
        assert!(sum < 4096 - 1536, "{sum}");
        assert!(size_of::<Connection>() <= 64);
        // The client's octets come into it by themselves.
        assert!(size_of::<Passive>() <= 512);
    }
}
