//! Keys: public ones that verify, private ones that sign and agree, AES keys; how they are checked.

mod pkcs8;
mod rsa_primes;

use kx_secret::SecretBytes;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcKey, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Rsa, RsaPrivateKeyBuilder};
use openssl::sign::{Signer, Verifier};
use zeroize::Zeroizing;

use crate::crypto::{Unavailable, padded, significant};
use crate::curve::Curve;
use crate::rng::Rng;

/// Fewest and most bits of an RSA modulus that are taken from outside.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The library could not do it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Not an uncompressed point of that curve, or the point at infinity.
    #[error("point is not on the curve")]
    Point,
    /// A private number of 0, or not below the order.
    #[error("private number out of range")]
    Scalar,
    /// Private and public part do not belong together.
    #[error("private and public key do not match")]
    Mismatch,
    /// An RSA modulus too short or too long, or numbers that are no key.
    #[error("no RSA key of 1024 to 4096 bits")]
    Rsa,
    /// Not 16, 24 or 32 octets.
    #[error("no AES key of 128, 192 or 256 bits")]
    Aes,
}

impl From<openssl::error::ErrorStack> for Error {
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self::Unavailable(Unavailable)
    }
}

/// A point on a curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcPublic {
    curve: Curve,
    point: Vec<u8>,
}

impl EcPublic {
    /// Takes an uncompressed point, 04 and both coordinates, that must be on the curve.
    ///
    /// # Errors
    /// [`Error::Point`].
    pub fn from_point(curve: Curve, point: &[u8]) -> Result<Self, Error> {
        if point.len() != curve.point_len() || point.first() != Some(&4) {
            return Err(Error::Point);
        }
        // The library refuses coordinates that do not satisfy the equation or are not reduced.
        let mut context = BigNumContext::new()?;
        EcPoint::from_bytes(&*curve.group()?, point, &mut context).map_err(|_| Error::Point)?;
        Ok(Self {
            curve,
            point: point.to_vec(),
        })
    }

    /// The curve.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// 04 and both coordinates.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// The first coordinate.
    #[must_use]
    pub fn x(&self) -> &[u8] {
        let end = self.curve.len().saturating_add(1);
        self.point.get(1..end).unwrap_or_default()
    }

    /// Whether `signature`, plain r and s of a field element's length each, is one over `digest`.
    ///
    /// # Errors
    /// [`Unavailable`]. A wrong signature is no error.
    pub fn verify_digest(&self, digest: &[u8], signature: &[u8]) -> Result<bool, Unavailable> {
        let len = self.curve.len();
        let Some((r, s)) = signature.split_at_checked(len) else {
            return Ok(false);
        };
        if s.len() != len {
            return Ok(false);
        }
        let group = self.curve.group()?;
        let mut context = BigNumContext::new()?;
        let point = EcPoint::from_bytes(&group, &self.point, &mut context)?;
        let key = EcKey::from_public_key(&group, &point)?;
        let signature =
            EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
        // Numbers out of range are reported as an error by the library, and are a wrong signature.
        Ok(signature.verify(digest, &key).unwrap_or(false))
    }
}

/// A private number with its point.
pub struct EcPrivate {
    curve: Curve,
    key: EcKey<Private>,
    public: EcPublic,
}

impl std::fmt::Debug for EcPrivate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EcPrivate({})", self.curve.name())
    }
}

impl EcPrivate {
    /// Takes a private number, leading zeros allowed.
    ///
    /// # Errors
    /// [`Error::Scalar`].
    pub fn from_scalar(curve: Curve, d: &[u8]) -> Result<Self, Error> {
        let d = padded(d, curve.len()).ok_or(Error::Scalar)?;
        let mut number = BigNum::new_secure()?;
        number.copy_from_slice(&d)?;
        let order = BigNum::from_slice(curve.domain().n)?;
        if number.num_bits() == 0 || number >= order {
            return Err(Error::Scalar);
        }
        let group = curve.group()?;
        let mut context = BigNumContext::new_secure()?;
        let mut point = EcPoint::new(&group)?;
        number.set_const_time();
        point.mul_generator2(&group, &number, &mut context)?;
        let key = EcKey::from_private_components(&group, &number, &point)?;
        let octets = point.to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)?;
        Ok(Self {
            curve,
            key,
            public: EcPublic {
                curve,
                point: octets,
            },
        })
    }

    /// A new key. The number is drawn until one is below the order, so each is equally likely.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn generate(curve: Curve, rng: &mut impl Rng) -> Result<Self, Unavailable> {
        let mut octets = Zeroizing::new(vec![0; curve.len()]);
        // The first bit of each order but that of secp521r1 is in the first octet's upper half, so
        // half of the numbers or more fit, and 521 is masked.
        for _ in 0..256 {
            rng.fill(&mut octets)?;
            if curve == Curve::Secp521r1 {
                if let Some(first) = octets.first_mut() {
                    *first &= 1;
                }
            }
            match Self::from_scalar(curve, &octets) {
                Err(Error::Scalar) => {}
                key => return key.map_err(|_| Unavailable),
            }
        }
        Err(Unavailable)
    }

    /// The curve.
    #[must_use]
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The point that belongs to it.
    #[must_use]
    pub fn public(&self) -> &EcPublic {
        &self.public
    }

    /// The private number, as long as a field element.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn scalar(&self) -> Result<SecretBytes, Unavailable> {
        let number = Zeroizing::new(self.key.private_key().to_vec());
        let out = padded(&number, self.curve.len()).ok_or(Unavailable)?;
        Ok(SecretBytes::from(out))
    }

    /// The library's own form.
    #[must_use]
    pub fn inner(&self) -> &EcKey<Private> {
        &self.key
    }

    /// A signature over `digest`, plain r and s of a field element's length each.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let signature = EcdsaSig::sign(digest, &self.key)?;
        let len = i32::try_from(self.curve.len()).map_err(|_| Unavailable)?;
        let mut out = signature.r().to_vec_padded(len)?;
        out.extend_from_slice(&signature.s().to_vec_padded(len)?);
        Ok(out)
    }

    /// The point that both sides come to: both coordinates, without the 04.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another curve.
    pub fn agree(&self, peer: &EcPublic) -> Result<SecretBytes, Error> {
        if peer.curve != self.curve {
            return Err(Error::Mismatch);
        }
        let group = self.curve.group()?;
        let mut context = BigNumContext::new_secure()?;
        let peer = EcPoint::from_bytes(&group, &peer.point, &mut context)?;
        let mut shared = EcPoint::new(&group)?;
        shared.mul2(&group, &peer, self.key.private_key(), &mut context)?;
        if shared.is_infinity(&group) {
            return Err(Error::Point);
        }
        let octets = SecretBytes::from(shared.to_bytes(
            &group,
            PointConversionForm::UNCOMPRESSED,
            &mut context,
        )?);
        let mut out = octets;
        out.drop_front(1);
        Ok(out)
    }
}

/// An RSA public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublic {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RsaPublic {
    /// Takes modulus and exponent, leading zeros allowed.
    ///
    /// # Errors
    /// [`Error::Rsa`] for a modulus of other lengths than 1024 to 4096 bits, an even one, or an
    /// exponent that is none.
    pub fn from_parts(n: &[u8], e: &[u8]) -> Result<Self, Error> {
        let (n, e) = (significant(n), significant(e));
        let bits = BigNum::from_slice(n)?.num_bits();
        let odd = |number: &[u8]| number.last().is_some_and(|octet| octet & 1 == 1);
        let fits = usize::try_from(bits).is_ok_and(|bits| RSA_BITS.contains(&bits));
        // A long exponent only makes a verification slow; real ones have one to four octets.
        if !fits || !odd(n) || !odd(e) || e == [1] || e.len() > 8 {
            return Err(Error::Rsa);
        }
        Ok(Self {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    /// The modulus without leading zeros.
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// The exponent without leading zeros.
    #[must_use]
    pub fn exponent(&self) -> &[u8] {
        &self.e
    }

    fn verify_sha256(&self, data: &[u8], signature: &[u8]) -> Result<bool, Unavailable> {
        let key = Rsa::from_public_components(
            BigNum::from_slice(&self.n)?,
            BigNum::from_slice(&self.e)?,
        )?;
        let key = PKey::from_rsa(key)?;
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key)?;
        Ok(verifier.verify_oneshot(signature, data).unwrap_or(false))
    }
}

/// An RSA private key with its primes.
pub struct RsaPrivate {
    key: Rsa<Private>,
    public: RsaPublic,
}

impl std::fmt::Debug for RsaPrivate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RsaPrivate({} octets)", self.public.n.len())
    }
}

impl RsaPrivate {
    /// Takes modulus, public and private exponent. The primes are found from them, which proves that
    /// the three belong together.
    ///
    /// # Errors
    /// [`Error::Rsa`], [`Error::Mismatch`].
    pub fn from_exponents(n: &[u8], e: &[u8], d: &[u8], rng: &mut impl Rng) -> Result<Self, Error> {
        let public = RsaPublic::from_parts(n, e)?;
        let n = BigNum::from_slice(&public.n)?;
        let e = BigNum::from_slice(&public.e)?;
        let mut secret_d = BigNum::new_secure()?;
        secret_d.copy_from_slice(d)?;
        if secret_d >= n || secret_d.num_bits() == 0 {
            return Err(Error::Mismatch);
        }
        let (p, q) = rsa_primes::from_exponents(&n, &e, &secret_d, rng)?;
        Self::build(public, n, e, secret_d, p, q)
    }

    /// Takes primes and public exponent.
    ///
    /// # Errors
    /// [`Error::Rsa`], [`Error::Mismatch`].
    pub fn from_primes(p: &[u8], q: &[u8], e: &[u8]) -> Result<Self, Error> {
        let (mut p, mut q) = (secret_number(p)?, secret_number(q)?);
        if p < q {
            std::mem::swap(&mut p, &mut q);
        }
        let (public, n, e, d) = parts(&p, &q, BigNum::from_slice(e)?)?;
        Self::build(public, n, e, d, p, q)
    }

    /// Puts a key of numbers from outside together and checks them.
    fn build(
        public: RsaPublic,
        n: BigNum,
        e: BigNum,
        d: BigNum,
        p: BigNum,
        q: BigNum,
    ) -> Result<Self, Error> {
        let key = Self::assemble(public, n, e, d, p, q)?;
        if !key.key.check_key().unwrap_or(false) {
            return Err(Error::Mismatch);
        }
        Ok(key)
    }

    fn assemble(
        public: RsaPublic,
        n: BigNum,
        e: BigNum,
        d: BigNum,
        p: BigNum,
        q: BigNum,
    ) -> Result<Self, Error> {
        let mut context = BigNumContext::new_secure()?;
        let mut dp = BigNum::new_secure()?;
        dp.checked_rem(&d, &*less_one(&p)?, &mut context)?;
        let mut dq = BigNum::new_secure()?;
        dq.checked_rem(&d, &*less_one(&q)?, &mut context)?;
        let mut qinv = BigNum::new_secure()?;
        qinv.mod_inverse(&q, &p, &mut context)
            .map_err(|_| Error::Mismatch)?;
        let key = RsaPrivateKeyBuilder::new(n, e, d)?
            .set_factors(p, q)?
            .set_crt_params(dp, dq, qinv)?
            .build();
        Ok(Self { key, public })
    }

    /// A new key of `bits` bits with the exponent 65537.
    ///
    /// # Errors
    /// [`Error::Rsa`] for lengths outside of [`RSA_BITS`].
    pub fn generate(bits: u32) -> Result<Self, Error> {
        Self::generate_with_exponent(bits, rsa_primes::EXPONENT)
    }

    /// A new key of `bits` bits with an odd public exponent from 3.
    ///
    /// # Errors
    /// [`Error::Rsa`] for lengths outside of [`RSA_BITS`] and other exponents.
    pub fn generate_with_exponent(bits: u32, exponent: u32) -> Result<Self, Error> {
        let is_long_enough = usize::try_from(bits).is_ok_and(|bits| RSA_BITS.contains(&bits));
        if !is_long_enough || exponent < 3 || exponent % 2 == 0 {
            return Err(Error::Rsa);
        }
        let (p, q) = rsa_primes::pair(bits, exponent)?;
        let (public, n, e, d) = parts(&p, &q, BigNum::from_u32(exponent)?)?;
        let key = Self::assemble(public, n, e, d, p, q)?;
        // The primes have been tested; what is left to find is a fault in the arithmetic.
        let trial = b"pair-wise consistency (FIPS 140-3)";
        if !key.public.verify_sha256(trial, &key.sign_sha256(trial)?)? {
            return Err(Error::Mismatch);
        }
        Ok(key)
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> &RsaPublic {
        &self.public
    }

    /// The private exponent, as long as the modulus.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn exponent(&self) -> Result<SecretBytes, Unavailable> {
        let number = Zeroizing::new(self.key.d().to_vec());
        let out = padded(&number, self.public.n.len()).ok_or(Unavailable)?;
        Ok(SecretBytes::from(out))
    }

    /// The library's own form.
    #[must_use]
    pub fn inner(&self) -> &Rsa<Private> {
        &self.key
    }

    /// A PKCS#1 v1.5 signature with SHA-256.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn sign_sha256(&self, data: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let key = PKey::from_rsa(self.key.clone())?;
        Ok(Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(data)?)
    }
}

fn secret_number(octets: &[u8]) -> Result<BigNum, Unavailable> {
    let mut number = BigNum::new_secure()?;
    number.copy_from_slice(octets)?;
    Ok(number)
}

/// What follows from two primes and the public exponent: public key, modulus, exponent, private exponent.
fn parts(
    p: &BigNumRef,
    q: &BigNumRef,
    e: BigNum,
) -> Result<(RsaPublic, BigNum, BigNum, BigNum), Error> {
    let mut context = BigNumContext::new_secure()?;
    let mut n = BigNum::new()?;
    n.checked_mul(p, q, &mut context)?;
    let public = RsaPublic::from_parts(&n.to_vec(), &e.to_vec())?;
    let mut phi = BigNum::new_secure()?;
    phi.checked_mul(&*less_one(p)?, &*less_one(q)?, &mut context)?;
    let mut d = BigNum::new_secure()?;
    d.mod_inverse(&e, &phi, &mut context)
        .map_err(|_| Error::Mismatch)?;
    Ok((public, n, e, d))
}

fn less_one(number: &BigNumRef) -> Result<BigNum, Unavailable> {
    let mut out = number.to_owned()?;
    out.sub_word(1)?;
    Ok(out)
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// On a curve.
    Ec(EcPublic),
    /// RSA.
    Rsa(RsaPublic),
}

impl PublicKey {
    /// Whether `signature` is one over `data` with SHA-256, as certificates carry it: ECDSA as plain
    /// r and s, RSA as PKCS#1 v1.5.
    ///
    /// # Errors
    /// [`Unavailable`]. A wrong signature is no error.
    pub fn verify_sha256(&self, data: &[u8], signature: &[u8]) -> Result<bool, Unavailable> {
        match self {
            Self::Ec(key) => key.verify_digest(&crate::crypto::sha256(&[data]), signature),
            Self::Rsa(key) => key.verify_sha256(data, signature),
        }
    }

    /// The key as one on a curve.
    #[must_use]
    pub fn as_ec(&self) -> Option<&EcPublic> {
        match self {
            Self::Ec(key) => Some(key),
            Self::Rsa(_) => None,
        }
    }
}

/// A key that a card holds and wraps.
#[derive(Debug)]
pub enum Key {
    /// RSA.
    Rsa(RsaPrivate),
    /// On a curve.
    Ec(EcPrivate),
    /// AES: 16, 24 or 32 octets.
    Aes(AesKey),
}

impl Key {
    /// The public key, which an AES key has not.
    #[must_use]
    pub fn public(&self) -> Option<PublicKey> {
        match self {
            Self::Rsa(key) => Some(PublicKey::Rsa(key.public.clone())),
            Self::Ec(key) => Some(PublicKey::Ec(key.public.clone())),
            Self::Aes(_) => None,
        }
    }

    /// A signature over `data` with SHA-256 as certificates carry it; an AES key makes none.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn sign_sha256(&self, data: &[u8]) -> Result<Vec<u8>, Unavailable> {
        match self {
            Self::Rsa(key) => key.sign_sha256(data),
            Self::Ec(key) => key.sign_digest(&crate::crypto::sha256(&[data])),
            Self::Aes(_) => Err(Unavailable),
        }
    }
}

/// An AES key.
#[derive(Debug)]
pub struct AesKey(SecretBytes);

impl AesKey {
    /// Takes 16, 24 or 32 octets.
    ///
    /// # Errors
    /// [`Error::Aes`].
    pub fn new(octets: &[u8]) -> Result<Self, Error> {
        if !matches!(octets.len(), 16 | 24 | 32) {
            return Err(Error::Aes);
        }
        let mut key = SecretBytes::with_capacity(octets.len());
        key.extend_from_slice(octets);
        Ok(Self(key))
    }

    /// A new key of `len` octets.
    ///
    /// # Errors
    /// [`Error::Aes`].
    pub fn generate(len: usize, rng: &mut impl Rng) -> Result<Self, Error> {
        if !matches!(len, 16 | 24 | 32) {
            return Err(Error::Aes);
        }
        let mut key = SecretBytes::zeroed(len);
        rng.fill(key.as_mut_slice()).map_err(Unavailable::from)?;
        Ok(Self(key))
    }

    /// The octets.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}
