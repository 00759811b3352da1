//! The authorities we trust and what they revoked: whether a received certificate holds.

use std::time::SystemTime;

use openssl::asn1::Asn1Time;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::{
    CrlStatus, X509, X509Crl, X509KeyUsage, X509NameRef, X509Ref, X509StoreContext,
    X509VerifyResult,
};

use super::certificate::Stored;
use super::revocation_list::RevocationList;

/// OpenSSL's numbers for what is wrong with a CRL (x509_vfy.h).
const NO_CRL: i32 = 3;
const CRL_SIGNATURE: i32 = 8;
const CRL_NOT_YET: i32 = 11;
const CRL_EXPIRED: i32 = 12;
const SELF_SIGNED: i32 = 18;
const REVOKED: i32 = 23;
const NO_CRL_SIGN: i32 = 35;
const NOT_UNDERSTOOD: i32 = 36;

/// Why a certificate does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// In OpenSSL's words.
    #[error("x509_cert_validate: {0}")]
    Chain(&'static str),
    /// Self-signed, and not even that.
    #[error("x509_cert_validate: self-signed cert is bad")]
    SelfSigned,
    /// The library failed.
    #[error("x509_cert_validate: failed to get memory for context")]
    Library,
}

/// A CRL, and the keys of our authorities that signed it: found once, since a long list takes long to digest, and
/// anybody may make us look at it.
struct Crl {
    list: X509Crl,
    is_understood: bool,
    signers: Vec<Vec<u8>>,
}

/// What lies in `ca/` and `crls/`.
#[derive(Default)]
pub(super) struct Authorities {
    certificates: Vec<Stored>,
    store: Option<X509Store>,
    crls: Vec<Crl>,
}

impl Authorities {
    pub(super) fn new(
        certificates: impl Iterator<Item = Stored>,
        crls: Vec<RevocationList>,
    ) -> Self {
        let certificates: Vec<Stored> = certificates.collect();
        let build = || {
            let mut builder = X509StoreBuilder::new()?;
            for certificate in &certificates {
                // The same one twice is refused, and does no harm.
                let _ = builder.add_cert(certificate.library().to_owned());
            }
            Ok::<_, openssl::error::ErrorStack>(builder.build())
        };
        let store = build().ok();
        let crls = crls
            .into_iter()
            .map(|RevocationList { list, understood }| {
                let signers = certificates
                    .iter()
                    .filter(|authority| is_issuer(&list, authority.library().subject_name()))
                    .filter_map(|authority| authority.library().public_key().ok())
                    .filter(|key| list.verify(key).unwrap_or(false))
                    .filter_map(|key| key.public_key_to_der().ok())
                    .collect();
                Crl {
                    list,
                    is_understood: understood.is_ok(),
                    signers,
                }
            })
            .collect();
        Self {
            certificates,
            store,
            crls,
        }
    }

    /// How many authorities there are.
    pub(super) fn count(&self) -> usize {
        self.certificates.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.certificates.iter()
    }

    /// Whether a chain of authorities of ours ends in this certificate, now, and, once there is any CRL at all,
    /// whether each of the chain has a CRL that does not name it.
    pub(super) fn verify(
        &self,
        certificate: &Stored,
        accept_self_signed: bool,
    ) -> Result<(), Refused> {
        let store = self.store.as_ref().ok_or(Refused::Library)?;
        let mut context = X509StoreContext::new().map_err(|_| Refused::Library)?;
        let none = Stack::new().map_err(|_| Refused::Library)?;
        let (verdict, chain) = context
            .init(store, certificate.library(), &none, |context| {
                let verified = context.verify_cert()?;
                let chain: Vec<X509> = match context.chain() {
                    Some(chain) => chain.iter().map(X509Ref::to_owned).collect(),
                    None => Vec::new(),
                };
                let verdict = if verified {
                    X509VerifyResult::OK
                } else {
                    context.error()
                };
                Ok((verdict, chain))
            })
            .map_err(|_| Refused::Library)?;
        if verdict == X509VerifyResult::OK {
            return self.check_revocation(&chain);
        }
        if verdict.as_raw() == SELF_SIGNED && accept_self_signed {
            return if certificate.is_self_issued() && certificate.is_signed_by(certificate) {
                Ok(())
            } else {
                Err(Refused::SelfSigned)
            };
        }
        Err(Refused::Chain(verdict.error_string()))
    }

    /// The chain from the certificate to its root. Each one's issuer is the next; the root is its own.
    fn check_revocation(&self, chain: &[X509]) -> Result<(), Refused> {
        if self.crls.is_empty() {
            return Ok(());
        }
        for (place, certificate) in chain.iter().enumerate() {
            let issuer = chain.get(place.saturating_add(1)).unwrap_or(certificate);
            self.check_one(certificate, issuer)?;
        }
        Ok(())
    }

    fn check_one(&self, certificate: &X509, issuer: &X509) -> Result<(), Refused> {
        let key = issuer.public_key().and_then(|key| key.public_key_to_der());
        let key = key.map_err(|_| Refused::Library)?;
        let now = now().ok_or(Refused::Library)?;
        // An authority that may do everything says nothing of what it may (RFC 5280 4.2.1.3).
        let may_sign = issuer
            .key_usage()
            .is_none_or(|usage| usage.contains(X509KeyUsage::CRL_SIGN));
        // The best that can be said of any CRL of this issuer; revoked by one is revoked.
        let mut verdict = NO_CRL;
        for crl in &self.crls {
            let Crl { list, signers, .. } = crl;
            if !is_issuer(list, certificate.issuer_name()) {
                continue;
            }
            let found = if !may_sign {
                NO_CRL_SIGN
            } else if !signers.contains(&key) {
                CRL_SIGNATURE
            } else if !crl.is_understood {
                NOT_UNDERSTOOD
            } else if let CrlStatus::Revoked(_) = list.get_by_cert(certificate) {
                return Err(refused(REVOKED));
            } else if list.last_update() > now.as_ref() {
                CRL_NOT_YET
            } else if list.next_update().is_some_and(|next| next < now.as_ref()) {
                CRL_EXPIRED
            } else {
                0
            };
            if verdict != 0 {
                verdict = found;
            }
        }
        if verdict == 0 {
            Ok(())
        } else {
            Err(refused(verdict))
        }
    }
}

fn is_issuer(list: &X509Crl, name: &X509NameRef) -> bool {
    let order = list.issuer_name().try_cmp(name);
    order.is_ok_and(|order| order.is_eq())
}

fn refused(number: i32) -> Refused {
    let known = super::validity::verify_text(number);
    Refused::Chain(known)
}

fn now() -> Option<Asn1Time> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Asn1Time::from_unix(i64::try_from(since.as_secs()).ok()?).ok()
}
