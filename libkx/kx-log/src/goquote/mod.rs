//! Go's quoted form of strings: the `%q` of its `fmt` package, and what is derived from it for log lines.
//!
//! ```
//! use kx_log::goquote::{escape_control, quote};
//!
//! assert_eq!(quote(b"a\"\n\xff\xc3\xa9"), r#""a\"\n\xffé""#);
//! assert_eq!(escape_control(b"say \"hi\"\n"), "say \"hi\"\\n");
//! ```

use std::borrow::Cow;
use std::fmt::Write;

mod printable;

/// The octets in double quotes, as Go's `%q` writes a string.
///
/// `"` and `\` get a backslash; `\a \b \f \n \r \t \v` are written so; what is not printable becomes `\x7f`,
/// `\u00ad` or `\U000e0001`; octets that are not UTF-8 become `\xff`.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len().saturating_add(2));
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => {
                    quoted.push('\\');
                    quoted.push(c);
                }
                _ if printable::is_printable(c.into()) => quoted.push(c),
                _ => push_escaped(&mut quoted, c),
            }
        }
        push_octets(&mut quoted, chunk.invalid());
    }
    quoted.push('"');
    quoted
}

/// The octets as text that stays on one log line and cannot steer a terminal.
///
/// Control characters (C0, DEL, C1) and the line separators U+2028 and U+2029 are written as [`quote`] writes them, and
/// so are octets that are not UTF-8. All else stays as it is, quotes and backslashes too.
#[must_use]
pub fn escape_control(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if !has_control(text) {
            return Cow::Borrowed(text);
        }
    }
    let mut escaped = String::with_capacity(bytes.len().saturating_add(16));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_control(c) {
                push_escaped(&mut escaped, c);
            } else {
                escaped.push(c);
            }
        }
        push_octets(&mut escaped, chunk.invalid());
    }
    Cow::Owned(escaped)
}

/// Whether [`escape_control`] would change this text.
pub(crate) fn has_control(text: &str) -> bool {
    // Nearly all lines are ASCII without controls: one pass over octets decides those.
    let bytes = text.as_bytes();
    if bytes.iter().all(|octet| (0x20..0x7f).contains(octet)) {
        return false;
    }
    text.chars().any(is_control)
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn push_escaped(out: &mut String, c: char) {
    let short = match c {
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    let code = u32::from(c);
    // Writing into a String cannot fail.
    let _ = match code {
        _ if !short.is_empty() => out.write_str(short),
        0..=0x7f => write!(out, "\\x{code:02x}"),
        0x80..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

fn push_octets(out: &mut String, octets: &[u8]) {
    for octet in octets {
        let _ = write!(out, "\\x{octet:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{escape_control, quote};

    /// Recorded from Go 1.24's `strconv.Quote`.
    #[test]
    fn quote_as_go() {
        let cases: [(&[u8], &str); 12] = [
            (b"", r#""""#),
            (b"a\"b\\", r#""a\"b\\""#),
            (
                b"\x07\x08\x0c\n\r\t\x0b\0\x7f\x1b",
                r#""\a\b\f\n\r\t\v\x00\x7f\x1b""#,
            ),
            ("é€".as_bytes(), r#""é€""#),
            (
                "\u{a0}\u{ad}\u{200b}\u{2028}\u{feff}\u{fffd}".as_bytes(),
                "\"\\u00a0\\u00ad\\u200b\\u2028\\ufeff\u{fffd}\"",
            ),
            (
                "\u{1f600}\u{e0001}\u{10ffff}".as_bytes(),
                "\"\u{1f600}\\U000e0001\\U0010ffff\"",
            ),
            (b"a\xffb\xc3", r#""a\xffb\xc3""#),
            (b"\xed\xa0\x80", r#""\xed\xa0\x80""#),
            (b"\xf4\x90\x80\x80", r#""\xf4\x90\x80\x80""#),
            ("\u{378}\u{300}".as_bytes(), "\"\\u0378\u{300}\""),
            (b"\xe2\x82", r#""\xe2\x82""#),
            (b" ~", r#"" ~""#),
        ];
        for (bytes, quoted) in cases {
            assert_eq!(quote(bytes), quoted, "{bytes:x?}");
        }
    }

    #[test]
    fn control_characters_only() {
        let kept = "\"plain\" \\ é € \u{ad}\u{200b}";
        assert!(matches!(escape_control(kept.as_bytes()), Cow::Borrowed(text) if text == kept));
        let cases: [(&[u8], &str); 5] = [
            (b"a\nb\r\0\x1b[m\x7f", r"a\nb\r\x00\x1b[m\x7f"),
            ("\u{80}\u{9b}\u{a0}".as_bytes(), "\\u0080\\u009b\u{a0}"),
            ("\u{2028}\u{2029}".as_bytes(), r"\u2028\u2029"),
            (b"a\xff\xc3", r"a\xff\xc3"),
            (b"\t\"", "\\t\""),
        ];
        for (bytes, escaped) in cases {
            assert_eq!(escape_control(bytes), escaped, "{bytes:x?}");
        }
    }
}
