//! Packets that nobody sent: further records of a packet that became several, plaintext that did not fit,
//! acknowledgements, nudges and resets.

use crate::packet::{Direction, Flags, Fresh, OptionBuf, Seq, options};

use super::Flow;
use super::byte_store::MAX_SLICES;
use super::path::Form;

/// Records from one place of the wire to another that are to be sent, one per segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resend {
    pub(super) from: i64,
    pub(super) to: i64,
    /// What the last segment has, of FIN and PSH.
    pub(super) flags: Flags,
}

/// Ranges that wait at once. There is one per packet, and they are taken after each packet.
const MAX_RESENDS: usize = 16;

/// Octets of plaintext in one packet for the local TCP, unless it comes in a longer one. More would need pages
/// in a row from the kernel.
pub(super) const MAX_DELIVERY: i64 = 16 * 1024;

impl Flow {
    /// Appends the next packet of our own to `out`: [`Direction::Out`] is for the wire, [`Direction::In`] for
    /// the local TCP. To be called until there is none, after each of the other calls.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Direction> {
        if self.resets_due > 0 {
            self.resets_due -= 1;
            let direction = match self.resets_due {
                1 => Direction::Out,
                _ => Direction::In,
            };
            self.reset_packet(direction, out);
            return Some(direction);
        }
        if self.reset {
            return None;
        }
        if self.emit_record(out) {
            return Some(Direction::Out);
        }
        if std::mem::take(&mut self.true_ack_due) {
            let fin = self.inbound.wire_acked.saturating_add(1);
            let seq = self.out.wire.seq(self.next_wire_for_peer());
            let mut fresh = self.fresh(Direction::Out, seq);
            fresh.ack = self.inbound.wire.seq(fin);
            fresh.write(&[], out);
            return Some(Direction::Out);
        }
        if self.emit_repetition(out) || self.emit_plaintext(out) {
            return Some(Direction::In);
        }
        if std::mem::take(&mut self.nudge_due) {
            let seq = self.inbound.nudge_seq();
            self.fresh(Direction::In, seq).write(&[&[0]], out);
            return Some(Direction::In);
        }
        None
    }

    /// Has records sent by packets of our own.
    pub(super) fn resend(&mut self, resend: Resend) {
        if self.resends.len() < MAX_RESENDS {
            self.resends.push_back(resend);
        }
    }

    fn emit_record(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(mut resend) = self.resends.pop_front() else {
            return false;
        };
        // Acknowledged by a packet that came in between.
        let from = resend.from.max(self.out.map.base().wire);
        if from >= resend.to {
            return self.emit_record(out);
        }
        let mut fresh = self.fresh(Direction::Out, self.out.wire.seq(from));
        let (end, form) = self.piece(from, resend.to, fresh.length(0));
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.out.octets(from, end, &mut slices).unwrap_or(0);
        fresh.fragments = form.fragments;
        if end >= resend.to {
            fresh.flags |= resend.flags;
        }
        fresh.write(slices.get(..used).unwrap_or_default(), out);
        resend.from = end;
        if resend.from < resend.to {
            self.resends.push_front(resend);
        }
        true
    }

    /// As much of the record at `from`, or of the rest of it, as goes in one packet with `headers` octets beside:
    /// where that ends, and how it goes. Where segments may cut records it is as much of all up to `to`.
    pub(super) fn piece(&mut self, from: i64, to: i64, headers: usize) -> (i64, Form) {
        let next = from.saturating_add(1);
        let (end, most) = match self.out.divides() {
            true => (
                to.max(next),
                usize::from(self.path.mtu()).saturating_sub(headers),
            ),
            false => (self.out.map.at_or_after_wire(next).wire, usize::MAX),
        };
        let length = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
        let length = length.min(most);
        let form = self.path.form(from, headers.saturating_add(length));
        let room = form.limit.saturating_sub(headers).max(1);
        (end.min(from.saturating_add_unsigned(room as u64)), form)
    }

    /// Plaintext that the local TCP was given and has not got.
    fn emit_repetition(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((from, to)) = self.repeating.take() else {
            return false;
        };
        let from = from.max(self.inbound.acked);
        let to = to.min(self.inbound.delivered);
        if from >= to {
            return false;
        }
        let end = to.min(from.saturating_add(MAX_DELIVERY));
        self.repeating = (end < to).then_some((end, to));
        let mut fresh = self.fresh(Direction::In, self.inbound.plain.seq(from));
        fresh.flags |= Flags::PSH;
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.inbound.text(from, end, &mut slices);
        fresh.write(slices.get(..used).unwrap_or_default(), out);
        true
    }

    /// Plaintext that did not fit the packet that completed it (rule 7), and the FIN behind it.
    fn emit_plaintext(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.inbound.has_more() {
            return false;
        }
        let delivery = self.deliver(MAX_DELIVERY);
        let mut fresh = self.fresh(Direction::In, self.inbound.plain.seq(delivery.from));
        fresh.flags |= Flags::PSH | delivery.fin;
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.inbound.text(delivery.from, delivery.to, &mut slices);
        fresh.write(slices.get(..used).unwrap_or_default(), out);
        true
    }

    /// A packet like the latest in its direction, with its own number.
    pub(super) fn fresh(&self, direction: Direction, seq: Seq) -> Fresh {
        let latest = self.latest(direction);
        let mut fresh = Fresh::new(self.options.tuple, direction);
        fresh.seq = seq;
        fresh.ack = latest.ack;
        fresh.window = latest.window;
        // Packets from the queue overtake those for the local TCP, and nothing may make these too old for it (RFC
        // 7323 section 5). Linux asks the age of none without timestamps.
        if direction == Direction::Out {
            fresh.options = timestamps(latest.timestamps);
            // Beside timestamps there is room.
            let _fits = self.push_announced(&mut fresh.options);
        }
        fresh
    }

    /// Adds the option that goes with the segments of an opener at first. Says whether there was room: without it
    /// the peer would take the connection for plain.
    pub(super) fn push_announced(&self, options: &mut OptionBuf) -> bool {
        match &self.announced {
            None => true,
            Some(option) => {
                options.trim();
                options.push(option.as_bytes())
            }
        }
    }
}

/// The timestamps option by itself.
pub(super) fn timestamps(timestamps: Option<(u32, u32)>) -> OptionBuf {
    let mut buf = OptionBuf::new();
    if let Some((value, echo)) = timestamps {
        let [a, b, c, d] = value.to_be_bytes();
        let [e, f, g, h] = echo.to_be_bytes();
        // An empty buffer has room for it.
        let _fits = buf.push(&[
            options::NOP,
            options::NOP,
            options::TIMESTAMPS,
            10,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ]);
    }
    buf
}
