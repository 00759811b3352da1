//! What the path to the peer carries, where that is less than was believed when records were made.
//!
//! A record is made once and repeated as it is, so one that is too long stays so. Over IPv6, and to a peer that
//! was seen not to be the original in divert mode, it goes in several segments: such a peer puts the stream
//! together. The original needs it in one. Nor can it stand that a short record comes before a long one at the
//! beginning, as happens where long ones are refused: it loses count of the numbers for good. So routers may cut
//! all packets for what may be the original.
//!
//! A router says so (`Flow::too_big`), or nobody does and long packets vanish. The second is found out as in
//! RFC 4821: the oldest record is repeated in vain (`Belief`).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::packet::{FourTuple, Seq, View, options};

use super::super_packet::SegmentSize;
use super::{Flow, Numbers};

/// Octets of an IP packet that every IPv6 path carries (RFC 8200 section 5), and nearly every one of IPv4.
const SAFE: u16 = 1280;

/// No path of IPv4 is taken to carry less: as Linux does (`min_pmtu`), so that nobody makes us send dust. If it
/// does carry less, routers have to cut.
const LEAST_OVER_IPV4: u16 = 552;

/// No packet of IPv4 up to this length vanishes for its length.
const SHORT_OVER_IPV4: u16 = 576;

/// So often the oldest record is repeated in vain before its length is blamed.
const IN_VAIN: u8 = 2;

/// Repetitions closer together are parts of one: the local TCP's segments have other borders than records. A
/// time-out is longer on every system.
const APART: Duration = Duration::from_millis(100);

/// What is believed about long packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// They arrive.
    Arrive,
    /// They may vanish. Records before `probes`, a place on the wire, go carefully; longer ones behind it tell.
    Doubted { probes: i64 },
    /// They vanish, for as long as the connection lasts.
    Vanish,
}

/// How a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// In packets of at most so many octets.
    pub(super) limit: usize,
    /// Routers may cut them, by this number.
    pub(super) fragments: Option<u16>,
}

/// The path of one connection.
#[derive(Debug)]
pub(super) struct Path {
    mtu: u16,
    is_ipv4: bool,
    /// The peer puts records together that come in several segments.
    joins: bool,
    belief: Belief,
    /// The oldest record and how much of it was acknowledged, when it was last repeated.
    stuck: (i64, i64),
    /// How often it was.
    times: u8,
    /// When that was counted.
    counted: Option<Instant>,
    /// Its octets.
    length: i64,
    /// The next number of a packet that may be cut. The kernel counts its own from elsewhere, but none of the
    /// flow's data goes by those then.
    id: u16,
}

impl Path {
    /// `ordinary` if the peer is known not to be the original in divert mode.
    pub(super) fn new(numbers: &Numbers, tuple: &FourTuple, mtu: u16, ordinary: bool) -> Self {
        let is_ipv4 = tuple.remote.ip().is_ipv4();
        let [a, b, c, d] = numbers.out_wire.0.to_be_bytes();
        Self {
            mtu,
            is_ipv4,
            joins: ordinary || !is_ipv4,
            belief: Belief::Arrive,
            stuck: (-1, -1),
            times: 0,
            counted: None,
            length: 0,
            // Nobody can guess that of the first sequence number.
            id: u16::from_be_bytes([a ^ c, b ^ d]),
        }
    }

    /// Octets of the longest IP packet that is made from here on.
    pub(super) fn mtu(&self) -> u16 {
        match self.belief {
            Belief::Vanish => self.mtu.min(SAFE),
            Belief::Arrive | Belief::Doubted { .. } => self.mtu,
        }
    }

    /// Whether what is at this place of the wire must not be in long packets.
    pub(super) fn is_careful(&self, place: i64) -> bool {
        match self.belief {
            Belief::Arrive => false,
            Belief::Doubted { probes } => place < probes,
            Belief::Vanish => true,
        }
    }

    /// How the record at `place` goes, which in one packet would be one of `length` octets.
    pub(super) fn form(&mut self, place: i64, length: usize) -> Form {
        let careful = self.is_careful(place);
        let limit = usize::from(match careful {
            true => self.mtu.min(SAFE),
            false => self.mtu,
        });
        Form {
            limit: if self.joins { limit } else { usize::MAX },
            // Short ones stay as the local TCP made them.
            fragments: match length > usize::from(if careful { SHORT_OVER_IPV4 } else { SAFE }) {
                true => self.fragments(careful, 1),
                false => None,
            },
        }
    }

    /// The number of the first of so many packets, if routers may cut them.
    pub(super) fn fragments(&mut self, careful: bool, packets: usize) -> Option<u16> {
        if !self.is_ipv4 || (self.joins && !careful) {
            return None;
        }
        // The kernel sets what is 0.
        let id = self.id.max(1);
        // A remainder: the numbers come again.
        self.id = id.wrapping_add(packets as u16);
        Some(id)
    }

    /// The local TCP repeats the oldest record, from `start`, with all before `heard` acknowledged. Its packet
    /// has `headers` octets beside its `length`. New records begin at `next`.
    fn repeated(
        &mut self,
        now: Instant,
        (start, heard): (i64, i64),
        headers: usize,
        length: i64,
        next: i64,
    ) {
        let short = match self.is_ipv4 {
            true => SHORT_OVER_IPV4,
            false => SAFE,
        };
        let whole = length.saturating_add_unsigned(headers as u64);
        if self.is_careful(start) || whole <= i64::from(short) {
            return;
        }
        if self.stuck != (start, heard) {
            self.stuck = (start, heard);
            self.times = 0;
            self.counted = None;
            self.length = length;
        }
        let soon = self.counted.and_then(|at| at.checked_add(APART));
        if soon.is_some_and(|soon| now < soon) {
            return;
        }
        self.counted = Some(now);
        self.times = self.times.saturating_add(1);
        if self.times >= IN_VAIN {
            self.belief = match self.belief {
                Belief::Arrive => Belief::Doubted { probes: next },
                Belief::Doubted { .. } | Belief::Vanish => Belief::Vanish,
            };
            self.times = 0;
        }
    }

    /// From which place of the wire on the arrival of a long record would say something.
    fn telling(&self) -> Option<i64> {
        match self.belief {
            Belief::Arrive => (self.times > 0).then_some(i64::MIN),
            Belief::Doubted { probes } => Some(probes),
            Belief::Vanish => None,
        }
    }

    /// A record of so many octets has arrived in one packet.
    fn arrived(&mut self, length: i64) {
        if length >= self.length {
            self.belief = Belief::Arrive;
            self.times = 0;
        }
    }

    /// A link carries packets of at most `mtu` octets. What becomes of it, if it is news.
    fn lower(&mut self, mtu: u32) -> Option<u16> {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let least = match self.is_ipv4 {
            true => LEAST_OVER_IPV4,
            // Every link carries this much; the kernel does not believe it either.
            false if mtu < SAFE => return None,
            false => SAFE,
        };
        if mtu < least {
            self.belief = Belief::Vanish;
        }
        let mtu = mtu.max(least);
        (mtu < self.mtu).then(|| {
            self.mtu = mtu;
            mtu
        })
    }
}

impl Flow {
    /// A router says that the next link carries packets of at most `mtu` octets, and quotes the number of one
    /// that is longer (RFC 1191, RFC 8201). As the kernel does, only what is under way is believed. Gives the
    /// number by which the local TCP knows the same data; it will make shorter segments, and repeat what it
    /// thinks was lost.
    pub fn too_big(&mut self, seq: Seq, mtu: u32) -> Option<Seq> {
        let (base, end) = (self.out.map.base(), self.out.map.end());
        let place = self.out.wire.place(seq, base.wire);
        if place < base.wire || place >= end.wire {
            return None;
        }
        if let Some(mtu) = self.path.lower(mtu) {
            let headers = match self.options.tuple.remote.ip() {
                IpAddr::V4(_) => 40,
                IpAddr::V6(_) => 60,
            };
            self.segment_size.lower(mtu.saturating_sub(headers));
        }
        if !self.path.joins {
            // Nobody says when the local TCP heeds it, nor whether, and the peer needs each cut in its place.
            self.segment_size = SegmentSize::new(None);
        }
        Some(self.out.plain.seq(self.out.plain_before(place)))
    }

    /// The local TCP sends data from one place to another that have been records before, at least at first.
    pub(super) fn sent_again(&mut self, (from, to): (i64, i64), headers: usize) {
        let map = &self.out.map;
        // Frames without data that stand in front of it go with it.
        let start = map.first_at_or_before_plain(from).wire;
        // Behind the first octet that is missing it is not in vain.
        if start != map.base().wire || self.out.divides() && self.out.wire_from(from) > self.heard {
            return;
        }
        let next = map.end().wire;
        let length = match self.out.divides() {
            // In packets of full length, whatever the frames are: short ones that went by themselves go together now.
            true => {
                let full = i64::from(self.path.mtu()).saturating_sub_unsigned(headers as u64);
                self.out.wire_behind(to).saturating_sub(start).min(full)
            }
            false => {
                let end = map.at_or_after_plain(from.saturating_add(1)).wire;
                end.saturating_sub(start)
            }
        };
        let now = self.timers.last_outgoing();
        self.path
            .repeated(now, (start, self.heard), headers, length, next);
    }

    /// The same for what a packet from the wire says beside its acknowledgement.
    pub(super) fn see_blocks(&mut self, packet: &View<'_>) {
        if !self.options.sack || self.path.telling().is_none() {
            return;
        }
        for (left, right) in options::sack_blocks(packet.options()) {
            let base = self.out.map.base().wire;
            let left = self.out.wire.place(left, base);
            let right = self.out.wire.place(right, left);
            self.see_arrival(left, right.min(self.out.map.end().wire));
        }
    }

    /// The peer has all from one place of the wire to another.
    pub(super) fn see_arrival(&mut self, from: i64, to: i64) {
        if let Some(telling) = self.path.telling() {
            let longest = self.out.map.longest(from.max(telling), to);
            self.path.arrived(longest.unwrap_or(-1));
        }
    }
}
