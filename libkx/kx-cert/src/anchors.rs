//! Files of certificates: `allowed_clients` of kxd (kxd spec 3.1) and `-server_cert` of kxc (kxd
//! spec 8).

use chrono::{DateTime, FixedOffset};

use crate::certificate::Certificate;
use crate::error::ParseError;
use crate::pem;
use crate::star;
use crate::verify::{Chain, VerifyError, verify, verify_pinned};

/// `allowed_clients` holds no certificate at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("error parsing client certificate file")]
pub struct NoCertificate;

/// Every certificate of `allowed_clients`. Blocks that are none are passed over.
///
/// # Errors
/// [`NoCertificate`] when nothing is left.
pub fn parse_allowed_clients(text: &[u8]) -> Result<Vec<Certificate>, NoCertificate> {
    let certificates = certificates(text);
    if certificates.is_empty() {
        Err(NoCertificate)
    } else {
        Ok(certificates)
    }
}

fn certificates(text: &[u8]) -> Vec<Certificate> {
    pem::blocks(text)
        .filter(pem::Block::is_certificate)
        .filter_map(|block| Certificate::parse(&block.der).ok())
        .collect()
}

/// `allowed_clients` as far as one client needs it.
#[derive(Debug, Clone)]
pub enum Anchors {
    /// The client's certificate stands in the file itself; the others are not read.
    Pinned,
    /// It does not; these do.
    Others(Vec<Certificate>),
}

impl Anchors {
    /// Reads `allowed_clients` for the client that has shown `leaf`.
    ///
    /// The verdicts are those of [`parse_allowed_clients`] and [`verify`]: a block equal to a
    /// certificate that parsed is a certificate, and decides. It saves parsing the file in the
    /// usual case.
    ///
    /// # Errors
    /// [`NoCertificate`] when the file holds no certificate.
    pub fn load(text: &[u8], leaf: &Certificate) -> Result<Anchors, NoCertificate> {
        let pinned = pem::blocks(text)
            .filter(pem::Block::is_certificate)
            .any(|block| block.der == leaf.der());
        if pinned {
            Ok(Anchors::Pinned)
        } else {
            parse_allowed_clients(text).map(Anchors::Others)
        }
    }

    /// Judges the leaf that was given to [`load`](Self::load).
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(
        &self,
        leaf: &Certificate,
        intermediates: &[Certificate],
        now: &DateTime<FixedOffset>,
    ) -> Result<Vec<Chain>, VerifyError> {
        match self {
            Anchors::Pinned => verify_pinned(leaf, None, now),
            Anchors::Others(anchors) => verify(leaf, anchors, intermediates, None, now),
        }
    }
}

/// The certificates by which kxc knows a server.
#[derive(Debug, Clone)]
pub struct ServerCertificates {
    /// The anchors.
    pub anchors: Vec<Certificate>,
    /// The star rule: server names are not checked.
    pub any_name: bool,
}

/// Why `-server_cert` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerCertificatesError {
    /// A PEM block, of whatever label, that is not a certificate.
    #[error("error parsing certificate: {0}")]
    Certificate(#[from] ParseError),
    /// No certificate.
    #[error("error appending certificates")]
    None,
}

/// Reads `-server_cert`: strictly from the top to the first certificate with a star, which ends
/// this check; after it blocks that are no certificates are passed over.
///
/// # Errors
/// [`ServerCertificatesError`].
pub fn parse_server_certificates(
    text: &[u8],
) -> Result<ServerCertificates, ServerCertificatesError> {
    let mut any_name = false;
    for block in pem::blocks(text) {
        if star::has_star(&Certificate::parse(&block.der)?) {
            any_name = true;
            break;
        }
    }
    let anchors = certificates(text);
    if anchors.is_empty() {
        return Err(ServerCertificatesError::None);
    }
    Ok(ServerCertificates { anchors, any_name })
}

/// What a place of a certificate file is worth. For `kxd --check`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Line of the BEGIN, counted from 1.
    pub line: usize,
    /// The certificate, or why it does not count.
    pub verdict: Result<Certificate, EntryProblem>,
}

/// Why a block does not count as a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Not a PEM block.
    #[error("{0}")]
    Pem(pem::Reason),
    /// Another label; control characters are escaped.
    #[error("block is labelled {0:?}, not \"CERTIFICATE\"")]
    Label(String),
    /// Header lines inside.
    #[error("block has header lines")]
    Headers,
    /// Not a certificate.
    #[error("{0}")]
    Certificate(#[from] ParseError),
}

/// Everything in `text` that is or looks like a PEM block, in order.
#[must_use]
pub fn entries(text: &[u8]) -> Vec<Entry> {
    let entry = |item| match item {
        pem::Item::Malformed(malformed) => Entry {
            line: malformed.line,
            verdict: Err(EntryProblem::Pem(malformed.reason)),
        },
        pem::Item::Block(block) => {
            let verdict = if block.label != b"CERTIFICATE" {
                Err(EntryProblem::Label(
                    String::from_utf8_lossy(block.label).into_owned(),
                ))
            } else if block.has_headers {
                Err(EntryProblem::Headers)
            } else {
                Certificate::parse(&block.der).map_err(EntryProblem::from)
            };
            Entry {
                line: block.line,
                verdict,
            }
        }
    };
    pem::items(text).into_iter().map(entry).collect()
}
