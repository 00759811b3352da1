//! Sequence numbers as places on a line without wrap.
//!
//! A place counts octets from where encryption began. The wire and the local TCP number the same stream
//! differently, so each direction has two lines; what happened before encryption lies at negative places.

use crate::packet::Seq;

/// One numbering of one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    start: Seq,
}

impl Line {
    /// The line whose place 0 has the number `start`.
    pub(super) fn new(start: Seq) -> Self {
        Self { start }
    }

    /// The number of a place.
    pub(super) fn seq(self, place: i64) -> Seq {
        // Numbers are places modulo 2^32, that is what the cast takes.
        Seq(self.start.0.wrapping_add(place as u32))
    }

    /// The place of a number: of all that have it, the one closest to `near`.
    pub(super) fn place(self, seq: Seq, near: i64) -> i64 {
        let distance = seq.0.wrapping_sub(self.seq(near).0);
        near.saturating_add(i64::from(distance as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_on_where_numbers_wrap() {
        let line = Line::new(Seq(0xffff_ff00));
        assert_eq!(line.seq(0x110), Seq(0x10));
        assert_eq!(line.place(Seq(0x10), 0x100), 0x110);
        assert_eq!(line.place(Seq(0xffff_feff), 0), -1);
        let round = 1 << 32;
        assert_eq!(line.place(Seq(0x10), 3 * round), 3 * round + 0x110);
    }
}
