//! Name constraints (RFC 5280 section 4.2.1.10): reading them and holding names against them.

mod mailbox;
pub(crate) mod uri;

use std::net::IpAddr;

use kx_log::goquote::quote;

use crate::der::{Reader, tag};
use crate::error::ParseError;
use crate::extensions::{AlternativeName, AlternativeNames, address};
use crate::name::push_hex;
use mailbox::Mailbox;

/// How often one verification may hold a name against a constraint. The original counts per
/// candidate; counting them all together bounds what a stranger's intermediates can cost.
pub(crate) const MAX_COMPARISONS: usize = 250_000;

/// The two sets of subtrees.
#[derive(Debug, Clone, Default)]
pub(crate) struct NameConstraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Debug, Clone, Default)]
struct Subtrees {
    dns: Vec<String>,
    email: Vec<String>,
    uri: Vec<String>,
    ip: Vec<Network>,
}

/// An address and a mask of the same family.
#[derive(Debug, Clone, Copy)]
struct Network {
    address: IpAddr,
    mask: IpAddr,
}

/// Why a name does not pass.
pub(crate) enum Violation {
    /// The text says which name and which constraint.
    NotAuthorized(String),
    /// A name that cannot be compared at all; the text is the whole message.
    Unreadable(String),
    /// The budget of comparisons is used up.
    TooMany,
}

impl NameConstraints {
    /// The second value says whether every constraint is of a kind that can be checked.
    pub(crate) fn parse(value: &[u8]) -> Result<(Self, bool), ParseError> {
        let sets = || {
            let mut outer = Reader::new(value);
            let mut inside = outer.inside(tag::SEQUENCE)?;
            let permitted = inside.optional(tag::context_constructed(0))?;
            let excluded = inside.optional(tag::context_constructed(1))?;
            (outer.is_empty() && inside.is_empty()).then_some((permitted, excluded))
        };
        let (permitted, excluded) =
            sets().ok_or(ParseError::Invalid("NameConstraints extension"))?;
        let permitted = permitted.unwrap_or_default();
        let excluded = excluded.unwrap_or_default();
        if permitted.is_empty() && excluded.is_empty() {
            return Err(ParseError::EmptyNameConstraints);
        }
        let (permitted, all_permitted) = Subtrees::parse(permitted)?;
        let (excluded, all_excluded) = Subtrees::parse(excluded)?;
        Ok((
            NameConstraints {
                permitted,
                excluded,
            },
            all_permitted && all_excluded,
        ))
    }

    /// Holds every name against every constraint of its kind, taking each comparison off `budget`.
    pub(crate) fn check(
        &self,
        names: &AlternativeNames,
        budget: &mut usize,
    ) -> Result<(), Violation> {
        for name in &names.names {
            match name {
                AlternativeName::Email(email) => {
                    let mailbox = Mailbox::parse(email).ok_or_else(|| {
                        // The original shows its empty parse result here, not the name.
                        Violation::Unreadable(r#"x509: cannot parse rfc822Name {"" ""}"#.to_owned())
                    })?;
                    let subject = || format!("email address {}", quote(email.as_bytes()));
                    let matches =
                        |constraint: &String, excluded| match_email(&mailbox, constraint, excluded);
                    let sets = (
                        self.permitted.email.as_slice(),
                        self.excluded.email.as_slice(),
                    );
                    check_one(sets, subject, matches, String::clone, budget)?;
                }
                AlternativeName::Dns(index) => {
                    let dns = names.dns.get(*index).map_or("", String::as_str);
                    let quoted = || quote(dns.as_bytes());
                    if !is_domain(dns) {
                        let text = format!("x509: cannot parse dnsName {}", quoted());
                        return Err(Violation::Unreadable(text));
                    }
                    let subject = || format!("DNS name {}", quoted());
                    let matches =
                        |constraint: &String, excluded| match_domain(dns, constraint, excluded);
                    let sets = (self.permitted.dns.as_slice(), self.excluded.dns.as_slice());
                    check_one(sets, subject, matches, String::clone, budget)?;
                }
                AlternativeName::Uri { text: uri, host } => {
                    let subject = || format!("URI {}", quote(uri.as_bytes()));
                    let matches = |constraint: &String, excluded| {
                        match_domain(uri::comparable_host(uri, host)?, constraint, excluded)
                    };
                    let sets = (self.permitted.uri.as_slice(), self.excluded.uri.as_slice());
                    check_one(sets, subject, matches, String::clone, budget)?;
                }
                AlternativeName::Ip(index) => {
                    let Some(ip) = names.ip.get(*index) else {
                        continue;
                    };
                    let shown = || show_address(ip);
                    let subject = || format!("IP address {}", quote(shown().as_bytes()));
                    let matches = |network: &Network, _| Ok(network.contains(ip));
                    let sets = (self.permitted.ip.as_slice(), self.excluded.ip.as_slice());
                    check_one(sets, subject, matches, Network::text, budget)?;
                }
            }
        }
        Ok(())
    }
}

/// One name against the subtrees of its kind: in none that is excluded, and in one that is
/// permitted if there are any.
fn check_one<T>(
    (permitted, excluded): (&[T], &[T]),
    subject: impl Fn() -> String,
    matches: impl Fn(&T, bool) -> Result<bool, String>,
    text: impl Fn(&T) -> String,
    budget: &mut usize,
) -> Result<(), Violation> {
    let mut spend = |count| match budget.checked_sub(count) {
        Some(left) => {
            *budget = left;
            Ok(())
        }
        None => Err(Violation::TooMany),
    };
    spend(excluded.len())?;
    for constraint in excluded {
        if matches(constraint, true).map_err(Violation::NotAuthorized)? {
            let constraint = quote(text(constraint).as_bytes());
            return Err(Violation::NotAuthorized(format!(
                "{} is excluded by constraint {constraint}",
                subject()
            )));
        }
    }
    spend(permitted.len())?;
    for constraint in permitted {
        if matches(constraint, false).map_err(Violation::NotAuthorized)? {
            return Ok(());
        }
    }
    if permitted.is_empty() {
        return Ok(());
    }
    let text = format!("{} is not permitted by any constraint", subject());
    Err(Violation::NotAuthorized(text))
}

impl Subtrees {
    fn parse(subtrees: &[u8]) -> Result<(Self, bool), ParseError> {
        let mut reader = Reader::new(subtrees);
        let mut all = Subtrees::default();
        let mut understood = true;
        let ascii = |content: &[u8]| match std::str::from_utf8(content) {
            Ok(text) if text.is_ascii() => Ok(text.to_owned()),
            _ => Err(ParseError::ConstraintNotAscii(content.to_vec())),
        };
        while !reader.is_empty() {
            let base = reader
                .inside(tag::SEQUENCE)
                .and_then(|mut inside| inside.any())
                .ok_or(ParseError::Invalid("NameConstraints extension"))?;
            let refuse = |kind, text, why| Err(ParseError::Constraint { kind, text, why });
            match base.tag ^ 0x80 {
                1 => {
                    let text = ascii(base.content)?;
                    let good = if text.contains('@') {
                        Mailbox::parse(&text).is_some()
                    } else {
                        is_constraint(&text)
                    };
                    if !good {
                        return refuse("rfc822Name", text, "");
                    }
                    all.email.push(text);
                }
                2 => {
                    let text = ascii(base.content)?;
                    if !is_constraint(&text) {
                        return refuse("dnsName", text, "");
                    }
                    all.dns.push(text);
                }
                6 => {
                    let text = ascii(base.content)?;
                    if text.parse::<IpAddr>().is_ok() {
                        return refuse("URI", text, ": cannot be IP address");
                    }
                    if !is_constraint(&text) {
                        return refuse("URI", text, "");
                    }
                    all.uri.push(text);
                }
                7 => all.ip.push(Network::parse(base.content)?),
                _ => understood = false,
            }
        }
        Ok((all, understood))
    }
}

impl Network {
    fn parse(content: &[u8]) -> Result<Self, ParseError> {
        let halves = match content.len() {
            8 | 32 => content.split_at_checked(content.len() / 2),
            _ => None,
        };
        let length = || ParseError::IpConstraintLength(content.len());
        let (ip, mask) = halves.ok_or_else(length)?;
        let mut bits = mask
            .iter()
            .flat_map(|octet| (0..8).rev().map(move |n| octet >> n & 1));
        let is_prefix = bits
            .by_ref()
            .skip_while(|&bit| bit == 1)
            .all(|bit| bit == 0);
        if !is_prefix {
            let mut hex = String::new();
            push_hex(&mut hex, mask);
            return Err(ParseError::IpConstraintMask(hex));
        }
        let address_of = |octets| address(octets).ok_or_else(length);
        Ok(Network {
            address: address_of(ip)?,
            mask: address_of(mask)?,
        })
    }

    fn contains(&self, ip: &IpAddr) -> bool {
        match (ip, self.address, self.mask) {
            (IpAddr::V4(ip), IpAddr::V4(address), IpAddr::V4(mask)) => {
                ip.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
            }
            (IpAddr::V6(ip), IpAddr::V6(address), IpAddr::V6(mask)) => {
                ip.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
            }
            _ => false,
        }
    }

    fn text(&self) -> String {
        let prefix = match self.mask {
            IpAddr::V4(mask) => mask.to_bits().leading_ones(),
            IpAddr::V6(mask) => mask.to_bits().leading_ones(),
        };
        format!("{}/{prefix}", show_address(&self.address))
    }
}

/// An address as the original prints it: IPv6 addresses that hold an IPv4 one are shown as that.
pub(crate) fn show_address(address: &IpAddr) -> String {
    address.to_canonical().to_string()
}

/// Whether `name` consists of non-empty labels of visible characters. The empty name passes.
fn is_domain(name: &str) -> bool {
    name.is_empty()
        || name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_graphic()))
}

/// A domain as a constraint may have a dot in front.
fn is_constraint(name: &str) -> bool {
    is_domain(name.strip_prefix('.').unwrap_or(name))
}

fn match_email(mailbox: &Mailbox, constraint: &str, excluded: bool) -> Result<bool, String> {
    if !constraint.contains('@') {
        return match_domain(&mailbox.domain, constraint, excluded);
    }
    let unreadable = || {
        format!(
            "x509: internal error: cannot parse constraint {}",
            quote(constraint.as_bytes())
        )
    };
    let wanted = Mailbox::parse(constraint).ok_or_else(unreadable)?;
    Ok(mailbox.local == wanted.local && mailbox.domain.eq_ignore_ascii_case(&wanted.domain))
}

/// Whether `domain` is the constraint or below it. A constraint with a dot in front wants to be
/// below, an empty one takes all. A leftmost `*` of the domain is held to be able to match anything
/// excluded.
fn match_domain(domain: &str, constraint: &str, excluded: bool) -> Result<bool, String> {
    if constraint.is_empty() {
        return Ok(true);
    }
    let unreadable = |text: &str| {
        format!(
            "x509: internal error: cannot parse domain {}",
            quote(text.as_bytes())
        )
    };
    if !is_domain(domain) {
        return Err(unreadable(domain));
    }
    let (wanted, below) = match constraint.strip_prefix('.') {
        Some(rest) => (rest, true),
        None => (constraint, false),
    };
    if !is_domain(wanted) {
        return Err(unreadable(wanted));
    }
    let count = |name: &str| {
        if name.is_empty() {
            0
        } else {
            name.split('.').count()
        }
    };
    let (have, want) = (count(domain), count(wanted));
    if have < want || (below && have == want) {
        return Ok(false);
    }
    let wildcard = excluded && domain.starts_with('*') && have > 1 && want > 0;
    let compared = if wildcard { want - 1 } else { want };
    let labels = wanted.rsplit('.').zip(domain.rsplit('.')).take(compared);
    Ok(labels.into_iter().all(|(a, b)| a.eq_ignore_ascii_case(b)))
}

#[cfg(test)]
mod tests {
    use super::{Network, is_constraint, is_domain, match_domain};

    #[test]
    fn domains() {
        let inside = |domain, constraint| match_domain(domain, constraint, false).unwrap();
        assert!(inside("a.example.com", "example.com"));
        assert!(inside("EXAMPLE.com", "example.COM"));
        assert!(inside("x", ""));
        assert!(!inside("example.com", ".example.com"));
        assert!(inside("a.example.com", ".example.com"));
        assert!(!inside("badexample.com", "example.com"));
        assert!(!inside("com", "example.com"));
        assert!(match_domain("*.example.com", "a.example.com", true).unwrap());
        assert!(!match_domain("*.example.com", "a.example.com", false).unwrap());
        assert!(match_domain("a..b", "b", false).is_err());
    }

    #[test]
    fn shapes() {
        assert!(is_domain("") && is_domain("a") && is_domain("*.b_c"));
        assert!(!is_domain("a.") && !is_domain(".a") && !is_domain("a b"));
        assert!(is_constraint(".a") && !is_constraint("..a") && is_constraint("."));
    }

    #[test]
    fn networks() {
        let network = Network::parse(&[10, 0, 0, 0, 255, 128, 0, 0]).unwrap();
        assert_eq!(network.text(), "10.0.0.0/9");
        assert!(network.contains(&"10.127.1.1".parse().unwrap()));
        assert!(!network.contains(&"10.128.0.0".parse().unwrap()));
        assert!(!network.contains(&"::ffff:10.0.0.1".parse().unwrap()));
        assert!(Network::parse(&[10, 0, 0, 0, 255, 0, 255, 0]).is_err());
        assert!(Network::parse(&[0; 7]).is_err());
    }
}
