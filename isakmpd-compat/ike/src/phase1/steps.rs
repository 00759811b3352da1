//! What the messages of Main Mode and Aggressive Mode are made of, and what is taken from them.

use std::sync::Arc;
use std::time::Instant;

use isakmp_proto::message::{Builder, Message};
use isakmp_proto::number::{CertEncoding, Doi, NotifyType, PayloadType};
use isakmp_proto::payload::{CertReq, Payload};
use isakmp_proto::sa::Sa;

use crate::config::Phase1;
use crate::credentials::Certificate;
use crate::engine::Engine;
use crate::exchange::{Exchange, Outcome, Received, State};
use crate::job::{Job, JobResult};
use crate::journal::Class;
use crate::phase1::proposal::{self, Agreement};
use crate::phase1::vendor::{self, Vendors};
use crate::phase1::{Negotiation, Work, nat_d};
use crate::random::Purpose;
use crate::sa::{NatTraversal, Role};

/// Octets of the initiator's nonce.
const NONCE_LEN: usize = 16;

/// Octets a nonce may have (RFC 2409 section 5).
const NONCE_LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// More authorities and certificates than anybody sends.
const MOST_CERTIFICATES: usize = 16;

/// A message is not taken; this tells the peer, where it is to be told.
pub(crate) enum Refusal {
    /// With a notification.
    Tell(NotifyType),
    /// Only the log knows.
    Silent,
}

impl Engine {
    /// Logs and sends what a refusal wants.
    pub(crate) fn refused(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        received: &Received,
        refusal: &Refusal,
    ) -> Outcome {
        if let Refusal::Tell(notify) = refusal {
            self.refuse(
                now,
                received.path,
                *notify,
                Doi::IPSEC,
                exchange.sa,
                Vec::new(),
            );
        }
        Outcome::Refused
    }

    /// Whether all of `wanted` are there (isakmpd-wire 5, step 13). SIGNATURE stands for either of HASH and SIG.
    pub(crate) fn require(
        &mut self,
        message: &Message,
        wanted: &[PayloadType],
    ) -> Result<(), Refusal> {
        for ty in wanted {
            let is_authentication = *ty == PayloadType::SIGNATURE;
            self.journal.debug(Class::Exchange, 90, || {
                let name = if is_authentication {
                    "AUTH".to_owned()
                } else {
                    ty.to_string()
                };
                format!("exchange_validate: checking for required {name}")
            });
            let there = message.index_of(*ty).is_some()
                || (is_authentication && message.index_of(PayloadType::HASH).is_some());
            if !there {
                self.journal.plain("exchange_run: exchange_validate failed");
                return Err(Refusal::Tell(NotifyType::PAYLOAD_MALFORMED));
            }
        }
        Ok(())
    }

    /// The responder's choice among what the initiator offers.
    pub(crate) fn choose(
        &mut self,
        policy: &Phase1,
        message: &Message,
    ) -> Result<(Agreement, Box<[u8]>), Refusal> {
        let (index, sa) = only_sa(message).ok_or_else(|| {
            self.journal.plain(
                "ike_phase_1_responder_recv_SA: multiple SA or proposal payloads in phase 1",
            );
            Refusal::Tell(NotifyType::PAYLOAD_MALFORMED)
        })?;
        let [offered] = sa.proposals.as_slice() else {
            self.journal.plain(
                "ike_phase_1_responder_recv_SA: multiple SA or proposal payloads in phase 1",
            );
            return Err(Refusal::Tell(NotifyType::PAYLOAD_MALFORMED));
        };
        let Some(transform) = proposal::choose(offered, policy, &mut self.journal) else {
            self.journal
                .plain("message_negotiate_sa: no compatible proposal found");
            return Err(Refusal::Tell(NotifyType::NO_PROPOSAL_CHOSEN));
        };
        self.dump_chosen([&transform]);
        let agreement = proposal::agreement(offered.number, &transform)
            .ok_or(Refusal::Tell(NotifyType::PAYLOAD_MALFORMED))?;
        Ok((agreement, message.body(index).into()))
    }

    /// What the responder chose, if we offered it.
    pub(crate) fn chosen(
        &mut self,
        negotiation: &Negotiation,
        message: &Message,
    ) -> Result<Agreement, Refusal> {
        let only = only_sa(message).and_then(|(_, sa)| match sa.proposals.as_slice() {
            [proposal] if proposal.transforms.len() == 1 => Some(proposal),
            _ => None,
        });
        let Some(proposal) = only else {
            self.journal.plain(
                "ike_phase_1_initiator_recv_SA: multiple SA, proposal or transform payloads in phase 1",
            );
            return Err(Refusal::Tell(NotifyType::PAYLOAD_MALFORMED));
        };
        // Like the original, the configuration is asked again: it may have changed since the offer.
        let agreement = proposal
            .transforms
            .iter()
            .filter(|transform| proposal::was_offered(&negotiation.offer, transform))
            .filter_map(|_| proposal::choose(proposal, &negotiation.policy, &mut self.journal))
            .find_map(|transform| proposal::agreement(proposal.number, &transform));
        if agreement.is_some() {
            self.dump_chosen(&proposal.transforms);
        }
        agreement.ok_or_else(|| {
            self.journal
                .plain("message_negotiate_sa: no compatible proposal found");
            Refusal::Tell(NotifyType::NO_PROPOSAL_CHOSEN)
        })
    }

    /// The peer's public value and nonce, CERTREQs and NAT-D payloads.
    pub(crate) fn take_key_exchange(
        &mut self,
        negotiation: &mut Negotiation,
        exchange_cookies: (isakmp_proto::header::Cookie, isakmp_proto::header::Cookie),
        received: &Received,
        check_nat: bool,
    ) -> Result<(), Refusal> {
        let message = &received.message;
        let agreement = negotiation.agreement.as_ref().ok_or(Refusal::Silent)?;
        let public = first(
            message,
            PayloadType::KEY_EXCHANGE,
            |payload| match payload {
                Payload::KeyExchange(public) => Some(public),
                _ => None,
            },
        )
        .ok_or(Refusal::Silent)?;
        if public.len() != agreement.group.public_len() {
            return Err(Refusal::Tell(NotifyType::PAYLOAD_MALFORMED));
        }
        let nonce = first(message, PayloadType::NONCE, |payload| match payload {
            Payload::Nonce(nonce) => Some(nonce),
            _ => None,
        })
        .ok_or(Refusal::Silent)?;
        if !NONCE_LENGTHS.contains(&nonce.len()) {
            self.journal.debug(Class::Exchange, 20, || {
                format!("exchange_nonce: invalid nonce length {}", nonce.len())
            });
            return Err(Refusal::Silent);
        }
        if check_nat {
            negotiation.nat = nat_d::check(
                message,
                negotiation.vendors.nat_t,
                agreement.hash,
                exchange_cookies,
                received.path,
                &mut self.journal,
            );
        }
        negotiation.their_public.clone_from(public);
        negotiation.their_nonce.clone_from(nonce);
        negotiation.requests = certificate_requests(message);
        Ok(())
    }

    /// Our vendor IDs.
    pub(crate) fn add_vendors(&self, builder: &mut Builder) {
        vendor::add(builder, self.options.nat_t);
    }

    /// What the peer's vendor IDs say.
    pub(crate) fn vendors_of(&mut self, message: &Message) -> Vendors {
        Vendors::of(message, self.options.nat_t, &mut self.journal)
    }

    /// KE, NONCE, CERTREQs and, if the peer speaks NAT traversal, NAT-D.
    pub(crate) fn add_key_exchange(&mut self, exchange: &mut Exchange, builder: &mut Builder) {
        let (cookies, path, role) = (exchange.cookies(), exchange.path, exchange.role);
        let has_ca = self.credentials.has_ca();
        let Some(negotiation) = exchange.negotiation() else {
            return;
        };
        let len = match role {
            Role::Initiator => NONCE_LEN,
            Role::Responder => negotiation.their_nonce.len(),
        };
        // A message that takes the place of a forged one has the same nonce of ours.
        if negotiation.our_nonce.len() != len {
            let mut nonce = vec![0; len];
            self.random.fill(Purpose::Nonce, &mut nonce);
            negotiation.our_nonce = nonce;
        }
        builder.push(Payload::KeyExchange(negotiation.our_public.clone()));
        builder.push(Payload::Nonce(negotiation.our_nonce.clone()));
        for request in wanted(negotiation, has_ca) {
            builder.push(Payload::CertReq(request));
        }
        let Some(agreement) = &negotiation.agreement else {
            return;
        };
        nat_d::add(
            builder,
            negotiation.vendors.nat_t,
            agreement.hash,
            cookies,
            path,
        );
    }

    /// NAT-D alone: the third message of Aggressive Mode.
    pub(crate) fn add_nat_d(&self, exchange: &mut Exchange, builder: &mut Builder) {
        let (cookies, path) = (exchange.cookies(), exchange.path);
        let Some(negotiation) = exchange.negotiation() else {
            return;
        };
        let Some(agreement) = &negotiation.agreement else {
            return;
        };
        nat_d::add(
            builder,
            negotiation.vendors.nat_t,
            agreement.hash,
            cookies,
            path,
        );
    }

    /// Hands work to a thread; `received` is the message it is about.
    pub(crate) fn begin_work(
        &mut self,
        exchange: &mut Exchange,
        work: Work,
        job: Job,
        received: Option<Received>,
    ) -> Outcome {
        if let Some(negotiation) = exchange.negotiation() {
            negotiation.work = Some(work);
            negotiation.pending = received.map(Box::new);
        }
        self.begin_job(exchange, job);
        Outcome::Continue
    }

    /// The shared secret of the initiator.
    pub(crate) fn agree(&mut self, exchange: &mut Exchange, received: Received) -> Outcome {
        let job = exchange.negotiation().and_then(|negotiation| {
            let pair = Arc::clone(negotiation.pair.as_ref()?);
            Some(Job::Agree(pair, negotiation.their_public.clone()))
        });
        match job {
            Some(job) => self.begin_work(exchange, Work::Secret, job, Some(received)),
            None => Outcome::Abandon,
        }
    }

    /// From UDP 500 to the NAT traversal port, if there is a NAT. A peer behind a translated port keeps that.
    pub(crate) fn float(&self, exchange: &mut Exchange) {
        let nat = exchange
            .negotiation()
            .map(|negotiation| negotiation.nat)
            .unwrap_or_default();
        if nat.encapsulates() && !exchange.path.encapsulated {
            exchange.path.encapsulated = true;
            exchange.path.local.set_port(self.options.nat_t_port);
            if exchange.path.remote.port() == 500 {
                exchange.path.remote.set_port(4500);
            }
        }
    }
}

/// What a finished job was for, and the message it was about.
pub(crate) fn finished(exchange: &mut Exchange) -> Option<(Work, Option<Received>)> {
    let negotiation = exchange.negotiation()?;
    let work = negotiation.work.take()?;
    Some((work, negotiation.pending.take().map(|received| *received)))
}

/// Our pair from a thread.
pub(crate) fn keep_pair(exchange: &mut Exchange, result: JobResult) -> bool {
    let (Some(negotiation), JobResult::Generated(public, pair)) = (exchange.negotiation(), result)
    else {
        return false;
    };
    negotiation.our_public = public;
    negotiation.pair = Some(Arc::from(pair));
    true
}

/// NAT traversal that both sides announced; what it means is decided by NAT-D.
pub(crate) fn announces_nat_t(exchange: &Exchange) -> bool {
    match &exchange.state {
        State::Main(n) | State::Aggressive(n) => n.vendors.nat_t != NatTraversal::Off,
        _ => false,
    }
}

fn only_sa(message: &Message) -> Option<(usize, &Sa)> {
    let mut all = message.all(PayloadType::SA);
    match (all.next(), all.next()) {
        (Some((index, Payload::Sa(sa))), None) => Some((index, sa)),
        _ => None,
    }
}

/// The first payload of a type, as what it is.
pub(crate) fn first<'a, T>(
    message: &'a Message,
    ty: PayloadType,
    read: impl Fn(&'a Payload) -> Option<T>,
) -> Option<T> {
    message.all(ty).find_map(|(_, payload)| read(payload))
}

/// What is in a message of certificates or of requests for them.
fn encoded(
    message: &Message,
    ty: PayloadType,
    read: impl Fn(&Payload) -> Option<(CertEncoding, &[u8])>,
) -> Vec<Certificate> {
    message
        .all(ty)
        .filter_map(|(_, payload)| read(payload))
        .map(|(encoding, data)| Certificate {
            encoding: encoding.0,
            data: data.to_vec(),
        })
        .take(MOST_CERTIFICATES)
        .collect()
}

fn certificate_requests(message: &Message) -> Vec<Certificate> {
    encoded(
        message,
        PayloadType::CERT_REQUEST,
        |payload| match payload {
            Payload::CertReq(request) => Some((request.encoding, &request.authority)),
            _ => None,
        },
    )
}

/// Certificates of a message.
pub(crate) fn certificates(message: &Message) -> Vec<Certificate> {
    encoded(message, PayloadType::CERT, |payload| match payload {
        Payload::Cert(cert) => Some((cert.encoding, &cert.data)),
        _ => None,
    })
}

/// Requests we send: with signatures and a CA those of the peer that name an authority are reflected, and one of
/// our own for any X.509 certificate is added unless reflecting says as much.
fn wanted(negotiation: &Negotiation, has_ca: bool) -> Vec<CertReq> {
    let signs = match &negotiation.agreement {
        Some(agreement) => agreement.signs(),
        // The first message of Aggressive Mode.
        None => negotiation.offer.iter().any(|transform| {
            proposal::agreement(1, transform).is_some_and(|offered| offered.signs())
        }),
    };
    if !has_ca || !signs {
        return Vec::new();
    }
    let x509 = CertEncoding::X509_SIG;
    let mut wanted: Vec<CertReq> = negotiation
        .requests
        .iter()
        .filter(|request| !request.data.is_empty())
        .map(|request| CertReq {
            encoding: CertEncoding(request.encoding),
            authority: request.data.clone(),
        })
        .collect();
    if !wanted.iter().any(|request| request.encoding == x509) {
        wanted.push(CertReq {
            encoding: x509,
            authority: Vec::new(),
        });
    }
    wanted
}
