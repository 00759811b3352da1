//! Key-encryption keys: the value that a key domain wraps under, its check value, the two keys that
//! are made of it (xkek spec 6 and 7), and how it comes from a shared point (spec 8 and 14).

use std::fmt;
use std::str::FromStr;

use kx_secret::SecretBytes;

use crate::crypto::sha256;
use crate::key::{EcPrivate, EcPublic, Error};

/// Octets of a key-encryption key, and of a DKEK share.
pub const LEN: usize = 32;

/// Key check value: the first octets of SHA-256 of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kcv(pub [u8; 8]);

impl fmt::Display for Kcv {
    /// Sixteen upper-case digits, as sc-hsm-tool prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for Kcv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kcv({self})")
    }
}

/// A key-encryption key, or one share of a DKEK: both are 32 octets, and shares are added (xor).
#[derive(Debug)]
pub struct Kek(SecretBytes);

impl Kek {
    /// Takes the octets.
    #[must_use]
    pub fn from_bytes(octets: &[u8; LEN]) -> Self {
        let mut key = SecretBytes::with_capacity(LEN);
        key.extend_from_slice(octets);
        Self(key)
    }

    /// The sum of no shares.
    #[must_use]
    pub fn zero() -> Self {
        Self(SecretBytes::zeroed(LEN))
    }

    /// A random one.
    ///
    /// # Errors
    /// If there are no random octets.
    pub fn generate(rng: &mut impl crate::rng::Rng) -> Result<Self, crate::rng::Unavailable> {
        let mut key = SecretBytes::zeroed(LEN);
        rng.fill(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// Adds a share. Adding it again takes it away.
    pub fn add(&mut self, share: &Kek) {
        for (octet, more) in self.0.as_mut_slice().iter_mut().zip(share.as_slice()) {
            *octet ^= more;
        }
    }

    /// The octets; always [`LEN`].
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The same key once more.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut copy = Self::zero();
        copy.add(self);
        copy
    }

    /// Compares in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Kek) -> bool {
        self.0.ct_eq(other.as_slice())
    }

    /// The key check value.
    #[must_use]
    pub fn kcv(&self) -> Kcv {
        let digest = sha256(&[self.as_slice()]);
        Kcv(*digest.first_chunk().unwrap_or(&[0; 8]))
    }

    /// The key that encrypts blobs.
    #[must_use]
    pub fn encryption_key(&self) -> SecretBytes {
        self.derived(1)
    }

    /// The key that authenticates blobs.
    #[must_use]
    pub fn mac_key(&self) -> SecretBytes {
        self.derived(2)
    }

    fn derived(&self, counter: u32) -> SecretBytes {
        let digest = zeroize::Zeroizing::new(sha256(&[self.as_slice(), &counter.to_be_bytes()]));
        let mut key = SecretBytes::with_capacity(LEN);
        key.extend_from_slice(&*digest);
        key
    }
}

/// How the key comes from the shared point of an exchange. What the real device does is not public
/// (xkek spec 14); hosts never compute it for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kdf {
    /// The first coordinate as it is, or its first 32 octets: what the software card pico-hsm does.
    #[default]
    RawX,
    /// ANSI X9.63 with SHA-256 and no shared information: SHA-256(x ‖ 00000001).
    X963Sha256,
    /// SHA-256(x).
    Sha256X,
}

impl Kdf {
    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RawX => "raw-x",
            Self::X963Sha256 => "x963-sha256",
            Self::Sha256X => "sha256-x",
        }
    }

    /// The key from the first coordinate. A coordinate shorter than the key is filled with zeros in
    /// front (only curves under 256 bits, which no group has).
    #[must_use]
    pub fn derive(self, x: &[u8]) -> Kek {
        let mut key = SecretBytes::with_capacity(LEN);
        match self {
            Self::RawX => {
                let zeros = LEN.saturating_sub(x.len());
                key.extend_from_slice([0; LEN].get(..zeros).unwrap_or_default());
                key.extend_from_slice(x.get(..LEN).unwrap_or(x));
            }
            Self::X963Sha256 => {
                let digest = zeroize::Zeroizing::new(sha256(&[x, &1u32.to_be_bytes()]));
                key.extend_from_slice(&*digest);
            }
            Self::Sha256X => {
                let digest = zeroize::Zeroizing::new(sha256(&[x]));
                key.extend_from_slice(&*digest);
            }
        }
        Kek(key)
    }

    /// The key that two exchange keys agree on. Whether the peer may be trusted is for the caller to
    /// have checked ([`crate::exchange`]).
    ///
    /// # Errors
    /// [`Error::Mismatch`] for keys on two curves.
    pub fn agree(self, own: &EcPrivate, peer: &EcPublic) -> Result<Kek, Error> {
        let point = own.agree(peer)?;
        let x = point.as_slice().get(..own.curve().len());
        Ok(self.derive(x.unwrap_or_default()))
    }
}

impl FromStr for Kdf {
    type Err = UnknownKdf;

    fn from_str(name: &str) -> Result<Self, UnknownKdf> {
        [Self::RawX, Self::X963Sha256, Self::Sha256X]
            .into_iter()
            .find(|kdf| kdf.name() == name)
            .ok_or(UnknownKdf)
    }
}

/// No derivation of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown key derivation (raw-x, x963-sha256, sha256-x)")]
pub struct UnknownKdf;
