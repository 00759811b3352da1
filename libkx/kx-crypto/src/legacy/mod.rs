//! Ciphers and digests that nobody should choose today, for protocols that know no others. All are broken or
//! nearly so; what is sealed with them is hidden from the idle, not from an attacker.

mod block;
#[cfg(feature = "legacy-ipsec")]
mod ipsec;
mod rc4;

pub use block::{BLOCK_LEN, Block, BlockCipher, Des, Idea, InvalidKey};
#[cfg(feature = "legacy-ipsec")]
pub use ipsec::{Blowfish, Cast};
pub use rc4::Rc4;

use md4::{Digest, Md4};

/// Octets of an MD4 digest.
pub const MD4_LEN: usize = 16;

/// MD4 (RFC 1320) of the parts one after the other.
#[must_use]
pub fn md4(parts: &[&[u8]]) -> [u8; MD4_LEN] {
    let mut hash = Md4::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
