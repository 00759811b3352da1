//! Packets of the handshake that wait to be sent, a bounded number of them.

use std::collections::VecDeque;

use crate::packet::{Direction, Fresh};

/// A queue of whole packets.
pub(crate) struct Outbox {
    queue: VecDeque<(Direction, u32, Vec<u8>)>,
    limit: usize,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            limit,
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
