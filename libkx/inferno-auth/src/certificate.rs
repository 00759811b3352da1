//! Certificates (keysrv spec 2): a signature over data, the name of the signer and an expiry date. That of a user
//! is about the text of his public key.

use kx_crypto::bignum::BigNum;
use kx_crypto::digest::Algorithm as Digest;

use crate::key::{
    Algorithm, BadPrivateKey, Lines, PrivateKey, PublicKey, Signature, TEXT_LIMIT, push_line,
};
use crate::number;

/// The text is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad certificate syntax")]
pub struct BadCertificate;

/// The digest that is signed, by the name that stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hash {
    /// `sha1`
    Sha1,
    /// `sha`, which is the same.
    Sha,
    /// `md5`
    Md5,
    /// `md4`
    Md4,
    /// A name that can be read, and never verifies.
    Other(String),
}

impl Hash {
    /// The name in texts.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Hash::Sha1 => "sha1",
            Hash::Sha => "sha",
            Hash::Md5 => "md5",
            Hash::Md4 => "md4",
            Hash::Other(name) => name,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "sha1" => Hash::Sha1,
            "sha" => Hash::Sha,
            "md5" => Hash::Md5,
            "md4" => Hash::Md4,
            other => Hash::Other(other.to_owned()),
        }
    }

    /// Whether somebody who may choose what is signed can make two texts of one digest in seconds.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        matches!(self, Hash::Md5 | Hash::Md4)
    }

    fn algorithm(&self) -> Option<Digest> {
        match self {
            Hash::Sha1 | Hash::Sha => Some(Digest::Sha1),
            Hash::Md5 => Some(Digest::Md5),
            Hash::Md4 => Some(Digest::Md4),
            Hash::Other(_) => None,
        }
    }

    /// The number that is signed for `data`: `data || signer || " " || expiry`, digested, without padding.
    fn message(&self, data: &[u8], signer: &str, expiry: i32) -> Option<BigNum> {
        let tail = format!("{signer} {expiry}");
        let digest = self.algorithm()?.digest(&[data, tail.as_bytes()]).ok()?;
        BigNum::from_bytes(&digest).ok()
    }
}

/// A certificate. What it is about is not in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Certificate {
    hash: Hash,
    signer: String,
    expiry: i32,
    signature: Signature,
}

impl Certificate {
    /// Signs `data` with digest SHA-1, in the name of the key's owner. `expiry` is in seconds since 1970; 0 is
    /// never.
    ///
    /// # Errors
    /// [`BadPrivateKey`] when the numbers of the key do not belong together, or the text becomes too long. An RSA
    /// modulus shorter than the digest signs what verifies for nobody, as with the original.
    pub fn sign(key: &PrivateKey, expiry: i32, data: &[u8]) -> Result<Self, BadPrivateKey> {
        // MD5 and MD4 are for reading what others made.
        let hash = Hash::Sha1;
        let signer = key.owner();
        let message = hash.message(data, signer, expiry).ok_or(BadPrivateKey)?;
        let certificate = Self {
            hash,
            signer: signer.to_owned(),
            expiry,
            signature: key.sign(&message)?,
        };
        if certificate.text().len() > TEXT_LIMIT {
            return Err(BadPrivateKey);
        }
        Ok(certificate)
    }

    /// Reads a certificate. What follows its last number is ignored.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn parse(text: &[u8]) -> Result<Self, BadCertificate> {
        Self::read(text).ok_or(BadCertificate)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let mut lines = Lines::new(text)?;
        let algorithm = Algorithm::named(lines.next()?)?;
        Some(Self {
            hash: Hash::named(lines.name()?),
            signer: lines.name()?.to_owned(),
            expiry: read_expiry(lines.name()?)?,
            signature: Signature::read(algorithm, &mut lines)?,
        })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        push_line(&mut text, self.signature.algorithm().name());
        push_line(&mut text, self.hash.name());
        push_line(&mut text, &self.signer);
        push_line(&mut text, &self.expiry.to_string());
        for (_, number) in self.signature.named() {
            push_line(&mut text, &number::text_z(number));
        }
        text
    }

    /// Whether `key` signed this about `data`. It says nothing about expiry, and the name of the signer is
    /// whatever he wrote.
    #[must_use]
    pub fn verify(&self, key: &PublicKey, data: &[u8]) -> bool {
        self.hash
            .message(data, &self.signer, self.expiry)
            .is_some_and(|message| key.verify(&message, &self.signature))
    }

    /// Whether it has expired for station-to-station: at the very second, and after 2038 ever since.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expiry != 0 && i64::from(self.expiry) <= now
    }

    /// Whether it has expired for logind's look at its own signer key: a second later.
    #[must_use]
    pub fn is_past(&self, now: i64) -> bool {
        self.expiry != 0 && i64::from(self.expiry) < now
    }

    /// The digest algorithm.
    #[must_use]
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The name that the signer gave himself.
    #[must_use]
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// Seconds since 1970, 0 for never; from 2038 on negative.
    #[must_use]
    pub fn expiry(&self) -> i32 {
        self.expiry
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// Decimal digits, with a sign if need be, cut to 32 bits and taken as signed.
fn read_expiry(line: &str) -> Option<i32> {
    let line = line.trim_start_matches([' ', '\t']);
    let (negative, digits) = match line.as_bytes().split_first()? {
        (b'-', _) => (true, line.get(1..)?),
        (b'+', _) => (false, line.get(1..)?),
        _ => (false, line),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // What is above 32 bits is all ones in the original, whose long is that short.
    let value = digits.parse::<u32>().unwrap_or(u32::MAX);
    let value = i32::from_ne_bytes(value.to_ne_bytes());
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

#[cfg(test)]
mod tests {
    use super::read_expiry;

    #[test]
    fn expiry() {
        for (line, wanted) in [
            ("0", Some(0)),
            ("1893456000", Some(1_893_456_000)),
            ("-5", Some(-5)),
            ("4294967291", Some(-5)),
            ("+7", Some(7)),
            (" \t7", Some(7)),
            ("2147483648", Some(i32::MIN)),
            ("-2147483648", Some(i32::MIN)),
            ("", None),
            ("-", None),
            ("7x", None),
            ("--7", None),
        ] {
            assert_eq!(read_expiry(line), wanted, "{line}");
        }
    }
}
