//! Super-packets of the local TCP: up to 64 kB that the kernel cuts into segments behind the queue
//! (tcpcrypt-datapath 2.1 and 2.2).
//!
//! The size of the segments is not told, and stays when the packet is replaced. A peer that is the original
//! needs a whole record in each segment, so records are made exactly as long. In the standard a few long ones are enough,
//! wherever the kernel cuts them.

use crate::packet::{Flags, Rewrite, View};

use super::byte_store::MAX_SLICES;
use super::emit::Resend;
use super::{Flow, Step};

/// The longest packet that can replace another: a netlink attribute's length has 16 bits and counts itself.
const LONGEST_PACKET: usize = 0xffff - 4;

/// What own SACK blocks take at most.
const MOST_BLOCKS: usize = 36;

/// Shorter segments than this are not cut from super-packets.
const SHORTEST_SEGMENT: usize = 200;

/// Super-packets in a row whose length is none of whole segments, though more follows: then the size is not
/// what it is believed to be. A full window cuts at any place, too, so one alone says nothing.
const DOUBTS: u8 = 8;

/// Where the kernel will cut a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is one segment.
    Nowhere,
    /// After each so many octets of data.
    At(u16),
    /// Somewhere.
    Unknown,
}

/// How long the segments of the local TCP are.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentSize {
    /// With TCP options.
    size: Option<u16>,
    doubts: u8,
    /// The widest window that the local TCP was shown; 0 if that was in the handshake.
    widest: u32,
}

impl SegmentSize {
    pub(super) fn new(size: Option<u16>) -> Self {
        Self {
            size,
            doubts: 0,
            widest: 0,
        }
    }

    /// The local TCP is told that its segments must not be longer.
    pub(super) fn lower(&mut self, size: u16) {
        self.size = self.size.map(|before| before.min(size));
        self.doubts = 0;
    }

    /// The local TCP is told of a window.
    pub(super) fn saw_window(&mut self, window: u16, scale: Option<u8>) {
        self.widest = self
            .widest
            .max(u32::from(window) << scale.unwrap_or(0).min(14));
    }

    fn cut(&mut self, packet: &View<'_>) -> Cut {
        let length = packet.payload().len();
        let size = usize::from(self.size.unwrap_or(0)).saturating_sub(packet.options().len());
        // With a window that holds less than two segments, Linux makes shorter ones.
        let widest = self.widest as usize;
        let narrow = widest > 0 && widest < size.saturating_mul(2);
        if size < SHORTEST_SEGMENT || narrow || length <= size {
            // One that is no longer than a segment is no super-packet: the path has become narrower.
            self.doubts = if narrow { self.doubts } else { DOUBTS };
            return Cut::Unknown;
        }
        if !packet.flags().has(Flags::PSH) && !packet.flags().has(Flags::FIN) {
            self.doubts = match length % size {
                0 => 0,
                _ => self.doubts.saturating_add(1),
            };
        }
        match u16::try_from(size) {
            Ok(size) if self.doubts < DOUBTS => Cut::At(size),
            _ => Cut::Unknown,
        }
    }
}

impl Flow {
    /// Where the kernel will cut a packet of the local TCP.
    pub(super) fn cut(&mut self, packet: &View<'_>) -> Cut {
        if !packet.is_super() {
            return Cut::Nowhere;
        }
        let cut = self.segment_size.cut(packet);
        // An option of our own makes each segment longer, which the kernel does not know. Where the path takes less than
        // its segments are, it must not be told so on a guess.
        let next = self.out.map.end().wire;
        let own = self.announced.is_some() || self.path.is_careful(next);
        match packet.flags().has(Flags::URG) || own {
            true => Cut::Unknown,
            false => cut,
        }
    }

    /// Puts as many records into a super-packet as it can hold without one of them being cut, and has the
    /// others follow by themselves. All of them do if that is less than two segments: the kernel does not cut
    /// what is that short, and loses it.
    pub(super) fn send_row(
        &mut self,
        mut rewrite: Rewrite<'_>,
        cut: Cut,
        all: Resend,
        out: &mut Vec<u8>,
    ) -> Step {
        let mtu = usize::from(self.path.mtu());
        let end = match cut {
            Cut::At(segment) if !self.path.is_careful(all.from) => {
                let room = LONGEST_PACKET.saturating_sub(rewrite.length(MOST_BLOCKS));
                let room = i64::try_from(room).unwrap_or(0);
                let row = self.out.row(all.from, all.to, segment, room);
                let free = mtu.saturating_sub(rewrite.length(usize::from(segment)));
                self.push_own_blocks(&mut rewrite.options, free);
                row
            }
            Cut::Nowhere | Cut::At(_) | Cut::Unknown => all.from,
        };
        let length = usize::try_from(end.saturating_sub(all.from)).unwrap_or(0);
        let mut slices = [[].as_slice(); MAX_SLICES];
        let used = self.out.octets(all.from, end, &mut slices);
        let (Some(used), true) = (used, rewrite.length(length) > mtu) else {
            self.resend(all);
            return Step::Drop;
        };
        if let Cut::At(segment) = cut {
            let packets = length.div_ceil(usize::from(segment).max(1));
            rewrite.fragments = self.path.fragments(false, packets);
        }
        rewrite.seq = self.out.wire.seq(all.from);
        rewrite.flags = rewrite.flags.without(Flags::FIN | Flags::PSH);
        if end >= all.to {
            rewrite.flags |= all.flags;
        }
        if !rewrite.write(slices.get(..used).unwrap_or_default(), out) {
            self.resend(all);
            return Step::Drop;
        }
        if end < all.to {
            self.resend(Resend { from: end, ..all });
        }
        Step::Replace
    }
}
