//! How connections become encrypted, end, and are forgotten.

use std::time::Instant;

use crate::conn::{Established, Identity, Next};
use crate::event::Line;
use crate::packet::FourTuple;

use super::table::State;
use super::tombstones::{Ended, How};
use super::{Endpoint, FRESH};

impl Endpoint {
    /// Encryption is on.
    pub(super) fn encrypted(&mut self, tuple: &FourTuple, established: Box<Established>) {
        let count = match established.is_resumed() {
            true => &mut self.stats.resumed,
            false => &mut self.stats.exchanged,
        };
        *count = count.saturating_add(1);
        let limits = &self.services.config.limits;
        self.table
            .change(tuple, State::Encrypted(established), limits);
        if self.fresh.len() < FRESH {
            self.fresh.push(*tuple);
        }
        self.answer_waiting(tuple);
    }

    /// Removes a connection that is plain, or that never came to be. An encrypted one may only go this way when
    /// the local TCP has none of it any more.
    pub(super) fn forget(&mut self, tuple: &FourTuple) {
        let Some(connection) = self.table.remove(tuple) else {
            return;
        };
        self.services.outbox.owes_nothing(tuple);
        let mut cx = self.services.context(self.now);
        match connection.state {
            State::Active(mut machine) => machine.give_up(&mut cx),
            State::Passive(mut machine) => machine.give_up(&mut cx),
            State::Unwanted(..) | State::Encrypted(_) | State::Ended(_) => {}
        }
        if let Some(mut machine) = connection.successor.and_then(|next| next.machine) {
            machine.give_up(&mut cx);
        }
        self.answer_waiting(tuple);
    }

    /// An encrypted connection is closed: a tombstone takes its place.
    pub(super) fn closed(&mut self, tuple: &FourTuple) {
        let Some(connection) = self.table.get_mut(tuple) else {
            return;
        };
        let State::Encrypted(established) = &mut connection.state else {
            return;
        };
        let mut packet = Vec::new();
        while let Some(direction) = established.flow.poll_transmit(&mut packet) {
            let packet = std::mem::take(&mut packet);
            self.services
                .outbox
                .push(direction, tuple.interface(), packet);
        }
        let how = How::Closed(established.flow.tombstone());
        let id = Some(established.identity());
        self.end(tuple, how, id);
    }

    fn end(&mut self, tuple: &FourTuple, how: How, id: Option<Identity>) {
        self.services.outbox.owes_nothing(tuple);
        let limits = self.services.config.limits;
        let until = self.now.checked_add(limits.tombstone_time);
        let place = self.table.order.add(*tuple, until.unwrap_or(self.now));
        let ended = Box::new(Ended { how, id, place });
        self.table.change(tuple, State::Ended(ended), &limits);
        self.bury(self.now);
        self.answer_waiting(tuple);
    }

    /// The local TCP has not taken the end of a connection yet, so its tombstone stays as long as from now on.
    pub(super) fn linger(&mut self, tuple: &FourTuple) {
        let until = self
            .now
            .checked_add(self.services.config.limits.tombstone_time);
        let place = self.table.order.add(*tuple, until.unwrap_or(self.now));
        if let Some(connection) = self.table.get_mut(tuple) {
            if let State::Ended(ended) = &mut connection.state {
                ended.place = place;
            }
        }
        self.bury(self.now);
    }

    /// Forgets connections that ended long ago, or that are too many.
    pub(super) fn bury(&mut self, now: Instant) {
        let limit = self.services.config.limits.tombstones;
        while let Some((place, tuple)) = self.table.order.pop(now, limit) {
            let connection = self.table.get(&tuple);
            let is_it = connection.is_some_and(|connection| match &connection.state {
                State::Ended(ended) => ended.place == place,
                _ => false,
            });
            if is_it {
                self.forget(&tuple);
            }
        }
    }

    /// Ends a connection that is encrypted or about to be, at both ends. One that nobody has agreed to encrypt
    /// is forgotten.
    pub(super) fn abort(&mut self, tuple: &FourTuple) {
        let Some(connection) = self.table.get_mut(tuple) else {
            return;
        };
        let cx = self.services.context(self.now);
        let outbox = &mut *cx.outbox;
        let id = match &mut connection.state {
            State::Active(machine) => {
                if machine.is_unanswered() {
                    return self.forget(tuple);
                }
                machine.ends().reset(*tuple, outbox);
                None
            }
            State::Passive(machine) => {
                if !machine.has_answered() {
                    return self.forget(tuple);
                }
                machine.ends().reset(*tuple, outbox);
                None
            }
            State::Encrypted(established) => {
                established.flow.reset();
                let mut packet = Vec::new();
                while let Some(direction) = established.flow.poll_transmit(&mut packet) {
                    let packet = std::mem::take(&mut packet);
                    outbox.push_last(direction, tuple.interface(), packet);
                }
                Some(established.identity())
            }
            State::Unwanted(..) => return self.forget(tuple),
            State::Ended(_) => return,
        };
        cx.events.line(Line::SendingRst);
        self.stats.reset = self.stats.reset.saturating_add(1);
        self.end(tuple, How::Reset, id);
    }

    /// A handshake that a peer began gives way to a newer one.
    pub(super) fn give_way(&mut self, tuple: &FourTuple) {
        self.services.events.line(Line::HalfOpenEvicted);
        if let Some(connection) = self.table.get_mut(tuple) {
            if let State::Passive(machine) = &connection.state {
                machine.ends().give_way(*tuple, &mut self.services.outbox);
            }
        }
        self.forget(tuple);
    }

    /// What is due for one connection.
    pub(super) fn timeout(&mut self, tuple: &FourTuple) {
        let now = self.now;
        let limits = self.services.config.limits;
        let Some(connection) = self.table.get_mut(tuple) else {
            return;
        };
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let mut cx = self.services.context(now);
        // Anybody can send a SYN, and what it made is not to stay as long as a connection.
        let began = connection.successor_began();
        if began.is_some_and(|began| is_over(began, limits.handshake)) {
            if let Some(mut machine) = connection.successor.take().and_then(|it| it.machine) {
                machine.give_up(&mut cx);
            }
        }
        let next = match &mut connection.state {
            State::Unwanted(it) if is_over(it.since, limits.handshake) => Next::Over,
            State::Unwanted(..) => Next::Stay,
            State::Active(machine) if is_over(machine.started(), limits.handshake) => {
                match machine.is_unanswered() {
                    true => Next::Over,
                    false => Next::Failed(Line::RetransmitTimeout),
                }
            }
            State::Passive(machine) if is_over(machine.started(), limits.handshake) => {
                match machine.is_agreed() {
                    true => Next::Failed(Line::RetransmitTimeout),
                    false => Next::Over,
                }
            }
            State::Active(machine) => machine.timeout(&mut cx),
            State::Passive(machine) => machine.timeout(&mut cx),
            State::Encrypted(established) => {
                established.flow.handle_timeout(now);
                if !connection.ready {
                    connection.ready = true;
                    self.ready.push_back(*tuple);
                }
                let given_up = established.flow.is_given_up(now);
                match given_up || is_over(established.seen, limits.idle) {
                    // Forgotten it would go on in the clear.
                    true => return self.abort(tuple),
                    false => Next::Stay,
                }
            }
            State::Ended(_) => Next::Stay,
        };
        match next {
            Next::Failed(line) => {
                self.services.events.line(line);
                self.abort(tuple);
            }
            Next::Over | Next::Plain => self.forget(tuple),
            // No machine gets there without a packet.
            Next::Stay
            | Next::Agreeing
            | Next::Accepting(_)
            | Next::Encrypted(_)
            | Next::EncryptedFromHere(_) => {}
        }
    }
}
