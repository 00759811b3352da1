//! The cipher of phase 1 with its key.

use isakmp_proto::number::IkeEncryption;
use kx_crypto::cbc::{Algorithm, Unavailable};
use kx_secret::SecretBytes;

/// A cipher in CBC mode with its key.
pub struct Cipher {
    algorithm: Algorithm,
    key: SecretBytes,
}

impl Cipher {
    /// # Errors
    /// The key's length is none of this cipher's.
    pub fn new(algorithm: Algorithm, key: SecretBytes) -> Result<Self, Unavailable> {
        if algorithm.takes_key_of(key.len()) {
            Ok(Self { algorithm, key })
        } else {
            Err(Unavailable)
        }
    }

    /// Octets of a block and an IV.
    #[must_use]
    pub fn block_len(&self) -> usize {
        self.algorithm.block_len()
    }

    /// Encrypts whole blocks in place.
    ///
    /// # Errors
    /// IV or text of the wrong length.
    pub fn encrypt(&self, iv: &[u8], text: &mut [u8]) -> Result<(), Unavailable> {
        self.algorithm
            .encrypt(self.key.as_slice(), &mut iv.to_vec(), text)
    }

    /// Decrypts whole blocks in place.
    ///
    /// # Errors
    /// IV or text of the wrong length.
    pub fn decrypt(&self, iv: &[u8], text: &mut [u8]) -> Result<(), Unavailable> {
        self.algorithm
            .decrypt(self.key.as_slice(), &mut iv.to_vec(), text)
    }
}

/// The algorithm for a phase 1 ENCRYPTION_ALGORITHM, and the octets of its key when KEY_LENGTH is not said
/// (isakmpd-wire 3). `None`: not usable.
#[must_use]
pub fn algorithm(encryption: u16) -> Option<(Algorithm, usize)> {
    match IkeEncryption(encryption) {
        IkeEncryption::DES3_CBC => Some((Algorithm::TripleDes, 24)),
        IkeEncryption::BLOWFISH_CBC => Some((Algorithm::Blowfish, 56)),
        IkeEncryption::CAST_CBC => Some((Algorithm::Cast, 16)),
        IkeEncryption::AES_CBC => Some((Algorithm::Aes, 32)),
        _ => None,
    }
}
