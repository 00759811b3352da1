//! SAs that go: told to the peer, or told by it (isakmpd-wire 2.5, 4.6, 4.7).

use std::net::SocketAddr;
use std::time::Instant;

use isakmp_proto::number::{Doi, Protocol};
use isakmp_proto::payload::Delete;

use crate::engine::Engine;
use crate::event::{Address, Event};
use crate::exchange::informational;
use crate::journal::Class;
use crate::kernel::{Flow, Request};
use crate::lifetime;
use crate::nat;
use crate::phase2::proposal::spi_octets;
use crate::sa::{Flags, IpsecSa, IsakmpSa, Role, SaId};

/// Both cookies of an ISAKMP SA, as SPI.
pub(crate) fn cookies_of(sa: &IsakmpSa) -> [u8; 16] {
    let mut spi = [0; 16];
    let octets = sa
        .initiator_cookie
        .0
        .into_iter()
        .chain(sa.responder_cookie.0);
    spi.iter_mut()
        .zip(octets)
        .for_each(|(place, octet)| *place = octet);
    spi
}

/// Protocols of a suite with our SPIs, as a DELETE names them.
pub(crate) fn spis_of(suite: &IpsecSa) -> Vec<(u8, u32)> {
    suite
        .protocols
        .iter()
        .map(|sa| (sa.protocol, sa.incoming_spi))
        .collect()
}

/// Removes an SA of either phase, and tells the peer if it is to know.
pub(crate) fn delete_sa(engine: &mut Engine, now: Instant, id: SaId, tell_peer: bool) {
    engine.journal.debug(Class::Sa, 70, || {
        format!("sa_remove: SA {} removed from SA list", id.0)
    });
    if let Some(sa) = engine.sas.phase1(id) {
        let spi = cookies_of(sa).to_vec();
        if tell_peer {
            send(engine, now, id, Protocol::ISAKMP, spi);
        }
        lifetime::stop(engine, id);
        engine.sas.remove_phase1(id);
        return;
    }
    let Some(suite) = engine.sas.remove_phase2(id) else {
        return;
    };
    if tell_peer {
        let isakmp = protecting(engine, &suite);
        tell(engine, now, isakmp, &spis_of(&suite));
    }
    lifetime::stop(engine, id);
    engine.phase2.leave(&suite);
    remove_from_kernel(engine, &suite, true);
}

/// The ISAKMP SA to speak with the peer of a suite: the newest with the same ends and identities.
fn protecting(engine: &Engine, suite: &IpsecSa) -> Option<SaId> {
    let peer = suite.path.remote.into();
    let candidates: Vec<&IsakmpSa> = engine
        .sas
        .with_peer(1, peer)
        .rev()
        .filter_map(|id| engine.sas.phase1(id))
        .filter(|sa| sa.flags.has(Flags::READY))
        .collect();
    let same = candidates
        .iter()
        .find(|sa| sa.remote_id == suite.phase1_remote_id && sa.local_id == suite.phase1_local_id);
    same.map(|sa| sa.id)
}

/// Tells the peer that SAs with these SPIs of ours are gone, one message for each protocol.
pub(crate) fn tell(engine: &mut Engine, now: Instant, isakmp: Option<SaId>, spis: &[(u8, u32)]) {
    let Some(isakmp) = isakmp else { return };
    for (protocol, spi) in spis {
        send(
            engine,
            now,
            isakmp,
            Protocol(*protocol),
            spi_octets(*protocol, *spi),
        );
    }
}

fn send(engine: &mut Engine, now: Instant, isakmp: SaId, protocol: Protocol, spi: Vec<u8>) {
    let spi_size = u8::try_from(spi.len()).unwrap_or(0);
    let delete = Delete {
        doi: Doi::IPSEC,
        protocol,
        spi_size,
        spis: vec![spi],
    };
    informational::send_delete(engine, now, isakmp, delete);
}

/// Takes a suite out of the kernel. Its flow stays where a newer suite carries it.
pub(crate) fn remove_from_kernel(engine: &mut Engine, suite: &IpsecSa, was_entered: bool) {
    let keeps_flow = suite.flags.has(Flags::REPLACED)
        || suite.flags.has(Flags::ON_DEMAND)
        || engine.options.acquire_only
        || engine
            .phase2
            .with_flow_of(suite)
            .iter()
            .any(|other| *other != suite.id);
    let nat = suite
        .name
        .as_deref()
        .and_then(|name| engine.configuration.connection(name).ok())
        .and_then(|connection| connection.nat_id.clone());
    let flow = (was_entered && !keeps_flow).then(|| Flow {
        local: suite.local_filter.clone(),
        remote: suite.remote_filter.clone(),
        nat,
    });
    let protocols = nat::protocols(suite);
    engine.emit(Event::Kernel(Request::Remove {
        local: suite.path.local,
        remote: suite.path.remote,
        protocols,
        flow,
    }));
}

/// SAs that a peer wants deleted, each with the protocol it named.
pub(crate) type Victims = Vec<(SaId, Protocol)>;

/// Looks up what DELETE payloads name. `None`: the whole message is ignored, since one SPI is unknown or not the
/// peer's.
pub(crate) fn validate(
    engine: &mut Engine,
    isakmp: SaId,
    remote: SocketAddr,
    deletes: &[&Delete],
) -> Option<Victims> {
    let mut victims = Victims::new();
    for delete in deletes {
        let size: u8 = match delete.protocol {
            Protocol::ISAKMP => 16,
            Protocol::IPCOMP if delete.spi_size == 2 => 2,
            _ => 4,
        };
        if delete.spis.is_empty() {
            engine.journal.debug(Class::Sa, 60, || {
                "ipsec_handle_leftover_payload: message specified zero SPIs, ignoring".to_owned()
            });
            continue;
        }
        if delete.spi_size != size {
            engine.journal.plain(format!(
                "ipsec_handle_leftover_payload: invalid SPI size {} for proto {} in DELETE payload",
                delete.spi_size, delete.protocol.0
            ));
            continue;
        }
        for spi in &delete.spis {
            match owner(engine, isakmp, remote, delete.protocol, spi) {
                Owner::Nobody => {
                    engine.journal.debug(Class::Message, 50, || {
                        "message_validate_delete: invalid spi (no valid SA found)".to_owned()
                    });
                    return None;
                }
                Owner::Another => {
                    engine.journal.plain(format!(
                        "message_validate_delete: invalid spi (illegal delete request from {})",
                        remote.ip()
                    ));
                    return None;
                }
                Owner::Peer(id) => victims.push((id, delete.protocol)),
            }
        }
    }
    Some(victims)
}

/// Whose SA an SPI names.
enum Owner {
    /// Nobody's.
    Nobody,
    /// That of another peer than the one who speaks.
    Another,
    /// That of the peer who speaks.
    Peer(SaId),
}

fn owner(
    engine: &Engine,
    isakmp: SaId,
    remote: SocketAddr,
    protocol: Protocol,
    spi: &[u8],
) -> Owner {
    let Some(speaker) = engine.sas.phase1(isakmp) else {
        return Owner::Nobody;
    };
    let same_end = |path: crate::event::Path| {
        let end = Address::from(path.remote);
        [speaker.path.remote, remote]
            .iter()
            .any(|other| end == Address::from(*other))
    };
    if protocol == Protocol::ISAKMP {
        let found = engine
            .sas
            .with_peer(1, speaker.path.remote.into())
            .filter_map(|id| engine.sas.phase1(id))
            .find(|sa| cookies_of(sa).as_slice() == spi);
        return match found {
            None => Owner::Nobody,
            Some(sa) if sa.remote_id == speaker.remote_id => Owner::Peer(sa.id),
            Some(_) => Owner::Another,
        };
    }
    let spi = spi
        .iter()
        .fold(0_u32, |value, octet| (value << 8) | u32::from(*octet));
    let mut found = Owner::Nobody;
    for id in engine.sas.with_outgoing_spi(protocol.0, spi) {
        let Some(sa) = engine.sas.phase2(id) else {
            continue;
        };
        // A NAT may have given the peer another address since the suite was made.
        let may_be_its_own = same_end(sa.path) || sa.peer_is_behind;
        if may_be_its_own && sa.phase1_remote_id == speaker.remote_id {
            return Owner::Peer(id);
        }
        // An SPI of another peer that happens to be the same number is none of its business.
        if same_end(sa.path) {
            found = Owner::Another;
        }
    }
    found
}

/// Deletes what the peer named.
pub(crate) fn delete_for_peer(
    engine: &mut Engine,
    now: Instant,
    remote: SocketAddr,
    victims: &Victims,
) {
    for (id, protocol) in victims {
        let described = if let Some(sa) = engine.sas.phase1(*id) {
            Some((
                sa.soft.is_some(),
                sa.name.clone(),
                sa.role,
                &sa.local_id,
                &sa.remote_id,
            ))
        } else {
            engine.sas.phase2(*id).map(|sa| {
                let ids = (&sa.phase1_local_id, &sa.phase1_remote_id);
                (sa.soft.is_some(), sa.name.clone(), sa.role, ids.0, ids.1)
            })
        };
        let Some((live, name, role, local_id, remote_id)) = described else {
            continue;
        };
        if live {
            // Initiator and responder of phase 1 where they are known: those of the SA itself.
            let (initiator, responder) = match phase1_role(engine, *id).unwrap_or(role) {
                Role::Initiator => (local_id, remote_id),
                Role::Responder => (remote_id, local_id),
            };
            let text = format!(
                "isakmpd: Peer {} made us delete live SA {} for proto {}, initiator id: {initiator}, responder id: {responder}",
                remote.ip(),
                name.as_deref().unwrap_or("<unnamed>"),
                protocol.0
            );
            engine.journal.verbose(|| text);
        }
        delete_sa(engine, now, *id, false);
    }
}

/// Who began phase 1 of a suite, as far as that SA is still there.
fn phase1_role(engine: &Engine, id: SaId) -> Option<Role> {
    let suite = engine.sas.phase2(id)?;
    let isakmp = engine
        .sas
        .find_phase1(suite.initiator_cookie, suite.responder_cookie)?;
    engine.sas.phase1(isakmp).map(|sa| sa.role)
}

/// INITIAL_CONTACT came under `isakmp`: the peer knows of nothing older. All SAs with that address and port that were
/// ready before `before` go, and the peer is not told. (The original also deletes what was made since then, so that
/// a repeated message, or a crossing exchange, would take SAs away from one side only.)
pub(crate) fn initial_contact(engine: &mut Engine, now: Instant, isakmp: SaId, before: Instant) {
    let Some(remote) = engine.sas.phase1(isakmp).map(|sa| sa.path.remote) else {
        return;
    };
    let old1 = engine.sas.with_peer(1, remote.into()).filter(|id| {
        *id != isakmp
            && engine
                .sas
                .phase1(*id)
                .is_some_and(|sa| sa.path.remote == remote && sa.since < before)
    });
    let old2 = engine.sas.with_peer(2, remote.into()).filter(|id| {
        engine
            .sas
            .phase2(*id)
            .is_some_and(|sa| sa.path.remote == remote && sa.since < before)
    });
    let old: Vec<SaId> = old2.chain(old1).collect();
    for id in old {
        engine.journal.debug(Class::Sa, 30, || {
            format!(
                "ipsec_handle_leftover_payload: INITIAL-CONTACT made us delete SA {:#x}",
                id.0
            )
        });
        delete_sa(engine, now, id, false);
    }
}
