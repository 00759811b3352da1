//! DES and IDEA, and the modes ECB and CBC.

use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// Octets of a block of either cipher.
pub const BLOCK_LEN: usize = 8;

/// One block.
pub type Block = [u8; BLOCK_LEN];

/// The key has not the length of the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key of the wrong length")]
pub struct InvalidKey;

/// What the modes need of a cipher.
pub trait BlockCipher {
    /// Encrypts one block in place.
    fn encrypt(&self, block: &mut Block);

    /// Decrypts one block in place.
    fn decrypt(&self, block: &mut Block);

    /// Encrypts each block for itself.
    fn ecb_encrypt(&self, blocks: &mut [Block]) {
        for block in blocks {
            self.encrypt(block);
        }
    }

    /// Decrypts each block for itself.
    fn ecb_decrypt(&self, blocks: &mut [Block]) {
        for block in blocks {
            self.decrypt(block);
        }
    }

    /// Encrypts a chain of blocks. `iv` is what the first is mixed with; afterwards it is what the next call
    /// must be given to go on with the chain.
    fn cbc_encrypt(&self, iv: &mut Block, blocks: &mut [Block]) {
        for block in blocks {
            mix(block, iv);
            self.encrypt(block);
            *iv = *block;
        }
    }

    /// Decrypts a chain of blocks; `iv` as with [`cbc_encrypt`](Self::cbc_encrypt).
    fn cbc_decrypt(&self, iv: &mut Block, blocks: &mut [Block]) {
        for block in blocks {
            let next = *block;
            self.decrypt(block);
            mix(block, iv);
            *iv = next;
        }
    }
}

fn mix(block: &mut Block, with: &Block) {
    for (octet, other) in block.iter_mut().zip(with) {
        *octet ^= other;
    }
}

/// DES (FIPS 46-3). The parity bits of the key do not matter.
pub struct Des(des::Des);

impl Des {
    /// With a key of 8 octets.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        des::Des::new_from_slice(key)
            .map(Self)
            .map_err(|_| InvalidKey)
    }
}

impl BlockCipher for Des {
    fn encrypt(&self, block: &mut Block) {
        self.0.encrypt_block(block.into());
    }

    fn decrypt(&self, block: &mut Block) {
        self.0.decrypt_block(block.into());
    }
}

/// IDEA (Lai, "On the Design and Security of Block Ciphers", 1992).
pub struct Idea(idea::Idea);

impl Idea {
    /// With a key of 16 octets.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        idea::Idea::new_from_slice(key)
            .map(Self)
            .map_err(|_| InvalidKey)
    }
}

impl BlockCipher for Idea {
    fn encrypt(&self, block: &mut Block) {
        self.0.encrypt_block(block.into());
    }

    fn decrypt(&self, block: &mut Block) {
        self.0.decrypt_block(block.into());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Block, BlockCipher, Des, Idea, InvalidKey};

    fn block(value: u64) -> Block {
        value.to_be_bytes()
    }

    fn key(value: u128) -> [u8; 16] {
        value.to_be_bytes()
    }

    pub(in crate::legacy) fn there_and_back(cipher: &impl BlockCipher, plain: u64, wanted: u64) {
        let mut blocks = [block(plain)];
        cipher.ecb_encrypt(&mut blocks);
        assert_eq!(blocks, [block(wanted)]);
        cipher.ecb_decrypt(&mut blocks);
        assert_eq!(blocks, [block(plain)]);
    }

    /// FIPS 81, appendices B and C: "Now is the time for all " in ECB and CBC.
    #[test]
    fn des() {
        let cipher = Des::new(&block(0x0123_4567_89ab_cdef)).unwrap();
        let plain = [*b"Now is t", *b"he time ", *b"for all "];
        let mut text = plain;
        cipher.ecb_encrypt(&mut text);
        let ecb = [
            0x3fa4_0e8a_984d_4815,
            0x6a27_1787_ab88_83f9,
            0x893d_51ec_4b56_3b53,
        ];
        assert_eq!(text, ecb.map(block));
        cipher.ecb_decrypt(&mut text);
        assert_eq!(text, plain);
        let start = block(0x1234_5678_90ab_cdef);
        let mut iv = start;
        let (first, rest) = text.split_at_mut(1);
        cipher.cbc_encrypt(&mut iv, first);
        cipher.cbc_encrypt(&mut iv, rest);
        let cbc = [
            0xe5c7_cdde_872b_f27c,
            0x43e9_3400_8c38_9c0f,
            0x6837_8849_9a7c_05f6,
        ];
        assert_eq!(text, cbc.map(block));
        iv = start;
        cipher.cbc_decrypt(&mut iv, &mut text);
        assert_eq!(text, plain);
        assert_eq!(iv, block(cbc[2]));
        assert_eq!(Des::new(&[0; 7]).err(), Some(InvalidKey));
    }

    /// The example of Lai's thesis, and test vectors of the NESSIE project (set 1, vector 0; set 5, vector 0).
    #[test]
    fn idea() {
        let cases = [
            (
                0x0001_0002_0003_0004_0005_0006_0007_0008,
                0x0000_0001_0002_0003,
                0x11fb_ed2b_0198_6de5,
            ),
            (
                0x8000_0000_0000_0000_0000_0000_0000_0000,
                0,
                0xb1f5_f7f8_7901_370f,
            ),
        ];
        for (with, plain, wanted) in cases {
            there_and_back(&Idea::new(&key(with)).unwrap(), plain, wanted);
        }
        let cipher = Idea::new(&key(7)).unwrap();
        let mut text = [block(1), block(1)];
        let mut iv = block(9);
        cipher.cbc_encrypt(&mut iv, &mut text);
        assert_ne!(text[0], text[1]);
        iv = block(9);
        cipher.cbc_decrypt(&mut iv, &mut text);
        assert_eq!(text, [block(1), block(1)]);
        assert_eq!(Idea::new(&[0; 8]).err(), Some(InvalidKey));
    }
}
