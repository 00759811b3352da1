//! Whether peers are still there: dead peer detection at work (isakmpd-wire 4.4).

use std::time::{Duration, Instant};

use isakmp_proto::number::{Doi, NotifyType, Protocol};
use isakmp_proto::payload::Notify;

use crate::delete;
use crate::dpd::{Doing, Dpd, MOST_QUESTIONS, PROBE_WAIT, remainder};
use crate::engine::Engine;
use crate::engine::timers::Timer;
use crate::event::Event;
use crate::exchange::informational;
use crate::journal::Class;
use crate::kernel::{Idle, Request, Ticket};
use crate::random::Purpose;
use crate::sa::{Flags, SaId};

/// Begins to look after the peer of an ISAKMP SA, if that is configured.
pub(crate) fn start(engine: &mut Engine, now: Instant, id: SaId) {
    match engine.general.dpd_check_interval {
        Some(interval) => {
            engine
                .journal
                .debug(Class::Exchange, 10, || "dpd_enable: enabling".to_owned());
            wait(engine, now, id, interval);
        }
        None => {
            if let Some(sa) = engine.sas.phase1_mut(id) {
                sa.flags.clear(Flags::DPD);
            }
        }
    }
}

/// No more probes: another SA does it.
pub(crate) fn stop(engine: &mut Engine, id: SaId) {
    if let Some(clock) = engine.phase2.clocks.get_mut(&id) {
        if let Some(timer) = clock.liveness.take() {
            engine.timers.cancel(timer);
        }
        if let Some(dpd) = &mut clock.dpd {
            dpd.doing = Doing::Nothing;
        }
    }
}

fn dpd(engine: &mut Engine, id: SaId) -> Option<&mut Dpd> {
    let clock = engine.phase2.clocks.get_mut(&id)?;
    Some(clock.dpd.get_or_insert_default())
}

fn set(engine: &mut Engine, now: Instant, id: SaId, doing: Doing, wait: Duration) {
    let Some(due) = now.checked_add(wait) else {
        return;
    };
    let Some(clock) = engine.phase2.clocks.get_mut(&id) else {
        return;
    };
    if let Some(timer) = clock.liveness.take() {
        engine.timers.cancel(timer);
    }
    clock.liveness = Some(engine.timers.set(due, Timer::Dpd(id)));
    clock.dpd.get_or_insert_default().doing = doing;
}

fn wait(engine: &mut Engine, now: Instant, id: SaId, time: Duration) {
    if let Some(dpd) = dpd(engine, id) {
        dpd.alive();
    }
    set(engine, now, id, Doing::Waiting, time);
}

/// The timer of an ISAKMP SA.
pub(crate) fn due(engine: &mut Engine, now: Instant, id: SaId) {
    if let Some(clock) = engine.phase2.clocks.get_mut(&id) {
        clock.liveness = None;
    }
    let Some(sa) = engine.sas.phase1(id) else {
        return;
    };
    let suites = engine.phase2.with_ids(&sa.local_id, &sa.remote_id);
    let suites: Vec<SaId> = suites.take(MOST_QUESTIONS).collect();
    let Some(dpd) = dpd(engine, id) else { return };
    match &dpd.doing {
        Doing::Nothing => {}
        Doing::Waiting => ask(engine, now, id, suites),
        // The kernel says nothing: the peer shall.
        Doing::Asking(_) => probe(engine, now, id),
        Doing::Probing => match dpd.unanswered() {
            Some(sequence) => {
                engine.journal.debug(Class::Message, 10, || {
                    "dpd_check_event: peer not responding, retry".to_owned()
                });
                send(engine, now, id, NotifyType::DPD_R_U_THERE, sequence);
                set(engine, now, id, Doing::Probing, PROBE_WAIT);
            }
            None => dead(engine, now, id),
        },
    }
}

/// Asks the kernel about the first of these suites; none left: asks the peer.
fn ask(engine: &mut Engine, now: Instant, id: SaId, mut suites: Vec<SaId>) {
    while let Some(suite) = suites.first() {
        let asked = engine.sas.phase2(*suite).and_then(|suite| {
            suite
                .protocols
                .iter()
                .find(|sa| Protocol(sa.protocol) != Protocol::IPCOMP)
                .map(|sa| (sa.protocol, sa.incoming_spi, suite.path))
        });
        let Some((protocol, spi, path)) = asked else {
            suites.remove(0);
            continue;
        };
        let ticket = Ticket(engine.fresh_id());
        engine.phase2.questions.insert(ticket, id);
        set(engine, now, id, Doing::Asking(suites), PROBE_WAIT);
        engine.emit(Event::Kernel(Request::LastUse {
            ticket,
            protocol,
            spi,
            local: path.local,
            remote: path.remote,
        }));
        return;
    }
    probe(engine, now, id);
}

fn probe(engine: &mut Engine, now: Instant, id: SaId) {
    let mut random = [0; 2];
    engine.random.fill(Purpose::DpdSequence, &mut random);
    let Some(dpd) = dpd(engine, id) else { return };
    let sequence = dpd.next_sequence(random);
    if let Some(peer) = engine.sas.phase1(id).map(|sa| sa.path.remote.ip()) {
        engine.journal.debug(Class::Message, 30, || {
            format!("dpd_event: sending R_U_THERE to {peer} seq {sequence}")
        });
    }
    send(engine, now, id, NotifyType::DPD_R_U_THERE, sequence);
    set(engine, now, id, Doing::Probing, PROBE_WAIT);
}

fn send(engine: &mut Engine, now: Instant, id: SaId, notify_type: NotifyType, sequence: u32) {
    let Some(sa) = engine.sas.phase1(id) else {
        return;
    };
    let notify = Notify {
        doi: Doi::IPSEC,
        protocol: Protocol::ISAKMP,
        spi: delete::cookies_of(sa).to_vec(),
        notify_type,
        data: sequence.to_be_bytes().to_vec(),
    };
    informational::send_notify(engine, now, id, notify);
}

/// The fifth probe was not answered: everything of that peer goes, and nobody is told. But where another ISAKMP SA
/// with the same identities is there (this one may be known to us alone, since the last message of phase 1 got lost),
/// only what was made under this one goes, and the other is looked after from now on.
fn dead(engine: &mut Engine, now: Instant, id: SaId) {
    let Some(sa) = engine.sas.phase1(id) else {
        return;
    };
    let cookies = (sa.initiator_cookie, sa.responder_cookie);
    let other = engine
        .sas
        .with_peer(1, sa.path.remote.into())
        .rev()
        .filter(|other| *other != id)
        .find(|other| {
            engine.sas.phase1(*other).is_some_and(|other| {
                other.local_id == sa.local_id && other.remote_id == sa.remote_id
            })
        });
    let suites: Vec<SaId> = engine
        .phase2
        .with_ids(&sa.local_id, &sa.remote_id)
        .filter(|suite| {
            other.is_none()
                || engine.sas.phase2(*suite).is_some_and(|suite| {
                    (suite.initiator_cookie, suite.responder_cookie) == cookies
                })
        })
        .collect();
    engine.journal.debug(Class::Message, 10, || {
        "dpd_check_event: peer is dead, deleting all SAs connected to SA".to_owned()
    });
    for suite in suites {
        engine.journal.debug(Class::Message, 30, || {
            format!("dpd_check_event: deleting SA {}", suite.0)
        });
        delete::delete_sa(engine, now, suite, false);
    }
    engine.journal.debug(Class::Message, 30, || {
        format!("dpd_check_event: deleting ISAKMP SA {}", id.0)
    });
    delete::delete_sa(engine, now, id, false);
    if let Some(other) = other {
        if let Some(sa) = engine.sas.phase1_mut(other) {
            sa.flags.clear(Flags::REPLACED);
            if sa.flags.has(Flags::DPD) {
                start(engine, now, other);
            }
        }
    }
}

/// An authentic R-U-THERE (`question`) or R-U-THERE-ACK came.
pub(crate) fn received(engine: &mut Engine, now: Instant, id: SaId, question: bool, number: u32) {
    let name = if question {
        NotifyType::DPD_R_U_THERE
    } else {
        NotifyType::DPD_R_U_THERE_ACK
    };
    engine.journal.debug(Class::Message, 40, || {
        format!("dpd_handle_notify: got {name} seq {number}")
    });
    let Some(dpd) = dpd(engine, id) else { return };
    if question {
        if let Err(last) = dpd.r_u_there(number) {
            return engine.journal.plain(format!(
                "dpd_handle_notify: bad R_U_THERE seqno {number} <= {last}"
            ));
        }
        send(engine, now, id, NotifyType::DPD_R_U_THERE_ACK, number);
    } else if let Err(expected) = dpd.acknowledged(number) {
        return engine.journal.plain(format!(
            "dpd_handle_notify: got bad ACK seqno {number}, expected {expected}"
        ));
    }
    let watched = engine
        .sas
        .phase1(id)
        .is_some_and(|sa| sa.flags.has(Flags::DPD) && !sa.flags.has(Flags::REPLACED));
    if let (true, Some(interval)) = (watched, engine.general.dpd_check_interval) {
        wait(engine, now, id, interval);
    }
}

impl Engine {
    /// The kernel's answer to `Request::LastUse`.
    pub fn handle_last_use(&mut self, now: Instant, ticket: Ticket, idle: Idle) {
        self.refresh();
        let Some(id) = self.phase2.questions.remove(&ticket) else {
            return;
        };
        let Some(dpd) = dpd(self, id) else { return };
        let Doing::Asking(suites) = &dpd.doing else {
            return;
        };
        let left: Vec<SaId> = suites.iter().skip(1).copied().collect();
        if let (Some(asked), Some(idle)) = (suites.first(), idle) {
            let (asked, idle) = (asked.0, idle.as_secs());
            self.journal.debug(Class::Message, 80, || {
                format!("dpd_check_time: SA {asked} last use {idle} second(s) ago")
            });
        }
        let Some(interval) = self.general.dpd_check_interval else {
            return stop(self, id);
        };
        match idle {
            Some(idle) if idle < interval => wait(self, now, id, remainder(interval, idle)),
            _ => ask(self, now, id, left),
        }
    }
}
