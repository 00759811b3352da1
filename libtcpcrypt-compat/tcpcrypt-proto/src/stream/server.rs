//! The end that is connected to.

use std::net::SocketAddr;
use std::time::Instant;

use crate::conn::{Wish, resume};
use crate::endpoint::Endpoint;
use crate::eno::{EnoOption, Kind, Tep};
use crate::event::Line;
use crate::legacy::keys::Session;
use crate::packet::Seq;

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
    /// Whether a SYN with this option to the local port `port` asks for what we have, so that [`Server::new`] would
    /// not refuse it.
    #[must_use]
    pub fn is_wanted(host: &Endpoint, port: u16, offer: &EnoOption) -> bool {
        let asks = offer.choose(&Tep::DEFAULT).is_some() || offer.resume_ids().next().is_some();
        offer.kind() == Kind::Experimental && asks && host.serves(port)
    }

    /// A SYN of `peer` with this option to the local port `port`, whose settings count. `None` if the connection is
    /// plain.
    pub fn new(
        host: &mut Endpoint,
        now: Instant,
        port: u16,
        peer: SocketAddr,
        offer: EnoOption,
    ) -> Option<Self> {
        let wish = host.wish_of_listener(port)?;
        if offer.kind() != Kind::Experimental {
            return None;
        }
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

    /// How SYNs are answered by somebody who knows neither settings of ports nor sessions: the first suboption that
    /// stands here gets the option beside it.
    #[must_use]
    pub fn answers(host: &Endpoint) -> Vec<(u8, EnoOption)> {
        let teps = host.is_encrypting().then(|| host.stream_teps());
        let teps = teps.into_iter().flatten();
        teps.map(|tep| (tep.octet(), EnoOption::accept(tep, false)))
            .collect()
    }

    /// A SYN of `peer` with the option `offer` that got one of [these answers](Self::answers) already. What the port
    /// `port` wants counts as far as that can still be had. `None` if it is no answer of ours.
    #[must_use]
    pub fn answered(
        host: &mut Endpoint,
        port: u16,
        peer: SocketAddr,
        (offer, answer): (EnoOption, EnoOption),
    ) -> Option<Self> {
        let tep = answer.choose(&host.stream_teps())?;
        let wish = host.wish_of_listener(port);
        Some(Self {
            peer,
            wish: Wish {
                enabled: true,
                app_aware: answer.app_aware(),
                insists: false,
                no_cache: wish.is_some_and(|wish| wish.no_cache),
            },
            offer,
            plan: Plan::Exchange(tep),
            answer,
        })
    }

    /// The option for our SYN-ACK, in at most `room` octets; for a repeated one the same. `None` if there is no room:
    /// the connection is plain then.
    pub fn answer(&mut self, host: &mut Endpoint, _now: Instant, room: usize) -> Option<EnoOption> {
        let fits = self.answer.as_bytes().len() <= room;
        if !fits {
            host.stream_line(Line::NoSpaceForHello);
        }
        fits.then_some(self.answer)
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
