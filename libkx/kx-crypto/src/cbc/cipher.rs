//! CBC with any of the ciphers old protocols name, as a chain that goes on from text to text.

use openssl::cipher::Cipher;
#[cfg(feature = "legacy-ipsec")]
use zeroize::Zeroizing;

use super::{Unavailable, apply};
use crate::fetched::Fetched;
#[cfg(feature = "legacy-ipsec")]
use crate::legacy::{self, Block, BlockCipher};

/// A cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// AES (FIPS 197), keys of 16, 24 or 32 octets, blocks of 16.
    Aes,
    /// DES three times (SP 800-67), keys of 24 octets, blocks of 8. Parity does not matter.
    TripleDes,
    /// DES once, keys of 8 octets.
    #[cfg(feature = "legacy-ipsec")]
    Des,
    /// CAST-128 (RFC 2144), keys of 5 to 16 octets, blocks of 8.
    #[cfg(feature = "legacy-ipsec")]
    Cast,
    /// Blowfish, keys of 4 to 56 octets, blocks of 8.
    #[cfg(feature = "legacy-ipsec")]
    Blowfish,
}

impl Algorithm {
    /// Octets of a block and of an initialization vector.
    #[must_use]
    pub fn block_len(self) -> usize {
        if self == Algorithm::Aes { 16 } else { 8 }
    }

    /// Whether a key may have so many octets.
    #[must_use]
    pub fn takes_key_of(self, len: usize) -> bool {
        match self {
            Algorithm::Aes => matches!(len, 16 | 24 | 32),
            Algorithm::TripleDes => len == 24,
            #[cfg(feature = "legacy-ipsec")]
            Algorithm::Des => len == 8,
            #[cfg(feature = "legacy-ipsec")]
            Algorithm::Cast => (5..=16).contains(&len),
            #[cfg(feature = "legacy-ipsec")]
            Algorithm::Blowfish => (4..=56).contains(&len),
        }
    }

    /// Encrypts `text` in place. `iv` becomes the last block, what the next text of the chain starts from.
    ///
    /// # Errors
    /// [`Unavailable`], also for a key, vector or text of the wrong length. Then nothing was changed that may be used.
    pub fn encrypt(self, key: &[u8], iv: &mut [u8], text: &mut [u8]) -> Result<(), Unavailable> {
        self.check(key, iv, text)?;
        match self {
            Algorithm::Aes | Algorithm::TripleDes => {
                let cipher = self.library(key)?;
                apply(self.block_len(), text, |context| {
                    context.encrypt_init(Some(cipher), Some(key), Some(iv))
                })?;
            }
            #[cfg(feature = "legacy-ipsec")]
            _ => self.by_blocks(key, iv, text, |cipher, iv, blocks| {
                cipher.cbc_encrypt(iv, blocks);
            })?,
        }
        let last = text
            .len()
            .checked_sub(iv.len())
            .and_then(|at| text.get(at..));
        if let Some(last) = last {
            iv.copy_from_slice(last);
        }
        Ok(())
    }

    /// Decrypts `text` in place; `iv` as with [`encrypt`](Self::encrypt).
    ///
    /// # Errors
    /// As with [`encrypt`](Self::encrypt).
    pub fn decrypt(self, key: &[u8], iv: &mut [u8], text: &mut [u8]) -> Result<(), Unavailable> {
        self.check(key, iv, text)?;
        let last = text
            .len()
            .checked_sub(iv.len())
            .and_then(|at| text.get(at..));
        let next = last.map(<[u8]>::to_vec);
        match self {
            Algorithm::Aes | Algorithm::TripleDes => {
                let cipher = self.library(key)?;
                apply(self.block_len(), text, |context| {
                    context.decrypt_init(Some(cipher), Some(key), Some(iv))
                })?;
            }
            #[cfg(feature = "legacy-ipsec")]
            _ => self.by_blocks(key, iv, text, |cipher, iv, blocks| {
                cipher.cbc_decrypt(iv, blocks);
            })?,
        }
        if let Some(next) = next {
            iv.copy_from_slice(&next);
        }
        Ok(())
    }

    fn check(self, key: &[u8], iv: &[u8], text: &[u8]) -> Result<(), Unavailable> {
        let block = self.block_len();
        if self.takes_key_of(key.len()) && iv.len() == block && text.len() % block == 0 {
            Ok(())
        } else {
            Err(Unavailable)
        }
    }

    fn library(self, key: &[u8]) -> Result<&'static openssl::cipher::CipherRef, Unavailable> {
        static AES_128: Fetched = Fetched::new();
        static AES_192: Fetched = Fetched::new();
        static AES_256: Fetched = Fetched::new();
        static TRIPLE_DES: Fetched = Fetched::new();
        match (self, key.len()) {
            (Algorithm::Aes, 16) => Ok(AES_128.cipher("AES-128-CBC", Cipher::aes_128_cbc)),
            (Algorithm::Aes, 24) => Ok(AES_192.cipher("AES-192-CBC", Cipher::aes_192_cbc)),
            (Algorithm::Aes, 32) => Ok(AES_256.cipher("AES-256-CBC", Cipher::aes_256_cbc)),
            (Algorithm::TripleDes, 24) => {
                Ok(TRIPLE_DES.cipher("DES-EDE3-CBC", Cipher::des_ede3_cbc))
            }
            _ => Err(Unavailable),
        }
    }

    #[cfg(feature = "legacy-ipsec")]
    fn by_blocks(
        self,
        key: &[u8],
        iv: &[u8],
        text: &mut [u8],
        run: impl FnOnce(&dyn BlockCipher, &mut Block, &mut [Block]),
    ) -> Result<(), Unavailable> {
        let wrong = |_: legacy::InvalidKey| Unavailable;
        let cipher: Box<dyn BlockCipher> = match self {
            Algorithm::Des => Box::new(legacy::Des::new(key).map_err(wrong)?),
            Algorithm::Cast => Box::new(legacy::Cast::new(key).map_err(wrong)?),
            Algorithm::Blowfish => Box::new(legacy::Blowfish::new(key).map_err(wrong)?),
            Algorithm::Aes | Algorithm::TripleDes => return Err(Unavailable),
        };
        let mut iv = Block::try_from(iv).map_err(|_| Unavailable)?;
        let chunks = text.chunks_exact(legacy::BLOCK_LEN);
        let mut blocks: Zeroizing<Vec<Block>> =
            Zeroizing::new(chunks.filter_map(|chunk| chunk.try_into().ok()).collect());
        run(cipher.as_ref(), &mut iv, &mut blocks);
        for (to, from) in text.chunks_exact_mut(legacy::BLOCK_LEN).zip(blocks.iter()) {
            to.copy_from_slice(from);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let octet = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
        (0..hex.len() / 2).map(octet).collect()
    }

    fn there_and_back(algorithm: Algorithm, key: &str, iv: &str, plain: &str, wanted: &str) {
        let key = octets(key);
        let (mut there, mut back) = (octets(iv), octets(iv));
        let mut text = octets(plain);
        algorithm
            .encrypt(&key, &mut there, &mut text)
            .expect("encrypted");
        assert_eq!(text, octets(wanted), "{algorithm:?}");
        algorithm
            .decrypt(&key, &mut back, &mut text)
            .expect("decrypted");
        assert_eq!(text, octets(plain), "{algorithm:?}");
        assert_eq!(there, back);
        assert_eq!(there, text_end(&octets(wanted), algorithm.block_len()));
    }

    fn text_end(text: &[u8], len: usize) -> Vec<u8> {
        text[text.len() - len..].to_vec()
    }

    /// NIST SP 800-38A, F.2.3 and F.2.5; SP 800-67's example made a chain with OpenSSL; Eric Young's Blowfish
    /// and DES chains.
    #[test]
    fn published() {
        let plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
        let iv = "000102030405060708090a0b0c0d0e0f";
        there_and_back(
            Algorithm::Aes,
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            iv,
            plain,
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
        );
        there_and_back(
            Algorithm::Aes,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            iv,
            plain,
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
        );
        // "7654321 Now is the time for \0\0\0\0".
        let young = "37363534333231204e6f77206973207468652074696d6520666f722000000000";
        there_and_back(
            Algorithm::TripleDes,
            "0123456789abcdeff1e0d3c2b5a49786fedcba9876543210",
            "fedcba9876543210",
            young,
            "3fe301c962ac01d02213763c1cbd4cdc799657c064ecf5d41c673812cfde9675",
        );
        #[cfg(feature = "legacy-ipsec")]
        {
            there_and_back(
                Algorithm::Des,
                "0123456789abcdef",
                "fedcba9876543210",
                young,
                "ccd173ffab2039f4acd8aefddfd8a1eb468e91157888ba681d269397f7fe62b4",
            );
            there_and_back(
                Algorithm::Blowfish,
                "0123456789abcdeff0e1d2c3b4a59687",
                "fedcba9876543210",
                young,
                "6b77b4d63006dee605b156e27403979358deb9e7154616d959f1652bd5ff92cc",
            );
        }
    }

    #[test]
    #[cfg(feature = "legacy-ipsec")]
    fn cast_chains_as_cbc_does() {
        let (key, mut iv) = ([5; 16], [9; 8]);
        let mut text = [3; 24];
        Algorithm::Cast
            .encrypt(&key, &mut iv, &mut text)
            .expect("encrypted");
        // Block by block over the ECB face.
        let cipher = legacy::Cast::new(&key).expect("a key");
        let mut before = [9; 8];
        for chunk in text.chunks(8) {
            let mut block = before.map(|octet| octet ^ 3);
            cipher.encrypt(&mut block);
            assert_eq!(chunk, block);
            before = block;
        }
        assert_eq!(iv, before);
    }

    #[test]
    fn a_chain_goes_on() {
        let (key, plain) = ([1; 32], [7; 64]);
        let mut whole = plain;
        let mut iv = [2; 16];
        Algorithm::Aes
            .encrypt(&key, &mut iv, &mut whole)
            .expect("encrypted");
        let mut parts = plain;
        let mut chained = [2; 16];
        let (first, second) = parts.split_at_mut(16);
        Algorithm::Aes
            .encrypt(&key, &mut chained, first)
            .expect("encrypted");
        Algorithm::Aes
            .encrypt(&key, &mut chained, second)
            .expect("encrypted");
        assert_eq!((whole, iv), (parts, chained));
        // Nothing leaves the chain where it was.
        Algorithm::Aes
            .decrypt(&key, &mut chained, &mut [])
            .expect("decrypted");
        assert_eq!(iv, chained);
    }

    #[test]
    fn lengths_must_fit() {
        let aes = Algorithm::Aes;
        assert_eq!(
            aes.encrypt(&[0; 15], &mut [0; 16], &mut [0; 16]),
            Err(Unavailable)
        );
        assert_eq!(
            aes.encrypt(&[0; 16], &mut [0; 8], &mut [0; 16]),
            Err(Unavailable)
        );
        assert_eq!(
            aes.decrypt(&[0; 16], &mut [0; 16], &mut [0; 17]),
            Err(Unavailable)
        );
        let triple = Algorithm::TripleDes;
        assert_eq!(
            triple.encrypt(&[0; 16], &mut [0; 8], &mut [0; 8]),
            Err(Unavailable)
        );
    }
}
