//! Identities: the data of ID payloads, and the texts logs and file names have for them
//! (RFC 2407 section 4.6.2.1; isakmpd.md 2 and 3).

mod name;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::number::IdType;
use crate::octets::Reader;
use crate::payload::Id;

/// Text for an identity that is not known.
pub const NO_ID: &str = "<no ipsec id>";

/// The log cuts an identity's text here.
const MAX_TEXT: usize = 255;

/// An identity, its octets known to fit its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// One address.
    Address(IpAddr),
    /// IPv4 network and mask, the mask any 32 bits.
    Ipv4Subnet(Ipv4Addr, Ipv4Addr),
    /// IPv6 network and mask.
    Ipv6Subnet(Ipv6Addr, Ipv6Addr),
    /// First and last IPv4 address.
    Ipv4Range(Ipv4Addr, Ipv4Addr),
    /// First and last IPv6 address.
    Ipv6Range(Ipv6Addr, Ipv6Addr),
    /// A domain name, octets as sent.
    Fqdn(Vec<u8>),
    /// user@domain, octets as sent.
    UserFqdn(Vec<u8>),
    /// An X.500 name in DER.
    Dn(Vec<u8>),
    /// A GeneralName in DER.
    GeneralName(Vec<u8>),
    /// Opaque octets.
    KeyId(Vec<u8>),
}

/// An ID payload whose data cannot be what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ID of type {id_type} with {length} octets")]
pub struct BadIdentity {
    /// The type.
    pub id_type: IdType,
    /// Octets of data.
    pub length: usize,
}

impl TryFrom<&Id> for Identity {
    type Error = BadIdentity;

    fn try_from(id: &Id) -> Result<Self, BadIdentity> {
        Self::from_data(id.id_type, &id.data)
    }
}

impl Identity {
    /// The identity with these octets.
    ///
    /// # Errors
    /// An unknown type, or a length the type cannot have.
    pub fn from_data(id_type: IdType, data: &[u8]) -> Result<Self, BadIdentity> {
        let octets = || data.to_vec();
        let identity = match id_type {
            IdType::IPV4_ADDR => one(data, v4).map(|a| Self::Address(a.into())),
            IdType::IPV6_ADDR => one(data, v6).map(|a| Self::Address(a.into())),
            IdType::IPV4_ADDR_SUBNET => two(data, v4).map(|(a, b)| Self::Ipv4Subnet(a, b)),
            IdType::IPV6_ADDR_SUBNET => two(data, v6).map(|(a, b)| Self::Ipv6Subnet(a, b)),
            IdType::IPV4_RANGE => two(data, v4).map(|(a, b)| Self::Ipv4Range(a, b)),
            IdType::IPV6_RANGE => two(data, v6).map(|(a, b)| Self::Ipv6Range(a, b)),
            IdType::FQDN => Some(Self::Fqdn(octets())),
            IdType::USER_FQDN => Some(Self::UserFqdn(octets())),
            IdType::DER_ASN1_DN => Some(Self::Dn(octets())),
            IdType::DER_ASN1_GN => Some(Self::GeneralName(octets())),
            IdType::KEY_ID => Some(Self::KeyId(octets())),
            _ => None,
        };
        identity.ok_or(BadIdentity {
            id_type,
            length: data.len(),
        })
    }

    /// Its type on the wire.
    #[must_use]
    pub fn id_type(&self) -> IdType {
        match self {
            Self::Address(IpAddr::V4(_)) => IdType::IPV4_ADDR,
            Self::Address(IpAddr::V6(_)) => IdType::IPV6_ADDR,
            Self::Ipv4Subnet(..) => IdType::IPV4_ADDR_SUBNET,
            Self::Ipv6Subnet(..) => IdType::IPV6_ADDR_SUBNET,
            Self::Ipv4Range(..) => IdType::IPV4_RANGE,
            Self::Ipv6Range(..) => IdType::IPV6_RANGE,
            Self::Fqdn(_) => IdType::FQDN,
            Self::UserFqdn(_) => IdType::USER_FQDN,
            Self::Dn(_) => IdType::DER_ASN1_DN,
            Self::GeneralName(_) => IdType::DER_ASN1_GN,
            Self::KeyId(_) => IdType::KEY_ID,
        }
    }

    /// Its octets on the wire.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Self::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Self::Ipv4Subnet(a, b) | Self::Ipv4Range(a, b) => [a.octets(), b.octets()].concat(),
            Self::Ipv6Subnet(a, b) | Self::Ipv6Range(a, b) => [a.octets(), b.octets()].concat(),
            Self::Fqdn(octets)
            | Self::UserFqdn(octets)
            | Self::Dn(octets)
            | Self::GeneralName(octets)
            | Self::KeyId(octets) => octets.clone(),
        }
    }

    /// The payload for this identity.
    #[must_use]
    pub fn to_id(&self, protocol: u8, port: u16) -> Id {
        Id {
            id_type: self.id_type(),
            protocol,
            port,
            data: self.data(),
        }
    }

    /// The text with a type before it that KeyNote credentials and trusted keys are filed under:
    /// `ipv4/10.0.0.1`, `fqdn/host.example`, `asn1_dn//C=SE/CN=x`. `None` for types without one.
    #[must_use]
    pub fn prefixed_text(&self) -> Option<String> {
        let prefix = match self {
            Self::Address(IpAddr::V4(_)) => "ipv4",
            Self::Address(IpAddr::V6(_)) => "ipv6",
            Self::Fqdn(_) => "fqdn",
            Self::UserFqdn(_) => "ufqdn",
            Self::Dn(der) => return name::one_line(der).map(|text| format!("asn1_dn/{text}")),
            _ => return None,
        };
        Some(format!("{prefix}/{self}"))
    }
}

impl std::fmt::Display for Identity {
    /// The text in log lines (isakmpd.md 3), cut at 255 octets as the original cuts it. Control characters,
    /// which the original passes to the log, print as `\xHH`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Ipv4Subnet(network, mask) => write!(f, "{network}/{mask}"),
            Self::Ipv6Subnet(network, mask) => write!(f, "{network}/{mask}"),
            Self::Fqdn(octets) | Self::UserFqdn(octets) => f.write_str(&printable(octets)),
            Self::Dn(der) => match name::one_line(der) {
                Some(text) => f.write_str(&text),
                None => f.write_str("unparsable ASN1 DN ID"),
            },
            _ => write!(f, "<id type unknown: {:x}>", self.id_type().0),
        }
    }
}

/// The text in log lines for an ID as received, sound or not; [`NO_ID`] for none.
#[must_use]
pub fn id_text(id: Option<&Id>) -> String {
    match id {
        None => NO_ID.to_owned(),
        Some(id) => match Identity::try_from(id) {
            Ok(identity) => identity.to_string(),
            Err(_) => format!("<id type unknown: {:x}>", id.id_type.0),
        },
    }
}

/// Octets as text: up to the first NUL or [`MAX_TEXT`] octets, control characters escaped.
fn printable(octets: &[u8]) -> String {
    let end = octets.iter().take(MAX_TEXT).position(|octet| *octet == 0);
    let shown = octets.get(..end.unwrap_or_else(|| octets.len().min(MAX_TEXT)));
    String::from_utf8_lossy(shown.unwrap_or_default())
        .chars()
        .map(|c| {
            if c.is_control() {
                format!("\\x{:02X}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect()
}

fn v4(reader: &mut Reader<'_>) -> Option<Ipv4Addr> {
    reader.array::<4>().map(Ipv4Addr::from)
}

fn v6(reader: &mut Reader<'_>) -> Option<Ipv6Addr> {
    reader.array::<16>().map(Ipv6Addr::from)
}

fn one<T>(data: &[u8], read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<T> {
    let mut reader = Reader::new(data);
    let value = read(&mut reader)?;
    reader.is_empty().then_some(value)
}

fn two<T>(data: &[u8], read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<(T, T)> {
    one(data, |reader| Some((read(reader)?, read(reader)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id_type: IdType, data: &[u8]) -> String {
        id_text(Some(&Id {
            id_type,
            protocol: 0,
            port: 0,
            data: data.to_vec(),
        }))
    }

    #[test]
    fn texts_of_the_log() {
        assert_eq!(text(IdType::IPV4_ADDR, &[10, 77, 0, 1]), "10.77.0.1");
        assert_eq!(
            text(IdType::IPV4_ADDR_SUBNET, &[10, 1, 0, 0, 255, 255, 0, 0]),
            "10.1.0.0/255.255.0.0"
        );
        let mut v6 = [0; 32];
        v6[0] = 0xfd;
        v6[15] = 1;
        v6[16] = 0xff;
        assert_eq!(text(IdType::IPV6_ADDR, &v6[..16]), "fd00::1");
        assert_eq!(text(IdType::IPV6_ADDR_SUBNET, &v6), "fd00::1/ff00::");
        assert_eq!(text(IdType::FQDN, b"a.example"), "a.example");
        assert_eq!(text(IdType::USER_FQDN, b"u@a.example"), "u@a.example");
        assert_eq!(text(IdType::FQDN, b"a\nb\0c"), "a\\x0Ab");
        assert_eq!(text(IdType::FQDN, &[b'x'; 300]).len(), MAX_TEXT);
        assert_eq!(text(IdType::KEY_ID, b"key"), "<id type unknown: b>");
        assert_eq!(text(IdType::DER_ASN1_DN, b"junk"), "unparsable ASN1 DN ID");
        assert_eq!(id_text(None), "<no ipsec id>");
    }

    #[test]
    fn a_wrong_length_is_no_identity() {
        for (id_type, length) in [
            (1, 3),
            (1, 5),
            (4, 4),
            (5, 15),
            (6, 16),
            (7, 4),
            (8, 31),
            (12, 4),
        ] {
            let refused = Identity::from_data(IdType(id_type), &vec![0; length]);
            assert_eq!(
                refused,
                Err(BadIdentity {
                    id_type: IdType(id_type),
                    length
                })
            );
        }
    }

    #[test]
    fn names_of_key_files() {
        let fqdn = Identity::Fqdn(b"a.example".to_vec());
        assert_eq!(fqdn.prefixed_text().as_deref(), Some("fqdn/a.example"));
        let address = Identity::Address("fd00::1".parse().unwrap());
        assert_eq!(address.prefixed_text().as_deref(), Some("ipv6/fd00::1"));
        assert_eq!(Identity::KeyId(vec![1]).prefixed_text(), None);
    }
}
