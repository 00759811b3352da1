//! Received datagrams: the checks of isakmpd-wire 5 in their order, then the exchange they belong to.

use std::time::Instant;

use isakmp_proto::header::{HEADER_LENGTH, Header};
use isakmp_proto::malformed::{Malformed, Reaction};
use isakmp_proto::message::Message;
use isakmp_proto::number::{Doi, ExchangeType, Flags as HeaderFlags, NotifyType};

use super::Engine;
use crate::cipher::Cipher;
use crate::event::Path;
use crate::exchange::{Digest, Exchange, ExchangeId, Outcome, Received, State};
use crate::exchange::{aggressive, informational, main_mode, quick_mode, transaction};
use crate::journal::Class;
use crate::sa::{Role, SaId};

/// Messages kept for an exchange while a thread works for it.
const MOST_DEFERRED: usize = 4;

/// Octets of the longest one that is kept.
const LONGEST_DEFERRED: usize = 8192;

/// What the cookies of a message led to.
#[derive(Clone, Copy)]
enum Owner {
    /// A ready ISAKMP SA.
    Sa(SaId),
    /// A phase 1 exchange.
    Phase1(ExchangeId),
    /// A phase 1 exchange of ours whose responder answers for the first time, or with another cookie than before.
    Answered(ExchangeId),
}

impl Engine {
    /// A datagram from one of our sockets, without the zero marker of port 4500. `path.local` is the socket.
    pub fn handle_datagram(&mut self, now: Instant, path: Path, octets: &[u8]) {
        self.refresh();
        let header = match Header::parse(octets) {
            Ok(header) => header,
            Err(malformed) => return self.malformed(now, path, &malformed, Doi::ISAKMP, None),
        };
        self.dump_raw("message_recv", octets);
        if header.responder_cookie.is_zero() {
            self.first_message(now, path, header, octets);
        } else {
            self.later_message(now, path, header, octets);
        }
    }

    fn first_message(&mut self, now: Instant, path: Path, header: Header, octets: &[u8]) {
        if self
            .sas
            .find_by_initiator_cookie(header.initiator_cookie)
            .is_some()
        {
            return self.known_initiator_cookie();
        }
        let digest = digest_of(octets);
        if let Some(id) = self
            .exchanges
            .find_by_initiator_cookie(header.initiator_cookie)
        {
            // Our own exchange answered with an error that names no responder: told like any other.
            let ours = self
                .exchanges
                .get(id)
                .is_some_and(|e| e.role == Role::Initiator);
            if !(ours && header.exchange == ExchangeType::INFORMATIONAL) {
                let same = self
                    .exchanges
                    .get(id)
                    .is_some_and(|e| e.last_received == Some(digest));
                let unanswered = self.exchanges.get(id).is_some_and(|e| e.is_half_open());
                if same || !unanswered {
                    self.known_initiator_cookie();
                    if same {
                        // Our answer may have been lost; it is not longer than the question, and it has no timer.
                        if let Some(exchange) = self.exchanges.take(id) {
                            if exchange.step == 2 {
                                self.send_again(&exchange);
                            }
                            self.exchanges.put_back(exchange);
                        }
                    }
                    return;
                }
                // Another first message under the same cookie: one of the two is forged, both get their chance.
            }
        }
        if let Err(malformed) = header.check() {
            return self.malformed(now, path, &malformed, Doi::ISAKMP, None);
        }
        if header.is_encrypted() {
            self.journal.debug(Class::Misc, 10, || {
                "message_recv: no isakmp_sa for encrypted message".to_owned()
            });
            return;
        }
        let Some(received) = self.in_clear(now, path, header, octets, digest, Doi::ISAKMP) else {
            return;
        };
        if header.exchange == ExchangeType::INFORMATIONAL {
            return informational::receive_clear(self, now, &received);
        }
        self.respond(now, received);
    }

    /// A message in clear that no SA protects, with everything that can be checked without its exchange.
    fn in_clear(
        &mut self,
        now: Instant,
        path: Path,
        header: Header,
        octets: &[u8],
        digest: Digest,
        doi: Doi,
    ) -> Option<Received> {
        let message = self.parse(now, path, header, octets, doi, None)?;
        self.capture_received(path, octets);
        if let Err(malformed) = message.check() {
            self.malformed(now, path, &malformed, doi, None);
            return None;
        }
        Some(Received {
            path,
            message,
            encrypted: false,
            next_iv: Vec::new(),
            digest,
        })
    }

    fn known_initiator_cookie(&mut self) {
        self.journal.debug(Class::Message, 90, || {
            "message_recv: dropping setup for existing SA".to_owned()
        });
    }

    fn later_message(&mut self, now: Instant, path: Path, header: Header, octets: &[u8]) {
        let Some(owner) = self.owner(&header) else {
            let text = |octets: [u8; 8]| {
                octets
                    .iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect::<String>()
            };
            self.journal.plain(format!(
                "message_recv: invalid cookie(s) {} {}",
                text(header.initiator_cookie.0),
                text(header.responder_cookie.0)
            ));
            let spi = header.cookies().to_vec();
            return self.refuse(
                now,
                path,
                NotifyType::INVALID_COOKIE,
                Doi::ISAKMP,
                None,
                spi,
            );
        };
        let (sa, exchange) = match owner {
            Owner::Sa(sa) => (
                Some(sa),
                self.exchanges.find(
                    header.initiator_cookie,
                    header.responder_cookie,
                    header.message_id,
                ),
            ),
            Owner::Phase1(id) | Owner::Answered(id) => (None, Some(id)),
        };
        if sa.is_some_and(|sa| self.is_of_before_nat_traversal(sa, path, &header)) {
            return self.journal.debug(Class::Message, 10, || {
                "virtual_handle_message: message on old port discarded".to_owned()
            });
        }
        let digest = digest_of(octets);
        if let Some(id) = exchange {
            if self.defer(id, path, octets) || self.is_duplicate(id, digest) {
                return;
            }
        }
        if let Err(malformed) = header.check() {
            return self.malformed(now, path, &malformed, Doi::IPSEC, sa);
        }
        if header.exchange == ExchangeType::INFORMATIONAL && !header.is_encrypted() && sa.is_none()
        {
            let Some(received) = self.in_clear(now, path, header, octets, digest, Doi::IPSEC)
            else {
                return;
            };
            return informational::receive_clear(self, now, &received);
        }
        if header.message_id == 0 && self.phase1_is_over(exchange) {
            return;
        }
        if header.message_id != 0 && sa.is_none() {
            // Phase 2 before phase 1 is done: the peer sends it again.
            self.journal.debug(Class::Message, 40, || {
                "message_recv: phase 2 message before ISAKMP SA is ready".to_owned()
            });
            self.ask_for_third(exchange);
            return;
        }
        let Some((clear, next_iv)) = self.open(now, path, &header, octets, sa, exchange) else {
            return;
        };
        self.capture_received(path, &clear);
        let Some(message) = self.parse(now, path, header, &clear, Doi::IPSEC, sa) else {
            return self.mute(exchange);
        };
        if let Some(sa) = sa {
            if header.exchange == ExchangeType::INFORMATIONAL
                && !informational::is_authentic(self, sa, &message)
            {
                self.journal
                    .plain("message_validate_hash: invalid hash information");
                let notify = NotifyType::INVALID_HASH_INFORMATION;
                return self.refuse(now, path, notify, Doi::IPSEC, Some(sa), Vec::new());
            }
        }
        if let Err(malformed) = message.check() {
            return self.malformed(now, path, &malformed, Doi::IPSEC, sa);
        }
        let received = Received {
            path,
            message,
            encrypted: header.is_encrypted(),
            next_iv,
            digest,
        };
        if self.must_be_encrypted(&received, sa, exchange) {
            let phase = if sa.is_some() { 2 } else { 1 };
            self.journal
                .plain(format!("message_recv: cleartext phase {phase} message"));
            let notify = NotifyType::INVALID_FLAGS;
            return self.refuse(now, path, notify, Doi::IPSEC, sa, Vec::new());
        }
        match (exchange, sa) {
            (Some(id), _) => self.deliver(now, id, received),
            (None, Some(sa)) => self.respond_phase2(now, sa, received),
            (None, None) => {}
        }
    }

    /// Whether the SA has gone to the other port, and the message has not: it is old then (RFC 3947 section 4).
    /// Informational messages are taken all the same, a DELETE above all.
    fn is_of_before_nat_traversal(&self, sa: SaId, path: Path, header: &Header) -> bool {
        let floated = self.sas.phase1(sa).is_some_and(|sa| sa.path.encapsulated);
        floated && !path.encapsulated && header.exchange != ExchangeType::INFORMATIONAL
    }

    /// Whose cookies these are.
    fn owner(&self, header: &Header) -> Option<Owner> {
        let (initiator, responder) = (header.initiator_cookie, header.responder_cookie);
        if let Some(sa) = self.sas.find_phase1(initiator, responder) {
            return Some(Owner::Sa(sa));
        }
        if let Some(id) = self.exchanges.find(initiator, responder, 0) {
            return Some(Owner::Phase1(id));
        }
        let id = self.exchanges.find_by_initiator_cookie(initiator)?;
        let exchange = self.exchanges.get(id)?;
        let answer = exchange.role == Role::Initiator
            && !exchange.done
            && (exchange.responder_cookie.is_zero() || exchange.step <= 3);
        answer.then_some(Owner::Answered(id))
    }

    /// Keeps a message for a phase 1 exchange that waits for a thread.
    fn defer(&mut self, id: ExchangeId, path: Path, octets: &[u8]) -> bool {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return false;
        };
        if exchange.waiting.is_none() || exchange.state.phase() != 1 {
            return false;
        }
        let room = exchange.deferred.len() < MOST_DEFERRED && octets.len() <= LONGEST_DEFERRED;
        let known = exchange.deferred.iter().any(|(_, known)| known == octets);
        if room && !known {
            exchange.deferred.push((path, octets.to_vec()));
        }
        true
    }

    /// Whether this is the last message again; then the exchange's final message goes out again.
    fn is_duplicate(&mut self, id: ExchangeId, digest: Digest) -> bool {
        let Some(exchange) = self.exchanges.take(id) else {
            return true;
        };
        let duplicate = exchange.last_received == Some(digest);
        if duplicate {
            self.journal.debug(Class::Message, 80, || {
                "message_check_duplicate: dropping dup".to_owned()
            });
            if exchange.last_is_final || exchange.muted {
                self.send_again(&exchange);
            }
        }
        self.exchanges.put_back(exchange);
        duplicate
    }

    /// A phase 1 message that nobody waits for.
    fn phase1_is_over(&mut self, exchange: Option<ExchangeId>) -> bool {
        let Some(exchange) = exchange.and_then(|id| self.exchanges.take(id)) else {
            self.journal
                .plain("message_recv: phase 1 message after ISAKMP SA is ready");
            return true;
        };
        let over = exchange.done;
        if over && exchange.last_is_final {
            self.journal.debug(Class::Message, 80, || {
                "message_recv: resending last message from phase 1".to_owned()
            });
            self.send_again(&exchange);
        }
        self.exchanges.put_back(exchange);
        over
    }

    /// The message in clear, and the IV that follows it.
    fn open(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        octets: &[u8],
        sa: Option<SaId>,
        exchange: Option<ExchangeId>,
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        if header.flags & HeaderFlags::ENCRYPTED == 0 {
            return Some((octets.to_vec(), Vec::new()));
        }
        let exchange = exchange.and_then(|id| self.exchanges.get(id));
        let opened = match (sa.and_then(|sa| self.sas.phase1(sa)), exchange) {
            (Some(sa), Some(exchange)) => decrypt(&sa.protection.cipher, &exchange.iv, octets),
            (Some(sa), None) => {
                let iv = sa.protection.phase2_iv(header.message_id);
                decrypt(&sa.protection.cipher, &iv, octets)
            }
            (None, Some(exchange)) => match &exchange.state {
                State::Main(negotiation) | State::Aggressive(negotiation) => {
                    let Some(keys) = &negotiation.keys else {
                        self.journal.debug(Class::Misc, 10, || {
                            "message_recv: no isakmp_sa for encrypted message".to_owned()
                        });
                        return None;
                    };
                    decrypt(&keys.cipher, &exchange.iv, octets)
                }
                _ => None,
            },
            (None, None) => None,
        };
        if opened.is_none() {
            // Not of whole blocks.
            self.refuse(
                now,
                path,
                NotifyType::PAYLOAD_MALFORMED,
                Doi::IPSEC,
                sa,
                Vec::new(),
            );
        }
        opened
    }

    fn must_be_encrypted(
        &self,
        received: &Received,
        sa: Option<SaId>,
        exchange: Option<ExchangeId>,
    ) -> bool {
        if received.encrypted {
            return false;
        }
        if sa.is_some() {
            return true;
        }
        let Some(exchange) = exchange.and_then(|id| self.exchanges.get(id)) else {
            return false;
        };
        match &exchange.state {
            // A message of an earlier step may still take the place of a forged one.
            State::Main(negotiation) => {
                negotiation.keys.is_some()
                    && !main_mode::may_replace(
                        negotiation,
                        received,
                        self.options.limits.replacements,
                    )
            }
            _ => false,
        }
    }

    fn parse(
        &mut self,
        now: Instant,
        path: Path,
        header: Header,
        clear: &[u8],
        doi: Doi,
        sa: Option<SaId>,
    ) -> Option<Message> {
        self.dump_payloads(&header, clear);
        match Message::parse_payloads(header, clear) {
            Ok(message) => Some(message),
            Err(malformed) => {
                self.malformed(now, path, &malformed, doi, sa);
                None
            }
        }
    }

    /// Logs and answers as the original does.
    pub(crate) fn malformed(
        &mut self,
        now: Instant,
        path: Path,
        malformed: &Malformed,
        doi: Doi,
        sa: Option<SaId>,
    ) {
        for line in malformed.log_lines() {
            self.journal.plain(line);
        }
        match malformed.reaction() {
            Reaction::Notify(notify) => self.refuse(now, path, notify, doi, sa, Vec::new()),
            Reaction::Drop => self.refuse(now, path, NotifyType(0), doi, sa, Vec::new()),
            Reaction::Ignore => {}
        }
    }

    /// An initiator of Aggressive Mode that goes on to phase 2 has sent a third message that was lost. It sends it
    /// again when it sees our second one again.
    fn ask_for_third(&mut self, exchange: Option<ExchangeId>) {
        let Some(exchange) = exchange.and_then(|id| self.exchanges.take(id)) else {
            return;
        };
        if matches!(exchange.state, State::Aggressive(_)) && exchange.is_half_open() {
            self.send_again(&exchange);
        }
        self.exchanges.put_back(exchange);
    }

    /// The peer has our fourth message and answers with what cannot be read: another key. Sending it again would not
    /// help, unless the peer asks for it by sending its own again.
    fn mute(&mut self, exchange: Option<ExchangeId>) {
        let Some(mut exchange) = exchange.and_then(|id| self.exchanges.take(id)) else {
            return;
        };
        if exchange.is_unauthenticated_responder() {
            self.stop_retransmission(&mut exchange);
            exchange.muted = true;
        }
        self.exchanges.put_back(exchange);
    }

    /// Hands a message to its exchange.
    fn deliver(&mut self, now: Instant, id: ExchangeId, received: Received) {
        let Some(mut exchange) = self.exchanges.take(id) else {
            return;
        };
        if exchange.waiting.is_some() {
            self.journal.debug(Class::Exchange, 60, || {
                format!("exchange {} is busy, message dropped", exchange.id)
            });
            self.exchanges.put_back(exchange);
            return;
        }
        if exchange.state.exchange_type() != received.message.header.exchange {
            let (path, notify) = (received.path, NotifyType::INVALID_EXCHANGE_TYPE);
            let sa = exchange.sa;
            self.exchanges.put_back(exchange);
            return self.refuse(now, path, notify, Doi::IPSEC, sa, Vec::new());
        }
        let outcome = self.run(now, &mut exchange, received);
        self.conclude(now, exchange, outcome);
    }

    fn run(&mut self, now: Instant, exchange: &mut Exchange, received: Received) -> Outcome {
        match exchange.state {
            State::Main(_) => main_mode::receive(self, now, exchange, received),
            State::Aggressive(_) => aggressive::receive(self, now, exchange, received),
            State::Quick(_) => quick_mode::receive(self, now, exchange, &received),
            State::Informational => informational::receive(self, now, exchange, &received),
            State::Transaction(_) => transaction::receive(self, now, exchange, &received),
        }
    }

    /// The first message of a phase 2 exchange of the peer's.
    fn respond_phase2(&mut self, now: Instant, sa: SaId, received: Received) {
        if self.exchanges.len() >= self.options.limits.exchanges {
            return;
        }
        let header = received.message.header;
        let state = match header.exchange {
            ExchangeType::QUICK_MODE => State::Quick(Box::default()),
            ExchangeType::INFORMATIONAL => State::Informational,
            ExchangeType::TRANSACTION => State::Transaction(Box::default()),
            _ => {
                self.journal.plain("message_recv: no exchange");
                let notify = NotifyType::PAYLOAD_MALFORMED;
                return self.refuse(now, received.path, notify, Doi::IPSEC, Some(sa), Vec::new());
            }
        };
        let message_id = header.message_id;
        let Some(mut exchange) =
            self.new_phase2_exchange(now, sa, state, Role::Responder, message_id, None)
        else {
            return;
        };
        self.exchanges.insert_taken(&exchange);
        let outcome = match self.run(now, &mut exchange, received) {
            // Nothing was begun: a forgery leaves nothing behind.
            Outcome::Refused => Outcome::Abandon,
            outcome => outcome,
        };
        self.conclude(now, exchange, outcome);
    }

    /// A message is accepted: authentic, or the best there is before authentication. The exchange's next answer
    /// goes to where it came from, and its own last message is not sent again.
    pub(crate) fn accept(&mut self, exchange: &mut Exchange, received: &Received) {
        self.stop_retransmission(exchange);
        exchange.last_sent = None;
        exchange.last_is_final = false;
        exchange.last_received = Some(received.digest);
        let was_half_open = exchange.is_half_open();
        self.advance(exchange);
        if was_half_open && !exchange.is_half_open() {
            self.exchanges.no_longer_half_open(exchange);
        }
        if received.encrypted {
            exchange.iv.clone_from(&received.next_iv);
        }
        if received.message.header.flags & HeaderFlags::COMMIT != 0 {
            exchange.he_committed = true;
        }
        if exchange.path != received.path {
            if exchange.is_half_open() {
                let path = received.path;
                self.exchanges
                    .change(exchange, |exchange| exchange.path = path);
            } else {
                exchange.path = received.path;
            }
        }
    }
}

impl Engine {
    /// One message further.
    pub(crate) fn advance(&mut self, exchange: &mut Exchange) {
        self.journal.debug(Class::Exchange, 40, || {
            format!(
                "exchange_run: exchange {} finished step {}, advancing...",
                exchange.id, exchange.step
            )
        });
        exchange.step = exchange.step.saturating_add(1);
    }
}

/// Decrypts what follows the header; `None` if it is not of whole blocks.
fn decrypt(cipher: &Cipher, iv: &[u8], octets: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let block = cipher.block_len();
    let body = octets.get(HEADER_LENGTH..)?;
    if body.is_empty() || body.len() % block != 0 {
        return None;
    }
    let next_iv = body.get(body.len().saturating_sub(block)..)?.to_vec();
    let mut clear = octets.to_vec();
    cipher.decrypt(iv, clear.get_mut(HEADER_LENGTH..)?).ok()?;
    Some((clear, next_iv))
}

fn digest_of(octets: &[u8]) -> Digest {
    kx_crypto::digest::sha1(&[octets])
}
