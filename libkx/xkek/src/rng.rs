//! Where random octets come from. A trait, so that recorded values can be made again.

pub use kx_crypto::random::Unavailable;

/// A source of random octets fit for keys.
pub trait Rng {
    /// Fills `out`.
    ///
    /// # Errors
    /// [`Unavailable`]; what is in `out` then must not be used.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable>;
}

/// The library's generator for secrets, seeded by the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct System;

impl Rng for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        kx_crypto::random::fill_private(out)
    }
}

impl<R: Rng + ?Sized> Rng for &mut R {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        (**self).fill(out)
    }
}

/// Another source mixed into the first: neither can make the result worse (xkek spec 9: the card's
/// random numbers and the host's).
#[derive(Debug, Clone, Copy)]
pub struct Mixed<A, B>(pub A, pub B);

impl<A: Rng, B: Rng> Rng for Mixed<A, B> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        self.0.fill(out)?;
        let mut other = zeroize::Zeroizing::new(vec![0; out.len()]);
        self.1.fill(&mut other)?;
        for (octet, more) in out.iter_mut().zip(other.iter()) {
            *octet ^= more;
        }
        Ok(())
    }
}
