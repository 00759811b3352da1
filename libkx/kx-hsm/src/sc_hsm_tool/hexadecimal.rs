//! Hexadecimal digits as OpenSC reads them (`sc_hex_to_bin`): blanks and colons between octets, a single
//! digit alone is an octet.

use kx_secret::SecretBytes;

use super::opensc_error::OpenscError;

/// At most `room` octets.
///
/// # Errors
/// [`OpenscError::Arguments`] for what is no digit or half an octet, [`OpenscError::BufferTooSmall`].
pub fn read(text: &[u8], room: usize) -> Result<SecretBytes, OpenscError> {
    let mut octets = SecretBytes::with_capacity(room);
    let mut half: Option<u8> = None;
    let separator = |octet: u8| octet == b' ' || octet == b':';
    for (place, &octet) in text.iter().enumerate() {
        if octets.len() == room {
            let rest = text.get(place..).unwrap_or_default();
            if rest.iter().all(|&octet| separator(octet)) {
                break;
            }
            return Err(OpenscError::BufferTooSmall);
        }
        let digit = char::from(octet).to_digit(16);
        let digit = digit.and_then(|digit| u8::try_from(digit).ok());
        match (digit, half) {
            (Some(digit), None) => half = Some(digit),
            (Some(digit), Some(high)) => {
                octets.push(high << 4 | digit);
                half = None;
            }
            (None, None) if separator(octet) => {}
            (None, _) => return Err(OpenscError::Arguments),
        }
    }
    match half {
        Some(digit) if octets.is_empty() => octets.push(digit),
        Some(_) => return Err(OpenscError::Arguments),
        None => {}
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_opensc_does() {
        let read = |text: &str| read(text.as_bytes(), 3).map(|octets| octets.as_slice().to_vec());
        assert_eq!(read("0aFF"), Ok(vec![0x0a, 0xff]));
        assert_eq!(read("0a:ff 01 : "), Ok(vec![0x0a, 0xff, 1]));
        assert_eq!(read("7"), Ok(vec![7]));
        assert_eq!(read(""), Ok(vec![]));
        for wrong in ["123", "1 2", "xx", "12:3"] {
            assert_eq!(read(wrong), Err(OpenscError::Arguments), "{wrong}");
        }
        assert_eq!(read("01020304"), Err(OpenscError::BufferTooSmall));
    }
}
