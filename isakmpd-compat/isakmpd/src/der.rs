//! Elements of DER, as far as certificates and revocation lists are taken apart and put together here: tags of one
//! octet, lengths of four.

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: [u8; 2] = [0x05, 0x00];
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;

/// An element of DER.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    let mut whole = vec![tag];
    match (u8::try_from(content.len()), u8::try_from(significant.len())) {
        (Ok(short @ 0..=127), _) => whole.push(short),
        (_, Ok(count)) => {
            whole.push(0x80 | count);
            whole.extend(significant);
        }
        _ => {}
    }
    whole.extend(content);
    whole
}

/// Tag and octets of the next element, whole; moves on.
pub(crate) fn next<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, first) = (*der.first()?, *der.get(1)?);
    let (header, length) = match first {
        0..=127 => (2, usize::from(first)),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let octets = der.get(2..2 + count)?;
            let length = octets.iter().try_fold(0_usize, |length, octet| {
                length.checked_mul(256)?.checked_add(usize::from(*octet))
            })?;
            (2 + count, length)
        }
        _ => return None,
    };
    let (whole, rest) = der.split_at_checked(length.checked_add(header)?)?;
    *der = rest;
    Some((tag, whole))
}

/// The content of the next element, which must have this tag.
pub(crate) fn content_of<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, whole) = next(der)?;
    let header = match *whole.get(1)? {
        0..=127 => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    (found == tag).then_some(whole.get(header..)?)
}
