//! Signature algorithms and public keys of certificates.

use kx_crypto::curve::Curve;
use kx_crypto::signature::{Hash, SignatureAlgorithm};

use crate::der::{BitString, Element, Reader, tag, to_int64};
use crate::error::PublicKeyError;

/// An AlgorithmIdentifier: the identifier's content octets and the parameters with their header, if
/// any.
pub(crate) struct AlgorithmIdentifier<'a> {
    pub(crate) oid: &'a [u8],
    pub(crate) parameters: &'a [u8],
}

impl<'a> AlgorithmIdentifier<'a> {
    /// Reads the inside of the sequence. The error is the part that is malformed.
    pub(crate) fn parse(mut inside: Reader<'a>) -> Result<Self, &'static str> {
        let oid = inside.oid().ok_or("OID")?;
        if inside.is_empty() {
            return Ok(AlgorithmIdentifier {
                oid,
                parameters: &[],
            });
        }
        let Element { whole, .. } = inside.any().ok_or("parameters")?;
        Ok(AlgorithmIdentifier {
            oid,
            parameters: whole,
        })
    }
}

/// How a certificate was signed, as far as it matters to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateSignature {
    /// An algorithm whose signatures are checked.
    Known(SignatureAlgorithm),
    /// DSA; never checked. True when its hash is SHA-1.
    Dsa {
        /// The hash is SHA-1 (otherwise SHA-256).
        sha1: bool,
    },
    /// Anything else.
    Unknown,
}

const NULL: &[u8] = &[5, 0];

const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const SHA1_RSA_OIW: &[u8] = &[0x2b, 14, 3, 2, 29];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const DSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3];
const DSA_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 2];
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

const KEY_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const KEY_DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const KEY_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

const CURVE_P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
const CURVE_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const CURVE_P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
const CURVE_P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];

impl CertificateSignature {
    pub(crate) fn from_identifier(identifier: &AlgorithmIdentifier<'_>) -> Self {
        use SignatureAlgorithm::{Ecdsa, Ed25519, RsaPkcs1};
        let known = match identifier.oid {
            MD5_RSA => RsaPkcs1(Hash::Md5),
            SHA1_RSA | SHA1_RSA_OIW => RsaPkcs1(Hash::Sha1),
            SHA256_RSA => RsaPkcs1(Hash::Sha256),
            SHA384_RSA => RsaPkcs1(Hash::Sha384),
            SHA512_RSA => RsaPkcs1(Hash::Sha512),
            ECDSA_SHA1 => Ecdsa(Hash::Sha1),
            ECDSA_SHA256 => Ecdsa(Hash::Sha256),
            ECDSA_SHA384 => Ecdsa(Hash::Sha384),
            ECDSA_SHA512 => Ecdsa(Hash::Sha512),
            ED25519 if identifier.parameters.is_empty() => Ed25519,
            DSA_SHA1 => return CertificateSignature::Dsa { sha1: true },
            DSA_SHA256 => return CertificateSignature::Dsa { sha1: false },
            RSA_PSS => match pss_hash(identifier.parameters) {
                Some(hash) => SignatureAlgorithm::RsaPss(hash),
                None => return CertificateSignature::Unknown,
            },
            _ => return CertificateSignature::Unknown,
        };
        CertificateSignature::Known(known)
    }

    /// The name of an algorithm that is too weak to be checked at all.
    pub(crate) fn insecure(self) -> Option<&'static str> {
        use SignatureAlgorithm::{Ecdsa, RsaPkcs1};
        match self {
            CertificateSignature::Known(RsaPkcs1(Hash::Md5)) => Some("MD5-RSA"),
            CertificateSignature::Known(RsaPkcs1(Hash::Sha1)) => Some("SHA1-RSA"),
            CertificateSignature::Known(Ecdsa(Hash::Sha1)) => Some("ECDSA-SHA1"),
            CertificateSignature::Dsa { sha1: true } => Some("DSA-SHA1"),
            _ => None,
        }
    }
}

/// The hash of RSASSA-PSS-params (RFC 8017 appendix A.2.3): message hash, mask hash and salt length
/// must agree, and only the three SHA-2 hashes count. Elements after those known are passed over.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let explicit = |reader: &mut Reader<'_>, n| -> Option<Vec<u8>> {
        reader
            .content(tag::context_constructed(n))
            .map(<[u8]>::to_vec)
    };
    let mut inside = Reader::new(parameters).inside(tag::SEQUENCE)?;
    let hash = explicit(&mut inside, 0)?;
    let hash = AlgorithmIdentifier::parse(Reader::new(&hash).inside(tag::SEQUENCE)?).ok()?;
    let mask = explicit(&mut inside, 1)?;
    let mask = AlgorithmIdentifier::parse(Reader::new(&mask).inside(tag::SEQUENCE)?).ok()?;
    let mask_hash = Reader::new(mask.parameters).inside(tag::SEQUENCE)?;
    let mask_hash = AlgorithmIdentifier::parse(mask_hash).ok()?;
    let salt = explicit(&mut inside, 2)?;
    let salt = Reader::new(&salt).int64()?;
    let trailer = match inside.optional(tag::context_constructed(3))? {
        Some(trailer) => Reader::new(trailer).int64()?,
        None => 1,
    };
    let plain = |identifier: &AlgorithmIdentifier<'_>| {
        identifier.parameters.is_empty() || identifier.parameters == NULL
    };
    if mask.oid != MGF1
        || mask_hash.oid != hash.oid
        || !plain(&hash)
        || !plain(&mask_hash)
        || trailer != 1
    {
        return None;
    }
    match (hash.oid, salt) {
        (SHA256, 32) => Some(Hash::Sha256),
        (SHA384, 48) => Some(Hash::Sha384),
        (SHA512, 64) => Some(Hash::Sha512),
        _ => None,
    }
}

/// What kind of key a certificate certifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Length of the modulus.
        bits: usize,
    },
    /// ECDSA on a NIST curve.
    Ecdsa(Curve),
    /// Ed25519.
    Ed25519,
    /// DSA. No rule accepts its signatures.
    Dsa,
    /// Anything else (Ed448, X25519, RSA restricted to PSS). Such a certificate signs nothing.
    Unknown,
}

impl PublicKeyKind {
    /// Reads the key of a SubjectPublicKeyInfo; algorithms that are not known are not looked into.
    pub(crate) fn parse(
        identifier: &AlgorithmIdentifier<'_>,
        key: &BitString<'_>,
    ) -> Result<Self, PublicKeyError> {
        let octets = key.right_aligned();
        match identifier.oid {
            KEY_RSA => rsa(identifier.parameters, &octets),
            KEY_EC => ecdsa(identifier.parameters, &octets),
            KEY_DSA => dsa(identifier.parameters, &octets),
            ED25519 if !identifier.parameters.is_empty() => Err(PublicKeyError::Ed25519Parameters),
            ED25519 if octets.len() != 32 => Err(PublicKeyError::Ed25519Size),
            ED25519 => Ok(PublicKeyKind::Ed25519),
            _ => Ok(PublicKeyKind::Unknown),
        }
    }
}

fn rsa(parameters: &[u8], key: &[u8]) -> Result<PublicKeyKind, PublicKeyError> {
    if parameters != NULL {
        return Err(PublicKeyError::RsaParameters);
    }
    let mut inside = Reader::new(key)
        .inside(tag::SEQUENCE)
        .ok_or(PublicKeyError::Rsa)?;
    let modulus = inside.integer().ok_or(PublicKeyError::RsaModulus)?;
    let exponent = inside
        .integer()
        .and_then(to_int64)
        .ok_or(PublicKeyError::RsaExponent)?;
    if !is_positive(modulus) {
        return Err(PublicKeyError::RsaModulusSign);
    }
    if exponent <= 0 {
        return Err(PublicKeyError::RsaExponentSign);
    }
    // A minimal positive number begins with a zero octet or with its highest octet.
    let significant = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let leading = significant.first().map_or(0, |octet| octet.leading_zeros());
    let bits = (8 * significant.len()).saturating_sub(usize::try_from(leading).unwrap_or(0));
    Ok(PublicKeyKind::Rsa { bits })
}

fn ecdsa(parameters: &[u8], key: &[u8]) -> Result<PublicKeyKind, PublicKeyError> {
    let oid = Reader::new(parameters)
        .oid()
        .ok_or(PublicKeyError::EcdsaParameters)?;
    let curve = match oid {
        CURVE_P224 => Curve::P224,
        CURVE_P256 => Curve::P256,
        CURVE_P384 => Curve::P384,
        CURVE_P521 => Curve::P521,
        _ => return Err(PublicKeyError::UnsupportedCurve),
    };
    if curve.is_uncompressed_point(key) {
        Ok(PublicKeyKind::Ecdsa(curve))
    } else {
        Err(PublicKeyError::CurvePoint)
    }
}

fn dsa(parameters: &[u8], key: &[u8]) -> Result<PublicKeyKind, PublicKeyError> {
    let y = Reader::new(key).integer().ok_or(PublicKeyError::Dsa)?;
    let numbers = || {
        let mut inside = Reader::new(parameters).inside(tag::SEQUENCE)?;
        Some([inside.integer()?, inside.integer()?, inside.integer()?])
    };
    let numbers = numbers().ok_or(PublicKeyError::DsaParameters)?;
    if is_positive(y) && numbers.into_iter().all(is_positive) {
        Ok(PublicKeyKind::Dsa)
    } else {
        Err(PublicKeyError::DsaSign)
    }
}

/// Whether a minimal two's complement number is above zero.
fn is_positive(number: &[u8]) -> bool {
    number != [0] && number.first().is_some_and(|octet| octet & 0x80 == 0)
}
