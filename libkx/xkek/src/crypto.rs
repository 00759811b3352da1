//! The few primitives the formats are made of: SHA-256, AES-256-CBC over whole blocks, CMAC.

use kx_secret::SecretBytes;
use openssl::cipher::{Cipher, CipherRef};
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
use openssl::sha;
use zeroize::Zeroizing;

/// The cryptographic library could not do it: it lacks the algorithm, refused the numbers, or had no
/// memory or random octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused")]
pub struct Unavailable;

impl From<ErrorStack> for Unavailable {
    fn from(_: ErrorStack) -> Self {
        Self
    }
}

impl From<crate::rng::Unavailable> for Unavailable {
    fn from(_: crate::rng::Unavailable) -> Self {
        Self
    }
}

/// Octets of an AES block.
pub const BLOCK: usize = 16;

/// A number without its leading zeros; zero is empty.
#[must_use]
pub fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// A number in `len` octets, or nothing if it does not fit.
#[must_use]
pub fn padded(number: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let number = significant(number);
    let zeros = len.checked_sub(number.len())?;
    let mut out = Zeroizing::new(Vec::with_capacity(len));
    out.resize(zeros, 0);
    out.extend_from_slice(number);
    Some(out)
}

/// SHA-256 of the parts one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

fn cbc(
    cipher: &CipherRef,
    encrypt: bool,
    key: &[u8],
    iv: &[u8; BLOCK],
    text: &[u8],
) -> Result<SecretBytes, Unavailable> {
    if text.len() % BLOCK != 0 || key.len() != cipher.key_length() {
        return Err(Unavailable);
    }
    let mut context = CipherCtx::new()?;
    if encrypt {
        context.encrypt_init(Some(cipher), Some(key), Some(iv))?;
    } else {
        context.decrypt_init(Some(cipher), Some(key), Some(iv))?;
    }
    context.set_padding(false);
    // The library's face wants room for one block more than comes out.
    let mut out = SecretBytes::zeroed(text.len().saturating_add(BLOCK));
    let done = context.cipher_update(text, Some(out.as_mut_slice()))?;
    if done != text.len() {
        return Err(Unavailable);
    }
    out.truncate(done);
    Ok(out)
}

/// AES-256-CBC over whole blocks.
///
/// # Errors
/// [`Unavailable`], in particular for a text that is not of whole blocks.
pub fn aes256_cbc_encrypt(
    key: &[u8],
    iv: &[u8; BLOCK],
    text: &[u8],
) -> Result<SecretBytes, Unavailable> {
    cbc(Cipher::aes_256_cbc(), true, key, iv, text)
}

/// The reverse of [`aes256_cbc_encrypt`].
///
/// # Errors
/// [`Unavailable`], in particular for a text that is not of whole blocks.
pub fn aes256_cbc_decrypt(
    key: &[u8],
    iv: &[u8; BLOCK],
    text: &[u8],
) -> Result<SecretBytes, Unavailable> {
    cbc(Cipher::aes_256_cbc(), false, key, iv, text)
}

/// AES-CBC with a zero initialization vector and a key of 16, 24 or 32 octets, as the card's symmetric
/// commands do it.
///
/// # Errors
/// [`Unavailable`], in particular for a text that is not of whole blocks.
pub fn aes_cbc(key: &[u8], encrypt: bool, text: &[u8]) -> Result<SecretBytes, Unavailable> {
    cbc(aes_by_key(key)?, encrypt, key, &[0; BLOCK], text)
}

fn aes_by_key(key: &[u8]) -> Result<&'static CipherRef, Unavailable> {
    match key.len() {
        16 => Ok(Cipher::aes_128_cbc()),
        24 => Ok(Cipher::aes_192_cbc()),
        32 => Ok(Cipher::aes_256_cbc()),
        _ => Err(Unavailable),
    }
}

/// AES-CMAC (NIST SP 800-38B) with a key of 16, 24 or 32 octets: CBC whose last block has a subkey
/// added.
///
/// # Errors
/// [`Unavailable`].
pub fn aes_cmac(key: &[u8], text: &[u8]) -> Result<[u8; BLOCK], Unavailable> {
    let zero = aes_cbc(key, true, &[0; BLOCK])?;
    let mut subkey = double(zero.as_slice());
    let mut message = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(BLOCK)));
    message.extend_from_slice(text);
    if text.is_empty() || text.len() % BLOCK != 0 {
        subkey = double(&*subkey);
        message.push(0x80);
        let whole = message.len().next_multiple_of(BLOCK);
        message.resize(whole, 0);
    }
    let last = message.len().saturating_sub(BLOCK);
    for (octet, more) in message.iter_mut().skip(last).zip(subkey.iter()) {
        *octet ^= more;
    }
    let chain = aes_cbc(key, true, &message)?;
    chain.as_slice().last_chunk().copied().ok_or(Unavailable)
}

/// Twice a block in the field of CMAC. Without a branch on the secret.
fn double(block: &[u8]) -> Zeroizing<[u8; BLOCK]> {
    let number = block
        .iter()
        .fold(0u128, |number, octet| number << 8 | u128::from(*octet));
    let carry = (number >> 127).wrapping_neg() & 0x87;
    Zeroizing::new((number << 1 ^ carry).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// NIST SP 800-38B, D.3 (AES-256), and RFC 4493 (AES-128).
    #[test]
    fn cmac() {
        let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let text = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        for (len, mac) in [
            (0, "028962f61b7bf89efc6b551f4667d983"),
            (16, "28a7023f452e8f82bd4bf28d8c37c35c"),
            (40, "aaf3d8f1de5640c232f5b169b9c911e6"),
            (64, "e1992190549f6ed5696a2c056c315410"),
        ] {
            assert_eq!(aes_cmac(&key, &text[..len]).unwrap()[..], hex(mac), "{len}");
        }
        let short = hex("2b7e151628aed2a6abf7158809cf4f3c");
        assert_eq!(
            aes_cmac(&short, &text[..40]).unwrap()[..],
            hex("dfa66747de9ae63030ca32611497c827")
        );
        assert_eq!(aes_cmac(&[0; 15], b""), Err(Unavailable));
    }

    #[test]
    fn whole_blocks_only() {
        assert_eq!(
            aes256_cbc_encrypt(&[0; 32], &[0; 16], &[0; 15]).err(),
            Some(Unavailable)
        );
        let sealed = aes256_cbc_encrypt(&[1; 32], &[2; 16], &[3; 48]).unwrap();
        let opened = aes256_cbc_decrypt(&[1; 32], &[2; 16], sealed.as_slice()).unwrap();
        assert!(opened.ct_eq(&[3; 48]));
    }

    #[test]
    fn numbers() {
        assert_eq!(significant(&[0, 0, 1, 0]), [1, 0]);
        assert_eq!(significant(&[0]), []);
        assert_eq!(padded(&[0, 0, 1], 2).unwrap()[..], [0, 1]);
        assert!(padded(&[1, 1, 1], 2).is_none());
    }
}
