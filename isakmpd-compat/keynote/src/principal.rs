//! Who asks and who is trusted: opaque names and keys, in the form in which they compare
//! (RFC 2704 sections 4.5 and 5.2, RFC 2792 sections 2 and 3).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use openssl::rsa::Rsa;
use openssl::x509::X509;
use zeroize::Zeroize;

use crate::der;

/// Octets of a modulus or another number of a key; the library refuses longer ones too.
const MOST_NUMBER: usize = 2048;

/// A principal. Keys compare by their numbers, whatever their encoding was; names octet for octet.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A name that says nothing to KeyNote. It may hold a passphrase, so there is no `Debug` of it.
    Opaque(Vec<u8>),
    /// An RSA key.
    Rsa(RsaKey),
    /// A DSA key.
    Dsa(DsaKey),
    /// `binary-hex:` and `binary-base64:`: octets, compared as such.
    Binary(Vec<u8>),
}

impl Drop for Principal {
    fn drop(&mut self) {
        if let Principal::Opaque(name) = self {
            name.zeroize();
        }
    }
}

/// An RSA public key, numbers big-endian without leading zeros.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RsaKey {
    /// The modulus.
    pub n: Vec<u8>,
    /// The public exponent.
    pub e: Vec<u8>,
}

/// A DSA public key, numbers big-endian without leading zeros.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DsaKey {
    /// The public value.
    pub y: Vec<u8>,
    /// The prime.
    pub p: Vec<u8>,
    /// The order of the subgroup.
    pub q: Vec<u8>,
    /// Its generator.
    pub g: Vec<u8>,
}

/// The text has the prefix of a key but no such key follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key cannot be decoded")]
pub struct BadKey;

/// How octets are written in a key or signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Two digits an octet.
    Hex,
    /// RFC 4648 section 4, padded.
    Base64,
}

/// A bit that the padding makes superfluous may be anything, as in the original.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

impl Encoding {
    /// The octets that `text` stands for.
    ///
    /// # Errors
    /// [`BadKey`]
    pub fn decode(self, text: &[u8]) -> Result<Vec<u8>, BadKey> {
        match self {
            Encoding::Hex => hex_octets(text).ok_or(BadKey),
            Encoding::Base64 => BASE64.decode(text).map_err(|_| BadKey),
        }
    }

    /// `octets` written so; hexadecimal digits in lower case.
    #[must_use]
    pub fn encode(self, octets: &[u8]) -> String {
        match self {
            Encoding::Hex => hex_digits(octets),
            Encoding::Base64 => BASE64.encode(octets),
        }
    }
}

/// Octets as lower-case digits.
#[must_use]
pub fn hex_digits(octets: &[u8]) -> String {
    let mut digits = String::with_capacity(octets.len().saturating_mul(2));
    for octet in octets {
        for half in [octet >> 4, octet & 0xf] {
            digits.extend(char::from_digit(half.into(), 16));
        }
    }
    digits
}

fn hex_octets(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16);
    text.chunks(2)
        .map(|pair| match pair {
            [high, low] => {
                u8::try_from(digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?).ok()
            }
            _ => None,
        })
        .collect()
}

/// What kind of key a prefix announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa,
    Dsa,
    X509,
    Binary,
}

/// Prefixes of keys, lower case (isakmpd-policy 3). `elgamal-` and `pgp:` were never implemented: they are
/// names like any other.
const PREFIXES: [(&[u8], KeyKind, Encoding); 8] = [
    (b"rsa-hex:", KeyKind::Rsa, Encoding::Hex),
    (b"rsa-base64:", KeyKind::Rsa, Encoding::Base64),
    (b"dsa-hex:", KeyKind::Dsa, Encoding::Hex),
    (b"dsa-base64:", KeyKind::Dsa, Encoding::Base64),
    (b"x509-hex:", KeyKind::X509, Encoding::Hex),
    (b"x509-base64:", KeyKind::X509, Encoding::Base64),
    (b"binary-hex:", KeyKind::Binary, Encoding::Hex),
    (b"binary-base64:", KeyKind::Binary, Encoding::Base64),
];

/// `text` without `prefix`, case of ASCII letters ignored.
pub(crate) fn strip_prefix_ignoring_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The kind and encoding that the beginning of `text` announces, and what follows it.
pub(crate) fn key_prefix(text: &[u8]) -> Option<(KeyKind, Encoding, &[u8])> {
    PREFIXES.iter().find_map(|(prefix, kind, encoding)| {
        strip_prefix_ignoring_case(text, prefix).map(|rest| (*kind, *encoding, rest))
    })
}

impl Principal {
    /// The principal of a text as in Licensees.
    ///
    /// # Errors
    /// [`BadKey`]
    pub fn parse(text: &[u8]) -> Result<Principal, BadKey> {
        let Some((kind, encoding, rest)) = key_prefix(text) else {
            return Ok(Principal::Opaque(text.to_vec()));
        };
        let octets = encoding.decode(rest)?;
        match kind {
            KeyKind::Rsa => RsaKey::from_pkcs1(&octets).map(Principal::Rsa),
            KeyKind::Dsa => DsaKey::from_der(&octets).map(Principal::Dsa),
            KeyKind::X509 => RsaKey::from_certificate(&octets).map(Principal::Rsa),
            KeyKind::Binary => Ok(Principal::Binary(octets)),
        }
    }

    /// Whether this is the name at the root of all trust.
    #[must_use]
    pub fn is_policy(&self) -> bool {
        matches!(self, Principal::Opaque(name) if name == b"POLICY")
    }

    /// The text of a key as the original writes it; `None` for a name.
    #[must_use]
    pub fn key_text(&self) -> Option<String> {
        match self {
            Principal::Opaque(_) => None,
            Principal::Rsa(key) => Some(key.text(Encoding::Hex)),
            Principal::Dsa(key) => Some(key.text(Encoding::Hex)),
            Principal::Binary(octets) => Some(format!("binary-hex:{}", hex_digits(octets))),
        }
    }
}

impl RsaKey {
    /// From an RSAPublicKey (RFC 8017 appendix A.1.1) in DER.
    ///
    /// # Errors
    /// [`BadKey`]
    pub fn from_pkcs1(octets: &[u8]) -> Result<RsaKey, BadKey> {
        let [n, e] = der::integers(octets).ok_or(BadKey)?;
        RsaKey::checked(n, e)
    }

    /// The key in a certificate in DER; there is only RSA (isakmpd-policy 3).
    ///
    /// # Errors
    /// [`BadKey`]
    pub fn from_certificate(octets: &[u8]) -> Result<RsaKey, BadKey> {
        let key = X509::from_der(octets)
            .and_then(|certificate| certificate.public_key()?.rsa())
            .map_err(|_| BadKey)?;
        RsaKey::checked(key.n().to_vec(), key.e().to_vec())
    }

    fn checked(n: Vec<u8>, e: Vec<u8>) -> Result<RsaKey, BadKey> {
        let possible = |number: &[u8]| !number.is_empty() && number.len() <= MOST_NUMBER;
        if possible(&n) && possible(&e) {
            Ok(RsaKey { n, e })
        } else {
            Err(BadKey)
        }
    }

    /// The key as a principal's text, `rsa-hex:` or `rsa-base64:`.
    #[must_use]
    pub fn text(&self, encoding: Encoding) -> String {
        let name = match encoding {
            Encoding::Hex => "rsa-hex:",
            Encoding::Base64 => "rsa-base64:",
        };
        let octets = der::sequence(&[&self.n, &self.e]);
        format!("{name}{}", encoding.encode(&octets))
    }

    /// The key as the library takes it.
    pub(crate) fn to_openssl(&self) -> Result<Rsa<openssl::pkey::Public>, BadKey> {
        let number = |octets: &[u8]| openssl::bn::BigNum::from_slice(octets).map_err(|_| BadKey);
        Rsa::from_public_components(number(&self.n)?, number(&self.e)?).map_err(|_| BadKey)
    }
}

impl DsaKey {
    /// From the four numbers y, p, q and g (RFC 2792 section 3.1) in DER.
    ///
    /// # Errors
    /// [`BadKey`]
    pub fn from_der(octets: &[u8]) -> Result<DsaKey, BadKey> {
        let [y, p, q, g] = der::integers(octets).ok_or(BadKey)?;
        let possible = |number: &Vec<u8>| !number.is_empty() && number.len() <= MOST_NUMBER;
        if [&y, &p, &q, &g].into_iter().all(possible) {
            Ok(DsaKey { y, p, q, g })
        } else {
            Err(BadKey)
        }
    }

    /// The key as a principal's text, `dsa-hex:` or `dsa-base64:`.
    #[must_use]
    pub fn text(&self, encoding: Encoding) -> String {
        let name = match encoding {
            Encoding::Hex => "dsa-hex:",
            Encoding::Base64 => "dsa-base64:",
        };
        let octets = der::sequence(&[&self.y, &self.p, &self.q, &self.g]);
        format!("{name}{}", encoding.encode(&octets))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadKey, DsaKey, Encoding, Principal, RsaKey};

    fn rsa() -> RsaKey {
        RsaKey {
            n: vec![0xc5, 1, 2, 3],
            e: vec![1, 0, 1],
        }
    }

    #[test]
    fn encodings_of_one_key_are_one_principal() {
        let hex = rsa().text(Encoding::Hex);
        assert_eq!(hex, "rsa-hex:300c020500c50102030203010001");
        let principal = Principal::Rsa(rsa());
        for text in [
            hex.clone(),
            rsa().text(Encoding::Base64),
            "RSA-Hex:300C020500C50102030203010001".into(),
        ] {
            assert!(
                Principal::parse(text.as_bytes()) == Ok(principal.clone()),
                "{text}"
            );
        }
        assert_eq!(principal.key_text().unwrap(), hex);
        let dsa = DsaKey {
            y: vec![1],
            p: vec![0x80],
            q: vec![3],
            g: vec![4],
        };
        for encoding in [Encoding::Hex, Encoding::Base64] {
            assert!(
                Principal::parse(dsa.text(encoding).as_bytes()) == Ok(Principal::Dsa(dsa.clone()))
            );
        }
        assert!(Principal::parse(b"binary-hex:6162") == Principal::parse(b"BINARY-base64:YWI="));
    }

    #[test]
    fn names() {
        for name in [
            "",
            "POLICY",
            "passphrase:x",
            "DN:/CN=a",
            "rsa-hex",
            "pgp:00",
            "elgamal-hex:00",
        ] {
            assert!(
                Principal::parse(name.as_bytes()) == Ok(Principal::Opaque(name.into())),
                "{name}"
            );
        }
        assert!(Principal::parse(b"POLICY").unwrap().is_policy());
        assert!(!Principal::parse(b"policy").unwrap().is_policy());
    }

    #[test]
    fn bad_keys() {
        for text in [
            "rsa-hex:",
            "rsa-hex:0",
            "rsa-hex:zz",
            "rsa-hex:00",
            // A number is missing, one too many, data after it, a negative one, an empty one.
            "rsa-hex:3003020105",
            "rsa-hex:3009020105020105020105",
            "rsa-hex:300602010502010500",
            "rsa-hex:3006020185020105",
            "rsa-hex:30050200020105",
            "rsa-base64:abcd==",
            "rsa-base64:abc",
            "dsa-hex:3006020105020105",
            "x509-hex:3000",
            "x509-base64:abcd==",
            "binary-hex:1",
            "binary-base64:====",
        ] {
            assert!(Principal::parse(text.as_bytes()) == Err(BadKey), "{text}");
        }
    }
}
