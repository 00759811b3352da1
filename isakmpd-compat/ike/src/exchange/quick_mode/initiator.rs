//! The initiator's side: offers, checks what came back, and has it installed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use isakmp_proto::identity::Identity;
use isakmp_proto::message::Builder;
use isakmp_proto::number::NotifyType;
use isakmp_proto::payload::{Id, Payload};
use isakmp_proto::sa::Sa;
use kx_crypto::key_exchange_group::KeyPair;
use kx_secret::SecretBytes;

use super::{NONCE, Pair, QuickMode, Step, check, finish, next_spi, refuse, state};
use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::exchange::{Exchange, Outcome, Received, State, Then};
use crate::job::Job;
use crate::journal::Class;
use crate::phase2::proposal::{self, Agreed};
use crate::phase2::protect::{self, Which};
use crate::random::Purpose;
use crate::sa::{Role, SaId};

/// Begins a Quick Mode for `connection` under a ready ISAKMP SA. `false`: it could not be begun.
pub(crate) fn begin(
    engine: &mut Engine,
    now: Instant,
    sa: SaId,
    connection: Rc<str>,
    stay_alive: bool,
    then: Vec<Then>,
) -> bool {
    if engine.exchanges.len() >= engine.options.limits.exchanges {
        engine
            .journal
            .plain("exchange_establish_p2: too many exchanges");
        return false;
    }
    let sections = engine
        .configuration
        .connection(&connection)
        .and_then(|connection| {
            let configuration = engine.configuration.quick_mode(&connection.configuration)?;
            Ok((connection, configuration))
        });
    let (section, configuration) = match sections {
        Ok(sections) => sections,
        Err(error) => {
            engine.journal.plain(error.to_string());
            return false;
        }
    };
    let Some(isakmp) = engine.sas.phase1(sa) else {
        return false;
    };
    let (nat, local) = (isakmp.nat, isakmp.path.local);
    let mut offer = match proposal::offer(&configuration, nat) {
        Ok(offer) => offer,
        Err(error) => {
            engine.journal.plain(error.to_string());
            return false;
        }
    };
    if engine.general.shared_sadb {
        offer.windows.iter_mut().for_each(|window| *window = 0);
    }
    let ids = match (&section.local_id, &section.remote_id) {
        (Some(ours), Some(theirs)) => Some((ours.to_id(), theirs.to_id())),
        (Some(_), None) => {
            engine.journal.plain(format!(
                "initiator_send_HASH_SA_NONCE: Local-ID given without Remote-ID for \"{connection}\""
            ));
            None
        }
        (None, Some(theirs)) => {
            engine.journal.plain(format!(
                "initiator_send_HASH_SA_NONCE: Remote-ID given without Local-ID for \"{connection}\""
            ));
            Some((Identity::Address(local.ip()).to_id(0, 0), theirs.to_id()))
        }
        (None, None) => None,
    };
    let state = QuickMode {
        connection: Some(Rc::clone(&section)),
        group: offer.group,
        offer: Some(offer),
        ids,
        ..QuickMode::default()
    };
    let message_id = engine.new_message_id(sa);
    let Some(mut exchange) = engine.new_phase2_exchange(
        now,
        sa,
        State::Quick(Box::new(state)),
        Role::Initiator,
        message_id,
        Some(Rc::clone(&connection)),
    ) else {
        return false;
    };
    exchange.stay_alive = stay_alive;
    exchange.then = then;
    engine.exchanges.insert_taken(&exchange);
    engine.journal.debug(Class::Exchange, 10, || {
        format!(
            "exchange_establish_p2: {} {connection} policy initiator phase 2 doi 1 exchange 32 step 0",
            exchange.id
        )
    });
    let outcome = next_spi(engine, now, &mut exchange);
    let begun = outcome != Outcome::Abandon;
    engine.conclude(now, exchange, outcome);
    begun
}

/// All SPIs are there: a key pair if there is to be perfect forward secrecy, then message 1.
pub(super) fn spis_ready(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    if state.group == 0 {
        return send_offer(engine, now, exchange);
    }
    let Some(group) = super::group(state.group) else {
        engine.journal.plain(format!(
            "group_get: group ID ({}) not supported",
            state.group
        ));
        return Outcome::Abandon;
    };
    state.step = Step::KeyPair;
    engine.begin_job(exchange, Job::Generate(group));
    Outcome::Continue
}

/// Our key pair is there.
pub(super) fn generated(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    public: Vec<u8>,
    pair: Box<KeyPair>,
) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    if state.step != Step::KeyPair {
        return Outcome::Refused;
    }
    state.public = public;
    state.key_pair = Some(Arc::from(pair));
    send_offer(engine, now, exchange)
}

/// Message 1: HASH(1), SA, NONCE, [KE], [IDci, IDcr].
fn send_offer(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let mut nonce = vec![0; NONCE];
    engine.random.fill(Purpose::Nonce, &mut nonce);
    let Some(mut builder) = protect::begin(engine, exchange) else {
        return Outcome::Abandon;
    };
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let Some(offer) = &mut state.offer else {
        return Outcome::Abandon;
    };
    for (proposal, own) in offer.proposals.iter_mut().zip(&state.spis) {
        proposal.spi = proposal::spi_octets(own.protocol, own.spi);
    }
    let proposals = offer.proposals.clone();
    state.nonce_i.clone_from(&nonce);
    builder.push(Payload::Sa(Sa::new(proposals)));
    builder.push(Payload::Nonce(nonce));
    if state.group != 0 {
        builder.push(Payload::KeyExchange(state.public.clone()));
    }
    push_ids(&mut builder, state.ids.as_ref());
    state.step = Step::Offered;
    let Some(octets) = protect::seal(engine, exchange, builder, Which::One) else {
        return Outcome::Abandon;
    };
    exchange.step = exchange.step.saturating_add(1);
    engine.send(now, exchange, octets, Sending::Retransmitted);
    Outcome::Continue
}

pub(super) fn push_ids(builder: &mut Builder, ids: Option<&(Id, Id)>) {
    if let Some((initiator, responder)) = ids {
        builder.push(Payload::Id(initiator.clone()));
        builder.push(Payload::Id(responder.clone()));
    }
}

/// Message 2: HASH(2), SA, NONCE, [KE], [IDci, IDcr].
pub(super) fn answer(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let nonce_i = state.nonce_i.clone();
    if let Err(notify) = check(engine, exchange, &received.message, Which::Two(&nonce_i)) {
        return refuse(engine, now, exchange, received, notify);
    }
    engine.accept(exchange, received);
    // From here on the message is the peer's own: what cannot be taken ends the exchange.
    match take_answer(engine, exchange, received) {
        Ok(()) => {}
        Err(Some(notify)) => {
            refuse(engine, now, exchange, received, notify);
            return Outcome::Abandon;
        }
        Err(None) => return Outcome::Abandon,
    }
    let Some(state) = super::state(exchange) else {
        return Outcome::Abandon;
    };
    match state.key_pair.take() {
        Some(pair) => {
            state.step = Step::Agreeing;
            let public = state.peer_public.clone();
            engine.begin_job(exchange, Job::Agree(pair, public));
            Outcome::Continue
        }
        None => finish::install(engine, now, exchange),
    }
}

/// Checks what the responder took, and keeps it. An error without a notification is only logged.
fn take_answer(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<(), Option<NotifyType>> {
    let message = &received.message;
    let ids = super::ids(message)?;
    let nonce_r = super::nonce(message)?;
    let public = super::public_value(message);
    let (sa_id, path, role) = (exchange.sa, exchange.path, exchange.role);
    let Some(state) = state(exchange) else {
        return Err(None);
    };
    if ids != state.ids && !(ids.is_none() && same_as_ends(state, path)) {
        engine
            .journal
            .plain("initiator_recv_HASH_SA_NONCE: peer changed the phase 2 IDs");
        return Err(Some(NotifyType::INVALID_ID_INFORMATION));
    }
    let sa = match super::only_sa(message) {
        Ok(sa) => sa,
        Err(NotifyType::NO_PROPOSAL_CHOSEN) => {
            engine.journal.plain(
                "initiator_recv_HASH_SA_NONCE: multiple SA payloads in quick mode not supported yet",
            );
            return Err(None);
        }
        Err(notify) => return Err(Some(notify)),
    };
    let taken = state.offer.as_ref().and_then(|offer| {
        let places = proposal::taken_of(offer, &sa.proposals)?;
        sa.proposals
            .iter()
            .zip(places)
            .map(|(proposal, place)| {
                let transform = proposal.transforms.first()?;
                Some(Pair {
                    agreed: Agreed::read(proposal.protocol, transform),
                    outgoing: proposal::spi_of(proposal)?,
                    incoming: state.spis.get(place)?.spi,
                    replay_window: *offer.windows.get(place)?,
                })
            })
            .collect::<Option<Vec<_>>>()
    });
    let Some(pairs) = taken else {
        engine
            .journal
            .plain("initiator_recv_HASH_SA_NONCE: peer chose what was not offered");
        return Err(Some(NotifyType::NO_PROPOSAL_CHOSEN));
    };
    let agreed: Vec<Agreed> = pairs.iter().map(|pair| pair.agreed).collect();
    state.pairs = pairs;
    engine.dump_chosen(sa.proposals.iter().flat_map(|p| &p.transforms));
    let group = proposal::group_of(&agreed);
    if group != state.group || public.is_some() != (group != 0) {
        engine
            .journal
            .plain("initiator_recv_HASH_SA_NONCE: disagreement on PFS");
        return Err(None);
    }
    if let Some(public) = public {
        let length = super::group(group).map(|group| group.public_len());
        if length != Some(public.len()) {
            return Err(Some(NotifyType::PAYLOAD_MALFORMED));
        }
        state.peer_public = public.to_vec();
    }
    state.nonce_r = nonce_r;
    let filters = super::filters(role, state.ids.as_ref(), path.local, path.remote)
        .ok_or(Some(NotifyType::INVALID_ID_INFORMATION))?;
    let permitted = sa_id
        .is_some_and(|sa_id| super::permitted(engine, sa_id, role, &filters, &sa.proposals, group));
    if !permitted {
        engine
            .journal
            .plain("initiator_recv_HASH_SA_NONCE: policy check failed");
        return Err(Some(NotifyType::NO_PROPOSAL_CHOSEN));
    }
    Ok(())
}

/// A responder may leave identities out that say no more than the addresses of the ends.
fn same_as_ends(state: &QuickMode, path: crate::event::Path) -> bool {
    use crate::phase2::id_match::address;
    state.ids.as_ref().is_some_and(|(initiator, responder)| {
        *initiator == address(path.local) && *responder == address(path.remote)
    })
}

/// The shared secret of perfect forward secrecy is there.
pub(super) fn agreed(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    shared: SecretBytes,
) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    if state.step != Step::Agreeing {
        return Outcome::Refused;
    }
    state.shared = Some(shared);
    finish::install(engine, now, exchange)
}

/// Message 3: HASH(3). It is kept, to be sent again when message 2 is seen again.
pub(super) fn send_last(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Option<()> {
    let builder = protect::begin(engine, exchange)?;
    let state = state(exchange)?;
    let (nonce_i, nonce_r) = (state.nonce_i.clone(), state.nonce_r.clone());
    let octets = protect::seal(engine, exchange, builder, Which::Three(&nonce_i, &nonce_r))?;
    exchange.step = exchange.step.saturating_add(1);
    engine.send(now, exchange, octets, Sending::Last);
    Some(())
}
