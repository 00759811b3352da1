//! Unsigned numbers of any size, for protocols that name theirs one by one.
//!
//! Each is overwritten before it is freed. What is computed with a *secret* number
//! ([`secret_from_bytes`](BigNum::secret_from_bytes)) as exponent or as the number to invert takes a time that
//! does not depend on its value (with AWS-LC the exponentiation does not promise that).

use std::cmp::Ordering;
use std::fmt;

use openssl::bn::{self, BigNumContext};
use openssl::error::ErrorStack;

use crate::random;
use crate::secret::SecretBytes;

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The modulus is zero, or even where only an odd one serves.
    #[error("unsuitable modulus")]
    Modulus,
    /// The number has no inverse for this modulus.
    #[error("not invertible")]
    NotInvertible,
    /// The first number is less than what should be taken from it.
    #[error("negative difference")]
    Negative,
    /// The cryptographic library failed: no memory, no random numbers, a number beyond its limits.
    #[error("cryptographic library failed")]
    Library,
}

impl From<ErrorStack> for Error {
    fn from(_: ErrorStack) -> Self {
        Error::Library
    }
}

impl From<random::Unavailable> for Error {
    fn from(_: random::Unavailable) -> Self {
        Error::Library
    }
}

/// A number that is zero or more. Comparing takes a time that depends on the values.
pub struct BigNum(bn::BigNum);

impl Drop for BigNum {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl fmt::Debug for BigNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BigNum({} bits)", self.bits())
    }
}

impl PartialEq for BigNum {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for BigNum {}

impl PartialOrd for BigNum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BigNum {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.ucmp(&other.0)
    }
}

impl BigNum {
    /// The number whose big-endian octets are given; leading zeros may stand there, and no octet is zero.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn from_bytes(octets: &[u8]) -> Result<Self, Error> {
        Ok(Self(bn::BigNum::from_slice(octets)?))
    }

    /// As [`from_bytes`](Self::from_bytes), for a number that nobody else may learn.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn secret_from_bytes(octets: &[u8]) -> Result<Self, Error> {
        Ok(Self::from_bytes(octets)?.into_secret())
    }

    /// The same number, treated as a secret from now on.
    #[must_use]
    #[cfg_attr(feature = "aws-lc", allow(unused_mut))]
    pub fn into_secret(mut self) -> Self {
        #[cfg(not(feature = "aws-lc"))]
        self.0.set_const_time();
        self
    }

    /// A small number.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn from_u32(value: u32) -> Result<Self, Error> {
        Ok(Self(bn::BigNum::from_u32(value)?))
    }

    /// A second copy; of a secret, a secret.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        let copy = Self(self.0.to_owned()?);
        // The library does not copy the mark.
        #[cfg(not(feature = "aws-lc"))]
        if self.0.is_const_time() {
            return Ok(copy.into_secret());
        }
        Ok(copy)
    }

    /// A secret random number below 2^`bits`, from the generator for secrets.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn random_bits(bits: usize) -> Result<Self, Error> {
        let mut octets = SecretBytes::zeroed(bits.div_ceil(8));
        random::fill_private(octets.as_mut_slice())?;
        if let (Some(top), spare @ 1..) = (octets.as_mut_slice().first_mut(), bits % 8) {
            *top &= (1 << spare) - 1;
        }
        Self::secret_from_bytes(octets.as_slice())
    }

    /// A secret random number below `limit`. 64 bits more than it has are drawn, so that no number is likelier than
    /// another: nonces that are not even give a key away, given enough signatures.
    ///
    /// # Errors
    /// [`Error::Modulus`] when the limit is zero.
    pub fn random_below(limit: &BigNum) -> Result<Self, Error> {
        let bits = usize::try_from(limit.bits()).map_err(|_| Error::Library)?;
        let drawn = Self::random_bits(bits.saturating_add(64))?;
        Ok(drawn.modulo(limit)?.into_secret())
    }

    /// A random prime of exactly `bits` bits. A safe one is 2q + 1 with q prime, and takes long: seconds for 512
    /// bits, minutes for 2048.
    ///
    /// # Errors
    /// [`Error::Library`], also for a size that has no such prime.
    pub fn generate_prime(bits: u32, safe: bool) -> Result<Self, Error> {
        let bits = i32::try_from(bits).map_err(|_| Error::Library)?;
        let mut prime = bn::BigNum::new()?;
        prime.generate_prime(bits, safe, None, None)?;
        Ok(Self(prime))
    }

    /// A random prime of exactly `bits` bits that is one more than a multiple of `2 * factor`.
    ///
    /// # Errors
    /// [`Error::Library`], also for a size that has no such prime.
    pub fn generate_prime_over(bits: u32, factor: &BigNum) -> Result<Self, Error> {
        let bits = i32::try_from(bits).map_err(|_| Error::Library)?;
        let (mut prime, mut step) = (bn::BigNum::new()?, bn::BigNum::new()?);
        step.lshift1(&factor.0)?;
        let one = bn::BigNum::from_u32(1)?;
        prime.generate_prime(bits, false, Some(&step), Some(&one))?;
        Ok(Self(prime))
    }

    /// The prime of the 2048-bit MODP group (RFC 3526 section 3, group 14); its generator is 2.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn modp_2048() -> Result<Self, Error> {
        Ok(Self(bn::BigNum::get_rfc3526_prime_2048()?))
    }

    /// The big-endian octets without leading zeros; zero is one octet.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let octets = self.0.to_vec();
        if octets.is_empty() { vec![0] } else { octets }
    }

    /// As [`to_bytes`](Self::to_bytes), for a secret.
    #[must_use]
    pub fn to_secret_bytes(&self) -> SecretBytes {
        SecretBytes::from(self.to_bytes())
    }

    /// How many bits it has: 0 for zero.
    #[must_use]
    pub fn bits(&self) -> u32 {
        u32::try_from(self.0.num_bits()).unwrap_or(0)
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.bits() == 0
    }

    /// Whether it is odd.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        self.0.is_odd()
    }

    /// Whether it is a prime: an error is less likely than 2^-80.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn is_prime(&self) -> Result<bool, Error> {
        Ok(self.0.is_prime(64, &mut *BigNumContext::new()?)?)
    }

    /// `self + other`.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn plus(&self, other: &BigNum) -> Result<Self, Error> {
        let mut sum = bn::BigNum::new()?;
        sum.checked_add(&self.0, &other.0)?;
        Ok(Self(sum))
    }

    /// `self - other`.
    ///
    /// # Errors
    /// [`Error::Negative`].
    pub fn minus(&self, other: &BigNum) -> Result<Self, Error> {
        let mut difference = Self(bn::BigNum::new()?);
        difference.0.checked_sub(&self.0, &other.0)?;
        if difference.0.is_negative() {
            return Err(Error::Negative);
        }
        Ok(difference)
    }

    /// `self - 1`.
    ///
    /// # Errors
    /// [`Error::Negative`].
    pub fn less_one(&self) -> Result<Self, Error> {
        self.minus(&Self::from_u32(1)?)
    }

    /// `self * other`.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn times(&self, other: &BigNum) -> Result<Self, Error> {
        let mut product = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        product.0.checked_mul(&self.0, &other.0, &mut context)?;
        Ok(product)
    }

    /// `self / 2`, rounded down.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn half(&self) -> Result<Self, Error> {
        let mut half = Self(bn::BigNum::new()?);
        half.0.rshift1(&self.0)?;
        Ok(half)
    }

    /// `self mod modulus`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is zero.
    pub fn modulo(&self, modulus: &BigNum) -> Result<Self, Error> {
        if modulus.is_zero() {
            return Err(Error::Modulus);
        }
        let mut rest = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        rest.0.nnmod(&self.0, &modulus.0, &mut context)?;
        Ok(rest)
    }

    /// `self * other mod modulus`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is zero.
    pub fn mod_mul(&self, other: &BigNum, modulus: &BigNum) -> Result<Self, Error> {
        if modulus.is_zero() {
            return Err(Error::Modulus);
        }
        let mut product = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        product
            .0
            .mod_mul(&self.0, &other.0, &modulus.0, &mut context)?;
        Ok(product)
    }

    /// `self + other mod modulus`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is zero.
    pub fn mod_add(&self, other: &BigNum, modulus: &BigNum) -> Result<Self, Error> {
        self.plus(other)?.modulo(modulus)
    }

    /// `self - other mod modulus`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is zero.
    pub fn mod_sub(&self, other: &BigNum, modulus: &BigNum) -> Result<Self, Error> {
        if modulus.is_zero() {
            return Err(Error::Modulus);
        }
        let mut difference = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        difference
            .0
            .mod_sub(&self.0, &other.0, &modulus.0, &mut context)?;
        Ok(difference)
    }

    /// `self ^ exponent mod modulus`. The modulus must be odd, so that Montgomery's form serves.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is even.
    pub fn mod_exp(&self, exponent: &BigNum, modulus: &BigNum) -> Result<Self, Error> {
        if !modulus.is_odd() {
            return Err(Error::Modulus);
        }
        let mut power = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        power
            .0
            .mod_exp(&self.0, &exponent.0, &modulus.0, &mut context)?;
        Ok(power)
    }

    /// The number that gives 1 when multiplied by this one, mod `modulus`.
    ///
    /// # Errors
    /// [`Error::Modulus`] when it is zero; [`Error::NotInvertible`].
    pub fn mod_inverse(&self, modulus: &BigNum) -> Result<Self, Error> {
        if modulus.is_zero() {
            return Err(Error::Modulus);
        }
        let mut inverse = Self(bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        inverse
            .0
            .mod_inverse(&self.0, &modulus.0, &mut context)
            .map_err(|_| Error::NotInvertible)?;
        Ok(inverse)
    }

    pub(crate) fn library_copy(&self) -> Result<bn::BigNum, Error> {
        Ok(self.0.to_owned()?)
    }

    pub(crate) fn library_ref(&self) -> &bn::BigNumRef {
        &self.0
    }

    pub(crate) fn from_library(number: bn::BigNum) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::{BigNum, Error};

    fn number(value: u32) -> BigNum {
        BigNum::from_u32(value).unwrap()
    }

    #[test]
    fn octets() {
        for (given, wanted) in [
            (&b""[..], &b"\0"[..]),
            (b"\0", b"\0"),
            (b"\0\0\x80", b"\x80"),
            (b"\x01\0", b"\x01\0"),
        ] {
            let read = BigNum::from_bytes(given).unwrap();
            assert_eq!(read.to_bytes(), wanted);
            assert!(read.to_secret_bytes().ct_eq(wanted));
            assert_eq!(read.try_clone().unwrap(), read);
        }
        assert_eq!(number(256).bits(), 9);
        assert!(number(0).is_zero() && !number(1).is_zero());
        assert!(number(3) > number(2));
        assert_eq!(format!("{:?}", number(0x1ff)), "BigNum(9 bits)");
    }

    #[test]
    fn arithmetic() {
        let (a, b, m) = (number(123), number(200), number(1009));
        assert_eq!(a.plus(&b), Ok(number(323)));
        assert_eq!(b.minus(&a), Ok(number(77)));
        assert_eq!(a.minus(&b), Err(Error::Negative));
        assert_eq!(number(0).less_one(), Err(Error::Negative));
        assert_eq!(a.times(&b), Ok(number(24600)));
        assert_eq!(a.half(), Ok(number(61)));
        assert_eq!(a.mod_sub(&b, &m), Ok(number(932)));
        assert_eq!(b.mod_add(&m, &m), Ok(number(200)));
        assert_eq!(a.mod_mul(&b, &m), Ok(number(24600 % 1009)));
        assert_eq!(number(24600).modulo(&m), Ok(number(24600 % 1009)));
        assert_eq!(a.mod_exp(&number(1008), &m), Ok(number(1)));
        let exponent = BigNum::secret_from_bytes(&[5]).unwrap();
        assert_eq!(number(3).mod_exp(&exponent, &m), Ok(number(243)));
        let inverse = a.mod_inverse(&m).unwrap();
        assert_eq!(inverse.mod_mul(&a, &m), Ok(number(1)));
        let secret = a.try_clone().unwrap().into_secret();
        assert_eq!(secret.mod_inverse(&m).unwrap(), inverse);
        assert!(m.is_prime().unwrap() && !a.is_prime().unwrap());
    }

    #[test]
    fn moduli_that_do_not_serve() {
        let (zero, even) = (number(0), number(10));
        assert_eq!(number(3).mod_exp(&number(2), &zero), Err(Error::Modulus));
        assert_eq!(number(3).mod_exp(&number(2), &even), Err(Error::Modulus));
        assert_eq!(number(3).modulo(&zero), Err(Error::Modulus));
        assert_eq!(number(3).mod_mul(&number(2), &zero), Err(Error::Modulus));
        assert_eq!(number(3).mod_sub(&number(2), &zero), Err(Error::Modulus));
        assert_eq!(number(3).mod_inverse(&zero), Err(Error::Modulus));
        let both = number(6).mod_inverse(&even);
        assert_eq!(both, Err(Error::NotInvertible));
        let secret = number(6).into_secret().mod_inverse(&even);
        assert_eq!(secret, Err(Error::NotInvertible));
    }

    #[test]
    fn random_numbers_and_primes() {
        assert!(BigNum::random_bits(0).unwrap().is_zero());
        for bits in [1, 7, 8, 9, 160] {
            let most = (0..64).map(|_| BigNum::random_bits(bits).unwrap().bits());
            assert!(most.max().unwrap() as usize <= bits);
        }
        // 64 numbers of 160 bits without one above 2^159: one in 2^64.
        let top = (0..64).any(|_| BigNum::random_bits(160).unwrap().bits() == 160);
        assert!(top);
        let limit = number(3);
        let drawn: Vec<_> = (0..128)
            .map(|_| BigNum::random_below(&limit).unwrap())
            .collect();
        // 128 draws that miss one of three: one in 2^74.
        assert!((0..3).all(|value| drawn.contains(&number(value))));
        assert!(drawn.iter().all(|value| *value < limit));
        assert_eq!(BigNum::random_below(&number(0)), Err(Error::Modulus));
        let factor = BigNum::generate_prime(40, false).unwrap();
        let prime = BigNum::generate_prime_over(128, &factor).unwrap();
        assert_eq!((factor.bits(), prime.bits()), (40, 128));
        assert!(prime.is_prime().unwrap());
        assert!(prime.less_one().unwrap().modulo(&factor).unwrap().is_zero());
        let safe = BigNum::generate_prime(64, true).unwrap();
        assert!(safe.half().unwrap().is_prime().unwrap());
        assert_eq!(BigNum::modp_2048().unwrap().bits(), 2048);
    }
}
