//! What stays of connections that were encrypted, so that nothing of them shows up in the clear (tcpcrypt spec
//! 5.1: the original forgets too early).

use std::collections::VecDeque;
use std::time::Instant;

use crate::conn::Identity;
use crate::flow::Tombstone;
use crate::packet::FourTuple;

/// A connection that has ended.
pub(super) struct Ended {
    pub how: How,
    /// Programs may ask for it a little longer. With the bits of the applications.
    pub id: Option<Identity>,
    /// In the [`Order`].
    pub place: u64,
}

/// How it ended.
pub(super) enum How {
    /// In order, or by a reset of one end: late segments are translated.
    Closed(Tombstone),
    /// We reset both ends. Whoever goes on is told again.
    Reset,
}

/// The connections that have ended, in the order in which they did.
#[derive(Default)]
pub(super) struct Order {
    queue: VecDeque<(Instant, u64, FourTuple)>,
    count: u64,
}

impl Order {
    /// Enters one that is kept until `until`; its place is what tells it from others on the same tuple.
    pub(super) fn add(&mut self, tuple: FourTuple, until: Instant) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.queue.push_back((until, self.count, tuple));
        self.count
    }

    /// Until when the first is kept.
    pub(super) fn first(&self) -> Option<Instant> {
        self.queue.front().map(|(until, _, _)| *until)
    }

    /// Takes the first if its time is over or there are more than `limit`.
    pub(super) fn pop(&mut self, now: Instant, limit: usize) -> Option<(u64, FourTuple)> {
        let over = |until: Instant| until <= now || self.queue.len() > limit;
        self.first().filter(|until| over(*until))?;
        let (_, place, tuple) = self.queue.pop_front()?;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some((place, tuple))
    }
}
