//! The end that opens a connection.

use std::net::SocketAddr;
use std::time::Instant;

use crate::config::Config;
use crate::conn::ask::{Ask, Reached};
use crate::conn::{Keyed, Wish};
use crate::endpoint::Endpoint;
use crate::eno::EnoOption;
use crate::packet::Seq;

use super::handshake::{Handshake, Opening, Part, enable};
use super::{Broken, Settled, Stream};

/// From the offer in the SYN to the stream.
pub struct Client {
    peer: SocketAddr,
    wish: Wish,
    /// `None` before the first SYN.
    ask: Option<Ask>,
    reached: Option<Reached>,
}

impl Client {
    /// Begins a connection of the local port `port` to `peer`, which takes the settings of the port. `None` if
    /// it is to be plain.
    pub fn new(host: &mut Endpoint, _now: Instant, port: u16, peer: SocketAddr) -> Option<Self> {
        let wish = host.wish_of_opener(port)?;
        Some(Self {
            peer,
            wish,
            ask: None,
            reached: None,
        })
    }

    /// The option for our SYN, in at most `room` octets; for a repeated SYN the same. `None` if there is no room: the
    /// connection is plain then.
    pub fn offer(&mut self, host: &mut Endpoint, now: Instant, room: usize) -> Option<EnoOption> {
        let fits = |option: &EnoOption| option.as_bytes().len() <= room;
        if let Some(ask) = &self.ask {
            return Some(ask.option()).filter(fits);
        }
        let mut cx = host.stream_context(now);
        let place = |_: &Config, option: &EnoOption| fits(option).then_some(*option);
        let (ask, option) = Ask::new(&mut cx, self.peer.ip(), self.wish, room, place)?;
        self.ask = Some(ask);
        Some(option)
    }

    /// Takes the option of the SYN-ACK. That of a repeated one changes nothing any more.
    pub fn answered(
        &mut self,
        host: &mut Endpoint,
        now: Instant,
        answer: Option<EnoOption>,
    ) -> Settled {
        let mut cx = host.stream_context(now);
        if let (Some(ask), None) = (&mut self.ask, &self.reached) {
            let reached = ask.answered(&mut cx, answer);
            if matches!(reached, Reached::Plain) {
                ask.give_up(&mut cx);
            }
            self.reached = Some(reached);
        }
        match self.reached {
            None | Some(Reached::Plain | Reached::Exchange(Err(_), _)) => Settled::Plain,
            Some(Reached::Exchange(Ok(_), _)) => Settled::Exchange,
            Some(Reached::Resumed(..)) => Settled::Resumed,
        }
    }

    /// The option for the segments behind our SYN, until the peer has sent one behind its own.
    #[must_use]
    pub fn following(&self) -> Option<EnoOption> {
        let ask = self.ask.as_ref()?;
        match self.reached.as_ref()? {
            // The original says nothing more in a resumed session (tcpcrypt spec 7.6).
            Reached::Exchange(Ok(_), _) | Reached::Resumed(Keyed::Standard(..), _) => {
                Some(ask.bare())
            }
            _ => None,
        }
    }

    /// The connection stands. `ours` and `theirs` are the numbers behind the two SYNs. What is to be sent first
    /// is appended to `wire`.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn begin(
        mut self,
        host: &mut Endpoint,
        now: Instant,
        (ours, theirs): (Seq, Seq),
        wire: &mut Vec<u8>,
    ) -> Result<Stream, Broken> {
        let Some(ask) = &mut self.ask else {
            return Ok(Stream::plain());
        };
        let opening = |peer_aware| Opening {
            peer: self.peer,
            wish: self.wish,
            opener: true,
            kind: ask.option().kind(),
            peer_aware,
            ours,
            theirs,
        };
        match self.reached {
            None | Some(Reached::Plain) => {
                let mut cx = host.stream_context(now);
                ask.give_up(&mut cx);
                // One that may be asked for something else is not known to have nothing.
                if !ask.has_another(&cx) {
                    host.remember_peer(now, self.peer, true);
                }
                Ok(Stream::plain())
            }
            Some(Reached::Exchange(Err(line), _)) => {
                // Nothing was promised to the peer yet.
                host.stream_line(line);
                Ok(Stream::plain())
            }
            Some(Reached::Resumed(keyed, aware)) => {
                let records = enable(host, now, &opening(aware), keyed, ours, theirs)?;
                Ok(Stream::records(records))
            }
            Some(Reached::Exchange(Ok(question), aware)) => {
                wire.extend_from_slice(question.init1());
                Ok(Stream::handshake(Handshake {
                    opening: opening(aware),
                    part: Part::Client(question),
                }))
            }
        }
    }

    /// Nothing comes of it: a session that was named, but not turned on, can be used by another.
    pub fn give_up(&mut self, host: &mut Endpoint, now: Instant) {
        if let Some(ask) = &mut self.ask {
            ask.give_up(&mut host.stream_context(now));
        }
    }
}
