//! NAT-D payloads: where each side believes both are (RFC 3947 section 3.2; isakmpd-wire 4.5).

use std::net::{IpAddr, SocketAddr};

use isakmp_proto::header::Cookie;
use isakmp_proto::message::{Builder, Message};
use isakmp_proto::number::PayloadType;
use isakmp_proto::payload::{NatD, NatForm, Payload};
use kx_crypto::prf::Hash;

use crate::event::Path;
use crate::journal::{Class, Journal};
use crate::sa::{NatState, NatTraversal};

/// HASH(CKY-I | CKY-R | address | port); empty if the library has not got the hash, which then matches nothing.
fn digest(hash: Hash, cookies: (Cookie, Cookie), end: SocketAddr) -> Vec<u8> {
    let port = end.port().to_be_bytes();
    let parts = |address: &[u8]| {
        hash.digest(&[&cookies.0.0, &cookies.1.0, address, &port])
            .unwrap_or_default()
    };
    match end.ip() {
        IpAddr::V4(address) => parts(&address.octets()),
        IpAddr::V6(address) => parts(&address.octets()),
    }
}

/// Adds two: the peer's end first, then ours.
pub(crate) fn add(
    builder: &mut Builder,
    form: NatTraversal,
    hash: Hash,
    cookies: (Cookie, Cookie),
    path: Path,
) {
    let form = match form {
        NatTraversal::Off => return,
        NatTraversal::Draft => NatForm::Draft,
        NatTraversal::Rfc3947 => NatForm::Rfc,
    };
    for end in [path.remote, path.local] {
        builder.push(Payload::NatD(NatD {
            form,
            hash: digest(hash, cookies, end),
        }));
    }
}

/// What the peer's payloads show. `None` without any: then there is no NAT traversal.
pub(crate) fn check(
    message: &Message,
    form: NatTraversal,
    hash: Hash,
    cookies: (Cookie, Cookie),
    path: Path,
    journal: &mut Journal,
) -> NatState {
    let received: Vec<&NatD> = [PayloadType::NAT_D, PayloadType::NAT_D_DRAFT]
        .into_iter()
        .flat_map(|ty| message.all(ty))
        .filter_map(|(_, payload)| match payload {
            Payload::NatD(nat_d) => Some(nat_d),
            _ => None,
        })
        .collect();
    if received.is_empty() || form == NatTraversal::Off {
        return NatState::default();
    }
    let seen = |end| {
        let expected = digest(hash, cookies, end);
        received.iter().any(|nat_d| nat_d.hash == expected)
    };
    let state = NatState {
        traversal: form,
        we_are_behind: !seen(path.local),
        peer_is_behind: !seen(path.remote),
    };
    if state.we_are_behind {
        journal.debug(Class::Exchange, 10, || {
            "nat_t_exchange_check_nat_d: NAT detected, we're behind it".to_owned()
        });
    } else if state.peer_is_behind {
        journal.debug(Class::Exchange, 10, || {
            "nat_t_exchange_check_nat_d: NAT detected".to_owned()
        });
    } else {
        journal.debug(Class::Exchange, 40, || {
            "nat_t_exchange_check_nat_d: no NAT".to_owned()
        });
    }
    state
}
