//! Does a certificate belong to the server that was asked for? (kxd spec 8)

use std::net::IpAddr;

use crate::certificate::Certificate;
use crate::constraints::show_address;

/// The name that the user wrote: a host name or an address, IPv6 with or without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    text: String,
    address: Option<IpAddr>,
}

/// The certificate is for other servers; shown in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("x509: {0}")]
pub struct NameMismatch(String);

/// From so many names on, their number is told instead of the names.
const MAX_NAMES_SHOWN: usize = 100;

impl ServerName {
    /// Takes the host part of a URL, without port.
    #[must_use]
    pub fn new(host: &str) -> Self {
        let inside = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let text = inside.filter(|inside| !inside.is_empty()).unwrap_or(host);
        match text.parse() {
            Ok(address) => ServerName {
                text: text.to_owned(),
                address: Some(address),
            },
            Err(_) => ServerName {
                text: host.to_owned(),
                address: None,
            },
        }
    }

    /// The name as messages show it: an address without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address, if the name is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Looks for the name among the certificate's alternative names. The common name does not
    /// count.
    ///
    /// # Errors
    /// [`NameMismatch`] names what the certificate is for.
    pub fn check(&self, certificate: &Certificate) -> Result<(), NameMismatch> {
        let found = match self.address {
            Some(wanted) => {
                let wanted = wanted.to_canonical();
                certificate
                    .ip_addresses()
                    .iter()
                    .any(|have| have.to_canonical() == wanted)
            }
            None => {
                let wanted = self.text.to_ascii_lowercase();
                let well_formed = is_host_name(&wanted, false);
                certificate.dns_names().iter().any(|have| {
                    if well_formed && is_host_name(have, true) {
                        matches_pattern(have, &wanted)
                    } else {
                        // Names against the grammar still match themselves.
                        is_name(have) && is_name(&wanted) && have.eq_ignore_ascii_case(&wanted)
                    }
                })
            }
        };
        if found {
            Ok(())
        } else {
            Err(NameMismatch(self.mismatch(certificate)))
        }
    }

    fn mismatch(&self, certificate: &Certificate) -> String {
        let wanted = &self.text;
        let common_name = String::from_utf8_lossy(certificate.common_name());
        if !certificate.has_alternative_names() && matches_pattern(&common_name, wanted) {
            return "certificate relies on legacy Common Name field, use SANs instead".to_owned();
        }
        let valid = if self.address.is_some() {
            let addresses = certificate.ip_addresses();
            if addresses.is_empty() {
                return format!(
                    "cannot validate certificate for {wanted} because it doesn't contain any IP \
                     SANs"
                );
            }
            if addresses.len() >= MAX_NAMES_SHOWN {
                let count = addresses.len();
                return format!(
                    "certificate is valid for {count} IP SANs, but none matched {wanted}"
                );
            }
            addresses
                .iter()
                .map(show_address)
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            let names = certificate.dns_names();
            if names.len() >= MAX_NAMES_SHOWN {
                let count = names.len();
                return format!(
                    "certificate is valid for {count} names, but none matched {wanted}"
                );
            }
            names.join(", ")
        };
        if valid.is_empty() {
            format!("certificate is not valid for any names, but wanted to match {wanted}")
        } else {
            format!("certificate is valid for {valid}, not {wanted}")
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text != "."
}

/// Letters, digits, hyphens (not first in a label) and underscores in labels that are not empty. A
/// pattern may have `*` as its first label if others follow; a name may end in a dot.
fn is_host_name(text: &str, pattern: bool) -> bool {
    let text = if pattern {
        text
    } else {
        text.strip_suffix('.').unwrap_or(text)
    };
    if text.is_empty() || text == "*" {
        return false;
    }
    text.split('.').enumerate().all(|(i, label)| {
        (pattern && i == 0 && label == "*")
            || (!label.is_empty()
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet)))
    })
}

/// Label by label, a leftmost `*` of the pattern standing for any one label.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    if pattern.is_empty() || name.is_empty() {
        return false;
    }
    let (patterns, labels): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), name.split('.').collect());
    patterns.len() == labels.len()
        && patterns
            .iter()
            .zip(&labels)
            .enumerate()
            .all(|(i, (pattern, label))| {
                (i == 0 && *pattern == "*") || pattern.eq_ignore_ascii_case(label)
            })
}

#[cfg(test)]
mod tests {
    use super::{ServerName, is_host_name, matches_pattern};

    #[test]
    fn brackets_and_addresses() {
        assert_eq!(ServerName::new("[::1]").as_str(), "::1");
        assert!(ServerName::new("::1").address().is_some());
        assert_eq!(ServerName::new("[a]").as_str(), "[a]");
        assert!(ServerName::new("127.0.0.01").address().is_none());
        assert_eq!(ServerName::new("[]").as_str(), "[]");
    }

    #[test]
    fn patterns() {
        assert!(matches_pattern("*.example.com", "a.example.com"));
        assert!(matches_pattern("A.b", "a.B."));
        assert!(!matches_pattern("*.example.com", "a.b.example.com"));
        assert!(!matches_pattern("*.example.com", "example.com"));
        assert!(!matches_pattern("", ""));
        assert!(is_host_name("*.a", true) && !is_host_name("*.a", false));
        assert!(!is_host_name("*", true) && is_host_name("a.", false) && !is_host_name("a.", true));
        assert!(!is_host_name("-a", false) && is_host_name("a-_9", false));
    }
}
