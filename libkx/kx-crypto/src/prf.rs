//! Hashes, and HMAC (RFC 2104) with them as a pseudo-random function.
//!
//! Some old programs compute every HMAC with blocks of 64 octets, which for SHA-384 and SHA-512 is not the
//! standard's value: [`BlockSize`] says which is meant.

use openssl::hash::{Hasher, MessageDigest};
use zeroize::Zeroizing;

use crate::fetched::Begun;
use crate::secret::SecretBytes;

/// The library does not offer the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hash not available")]
pub struct Unavailable;

impl From<openssl::error::ErrorStack> for Unavailable {
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self
    }
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// MD5 (RFC 1321), 16 octets.
    Md5,
    /// SHA-1 (FIPS 180-4), 20 octets.
    Sha1,
    /// SHA-256, 32 octets.
    Sha256,
    /// SHA-384, 48 octets.
    Sha384,
    /// SHA-512, 64 octets.
    Sha512,
}

impl Hash {
    /// Octets of a digest.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        match self {
            Hash::Md5 => 16,
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// The digest of the parts one after the other.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn digest(self, parts: &[&[u8]]) -> Result<Vec<u8>, Unavailable> {
        let mut hasher = self.begin()?;
        for part in parts {
            hasher.update(part)?;
        }
        Ok(hasher.finish()?.to_vec())
    }

    fn begin(self) -> Result<Hasher, Unavailable> {
        static MD5: Begun = Begun::new();
        static SHA1: Begun = Begun::new();
        static SHA256: Begun = Begun::new();
        static SHA384: Begun = Begun::new();
        static SHA512: Begun = Begun::new();
        let hasher = match self {
            Hash::Md5 => MD5.hasher(MessageDigest::md5),
            Hash::Sha1 => SHA1.hasher(MessageDigest::sha1),
            Hash::Sha256 => SHA256.hasher(MessageDigest::sha256),
            Hash::Sha384 => SHA384.hasher(MessageDigest::sha384),
            Hash::Sha512 => SHA512.hasher(MessageDigest::sha512),
        };
        Ok(hasher?)
    }
}

/// The block that HMAC pads its key to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BlockSize {
    /// The hash's own: 128 octets for SHA-384 and SHA-512, else 64 (RFC 2104, RFC 4868).
    #[default]
    Standard,
    /// 64 octets whatever the hash.
    Octets64,
}

/// The longest block.
const MAX_BLOCK: usize = 128;

/// HMAC with a key, ready for any number of messages.
pub struct Prf {
    hash: Hash,
    inner: Hasher,
    outer: Hasher,
}

impl Prf {
    /// With this key. One longer than a block is replaced by its digest.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn new(hash: Hash, block: BlockSize, key: &[u8]) -> Result<Self, Unavailable> {
        let block_len = match (hash, block) {
            (Hash::Sha384 | Hash::Sha512, BlockSize::Standard) => MAX_BLOCK,
            _ => 64,
        };
        let digest;
        let key = if key.len() > block_len {
            digest = Zeroizing::new(hash.digest(&[key])?);
            &digest[..]
        } else {
            key
        };
        let start = |pad: u8| -> Result<Hasher, Unavailable> {
            let mut padded = Zeroizing::new([pad; MAX_BLOCK]);
            for (to, from) in padded.iter_mut().zip(key) {
                *to ^= from;
            }
            let mut hasher = hash.begin()?;
            hasher.update(padded.get(..block_len).unwrap_or_default())?;
            Ok(hasher)
        };
        Ok(Self {
            hash,
            inner: start(0x36)?,
            outer: start(0x5c)?,
        })
    }

    /// The hash underneath.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The value for the parts one after the other, of [`Hash::len`] octets.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn compute(&self, parts: &[&[u8]]) -> Result<SecretBytes, Unavailable> {
        let (mut inner, mut outer) = (self.inner.clone(), self.outer.clone());
        for part in parts {
            inner.update(part)?;
        }
        let mut digest = inner.finish()?;
        outer.update(&digest)?;
        zeroize::Zeroize::zeroize(&mut *digest);
        let mut digest = outer.finish()?;
        let value = SecretBytes::from(digest.to_vec());
        zeroize::Zeroize::zeroize(&mut *digest);
        Ok(value)
    }
}

/// [`Prf::compute`] with a key that is used once.
///
/// # Errors
/// [`Unavailable`].
pub fn prf(
    hash: Hash,
    block: BlockSize,
    key: &[u8],
    parts: &[&[u8]],
) -> Result<SecretBytes, Unavailable> {
    Prf::new(hash, block, key)?.compute(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn value(hash: Hash, key: &[u8], text: &[u8]) -> String {
        let parts = text.split_at(text.len() / 2);
        let value = prf(hash, BlockSize::Standard, key, &[parts.0, parts.1]).unwrap();
        assert_eq!(value.len(), hash.len());
        hex(value.as_slice())
    }

    /// RFC 2202 sections 2 and 3, RFC 4231 sections 4.3 and 4.7 (a key longer than a block).
    #[test]
    fn published() {
        let (key, text) = (b"Jefe", b"what do ya want for nothing?");
        for (hash, wanted) in [
            (Hash::Md5, "750c783e6ab0b503eaa86e310a5db738"),
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Hash::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(value(hash, key, text), wanted, "{hash:?}");
        }
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            value(Hash::Sha256, &[0xaa; 131], text),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            value(Hash::Sha512, &[0xaa; 131], text),
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
             6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
        );
    }

    #[test]
    fn short_blocks_matter_for_the_long_hashes_only() {
        let both = |hash| {
            let of = |block| prf(hash, block, b"key", &[b"text"]).unwrap();
            of(BlockSize::Standard).ct_eq(of(BlockSize::Octets64).as_slice())
        };
        assert!(both(Hash::Md5) && both(Hash::Sha1) && both(Hash::Sha256));
        assert!(!both(Hash::Sha384) && !both(Hash::Sha512));
        // By hand: H(key ^ opad, H(key ^ ipad, text)).
        let pad = |with: u8| {
            let mut block = [with; 64];
            block
                .iter_mut()
                .zip(b"key")
                .for_each(|(to, from)| *to ^= from);
            block
        };
        let inner = Hash::Sha512.digest(&[&pad(0x36), b"text"]).unwrap();
        let wanted = Hash::Sha512.digest(&[&pad(0x5c), &inner]).unwrap();
        let short = prf(Hash::Sha512, BlockSize::Octets64, b"key", &[b"text"]).unwrap();
        assert!(short.ct_eq(&wanted));
    }

    #[test]
    fn one_key_many_messages() {
        let prf = Prf::new(Hash::Sha1, BlockSize::Standard, b"key").unwrap();
        assert_eq!(prf.hash(), Hash::Sha1);
        let first = prf.compute(&[b"a"]).unwrap();
        assert!(!first.ct_eq(prf.compute(&[b"b"]).unwrap().as_slice()));
        assert!(first.ct_eq(prf.compute(&[b"a"]).unwrap().as_slice()));
    }
}
