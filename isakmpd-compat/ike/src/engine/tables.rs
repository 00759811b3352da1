//! Exchanges and SAs, found by everything they are looked for by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use isakmp_proto::header::Cookie;

use crate::event::Address;
use crate::exchange::{Exchange, ExchangeId};
use crate::sa::{IpsecSa, IsakmpSa, SaId};

type Key = (Cookie, Cookie, u32);
type Ids<T> = BTreeSet<T>;

/// Section names compare without regard to case.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn forget<K: std::hash::Hash + Eq, T: Ord>(index: &mut HashMap<K, Ids<T>>, key: &K, id: &T) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// All exchanges. One that is being worked on is taken out and put back; it can be found all the while.
#[derive(Default)]
pub(crate) struct Exchanges {
    all: BTreeMap<ExchangeId, Option<Box<Exchange>>>,
    by_key: HashMap<Key, ExchangeId>,
    by_initiator_cookie: HashMap<Cookie, ExchangeId>,
    by_name: HashMap<(u8, String), Ids<ExchangeId>>,
    half_open: BTreeSet<ExchangeId>,
    half_open_by_peer: HashMap<Address, Ids<ExchangeId>>,
}

impl Exchanges {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Enters an exchange that the caller goes on working on; [`put_back`](Self::put_back) follows.
    pub(crate) fn insert_taken(&mut self, exchange: &Exchange) {
        self.index(exchange);
        self.all.insert(exchange.id, None);
    }

    fn index(&mut self, exchange: &Exchange) {
        let id = exchange.id;
        self.by_key.insert(
            (
                exchange.initiator_cookie,
                exchange.responder_cookie,
                exchange.message_id,
            ),
            id,
        );
        if exchange.state.phase() == 1 {
            self.by_initiator_cookie
                .insert(exchange.initiator_cookie, id);
        }
        if let Some(name) = &exchange.name {
            let key = (exchange.state.phase(), folded(name));
            self.by_name.entry(key).or_default().insert(id);
        }
        if exchange.is_half_open() {
            self.half_open.insert(id);
            self.half_open_by_peer
                .entry(exchange.path.remote.into())
                .or_default()
                .insert(id);
        }
    }

    /// Forgets how to find an exchange that was taken out: it is gone.
    pub(crate) fn forget(&mut self, exchange: &Exchange) {
        let id = exchange.id;
        self.all.remove(&id);
        let key = (
            exchange.initiator_cookie,
            exchange.responder_cookie,
            exchange.message_id,
        );
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
        if self.by_initiator_cookie.get(&exchange.initiator_cookie) == Some(&id) {
            self.by_initiator_cookie.remove(&exchange.initiator_cookie);
        }
        if let Some(name) = &exchange.name {
            forget(
                &mut self.by_name,
                &(exchange.state.phase(), folded(name)),
                &id,
            );
        }
        self.no_longer_half_open(exchange);
    }

    /// The peer is authenticated (or gone).
    pub(crate) fn no_longer_half_open(&mut self, exchange: &Exchange) {
        if self.half_open.remove(&exchange.id) {
            let peer = exchange.path.remote.into();
            forget(&mut self.half_open_by_peer, &peer, &exchange.id);
        }
    }

    /// The responder's cookie is known now, or the path of a half-open exchange changes.
    pub(crate) fn change(&mut self, exchange: &mut Exchange, change: impl FnOnce(&mut Exchange)) {
        let id = exchange.id;
        self.forget(exchange);
        change(exchange);
        self.index(exchange);
        self.all.insert(id, None);
    }

    pub(crate) fn take(&mut self, id: ExchangeId) -> Option<Box<Exchange>> {
        self.all.get_mut(&id)?.take()
    }

    pub(crate) fn put_back(&mut self, exchange: Box<Exchange>) {
        if let Some(slot) = self.all.get_mut(&exchange.id) {
            *slot = Some(exchange);
        }
    }

    pub(crate) fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.all.get(&id)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.all.get_mut(&id)?.as_deref_mut()
    }

    pub(crate) fn find(
        &self,
        initiator: Cookie,
        responder: Cookie,
        message: u32,
    ) -> Option<ExchangeId> {
        self.by_key.get(&(initiator, responder, message)).copied()
    }

    /// A phase 1 exchange.
    pub(crate) fn find_by_initiator_cookie(&self, cookie: Cookie) -> Option<ExchangeId> {
        self.by_initiator_cookie.get(&cookie).copied()
    }

    /// Exchanges of that section and phase, oldest first.
    pub(crate) fn named(&self, phase: u8, name: &str) -> impl Iterator<Item = &Exchange> {
        self.by_name
            .get(&(phase, folded(name)))
            .into_iter()
            .flatten()
            .filter_map(|id| self.get(*id))
    }

    /// How many half-open ones there are, and of `peer`.
    pub(crate) fn half_open_count(&self, peer: Address) -> (usize, usize) {
        let of_peer = self.half_open_by_peer.get(&peer).map_or(0, BTreeSet::len);
        (self.half_open.len(), of_peer)
    }

    /// The oldest half-open one, of `peer` alone if given.
    pub(crate) fn oldest_half_open(&self, peer: Option<Address>) -> Option<ExchangeId> {
        match peer {
            None => self.half_open.first().copied(),
            Some(peer) => self.half_open_by_peer.get(&peer)?.first().copied(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.all.values().filter_map(Option::as_deref)
    }

    pub(crate) fn ids(&self) -> Vec<ExchangeId> {
        self.all.keys().copied().collect()
    }
}

/// All SAs of both phases.
#[derive(Default)]
pub(crate) struct Sas {
    phase1: BTreeMap<SaId, IsakmpSa>,
    phase2: BTreeMap<SaId, IpsecSa>,
    by_cookies: HashMap<(Cookie, Cookie), SaId>,
    by_initiator_cookie: HashMap<Cookie, SaId>,
    by_name: HashMap<(u8, String), Ids<SaId>>,
    by_peer: HashMap<(u8, Address), Ids<SaId>>,
    by_incoming_spi: HashMap<(u8, u32), Ids<SaId>>,
    by_outgoing_spi: HashMap<(u8, u32), Ids<SaId>>,
}

impl Sas {
    pub(crate) fn insert_phase1(&mut self, sa: IsakmpSa) {
        let id = sa.id;
        self.by_cookies
            .insert((sa.initiator_cookie, sa.responder_cookie), id);
        self.by_initiator_cookie.insert(sa.initiator_cookie, id);
        self.index_name(1, sa.name.as_ref(), id);
        self.by_peer
            .entry((1, sa.path.remote.into()))
            .or_default()
            .insert(id);
        self.phase1.insert(id, sa);
    }

    pub(crate) fn insert_phase2(&mut self, sa: IpsecSa) {
        let id = sa.id;
        self.index_name(2, sa.name.as_ref(), id);
        self.by_peer
            .entry((2, sa.path.remote.into()))
            .or_default()
            .insert(id);
        for protocol in &sa.protocols {
            let key = (protocol.protocol, protocol.incoming_spi);
            self.by_incoming_spi.entry(key).or_default().insert(id);
            let key = (protocol.protocol, protocol.outgoing_spi);
            self.by_outgoing_spi.entry(key).or_default().insert(id);
        }
        self.phase2.insert(id, sa);
    }

    fn index_name(&mut self, phase: u8, name: Option<&Rc<str>>, id: SaId) {
        if let Some(name) = name {
            self.by_name
                .entry((phase, folded(name)))
                .or_default()
                .insert(id);
        }
    }

    pub(crate) fn remove_phase1(&mut self, id: SaId) -> Option<IsakmpSa> {
        let sa = self.phase1.remove(&id)?;
        self.by_cookies
            .remove(&(sa.initiator_cookie, sa.responder_cookie));
        if self.by_initiator_cookie.get(&sa.initiator_cookie) == Some(&id) {
            self.by_initiator_cookie.remove(&sa.initiator_cookie);
        }
        if let Some(name) = &sa.name {
            forget(&mut self.by_name, &(1, folded(name)), &id);
        }
        forget(&mut self.by_peer, &(1, sa.path.remote.into()), &id);
        Some(sa)
    }

    pub(crate) fn remove_phase2(&mut self, id: SaId) -> Option<IpsecSa> {
        let sa = self.phase2.remove(&id)?;
        if let Some(name) = &sa.name {
            forget(&mut self.by_name, &(2, folded(name)), &id);
        }
        forget(&mut self.by_peer, &(2, sa.path.remote.into()), &id);
        for protocol in &sa.protocols {
            forget(
                &mut self.by_incoming_spi,
                &(protocol.protocol, protocol.incoming_spi),
                &id,
            );
            forget(
                &mut self.by_outgoing_spi,
                &(protocol.protocol, protocol.outgoing_spi),
                &id,
            );
        }
        Some(sa)
    }

    pub(crate) fn phase1(&self, id: SaId) -> Option<&IsakmpSa> {
        self.phase1.get(&id)
    }

    /// Cookies, name and the peer's address of an SA must not be changed through this.
    pub(crate) fn phase1_mut(&mut self, id: SaId) -> Option<&mut IsakmpSa> {
        self.phase1.get_mut(&id)
    }

    pub(crate) fn phase2(&self, id: SaId) -> Option<&IpsecSa> {
        self.phase2.get(&id)
    }

    /// Name, SPIs and the peer's address of an SA must not be changed through this.
    pub(crate) fn phase2_mut(&mut self, id: SaId) -> Option<&mut IpsecSa> {
        self.phase2.get_mut(&id)
    }

    /// The peer of an ISAKMP SA has another place.
    pub(crate) fn move_phase1(&mut self, id: SaId, remote: SocketAddr) {
        if let Some(sa) = self.phase1.get_mut(&id) {
            forget(&mut self.by_peer, &(1, sa.path.remote.into()), &id);
            sa.path.remote = remote;
            let key = (1, remote.into());
            self.by_peer.entry(key).or_default().insert(id);
        }
    }

    pub(crate) fn find_phase1(&self, initiator: Cookie, responder: Cookie) -> Option<SaId> {
        self.by_cookies.get(&(initiator, responder)).copied()
    }

    pub(crate) fn find_by_initiator_cookie(&self, cookie: Cookie) -> Option<SaId> {
        self.by_initiator_cookie.get(&cookie).copied()
    }

    /// SAs of that section and phase, oldest first.
    pub(crate) fn named(
        &self,
        phase: u8,
        name: &str,
    ) -> impl DoubleEndedIterator<Item = SaId> + '_ {
        self.by_name
            .get(&(phase, folded(name)))
            .into_iter()
            .flatten()
            .copied()
    }

    /// SAs with the peers that have that address, on whatever link.
    pub(crate) fn with_peer_on_any_link(&self, phase: u8, ip: IpAddr) -> Vec<SaId> {
        let peers = self.by_peer.iter();
        peers
            .filter(|((of, peer), _)| *of == phase && peer.ip == ip)
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect()
    }

    /// SAs with that peer, oldest first.
    pub(crate) fn with_peer(
        &self,
        phase: u8,
        peer: Address,
    ) -> impl DoubleEndedIterator<Item = SaId> + '_ {
        self.by_peer
            .get(&(phase, peer))
            .into_iter()
            .flatten()
            .copied()
    }

    /// Suites with that SPI of ours.
    pub(crate) fn with_incoming_spi(
        &self,
        protocol: u8,
        spi: u32,
    ) -> impl Iterator<Item = SaId> + '_ {
        self.by_incoming_spi
            .get(&(protocol, spi))
            .into_iter()
            .flatten()
            .copied()
    }

    /// Suites with that SPI of the peer's.
    pub(crate) fn with_outgoing_spi(
        &self,
        protocol: u8,
        spi: u32,
    ) -> impl Iterator<Item = SaId> + '_ {
        self.by_outgoing_spi
            .get(&(protocol, spi))
            .into_iter()
            .flatten()
            .copied()
    }

    pub(crate) fn all_phase1(&self) -> impl Iterator<Item = &IsakmpSa> {
        self.phase1.values()
    }

    pub(crate) fn all_phase2(&self) -> impl Iterator<Item = &IpsecSa> {
        self.phase2.values()
    }
}
