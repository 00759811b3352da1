//! Card-verifiable certificates (BSI TR-03110) as the SmartCard-HSM has them, and its authenticated
//! requests, which attest keys (xkek spec 4 and 8).

mod body;
mod certificate;
mod generation;
mod request;

pub use body::{Body, Chat, Date, Extension, KeyField, Reference};
pub use certificate::Certificate;
pub use generation::{GenerationRequest, KeyAttributes, KeySpec};
pub use request::{Outer, Request};

use crate::crypto::Unavailable;
use crate::{key, tlv};

/// id-TA-ECDSA-SHA-256: the kind of every key on a curve.
pub const OID_ECDSA_SHA256: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 2, 3];
/// id-TA-RSA-v1-5-SHA-256: the kind of every RSA key.
pub const OID_RSA_SHA256: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 2, 2, 2, 1, 2];
/// 1.3.6.1.4.1.24991.3.2.2: the extension that carries the identifier of a key domain.
pub const OID_KEY_DOMAIN_UID: &[u8] = &[
    0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xc3, 0x1f, 0x03, 0x02, 0x02,
];
/// 1.3.6.1.4.1.24991.3.1.1: the role of certificates of the device scheme.
pub const OID_DEVICE_ROLE: &[u8] = &[
    0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xc3, 0x1f, 0x03, 0x01, 0x01,
];

/// What is wrong with a certificate or a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The encoding.
    #[error("malformed certificate: {0}")]
    Tlv(#[from] tlv::Error),
    /// A field that cannot be what it should be.
    #[error("malformed certificate: {0}")]
    Field(&'static str),
    /// Domain parameters of no curve known here.
    #[error("certificate has domain parameters of an unknown curve")]
    Curve,
    /// No domain parameters, in no issuer either.
    #[error("certificate {0} has no domain parameters and no issuer that has")]
    NoDomain(Reference),
    /// The key is none.
    #[error("certificate has a bad public key: {0}")]
    Key(#[from] key::Error),
    /// The signature is wrong.
    #[error("wrong signature on certificate {0}")]
    Signature(Reference),
    /// The request proves no possession of its key.
    #[error("wrong inner signature of the request {0}")]
    Inner(Reference),
    /// The request has no attestation or a wrong one.
    #[error("wrong attestation of the request {0}")]
    Attestation(Reference),
    /// The library could not do it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
