//! What the engine asks about keys and certificates (isakmpd-wire 6). The program's PKI
//! directories answer; nothing here reads a file.

use std::sync::Arc;

use isakmp_proto::identity::Identity;

/// A certificate on the wire: encoding (4 X509_SIG, 11 KEYNOTE) and its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// isakmpd-wire 1.7
    pub encoding: u8,
    /// DER for X509_SIG.
    pub data: Vec<u8>,
}

/// Why no key of a peer can be used; the text is the original's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub String);

/// Signs with a private key that stays where it is. Called in a worker thread.
pub trait Signer: Send + Sync {
    /// Octets of a signature, which is the length of the modulus.
    fn signature_len(&self) -> usize;
    /// RSA over the raw octets of HASH_I or HASH_R: type 1 padding without a DigestInfo.
    ///
    /// # Errors
    /// The library refused (key too short for the hash).
    fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, CredentialError>;
}

/// Verifies with a peer's public key. Called in a worker thread.
pub trait Verifier: Send + Sync {
    /// Octets a signature must have.
    fn signature_len(&self) -> usize;
    /// Whether `signature` is one over the raw octets `hash`.
    fn verify(&self, hash: &[u8], signature: &[u8]) -> bool;
}

/// A public key that was found for a peer, and how.
#[derive(Clone)]
pub struct PeerKey {
    /// The key.
    pub verifier: Arc<dyn Verifier>,
    /// The text of it that a policy sees as licensee: certificate (PEM or DER in hex) or raw key.
    /// isakmpd-policy has the forms.
    pub principals: Vec<String>,
}

/// What proves who we are.
pub struct OwnProof {
    /// Our private key.
    pub signer: Arc<dyn Signer>,
    /// What goes with the signature, if there is one.
    pub certificate: Option<Certificate>,
}

/// The PKI as the engine sees it; `isakmpd::pki` implements it.
pub trait Credentials {
    /// Whether at least one CA is loaded: then certificates are asked for, and requests reflected.
    fn has_ca(&self) -> bool;
    /// The certificate to send for our own identity; `requests` are the authorities that the peer named
    /// (DER names, may be empty ones).
    fn certificate_of(&self, own: &Identity, requests: &[Vec<u8>]) -> Option<Certificate>;
    /// The private key for our own identity.
    ///
    /// # Errors
    /// No key, unreadable, or too open permissions.
    fn signer_of(&self, own: &Identity) -> Result<Arc<dyn Signer>, CredentialError>;
    /// The public key that authenticates `peer`: stored certificate, received ones in their order, raw key.
    ///
    /// # Errors
    /// None of them can be used.
    fn key_of(&self, peer: &Identity, received: &[Certificate])
    -> Result<PeerKey, CredentialError>;

    /// [`certificate_of`](Self::certificate_of) and [`signer_of`](Self::signer_of), which may cost less together.
    ///
    /// # Errors
    /// As `signer_of`.
    fn own_proof(&self, own: &Identity, requests: &[Vec<u8>]) -> Result<OwnProof, CredentialError> {
        let certificate = self.certificate_of(own, requests);
        let signer = self.signer_of(own)?;
        Ok(OwnProof {
            signer,
            certificate,
        })
    }

    /// [`key_of`](Self::key_of) and [`own_proof`](Self::own_proof), which may cost less together. Nothing is said of
    /// what is missing of our own: it may not be needed.
    ///
    /// # Errors
    /// As `key_of`.
    fn both_proofs(
        &self,
        (own, requests): (&Identity, &[Vec<u8>]),
        (peer, received): (&Identity, &[Certificate]),
    ) -> Result<(PeerKey, Option<OwnProof>), CredentialError> {
        let key = self.key_of(peer, received)?;
        Ok((key, self.own_proof(own, requests).ok()))
    }
}
