//! Digest and cipher of one direction, keyed.

use std::slice;

use kx_crypto::digest::Algorithm;
use kx_crypto::legacy::{BLOCK_LEN, Block, BlockCipher, Des, Idea, Rc4};
use kx_secret::SecretBytes;
use zeroize::Zeroizing;

use super::{Algorithms, Cipher, SslError};

/// What the device takes of the secret for a block cipher's key, before the first vector.
const DES_KEY: usize = 8;
const IDEA_KEY: usize = 16;

enum State {
    None,
    Stream(Box<Rc4>),
    Codebook(Box<dyn BlockCipher + Send>),
    /// With the last block of ciphertext, which runs on from record to record.
    Chained(Box<dyn BlockCipher + Send>, Block),
}

/// The state of a direction's algorithms.
pub(super) struct Protection {
    algorithms: Algorithms,
    secret: SecretBytes,
    state: State,
}

impl Protection {
    pub(super) fn clear() -> Self {
        Self {
            algorithms: Algorithms::CLEAR,
            secret: SecretBytes::default(),
            state: State::None,
        }
    }

    pub(super) fn new(algorithms: Algorithms, secret: &[u8]) -> Result<Self, SslError> {
        Ok(Self {
            algorithms,
            secret: SecretBytes::from(secret.to_vec()),
            state: match algorithms.cipher {
                None => State::None,
                Some(cipher) => State::new(cipher, secret)?,
            },
        })
    }

    pub(super) fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// Puts the digest over the front of `body`, which holds room for it, data and padding, and
    /// encrypts all of it.
    pub(super) fn seal(&mut self, body: &mut [u8], number: u32) -> Result<(), SslError> {
        if let Some(digest) = self.algorithms.digest {
            let (room, data) = body
                .split_at_mut_checked(digest.len())
                .ok_or(SslError::TooShort)?;
            room.copy_from_slice(&self.digest(digest, data, number)?);
        }
        self.state.encrypt(body)
    }

    /// Decrypts `body` and checks the digest at its front.
    pub(super) fn open(&mut self, body: &mut [u8], number: u32) -> Result<(), SslError> {
        self.state.decrypt(body)?;
        if let Some(digest) = self.algorithms.digest {
            let (sent, data) = body
                .split_at_checked(digest.len())
                .ok_or(SslError::TooShort)?;
            let right = SecretBytes::from(self.digest(digest, data, number)?);
            if !right.ct_eq(sent) {
                return Err(SslError::BadDigest);
            }
        }
        Ok(())
    }

    fn digest(&self, digest: Algorithm, data: &[u8], number: u32) -> Result<Vec<u8>, SslError> {
        let parts = [self.secret.as_slice(), data, &number.to_be_bytes()];
        digest.digest(&parts).map_err(|_| SslError::BadAlgorithm)
    }
}

impl State {
    fn new(cipher: Cipher, secret: &[u8]) -> Result<Self, SslError> {
        let stream = |most: usize| {
            let key = secret.get(..most).unwrap_or(secret);
            if key.is_empty() {
                return Err(SslError::ShortSecret);
            }
            Ok(Self::Stream(Box::new(Rc4::new(key))))
        };
        match cipher {
            Cipher::Rc4 => stream(usize::MAX),
            Cipher::Rc4Short128 => stream(16),
            Cipher::Rc4Short40 => stream(5),
            Cipher::DesCbc => Ok(Self::Chained(des(secret, 0xff)?, vector(secret, DES_KEY))),
            Cipher::DesEcb => Ok(Self::Codebook(des(secret, 0xff)?)),
            Cipher::Des40Cbc => Ok(Self::Chained(des(secret, 0x0f)?, vector(secret, DES_KEY))),
            Cipher::Des40Ecb => Ok(Self::Codebook(des(secret, 0x0f)?)),
            Cipher::IdeaCbc => Ok(Self::Chained(idea(secret)?, vector(secret, IDEA_KEY))),
            Cipher::IdeaEcb => Ok(Self::Codebook(idea(secret)?)),
        }
    }

    fn encrypt(&mut self, body: &mut [u8]) -> Result<(), SslError> {
        match self {
            Self::None => {}
            Self::Stream(rc4) => rc4.apply(body),
            Self::Codebook(cipher) => blocks(body)?.for_each(|block| cipher.encrypt(block)),
            Self::Chained(cipher, last) => {
                blocks(body)?.for_each(|block| cipher.cbc_encrypt(last, slice::from_mut(block)));
            }
        }
        Ok(())
    }

    fn decrypt(&mut self, body: &mut [u8]) -> Result<(), SslError> {
        match self {
            Self::None => {}
            Self::Stream(rc4) => rc4.apply(body),
            Self::Codebook(cipher) => blocks(body)?.for_each(|block| cipher.decrypt(block)),
            Self::Chained(cipher, last) => {
                blocks(body)?.for_each(|block| cipher.cbc_decrypt(last, slice::from_mut(block)));
            }
        }
        Ok(())
    }
}

/// The 40 bit form masks every other octet.
fn des(secret: &[u8], mask: u8) -> Result<Box<dyn BlockCipher + Send>, SslError> {
    let mut key: Zeroizing<[u8; DES_KEY]> =
        Zeroizing::new(*secret.first_chunk().ok_or(SslError::ShortSecret)?);
    for octet in key.iter_mut().step_by(2) {
        *octet &= mask;
    }
    let des = Des::new(&*key).map_err(|_| SslError::ShortSecret)?;
    Ok(Box::new(des))
}

fn idea(secret: &[u8]) -> Result<Box<dyn BlockCipher + Send>, SslError> {
    let key = secret.get(..IDEA_KEY).ok_or(SslError::ShortSecret)?;
    let idea = Idea::new(key).map_err(|_| SslError::ShortSecret)?;
    Ok(Box::new(idea))
}

/// The octets after the key, if there are enough; else zeroes.
fn vector(secret: &[u8], key: usize) -> Block {
    secret
        .get(key..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or_default()
}

fn blocks(body: &mut [u8]) -> Result<impl Iterator<Item = &mut Block>, SslError> {
    if body.len().checked_rem(BLOCK_LEN) != Some(0) {
        return Err(SslError::PartialBlock);
    }
    Ok(body
        .chunks_exact_mut(BLOCK_LEN)
        .filter_map(<[u8]>::first_chunk_mut))
}
