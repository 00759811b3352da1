//! Keys from what was exchanged, and the HASH or signature that proves who the peer is (isakmpd-wire 3, 6).

use std::rc::Rc;
use std::time::Instant;

use isakmp_proto::identity::{Identity, id_text};
use isakmp_proto::message::{Builder, Built};
use isakmp_proto::number::{CertEncoding, Doi, NotifyType, PayloadType, Protocol};
use isakmp_proto::payload::{Cert, Id, Notify, Payload};
use kx_crypto::prf::{BlockSize, Unavailable};
use kx_secret::SecretBytes;

use crate::cipher::Cipher;
use crate::engine::Engine;
use crate::event::{Address, Path};
use crate::exchange::{Exchange, Outcome, Received, State};
use crate::job::{Job, JobResult};
use crate::journal::Class;
use crate::keys::{Exchanged, PrfChoice, Skeyids, phase_1_iv};
use crate::phase1::steps::{self, Refusal};
use crate::phase1::{Negotiation, Work, identity};
use crate::policy::passphrase_principals;
use crate::sa::{Flags, IsakmpSa, Protection, Role};

/// What the peer shows for its identity.
pub(crate) enum Proof {
    /// The HASH was right.
    Done,
    /// A thread checks the signature, and may make ours.
    Job(Work, Job),
}

/// What our signature is to be made of, before it is known whether it is needed.
struct Ours {
    id: Id,
    hash: Vec<u8>,
    requests: Vec<Vec<u8>>,
}

/// The names of authorities that the peer wants certificates of.
fn requested(negotiation: &Negotiation) -> Vec<Vec<u8>> {
    let requests = negotiation.requests.iter();
    requests.map(|request| request.data.clone()).collect()
}

/// Of Main Mode's responder, who shows its proof as soon as that of the peer is right.
fn ours(exchange: &mut Exchange, path: Path) -> Option<Ours> {
    if exchange.role != Role::Responder || !matches!(exchange.state, State::Main(_)) {
        return None;
    }
    let id = identity::own(&exchange.negotiation()?.peer, path);
    let hash = hash_of(exchange, Role::Responder, &id)?;
    Some(Ours {
        id,
        hash: hash.as_slice().to_vec(),
        requests: requested(exchange.negotiation()?),
    })
}

fn exchanged<'a>(
    negotiation: &'a Negotiation,
    role: Role,
    cookies: (isakmp_proto::header::Cookie, isakmp_proto::header::Cookie),
) -> Exchanged<'a> {
    let (g_xi, g_xr) = match role {
        Role::Initiator => (&negotiation.our_public, &negotiation.their_public),
        Role::Responder => (&negotiation.their_public, &negotiation.our_public),
    };
    Exchanged {
        g_xi,
        g_xr,
        cky_i: cookies.0,
        cky_r: cookies.1,
        sai_b: &negotiation.sa_body,
    }
}

/// HASH_I or HASH_R: the one of `of`.
fn hash_of(exchange: &mut Exchange, of: Role, id: &Id) -> Option<SecretBytes> {
    let (role, cookies) = (exchange.role, exchange.cookies());
    let negotiation = exchange.negotiation()?;
    let exchanged = exchanged(negotiation, role, cookies);
    let keys = &negotiation.keys.as_ref()?.keys;
    match of {
        Role::Initiator => keys.hash_i(&exchanged, &id.body()).ok(),
        Role::Responder => keys.hash_r(&exchanged, &id.body()).ok(),
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    }
}

impl Engine {
    /// SKEYID and everything made of it, and the first IV. `false`: no key, or the library refused.
    pub(crate) fn derive_keys(&mut self, exchange: &mut Exchange, secret: &SecretBytes) -> bool {
        let (role, cookies) = (exchange.role, exchange.cookies());
        let responder = role == Role::Responder;
        let name = exchange.display_name().to_owned();
        let Some(negotiation) = exchange.negotiation() else {
            return false;
        };
        let Some(agreement) = &negotiation.agreement else {
            return false;
        };
        let block = if negotiation.vendors.openbsd {
            BlockSize::Octets64
        } else {
            BlockSize::Standard
        };
        let choice = PrfChoice {
            hash: agreement.hash,
            block,
        };
        let (ni, nr) = match role {
            Role::Initiator => (&negotiation.our_nonce, &negotiation.their_nonce),
            Role::Responder => (&negotiation.their_nonce, &negotiation.our_nonce),
        };
        let skeyid = if agreement.signs() {
            choice.skeyid_signatures(ni, nr, secret.as_slice())
        } else {
            // Aggressive Mode's responder knows the initiator's identity already: road warriors have a key each.
            let text = negotiation
                .their_id
                .as_ref()
                .filter(|_| responder)
                .map(|id| id_text(Some(id)));
            let by_id = text
                .as_deref()
                .and_then(|text| self.configuration.authentication_of(text));
            let Some(key) = negotiation.peer.authentication.clone().or(by_id) else {
                self.journal.plain(format!(
                    "ike_auth_get_key: no key found for peer \"{name}\" or local ID \"{}\"",
                    text.as_deref().unwrap_or("<none>")
                ));
                return false;
            };
            if self.policy.is_some() {
                negotiation.principals = passphrase_principals(key.as_slice()).into();
            }
            choice.skeyid_pre_shared(key.as_slice(), ni, nr)
        };
        let exchanged = exchanged(negotiation, role, cookies);
        let made = skeyid.and_then(|skeyid| {
            let keys = Skeyids::derive(choice, skeyid, secret.as_slice(), cookies.0, cookies.1)?;
            let key = keys.encryption_key(agreement.key_len)?;
            let cipher = Cipher::new(agreement.algorithm, key).map_err(|_| Unavailable)?;
            let block_len = cipher.block_len();
            let iv = phase_1_iv(agreement.hash, exchanged.g_xi, exchanged.g_xr, block_len)?;
            Ok((
                Protection {
                    keys,
                    cipher: Rc::new(cipher),
                    last_block: Vec::new(),
                },
                iv,
            ))
        });
        match made {
            Ok((protection, iv)) => {
                negotiation.keys = Some(protection);
                exchange.iv = iv;
                true
            }
            Err(_) => {
                self.journal
                    .error("ike_phase_1_post_exchange_KE_NONCE: exchange->crypto->init () failed");
                false
            }
        }
    }

    /// The peer's ID payload: who it says it is.
    pub(crate) fn take_id(
        &mut self,
        negotiation: &mut Negotiation,
        received: &Received,
    ) -> Result<(), Refusal> {
        let id = steps::first(
            &received.message,
            PayloadType::ID,
            |payload| match payload {
                Payload::Id(id) => Some(id.clone()),
                _ => None,
            },
        )
        .ok_or(Refusal::Silent)?;
        if let Err(wrong) = identity::of_peer(&negotiation.peer, &id) {
            self.journal.plain(wrong.to_string());
            return Err(match wrong {
                identity::WrongIdentity::Other(_) => Refusal::Silent,
                identity::WrongIdentity::Malformed(_) => {
                    Refusal::Tell(NotifyType::INVALID_ID_INFORMATION)
                }
            });
        }
        self.dump(
            Class::Negotiation,
            40,
            &format!("ike_phase_1_recv_ID: {}", id.id_type),
            &id.data,
        );
        negotiation.their_id = Some(id);
        Ok(())
    }

    /// HASH or SIG of the peer's message. Its identity must be known.
    pub(crate) fn check_proof(
        &mut self,
        exchange: &mut Exchange,
        received: &Received,
    ) -> Result<Proof, Refusal> {
        let peer_role = other(exchange.role);
        let letter = if peer_role == Role::Initiator {
            'I'
        } else {
            'R'
        };
        let id = exchange
            .negotiation()
            .and_then(|n| n.their_id.clone())
            .ok_or(Refusal::Silent)?;
        let expected = hash_of(exchange, peer_role, &id).ok_or(Refusal::Silent)?;
        let path = received.path;
        let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
        let invalid = Refusal::Tell(NotifyType::INVALID_ID_INFORMATION);
        if negotiation
            .agreement
            .as_ref()
            .is_some_and(|agreement| agreement.signs())
        {
            let certificates = steps::certificates(&received.message);
            if !certificates.is_empty() {
                negotiation.certificates = certificates;
            }
            let Ok(identity) = Identity::try_from(&id) else {
                return Err(invalid);
            };
            let ours = ours(exchange, path);
            let negotiation = exchange.negotiation().ok_or(Refusal::Silent)?;
            let theirs = (&identity, negotiation.certificates.as_slice());
            let own = ours
                .as_ref()
                .and_then(|ours| Some((Identity::try_from(&ours.id).ok()?, ours)));
            let found = match &own {
                Some((own, ours)) => self.credentials.both_proofs((own, &ours.requests), theirs),
                None => {
                    let key = self.credentials.key_of(theirs.0, theirs.1);
                    key.map(|key| (key, None))
                }
            };
            let (key, own) = match found {
                Ok(found) => found,
                Err(error) => {
                    self.journal.plain(error.to_string());
                    self.journal
                        .plain("rsa_sig_decode_hash: no public key found");
                    return Err(invalid);
                }
            };
            let signature =
                steps::first(
                    &received.message,
                    PayloadType::SIGNATURE,
                    |payload| match payload {
                        Payload::Signature(signature) => Some(signature.clone()),
                        _ => None,
                    },
                );
            let Some(signature) = signature else {
                self.journal
                    .plain("rsa_sig_decode_hash: missing signature payload");
                return Err(invalid);
            };
            if signature.len() != key.verifier.signature_len() {
                self.journal
                    .plain("rsa_sig_decode_hash: SIG payload length does not match public key");
                return Err(invalid);
            }
            negotiation.principals = key.principals.into();
            let (verifier, theirs) = (key.verifier, expected.as_slice().to_vec());
            let (Some(ours), Some(own)) = (ours, own) else {
                let job = Job::Verify(verifier, theirs, signature);
                return Ok(Proof::Job(Work::Verify, job));
            };
            negotiation.our_id = Some(ours.id);
            negotiation.own_certificate = own.certificate;
            let job = Job::VerifyAndSign {
                verifier,
                theirs,
                signature,
                signer: own.signer,
                ours: ours.hash,
            };
            return Ok(Proof::Job(Work::VerifyAndSign, job));
        }
        let hash = steps::first(
            &received.message,
            PayloadType::HASH,
            |payload| match payload {
                Payload::Hash(hash) => Some(hash),
                _ => None,
            },
        );
        let Some(hash) = hash else {
            self.journal
                .plain("pre_shared_decode_hash: no HASH payload found");
            return Err(invalid);
        };
        if hash.len() != expected.len() {
            return Err(invalid);
        }
        if !expected.ct_eq(hash) {
            self.journal.plain(format!(
                "ike_phase_1_recv_AUTH: HASH_{letter} does not match, wrong pre-shared key or forged message"
            ));
            return Err(Refusal::Silent);
        }
        Ok(Proof::Done)
    }

    /// The answer of a thread about the peer's signature.
    pub(crate) fn signature_checked(&mut self, result: &JobResult) -> Result<(), Refusal> {
        if matches!(result, JobResult::Verified(true)) {
            return Ok(());
        }
        self.journal
            .plain("rsa_sig_decode_hash: RSA_public_decrypt () failed");
        Err(Refusal::Tell(NotifyType::INVALID_ID_INFORMATION))
    }

    /// Our ID, kept for our HASH.
    pub(crate) fn our_id(&mut self, exchange: &mut Exchange) -> Option<Id> {
        let path = exchange.path;
        let negotiation = exchange.negotiation()?;
        let id = negotiation
            .our_id
            .get_or_insert_with(|| identity::own(&negotiation.peer, path))
            .clone();
        self.dump(
            Class::Negotiation,
            40,
            &format!("ike_phase_1_send_ID: {}", id.id_type),
            &id.data,
        );
        Some(id)
    }

    /// Begins our proof: with signatures a thread signs (then `Ok(None)`), else it is our HASH at once.
    ///
    /// # Errors
    /// No private key, or no keys at all: the exchange cannot go on.
    pub(crate) fn begin_proof(
        &mut self,
        exchange: &mut Exchange,
    ) -> Result<Option<Payload>, Outcome> {
        let role = exchange.role;
        let id = self.our_id(exchange).ok_or(Outcome::Abandon)?;
        let hash = hash_of(exchange, role, &id).ok_or(Outcome::Abandon)?;
        let negotiation = exchange.negotiation().ok_or(Outcome::Abandon)?;
        if !negotiation
            .agreement
            .as_ref()
            .is_some_and(|agreement| agreement.signs())
        {
            return Ok(Some(Payload::Hash(hash.as_slice().to_vec())));
        }
        let identity = Identity::try_from(&id).map_err(|_| Outcome::Abandon)?;
        let own = self
            .credentials
            .own_proof(&identity, &requested(negotiation));
        match own {
            Ok(own) => {
                negotiation.own_certificate = own.certificate;
                let job = Job::Sign(own.signer, hash.as_slice().to_vec());
                self.begin_work(exchange, Work::Sign, job, None);
                Ok(None)
            }
            Err(error) => {
                self.journal.plain(error.to_string());
                self.journal
                    .plain("rsa_sig_encode_hash: could not get private key");
                Err(Outcome::Abandon)
            }
        }
    }

    /// Our signature from a thread.
    pub(crate) fn signed(&mut self, result: JobResult) -> Option<Payload> {
        match result {
            JobResult::Signed(Ok(signature)) => Some(Payload::Signature(signature)),
            JobResult::Signed(Err(error)) => {
                self.journal.plain(error.to_string());
                self.journal
                    .plain("rsa_sig_encode_hash: RSA_private_encrypt () failed");
                None
            }
            _ => None,
        }
    }

    /// The certificate for our identity, if there is one and signatures are used.
    pub(crate) fn add_certificate(&mut self, exchange: &mut Exchange, builder: &mut Builder) {
        let Some(negotiation) = exchange.negotiation() else {
            return;
        };
        if !negotiation
            .agreement
            .as_ref()
            .is_some_and(|agreement| agreement.signs())
        {
            return;
        }
        let Some(identity) = negotiation
            .our_id
            .as_ref()
            .and_then(|id| Identity::try_from(id).ok())
        else {
            return;
        };
        match negotiation.own_certificate.take() {
            Some(certificate) => {
                builder.push(Payload::Cert(Cert {
                    encoding: CertEncoding(certificate.encoding),
                    data: certificate.data,
                }));
            }
            None => self.journal.debug(Class::Misc, 10, || {
                format!("rsa_sig_encode_hash: no certificate to send for id {identity}")
            }),
        }
    }

    /// INITIAL_CONTACT, the first time we meet a peer; not if a crossing exchange was faster.
    pub(crate) fn add_initial_contact(&mut self, exchange: &Exchange, builder: &mut Builder) {
        let peer = Address::from(exchange.path.remote);
        let first = self.contacted.insert(peer);
        if first && self.sas.with_peer(1, peer).next().is_none() {
            builder.push(Payload::Notify(Notify {
                doi: Doi::IPSEC,
                protocol: Protocol::ISAKMP,
                spi: exchange.header().cookies().to_vec(),
                notify_type: NotifyType::INITIAL_CONTACT,
                data: Vec::new(),
            }));
        }
    }

    /// Whether an authenticated message of Main Mode says INITIAL_CONTACT about this SA.
    pub(crate) fn take_initial_contact(&mut self, exchange: &mut Exchange, received: &Received) {
        let cookies = exchange.header().cookies();
        let said = received
            .message
            .all(PayloadType::NOTIFY)
            .any(|(_, payload)| match payload {
                Payload::Notify(notify) => {
                    notify.notify_type == NotifyType::INITIAL_CONTACT && notify.spi == cookies
                }
                _ => false,
            });
        if let Some(negotiation) = exchange.negotiation() {
            negotiation.initial_contact |= said;
        }
    }

    /// Encrypts with the keys of phase 1.
    pub(crate) fn seal_phase1(&mut self, exchange: &mut Exchange, built: Built) -> Option<Vec<u8>> {
        let cipher = Rc::clone(&exchange.negotiation()?.keys.as_ref()?.cipher);
        Some(self.seal(exchange, &cipher, built))
    }

    /// The peer is authenticated and everything is said: the SA is there.
    pub(crate) fn finish_phase1(&mut self, now: Instant, exchange: &mut Exchange) -> Outcome {
        let aggressive = matches!(exchange.state, State::Aggressive(_));
        let (role, path, name) = (exchange.role, exchange.path, exchange.name.clone());
        let (initiator_cookie, responder_cookie) = exchange.cookies();
        let (last_block, stay_alive) = (exchange.iv.clone(), exchange.stay_alive);
        self.dump_exchange("exchange_finalize", exchange);
        let counted = exchange.is_unauthenticated_responder();
        let Some(negotiation) = exchange.negotiation() else {
            return Outcome::Abandon;
        };
        let (Some(our_id), Some(their_id)) = (&negotiation.our_id, &negotiation.their_id) else {
            return Outcome::Abandon;
        };
        let (Ok(local_id), Ok(remote_id)) =
            (Identity::try_from(our_id), Identity::try_from(their_id))
        else {
            return Outcome::Abandon;
        };
        let remote_id_service = (their_id.protocol, their_id.port);
        let (Some(mut protection), Some(agreement)) =
            (negotiation.keys.take(), negotiation.agreement.clone())
        else {
            return Outcome::Abandon;
        };
        protection.last_block = last_block;
        let nat = negotiation.nat;
        let mut flags = Flags(Flags::READY);
        for (bit, set) in [
            (Flags::STAY_ALIVE, stay_alive),
            (Flags::IKECFG, negotiation.peer.ikecfg),
            (
                Flags::DPD,
                negotiation.vendors.dpd && self.general.dpd_check_interval.is_some(),
            ),
            (Flags::NAT_T, nat.encapsulates()),
            (
                Flags::NAT_T_KEEPALIVE,
                nat.encapsulates() && nat.we_are_behind,
            ),
        ] {
            if set {
                flags.set(bit);
            }
        }
        let principals = std::mem::take(&mut negotiation.principals);
        let (openbsd, initial_contact) = (negotiation.vendors.openbsd, negotiation.initial_contact);
        let sa_octets = negotiation.sa_body.len();
        negotiation.clear();
        if counted {
            self.half_open_octets = self.half_open_octets.saturating_sub(sa_octets);
        }
        let id = self.new_sa_id();
        let (initiator_id, responder_id) = match role {
            Role::Initiator => (&local_id, &remote_id),
            Role::Responder => (&remote_id, &local_id),
        };
        let said = format!(
            "initiator id {initiator_id}, responder id {responder_id}, src: {} dst: {}",
            path.local.ip(),
            path.remote.ip()
        );
        self.journal.debug(Class::Exchange, 10, || {
            format!("exchange_finalize: phase 1 done: {said}")
        });
        self.journal.verbose(|| {
            let as_responder = if role == Role::Responder {
                " (as responder)"
            } else {
                ""
            };
            format!("isakmpd: phase 1 done{as_responder}: {said}")
        });
        self.sas.insert_phase1(IsakmpSa {
            id,
            name,
            role,
            initiator_cookie,
            responder_cookie,
            path,
            local_id,
            remote_id,
            remote_id_service,
            facts: agreement.facts,
            aggressive,
            protection,
            principals,
            nat,
            openbsd,
            flags,
            lifetime: agreement.lifetime,
            since: now,
            soft: None,
            hard: None,
        });
        exchange.sa = Some(id);
        crate::lifetime::phase1_ready(self, now, id);
        if initial_contact && !aggressive {
            crate::delete::initial_contact(self, now, id, exchange.started);
        }
        Outcome::Done
    }
}
