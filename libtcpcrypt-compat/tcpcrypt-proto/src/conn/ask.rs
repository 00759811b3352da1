//! What a host that connects asks for, and what it makes of the answer: a key exchange, a session of an earlier
//! connection or nothing, in one of the dialects.
//!
//! In the standard an application may ask to be host B. Then nobody answers with the option who was connected to, as that
//! is host B as well: so who sent a SYN and gets a SYN-ACK with an option that will do is host A, and sends INIT1. Only where two
//! SYNs meet an opener is host B ([`Ask::crossed`]).

use std::net::IpAddr;

use crate::config::Config;
use crate::dialect::{Answered, Asking, answered, asking, learned_of_silence};
use crate::eno::{Answer, EnoOption, Kind, Offer, ResumeId, Tep};
use crate::event::Line;
use crate::records::Dialect;
use crate::rfc8547::{Host, host};
use crate::rfc8548::negotiation::{self, settle};

use super::crossed::Crossing;
use super::exchange::{LegacyQuestion, Question, Terms};
use super::plan::{Plan, Said};
use super::resume::{self, By, Named};
use super::{Context, Keyed, Wish};

/// From the option of our SYN to that of the peer's.
pub(crate) struct Ask {
    peer: IpAddr,
    wish: Wish,
    asking: Asking,
    /// As in the SYN, the same in each repetition.
    option: EnoOption,
    /// Named in the SYN and not turned on.
    session: Option<Named>,
}

/// What the SYN-ACK makes of it.
pub(crate) enum Reached {
    Plain,
    /// And whether the peer's application knows of encryption.
    Resumed(Keyed, bool),
    /// The same. Where there is no question, nothing was promised to the peer yet.
    Exchange(Result<Question, Line>, bool),
}

fn asking_for(cx: &Context<'_>, peer: IpAddr, wish: Wish) -> Asking {
    // There are no roles to be chosen under the other kind.
    match wish.passive_role && cx.config.speaks_standard() {
        true => Asking::Standard,
        false => asking(cx.config.eno, cx.memory.known(peer, cx.now)),
    }
}

/// The option for the SYN, in at most `room` octets if it names a session of the standard: its nonce is cut short
/// as far as it must be. `None` if that is not enough.
fn option(
    cx: &Context<'_>,
    asking: Asking,
    wish: Wish,
    session: &mut Option<Named>,
    room: usize,
) -> Option<EnoOption> {
    let kind = asking.kind()?;
    let all = asking.teps(cx.config.prefer);
    let resume = session.as_ref().and_then(Named::suboption);
    if kind == Kind::Experimental && resume.is_none() {
        let resume = match session {
            Some(Named::Legacy(session)) => Some(session.resume_id()),
            _ => None,
        };
        let app_aware = wish.app_aware;
        return Some(legacy_offer(&all, app_aware, resume).build());
    }
    // Beside the name of a session there is room for the original's key exchanges and no others.
    let teps = match kind {
        Kind::Experimental => all.get(..Tep::DEFAULT.len()).unwrap_or(&all),
        Kind::Standard => &all,
    };
    let offer = negotiation::Offer {
        kind,
        passive_role: wish.passive_role,
        app_aware: wish.app_aware,
        teps,
        resume,
    };
    let (option, nonce) = offer.build_within(room)?;
    if let Some(named) = session {
        named.shorten(nonce);
    }
    Some(option)
}

fn legacy_offer(teps: &[Tep], app_aware: bool, resume: Option<ResumeId>) -> Offer<'_> {
    Offer {
        teps,
        app_aware,
        resume,
    }
}

impl Ask {
    /// What to ask `peer`, with an option that `place` finds a place for; there are at least `room` octets. `None` if
    /// there is no place: the connection is plain.
    pub(crate) fn new<T>(
        cx: &mut Context<'_>,
        peer: IpAddr,
        wish: Wish,
        room: usize,
        place: impl Fn(&Config, &EnoOption) -> Option<T>,
    ) -> Option<(Self, T)> {
        let asking = asking_for(cx, peer, wish);
        let mut session = resume::for_peer(cx, peer, wish, asking);
        let try_place = |cx: &Context<'_>, session: &mut Option<Named>| {
            let option = option(cx, asking, wish, session, room)?;
            Some((option, place(cx.config, &option)?))
        };
        let mut placed = try_place(cx, &mut session);
        if placed.is_none() && session.is_some() {
            // It was not named.
            resume::put_back(cx, peer, session.take(), By::Other);
            placed = try_place(cx, &mut session);
        }
        let Some((option, placed)) = placed else {
            cx.events.line(Line::NoSpaceForHello);
            return None;
        };
        let ask = Self {
            peer,
            wish,
            asking,
            option,
            session,
        };
        Some((ask, placed))
    }

    /// The option of the SYN, the same in each repetition.
    pub(crate) fn option(&self) -> EnoOption {
        self.option
    }

    /// Whether we are host B if the peer is host A.
    pub(crate) fn is_for_host_b(&self) -> bool {
        host(&self.option) == Some(Host::B)
    }

    /// The option of the segments behind the SYN.
    pub(crate) fn bare(&self) -> EnoOption {
        EnoOption::of(self.option.kind(), &[])
    }

    /// Whether a later connection would ask the peer for something else, by what was learned from this one.
    pub(crate) fn has_another(&self, cx: &Context<'_>) -> bool {
        asking_for(cx, self.peer, self.wish) != self.asking
    }

    /// Nothing comes of it: what was not used can be used by another.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>) {
        resume::put_back(cx, self.peer, self.session.take(), By::Opener);
    }

    /// Takes the option of the SYN-ACK.
    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, answer: Option<EnoOption>) -> Reached {
        let dialect = answered(self.asking, answer.as_ref());
        match (dialect, answer) {
            (Answered::Standard, Some(answer)) => self.standard_answer(cx, &answer),
            (Answered::Legacy, Some(answer)) => self.legacy_answer(cx, &answer),
            _ => {
                // Two hosts B have nothing to say to each other, whatever they speak.
                let learned = learned_of_silence(self.asking);
                if let Some(known) = learned.filter(|_| !self.wish.passive_role) {
                    cx.memory.learn(self.peer, known, cx.now);
                }
                Reached::Plain
            }
        }
    }

    /// Takes the option of a peer's SYN that met ours, or of a SYN-ACK: as it says of its sender to be host A, that one has
    /// sent a SYN, too.
    pub(crate) fn crossed(&mut self, cx: &mut Context<'_>, theirs: &EnoOption) -> Crossing {
        let awaited = self.session.as_ref().and_then(Named::awaited);
        // The original's dialect has no roles.
        let settled = match self.asking {
            Asking::Standard => settle(true, &self.option, theirs, awaited),
            _ => None,
        };
        let settled = settled.filter(|settled| self.wish.takes(settled.peer_app_aware));
        match settled {
            None => Crossing::Plain,
            Some(settled) if settled.host == Host::A => Crossing::Opening,
            Some(settled) => {
                let plan = match settled.resumed {
                    Some(_) => Plan::Resume(self.session.take()),
                    None => {
                        self.declined(cx);
                        Plan::Exchange(Dialect::Standard, settled.tep)
                    }
                };
                Crossing::Accepting(Said::crossed(self.option, settled), plan)
            }
        }
    }

    fn legacy_answer(&mut self, cx: &mut Context<'_>, answer: &EnoOption) -> Reached {
        let resume = match &self.session {
            Some(Named::Legacy(session)) => Some(session.resume_id()),
            _ => None,
        };
        let aware = answer.app_aware();
        if !self.wish.takes(aware) {
            return Reached::Plain;
        }
        match legacy_offer(cx.teps, self.wish.app_aware, resume).answer(answer) {
            Answer::Plain => {
                cx.events.line(Line::NoCipher);
                Reached::Plain
            }
            Answer::Resumed => match self.session.take() {
                Some(Named::Legacy(session)) => Reached::Resumed(Keyed::Legacy(session), aware),
                _ => Reached::Plain,
            },
            Answer::Exchange(tep) => {
                self.declined(cx);
                let question = LegacyQuestion::new(cx, tep, self.option, *answer);
                let question = question.map(|question| Question::Legacy(Box::new(question)));
                Reached::Exchange(question, aware)
            }
        }
    }

    fn standard_answer(&mut self, cx: &mut Context<'_>, answer: &EnoOption) -> Reached {
        let awaited = self.session.as_ref().and_then(Named::awaited);
        // Who answers a SYN is host B.
        let settled = settle(true, &self.option, answer, awaited);
        let Some(settled) = settled.filter(|settled| settled.host == Host::A) else {
            cx.events.line(Line::NoCipher);
            return Reached::Plain;
        };
        let aware = settled.peer_app_aware;
        if !self.wish.takes(aware) {
            return Reached::Plain;
        }
        if let Some(theirs) = settled.resumed {
            return match self.session.take() {
                Some(Named::Standard(session, ours)) => {
                    let pending = session.resume(settled.tep_octet, ours, theirs);
                    let keyed = Keyed::Standard(Box::new(pending), settled.host);
                    Reached::Resumed(keyed, aware)
                }
                _ => Reached::Plain,
            };
        }
        self.declined(cx);
        let terms = Terms {
            settled,
            ours: self.option,
            theirs: *answer,
        };
        Reached::Exchange(Question::standard(cx, terms), aware)
    }

    /// The peer does not know the session; nobody else will want it.
    fn declined(&mut self, cx: &mut Context<'_>) {
        if self.session.take().is_some() {
            cx.events.line(Line::SessionCachingFailed);
        }
    }
}
