//! A segment from the wire on its way to the local TCP.

use crate::packet::{Flags, Rewrite, Seq, View, options};

use super::acks::AckIn;
use super::byte_store::MAX_SLICES;
use super::emit::{MAX_DELIVERY, timestamps};
use super::inbound::Taken;
use super::{Flow, Step};

/// A piece of plaintext for the local TCP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) from: i64,
    pub(super) to: i64,
    /// FIN, if the stream ends behind it.
    pub(super) fin: Flags,
}

impl Flow {
    pub(super) fn incoming_segment(&mut self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        let Some(ack) = self.ack_in(packet) else {
            return Step::Drop;
        };
        self.see_blocks(packet);
        let window = self.bounded(packet.window(), self.options.remote_window_scale);
        let window_changed = window != self.latest_in.window;
        self.latest_in.window = window;
        self.segment_size
            .saw_window(window, self.options.remote_window_scale);
        self.latest_in.timestamps = self.timestamps_of(packet);

        let fin = packet.flags().has(Flags::FIN);
        if packet.payload().is_empty() && !fin {
            if ack.inside && !ack.advances && !window_changed {
                // It would be one duplicate too many.
                return Step::Drop;
            }
            let place = self.inbound.wire.place(packet.seq(), self.inbound.received);
            let in_order = place <= self.inbound.received;
            let mut rewrite = self.rewrite_in(packet, ack.ack, in_order);
            rewrite.seq = self.empty_seq_in(packet);
            rewrite.write(&[], out);
            return Step::Replace;
        }
        let place = self.inbound.wire.place(packet.seq(), self.inbound.received);
        if fin && self.is_late_fin(packet, place) {
            let says_more = ack.advances || window_changed;
            return self.take_late_fin(packet, ack, says_more, out);
        }
        self.fin_unanswered |= fin;
        let taken = match self.inbound.take(place, packet.payload(), fin) {
            Ok(taken) => taken,
            Err(failure) => return Step::Failed(failure),
        };
        self.follow_form();
        if self.inbound.has_more() {
            // What came in so long a packet goes on in it.
            let room = i64::try_from(packet.payload().len()).unwrap_or(0);
            let delivery = self.deliver(room.max(MAX_DELIVERY));
            return self.replace_by(packet, ack.ack, delivery, out);
        }
        match taken {
            Taken::Next => self.replace_incomplete(packet, ack, window_changed, out),
            Taken::Early => self.replace_by_nudge(packet, ack.ack, out),
            Taken::Old => match self.repetition(place, packet.payload().len(), fin) {
                Some(delivery) => self.replace_by(packet, ack.ack, delivery, out),
                None => self.replace_by_nudge(packet, ack.ack, out),
            },
        }
    }

    /// The next plaintext for the local TCP, at most `room` octets; from here on it counts as handed over.
    pub(super) fn deliver(&mut self, room: i64) -> Delivery {
        let from = self.inbound.delivered;
        let opened = self.inbound.opened();
        let to = opened.min(from.saturating_add(room));
        self.inbound.delivered = to;
        let mut fin = Flags::default();
        // The FIN must not overtake anything (rule 8).
        if to == opened && self.inbound.fin_plain().is_some() {
            self.inbound.fin_delivered = true;
            fin = Flags::FIN;
        }
        Delivery { from, to, fin }
    }

    /// Plaintext once more that the local TCP has not acknowledged, of a segment that came once more.
    fn repetition(&self, place: i64, len: usize, fin: bool) -> Option<Delivery> {
        let inbound = &self.inbound;
        let end = place.saturating_add_unsigned(len as u64);
        let room = end.saturating_sub(place).max(MAX_DELIVERY);
        let from = inbound
            .map
            .at_or_before_wire(place)
            .plain
            .max(inbound.acked);
        let to = inbound.map.at_or_after_wire(end).plain;
        let to = to.min(inbound.delivered).min(from.saturating_add(room));
        let fin = if fin && inbound.fin_delivered && to == inbound.delivered {
            Flags::FIN
        } else {
            Flags::default()
        };
        (from < to || fin == Flags::FIN).then_some(Delivery { from, to, fin })
    }

    /// A segment that completed no record (rules 4 and 5). As an empty one it would count as a duplicate
    /// acknowledgement.
    fn replace_incomplete(
        &mut self,
        packet: &View<'_>,
        ack: AckIn,
        window_changed: bool,
        out: &mut Vec<u8>,
    ) -> Step {
        let mut rewrite = self.rewrite_in(packet, ack.ack, true);
        let tells_sack = options::find(rewrite.options.as_slice(), options::SACK).is_some();
        // A record without data is never acknowledged for the data's sake.
        let nudges = !self.inbound.runs.is_empty() || !self.inbound.is_incomplete() || tells_sack;
        if nudges || self.acknowledges_incomplete() {
            return self.replace_by_nudge(packet, ack.ack, out);
        }
        if !ack.advances && !window_changed {
            return Step::Drop;
        }
        rewrite.flags = rewrite.flags.without(Flags::FIN | Flags::PSH);
        rewrite.seq = self.inbound.plain.seq(self.inbound.delivered);
        rewrite.write(&[], out);
        Step::Replace
    }

    /// Lets the packet carry a piece of plaintext.
    fn replace_by(
        &mut self,
        packet: &View<'_>,
        ack: Seq,
        delivery: Delivery,
        out: &mut Vec<u8>,
    ) -> Step {
        let mut rewrite = self.rewrite_in(packet, ack, true);
        rewrite.flags = rewrite.flags.without(Flags::FIN) | delivery.fin;
        rewrite.seq = self.inbound.plain.seq(delivery.from);
        if let Some(pointer) = self.urgent_at(delivery.from) {
            rewrite.flags |= Flags::URG;
            rewrite.urgent = pointer;
        }
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.inbound.text(delivery.from, delivery.to, &mut slices);
        if rewrite.write(slices.get(..used).unwrap_or_default(), out) {
            Step::Replace
        } else {
            Step::Drop
        }
    }

    /// Lets the packet carry one octet that the local TCP has, so that it acknowledges at once, and what the
    /// packet acknowledges is not taken for a duplicate (rule 5). It has all before what it acknowledged, so
    /// nobody ever looks at the octet.
    pub(super) fn replace_by_nudge(
        &mut self,
        packet: &View<'_>,
        ack: Seq,
        out: &mut Vec<u8>,
    ) -> Step {
        let mut rewrite = self.rewrite_in(packet, ack, false);
        if packet.flags().has(Flags::SYN) {
            rewrite.options = timestamps(self.timestamps_of(packet));
            self.stamp(packet, false, &mut rewrite.options);
        }
        rewrite.flags = Flags::ACK;
        rewrite.seq = self.inbound.nudge_seq();
        rewrite.write(&[&[0]], out);
        Step::Replace
    }

    /// The packet with what is the same whatever it carries. Only a record says what is urgent. `in_order` if what
    /// it carries is new because of it, or as old as the packet.
    pub(super) fn rewrite_in<'v>(
        &mut self,
        packet: &View<'v>,
        ack: Seq,
        in_order: bool,
    ) -> Rewrite<'v> {
        let mut rewrite = Rewrite::of(packet);
        rewrite.ack = ack;
        rewrite.window = self.latest_in.window;
        rewrite.flags = rewrite.flags.without(Flags::URG);
        rewrite.urgent = 0;
        rewrite.options = self.options_in(packet);
        self.stamp(packet, in_order, &mut rewrite.options);
        rewrite
    }

    /// The urgent pointer of a segment that begins at `place`.
    fn urgent_at(&self, place: i64) -> Option<u16> {
        let ahead = self.inbound.urgent?.saturating_sub(place);
        u16::try_from(ahead).ok().filter(|ahead| *ahead > 0)
    }
}
