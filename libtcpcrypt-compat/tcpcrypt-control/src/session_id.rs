//! Session ids as text.

use std::fmt;

/// Length of a session id in octets, in both dialects: the key exchange's number and 32 more. The C
/// header says 32 (tcpcrypt spec 3.1).
pub const SESSION_ID_LEN: usize = 33;

/// Writes octets as upper-case hexadecimal digits without separators, as tcnetstat prints ids.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_and_two_digits_each() {
        assert_eq!(Hex(&[0x21, 0x00, 0xef]).to_string(), "2100EF");
        assert_eq!(Hex(&[]).to_string(), "");
    }
}
