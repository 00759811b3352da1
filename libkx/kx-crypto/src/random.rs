//! Random octets from the library's generators, which the operating system seeds.

use openssl::rand;

/// The generator failed. Nothing may be done with what was in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random numbers")]
pub struct Unavailable;

/// Fills `out` with octets that may be shown to others, such as nonces.
///
/// # Errors
/// [`Unavailable`].
pub fn fill(out: &mut [u8]) -> Result<(), Unavailable> {
    rand::rand_bytes(out).map_err(|_| Unavailable)
}

/// Fills `out` from the generator that is kept apart for secrets.
///
/// # Errors
/// [`Unavailable`].
pub fn fill_private(out: &mut [u8]) -> Result<(), Unavailable> {
    // AWS-LC has one generator for both.
    #[cfg(not(feature = "aws-lc"))]
    let filled = rand::rand_priv_bytes(out);
    #[cfg(feature = "aws-lc")]
    let filled = rand::rand_bytes(out);
    filled.map_err(|_| Unavailable)
}
