//! What a host that was connected to answers: a key exchange or the session that was named, in one of the dialects.

use std::net::IpAddr;

use crate::dialect::{Answering, answering};
use crate::eno::{EnoOption, Kind, Tep};
use crate::event::Line;
use crate::records::Dialect;
use crate::rfc8547::SynForm;
use crate::rfc8548::negotiation::{self, Settled, settle};

use super::resume::{self, By, Named};
use super::{Context, Wish};

/// What the SYN-ACK says.
pub(super) enum Plan {
    Exchange(Dialect, Tep),
    /// `None` once it was turned on.
    Resume(Option<Named>),
}

impl Plan {
    /// In which dialect. A session that was turned on is in none any more.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Plan::Exchange(dialect, _) => *dialect,
            Plan::Resume(Some(Named::Standard(..))) => Dialect::Standard,
            Plan::Resume(_) => Dialect::Legacy,
        }
    }

    /// What to answer a SYN with this offer. `None` if the connection is plain.
    pub(super) fn new(cx: &mut Context<'_>, wish: Wish, offer: &EnoOption) -> Option<Self> {
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

    /// The option of the SYN-ACK, and in the standard what it agrees on. `None` if there is nothing to say.
    pub(super) fn option(
        &mut self,
        cx: &mut Context<'_>,
        offer: &EnoOption,
        aware: bool,
        peer: IpAddr,
        room: usize,
    ) -> Option<(EnoOption, Option<Settled>)> {
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
                        return Some((option, settled));
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
        match self {
            Plan::Exchange(Dialect::Legacy, tep) => Some((EnoOption::accept(*tep, aware), None)),
            Plan::Exchange(Dialect::Standard, tep) => {
                let answer = negotiation::Offer {
                    kind: offer.kind(),
                    passive_role: true,
                    app_aware: aware,
                    teps: &[*tep],
                    resume: None,
                };
                let option = answer.build()?;
                let settled = settle(false, &option, offer, None)?;
                Some((option, Some(settled)))
            }
            Plan::Resume(Some(Named::Legacy(session))) => {
                let tep = session.suite().tep;
                let option = EnoOption::accept_resumption(tep, aware, offer);
                Some((option, None))
            }
            Plan::Resume(_) => None,
        }
    }
}
