//! What a host that was connected to answers: a key exchange or the session that was named, in one of the dialects.

use std::net::IpAddr;

use crate::config::Config;
use crate::dialect::{self, Answering, answering};
use crate::eno::{EnoOption, Kind, Tep};
use crate::event::Line;
use crate::records::Dialect;
use crate::rfc8547::SynForm;
use crate::rfc8548::negotiation::{self, Settled, settle};

use super::exchange::{LegacyReply, Reply, Terms};
use super::resume::{self, By, Named};
use super::{Context, Keyed, Wish};

/// The option of a SYN-ACK of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) option: EnoOption,
    /// What it agrees on with the SYN, in the standard.
    settled: Option<Settled>,
}

impl Said {
    /// The option of a SYN of ours that met one of the peer's.
    pub(super) fn crossed(option: EnoOption, settled: Settled) -> Self {
        Self {
            option,
            settled: Some(settled),
        }
    }

    /// Whether the application of the peer that sent this SYN knows of encryption.
    pub(crate) fn is_peer_aware(&self, offer: &EnoOption) -> bool {
        match &self.settled {
            Some(settled) => settled.peer_app_aware,
            None => offer.app_aware(),
        }
    }
}

/// What the SYN-ACK says.
pub(crate) enum Plan {
    Exchange(Dialect, Tep),
    /// `None` once it was turned on.
    Resume(Option<Named>),
}

impl Plan {
    /// In which dialect. A session that was turned on is in none any more.
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Plan::Exchange(dialect, _) => *dialect,
            Plan::Resume(Some(Named::Standard(..))) => Dialect::Standard,
            Plan::Resume(_) => Dialect::Legacy,
        }
    }

    /// Whether there may be something to answer a SYN with this offer. What it names may still be unknown.
    pub(crate) fn is_possible(config: &Config, offer: &EnoOption) -> bool {
        let (legacy, standard) = dialect::may_resume(config.eno, offer.kind());
        config.reads(offer.kind())
            && (answering(config.eno, offer, config.prefer) != Answering::Plain
                || legacy && offer.resume_ids().next().is_some()
                || standard && negotiation::named(offer).next().is_some())
    }

    /// What to answer a SYN with this offer. `None` if the connection is plain.
    pub(crate) fn new(cx: &mut Context<'_>, wish: Wish, offer: &EnoOption) -> Option<Self> {
        let global = SynForm::read(offer).map(|form| form.global());
        if offer.kind() == Kind::Standard {
            // Two hosts that both would be B have no roles (RFC 8547 section 4.3), and we always are, as the peer
            // began.
            if global.map_or(true, |global| global.passive_role) {
                cx.events.line(Line::NoCipher);
                return None;
            }
        }
        let aware = global.is_ok_and(|global| global.app_aware) || offer.app_aware();
        if !wish.takes(aware) {
            return None;
        }
        if let Some(session) = resume::named(cx, offer, wish) {
            return Some(Plan::Resume(Some(session)));
        }
        match answering(cx.config.eno, offer, cx.config.prefer) {
            Answering::Standard(tep) => Some(Plan::Exchange(Dialect::Standard, tep)),
            Answering::Legacy => {
                let chosen = offer.choose(cx.teps);
                chosen.map(|tep| Plan::Exchange(Dialect::Legacy, tep))
            }
            Answering::Plain => {
                cx.events.line(Line::NoCipher);
                None
            }
        }
    }

    /// Nothing comes of it: a session that was named, but not turned on, can be used by another.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>, peer: IpAddr) {
        if let Plan::Resume(session) = self {
            resume::put_back(cx, peer, session.take(), By::Other);
        }
    }

    /// The session that goes on by what was said, once.
    pub(crate) fn resumed(&mut self, said: &Said) -> Option<Keyed> {
        let Plan::Resume(session) = self else {
            return None;
        };
        match (session.take()?, said.settled) {
            (Named::Legacy(session), _) => Some(Keyed::Legacy(session)),
            (Named::Standard(session, ours), Some(settled)) => {
                let pending = session.resume(settled.tep_octet, ours, settled.resumed?);
                Some(Keyed::Standard(Box::new(pending), settled.host))
            }
            (Named::Standard(..), None) => None,
        }
    }

    /// The answer to INIT1, given from its first octet to its last. `None` if there are no keys to be exchanged.
    pub(crate) fn reply(
        &self,
        cx: &mut Context<'_>,
        offer: &EnoOption,
        said: &Said,
        init1: &[u8],
    ) -> Option<Result<Reply, Line>> {
        let Plan::Exchange(_, tep) = self else {
            return None;
        };
        Some(match said.settled {
            None => LegacyReply::new(cx, *tep, offer, &said.option, init1)
                .map(|reply| Reply::Legacy(Box::new(reply))),
            Some(settled) => {
                let terms = Terms {
                    settled,
                    ours: said.option,
                    theirs: *offer,
                };
                Reply::standard(cx, terms, init1)
            }
        })
    }

    /// The option of the SYN-ACK. `None` if there is nothing to say.
    pub(crate) fn option(
        &mut self,
        cx: &mut Context<'_>,
        offer: &EnoOption,
        aware: bool,
        peer: IpAddr,
        room: usize,
    ) -> Option<Said> {
        if let Plan::Resume(Some(named)) = self {
            if let (Some(resume), awaited) = (named.suboption(), named.awaited()) {
                let answer = negotiation::Offer {
                    kind: offer.kind(),
                    passive_role: true,
                    app_aware: aware,
                    teps: &[],
                    resume: Some(resume),
                };
                if let Some((option, nonce)) = answer.build_within(room) {
                    named.shorten(nonce);
                    let settled = settle(false, &option, offer, awaited);
                    if settled.is_some() {
                        return Some(Said { option, settled });
                    }
                }
                // No room for it, but for the key exchange there may be.
                let (tep, _) = resume;
                let exchange = Plan::Exchange(Dialect::Standard, tep);
                if let Plan::Resume(named) = std::mem::replace(self, exchange) {
                    resume::put_back(cx, peer, named, By::Other);
                }
            }
        }
        let (option, settled) = match self {
            Plan::Exchange(Dialect::Legacy, tep) => (EnoOption::accept(*tep, aware), None),
            Plan::Exchange(Dialect::Standard, tep) => {
                let answer = negotiation::Offer {
                    kind: offer.kind(),
                    passive_role: true,
                    app_aware: aware,
                    teps: &[*tep],
                    resume: None,
                };
                let option = answer.build()?;
                (option, Some(settle(false, &option, offer, None)?))
            }
            Plan::Resume(Some(Named::Legacy(session))) => {
                let tep = session.suite().tep;
                (EnoOption::accept_resumption(tep, aware, offer), None)
            }
            Plan::Resume(_) => return None,
        };
        Some(Said { option, settled })
    }
}
