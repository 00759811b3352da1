//! Exchanges: what is being negotiated, with what it needs until it is done.

pub(crate) mod aggressive;
pub(crate) mod informational;
pub(crate) mod main_mode;
pub(crate) mod quick_mode;
pub(crate) mod transaction;

use std::rc::Rc;
use std::time::Instant;

use isakmp_proto::header::{Cookie, Header};
use isakmp_proto::message::Message;
use isakmp_proto::number::{Doi, ExchangeType, NotifyType};

use crate::engine::Engine;
use crate::engine::timers::TimerId;
use crate::event::Path;
use crate::job::JobId;
use crate::kernel::Ticket;
use crate::phase1::Negotiation;
use crate::sa::{Role, SaId};

/// Names an exchange for as long as the engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

impl std::fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// What kind of exchange it is, and how far it has come.
pub(crate) enum State {
    /// Phase 1, six messages.
    Main(Box<Negotiation>),
    /// Phase 1, three messages.
    Aggressive(Box<Negotiation>),
    /// Phase 2.
    Quick(Box<quick_mode::QuickMode>),
    /// A notification or deletion under the protection of an SA.
    Informational,
    /// Mode-config.
    Transaction(Box<transaction::Transaction>),
}

impl State {
    /// The number in the header.
    pub(crate) fn exchange_type(&self) -> ExchangeType {
        match self {
            Self::Main(_) => ExchangeType::ID_PROT,
            Self::Aggressive(_) => ExchangeType::AGGRESSIVE,
            Self::Quick(_) => ExchangeType::QUICK_MODE,
            Self::Informational => ExchangeType::INFORMATIONAL,
            Self::Transaction(_) => ExchangeType::TRANSACTION,
        }
    }

    /// 1 or 2.
    pub(crate) fn phase(&self) -> u8 {
        match self {
            Self::Main(_) | Self::Aggressive(_) => 1,
            _ => 2,
        }
    }
}

/// What an exchange waits for besides a message. While it waits, messages for it are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A worker thread.
    Job(JobId),
    /// The kernel.
    Kernel(Ticket),
}

/// What to do when an exchange is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// Negotiate this connection (phase 2).
    Connection(Rc<str>),
}

/// A running exchange.
pub(crate) struct Exchange {
    pub(crate) id: ExchangeId,
    pub(crate) state: State,
    pub(crate) role: Role,
    pub(crate) initiator_cookie: Cookie,
    /// Zero until the responder answered.
    pub(crate) responder_cookie: Cookie,
    /// Zero in phase 1.
    pub(crate) message_id: u32,
    pub(crate) path: Path,
    /// Section: peer in phase 1, connection in phase 2.
    pub(crate) name: Option<Rc<str>>,
    /// Messages sent and received so far.
    pub(crate) step: u8,
    /// The SA that protects it (phase 2), or that it made (phase 1, once done).
    pub(crate) sa: Option<SaId>,
    pub(crate) started: Instant,
    pub(crate) deadline: TimerId,
    pub(crate) retransmit_timer: Option<TimerId>,
    /// IV of the next message; empty while nothing is encrypted.
    pub(crate) iv: Vec<u8>,
    /// Digest of the last message that was accepted, as it was on the wire.
    pub(crate) last_received: Option<Digest>,
    /// As it went on the wire.
    pub(crate) last_sent: Option<Rc<[u8]>>,
    /// `last_sent` ends the exchange on our side.
    pub(crate) last_is_final: bool,
    /// `last_sent` has no timer any more; it is sent again when the peer's last message is seen again.
    pub(crate) muted: bool,
    /// How often `last_sent` was sent.
    pub(crate) transmissions: u32,
    /// No answer came; the exchange only waits for its deadline.
    pub(crate) given_up: bool,
    pub(crate) waiting: Option<Waiting>,
    /// Datagrams of phase 1 that came while it waited: any of them may be the genuine one.
    pub(crate) deferred: Vec<(Path, Vec<u8>)>,
    pub(crate) then: Vec<Then>,
    /// Its SA is ready; it is only kept to send its last message again.
    pub(crate) done: bool,
    /// The peer set the COMMIT bit: remembered, nothing more (isakmpd-wire 4.8).
    pub(crate) he_committed: bool,
    /// Made by the operator or the watchdog for something that is to stay up.
    pub(crate) stay_alive: bool,
}

impl Exchange {
    /// The header of our next message.
    pub(crate) fn header(&self) -> Header {
        Header::new(
            self.initiator_cookie,
            self.responder_cookie,
            self.state.exchange_type(),
            self.message_id,
        )
    }

    /// A responder's phase 1 whose peer has not even shown that it gets our answers. Spoofed messages make no other.
    pub(crate) fn is_half_open(&self) -> bool {
        self.step < 3 && self.is_unauthenticated_responder()
    }

    /// A responder's phase 1 that is not done.
    pub(crate) fn is_unauthenticated_responder(&self) -> bool {
        self.role == Role::Responder && self.state.phase() == 1 && !self.done
    }

    /// What phase 1 negotiates.
    pub(crate) fn negotiation(&mut self) -> Option<&mut Negotiation> {
        match &mut self.state {
            State::Main(negotiation) | State::Aggressive(negotiation) => Some(negotiation),
            _ => None,
        }
    }

    /// Both, the initiator's first.
    pub(crate) fn cookies(&self) -> (Cookie, Cookie) {
        (self.initiator_cookie, self.responder_cookie)
    }

    /// For logs.
    pub(crate) fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or("<unnamed>")
    }
}

/// SHA-1 of a datagram, to know it again.
pub(crate) type Digest = [u8; kx_crypto::digest::SHA1_LEN];

/// A message that passed all checks that need no exchange.
pub(crate) struct Received {
    /// As received.
    pub(crate) path: Path,
    /// Parsed clear text; its header is as received.
    pub(crate) message: Message,
    /// It was encrypted.
    pub(crate) encrypted: bool,
    /// Of the datagram.
    pub(crate) digest: Digest,
    /// Last block of the ciphertext: IV of the next message, once this one is accepted.
    pub(crate) next_iv: Vec<u8>,
}

/// What became of a message, an answer of a thread or of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken, and the exchange goes on.
    Continue,
    /// It was taken, and the exchange is done. It stays only while its last message may be asked for again.
    Done,
    /// It was not taken (a notification may have been sent); the exchange is as it was.
    Refused,
    /// The exchange cannot go on and is forgotten.
    Abandon,
}

/// A line of the report, as values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeSummary {
    /// Its name in the engine.
    pub id: ExchangeId,
    /// Section, if any.
    pub name: Option<Rc<str>>,
    /// 1 or 2.
    pub phase: u8,
    /// Type of the exchange.
    pub exchange: ExchangeType,
    /// Messages so far.
    pub step: u8,
    /// Who began.
    pub role: Role,
}

/// Logs and answers a message of phase 2 that is not taken.
pub(crate) fn refuse(
    engine: &mut Engine,
    now: Instant,
    exchange: &Exchange,
    received: &Received,
    notify: NotifyType,
) -> Outcome {
    engine.refuse(
        now,
        received.path,
        notify,
        Doi::IPSEC,
        exchange.sa,
        Vec::new(),
    );
    Outcome::Refused
}
