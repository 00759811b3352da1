//! The messages at the beginning of a stream (tcpcrypt spec 4.2 and 7.2).

use std::net::SocketAddr;
use std::time::Instant;

use crate::conn::exchange::{self, Question};
use crate::conn::plan::{Plan, Said};
use crate::conn::{Identity, Keyed, Origin, Wish, turn_on};
use crate::endpoint::Endpoint;
use crate::eno::{EnoOption, Kind};
use crate::event::Line;
use crate::legacy::init::Message;
use crate::packet::Seq;
use crate::records::Dialect;

use super::bequest::Bequest;
use super::records::Records;
use super::{Broken, State};

/// Whose connection it is, and where the streams begin on the wire.
pub(super) struct Opening {
    pub peer: SocketAddr,
    pub wish: Wish,
    /// Our SYN was the first.
    pub opener: bool,
    /// The form of the options.
    pub kind: Kind,
    /// The peer's application knows of encryption.
    pub peer_aware: bool,
    /// The number behind our SYN, and behind the peer's.
    pub ours: Seq,
    pub theirs: Seq,
}

/// Waits for the peer's message.
pub(super) struct Handshake {
    pub opening: Opening,
    pub part: Part,
}

/// Which message that is.
pub(super) enum Part {
    /// INIT2; INIT1 was sent.
    Client(Question),
    /// INIT1.
    Server(Box<Reply>),
}

/// What INIT1 will be answered by.
pub(super) struct Reply {
    pub dialect: Dialect,
    pub plan: Plan,
    pub offer: EnoOption,
    pub said: Said,
    pub shown: Shown,
}

/// Whether the opener has shown by the option of its first segment that it has our answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Unknown,
    Yes,
    No,
}

impl Handshake {
    /// Looks whether the message is whole. If so: what the stream is now, and how long the message was.
    pub(super) fn receive(
        &mut self,
        host: &mut Endpoint,
        now: Instant,
        input: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<(State, usize)>, Broken> {
        let (dialect, message) = match &self.part {
            Part::Client(question) => (question.dialect(), Message::Init2),
            Part::Server(reply) => (reply.dialect, Message::Init1),
        };
        if self.may_be_plain() && !exchange::may_begin(dialect, message, input) {
            // Our answer was taken out on its way: the client sends its data as they are.
            return Ok(Some((State::Plain, 0)));
        }
        let Some(len) = exchange::whole(dialect, message, input).map_err(Broken)? else {
            return Ok(None);
        };
        let message = input.get(..len).unwrap_or_default();
        let opening = &self.opening;
        let length = |octets: &[u8]| u32::try_from(octets.len()).unwrap_or(0);
        let theirs = opening.theirs + length(message);
        let mut cx = host.stream_context(now);
        let (keyed, sent) = match &self.part {
            Part::Client(question) => {
                let keyed = question.answered(&mut cx, message).map_err(Broken)?;
                (keyed, length(question.init1()))
            }
            // Only the option was taken off. The client will not go on in the clear, and INIT1 is no data.
            Part::Server(it) if it.shown == Shown::No => return Err(Broken(Line::SendingRst)),
            Part::Server(it) => {
                let answer = it.plan.reply(&mut cx, &it.offer, &it.said, message);
                let answer = answer.ok_or(Broken(Line::SendingRst))?.map_err(Broken)?;
                let keyed = answer.session(&mut cx).map_err(Broken)?;
                reply.extend_from_slice(answer.init2());
                (keyed, length(answer.init2()))
            }
        };
        let ours = opening.ours + sent;
        let records = enable(host, now, opening, keyed, ours, theirs)?;
        Ok(Some((State::Records(Box::new(records)), len)))
    }

    /// Whether the peer may not know that we agreed: it has not shown it yet.
    pub(super) fn may_be_plain(&self) -> bool {
        matches!(&self.part, Part::Server(reply) if reply.shown != Shown::Yes)
    }

    /// In which dialect.
    pub(super) fn dialect(&self) -> Dialect {
        match &self.part {
            Part::Client(question) => question.dialect(),
            Part::Server(reply) => reply.dialect,
        }
    }

    /// The peer closed before its message was whole.
    pub(super) fn truncated(&self) -> Broken {
        Broken(Line::HandshakeFailed(match self.part {
            Part::Client(_) => "init2: can't find opt",
            Part::Server(_) => "can't find init1",
        }))
    }
}

/// The moment encryption is turned on. `ours` and `theirs` are the numbers of the first records on the wire.
pub(super) fn enable(
    host: &mut Endpoint,
    now: Instant,
    opening: &Opening,
    keyed: Keyed,
    ours: Seq,
    theirs: Seq,
) -> Result<Records, Broken> {
    let origin = Origin {
        peer: opening.peer.ip(),
        opener: opening.opener,
        kind: opening.kind,
        no_cache: opening.wish.no_cache,
    };
    let mut cx = host.stream_context(now);
    let turned = turn_on(&mut cx, keyed, (ours, theirs), origin).map_err(Broken)?;
    host.count_stream(turned.resumed);
    if opening.opener {
        host.remember_peer(now, opening.peer, false);
    }
    let identity = Identity {
        id: turned.id,
        application: u8::from(opening.wish.app_aware) | u8::from(opening.peer_aware) << 1,
        details: turned.details,
    };
    let later = turned.unconfirmed.map(|later| (origin.peer, later));
    let (sealer, opener) = (turned.sealer, turned.opener);
    let bequest = Bequest::new(later, turned.leaves);
    Ok(Records::new(sealer, opener, identity, bequest))
}
