//! Ephemeral Diffie-Hellman on the NIST curves (SP 800-56A section 5.7.1.2), and X25519 and X448 (RFC 7748).
//!
//! On the NIST curves the numbers are worked on directly. The key objects of OpenSSL 3 copy the group and move
//! each key to a provider, which costs more than the multiplication on P-256.

mod montgomery;

use std::sync::OnceLock;

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcGroupRef, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;

use crate::hkdf::wipe;
use crate::random;
use crate::secret::SecretBytes;

/// A curve that keys are exchanged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp521r1.
    P521,
    /// Curve25519 by X25519.
    X25519,
    /// Curve448 by X448. AWS-LC has not got it: then every key fails with [`Error::Library`].
    X448,
}

impl Curve {
    /// Octets of a private key, of a coordinate and so of the agreed secret.
    #[must_use]
    pub fn secret_len(self) -> usize {
        match self {
            Curve::P256 | Curve::X25519 => 32,
            Curve::P521 => 66,
            Curve::X448 => 56,
        }
    }

    /// Octets of a public key: of a NIST curve in the uncompressed form (SEC 1 section 2.3.3).
    #[must_use]
    pub fn public_len(self) -> usize {
        match self {
            Curve::P256 => 65,
            Curve::P521 => 133,
            Curve::X25519 => 32,
            Curve::X448 => 56,
        }
    }

    /// Octets of a public key in its shortest form: of a NIST curve the compressed one.
    #[must_use]
    pub fn compressed_len(self) -> usize {
        match self {
            Curve::P256 | Curve::P521 => 1 + self.secret_len(),
            Curve::X25519 | Curve::X448 => self.public_len(),
        }
    }

    /// Bits that the topmost octet of a private key may have.
    fn top_mask(self) -> u8 {
        match self {
            Curve::P521 => 0x01,
            Curve::P256 | Curve::X25519 | Curve::X448 => 0xff,
        }
    }

    /// The group. It is made once: that takes as long as several multiplications.
    fn group(self) -> Result<&'static Group, Error> {
        static P256: OnceLock<Option<Group>> = OnceLock::new();
        static P521: OnceLock<Option<Group>> = OnceLock::new();
        let (cell, nid) = match self {
            Curve::P256 => (&P256, Nid::X9_62_PRIME256V1),
            Curve::P521 => (&P521, Nid::SECP521R1),
            // These have no group that points could be added in.
            Curve::X25519 | Curve::X448 => return Err(Error::Library),
        };
        cell.get_or_init(|| Group::new(nid).ok())
            .as_ref()
            .ok_or(Error::Library)
    }
}

/// A curve as the back end holds it.
struct Group {
    group: EcGroup,
    order: BigNum,
    /// The coordinates of the generator, to overwrite secret points with.
    generator: (BigNum, BigNum),
}

impl Group {
    fn new(nid: Nid) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(nid)?;
        let mut context = BigNumContext::new()?;
        let mut order = BigNum::new()?;
        group.order(&mut order, &mut context)?;
        let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
        let generator = group.generator_opt().ok_or_else(ErrorStack::get)?;
        generator.affine_coordinates_gfp(&group, &mut x, &mut y, &mut context)?;
        Ok(Self {
            group,
            order,
            generator: (x, y),
        })
    }
}

/// Why no secret could be agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The private key is not a number from 1 to the order of the curve less 1, or has the wrong length.
    #[error("private key out of range")]
    PrivateKey,
    /// What the peer sent is not a point of the curve in SEC 1 form, or is the point at infinity, or one of low
    /// order.
    #[error("public key is not a point of the curve")]
    PublicKey,
    /// The cryptographic library failed: no memory, no random numbers.
    #[error("cryptographic library failed")]
    Library,
}

impl From<ErrorStack> for Error {
    fn from(_: ErrorStack) -> Self {
        Error::Library
    }
}

/// A number that is overwritten before it is freed.
struct SecretNumber(BigNum);

impl Drop for SecretNumber {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// A private key for one exchange, with its public key. Wiped when dropped.
pub struct PrivateKey {
    curve: Curve,
    secret: Secret,
    public: Vec<u8>,
}

enum Secret {
    Scalar(SecretNumber),
    Montgomery(montgomery::Key),
}

impl PrivateKey {
    /// A new key from the library's generator for secrets.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn generate(curve: Curve) -> Result<Self, Error> {
        let mut scalar = SecretBytes::zeroed(curve.secret_len());
        // A draw is out of range with a chance of 2^-32 on P-256 and 2^-262 on P-521.
        for _ in 0..8 {
            random::fill_private(scalar.as_mut_slice()).map_err(|_| Error::Library)?;
            if let Some(top) = scalar.as_mut_slice().first_mut() {
                *top &= curve.top_mask();
            }
            match Self::from_scalar(curve, scalar.as_slice()) {
                Err(Error::PrivateKey) => {}
                made => return made,
            }
        }
        Err(Error::Library)
    }

    /// The key with this private number, of [`secret_len`](Curve::secret_len) octets. On the NIST curves it is
    /// big-endian, and leading zeros may be missing; with X25519 and X448 it is as in RFC 7748 section 5, where
    /// every string of that length is a key.
    ///
    /// # Errors
    /// [`Error::PrivateKey`] when it is out of range.
    pub fn from_scalar(curve: Curve, scalar: &[u8]) -> Result<Self, Error> {
        if let Curve::X25519 | Curve::X448 = curve {
            let key = montgomery::Key::new(curve, scalar)?;
            return Ok(Self {
                curve,
                public: key.public()?,
                secret: Secret::Montgomery(key),
            });
        }
        if scalar.len() > curve.secret_len() {
            return Err(Error::PrivateKey);
        }
        let group = curve.group()?;
        #[cfg_attr(feature = "aws-lc", allow(unused_mut))]
        let mut number = SecretNumber(BigNum::from_slice(scalar)?);
        // AWS-LC knows no other way to multiply a point.
        #[cfg(not(feature = "aws-lc"))]
        number.0.set_const_time();
        if number.0.num_bits() == 0 || number.0 >= group.order {
            return Err(Error::PrivateKey);
        }
        let mut context = BigNumContext::new()?;
        let mut point = EcPoint::new(&group.group)?;
        point.mul_generator2(&group.group, &number.0, &mut context)?;
        let form = PointConversionForm::UNCOMPRESSED;
        let public = point.to_bytes(&group.group, form, &mut context)?;
        Ok(Self {
            curve,
            secret: Secret::Scalar(number),
            public,
        })
    }

    /// The curve of the key.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The public key: on a NIST curve uncompressed, `04 || x || y` (SEC 1 section 2.3.3), 65 or 133 octets;
    /// else the 32 or 56 octets of RFC 7748.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The public key in its shortest form, of [`compressed_len`](Curve::compressed_len) octets: on a NIST curve
    /// `02 || x` or `03 || x`, by whether y is even or odd; else the same as [`public`](Self::public).
    #[must_use]
    pub fn compressed_public(&self) -> Vec<u8> {
        let (Some(first), Some(last), Secret::Scalar(_)) =
            (self.public.get(1..), self.public.last(), &self.secret)
        else {
            return self.public.clone();
        };
        let x = first.iter().take(self.curve.secret_len());
        std::iter::once(&(2 | (last & 1)))
            .chain(x)
            .copied()
            .collect()
    }

    /// The private number, of full length and in the form of [`from_scalar`](Self::from_scalar): for key logs
    /// and for nothing else.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn scalar(&self) -> Result<SecretBytes, Error> {
        match &self.secret {
            Secret::Scalar(scalar) => padded(scalar, self.curve),
            Secret::Montgomery(key) => key.scalar(),
        }
    }

    /// The secret shared with the owner of `peer`, of [`secret_len`](Curve::secret_len) octets: on a NIST curve
    /// the x coordinate, else what RFC 7748 calls K.
    ///
    /// On a NIST curve `peer` is a point in SEC 1 form, compressed or not; it is checked to be on the curve,
    /// whose order is prime, so that no further check is needed. With X25519 and X448 every string of the right
    /// length is a key, and those that lead to a secret of zeros are refused.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when `peer` is anything else.
    pub fn agree(&self, peer: &[u8]) -> Result<SecretBytes, Error> {
        let scalar = match &self.secret {
            Secret::Scalar(scalar) => scalar,
            Secret::Montgomery(key) => return key.agree(self.curve, peer),
        };
        let group = self.curve.group()?;
        let mut context = BigNumContext::new()?;
        let point = read_point(&group.group, self.curve, peer, &mut context)?;
        let mut product = EcPoint::new(&group.group)?;
        product.mul2(&group.group, &point, &scalar.0, &mut context)?;
        let (mut x, mut y) = (SecretNumber(BigNum::new()?), SecretNumber(BigNum::new()?));
        let found = product.affine_coordinates_gfp(&group.group, &mut x.0, &mut y.0, &mut context);
        // A point is freed as it is, so the secret one is overwritten in its place.
        let (generator_x, generator_y) = &group.generator;
        product.set_affine_coordinates_gfp(&group.group, generator_x, generator_y, &mut context)?;
        found?;
        padded(&x, self.curve)
    }
}

/// Whether [`PrivateKey::agree`] would take `octets` as the key of a peer on a NIST curve. It costs about a
/// thirtieth of the agreement.
///
/// # Errors
/// [`Error::PublicKey`] when it would not; [`Error::Library`] on other curves, where only the secret itself tells.
pub fn check_point(curve: Curve, octets: &[u8]) -> Result<(), Error> {
    let mut context = BigNumContext::new()?;
    read_point(&curve.group()?.group, curve, octets, &mut context).map(|_| ())
}

/// The number with leading zeros.
fn padded(number: &SecretNumber, curve: Curve) -> Result<SecretBytes, Error> {
    let len = i32::try_from(curve.secret_len()).map_err(|_| Error::Library)?;
    Ok(SecretBytes::from(number.0.to_vec_padded(len)?))
}

fn read_point(
    group: &EcGroupRef,
    curve: Curve,
    octets: &[u8],
    context: &mut BigNumContext,
) -> Result<EcPoint, Error> {
    // The library takes the hybrid form (06, 07) also, and infinity as one zero octet.
    let known = match octets.first() {
        Some(4) => octets.len() == curve.public_len(),
        Some(2 | 3) => octets.len() == 1 + curve.secret_len(),
        _ => false,
    };
    if !known {
        return Err(Error::PublicKey);
    }
    let point = EcPoint::from_bytes(group, octets, context).map_err(|_| Error::PublicKey)?;
    match point.is_on_curve(group, context) {
        Ok(true) if !point.is_infinity(group) => Ok(point),
        _ => Err(Error::PublicKey),
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // Not secret, but it says which exchange was ours.
        wipe(&mut self.public);
    }
}

#[cfg(test)]
mod tests {
    use super::{Curve, Error, PrivateKey, check_point};

    #[test]
    fn both_sides_agree() {
        for curve in [Curve::P256, Curve::P521, Curve::X25519, Curve::X448] {
            let (a, b) = (
                PrivateKey::generate(curve).unwrap(),
                PrivateKey::generate(curve).unwrap(),
            );
            assert_eq!(a.public().len(), curve.public_len());
            assert_ne!(a.public(), b.public());
            let secret = a.agree(b.public()).unwrap();
            assert_eq!(secret.len(), curve.secret_len());
            assert!(secret.ct_eq(b.agree(a.public()).unwrap().as_slice()));
            let again = PrivateKey::from_scalar(curve, a.scalar().unwrap().as_slice()).unwrap();
            assert_eq!(again.public(), a.public());
            assert_eq!(again.curve(), curve);
        }
    }

    #[test]
    fn compressed_points() {
        for curve in [Curve::P256, Curve::P521, Curve::X25519, Curve::X448] {
            let a = PrivateKey::generate(curve).unwrap();
            // Both signs of y come up.
            for _ in 0..8 {
                let b = PrivateKey::generate(curve).unwrap();
                let compressed = b.compressed_public();
                assert_eq!(compressed.len(), curve.compressed_len());
                let secret = a.agree(b.public()).unwrap();
                assert!(secret.ct_eq(a.agree(&compressed).unwrap().as_slice()));
            }
        }
    }

    /// Half of all x are on no point; y = 0 is on none either, as the order is odd.
    #[test]
    fn compressed_and_not_on_the_curve() {
        for curve in [Curve::P256, Curve::P521] {
            let key = PrivateKey::generate(curve).unwrap();
            let mut refused = 0;
            for x in 0..64 {
                let mut point = vec![0; curve.compressed_len()];
                point[0] = 2;
                *point.last_mut().unwrap() = x;
                if let Err(error) = key.agree(&point) {
                    assert_eq!(error, Error::PublicKey);
                    refused += 1;
                }
            }
            assert!((10..54).contains(&refused), "{refused}");
            let mut beyond = vec![0xff; curve.compressed_len()];
            beyond[0] = 2;
            assert_eq!(key.agree(&beyond).err(), Some(Error::PublicKey));
        }
    }

    #[test]
    fn bad_points() {
        for curve in [Curve::P256, Curve::P521] {
            let key = PrivateKey::generate(curve).unwrap();
            let refused = |octets: &[u8]| {
                assert_eq!(key.agree(octets).err(), Some(Error::PublicKey));
                assert_eq!(check_point(curve, octets), Err(Error::PublicKey));
            };
            assert_eq!(check_point(curve, key.public()), Ok(()));
            refused(&[]);
            refused(&[0]);
            refused(&[4]);
            refused(&vec![0; curve.public_len()]);
            let mut point = key.public().to_vec();
            refused(&point[..point.len() - 1]);
            point[0] = 6 + (point[point.len() - 1] & 1);
            refused(&point);
            point[0] = 4;
            *point.last_mut().unwrap() ^= 1;
            refused(&point);
            point[1..].fill(0xff);
            refused(&point);
            point[1..].fill(0);
            refused(&point);
        }
    }

    #[test]
    fn bad_scalars() {
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let mut order: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap())
            .collect();
        let made = |scalar: &[u8]| PrivateKey::from_scalar(Curve::P256, scalar).err();
        assert_eq!(made(&order), Some(Error::PrivateKey));
        assert_eq!(made(&[0; 32]), Some(Error::PrivateKey));
        assert_eq!(made(&[]), Some(Error::PrivateKey));
        assert_eq!(made(&[1; 33]), Some(Error::PrivateKey));
        order[31] -= 1;
        assert_eq!(made(&order), None);
        assert_eq!(made(&[1]), None);
    }
}
