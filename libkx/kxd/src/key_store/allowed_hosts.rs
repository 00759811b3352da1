//! `allowed_hosts`: from where a key may be fetched (kxd spec 3.2). Pure, but for
//! [`AllowedHosts::check`], which has names looked up.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use kx_log::goquote;

use super::{lines, resolver::Resolver};

/// The lines of an `allowed_hosts` file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedHosts {
    addresses: Vec<String>,
    names: Vec<String>,
}

/// The answer to a peer that is not listed: `host "127.0.0.1" not allowed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNotAllowed {
    /// The peer's address without port.
    pub host: String,
}

impl fmt::Display for HostNotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "host {} not allowed",
            goquote::quote(self.host.as_bytes())
        )
    }
}

impl std::error::Error for HostNotAllowed {}

impl AllowedHosts {
    /// Reads the file. There are no errors: a line that is neither an address nor a possible
    /// name is one that never resolves.
    #[must_use]
    pub fn parse(text: &[u8]) -> AllowedHosts {
        let mut hosts = AllowedHosts::default();
        let mut seen = HashSet::new();
        for line in lines::trimmed(text) {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            if is_address(line) {
                hosts.addresses.push(line.to_owned());
            } else if is_name(line) && seen.insert(line) {
                hosts.names.push(line.to_owned());
            }
        }
        hosts
    }

    /// The lines that are addresses, as they stand.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The lines to be looked up as names, each once.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether `peer` (an address without port, as the original writes it) is listed itself.
    /// Compared as text: `127.0.0.01` or `0:0:0:0:0:0:0:1` never match.
    #[must_use]
    pub fn lists_address(&self, peer: &str) -> bool {
        self.addresses.iter().any(|address| address == peer)
    }

    /// The whole decision, given what the names resolve to.
    #[must_use]
    pub fn decide(&self, peer: &str, resolved: &[(String, Vec<String>)]) -> bool {
        self.lists_address(peer)
            || resolved.iter().any(|(name, addresses)| {
                self.names.contains(name) && addresses.iter().any(|address| address == peer)
            })
    }

    /// [`check`](Self::check) by the system's resolver, as a plain answer.
    pub async fn allows(&self, peer: &str) -> bool {
        self.check(peer, Resolver::system()).await.is_ok()
    }

    /// [`decide`](Self::decide) with the names looked up now, all at once. They are not asked for
    /// when the address itself is listed, and no more are waited for after the first that fits.
    ///
    /// # Errors
    /// [`HostNotAllowed`]: 403 `Host not allowed`.
    pub async fn check(&self, peer: &str, resolver: &Resolver) -> Result<(), HostNotAllowed> {
        if self.lists_address(peer) || resolver.any_is(&self.names, peer).await {
            Ok(())
        } else {
            Err(HostNotAllowed {
                host: peer.to_owned(),
            })
        }
    }
}

/// What Go's `netip.ParseAddr` takes: with a zone, too (the original's look-up then gives it back
/// as it stands).
fn is_address(line: &str) -> bool {
    match line.split_once('%') {
        Some((address, zone)) => {
            !zone.is_empty() && matches!(address.parse::<IpAddr>(), Ok(IpAddr::V6(_)))
        }
        None => line.parse::<IpAddr>().is_ok(),
    }
}

/// What can be a domain name: labels of 1 to 63 letters, digits, `-` and `_`, 253 octets in all.
/// Not what the C library would take for a number (`127.1`, `2130706433`, `0x7f.1`): to the original
/// these are names that do not exist, and it must not become looser here.
fn is_name(line: &str) -> bool {
    let name = line.strip_suffix('.').unwrap_or(line);
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&name.len())
        && name.split('.').all(label_is_good)
        && !name.split('.').all(is_number_of_c)
}

/// Decimal, octal or hexadecimal as `inet_aton` reads it.
fn is_number_of_c(label: &str) -> bool {
    match label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"))
    {
        Some(digits) => digits.bytes().all(|octet| octet.is_ascii_hexdigit()),
        None => label.bytes().all(|octet| octet.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(text: &str, peer: &str) -> bool {
        AllowedHosts::parse(text.as_bytes()).lists_address(peer)
    }

    #[test]
    fn addresses_are_compared_as_text() {
        assert!(lists("10.0.0.1\n127.0.0.1", "127.0.0.1"));
        assert!(lists(" \t127.0.0.1\r\n", "127.0.0.1"));
        assert!(lists("\u{a0}127.0.0.1\u{2003}", "127.0.0.1"));
        assert!(lists("::1\n", "::1"));
        assert!(lists("fe80::1%eth0", "fe80::1%eth0"));
        for line in [
            "127.0.0.01",
            "127.1",
            "::ffff:127.0.0.1",
            "127.0.0.0/8",
            "# 127.0.0.1",
            "127.0.0.1 # x",
            "\u{feff}127.0.0.1",
            "127.0.0.1,::1",
        ] {
            assert!(!lists(line, "127.0.0.1"), "{line}");
        }
        assert!(!lists("0:0:0:0:0:0:0:1", "::1"));
        assert!(!lists("FE80::1", "fe80::1"));
        assert!(!lists("fe80::1", "fe80::1%eth0"));
    }

    #[test]
    fn nothing_listed_means_nobody() {
        for text in ["", "\n\n", "   \n"] {
            let hosts = AllowedHosts::parse(text.as_bytes());
            assert_eq!(hosts, AllowedHosts::default());
            assert!(!hosts.decide("127.0.0.1", &[]));
            assert!(!hosts.decide("", &[]));
        }
    }

    #[test]
    fn what_is_a_name() {
        let hosts = AllowedHosts::parse(
            b"localhost\nlocalhost\nA_b.example.\n127.1\n0x7f.1\n2130706433\n127.0.0.01\n1.2.3.4.5\n# x\na..b\n-x\nx-\n\xff\n\xc3\xa9.example\n7.example\n",
        );
        assert_eq!(hosts.names(), ["localhost", "A_b.example.", "7.example"]);
        let long = "a".repeat(64);
        assert!(AllowedHosts::parse(long.as_bytes()).names().is_empty());
        let long = ["a"; 128].join(".");
        assert!(AllowedHosts::parse(long.as_bytes()).names().is_empty());
    }

    #[test]
    fn names_count_by_all_their_addresses() {
        let hosts = AllowedHosts::parse(b"box.example\nother.example");
        let resolved = [
            ("other.example".to_owned(), vec![]),
            (
                "box.example".to_owned(),
                vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()],
            ),
            ("unasked.example".to_owned(), vec!["192.0.2.9".to_owned()]),
        ];
        assert!(hosts.decide("192.0.2.1", &resolved));
        assert!(hosts.decide("2001:db8::1", &resolved));
        assert!(!hosts.decide("192.0.2.2", &resolved));
        assert!(
            !hosts.decide("192.0.2.9", &resolved),
            "a name that is not in the file"
        );
    }

    #[test]
    fn the_refusal_is_the_originals() {
        let refusal = HostNotAllowed {
            host: "127.0.0.1".to_owned(),
        };
        assert_eq!(refusal.to_string(), "host \"127.0.0.1\" not allowed");
    }
}
