//! Quick Mode (RFC 2409 section 5.5; isakmpd-wire 2.4): three messages that make a suite of IPsec SAs.
//!
//! The kernel is asked for SPIs one after the other before our first message, and has both directions
//! installed before the exchange counts as done: the initiator before it sends HASH(3), so that an SA that
//! cannot be installed leaves none behind on the other side.

mod finish;
mod initiator;
mod responder;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use isakmp_proto::message::Message;
use isakmp_proto::number::{NotifyType, PayloadType};
use isakmp_proto::payload::{Id, Payload};
use isakmp_proto::sa::{Proposal, Sa};
use kx_crypto::key_exchange_group::{Group, KeyPair};
use kx_secret::SecretBytes;

use crate::config::Connection;
use crate::engine::Engine;
use crate::exchange::{Exchange, Outcome, Received, Waiting, refuse};
use crate::job::JobResult;
use crate::journal::Class;
use crate::kernel::{Request, Ticket};
use crate::phase2::id_match;
use crate::phase2::proposal::{Agreed, Offer};
use crate::phase2::protect::{self, Which};
use crate::policy::{Phase1Facts, PolicyLog, Question};
use crate::sa::{IpsecSa, Role, SaId, Selector};

pub(crate) use initiator::begin;

/// Octets of a nonce that we begin with.
const NONCE: usize = 16;

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    /// Nothing yet.
    #[default]
    Start,
    /// The kernel is asked for SPIs.
    Spis,
    /// A thread makes our public value.
    KeyPair,
    /// Initiator: message 1 is sent.
    Offered,
    /// Initiator: a thread makes the shared secret.
    Agreeing,
    /// Responder: message 2 is sent.
    Answered,
    /// Responder: it is not sent again, so that message 3 cannot come any more.
    Unconfirmed,
    /// The kernel installs.
    Installing,
    /// Installed.
    Done,
}

/// An SPI of ours, from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OwnSpi {
    protocol: u8,
    spi: u32,
}

/// One protocol as agreed on, with both SPIs.
struct Pair {
    agreed: Agreed,
    /// The peer's.
    outgoing: u32,
    /// Ours.
    incoming: u32,
    replay_window: u32,
}

/// A Quick Mode under way.
#[derive(Default)]
pub(crate) struct QuickMode {
    step: Step,
    /// Section of the connection, where there is one.
    connection: Option<Rc<Connection>>,
    /// Initiator.
    offer: Option<Offer>,
    /// Responder: the proposals taken, with the initiator's SPIs.
    taken: Vec<Proposal>,
    agreed: Vec<Agreed>,
    /// One for each proposal of the offer, or taken.
    spis: Vec<OwnSpi>,
    pairs: Vec<Pair>,
    /// Group of KE payloads, 0 for none.
    group: u16,
    key_pair: Option<Arc<KeyPair>>,
    /// Ours, for the KE payload.
    public: Vec<u8>,
    peer_public: Vec<u8>,
    shared: Option<SecretBytes>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// IDci and IDcr as sent.
    ids: Option<(Id, Id)>,
    /// On its way into the kernel.
    suite: Option<Box<IpsecSa>>,
    /// The request that is under way in the kernel.
    ticket: Option<Ticket>,
}

impl QuickMode {
    /// Protocols with our SPIs, for `S`.
    pub(crate) fn offered(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        let offered = if self.offer.is_some() {
            self.spis.as_slice()
        } else {
            &[]
        };
        offered.iter().map(|own| (own.protocol, own.spi))
    }
}

/// The state of a Quick Mode exchange.
fn state(exchange: &mut Exchange) -> Option<&mut QuickMode> {
    match &mut exchange.state {
        super::State::Quick(state) => Some(state),
        _ => None,
    }
}

/// A message of the exchange, decrypted and checked but for its HASH.
pub(crate) fn receive(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let role = exchange.role;
    let step = state(exchange).map(|state| state.step);
    match (role, step) {
        (Role::Responder, Some(Step::Start)) => responder::first(engine, now, exchange, received),
        (Role::Initiator, Some(Step::Offered)) => {
            initiator::answer(engine, now, exchange, received)
        }
        (Role::Responder, Some(Step::Answered)) => responder::last(engine, now, exchange, received),
        _ => {
            engine.journal.debug(Class::Exchange, 60, || {
                format!(
                    "exchange {} has no use for this message, message dropped",
                    exchange.id
                )
            });
            Outcome::Refused
        }
    }
}

/// A thread is done.
pub(crate) fn job_done(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    result: JobResult,
) -> Outcome {
    match (exchange.role, result) {
        (Role::Initiator, JobResult::Generated(public, pair)) => {
            initiator::generated(engine, now, exchange, public, pair)
        }
        (Role::Initiator, JobResult::Agreed(Some(shared))) => {
            initiator::agreed(engine, now, exchange, shared)
        }
        (Role::Responder, JobResult::GeneratedAndAgreed(Some((public, shared)))) => {
            responder::agreed(engine, now, exchange, public, shared)
        }
        _ => {
            engine.journal.plain("gen_g_xy: dh_create_shared failed");
            Outcome::Abandon
        }
    }
}

/// The kernel has an SPI, or none.
pub(crate) fn spi(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    ticket: Ticket,
    spi: Option<u32>,
) -> Outcome {
    let role = exchange.role;
    let Some(state) = state(exchange) else {
        return Outcome::Refused;
    };
    if state.step != Step::Spis || state.ticket != Some(ticket) {
        return Outcome::Refused;
    }
    state.ticket = None;
    let Some((spi, protocol)) = spi.zip(wanted(state)) else {
        engine.journal.plain(match role {
            Role::Initiator => "initiator_send_HASH_SA_NONCE: doi->get_spi failed",
            Role::Responder => "responder_send_HASH_SA_NONCE: doi->get_spi failed",
        });
        return Outcome::Abandon;
    };
    state.spis.push(OwnSpi { protocol, spi });
    next_spi(engine, now, exchange)
}

/// Protocol of the next SPI that is needed.
fn wanted(state: &QuickMode) -> Option<u8> {
    let proposals = state
        .offer
        .as_ref()
        .map_or(&state.taken, |offer| &offer.proposals);
    proposals
        .get(state.spis.len())
        .map(|proposal| proposal.protocol.0)
}

/// Asks for the next SPI, or goes on when all are there.
fn next_spi(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let path = exchange.path;
    let Some(state) = state(exchange) else {
        return Outcome::Abandon;
    };
    let Some(protocol) = wanted(state) else {
        return match exchange.role {
            Role::Initiator => initiator::spis_ready(engine, now, exchange),
            Role::Responder => responder::spis_ready(engine, now, exchange),
        };
    };
    state.step = Step::Spis;
    let (local, remote) = (path.local, path.remote);
    let ticket = engine.ask_kernel(exchange.id, |ticket| Request::AllocateSpi {
        ticket,
        protocol,
        local,
        remote,
    });
    wait_for_kernel(exchange, ticket);
    Outcome::Continue
}

fn wait_for_kernel(exchange: &mut Exchange, ticket: Ticket) {
    exchange.waiting = Some(Waiting::Kernel(ticket));
    if let Some(state) = state(exchange) {
        state.ticket = Some(ticket);
    }
}

/// The kernel installed both directions, or could not.
pub(crate) fn installed(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    ticket: Ticket,
    result: Result<(), String>,
) -> Outcome {
    let Some(state) = state(exchange) else {
        return Outcome::Refused;
    };
    if state.step != Step::Installing || state.ticket != Some(ticket) {
        return Outcome::Refused;
    }
    state.ticket = None;
    finish::installed(engine, now, exchange, result)
}

/// The exchange goes: SPIs that nothing uses are given back, an installation without an end is taken back.
pub(crate) fn freed(engine: &mut Engine, exchange: &mut Exchange) {
    finish::freed(engine, exchange);
}

/// The responder's last retransmission has had its time.
pub(crate) fn unconfirmed(engine: &mut Engine, exchange: &mut Exchange) {
    finish::unconfirmed(engine, exchange);
}

/// `SA { proposals }` of a message that has exactly one SA payload.
fn only_sa(message: &Message) -> Result<&Sa, NotifyType> {
    let mut all = message
        .all(PayloadType::SA)
        .filter_map(|(_, payload)| match payload {
            Payload::Sa(sa) => Some(sa),
            _ => None,
        });
    match (all.next(), all.next()) {
        (Some(sa), None) => Ok(sa),
        (None, _) => Err(NotifyType::PAYLOAD_MALFORMED),
        (Some(_), Some(_)) => Err(NotifyType::NO_PROPOSAL_CHOSEN),
    }
}

/// The nonce of a message, 8 to 256 octets.
fn nonce(message: &Message) -> Result<Vec<u8>, NotifyType> {
    message
        .all(PayloadType::NONCE)
        .find_map(|(_, payload)| match payload {
            Payload::Nonce(octets) => Some(octets.clone()),
            _ => None,
        })
        .filter(|nonce| (8..=256).contains(&nonce.len()))
        .ok_or(NotifyType::PAYLOAD_MALFORMED)
}

/// The public value of a message, if it has one.
fn public_value(message: &Message) -> Option<&[u8]> {
    message
        .all(PayloadType::KEY_EXCHANGE)
        .find_map(|(_, payload)| match payload {
            Payload::KeyExchange(octets) => Some(octets.as_slice()),
            _ => None,
        })
}

/// IDci and IDcr, if there are any.
fn ids(message: &Message) -> Result<Option<(Id, Id)>, NotifyType> {
    let ids: Vec<&Id> = message
        .all(PayloadType::ID)
        .filter_map(|(_, payload)| match payload {
            Payload::Id(id) => Some(id),
            _ => None,
        })
        .collect();
    if ids.iter().any(|id| !id_match::is_usable(id)) {
        return Err(NotifyType::INVALID_ID_INFORMATION);
    }
    match ids.as_slice() {
        [] => Ok(None),
        [initiator, responder, ..] => Ok(Some(((*initiator).clone(), (*responder).clone()))),
        [_] => Err(NotifyType::PAYLOAD_MALFORMED),
    }
}

/// The group of a number, with the length that its public values have.
fn group(number: u16) -> Option<Group> {
    Group::from_number(number)
}

/// What both sides' traffic is: ours and the peer's. Without identities the ends' addresses.
fn filters(
    role: Role,
    ids: Option<&(Id, Id)>,
    local: SocketAddr,
    remote: SocketAddr,
) -> Option<(Selector, Selector)> {
    let own = |end| Selector::try_from(&id_match::address(end)).ok();
    match (ids, role) {
        (None, _) => Some((own(local)?, own(remote)?)),
        (Some((initiator, responder)), Role::Initiator) => {
            Some((initiator.try_into().ok()?, responder.try_into().ok()?))
        }
        (Some((initiator, responder)), Role::Responder) => {
            Some((responder.try_into().ok()?, initiator.try_into().ok()?))
        }
    }
}

/// Asks the policy about one alternative. Without a policy everything is permitted.
fn permitted(
    engine: &mut Engine,
    isakmp: SaId,
    role: Role,
    filters: &(Selector, Selector),
    suite: &[Proposal],
    group: u16,
) -> bool {
    let Some(policy) = engine.policy.clone() else {
        return true;
    };
    let Some(sa) = engine.sas.phase1(isakmp) else {
        return false;
    };
    let (protocol, port) = sa.remote_id_service;
    let remote_id = Selector {
        identity: sa.remote_id.clone(),
        protocol,
        port,
    };
    let question = Question {
        suite,
        aggressive: sa.aggressive,
        peer: sa.name.as_deref().unwrap_or_default(),
        local: sa.path.local,
        remote: sa.path.remote,
        local_id: &sa.local_id,
        remote_id: &remote_id,
        local_filter: &filters.0,
        remote_filter: &filters.1,
        initiator: role == Role::Initiator,
        group,
        phase1: Phase1Facts { ..sa.facts },
        principals: &sa.principals,
    };
    let mut log = PolicyLog::new(engine.journal.level(Class::Policy));
    let permitted = policy.permits(&question, &mut log);
    for (level, line) in log.into_lines() {
        match level {
            0 => engine.journal.plain(line),
            _ => engine.journal.debug(Class::Policy, level, || line),
        }
    }
    if !permitted {
        engine
            .journal
            .plain("check_policy: negotiated SA failed policy check");
    }
    permitted
}

/// Whether message 1 or 2 has what it must, HASH first, and is authentic.
fn check(
    engine: &Engine,
    exchange: &Exchange,
    message: &Message,
    which: Which<'_>,
) -> Result<(), NotifyType> {
    let missing = [PayloadType::SA, PayloadType::NONCE]
        .into_iter()
        .any(|ty| message.index_of(ty).is_none());
    if missing || message.index_of(PayloadType::HASH) != Some(0) {
        return Err(NotifyType::PAYLOAD_MALFORMED);
    }
    if !protect::is_authentic(engine, exchange.sa, message, which) {
        return Err(NotifyType::INVALID_HASH_INFORMATION);
    }
    Ok(())
}
