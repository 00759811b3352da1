//! Key blobs: what WRAP KEY answers and UNWRAP KEY takes, opened and made in software (xkek spec 7).

use kx_secret::SecretBytes;

use crate::crypto::significant;
use crate::crypto::{BLOCK, Unavailable, aes_cmac, aes256_cbc_decrypt, aes256_cbc_encrypt};
use crate::curve::Curve;
use crate::kek::{Kcv, Kek};
use crate::key::{self, AesKey, EcPrivate, Key, RsaPrivate};
use crate::rng::Rng;

const OID_RSA: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 1, 2];
const OID_EC: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 2, 3];
/// 2.16.840.1.101.3.4.1, the AES family.
const OID_AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

/// Most octets that are taken for a blob; one of RSA-4096 with its primes has about 4,000.
pub const MAX: usize = 8192;

/// What is wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too short, too long, or a length in it that does not fit.
    #[error("malformed key blob")]
    Malformed,
    /// A kind of key that is not known here.
    #[error("key blob of unknown type {0}")]
    Type(u8),
    /// It was wrapped under another key.
    #[error("wrapped key does not match: its key check value is {blob}, not {kek}")]
    Kcv {
        /// What the blob names.
        blob: Kcv,
        /// What the key at hand has.
        kek: Kcv,
    },
    /// Changed after it was made, or made by somebody without the key.
    #[error("key blob has a wrong authentication code")]
    Mac,
    /// The code is right, but the key is none.
    #[error("key blob holds no valid key: {0}")]
    Key(key::Error),
    /// The library could not do it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<key::Error> for Error {
    fn from(error: key::Error) -> Self {
        match error {
            key::Error::Unavailable(error) => Self::Unavailable(error),
            error => Self::Key(error),
        }
    }
}

/// The kind of a wrapped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 5: RSA by its exponents.
    Rsa,
    /// 6: RSA with its primes; read, not written.
    RsaCrt,
    /// 12: on a curve.
    Ec,
    /// 15: AES.
    Aes,
}

impl Kind {
    fn from_code(code: u8) -> Result<Self, Error> {
        match code {
            5 => Ok(Self::Rsa),
            6 => Ok(Self::RsaCrt),
            12 => Ok(Self::Ec),
            15 => Ok(Self::Aes),
            code => Err(Error::Type(code)),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Rsa => 5,
            Self::RsaCrt => 6,
            Self::Ec => 12,
            Self::Aes => 15,
        }
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::Rsa | Self::RsaCrt => OID_RSA,
            Self::Ec => OID_EC,
            Self::Aes => OID_AES,
        }
    }
}

/// What travels in clear beside the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Algorithms the key may be used with; empty allows all.
    pub algorithms: Vec<u8>,
    /// Access conditions; empty today, kept if not.
    pub access_conditions: Vec<u8>,
    /// Object identifier of the key; empty today, kept if not.
    pub key_oid: Vec<u8>,
}

/// A blob taken apart, still closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Check value of the key it is wrapped under.
    pub kcv: Kcv,
    /// Kind of the key.
    pub kind: Kind,
    /// What travels in clear.
    pub attributes: Attributes,
    encoded: Vec<u8>,
    ciphertext_at: usize,
}

/// A blob opened.
#[derive(Debug)]
pub struct Opened {
    /// The key, checked: public part from private part, point on the curve, primes found.
    pub key: Key,
    /// What travelled in clear.
    pub attributes: Attributes,
    /// The random octets at the beginning of the clear text.
    pub nonce: SecretBytes,
}

/// Takes fields from the front of octets.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    fn number(&mut self) -> Result<u16, Error> {
        let octets = self.take(2)?.try_into().map_err(|_| Error::Malformed)?;
        Ok(u16::from_be_bytes(octets))
    }

    fn value(&mut self) -> Result<&'a [u8], Error> {
        let len = self.number()?;
        self.take(usize::from(len))
    }
}

fn push_value(out: &mut SecretBytes, value: &[u8]) -> Result<(), Error> {
    let len = u16::try_from(value.len()).map_err(|_| Error::Malformed)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

impl Blob {
    /// Takes a blob apart as far as that goes without the key.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Type`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        if octets.len() > MAX {
            return Err(Error::Malformed);
        }
        let mut fields = Fields(octets);
        let kcv = fields.take(8)?.try_into().map_err(|_| Error::Malformed)?;
        let code = fields.take(1)?.first().copied().unwrap_or(0);
        let kind = Kind::from_code(code)?;
        if fields.value()? != kind.oid() {
            return Err(Error::Malformed);
        }
        let attributes = Attributes {
            algorithms: fields.value()?.to_vec(),
            access_conditions: fields.value()?.to_vec(),
            key_oid: fields.value()?.to_vec(),
        };
        let rest = fields.0.len();
        let Some(ciphertext) = rest.checked_sub(BLOCK) else {
            return Err(Error::Malformed);
        };
        if ciphertext == 0 || ciphertext % BLOCK != 0 {
            return Err(Error::Malformed);
        }
        Ok(Self {
            kcv: Kcv(kcv),
            kind,
            attributes,
            encoded: octets.to_vec(),
            ciphertext_at: octets.len().saturating_sub(rest),
        })
    }

    /// The blob as it came.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Opens it: check value, then authentication code, then structure, then the key itself (xkek
    /// spec 7 has this order).
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(&self, kek: &Kek, rng: &mut impl Rng) -> Result<Opened, Error> {
        let own = kek.kcv();
        if own != self.kcv {
            return Err(Error::Kcv {
                blob: self.kcv,
                kek: own,
            });
        }
        let split = self.encoded.split_last_chunk::<BLOCK>();
        let (authenticated, mac) = split.ok_or(Error::Malformed)?;
        let right = SecretBytes::from(aes_cmac(kek.mac_key().as_slice(), authenticated)?.to_vec());
        if !right.ct_eq(mac) {
            return Err(Error::Mac);
        }
        let ciphertext = authenticated
            .get(self.ciphertext_at..)
            .ok_or(Error::Malformed)?;
        let key = kek.encryption_key();
        let plain = aes256_cbc_decrypt(key.as_slice(), &[0; BLOCK], ciphertext)?;
        let mut fields = Fields(plain.as_slice());
        let mut nonce = SecretBytes::with_capacity(8);
        nonce.extend_from_slice(fields.take(8)?);
        let size = fields.number()?;
        let key = match self.kind {
            Kind::Rsa => open_rsa(&mut fields, rng)?,
            Kind::RsaCrt => open_rsa_crt(&mut fields)?,
            Kind::Ec => open_ec(&mut fields)?,
            Kind::Aes => Key::Aes(AesKey::new(fields.take(usize::from(size))?)?),
        };
        Ok(Opened {
            key,
            attributes: self.attributes.clone(),
            nonce,
        })
    }
}

fn open_rsa(fields: &mut Fields<'_>, rng: &mut impl Rng) -> Result<Key, Error> {
    let (d, n, e) = (fields.value()?, fields.value()?, fields.value()?);
    Ok(Key::Rsa(RsaPrivate::from_exponents(n, e, d, rng)?))
}

/// The first two values are not what their names say in the one program that writes them, so the key
/// is made again from its primes.
fn open_rsa_crt(fields: &mut Fields<'_>) -> Result<Key, Error> {
    let (_dp, _dq) = (fields.value()?, fields.value()?);
    let (p, _qinv, q) = (fields.value()?, fields.value()?, fields.value()?);
    let (n, e) = (fields.value()?, fields.value()?);
    let key = RsaPrivate::from_primes(p, q, e)?;
    if key.public().modulus() != significant(n) {
        return Err(Error::Key(key::Error::Mismatch));
    }
    Ok(Key::Rsa(key))
}

fn open_ec(fields: &mut Fields<'_>) -> Result<Key, Error> {
    let (a, b, p) = (fields.value()?, fields.value()?, fields.value()?);
    let (n, g) = (fields.value()?, fields.value()?);
    let (d, q) = (fields.value()?, fields.value()?);
    let curve = Curve::from_prime(p).ok_or(Error::Key(key::Error::Point))?;
    let domain = curve.domain();
    // A coefficient may be left out (xkek spec 7: a library that has shortcuts for -3 and 0).
    let same = (a.is_empty() || significant(a) == significant(domain.a))
        && significant(b) == significant(domain.b)
        && significant(n) == significant(domain.n)
        && g == domain.g;
    if !same {
        return Err(Error::Key(key::Error::Point));
    }
    let public = key::EcPublic::from_point(curve, q)?;
    let key = EcPrivate::from_scalar(curve, d)?;
    if *key.public() != public {
        return Err(Error::Key(key::Error::Mismatch));
    }
    Ok(Key::Ec(key))
}

/// Wraps a key. With the same random octets the result is the same, octet for octet.
///
/// # Errors
/// [`Error::Unavailable`]; [`Error::Malformed`] for attributes over 65,535 octets.
pub fn seal(
    kek: &Kek,
    key: &Key,
    attributes: &Attributes,
    rng: &mut impl Rng,
) -> Result<Vec<u8>, Error> {
    let mut plain = SecretBytes::zeroed(8);
    rng.fill(plain.as_mut_slice()).map_err(Unavailable::from)?;
    let kind = push_key(&mut plain, key)?;
    if plain.len() % BLOCK != 0 {
        plain.push(0x80);
        let zeros = plain
            .len()
            .next_multiple_of(BLOCK)
            .saturating_sub(plain.len());
        plain.extend_from_slice([0; BLOCK].get(..zeros).unwrap_or_default());
    }
    let mut out = SecretBytes::with_capacity(plain.len().saturating_add(64));
    out.extend_from_slice(&kek.kcv().0);
    out.push(kind.code());
    push_value(&mut out, kind.oid())?;
    push_value(&mut out, &attributes.algorithms)?;
    push_value(&mut out, &attributes.access_conditions)?;
    push_value(&mut out, &attributes.key_oid)?;
    let sealed = aes256_cbc_encrypt(
        kek.encryption_key().as_slice(),
        &[0; BLOCK],
        plain.as_slice(),
    )?;
    out.extend_from_slice(sealed.as_slice());
    let mac = aes_cmac(kek.mac_key().as_slice(), out.as_slice())?;
    out.extend_from_slice(&mac);
    Ok(out.as_slice().to_vec())
}

fn push_key(plain: &mut SecretBytes, key: &Key) -> Result<Kind, Error> {
    let size = |number: usize| u16::try_from(number).map_err(|_| Error::Malformed);
    match key {
        Key::Rsa(key) => {
            let n = key.public().modulus();
            let zeros = n.first().map_or(0, |octet| octet.leading_zeros());
            let zeros = usize::try_from(zeros).unwrap_or(0);
            let bits = n.len().saturating_mul(8).saturating_sub(zeros);
            plain.extend_from_slice(&size(bits)?.to_be_bytes());
            push_value(plain, key.exponent()?.as_slice())?;
            push_value(plain, n)?;
            push_value(plain, key.public().exponent())?;
            Ok(Kind::Rsa)
        }
        Key::Ec(key) => {
            let domain = key.curve().domain();
            // Full octets, 528 for secp521r1.
            let bits = key.curve().len().saturating_mul(8);
            plain.extend_from_slice(&size(bits)?.to_be_bytes());
            for value in [domain.a, domain.b, domain.p, domain.n, domain.g] {
                push_value(plain, value)?;
            }
            push_value(plain, key.scalar()?.as_slice())?;
            push_value(plain, key.public().point())?;
            Ok(Kind::Ec)
        }
        Key::Aes(key) => {
            let octets = key.as_slice();
            plain.extend_from_slice(&size(octets.len())?.to_be_bytes());
            plain.extend_from_slice(octets);
            Ok(Kind::Aes)
        }
    }
}
