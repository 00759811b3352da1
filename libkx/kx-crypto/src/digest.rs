//! SHA-1 and MD5, and with the feature `legacy` MD4: what old protocols sign and seal with.

use openssl::hash::{self, MessageDigest};
use openssl::sha;

/// Octets of a SHA-1 digest.
pub const SHA1_LEN: usize = 20;

/// The library does not offer the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("digest not available")]
pub struct Unavailable;

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-1 (FIPS 180-4), 20 octets.
    Sha1,
    /// MD5 (RFC 1321), 16 octets.
    Md5,
    /// MD4 (RFC 1320), 16 octets.
    #[cfg(feature = "legacy")]
    Md4,
}

impl Algorithm {
    /// Octets of a digest.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        match self {
            Algorithm::Sha1 => SHA1_LEN,
            Algorithm::Md5 => 16,
            #[cfg(feature = "legacy")]
            Algorithm::Md4 => 16,
        }
    }

    /// The digest of the parts one after the other.
    ///
    /// # Errors
    /// [`Unavailable`]; never for SHA-1.
    pub fn digest(self, parts: &[&[u8]]) -> Result<Vec<u8>, Unavailable> {
        match self {
            Algorithm::Sha1 => Ok(sha1(parts).to_vec()),
            Algorithm::Md5 => md5(parts).map_err(|_| Unavailable),
            #[cfg(feature = "legacy")]
            Algorithm::Md4 => Ok(crate::legacy::md4(parts).to_vec()),
        }
    }
}

/// SHA-1 of the parts one after the other. Nothing is allocated.
#[must_use]
pub fn sha1(parts: &[&[u8]]) -> [u8; SHA1_LEN] {
    let mut hash = sha::Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

fn md5(parts: &[&[u8]]) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let mut hash = hash::Hasher::new(MessageDigest::md5())?;
    for part in parts {
        hash.update(part)?;
    }
    Ok(hash.finish()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, sha1};

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// FIPS 180-4's example, and the suites of RFC 1321 and RFC 1320.
    #[test]
    fn published() {
        assert_eq!(
            hex(&sha1(&[b"a", b"", b"bc"])),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        let md5 = Algorithm::Md5.digest(&[b"message ", b"digest"]).unwrap();
        assert_eq!(hex(&md5), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(md5.len(), Algorithm::Md5.len());
        assert_eq!(
            Algorithm::Sha1.digest(&[b"abc"]).unwrap(),
            sha1(&[b"abc"]).to_vec()
        );
        assert_eq!(Algorithm::Sha1.len(), 20);
        #[cfg(feature = "legacy")]
        {
            let md4 = Algorithm::Md4.digest(&[b"message ", b"digest"]).unwrap();
            assert_eq!(hex(&md4), "d9130a8164549fe818874806e1c7014b");
            assert_eq!(md4.len(), Algorithm::Md4.len());
        }
    }
}
