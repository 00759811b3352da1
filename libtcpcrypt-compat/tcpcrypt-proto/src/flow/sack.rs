//! SACK in both numberings (tcpcrypt-datapath 2.8, rule 6; RFC 2018).
//!
//! From the wire, blocks shrink to whole records: a part of a record cannot be sent again without the rest. In the
//! standard it can, so there they shrink to whole octets of plaintext.
//! Toward the wire the local TCP's own blocks mean nothing, since it never sees what came too early; they
//! are replaced by what is held here.

use crate::packet::options::{self, OptionBuf};
use crate::packet::{Seq, View};

use super::Flow;

/// Blocks that fit beside nothing else.
const MAX_BLOCKS: usize = 4;

/// Octets of an option with one block, and two NOPs.
const ONE_BLOCK: usize = 12;

impl Flow {
    /// The options of a packet for the local TCP.
    pub(super) fn options_in(&self, packet: &View<'_>) -> OptionBuf {
        let mut changed = OptionBuf::from_header(packet.options());
        if options::find(packet.options(), options::SACK).is_none() {
            return changed;
        }
        changed.remove(options::SACK);
        changed.trim();
        let mut blocks = [(Seq(0), Seq(0)); MAX_BLOCKS];
        let mut used = 0;
        if self.options.sack {
            let own = options::sack_blocks(packet.options());
            let own = own.filter_map(|(left, right)| self.block_to_plain(left, right));
            for (slot, block) in blocks.iter_mut().zip(own) {
                *slot = block;
                used += 1;
            }
        }
        changed.push_sack(blocks.get(..used).unwrap_or_default());
        changed
    }

    /// The plaintext that need not be sent again for a block from the wire.
    fn block_to_plain(&self, left: Seq, right: Seq) -> Option<(Seq, Seq)> {
        let map = &self.out.map;
        let base = map.base();
        let left = self.out.wire.place(left, base.wire);
        let right = self.out.wire.place(right, left);
        // What is acknowledged is forgotten, so a block that reports a duplicate of it is left out.
        if left < base.wire || right > map.end().wire || left >= right {
            return None;
        }
        let first = self.out.plain_behind(left);
        let last = self.out.plain_before(right);
        (first < last).then(|| (self.out.plain.seq(first), self.out.plain.seq(last)))
    }

    /// The options of a packet for the wire that has `room` octets for more of them.
    pub(super) fn options_out(&self, packet: &View<'_>, room: usize) -> OptionBuf {
        let mut changed = OptionBuf::from_header(packet.options());
        if options::find(packet.options(), options::SACK).is_some() {
            changed.remove(options::SACK);
            changed.trim();
        }
        self.push_own_blocks(&mut changed, room);
        changed
    }

    /// Adds blocks for what is held, in at most `room` octets.
    pub(super) fn push_own_blocks(&self, options: &mut OptionBuf, room: usize) {
        if !self.options.sack || self.inbound.runs.is_empty() || room < ONE_BLOCK {
            return;
        }
        let fit = (room - ONE_BLOCK) / 8 + 1;
        let mut runs = [(0, 0); MAX_BLOCKS];
        let found = self.inbound.runs.latest(&mut runs);
        let mut blocks = [(Seq(0), Seq(0)); MAX_BLOCKS];
        for (slot, (left, right)) in blocks.iter_mut().zip(runs) {
            *slot = (self.inbound.wire.seq(left), self.inbound.wire.seq(right));
        }
        options.push_sack(blocks.get(..found.min(fit)).unwrap_or_default());
    }
}
