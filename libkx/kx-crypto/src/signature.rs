//! Verification of signatures with a public key given as SubjectPublicKeyInfo.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};

/// A hash function used with a signature. MD5 and SHA-1 are here for callers that must judge old
/// signatures; whether such a signature counts is for them to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    fn digest(self) -> MessageDigest {
        match self {
            Hash::Md5 => MessageDigest::md5(),
            Hash::Sha1 => MessageDigest::sha1(),
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha384 => MessageDigest::sha384(),
            Hash::Sha512 => MessageDigest::sha512(),
        }
    }
}

/// How a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    RsaPkcs1(Hash),
    /// RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash (RFC 8017 section
    /// 8.1).
    RsaPss(Hash),
    /// ECDSA with a DER-encoded signature, curve as in the key.
    Ecdsa(Hash),
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl SignatureAlgorithm {
    fn key_type(self) -> Id {
        match self {
            SignatureAlgorithm::RsaPkcs1(_) | SignatureAlgorithm::RsaPss(_) => Id::RSA,
            SignatureAlgorithm::Ecdsa(_) => Id::EC,
            SignatureAlgorithm::Ed25519 => Id::ED25519,
        }
    }
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyFailure {
    /// The public key cannot be read by the back end.
    #[error("public key cannot be used")]
    KeyUnusable,
    /// The key is not of the algorithm's kind.
    #[error("public key is of another kind than the signature")]
    KeyMismatch,
    /// The signature was not made by this key over this message.
    #[error("signature is wrong")]
    Rejected,
}

/// Checks that `signature` over `message` was made by the owner of the key `spki_der`
/// (SubjectPublicKeyInfo, DER).
///
/// # Errors
/// [`VerifyFailure`]; any trouble inside the back end counts as a wrong signature.
pub fn verify(
    algorithm: SignatureAlgorithm,
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyFailure> {
    let key = PKey::public_key_from_der(spki_der).map_err(|_| VerifyFailure::KeyUnusable)?;
    if key.id() != algorithm.key_type() {
        return Err(VerifyFailure::KeyMismatch);
    }
    match run(algorithm, &key, message, signature) {
        Ok(true) => Ok(()),
        // The error stack was taken with the error, so nothing is left over for the next caller.
        Ok(false) | Err(_) => Err(VerifyFailure::Rejected),
    }
}

fn run(
    algorithm: SignatureAlgorithm,
    key: &PKey<Public>,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    let mut verifier = match algorithm {
        SignatureAlgorithm::Ed25519 => Verifier::new_without_digest(key)?,
        SignatureAlgorithm::RsaPkcs1(hash) => {
            let mut verifier = Verifier::new(hash.digest(), key)?;
            verifier.set_rsa_padding(Padding::PKCS1)?;
            verifier
        }
        SignatureAlgorithm::RsaPss(hash) => {
            let mut verifier = Verifier::new(hash.digest(), key)?;
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            verifier.set_rsa_mgf1_md(hash.digest())?;
            verifier
        }
        SignatureAlgorithm::Ecdsa(hash) => Verifier::new(hash.digest(), key)?,
    };
    verifier.verify_oneshot(signature, message)
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::{Padding, Rsa};
    use openssl::sign::{RsaPssSaltlen, Signer};

    use super::{Hash, SignatureAlgorithm, VerifyFailure, verify};

    const MESSAGE: &[u8] = b"to be signed";

    fn sign(algorithm: SignatureAlgorithm, key: &PKey<Private>) -> Vec<u8> {
        let mut signer = match algorithm {
            SignatureAlgorithm::Ed25519 => Signer::new_without_digest(key).unwrap(),
            SignatureAlgorithm::RsaPkcs1(hash)
            | SignatureAlgorithm::RsaPss(hash)
            | SignatureAlgorithm::Ecdsa(hash) => Signer::new(hash.digest(), key).unwrap(),
        };
        if let SignatureAlgorithm::RsaPss(_) = algorithm {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer
                .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
                .unwrap();
        }
        signer.sign_oneshot_to_vec(MESSAGE).unwrap()
    }

    fn good_and_bad(algorithm: SignatureAlgorithm, key: &PKey<Private>) {
        let spki = key.public_key_to_der().unwrap();
        let mut signature = sign(algorithm, key);
        assert_eq!(
            verify(algorithm, &spki, MESSAGE, &signature),
            Ok(()),
            "{algorithm:?}"
        );
        let rejected = Err(VerifyFailure::Rejected);
        assert_eq!(
            verify(algorithm, &spki, b"other", &signature),
            rejected,
            "{algorithm:?}"
        );
        assert_eq!(
            verify(algorithm, &spki, MESSAGE, b""),
            rejected,
            "{algorithm:?}"
        );
        *signature.last_mut().unwrap() ^= 1;
        assert_eq!(
            verify(algorithm, &spki, MESSAGE, &signature),
            rejected,
            "{algorithm:?}"
        );
    }

    #[test]
    fn rsa() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        for hash in [
            Hash::Md5,
            Hash::Sha1,
            Hash::Sha256,
            Hash::Sha384,
            Hash::Sha512,
        ] {
            good_and_bad(SignatureAlgorithm::RsaPkcs1(hash), &key);
        }
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            good_and_bad(SignatureAlgorithm::RsaPss(hash), &key);
        }
        let spki = key.public_key_to_der().unwrap();
        let pkcs1 = sign(SignatureAlgorithm::RsaPkcs1(Hash::Sha256), &key);
        for other in [
            SignatureAlgorithm::RsaPkcs1(Hash::Sha384),
            SignatureAlgorithm::RsaPss(Hash::Sha256),
        ] {
            assert_eq!(
                verify(other, &spki, MESSAGE, &pkcs1),
                Err(VerifyFailure::Rejected)
            );
        }
    }

    #[test]
    fn ecdsa() {
        for nid in [
            Nid::SECP224R1,
            Nid::X9_62_PRIME256V1,
            Nid::SECP384R1,
            Nid::SECP521R1,
        ] {
            let group = EcGroup::from_curve_name(nid).unwrap();
            let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
            for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
                good_and_bad(SignatureAlgorithm::Ecdsa(hash), &key);
            }
        }
    }

    #[test]
    fn ed25519() {
        good_and_bad(
            SignatureAlgorithm::Ed25519,
            &PKey::generate_ed25519().unwrap(),
        );
    }

    #[test]
    fn key_of_another_kind() {
        let spki = PKey::generate_ed25519()
            .unwrap()
            .public_key_to_der()
            .unwrap();
        let rsa = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
        assert_eq!(
            verify(rsa, &spki, MESSAGE, b"x"),
            Err(VerifyFailure::KeyMismatch)
        );
        assert_eq!(
            verify(rsa, b"", MESSAGE, b"x"),
            Err(VerifyFailure::KeyUnusable)
        );
    }
}
