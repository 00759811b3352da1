//! The end that is connected to.

use std::net::SocketAddr;
use std::time::Instant;

use crate::conn::{Wish, resume, segment};
use crate::endpoint::Endpoint;
use crate::eno::{EnoOption, Tep};
use crate::event::Line;
use crate::legacy::keys::Session;
use crate::packet::{OptionBuf, Seq};

use super::handshake::{Handshake, Opening, Part, enable};
use super::{Broken, Stream};

/// From the choice in the SYN-ACK to the stream.
pub struct Server {
    peer: SocketAddr,
    wish: Wish,
    offer: EnoOption,
    plan: Plan,
    answer: EnoOption,
}

enum Plan {
    Exchange(Tep),
    Resume(Box<Session>),
}

impl Server {
    /// Whether a SYN with these options asks for what we have, so that [`Server::new`] would not refuse it.
    #[must_use]
    pub fn is_wanted(options: &[u8]) -> bool {
        EnoOption::find(options)
            .ok()
            .flatten()
            .is_some_and(|offer| {
                offer.choose(&Tep::DEFAULT).is_some() || offer.resume_ids().next().is_some()
            })
    }

    /// A SYN of `peer` with these options to the local port `port`, whose settings count. `None` if the
    /// connection is plain.
    pub fn new(
        host: &mut Endpoint,
        now: Instant,
        port: u16,
        peer: SocketAddr,
        options: &[u8],
    ) -> Option<Self> {
        let wish = host.wish_of_listener(port)?;
        let offer = EnoOption::find(options).ok().flatten()?;
        let teps = host.stream_teps();
        let mut cx = host.stream_context(now);
        let (plan, answer) = if let Some(session) = resume::legacy_named(&mut cx, &offer, wish) {
            let tep = session.suite().tep;
            let answer = EnoOption::accept_resumption(tep, wish.app_aware, &offer);
            (Plan::Resume(session), answer)
        } else if let Some(tep) = offer.choose(&teps) {
            let answer = EnoOption::accept(tep, wish.app_aware);
            (Plan::Exchange(tep), answer)
        } else {
            host.stream_line(Line::NoCipher);
            return None;
        };
        Some(Self {
            peer,
            wish,
            offer,
            plan,
            answer,
        })
    }

    /// Puts our choice among the options of a SYN-ACK, the same in each repetition. False if there is no room:
    /// the connection is plain then.
    pub fn syn_ack(&self, host: &mut Endpoint, options: &mut OptionBuf) -> bool {
        let fits = segment::append(options, &self.answer);
        if !fits {
            host.stream_line(Line::NoSpaceForHello);
        }
        fits
    }

    /// The connection stands. `ours` and `theirs` are the numbers behind the two SYNs.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn begin(
        self,
        host: &mut Endpoint,
        now: Instant,
        (ours, theirs): (Seq, Seq),
    ) -> Result<Stream, Broken> {
        let opening = Opening {
            peer: self.peer.ip(),
            wish: self.wish,
            application: u8::from(self.wish.app_aware) | u8::from(self.offer.app_aware()) << 1,
            syn: self.offer,
            syn_ack: self.answer,
            ours,
            theirs,
        };
        match self.plan {
            Plan::Resume(session) => {
                let records = enable(host, now, &opening, *session, ours, theirs)?;
                Ok(Stream::records(records))
            }
            Plan::Exchange(tep) => Ok(Stream::handshake(Handshake {
                opening,
                part: Part::Server(tep),
            })),
        }
    }

    /// Nothing comes of it: a session that was named, but not turned on, can be used by another.
    pub fn give_up(self, host: &mut Endpoint, now: Instant) {
        if let Plan::Resume(session) = self.plan {
            let mut cx = host.stream_context(now);
            resume::legacy_put_back(&mut cx, self.peer.ip(), Some(session));
        }
    }
}
