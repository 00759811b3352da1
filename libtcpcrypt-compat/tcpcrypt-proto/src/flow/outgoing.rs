//! A segment of the local TCP on its way to the wire.

use crate::framing::{Flags as RecordFlags, RecordError};
use crate::packet::{Flags, Rewrite, View};

use super::byte_store::MAX_SLICES;
use super::emit::Resend;
use super::outbound::{Outbound, data_per_record};
use super::super_packet::Cut;
use super::{Flow, Step};

impl Flow {
    pub(super) fn outgoing_segment(&mut self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        let ack = self.ack_out(packet);
        let mut rewrite = Rewrite::of(packet);
        rewrite.ack = ack;
        rewrite.window = self.latest_out.window;
        let fin = packet.flags().has(Flags::FIN);
        if packet.payload().is_empty() && !fin {
            rewrite.options = self.options_out(packet, usize::MAX);
            if !self.push_announced(&mut rewrite.options) {
                return Step::Drop;
            }
            rewrite.seq = self.empty_seq_out(packet);
            rewrite.write(&[], out);
            return Step::Replace;
        }
        rewrite.options = self.options_out(packet, 0);
        if !self.push_announced(&mut rewrite.options) {
            return Step::Drop;
        }

        let cut = self.cut(packet);
        let before = self.out.map.end();
        let next = before.plain;
        let from = self.out.plain.place(packet.seq(), next);
        let mut to = from.saturating_add_unsigned(packet.payload().len() as u64);
        // A packet in front of this one was lost before it came here. To give this one its number would leave
        // a hole for ever; the local TCP sends both again.
        if from > next || (to > next && self.out.fin.is_some()) {
            return Step::Drop;
        }
        if to > next {
            if let Err(error) = self.seal_new(packet, &rewrite, cut, next.saturating_sub(from)) {
                return Step::Failed(error.into());
            }
            let end = self.out.map.end().plain;
            if end == next && from == next {
                return Step::Drop;
            }
            to = to.min(end);
        }
        if from < next {
            self.sent_again((from, to), rewrite.length(0));
        }
        let whole = to == from.saturating_add_unsigned(packet.payload().len() as u64);
        let fin = fin && whole && to == self.out.map.end().plain;
        if fin {
            if let Err(error) = self.out.finish() {
                return Step::Failed(error.into());
            }
            self.out.fin = Some(to);
        }
        let first = match from == next && before != self.out.map.end() {
            true => before.wire,
            false => self.out.wire_from(from),
        };
        self.send_records(rewrite, cut, first, (from, to), fin, out)
    }

    /// Makes records of what a packet brings beyond `known` octets.
    fn seal_new(
        &mut self,
        packet: &View<'_>,
        rewrite: &Rewrite<'_>,
        cut: Cut,
        known: i64,
    ) -> Result<(), RecordError> {
        let known = usize::try_from(known).unwrap_or(0);
        let new = packet.payload().get(known..).unwrap_or_default();
        let urgent = packet.flags().has(Flags::URG).then(|| packet.urgent());
        let flags = RecordFlags {
            fin: packet.flags().has(Flags::FIN),
            urgent: super::outbound::urgent_from(urgent, known),
        };
        let room = match cut {
            Cut::At(_) | Cut::Unknown if self.out.divides() => Outbound::data_per_frame(flags),
            Cut::At(segment) => usize::from(segment).saturating_sub(flags.overhead()).max(1),
            Cut::Nowhere | Cut::Unknown => {
                data_per_record(self.path.mtu(), rewrite.length(0), flags)
            }
        };
        self.out.seal(new, room, flags)
    }

    /// Puts the first of what holds a piece of plaintext, from `first` on the wire, into the packet, and has the rest
    /// follow.
    fn send_records(
        &mut self,
        mut rewrite: Rewrite<'_>,
        cut: Cut,
        first: i64,
        (from, to): (i64, i64),
        fin: bool,
        out: &mut Vec<u8>,
    ) -> Step {
        let flags = rewrite.flags;
        let end_flags = |fin: bool| {
            let fin = if fin { Flags::FIN } else { Flags(0) };
            Flags(flags.0 & Flags::PSH.0) | fin
        };
        let (base, end) = (self.out.map.base(), self.out.map.end());
        let last = self.out.wire_behind(to);
        if to <= base.plain && first >= last {
            // All of it is acknowledged on the wire, which the local TCP does not know, or it is a keep-alive
            // with an octet of data.
            rewrite.flags = flags.without(Flags::FIN | Flags::URG);
            if fin {
                rewrite.flags |= Flags::FIN;
                rewrite.seq = self.out.wire.seq(end.wire);
            } else {
                rewrite.seq = self.old_seq_out(from.min(base.plain.saturating_sub(1)));
            }
            rewrite.write(&[], out);
            return Step::Replace;
        }
        if cut != Cut::Nowhere {
            let all = Resend {
                from: first,
                to: last,
                flags: end_flags(fin),
            };
            return self.send_row(rewrite, cut, all, out);
        }
        let (end, form) = self.piece(first, last, rewrite.length(0));
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.out.octets(first, end, &mut slices).unwrap_or(0);
        rewrite.fragments = form.fragments;
        rewrite.seq = self.out.wire.seq(first);
        let alone = end >= last;
        rewrite.flags = flags.without(Flags::FIN | Flags::PSH);
        if alone {
            rewrite.flags |= end_flags(fin);
        }
        let length = usize::try_from(end.saturating_sub(first)).unwrap_or(0);
        let limit = form.limit.min(usize::from(self.path.mtu()));
        let room = limit.saturating_sub(rewrite.length(length));
        self.push_own_blocks(&mut rewrite.options, room);
        rewrite.write(slices.get(..used).unwrap_or_default(), out);
        if !alone {
            self.resend(Resend {
                from: end,
                to: last,
                flags: end_flags(fin),
            });
        }
        Step::Replace
    }
}
