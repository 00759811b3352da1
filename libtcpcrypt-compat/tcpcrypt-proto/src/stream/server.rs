//! The end that is connected to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use crate::conn::Wish;
use crate::conn::plan::{Plan, Said};
use crate::dialect::{Answering, answering};
use crate::endpoint::Endpoint;
use crate::eno::{EnoOption, Kind, MAX_LEN, Tep};
use crate::event::Line;
use crate::packet::Seq;
use crate::records::Dialect;

use super::handshake::{Handshake, Opening, Part, Reply, Shown, enable};
use super::{Broken, Stream};

/// From the choice in the SYN-ACK to the stream.
pub struct Server {
    peer: SocketAddr,
    wish: Wish,
    offer: EnoOption,
    plan: Plan,
    /// `None` before the first SYN-ACK.
    said: Option<Said>,
    shown: Shown,
}

impl Server {
    /// Whether a SYN with this option to the local port `port` asks for what we have, so that [`Server::new`] would
    /// not refuse it.
    #[must_use]
    pub fn is_wanted(host: &Endpoint, port: u16, offer: &EnoOption) -> bool {
        host.serves(port) && Plan::is_possible(host.config(), offer)
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
        if !host.config().reads(offer.kind()) {
            return None;
        }
        let plan = Plan::new(&mut host.stream_context(now), wish, &offer)?;
        Some(Self {
            peer,
            wish,
            offer,
            plan,
            said: None,
            shown: Shown::Unknown,
        })
    }

    /// How SYNs are answered by somebody who knows neither settings of ports nor sessions: the first suboption that
    /// stands here, in an option of the answer's kind, gets the answer. In the standard, where the order is ours, that is
    /// what we choose from everything; what stands here is chosen in any case.
    #[must_use]
    pub fn answers(host: &mut Endpoint) -> Vec<(u8, EnoOption)> {
        let teps = Tep::ALL.map(Tep::octet);
        let mut answers = Vec::new();
        for kind in [Kind::Experimental, Kind::Standard] {
            let chosen = chosen_of(host, &EnoOption::of(kind, &teps));
            for tep in teps {
                let alone = EnoOption::of(kind, &[tep]);
                if chosen != Answering::Plain && chosen_of(host, &alone) == chosen {
                    let said = said_alone(host, &alone, &alone);
                    answers.extend(said.map(|(_, said)| (tep, said.option)));
                }
            }
        }
        answers
    }

    /// A SYN of `peer` with the option `offer` that got one of [these answers](Self::answers) already. What the port
    /// `port` wants counts as far as that can still be had. `None` if the two agree on nothing.
    #[must_use]
    pub fn answered(
        host: &mut Endpoint,
        port: u16,
        peer: SocketAddr,
        (offer, answer): (EnoOption, EnoOption),
    ) -> Option<Self> {
        let tep = answer.teps().next()?;
        let alone = EnoOption::of(answer.kind(), &[tep.octet()]);
        let (plan, said) = said_alone(host, &alone, &offer)?;
        let wish = host.wish_of_listener(port);
        (said.option == answer).then_some(Self {
            peer,
            wish: Wish {
                enabled: true,
                app_aware: false,
                insists: false,
                passive_role: false,
                no_cache: wish.is_some_and(|wish| wish.no_cache),
            },
            offer,
            plan,
            said: Some(said),
            shown: Shown::Unknown,
        })
    }

    /// The option for our SYN-ACK, in at most `room` octets; for a repeated one the same. `None` if there is no room:
    /// the connection is plain then.
    pub fn answer(&mut self, host: &mut Endpoint, now: Instant, room: usize) -> Option<EnoOption> {
        if self.said.is_none() {
            let mut cx = host.stream_context(now);
            let (aware, peer) = (self.wish.app_aware, self.peer.ip());
            self.said = self.plan.option(&mut cx, &self.offer, aware, peer, room);
        }
        let option = self.said.map(|said| said.option);
        let option = option.filter(|option| option.as_bytes().len() <= room);
        if option.is_none() {
            host.stream_line(Line::NoSpaceForHello);
        }
        option
    }

    /// The opener's first segment behind its SYN was seen, and this is its option. Without this call nothing is known of
    /// it, and nothing is learned of one without an option in the original's dialect, where others than INIT1 may come.
    pub fn third_segment(&mut self, option: Option<EnoOption>) {
        let is_ours = option.is_some_and(|option| option.kind() == self.offer.kind());
        self.shown = match is_ours {
            true => Shown::Yes,
            false => Shown::No,
        };
    }

    /// The connection stands. `ours` and `theirs` are the numbers behind the two SYNs.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn begin(
        mut self,
        host: &mut Endpoint,
        now: Instant,
        (ours, theirs): (Seq, Seq),
    ) -> Result<Stream, Broken> {
        let Some(said) = self.said else {
            self.give_up(host, now);
            return Ok(Stream::plain());
        };
        let opening = Opening {
            peer: self.peer,
            wish: self.wish,
            opener: false,
            kind: self.offer.kind(),
            peer_aware: said.is_peer_aware(&self.offer),
            ours,
            theirs,
        };
        if let Plan::Exchange(dialect, _) = self.plan {
            let reply = Reply {
                dialect,
                plan: self.plan,
                offer: self.offer,
                said,
                shown: self.shown,
            };
            return Ok(Stream::handshake(Handshake {
                opening,
                part: Part::Server(Box::new(reply)),
            }));
        }
        // In the original's dialect nothing more is said.
        if self.shown == Shown::No && self.plan.dialect() == Dialect::Standard {
            host.stream_line(Line::NoEnoInInit1);
            self.give_up(host, now);
            return Ok(Stream::plain());
        }
        let keyed = self.plan.resumed(&said);
        let keyed = keyed.ok_or(Broken(Line::SendingRst))?;
        let records = enable(host, now, &opening, keyed, ours, theirs)?;
        Ok(Stream::records(records))
    }

    /// Nothing comes of it: a session that was named, but not turned on, can be used by another.
    pub fn give_up(mut self, host: &mut Endpoint, now: Instant) {
        let mut cx = host.stream_context(now);
        self.plan.give_up(&mut cx, self.peer.ip());
    }
}

/// The key exchange for an offer.
fn chosen_of(host: &Endpoint, offer: &EnoOption) -> Answering {
    let config = host.config();
    match config.encrypts() && config.reads(offer.kind()) {
        true => answering(config.eno, offer, config.prefer),
        false => Answering::Plain,
    }
}

/// The answer to `offer` if nothing but `alone` is chosen from.
fn said_alone(host: &mut Endpoint, alone: &EnoOption, offer: &EnoOption) -> Option<(Plan, Said)> {
    let dialect = match chosen_of(host, alone) {
        Answering::Plain => return None,
        Answering::Legacy => Dialect::Legacy,
        Answering::Standard(_) => Dialect::Standard,
    };
    let mut plan = Plan::Exchange(dialect, alone.teps().next()?);
    let mut cx = host.stream_context(Instant::now());
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let said = plan.option(&mut cx, offer, false, nobody, MAX_LEN)?;
    Some((plan, said))
}
