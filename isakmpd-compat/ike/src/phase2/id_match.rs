//! Identities of Quick Mode (isakmpd-wire 2.4, 4.2): which types are taken, whose connection they are.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use isakmp_proto::number::{IdType, IkeAuth};
use isakmp_proto::payload::Id;

use crate::config::{Configuration, Connection, IdMatch, Peer};
use crate::sa::IsakmpSa;

/// Whether the original takes such an ID payload in Quick Mode. FQDN is of use in NAT-T transport mode only.
#[must_use]
pub(crate) fn is_usable(id: &Id) -> bool {
    let octets = match id.id_type {
        IdType::IPV4_ADDR => 4,
        IdType::IPV4_ADDR_SUBNET => 8,
        IdType::IPV6_ADDR => 16,
        IdType::IPV6_ADDR_SUBNET => 32,
        IdType::FQDN => return !id.data.is_empty(),
        _ => return false,
    };
    id.data.len() == octets
}

/// The connection that a responder found for the identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// This one.
    Connection(Rc<Connection>),
    /// None, and the policy decides alone: the SA has no name.
    Unnamed,
    /// None: INVALID_ID_INFORMATION.
    Refused,
}

/// With a policy one identity of a connection is enough, or none at all, since the policy sees them; without one
/// both must be the connection's, unless it has `Loose-IDs`.
#[must_use]
pub(crate) fn decide(found: IdMatch, policy: bool) -> Found {
    match found {
        IdMatch::Both(connection) => Found::Connection(connection),
        IdMatch::LocalOnly(connection) if policy || connection.loose_ids => {
            Found::Connection(connection)
        }
        IdMatch::None if policy => Found::Unnamed,
        IdMatch::LocalOnly(_) | IdMatch::None => Found::Refused,
    }
}

/// Whether a connection belongs to another peer than the one that asks for it: `Ok` when not, else that peer's
/// section.
///
/// Only where both sections are known by their addresses can this be told: the asking peer's is the one of its
/// address (or the default one), and the connection's peer is listed by its `Address`. Who could as well have
/// authenticated as the other one may ask for it, too; a site with two addresses is such a peer.
pub(crate) fn of_asking_peer<'c>(
    configuration: &dyn Configuration,
    sa: &IsakmpSa,
    connection: &'c Connection,
) -> Result<(), &'c str> {
    let other = connection.peer.as_str();
    let is = |found: Option<&str>, name: &str| found.is_some_and(|f| f.eq_ignore_ascii_case(name));
    let Some(own) = sa.name.as_deref() else {
        return Ok(());
    };
    let by_address = configuration.peer_for_address(sa.path.remote.into());
    if is(Some(own), other) || !is(by_address.as_ref().map(|(name, _)| name.as_str()), own) {
        return Ok(());
    }
    let (Ok(own), Ok(peer)) = (configuration.peer(own), configuration.peer(other)) else {
        return Ok(());
    };
    let listed = peer
        .address
        .and_then(|address| configuration.peer_for_address(address));
    match listed {
        Some((name, true)) if is(Some(&name), other) => {}
        _ => return Ok(()),
    }
    could_be(sa, &own, &peer).then_some(()).ok_or(other)
}

/// Whether who authenticated as `own` knows the secret of `peer`, too, and has the identity that is wanted of it.
fn could_be(sa: &IsakmpSa, own: &Peer, peer: &Peer) -> bool {
    let named = peer.remote_id.as_ref().map(|id| *id == sa.remote_id);
    match (IkeAuth(sa.facts.authentication), named) {
        (_, Some(false)) => false,
        // In Aggressive Mode the secret may be that of the name.
        (IkeAuth::PRE_SHARED, _) => {
            !sa.aggressive
                && matches!(
                    (&own.authentication, &peer.authentication),
                    (Some(own), Some(peer)) if own.ct_eq(peer.as_slice())
                )
        }
        (_, named) => named == Some(true),
    }
}

/// The identity of an end that sent none: its address (RFC 2409 section 5.5).
#[must_use]
pub(crate) fn address(end: SocketAddr) -> Id {
    let (id_type, data) = match end.ip() {
        IpAddr::V4(address) => (IdType::IPV4_ADDR, address.octets().to_vec()),
        IpAddr::V6(address) => (IdType::IPV6_ADDR, address.octets().to_vec()),
    };
    Id {
        id_type,
        protocol: 0,
        port: 0,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_taken_and_ranges_are_not() {
        let usable = |id_type, octets: usize| {
            is_usable(&Id {
                id_type,
                protocol: 0,
                port: 0,
                data: vec![1; octets],
            })
        };
        for (id_type, octets) in [
            (IdType::IPV4_ADDR, 4),
            (IdType::IPV4_ADDR_SUBNET, 8),
            (IdType::IPV6_ADDR, 16),
            (IdType::IPV6_ADDR_SUBNET, 32),
        ] {
            assert!(usable(id_type, octets), "{id_type:?}");
            assert!(!usable(id_type, octets - 1), "{id_type:?}");
            assert!(!usable(id_type, octets + 1), "{id_type:?}");
        }
        assert!(usable(IdType::FQDN, 1) && !usable(IdType::FQDN, 0));
        // IPV4_ADDR_RANGE and IPV6_ADDR_RANGE (RFC 2407 section 4.6.2.1).
        assert!(!usable(IdType(7), 8) && !usable(IdType(8), 32));
    }
}
