//! Durations in Go's notation.

use super::ValueError;

/// The largest magnitude: that of the most negative 64 bit integer.
const LIMIT: u64 = 1 << 63;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Reads a duration and returns nanoseconds (Go's `time.ParseDuration`): a sign, then numbers with an optional
/// fraction and a unit each (`ns us µs ms s m h`), as in `1h30m1.5s`; `0` alone needs no unit.
///
/// # Errors
///
/// Always [`ValueError::Syntax`], for values out of range too.
pub fn parse_duration(text: &[u8]) -> Result<i64, ValueError> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    match rest {
        b"" => return Err(ValueError::Syntax),
        b"0" => return Ok(0),
        _ => {}
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let part;
        (part, rest) = parse_part(rest)?;
        // Two parts of 2^63 ns each give 0, as in Go.
        total = total.wrapping_add(part);
        if total > LIMIT {
            return Err(ValueError::Syntax);
        }
    }
    let value = if negative {
        0i64.checked_sub_unsigned(total)
    } else {
        0i64.checked_add_unsigned(total)
    };
    value.ok_or(ValueError::Syntax)
}

/// One number with its unit, in nanoseconds, and what follows.
fn parse_part(text: &[u8]) -> Result<(u64, &[u8]), ValueError> {
    let (whole, rest) = split_while(text, |octet| octet.is_ascii_digit());
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => split_while(rest, |octet| octet.is_ascii_digit()),
        _ => (&b""[..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(ValueError::Syntax);
    }
    let (unit, rest) = split_while(rest, |octet| octet != b'.' && !octet.is_ascii_digit());
    let unit = match unit {
        b"ns" => 1,
        // U+00B5 and U+03BC.
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => SECOND,
        b"m" => MINUTE,
        b"h" => HOUR,
        _ => return Err(ValueError::Syntax),
    };
    let mut value = 0u64;
    for octet in whole {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(octet - b'0')))
            .filter(|&value| value <= LIMIT)
            .ok_or(ValueError::Syntax)?;
    }
    let value = value
        .checked_mul(unit)
        .filter(|&value| value <= LIMIT)
        .and_then(|value| value.checked_add(fraction_of(fraction, unit)))
        .filter(|&value| value <= LIMIT)
        .ok_or(ValueError::Syntax)?;
    Ok((value, rest))
}

/// `0.DIGITS * unit` in whole units of one, rounded as Go does: digits beyond 2^63 are dropped, and the product is one
/// of 64 bit floating point numbers.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go's own arithmetic; the result is less than one hour in nanoseconds"
)]
fn fraction_of(digits: &[u8], unit: u64) -> u64 {
    let mut value = 0u64;
    let mut scale = 1f64;
    for octet in digits {
        let next = (value <= (LIMIT - 1) / 10)
            .then(|| value * 10 + u64::from(octet - b'0'))
            .filter(|&next| next <= LIMIT);
        let Some(next) = next else {
            break;
        };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

fn split_while(text: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&octet| !belongs(octet));
    text.split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or((text, b""))
}

/// Nanoseconds in Go's notation: `87600h0m0s`, `1.5s`, `2µs`, `0s`.
#[must_use]
pub fn format_duration(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (unit, decimals) = match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 0),
        1_000..1_000_000 => ("µs", 3),
        1_000_000..SECOND => ("ms", 6),
        _ => ("s", 9),
    };
    let hours = magnitude / HOUR;
    let minutes = magnitude / MINUTE % 60;
    let leading = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    let number = decimal(magnitude % MINUTE, decimals);
    format!("{sign}{leading}{number}{unit}")
}

/// `value / 10^decimals` without trailing zeros.
fn decimal(value: u64, decimals: u32) -> String {
    let scale = 10u64.pow(decimals);
    let whole = value / scale;
    let fraction = value % scale;
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0width$}", width = decimals as usize);
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::{format_duration, parse_duration};

    /// Recorded from Go 1.24's `time.ParseDuration`.
    #[test]
    fn parse() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("1h30m1.5s", 5_401_500_000_000),
            ("87600h", 315_360_000_000_000_000),
            ("-5m", -300_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("2ms3ns", 2_000_003),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("0.830103483285477580700h", 2_988_372_539_827),
            ("9007199254.740993ms", 9_007_199_254_740_993),
            ("0.9223372036854775807h", 3_320_413_933_267),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("9223372036854775808ns9223372036854775808ns", 0),
            ("0.100000000000000000000h", 360_000_000_000),
        ] {
            assert_eq!(parse_duration(text.as_bytes()), Ok(nanoseconds), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            "1",
            "10d",
            "s",
            ".s",
            ".",
            "1.",
            "--1s",
            "1 s",
            "1s ",
            "1S",
            "1e3s",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "9223372036854775.808us",
            "9223372036854ms775us808ns",
            "3000000h",
            "00",
            "-.s",
            "+.s",
        ] {
            assert!(parse_duration(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn format() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (4 * 60_000_000_000 + 5_000_000_000, "4m5s"),
            (4 * 60_000_000_000 + 5_001_000_000, "4m5.001s"),
            (315_360_000_000_000_000, "87600h0m0s"),
            (-60_000_000_000, "-1m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_duration(nanoseconds), text);
        }
    }
}
