//! Where records begin and end in both numberings.

use std::collections::VecDeque;

use kx_crypto::aead::TAG_LEN;

/// A border between records, as a place on the line of plaintext and on that of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) plain: i64,
    pub(super) wire: i64,
}

/// The borders of all records that are not yet acknowledged, oldest first.
#[derive(Debug)]
pub(super) struct RecordMap {
    /// Where the oldest record begins.
    base: Border,
    /// Where each record ends.
    ends: VecDeque<Border>,
}

/// Borders that a map has room for without being asked to give it back.
const SMALL: usize = 16;

/// A drained map gives back more room than this.
const KEPT_ROOM: usize = 64;

/// Records that are looked at in search of a long one.
const MOST_LOOKED_AT: usize = 64;

impl RecordMap {
    pub(super) fn new() -> Self {
        Self {
            base: Border { plain: 0, wire: 0 },
            ends: VecDeque::new(),
        }
    }

    /// Where the oldest record begins; everything before is acknowledged.
    pub(super) fn base(&self) -> Border {
        self.base
    }

    /// Where the last record ends.
    pub(super) fn end(&self) -> Border {
        self.ends.back().copied().unwrap_or(self.base)
    }

    /// Appends a record. One without plaintext cannot be told from its neighbour by the local TCP, so it
    /// becomes a part of the record before it; no number of them makes the map grow.
    pub(super) fn push(&mut self, plain_len: usize, wire_len: usize) {
        let end = self.end();
        let border = Border {
            plain: end.plain.saturating_add_unsigned(plain_len as u64),
            wire: end.wire.saturating_add_unsigned(wire_len as u64),
        };
        if plain_len > 0 {
            self.ends.push_back(border);
        } else if let Some(last) = self.ends.back_mut() {
            *last = border;
        } else {
            self.base = border;
        }
    }

    /// Appends a record without plaintext that has to be acknowledged by itself.
    pub(super) fn push_kept(&mut self, wire_len: usize) {
        let end = self.end();
        self.ends.push_back(Border {
            plain: end.plain,
            wire: end.wire.saturating_add_unsigned(wire_len as u64),
        });
    }

    /// How many records without plaintext stand at the end, counted up to `most`.
    pub(super) fn empty_at_end(&self, most: usize) -> usize {
        let end = self.end().plain;
        let same = self.ends.iter().rev().take_while(|it| it.plain == end);
        let same = same.take(most.saturating_add(1)).count();
        // The first of them ends a record with plaintext, unless that one is acknowledged.
        match self.base.plain == end {
            true => same.min(most),
            false => same.saturating_sub(1),
        }
    }

    /// The first border with a place in the plaintext; the last before if there is none with it. Records without
    /// plaintext at that place stand behind it.
    pub(super) fn first_at_or_before_plain(&self, plain: i64) -> Border {
        if plain <= self.base.plain {
            return self.base;
        }
        let before = self.ends.partition_point(|end| end.plain < plain);
        match self.ends.get(before) {
            Some(border) if border.plain == plain => *border,
            _ => self.border(before),
        }
    }

    /// The last border at or before a place on the wire; the base if there is none.
    pub(super) fn at_or_before_wire(&self, wire: i64) -> Border {
        let after = self.ends.partition_point(|end| end.wire <= wire);
        self.border(after)
    }

    /// The first border at or after a place on the wire; the end if there is none.
    pub(super) fn at_or_after_wire(&self, wire: i64) -> Border {
        if wire <= self.base.wire {
            return self.base;
        }
        let before = self.ends.partition_point(|end| end.wire < wire);
        self.ends.get(before).copied().unwrap_or(self.end())
    }

    /// The last border at or before a place in the plaintext; the base if there is none.
    pub(super) fn at_or_before_plain(&self, plain: i64) -> Border {
        let after = self.ends.partition_point(|end| end.plain <= plain);
        self.border(after)
    }

    /// The first border at or after a place in the plaintext; the end if there is none.
    pub(super) fn at_or_after_plain(&self, plain: i64) -> Border {
        if plain <= self.base.plain {
            return self.base;
        }
        let before = self.ends.partition_point(|end| end.plain < plain);
        self.ends.get(before).copied().unwrap_or(self.end())
    }

    /// Where an octet of plaintext, or the end of all of it, is on the wire. The first octet of a record has its header
    /// in front, the last one its tag behind. Records without plaintext at that place stand behind it.
    pub(super) fn wire_of(&self, plain: i64) -> i64 {
        if plain <= self.base.plain {
            return self.base.wire;
        }
        let before = self.ends.partition_point(|end| end.plain < plain);
        match self.ends.get(before) {
            None => self.end().wire,
            Some(end) if end.plain == plain => end.wire,
            Some(end) => {
                let start = self.border(before);
                let inside = plain.saturating_sub(start.plain);
                start
                    .wire
                    .saturating_add(head(start, *end))
                    .saturating_add(inside)
            }
        }
    }

    /// The octets of plaintext before a place on the wire, those whose record's header or tag belongs to them left out
    /// where that is not before it.
    pub(super) fn plain_before(&self, wire: i64) -> i64 {
        self.inside(wire, |inside, len| inside.clamp(0, len.saturating_sub(1)))
    }

    /// Where the plaintext begins that is behind a place on the wire with all that belongs to it.
    pub(super) fn plain_behind(&self, wire: i64) -> i64 {
        self.inside(wire, |inside, len| inside.clamp(1, len))
    }

    /// The place in the plaintext for one on the wire. `bound` is asked where that is inside a record, with how far
    /// inside its plaintext and how long that is.
    fn inside(&self, wire: i64, bound: impl Fn(i64, i64) -> i64) -> i64 {
        let before = self.ends.partition_point(|end| end.wire <= wire);
        let start = self.border(before);
        let Some(end) = self.ends.get(before).filter(|_| wire > start.wire) else {
            return start.plain;
        };
        let len = end.plain.saturating_sub(start.plain);
        if len == 0 {
            return start.plain;
        }
        let inside = wire
            .saturating_sub(start.wire)
            .saturating_sub(head(start, *end));
        start.plain.saturating_add(bound(inside, len))
    }

    /// How far from `from`, the beginning of a record, up to `to` records go that can stand in one super-packet
    /// which is cut every `segment` octets: all of that length but the last, which may be shorter, and together
    /// at most `room` octets.
    pub(super) fn row(&self, from: i64, to: i64, segment: i64, room: i64) -> i64 {
        let mut row = from;
        let before = self.ends.partition_point(|end| end.wire <= from);
        for end in self.ends.range(before..) {
            let length = end.wire.saturating_sub(row);
            if end.wire > to || end.wire.saturating_sub(from) > room || length > segment {
                break;
            }
            row = end.wire;
            if length < segment {
                break;
            }
        }
        row
    }

    /// Octets of the longest record that lies between two places on the wire. It looks at some of them only if
    /// there are many.
    pub(super) fn longest(&self, from: i64, to: i64) -> Option<i64> {
        let first = self.ends.partition_point(|end| end.wire <= from);
        let mut start = self.border(first).wire;
        let mut longest = None;
        for end in self.ends.range(first..).take(MOST_LOOKED_AT) {
            if end.wire > to {
                break;
            }
            if start >= from {
                longest = longest.max(Some(end.wire.saturating_sub(start)));
            }
            start = end.wire;
        }
        longest
    }

    /// Forgets the records that end at or before `border`, which must be one of this map.
    pub(super) fn release(&mut self, border: Border) {
        let gone = self.ends.partition_point(|end| end.wire <= border.wire);
        self.base = self.border(gone);
        self.ends.drain(..gone);
        if self.ends.is_empty() && self.ends.capacity() > KEPT_ROOM {
            self.ends = VecDeque::new();
        }
    }

    /// Whether there is much to give back.
    pub(super) fn is_large(&self) -> bool {
        self.ends.capacity() > SMALL
    }

    /// Gives back what is kept for the next records.
    pub(super) fn rest(&mut self) {
        self.ends.shrink_to_fit();
    }

    /// Octets of memory held.
    pub(super) fn footprint(&self) -> usize {
        self.ends.capacity() * size_of::<Border>()
    }

    /// The border with `count` records before it.
    fn border(&self, count: usize) -> Border {
        match count.checked_sub(1) {
            Some(last) => self.ends.get(last).copied().unwrap_or(self.base),
            None => self.base,
        }
    }
}

/// Octets in front of the ciphertext of the data of the record between two borders.
fn head(start: Border, end: Border) -> i64 {
    let wire = end.wire.saturating_sub(start.wire);
    let plain = end.plain.saturating_sub(start.plain);
    wire.saturating_sub(plain).saturating_sub(TAG_LEN as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn border(plain: i64, wire: i64) -> Border {
        Border { plain, wire }
    }

    #[test]
    fn borders_in_both_numberings() {
        let mut map = RecordMap::new();
        map.push(100, 120);
        map.push(1, 21);
        map.push(50, 72);
        assert_eq!(map.end(), border(151, 213));
        assert_eq!(map.at_or_before_wire(119), border(0, 0));
        assert_eq!(map.at_or_before_wire(120), border(100, 120));
        assert_eq!(map.at_or_before_wire(140), border(100, 120));
        assert_eq!(map.at_or_after_wire(121), border(101, 141));
        assert_eq!(map.at_or_before_plain(100), border(100, 120));
        assert_eq!(map.at_or_before_plain(99), border(0, 0));
        assert_eq!(map.at_or_after_plain(1), border(100, 120));
        assert_eq!(map.at_or_after_plain(9999), border(151, 213));
        map.release(border(101, 141));
        assert_eq!(map.base(), border(101, 141));
        assert_eq!(map.at_or_before_wire(5), border(101, 141));
        map.release(border(151, 213));
        assert_eq!(map.end(), border(151, 213));
    }

    #[test]
    fn places_inside_records() {
        let mut map = RecordMap::new();
        map.push(100, 120);
        map.push_kept(20);
        // With an urgent pointer.
        map.push(50, 72);
        map.push(1, 21);
        for (plain, wire) in [
            (-5, 0),
            (0, 0),
            (1, 5),
            (99, 103),
            (100, 120),
            (101, 147),
            (149, 195),
            (150, 212),
            (151, 233),
            (999, 233),
        ] {
            assert_eq!(map.wire_of(plain), wire, "{plain}");
        }
        for (wire, before, behind) in [
            (0, 0, 0),
            (1, 0, 1),
            (4, 0, 1),
            (5, 1, 1),
            (103, 99, 99),
            (104, 99, 100),
            (119, 99, 100),
            (120, 100, 100),
            (130, 100, 100),
            (140, 100, 100),
            (141, 100, 101),
            (146, 100, 101),
            (147, 101, 101),
            (196, 149, 150),
            (211, 149, 150),
            (212, 150, 150),
            (213, 150, 151),
            (232, 150, 151),
            (233, 151, 151),
            (999, 151, 151),
        ] {
            assert_eq!(map.plain_before(wire), before, "{wire}");
            assert_eq!(map.plain_behind(wire), behind, "{wire}");
        }
    }

    #[test]
    fn rows_of_records_for_one_super_packet() {
        let mut map = RecordMap::new();
        for plain in [80, 80, 80, 30, 80, 80, 90, 80] {
            map.push(plain, plain + 20);
        }
        let all = i64::MAX;
        assert_eq!(map.row(0, all, 100, all), 350);
        assert_eq!(map.row(100, all, 100, all), 350);
        assert_eq!(map.row(0, 300, 100, all), 300);
        assert_eq!(map.row(0, all, 100, 299), 200);
        assert_eq!(map.row(300, all, 100, all), 350);
        assert_eq!(map.row(350, all, 100, all), 550);
        assert_eq!(map.row(550, all, 100, all), 550);
        assert_eq!(map.row(0, all, 90, all), 0);
        assert_eq!(map.row(660, all, 100, all), 760);
    }

    #[test]
    fn the_longest_of_some() {
        let mut map = RecordMap::new();
        for plain in [80, 90, 30] {
            map.push(plain, plain + 20);
        }
        assert_eq!(map.longest(i64::MIN, i64::MAX), Some(110));
        assert_eq!(map.longest(0, 209), Some(100));
        assert_eq!(map.longest(1, 210), Some(110));
        assert_eq!(map.longest(101, 260), Some(50));
        assert_eq!(map.longest(0, 99), None);
        assert_eq!(map.longest(300, 200), None);
    }

    #[test]
    fn records_without_plaintext_take_no_room() {
        let mut map = RecordMap::new();
        for _ in 0..1000 {
            map.push(0, 20);
        }
        assert_eq!(map.base(), border(0, 20_000));
        map.push(1, 21);
        for _ in 0..1000 {
            map.push(0, 20);
        }
        assert_eq!(map.at_or_before_plain(1), border(1, 40_021));
        assert!(map.footprint() < 256);
    }
}
