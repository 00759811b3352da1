//! Why a certificate is not one. The texts are those of the programs replaced (kxd spec 4.1), since
//! they reach the log and kxc's standard error.

use kx_log::goquote::quote;

/// What is wrong with a certificate's octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A part is missing or is not DER.
    #[error("x509: malformed {0}")]
    Malformed(&'static str),
    /// An extension's value, or a part of it, is not what its type wants.
    #[error("x509: invalid {0}")]
    Invalid(&'static str),
    /// An extension is marked critical that must not be.
    #[error("x509: {0} incorrectly marked critical")]
    MarkedCritical(&'static str),
    /// Octets after the certificate.
    #[error("x509: trailing data")]
    TrailingData,
    /// Version 4 or later.
    #[error("x509: invalid version")]
    InvalidVersion,
    /// The algorithm that is signed and the one outside are not the same.
    #[error("x509: inner and outer signature algorithm identifiers don't match")]
    AlgorithmMismatch,
    /// A time is neither UTCTime nor GeneralizedTime.
    #[error("x509: unsupported time format")]
    UnsupportedTime,
    /// A name is not a sequence of sets.
    #[error("x509: invalid RDNSequence")]
    InvalidRdnSequence,
    /// A name's attribute is not a sequence.
    #[error("x509: invalid RDNSequence: invalid attribute")]
    InvalidAttribute,
    /// A name's attribute has no type.
    #[error("x509: invalid RDNSequence: invalid attribute type")]
    InvalidAttributeType,
    /// A name's attribute has no value.
    #[error("x509: invalid RDNSequence: invalid attribute value")]
    InvalidAttributeValue,
    /// A name's attribute is not a string, or has characters that its type does not allow.
    #[error("x509: invalid RDNSequence: invalid attribute value: {0}")]
    InvalidString(StringError),
    /// The same extension twice.
    #[error("x509: certificate contains duplicate extension with OID {}", quote(.0.as_bytes()))]
    DuplicateExtension(String),
    /// The public key contradicts its algorithm.
    #[error("x509: {0}")]
    PublicKey(PublicKeyError),
    /// A subject alternative name has characters beyond ASCII.
    #[error("x509: SAN {0} is malformed")]
    MalformedSan(&'static str),
    /// A subject alternative name of type iPAddress has not 4 or 16 octets.
    #[error("x509: cannot parse IP address of length {0}")]
    IpAddressLength(usize),
    /// A subject alternative name is not a URI.
    #[error("x509: cannot parse URI {}: {reason}", quote(.uri.as_bytes()))]
    Uri {
        /// The name as it stands.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Name constraints without a subtree.
    #[error("x509: empty name constraints extension")]
    EmptyNameConstraints,
    /// A name constraint with characters beyond ASCII.
    #[error(
        "x509: invalid constraint value: x509: {} cannot be encoded as an IA5String",
        quote(.0)
    )]
    ConstraintNotAscii(Vec<u8>),
    /// A name constraint that is no name of its kind.
    #[error("x509: failed to parse {kind} constraint {}{why}", quote(.text.as_bytes()))]
    Constraint {
        /// The kind of name.
        kind: &'static str,
        /// The constraint as it stands.
        text: String,
        /// Empty, or a reason with a colon in front.
        why: &'static str,
    },
    /// An address constraint has not 8 or 32 octets.
    #[error("x509: IP constraint contained value of length {0}")]
    IpConstraintLength(usize),
    /// An address constraint's mask is not ones followed by zeros. The mask is in hex.
    #[error("x509: IP constraint contained invalid mask {0}")]
    IpConstraintMask(String),
}

/// What is wrong with a string in a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StringError {
    /// Not a string type; the tag is given.
    #[error("unsupported string type: {0}")]
    Unsupported(u8),
    /// Characters outside of the type's alphabet.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// What is wrong with a subject's public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// RSA wants NULL parameters (RFC 3279 section 2.3.1).
    #[error("RSA key missing NULL parameters")]
    RsaParameters,
    /// Not the sequence of RFC 8017.
    #[error("invalid RSA public key")]
    Rsa,
    /// The modulus is not a number.
    #[error("invalid RSA modulus")]
    RsaModulus,
    /// The exponent is not a number below 2^63.
    #[error("invalid RSA public exponent")]
    RsaExponent,
    /// Zero or negative.
    #[error("RSA modulus is not a positive number")]
    RsaModulusSign,
    /// Zero or negative.
    #[error("RSA public exponent is not a positive number")]
    RsaExponentSign,
    /// Parameters other than a named curve.
    #[error("invalid ECDSA parameters")]
    EcdsaParameters,
    /// Not one of P-224, P-256, P-384, P-521.
    #[error("unsupported elliptic curve")]
    UnsupportedCurve,
    /// Not an uncompressed point on the curve.
    #[error("failed to unmarshal elliptic curve point")]
    CurvePoint,
    /// Ed25519 wants no parameters (RFC 8410 section 3).
    #[error("Ed25519 key encoded with illegal parameters")]
    Ed25519Parameters,
    /// Not 32 octets.
    #[error("wrong Ed25519 public key size")]
    Ed25519Size,
    /// Not a number.
    #[error("invalid DSA public key")]
    Dsa,
    /// Not three numbers.
    #[error("invalid DSA parameters")]
    DsaParameters,
    /// A number of a DSA key is not positive.
    #[error("zero or negative DSA parameter")]
    DsaSign,
}
