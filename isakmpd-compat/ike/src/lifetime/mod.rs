//! How long SAs live (isakmpd-wire 4.3): soft and hard expiry of both phases, by the engine's clock and by the
//! kernel's; replaced SAs; keepalives of NATs.

pub(crate) mod liveness;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::delete;
use crate::dpd::Dpd;
use crate::engine::Engine;
use crate::engine::timers::{Timer, TimerId};
use crate::journal::Class;
use crate::kernel::Expire;
use crate::random::Purpose;
use crate::sa::{Flags, IpsecSa, Lifetime, SaId};

/// When the first keepalive is sent, whatever is configured for the later ones.
const FIRST_KEEPALIVE: Duration = Duration::from_secs(20);

/// Timers of one SA, and DPD of an ISAKMP SA.
#[derive(Default)]
pub(crate) struct Clock {
    soft: Option<TimerId>,
    hard: Option<TimerId>,
    keepalive: Option<TimerId>,
    liveness: Option<TimerId>,
    pub(crate) dpd: Option<Box<Dpd>>,
}

/// The soft expiry of a life of `seconds`: 85.0 to 94.9 % of it, whole seconds.
#[must_use]
pub(crate) fn soft_life(seconds: u32, random: [u8; 2]) -> Duration {
    let per_mille = 850_u64.saturating_add(u64::from(u16::from_be_bytes(random) % 100));
    Duration::from_secs(u64::from(seconds).saturating_mul(per_mille) / 1000)
}

/// Soft and hard end of an SA that begins now; `None` without a life in seconds.
fn ends(
    engine: &mut Engine,
    now: Instant,
    id: SaId,
    lifetime: Lifetime,
) -> Option<(Instant, Instant)> {
    let seconds = lifetime.seconds.filter(|seconds| *seconds != 0)?;
    let mut random = [0; 2];
    engine.random.fill(Purpose::SoftExpiry, &mut random);
    let soft = now.checked_add(soft_life(seconds, random))?;
    let hard = now.checked_add(Duration::from_secs(seconds.into()))?;
    for (what, at) in [("soft", soft), ("hard", hard)] {
        engine.journal.debug(Class::Timer, 95, || {
            let left = at.saturating_duration_since(now).as_secs();
            format!(
                "sa_setup_expirations: SA {} {what} timeout in {left} seconds",
                id.0
            )
        });
    }
    Some((soft, hard))
}

fn entered(engine: &mut Engine, id: SaId) {
    engine.journal.debug(Class::Sa, 70, || {
        format!("sa_enter: SA {} added to SA list", id.0)
    });
}

fn marked(id: SaId, name: Option<&str>) -> String {
    let name = name.unwrap_or("unnamed");
    format!("sa_mark_replaced: SA {} ({name}) marked as replaced", id.0)
}

/// Forgets all timers of an SA.
pub(crate) fn stop(engine: &mut Engine, id: SaId) {
    if let Some(clock) = engine.phase2.clocks.remove(&id) {
        let timers = [clock.soft, clock.hard, clock.keepalive, clock.liveness];
        for timer in timers.into_iter().flatten() {
            engine.timers.cancel(timer);
        }
    }
}

/// An ISAKMP SA was entered: its timers, and the end of older ones of the same peer.
pub(crate) fn phase1_ready(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase1(id) else {
        return;
    };
    let older: Vec<SaId> = sa
        .name
        .as_deref()
        .into_iter()
        .flat_map(|name| engine.sas.named(1, name))
        .filter(|other| *other != id)
        .filter(|other| {
            engine.sas.phase1(*other).is_some_and(|other| {
                other.local_id == sa.local_id && other.remote_id == sa.remote_id
            })
        })
        .collect();
    let (lifetime, flags, local) = (sa.lifetime, sa.flags, sa.path.local);
    for older in older {
        if let Some(sa) = engine.sas.phase1_mut(older) {
            sa.flags.set(Flags::REPLACED);
            engine
                .journal
                .debug(Class::Sa, 60, || marked(older, sa.name.as_deref()));
        }
        liveness::stop(engine, older);
    }
    let ends = ends(engine, now, id, lifetime);
    let mut clock = Clock::default();
    if let Some((soft, hard)) = ends {
        clock.soft = Some(engine.timers.set(soft, Timer::Phase1Soft(id)));
        clock.hard = Some(engine.timers.set(hard, Timer::Phase1Hard(id)));
        if let Some(sa) = engine.sas.phase1_mut(id) {
            sa.soft = Some(soft);
            sa.hard = Some(hard);
        }
    }
    if flags.has(Flags::NAT_T_KEEPALIVE) && listens_on(engine, local) {
        let due = now.checked_add(FIRST_KEEPALIVE);
        clock.keepalive = due.map(|due| engine.timers.set(due, Timer::Keepalive(id)));
    }
    engine.phase2.clocks.insert(id, clock);
    entered(engine, id);
    if flags.has(Flags::DPD) {
        liveness::start(engine, now, id);
    }
}

fn listens_on(engine: &Engine, local: SocketAddr) -> bool {
    engine.local_addresses.is_empty()
        || engine
            .local_addresses
            .iter()
            .any(|address| address.ip() == local.ip() || address.ip().is_unspecified())
}

/// A NAT's mapping is kept.
pub(crate) fn keepalive(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(path) = engine.sas.phase1(id).map(|sa| sa.path) else {
        return;
    };
    engine.send_keepalive(path);
    let interval = engine.general.nat_t_keepalive.max(Duration::from_secs(1));
    let timer = now
        .checked_add(interval)
        .map(|due| engine.timers.set(due, Timer::Keepalive(id)));
    if let Some(clock) = engine.phase2.clocks.get_mut(&id) {
        clock.keepalive = timer;
    }
}

/// A suite is installed: enters it, with its timers and flags, and marks those that it replaces.
pub(crate) fn phase2_ready(
    engine: &mut Engine,
    now: Instant,
    isakmp: Option<SaId>,
    mut suite: IpsecSa,
) {
    let id = suite.id;
    let kept_up = suite
        .name
        .as_deref()
        .is_some_and(|name| engine.phase2.connections.has(name));
    if kept_up {
        suite.flags.set(Flags::STAY_ALIVE);
        if let Some(sa) = isakmp.and_then(|isakmp| engine.sas.phase1_mut(isakmp)) {
            sa.flags.set(Flags::STAY_ALIVE);
        }
    }
    suite.since = now;
    let named: Vec<SaId> = suite
        .name
        .as_deref()
        .into_iter()
        .flat_map(|name| engine.sas.named(2, name))
        .filter(|other| {
            engine.sas.phase2(*other).is_some_and(|other| {
                other.phase1_local_id == suite.phase1_local_id
                    && other.phase1_remote_id == suite.phase1_remote_id
            })
        })
        .collect();
    for older in named.into_iter().chain(engine.phase2.with_flow_of(&suite)) {
        if let Some(sa) = engine.sas.phase2_mut(older) {
            sa.flags.set(Flags::REPLACED);
            engine
                .journal
                .debug(Class::Sa, 60, || marked(older, sa.name.as_deref()));
        }
    }
    let mut clock = Clock::default();
    if !engine.phase2.no_phase2_expiry {
        if let Some((soft, hard)) = ends(engine, now, id, suite.lifetime) {
            clock.soft = Some(engine.timers.set(soft, Timer::Phase2Soft(id)));
            clock.hard = Some(engine.timers.set(hard, Timer::Phase2Hard(id)));
            suite.soft = Some(soft);
            suite.hard = Some(hard);
        }
    }
    engine.phase2.clocks.insert(id, clock);
    entered(engine, id);
    engine.phase2.enter(&suite);
    engine.sas.insert_phase2(suite);
}

/// Nobody answered a Quick Mode under this ISAKMP SA: the peer may have forgotten it. The next one begins with phase 1.
/// (The original went on with it until it ran out.)
pub(crate) fn unanswered(engine: &mut Engine, isakmp: Option<SaId>) {
    if let Some(sa) = isakmp.and_then(|isakmp| engine.sas.phase1_mut(isakmp)) {
        sa.flags.set(Flags::FADING);
    }
}

/// Whether an SA is to be negotiated anew when it runs out.
fn renewable(flags: Flags) -> bool {
    flags.has(Flags::STAY_ALIVE) && !flags.has(Flags::REPLACED)
}

pub(crate) fn phase1_soft(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase1_mut(id) else {
        return;
    };
    sa.soft = None;
    match &sa.name {
        Some(name) if renewable(sa.flags) => {
            let name = Rc::clone(name);
            engine.establish_peer(now, &name, true);
        }
        _ => sa.flags.set(Flags::FADING),
    }
}

pub(crate) fn phase1_hard(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase1(id) else {
        return;
    };
    let name = sa.name.clone().filter(|_| renewable(sa.flags));
    delete::delete_sa(engine, now, id, true);
    if let Some(name) = name {
        engine.establish_peer(now, &name, true);
    }
}

pub(crate) fn phase2_soft(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase2_mut(id) else {
        return;
    };
    sa.soft = None;
    match &sa.name {
        Some(name) if renewable(sa.flags) => {
            let name = Rc::clone(name);
            engine.establish(now, &name, true);
        }
        _ => sa.flags.set(Flags::FADING),
    }
}

pub(crate) fn phase2_hard(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase2(id) else {
        return;
    };
    let name = sa.name.clone().filter(|_| renewable(sa.flags));
    delete::delete_sa(engine, now, id, true);
    if let Some(name) = name {
        engine.establish(now, &name, true);
    }
}

impl Engine {
    /// The kernel says that an SA ran out. A suite counts as one: any of its SAs stands for all.
    pub fn handle_expire(&mut self, now: Instant, expire: Expire) {
        self.refresh();
        let incoming = self.sas.with_incoming_spi(expire.protocol, expire.spi);
        let outgoing = self.sas.with_outgoing_spi(expire.protocol, expire.spi);
        let candidates: Vec<(SaId, bool)> = incoming
            .map(|id| (id, true))
            .chain(outgoing.map(|id| (id, false)))
            .collect();
        let found = candidates.into_iter().find_map(|(id, incoming)| {
            let sa = self.sas.phase2(id)?;
            let end = if incoming {
                sa.path.local
            } else {
                sa.path.remote
            };
            (end.ip() == expire.destination).then_some(id)
        });
        let Some(sa) = found.and_then(|id| self.sas.phase2(id)) else {
            return;
        };
        let (id, flags) = (sa.id, sa.flags);
        let again = !flags.has(Flags::REPLACED)
            && (flags.has(Flags::STAY_ALIVE) || (flags.has(Flags::ON_DEMAND) && expire.used));
        let name = sa.name.clone().filter(|_| again);
        self.journal.debug(Class::SystemDependent, 20, || {
            format!(
                "{} dst {} SPI {:x} sproto {}",
                if expire.hard { "HARD" } else { "SOFT" },
                expire.destination,
                expire.spi,
                expire.protocol
            )
        });
        if expire.hard {
            // By octets the end comes on one side alone: what it did not send the other one does not count.
            delete::delete_sa(self, now, id, true);
        }
        if let Some(name) = name {
            self.establish(now, &name, flags.has(Flags::STAY_ALIVE));
        }
    }

    /// Without this the engine's own clock ends IPsec SAs when their life in seconds is over. With `-n` the original
    /// lets them live until they are deleted.
    pub fn set_phase2_expiry(&mut self, watched: bool) {
        self.phase2.no_phase2_expiry = !watched;
    }

    /// `Renegotiate-on-HUP`: every suite that is not being negotiated anew already expires softly.
    pub(crate) fn renegotiate(&mut self, now: Instant) {
        let due: Vec<SaId> = self
            .sas
            .all_phase2()
            .filter(|sa| sa.soft.is_some())
            .filter(|sa| {
                sa.name
                    .as_deref()
                    .is_none_or(|name| self.running(2, name).is_none())
            })
            .map(|sa| sa.id)
            .collect();
        for id in due {
            let soft = self
                .phase2
                .clocks
                .get_mut(&id)
                .and_then(|clock| clock.soft.take());
            if let Some(timer) = soft {
                self.timers.cancel(timer);
            }
            phase2_soft(self, now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_is_between_85_and_94_9_percent() {
        let all: Vec<u64> = (0..=u16::MAX)
            .map(|r| soft_life(1000, r.to_be_bytes()).as_secs())
            .collect();
        assert_eq!(all.iter().min(), Some(&850));
        assert_eq!(all.iter().max(), Some(&949));
        assert_eq!(soft_life(8, [0, 0]), Duration::from_secs(6));
        assert_eq!(soft_life(u32::MAX, [0, 99]).as_secs(), 4_075_923_962);
    }
}
