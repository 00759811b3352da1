//! Phase 2 besides its messages: what is offered and taken, keys, identities, and what the engine keeps for it.

pub(crate) mod id_match;
pub(crate) mod keymat;
pub(crate) mod mode_config;
pub(crate) mod proposal;
pub(crate) mod protect;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use isakmp_proto::identity::Identity;

use crate::connections::{self, Connections};
use crate::engine::Engine;
use crate::engine::timers::Timer;
use crate::kernel::Ticket;
use crate::lifetime::{self, Clock};
use crate::sa::{IpsecSa, SaId, Selector};

/// Tables of phase 2 beside those of exchanges and SAs.
#[derive(Default)]
pub(crate) struct Shared {
    /// Timers of the SAs of both phases.
    pub(crate) clocks: HashMap<SaId, Clock>,
    /// Which ISAKMP SA waits for the kernel's answer about the use of an SA.
    pub(crate) questions: HashMap<Ticket, SaId>,
    /// Connections to keep up.
    pub(crate) connections: Connections,
    /// Suites by what they carry.
    flows: HashMap<(Selector, Selector), BTreeSet<SaId>>,
    /// Suites by the identities of their phase 1.
    by_ids: HashMap<(Identity, Identity), BTreeSet<SaId>>,
    /// Nobody watches the life of IPsec SAs.
    pub(crate) no_phase2_expiry: bool,
}

impl Shared {
    /// Enters a suite in the indexes.
    pub(crate) fn enter(&mut self, sa: &IpsecSa) {
        self.flows.entry(flow_of(sa)).or_default().insert(sa.id);
        self.by_ids.entry(ids_of(sa)).or_default().insert(sa.id);
    }

    /// Takes a suite out of the indexes.
    pub(crate) fn leave(&mut self, sa: &IpsecSa) {
        remove(&mut self.flows, &flow_of(sa), sa.id);
        remove(&mut self.by_ids, &ids_of(sa), sa.id);
    }

    /// Suites that carry the same as `sa`, itself perhaps among them.
    pub(crate) fn with_flow_of(&self, sa: &IpsecSa) -> Vec<SaId> {
        self.flows
            .get(&flow_of(sa))
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// Suites made under phase 1 of these identities, ours and the peer's; newest first.
    pub(crate) fn with_ids(
        &self,
        local: &Identity,
        remote: &Identity,
    ) -> impl Iterator<Item = SaId> {
        let key = (local.clone(), remote.clone());
        self.by_ids.get(&key).into_iter().flatten().rev().copied()
    }
}

fn flow_of(sa: &IpsecSa) -> (Selector, Selector) {
    (sa.local_filter.clone(), sa.remote_filter.clone())
}

fn ids_of(sa: &IpsecSa) -> (Identity, Identity) {
    (sa.phase1_local_id.clone(), sa.phase1_remote_id.clone())
}

fn remove<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<SaId>>, key: &K, id: SaId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// A timer is due that is not an exchange's.
pub(crate) fn timer(engine: &mut Engine, now: Instant, timer: Timer) {
    match timer {
        Timer::Phase1Soft(id) => lifetime::phase1_soft(engine, now, id),
        Timer::Phase1Hard(id) => lifetime::phase1_hard(engine, now, id),
        Timer::Phase2Soft(id) => lifetime::phase2_soft(engine, now, id),
        Timer::Phase2Hard(id) => lifetime::phase2_hard(engine, now, id),
        Timer::Dpd(id) => lifetime::liveness::due(engine, now, id),
        Timer::Keepalive(id) => lifetime::keepalive(engine, now, id),
        Timer::Connection(name) => connections::check(engine, now, &name),
        Timer::Rebuild => engine.rebuild_connections(now),
        Timer::ExchangeDeadline(_) | Timer::Retransmit(_) => {}
    }
}
