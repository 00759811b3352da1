//! The moment encryption is turned on, in whichever dialect, and what the connection leaves behind for later ones.

use std::net::IpAddr;

use kx_crypto::aead::Algorithm;
use tcpcrypt_control::{Details, Dialect};

use crate::cache::Name;
use crate::config::Config;
use crate::dialect::{Known, Policy};
use crate::eno::{Kind, Tep};
use crate::event::Line;
use crate::legacy::keys::{Enabled, Role, Session, SessionId};
use crate::packet::Seq;
use crate::records::{Opener, Sealer};
use crate::rfc8547::Host;
use crate::rfc8548::init::aead_id;
use crate::rfc8548::keys as standard;

use super::Context;

/// A session at the moment before encryption is turned on.
pub(crate) enum Keyed {
    Legacy(Box<Session>),
    /// And which host we are in this connection.
    Standard(Box<standard::Pending>, Host),
}

impl Keyed {
    pub(super) fn legacy(session: Session) -> Self {
        Keyed::Legacy(Box::new(session))
    }
}

/// Whose connection it is, and how it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) peer: IpAddr,
    /// Our SYN was the first.
    pub(crate) opener: bool,
    /// The form of the options.
    pub(crate) kind: Kind,
    pub(crate) no_cache: bool,
}

/// What a connection is encrypted with, whichever dialect it came of.
pub(crate) struct Turned {
    pub(crate) id: SessionId,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) resumed: bool,
    pub(crate) details: Details,
    /// What is to be remembered once the peer has shown that it has the keys.
    pub(crate) unconfirmed: Option<Box<Unconfirmed>>,
    /// The session that it leaves behind for a later connection.
    pub(crate) leaves: Name,
}

/// What a connection leaves behind for later ones once a record of the peer was genuine.
pub(crate) struct Unconfirmed {
    /// The next of the chain (tcpcrypt spec 4.4).
    successor: Option<Later>,
    /// What the peer speaks. Anybody can send a SYN in another's name, so the SYNs alone teach nothing.
    speaks: Option<Kind>,
}

impl Unconfirmed {
    /// Leaves no session behind.
    pub(crate) fn forget_session(&mut self) {
        self.successor = None;
    }

    /// A record of the peer was genuine.
    pub(crate) fn confirm(self, cx: &mut Context<'_>, peer: IpAddr) {
        if let Some(later) = self.successor {
            later.store(cx, peer);
        }
        if let Some(kind) = self.speaks {
            cx.memory.learn(peer, Known::Speaks(kind), cx.now);
        }
    }
}

/// A session for a later connection.
enum Later {
    Legacy(Session),
    Standard(standard::Session),
}

impl Later {
    fn store(self, cx: &mut Context<'_>, peer: IpAddr) {
        match self {
            Later::Legacy(session) => cx.cache.put(peer, session, cx.now),
            Later::Standard(session) => cx.cache.put_standard(peer, session, cx.now),
        }
    }
}

const LIBRARY: Line = Line::HandshakeFailed("cryptographic library failed");

/// Turns encryption on. `ours` and `theirs` are the numbers of the first records on the wire.
pub(crate) fn turn_on(
    cx: &mut Context<'_>,
    keyed: Keyed,
    (ours, theirs): (Seq, Seq),
    origin: Origin,
) -> Result<Turned, Line> {
    let (mut turned, later) = match keyed {
        Keyed::Legacy(session) => legacy(*session, ours, theirs)?,
        Keyed::Standard(pending, host) => in_standard(*pending, host, cx.config)?,
    };
    let mut later = Some(later).filter(|_| cx.config.session_cache && !origin.no_cache);
    // An opener that resumed cannot know yet whether the peer has turned this session on. Until it does, naming
    // the next one would only cost a full exchange.
    if !(origin.opener && turned.resumed) {
        if let Some(later) = later.take() {
            later.store(cx, origin.peer);
        }
    }
    let unconfirmed = Unconfirmed {
        successor: later,
        speaks: (cx.config.eno == Policy::Auto).then_some(origin.kind),
    };
    let wanted = unconfirmed.successor.is_some() || unconfirmed.speaks.is_some();
    turned.unconfirmed = wanted.then(|| Box::new(unconfirmed));
    Ok(turned)
}

fn legacy(session: Session, ours: Seq, theirs: Seq) -> Result<(Turned, Later), Line> {
    let Enabled { id, keys, next } = session.enable();
    let suite = next.suite();
    // It has no roles of its own; who opened the connection has the one that RFC 8547 gives him.
    let host = match suite.role {
        Role::Client => Host::A,
        Role::Server => Host::B,
    };
    let (sealer, opener) = keys.split(ours.0, theirs.0).map_err(|_| LIBRARY)?;
    let turned = Turned {
        id,
        sealer: sealer.into(),
        opener: opener.into(),
        resumed: id.as_bytes().first().is_some_and(|tep| tep & 0x80 != 0),
        details: details(Dialect::Legacy, host, suite.tep, suite.algorithm),
        unconfirmed: None,
        leaves: (&next).into(),
    };
    Ok((turned, Later::Legacy(next)))
}

fn in_standard(
    pending: standard::Pending,
    host: Host,
    config: &Config,
) -> Result<(Turned, Later), Line> {
    let resumed = pending.is_resumed();
    let suite = pending.suite();
    let standard::Enabled { id, keys, next } = pending.enable();
    let (mut sealer, opener) = keys.split().map_err(|_| LIBRARY)?;
    sealer.set_limits(config.key_limits);
    let turned = Turned {
        id,
        sealer: sealer.into(),
        opener: opener.into(),
        resumed,
        details: details(Dialect::Rfc8548, host, suite.tep, suite.algorithm),
        unconfirmed: None,
        leaves: (&next).into(),
    };
    Ok((turned, Later::Standard(next)))
}

fn details(dialect: Dialect, host: Host, tep: Tep, algorithm: Algorithm) -> Details {
    Details {
        dialect,
        role: match host {
            Host::A => tcpcrypt_control::Role::A,
            Host::B => tcpcrypt_control::Role::B,
        },
        tep: tep.octet(),
        cipher: aead_id(algorithm),
    }
}
