//! The certificates between a peer's and the authority that it leads to.

use super::certificate::Stored;

/// Certificates of a chain.
const MOST: usize = 16;

/// A certificate and those that issued one another, as far as they are found among `known`.
pub(super) fn chain<'a>(
    certificate: &Stored,
    known: impl Iterator<Item = &'a Stored>,
) -> Vec<Stored> {
    let known: Vec<&Stored> = known.collect();
    let mut chain = vec![Stored::from_library(certificate.library())];
    while let Some(subject) = chain.last().filter(|subject| !subject.is_self_issued()) {
        let mut candidates = known.iter().filter(|issuer| subject.is_issued_by(issuer));
        let issuer = candidates.find(|issuer| subject.is_signed_by(issuer));
        match issuer {
            Some(issuer) if chain.len() < MOST => {
                chain.push(Stored::from_library(issuer.library()));
            }
            _ => break,
        }
    }
    chain
}
