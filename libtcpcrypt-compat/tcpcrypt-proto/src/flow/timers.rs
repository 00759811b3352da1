//! What a flow does by the clock.

use std::time::{Duration, Instant};

/// How long a record may stay incomplete before the local TCP is made to acknowledge what came of it
/// (tcpcrypt-datapath 2.8, rule 5): longer than the rest takes that is on its way, shorter than the peer waits
/// before it sends again.
const INCOMPLETE: Duration = Duration::from_millis(40);

/// How long without a packet until buffers are freed that are larger than short messages need. What many connections
/// held at the same time the process keeps.
const REST: Duration = Duration::from_millis(250);

/// How long the local TCP may be silent while the peer has not acknowledged all of what it sent: Linux's 15
/// attempts (`tcp_retries2`), 120 s apart at most (`TCP_RTO_MAX`). It repeats what is not acknowledged, or asks
/// after a closed window, until it gives up, which it does without a word. Less time would be enough if each
/// attempt came by here, but those of a host that has lost its route do not.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(15 * 120);

/// Deadlines move with each packet, so a timer that runs out looks whether it still holds. It is set again
/// then, instead of with each packet.
pub(super) struct Timers {
    last_packet: Instant,
    /// Of the local TCP.
    last_outgoing: Instant,
    rest_at: Option<Instant>,
    incomplete_at: Option<Instant>,
    /// How much had come when the timer was set.
    received: i64,
    /// How much had come when it last ran out.
    told: i64,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_packet: now,
            last_outgoing: now,
            rest_at: None,
            incomplete_at: None,
            received: -1,
            told: -1,
        }
    }

    /// There was a packet.
    pub(super) fn active(&mut self, now: Instant) {
        self.last_packet = now;
    }

    /// There is something to be freed when the connection is silent. With a timer for each connection that speaks
    /// there would be as many of them as questions.
    pub(super) fn rest_later(&mut self) {
        if self.rest_at.is_none() {
            self.rest_at = self.last_packet.checked_add(REST);
        }
    }

    /// There was a packet of the local TCP.
    pub(super) fn outgoing(&mut self, now: Instant) {
        self.last_outgoing = now;
        self.active(now);
    }

    /// When the latest packet of the local TCP came.
    pub(super) fn last_outgoing(&self) -> Instant {
        self.last_outgoing
    }

    /// When a local TCP that awaits an acknowledgement has given up, if it stays silent.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        self.last_outgoing.checked_add(GIVEN_UP)
    }

    /// A record is incomplete, with all before `received` there.
    pub(super) fn incomplete(&mut self, now: Instant, received: i64) {
        if self.incomplete_at.is_none() && self.told != received {
            self.incomplete_at = now.checked_add(INCOMPLETE);
            self.received = received;
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        match (self.incomplete_at, self.rest_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether a record has been incomplete for the whole time. `received` is how much there is of it now, if
    /// there is one.
    pub(super) fn incomplete_is_due(&mut self, now: Instant, received: Option<i64>) -> bool {
        if self.incomplete_at.is_none_or(|at| now < at) {
            return false;
        }
        self.incomplete_at = None;
        match received {
            Some(received) if received == self.received => {
                self.told = received;
                true
            }
            Some(received) => {
                self.incomplete(now, received);
                false
            }
            None => false,
        }
    }

    /// Whether nothing came for long.
    pub(super) fn rest_is_due(&mut self, now: Instant) -> bool {
        if self.rest_at.is_none_or(|at| now < at) {
            return false;
        }
        let due = self.last_packet.checked_add(REST);
        if due.is_some_and(|due| now < due) {
            self.rest_at = due;
            return false;
        }
        self.rest_at = None;
        true
    }
}
