//! Host names beyond ASCII in terms of the DNS (RFC 5891, RFC 3492). Only what a person types is dealt with:
//! letters are made small; there is no normalisation, and nothing is refused but what cannot be encoded.

use std::borrow::Cow;

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;

/// Longest label of the DNS; also keeps the encoding from taking long.
const MAX_LABEL: usize = 63;

/// The name with labels beyond ASCII as `xn--...`. None if it cannot be done.
pub(super) fn to_ascii(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if name.is_ascii() {
        return Some(Cow::Borrowed(name));
    }
    let name = std::str::from_utf8(name).ok()?.to_lowercase();
    let labels = name
        .split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
        .map(|label| match label.is_ascii() {
            true => Some(label.to_owned()),
            false => punycode(label),
        })
        .collect::<Option<Vec<String>>>()?;
    Some(Cow::Owned(labels.join(".").into_bytes()))
}

/// One label (RFC 3492 section 6.3).
fn punycode(label: &str) -> Option<String> {
    let points: Vec<u32> = label.chars().map(u32::from).collect();
    if points.len() > MAX_LABEL {
        return None;
    }
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (128u32, 0u32, 72u32, basic);
    while usize::try_from(handled).ok()? < points.len() {
        let next = points.iter().copied().filter(|&point| point >= n).min()?;
        let step = next.checked_sub(n)?.checked_mul(handled.checked_add(1)?)?;
        delta = delta.checked_add(step)?;
        n = next;
        for &point in &points {
            if point < n {
                delta = delta.checked_add(1)?;
            }
            if point == n {
                push_delta(&mut out, delta, bias)?;
                bias = adapt(delta, handled.checked_add(1)?, handled == basic)?;
                delta = 0;
                handled = handled.checked_add(1)?;
            }
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(format!("xn--{out}"))
}

fn push_delta(out: &mut String, delta: u32, bias: u32) -> Option<()> {
    let mut rest = delta;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            out.push(char::from_digit_36(rest)?);
            return Some(());
        }
        let span = BASE.checked_sub(threshold)?;
        let above = rest.checked_sub(threshold)?;
        out.push(char::from_digit_36(
            threshold.checked_add(above.checked_rem(span)?)?,
        )?);
        rest = above.checked_div(span)?;
        k = k.checked_add(BASE)?;
    }
}

fn adapt(delta: u32, points: u32, first: bool) -> Option<u32> {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta = delta.checked_add(delta.checked_div(points)?)?;
    let mut k = 0u32;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        k = k.checked_add(BASE)?;
    }
    k.checked_add(
        (BASE - T_MIN + 1)
            .checked_mul(delta)?
            .checked_div(delta.checked_add(38)?)?,
    )
}

/// Digits of base 36 in the order of punycode: letters first.
trait Digit36: Sized {
    fn from_digit_36(digit: u32) -> Option<Self>;
}

impl Digit36 for char {
    fn from_digit_36(digit: u32) -> Option<char> {
        let octet = u8::try_from(digit).ok()?;
        match octet {
            0..26 => Some(char::from(b'a'.checked_add(octet)?)),
            26..36 => Some(char::from(b'0'.checked_add(octet.checked_sub(26)?)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::to_ascii;

    #[test]
    fn names() {
        for (name, ascii) in [
            ("Localhost.", "Localhost."),
            ("hé", "xn--h-bga"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("日本語.jp", "xn--wgv71a119e.jp"),
        ] {
            assert_eq!(
                to_ascii(name.as_bytes()).as_deref(),
                Some(ascii.as_bytes()),
                "{name}"
            );
        }
        assert_eq!(to_ascii(b"a\xff"), None);
        assert_eq!(to_ascii("é".repeat(64).as_bytes()), None);
    }
}
