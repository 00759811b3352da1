//! Small pieces of the grammar of RFC 9110 and of the original's reading of it.

/// Whether `octet` may stand in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `text` is a token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_octet)
}

/// Whether `octet` may stand in a field value (RFC 9110 section 5.5).
pub(crate) fn is_value_octet(octet: u8) -> bool {
    (octet >= b' ' && octet != 0x7f) || octet == b'\t'
}

fn is_blank(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// `text` without spaces and tabs at both ends.
pub(crate) fn trim_blanks(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|&o| !is_blank(o))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|&o| !is_blank(o))
        .map_or(start, |last| last.saturating_add(1));
    text.get(start..end).unwrap_or_default()
}

/// Whether the comma-separated list `value` has the element `token` (RFC 9110 section 5.6.1), in any case.
pub(crate) fn list_has(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&octet| octet == b',')
        .any(|element| trim_blanks(element).eq_ignore_ascii_case(token))
}

/// Whether `token` stands anywhere in `value` between commas or blanks. Laxer than [`list_has`]: the original
/// asks some questions one way and some the other.
pub(crate) fn words_have(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&octet| octet == b',' || is_blank(octet))
        .any(|word| word.eq_ignore_ascii_case(token))
}

/// A header line, `NAME: VALUE`, unfolded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// As sent. May hold spaces, never anything else that is not of a token.
    pub(crate) name: &'a [u8],
    /// Without blanks at its ends.
    pub(crate) value: &'a [u8],
}

/// Splits a header line; none if it is malformed.
pub(crate) fn field(line: &[u8]) -> Option<Field<'_>> {
    let line = trim_blanks(line);
    let colon = line.iter().position(|&octet| octet == b':')?;
    let (name, rest) = line.split_at_checked(colon)?;
    let value = trim_blanks(rest.get(1..)?);
    let good_name = !name.is_empty() && name.iter().all(|&o| is_token_octet(o) || o == b' ');
    (good_name && value.iter().copied().all(is_value_octet)).then_some(Field { name, value })
}

#[cfg(test)]
mod tests {
    use super::{Field, field, list_has, trim_blanks, words_have};

    #[test]
    fn lists() {
        assert!(list_has(b"a, CLOSE\t,b", b"close"));
        assert!(!list_has(b"a close", b"close"));
        assert!(words_have(b"a Close", b"close"));
        assert!(!words_have(b"a;close", b"close"));
        assert!(!words_have(b"", b"close"));
    }

    #[test]
    fn trimming() {
        assert_eq!(trim_blanks(b" \t a b\t"), b"a b");
        assert_eq!(trim_blanks(b" \t "), b"");
        assert_eq!(trim_blanks(b""), b"");
    }

    #[test]
    fn fields() {
        let good = |name, value| Some(Field { name, value });
        assert_eq!(field(b"a: b "), good(&b"a"[..], &b"b"[..]));
        assert_eq!(field(b"a :b:\xff"), good(b"a ", b"b:\xff"));
        assert_eq!(field(b"a:"), good(b"a", b""));
        for line in [
            &b"a"[..],
            b"",
            b": b",
            b"a\t: b",
            b"a(: b",
            b"a: \x01",
            b"a: b\r",
            b"\xe9: b",
        ] {
            assert_eq!(field(line), None, "{line:?}");
        }
    }
}
