//! Tokens of a field (RFC 2704 sections 4.2, 4.3 and 4.6).

use zeroize::Zeroizing;

use crate::SyntaxError;

/// What stands in a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'a> {
    /// A string literal, escapes resolved. It may be a passphrase.
    Text(Zeroizing<Vec<u8>>),
    /// A name that is not in quotes.
    Name(&'a [u8]),
    /// Decimal digits.
    Integer(&'a [u8]),
    /// Digits with a dot between them.
    Float(f64),
    /// Anything else.
    Symbol(Symbol),
}

/// Operators and punctuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Open,
    Close,
    OpenBlock,
    CloseBlock,
    And,
    Or,
    Not,
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
    Power,
    Arrow,
    Semicolon,
    Comma,
    Dot,
    Assign,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    Matches,
    At,
    Ampersand,
    Dollar,
}

/// A token and where it stands in the field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned<'a> {
    pub(crate) token: Token<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The longer ones first: the first that fits is taken.
const SYMBOLS: [(&[u8], Symbol); 28] = [
    (b"&&", Symbol::And),
    (b"||", Symbol::Or),
    (b"->", Symbol::Arrow),
    (b"==", Symbol::Equal),
    (b"!=", Symbol::NotEqual),
    (b"<=", Symbol::LessEqual),
    (b">=", Symbol::GreaterEqual),
    (b"~=", Symbol::Matches),
    (b"(", Symbol::Open),
    (b")", Symbol::Close),
    (b"{", Symbol::OpenBlock),
    (b"}", Symbol::CloseBlock),
    (b"!", Symbol::Not),
    (b"+", Symbol::Plus),
    (b"-", Symbol::Minus),
    (b"*", Symbol::Times),
    (b"/", Symbol::Divide),
    (b"%", Symbol::Modulo),
    (b"^", Symbol::Power),
    (b";", Symbol::Semicolon),
    (b",", Symbol::Comma),
    (b".", Symbol::Dot),
    (b"=", Symbol::Assign),
    (b"<", Symbol::Less),
    (b">", Symbol::Greater),
    (b"@", Symbol::At),
    (b"&", Symbol::Ampersand),
    (b"$", Symbol::Dollar),
];

/// Whether C's isspace(3) says so.
pub(crate) fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Whether an attribute may be called so (RFC 2704 section 3).
pub(crate) fn is_name(text: &[u8]) -> bool {
    text.first().is_some_and(|first| starts_name(*first)) && name_len(text) == text.len()
}

fn starts_name(octet: u8) -> bool {
    octet.is_ascii_alphabetic() || octet == b'_'
}

fn name_len(text: &[u8]) -> usize {
    run_len(text, |octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

fn run_len(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter()
        .position(|octet| !belongs(*octet))
        .unwrap_or(text.len())
}

/// Cuts a field into tokens; comments and white space go.
pub(crate) fn tokens(field: &[u8]) -> Result<Vec<Spanned<'_>>, SyntaxError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = field.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, len) = token(rest)?;
        let end = at.saturating_add(len);
        if let Some(token) = token {
            found.push(Spanned {
                token,
                start: at,
                end,
            });
        }
        at = end;
    }
    Ok(found)
}

/// What `text` (not empty) begins with, and how many octets that is. No token: white space or a comment.
fn token(text: &[u8]) -> Result<(Option<Token<'_>>, usize), SyntaxError> {
    let first = text.first().copied().unwrap_or(0);
    if matches!(first, b' ' | b'\t' | b'\n') {
        return Ok((None, 1));
    }
    if first == b'#' {
        return Ok((None, run_len(text, |octet| octet != b'\n')));
    }
    if first == b'"' {
        let (value, len) = literal(text)?;
        return Ok((Some(Token::Text(value)), len));
    }
    if starts_name(first) {
        let len = name_len(text);
        return Ok((text.get(..len).map(Token::Name), len));
    }
    if first.is_ascii_digit() {
        return Ok(number(text));
    }
    SYMBOLS
        .iter()
        .find(|(spelling, _)| text.starts_with(spelling))
        .map(|(spelling, symbol)| (Some(Token::Symbol(*symbol)), spelling.len()))
        .ok_or(SyntaxError::UnexpectedOctet(first))
}

fn number(text: &[u8]) -> (Option<Token<'_>>, usize) {
    let whole = run_len(text, |octet| octet.is_ascii_digit());
    let after = text.get(whole..).unwrap_or_default();
    if let Some(fraction) = after.strip_prefix(b".") {
        let digits = run_len(fraction, |octet| octet.is_ascii_digit());
        if digits > 0 {
            let len = whole.saturating_add(1).saturating_add(digits);
            return (text.get(..len).map(|text| Token::Float(float(text))), len);
        }
    }
    (text.get(..whole).map(Token::Integer), whole)
}

/// Digits with at most one dot as a number; 0 if it is nothing of the kind (RFC 2704 section 4.6.5).
pub(crate) fn float(text: &[u8]) -> f64 {
    let numeric = text
        .iter()
        .all(|octet| octet.is_ascii_digit() || *octet == b'.')
        && text.iter().filter(|octet| **octet == b'.').count() <= 1;
    if !numeric {
        return 0.0;
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

/// A string literal (RFC 2704 section 4.3.1): its value and how many octets it took. `text` begins with the quote.
fn literal(text: &[u8]) -> Result<(Zeroizing<Vec<u8>>, usize), SyntaxError> {
    // Enough for most at once: what grows leaves copies.
    let quote = text.iter().skip(1).position(|octet| *octet == b'"');
    let mut value = Zeroizing::new(Vec::with_capacity(quote.unwrap_or(0)));
    let mut at = 1;
    loop {
        let octet = *text.get(at).ok_or(SyntaxError::OpenString)?;
        at = at.saturating_add(1);
        match octet {
            b'"' => return Ok((value, at)),
            b'\n' => return Err(SyntaxError::OpenString),
            b'\\' => {
                at = at.saturating_add(escape(text.get(at..).unwrap_or_default(), &mut value)?)
            }
            octet => value.push(octet),
        }
    }
}

/// What follows a backslash: puts the octet it stands for, if any, and says how many octets it took.
fn escape(text: &[u8], value: &mut Vec<u8>) -> Result<usize, SyntaxError> {
    let first = *text.first().ok_or(SyntaxError::OpenString)?;
    if first == b'\n' {
        return Ok(run_len(text, is_space));
    }
    if let Some((octet, len)) = octal(text) {
        value.push(octet);
        return Ok(len);
    }
    value.push(match first {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'f' => 0x0c,
        other => other,
    });
    Ok(1)
}

/// `0o`, `0oo` and `ooo`; never NUL, which has no escape. Too large a number wraps as in the original's
/// unsigned char.
fn octal(text: &[u8]) -> Option<(u8, usize)> {
    let digit = |at: usize| {
        text.get(at)
            .filter(|octet| (b'0'..=b'7').contains(octet))
            .map(|octet| octet - b'0')
    };
    let (first, second) = (digit(0)?, digit(1)?);
    let (number, len) = match digit(2) {
        Some(third) => (
            u16::from(first) * 64 + u16::from(second) * 8 + u16::from(third),
            3,
        ),
        None if first == 0 => (u16::from(second), 2),
        None => return None,
    };
    let octet = number.to_le_bytes()[0];
    (octet != 0).then_some((octet, len))
}

#[cfg(test)]
mod tests {
    use super::{Symbol, Token, float, is_name, tokens};

    fn text(field: &str) -> Vec<u8> {
        match tokens(field.as_bytes()).unwrap().remove(0).token {
            Token::Text(value) => value.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(text(r#""a\n\r\t\f\"\\\x""#), b"a\n\r\t\x0c\"\\x");
        assert_eq!(
            text(r#""\012\101\377\01\07x\0012""#),
            b"\nA\xff\x01\x07x\x012"
        );
        // NUL cannot be written.
        assert_eq!(text(r#""\0 \00 \000 \0000""#), b"0 00 000 0000");
        assert_eq!(text(r#""\1 \18""#), b"1 18");
        assert_eq!(text("\"a\\\n \t\n\r b\""), b"ab");
        assert_eq!(text(r#""\400\777""#), b"400\xff");
    }

    #[test]
    fn equal_strings() {
        // The four of RFC 2704 section 4.3.1.
        let expected: &[u8] = b"this string contains a newline\n followed by one space.";
        for field in [
            r#""this string contains a newline\n followed by one space.""#,
            "\"this string contains a newline\\n \\\n        followed by one space.\"",
            "\"this str\\\n           ing contains a \\\n             newline\\n followed by one space.\"",
            r#""this string contains a newline\012\040followed by one space.""#,
        ] {
            assert_eq!(text(field), expected, "{field}");
        }
    }

    #[test]
    fn everything_else() {
        let found: Vec<_> = tokens(b"a1_ ~= 12.5 - 12 . $x # \"no\n ->&&&")
            .unwrap()
            .into_iter()
            .map(|spanned| spanned.token)
            .collect();
        assert_eq!(
            found,
            [
                Token::Name(b"a1_"),
                Token::Symbol(Symbol::Matches),
                Token::Float(12.5),
                Token::Symbol(Symbol::Minus),
                Token::Integer(b"12"),
                Token::Symbol(Symbol::Dot),
                Token::Symbol(Symbol::Dollar),
                Token::Name(b"x"),
                Token::Symbol(Symbol::Arrow),
                Token::Symbol(Symbol::And),
                Token::Symbol(Symbol::Ampersand),
            ]
        );
    }

    #[test]
    fn refused() {
        for field in ["\"", "\"a\nb\"", "\"a\\", "[", "\u{e9}", "a\r", "|", "~"] {
            assert!(tokens(field.as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn numbers_and_names() {
        assert_eq!(float(b"12.25"), 12.25);
        assert_eq!(float(b".5"), 0.5);
        assert_eq!(float(b"7."), 7.0);
        for no in [&b""[..], b".", b"1.2.3", b"-1", b"+1", b"1e3", b" 1", b"x"] {
            assert_eq!(float(no), 0.0);
        }
        assert!(is_name(b"_MIN_TRUST") && is_name(b"a") && is_name(b"A9_"));
        assert!(!is_name(b"") && !is_name(b"9a") && !is_name(b"a-b"));
    }
}
