//! AES-128 in CBC mode over whole blocks, in place and without padding (NIST SP 800-38A), and a single
//! block of it: what file formats with a tail of their own are made of. [`Algorithm`] has the same for other ciphers.

mod cipher;

pub use cipher::Algorithm;

use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use zeroize::Zeroizing;

use crate::fetched::Fetched;

/// Octets of a block, a key and an initialization vector.
pub const BLOCK: usize = 16;

/// Octets that go through the library at one time.
const PIECE: usize = 256 * BLOCK;

/// The library could not do it, or the text is not of whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cipher not available")]
pub struct Unavailable;

/// Encrypts `text` in place.
///
/// # Errors
/// [`Unavailable`], in particular if the length is no multiple of [`BLOCK`].
pub fn aes128_encrypt(
    key: &[u8; BLOCK],
    iv: &[u8; BLOCK],
    text: &mut [u8],
) -> Result<(), Unavailable> {
    apply(BLOCK, text, |context| {
        context.encrypt_init(Some(aes128()), Some(key), Some(iv))
    })
}

/// Decrypts `text` in place.
///
/// # Errors
/// [`Unavailable`], in particular if the length is no multiple of [`BLOCK`].
pub fn aes128_decrypt(
    key: &[u8; BLOCK],
    iv: &[u8; BLOCK],
    text: &mut [u8],
) -> Result<(), Unavailable> {
    apply(BLOCK, text, |context| {
        context.decrypt_init(Some(aes128()), Some(key), Some(iv))
    })
}

/// Encrypts one block by itself.
///
/// # Errors
/// [`Unavailable`].
pub fn aes128_block(key: &[u8; BLOCK], block: &mut [u8; BLOCK]) -> Result<(), Unavailable> {
    aes128_encrypt(key, &[0; BLOCK], block)
}

fn aes128() -> &'static CipherRef {
    static AES_128: Fetched = Fetched::new();
    AES_128.cipher("AES-128-CBC", Cipher::aes_128_cbc)
}

/// Runs `text` through a cipher with blocks of `block` octets, no more than [`BLOCK`].
fn apply(
    block: usize,
    text: &mut [u8],
    init: impl FnOnce(&mut CipherCtx) -> Result<(), ErrorStack>,
) -> Result<(), Unavailable> {
    if text.len() % block != 0 {
        return Err(Unavailable);
    }
    let failed = |_: ErrorStack| Unavailable;
    let mut context = CipherCtx::new().map_err(failed)?;
    init(&mut context).map_err(failed)?;
    context.set_padding(false);
    // The library's face wants room for one block more than comes out, so it goes by way of a buffer.
    let mut piece = Zeroizing::new([0u8; PIECE + BLOCK]);
    for part in text.chunks_mut(PIECE) {
        let done = context.cipher_update(part, Some(&mut *piece));
        match piece.get(..part.len()) {
            Some(result) if done.map_err(failed)? == part.len() => part.copy_from_slice(result),
            _ => return Err(Unavailable),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let octet = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
        std::array::from_fn(octet)
    }

    /// NIST SP 800-38A, F.2.1 and F.1.1.
    #[test]
    fn the_standards_vectors() {
        let key = octets("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = octets("000102030405060708090a0b0c0d0e0f");
        let plain: [u8; 32] =
            octets("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let mut text = plain;
        aes128_encrypt(&key, &iv, &mut text).expect("encrypted");
        assert_eq!(
            text,
            octets("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")
        );
        aes128_decrypt(&key, &iv, &mut text).expect("decrypted");
        assert_eq!(text, plain);
        let mut block = octets("6bc1bee22e409f96e93d7e117393172a");
        aes128_block(&key, &mut block).expect("encrypted");
        assert_eq!(block, octets("3ad77bb40d7a3660a89ecaf32466ef97"));
    }

    #[test]
    fn long_texts_go_in_pieces() {
        let (key, iv) = ([1; BLOCK], [2; BLOCK]);
        let plain: Vec<u8> = (0..3 * PIECE + BLOCK).map(|at| at as u8).collect();
        let mut text = plain.clone();
        aes128_encrypt(&key, &iv, &mut text).expect("encrypted");
        // Each block depends on the one before, also over the border of a piece.
        let (before, after) = text.split_at(PIECE);
        let mut second = plain[PIECE..2 * PIECE].to_vec();
        let chained = before.last_chunk().expect("a block");
        aes128_encrypt(&key, chained, &mut second).expect("encrypted");
        assert_eq!(after[..PIECE], second);
        aes128_decrypt(&key, &iv, &mut text).expect("decrypted");
        assert_eq!(text, plain);
    }

    #[test]
    fn only_whole_blocks() {
        let (key, iv) = ([0; BLOCK], [0; BLOCK]);
        assert_eq!(aes128_encrypt(&key, &iv, &mut [0; 15]), Err(Unavailable));
        assert_eq!(aes128_decrypt(&key, &iv, &mut [0; 17]), Err(Unavailable));
        assert_eq!(aes128_encrypt(&key, &iv, &mut []), Ok(()));
    }
}
