//! A certificate with its private key, as the server and the client load them (kxd spec 2.1).

use kx_crypto::private_key::{self, PrivateKeyError};
use openssl::pkey::{Id, PKey, PKeyRef, Private, Public};
use openssl::x509::X509;
use zeroize::Zeroize;

use crate::algorithm::PublicKeyKind;
use crate::certificate::Certificate;
use crate::error::ParseError;
use crate::pem;

/// What goes into the TLS stack.
pub struct KeyPair {
    /// The certificates as they will be sent, the own one first. Never empty.
    pub chain: Vec<X509>,
    /// Its private key.
    pub key: PKey<Private>,
    /// The own certificate once more, parsed.
    pub leaf: Certificate,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("leaf", &self.leaf.short())
            .finish_non_exhaustive()
    }
}

/// Why the two files are not a pair; shown in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The certificate file has no PEM block.
    #[error("tls: failed to find any PEM data in certificate input")]
    NoCertificatePem,
    /// The certificate file holds one private key and nothing else.
    #[error(
        "tls: failed to find certificate PEM data in certificate input, but did find a private \
         key; PEM inputs may have been switched"
    )]
    Switched,
    /// The certificate file holds other things; their labels follow.
    #[error(
        "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM \
         blocks of the following types: [{}]",
        .0.join(" ")
    )]
    NoCertificate(Vec<String>),
    /// The key file has no PEM block.
    #[error("tls: failed to find any PEM data in key input")]
    NoKeyPem,
    /// The key file holds one certificate and nothing else.
    #[error("tls: found a certificate rather than a key in the PEM for the private key")]
    CertificateForKey,
    /// The key file holds other things; their labels follow.
    #[error(
        "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after \
         skipping PEM blocks of the following types: [{}]",
        .0.join(" ")
    )]
    NoKey(Vec<String>),
    /// The own certificate does not parse, or (as "malformed certificate") the TLS library cannot
    /// read one of the chain.
    #[error(transparent)]
    Certificate(#[from] ParseError),
    /// The key is not PKCS#1, PKCS#8 or SEC 1.
    #[error("tls: failed to parse private key")]
    Key,
    /// The key is in PKCS#8, but of a kind that cannot sign.
    #[error("tls: found unknown private key type in PKCS#8 wrapping")]
    KeyKind,
    /// For instance an RSA certificate and an ECDSA key.
    #[error("tls: private key type does not match public key type")]
    TypeMismatch,
    /// Of the same type, but another one's.
    #[error("tls: private key does not match public key")]
    Mismatch,
    /// The certificate's key is of a kind that TLS cannot use.
    #[error("tls: unknown public key algorithm")]
    UnknownPublicKey,
}

/// Reads a certificate chain and the private key of its first certificate: the CERTIFICATE blocks
/// of the one text, the first `... PRIVATE KEY` block of the other. Encrypted keys are not
/// supported.
///
/// # Errors
/// [`PairError`].
pub fn load(certificate_pem: &[u8], key_pem: &[u8]) -> Result<KeyPair, PairError> {
    let ders = certificate_blocks(certificate_pem)?;
    let key_der = KeyDer(key_block(key_pem)?);
    let leaf = match ders.first() {
        Some(der) => Certificate::parse(der)?,
        None => return Err(PairError::NoCertificatePem),
    };
    let key = private_key::from_der(&key_der.0).map_err(|error| match error {
        PrivateKeyError::Unreadable => PairError::Key,
        PrivateKeyError::UnknownKind => PairError::KeyKind,
    })?;
    let chain: Result<Vec<X509>, _> = ders.iter().map(|der| X509::from_der(der)).collect();
    // Parsing the certificate has decoded its public key; that takes OpenSSL a while.
    let decoded = chain.as_ref().ok().and_then(|chain| chain.first());
    check_pair(&leaf, decoded, &key)?;
    let chain = chain.map_err(|_| ParseError::Malformed("certificate"))?;
    Ok(KeyPair { chain, key, leaf })
}

/// Wiped on every way out.
struct KeyDer(Vec<u8>);

impl Drop for KeyDer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn label_text(label: &[u8]) -> String {
    String::from_utf8_lossy(label).into_owned()
}

fn certificate_blocks(text: &[u8]) -> Result<Vec<Vec<u8>>, PairError> {
    let mut ders = Vec::new();
    let mut skipped = Vec::new();
    for mut block in pem::blocks(text) {
        if block.label == b"CERTIFICATE" {
            ders.push(block.der);
        } else {
            block.der.zeroize();
            skipped.push(label_text(block.label));
        }
    }
    if !ders.is_empty() {
        return Ok(ders);
    }
    Err(match skipped.as_slice() {
        [] => PairError::NoCertificatePem,
        [label] if label.ends_with("PRIVATE KEY") => PairError::Switched,
        _ => PairError::NoCertificate(skipped),
    })
}

fn key_block(text: &[u8]) -> Result<Vec<u8>, PairError> {
    let mut skipped = Vec::new();
    for block in pem::blocks(text) {
        if block.label == b"PRIVATE KEY" || block.label.ends_with(b" PRIVATE KEY") {
            return Ok(block.der);
        }
        skipped.push(label_text(block.label));
    }
    Err(match skipped.as_slice() {
        [] => PairError::NoKeyPem,
        [label] if label == "CERTIFICATE" => PairError::CertificateForKey,
        _ => PairError::NoKey(skipped),
    })
}

fn check_pair(
    leaf: &Certificate,
    decoded: Option<&X509>,
    key: &PKeyRef<Private>,
) -> Result<(), PairError> {
    let wanted = match leaf.public_key() {
        PublicKeyKind::Rsa { .. } => Id::RSA,
        PublicKeyKind::Ecdsa(_) => Id::EC,
        PublicKeyKind::Ed25519 => Id::ED25519,
        PublicKeyKind::Dsa | PublicKeyKind::Unknown => return Err(PairError::UnknownPublicKey),
    };
    if key.id() != wanted {
        return Err(PairError::TypeMismatch);
    }
    let public: PKey<Public> = match decoded {
        Some(certificate) => certificate.public_key(),
        None => PKey::public_key_from_der(leaf.public_key_info()),
    }
    .map_err(|_| PairError::Mismatch)?;
    if public.public_eq(key) {
        Ok(())
    } else {
        Err(PairError::Mismatch)
    }
}
