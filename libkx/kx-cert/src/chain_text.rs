//! Chains in words: CHAIN_n of the hook and the mail (kxd spec 5 and 6).

use crate::certificate::Certificate;

/// `(0xSIG SUBJECT) -> (0xSIG SUBJECT)`, the leaf first.
#[must_use]
pub fn chain(certificates: &[Certificate]) -> String {
    let texts: Vec<String> = certificates.iter().map(Certificate::short).collect();
    texts.join(" -> ")
}
