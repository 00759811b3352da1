//! One face for the cryptographic back end of kx: octets that are wiped, signature
//! verification, key exchange, key derivation and authenticated encryption.
//!
//! It is a thin layer over the `openssl` crate and builds with the system's OpenSSL 3 or, with the
//! feature `aws-lc`, with AWS-LC. It holds no policy: which algorithms are good enough is decided
//! by the caller.
//!
//! ```
//! use kx_crypto::secret::SecretBytes;
//!
//! let key = SecretBytes::from(vec![1, 2, 3]);
//! assert!(key.ct_eq(&[1, 2, 3]));
//! assert_eq!(format!("{key:?}"), "SecretBytes(3 octets)");
//! ```
#![forbid(unsafe_code)]

pub mod aead;
pub mod alert;
pub mod bignum;
pub mod cbc;
pub mod curve;
pub mod dh;
pub mod digest;
pub mod dsa;
pub mod ecdh;
pub mod elgamal;
mod fetched;
#[cfg(feature = "fixed-base")]
mod fixed_base;
pub mod hkdf;
pub mod key_exchange_group;
#[cfg(feature = "legacy")]
pub mod legacy;
mod nonce;
pub mod prf;
pub mod private_key;
/// Octets that must not outlive their use.
pub use kx_secret as secret;
pub mod random;
pub mod rsa;
pub mod rsa_block_type_1;
pub mod signature;
