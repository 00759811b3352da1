//! New keys: a signer's, and those of users, made after the signer's (keysrv spec 1.3, 13).

use kx_crypto::bignum::BigNum;
use kx_crypto::dh::Group;
use kx_crypto::{bignum, dsa, elgamal, rsa};

use crate::authinfo::AuthInfo;
use crate::certificate::Certificate;
use crate::key::{Algorithm, BadPrivateKey, PrivateKey, PrivateNumbers, PublicKey, PublicNumbers};

/// The public exponent of all RSA keys that are made here. The original draws one of 6 bits.
pub const RSA_EXPONENT: u32 = 65537;

/// Bits of the modulus of a new signer's key.
pub const SIGNER_BITS: u32 = 2048;

/// Bits of what the original makes: of its keys, and of the modulus of its Diffie-Hellman group.
pub const COMPATIBLE_BITS: u32 = 1024;

/// Bits of the prime that divides p - 1 in a group of the original, where it serves as the base.
const COMPATIBLE_FACTOR_BITS: u32 = 160;

/// Why there is no new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The name is empty or has a newline.
    #[error("bad owner name")]
    Owner,
    /// No key of this kind and size.
    #[error("can't generate key")]
    Library,
}

impl From<bignum::Error> for GenerateError {
    fn from(_: bignum::Error) -> Self {
        GenerateError::Library
    }
}

impl From<BadPrivateKey> for GenerateError {
    fn from(_: BadPrivateKey) -> Self {
        GenerateError::Owner
    }
}

/// Which Diffie-Hellman group a new domain gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupChoice {
    /// The 2048-bit group of RFC 3526.
    Modp2048,
    /// A fresh one of 1024 bits, as the original makes them; it takes some seconds.
    Compatible,
}

impl GroupChoice {
    /// The group.
    ///
    /// # Errors
    /// [`GenerateError::Library`].
    pub fn make(self) -> Result<Group, GenerateError> {
        match self {
            GroupChoice::Modp2048 => Ok(Group::modp_2048()?),
            GroupChoice::Compatible => {
                let alpha = BigNum::generate_prime(COMPATIBLE_FACTOR_BITS, false)?;
                let p = BigNum::generate_prime_over(COMPATIBLE_BITS, &alpha)?;
                Ok(Group { alpha, p })
            }
        }
    }
}

/// A new key of `bits` bits. ElGamal's takes long: seconds for 512 bits, minutes for 1024. DSA is not made.
///
/// # Errors
/// [`GenerateError`].
pub fn key(algorithm: Algorithm, bits: u32, owner: &str) -> Result<PrivateKey, GenerateError> {
    let numbers = match algorithm {
        Algorithm::Rsa => rsa_numbers(bits)?,
        Algorithm::Elgamal => PrivateNumbers::Elgamal(elgamal::PrivateKey::generate(bits)?),
        Algorithm::Dsa => return Err(GenerateError::Library),
    };
    Ok(PrivateKey::new(owner, numbers)?)
}

/// A new key for a user of the signer with this key: RSA of the same length, ElGamal and DSA in the same group.
///
/// # Errors
/// [`GenerateError`].
pub fn key_from(signer: &PublicKey, owner: &str) -> Result<PrivateKey, GenerateError> {
    let numbers = match signer.numbers() {
        PublicNumbers::Rsa(key) => rsa_numbers(key.n.bits())?,
        PublicNumbers::Elgamal(group) => {
            PrivateNumbers::Elgamal(elgamal::PrivateKey::generate_from(group)?)
        }
        PublicNumbers::Dsa(group) => PrivateNumbers::Dsa(dsa::PrivateKey::generate_from(group)?),
    };
    Ok(PrivateKey::new(owner, numbers)?)
}

fn rsa_numbers(bits: u32) -> Result<PrivateNumbers, GenerateError> {
    let key = rsa::PrivateKey::generate(bits, RSA_EXPONENT)?;
    Ok(PrivateNumbers::Rsa(Box::new(key)))
}

/// The authinfo of a new signer, who certifies himself.
///
/// # Errors
/// [`GenerateError`].
pub fn signer(
    algorithm: Algorithm,
    bits: u32,
    owner: &str,
    expiry: i32,
    group: GroupChoice,
) -> Result<AuthInfo, GenerateError> {
    let private_key = key(algorithm, bits, owner)?;
    let certificate = Certificate::sign(&private_key, expiry, private_key.public().text())
        .map_err(|_| GenerateError::Library)?;
    Ok(AuthInfo {
        signer_key: private_key
            .public()
            .try_clone()
            .map_err(|_| GenerateError::Library)?,
        certificate,
        private_key,
        group: group.make()?,
    })
}

/// The authinfo of a new user, made and certified by a signer.
///
/// # Errors
/// [`GenerateError`].
pub fn user(signer: &AuthInfo, owner: &str, expiry: i32) -> Result<AuthInfo, GenerateError> {
    let private_key = key_from(signer.public_key(), owner)?;
    let certificate = Certificate::sign(&signer.private_key, expiry, private_key.public().text())
        .map_err(|_| GenerateError::Library)?;
    Ok(AuthInfo {
        signer_key: signer
            .public_key()
            .try_clone()
            .map_err(|_| GenerateError::Library)?,
        certificate,
        private_key,
        group: signer.group.try_clone()?,
    })
}
