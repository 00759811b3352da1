//! A reader of DER (X.690), as strict and as narrow as X.509 needs: one-octet tags, definite
//! minimal lengths.
//!
//! Every method takes an element off the front and gives `None` when it is not there or not well
//! formed. After `None` the reader's position is of no use.

use chrono::{DateTime, FixedOffset, NaiveDate};

/// Universal and context tags, as the identifier octet.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const T61_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[n]` of a primitive.
    pub(crate) const fn context(n: u8) -> u8 {
        0x80 | n
    }

    /// `[n]` of something constructed.
    pub(crate) const fn context_constructed(n: u8) -> u8 {
        0xa0 | n
    }
}

/// An element: its tag, its content, and all of its octets.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Where reading stands.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Reader(octets)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element has this tag.
    pub(crate) fn peek(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Any element.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        // Tags of several octets do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (octets, after) = rest.split_at_checked(count)?;
            if octets.first() == Some(&0) {
                return None;
            }
            length = octets
                .iter()
                .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
            if length < 128 {
                return None;
            }
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len().checked_sub(after.len())?)?;
        self.0 = after;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The content of an element with this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|element| element.tag == tag)
            .map(|element| element.content)
    }

    /// A reader over the content of an element with this tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.content(tag).map(Reader)
    }

    /// All octets of an element with this tag.
    pub(crate) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|element| element.tag == tag)
            .map(|element| element.whole)
    }

    /// Like [`content`](Self::content) when the tag is next, `Some(None)` when another one is.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.peek(tag) {
            self.content(tag).map(Some)
        } else {
            Some(None)
        }
    }

    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.content(tag::BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// An INTEGER of any size: minimal two's complement, most significant octet first.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        self.integer_tagged(tag::INTEGER)
    }

    /// As [`integer`](Self::integer), with an implicit tag.
    pub(crate) fn integer_tagged(&mut self, tag: u8) -> Option<&'a [u8]> {
        let octets = self.content(tag)?;
        match octets {
            [] => None,
            [0, second, ..] if second & 0x80 == 0 => None,
            [0xff, second, ..] if second & 0x80 != 0 => None,
            _ => Some(octets),
        }
    }

    pub(crate) fn int64(&mut self) -> Option<i64> {
        to_int64(self.integer()?)
    }

    /// A BIT STRING whose unused bits are zero.
    pub(crate) fn bit_string(&mut self) -> Option<BitString<'a>> {
        let (&unused, octets) = self.content(tag::BIT_STRING)?.split_first()?;
        let last = octets.last().copied().unwrap_or(0);
        if unused > 7 || (octets.is_empty() && unused != 0) || last & ((1 << unused) - 1) != 0 {
            return None;
        }
        Some(BitString { octets, unused })
    }

    /// The content octets of a well-formed OBJECT IDENTIFIER.
    pub(crate) fn oid(&mut self) -> Option<&'a [u8]> {
        let octets = self.content(tag::OBJECT_IDENTIFIER)?;
        arcs(octets)?;
        Some(octets)
    }

    /// A UTCTime or GeneralizedTime has to be next; which of both is for the caller to look up.
    pub(crate) fn utc_time(&mut self) -> Option<DateTime<FixedOffset>> {
        let text = self.content(tag::UTC_TIME)?;
        let (year, rest) = digits(text, 2)?;
        // RFC 5280 section 4.1.2.5.1: 50 to 99 are of the last century.
        let century = if year >= 50 { 1900 } else { 2000 };
        // X.509 wants seconds; the reference does without as well.
        time(i32::try_from(year).ok()? + century, rest, true)
    }

    pub(crate) fn generalized_time(&mut self) -> Option<DateTime<FixedOffset>> {
        let text = self.content(tag::GENERALIZED_TIME)?;
        let (year, rest) = digits(text, 4)?;
        time(i32::try_from(year).ok()?, rest, false)
    }
}

/// The value of a two's complement number of at most eight octets.
pub(crate) fn to_int64(octets: &[u8]) -> Option<i64> {
    if octets.len() > 8 {
        return None;
    }
    let negative = octets.first()? & 0x80 != 0;
    let start = if negative { -1i64 } else { 0 };
    Some(
        octets
            .iter()
            .fold(start, |sum, &octet| sum << 8 | i64::from(octet)),
    )
}

/// A BIT STRING.
#[derive(Clone, Copy)]
pub(crate) struct BitString<'a> {
    octets: &'a [u8],
    unused: u8,
}

impl BitString<'_> {
    /// Bit `n`, counted from the most significant one of the first octet; beyond the end it is not
    /// set.
    pub(crate) fn bit(&self, n: usize) -> bool {
        // Unused bits are zero, so there is no need to look at their number.
        self.octets
            .get(n / 8)
            .is_some_and(|octet| octet >> (7 - n % 8) & 1 == 1)
    }

    /// The bits as octets with the padding moved to the front.
    pub(crate) fn right_aligned(&self) -> Vec<u8> {
        let mut previous = 0u16;
        let shift = |&octet: &u8| {
            let pair = previous << 8 | u16::from(octet);
            previous = u16::from(octet);
            // Eight bits are wanted of it.
            (pair >> self.unused & 0xff) as u8
        };
        self.octets.iter().map(shift).collect()
    }
}

/// The numbers of an OBJECT IDENTIFIER given by its content octets, each below 2^31.
pub(crate) fn arcs(content: &[u8]) -> Option<Vec<u32>> {
    let mut arcs = Vec::with_capacity(content.len() + 1);
    let mut value = 0u32;
    let mut fresh = true;
    for &octet in content {
        if (fresh && octet == 0x80) || value >= 1 << 24 {
            return None;
        }
        value = value << 7 | u32::from(octet & 0x7f);
        fresh = octet & 0x80 == 0;
        if fresh {
            if arcs.is_empty() {
                let first = (value / 40).min(2);
                arcs.push(first);
                arcs.push(value - 40 * first);
            } else {
                arcs.push(value);
            }
            value = 0;
        }
    }
    (fresh && !arcs.is_empty()).then_some(arcs)
}

/// A number of exactly `count` digits and what follows it.
fn digits(text: &[u8], count: usize) -> Option<(u32, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let mut value = 0;
    for octet in number {
        if !octet.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(octet - b'0');
    }
    Some((value, rest))
}

/// The part of a time after the year: `MMDDhhmm[ss]` and `Z` or `+hhmm` or `-hhmm` (not zero).
fn time(year: i32, text: &[u8], may_lack_seconds: bool) -> Option<DateTime<FixedOffset>> {
    let (month, rest) = digits(text, 2)?;
    let (day, rest) = digits(rest, 2)?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest, 2)?;
    let (second, rest) = match digits(rest, 2) {
        Some(found) => found,
        None if may_lack_seconds => (0, rest),
        None => return None,
    };
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, rest) = digits(rest, 2)?;
            let (minutes, rest) = digits(rest, 2)?;
            let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
            // Zero has to be written as Z.
            if !rest.is_empty() || minutes > 59 || seconds == 0 {
                return None;
            }
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    NaiveDate::from_ymd_opt(year, month, day)?
        .and_hms_opt(hour, minute, second)?
        .and_local_timezone(FixedOffset::east_opt(offset)?)
        .single()
}

#[cfg(test)]
mod tests {
    use super::{Reader, arcs, to_int64};

    fn content(octets: &[u8]) -> Option<usize> {
        Reader::new(octets)
            .any()
            .map(|element| element.content.len())
    }

    #[test]
    fn lengths() {
        assert_eq!(content(&[0x04, 0]), Some(0));
        assert_eq!(content(&[0x04, 1]), None);
        assert_eq!(content(&[0x04]), None);
        assert_eq!(content(&[0x04, 0x80]), None);
        assert_eq!(content(&[0x04, 0x81, 1, 0]), None);
        assert_eq!(content(&[0x1f, 0x01, 0]), None);
        let mut long = vec![0x04, 0x81, 128];
        long.resize(3 + 128, 0);
        assert_eq!(content(&long), Some(128));
        let mut padded = vec![0x04, 0x82, 0, 128];
        padded.resize(4 + 128, 0);
        assert_eq!(content(&padded), None);
        assert_eq!(content(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
    }

    #[test]
    fn integers() {
        let read = |octets: &[u8]| Reader::new(octets).int64();
        assert_eq!(read(&[2, 1, 5]), Some(5));
        assert_eq!(read(&[2, 1, 0xfb]), Some(-5));
        assert_eq!(read(&[2, 2, 0, 0x80]), Some(128));
        assert_eq!(read(&[2, 2, 0, 0x7f]), None);
        assert_eq!(read(&[2, 2, 0xff, 0x80]), None);
        assert_eq!(read(&[2, 0]), None);
        assert_eq!(
            to_int64(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Some(i64::MAX)
        );
        assert_eq!(to_int64(&[0x80, 0, 0, 0, 0, 0, 0, 0]), Some(i64::MIN));
        assert_eq!(to_int64(&[1; 9]), None);
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(arcs(&[0x55, 0x04, 0x03]), Some(vec![2, 5, 4, 3]));
        assert_eq!(arcs(&[0x2a, 0x86, 0x48]), Some(vec![1, 2, 840]));
        assert_eq!(arcs(&[0x88, 0x37]), Some(vec![2, 999]));
        assert_eq!(arcs(&[]), None);
        assert_eq!(arcs(&[0x55, 0x80, 0x01]), None);
        assert_eq!(arcs(&[0x55, 0x81]), None);
        assert_eq!(
            arcs(&[0x2a, 0x87, 0xff, 0xff, 0xff, 0x7f]),
            Some(vec![1, 2, 0x7fff_ffff])
        );
        assert_eq!(arcs(&[0x2a, 0x88, 0x80, 0x80, 0x80, 0x00]), None);
    }

    #[test]
    fn times() {
        let utc = |text: &str| {
            let mut der = vec![0x17, u8::try_from(text.len()).unwrap()];
            der.extend_from_slice(text.as_bytes());
            Reader::new(&der).utc_time().map(|time| time.to_rfc3339())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(utc("491231235959Z"), some("2049-12-31T23:59:59+00:00"));
        assert_eq!(utc("500101000000Z"), some("1950-01-01T00:00:00+00:00"));
        assert_eq!(utc("2001010000Z"), some("2020-01-01T00:00:00+00:00"));
        assert_eq!(utc("200101000000+0130"), some("2020-01-01T00:00:00+01:30"));
        assert_eq!(utc("200101000000+0000"), None);
        assert_eq!(utc("200101000060Z"), None);
        assert_eq!(utc("200230000000Z"), None);
        assert_eq!(utc("200101000000"), None);
        assert_eq!(utc("200101000000Zx"), None);
    }

    #[test]
    fn bits() {
        let mut reader = Reader::new(&[3, 3, 1, 0x80, 0x02]);
        let bits = reader.bit_string().unwrap();
        assert!(bits.bit(0) && !bits.bit(1) && bits.bit(14) && !bits.bit(15) && !bits.bit(99));
        assert_eq!(bits.right_aligned(), [0x40, 0x01]);
        assert!(Reader::new(&[3, 2, 1, 0x01]).bit_string().is_none());
        assert!(Reader::new(&[3, 1, 1]).bit_string().is_none());
        assert!(Reader::new(&[3, 0]).bit_string().is_none());
        assert!(Reader::new(&[3, 1, 0]).bit_string().is_some());
    }
}
