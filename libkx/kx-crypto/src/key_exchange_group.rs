//! Diffie-Hellman in groups with a registered number: MODP (RFC 2409, RFC 3526) and ECP, also over the
//! brainpool curves (RFC 5903, RFC 6954), all behind one face.
//!
//! Public values and secrets have a fixed length each: numbers are padded on the left to the length of the
//! prime, a point is `x || y`, and the secret of two points is x alone (RFC 5903 section 7).

use openssl::bn::{self, BigNumContext};
use openssl::ec::{EcGroup, EcGroupRef, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;

use crate::bignum::{self, BigNum};
use crate::secret::SecretBytes;

/// Why there is no key or no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's public value is of the wrong length, is 0, 1, p - 1 or not below p, or is no point of the curve.
    #[error("unsuitable public value")]
    PublicValue,
    /// The library has not got the group, or failed.
    #[error("key exchange group not available")]
    Library,
}

impl From<ErrorStack> for Error {
    fn from(_: ErrorStack) -> Self {
        Self::Library
    }
}

impl From<bignum::Error> for Error {
    fn from(_: bignum::Error) -> Self {
        Self::Library
    }
}

/// A group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// 768 bits, RFC 2409 section 6.1. Broken by anybody who cares.
    Modp768,
    /// 1024 bits, RFC 2409 section 6.2. Weak.
    Modp1024,
    /// 1536 bits, RFC 3526 section 2.
    Modp1536,
    /// 2048 bits, RFC 3526 section 3.
    Modp2048,
    /// 3072 bits, RFC 3526 section 4.
    Modp3072,
    /// 4096 bits, RFC 3526 section 5.
    Modp4096,
    /// 6144 bits, RFC 3526 section 6.
    Modp6144,
    /// 8192 bits, RFC 3526 section 7.
    Modp8192,
    /// secp256r1.
    Ecp256,
    /// secp384r1.
    Ecp384,
    /// secp521r1.
    Ecp521,
    /// secp192r1. AWS-LC has not got it.
    Ecp192,
    /// secp224r1.
    Ecp224,
    /// brainpoolP224r1. AWS-LC has none of the brainpool curves.
    Brainpool224,
    /// brainpoolP256r1.
    Brainpool256,
    /// brainpoolP384r1.
    Brainpool384,
    /// brainpoolP512r1.
    Brainpool512,
}

/// How a group computes.
pub(crate) enum Kind {
    /// The prime's reader and the bits of a secret exponent.
    Modp(fn() -> Result<bn::BigNum, ErrorStack>, usize),
    Curve(Nid),
}

impl Group {
    /// Every group, by its number.
    pub const ALL: &'static [(u16, Group)] = &[
        (1, Group::Modp768),
        (2, Group::Modp1024),
        (5, Group::Modp1536),
        (14, Group::Modp2048),
        (15, Group::Modp3072),
        (16, Group::Modp4096),
        (17, Group::Modp6144),
        (18, Group::Modp8192),
        (19, Group::Ecp256),
        (20, Group::Ecp384),
        (21, Group::Ecp521),
        (25, Group::Ecp192),
        (26, Group::Ecp224),
        (27, Group::Brainpool224),
        (28, Group::Brainpool256),
        (29, Group::Brainpool384),
        (30, Group::Brainpool512),
    ];

    /// The group with this number in IANA's registry of group descriptions.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        let known = Self::ALL.iter().find(|(known, _)| *known == number);
        known.map(|(_, group)| *group)
    }

    /// Its number in that registry.
    #[must_use]
    pub fn number(self) -> u16 {
        let known = Self::ALL.iter().find(|(_, group)| *group == self);
        known.map_or(0, |(number, _)| *number)
    }

    /// Octets of the prime: of the secret, and of one coordinate.
    #[must_use]
    pub fn secret_len(self) -> usize {
        match self {
            Group::Modp768 => 96,
            Group::Modp1024 => 128,
            Group::Modp1536 => 192,
            Group::Modp2048 => 256,
            Group::Modp3072 => 384,
            Group::Modp4096 => 512,
            Group::Modp6144 => 768,
            Group::Modp8192 => 1024,
            Group::Ecp192 => 24,
            Group::Ecp224 | Group::Brainpool224 => 28,
            Group::Ecp256 | Group::Brainpool256 => 32,
            Group::Ecp384 | Group::Brainpool384 => 48,
            Group::Brainpool512 => 64,
            Group::Ecp521 => 66,
        }
    }

    /// Octets of a public value.
    #[must_use]
    pub fn public_len(self) -> usize {
        match self.kind() {
            Kind::Modp(..) => self.secret_len(),
            Kind::Curve(_) => self.secret_len().saturating_mul(2),
        }
    }

    /// Secret exponents have the sizes of RFC 7919 appendix A, as OpenSSL's own of these groups, twice the strength of
    /// the group: longer ones cost time and hide nothing. RFC 3526 section 8 (first estimate) wants no more. All
    /// the primes are safe, so a short exponent gives nothing away.
    pub(crate) fn kind(self) -> Kind {
        use bn::BigNum as Prime;
        match self {
            Group::Modp768 => Kind::Modp(Rfc2409::get_rfc2409_prime_768, 224),
            Group::Modp1024 => Kind::Modp(Rfc2409::get_rfc2409_prime_1024, 224),
            Group::Modp1536 => Kind::Modp(Prime::get_rfc3526_prime_1536, 224),
            Group::Modp2048 => Kind::Modp(Prime::get_rfc3526_prime_2048, 225),
            Group::Modp3072 => Kind::Modp(Prime::get_rfc3526_prime_3072, 275),
            Group::Modp4096 => Kind::Modp(Prime::get_rfc3526_prime_4096, 325),
            Group::Modp6144 => Kind::Modp(Prime::get_rfc3526_prime_6144, 375),
            Group::Modp8192 => Kind::Modp(Prime::get_rfc3526_prime_8192, 400),
            Group::Ecp192 => Kind::Curve(Nid::X9_62_PRIME192V1),
            Group::Ecp224 => Kind::Curve(Nid::SECP224R1),
            Group::Ecp256 => Kind::Curve(Nid::X9_62_PRIME256V1),
            Group::Ecp384 => Kind::Curve(Nid::SECP384R1),
            Group::Ecp521 => Kind::Curve(Nid::SECP521R1),
            Group::Brainpool224 => Kind::Curve(Nid::BRAINPOOL_P224R1),
            Group::Brainpool256 => Kind::Curve(Nid::BRAINPOOL_P256R1),
            Group::Brainpool384 => Kind::Curve(Nid::BRAINPOOL_P384R1),
            Group::Brainpool512 => Kind::Curve(Nid::BRAINPOOL_P512R1),
        }
    }

    /// Whether [`KeyPair::agree`] would take `public`: for a look before work is queued.
    ///
    /// # Errors
    /// [`Error::PublicValue`] when it would not.
    pub fn check_public(self, public: &[u8]) -> Result<(), Error> {
        if public.len() != self.public_len() {
            return Err(Error::PublicValue);
        }
        match self.kind() {
            Kind::Modp(prime, _) => read_number(prime, public).map(|_| ()),
            Kind::Curve(nid) => {
                let group = EcGroup::from_curve_name(nid)?;
                let mut context = BigNumContext::new()?;
                read_point(&group, public, &mut context).map(|_| ())
            }
        }
    }

    fn padded(self, number: &bn::BigNumRef) -> Result<Vec<u8>, Error> {
        let len = i32::try_from(self.secret_len()).map_err(|_| Error::Library)?;
        Ok(number.to_vec_padded(len)?)
    }
}

/// 2 to the secret power by tables, where there are any.
fn fixed_base(group: Group, secret: &BigNum) -> Option<Vec<u8>> {
    #[cfg(feature = "fixed-base")]
    return crate::fixed_base::power_of_two(group, secret.library_ref());
    #[cfg(not(feature = "fixed-base"))]
    {
        let _ = (group, secret);
        None
    }
}

/// A secret of our own and the public value for the peer.
pub struct KeyPair {
    group: Group,
    secret: BigNum,
    public: Vec<u8>,
}

impl KeyPair {
    /// A new one, from the library's generator for secrets.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn generate(group: Group) -> Result<Self, Error> {
        let secret = match group.kind() {
            Kind::Modp(_, bits) => BigNum::random_bits(bits)?,
            Kind::Curve(nid) => {
                let curve = EcGroup::from_curve_name(nid)?;
                let (mut order, mut context) = (bn::BigNum::new()?, BigNumContext::new()?);
                curve.order(&mut order, &mut context)?;
                BigNum::random_below(&BigNum::from_library(order))?
            }
        };
        Self::new(group, secret)
    }

    /// With this secret, big-endian: for replayed exchanges.
    ///
    /// # Errors
    /// [`Error::Library`], also for a secret that has no use.
    pub fn from_secret(group: Group, secret: &[u8]) -> Result<Self, Error> {
        Self::new(group, BigNum::secret_from_bytes(secret)?)
    }

    fn new(group: Group, secret: BigNum) -> Result<Self, Error> {
        // Less than 2 of 2^192 and more; a generator that gives them is broken.
        if secret.bits() < 2 {
            return Err(Error::Library);
        }
        let public = match group.kind() {
            Kind::Modp(prime, _) => match fixed_base(group, &secret) {
                Some(public) => public,
                None => {
                    let prime = BigNum::from_library(prime()?);
                    let public = BigNum::from_u32(2)?.mod_exp(&secret, &prime)?;
                    group.padded(public.library_ref())?
                }
            },
            Kind::Curve(nid) => {
                let curve = EcGroup::from_curve_name(nid)?;
                let mut context = BigNumContext::new()?;
                let mut point = EcPoint::new(&curve)?;
                point.mul_generator2(&curve, secret.library_ref(), &mut context)?;
                let (mut x, mut y) = (bn::BigNum::new()?, bn::BigNum::new()?);
                point.affine_coordinates_gfp(&curve, &mut x, &mut y, &mut context)?;
                [group.padded(&x)?, group.padded(&y)?].concat()
            }
        };
        Ok(Self {
            group,
            secret,
            public,
        })
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// What the peer gets, of [`Group::public_len`] octets.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The secret shared with the peer who sent `public`, of [`Group::secret_len`] octets.
    ///
    /// # Errors
    /// [`Error::PublicValue`] for one that no honest peer sends.
    pub fn agree(&self, public: &[u8]) -> Result<SecretBytes, Error> {
        if public.len() != self.group.public_len() {
            return Err(Error::PublicValue);
        }
        match self.group.kind() {
            Kind::Modp(prime, _) => {
                let (value, prime) = read_number(prime, public)?;
                let agreed = value.mod_exp(&self.secret, &prime)?.into_secret();
                Ok(SecretBytes::from(self.group.padded(agreed.library_ref())?))
            }
            Kind::Curve(nid) => {
                let curve = EcGroup::from_curve_name(nid)?;
                let mut context = BigNumContext::new()?;
                let mut point = read_point(&curve, public, &mut context)?;
                let mut product = EcPoint::new(&curve)?;
                product.mul2(&curve, &point, self.secret.library_ref(), &mut context)?;
                let (mut x, mut y) = (bn::BigNum::new()?, bn::BigNum::new()?);
                let found = product.affine_coordinates_gfp(&curve, &mut x, &mut y, &mut context);
                // A point is freed as it is, so the secret one is overwritten in its place.
                std::mem::swap(&mut product, &mut point);
                let one = bn::BigNum::from_u32(1)?;
                point.mul_generator2(&curve, &one, &mut context)?;
                let (x, _y) = (BigNum::from_library(x), BigNum::from_library(y));
                found?;
                Ok(SecretBytes::from(self.group.padded(x.library_ref())?))
            }
        }
    }
}

#[cfg(not(feature = "aws-lc"))]
use bn::BigNum as Rfc2409;

/// The two old primes, which AWS-LC has not got.
#[cfg(feature = "aws-lc")]
struct Rfc2409;

#[cfg(feature = "aws-lc")]
impl Rfc2409 {
    fn get_rfc2409_prime_768() -> Result<bn::BigNum, ErrorStack> {
        bn::BigNum::from_hex_str(concat!(
            "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
            "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
            "4FE1356D6D51C245E485B576625E7EC6F44C42E9A63A3620FFFFFFFFFFFFFFFF",
        ))
    }

    fn get_rfc2409_prime_1024() -> Result<bn::BigNum, ErrorStack> {
        bn::BigNum::from_hex_str(concat!(
            "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
            "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
            "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
            "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
        ))
    }
}

/// A public value of a MODP group, and the prime.
fn read_number(
    prime: fn() -> Result<bn::BigNum, ErrorStack>,
    public: &[u8],
) -> Result<(BigNum, BigNum), Error> {
    let prime = BigNum::from_library(prime()?);
    let value = BigNum::from_bytes(public)?;
    if value.bits() > 1 && value < prime.less_one()? {
        Ok((value, prime))
    } else {
        Err(Error::PublicValue)
    }
}

/// A point of a curve whose order is prime, so that being on it is all there is to check.
fn read_point(
    curve: &EcGroupRef,
    public: &[u8],
    context: &mut bn::BigNumContextRef,
) -> Result<EcPoint, Error> {
    let uncompressed = [&[4], public].concat();
    let point =
        EcPoint::from_bytes(curve, &uncompressed, context).map_err(|_| Error::PublicValue)?;
    match point.is_on_curve(curve, context) {
        Ok(true) => Ok(point),
        _ => Err(Error::PublicValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        hex.chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The groups this library has.
    fn available() -> impl Iterator<Item = Group> {
        Group::ALL
            .iter()
            .map(|(_, group)| *group)
            .filter(|group| match group.kind() {
                Kind::Modp(..) => true,
                Kind::Curve(nid) => EcGroup::from_curve_name(nid).is_ok(),
            })
    }

    #[test]
    fn both_ends_agree() {
        for group in available() {
            let (a, b) = (
                KeyPair::generate(group).unwrap(),
                KeyPair::generate(group).unwrap(),
            );
            assert_eq!(a.public().len(), group.public_len(), "{group:?}");
            assert_ne!(a.public(), b.public());
            let secret = a.agree(b.public()).unwrap();
            assert_eq!(secret.len(), group.secret_len());
            assert!(
                secret.ct_eq(b.agree(a.public()).unwrap().as_slice()),
                "{group:?}"
            );
            assert_eq!(group.check_public(a.public()), Ok(()));
            assert_eq!(Group::from_number(group.number()), Some(group));
        }
        assert!(available().count() >= 12);
        assert_eq!(Group::from_number(3), None);
    }

    #[test]
    fn primes_have_the_stated_length() {
        for group in available() {
            if let Kind::Modp(prime, bits) = group.kind() {
                let prime = BigNum::from_library(prime().unwrap());
                assert_eq!(prime.bits() as usize, 8 * group.secret_len());
                assert!(bits < 8 * group.secret_len());
            }
        }
    }

    /// RFC 5903 section 8.1.
    #[test]
    fn the_standards_exchange_on_p256() {
        let ours = KeyPair::from_secret(
            Group::Ecp256,
            &octets("C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433"),
        )
        .unwrap();
        assert_eq!(
            ours.public(),
            octets(
                "DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
                 5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3"
            )
        );
        let theirs = octets(
            "D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63
             56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB",
        );
        let wanted =
            octets("D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE");
        assert!(ours.agree(&theirs).unwrap().ct_eq(&wanted));
    }

    /// RFC 7027 appendix A.1 (brainpoolP256r1).
    #[test]
    #[cfg(not(feature = "aws-lc"))]
    fn the_standards_exchange_on_brainpool() {
        let secret = "81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D";
        let ours = KeyPair::from_secret(Group::Brainpool256, &octets(secret)).unwrap();
        let public = octets(
            "44106E913F92BC02A1705D9953A8414DB95E1AAA49E81D9E85F929A8E3100BE5
             8AB4846F11CACCB73CE49CBDD120F5A900A69FD32C272223F789EF10EB089BDC",
        );
        assert_eq!(ours.public(), public);
        let theirs = octets(
            "8D2D688C6CF93E1160AD04CC4429117DC2C41825E1E9FCA0ADDD34E6F1B39F7B
             990C57520812BE512641E47034832106BC7D3E8DD0E4C7F1136D7006547CEC6A",
        );
        let wanted = octets("89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B");
        assert!(ours.agree(&theirs).unwrap().ct_eq(&wanted));
    }

    /// Small numbers, which must be padded to the length of the prime.
    #[test]
    fn numbers_are_padded() {
        for (number, group) in Group::ALL.iter().take(8) {
            let pair = KeyPair::from_secret(*group, &[3]).unwrap();
            let padded = |value: u16| {
                let zeros = vec![0; group.secret_len() - 2];
                [&zeros[..], &value.to_be_bytes()].concat()
            };
            assert_eq!(pair.public(), padded(8), "{number}");
            assert!(
                pair.agree(&padded(4)).unwrap().ct_eq(&padded(64)),
                "{number}"
            );
        }
    }

    #[test]
    fn hostile_values_are_refused() {
        let group = Group::Modp2048;
        let pair = KeyPair::generate(group).unwrap();
        let prime = BigNum::modp_2048().unwrap();
        let one = BigNum::from_u32(1).unwrap();
        let number = |number: &BigNum| group.padded(number.library_ref()).unwrap();
        let hostile = [
            vec![0; 256],
            number(&one),
            number(&prime.less_one().unwrap()),
            number(&prime),
            number(&prime.plus(&one).unwrap()),
            vec![0xff; 256],
            vec![2; 255],
            vec![2; 257],
            Vec::new(),
        ];
        for value in hostile {
            assert_eq!(pair.agree(&value).err(), Some(Error::PublicValue));
            assert_eq!(group.check_public(&value), Err(Error::PublicValue));
        }
        let group = Group::Ecp256;
        let pair = KeyPair::generate(group).unwrap();
        let mut off = pair.public().to_vec();
        *off.last_mut().unwrap() ^= 1;
        for value in [off, vec![0; 64], vec![0xff; 64], vec![1; 65]] {
            assert_eq!(pair.agree(&value).err(), Some(Error::PublicValue));
            assert_eq!(group.check_public(&value), Err(Error::PublicValue));
        }
    }

    #[test]
    fn secrets_of_no_use() {
        for secret in [&[][..], &[0], &[1]] {
            assert!(KeyPair::from_secret(Group::Modp768, secret).is_err());
        }
    }
}
