//! What debugging shows of a payload's fixed fields, class Mesg level 70 (isakmpd.md 3): a line each, with the
//! original's names. What follows them has a name too, and no text: the original shows none of it.

use isakmp_proto::number::{CertEncoding, CfgType, Doi, NotifyType, PayloadType, Protocol};

/// How a field's octets are shown.
enum Show {
    /// As a decimal number.
    Number,
    /// As hexadecimal digits.
    Octets,
    /// Not at all.
    Nothing,
    /// By the name of its number.
    Name(fn(u32) -> String),
}

/// Name, octets and form of a field.
type Field = (&'static str, usize, Show);

/// The lines for a payload, from its generic header on; none for types without fields of their own. Ends where the
/// payload does.
pub(crate) fn fields(ty: PayloadType, octets: &[u8]) -> Vec<String> {
    let mut rest = octets;
    let mut lines = Vec::new();
    for (name, length, show) in fields_of(ty) {
        let Some((value, after)) = rest.split_at_checked(length) else {
            break;
        };
        rest = after;
        if let Some(text) = text(value, &show) {
            lines.push(format!("{name}: {text}"));
        }
    }
    lines
}

fn fields_of(ty: PayloadType) -> Vec<Field> {
    use Show::{Name, Nothing, Number, Octets};
    const DATA: Field = ("DATA", 0, Octets);
    let own: Vec<Field> = match ty {
        PayloadType::SA => vec![("DOI", 4, Number), ("SIT", 0, Octets)],
        PayloadType::PROPOSAL => vec![
            ("NO", 1, Number),
            ("PROTO", 1, Name(protocol)),
            ("SPI_SZ", 1, Number),
            ("NTRANSFORMS", 1, Number),
            ("SPI", 0, Octets),
        ],
        PayloadType::TRANSFORM => vec![
            ("NO", 1, Number),
            ("ID", 1, Number),
            ("RESERVED", 2, Nothing),
            ("SA_ATTRS", 0, Octets),
        ],
        PayloadType::KEY_EXCHANGE
        | PayloadType::HASH
        | PayloadType::SIGNATURE
        | PayloadType::NONCE
        | PayloadType::NAT_D
        | PayloadType::NAT_D_DRAFT => vec![DATA],
        PayloadType::ID => vec![("TYPE", 1, Number), ("DOI_DATA", 3, Octets), DATA],
        PayloadType::CERT => vec![("ENCODING", 1, Name(encoding)), DATA],
        PayloadType::CERT_REQUEST => vec![("TYPE", 1, Name(encoding)), ("AUTHORITY", 0, Octets)],
        PayloadType::NOTIFY => vec![
            ("DOI", 4, Name(doi)),
            ("PROTO", 1, Name(protocol)),
            ("SPI_SZ", 1, Number),
            ("MSG_TYPE", 2, Name(notification)),
            ("SPI", 0, Octets),
        ],
        PayloadType::DELETE => vec![
            ("DOI", 4, Name(doi)),
            ("PROTO", 1, Name(protocol)),
            ("SPI_SZ", 1, Number),
            ("NSPIS", 2, Number),
            ("SPI", 0, Octets),
        ],
        PayloadType::VENDOR_ID => vec![("ID", 0, Octets)],
        PayloadType::ATTRIBUTE => vec![
            ("TYPE", 1, Name(kind)),
            ("RESERVED", 1, Nothing),
            ("ID", 2, Number),
            ("ATTRS", 0, Octets),
        ],
        PayloadType::NAT_OA | PayloadType::NAT_OA_DRAFT => {
            vec![("TYPE", 1, Number), ("RESERVED", 3, Nothing), DATA]
        }
        _ => return Vec::new(),
    };
    let mut fields = vec![
        ("NEXT_PAYLOAD", 1, Name(payload)),
        ("RESERVED", 1, Nothing),
        ("LENGTH", 2, Number),
    ];
    fields.extend(own);
    fields
}

fn text(value: &[u8], show: &Show) -> Option<String> {
    let number = || {
        value
            .iter()
            .fold(0_u32, |number, octet| (number << 8) | u32::from(*octet))
    };
    match show {
        Show::Number => Some(number().to_string()),
        Show::Octets => Some(value.iter().map(|octet| format!("{octet:02x}")).collect()),
        Show::Nothing => None,
        Show::Name(name) => Some(name(number())),
    }
}

/// `number` as the type `N` of its width; wider than that it is not read.
fn named<N: std::fmt::Display, R: TryFrom<u32>>(number: u32, name: fn(R) -> N) -> String {
    R::try_from(number)
        .map(|number| name(number).to_string())
        .unwrap_or_default()
}

fn payload(number: u32) -> String {
    named(number, PayloadType)
}

fn protocol(number: u32) -> String {
    named(number, Protocol)
}

fn encoding(number: u32) -> String {
    named(number, CertEncoding)
}

fn doi(number: u32) -> String {
    named(number, Doi)
}

fn notification(number: u32) -> String {
    named(number, NotifyType)
}

fn kind(number: u32) -> String {
    named(number, CfgType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_a_delete() {
        let delete = [0, 0, 0, 16, 0, 0, 0, 1, 3, 4, 0, 1, 0xc0, 0xff, 0xee, 0];
        assert_eq!(
            fields(PayloadType::DELETE, &delete),
            [
                "NEXT_PAYLOAD: NONE",
                "LENGTH: 16",
                "DOI: IPSEC",
                "PROTO: IPSEC_ESP",
                "SPI_SZ: 4",
                "NSPIS: 1",
                "SPI: ",
            ]
        );
    }

    #[test]
    fn an_identity_and_numbers_without_names() {
        let id = [200, 0, 0, 12, 4, 17, 1, 0xf4, 10, 0, 0, 0];
        assert_eq!(
            fields(PayloadType::ID, &id),
            [
                "NEXT_PAYLOAD: <Unknown 200>",
                "LENGTH: 12",
                "TYPE: 4",
                "DOI_DATA: 1101f4",
                "DATA: ",
            ]
        );
    }

    #[test]
    fn ends_with_the_payload() {
        let cut = [0, 0, 0, 9, 0, 0, 0, 1, 1];
        assert_eq!(
            fields(PayloadType::NOTIFY, &cut).last().map(String::as_str),
            Some("PROTO: ISAKMP")
        );
        assert!(fields(PayloadType(22), &cut).is_empty());
    }
}
