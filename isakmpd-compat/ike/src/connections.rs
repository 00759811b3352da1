//! Connections that are kept up, and what the operator asks for (isakmpd.md 4, 5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isakmp_proto::header::Cookie;

use crate::delete;
use crate::engine::timers::{Timer, TimerId};
use crate::engine::{Engine, Phase};
use crate::journal::Class;
use crate::sa::{Flags, SaId};

/// One connection to keep up.
struct Entry {
    name: Rc<str>,
    timer: TimerId,
    order: u64,
}

/// The connections to keep up. Names compare without regard to case.
#[derive(Default)]
pub(crate) struct Connections {
    entries: HashMap<String, Entry>,
    next: u64,
}

impl Connections {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(&name.to_ascii_lowercase())
    }

    /// In the order in which they came; with the time of the next look.
    pub(crate) fn list(&self) -> Vec<(Rc<str>, Instant)> {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by_key(|entry| entry.order);
        entries
            .iter()
            .map(|entry| (Rc::clone(&entry.name), entry.timer.due()))
            .collect()
    }

    fn insert(&mut self, name: Rc<str>, timer: TimerId) {
        self.next = self.next.wrapping_add(1);
        let key = name.to_ascii_lowercase();
        self.entries.insert(
            key,
            Entry {
                name,
                timer,
                order: self.next,
            },
        );
    }

    fn remove(&mut self, name: &str) -> Option<TimerId> {
        self.entries
            .remove(&name.to_ascii_lowercase())
            .map(|entry| entry.timer)
    }
}

/// Looks at a connection: without an SA it is negotiated. Looks again after `Check-interval`.
pub(crate) fn check(engine: &mut Engine, now: Instant, name: &Rc<str>) {
    let interval = engine.general.check_interval.max(Duration::from_secs(1));
    let Some(due) = now.checked_add(interval) else {
        return;
    };
    let key = name.to_ascii_lowercase();
    let Some(entry) = engine.phase2.connections.entries.get_mut(&key) else {
        return;
    };
    entry.timer = engine.timers.set(due, Timer::Connection(Rc::clone(name)));
    if !engine.active {
        return;
    }
    let exists = has_sa(engine, name);
    engine.journal.debug(Class::SystemDependent, 70, || {
        let state = if exists { "exists" } else { "missing" };
        format!("pf_key_v2_connection_check: SA for {name} {state}")
    });
    if !exists {
        engine.establish(now, name, true);
    }
}

fn has_sa(engine: &Engine, name: &str) -> bool {
    engine.sas.named(2, name).any(|id| {
        engine
            .sas
            .phase2(id)
            .is_some_and(|sa| !sa.flags.has(Flags::REPLACED))
    })
}

fn forget(engine: &mut Engine, name: &str) -> bool {
    match engine.phase2.connections.remove(name) {
        Some(timer) => {
            engine.timers.cancel(timer);
            true
        }
        None => false,
    }
}

impl Engine {
    /// Adds a connection to those that are kept up, and looks at it at once (with the next `handle_timeout`).
    pub fn keep_up(&mut self, now: Instant, connection: &str) {
        if self.phase2.connections.has(connection) {
            return self.journal.debug(Class::Misc, 10, || {
                format!("connection_setup: cannot add \"{connection}\" twice")
            });
        }
        let name: Rc<str> = connection.into();
        let timer = self.timers.set(now, Timer::Connection(Rc::clone(&name)));
        self.phase2.connections.insert(name, timer);
    }

    /// A packet wants this connection (the kernel's ACQUIRE): negotiated unless it is there; not kept up.
    pub fn acquire(&mut self, now: Instant, connection: &str) {
        self.refresh();
        if !has_sa(self, connection) {
            let name: Rc<str> = connection.into();
            self.establish(now, &name, false);
        }
    }

    /// A packet found the flow of this connection, but no SA for it (the kernel's ACQUIRE for a policy of ours): if we
    /// know of one, somebody else took it away. Negotiated anew in any case.
    pub fn lost(&mut self, now: Instant, connection: &str) {
        self.refresh();
        let name: Rc<str> = connection.into();
        self.establish(now, &name, false);
    }

    /// Makes the lists anew from the configuration: at start, at SIGHUP, after the FIFO changed them.
    pub fn rebuild_connections(&mut self, now: Instant) {
        self.refresh();
        self.journal.debug(Class::Misc, 30, || {
            "connection_reinit: reinitializing connection list".to_owned()
        });
        for (name, _) in self.phase2.connections.list() {
            forget(self, &name);
        }
        let connections = self.configuration.connections();
        for name in &connections {
            self.keep_up(now, name);
        }
        for name in self.configuration.passive_connections() {
            let nameless = match self.configuration.connection(&name) {
                Ok(connection) => connection.local_id.is_none(),
                Err(error) => {
                    self.journal.plain(error.to_string());
                    false
                }
            };
            if nameless {
                self.journal.plain(format!(
                    "connection_record_passive: \"Local-ID\" is missing from section [{name}]"
                ));
                let what = if connections.contains(&name) {
                    ""
                } else {
                    "passive "
                };
                self.journal.plain(format!(
                    "connection_init: could not record {what}connection \"{name}\""
                ));
            } else {
                self.journal.debug(Class::Misc, 60, || {
                    format!("connection_record_passive: passive connection \"{name}\" added")
                });
            }
        }
    }

    /// The same in a while: the FIFO changed the lists, and more changes may follow.
    pub fn rebuild_connections_at(&mut self, due: Instant) {
        self.timers.set(due, Timer::Rebuild);
    }

    /// Deletes the SAs of a connection or peer section, or of a peer by its address whatever its port, tells the
    /// peer, and no longer keeps the connection up. `false`: there was nothing of the kind.
    pub fn teardown(&mut self, now: Instant, phase: Phase, name: &str) -> bool {
        self.refresh();
        let number = match phase {
            Phase::One => 1,
            Phase::Two => 2,
        };
        let mut found = false;
        let ids: Vec<SaId> = match name.parse::<IpAddr>() {
            Ok(peer) => self.sas.with_peer_on_any_link(number, peer),
            Err(_) => {
                if phase == Phase::Two {
                    found |= forget(self, name);
                }
                self.abandon(number, name);
                self.sas.named(number, name).collect()
            }
        };
        for id in ids {
            found = true;
            self.forget_connection_of(id);
            delete::delete_sa(self, now, id, true);
        }
        found
    }

    /// Ends the exchanges of that section that are under way: their SA is not wanted any more.
    fn abandon(&mut self, phase: u8, name: &str) {
        let running: Vec<_> = self
            .exchanges
            .named(phase, name)
            .filter(|exchange| !exchange.done)
            .map(|exchange| exchange.id)
            .collect();
        for id in running {
            if let Some(exchange) = self.exchanges.take(id) {
                self.free(exchange);
            }
        }
    }

    fn forget_connection_of(&mut self, id: SaId) {
        let name = self.sas.phase2(id).and_then(|sa| sa.name.clone());
        if let Some(name) = name {
            forget(self, &name);
            self.abandon(2, &name);
        }
    }

    /// Deletes all IPsec SAs, tells the peers, and no longer keeps their connections up.
    pub fn teardown_all(&mut self, now: Instant) {
        self.refresh();
        self.journal
            .debug(Class::Sa, 70, || "sa_teardown_all:".to_owned());
        let ids: Vec<SaId> = self.sas.all_phase2().map(|sa| sa.id).collect();
        for id in ids {
            self.journal.debug(Class::Sa, 70, || {
                let name = self.sas.phase2(id).and_then(|sa| sa.name.as_deref());
                let name = name.unwrap_or("<unnamed>");
                format!("sa_teardown_all: tearing down SA {name}")
            });
            self.forget_connection_of(id);
            delete::delete_sa(self, now, id, true);
        }
    }

    /// Deletes the SA with these cookies (the initiator's first), of phase 1 or of that message ID, and tells the
    /// peer. `false`: there is none.
    pub fn delete(&mut self, now: Instant, cookies: [u8; 16], message_id: Option<u32>) -> bool {
        self.refresh();
        let (mut initiator, mut responder) = (Cookie::ZERO, Cookie::ZERO);
        let places = initiator.0.iter_mut().chain(responder.0.iter_mut());
        places
            .zip(cookies)
            .for_each(|(place, octet)| *place = octet);
        let found = match message_id {
            None => self.sas.find_phase1(initiator, responder),
            Some(message_id) => self
                .sas
                .all_phase2()
                .find(|sa| {
                    sa.message_id == message_id
                        && sa.initiator_cookie == initiator
                        && sa.responder_cookie == responder
                })
                .map(|sa| sa.id),
        };
        match found {
            Some(id) => {
                delete::delete_sa(self, now, id, true);
                true
            }
            None => false,
        }
    }

    /// Active: what is to be kept up is negotiated. Passive: nothing is initiated.
    pub fn set_active(&mut self, _now: Instant, active: bool) {
        self.active = active;
    }

    /// The configuration was read again: lists are made anew, and with `Renegotiate-on-HUP` every suite is
    /// negotiated anew.
    pub fn reinitialized(&mut self, now: Instant) {
        self.rebuild_connections(now);
        if self.general.renegotiate_on_hup {
            self.journal.debug(Class::Sa, 30, || {
                "sa_reinit: renegotiating active connections".to_owned()
            });
            self.renegotiate(now);
        }
    }

    /// Ends: DELETEs for all SAs, unless `-S` or `Delete-SAs= no` forbids it. `Event::Drained` follows when they are
    /// on their way.
    pub fn shutdown(&mut self, now: Instant) {
        self.refresh();
        if self.shutting_down {
            return;
        }
        self.shutting_down = true;
        for (name, _) in self.phase2.connections.list() {
            forget(self, &name);
        }
        for id in self.exchanges.ids() {
            if let Some(exchange) = self.exchanges.take(id) {
                self.free(exchange);
            }
        }
        if !self.tells_at_shutdown() {
            return;
        }
        let suites: Vec<SaId> = self.sas.all_phase2().map(|sa| sa.id).collect();
        let isakmp: Vec<SaId> = self.sas.all_phase1().map(|sa| sa.id).collect();
        for id in suites.into_iter().chain(isakmp) {
            delete::delete_sa(self, now, id, true);
        }
    }

    /// Whether peers are told of a shutdown.
    pub(crate) fn tells_at_shutdown(&self) -> bool {
        !self.options.passive && self.general.delete_sas
    }
}
