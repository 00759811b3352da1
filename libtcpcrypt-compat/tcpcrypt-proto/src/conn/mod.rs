//! The handshake of one connection, from its SYN to the moment encryption is on.
//!
//! Here are the machines of the legacy dialect (tcpcrypt spec 4 and 5): [`Active`] for connections that this
//! host opens, [`Passive`] for those it accepts. What an [endpoint](crate::endpoint) knows of them is the face
//! in this file: a packet or an instant in, a [`Move`] out. The RFC dialect will be another machine behind it,
//! chosen by the kind of the ENO option (spec 7.7).

mod active;
pub(crate) mod exchange;
mod init_timers;
mod outbox;
mod passive;
mod reset;
pub(crate) mod resume;
pub(crate) mod segment;

use std::time::Instant;

use kx_crypto::aead::Algorithm;
use tcpcrypt_control::{Details, Dialect};

use crate::cache::SessionCache;
use crate::config::Config;
use crate::eno::Tep;
use crate::entropy::Entropy;
use crate::event::{Events, Line};
use crate::flow::{Flow, FlowOptions, Numbers};
use crate::legacy::keys::{Enabled, Role, Session, SessionId, Suite};
use crate::packet::{FourTuple, Seq};
use crate::verdict::Verdict;

pub(crate) use active::Active;
pub(crate) use outbox::Outbox;
pub(crate) use passive::Passive;
pub(crate) use reset::{answer_with_resets, is_stray_init1};

/// What a machine works with beside its own state.
pub(crate) struct Context<'a> {
    pub now: Instant,
    pub config: &'a Config,
    /// The key exchanges that are offered and accepted, the preferred one first.
    pub teps: &'a [Tep],
    pub entropy: &'a mut (dyn Entropy + Send),
    pub cache: &'a mut SessionCache,
    pub events: &'a mut Events,
    pub outbox: &'a mut Outbox,
}

/// What an application asked for before there was a connection (spec 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub enabled: bool,
    pub app_aware: bool,
    pub no_cache: bool,
}

/// What a machine makes of a packet.
pub(crate) struct Move {
    pub verdict: Verdict,
    pub next: Next,
}

/// How a connection goes on.
pub(crate) enum Next {
    /// As it is.
    Stay,
    /// As it is, and keys are to be agreed on while nothing else is to be done.
    Agreeing,
    /// Unencrypted from here on: nothing was agreed. The machine is to give up.
    Plain,
    /// It is over before anything was agreed or by a reset. The machine is to give up.
    Over,
    /// Encryption is on, behind this packet.
    Encrypted(Box<Established>),
    /// Encryption is on, and this packet is the first for the flow.
    EncryptedFromHere(Box<Established>),
    /// It cannot go on and must not go on in the clear: both ends are to be reset.
    Failed(Line),
}

impl Move {
    fn new(verdict: Verdict, next: Next) -> Self {
        Self { verdict, next }
    }

    fn stay(verdict: Verdict) -> Self {
        Self::new(verdict, Next::Stay)
    }

    fn plain() -> Self {
        Self::new(Verdict::Accept, Next::Plain)
    }

    fn failed(line: Line) -> Self {
        Self::new(Verdict::Drop, Next::Failed(line))
    }
}

/// An encrypted connection.
pub(crate) struct Established {
    pub flow: Flow,
    pub id: SessionId,
    /// Bit 0: our application knows of encryption, bit 1: the peer's does.
    pub application: u8,
    /// What programs may know of how it is encrypted.
    pub details: Details,
    /// Of the peer's SYN.
    pub peer_isn: Seq,
    /// The next generation, to be stored once the peer has shown that it has this one (spec 4.4).
    pub successor: Option<Box<Session>>,
    /// When a packet was last seen.
    pub seen: Instant,
}

/// What programs are told of a connection that is encrypted, or was until just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The session id.
    pub id: SessionId,
    /// Bit 0: our application knows of encryption, bit 1: the peer's does.
    pub application: u8,
    /// How it is encrypted.
    pub details: Details,
}

/// The legacy dialect has no roles of its own; who opened the connection has the one that RFC 8547 gives him.
pub(crate) fn details(suite: Suite) -> Details {
    Details {
        dialect: Dialect::Legacy,
        role: match suite.role {
            Role::Client => tcpcrypt_control::Role::A,
            Role::Server => tcpcrypt_control::Role::B,
        },
        tep: suite.tep.octet(),
        cipher: match suite.algorithm {
            Algorithm::Aes128Gcm => 0x0001,
            Algorithm::Aes256Gcm => 0x0002,
            Algorithm::ChaCha20Poly1305 => 0x0010,
        },
    }
}

impl Established {
    /// What programs are told of it.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            application: self.application,
            details: self.details,
        }
    }

    /// Whether the session was resumed.
    pub(crate) fn is_resumed(&self) -> bool {
        self.id
            .as_bytes()
            .first()
            .is_some_and(|tep| tep & 0x80 != 0)
    }

    /// Stores the next generation once the peer has shown that it has this one.
    pub(crate) fn confirm(&mut self, cx: &mut Context<'_>, tuple: &FourTuple) {
        if self.flow.authenticated_once() {
            if let Some(next) = self.successor.take() {
                cx.cache.put(tuple.remote.ip(), *next, cx.now);
            }
        }
    }
}

/// What the two SYNs settled about a connection.
struct Agreed {
    options: FlowOptions,
    numbers: Numbers,
    peer_isn: Seq,
    application: u8,
    no_cache: bool,
}

/// The moment encryption is turned on.
fn establish(
    cx: &mut Context<'_>,
    session: Session,
    agreed: &Agreed,
) -> Result<Box<Established>, Line> {
    let Enabled { id, keys, next } = session.enable();
    let suite = next.suite();
    let numbers = agreed.numbers;
    let (sealer, opener) = keys
        .split(numbers.out_wire.0, numbers.in_wire.0)
        .map_err(|_| Line::HandshakeFailed("cryptographic library failed"))?;
    let mut established = Box::new(Established {
        flow: Flow::new(numbers, sealer, opener, agreed.options, cx.now),
        id,
        application: agreed.application,
        details: details(suite),
        peer_isn: agreed.peer_isn,
        successor: None,
        seen: cx.now,
    });
    if cx.config.session_cache && !agreed.no_cache {
        // A client that resumed cannot know yet whether the server has turned this generation on. Until it
        // does, naming the next one would only cost a full exchange.
        if suite.role == Role::Client && established.is_resumed() {
            established.successor = Some(Box::new(next));
        } else {
            cx.cache.put(agreed.options.tuple.remote.ip(), next, cx.now);
        }
    }
    Ok(established)
}
