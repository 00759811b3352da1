//! tcpcrypt over a stream that somebody else's TCP carries: what a proxy needs (tcpcrypt spec 5.3 and 8).
//!
//! A [`Client`] or a [`Server`] settles by the ENO options of the SYNs what the connection will be, and becomes
//! a [`Stream`]: octets of the wire in, plain text and octets for the wire out. Both ask the
//! [`Endpoint`](crate::endpoint::Endpoint) for sessions, keys and what the application wants; once the records
//! flow, nothing but the stream itself is needed.
//!
//! The dialect is decided by the ENO options. Behind the face of this module are both: the original's, whose records
//! are segments of their own, and the standard, whose frames are cut as the TCP likes ([`Shape`]) and say the end of the
//! data themselves ([`Stream::finish`]).
//!
//! How the options travel is nothing of this module: it makes and takes them, as long as there is room for.

mod bequest;
mod client;
mod handshake;
mod plain_peers;
mod records;
mod server;

use std::time::Instant;

use crate::endpoint::{Endpoint, Identity};
use crate::event::Line;
use crate::flow::Failure;
use crate::records::Dialect;

pub use bequest::Bequest;
pub use client::Client;
pub(crate) use plain_peers::PlainPeers;
pub use records::{READ_ROOM, Records};
pub use server::Server;

use handshake::Handshake;

/// What the SYNs settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// No encryption.
    Plain,
    /// Keys are exchanged first.
    Exchange,
    /// An earlier session goes on: records from the first octet.
    Resumed,
}

/// How the octets for the wire must be cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each message and each record is a segment of its own, whole: the original takes nothing else (spec 5.1).
    Segments,
    /// As the TCP likes.
    Stream,
}

/// Why a connection cannot go on. Both of its ends are to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub Line);

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self(match failure {
            Failure::Mac => Line::MacCheckFailed,
            Failure::Malformed => Line::Broken("malformed record"),
            Failure::Truncated => Line::Broken("connection closed inside a record"),
            Failure::UsedUp => Line::Broken("key used up"),
            Failure::Library => Line::Broken("cryptographic library failed"),
        })
    }
}

/// What [`Stream::receive`] did with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Octets that were taken. The rest is to be given again, with more behind it.
    pub consumed: usize,
    /// The handshake came to its end.
    pub settled: bool,
}

enum State {
    Handshake(Box<Handshake>),
    Records(Box<Records>),
    Plain,
    /// It broke.
    Over,
}

/// One connection as a stream.
pub struct Stream(State);

impl Stream {
    /// A connection that is not encrypted.
    #[must_use]
    pub fn plain() -> Self {
        Self(State::Plain)
    }

    fn handshake(handshake: Handshake) -> Self {
        Self(State::Handshake(Box::new(handshake)))
    }

    fn records(records: Records) -> Self {
        Self(State::Records(Box::new(records)))
    }

    /// Takes octets from the wire. Plain text is appended to `plain`, at most about `room` octets of it;
    /// messages for the wire are appended to `reply`.
    ///
    /// # Errors
    /// [`Broken`]; nothing can be done with the stream any more.
    pub fn receive(
        &mut self,
        host: &mut Endpoint,
        now: Instant,
        input: &[u8],
        room: usize,
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<Received, Broken> {
        let mut all = Received::default();
        loop {
            let rest = input.get(all.consumed..).unwrap_or_default();
            match &mut self.0 {
                State::Handshake(handshake) => match handshake.receive(host, now, rest, reply) {
                    Ok(None) => return Ok(all),
                    Ok(Some((state, consumed))) => {
                        self.0 = state;
                        all.consumed = all.consumed.saturating_add(consumed);
                        all.settled = true;
                    }
                    Err(broken) => return Err(self.broken(broken)),
                },
                State::Records(_) | State::Plain => {
                    let taken = self.take_data(rest, room, plain);
                    if let (true, Some(bequest)) = (self.is_authenticated(), self.bequest()) {
                        bequest.confirm(host, now);
                    }
                    let taken = taken.map_err(|broken| self.broken(broken))?;
                    all.consumed = all.consumed.saturating_add(taken);
                    return Ok(all);
                }
                State::Over => return Err(Broken(Line::SendingRst)),
            }
        }
    }

    /// As [`receive`](Self::receive) for streams that [are ready](Self::is_ready), without the endpoint: nothing is
    /// answered then. Returns the number of octets that were taken. What is to be remembered as soon as the peer
    /// [is authenticated](Self::is_authenticated) stays where it is.
    ///
    /// # Errors
    /// [`Broken`]; nothing can be done with the stream any more.
    pub fn receive_data(
        &mut self,
        input: &[u8],
        room: usize,
        plain: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        self.take_data(input, room, plain)
            .map_err(|broken| self.broken(broken))
    }

    fn take_data(
        &mut self,
        input: &[u8],
        room: usize,
        plain: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        match &mut self.0 {
            State::Records(records) => Ok(records.receive(input, room, plain)?),
            State::Plain => {
                let taken = input.get(..room).unwrap_or(input);
                plain.extend_from_slice(taken);
                Ok(taken.len())
            }
            State::Handshake(_) | State::Over => Err(Broken(Line::SendingRst)),
        }
    }

    /// Whether a record of the peer was genuine, which shows that it has the keys.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        matches!(&self.0, State::Records(records) if records.is_authenticated())
    }

    fn bequest(&mut self) -> Option<&mut Bequest> {
        match &mut self.0 {
            State::Records(records) => records.bequest.as_mut(),
            _ => None,
        }
    }

    /// Takes out what needs the endpoint, so that somebody without one can carry the stream. Whoever has it must
    /// [confirm](Bequest::confirm) it when the peer [is authenticated](Self::is_authenticated). What the calling thread
    /// has of the stream's keys beside the stream itself is wiped.
    pub fn part_from_bequest(&mut self) -> Option<Bequest> {
        kx_crypto::aead::wipe_contexts();
        match &mut self.0 {
            State::Records(records) => records.bequest.take(),
            _ => None,
        }
    }

    /// Puts it back.
    pub fn rejoin(&mut self, bequest: Bequest) {
        if let State::Records(records) = &mut self.0 {
            records.bequest = Some(bequest);
        }
    }

    fn broken(&mut self, broken: Broken) -> Broken {
        self.0 = State::Over;
        broken
    }

    /// Appends to `wire` what stands for `data`, in records of at most `most` octets of data each. Only for
    /// streams that [are ready](Self::is_ready).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn send(&mut self, data: &[u8], most: usize, wire: &mut Vec<u8>) -> Result<(), Broken> {
        match &mut self.0 {
            State::Records(records) => match records.send(data, most, wire) {
                Ok(()) => Ok(()),
                Err(failure) => Err(self.broken(failure.into())),
            },
            State::Plain => {
                wire.extend_from_slice(data);
                Ok(())
            }
            State::Handshake(_) | State::Over => Err(self.broken(Broken(Line::SendingRst))),
        }
    }

    /// Appends what ends our data, where the dialect has a word for it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn finish(&mut self, wire: &mut Vec<u8>) -> Result<(), Broken> {
        match &mut self.0 {
            State::Records(records) => match records.finish(wire) {
                Ok(()) => Ok(()),
                Err(failure) => Err(self.broken(failure.into())),
            },
            _ => Ok(()),
        }
    }

    /// Whether something is to be sent though there are no data. Whoever does not wait until what was sent before is
    /// gone, lets the peer fill his memory.
    #[must_use]
    pub fn owes(&self) -> bool {
        matches!(&self.0, State::Records(records) if records.owes())
    }

    /// Appends it to `wire`. If it is much, some.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn pay(&mut self, wire: &mut Vec<u8>) -> Result<(), Broken> {
        match &mut self.0 {
            State::Records(records) => match records.pay(wire) {
                Ok(()) => Ok(()),
                Err(failure) => Err(self.broken(failure.into())),
            },
            _ => Ok(()),
        }
    }

    /// Goes to a new key with the next record, where the dialect has that (RFC 8548 section 3.8).
    pub fn rekey(&mut self) {
        if let State::Records(records) = &mut self.0 {
            records.rekey();
        }
    }

    /// Forgets the session that the connection leaves behind for a later one (RFC 8548 section 3.5).
    pub fn forget_session(&mut self, host: &mut Endpoint, now: Instant) {
        if let Some(bequest) = self.bequest() {
            bequest.forget_session(host, now);
        }
    }

    /// Whether the peer has said that it has no more data. Its TCP may say so later.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        matches!(&self.0, State::Records(records) if records.has_ended())
    }

    /// The peer's TCP has ended its data; `rest` is what was not consumed.
    ///
    /// # Errors
    /// [`Broken`] if that is in the midst of something.
    pub fn end(&mut self, rest: &[u8]) -> Result<(), Broken> {
        match &self.0 {
            State::Handshake(handshake) if handshake.may_be_plain() && rest.is_empty() => {
                self.0 = State::Plain;
                Ok(())
            }
            State::Handshake(handshake) => Err(handshake.truncated()),
            State::Records(records) if !rest.is_empty() || !records.may_end() => {
                Err(Failure::Truncated.into())
            }
            State::Records(_) | State::Plain => Ok(()),
            State::Over => Err(Broken(Line::SendingRst)),
        }
        .map_err(|broken| self.broken(broken))
    }

    /// The peer did not send in time what it has to send first. True if the connection goes on in the clear,
    /// false if it is to be reset.
    pub fn lost_patience(&mut self) -> bool {
        match &self.0 {
            State::Handshake(handshake) if handshake.may_be_plain() => {
                self.0 = State::Plain;
                true
            }
            State::Handshake(_) | State::Over => {
                self.0 = State::Over;
                false
            }
            State::Records(_) | State::Plain => true,
        }
    }

    /// Whether data can be sent: the handshake is over.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.0, State::Records(_) | State::Plain)
    }

    /// Whether the connection is in the clear.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.0, State::Plain)
    }

    /// How octets for the wire are to be cut.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self.dialect() {
            Some(Dialect::Legacy) => Shape::Segments,
            Some(Dialect::Standard) | None => Shape::Stream,
        }
    }

    /// The dialect of one that is encrypted, or about to be.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        match &self.0 {
            State::Handshake(handshake) => Some(handshake.dialect()),
            State::Records(records) => Some(records.dialect()),
            State::Plain | State::Over => None,
        }
    }

    /// What programs are told of an encrypted connection.
    #[must_use]
    pub fn session(&self) -> Option<Identity> {
        match &self.0 {
            State::Records(records) => Some(records.session()),
            _ => None,
        }
    }

    /// Octets on the wire beyond the plain text, sent and received, since the end of the key exchange: what the
    /// original's divert mode is off by once there was a FIN (spec 5.1).
    #[must_use]
    pub fn overhead(&self) -> (u64, u64) {
        match &self.0 {
            State::Records(records) => records.overhead(),
            _ => (0, 0),
        }
    }

    /// The peer is taken for the original in divert mode: where its nonces differ from those of others, because
    /// sequence numbers passed 2^32, ours are like its (spec 4.5). For peers that did not show theirs.
    pub fn assume_original(&mut self) {
        if let State::Records(records) = &mut self.0 {
            records.assume_subtracted();
        }
    }
}

/// The length of the first unit of `wire` that has to be a segment of its own: a record, or what is left.
#[must_use]
pub fn first_unit(shape: Shape, wire: &[u8]) -> usize {
    match shape {
        Shape::Stream => wire.len(),
        Shape::Segments => match crate::legacy::record::len(wire) {
            Ok(Some(len)) => len.min(wire.len()),
            _ => wire.len(),
        },
    }
}
