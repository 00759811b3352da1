//! Diffie-Hellman in groups that the peers choose themselves.
//!
//! A group that comes from elsewhere may be anything: [`Group::check`] and [`Group::is_plausible`] find what is
//! plainly bad, not a prime with a trap door.

use crate::bignum::{BigNum, Error};
use crate::secret::SecretBytes;

/// A base and an odd modulus.
#[derive(Debug)]
pub struct Group {
    /// The base.
    pub alpha: BigNum,
    /// The modulus.
    pub p: BigNum,
}

impl Group {
    /// The 2048-bit MODP group of RFC 3526 (group 14).
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn modp_2048() -> Result<Self, Error> {
        Ok(Self {
            alpha: BigNum::from_u32(2)?,
            p: BigNum::modp_2048()?,
        })
    }

    /// Whether p is odd and 1 < alpha < p - 1.
    #[must_use]
    pub fn check(&self) -> bool {
        self.p.is_odd() && self.is_plausible(&self.alpha)
    }

    /// Whether `exponential` is one that an honest peer would send: above 1 and below p - 1.
    #[must_use]
    pub fn is_plausible(&self, exponential: &BigNum) -> bool {
        exponential.bits() > 1 && self.p.less_one().is_ok_and(|top| *exponential < top)
    }

    /// A second copy.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            alpha: self.alpha.try_clone()?,
            p: self.p.try_clone()?,
        })
    }
}

/// A secret exponent for one exchange.
pub struct Exponent(BigNum);

impl Exponent {
    /// A random one with as many bits as p.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn generate(group: &Group) -> Result<Self, Error> {
        let bits = usize::try_from(group.p.bits()).map_err(|_| Error::Library)?;
        BigNum::random_bits(bits).map(Self)
    }

    /// This one, big-endian: for replayed sessions.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn from_bytes(octets: &[u8]) -> Result<Self, Error> {
        BigNum::secret_from_bytes(octets).map(Self)
    }

    /// What the peer gets: alpha ^ r mod p.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even.
    pub fn exponential(&self, group: &Group) -> Result<BigNum, Error> {
        group.alpha.mod_exp(&self.0, &group.p)
    }

    /// The secret shared with the peer who sent `exponential`: its power mod p, big-endian, without leading
    /// zeros, at least one octet.
    ///
    /// # Errors
    /// [`Error::Modulus`] when p is even.
    pub fn agree(&self, group: &Group, exponential: &BigNum) -> Result<SecretBytes, Error> {
        Ok(exponential.mod_exp(&self.0, &group.p)?.to_secret_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Exponent, Group};
    use crate::bignum::BigNum;

    #[test]
    fn both_ends_agree() {
        let group = Group::modp_2048().unwrap();
        assert!(group.check());
        let (a, b) = (
            Exponent::generate(&group).unwrap(),
            Exponent::generate(&group).unwrap(),
        );
        let (to_b, to_a) = (
            a.exponential(&group).unwrap(),
            b.exponential(&group).unwrap(),
        );
        assert!(group.is_plausible(&to_a) && to_a != to_b);
        let secret = a.agree(&group, &to_a).unwrap();
        assert!(secret.ct_eq(b.agree(&group, &to_b).unwrap().as_slice()));
    }

    #[test]
    fn degenerate() {
        let small = |alpha: u32, p: u32| Group {
            alpha: BigNum::from_u32(alpha).unwrap(),
            p: BigNum::from_u32(p).unwrap(),
        };
        assert!(small(2, 23).check());
        for (alpha, p) in [
            (0, 23),
            (1, 23),
            (22, 23),
            (23, 23),
            (2, 22),
            (2, 3),
            (2, 0),
        ] {
            assert!(!small(alpha, p).check(), "{alpha} {p}");
        }
        let group = small(5, 23);
        let r = Exponent::from_bytes(&[6]).unwrap();
        assert_eq!(r.exponential(&group).unwrap().to_bytes(), [8]);
        let zero = BigNum::from_u32(0).unwrap();
        assert!(r.agree(&group, &zero).unwrap().ct_eq(&[0]));
    }
}
