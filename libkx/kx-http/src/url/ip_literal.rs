//! IP addresses between the brackets of a URL, with Go's reasons for refusing one.

use kx_log::goquote::quote;

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// A text that is no IP address; shown as `ParseAddr("TEXT"): WHY (at "REST")`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ParseAddr({}): {why}{}", quote(.text), .at.as_deref().map_or_else(String::new, |at| format!(" (at {})", quote(at))))]
pub struct AddressError {
    text: Vec<u8>,
    why: &'static str,
    at: Option<Vec<u8>>,
}

struct Failure<'a>(&'static str, &'a [u8]);

/// Says what kind of address `text` is.
pub(super) fn check(text: &[u8]) -> Result<Family, AddressError> {
    let telling = text
        .iter()
        .find(|octet| matches!(octet, b'.' | b':' | b'%'));
    let outcome = match telling {
        Some(b'.') => check_v4(text).map(|()| Family::V4),
        Some(b':') => check_v6(text).map(|()| Family::V6),
        Some(_) => Err(Failure("missing IPv6 address", b"")),
        None => Err(Failure("unable to parse IP", b"")),
    };
    outcome.map_err(|Failure(why, at)| AddressError {
        text: text.to_vec(),
        why,
        at: (!at.is_empty()).then(|| at.to_vec()),
    })
}

fn check_v4(text: &[u8]) -> Result<(), Failure<'_>> {
    let (mut value, mut digits, mut dots) = (0u32, 0u32, 0u32);
    let mut previous = None;
    for (index, &octet) in text.iter().enumerate() {
        let rest = text.get(index..).unwrap_or_default();
        match octet {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err(Failure("IPv4 field has octet with leading zero", b""));
                }
                let digit = u32::from(octet.wrapping_sub(b'0'));
                value = value.saturating_mul(10).saturating_add(digit);
                digits = digits.saturating_add(1);
                if value > 255 {
                    return Err(Failure("IPv4 field has value >255", b""));
                }
            }
            b'.' => {
                if matches!(previous, None | Some(b'.')) || rest.len() == 1 {
                    return Err(Failure("IPv4 field must have at least one digit", rest));
                }
                if dots == 3 {
                    return Err(Failure("IPv4 address too long", b""));
                }
                dots = dots.saturating_add(1);
                (value, digits) = (0, 0);
            }
            _ => return Err(Failure("unexpected character", rest)),
        }
        previous = Some(octet);
    }
    if dots < 3 {
        return Err(Failure("IPv4 address too short", b""));
    }
    Ok(())
}

fn check_v6(text: &[u8]) -> Result<(), Failure<'_>> {
    let mut rest = text;
    if let Some(percent) = text.iter().position(|&octet| octet == b'%') {
        let (address, zone) = text.split_at_checked(percent).unwrap_or((text, b""));
        if zone.len() <= 1 {
            return Err(Failure("zone must be a non-empty string", b""));
        }
        rest = address;
    }
    let mut ellipsis = false;
    if let Some(behind) = rest.strip_prefix(b"::") {
        ellipsis = true;
        rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
    }
    // Fields of 16 bits seen; an embedded IPv4 address counts for two.
    let mut fields: u32 = 0;
    while fields < 8 {
        let digits = rest
            .iter()
            .take_while(|octet| octet.is_ascii_hexdigit())
            .count();
        if digits > 4 {
            return Err(Failure("each group must have 4 or less digits", rest));
        }
        if digits == 0 {
            return Err(Failure(
                "each colon-separated field must have at least one digit",
                rest,
            ));
        }
        let behind = rest.get(digits..).unwrap_or_default();
        if behind.first() == Some(&b'.') {
            if !ellipsis && fields != 6 {
                return Err(Failure(
                    "embedded IPv4 address must replace the final 2 fields of the address",
                    rest,
                ));
            }
            if fields > 6 {
                return Err(Failure(
                    "too many hex fields to fit an embedded IPv4 at the end of the address",
                    rest,
                ));
            }
            check_v4(rest)?;
            fields = fields.saturating_add(2);
            rest = b"";
            break;
        }
        fields = fields.saturating_add(1);
        rest = behind;
        match rest {
            [] => break,
            [b':'] => return Err(Failure("colon must be followed by more characters", rest)),
            [b':', behind @ ..] => rest = behind,
            _ => return Err(Failure("unexpected character, want colon", rest)),
        }
        if let [b':', behind @ ..] = rest {
            if ellipsis {
                return Err(Failure("multiple :: in address", rest));
            }
            ellipsis = true;
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Err(Failure("trailing garbage after address", rest));
    }
    match (fields < 8, ellipsis) {
        (true, false) => Err(Failure("address string too short", b"")),
        (false, true) => Err(Failure(
            "the :: must expand to at least one field of zeros",
            b"",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, check};

    #[test]
    fn addresses() {
        for text in [
            "::",
            "::1",
            "1::",
            "fe80::1%eth0",
            "1:2:3:4:5:6:7:8",
            "::1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(Family::V6), "{text}");
        }
        assert_eq!(check(b"127.0.0.1"), Ok(Family::V4));
    }

    #[test]
    fn refused() {
        for (text, error) in [
            ("", r#"ParseAddr(""): unable to parse IP"#),
            ("zz", r#"ParseAddr("zz"): unable to parse IP"#),
            ("a%b", r#"ParseAddr("a%b"): missing IPv6 address"#),
            (
                "::1%",
                r#"ParseAddr("::1%"): zone must be a non-empty string"#,
            ),
            ("1:2", r#"ParseAddr("1:2"): address string too short"#),
            (
                "1:",
                r#"ParseAddr("1:"): colon must be followed by more characters (at ":")"#,
            ),
            (
                ":1",
                r#"ParseAddr(":1"): each colon-separated field must have at least one digit (at ":1")"#,
            ),
            (
                "1::2::3",
                r#"ParseAddr("1::2::3"): multiple :: in address (at ":3")"#,
            ),
            (
                "12345::",
                r#"ParseAddr("12345::"): each group must have 4 or less digits (at "12345::")"#,
            ),
            (
                "1:2:3:4:5:6:7:8:9",
                r#"ParseAddr("1:2:3:4:5:6:7:8:9"): trailing garbage after address (at "9")"#,
            ),
            (
                "1:2:3:4:5:6:7::8",
                r#"ParseAddr("1:2:3:4:5:6:7::8"): the :: must expand to at least one field of zeros"#,
            ),
            (
                "1:g",
                r#"ParseAddr("1:g"): each colon-separated field must have at least one digit (at "g")"#,
            ),
            (
                "1g:",
                r#"ParseAddr("1g:"): unexpected character, want colon (at "g:")"#,
            ),
            ("1.2.3", r#"ParseAddr("1.2.3"): IPv4 address too short"#),
            (
                "1.2.3.4.5",
                r#"ParseAddr("1.2.3.4.5"): IPv4 address too long"#,
            ),
            (
                "1.02.3.4",
                r#"ParseAddr("1.02.3.4"): IPv4 field has octet with leading zero"#,
            ),
            (
                "::1.2.3.256",
                r#"ParseAddr("::1.2.3.256"): IPv4 field has value >255"#,
            ),
            (
                "1..2.3",
                r#"ParseAddr("1..2.3"): IPv4 field must have at least one digit (at ".2.3")"#,
            ),
        ] {
            assert_eq!(check(text.as_bytes()).unwrap_err().to_string(), error);
        }
    }
}
