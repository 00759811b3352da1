//! Integers in the notations of Go's literals.

use super::ValueError;

/// Reads a 64 bit integer: decimal, `0x`, `0o`, `0b`, or octal after a leading `0`; a sign; `_` between digits and
/// after the prefix (Go's `strconv.ParseInt` with base 0).
///
/// # Errors
///
/// [`ValueError::Range`] as soon as the digits read so far exceed 64 bits, whatever follows.
pub fn parse_int(text: &[u8]) -> Result<i64, ValueError> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let magnitude = parse_magnitude(magnitude)?;
    let value = if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        0i64.checked_add_unsigned(magnitude)
    };
    value.ok_or(ValueError::Range)
}

fn parse_magnitude(text: &[u8]) -> Result<u64, ValueError> {
    let (base, digits, prefixed) = match text {
        [] => return Err(ValueError::Syntax),
        [b'0', b'b' | b'B', digits @ ..] if !digits.is_empty() => (2, digits, true),
        [b'0', b'o' | b'O', digits @ ..] if !digits.is_empty() => (8, digits, true),
        [b'0', b'x' | b'X', digits @ ..] if !digits.is_empty() => (16, digits, true),
        [b'0', digits @ ..] => (8, digits, true),
        digits => (10, digits, false),
    };
    let mut value = 0u64;
    // An underscore stands between two digits; the prefix counts as one.
    let mut after_digit = prefixed;
    let mut misplaced = false;
    for &octet in digits {
        if octet == b'_' {
            misplaced |= !after_digit;
            after_digit = false;
            continue;
        }
        let digit = char::from(octet).to_digit(base).ok_or(ValueError::Syntax)?;
        value = value
            .checked_mul(base.into())
            .and_then(|value| value.checked_add(digit.into()))
            .ok_or(ValueError::Range)?;
        after_digit = true;
    }
    if misplaced || !after_digit {
        return Err(ValueError::Syntax);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{ValueError, parse_int};

    #[test]
    fn notations() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("19840", 19840),
            ("0x4d80", 0x4d80),
            ("0X4D80", 0x4d80),
            ("0o17", 15),
            ("017", 15),
            ("-0b101", -5),
            ("1_000", 1000),
            ("0x_f_f", 255),
            ("0_7", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-0x8000000000000000", i64::MIN),
        ] {
            assert_eq!(parse_int(text.as_bytes()), Ok(value), "{text}");
        }
        for text in [
            "", "-", "+", "+-1", "abc", "1a", "08", "0x", "0b", "0b2", "0xg", "_1", "1_", "1__0",
            "0x_", "0_", " 1", "1 ", "1.0", "1e3", "0x1__0", "é",
        ] {
            assert_eq!(
                parse_int(text.as_bytes()),
                Err(ValueError::Syntax),
                "{text}"
            );
        }
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "18446744073709551616",
            "18446744073709551616x",
            "18446744073709551616_",
        ] {
            assert_eq!(parse_int(text.as_bytes()), Err(ValueError::Range), "{text}");
        }
    }
}
