//! What a configuration needs to know of the host it is for. The program looks it up, before its jail where
//! it has to, and hands it in as values.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ike::event::Address;

/// Everything about the host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Names of IP protocols and services.
    pub names: Names,
    /// Its interfaces.
    pub interfaces: Interfaces,
    /// The port we listen on (`-p`), which a peer's `Port` defaults to. 0 stands for 500.
    pub port: u16,
}

impl Host {
    pub(crate) fn listen_port(&self) -> u16 {
        if self.port == 0 { 500 } else { self.port }
    }
}

/// The names in /etc/protocols and /etc/services: `Protocol` and `Port` of ID sections may use them.
#[derive(Debug, Clone)]
pub struct Names {
    protocols: HashMap<String, u8>,
    /// By name, and by name and protocol.
    services: HashMap<String, Vec<(String, u16)>>,
}

impl Default for Names {
    /// The protocols that every host has, for one without the files.
    fn default() -> Self {
        let protocols = [
            ("icmp", 1),
            ("ipencap", 4),
            ("tcp", 6),
            ("udp", 17),
            ("gre", 47),
            ("esp", 50),
            ("ah", 51),
            ("ipv6-icmp", 58),
            ("sctp", 132),
        ];
        let protocols = protocols
            .into_iter()
            .map(|(name, number)| (name.to_owned(), number))
            .collect();
        Self {
            protocols,
            services: HashMap::new(),
        }
    }
}

impl Names {
    /// Reads the content of /etc/protocols and /etc/services. Lines that are neither are skipped.
    #[must_use]
    pub fn parse(protocols: &[u8], services: &[u8]) -> Self {
        let mut names = Self::default();
        for_each_line(protocols, |number, aliases| {
            if let Ok(number) = number.parse() {
                names
                    .protocols
                    .extend(aliases.into_iter().map(|name| (name.to_owned(), number)));
            }
        });
        for_each_line(services, |port, aliases| {
            let Some((port, protocol)) = port.split_once('/') else {
                return;
            };
            if let Ok(port) = port.parse() {
                for name in aliases {
                    names
                        .services
                        .entry(name.to_owned())
                        .or_default()
                        .push((protocol.to_owned(), port));
                }
            }
        });
        names
    }

    /// The number of a protocol, which may be a number.
    #[must_use]
    pub fn protocol(&self, text: &str) -> Option<u8> {
        match crate::value::number(text) {
            0 => self.protocols.get(text).copied(),
            number => u8::try_from(number).ok(),
        }
    }

    /// The port of a service of a protocol, which may be a number.
    #[must_use]
    pub fn port(&self, text: &str, protocol: u8) -> Option<u16> {
        match crate::value::number(text) {
            0 => {
                let of_protocol = |name: &str| self.protocols.get(name) == Some(&protocol);
                self.services
                    .get(text)?
                    .iter()
                    .find(|(name, _)| of_protocol(name))
                    .map(|(_, port)| *port)
            }
            number => u16::try_from(number).ok(),
        }
    }
}

/// Lines of `name value alias... # comment`.
fn for_each_line(file: &[u8], mut each: impl FnMut(&str, Vec<&str>)) {
    for line in file.split(|octet| *octet == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        if let (Some(name), Some(value)) = (words.next(), words.next()) {
            each(value, std::iter::once(name).chain(words).collect());
        }
    }
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the interface.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// Its mask, in the form of an address.
    pub netmask: Option<IpAddr>,
    /// The interface's number, if the address is a link-local IPv6 one; else 0.
    pub zone: u32,
}

/// The host's interfaces.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    /// Every address, in the system's order.
    pub addresses: Vec<Interface>,
    /// The interface of the IPv4 default route.
    pub default_ipv4: Option<String>,
    /// The interface of the IPv6 default route.
    pub default_ipv6: Option<String>,
}

/// Which addresses will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl Interfaces {
    /// The address that `text` stands for: a numeric one, the first of an interface, or of the interface of the
    /// `default` route. An IPv6 address that is only good on its link is taken if there is no other.
    ///
    /// Names without a family stand for IPv4 addresses, numeric addresses for what they are. A numeric link-local
    /// address may have a zone (`fe80::1%eth0`): the name or number of an interface.
    #[must_use]
    pub fn address(&self, text: &str, family: Option<Family>) -> Option<Address> {
        let numeric = match text.split_once('%') {
            Some((ip, zone)) => Some(Address {
                ip: link_local(ip)?,
                zone: self.zone(zone)?,
            }),
            None => parse_address(text).map(Address::from),
        };
        match numeric {
            Some(address) => family
                .is_none_or(|family| family.is_of(address.ip))
                .then_some(address),
            None => self
                .first(text, family.unwrap_or(Family::V4))
                .map(|interface| Address {
                    ip: interface.address,
                    zone: interface.zone,
                }),
        }
    }

    /// The number of an interface with a link-local address, which may be given as such.
    #[must_use]
    pub fn zone(&self, text: &str) -> Option<u32> {
        let mut links = self.addresses.iter().filter(|one| one.zone != 0);
        if let Some(named) = links.find(|one| one.name == text) {
            return Some(named.zone);
        }
        let digits = text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse().ok().filter(|zone| digits && *zone != 0)
    }

    /// An address as the original prints it: a link-local one with the name of its interface.
    #[must_use]
    pub fn text(&self, address: Address) -> String {
        let ip = address.ip;
        if address.zone == 0 {
            return ip.to_string();
        }
        match self.addresses.iter().find(|one| one.zone == address.zone) {
            Some(link) => format!("{ip}%{}", link.name),
            None => format!("{ip}%{}", address.zone),
        }
    }

    /// The mask that `text` stands for: one in the form of an address, or that of an interface's address.
    #[must_use]
    pub fn netmask(&self, text: &str, family: Family) -> Option<IpAddr> {
        match parse_address(text) {
            Some(address) => family.is_of(address).then_some(address),
            None => self
                .first(text, family)?
                .netmask
                .filter(|netmask| family.is_of(*netmask)),
        }
    }

    fn first(&self, name: &str, family: Family) -> Option<&Interface> {
        let default = match family {
            Family::V4 => &self.default_ipv4,
            Family::V6 => &self.default_ipv6,
        };
        let name = if name == "default" {
            default.as_deref().unwrap_or(name)
        } else {
            name
        };
        let mut of_family = self
            .addresses
            .iter()
            .filter(|interface| interface.name == name && family.is_of(interface.address));
        let first = of_family.next()?;
        if is_link_local(first.address) {
            return of_family
                .find(|interface| !is_link_local(interface.address))
                .or(Some(first));
        }
        Some(first)
    }
}

/// Whether an address is one of IPv6 that is only good on its link.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80))
}

/// A link-local IPv6 address, the only kind that has a zone.
pub(crate) fn link_local(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address| is_link_local(*address))
}

/// A numeric address in any form that `getaddrinfo` takes.
fn parse_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(address));
    }
    inet_aton(text).map(IpAddr::V4)
}

/// `inet_aton`: one to four numbers, decimal, octal or hexadecimal, the last filling what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::with_capacity(4);
    for part in text.split('.') {
        let (digits, radix) = match part.strip_prefix('0') {
            Some(rest) => match rest.strip_prefix(['x', 'X']) {
                Some(hex) => (hex, 16),
                None if rest.is_empty() => ("0", 10),
                None => (rest, 8),
            },
            None => (part, 10),
        };
        // `from_str_radix` takes signs.
        if numbers.len() == 4 || !digits.starts_with(|digit: char| digit.is_ascii_hexdigit()) {
            return None;
        }
        numbers.push(u32::from_str_radix(digits, radix).ok()?);
    }
    let last = numbers.pop()?;
    let mut address = 0_u32;
    for number in &numbers {
        address = address
            .checked_mul(256)?
            .checked_add(u32::from(u8::try_from(*number).ok()?))?;
    }
    let left = 4_u32.checked_sub(u32::try_from(numbers.len()).ok()?)?;
    let bits = left.checked_mul(8)?;
    if bits < 32 && last >> bits != 0 {
        return None;
    }
    let shifted = if bits < 32 { address << bits } else { 0 };
    Some(Ipv4Addr::from(shifted | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_addresses() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.513", Some("192.0.2.1")),
            ("10.1", Some("10.0.0.1")),
            ("0xffffff00", Some("255.255.255.0")),
            ("4294967295", Some("255.255.255.255")),
            ("010.0.0.1", Some("8.0.0.1")),
            ("0", Some("0.0.0.0")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("ffff:ffff::", Some("ffff:ffff::")),
            ("4294967296", None),
            ("256.0.0.1", None),
            ("1.2.3.256", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("", None),
            ("+1.2.3.4", None),
            ("0x+1", None),
            ("host.example", None),
            ("192.0.2.0/24", None),
        ] {
            assert_eq!(
                parse_address(text),
                expected.map(|text| text.parse().unwrap()),
                "{text}"
            );
        }
    }

    fn interface(name: &str, address: &str, netmask: &str) -> Interface {
        Interface {
            name: name.into(),
            address: address.parse().unwrap(),
            netmask: netmask.parse().ok(),
            zone: match address.starts_with("fe80:") {
                true => name[2..].parse::<u32>().unwrap() + 7,
                false => 0,
            },
        }
    }

    #[test]
    fn interfaces_by_name() {
        let interfaces = Interfaces {
            addresses: vec![
                interface("em0", "fe80::1", "ffff:ffff:ffff:ffff::"),
                interface("em0", "192.0.2.1", "255.255.255.0"),
                interface("em0", "192.0.2.2", "255.255.255.0"),
                interface("em0", "2001:db8::1", "ffff:ffff:ffff:ffff::"),
                interface("em1", "fe80::2", ""),
            ],
            default_ipv4: Some("em0".into()),
            default_ipv6: None,
        };
        let address = |text, family| {
            interfaces
                .address(text, family)
                .map(|address| interfaces.text(address))
        };
        assert_eq!(address("em0", None).as_deref(), Some("192.0.2.1"));
        assert_eq!(
            address("em0", Some(Family::V6)).as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(
            address("em1", Some(Family::V6)).as_deref(),
            Some("fe80::2%em1")
        );
        for (text, expected) in [
            ("fe80::9%em0", Some("fe80::9%em0")),
            ("FE80::9%8", Some("fe80::9%em1")),
            ("fe80::9%30", Some("fe80::9%30")),
            ("fe80::9", Some("fe80::9")),
            ("fe80::9%em2", None),
            ("fe80::9%", None),
            ("fe80::9%0", None),
            ("fe80::9%+8", None),
            ("fe80::9%4294967296", None),
            ("2001:db8::1%em0", None),
            ("192.0.2.1%em0", None),
            ("em0%em0", None),
        ] {
            assert_eq!(address(text, None).as_deref(), expected, "{text}");
        }
        assert_eq!(address("fe80::9%em0", Some(Family::V4)), None);
        assert_eq!(address("em1", None), None);
        assert_eq!(
            address("default", Some(Family::V4)).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(address("default", Some(Family::V6)), None);
        assert_eq!(address("10.0.0.1", Some(Family::V6)), None);
        assert_eq!(
            interfaces.netmask("em0", Family::V4),
            "255.255.255.0".parse().ok()
        );
        assert_eq!(
            interfaces.netmask("0xffff0000", Family::V4),
            "255.255.0.0".parse().ok()
        );
        assert_eq!(interfaces.netmask("em1", Family::V6), None);
    }

    #[test]
    fn names_of_protocols_and_services() {
        let names = Names::parse(
            b"# comment\nxtp 36 XTP # x\nbad x\n\xff 1\ntcp 6 TCP\n",
            b"ssh 22/tcp\ndomain\t53/tcp\ndomain 53/udp nameserver\nodd 9\nntp 123/udp # t\n",
        );
        assert_eq!(names.protocol("XTP"), Some(36));
        assert_eq!(names.protocol("udp"), Some(17));
        assert_eq!(names.protocol("47"), Some(47));
        assert_eq!(names.protocol("256"), None);
        assert_eq!(names.protocol("0"), None);
        assert_eq!(names.protocol("nothing"), None);
        assert_eq!(names.port("ssh", 6), Some(22));
        assert_eq!(names.port("ssh", 17), None);
        assert_eq!(names.port("nameserver", 17), Some(53));
        assert_eq!(names.port("80", 6), Some(80));
        assert_eq!(names.port("0", 6), None);
    }
}
