//! Signatures that need a number that must never come again and that nobody may learn.

use crate::bignum::{BigNum, Error};

/// Draws nonces below `order` until `make` has a signature with one; `tries` at most. It leaves only if
/// `verify` takes it: a key whose numbers do not belong together would tell something of itself.
///
/// `make` gives `None`, or [`Error::NotInvertible`], for a nonce that is of no use.
///
/// # Errors
/// [`Error::Modulus`] if the signature is wrong, [`Error::NotInvertible`] if no nonce was of use, and what
/// `make` and `verify` say.
pub(crate) fn sign<S>(
    order: &BigNum,
    tries: u32,
    make: impl Fn(&BigNum) -> Result<Option<S>, Error>,
    verify: impl Fn(&S) -> Result<bool, Error>,
) -> Result<S, Error> {
    for _ in 0..tries {
        let signature = match make(&BigNum::random_below(order)?) {
            Ok(None) | Err(Error::NotInvertible) => continue,
            made => made?,
        };
        match signature {
            Some(signature) if verify(&signature)? => return Ok(signature),
            _ => return Err(Error::Modulus),
        }
    }
    Err(Error::NotInvertible)
}
