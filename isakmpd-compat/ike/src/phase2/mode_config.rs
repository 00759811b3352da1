//! Attributes of mode-config (draft-dukes-ike-mode-cfg; isakmpd-wire 2.6).

use std::net::IpAddr;

use isakmp_proto::attribute::Attribute;
use isakmp_proto::number::CfgAttribute;

use crate::config::ModeConfig;
use crate::journal::{Class, Journal};

/// Seconds that a REPLY says without a `Lifetime`.
const DEFAULT_LIFETIME: u32 = 1200;

/// Attribute numbers of one kind of address, in IPv4 and IPv6.
type Pair = (CfgAttribute, CfgAttribute);

const ADDRESS: Pair = (
    CfgAttribute::INTERNAL_IP4_ADDRESS,
    CfgAttribute::INTERNAL_IP6_ADDRESS,
);
const NETMASK: Pair = (
    CfgAttribute::INTERNAL_IP4_NETMASK,
    CfgAttribute::INTERNAL_IP6_NETMASK,
);
const NAMESERVER: Pair = (
    CfgAttribute::INTERNAL_IP4_DNS,
    CfgAttribute::INTERNAL_IP6_DNS,
);
const WINS_SERVER: Pair = (
    CfgAttribute::INTERNAL_IP4_NBNS,
    CfgAttribute::INTERNAL_IP6_NBNS,
);
const DHCP_SERVER: Pair = (
    CfgAttribute::INTERNAL_IP4_DHCP,
    CfgAttribute::INTERNAL_IP6_DHCP,
);

/// Tags of a section with their attributes.
const TAGS: [(&str, Pair); 5] = [
    ("Address", ADDRESS),
    ("Netmask", NETMASK),
    ("Nameserver", NAMESERVER),
    ("WINS-server", WINS_SERVER),
    ("DHCP-server", DHCP_SERVER),
];

fn value(configuration: &ModeConfig, pair: Pair) -> Option<IpAddr> {
    match pair {
        ADDRESS => configuration.address,
        NETMASK => configuration.netmask,
        NAMESERVER => configuration.nameserver,
        WINS_SERVER => configuration.wins_server,
        _ => configuration.dhcp_server,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What a SET says: all that is configured, numbers ascending.
#[must_use]
pub(crate) fn set(configuration: &ModeConfig) -> Vec<Attribute> {
    let addresses = TAGS.iter().filter_map(|(_, pair)| {
        let address = value(configuration, *pair)?;
        let number = if address.is_ipv4() { pair.0 } else { pair.1 };
        Some(Attribute::variable(number, octets(address)))
    });
    let lifetime = configuration.lifetime.map(|seconds| {
        Attribute::variable(CfgAttribute::INTERNAL_ADDRESS_EXPIRY, seconds.to_be_bytes())
    });
    let mut attributes: Vec<_> = addresses.chain(lifetime).collect();
    attributes.sort_by_key(|attribute| attribute.ty);
    attributes
}

/// What a REQUEST asks for: both families of each name, numbers ascending; and the names that mean nothing.
#[must_use]
pub(crate) fn request(configuration: &ModeConfig) -> (Vec<Attribute>, Vec<&str>) {
    let mut numbers = Vec::new();
    let mut unknown = Vec::new();
    for name in &configuration.attributes {
        if let Some((_, pair)) = TAGS.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name)) {
            numbers.extend([pair.0, pair.1]);
        } else if name.eq_ignore_ascii_case("Lifetime") {
            numbers.push(CfgAttribute::INTERNAL_ADDRESS_EXPIRY);
        } else {
            unknown.push(name.as_str());
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    let attributes = numbers
        .into_iter()
        .map(|number| Attribute::variable(number, Vec::new()))
        .collect();
    (attributes, unknown)
}

/// What a REPLY says: the attributes asked for in reverse order, without a value where we have none or only one
/// of the other family; the log gets a line for each of both. Attributes that nobody knows are left out.
#[must_use]
pub(crate) fn reply(
    configuration: Option<&ModeConfig>,
    asked: &[Attribute],
    journal: &mut Journal,
) -> Vec<Attribute> {
    let empty = ModeConfig::default();
    let configuration = configuration.unwrap_or(&empty);
    asked
        .iter()
        .rev()
        .filter_map(|asked| {
            let number = CfgAttribute(asked.ty);
            let value = answer(configuration, number, journal)?;
            Some(Attribute::variable(number, value))
        })
        .collect()
}

fn answer(
    configuration: &ModeConfig,
    number: CfgAttribute,
    journal: &mut Journal,
) -> Option<Vec<u8>> {
    let mut of_family = |tag: &str, want_v4: bool, address: Option<IpAddr>| {
        let Some(address) = address else {
            journal.debug(Class::Negotiation, 10, || {
                format!("cfg_responder_send_ATTR: attribute not found: {tag}")
            });
            return None;
        };
        if address.is_ipv4() != want_v4 {
            let name = |v4| if v4 { "IPv4" } else { "IPv6" };
            journal.plain(format!(
                "cfg_responder_send_ATTR: attribute {tag} - expected {} got {} data",
                name(want_v4),
                name(!want_v4)
            ));
            return None;
        }
        Some(octets(address))
    };
    if let Some((tag, pair)) = TAGS
        .iter()
        .find(|(_, pair)| pair.0 == number || pair.1 == number)
    {
        let address = value(configuration, *pair);
        return Some(of_family(tag, pair.0 == number, address).unwrap_or_default());
    }
    match number {
        CfgAttribute::INTERNAL_ADDRESS_EXPIRY => Some(
            configuration
                .lifetime
                .unwrap_or(DEFAULT_LIFETIME)
                .to_be_bytes()
                .to_vec(),
        ),
        CfgAttribute::APPLICATION_VERSION => Some(Vec::new()),
        CfgAttribute::SUPPORTED_ATTRIBUTES => {
            let known = CfgAttribute::INTERNAL_IP4_ADDRESS.0..=CfgAttribute::INTERNAL_IP6_SUBNET.0;
            Some(known.flat_map(u16::to_be_bytes).collect())
        }
        CfgAttribute::INTERNAL_IP4_SUBNET => {
            let network = of_family("Network", true, configuration.network);
            let subnet = network.and_then(|network| {
                let mask = of_family("Netmask", true, configuration.netmask)?;
                Some([network, mask].concat())
            });
            Some(subnet.unwrap_or_default())
        }
        CfgAttribute::INTERNAL_IP6_SUBNET => {
            let network = of_family("Network", false, configuration.network);
            let prefix = configuration.prefix.filter(|prefix| *prefix <= 128);
            let subnet = network.zip(prefix).map(|(mut network, prefix)| {
                network.push(prefix);
                network
            });
            Some(subnet.unwrap_or_default())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isakmp_proto::attribute::AttributeValue;

    fn section() -> ModeConfig {
        ModeConfig {
            address: "192.168.1.123".parse().ok(),
            netmask: "255.255.255.0".parse().ok(),
            nameserver: "fd00::53".parse().ok(),
            lifetime: Some(600),
            ..ModeConfig::default()
        }
    }

    fn numbers(attributes: &[Attribute]) -> Vec<(u16, usize)> {
        attributes
            .iter()
            .map(|attribute| match &attribute.value {
                AttributeValue::Variable(octets) => (attribute.ty, octets.len()),
                AttributeValue::Basic(_) => panic!("basic form"),
            })
            .collect()
    }

    #[test]
    fn a_set_says_what_there_is() {
        assert_eq!(
            numbers(&set(&section())),
            [(1, 4), (2, 4), (5, 4), (10, 16)]
        );
        assert_eq!(set(&ModeConfig::default()), []);
    }

    #[test]
    fn a_request_names_both_families() {
        let configuration = ModeConfig {
            attributes: ["Address", "lifetime", "Colour"].map(String::from).to_vec(),
            ..ModeConfig::default()
        };
        let (asked, unknown) = request(&configuration);
        assert_eq!(numbers(&asked), [(1, 0), (5, 0), (8, 0)]);
        assert_eq!(unknown, ["Colour"]);
    }

    #[test]
    fn a_reply_turns_the_order_round() {
        let asked: Vec<_> = [1_u16, 3, 5, 10, 13, 14, 15, 99]
            .map(|number| Attribute::variable(number, Vec::new()))
            .to_vec();
        let mut journal = Journal::default();
        journal.set_level(Class::Negotiation, 10);
        let said = reply(Some(&section()), &asked, &mut journal);
        assert_eq!(
            numbers(&said),
            [(15, 0), (14, 30), (13, 0), (10, 16), (5, 4), (3, 0), (1, 4)]
        );
        let lines: Vec<_> = std::iter::from_fn(|| journal.pop())
            .map(|record| record.text)
            .collect();
        assert_eq!(
            lines,
            [
                "cfg_responder_send_ATTR: attribute not found: Network",
                "cfg_responder_send_ATTR: attribute not found: Network",
                "cfg_responder_send_ATTR: attribute Nameserver - expected IPv4 got IPv6 data"
            ]
        );
        assert_eq!(
            numbers(&reply(None, &asked[..1], &mut Journal::default())),
            [(1, 0)]
        );
    }
}
