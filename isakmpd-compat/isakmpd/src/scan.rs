//! The original reads its arguments and commands with sscanf(3); so must we, to take what it takes.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a>(&'a [u8]);

/// isspace(3) in the C locale.
const fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t'..=b'\r')
}

impl<'a> Scan<'a> {
    /// From the start of `text`, which ends at its first zero octet.
    #[must_use]
    pub(crate) fn new(text: &'a [u8]) -> Scan<'a> {
        Scan(text.split(|octet| *octet == 0).next().unwrap_or_default())
    }

    /// A blank in the format: any white space, also none.
    pub(crate) fn space(&mut self) {
        let rest = self.0.iter().position(|octet| !is_space(*octet));
        self.0 = rest.and_then(|rest| self.0.get(rest..)).unwrap_or_default();
    }

    /// These octets, exactly.
    pub(crate) fn literal(&mut self, octets: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(octets)?;
        Some(())
    }

    /// `%d`: white space, a sign, digits. Beyond 32 bits it is the nearest number.
    pub(crate) fn number(&mut self) -> Option<i32> {
        self.space();
        let (negative, digits) = match self.0 {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let count = digits
            .iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count();
        let (digits, rest) = digits.split_at_checked(count)?;
        if digits.is_empty() {
            return None;
        }
        let value = digits.iter().fold(0i64, |value, digit| {
            value
                .saturating_mul(10)
                .saturating_add(i64::from(digit.saturating_sub(b'0')))
        });
        self.0 = rest;
        let value = if negative {
            value.saturating_neg()
        } else {
            value
        };
        let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
        i32::try_from(value.clamp(*range.start(), *range.end())).ok()
    }

    /// `%Ns`: white space, then at most `most` octets that are none; there is at least one.
    pub(crate) fn word(&mut self, most: usize) -> Option<&'a [u8]> {
        self.space();
        let count = self
            .0
            .iter()
            .take(most)
            .take_while(|octet| !is_space(**octet))
            .count();
        let (word, rest) = self.0.split_at_checked(count)?;
        if word.is_empty() {
            return None;
        }
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("7", Some(7)),
            (" \t-12x", Some(-12)),
            ("+3", Some(3)),
            ("99999999999999999999", Some(i32::MAX)),
            ("-99999999999999999999", Some(i32::MIN)),
            ("", None),
            ("-", None),
            ("x1", None),
        ] {
            assert_eq!(Scan::new(text.as_bytes()).number(), value, "{text}");
        }
    }

    #[test]
    fn words_are_cut_and_a_zero_octet_ends_the_text() {
        let mut scan = Scan::new(b"t  abcdef gh\0ij");
        assert_eq!(scan.literal(b"t"), Some(()));
        assert_eq!(scan.word(4), Some(b"abcd".as_slice()));
        assert_eq!(scan.word(4), Some(b"ef".as_slice()));
        assert_eq!(scan.word(9), Some(b"gh".as_slice()));
        assert_eq!(scan.word(9), None);
        assert_eq!(scan.literal(b"i"), None);
    }
}
