//! Peers behind a NAT that get another place from it: a mapping ran out, or the router began anew (RFC 3947 section 4;
//! what RFC 7296 section 2.23 says of it, too).
//!
//! A peer is followed only to where a message came from that nobody can have kept: packets of ESP, whose numbers the
//! kernel has looked at, and messages of IKE that are over a nonce of ours.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::engine::Engine;
use crate::event::{Event, Path};
use crate::journal::Class;
use crate::kernel::{Mapping, Request};
use crate::sa::{Flags, IpsecSa, Role, SaId};

impl Engine {
    /// The kernel heard a peer from another place than its SA's.
    pub fn handle_mapping(&mut self, now: Instant, mapping: Mapping) {
        self.refresh();
        let known = self
            .sas
            .with_incoming_spi(mapping.protocol, mapping.spi)
            .filter_map(|id| self.sas.phase2(id))
            // Many packets tell the same; all but the first of them are of the past.
            .find(|suite| suite.peer_is_behind && suite.path.remote == mapping.old)
            .map(|suite| suite.path);
        if let Some(path) = known.filter(|path| path.encapsulated) {
            follow(self, now, path, mapping.new);
        }
    }
}

/// A message under an ISAKMP SA that is authentic and new came from here.
pub(crate) fn heard(engine: &mut Engine, now: Instant, isakmp: Option<SaId>, from: Path) {
    let Some(sa) = isakmp.and_then(|id| engine.sas.phase1(id)) else {
        return;
    };
    let path = sa.path;
    let is_same_way = path.encapsulated && from.encapsulated && path.local == from.local;
    if sa.nat.peer_is_behind && is_same_way {
        follow(engine, now, path, from.remote);
    }
}

/// All that goes to the peer of `path` goes to `to` from now on. One mapping of the NAT is for IKE and ESP, so they
/// move together.
fn follow(engine: &mut Engine, now: Instant, path: Path, to: SocketAddr) {
    let from = path.remote;
    if from == to || from.is_ipv4() != to.is_ipv4() {
        return;
    }
    let isakmp: Vec<SaId> = engine
        .sas
        .with_peer(1, from.into())
        .filter(|id| engine.sas.phase1(*id).is_some_and(|sa| sa.path == path))
        .collect();
    let suites: Vec<SaId> = engine
        .sas
        .with_peer(2, from.into())
        .filter(|id| engine.sas.phase2(*id).is_some_and(|sa| sa.path == path))
        .collect();
    if isakmp.is_empty() && from.ip() != to.ip() {
        return;
    }
    engine
        .journal
        .verbose(|| format!("isakmpd: peer behind a NAT is at {to} now, no longer at {from}"));
    for id in &isakmp {
        engine.sas.move_phase1(*id, to);
    }
    // What we ask for is sent again to where it can arrive.
    for id in engine.exchanges.ids() {
        if let Some(exchange) = engine.exchanges.get_mut(id) {
            let asks = exchange.role == Role::Initiator && exchange.state.phase() == 2;
            if asks && !exchange.done && exchange.path == path {
                exchange.path.remote = to;
            }
        }
    }
    if from.ip() == to.ip() {
        for id in suites {
            move_suite(engine, id, to);
        }
    } else {
        renew(engine, now, &suites);
    }
}

fn move_suite(engine: &mut Engine, id: SaId, to: SocketAddr) {
    let Some(suite) = engine.sas.phase2_mut(id) else {
        return;
    };
    let from = std::mem::replace(&mut suite.path.remote, to);
    let local = suite.path.local;
    let protocols = protocols(suite);
    engine.emit(Event::Kernel(Request::Move {
        local,
        from,
        to,
        protocols,
    }));
}

/// Protocol, incoming SPI, outgoing SPI.
pub(crate) fn protocols(suite: &IpsecSa) -> Vec<(u8, u32, u32)> {
    let all = suite.protocols.iter();
    all.map(|sa| (sa.protocol, sa.incoming_spi, sa.outgoing_spi))
        .collect()
}

/// An SA is known by the address that it goes to: for another one there have to be new SAs.
fn renew(engine: &mut Engine, now: Instant, suites: &[SaId]) {
    let mut names: Vec<Rc<str>> = Vec::new();
    for suite in suites.iter().filter_map(|id| engine.sas.phase2(*id)) {
        match &suite.name {
            Some(name) if !suite.flags.has(Flags::REPLACED) && !names.contains(name) => {
                names.push(Rc::clone(name));
            }
            _ => {}
        }
    }
    for name in names {
        engine.journal.debug(Class::Exchange, 10, || {
            format!("connection {name} is negotiated anew: its peer has another address")
        });
        engine.establish(now, &name, false);
    }
}
