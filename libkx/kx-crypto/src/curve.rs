//! The NIST curves: names of points on them.

use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcPoint};
use openssl::nid::Nid;

/// A curve of FIPS 186 that kx can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// secp224r1.
    P224,
    /// secp256r1, also called prime256v1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// Octets of one coordinate.
    #[must_use]
    pub fn coordinate_len(self) -> usize {
        match self {
            Curve::P224 => 28,
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    /// The curve with this OpenSSL name, if it is one of the four.
    #[must_use]
    pub fn from_nid(nid: Nid) -> Option<Curve> {
        match nid {
            Nid::SECP224R1 => Some(Curve::P224),
            Nid::X9_62_PRIME256V1 => Some(Curve::P256),
            Nid::SECP384R1 => Some(Curve::P384),
            Nid::SECP521R1 => Some(Curve::P521),
            _ => None,
        }
    }

    fn nid(self) -> Nid {
        match self {
            Curve::P224 => Nid::SECP224R1,
            Curve::P256 => Nid::X9_62_PRIME256V1,
            Curve::P384 => Nid::SECP384R1,
            Curve::P521 => Nid::SECP521R1,
        }
    }

    /// Whether `octets` is a point of this curve in the uncompressed form of SEC 1 section 2.3.3
    /// (`04 || x || y`). Compressed points and the point at infinity are not.
    #[must_use]
    pub fn is_uncompressed_point(self, octets: &[u8]) -> bool {
        if octets.first() != Some(&4) || octets.len() != 1 + 2 * self.coordinate_len() {
            return false;
        }
        let check = || {
            let group = EcGroup::from_curve_name(self.nid())?;
            let mut context = BigNumContext::new()?;
            let point = EcPoint::from_bytes(&group, octets, &mut context)?;
            point.is_on_curve(&group, &mut context)
        };
        check().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNumContext;
    use openssl::ec::{EcGroup, EcKey, PointConversionForm};

    use super::Curve;

    #[test]
    fn points() {
        let mut context = BigNumContext::new().unwrap();
        for curve in [Curve::P224, Curve::P256, Curve::P384, Curve::P521] {
            let group = EcGroup::from_curve_name(curve.nid()).unwrap();
            let key = EcKey::generate(&group).unwrap();
            let mut encode = |form| {
                key.public_key()
                    .to_bytes(&group, form, &mut context)
                    .unwrap()
            };
            let compressed = encode(PointConversionForm::COMPRESSED);
            let mut point = encode(PointConversionForm::UNCOMPRESSED);
            assert!(curve.is_uncompressed_point(&point));
            assert!(!curve.is_uncompressed_point(&compressed));
            *point.last_mut().unwrap() ^= 1;
            assert!(!curve.is_uncompressed_point(&point));
            assert!(!curve.is_uncompressed_point(&[0]));
            assert!(!curve.is_uncompressed_point(&[]));
        }
    }
}
