//! RSA without any padding, as protocols use it that sign a bare digest. Everybody else wants a padding.

use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};

use crate::bignum::{BigNum, Error};
use crate::secret::SecretBytes;

/// A public key.
#[derive(Debug)]
pub struct PublicKey {
    /// The modulus.
    pub n: BigNum,
    /// The public exponent.
    pub e: BigNum,
}

impl PublicKey {
    /// `value ^ e mod n`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when n is even.
    pub fn apply(&self, value: &BigNum) -> Result<BigNum, Error> {
        value.mod_exp(&self.e, &self.n)
    }

    /// A second copy.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            n: self.n.try_clone()?,
            e: self.e.try_clone()?,
        })
    }
}

/// The numbers of a private key (RFC 8017 section 3.2, with the coefficient of the other prime).
#[derive(Debug)]
pub struct Factors {
    /// The private exponent.
    pub d: BigNum,
    /// A prime factor of n.
    pub p: BigNum,
    /// The other.
    pub q: BigNum,
    /// d mod (p - 1).
    pub d_p: BigNum,
    /// d mod (q - 1).
    pub d_q: BigNum,
    /// The inverse of **p** mod **q**.
    pub p_inverse: BigNum,
}

/// The shortest modulus that the library makes.
const LIBRARY_BITS: u32 = 512;

/// A private key, ready for use.
pub struct PrivateKey {
    public: PublicKey,
    factors: Factors,
    rsa: Rsa<Private>,
}

impl PrivateKey {
    /// A key of these numbers. Whether they belong together shows when it signs.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn new(public: PublicKey, factors: Factors) -> Result<Self, Error> {
        // The library has the inverse of its q mod its p, so that the factors change places.
        let rsa = Rsa::from_private_components(
            public.n.library_copy()?,
            public.e.library_copy()?,
            factors.d.library_copy()?,
            factors.q.library_copy()?,
            factors.p.library_copy()?,
            factors.d_q.library_copy()?,
            factors.d_p.library_copy()?,
            factors.p_inverse.library_copy()?,
        )?;
        Ok(Self {
            public,
            factors,
            rsa,
        })
    }

    /// A new key with a modulus of `bits` bits, 32 at least; those below 512 protect nothing.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn generate(bits: u32, e: u32) -> Result<Self, Error> {
        if bits < LIBRARY_BITS {
            return Self::generate_small(bits, e);
        }
        let e = BigNum::from_u32(e)?;
        let rsa = Rsa::generate_with_e(bits, &*e.library_copy()?)?;
        let part = |number: Option<&openssl::bn::BigNumRef>| -> Result<BigNum, Error> {
            let number = number.ok_or(Error::Library)?.to_owned()?;
            Ok(BigNum::from_library(number).into_secret())
        };
        let factors = Factors {
            d: part(Some(rsa.d()))?,
            p: part(rsa.q())?,
            q: part(rsa.p())?,
            d_p: part(rsa.dmq1())?,
            d_q: part(rsa.dmp1())?,
            p_inverse: part(rsa.iqmp())?,
        };
        let n = BigNum::from_library(rsa.n().to_owned()?);
        let public = PublicKey { n, e };
        Ok(Self {
            public,
            factors,
            rsa,
        })
    }

    /// What the library does not make.
    fn generate_small(bits: u32, e: u32) -> Result<Self, Error> {
        if bits < 32 {
            return Err(Error::Library);
        }
        let e = BigNum::from_u32(e)?;
        for _ in 0..1000 {
            let p = BigNum::generate_prime(bits - bits / 2, false)?.into_secret();
            let q = BigNum::generate_prime(bits / 2, false)?.into_secret();
            let n = p.times(&q)?;
            let (p_less, q_less) = (p.less_one()?, q.less_one()?);
            let order = p_less.times(&q_less)?;
            // Equal primes, or an exponent without inverse: others.
            let (Ok(d), Ok(p_inverse)) = (e.mod_inverse(&order), p.mod_inverse(&q)) else {
                continue;
            };
            if n.bits() != bits {
                continue;
            }
            let factors = Factors {
                d_p: d.modulo(&p_less)?.into_secret(),
                d_q: d.modulo(&q_less)?.into_secret(),
                d: d.into_secret(),
                p_inverse: p_inverse.into_secret(),
                p,
                q,
            };
            return Self::new(PublicKey { n, e }, factors);
        }
        Err(Error::Library)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private numbers.
    #[must_use]
    pub fn factors(&self) -> &Factors {
        &self.factors
    }

    /// `value ^ d mod n`, with the Chinese remainders and blinded. It is undone with the public exponent before
    /// it leaves: a computer that errs in one of the remainders would give away the factors (Boneh, DeMillo,
    /// Lipton 1997).
    ///
    /// # Errors
    /// [`Error::Modulus`] when the value is not below n or the numbers of the key do not belong together.
    pub fn apply(&self, value: &BigNum) -> Result<BigNum, Error> {
        if *value >= self.public.n {
            return Err(Error::Modulus);
        }
        let len = usize::try_from(self.rsa.size()).map_err(|_| Error::Library)?;
        let given = value.to_bytes();
        let mut padded = SecretBytes::zeroed(len);
        for (to, from) in padded
            .as_mut_slice()
            .iter_mut()
            .rev()
            .zip(given.iter().rev())
        {
            *to = *from;
        }
        let mut power = vec![0; len];
        self.rsa
            .private_encrypt(padded.as_slice(), &mut power, Padding::NONE)
            .map_err(|_| Error::Modulus)?;
        let power = BigNum::from_bytes(&power)?;
        if self.public.apply(&power)? != *value {
            return Err(Error::Modulus);
        }
        Ok(power)
    }
}

#[cfg(test)]
mod tests {
    use super::{Factors, PrivateKey, PublicKey};
    use crate::bignum::{BigNum, Error};

    fn copy(factors: &Factors) -> Factors {
        let copy = |number: &BigNum| number.try_clone().unwrap();
        Factors {
            d: copy(&factors.d),
            p: copy(&factors.p),
            q: copy(&factors.q),
            d_p: copy(&factors.d_p),
            d_q: copy(&factors.d_q),
            p_inverse: copy(&factors.p_inverse),
        }
    }

    #[test]
    fn signs() {
        for bits in [512, 521, 1024, 1025] {
            let key = PrivateKey::generate(bits, 65537).unwrap();
            assert_eq!(key.public().n.bits(), bits);
            let value = BigNum::from_bytes(b"twenty octets, SHA-1").unwrap();
            let power = key.apply(&value).unwrap();
            assert_eq!(key.public().apply(&power), Ok(value.try_clone().unwrap()));
            let plain = value.mod_exp(&key.factors().d, &key.public().n);
            assert_eq!(plain, Ok(power));
            let f = key.factors();
            assert_eq!(f.p.mod_inverse(&f.q).as_ref(), Ok(&f.p_inverse));
            assert_eq!(f.p.times(&f.q).as_ref(), Ok(&key.public().n));
            let top = f.p.less_one().unwrap();
            assert_eq!(f.d.modulo(&top).as_ref(), Ok(&f.d_p));
        }
        // Shorter than what the library makes, and shorter than anything.
        let small = PrivateKey::generate(33, 3).unwrap();
        assert_eq!(small.public().n.bits(), 33);
        let message = BigNum::from_u32(4711).unwrap();
        let signature = small.apply(&message).unwrap();
        assert_eq!(small.public().apply(&signature).unwrap(), message);
        assert!(PrivateKey::generate(31, 3).is_err());
    }

    /// Numbers that do not belong together give an error and never a wrong signature.
    #[test]
    fn a_broken_key_signs_nothing_wrong() {
        let key = PrivateKey::generate(512, 65537).unwrap();
        let one = BigNum::from_u32(1).unwrap();
        let value = BigNum::from_u32(99).unwrap();
        type Break = fn(&mut Factors) -> &mut BigNum;
        let breaks: [Break; 6] = [
            |f| &mut f.d,
            |f| &mut f.p,
            |f| &mut f.q,
            |f| &mut f.d_p,
            |f| &mut f.d_q,
            |f| &mut f.p_inverse,
        ];
        for part in breaks {
            for nil in [false, true] {
                let mut factors = copy(key.factors());
                let number = part(&mut factors);
                *number = if nil {
                    BigNum::from_u32(0).unwrap()
                } else {
                    number.plus(&one).unwrap()
                };
                let public = key.public().try_clone().unwrap();
                let Ok(broken) = PrivateKey::new(public, factors) else {
                    continue;
                };
                if let Ok(power) = broken.apply(&value) {
                    assert_eq!(key.public().apply(&power), Ok(value.try_clone().unwrap()));
                }
            }
        }
        // The library mends a wrong remainder with d, but not when that is wrong too.
        let mut factors = copy(key.factors());
        factors.d = factors.d.plus(&one).unwrap();
        factors.d_p = factors.d_p.plus(&one).unwrap();
        let broken = PrivateKey::new(key.public().try_clone().unwrap(), factors).unwrap();
        assert_eq!(broken.apply(&value), Err(Error::Modulus));
        let public = PublicKey {
            n: BigNum::from_u32(0).unwrap(),
            e: BigNum::from_u32(0).unwrap(),
        };
        if let Ok(broken) = PrivateKey::new(public, copy(key.factors())) {
            assert_eq!(broken.apply(&value).err(), Some(Error::Modulus));
        }
        assert_eq!(key.apply(&key.public().n), Err(Error::Modulus));
    }
}
