//! The client's certificates: required, parsed strictly, and remembered across resumption.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use kx_cert::Certificate;
use kx_cert::client_chain::{self, ClientChainError};
use openssl::hash::{MessageDigest, hash};
use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::stack::{Stack, StackRef};
use openssl::x509::{X509, X509StoreContextRef, X509VerifyResult};

/// What the verify callback saw during one handshake.
#[derive(Debug, Default)]
pub struct HandshakeNotes(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// Why a sent certificate was refused, as the original words it.
    refused: Option<ClientChainError>,
    /// The first certificate, parsed; taken by the first request.
    leaf: Option<Certificate>,
}

impl HandshakeNotes {
    fn with<T>(&self, f: impl FnOnce(&mut Notes) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets the parsed certificate: who asks for it gets it from OpenSSL, anew.
    pub fn forget_leaf(&self) {
        self.with(|n| n.leaf = None);
    }

    /// Whether the first certificate was seen and parsed.
    pub fn has_leaf(&self) -> bool {
        self.with(|n| n.leaf.is_some())
    }

    /// The error of a certificate that did not parse, if that ended the handshake.
    pub fn refused(&self) -> Option<ClientChainError> {
        self.with(|n| n.refused.clone())
    }
}

/// A name that no certificate should have. Checking for it makes OpenSSL call back once, with the
/// chain built and with an error whose alert is bad_certificate (42): the alert that the original
/// sends for a certificate it cannot parse. Other errors have other alerts, and the `openssl` crate
/// lets safe code choose none.
pub(super) const NO_NAME: &str = "no-name.kxd.invalid";

/// `X509_V_ERR_HOSTNAME_MISMATCH`, X509_verify_cert_error_string(3).
const HOSTNAME_MISMATCH: i32 = 62;

/// Asks for a client certificate and accepts any that parses by the original's rules.
///
/// Nothing is trusted here and nothing has to be: possession of the first certificate's key is
/// proven by the handshake itself, the rest is [`crate::authz`].
pub(super) fn require(ssl: &mut SslRef, notes: &Arc<HandshakeNotes>) {
    let notes = Arc::clone(notes);
    let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    ssl.set_verify_callback(mode, move |_, ctx| judge(ctx, &notes));
}

fn judge(ctx: &mut X509StoreContextRef, notes: &HandshakeNotes) -> bool {
    if ctx.error().as_raw() == HOSTNAME_MISMATCH
        && let Some(chain) = ctx.chain()
    {
        match parse(None, chain) {
            Ok(certificates) => notes.with(|n| n.leaf = certificates.into_iter().next()),
            Err(e) => {
                notes.with(|n| n.refused = Some(e));
                return false;
            }
        }
    }
    ctx.set_error(X509VerifyResult::OK);
    true
}

/// Certificates by the original's rules, in order.
fn parse(leaf: Option<&X509>, rest: &StackRef<X509>) -> Result<Vec<Certificate>, ClientChainError> {
    let encoded = leaf
        .into_iter()
        .map(|c| c.to_der())
        .chain(rest.iter().map(|c| c.to_der()));
    // Without memory for the encoding there is no certificate.
    let encoded: Vec<_> = encoded
        .collect::<Result<_, _>>()
        .map_err(|_| ClientChainError::None)?;
    client_chain::parse(encoded.iter().map(Vec::as_slice))
}

/// A client's certificates in the order in which it sent them.
#[derive(Debug, Clone)]
pub struct ClientCerts {
    /// The one whose key the handshake proved.
    pub leaf: Certificate,
    /// The others: they can help to build a chain, never be authorised (deviation D1).
    pub intermediates: Arc<[Certificate]>,
    /// How log lines name the first one, which many requests may follow.
    pub shown: Arc<str>,
}

impl ClientCerts {
    /// The certificates of an established connection; `None` when the client sent none.
    ///
    /// # Errors
    /// When one of them does not parse by the original's rules.
    pub fn of(
        ssl: &SslRef,
        notes: &HandshakeNotes,
        memory: &IntermediateMemory,
    ) -> Result<Option<ClientCerts>, ClientChainError> {
        let rest = ssl.peer_cert_chain().filter(|rest| !rest.is_empty());
        let (leaf, sent) = match (notes.with(|n| n.leaf.take()), rest) {
            // The usual case: one certificate, parsed in the handshake.
            (Some(leaf), None) => (leaf, Vec::new()),
            (_, rest) => {
                let Some(first) = ssl.peer_certificate() else {
                    return Ok(None);
                };
                let mut all = match rest {
                    Some(rest) => parse(Some(&first), rest)?,
                    None => parse(
                        Some(&first),
                        &*Stack::new().map_err(|_| ClientChainError::None)?,
                    )?,
                };
                let leaf = all.remove(0);
                (leaf, all)
            }
        };
        let intermediates = if ssl.session_reused() {
            memory.recall(&leaf)
        } else if sent.is_empty() {
            Arc::new([])
        } else {
            memory.remember(&leaf, sent.into())
        };
        Ok(Some(ClientCerts {
            shown: leaf.short().into(),
            leaf,
            intermediates,
        }))
    }
}

/// Intermediates that clients sent, by the digest of their leaf.
///
/// A ticket brings back only the first certificate of the full handshake, while the original's
/// brings back all. Remembering the others is harmless: each link of a chain is verified whenever
/// it is used. When the memory is full the oldest goes, and such a client's resumed connection is
/// judged without its intermediates.
#[derive(Debug, Default)]
pub struct IntermediateMemory(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    chains: HashMap<LeafDigest, Arc<[Certificate]>>,
    order: VecDeque<LeafDigest>,
}

type LeafDigest = Vec<u8>;

/// Leaves whose intermediates are remembered, and how large one such set may be (in octets).
const REMEMBERED: usize = 256;
const REMEMBERED_OCTETS: usize = 16 * 1024;

impl IntermediateMemory {
    fn remember(&self, leaf: &Certificate, sent: Arc<[Certificate]>) -> Arc<[Certificate]> {
        let size: usize = sent.iter().map(|c| c.der().len()).sum();
        if let (Ok(digest), true) = (digest(leaf), size <= REMEMBERED_OCTETS) {
            let mut m = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if m.chains.insert(digest.clone(), Arc::clone(&sent)).is_none() {
                m.order.push_back(digest);
            }
            if m.order.len() > REMEMBERED
                && let Some(oldest) = m.order.pop_front()
            {
                m.chains.remove(&oldest);
            }
        }
        sent
    }

    fn recall(&self, leaf: &Certificate) -> Arc<[Certificate]> {
        let m = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if m.chains.is_empty() {
            return Arc::new([]);
        }
        digest(leaf)
            .ok()
            .and_then(|d| m.chains.get(&d).cloned())
            .unwrap_or_else(|| Arc::new([]))
    }
}

fn digest(leaf: &Certificate) -> Result<LeafDigest, openssl::error::ErrorStack> {
    Ok(hash(MessageDigest::sha256(), leaf.der())?.to_vec())
}
