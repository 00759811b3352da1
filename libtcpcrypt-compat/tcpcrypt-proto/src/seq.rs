//! Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).

use std::ops::{Add, AddAssign, Sub};

/// A sequence or acknowledgement number. Comparisons are those of RFC 9293: good as long as both
/// are within 2^31 of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// Octets from `earlier` to this number, modulo 2^32.
    pub fn since(self, earlier: Seq) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// True when this number comes before `other`.
    pub fn lt(self, other: Seq) -> bool {
        let distance = other.since(self);
        distance != 0 && distance < 0x8000_0000
    }

    /// True when this number is `other` or comes before it.
    pub fn le(self, other: Seq) -> bool {
        self == other || self.lt(other)
    }

    /// True when this number comes after `other`.
    pub fn gt(self, other: Seq) -> bool {
        other.lt(self)
    }

    /// True when this number is `other` or comes after it.
    pub fn ge(self, other: Seq) -> bool {
        other.le(self)
    }

    /// The later of two.
    pub fn max(self, other: Seq) -> Seq {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of two.
    pub fn min(self, other: Seq) -> Seq {
        if self.lt(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;

    fn add(self, octets: u32) -> Seq {
        Seq(self.0.wrapping_add(octets))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, octets: u32) {
        *self = *self + octets;
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;

    fn sub(self, octets: u32) -> Seq {
        Seq(self.0.wrapping_sub(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::Seq;

    #[test]
    fn order_survives_the_wrap() {
        let before = Seq(u32::MAX - 1);
        let after = before + 4;
        assert_eq!(after, Seq(2));
        assert!(before.lt(after) && after.gt(before) && before.le(before));
        assert_eq!(after.since(before), 4);
        assert_eq!(before.max(after), after);
        assert_eq!(before.min(after), before);
        assert_eq!(after - 4, before);
    }
}
