//! X.500 names in DER (RFC 5280 section 4.1.2.4) as one line: `/C=SE/O=X/CN=Y`.

use crate::octets::Reader;

/// The line is cut here, as the original's buffer cuts it.
const MAX_LINE: usize = 254;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const UNIVERSAL_STRING: u8 = 0x1c;

/// The short names of attribute types, by the octets of the object identifier.
const ATTRIBUTE_NAMES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 13], "description"),
    (&[0x55, 4, 15], "businessCategory"),
    (&[0x55, 4, 16], "postalAddress"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 18], "postOfficeBox"),
    (&[0x55, 4, 20], "telephoneNumber"),
    (&[0x55, 4, 41], "name"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x55, 4, 44], "generationQualifier"),
    (&[0x55, 4, 45], "x500UniqueIdentifier"),
    (&[0x55, 4, 46], "dnQualifier"),
    (&[0x55, 4, 65], "pseudonym"),
    (&[0x55, 4, 72], "role"),
    (&[0x55, 4, 97], "organizationIdentifier"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2],
        "unstructuredName",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 8],
        "unstructuredAddress",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
];

/// The name in one line; `None` if this is not the DER of a name. What follows the name is not looked at.
pub(super) fn one_line(der: &[u8]) -> Option<String> {
    let mut reader = Reader::new(der);
    let mut names = Reader::new(element(&mut reader, SEQUENCE)?);
    let mut line = String::new();
    while !names.is_empty() {
        let mut set = Reader::new(element(&mut names, SET)?);
        while !set.is_empty() {
            let mut pair = Reader::new(element(&mut set, SEQUENCE)?);
            let ty = element(&mut pair, OBJECT_IDENTIFIER)?;
            let (tag, value) = any_element(&mut pair)?;
            if !pair.is_empty() {
                return None;
            }
            // Longer lines are cut below anyway; no need to let them grow.
            if line.len() <= MAX_LINE {
                line.push('/');
                line.push_str(&attribute_name(ty)?);
                line.push('=');
                line.push_str(&escaped(tag, value));
            }
        }
    }
    // All ASCII by now.
    line.truncate(MAX_LINE);
    Some(line)
}

fn attribute_name(oid: &[u8]) -> Option<String> {
    match ATTRIBUTE_NAMES.iter().find(|(known, _)| *known == oid) {
        Some((_, name)) => Some((*name).to_owned()),
        None => dotted(oid),
    }
}

fn dotted(oid: &[u8]) -> Option<String> {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    let mut open = true;
    for octet in oid {
        arc = arc.checked_mul(128)?.checked_add(u64::from(octet & 0x7f))?;
        open = octet & 0x80 != 0;
        if !open {
            if arcs.is_empty() {
                let root = (arc / 40).min(2);
                arcs.push(root);
                arc = arc.checked_sub(root.checked_mul(40)?)?;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    if open {
        return None;
    }
    Some(
        arcs.iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join("."),
    )
}

/// Octets outside printable ASCII as `\xHH`; the zero octets of wide strings of plain characters are dropped.
fn escaped(tag: u8, value: &[u8]) -> String {
    let wide = match tag {
        BMP_STRING => 2,
        UNIVERSAL_STRING => 4,
        _ => 1,
    };
    let shown = if wide > 1 && value.len() % wide == 0 {
        let used = |place: usize| {
            value
                .chunks(wide)
                .any(|c| c.get(place).is_some_and(|octet| *octet != 0))
        };
        let places: Vec<bool> = (0..wide)
            .map(|place| place == wide.saturating_sub(1) || used(place))
            .collect();
        value
            .iter()
            .zip(places.iter().cycle())
            .filter_map(|(octet, used)| used.then_some(*octet))
            .collect()
    } else {
        value.to_vec()
    };
    shown
        .iter()
        .take(MAX_LINE)
        .map(|octet| match octet {
            b' '..=b'~' => char::from(*octet).to_string(),
            _ => format!("\\x{octet:02X}"),
        })
        .collect()
}

fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    any_element(reader).and_then(|(found, content)| (found == tag).then_some(content))
}

fn any_element<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let tag = reader.u8()?;
    // No attribute value has a tag of more than one octet.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let length = match reader.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(reader.u8()?),
        0x82 => usize::from(reader.u16()?),
        _ => return None,
    };
    Some((tag, reader.take(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(
            SET,
            &tlv(
                SEQUENCE,
                &[tlv(OBJECT_IDENTIFIER, oid), tlv(tag, value)].concat(),
            ),
        )
    }

    #[test]
    fn one_line_as_openssl_writes_it() {
        let name = tlv(
            SEQUENCE,
            &[
                attribute(&[0x55, 4, 6], 0x13, b"SE"),
                attribute(&[0x55, 4, 10], 0x0c, "Å".as_bytes()),
                attribute(&[0x2a, 0x03, 0x81, 0x01], 0x13, b"odd"),
                attribute(&[0x55, 4, 3], BMP_STRING, &[0, b'h', 0, b'i']),
            ]
            .concat(),
        );
        assert_eq!(
            one_line(&name).as_deref(),
            Some("/C=SE/O=\\xC3\\x85/1.2.3.129=odd/CN=hi")
        );
        assert_eq!(one_line(&name[..name.len() - 1]), None);
        assert_eq!(one_line(&tlv(SEQUENCE, &[])).as_deref(), Some(""));
    }

    #[test]
    fn a_long_line_is_cut() {
        let rdn = attribute(&[0x55, 4, 3], 0x13, &[b'x'; 100]);
        let content = rdn.repeat(5);
        let mut name = vec![SEQUENCE, 0x82];
        name.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        name.extend(content);
        assert_eq!(one_line(&name).map(|line| line.len()), Some(MAX_LINE));
    }
}
