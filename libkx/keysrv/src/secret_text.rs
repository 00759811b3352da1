//! What passwd and changelogin demand of a secret.

use kx_secret::SecretBytes;

/// Characters at least.
const LEAST: usize = 8;

/// The complaint about fewer.
pub const TOO_SHORT: &str = "!secret must be at least 8 characters\n";

/// Whether it has eight characters. What is no UTF-8 counts by octets.
#[must_use]
pub fn is_long_enough(secret: &SecretBytes) -> bool {
    let length = match std::str::from_utf8(secret.as_slice()) {
        Ok(text) => text.chars().count(),
        Err(_) => secret.len(),
    };
    length >= LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count() {
        for (octets, enough) in [
            (&b"1234567"[..], false),
            (b"12345678", true),
            ("éééééé7".as_bytes(), false),
            ("éééééé78".as_bytes(), true),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", true),
        ] {
            assert_eq!(is_long_enough(&octets.to_vec().into()), enough);
        }
    }
}
