//! Transaction exchanges (mode-config, draft-dukes-ike-mode-cfg; isakmpd-wire 2.6): SET and ACK, REQUEST and
//! REPLY, between phase 1 and Quick Mode. Nothing is configured on this host: what we are told is only logged.

use std::time::Instant;

use isakmp_proto::attribute::Attribute;
use isakmp_proto::message::Message;
use isakmp_proto::number::{CfgAttribute, CfgType, NotifyType, PayloadType};
use isakmp_proto::payload::{ModeConfig, Payload};

use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::exchange::{Exchange, Outcome, Received, State, Then, refuse};
use crate::journal::Class;
use crate::phase2::mode_config;
use crate::phase2::protect::{self, Which};
use crate::random::Purpose;
use crate::sa::{Role, SaId};

/// A Transaction under way.
#[derive(Default)]
pub(crate) struct Transaction {
    kind: Option<CfgType>,
    identifier: u16,
}

/// Begins the Transaction that `Flags= ikecfg` of a peer asks for. `Err`: there is nothing to say or to ask; what was
/// to follow comes back.
pub(crate) fn begin(
    engine: &mut Engine,
    now: Instant,
    sa: SaId,
    then: Vec<Then>,
) -> Result<(), Vec<Then>> {
    let Some(remote_id) = engine.sas.phase1(sa).map(|sa| sa.remote_id.clone()) else {
        return Err(then);
    };
    let section = remote_id
        .prefixed_text()
        .unwrap_or_else(|| remote_id.to_string());
    let configuration = engine
        .configuration
        .mode_config(&remote_id)
        .unwrap_or_default();
    engine.journal.debug(Class::Negotiation, 10, || {
        let mode = if configuration.request {
            "REQ/REPLY"
        } else {
            "SET/ACK"
        };
        format!("cfg_initiator_send_ATTR: {mode} mode")
    });
    let (kind, attributes) = if configuration.request {
        let (attributes, unknown) = mode_config::request(&configuration);
        for name in unknown {
            let name: String = name.chars().take(20).collect();
            engine.journal.plain(format!(
                "cfg_initiator_send_ATTR: unknown attribute {name} in section [{section}]"
            ));
        }
        (CfgType::REQUEST, attributes)
    } else {
        (CfgType::SET, mode_config::set(&configuration))
    };
    if attributes.is_empty() {
        engine.journal.plain(format!(
            "cfg_initiator_send_ATTR: no IKECFG attributes found for [{section}]"
        ));
        return Err(then);
    }
    let message_id = engine.new_message_id(sa);
    let mut octets = [0; 2];
    engine
        .random
        .fill(Purpose::TransactionIdentifier, &mut octets);
    let identifier = u16::from_be_bytes(octets);
    let state = State::Transaction(Box::new(Transaction {
        kind: Some(kind),
        identifier,
    }));
    let role = Role::Initiator;
    let Some(mut exchange) = engine.new_phase2_exchange(now, sa, state, role, message_id, None)
    else {
        return Err(then);
    };
    exchange.then = then;
    engine.exchanges.insert_taken(&exchange);
    let payload = ModeConfig {
        kind,
        identifier,
        attributes,
    };
    let sent = send(engine, now, &mut exchange, payload, Sending::Retransmitted);
    let outcome = if sent.is_some() {
        Outcome::Continue
    } else {
        Outcome::Abandon
    };
    engine.conclude(now, exchange, outcome);
    Ok(())
}

fn send(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    payload: ModeConfig,
    sending: Sending,
) -> Option<()> {
    let mut builder = protect::begin(engine, exchange)?;
    builder.push(Payload::ModeConfig(payload));
    let octets = protect::seal(engine, exchange, builder, Which::One)?;
    exchange.step = exchange.step.saturating_add(1);
    engine.send(now, exchange, octets, sending);
    Some(())
}

fn payload_of(message: &Message) -> Option<&ModeConfig> {
    message
        .all(PayloadType::ATTRIBUTE)
        .find_map(|(_, payload)| match payload {
            Payload::ModeConfig(payload) => Some(payload),
            _ => None,
        })
}

/// A message of the exchange, decrypted and checked but for its HASH.
pub(crate) fn receive(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let role = exchange.role;
    let refused = match role {
        _ if exchange.done => return Outcome::Refused,
        Role::Initiator => take_answer(engine, exchange, received),
        Role::Responder => return answer(engine, now, exchange, received),
    };
    match refused {
        Ok(()) => Outcome::Done,
        Err(notify) => refuse(engine, now, exchange, received, notify),
    }
}

/// The authentic ATTRIBUTE payload of a message.
fn authentic<'a>(
    engine: &mut Engine,
    exchange: &Exchange,
    received: &'a Received,
) -> Result<&'a ModeConfig, NotifyType> {
    let message = &received.message;
    let payload = payload_of(message).ok_or(NotifyType::PAYLOAD_MALFORMED)?;
    if message.index_of(PayloadType::HASH).is_none() {
        engine
            .journal
            .plain("cfg_verify_hash: phase 2 message missing HASH");
        return Err(NotifyType::INVALID_HASH_INFORMATION);
    }
    if protect::is_authentic(engine, exchange.sa, message, Which::One) {
        Ok(payload)
    } else {
        Err(NotifyType::INVALID_HASH_INFORMATION)
    }
}

/// ACK or REPLY.
fn take_answer(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<(), NotifyType> {
    let payload = authentic(engine, exchange, received)?;
    let (asked, identifier) = match &exchange.state {
        State::Transaction(state) => (state.kind, state.identifier),
        _ => (None, 0),
    };
    if payload.identifier != identifier {
        engine
            .journal
            .plain("cfg_initiator_recv_ATTR: cfg packet ID does not match!");
        return Err(NotifyType::PAYLOAD_MALFORMED);
    }
    let verb = match (payload.kind, asked) {
        (CfgType::ACK, Some(CfgType::SET)) => "ACKs",
        (CfgType::REPLY, Some(CfgType::REQUEST)) => "replied with",
        (kind @ (CfgType::ACK | CfgType::REPLY), _) => {
            engine
                .journal
                .plain(format!("cfg_initiator_recv_ATTR: bad packet type {kind}"));
            return Err(NotifyType::PAYLOAD_MALFORMED);
        }
        (kind, _) => {
            engine.journal.plain(format!(
                "cfg_initiator_recv_ATTR: unexpected configuration message type {}",
                kind.0
            ));
            return Err(NotifyType::PAYLOAD_MALFORMED);
        }
    };
    engine.accept(exchange, received);
    let who = if payload.kind == CfgType::ACK {
        "client"
    } else {
        "server"
    };
    let peer = exchange.path.remote.ip();
    log_attributes(engine, &payload.attributes, |attribute| {
        format!("cfg_initiator_recv_ATTR: {who} {peer} {verb} attribute {attribute}")
    });
    Ok(())
}

/// What the peer tells us, the last attribute first as the original lists them. Private ones mean nothing; behind one
/// that nobody can have assigned the original stops reading.
fn log_attributes(
    engine: &mut Engine,
    attributes: &[Attribute],
    line: impl Fn(CfgAttribute) -> String,
) {
    let invalid = |attribute: &Attribute| matches!(attribute.ty, 0 | 16..=0x3fff);
    let end = attributes.iter().position(invalid);
    if let Some(attribute) = end.and_then(|end| attributes.get(end)) {
        engine.journal.debug(Class::Negotiation, 30, || {
            format!("cfg_decode_attribute: invalid attr type {}", attribute.ty)
        });
    }
    let valid = attributes.iter().take(end.unwrap_or(attributes.len()));
    for attribute in valid.rev().filter(|attribute| attribute.ty < 16) {
        engine
            .journal
            .debug(Class::Negotiation, 50, || line(CfgAttribute(attribute.ty)));
    }
}

/// SET or REQUEST, and our ACK or REPLY.
fn answer(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let payload = match authentic(engine, exchange, received) {
        Ok(payload) => payload,
        Err(notify) => return refuse(engine, now, exchange, received, notify),
    };
    let (kind, attributes) = match payload.kind {
        CfgType::SET => {
            let peer = exchange.path.remote.ip();
            log_attributes(engine, &payload.attributes, |attribute| {
                format!(
                    "cfg_responder_recv_ATTR: server {peer} asks us to SET attribute {attribute}"
                )
            });
            // Nothing was taken over, and the ACK lists what was.
            (CfgType::ACK, Vec::new())
        }
        CfgType::REQUEST => {
            let remote_id = exchange
                .sa
                .and_then(|sa| engine.sas.phase1(sa))
                .map(|sa| &sa.remote_id);
            let configuration =
                remote_id.and_then(|remote_id| engine.configuration.mode_config(remote_id));
            let attributes = mode_config::reply(
                configuration.as_deref(),
                &payload.attributes,
                &mut engine.journal,
            );
            (CfgType::REPLY, attributes)
        }
        kind => {
            let outcome = refuse(
                engine,
                now,
                exchange,
                received,
                NotifyType::PAYLOAD_MALFORMED,
            );
            engine.journal.plain(format!(
                "cfg_responder_recv_ATTR: unexpected configuration message type {}",
                kind.0
            ));
            return outcome;
        }
    };
    engine.accept(exchange, received);
    let answer = ModeConfig {
        kind,
        identifier: payload.identifier,
        attributes,
    };
    match send(engine, now, exchange, answer, Sending::Last) {
        Some(()) => Outcome::Done,
        None => Outcome::Abandon,
    }
}
