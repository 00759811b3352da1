//! The handshake of one connection, from its SYN to the moment encryption is on.
//!
//! Two machines: [`Active`] for connections that this host opens, [`Passive`] for those it accepts. What an
//! [endpoint](crate::endpoint) knows of them is the face in this file: a packet or an instant in, a [`Move`] out.
//!
//! Both speak both dialects (tcpcrypt spec 4 and 7), since the segments are the same: options in the SYNs, an option in
//! the third segment, INIT1, INIT2, or none of the two in a resumed session. [`dialect`](crate::dialect) decides which
//! one; `exchange` and `resume` know what it says. Where both ends open the connection, `crossed` has what that takes.

mod active;
pub(crate) mod ask;
mod crossed;
pub(crate) mod exchange;
mod init_timers;
mod outbox;
mod passive;
pub(crate) mod plan;
mod reset;
pub(crate) mod resume;
pub(crate) mod segment;
pub(crate) mod turn_on;

use std::time::Instant;

use tcpcrypt_control::Details;

use crate::cache::{Name, SessionCache};
use crate::config::Config;
use crate::dialect::Memory;
use crate::eno::{EnoOption, Kind, Tep};
use crate::entropy::Entropy;
use crate::event::{Events, Line};
use crate::flow::{Flow, FlowOptions, Numbers};
use crate::legacy::keys::SessionId;
use crate::packet::{FourTuple, Seq};
use crate::verdict::Verdict;

pub(crate) use active::Active;
pub(crate) use outbox::Outbox;
pub(crate) use passive::Passive;
pub(crate) use reset::{answer_with_resets, is_stray_init1};
pub(crate) use segment::{has_data_beside_eno, without_data};
pub(crate) use turn_on::{Keyed, Origin, Unconfirmed, turn_on};

/// What a machine works with beside its own state.
pub(crate) struct Context<'a> {
    pub now: Instant,
    pub config: &'a Config,
    /// The key exchanges that are offered and accepted in the original's dialect, the preferred one first.
    pub teps: &'a [Tep],
    pub memory: &'a mut Memory,
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
    /// The connection is only to be encrypted if the peer's application knows of it ("mandatory application-aware
    /// mode", RFC 8547 section 4.2).
    pub insists: bool,
    pub no_cache: bool,
    /// Who opens the connection is to be host B (RFC 8547 section 4.2).
    pub passive_role: bool,
}

impl Wish {
    /// Whether a peer will do whose application knows of encryption or not.
    fn takes(self, peer_aware: bool) -> bool {
        peer_aware || !self.insists
    }
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
    /// As if the peer had begun.
    Accepting(Box<Passive>),
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
    /// The session was resumed.
    pub resumed: bool,
    /// What is to be remembered once the peer has shown that it has the keys.
    pub unconfirmed: Option<Box<Unconfirmed>>,
    /// The session that it leaves behind for a later connection.
    leaves: Name,
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

impl Established {
    /// Forgets what the connection leaves behind for a later one.
    pub(crate) fn flush(&mut self, cache: &mut SessionCache) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.forget_session();
        }
        cache.forget(&self.leaves);
    }

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
        self.resumed
    }

    /// Remembers for later connections what the peer has shown by a genuine record.
    pub(crate) fn confirm(&mut self, cx: &mut Context<'_>, tuple: &FourTuple) {
        if !self.flow.authenticated_once() {
            return;
        }
        if let Some(unconfirmed) = self.unconfirmed.take() {
            unconfirmed.confirm(cx, tuple.remote.ip());
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
    /// Our SYN was the first.
    opener: bool,
    /// The form of the options.
    kind: Kind,
    /// What our segments carry until the peer has sent one behind its SYN.
    eno: Option<EnoOption>,
}

/// The moment encryption is turned on.
fn establish(
    cx: &mut Context<'_>,
    keyed: Keyed,
    agreed: &Agreed,
) -> Result<Box<Established>, Line> {
    let numbers = agreed.numbers;
    let origin = Origin {
        peer: agreed.options.tuple.remote.ip(),
        opener: agreed.opener,
        kind: agreed.kind,
        no_cache: agreed.no_cache,
    };
    let turned = turn_on(cx, keyed, (numbers.out_wire, numbers.in_wire), origin)?;
    let mut flow = Flow::new(
        numbers,
        turned.sealer,
        turned.opener,
        agreed.options,
        cx.now,
    );
    if let Some(eno) = agreed.eno {
        flow.announce(eno);
    }
    Ok(Box::new(Established {
        flow,
        id: turned.id,
        application: agreed.application,
        details: turned.details,
        peer_isn: agreed.peer_isn,
        resumed: turned.resumed,
        unconfirmed: turned.unconfirmed,
        leaves: turned.leaves,
        seen: cx.now,
    }))
}
