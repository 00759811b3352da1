//! Kinds of keys as users write them, and the label in a key's description.

use std::str::FromStr;

use xkek::curve::Curve;
use xkek::cvc::KeySpec;
use xkek::key::PublicKey;
use xkek::tlv;

/// A kind of key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    /// `rsa:BITS`, `ec:CURVE`.
    Pair(KeySpec),
    /// `aes:BITS`; in octets.
    Aes(usize),
}

/// A word that names no kind of key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not rsa:BITS, ec:CURVE or aes:BITS")]
pub struct KeyTypeError(String);

impl FromStr for KeyType {
    type Err = KeyTypeError;

    fn from_str(text: &str) -> Result<Self, KeyTypeError> {
        let bad = || KeyTypeError(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind.to_ascii_lowercase().as_str() {
            "rsa" => {
                let bits = rest.parse().map_err(|_| bad())?;
                let exponent = Some(vec![1, 0, 1]);
                Ok(Self::Pair(KeySpec::Rsa { bits, exponent }))
            }
            "ec" => Curve::from_name(rest)
                .map(|curve| Self::Pair(KeySpec::Ec(curve)))
                .ok_or_else(bad),
            "aes" => match rest {
                "128" => Ok(Self::Aes(16)),
                "192" => Ok(Self::Aes(24)),
                "256" => Ok(Self::Aes(32)),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }
}

/// A public key in a word or two.
#[must_use]
pub fn text(key: &PublicKey) -> String {
    match key {
        PublicKey::Ec(key) => format!("EC {}", key.curve().name()),
        PublicKey::Rsa(key) => format!("RSA {}", key.modulus().len().saturating_mul(8)),
    }
}

/// The label in a description: the first text of its first part.
#[must_use]
pub fn label(description: &[u8]) -> Option<String> {
    let (outer, _) = tlv::read(description).ok()?;
    let common = tlv::find(outer.value, 0x30).ok()??;
    let label = tlv::find(common.value, 0x0c).ok()??;
    Some(String::from_utf8_lossy(label.value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xkek::pkcs15::KeyDescription;

    #[test]
    fn kinds_are_read() {
        assert_eq!("aes:256".parse(), Ok(KeyType::Aes(32)));
        assert!(matches!(
            "ec:secp256r1".parse(),
            Ok(KeyType::Pair(KeySpec::Ec(_)))
        ));
        assert!(matches!(
            "RSA:2048".parse(),
            Ok(KeyType::Pair(KeySpec::Rsa { bits: 2048, .. }))
        ));
        for wrong in ["aes:100", "ec:none", "rsa:x", "dsa:1", "rsa"] {
            assert!(wrong.parse::<KeyType>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_description_has_its_label() {
        let description = KeyDescription::of_aes(32, "träger", 7).encode();
        assert_eq!(label(&description).as_deref(), Some("träger"));
        assert_eq!(label(&[0x30]), None);
    }
}
