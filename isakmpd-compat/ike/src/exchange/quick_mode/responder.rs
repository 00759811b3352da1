//! The responder's side: chooses, answers, and installs when the initiator confirmed.

use std::rc::Rc;
use std::time::Instant;

use isakmp_proto::identity::id_text;
use isakmp_proto::number::{IdType, NotifyType, PayloadType};
use isakmp_proto::payload::{Id, Payload};
use isakmp_proto::sa::{Proposal, Sa};
use kx_secret::SecretBytes;

use super::initiator::push_ids;
use super::{Pair, Step, check, finish, next_spi, refuse, state};
use crate::config::Connection;
use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::exchange::{Exchange, Outcome, Received};
use crate::job::Job;
use crate::nat;
use crate::phase2::id_match::{self, Found};
use crate::phase2::proposal::{self, Agreed, Choice, NoChoice};
use crate::phase2::protect::{self, Which};
use crate::random::Purpose;
use crate::sa::{Role, SaId, Selector};

/// Replay window of an SA that we did not ask for.
const REPLAY_WINDOW: u32 = 16;

/// Message 1: HASH(1), SA, NONCE, [KE], [IDci, IDcr].
pub(super) fn first(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let checked = check(engine, exchange, &received.message, Which::One)
        .and_then(|()| take_offer(engine, exchange, received));
    if let Err(notify) = checked {
        return refuse(engine, now, exchange, received, notify);
    }
    engine.accept(exchange, received);
    next_spi(engine, now, exchange)
}

/// Checks the offer, chooses, and keeps what the answer needs.
fn take_offer(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<(), NotifyType> {
    let message = &received.message;
    let ids = super::ids(message)?;
    let public = super::public_value(message);
    let (path, role) = (exchange.path, exchange.role);
    let isakmp = exchange.sa.ok_or(NotifyType::INVALID_COOKIE)?;
    let filters = super::filters(role, ids.as_ref(), path.local, path.remote)
        .ok_or(NotifyType::INVALID_ID_INFORMATION)?;
    let sa = super::only_sa(message).inspect_err(|_| {
        engine.journal.plain(
            "responder_recv_HASH_SA_NONCE: multiple SA payloads in quick mode not supported yet",
        );
    })?;
    let choice = proposal::choose(
        sa,
        public.is_some(),
        |suite: &[Proposal], agreed: &[Agreed]| {
            let group = proposal::group_of(agreed);
            super::permitted(engine, isakmp, role, &filters, suite, group)
        },
    )
    .map_err(|none: NoChoice| {
        engine.journal.plain(none.to_string());
        NotifyType::NO_PROPOSAL_CHOSEN
    })?;
    engine.dump_chosen(choice.proposals.iter().flat_map(|p| &p.transforms));
    let group = proposal::group_of(&choice.agreed);
    let nonce_i = super::nonce(message)?;
    if let Some(public) = public {
        let length = super::group(group).map(|group| group.public_len());
        if length != Some(public.len()) {
            return Err(NotifyType::PAYLOAD_MALFORMED);
        }
    }
    let connection = connection_of(engine, isakmp, &filters, ids.as_ref())?;
    names_only_in_udp_transport(engine, &choice, ids.as_ref())?;
    if let Some(connection) = &connection {
        let name: Rc<str> = connection.name.as_str().into();
        engine
            .exchanges
            .change(exchange, |exchange| exchange.name = Some(name));
    }
    let Some(state) = state(exchange) else {
        return Err(NotifyType::PAYLOAD_MALFORMED);
    };
    state.connection = connection;
    state.group = group;
    state.nonce_i = nonce_i;
    state.peer_public = public.map(<[u8]>::to_vec).unwrap_or_default();
    state.ids = ids;
    state.taken = choice.proposals;
    state.agreed = choice.agreed;
    Ok(())
}

/// The connection of the identities (isakmpd-wire 4.2).
fn connection_of(
    engine: &mut Engine,
    isakmp: SaId,
    filters: &(Selector, Selector),
    ids: Option<&(Id, Id)>,
) -> Result<Option<Rc<Connection>>, NotifyType> {
    let (ours, theirs) = filters;
    let policy = engine.policy.is_some();
    let sa = engine.sas.phase1(isakmp);
    let found = engine.configuration.connection_for_ids(
        &theirs.identity,
        &ours.identity,
        sa.and_then(|sa| sa.name.as_deref()),
    );
    match id_match::decide(found, policy) {
        Found::Connection(connection) => {
            let own = match sa {
                Some(sa) if !policy && !connection.loose_ids => {
                    id_match::of_asking_peer(&*engine.configuration, sa, &connection)
                }
                _ => Ok(()),
            };
            let Err(peer) = own else {
                return Ok(Some(connection));
            };
            let asks = sa.and_then(|sa| sa.name.as_deref()).unwrap_or_default();
            let line = format!(
                "responder_recv_HASH_SA_NONCE: {asks} asks for connection {} of {peer}",
                connection.name
            );
            engine.journal.plain(line);
            Err(NotifyType::INVALID_ID_INFORMATION)
        }
        Found::Unnamed => Ok(None),
        Found::Refused => {
            let (initiator, responder) = match ids {
                Some((initiator, responder)) => {
                    (id_text(Some(initiator)), id_text(Some(responder)))
                }
                None => (theirs.to_string(), ours.to_string()),
            };
            engine.journal.plain(format!(
                "responder_recv_HASH_SA_NONCE: peer proposed invalid phase 2 IDs: initiator id {initiator}, responder id {responder}"
            ));
            Err(NotifyType::INVALID_ID_INFORMATION)
        }
    }
}

/// A name is no traffic selector; only behind a NAT in transport mode the addresses stand for it.
fn names_only_in_udp_transport(
    engine: &mut Engine,
    choice: &Choice,
    ids: Option<&(Id, Id)>,
) -> Result<(), NotifyType> {
    let named = ids.is_some_and(|(initiator, responder)| {
        [initiator, responder]
            .iter()
            .any(|id| id.id_type == IdType::FQDN)
    });
    let transport = choice
        .agreed
        .iter()
        .any(|one| one.is_in_udp() && !one.is_tunnel());
    if named && !transport {
        engine
            .journal
            .plain("ipsec_set_network: ID type 2 (FQDN) not supported");
        return Err(NotifyType::INVALID_ID_INFORMATION);
    }
    Ok(())
}

/// All SPIs are there: a key pair and the secret if there is perfect forward secrecy, then message 2.
pub(super) fn spis_ready(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let shared_sadb = engine.general.shared_sadb;
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let pairs = state
        .taken
        .iter()
        .zip(&state.agreed)
        .zip(&state.spis)
        .map(|((proposal, agreed), own)| {
            Some(Pair {
                agreed: *agreed,
                outgoing: proposal::spi_of(proposal)?,
                incoming: own.spi,
                replay_window: if shared_sadb { 0 } else { REPLAY_WINDOW },
            })
        })
        .collect::<Option<Vec<_>>>();
    let Some(pairs) = pairs else {
        return Outcome::Abandon;
    };
    state.pairs = pairs;
    if state.group == 0 {
        return send_answer(engine, now, exchange);
    }
    let Some(group) = super::group(state.group) else {
        return Outcome::Abandon;
    };
    state.step = Step::KeyPair;
    let public = std::mem::take(&mut state.peer_public);
    engine.begin_job(exchange, Job::GenerateAndAgree(group, public));
    Outcome::Continue
}

/// Our public value and the shared secret are there.
pub(super) fn agreed(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    public: Vec<u8>,
    shared: SecretBytes,
) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    if state.step != Step::KeyPair {
        return Outcome::Refused;
    }
    state.public = public;
    state.shared = Some(shared);
    send_answer(engine, now, exchange)
}

/// Message 2: HASH(2), SA, NONCE as long as the initiator's, [KE], [IDci, IDcr mirrored].
fn send_answer(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let Some(mut builder) = protect::begin(engine, exchange) else {
        return Outcome::Abandon;
    };
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let mut nonce = vec![0; state.nonce_i.len()];
    engine.random.fill(Purpose::Nonce, &mut nonce);
    let mut proposals = std::mem::take(&mut state.taken);
    for (proposal, own) in proposals.iter_mut().zip(&state.spis) {
        proposal.spi = proposal::spi_octets(own.protocol, own.spi);
    }
    builder.push(Payload::Sa(Sa::new(proposals)));
    builder.push(Payload::Nonce(nonce.clone()));
    if state.group != 0 {
        builder.push(Payload::KeyExchange(std::mem::take(&mut state.public)));
    }
    push_ids(&mut builder, state.ids.as_ref());
    state.nonce_r = nonce;
    state.step = Step::Answered;
    let nonce_i = state.nonce_i.clone();
    let Some(octets) = protect::seal(engine, exchange, builder, Which::Two(&nonce_i)) else {
        return Outcome::Abandon;
    };
    exchange.step = exchange.step.saturating_add(1);
    // The program does what the kernel is asked for before it sends.
    finish::install_incoming(engine, now, exchange);
    engine.send(now, exchange, octets, Sending::Retransmitted);
    Outcome::Continue
}

/// Message 3: HASH(3).
pub(super) fn last(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    debug_assert_eq!(exchange.role, Role::Responder);
    let message = &received.message;
    if message.index_of(PayloadType::HASH) != Some(0) {
        return refuse(
            engine,
            now,
            exchange,
            received,
            NotifyType::PAYLOAD_MALFORMED,
        );
    }
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let (nonce_i, nonce_r) = (state.nonce_i.clone(), state.nonce_r.clone());
    let which = Which::Three(&nonce_i, &nonce_r);
    if !protect::is_authentic(engine, exchange.sa, message, which) {
        return refuse(
            engine,
            now,
            exchange,
            received,
            NotifyType::INVALID_HASH_INFORMATION,
        );
    }
    engine.accept(exchange, received);
    // HASH(3) is over our nonce: no old message of the peer's that somebody kept.
    nat::heard(engine, now, exchange.sa, received.path);
    finish::install(engine, now, exchange)
}
