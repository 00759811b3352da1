//! Signatures of ElGamal ("A Public Key Cryptosystem and a Signature Scheme Based on Discrete Logarithms", 1985).

use crate::bignum::{BigNum, Error};
use crate::nonce;

/// A public key.
#[derive(Debug)]
pub struct PublicKey {
    /// The modulus, a prime.
    pub p: BigNum,
    /// The base.
    pub alpha: BigNum,
    /// alpha to the power of the secret.
    pub key: BigNum,
}

/// A signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// alpha to the power of the nonce.
    pub r: BigNum,
    /// What answers for the message.
    pub s: BigNum,
}

impl PublicKey {
    /// Whether the signature is one of `message` by the owner of this key.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even.
    pub fn verify(&self, message: &BigNum, signature: &Signature) -> Result<bool, Error> {
        let Signature { r, s } = signature;
        // Without the first check anybody can make signatures from one that he has seen (Bleichenbacher 1996).
        // A larger s is equal to one below p - 1, and only costs time.
        if r.is_zero() || *r >= self.p || s.bits() > self.p.bits() {
            return Ok(false);
        }
        let left = self
            .key
            .mod_exp(r, &self.p)?
            .mod_mul(&r.mod_exp(s, &self.p)?, &self.p)?;
        Ok(left == self.alpha.mod_exp(message, &self.p)?)
    }

    /// A second copy.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            p: self.p.try_clone()?,
            alpha: self.alpha.try_clone()?,
            key: self.key.try_clone()?,
        })
    }
}

/// A private key.
#[derive(Debug)]
pub struct PrivateKey {
    public: PublicKey,
    secret: BigNum,
}

impl PrivateKey {
    /// The key of these numbers.
    #[must_use]
    pub fn new(public: PublicKey, secret: BigNum) -> Self {
        let secret = secret.into_secret();
        Self { public, secret }
    }

    /// A new key in the group of another.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even.
    pub fn generate_from(group: &PublicKey) -> Result<Self, Error> {
        let bits = usize::try_from(group.p.bits().saturating_sub(1)).unwrap_or(0);
        let secret = BigNum::random_bits(bits)?;
        let public = PublicKey {
            key: group.alpha.mod_exp(&secret, &group.p)?,
            p: group.p.try_clone()?,
            alpha: group.alpha.try_clone()?,
        };
        Ok(Self { public, secret })
    }

    /// A new key in a new group: p is a safe prime, and alpha generates all numbers below it. That takes long.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn generate(bits: u32) -> Result<Self, Error> {
        let p = BigNum::generate_prime(bits, true)?;
        let (half, one) = (p.half()?, BigNum::from_u32(1)?);
        let alpha = loop {
            let alpha = BigNum::random_below(&p)?;
            let square = alpha.mod_mul(&alpha, &p)?;
            if square > one && alpha.mod_exp(&half, &p)? != one {
                break alpha;
            }
        };
        let key = BigNum::from_u32(1)?;
        Self::generate_from(&PublicKey { p, alpha, key })
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The secret exponent.
    #[must_use]
    pub fn secret(&self) -> &BigNum {
        &self.secret
    }

    /// Signs a message that is below p. The signature is verified before it leaves.
    ///
    /// # Errors
    /// [`Error::Modulus`] when the numbers of the key do not belong together.
    pub fn sign(&self, message: &BigNum) -> Result<Signature, Error> {
        let order = self.public.p.less_one()?;
        let make = |k: &BigNum| {
            // Of the odd numbers nearly all have an inverse when p is a safe prime.
            if !k.is_odd() {
                return Ok(None);
            }
            let signature = self.sign_with(message, k)?;
            Ok((!signature.s.is_zero()).then_some(signature))
        };
        nonce::sign(&order, 512, make, |made| self.public.verify(message, made))
    }

    /// Signs with a nonce that must never come again and that nobody may learn.
    fn sign_with(&self, message: &BigNum, k: &BigNum) -> Result<Signature, Error> {
        let p = &self.public.p;
        let order = p.less_one()?;
        let inverse = k.mod_inverse(&order)?;
        let r = self.public.alpha.mod_exp(k, p)?;
        let masked = self.secret.mod_mul(&r, &order)?;
        let s = message
            .mod_sub(&masked, &order)?
            .mod_mul(&inverse, &order)?;
        Ok(Signature { r, s })
    }
}

#[cfg(test)]
mod tests {
    use super::{PrivateKey, PublicKey, Signature};
    use crate::bignum::BigNum;

    fn number(value: u32) -> BigNum {
        BigNum::from_u32(value).unwrap()
    }

    /// The example of the Handbook of Applied Cryptography, 11.65.
    #[test]
    fn handbook() {
        let public = PublicKey {
            p: number(2357),
            alpha: number(2),
            key: number(1185),
        };
        let key = PrivateKey::new(public, number(1751));
        let signature = key.sign_with(&number(1463), &number(1529)).unwrap();
        let (r, s) = (number(1490), number(1777));
        assert_eq!(signature, Signature { r, s });
        assert!(key.public().verify(&number(1463), &signature).unwrap());
    }

    #[test]
    fn signs() {
        let signer = PrivateKey::generate(128).unwrap();
        let key = PrivateKey::generate_from(signer.public()).unwrap();
        assert_eq!(key.public().p, signer.public().p);
        assert_ne!(key.public().key, signer.public().key);
        for message in 0..32 {
            let message = number(message);
            let mut signature = key.sign(&message).unwrap();
            assert!(key.public().verify(&message, &signature).unwrap());
            assert!(!signer.public().verify(&message, &signature).unwrap());
            let other = message.plus(&number(1)).unwrap();
            assert!(!key.public().verify(&other, &signature).unwrap());
            // r + p is the same number mod p, and refused.
            signature.r = signature.r.plus(&key.public().p).unwrap();
            assert!(!key.public().verify(&message, &signature).unwrap());
            signature.r = number(0);
            assert!(!key.public().verify(&message, &signature).unwrap());
        }
    }

    #[test]
    fn numbers_that_do_not_belong_together() {
        let key = PrivateKey::generate(64).unwrap();
        let secret = key.secret().plus(&number(1)).unwrap();
        let broken = PrivateKey::new(key.public().try_clone().unwrap(), secret);
        assert!(broken.sign(&number(5)).is_err());
        for p in [0, 1, 2, 10] {
            let public = PublicKey {
                p: number(p),
                alpha: number(3),
                key: number(3),
            };
            assert!(PrivateKey::new(public, number(3)).sign(&number(5)).is_err());
        }
    }
}
