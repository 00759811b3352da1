//! What happens when: one ordered table for the whole engine.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use crate::exchange::ExchangeId;
use crate::sa::SaId;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// `Exchange-max-time` is over.
    ExchangeDeadline(ExchangeId),
    /// The last message of an exchange is sent again, or the peer given up.
    Retransmit(ExchangeId),
    /// An ISAKMP SA is negotiated anew.
    Phase1Soft(SaId),
    /// An ISAKMP SA ends.
    Phase1Hard(SaId),
    /// A suite of IPsec SAs is negotiated anew.
    Phase2Soft(SaId),
    /// A suite of IPsec SAs ends.
    Phase2Hard(SaId),
    /// Dead peer detection looks at an ISAKMP SA.
    Dpd(SaId),
    /// A NAT keepalive of an ISAKMP SA.
    Keepalive(SaId),
    /// A connection to be kept up is looked at.
    Connection(Rc<str>),
    /// The connection lists are made anew.
    Rebuild,
}

/// Names a timer, so that it can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId(Instant, u64);

impl TimerId {
    /// When it is due.
    #[must_use]
    pub(crate) fn due(self) -> Instant {
        self.0
    }
}

/// All timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    table: BTreeMap<TimerId, Timer>,
    next: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, due: Instant, timer: Timer) -> TimerId {
        self.next = self.next.wrapping_add(1);
        let id = TimerId(due, self.next);
        self.table.insert(id, timer);
        id
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.table.remove(&id);
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.table.first_key_value().map(|(id, _)| id.0)
    }

    /// The first timer that is due by `now`, taken out.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.table.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// In the order in which they are due.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, &Timer)> {
        self.table.iter().map(|(id, timer)| (id.0, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn in_order_of_time_then_of_setting() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let later = start + Duration::from_secs(2);
        timers.set(later, Timer::Rebuild);
        timers.set(start, Timer::Phase1Soft(SaId(1)));
        let gone = timers.set(start, Timer::Phase1Hard(SaId(1)));
        timers.set(start, Timer::Dpd(SaId(1)));
        timers.cancel(gone);
        assert_eq!(timers.next_due(), Some(start));
        assert_eq!(timers.pop(start), Some(Timer::Phase1Soft(SaId(1))));
        assert_eq!(timers.pop(start), Some(Timer::Dpd(SaId(1))));
        assert_eq!(timers.pop(start), None);
        assert_eq!(timers.pop(later), Some(Timer::Rebuild));
    }
}
