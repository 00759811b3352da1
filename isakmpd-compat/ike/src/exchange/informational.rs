//! Informational exchanges (RFC 2409 section 5.7; isakmpd-wire 2.5): one message, no answer.
//!
//! No state is kept for either direction: what a repeated message would do a second time is either nothing
//! (a DELETE of what is gone) or has its own number (DPD).

use std::net::SocketAddr;
use std::time::Instant;

use isakmp_proto::message::Message;
use isakmp_proto::number::{Doi, NotifyType, PayloadType, Protocol};
use isakmp_proto::payload::{Delete, Notify, Payload};

use crate::delete;
use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::exchange::{Exchange, Outcome, Received, State};
use crate::journal::Class;
use crate::lifetime;
use crate::phase2::protect::{self, Which};
use crate::sa::{Role, SaId};

/// Whether the message has the right HASH(1).
pub(crate) fn is_authentic(engine: &mut Engine, sa: SaId, message: &Message) -> bool {
    protect::is_authentic(engine, Some(sa), message, Which::One)
}

/// A protected one, its HASH and form checked.
pub(crate) fn receive(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let Some(sa) = exchange.sa else {
        return Outcome::Abandon;
    };
    let message = &received.message;
    let news = [PayloadType::NOTIFY, PayloadType::DELETE];
    if !news.iter().any(|ty| message.index_of(*ty).is_some()) {
        let notify = NotifyType::PAYLOAD_MALFORMED;
        engine.refuse(now, received.path, notify, Doi::IPSEC, Some(sa), Vec::new());
        return Outcome::Refused;
    }
    let notifies = || {
        message
            .all(PayloadType::NOTIFY)
            .filter_map(|(_, payload)| match payload {
                Payload::Notify(notify) => Some(notify),
                _ => None,
            })
    };
    let deletes: Vec<&Delete> = message
        .all(PayloadType::DELETE)
        .filter_map(|(_, payload)| match payload {
            Payload::Delete(delete) => Some(delete),
            _ => None,
        })
        .collect();
    if notifies().any(|notify| names_other_cookies(engine, sa, notify)) {
        engine.journal.plain("message_validate_notify: bad cookies");
        let notify = NotifyType::INVALID_SPI;
        engine.refuse(now, received.path, notify, Doi::IPSEC, Some(sa), Vec::new());
        return Outcome::Refused;
    }
    let Some(victims) = delete::validate(engine, sa, received.path.remote, &deletes) else {
        return Outcome::Refused;
    };
    engine.accept(exchange, received);
    for notify in notifies() {
        take_notify(engine, now, sa, received.path.remote, notify);
    }
    delete::delete_for_peer(engine, now, received.path.remote, &victims);
    Outcome::Done
}

/// An SPI as long as cookies that is not ours.
fn names_other_cookies(engine: &Engine, sa: SaId, notify: &Notify) -> bool {
    notify.protocol == Protocol::ISAKMP
        && notify.spi.len() == 16
        && engine
            .sas
            .phase1(sa)
            .is_none_or(|sa| delete::cookies_of(sa) != notify.spi.as_slice())
}

fn take_notify(engine: &mut Engine, now: Instant, sa: SaId, remote: SocketAddr, notify: &Notify) {
    log_notify(engine, notify.notify_type);
    match notify.notify_type {
        NotifyType::DPD_R_U_THERE | NotifyType::DPD_R_U_THERE_ACK => {
            // The SPI names the SA; without it, or with other data than a number, it is nobody's.
            let number = match (notify.spi.len(), notify.data.as_slice()) {
                (16, [a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]),
                _ => {
                    return engine
                        .journal
                        .plain("dpd_handle_notify: malformed notification");
                }
            };
            let question = notify.notify_type == NotifyType::DPD_R_U_THERE;
            lifetime::liveness::received(engine, now, sa, question, number);
        }
        NotifyType::INITIAL_CONTACT => {
            engine.journal.debug(Class::Sa, 30, || {
                format!("ipsec_handle_leftover_payload: INITIAL-CONTACT of {remote}")
            });
            if let Some(since) = engine.sas.phase1(sa).map(|sa| sa.since) {
                delete::initial_contact(engine, now, sa, since);
            }
        }
        _ => {}
    }
}

fn log_notify(engine: &mut Engine, notify: NotifyType) {
    engine.journal.debug(Class::Exchange, 10, || {
        format!("ipsec_responder: got NOTIFY of type {notify}")
    });
}

/// One without protection: whatever it says, it is only logged.
pub(crate) fn receive_clear(engine: &mut Engine, _now: Instant, received: &Received) {
    let remote = received.path.remote;
    let message = &received.message;
    for (_, payload) in message.all(PayloadType::NOTIFY) {
        if let Payload::Notify(notify) = payload {
            engine.journal.debug(Class::Exchange, 10, || {
                format!(
                    "ipsec_responder: got NOTIFY of type {} without protection from {remote}",
                    notify.notify_type
                )
            });
        }
    }
    if message.index_of(PayloadType::DELETE).is_some() {
        engine
            .journal
            .plain("message_validate_delete: got unauthenticated DELETE");
    }
}

/// Sends a notification under the protection of an SA.
pub(crate) fn send_notify(engine: &mut Engine, now: Instant, sa: SaId, notify: Notify) {
    send(engine, now, sa, Payload::Notify(notify), Sending::Forgotten);
}

/// Sends a DELETE, ahead of everything else.
pub(crate) fn send_delete(engine: &mut Engine, now: Instant, sa: SaId, delete: Delete) {
    send(
        engine,
        now,
        sa,
        Payload::Delete(delete),
        Sending::Prioritized,
    );
}

fn send(engine: &mut Engine, now: Instant, sa: SaId, payload: Payload, sending: Sending) {
    let message_id = engine.new_message_id(sa);
    let state = State::Informational;
    let Some(mut exchange) =
        engine.new_phase2_exchange(now, sa, state, Role::Initiator, message_id, None)
    else {
        return;
    };
    if let Some(mut builder) = protect::begin(engine, &exchange) {
        builder.push(payload);
        if let Some(octets) = protect::seal(engine, &mut exchange, builder, Which::One) {
            engine.send(now, &mut exchange, octets, sending);
        }
    }
    engine.free(exchange);
}
