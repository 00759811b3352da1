//! Acknowledgement numbers (tcpcrypt-datapath 2.8, rule 3).
//!
//! To the original, and to the local TCP in what it receives, records are whole: either only gets to see borders, so
//! that what is sent again begins at one. In the standard, where segments cut frames anywhere, what the local TCP sent is
//! translated place by place, so that it repeats no more than was lost.

use crate::packet::{Flags, Seq, View};

use super::Flow;
use super::closing::Peer;

/// What an acknowledgement from the wire is to the local TCP.
#[derive(Debug, Clone, Copy)]
pub(super) struct AckIn {
    pub(super) ack: Seq,
    /// It says more than the one before.
    pub(super) advances: bool,
    /// It moved on within a record, so that to the local TCP it says nothing new. What says the same once more
    /// is a duplicate there, too: perhaps the first was lost on its last step.
    pub(super) inside: bool,
}

impl Flow {
    /// Takes an acknowledgement from the wire. `None` if it is for what was never sent.
    pub(super) fn ack_in(&mut self, packet: &View<'_>) -> Option<AckIn> {
        let before = self.latest_in.ack;
        let base = self.out.map.base();
        let end = self.out.map.end();
        let place = self.out.wire.place(packet.ack(), base.wire);
        let mut inside = false;
        let plain = if self.acknowledges_fin(packet, place) {
            self.out.acknowledge(end);
            self.out.fin_acked = true;
            end.plain.saturating_add(1)
        } else if place > end.wire {
            return None;
        } else if place < base.wire {
            // Old. The local TCP shall see that it is, and not count it as a duplicate of the latest.
            base.plain.saturating_sub(1)
        } else {
            let border = self.out.map.at_or_before_wire(place);
            let plain = self.out.plain_before(place);
            // Where records are whole to the local TCP, or of records without plaintext.
            inside = place > self.heard && plain == self.out.plain_before(self.heard);
            self.heard = self.heard.max(place);
            self.see_arrival(base.wire, border.wire);
            self.out.acknowledge(border);
            plain
        };
        let ack = self.out.plain.seq(plain);
        let advances = ack.gt(before);
        if advances {
            self.latest_in.ack = ack;
        }
        Some(AckIn {
            ack,
            advances,
            inside,
        })
    }

    /// Takes an acknowledgement of the local TCP and gives the one for the wire.
    pub(super) fn ack_out(&mut self, packet: &View<'_>) -> Seq {
        let inbound = &mut self.inbound;
        let place = inbound.plain.place(packet.ack(), inbound.delivered);
        inbound.acknowledge(place);
        let wire = inbound.wire_ack();
        let place = match (inbound.fin_len() > 0, self.peer) {
            (false, _) => wire,
            (true, Peer::Ordinary) => wire.saturating_add(1),
            (true, Peer::Original) => inbound.short_fin_ack(),
            (true, Peer::Unknown) => {
                // An ordinary TCP needs the true number, once for each FIN it sends.
                self.true_ack_due |= std::mem::take(&mut self.fin_unanswered);
                inbound.short_fin_ack()
            }
        };
        self.latest_out.ack = inbound.wire.seq(place);
        self.latest_out.ack
    }

    /// The number for the wire of a segment of the local TCP without data, or of a reset.
    pub(super) fn empty_seq_out(&self, packet: &View<'_>) -> Seq {
        let out = &self.out;
        let base = out.map.base();
        let next = out.next_plain();
        let place = out.plain.place(packet.seq(), next);
        let wire = if place >= next {
            self.next_wire_for_peer()
        } else if place >= base.plain {
            out.wire_to(place)
        } else if packet.flags().has(Flags::RST) {
            base.wire.saturating_add(place.saturating_sub(base.plain))
        } else {
            return self.old_seq_out(place);
        };
        out.wire.seq(wire)
    }

    /// The number for the wire of a keep-alive or a probe of a closed window at a place that is acknowledged:
    /// it must look old to be answered.
    pub(super) fn old_seq_out(&self, place: i64) -> Seq {
        let base = self.out.map.base();
        let wire = match self.peer {
            Peer::Ordinary => base.wire.saturating_add(place.saturating_sub(base.plain)),
            // The original finds no record there and takes off the length of the key exchange alone; to an
            // ordinary TCP one old number is as good as another.
            Peer::Unknown | Peer::Original => place,
        };
        self.out.wire.seq(wire)
    }

    /// The number for the local TCP of a segment from the wire without data.
    pub(super) fn empty_seq_in(&self, packet: &View<'_>) -> Seq {
        let inbound = &self.inbound;
        let place = inbound.wire.place(packet.seq(), inbound.received);
        let awaited = inbound.awaited();
        let told = inbound.awaits_fin() && place == inbound.received;
        let plain = if told || self.is_behind_fin(place) {
            inbound.delivered.saturating_add(1)
        } else if place < inbound.wire_acked {
            // A keep-alive, a probe, or late: old, whatever it is.
            awaited.saturating_sub(1)
        } else if place <= inbound.received {
            let border = inbound.map.at_or_before_wire(place);
            border.plain.clamp(inbound.acked, inbound.delivered)
        } else {
            // Something before it is missing, so nobody can say what its number is. Within reach of the window
            // it is taken, and judged by the local TCP beyond.
            let ahead = place.saturating_sub(inbound.received);
            if ahead <= inbound.reach() {
                inbound.delivered
            } else {
                inbound.delivered.saturating_add(ahead)
            }
        };
        inbound.plain.seq(plain)
    }
}
