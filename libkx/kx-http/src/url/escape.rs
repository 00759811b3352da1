//! Percent-encoding, which differs from part to part of a URL.

use std::borrow::Cow;

use super::ParseReason;

/// A part of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The path as a whole.
    Path,
    /// Host and port.
    Host,
    /// The zone of an IPv6 address.
    Zone,
    /// A user name or a password.
    User,
    /// The fragment.
    Fragment,
}

/// Whether `octet` is written as an escape in `part`.
pub(super) fn needs_escape(octet: u8, part: Part) -> bool {
    if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'~') {
        return false;
    }
    match part {
        Part::Host | Part::Zone => !matches!(
            octet,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'['
                | b']'
                | b'<'
                | b'>'
                | b'"'
        ),
        Part::Path => !matches!(
            octet,
            b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'
        ),
        Part::User => !matches!(octet, b'$' | b'&' | b'+' | b',' | b';' | b'='),
        Part::Fragment => !matches!(
            octet,
            b'$' | b'&'
                | b'+'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'='
                | b'?'
                | b'@'
                | b'!'
                | b'('
                | b')'
                | b'*'
        ),
    }
}

/// `text` with everything escaped that has to be in `part`.
#[must_use]
pub fn escape(text: &[u8], part: Part) -> Cow<'_, [u8]> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let escapes = text
        .iter()
        .filter(|&&octet| needs_escape(octet, part))
        .count();
    if escapes == 0 {
        return Cow::Borrowed(text);
    }
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    let mut escaped = Vec::with_capacity(text.len().saturating_add(escapes.saturating_mul(2)));
    for &octet in text {
        if needs_escape(octet, part) {
            escaped.extend_from_slice(&[b'%', digit(octet >> 4), digit(octet & 15)]);
        } else {
            escaped.push(octet);
        }
    }
    Cow::Owned(escaped)
}

fn hex(octet: u8) -> Option<u8> {
    char::from(octet)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The octet that three octets stand for.
fn escaped_octet(text: &[u8]) -> Option<u8> {
    match *text {
        [b'%', high, low, ..] => Some(hex(high)?.wrapping_shl(4) | hex(low)?),
        _ => None,
    }
}

/// `text` with its escapes resolved.
pub(super) fn unescape(text: &[u8], part: Part) -> Result<Cow<'_, [u8]>, ParseReason> {
    let host = matches!(part, Part::Host | Part::Zone);
    if !host && !text.contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            if host && first.is_ascii() && needs_escape(*first, part) {
                return Err(ParseReason::HostCharacter(*first));
            }
            plain.push(*first);
            rest = after;
            continue;
        }
        let escape = rest.get(..3).unwrap_or(rest);
        let refused = || ParseReason::Escape(escape.to_vec());
        let octet = escaped_octet(escape).ok_or_else(refused)?;
        // Hosts use escapes for what is not ASCII, but for the sign that introduces a zone.
        let allowed = match part {
            Part::Host => !octet.is_ascii() || escape == b"%25",
            Part::Zone => escape == b"%25" || octet == b' ' || !needs_escape(octet, Part::Host),
            _ => true,
        };
        if !allowed {
            return Err(refused());
        }
        plain.push(octet);
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(Cow::Owned(plain))
}

/// Whether `text` could be the escaped form of something, though maybe not the usual one.
pub(super) fn is_valid_escaped(text: &[u8], part: Part) -> bool {
    text.iter().all(|&octet| {
        matches!(
            octet,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'['
                | b']'
                | b'%'
        ) || !needs_escape(octet, part)
    })
}
