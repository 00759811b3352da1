//! As much of DER (X.690) as a certificate needs. Lengths are those of memory, so nothing here fails.

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Context-specific tag, primitive.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Context-specific tag, constructed.
pub(crate) const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// One element: the tag, the length in its shortest form, the parts one after the other.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let leading = length.iter().take_while(|&&octet| octet == 0).count();
    let length = length.get(leading..).unwrap_or_default();
    let mut der = Vec::with_capacity(content.len().saturating_add(10));
    der.push(tag);
    match length {
        [] => der.push(0),
        [short @ 0..=0x7f] => der.push(*short),
        _ => {
            // At most 8 octets on any machine.
            der.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            der.extend_from_slice(length);
        }
    }
    der.extend_from_slice(&content);
    der
}

/// An INTEGER that is not negative.
pub(crate) fn unsigned(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let leading = octets.iter().take_while(|&&octet| octet == 0).count();
    let digits = octets.get(leading..).unwrap_or_default();
    let sign: &[u8] = match digits.first() {
        None | Some(0x80..) => &[0],
        Some(_) => &[],
    };
    element(INTEGER, &[sign, digits])
}

#[cfg(test)]
mod tests {
    use super::{NULL, OCTET_STRING, element, unsigned};

    #[test]
    fn lengths() {
        assert_eq!(element(NULL, &[]), [5, 0]);
        assert_eq!(element(OCTET_STRING, &[&[1], &[2, 3]]), [4, 3, 1, 2, 3]);
        for (len, header) in [
            (127, &[4, 127][..]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65536, &[4, 0x83, 1, 0, 0]),
        ] {
            let der = element(OCTET_STRING, &[&vec![7; len]]);
            assert_eq!(der.get(..header.len()), Some(header));
            assert_eq!(der.len(), header.len() + len);
        }
    }

    #[test]
    fn integers() {
        for (value, der) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (0x0102_0304, &[2, 4, 1, 2, 3, 4]),
            (
                (1 << 62) - 1,
                &[2, 8, 0x3f, 255, 255, 255, 255, 255, 255, 255],
            ),
        ] {
            assert_eq!(unsigned(value), der);
        }
    }
}
