//! BER-TLV as ISO 7816-4 and the certificates of BSI TR-03110 use it: tags of up to three octets,
//! lengths of up to three octets after the first, always definite.

use std::fmt;

/// What is wrong with an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends inside a tag, a length or a value.
    #[error("data ends inside an element")]
    Truncated,
    /// A tag of more than three octets, or one that is no tag.
    #[error("malformed tag")]
    Tag,
    /// An indefinite length or one that cannot be.
    #[error("malformed length")]
    Length,
    /// An element that must be there is not.
    #[error("element {0} is missing")]
    Missing(Tag),
    /// Another element stands where one must be.
    #[error("element {found} where {wanted} belongs")]
    Unexpected {
        /// What must be there.
        wanted: Tag,
        /// What is there.
        found: Tag,
    },
    /// Octets after the last element.
    #[error("data after the last element")]
    Trailing,
}

/// The octets of a tag as a number, as in `0x7f21`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub u32);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}", self.0)
    }
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The octets of the tag as a number.
    pub tag: u32,
    /// The content.
    pub value: &'a [u8],
    /// The whole element, header included, as it stood in the input.
    pub encoded: &'a [u8],
}

fn split(input: &[u8], at: usize) -> Result<(&[u8], &[u8]), Error> {
    input.split_at_checked(at).ok_or(Error::Truncated)
}

/// The octets of the tag at the beginning, and how many they are.
fn read_tag(input: &[u8]) -> Result<(u32, usize), Error> {
    let first = *input.first().ok_or(Error::Truncated)?;
    let mut tag = u32::from(first);
    if first & 0x1f != 0x1f {
        return Ok((tag, 1));
    }
    for at in 1..3 {
        let octet = *input.get(at).ok_or(Error::Truncated)?;
        tag = tag << 8 | u32::from(octet);
        if octet & 0x80 == 0 {
            return Ok((tag, at.saturating_add(1)));
        }
    }
    Err(Error::Tag)
}

/// The element at the beginning of `input`, and what follows it.
///
/// # Errors
/// [`Error`].
pub fn read(input: &[u8]) -> Result<(Tlv<'_>, &[u8]), Error> {
    let (tag, tag_len) = read_tag(input)?;
    let (_, rest) = split(input, tag_len)?;
    let (first, mut rest) = rest.split_first().ok_or(Error::Truncated)?;
    let mut len = usize::from(*first);
    if *first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) {
            return Err(Error::Length);
        }
        let (octets, after) = split(rest, count)?;
        len = octets
            .iter()
            .fold(0, |len, octet| len << 8 | usize::from(*octet));
        rest = after;
    }
    let (value, rest) = split(rest, len)?;
    let (encoded, _) = split(input, input.len().saturating_sub(rest.len()))?;
    Ok((
        Tlv {
            tag,
            value,
            encoded,
        },
        rest,
    ))
}

/// The element at the beginning of `input`, which must carry `tag`, and what follows it.
///
/// # Errors
/// [`Error`].
pub fn expect(input: &[u8], tag: u32) -> Result<(Tlv<'_>, &[u8]), Error> {
    if input.is_empty() {
        return Err(Error::Missing(Tag(tag)));
    }
    let (element, rest) = read(input)?;
    if element.tag != tag {
        return Err(Error::Unexpected {
            wanted: Tag(tag),
            found: Tag(element.tag),
        });
    }
    Ok((element, rest))
}

/// The element that `input` is, which must carry `tag` and be followed by nothing.
///
/// # Errors
/// [`Error`].
pub fn only(input: &[u8], tag: u32) -> Result<Tlv<'_>, Error> {
    match expect(input, tag)? {
        (element, []) => Ok(element),
        _ => Err(Error::Trailing),
    }
}

/// The elements of `input` one after the other. After an error there is nothing more.
pub fn elements(input: &[u8]) -> Elements<'_> {
    Elements { rest: input }
}

/// See [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Tlv<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = read(self.rest);
        self.rest = read.map_or(&[], |(_, rest)| rest);
        Some(read.map(|(element, _)| element))
    }
}

/// The first element of `input` with `tag`, if there is one.
///
/// # Errors
/// [`Error`] if an element before it is malformed.
pub fn find(input: &[u8], tag: u32) -> Result<Option<Tlv<'_>>, Error> {
    for element in elements(input) {
        let element = element?;
        if element.tag == tag {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// As [`find`], but it must be there.
///
/// # Errors
/// [`Error`].
pub fn require(input: &[u8], tag: u32) -> Result<Tlv<'_>, Error> {
    find(input, tag)?.ok_or(Error::Missing(Tag(tag)))
}

/// Appends an element with the shortest length there is. Content over 16 MiB is cut, which no card
/// and no file has.
pub fn push(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    let value = value.get(..0x00ff_ffff).unwrap_or(value);
    push_significant(out, tag);
    let len = u32::try_from(value.len()).unwrap_or(0x00ff_ffff);
    match len {
        0..=0x7f => {}
        0x80..=0xff => out.push(0x81),
        0x100..=0xffff => out.push(0x82),
        _ => out.push(0x83),
    }
    push_significant(out, len);
    out.extend_from_slice(value);
}

/// The octets of a number without leading zeros, at least one.
fn push_significant(out: &mut Vec<u8>, number: u32) {
    let octets = number.to_be_bytes();
    let skip = octets
        .iter()
        .take(3)
        .take_while(|octet| **octet == 0)
        .count();
    out.extend(octets.iter().skip(skip));
}

/// An element by itself.
#[must_use]
pub fn encode(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len().saturating_add(7));
    push(&mut out, tag, value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_of_one_two_and_three_octets() {
        for (tag, header) in [
            (0x42, &[0x42][..]),
            (0x7f21, &[0x7f, 0x21]),
            (0x5f37, &[0x5f, 0x37]),
            (0x7f8101, &[0x7f, 0x81, 0x01]),
        ] {
            let encoded = encode(tag, b"x");
            assert_eq!(encoded, [header, &[1, b'x']].concat());
            let (element, rest) = read(&encoded).unwrap();
            assert_eq!(
                (element.tag, element.value, rest),
                (tag, &b"x"[..], &[][..])
            );
        }
        assert_eq!(read(&[0x7f, 0x81, 0x81, 1, 0]), Err(Error::Tag));
    }

    #[test]
    fn malformed() {
        for (octets, error) in [
            (&[0x30][..], Error::Truncated),
            (&[0x7f], Error::Truncated),
            (&[0x30, 2, 0], Error::Truncated),
            (&[0x30, 0x80, 0, 0], Error::Length),
            (&[0x30, 0x84, 0, 0, 0, 0], Error::Length),
            (&[0x30, 0x83, 0xff, 0xff, 0xff], Error::Truncated),
            (&[0x30, 0x82, 1], Error::Truncated),
        ] {
            assert_eq!(read(octets), Err(error), "{octets:?}");
            assert_eq!(elements(octets).count(), 1);
        }
        assert_eq!(only(&[4, 0, 4, 0], 4), Err(Error::Trailing));
        assert_eq!(only(&[], 4), Err(Error::Missing(Tag(4))));
        assert_eq!(
            only(&[4, 0], 0x7f21).unwrap_err().to_string(),
            "element 04 where 7F21 belongs"
        );
        assert_eq!(require(&[4, 0], 5), Err(Error::Missing(Tag(5))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in prop_oneof![Just(0x30u32), Just(0x5f37), Just(0x7f8101)], len in 0usize..70_000, after in any::<[u8; 3]>()) {
            let value = vec![7; len];
            let mut encoded = encode(tag, &value);
            let whole = encoded.len();
            encoded.extend_from_slice(&after);
            let (element, rest) = read(&encoded).unwrap();
            prop_assert_eq!(element.tag, tag);
            prop_assert_eq!(element.value, &value[..]);
            prop_assert_eq!(element.encoded.len(), whole);
            prop_assert_eq!(rest, after);
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            for element in elements(&octets) {
                let _ = element;
            }
        }
    }
}
