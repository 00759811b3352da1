//! What both sides do at the end: keys, the kernel, the SA in the table.

use std::time::Instant;

use isakmp_proto::identity::Identity;
use kx_secret::SecretBytes;

use super::{Pair, QuickMode, Step, initiator, state, wait_for_kernel};
use crate::delete;
use crate::engine::Engine;
use crate::event::Event;
use crate::exchange::{Exchange, Outcome};
use crate::kernel::{Flow, Installation, Request, SaParameters};
use crate::keys::KeymatInput;
use crate::lifetime;
use crate::phase2::keymat;
use crate::phase2::proposal::{self, Agreed};
use crate::sa::{Flags, IpsecSa, ProtocolSa, Role, Selector};
use crate::status::ends;

/// Everything is agreed on: keys are made and both directions go to the kernel.
pub(super) fn install(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let Some((suite, installation)) = prepare(engine, now, exchange) else {
        engine
            .journal
            .plain("post_quick_mode: keys could not be made");
        return Outcome::Abandon;
    };
    let ticket = engine.ask_kernel(exchange.id, |ticket| {
        Request::Install(ticket, Box::new(installation))
    });
    wait_for_kernel(exchange, ticket);
    if let Some(state) = state(exchange) {
        state.suite = Some(Box::new(suite));
        state.shared = None;
        state.step = Step::Installing;
    }
    Outcome::Continue
}

/// The responder's way in, before its answer leaves: the initiator may send as soon as it has that, and its first
/// packets overtake message 3.
pub(super) fn install_incoming(engine: &mut Engine, now: Instant, exchange: &mut Exchange) {
    if let Some((_, mut installation)) = prepare(engine, now, exchange) {
        installation.outgoing.clear();
        engine.emit(Event::Kernel(Request::InstallIncoming(Box::new(
            installation,
        ))));
    }
}

fn prepare(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
) -> Option<(IpsecSa, Installation)> {
    let id = engine.new_sa_id();
    let acquire_only = engine.options.acquire_only;
    let isakmp = engine.sas.phase1(exchange.sa?)?;
    let (path, role) = (exchange.path, exchange.role);
    let name = exchange.name.clone();
    let cookies = (exchange.initiator_cookie, exchange.responder_cookie);
    let message_id = exchange.message_id;
    let state = state(exchange)?;
    let (local, remote) = super::filters(role, state.ids.as_ref(), path.local, path.remote)?;
    let agreed: Vec<Agreed> = state.pairs.iter().map(|pair| pair.agreed).collect();
    let lifetime = proposal::lifetime_of(&agreed);
    let mut protocols = state
        .pairs
        .iter()
        .map(protocol_sa)
        .collect::<Option<Vec<_>>>()?;
    keymat::innermost_first(&mut protocols);
    let tunnel = keymat::tunnel_of(&protocols);
    let keys = |protocol: &ProtocolSa, spi: u32| {
        let octets = proposal::spi_octets(protocol.protocol, spi);
        let input = KeymatInput {
            g_xy: state.shared.as_ref().map(SecretBytes::as_slice),
            protocol: protocol.protocol,
            spi: &octets,
            ni: &state.nonce_i,
            nr: &state.nonce_r,
        };
        let length = protocol
            .encryption_key_len
            .checked_add(protocol.authentication_key_len)?;
        isakmp.protection.keys.keymat(&input, length).ok()
    };
    let mut directions: [Vec<SaParameters>; 2] = [Vec::new(), Vec::new()];
    for (place, protocol) in protocols.iter().enumerate() {
        let spis = [protocol.incoming_spi, protocol.outgoing_spi];
        for (direction, spi) in directions.iter_mut().zip(spis) {
            let keymat = keys(protocol, spi)?;
            direction.push(keymat::parameters(
                protocol,
                spi,
                &keymat,
                lifetime,
                tunnel == Some(place),
            )?);
        }
    }
    let [incoming, outgoing] = directions;
    let connection = state.connection.clone();
    let on_demand = connection
        .as_ref()
        .is_some_and(|connection| connection.on_demand);
    let udp_transport = agreed.iter().any(|one| one.is_in_udp() && !one.is_tunnel());
    let flow = Flow {
        local: on_the_wire(&local, path.local.ip(), udp_transport),
        remote: on_the_wire(&remote, path.remote.ip(), udp_transport),
        nat: connection
            .as_ref()
            .and_then(|connection| connection.nat_id.clone()),
    };
    let mut flags = Flags(Flags::READY);
    if let Some(connection) = &connection {
        if connection.active_only {
            flags.set(Flags::ACTIVE_ONLY);
        }
        if connection.on_demand {
            flags.set(Flags::ON_DEMAND);
        }
    }
    let installation = Installation {
        name: name.as_deref().map(str::to_owned),
        local: path.local,
        remote: path.remote,
        incoming,
        outgoing,
        flow,
        with_flow: !(on_demand || acquire_only),
        local_id: isakmp.local_id.clone(),
        remote_id: isakmp.remote_id.clone(),
    };
    let suite = IpsecSa {
        id,
        name,
        role,
        initiator_cookie: cookies.0,
        responder_cookie: cookies.1,
        message_id,
        path,
        peer_is_behind: isakmp.nat.peer_is_behind,
        phase1_local_id: isakmp.local_id.clone(),
        phase1_remote_id: isakmp.remote_id.clone(),
        ids_sent: state.ids.is_some(),
        local_filter: local,
        remote_filter: remote,
        protocols,
        group: state.group,
        flags,
        lifetime,
        since: now,
        soft: None,
        hard: None,
    };
    Some((suite, installation))
}

/// Behind a NAT in transport mode the traffic is that of the ends as IKE sees them.
fn on_the_wire(filter: &Selector, end: std::net::IpAddr, udp_transport: bool) -> Selector {
    if udp_transport {
        Selector {
            identity: Identity::Address(end),
            ..filter.clone()
        }
    } else {
        filter.clone()
    }
}

fn protocol_sa(pair: &Pair) -> Option<ProtocolSa> {
    let lengths = keymat::lengths(&pair.agreed)?;
    Some(ProtocolSa {
        protocol: pair.agreed.protocol,
        outgoing_spi: pair.outgoing,
        incoming_spi: pair.incoming,
        transform: pair.agreed.transform,
        authentication: pair.agreed.authentication,
        encapsulation: pair.agreed.encapsulation,
        encryption_key_len: lengths.encryption,
        authentication_key_len: lengths.authentication,
        replay_window: pair.replay_window,
    })
}

/// The kernel's answer.
pub(super) fn installed(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    result: Result<(), String>,
) -> Outcome {
    let role = exchange.role;
    let Some(suite) = state(exchange).and_then(|state| state.suite.take()) else {
        return Outcome::Abandon;
    };
    if let Err(error) = result {
        engine.journal.error(error);
        if role == Role::Responder {
            // The initiator has its SAs by now.
            delete::tell(engine, now, exchange.sa, &delete::spis_of(&suite));
        }
        return Outcome::Abandon;
    }
    if role == Role::Initiator && initiator::send_last(engine, now, exchange).is_none() {
        // Without an ISAKMP SA there is no HASH(3).
        if let Some(state) = state(exchange) {
            state.suite = Some(suite);
        }
        return Outcome::Abandon;
    }
    let (spis, path) = (used(&suite), exchange.path);
    if let Some(state) = state(exchange) {
        release(
            engine,
            path,
            state.spis.iter().filter(|own| !spis.contains(&own.spi)),
        );
    }
    let whose = match role {
        Role::Initiator => "",
        Role::Responder => " (as responder)",
    };
    engine.journal.verbose(|| {
        format!(
            "isakmpd: quick mode done{whose}: {}",
            ends(path.local, path.remote)
        )
    });
    lifetime::phase2_ready(engine, now, exchange.sa, *suite);
    if let Some(state) = state(exchange) {
        // What is kept from here on only knows duplicates.
        *state = QuickMode {
            step: Step::Done,
            ..QuickMode::default()
        };
    }
    Outcome::Done
}

fn used(suite: &IpsecSa) -> Vec<u32> {
    suite
        .protocols
        .iter()
        .map(|protocol| protocol.incoming_spi)
        .collect()
}

fn release<'a>(
    engine: &mut Engine,
    path: crate::event::Path,
    spis: impl Iterator<Item = &'a super::OwnSpi>,
) {
    for own in spis {
        engine.emit(Event::Kernel(Request::ReleaseSpi {
            protocol: own.protocol,
            spi: own.spi,
            local: path.local,
            remote: path.remote,
        }));
    }
}

/// What the responder holds for a peer that does not take its answer goes, and the peer is told. It is told once more
/// when the exchange ends, since nobody confirms a DELETE either.
pub(super) fn unconfirmed(engine: &mut Engine, exchange: &mut Exchange) {
    let (path, isakmp, started) = (exchange.path, exchange.sa, exchange.started);
    let Some(state) = state(exchange) else { return };
    if state.step != Step::Answered {
        return;
    }
    state.step = Step::Unconfirmed;
    let spis = std::mem::take(&mut state.spis);
    let told = offered(&state.pairs);
    release(engine, path, spis.iter());
    delete::tell(engine, started, isakmp, &told);
}

/// Protocols and SPIs of ours in what both agreed on.
fn offered(pairs: &[Pair]) -> Vec<(u8, u32)> {
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.agreed.protocol, pair.incoming))
        .collect()
}

/// The exchange goes.
pub(super) fn freed(engine: &mut Engine, exchange: &mut Exchange) {
    let (path, role, isakmp, started) =
        (exchange.path, exchange.role, exchange.sa, exchange.started);
    let Some(state) = state(exchange) else { return };
    let step = std::mem::replace(&mut state.step, Step::Done);
    if step == Step::Done {
        return;
    }
    let suite = state.suite.take();
    let spis = std::mem::take(&mut state.spis);
    let pairs = std::mem::take(&mut state.pairs);
    match suite {
        // The kernel may have it by now.
        Some(suite) => {
            delete::remove_from_kernel(engine, &suite, false);
            let used = used(&suite);
            release(
                engine,
                path,
                spis.iter().filter(|own| !used.contains(&own.spi)),
            );
        }
        None => release(engine, path, spis.iter()),
    }
    let silent = engine.shutting_down && !engine.tells_at_shutdown();
    if silent {
        return;
    }
    if matches!(step, Step::Answered | Step::Unconfirmed) && role == Role::Responder {
        // HASH(3) never came, or never arrived: then the initiator has an SA that we have not.
        delete::tell(engine, started, isakmp, &offered(&pairs));
    } else if step == Step::Offered && engine.shutting_down {
        // As the original does for SAs in the making.
        let spis: Vec<(u8, u32)> = spis.iter().map(|own| (own.protocol, own.spi)).collect();
        delete::tell(engine, started, isakmp, &spis);
    }
}
