//! The certificates that a client sends in the handshake (kxd spec 4.1).

use crate::algorithm::PublicKeyKind;
use crate::certificate::Certificate;
use crate::error::ParseError;

/// The longest RSA modulus that a handshake may bring, in bits; longer ones cost too much time.
pub const MAX_RSA_BITS: usize = 8192;

/// Why a handshake fails over the certificates sent, in the words of the handshake log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientChainError {
    /// None was sent.
    #[error("tls: client didn't provide a certificate")]
    None,
    /// One does not parse. Alert bad_certificate.
    #[error("tls: failed to parse client certificate: {0}")]
    Certificate(#[from] ParseError),
    /// One has too long an RSA key. Alert bad_certificate.
    #[error("tls: client sent certificate containing RSA key larger than {MAX_RSA_BITS} bits")]
    RsaTooLong,
    /// The first one has a key that TLS cannot use; a Go type is shown. Alert
    /// unsupported_certificate.
    #[error("tls: client certificate contains an unsupported public key of type {0}")]
    UnsupportedKey(&'static str),
}

/// Reads the certificates in the order sent. The first is the client's own, the only one whose key
/// is proven.
///
/// # Errors
/// [`ClientChainError`].
pub fn parse<'a>(
    sent: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Certificate>, ClientChainError> {
    let mut certificates = Vec::new();
    for der in sent {
        let certificate = Certificate::parse(der)?;
        if matches!(certificate.public_key(), PublicKeyKind::Rsa { bits } if bits > MAX_RSA_BITS) {
            return Err(ClientChainError::RsaTooLong);
        }
        certificates.push(certificate);
    }
    match certificates.first().map(Certificate::public_key) {
        None => Err(ClientChainError::None),
        Some(PublicKeyKind::Dsa) => Err(ClientChainError::UnsupportedKey("*dsa.PublicKey")),
        Some(PublicKeyKind::Unknown) => Err(ClientChainError::UnsupportedKey("<nil>")),
        Some(_) => Ok(certificates),
    }
}
