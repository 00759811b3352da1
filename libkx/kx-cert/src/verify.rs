//! V(c) of kxd spec 4.2: which chains, if any, lead from a certificate to an anchor.
//!
//! The clock and the anchors come from the caller; nothing else is looked at.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use kx_crypto::signature::{self, SignatureAlgorithm, VerifyFailure};
use kx_log::goquote::quote;

use crate::algorithm::{CertificateSignature, PublicKeyKind};
use crate::certificate::Certificate;
use crate::constraints::{MAX_COMPARISONS, Violation};
use crate::extensions::KEY_CERT_SIGN;
use crate::policy;
use crate::server_name::{NameMismatch, ServerName};

/// Leaf first, anchor last; the leaf alone when it is an anchor itself.
pub type Chain = Vec<Certificate>;

/// Signatures that one verification checks at most. It bounds the length of chains too, since each
/// certificate after the leaf costs one.
pub const MAX_SIGNATURE_CHECKS: usize = 100;

/// Why no chain holds; shown in the original's words (kxd spec 4.2 and 8).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A critical extension that no rule covers.
    #[error("x509: unhandled critical extension")]
    UnhandledCriticalExtension,
    /// Before the start of the validity: now, start.
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is before {}",
        rfc3339(.0),
        rfc3339(.1)
    )]
    NotYetValid(DateTime<FixedOffset>, DateTime<FixedOffset>),
    /// After the end of the validity: now, end.
    #[error(
        "x509: certificate has expired or is not yet valid: current time {} is after {}",
        rfc3339(.0),
        rfc3339(.1)
    )]
    Expired(DateTime<FixedOffset>, DateTime<FixedOffset>),
    /// The server's certificate is for others.
    #[error(transparent)]
    Name(#[from] NameMismatch),
    /// No anchor signed the certificate.
    #[error(
        "x509: certificate signed by unknown authority{}",
        .0.as_deref().map(Hint::to_string).unwrap_or_default()
    )]
    UnknownAuthority(Option<Box<Hint>>),
    /// An authority's name constraints forbid a name.
    #[error(
        "x509: a root or intermediate certificate is not authorized to sign for this name: {0}"
    )]
    NameConstraint(String),
    /// A name that cannot be held against name constraints; the text is all of the message.
    #[error("{0}")]
    UnreadableName(String),
    /// Too many names and constraints to compare.
    #[error("x509: unknown error")]
    TooManyConstraints,
    /// A candidate that is no certificate authority.
    #[error("x509: certificate is not authorized to sign other certificates")]
    NotAuthorizedToSign,
    /// A chain is longer than an authority allows.
    #[error("x509: too many intermediates for path length constraint")]
    TooManyIntermediates,
    /// [`MAX_SIGNATURE_CHECKS`] is used up.
    #[error("x509: signature check attempts limit reached while verifying certificate chain")]
    SignatureCheckLimit,
    /// Certificate policies leave no chain.
    #[error("x509: no valid chains built: {0}")]
    NoValidChains(String),
    /// The extended key usages of every chain lack serverAuth.
    #[error("x509: certificate specifies an incompatible key usage")]
    IncompatibleUsage,
}

/// The first authority that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    why: HintReason,
    authority: Certificate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HintReason {
    Signature(SignatureError),
    Candidate(VerifyError),
}

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match &self.why {
            HintReason::Signature(error) => error.to_string(),
            HintReason::Candidate(error) => error.to_string(),
        };
        let subject = self.authority.subject();
        let serial;
        let name = match (subject.common_name(), subject.organization()) {
            ([], Some(organization)) => organization,
            ([], None) => {
                serial = format!("serial:{}", self.authority.serial_text());
                serial.as_bytes()
            }
            (common_name, _) => common_name,
        };
        write!(
            f,
            " (possibly because of {} while trying to verify candidate authority certificate {})",
            quote(why.as_bytes()),
            quote(name)
        )
    }
}

/// Why a certificate is not signed by a candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The candidate's extensions do not let it sign certificates.
    #[error("x509: invalid signature: parent certificate cannot sign this kind of certificate")]
    ParentCannotSign,
    /// MD5 or SHA-1.
    #[error("x509: cannot verify signature: insecure algorithm {0}")]
    Insecure(&'static str),
    /// An algorithm without rules.
    #[error("x509: cannot verify signature: algorithm unimplemented")]
    Unsupported,
    /// The signature is of another kind than the candidate's key.
    #[error(
        "x509: signature algorithm specifies an {wanted} public key, but have public key of type \
         {have}"
    )]
    KeyMismatch {
        /// The signature's kind.
        wanted: &'static str,
        /// The key's kind, as a Go type.
        have: &'static str,
    },
    /// Wrong RSA signature.
    #[error("crypto/rsa: verification error")]
    Rsa,
    /// Wrong ECDSA signature.
    #[error("x509: ECDSA verification failure")]
    Ecdsa,
    /// Wrong Ed25519 signature.
    #[error("x509: Ed25519 verification failure")]
    Ed25519,
}

fn rfc3339(time: &DateTime<FixedOffset>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Judges `leaf`: critical extensions and validity, `name` if one is given, then a chain to one of
/// `anchors`, directly or over `intermediates`, all of it fit for a TLS server.
///
/// An anchor that is the leaf itself, octet for octet, settles the matter without any signature.
/// Anchors are taken for what they are: their own signatures are not checked. All chains found are
/// given.
///
/// # Errors
/// [`VerifyError`]; its text is the original's.
pub fn verify(
    leaf: &Certificate,
    anchors: &[Certificate],
    intermediates: &[Certificate],
    name: Option<&ServerName>,
    now: &DateTime<FixedOffset>,
) -> Result<Vec<Chain>, VerifyError> {
    check_leaf(leaf, name, now)?;
    let candidates = if anchors.contains(leaf) {
        vec![vec![leaf.clone()]]
    } else {
        let mut search = Search {
            anchors: without_repeats(anchors),
            intermediates: without_repeats(intermediates),
            now,
            signature_checks: 0,
            comparisons: MAX_COMPARISONS,
        };
        search.chains(std::slice::from_ref(leaf))?
    };
    usable(candidates)
}

/// The verdict when the leaf is known to be an anchor: as [`verify`] with anchors that hold the
/// leaf.
///
/// # Errors
/// As [`verify`].
pub fn verify_pinned(
    leaf: &Certificate,
    name: Option<&ServerName>,
    now: &DateTime<FixedOffset>,
) -> Result<Vec<Chain>, VerifyError> {
    check_leaf(leaf, name, now)?;
    usable(vec![vec![leaf.clone()]])
}

fn check_leaf(
    leaf: &Certificate,
    name: Option<&ServerName>,
    now: &DateTime<FixedOffset>,
) -> Result<(), VerifyError> {
    check_self(leaf, now)?;
    if let Some(name) = name {
        name.check(leaf)?;
    }
    // A path length limit has nothing to say here: below a leaf there is nothing.
    Ok(())
}

/// What is asked of every certificate of a chain, wherever it stands.
fn check_self(certificate: &Certificate, now: &DateTime<FixedOffset>) -> Result<(), VerifyError> {
    if !certificate.unhandled_critical_extensions().is_empty() {
        return Err(VerifyError::UnhandledCriticalExtension);
    }
    if *now < certificate.not_before() {
        return Err(VerifyError::NotYetValid(*now, certificate.not_before()));
    }
    if certificate.is_expired(now) {
        return Err(VerifyError::Expired(*now, certificate.not_after()));
    }
    Ok(())
}

/// Drops chains by policies and by extended key usage.
fn usable(candidates: Vec<Chain>) -> Result<Vec<Chain>, VerifyError> {
    let built = candidates.len();
    let mut chains: Vec<Chain> = candidates
        .into_iter()
        .filter(|chain| policy::is_valid(chain))
        .collect();
    let bad_policies = built - chains.len();
    if chains.is_empty() {
        let text = "all candidate chains have invalid policies".to_owned();
        return Err(VerifyError::NoValidChains(text));
    }
    let valid = chains.len();
    chains.retain(|chain| chain.iter().all(serves));
    if !chains.is_empty() {
        return Ok(chains);
    }
    if bad_policies == 0 {
        return Err(VerifyError::IncompatibleUsage);
    }
    Err(VerifyError::NoValidChains(format!(
        "{valid} chains with incompatible key usage, {bad_policies} chains with invalid policies"
    )))
}

const ANY_USAGE: &[u8] = &[0x55, 29, 37, 0];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// Whether a certificate may take part in a server's chain. It is always the server's usage that
/// counts, also for clients: the original never asks for another one (kxd spec 4.2, 5).
#[must_use]
pub fn serves(certificate: &Certificate) -> bool {
    let usages = certificate.extended_key_usages();
    usages.is_empty()
        || usages
            .iter()
            .any(|usage| *usage == *ANY_USAGE || *usage == *SERVER_AUTH)
}

/// A pool holds each certificate once.
fn without_repeats(certificates: &[Certificate]) -> Vec<&Certificate> {
    let mut seen = std::collections::HashSet::new();
    certificates
        .iter()
        .filter(|certificate| seen.insert(certificate.der()))
        .collect()
}

/// The walk from the leaf up.
struct Search<'a> {
    anchors: Vec<&'a Certificate>,
    intermediates: Vec<&'a Certificate>,
    now: &'a DateTime<FixedOffset>,
    signature_checks: usize,
    comparisons: usize,
}

impl Search<'_> {
    /// All chains that begin with `chain`. Recursion ends with [`MAX_SIGNATURE_CHECKS`].
    fn chains(&mut self, chain: &[Certificate]) -> Result<Vec<Chain>, VerifyError> {
        let Some(child) = chain.last() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let mut hint = None;
        // The verdict on the last candidate that got as far as having one.
        let mut verdict = Ok(());
        let parents = |pool: &[&Certificate]| -> Vec<Certificate> {
            likely_first(pool, child).into_iter().cloned().collect()
        };
        let roots = parents(&self.anchors)
            .into_iter()
            .map(|parent| (parent, true));
        let others = parents(&self.intermediates)
            .into_iter()
            .map(|parent| (parent, false));
        for (parent, is_anchor) in roots.chain(others) {
            if parent.public_key() == PublicKeyKind::Unknown || is_in(&parent, chain) {
                continue;
            }
            self.signature_checks += 1;
            if self.signature_checks > MAX_SIGNATURE_CHECKS {
                verdict = Err(VerifyError::SignatureCheckLimit);
                break;
            }
            if let Err(error) = check_signature(child, &parent) {
                hint.get_or_insert((HintReason::Signature(error), parent));
                continue;
            }
            verdict = self.check_parent(&parent, chain, is_anchor);
            if let Err(error) = &verdict {
                hint.get_or_insert((HintReason::Candidate(error.clone()), parent));
                continue;
            }
            let mut longer = chain.to_vec();
            longer.push(parent);
            if is_anchor {
                found.push(longer);
            } else {
                match self.chains(&longer) {
                    Ok(chains) => found.extend(chains),
                    Err(error) => verdict = Err(error),
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        verdict?;
        let hint = hint.map(|(why, authority)| Box::new(Hint { why, authority }));
        Err(VerifyError::UnknownAuthority(hint))
    }

    /// Whether `parent` may stand above `chain`.
    fn check_parent(
        &mut self,
        parent: &Certificate,
        chain: &[Certificate],
        is_anchor: bool,
    ) -> Result<(), VerifyError> {
        check_self(parent, self.now)?;
        let extensions = parent.extensions();
        if let Some(constraints) = &extensions.name_constraints {
            let names = chain
                .iter()
                .filter_map(|below| below.extensions().alternative_names.as_ref());
            for names in names {
                constraints.check(names, &mut self.comparisons).map_err(
                    |violation| match violation {
                        Violation::NotAuthorized(text) => VerifyError::NameConstraint(text),
                        Violation::Unreadable(text) => VerifyError::UnreadableName(text),
                        Violation::TooMany => VerifyError::TooManyConstraints,
                    },
                )?;
            }
        }
        let basic = extensions.basic_constraints;
        if !is_anchor && !basic.is_some_and(|basic| basic.is_ca) {
            return Err(VerifyError::NotAuthorizedToSign);
        }
        let between = i64::try_from(chain.len()).unwrap_or(i64::MAX) - 1;
        match basic.and_then(|basic| basic.path_length) {
            Some(limit) if between > limit => Err(VerifyError::TooManyIntermediates),
            _ => Ok(()),
        }
    }
}

/// Those whose subject is the child's issuer: first with the key identifier that the child names,
/// then those where one of the two is missing, then the others.
fn likely_first<'a>(pool: &[&'a Certificate], child: &Certificate) -> Vec<&'a Certificate> {
    let wanted = &child.extensions().authority_key_id;
    let rank = |candidate: &Certificate| {
        let have = &candidate.extensions().subject_key_id;
        if have == wanted {
            0
        } else if have.is_empty() != wanted.is_empty() {
            1
        } else {
            2
        }
    };
    let mut parents: Vec<&Certificate> = pool
        .iter()
        .copied()
        .filter(|candidate| candidate.raw_subject() == child.raw_issuer())
        .collect();
    parents.sort_by_key(|candidate| rank(candidate));
    parents
}

/// Whether someone with the same subject, key and alternative names stands in the chain already.
fn is_in(candidate: &Certificate, chain: &[Certificate]) -> bool {
    let names = |certificate: &Certificate| {
        certificate
            .extensions()
            .alternative_names
            .as_ref()
            .map(|names| names.value.clone())
    };
    for certificate in chain {
        if candidate.raw_subject() != certificate.raw_subject()
            || candidate.public_key_info() != certificate.public_key_info()
        {
            continue;
        }
        match (names(candidate), names(certificate)) {
            (a, b) if a == b => return true,
            (Some(_), Some(_)) => {}
            // The original ends its search at this point; so does this.
            _ => return false,
        }
    }
    false
}

/// Whether `parent` may sign certificates and has signed this one.
fn check_signature(child: &Certificate, parent: &Certificate) -> Result<(), SignatureError> {
    let extensions = parent.extensions();
    let may_sign = match extensions.basic_constraints {
        Some(basic) => basic.is_ca,
        None => parent.version() < 3,
    };
    let usage = extensions.key_usage;
    if !may_sign || (usage != 0 && usage & KEY_CERT_SIGN == 0) {
        return Err(SignatureError::ParentCannotSign);
    }
    let algorithm = child.signature_algorithm();
    if let Some(name) = algorithm.insecure() {
        return Err(SignatureError::Insecure(name));
    }
    let (wanted, kind) = match algorithm {
        CertificateSignature::Known(algorithm) => (Some(algorithm), kind_word(algorithm)),
        CertificateSignature::Dsa { .. } => (None, "DSA"),
        CertificateSignature::Unknown => return Err(SignatureError::Unsupported),
    };
    let (have_kind, have, wrong) = match parent.public_key() {
        PublicKeyKind::Rsa { .. } => ("RSA", "*rsa.PublicKey", SignatureError::Rsa),
        PublicKeyKind::Ecdsa(_) => ("ECDSA", "*ecdsa.PublicKey", SignatureError::Ecdsa),
        PublicKeyKind::Ed25519 => ("Ed25519", "ed25519.PublicKey", SignatureError::Ed25519),
        PublicKeyKind::Dsa | PublicKeyKind::Unknown => return Err(SignatureError::Unsupported),
    };
    let Some(wanted) = wanted.filter(|_| kind == have_kind) else {
        return Err(SignatureError::KeyMismatch { wanted: kind, have });
    };
    let key = parent.public_key_info();
    signature::verify(wanted, key, child.signed_part(), child.signature()).map_err(
        |failure: VerifyFailure| match failure {
            VerifyFailure::KeyUnusable | VerifyFailure::KeyMismatch | VerifyFailure::Rejected => {
                wrong
            }
        },
    )
}

fn kind_word(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(_) | SignatureAlgorithm::RsaPss(_) => "RSA",
        SignatureAlgorithm::Ecdsa(_) => "ECDSA",
        SignatureAlgorithm::Ed25519 => "Ed25519",
    }
}
