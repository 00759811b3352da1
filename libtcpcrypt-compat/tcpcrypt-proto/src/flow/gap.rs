//! What the local TCP lacks of the plaintext that it was given.
//!
//! On its last step a packet may be lost like on any other: the kernel has no memory for it, a queue is full.
//! The peer cannot know. It may have been told that all of it came, by SACK blocks, and sends it again only
//! after a time-out, a little each time. But the plaintext is kept here until it is acknowledged, and the local
//! TCP says by SACK blocks of its own what it has.

use std::time::{Duration, Instant};

use crate::packet::{View, options};

use super::Flow;

/// How long a gap may stay before it is filled from here: packets of our own may be overtaken by others. Shorter
/// than the peer waits before it sends again.
const PATIENCE: Duration = Duration::from_millis(20);

/// With each attempt it is twice as long; from here on it takes another word of the local TCP.
const MOST_PATIENCE: Duration = Duration::from_millis(640);

/// Octets that are repeated at once.
const AT_ONCE: i64 = 256 * 1024;

/// A gap in front of something that the local TCP has.
#[derive(Debug)]
pub(super) struct Gap {
    /// All before is acknowledged.
    from: i64,
    /// Here begins what it has.
    to: i64,
    patience: Duration,
    due: Option<Instant>,
}

impl Gap {
    /// When it is to be filled.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Flow {
    /// Looks what the local TCP has, by a packet of it whose acknowledgement was taken.
    pub(super) fn look_for_gap(&mut self, now: Instant, packet: &View<'_>) {
        let inbound = &self.inbound;
        let from = inbound.acked;
        if self.gap.as_ref().is_some_and(|gap| gap.from != from) {
            self.gap = None;
        }
        if from >= inbound.delivered || !self.options.sack {
            return;
        }
        // Blocks that report a duplicate begin before, or lie within another.
        let to = options::sack_blocks(packet.options())
            .map(|(left, _)| inbound.plain.place(left, inbound.delivered))
            .filter(|left| *left > from)
            .min();
        let Some(to) = to.map(|to| to.min(inbound.delivered)) else {
            return;
        };
        let gap = self.gap.get_or_insert(Gap {
            from,
            to,
            patience: PATIENCE,
            due: None,
        });
        gap.to = to;
        if gap.due.is_none() {
            gap.due = now.checked_add(gap.patience);
        }
    }

    /// Has the gap filled if it has stayed for long enough.
    pub(super) fn fill_gap(&mut self, now: Instant) {
        let Some(gap) = &mut self.gap else {
            return;
        };
        if gap.due.is_none_or(|due| now < due) {
            return;
        }
        self.repeating = Some((gap.from, gap.to.min(gap.from.saturating_add(AT_ONCE))));
        gap.patience = gap.patience.saturating_mul(2).min(MOST_PATIENCE);
        gap.due = match gap.patience < MOST_PATIENCE {
            true => now.checked_add(gap.patience),
            false => None,
        };
    }
}
