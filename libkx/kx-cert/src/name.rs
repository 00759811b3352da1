//! Distinguished names and their two texts: the short one of log lines, the full one of the hook
//! and the mail (kxd spec 4.2 and 5).

use crate::der::{Reader, tag};
use crate::error::{ParseError, StringError};
use crate::oid::Oid;

/// One attribute. The value is kept as octets: a T61String need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The type.
    pub oid: Oid,
    /// The value, UTF-8 except for a T61String, whose octets stand as they are.
    pub value: Vec<u8>,
}

/// A name as a list of attributes; which of them shared a set is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name {
    attributes: Vec<Attribute>,
}

/// The types that have a word of their own, in the order of the text read backwards.
/// The numbers are the last arc of 2.5.4.x (RFC 4519).
const NAMED: [(u8, &str); 9] = [
    (6, "C"),
    (8, "ST"),
    (7, "L"),
    (9, "STREET"),
    (17, "POSTALCODE"),
    (10, "O"),
    (11, "OU"),
    (COMMON_NAME, "CN"),
    (SERIAL_NUMBER, "SERIALNUMBER"),
];
const COMMON_NAME: u8 = 3;
const SERIAL_NUMBER: u8 = 5;
const ORGANIZATION: u8 = 10;

impl Name {
    /// Reads a Name (RFC 5280 section 4.1.2.4) in DER.
    pub(crate) fn parse(der: &[u8]) -> Result<Name, ParseError> {
        let mut sequence = Reader::new(der)
            .inside(tag::SEQUENCE)
            .ok_or(ParseError::InvalidRdnSequence)?;
        let mut attributes = Vec::new();
        while !sequence.is_empty() {
            let mut set = sequence
                .inside(tag::SET)
                .ok_or(ParseError::InvalidRdnSequence)?;
            while !set.is_empty() {
                let mut pair = set
                    .inside(tag::SEQUENCE)
                    .ok_or(ParseError::InvalidAttribute)?;
                let oid = pair.oid().ok_or(ParseError::InvalidAttributeType)?;
                let value = pair.any().ok_or(ParseError::InvalidAttributeValue)?;
                attributes.push(Attribute {
                    oid: Oid::from_checked(oid),
                    value: string(value.tag, value.content).map_err(ParseError::InvalidString)?,
                });
            }
        }
        Ok(Name { attributes })
    }

    /// All attributes in the order of the certificate.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The last common name; empty when there is none.
    #[must_use]
    pub fn common_name(&self) -> &[u8] {
        self.values(COMMON_NAME).last().unwrap_or_default()
    }

    /// The first organization.
    #[must_use]
    pub fn organization(&self) -> Option<&[u8]> {
        self.values(ORGANIZATION).next()
    }

    /// SUBJECT of kxd spec 4.2: only the types with a word of their own.
    #[must_use]
    pub fn log_text(&self) -> String {
        let mut text = String::new();
        for (arc, word) in NAMED.iter().rev() {
            let mut values: Vec<&[u8]> = self.values(*arc).collect();
            if matches!(*arc, COMMON_NAME | SERIAL_NUMBER) {
                values = values
                    .pop()
                    .filter(|value| !value.is_empty())
                    .into_iter()
                    .collect();
            }
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    text.push('+');
                } else if !text.is_empty() {
                    text.push(',');
                }
                text.push_str(word);
                text.push('=');
                push_escaped(&mut text, value);
            }
        }
        text
    }

    /// CLIENT_CERT_SUBJECT of kxd spec 5: [`log_text`](Self::log_text), then the other attributes
    /// from the last to the first as `OID=#HEX`.
    #[must_use]
    pub fn full_text(&self) -> String {
        let mut text = self.log_text();
        for attribute in self.attributes.iter().rev() {
            if named_arc(&attribute.oid).is_some() {
                continue;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&attribute.oid.to_string());
            text.push('=');
            match encode_again(&attribute.value) {
                Some(der) => {
                    text.push('#');
                    push_hex(&mut text, &der);
                }
                None => push_escaped(&mut text, &attribute.value),
            }
        }
        text
    }

    fn values(&self, arc: u8) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.attributes
            .iter()
            .filter(move |attribute| attribute.oid == [0x55, 4, arc][..])
            .map(|attribute| attribute.value.as_slice())
    }
}

fn named_arc(oid: &Oid) -> Option<u8> {
    let &[0x55, 4, arc] = oid.as_der() else {
        return None;
    };
    NAMED.iter().any(|(named, _)| *named == arc).then_some(arc)
}

/// The characters of X.680's PrintableString.
fn is_printable(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&octet)
}

/// Reads one of the string types that names are made of.
fn string(tag: u8, content: &[u8]) -> Result<Vec<u8>, StringError> {
    let good = match tag {
        tag::T61_STRING => true,
        // Strictly '*' and '&' do not belong to it; real certificates have them.
        tag::PRINTABLE_STRING => content
            .iter()
            .all(|&octet| is_printable(octet) || matches!(octet, b'*' | b'&')),
        tag::UTF8_STRING => std::str::from_utf8(content).is_ok(),
        tag::BMP_STRING => return bmp_string(content),
        tag::IA5_STRING => content.is_ascii(),
        tag::NUMERIC_STRING => content
            .iter()
            .all(|&octet| octet.is_ascii_digit() || octet == b' '),
        other => return Err(StringError::Unsupported(other)),
    };
    if good {
        Ok(content.to_vec())
    } else {
        Err(StringError::Invalid(type_name(tag)))
    }
}

fn type_name(tag: u8) -> &'static str {
    match tag {
        tag::PRINTABLE_STRING => "PrintableString",
        tag::UTF8_STRING => "UTF-8 string",
        tag::BMP_STRING => "BMPString",
        tag::IA5_STRING => "IA5String",
        _ => "NumericString",
    }
}

/// UTF-16, big endian; one terminator is dropped and lone surrogates become U+FFFD.
fn bmp_string(content: &[u8]) -> Result<Vec<u8>, StringError> {
    if content.len() % 2 != 0 {
        return Err(StringError::Invalid(type_name(tag::BMP_STRING)));
    }
    let content = content.strip_suffix(&[0, 0]).unwrap_or(content);
    let units = content.chunks_exact(2).map(|pair| {
        pair.iter()
            .fold(0u16, |unit, &octet| unit << 8 | u16::from(octet))
    });
    let text: String = char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Ok(text.into_bytes())
}

/// The value as DER: a PrintableString if it may be one, else a UTF8String; `None` when it is not
/// UTF-8.
fn encode_again(value: &[u8]) -> Option<Vec<u8>> {
    let tag = if value.iter().all(|&octet| is_printable(octet)) {
        tag::PRINTABLE_STRING
    } else {
        std::str::from_utf8(value).ok()?;
        tag::UTF8_STRING
    };
    let mut der = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 128 => der.push(short),
        _ => {
            let length = value.len().to_be_bytes();
            let leading = length.iter().take_while(|&&octet| octet == 0).count();
            let length = length.get(leading..)?;
            der.push(0x80 | u8::try_from(length.len()).ok()?);
            der.extend_from_slice(length);
        }
    }
    der.extend_from_slice(value);
    Some(der)
}

/// RFC 2253's escapes. Octets that are not UTF-8 become U+FFFD, each of them one.
fn push_escaped(text: &mut String, value: &[u8]) {
    let mut at = 0;
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            let escape = match character {
                ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
                ' ' => at == 0 || at + 1 == value.len(),
                '#' => at == 0,
                _ => false,
            };
            if escape {
                text.push('\\');
            }
            text.push(character);
            at += character.len_utf8();
        }
        for _ in chunk.invalid() {
            text.push(char::REPLACEMENT_CHARACTER);
            at += 1;
        }
    }
}

pub(crate) fn push_hex(text: &mut String, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for octet in octets {
        for nibble in [octet >> 4, octet & 15] {
            text.push(
                DIGITS
                    .get(usize::from(nibble))
                    .copied()
                    .map_or('0', char::from),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Attribute, Name, encode_again, push_escaped};
    use crate::oid::Oid;

    fn name(attributes: &[(&[u8], &[u8])]) -> Name {
        let attributes = attributes
            .iter()
            .map(|(oid, value)| Attribute {
                oid: Oid::from_checked(oid),
                value: value.to_vec(),
            })
            .collect();
        Name { attributes }
    }

    const O: &[u8] = &[0x55, 4, 10];
    const CN: &[u8] = &[0x55, 4, 3];
    const C: &[u8] = &[0x55, 4, 6];
    const MAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];

    #[test]
    fn texts() {
        let subject = name(&[
            (MAIL, b"a@b"),
            (CN, b"x"),
            (O, b"one"),
            (CN, b"y"),
            (O, b"two"),
        ]);
        assert_eq!(subject.log_text(), "CN=y,O=one+O=two");
        assert_eq!(
            subject.full_text(),
            "CN=y,O=one+O=two,1.2.840.113549.1.9.1=#0c03614062"
        );
        assert_eq!(
            name(&[(MAIL, b"ab")]).full_text(),
            "1.2.840.113549.1.9.1=#13026162"
        );
        assert_eq!(
            name(&[(MAIL, b"\xe9")]).full_text(),
            "1.2.840.113549.1.9.1=\u{fffd}"
        );
        assert_eq!(name(&[]).full_text(), "");
    }

    #[test]
    fn empty_values() {
        // Only common name and serial number vanish when empty.
        assert_eq!(
            name(&[(CN, b""), (O, b""), (C, b"AR")]).log_text(),
            "O=,C=AR"
        );
        assert_eq!(name(&[(CN, b"x"), (CN, b"")]).log_text(), "");
    }

    #[test]
    fn escapes() {
        let escaped = |value: &[u8]| {
            let mut text = String::new();
            push_escaped(&mut text, value);
            text
        };
        assert_eq!(escaped(b" a b "), "\\ a b\\ ");
        assert_eq!(escaped(b"#a#"), "\\#a#");
        assert_eq!(
            escaped(b"a,b+c\"d\\e<f>g;h=i"),
            "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"
        );
        assert_eq!(escaped(b"\xe2\x82x\xff"), "\u{fffd}\u{fffd}x\u{fffd}");
        assert_eq!(escaped(" ".as_bytes()), "\\ ");
    }

    #[test]
    fn long_values_are_encoded_with_long_lengths() {
        assert_eq!(encode_again(&[b'a'; 127]).unwrap()[..2], [0x13, 127]);
        assert_eq!(encode_again(&[b'a'; 128]).unwrap()[..3], [0x13, 0x81, 128]);
        assert_eq!(
            encode_again(&[b'*'; 300]).unwrap()[..4],
            [0x0c, 0x82, 1, 44]
        );
    }

    proptest! {
        #[test]
        fn rendering_undone_gives_the_value(value in "\\PC{0,20}") {
            // Without the escapes the text is the value again, and no separator stands unescaped.
            let mut text = String::new();
            push_escaped(&mut text, value.as_bytes());
            let mut plain = String::new();
            let mut characters = text.chars();
            while let Some(character) = characters.next() {
                if character == '\\' {
                    plain.extend(characters.next());
                } else {
                    prop_assert!(!",+\"<>;".contains(character));
                    plain.push(character);
                }
            }
            prop_assert_eq!(plain, value);
        }

        #[test]
        fn any_octets_render(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let subject = name(&[(O, &value), (MAIL, &value)]);
            prop_assert!(subject.full_text().starts_with(&subject.log_text()));
        }

        #[test]
        fn parsing_never_panics(der in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Name::parse(&der);
        }
    }
}
