//! Certificate policies along a chain (RFC 5280 section 6.1 as changed by RFC 9618), for callers
//! that accept any policy. A chain can only fail when one of its certificates demands an explicit
//! policy.

use std::collections::BTreeMap;

use crate::certificate::Certificate;

const ANY_POLICY: &[u8] = &[0x55, 29, 32, 0];

/// The policies in force so far, each with those that the next certificate may name for it.
type Nodes<'a> = BTreeMap<&'a [u8], Vec<&'a [u8]>>;

/// Whether the policies of a chain (leaf first, anchor last) leave one in force where one is
/// demanded.
pub(crate) fn is_valid(chain: &[Certificate]) -> bool {
    let [leaf, .., _anchor] = chain else {
        return true;
    };
    let Some((_, below)) = chain.split_last() else {
        return true;
    };
    let count = i64::try_from(below.len()).unwrap_or(i64::MAX);
    let unlimited = count.saturating_add(1);
    let (mut explicit, mut mapping, mut any) = (unlimited, unlimited, unlimited);
    let mut nodes = Some(Nodes::from([(ANY_POLICY, vec![ANY_POLICY])]));

    for (i, certificate) in below.iter().enumerate().rev() {
        let extensions = certificate.extensions();
        let self_issued = certificate.raw_issuer() == certificate.raw_subject();
        let is_leaf = i == 0;
        if extensions.policies.is_empty() {
            nodes = None;
        }
        if explicit == 0 && nodes.is_none() {
            return false;
        }
        if let Some(parents) = nodes.take() {
            let use_any = any > 0 || (!is_leaf && self_issued);
            let mut next = narrowed(&parents, certificate, use_any);
            if !is_leaf && !map(&mut next, certificate, mapping > 0) {
                return false;
            }
            nodes = Some(next);
        }
        if is_leaf {
            break;
        }
        if !self_issued {
            for counter in [&mut explicit, &mut mapping, &mut any] {
                *counter = (*counter - 1).max(0);
            }
        }
        explicit = explicit.min(extensions.require_explicit_policy.unwrap_or(i64::MAX));
        mapping = mapping.min(extensions.inhibit_policy_mapping.unwrap_or(i64::MAX));
        any = any.min(
            extensions
                .inhibit_any_policy
                .filter(|&n| n >= 0)
                .unwrap_or(i64::MAX),
        );
    }
    let explicit = if leaf.extensions().require_explicit_policy == Some(0) {
        0
    } else {
        (explicit - 1).max(0)
    };
    explicit > 0 || nodes.is_some_and(|nodes| !nodes.is_empty())
}

/// The policies that hold after this certificate.
fn narrowed<'a>(parents: &Nodes<'a>, certificate: &'a Certificate, use_any: bool) -> Nodes<'a> {
    let expected: std::collections::BTreeSet<&[u8]> = parents.values().flatten().copied().collect();
    let mut next = Nodes::new();
    let mut names_any = false;
    for policy in &certificate.extensions().policies {
        let policy = policy.as_der();
        if policy == ANY_POLICY {
            names_any = true;
        } else if expected.contains(policy) || parents.contains_key(ANY_POLICY) {
            next.insert(policy, vec![policy]);
        }
    }
    if names_any && use_any {
        for policy in expected {
            next.entry(policy).or_insert_with(|| vec![policy]);
        }
    }
    next
}

/// Applies the certificate's policy mappings; `false` when one of them maps "any".
fn map<'a>(nodes: &mut Nodes<'a>, certificate: &'a Certificate, allowed: bool) -> bool {
    let mut mappings = Nodes::new();
    for (issuer, subject) in &certificate.extensions().policy_mappings {
        let (issuer, subject) = (issuer.as_der(), subject.as_der());
        if !allowed {
            nodes.remove(issuer);
        } else if issuer == ANY_POLICY || subject == ANY_POLICY {
            return false;
        } else {
            mappings.entry(issuer).or_default().push(subject);
        }
    }
    for (issuer, subjects) in mappings {
        if nodes.contains_key(issuer) || nodes.contains_key(ANY_POLICY) {
            nodes.insert(issuer, subjects);
        }
    }
    true
}
