//! This end's part of the Diffie-Hellman exchange.

use kx_crypto::bignum::{BigNum, Error};
use kx_crypto::dh::{Exponent, Group};
use kx_secret::SecretBytes;

/// A secret exponent, or what stands for one in a replay.
pub trait Exchange: Send {
    /// What the peer gets.
    ///
    /// # Errors
    ///
    /// Of the arithmetic.
    fn exponential(&mut self, group: &Group) -> Result<BigNum, Error>;

    /// The secret shared with the peer that sent `his`.
    ///
    /// # Errors
    ///
    /// Of the arithmetic; also when [`exponential`](Self::exponential) was not called before.
    fn agree(&mut self, group: &Group, his: &BigNum) -> Result<SecretBytes, Error>;
}

/// An exponent that is drawn when it is first needed, and forgotten when it has been used.
#[derive(Default)]
pub struct Fresh(Option<Exponent>);

impl Exchange for Fresh {
    fn exponential(&mut self, group: &Group) -> Result<BigNum, Error> {
        let exponent = self.0.insert(Exponent::generate(group)?);
        exponent.exponential(group)
    }

    fn agree(&mut self, group: &Group, his: &BigNum) -> Result<SecretBytes, Error> {
        self.0.take().ok_or(Error::Library)?.agree(group, his)
    }
}

/// A given exponent.
impl Exchange for Exponent {
    fn exponential(&mut self, group: &Group) -> Result<BigNum, Error> {
        Exponent::exponential(self, group)
    }

    fn agree(&mut self, group: &Group, his: &BigNum) -> Result<SecretBytes, Error> {
        Exponent::agree(self, group, his)
    }
}
