//! Main Mode, six messages, both roles (RFC 2409 section 5; isakmpd-wire 2.2).
//!
//! A message that is in clear may be forged. Until the peer is authenticated another message of the same step
//! takes the place of an earlier one (a bounded number of times), so that a forgery only costs work.

use std::time::Instant;

use isakmp_proto::header::Cookie;
use isakmp_proto::message::Builder;
use isakmp_proto::number::{NotifyType, PayloadType};
use isakmp_proto::payload::Payload;

use super::{Exchange, Outcome, Received};
use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::job::{Job, JobResult};
use crate::phase1::authentication::Proof;
use crate::phase1::steps::{self, Refusal};
use crate::phase1::{Expects, Negotiation, Work, proposal};
use crate::sa::Role;

/// The initiator's offer.
pub(crate) fn begin(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let header = exchange.header();
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    let offer = match proposal::offer(&negotiation.policy) {
        Ok(offer) => offer,
        Err(error) => {
            engine.journal.plain(error.to_string());
            engine.journal.plain(format!(
                "exchange_run: doi->initiator ({}) failed",
                exchange.id
            ));
            return Outcome::Abandon;
        }
    };
    negotiation.offer.clone_from(&offer);
    let mut builder = Builder::new(header);
    let index = builder.push(Payload::Sa(proposal::payload(1, offer)));
    engine.add_vendors(&mut builder);
    let Ok(built) = builder.build() else {
        return Outcome::Abandon;
    };
    negotiation.sa_body = built.body(index).into();
    negotiation.expects = Expects::Second;
    let octets = built.into_octets();
    engine.send_clear(now, exchange, octets, Sending::Retransmitted);
    Outcome::Continue
}

/// Whether a message in clear is one of an earlier step that may still be replaced.
pub(crate) fn may_replace(negotiation: &Negotiation, received: &Received, limit: u8) -> bool {
    !negotiation.authenticated
        && negotiation.replacements < limit
        && received
            .message
            .index_of(PayloadType::KEY_EXCHANGE)
            .is_some()
}

/// A message of the peer's.
pub(crate) fn receive(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: Received,
) -> Outcome {
    let limit = engine.options.limits.replacements;
    let role = exchange.role;
    let right_cookie = received.message.header.responder_cookie == exchange.responder_cookie;
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    let has = |ty| received.message.index_of(ty).is_some();
    let replaces = |negotiation: &Negotiation| {
        !received.encrypted && !negotiation.authenticated && negotiation.replacements < limit
    };
    let (step, replaced) = match (role, negotiation.expects) {
        (Role::Responder, Expects::Fifth)
            if replaces(negotiation) && has(PayloadType::KEY_EXCHANGE) =>
        {
            (Expects::Third, true)
        }
        (Role::Initiator, Expects::Fourth) if replaces(negotiation) && has(PayloadType::SA) => {
            (Expects::Second, true)
        }
        (Role::Initiator, Expects::Sixth)
            if replaces(negotiation) && has(PayloadType::KEY_EXCHANGE) =>
        {
            (Expects::Fourth, true)
        }
        (_, expects) => (expects, false),
    };
    if role == Role::Initiator && step != Expects::Second && !right_cookie {
        let refusal = Refusal::Tell(NotifyType::INVALID_COOKIE);
        return engine.refused(now, exchange, &received, &refusal);
    }
    if replaced {
        negotiation.replacements = negotiation.replacements.saturating_add(1);
    }
    let taken = match step {
        Expects::First => first(engine, now, exchange, &received),
        Expects::Second => second(engine, now, exchange, &received),
        Expects::Third | Expects::Fourth => key_exchange(engine, exchange, &received),
        Expects::Fifth | Expects::Sixth => identity(engine, now, exchange, &received),
        Expects::Nothing => Err(Refusal::Silent),
    };
    match taken {
        Ok(Next::Outcome(outcome)) => outcome,
        Ok(Next::Work(work, job)) => engine.begin_work(exchange, work, *job, Some(received)),
        Ok(Next::Agree) => engine.agree(exchange, received),
        Err(refusal) => engine.refused(now, exchange, &received, &refusal),
    }
}

/// What follows a message that was taken.
enum Next {
    Outcome(Outcome),
    Work(Work, Box<Job>),
    Agree,
}

/// The responder chooses. No state of the group, no public-key work.
fn first(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Next, Refusal> {
    engine.require(&received.message, &[PayloadType::SA])?;
    let header = exchange.header();
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    let policy = std::rc::Rc::clone(&negotiation.policy);
    let (agreement, sa_body) = engine.choose(&policy, &received.message)?;
    negotiation.vendors = engine.vendors_of(&received.message);
    engine.half_open_octets = engine.half_open_octets.saturating_add(sa_body.len());
    negotiation.sa_body = sa_body;
    let sa = proposal::payload(agreement.proposal, vec![agreement.transform.clone()]);
    negotiation.agreement = Some(agreement);
    negotiation.expects = Expects::Third;
    engine.accept(exchange, received);
    let mut builder = Builder::new(header);
    builder.push(Payload::Sa(sa));
    engine.add_vendors(&mut builder);
    let Ok(built) = builder.build() else {
        return Ok(Next::Outcome(Outcome::Abandon));
    };
    engine.send_clear(now, exchange, built.into_octets(), Sending::Once);
    Ok(Next::Outcome(Outcome::Continue))
}

/// The initiator learns what was chosen, and makes its key pair.
fn second(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Next, Refusal> {
    engine.require(&received.message, &[PayloadType::SA])?;
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    let agreement = engine.chosen(negotiation, &received.message)?;
    let vendors = engine.vendors_of(&received.message);
    let same_group = negotiation.group() == Some(agreement.group);
    let group = agreement.group;
    negotiation.vendors = vendors;
    negotiation.agreement = Some(agreement);
    if same_group && negotiation.pair.is_some() {
        return Ok(Next::Outcome(send_public(engine, now, exchange, received)));
    }
    negotiation.pair = None;
    Ok(Next::Work(Work::Pair, Box::new(Job::Generate(group))))
}

/// The peer's public value: the responder makes its pair and the secret at once.
fn key_exchange(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Next, Refusal> {
    engine.require(
        &received.message,
        &[PayloadType::KEY_EXCHANGE, PayloadType::NONCE],
    )?;
    let (role, cookies) = (exchange.role, exchange.cookies());
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    engine.take_key_exchange(negotiation, cookies, received, true)?;
    let group = negotiation.group().ok_or(Refusal::Silent)?;
    Ok(match role {
        Role::Initiator => Next::Agree,
        Role::Responder => {
            let job = Job::GenerateAndAgree(group, negotiation.their_public.clone());
            Next::Work(Work::Secret, Box::new(job))
        }
    })
}

/// The peer's identity and its proof, encrypted.
fn identity(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Next, Refusal> {
    engine.require(
        &received.message,
        &[PayloadType::ID, PayloadType::SIGNATURE],
    )?;
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    engine.take_id(negotiation, received)?;
    match engine.check_proof(exchange, received)? {
        Proof::Job(work, job) => Ok(Next::Work(work, Box::new(job))),
        Proof::Done => Ok(Next::Outcome(authenticated(
            engine, now, exchange, received,
        ))),
    }
}

/// The result of a thread.
pub(crate) fn job_done(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    result: JobResult,
) -> Outcome {
    let Some((work, received)) = steps::finished(exchange) else {
        return Outcome::Refused;
    };
    match (work, received) {
        (Work::Pair, Some(received)) => {
            if !steps::keep_pair(exchange, result) {
                engine
                    .journal
                    .error("ipsec_gen_g_x: dh_create_exchange failed");
                return Outcome::Abandon;
            }
            send_public(engine, now, exchange, &received)
        }
        (Work::Secret, Some(received)) => secret(engine, now, exchange, &received, result),
        (Work::Verify, Some(received)) => match engine.signature_checked(&result) {
            Ok(()) => authenticated(engine, now, exchange, &received),
            Err(refusal) => engine.refused(now, exchange, &received, &refusal),
        },
        (Work::VerifyAndSign, Some(received)) => {
            if !matches!(result, JobResult::Signed(_)) {
                if let Some(negotiation) = exchange.negotiation() {
                    negotiation.our_id = None;
                    negotiation.own_certificate = None;
                }
                let refusal = engine.signature_checked(&result).err();
                let refusal = refusal.unwrap_or(Refusal::Silent);
                return engine.refused(now, exchange, &received, &refusal);
            }
            if !accepted(engine, exchange, &received) || engine.our_id(exchange).is_none() {
                return Outcome::Abandon;
            }
            match engine.signed(result) {
                Some(proof) => send_identity(engine, now, exchange, proof),
                None => Outcome::Abandon,
            }
        }
        (Work::Sign, _) => match engine.signed(result) {
            Some(proof) => send_identity(engine, now, exchange, proof),
            None => Outcome::Abandon,
        },
        _ => Outcome::Refused,
    }
}

/// The initiator's third message. Only now the second is taken.
fn send_public(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let cookie = received.message.header.responder_cookie;
    if exchange.responder_cookie != cookie {
        set_responder_cookie(engine, exchange, cookie);
    }
    engine.accept(exchange, received);
    exchange.step = 2;
    let mut builder = Builder::new(exchange.header());
    engine.add_key_exchange(exchange, &mut builder);
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    negotiation.expects = Expects::Fourth;
    let Ok(built) = builder.build() else {
        return Outcome::Abandon;
    };
    engine.send_clear(now, exchange, built.into_octets(), Sending::Retransmitted);
    Outcome::Continue
}

pub(crate) fn set_responder_cookie(engine: &mut Engine, exchange: &mut Exchange, cookie: Cookie) {
    engine
        .exchanges
        .change(exchange, |exchange| exchange.responder_cookie = cookie);
    engine.dump_exchange("exchange_upgrade_p1", exchange);
}

/// g^xy is there.
fn secret(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
    result: JobResult,
) -> Outcome {
    let secret = match result {
        JobResult::Agreed(Some(secret)) => secret,
        JobResult::GeneratedAndAgreed(Some((public, secret))) => {
            if let Some(negotiation) = exchange.negotiation() {
                negotiation.our_public = public;
            }
            secret
        }
        JobResult::Agreed(None) | JobResult::GeneratedAndAgreed(None) => {
            engine
                .journal
                .plain("ike_phase_1_post_exchange_KE_NONCE: dh_create_shared failed");
            return engine.refused(now, exchange, received, &Refusal::Silent);
        }
        _ => return Outcome::Abandon,
    };
    match exchange.role {
        Role::Responder => {
            engine.accept(exchange, received);
            exchange.step = 3;
            let mut builder = Builder::new(exchange.header());
            engine.add_key_exchange(exchange, &mut builder);
            if !engine.derive_keys(exchange, &secret) {
                return Outcome::Abandon;
            }
            let Some(negotiation) = exchange.negotiation() else {
                return Outcome::Abandon;
            };
            negotiation.expects = Expects::Fifth;
            let Ok(built) = builder.build() else {
                return Outcome::Abandon;
            };
            engine.send_clear(now, exchange, built.into_octets(), Sending::Retransmitted);
            Outcome::Continue
        }
        Role::Initiator => {
            if !engine.derive_keys(exchange, &secret) {
                return Outcome::Abandon;
            }
            engine.accept(exchange, received);
            exchange.step = 4;
            engine.float(exchange);
            prove(engine, now, exchange)
        }
    }
}

/// The peer is who it must be.
fn authenticated(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    match (accepted(engine, exchange, received), exchange.role) {
        (false, _) => Outcome::Abandon,
        (true, Role::Initiator) => engine.finish_phase1(now, exchange),
        (true, Role::Responder) => prove(engine, now, exchange),
    }
}

/// Takes the message that authenticates the peer.
fn accepted(engine: &mut Engine, exchange: &mut Exchange, received: &Received) -> bool {
    engine.accept(exchange, received);
    engine.take_initial_contact(exchange, received);
    match exchange.negotiation() {
        Some(negotiation) => {
            negotiation.authenticated = true;
            true
        }
        None => false,
    }
}

/// Our identity and proof: at once with a pre-shared key, else when a thread has signed.
fn prove(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    match engine.begin_proof(exchange) {
        Ok(Some(proof)) => send_identity(engine, now, exchange, proof),
        Ok(None) => Outcome::Continue,
        Err(outcome) => outcome,
    }
}

/// Message 5 or 6.
fn send_identity(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    proof: Payload,
) -> Outcome {
    let mut builder = Builder::new(exchange.header());
    let Some(id) = exchange
        .negotiation()
        .and_then(|negotiation| negotiation.our_id.clone())
    else {
        return Outcome::Abandon;
    };
    builder.push(Payload::Id(id));
    engine.add_certificate(exchange, &mut builder);
    builder.push(proof);
    engine.add_initial_contact(exchange, &mut builder);
    let Ok(built) = builder.build() else {
        return Outcome::Abandon;
    };
    let Some(octets) = engine.seal_phase1(exchange, built) else {
        return Outcome::Abandon;
    };
    match exchange.role {
        Role::Initiator => {
            if let Some(negotiation) = exchange.negotiation() {
                negotiation.expects = Expects::Sixth;
            }
            engine.send(now, exchange, octets, Sending::Retransmitted);
            Outcome::Continue
        }
        Role::Responder => {
            if let Some(negotiation) = exchange.negotiation() {
                negotiation.expects = Expects::Nothing;
            }
            engine.send(now, exchange, octets, Sending::Last);
            engine.finish_phase1(now, exchange)
        }
    }
}
