//! Phase1-ID and IPsec-ID sections (isakmpd-config 3).

use std::net::IpAddr;

use ike::config::ConfigError;
use ike::sa::Selector;
use isakmp_proto::identity::Identity;
use isakmp_proto::number::IdType;

use super::view::{View, error};
use crate::host::Family;
use crate::text::octets;

/// Whose phase 1 identity a section is: the original has other words for each, and takes networks for ours only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Peers,
}

fn family(id_type: IdType) -> Family {
    match id_type {
        IdType::IPV6_ADDR | IdType::IPV6_ADDR_SUBNET => Family::V6,
        _ => Family::V4,
    }
}

fn subnet(network: IpAddr, netmask: IpAddr) -> Option<Identity> {
    match (network, netmask) {
        (IpAddr::V4(network), IpAddr::V4(netmask)) => Some(Identity::Ipv4Subnet(network, netmask)),
        (IpAddr::V6(network), IpAddr::V6(netmask)) => Some(Identity::Ipv6Subnet(network, netmask)),
        _ => None,
    }
}

impl View<'_> {
    pub(super) fn phase1_identity(
        &self,
        section: &str,
        whose: Whose,
    ) -> Result<Identity, ConfigError> {
        let Some(type_name) = self.text(section, "ID-type") else {
            return error(format!(
                "ipsec_id_size: section {section} has no \"ID-type\" tag"
            ));
        };
        let id_type = IdType::from_name(&type_name).unwrap_or(IdType(0));
        let place = match whose {
            Whose::Ours => "ike_phase_1_send_ID",
            Whose::Peers => "ike_phase_1_recv_ID",
        };
        match id_type {
            IdType::IPV4_ADDR | IdType::IPV6_ADDR => {
                let Some(text) = self.text(section, "Address") else {
                    return error(match whose {
                        Whose::Ours => format!("{place}: section {section} has no \"Address\" tag"),
                        Whose::Peers => format!(
                            "{place}: failed to get Address in Remote-ID section [{section}]"
                        ),
                    });
                };
                match self.host.interfaces.address(&text, Some(family(id_type))) {
                    Some(address) => Ok(Identity::Address(address.ip)),
                    None => error(match whose {
                        Whose::Ours => {
                            format!("{place}: invalid address {text} in section {section}")
                        }
                        Whose::Peers if self.host.interfaces.address(&text, None).is_some() => {
                            format!("{place}: address {text} not of expected family")
                        }
                        Whose::Peers => format!("{place}: failed to parse address {text}"),
                    }),
                }
            }
            IdType::IPV4_ADDR_SUBNET | IdType::IPV6_ADDR_SUBNET if whose == Whose::Ours => {
                let mut ends = Vec::with_capacity(2);
                for tag in ["Network", "Netmask"] {
                    let Some(text) = self.text(section, tag) else {
                        return error(format!("{place}: section {section} has no \"{tag}\" tag"));
                    };
                    let end = if tag == "Network" {
                        self.host
                            .interfaces
                            .address(&text, Some(family(id_type)))
                            .map(|address| address.ip)
                    } else {
                        self.host.interfaces.netmask(&text, family(id_type))
                    };
                    match end {
                        Some(end) => ends.push(end),
                        None => {
                            return error(format!(
                                "{place}: invalid address {text} in section {section}"
                            ));
                        }
                    }
                }
                match ends.as_slice() {
                    [network, netmask] => subnet(*network, *netmask),
                    _ => None,
                }
                .map_or_else(
                    || error(format!("{place}: unsupported ID type {}", id_type.0)),
                    Ok,
                )
            }
            IdType::FQDN | IdType::USER_FQDN | IdType::KEY_ID => {
                let Some(name) = self.text(section, "Name") else {
                    return error(format!(
                        "ipsec_id_size: section {section} has no \"Name\" tag"
                    ));
                };
                let name = octets(&name);
                Ok(match id_type {
                    IdType::FQDN => Identity::Fqdn(name),
                    IdType::USER_FQDN => Identity::UserFqdn(name),
                    _ => Identity::KeyId(name),
                })
            }
            IdType::IPV4_ADDR_SUBNET
            | IdType::IPV6_ADDR_SUBNET
            | IdType::DER_ASN1_DN
            | IdType::DER_ASN1_GN => error(format!("{place}: unsupported ID type {}", id_type.0)),
            _ => error(format!(
                "ipsec_id_size: unrecognized/unsupported ID-type {} ({type_name})",
                id_type.0
            )),
        }
    }

    /// An IPsec-ID section: one side of a connection's traffic.
    pub(super) fn selector(&self, section: &str) -> Result<Selector, ConfigError> {
        let Some(type_name) = self.text(section, "ID-type") else {
            return error(format!(
                "ipsec_get_id: section {section} has no \"ID-type\" tag"
            ));
        };
        let id_type = IdType::from_name(&type_name).unwrap_or(IdType(0));
        let missing = |tag: &str| {
            error(format!(
                "ipsec_get_id: section {section} has no \"{tag}\" tag"
            ))
        };
        let identity = match id_type {
            IdType::IPV4_ADDR | IdType::IPV6_ADDR => {
                let Some(text) = self.text(section, "Address") else {
                    return missing("Address");
                };
                match self.host.interfaces.address(&text, Some(family(id_type))) {
                    Some(address) => Identity::Address(address.ip),
                    None => {
                        return error(format!(
                            "ipsec_get_id: invalid address {text} in section {section}"
                        ));
                    }
                }
            }
            IdType::IPV4_ADDR_SUBNET | IdType::IPV6_ADDR_SUBNET => {
                let invalid = |text: &str| {
                    error(format!(
                        "ipsec_get_id: invalid section {section} network {text}"
                    ))
                };
                let Some(text) = self.text(section, "Network") else {
                    return missing("Network");
                };
                let Some(network) = self.host.interfaces.address(&text, Some(family(id_type)))
                else {
                    return invalid(&text);
                };
                let Some(text) = self.text(section, "Netmask") else {
                    return missing("Netmask");
                };
                let netmask = self.host.interfaces.netmask(&text, family(id_type));
                match netmask.and_then(|netmask| subnet(network.ip, netmask)) {
                    Some(identity) => identity,
                    None => return invalid(&text),
                }
            }
            _ => {
                return error(format!(
                    "ipsec_get_id: unknown ID type \"{type_name}\" in section {section}"
                ));
            }
        };
        let (protocol, port) = self.protocol_and_port(section)?;
        Ok(Selector {
            identity,
            protocol,
            port,
        })
    }

    /// `Protocol` and `Port`; without the first the second is not looked at.
    fn protocol_and_port(&self, section: &str) -> Result<(u8, u16), ConfigError> {
        let Some(text) = self.text(section, "Protocol") else {
            return Ok((0, 0));
        };
        let Some(protocol) = self.host.names.protocol(&text) else {
            return error(format!("ipsec_get_proto_port: protocol \"{text}\" unknown"));
        };
        let Some(text) = self.text(section, "Port") else {
            return Ok((protocol, 0));
        };
        match self.host.names.port(&text, protocol) {
            Some(port) => Ok((protocol, port)),
            None => error(format!("ipsec_get_proto_port: port \"{text}\" unknown")),
        }
    }
}
