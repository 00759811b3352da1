//! The messages at the beginning of a stream (tcpcrypt spec 4.2).

use std::net::IpAddr;
use std::time::Instant;

use crate::conn::exchange::{self, LegacyQuestion, LegacyReply};
use crate::conn::{Identity, Wish, legacy_details};
use crate::endpoint::Endpoint;
use crate::eno::{EnoOption, Tep};
use crate::event::Line;
use crate::legacy::init::Message;
use crate::legacy::keys::{Enabled, Role, Session};
use crate::packet::Seq;
use crate::records::Dialect;

use super::records::Records;
use super::{Broken, State};

/// What both ENO options were, and where the streams begin on the wire.
pub(super) struct Opening {
    pub peer: IpAddr,
    pub wish: Wish,
    pub syn: EnoOption,
    pub syn_ack: EnoOption,
    pub application: u8,
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
    Client(Box<LegacyQuestion>),
    /// INIT1.
    Server(Tep),
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
        let message = match &self.part {
            Part::Client(_) => Message::Init2,
            Part::Server(_) => Message::Init1,
        };
        if self.may_be_plain() && message.len(input).is_err() {
            // Our answer was taken out on its way: the client sends its data as they are.
            return Ok(Some((State::Plain, 0)));
        }
        let Some(len) = exchange::whole(Dialect::Legacy, message, input).map_err(Broken)? else {
            return Ok(None);
        };
        let message = input.get(..len).unwrap_or_default();
        let opening = &self.opening;
        let received = u32::try_from(len).unwrap_or(0);
        let theirs = opening.theirs + received;
        let mut cx = host.stream_context(now);
        let (session, ours) = match &self.part {
            Part::Client(question) => {
                let session = question.answered(&mut cx, message).map_err(Broken)?;
                let sent = u32::try_from(question.init1.len()).unwrap_or(0);
                (session, opening.ours + sent)
            }
            Part::Server(tep) => {
                let answer =
                    LegacyReply::new(&mut cx, *tep, &opening.syn, &opening.syn_ack, message)
                        .map_err(Broken)?;
                let session = answer.session(&mut cx).map_err(Broken)?;
                let sent = u32::try_from(answer.init2.len()).unwrap_or(0);
                reply.extend_from_slice(&answer.init2);
                (session, opening.ours + sent)
            }
        };
        let records = enable(host, now, opening, session, ours, theirs)?;
        Ok(Some((State::Records(Box::new(records)), len)))
    }

    /// Whether the peer may not know that we agreed: it has not shown it yet.
    pub(super) fn may_be_plain(&self) -> bool {
        matches!(self.part, Part::Server(_))
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
    session: Session,
    ours: Seq,
    theirs: Seq,
) -> Result<Records, Broken> {
    let Enabled { id, keys, next } = session.enable();
    let suite = next.suite();
    let is_resumed = id.as_bytes().first().is_some_and(|tep| tep & 0x80 != 0);
    let (sealer, opener) = keys
        .split(ours.0, theirs.0)
        .map_err(|_| Broken(Line::HandshakeFailed("cryptographic library failed")))?;
    host.count_stream(is_resumed);
    let mut successor = None;
    if host.stores_sessions() && !opening.wish.no_cache {
        // A client that resumed cannot know yet whether the server has turned this generation on.
        if suite.role == Role::Client && is_resumed {
            successor = Some((opening.peer, Box::new(next)));
        } else {
            host.store_session(now, (opening.peer, Box::new(next)));
        }
    }
    let identity = Identity {
        id,
        application: opening.application,
        details: legacy_details(suite),
    };
    Ok(Records::new(sealer, opener, identity, successor))
}
