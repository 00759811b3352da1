//! What keys and certificates must have at least (keysrv spec 18), and what deserves a warning.

use crate::certificate::Certificate;
use crate::key::{PublicKey, PublicNumbers};

/// Below this many bits a modulus is warned about.
const WARN_BITS: u32 = 1024;

/// Bits of the smallest usual public exponent, 65537.
const EXPONENT_BITS: u32 = 17;

/// The floor: what lies below is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Bits that a modulus must have: `--min-bits`.
    pub min_bits: u32,
    /// Whether certificates over MD5 and MD4 count: `--allow-weak-cert`.
    pub allow_weak_certificate: bool,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            min_bits: 512,
            allow_weak_certificate: false,
        }
    }
}

/// What is below the floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BelowFloor {
    /// A key that is too short.
    #[error("key of {bits} bits is too short (need {least})")]
    Bits {
        /// Those of its modulus.
        bits: u32,
        /// Those of the floor.
        least: u32,
    },
    /// A digest that is broken.
    #[error("certificate over {hash} refused")]
    Hash {
        /// Its name.
        hash: String,
    },
}

/// What should be said once about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The modulus can be factored, or the logarithm found, with money.
    #[error("weak key: modulus of {bits} bits")]
    Bits {
        /// Those it has.
        bits: u32,
    },
    /// Signatures without padding are forged easily with a small exponent.
    #[error("weak key: public exponent below 65537")]
    Exponent,
    /// The original cannot verify what such a key signs.
    #[error("dsa key: Inferno cannot verify its signatures")]
    Dsa,
}

impl Floor {
    /// Judges a key.
    ///
    /// # Errors
    /// [`BelowFloor::Bits`].
    pub fn check_key(&self, key: &PublicKey) -> Result<Vec<Warning>, BelowFloor> {
        let bits = key.bits();
        if bits < self.min_bits {
            let least = self.min_bits;
            return Err(BelowFloor::Bits { bits, least });
        }
        let mut warnings = Vec::new();
        if bits < WARN_BITS {
            warnings.push(Warning::Bits { bits });
        }
        match key.numbers() {
            PublicNumbers::Rsa(rsa) if rsa.e.bits() < EXPONENT_BITS => {
                warnings.push(Warning::Exponent);
            }
            PublicNumbers::Dsa(_) => warnings.push(Warning::Dsa),
            PublicNumbers::Rsa(_) | PublicNumbers::Elgamal(_) => {}
        }
        Ok(warnings)
    }

    /// Judges a certificate by its digest.
    ///
    /// # Errors
    /// [`BelowFloor::Hash`].
    pub fn check_certificate(&self, certificate: &Certificate) -> Result<(), BelowFloor> {
        let hash = certificate.hash();
        if hash.is_weak() && !self.allow_weak_certificate {
            let hash = hash.name().to_owned();
            return Err(BelowFloor::Hash { hash });
        }
        Ok(())
    }
}
