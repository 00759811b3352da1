//! DSA (FIPS 186-4 section 4) over numbers: the digest is not cut to the length of q.

use crate::bignum::{BigNum, Error};
use crate::nonce;

/// A public key.
#[derive(Debug)]
pub struct PublicKey {
    /// The modulus, a prime.
    pub p: BigNum,
    /// The order of alpha, a prime factor of p - 1.
    pub q: BigNum,
    /// The base.
    pub alpha: BigNum,
    /// alpha to the power of the secret.
    pub key: BigNum,
}

/// A signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// alpha to the power of the nonce, mod p, mod q.
    pub r: BigNum,
    /// What answers for the message.
    pub s: BigNum,
}

impl PublicKey {
    /// Whether the signature is one of `message` by the owner of this key.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even or q is zero.
    pub fn verify(&self, message: &BigNum, signature: &Signature) -> Result<bool, Error> {
        let Signature { r, s } = signature;
        if r.is_zero() || *r >= self.q || s.is_zero() || *s >= self.q {
            return Ok(false);
        }
        let Ok(w) = s.mod_inverse(&self.q) else {
            return Ok(false);
        };
        let u1 = message.mod_mul(&w, &self.q)?;
        let u2 = r.mod_mul(&w, &self.q)?;
        let left = self.alpha.mod_exp(&u1, &self.p)?;
        let right = self.key.mod_exp(&u2, &self.p)?;
        Ok(left.mod_mul(&right, &self.p)?.modulo(&self.q)? == *r)
    }

    /// A second copy.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            p: self.p.try_clone()?,
            q: self.q.try_clone()?,
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
    /// The key of these numbers. The secret may be larger than q.
    #[must_use]
    pub fn new(public: PublicKey, secret: BigNum) -> Self {
        let secret = secret.into_secret();
        Self { public, secret }
    }

    /// A new key in the group of another.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even or q is zero.
    pub fn generate_from(group: &PublicKey) -> Result<Self, Error> {
        let secret = BigNum::random_below(&group.q)?;
        let public = PublicKey {
            key: group.alpha.mod_exp(&secret, &group.p)?,
            p: group.p.try_clone()?,
            q: group.q.try_clone()?,
            alpha: group.alpha.try_clone()?,
        };
        Ok(Self { public, secret })
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

    /// Signs a message. The signature is verified before it leaves.
    ///
    /// # Errors
    /// [`Error::Modulus`] when the numbers of the key do not belong together.
    pub fn sign(&self, message: &BigNum) -> Result<Signature, Error> {
        let q = &self.public.q;
        let make = |k: &BigNum| {
            let inverse = k.mod_inverse(q)?;
            let r = self.public.alpha.mod_exp(k, &self.public.p)?.modulo(q)?;
            let sum = self.secret.mod_mul(&r, q)?.mod_add(message, q)?;
            let s = sum.mod_mul(&inverse, q)?;
            Ok((!r.is_zero() && !s.is_zero()).then_some(Signature { r, s }))
        };
        nonce::sign(q, 64, make, |made| self.public.verify(message, made))
    }
}

#[cfg(test)]
mod tests {
    use super::{PrivateKey, PublicKey};
    use crate::bignum::BigNum;

    fn group() -> PublicKey {
        let q = BigNum::generate_prime(64, false).unwrap();
        let p = BigNum::generate_prime_over(256, &q).unwrap();
        // (p - 1) / q by p's inverse: with x = 2 ^ ((p - 1) / q). The quotient is found by long division.
        let (mut quotient, mut rest) = (Vec::new(), BigNum::from_u32(0).unwrap());
        for octet in p.less_one().unwrap().to_bytes() {
            let shifted = rest.times(&BigNum::from_u32(256).unwrap()).unwrap();
            rest = shifted
                .plus(&BigNum::from_u32(octet.into()).unwrap())
                .unwrap();
            let mut digit = 0;
            while rest >= q {
                rest = rest.minus(&q).unwrap();
                digit += 1;
            }
            quotient.push(digit);
        }
        let quotient = BigNum::from_bytes(&quotient).unwrap();
        let alpha = BigNum::from_u32(2).unwrap().mod_exp(&quotient, &p).unwrap();
        let key = BigNum::from_u32(1).unwrap();
        PublicKey { p, q, alpha, key }
    }

    #[test]
    fn signs() {
        let group = group();
        let key = PrivateKey::generate_from(&group).unwrap();
        let stranger = PrivateKey::generate_from(&group).unwrap();
        let message = BigNum::from_bytes(b"longer than q is").unwrap();
        let mut signature = key.sign(&message).unwrap();
        assert!(key.public().verify(&message, &signature).unwrap());
        assert!(!stranger.public().verify(&message, &signature).unwrap());
        let other = BigNum::from_bytes(b"longer than q it").unwrap();
        assert!(!key.public().verify(&other, &signature).unwrap());
        signature.s = signature.s.plus(&group.q).unwrap();
        assert!(!key.public().verify(&message, &signature).unwrap());
        // A secret above q, as Inferno makes them, is the same key.
        let large = key.secret().plus(&group.q).unwrap();
        let same = PrivateKey::new(key.public().try_clone().unwrap(), large);
        let signature = same.sign(&message).unwrap();
        assert!(key.public().verify(&message, &signature).unwrap());
    }

    #[test]
    fn numbers_that_do_not_belong_together() {
        let number = |value: u32| BigNum::from_u32(value).unwrap();
        for (p, q) in [(0, 0), (10, 3), (23, 0), (23, 1), (23, 5)] {
            let public = PublicKey {
                p: number(p),
                q: number(q),
                alpha: number(2),
                key: number(3),
            };
            let message = BigNum::from_bytes(b"some message").unwrap();
            let made = PrivateKey::new(public, number(7)).sign(&message);
            if let Ok(signature) = made {
                let public = PublicKey {
                    p: number(p),
                    q: number(q),
                    alpha: number(2),
                    key: number(3),
                };
                assert!(public.verify(&message, &signature).unwrap());
            }
        }
    }
}
