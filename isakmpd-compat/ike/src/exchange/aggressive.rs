//! Aggressive Mode, three messages, both roles (RFC 2409 section 5; isakmpd-wire 2.3).
//!
//! Nothing of a message is taken for good before its HASH or signature was right.

use std::time::Instant;

use isakmp_proto::message::Builder;
use isakmp_proto::number::PayloadType;
use isakmp_proto::payload::Payload;

use super::main_mode::set_responder_cookie;
use super::{Exchange, Outcome, Received};
use crate::engine::Engine;
use crate::engine::transmit::Sending;
use crate::job::{Job, JobResult};
use crate::phase1::authentication::Proof;
use crate::phase1::steps::{self, Refusal};
use crate::phase1::{Expects, Work, nat_d, proposal};
use crate::sa::{NatTraversal, Role};

/// The initiator makes its key pair; the first message follows.
pub(crate) fn begin(engine: &mut Engine, _now: Instant, exchange: &mut Exchange) -> Outcome {
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    let agreed = proposal::offer(&negotiation.policy).map(|offer| {
        let group = offer
            .first()
            .and_then(|first| proposal::agreement(1, first));
        (offer, group.map(|agreement| agreement.group))
    });
    let (offer, group) = match agreed {
        Ok((offer, Some(group))) => (offer, group),
        Ok((_, None)) => return Outcome::Abandon,
        Err(error) => {
            engine.journal.plain(error.to_string());
            engine.journal.plain(format!(
                "exchange_run: doi->initiator ({}) failed",
                exchange.id
            ));
            return Outcome::Abandon;
        }
    };
    negotiation.offer = offer;
    negotiation.expects = Expects::Second;
    engine.begin_work(exchange, Work::Pair, Job::Generate(group), None)
}

fn send_first(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    let mut builder = Builder::new(exchange.header());
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    let offer = negotiation.offer.clone();
    let index = builder.push(Payload::Sa(proposal::payload(1, offer)));
    engine.add_vendors(&mut builder);
    // Neither CERTREQ nor NAT-D yet: nothing is agreed on.
    engine.add_key_exchange(exchange, &mut builder);
    let Some(id) = engine.our_id(exchange) else {
        return Outcome::Abandon;
    };
    builder.push(Payload::Id(id));
    let Ok(built) = builder.build() else {
        return Outcome::Abandon;
    };
    if let Some(negotiation) = exchange.negotiation() {
        negotiation.sa_body = built.body(index).into();
    }
    engine.send_clear(now, exchange, built.into_octets(), Sending::Retransmitted);
    Outcome::Continue
}

/// A message of the peer's.
pub(crate) fn receive(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: Received,
) -> Outcome {
    let expects = exchange
        .negotiation()
        .map_or(Expects::Nothing, |n| n.expects);
    let taken = match (exchange.role, expects) {
        (Role::Responder, Expects::First) => first(engine, exchange, &received),
        (Role::Initiator, Expects::Second) => second(engine, exchange, &received),
        (Role::Responder, Expects::Third) => {
            return match third(engine, exchange, &received) {
                Ok(Proof::Done) => authenticated(engine, now, exchange, &received),
                Ok(Proof::Job(work, job)) => engine.begin_work(exchange, work, job, Some(received)),
                Err(refusal) => engine.refused(now, exchange, &received, &refusal),
            };
        }
        _ => Err(Refusal::Silent),
    };
    match taken {
        Ok(Some(job)) => engine.begin_work(exchange, Work::Secret, job, Some(received)),
        Ok(None) => engine.agree(exchange, received),
        Err(refusal) => engine.refused(now, exchange, &received, &refusal),
    }
}

/// The responder chooses and computes: there is no cookie of ours in this message, so the engine bounds how
/// often it comes to this.
fn first(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Option<Job>, Refusal> {
    let wanted = [
        PayloadType::SA,
        PayloadType::KEY_EXCHANGE,
        PayloadType::NONCE,
        PayloadType::ID,
    ];
    engine.require(&received.message, &wanted)?;
    let cookies = exchange.cookies();
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    let policy = std::rc::Rc::clone(&negotiation.policy);
    let (agreement, sa_body) = engine.choose(&policy, &received.message)?;
    let group = agreement.group;
    negotiation.vendors = engine.vendors_of(&received.message);
    negotiation.agreement = Some(agreement);
    engine.take_id(negotiation, received)?;
    engine.take_key_exchange(negotiation, cookies, received, false)?;
    engine.half_open_octets = engine.half_open_octets.saturating_add(sa_body.len());
    negotiation.sa_body = sa_body;
    Ok(Some(Job::GenerateAndAgree(
        group,
        negotiation.their_public.clone(),
    )))
}

/// The initiator learns everything at once.
fn second(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Option<Job>, Refusal> {
    let wanted = [
        PayloadType::SA,
        PayloadType::KEY_EXCHANGE,
        PayloadType::NONCE,
        PayloadType::ID,
        PayloadType::SIGNATURE,
    ];
    engine.require(&received.message, &wanted)?;
    let cookies = (
        exchange.initiator_cookie,
        received.message.header.responder_cookie,
    );
    let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
    let agreement = engine.chosen(negotiation, &received.message)?;
    negotiation.vendors = engine.vendors_of(&received.message);
    negotiation.agreement = Some(agreement);
    engine.take_key_exchange(negotiation, cookies, received, true)?;
    engine.take_id(negotiation, received)?;
    Ok(None)
}

/// The initiator's proof.
fn third(
    engine: &mut Engine,
    exchange: &mut Exchange,
    received: &Received,
) -> Result<Proof, Refusal> {
    engine.require(&received.message, &[PayloadType::SIGNATURE])?;
    engine.check_proof(exchange, received)
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
        (Work::Pair, _) => {
            if !steps::keep_pair(exchange, result) {
                engine
                    .journal
                    .error("ipsec_gen_g_x: dh_create_exchange failed");
                return Outcome::Abandon;
            }
            send_first(engine, now, exchange)
        }
        (Work::Secret, Some(received)) => secret(engine, now, exchange, received, result),
        (Work::Verify, Some(received)) => match engine.signature_checked(&result) {
            Ok(()) => authenticated(engine, now, exchange, &received),
            Err(refusal) => engine.refused(now, exchange, &received, &refusal),
        },
        (Work::Sign, _) => match engine.signed(result) {
            Some(proof) => send_proof(engine, now, exchange, proof),
            None => Outcome::Abandon,
        },
        _ => Outcome::Refused,
    }
}

/// g^xy is there.
fn secret(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: Received,
    result: JobResult,
) -> Outcome {
    match (exchange.role, result) {
        (Role::Responder, JobResult::GeneratedAndAgreed(Some((public, secret)))) => {
            let Some(negotiation) = exchange.negotiation() else {
                return Outcome::Abandon;
            };
            negotiation.our_public = public;
            engine.accept(exchange, &received);
            let mut builder = Builder::new(exchange.header());
            let Some(negotiation) = exchange.negotiation() else {
                return Outcome::Abandon;
            };
            let Some(agreement) = &negotiation.agreement else {
                return Outcome::Abandon;
            };
            let sa = proposal::payload(agreement.proposal, vec![agreement.transform.clone()]);
            builder.push(Payload::Sa(sa));
            engine.add_vendors(&mut builder);
            engine.add_key_exchange(exchange, &mut builder);
            if !engine.derive_keys(exchange, &secret) {
                return Outcome::Abandon;
            }
            let Some(negotiation) = exchange.negotiation() else {
                return Outcome::Abandon;
            };
            negotiation.reply = Some(builder);
            prove(engine, now, exchange)
        }
        (Role::Initiator, JobResult::Agreed(Some(secret))) => {
            // The cookie counts for the keys already; it is entered when the peer is authenticated.
            let cookie = received.message.header.responder_cookie;
            let before = std::mem::replace(&mut exchange.responder_cookie, cookie);
            let proof = if engine.derive_keys(exchange, &secret) {
                engine.check_proof(exchange, &received)
            } else {
                Err(Refusal::Silent)
            };
            exchange.responder_cookie = before;
            match proof {
                Ok(Proof::Done) => authenticated(engine, now, exchange, &received),
                Ok(Proof::Job(work, job)) => engine.begin_work(exchange, work, job, Some(received)),
                Err(refusal) => engine.refused(now, exchange, &received, &refusal),
            }
        }
        (_, JobResult::Agreed(None) | JobResult::GeneratedAndAgreed(None)) => {
            engine
                .journal
                .plain("ike_phase_1_post_exchange_KE_NONCE: dh_create_shared failed");
            if exchange.role == Role::Responder {
                return Outcome::Abandon;
            }
            engine.refused(now, exchange, &received, &Refusal::Silent)
        }
        _ => Outcome::Abandon,
    }
}

/// The peer is who it must be.
fn authenticated(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    received: &Received,
) -> Outcome {
    let cookie = received.message.header.responder_cookie;
    if exchange.role == Role::Initiator && exchange.responder_cookie != cookie {
        set_responder_cookie(engine, exchange, cookie);
    }
    engine.accept(exchange, received);
    let (role, cookies) = (exchange.role, exchange.cookies());
    let Some(negotiation) = exchange.negotiation() else {
        return Outcome::Abandon;
    };
    negotiation.authenticated = true;
    match role {
        Role::Initiator => {
            engine.float(exchange);
            prove(engine, now, exchange)
        }
        Role::Responder => {
            let form = negotiation.vendors.nat_t;
            if let (true, Some(agreement)) = (form != NatTraversal::Off, &negotiation.agreement) {
                negotiation.nat = nat_d::check(
                    &received.message,
                    form,
                    agreement.hash,
                    cookies,
                    received.path,
                    &mut engine.journal,
                );
            }
            negotiation.expects = Expects::Nothing;
            engine.finish_phase1(now, exchange)
        }
    }
}

fn prove(engine: &mut Engine, now: Instant, exchange: &mut Exchange) -> Outcome {
    match engine.begin_proof(exchange) {
        Ok(Some(proof)) => send_proof(engine, now, exchange, proof),
        Ok(None) => Outcome::Continue,
        Err(outcome) => outcome,
    }
}

/// Message 2 in clear, or message 3 encrypted.
fn send_proof(
    engine: &mut Engine,
    now: Instant,
    exchange: &mut Exchange,
    proof: Payload,
) -> Outcome {
    match exchange.role {
        Role::Responder => {
            let Some(negotiation) = exchange.negotiation() else {
                return Outcome::Abandon;
            };
            let (Some(mut builder), Some(id)) =
                (negotiation.reply.take(), negotiation.our_id.clone())
            else {
                return Outcome::Abandon;
            };
            negotiation.expects = Expects::Third;
            builder.push(Payload::Id(id));
            engine.add_certificate(exchange, &mut builder);
            builder.push(proof);
            let Ok(built) = builder.build() else {
                return Outcome::Abandon;
            };
            engine.send_clear(now, exchange, built.into_octets(), Sending::Once);
            Outcome::Continue
        }
        Role::Initiator => {
            let mut builder = Builder::new(exchange.header());
            engine.add_certificate(exchange, &mut builder);
            builder.push(proof);
            if steps::announces_nat_t(exchange) {
                engine.add_nat_d(exchange, &mut builder);
            }
            let Ok(built) = builder.build() else {
                return Outcome::Abandon;
            };
            let Some(octets) = engine.seal_phase1(exchange, built) else {
                return Outcome::Abandon;
            };
            if let Some(negotiation) = exchange.negotiation() {
                negotiation.expects = Expects::Nothing;
            }
            engine.send(now, exchange, octets, Sending::Last);
            engine.finish_phase1(now, exchange)
        }
    }
}
