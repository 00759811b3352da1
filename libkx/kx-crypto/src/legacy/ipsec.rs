//! CAST-128 and Blowfish, which old proposals of IPsec name.

use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::block::{Block, BlockCipher, InvalidKey};

/// CAST-128 (RFC 2144), also called CAST5.
pub struct Cast(cast5::Cast5);

impl Cast {
    /// With a key of 5 to 16 octets.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        cast5::Cast5::new_from_slice(key)
            .map(Self)
            .map_err(|_| InvalidKey)
    }
}

impl BlockCipher for Cast {
    fn encrypt(&self, block: &mut Block) {
        self.0.encrypt_block(block.into());
    }

    fn decrypt(&self, block: &mut Block) {
        self.0.decrypt_block(block.into());
    }
}

/// Blowfish (Schneier, "Description of a New Variable-Length Key, 64-Bit Block Cipher", 1993).
pub struct Blowfish(blowfish::Blowfish);

impl Blowfish {
    /// With a key of 4 to 56 octets.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        blowfish::Blowfish::new_from_slice(key)
            .map(Self)
            .map_err(|_| InvalidKey)
    }
}

impl BlockCipher for Blowfish {
    fn encrypt(&self, block: &mut Block) {
        self.0.encrypt_block(block.into());
    }

    fn decrypt(&self, block: &mut Block) {
        self.0.decrypt_block(block.into());
    }
}

#[cfg(test)]
mod tests {
    use super::{Blowfish, Cast, InvalidKey};
    use crate::legacy::block::tests::there_and_back;

    /// RFC 2144 appendix B.1; Eric Young's set of Blowfish vectors.
    #[test]
    fn published_cast_and_blowfish() {
        let long = 0x0123_4567_1234_5678_2345_6789_3456_789a_u128.to_be_bytes();
        let plain = 0x0123_4567_89ab_cdef;
        for (len, wanted) in [
            (16, 0x238b_4fe5_847e_44b2),
            (10, 0xeb6a_711a_2c02_271b),
            (5, 0x7ac8_16d1_6e9b_302e),
        ] {
            there_and_back(&Cast::new(&long[..len]).unwrap(), plain, wanted);
        }
        assert!(matches!(Cast::new(&[0; 17]), Err(InvalidKey)));
        let zero = Blowfish::new(&[0; 8]).unwrap();
        there_and_back(&zero, 0, 0x4ef9_9745_6198_dd78);
        let other = Blowfish::new(&0x3000_0000_0000_0000_u64.to_be_bytes()).unwrap();
        there_and_back(&other, 0x1000_0000_0000_0001, 0x7d85_6f9a_6130_63f2);
    }
}
