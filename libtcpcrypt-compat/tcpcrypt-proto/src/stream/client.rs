//! The end that opens a connection.

use std::net::SocketAddr;
use std::time::Instant;

use crate::conn::exchange::LegacyQuestion;
use crate::conn::{Wish, resume, segment};
use crate::endpoint::Endpoint;
use crate::eno::{Answer, EnoOption, Offer, Tep};
use crate::event::Line;
use crate::legacy::keys::Session;
use crate::packet::{OptionBuf, Seq};

use super::handshake::{Handshake, Opening, Part, enable};
use super::{Broken, Settled, Stream};

/// From the offer in the SYN to the stream.
pub struct Client {
    peer: SocketAddr,
    wish: Wish,
    teps: [Tep; 2],
    /// As in the SYN, the same in each repetition. `None` before the first.
    offer: Option<EnoOption>,
    session: Option<Box<Session>>,
    agreed: Agreed,
}

enum Agreed {
    Nothing,
    Exchange(Tep, EnoOption),
    Resumed(EnoOption),
}

impl Client {
    /// Begins a connection of the local port `port` to `peer`, which takes the settings of the port. `None` if
    /// it is to be plain.
    pub fn new(host: &mut Endpoint, now: Instant, port: u16, peer: SocketAddr) -> Option<Self> {
        let wish = host.wish_of_opener(port)?;
        let session = resume::legacy_for_peer(&mut host.stream_context(now), peer.ip(), wish);
        Some(Self {
            peer,
            wish,
            teps: host.stream_teps(),
            offer: None,
            session,
            agreed: Agreed::Nothing,
        })
    }

    fn offered(&self) -> Offer<'_> {
        Offer {
            teps: &self.teps,
            app_aware: self.wish.app_aware,
            resume: self.session.as_deref().map(Session::resume_id),
        }
    }

    /// Puts the offer among the options of a SYN; of a repeated one, the same offer. False if there is no room:
    /// the connection is plain then.
    pub fn syn(&mut self, host: &mut Endpoint, now: Instant, options: &mut OptionBuf) -> bool {
        if let Some(offer) = &self.offer {
            return segment::append(options, offer);
        }
        let mut offer = self.offered().build();
        let mut fits = segment::append(options, &offer);
        if !fits && self.session.is_some() {
            self.give_up(host, now);
            offer = self.offered().build();
            fits = segment::append(options, &offer);
        }
        if fits {
            self.offer = Some(offer);
        } else {
            host.stream_line(Line::NoSpaceForHello);
        }
        fits
    }

    /// Reads the options of the SYN-ACK. A repeated one changes nothing any more.
    pub fn syn_ack(&mut self, host: &mut Endpoint, now: Instant, options: &[u8]) -> Settled {
        let Some(answer) = EnoOption::find(options).ok().flatten() else {
            self.give_up(host, now);
            return Settled::Plain;
        };
        match self.offered().answer(&answer) {
            Answer::Plain => {
                host.stream_line(Line::NoCipher);
                self.give_up(host, now);
                Settled::Plain
            }
            Answer::Resumed => {
                self.agreed = Agreed::Resumed(answer);
                Settled::Resumed
            }
            Answer::Exchange(tep) => {
                if self.session.take().is_some() {
                    // The peer does not know it; nobody else will want it.
                    host.stream_line(Line::SessionCachingFailed);
                }
                self.agreed = Agreed::Exchange(tep, answer);
                Settled::Exchange
            }
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
        let opening = |this: &Self, answer: EnoOption| Opening {
            peer: this.peer.ip(),
            wish: this.wish,
            syn: this.offer.unwrap_or(EnoOption::bare()),
            application: u8::from(this.wish.app_aware) | u8::from(answer.app_aware()) << 1,
            syn_ack: answer,
            ours,
            theirs,
        };
        match std::mem::replace(&mut self.agreed, Agreed::Nothing) {
            Agreed::Nothing => {
                self.give_up(host, now);
                Ok(Stream::plain())
            }
            Agreed::Resumed(answer) => {
                let opening = opening(&self, answer);
                let Some(session) = self.session.take() else {
                    return Err(Broken(Line::SendingRst));
                };
                let records = enable(host, now, &opening, *session, ours, theirs)?;
                Ok(Stream::records(records))
            }
            Agreed::Exchange(tep, answer) => {
                let opening = opening(&self, answer);
                let (syn, syn_ack) = (opening.syn, opening.syn_ack);
                let mut cx = host.stream_context(now);
                let question = LegacyQuestion::new(&mut cx, tep, syn, syn_ack).map_err(Broken)?;
                wire.extend_from_slice(&question.init1);
                Ok(Stream::handshake(Handshake {
                    opening,
                    part: Part::Client(Box::new(question)),
                }))
            }
        }
    }

    /// Nothing comes of it: a session that was named, but not turned on, can be used by another.
    pub fn give_up(&mut self, host: &mut Endpoint, now: Instant) {
        let session = self.session.take();
        resume::legacy_put_back(&mut host.stream_context(now), self.peer.ip(), session);
    }
}
