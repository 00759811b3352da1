//! Big numbers as text (keysrv spec 1.1, 1.2): base-64 of their octets, in one of two forms, and three readers
//! that differ in what they forgive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kx_crypto::bignum::BigNum;
use kx_crypto::secret::SecretBytes;

/// Octets of a field of a key, certificate or signature that are read; what follows is dropped.
pub const FIELD_OCTETS: usize = 768;

/// Why a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// No digit, or something else where only digits may be.
    #[error("not a number")]
    NotANumber,
    /// Below zero. The original reads it; nothing in its protocols is negative.
    #[error("negative number")]
    Negative,
}

/// Whether an octet of zero stands in front of a number whose first octet has its top bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It does: keys, certificates, authinfo files, station-to-station.
    Z,
    /// It does not: login, signer.
    P,
}

/// The text of a number, which is wiped when dropped.
#[must_use]
pub fn secret_text(number: &BigNum, form: Form) -> SecretBytes {
    let mut octets = number.to_secret_bytes();
    if form == Form::Z && octets.as_slice().first().is_some_and(|top| *top >= 0x80) {
        let mut with_zero = SecretBytes::with_capacity(octets.len().saturating_add(1));
        with_zero.push(0);
        with_zero.extend_from_slice(octets.as_slice());
        octets = with_zero;
    }
    let mut text = SecretBytes::zeroed(octets.len().div_ceil(3).saturating_mul(4));
    // The room is exact, so that this cannot fail.
    let written = STANDARD.encode_slice(octets.as_slice(), text.as_mut_slice());
    text.truncate(written.unwrap_or(0));
    text
}

/// The text of a public number.
#[must_use]
pub fn text(number: &BigNum, form: Form) -> String {
    String::from_utf8_lossy(secret_text(number, form).as_slice()).into_owned()
}

/// The text in form Z.
#[must_use]
pub fn text_z(number: &BigNum) -> String {
    text(number, Form::Z)
}

/// The text in form P.
#[must_use]
pub fn text_p(number: &BigNum) -> String {
    text(number, Form::P)
}

/// Upper-case hexadecimal digits of the octets in form Z, as factotum has numbers (spec 1.4).
#[must_use]
pub fn hex_z(number: &BigNum) -> SecretBytes {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let octets = number.to_secret_bytes();
    let mut text = SecretBytes::with_capacity(octets.len().saturating_add(1).saturating_mul(2));
    if octets.as_slice().first().is_some_and(|top| *top >= 0x80) {
        text.extend_from_slice(b"00");
    }
    for octet in octets.as_slice() {
        for nibble in [octet >> 4, octet & 15] {
            text.extend_from_slice(
                DIGITS
                    .get(usize::from(nibble))
                    .map_or(&[], std::slice::from_ref),
            );
        }
    }
    text
}

/// A field of a key, certificate or signature: `line` without its newline. What is no digit is skipped.
///
/// # Errors
/// [`NumberError::NotANumber`] for an empty line.
pub fn read_field(line: &[u8]) -> Result<BigNum, NumberError> {
    if line.is_empty() {
        return Err(NumberError::NotANumber);
    }
    let mut octets = decode(line.iter().filter_map(|octet| sextet(*octet)));
    octets.truncate(FIELD_OCTETS);
    from_octets(&octets)
}

/// A number that is a message or a line by itself: exponentials of station-to-station, the group of an authinfo
/// file. What follows its digits is ignored.
///
/// # Errors
/// [`NumberError`].
pub fn read_standalone(text: &[u8]) -> Result<BigNum, NumberError> {
    read_signed(text).map(|(number, _)| number)
}

/// A number of the login and signer protocols: only `=` may follow its digits.
///
/// # Errors
/// [`NumberError`].
pub fn read_login(text: &[u8]) -> Result<BigNum, NumberError> {
    match read_signed(text)? {
        (number, rest) if rest.iter().all(|octet| *octet == b'=') => Ok(number),
        _ => Err(NumberError::NotANumber),
    }
}

/// Blanks, signs, digits; and what follows.
fn read_signed(text: &[u8]) -> Result<(BigNum, &[u8]), NumberError> {
    let after_blanks = skip(text, |octet| matches!(octet, b' ' | b'\t'));
    let digits = skip(after_blanks, |octet| octet == b'-');
    let negative = after_blanks.len().wrapping_sub(digits.len()) % 2 == 1;
    let rest = skip(digits, |octet| sextet(octet).is_some());
    if rest.len() == digits.len() {
        return Err(NumberError::NotANumber);
    }
    let octets = decode(digits.iter().map_while(|octet| sextet(*octet)));
    let number = from_octets(&octets)?;
    if negative && !number.is_zero() {
        return Err(NumberError::Negative);
    }
    Ok((number, rest))
}

fn skip(text: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let from = text.iter().position(|octet| !unwanted(*octet));
    text.get(from.unwrap_or(text.len())..).unwrap_or_default()
}

fn from_octets(octets: &SecretBytes) -> Result<BigNum, NumberError> {
    // Only a lack of memory can stop it.
    BigNum::from_bytes(octets.as_slice()).map_err(|_| NumberError::NotANumber)
}

/// The value of a digit.
fn sextet(octet: u8) -> Option<u8> {
    match octet {
        b'A'..=b'Z' => Some(octet.wrapping_sub(b'A')),
        b'a'..=b'z' => Some(octet.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Some(octet.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Bits that do not fill an octet are dropped.
fn decode(sextets: impl Iterator<Item = u8>) -> SecretBytes {
    let mut octets = SecretBytes::with_capacity(256);
    let (mut bits, mut count) = (0_u16, 0_u8);
    for value in sextets {
        bits = (bits << 6) | u16::from(value);
        count = count.wrapping_add(6);
        if count >= 8 {
            count = count.wrapping_sub(8);
            let [_, octet] = (bits >> count).to_be_bytes();
            octets.push(octet);
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::{NumberError, hex_z, read_field, read_login, read_standalone, text_p, text_z};
    use kx_crypto::bignum::BigNum;
    use proptest::prelude::*;

    fn number(value: u32) -> BigNum {
        BigNum::from_u32(value).unwrap()
    }

    #[test]
    fn fields_forgive_everything_but_nothing() {
        assert_eq!(read_field(b""), Err(NumberError::NotANumber));
        for (line, wanted) in [
            (&b"gA=="[..], 0x80),
            (b"gA", 0x80),
            (b"g", 0),
            (b"====", 0),
            (b" A*Q A\t=", 0x0100),
            (b"-AQ==", 1),
            (b"\xff\0AQ", 1),
        ] {
            assert_eq!(read_field(line), Ok(number(wanted)), "{line:?}");
        }
        // 768 octets and one more: the last is dropped.
        let mut long = [1].repeat(768);
        let wanted = BigNum::from_bytes(&long).unwrap();
        long.push(2);
        let text = text_z(&BigNum::from_bytes(&long).unwrap());
        assert_eq!(read_field(text.as_bytes()), Ok(wanted));
    }

    #[test]
    fn standalone_numbers() {
        assert_eq!(read_standalone(b"AQ==\nand more"), Ok(number(1)));
        assert_eq!(read_standalone(b"AQ*="), Ok(number(1)));
        assert_eq!(read_standalone(b" \t--AQ"), Ok(number(1)));
        assert_eq!(read_standalone(b"---AQ"), Err(NumberError::Negative));
        assert_eq!(read_standalone(b"-AA"), Ok(number(0)));
        for text in [&b""[..], b"  ", b"-", b"====", b"- AQ", b"\nAQ"] {
            assert_eq!(read_standalone(text), Err(NumberError::NotANumber));
        }
        assert_eq!(read_login(b"AQ======"), Ok(number(1)));
        assert_eq!(read_login(b"AQ==\n"), Err(NumberError::NotANumber));
    }

    #[test]
    fn hexadecimal() {
        assert!(hex_z(&number(0x80ab)).ct_eq(b"0080AB"));
        assert!(hex_z(&number(0x0907)).ct_eq(b"0907"));
        assert!(hex_z(&number(0)).ct_eq(b"00"));
    }

    proptest! {
        #[test]
        fn all_forms_are_read_by_all(octets in prop::collection::vec(any::<u8>(), 0..768)) {
            let number = BigNum::from_bytes(&octets).unwrap();
            for text in [text_z(&number), text_p(&number)] {
                for read in [read_field, read_standalone, read_login] {
                    let again = read(text.as_bytes());
                    prop_assert_eq!(again.as_ref(), Ok(&number));
                }
            }
        }

        #[test]
        fn any_text(text in prop::collection::vec(any::<u8>(), 0..2000)) {
            let standalone = read_standalone(&text);
            if let Ok(number) = read_login(&text) {
                prop_assert_eq!(standalone, Ok(number));
            }
            if let Ok(number) = read_field(&text) {
                prop_assert!(number.bits() <= 768 * 8);
            }
        }
    }
}
