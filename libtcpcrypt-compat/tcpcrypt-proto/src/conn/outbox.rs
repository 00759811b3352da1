//! Packets of the handshake that wait to be sent, a bounded number of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::packet::{Direction, FourTuple, Fresh};

/// Acknowledgements that may be owed at once; one more, and the oldest is sent.
const OWED: usize = 64;

/// How long one may be owed, if there is always something else to do.
const LONGEST_OWED: Duration = Duration::from_millis(1);

/// A queue of whole packets.
pub(crate) struct Outbox {
    queue: VecDeque<(Direction, u32, Vec<u8>)>,
    limit: usize,
    /// The oldest first.
    owed: VecDeque<(Instant, Fresh)>,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            limit,
            owed: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a packet of an interface (0: of any). What does not fit is lost like any packet; who needs it
    /// sends it again.
    pub(crate) fn push(&mut self, direction: Direction, interface: u32, packet: Vec<u8>) {
        if self.queue.len() < self.limit {
            self.queue.push_back((direction, interface, packet));
        }
    }

    /// Queues the last packets of a connection, beyond the bound: there are three for each at most.
    pub(crate) fn push_last(&mut self, direction: Direction, interface: u32, packet: Vec<u8>) {
        self.queue.push_back((direction, interface, packet));
    }

    /// Queues the reset of a connection, which is one of its last packets.
    pub(crate) fn reset(&mut self, fresh: &Fresh) {
        let mut packet = Vec::new();
        if fresh.write(&[], &mut packet) {
            self.push_last(fresh.direction, fresh.tuple.interface(), packet);
        }
    }

    pub(crate) fn fresh(&mut self, fresh: &Fresh, payload: &[&[u8]]) {
        let mut packet = Vec::new();
        if fresh.write(payload, &mut packet) {
            self.push(fresh.direction, fresh.tuple.interface(), packet);
        }
    }

    /// Keeps an acknowledgement that the first segment of the connection makes superfluous: what the application
    /// wrote while there was no key is on its way to us once the local TCP has its window.
    pub(crate) fn owe(&mut self, now: Instant, fresh: Fresh) {
        if self.owed.len() >= OWED {
            self.pay_one();
        }
        self.owed.push_back((now, fresh));
    }

    /// A connection has sent a segment, or is over.
    pub(crate) fn owes_nothing(&mut self, tuple: &FourTuple) {
        if !self.owed.is_empty() {
            self.owed.retain(|(_, fresh)| fresh.tuple != *tuple);
        }
    }

    /// Whether an acknowledgement is owed.
    pub(crate) fn is_in_debt(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Until when the oldest must be sent.
    pub(crate) fn owed_until(&self) -> Option<Instant> {
        let (since, _) = self.owed.front()?;
        since.checked_add(LONGEST_OWED)
    }

    /// Sends what is owed.
    pub(crate) fn pay(&mut self) {
        while self.is_in_debt() {
            self.pay_one();
        }
    }

    /// Sends what must not wait any more.
    pub(crate) fn pay_due(&mut self, now: Instant) {
        while self.owed_until().is_some_and(|until| until <= now) {
            self.pay_one();
        }
    }

    fn pay_one(&mut self) {
        if let Some((_, fresh)) = self.owed.pop_front() {
            self.fresh(&fresh, &[]);
        }
    }

    /// Octets that wait.
    pub(crate) fn footprint(&self) -> usize {
        let packets = self.queue.iter();
        packets.map(|(_, _, packet)| packet.capacity()).sum()
    }

    /// Appends the next packet to `out`; gives its direction and interface.
    pub(crate) fn pop(&mut self, out: &mut Vec<u8>) -> Option<(Direction, u32)> {
        let (direction, interface, packet) = self.queue.pop_front()?;
        out.extend_from_slice(&packet);
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some((direction, interface))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{OWED, Outbox};
    use crate::packet::{Direction, FourTuple, Fresh};

    #[test]
    fn debts_are_few() {
        let mut outbox = Outbox::new(1000);
        let begin = Instant::now();
        let owe = |outbox: &mut Outbox, port: u16| {
            let (ours, theirs) = ([192, 0, 2, 1], [192, 0, 2, 2]);
            let tuple = FourTuple::of((ours, port).into(), (theirs, 80).into(), Direction::Out);
            outbox.owe(begin, Fresh::new(tuple, Direction::Out));
            tuple
        };
        for port in 1..=64 {
            owe(&mut outbox, port);
        }
        assert_eq!(OWED, 64);
        assert!(outbox.is_empty());
        let last = owe(&mut outbox, 65);
        let mut packet = Vec::new();
        outbox.pop(&mut packet).expect("the oldest");
        assert_eq!(packet.get(20..22), Some([0, 1].as_slice()));
        assert!(outbox.is_empty());
        outbox.owes_nothing(&last);
        outbox.pay_due(begin);
        assert!(outbox.is_empty());
        assert_eq!(outbox.owed_until(), Some(begin + Duration::from_millis(1)));
        outbox.pay_due(begin + Duration::from_millis(1));
        assert!(!outbox.is_in_debt());
        let packets = std::iter::from_fn(|| outbox.pop(&mut packet));
        assert_eq!(packets.count(), 63);
    }
}
