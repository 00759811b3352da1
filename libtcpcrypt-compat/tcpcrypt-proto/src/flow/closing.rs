//! The end of a connection: FIN, and who acknowledges it how (tcpcrypt spec 5.1); resets.
//!
//! The original in divert mode adds up the lengths of records for numbers that end one, and a FIN ends none.
//! So it acknowledges our FIN with a number that falls back behind what it acknowledged before, the "short"
//! one here, and understands none but that for its own. An ordinary TCP, such as that of the original in
//! redirect mode, acknowledges and awaits the true number.

use crate::packet::{Direction, Flags, Rewrite, Seq, View};

use super::acks::AckIn;
use super::{Flow, Step};

/// What is known about how the peer numbers a FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Nothing: it gets both numbers.
    Unknown,
    /// Truly.
    Ordinary,
    /// Shortly: the original in divert mode.
    Original,
}

impl Flow {
    /// Whether an acknowledgement from the wire for `place` is one of our FIN. All before it is acknowledged
    /// then as well.
    pub(super) fn acknowledges_fin(&mut self, packet: &View<'_>, place: i64) -> bool {
        let Some(fin) = self.out.fin else {
            return false;
        };
        let (base, end) = (self.out.map.base(), self.out.map.end());
        let (short, full) = (fin.saturating_add(1), end.wire.saturating_add(1));
        if place == full {
            if short != full {
                self.peer = Peer::Ordinary;
            }
            return true;
        }
        if place == short && self.out.fin_acked {
            return true;
        }
        if place != short || self.peer == Peer::Ordinary {
            return false;
        }
        // The same number may be that of a record's end. Where it is, or may be a late one, nothing is
        // believed: a FIN that is sent once more costs less than data that are lost.
        let is_fin = if base == end {
            true
        } else if place < base.wire {
            !self.is_late(packet)
        } else {
            self.out.map.at_or_before_wire(place).wire != place
        };
        if is_fin {
            self.peer = Peer::Original;
        }
        is_fin
    }

    /// Whether a packet from the wire was sent before another that came.
    fn is_late(&self, packet: &View<'_>) -> bool {
        match (self.timestamps_of(packet), self.latest_in.timestamps) {
            (Some((value, _)), Some((latest, _))) => Seq(value).lt(Seq(latest)),
            _ => false,
        }
    }

    /// Whether a FIN stands where the local TCP has acknowledged the end already, since a frame said so.
    pub(super) fn is_late_fin(&self, packet: &View<'_>, place: i64) -> bool {
        let inbound = &self.inbound;
        let end = place.saturating_add_unsigned(packet.payload().len() as u64);
        inbound.fin_acked
            && (inbound.awaits_fin() || inbound.fin_was_late)
            && end == inbound.received
    }

    /// Acknowledges such a FIN. The local TCP, which has no use for it, may have forgotten the connection; all it gets
    /// is what the packet says of the other direction.
    pub(super) fn take_late_fin(
        &mut self,
        packet: &View<'_>,
        ack: AckIn,
        says_more: bool,
        out: &mut Vec<u8>,
    ) -> Step {
        let inbound = &mut self.inbound;
        inbound.fin = Some(inbound.received);
        inbound.fin_was_late = true;
        let behind = inbound.received.saturating_add(1);
        self.latest_out.ack = inbound.wire.seq(behind);
        self.true_ack_due = true;
        if !says_more {
            return Step::Drop;
        }
        let awaited = inbound.plain.seq(inbound.awaited());
        let mut rewrite = self.rewrite_in(packet, ack.ack, true);
        rewrite.flags = rewrite.flags.without(Flags::FIN | Flags::PSH);
        rewrite.seq = awaited;
        rewrite.write(&[], out);
        Step::Replace
    }

    /// Whether a number from the wire is the one behind the peer's FIN.
    pub(super) fn is_behind_fin(&self, place: i64) -> bool {
        if !self.inbound.fin_delivered || self.inbound.awaits_fin() {
            return false;
        }
        place == self.inbound.received.saturating_add(1)
            || (self.peer != Peer::Ordinary && place == self.inbound.short_fin_ack())
    }

    /// The number of what we send next, as the peer counts.
    pub(super) fn next_wire_for_peer(&self) -> i64 {
        match (self.out.fin, self.peer) {
            (Some(fin), Peer::Original) => fin.saturating_add(1),
            _ => self.out.next_wire(),
        }
    }

    /// A reset by the local TCP.
    pub(super) fn outgoing_reset(&mut self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        self.reset = true;
        self.resends.clear();
        let mut rewrite = Rewrite::of(packet);
        rewrite.seq = self.empty_seq_out(packet);
        if packet.flags().has(Flags::ACK) {
            rewrite.ack = self.latest_out.ack;
        }
        rewrite.write(&[], out);
        Step::Replace
    }

    /// A reset from the wire. It counts if its number is exactly the awaited one (RFC 5961 section 3), which
    /// the local TCP is to decide: numbers that are wrong here are wrong there.
    pub(super) fn incoming_reset(&mut self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        let inbound = &self.inbound;
        let place = inbound.wire.place(packet.seq(), inbound.received);
        let (plain, exact) = if self.is_behind_fin(place) {
            (inbound.delivered.saturating_add(1), true)
        } else if place == inbound.wire_acked.saturating_add(inbound.fin_len()) {
            (inbound.awaited(), true)
        } else if place == inbound.received && !inbound.has_more() {
            let told = i64::from(inbound.awaits_fin());
            (inbound.delivered.saturating_add(told), true)
        } else if place < inbound.received {
            (inbound.awaited().saturating_sub(1), false)
        } else {
            let ahead = place.saturating_sub(inbound.received).max(1);
            (inbound.delivered.saturating_add(ahead), false)
        };
        let mut rewrite = Rewrite::of(packet);
        rewrite.seq = inbound.plain.seq(plain);
        if packet.flags().has(Flags::ACK) {
            rewrite.ack = self.latest_in.ack;
        }
        self.reset |= exact;
        rewrite.write(&[], out);
        Step::Replace
    }

    /// Ends the connection at both ends: the resets come from [`poll_transmit`](Self::poll_transmit), and
    /// nothing else does from then on. A [`Tombstone`](super::Tombstone) takes over.
    pub fn reset(&mut self) {
        self.reset = true;
        self.resends.clear();
        self.true_ack_due = false;
        self.nudge_due = false;
        self.resets_due = 2;
    }

    /// Appends a reset with the numbers that the receiver awaits: [`Direction::Out`] for the peer,
    /// [`Direction::In`] for the local TCP.
    pub fn reset_packet(&self, direction: Direction, out: &mut Vec<u8>) {
        let seq = match direction {
            Direction::Out => self.out.wire.seq(self.next_wire_for_peer()),
            Direction::In => {
                let fin = i64::from(self.inbound.fin_delivered);
                let place = self.inbound.delivered.saturating_add(fin);
                self.inbound.plain.seq(place)
            }
        };
        let mut fresh = self.fresh(direction, seq);
        fresh.flags = Flags::RST | Flags::ACK;
        fresh.window = 0;
        fresh.write(&[], out);
    }
}
