//! Which stored session a connection may use (tcpcrypt spec 4.4; RFC 8548 section 3.5).

use std::net::IpAddr;

use crate::dialect::{self, Asking};
use crate::eno::{EnoOption, ResumeId, Tep};
use crate::event::Line;
use crate::legacy::keys::Session;
use crate::rfc8548::keys as standard;
use crate::rfc8548::negotiation::{self, HALF_LEN, Resumption, ResumptionNonce};

use super::{Context, Wish};

/// A session that a SYN or SYN-ACK names, and that was not turned on.
pub(crate) enum Named {
    Legacy(Box<Session>),
    Standard(Box<standard::Session>, ResumptionNonce),
}

impl Named {
    /// What our option says of a session of the standard.
    pub(super) fn suboption(&self) -> Option<(Tep, Resumption)> {
        match self {
            Named::Legacy(_) => None,
            Named::Standard(session, nonce) => Some((
                session.suite().tep,
                Resumption {
                    half: session.our_half(),
                    nonce: *nonce,
                },
            )),
        }
    }

    /// What the peer names a session of the standard by.
    pub(super) fn awaited(&self) -> Option<(Tep, [u8; HALF_LEN])> {
        match self {
            Named::Legacy(_) => None,
            Named::Standard(session, _) => Some((session.suite().tep, session.peer_half())),
        }
    }

    /// The nonce as far as there was room for it.
    pub(super) fn shorten(&mut self, sent: Option<ResumptionNonce>) {
        if let (Named::Standard(_, nonce), Some(sent)) = (self, sent) {
            *nonce = sent;
        }
    }
}

fn may_resume(cx: &Context<'_>, wish: Wish) -> bool {
    cx.config.session_cache && !wish.no_cache
}

/// The session for a connection that we open.
pub(super) fn for_peer(
    cx: &mut Context<'_>,
    peer: IpAddr,
    wish: Wish,
    asking: Asking,
) -> Option<Named> {
    if !may_resume(cx, wish) {
        return None;
    }
    let usable = |tep| asking.resumes_standard(tep);
    let standard = cx.cache.take_standard_for_peer(peer, usable, cx.now);
    let mut found = standard.and_then(|session| with_nonce(cx, session));
    if found.is_none() && asking.resumes_legacy() {
        let legacy = cx.cache.take_for_peer(peer, cx.now);
        found = legacy.map(|session| Named::Legacy(Box::new(session)));
    }
    if found.is_none() {
        cx.events.line(Line::NoSession);
    }
    found
}

/// The session that a client names in its SYN.
pub(super) fn named(cx: &mut Context<'_>, syn: &EnoOption, wish: Wish) -> Option<Named> {
    if !may_resume(cx, wish) {
        return None;
    }
    let (legacy, standard) = dialect::may_resume(cx.config.eno, syn.kind());
    if standard {
        let found = negotiation::named(syn).find_map(|(tep, resumption)| {
            let id = ResumeId::new(tep, &resumption.half);
            cx.cache.take_standard_by_id(&id, cx.now)
        });
        if let Some(named) = found.and_then(|session| with_nonce(cx, session)) {
            return Some(named);
        }
    }
    if !legacy {
        return None;
    }
    syn.resume_ids()
        .find_map(|id| cx.cache.take_by_id(&id, cx.now))
        .map(|session| Named::Legacy(Box::new(session)))
}

/// Without a nonce of ours the session is not used, and forgotten.
fn with_nonce(cx: &mut Context<'_>, session: standard::Session) -> Option<Named> {
    let mut nonce = [0; ResumptionNonce::MAX_LEN];
    cx.entropy.fill(&mut nonce).ok()?;
    let nonce = ResumptionNonce::new(&nonce)?;
    Some(Named::Standard(Box::new(session), nonce))
}

/// Who gives a session back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Opener,
    Other,
}

/// Puts a session back that no record was made with.
///
/// An opener does not name a session of the standard twice, whatever came of the first time (RFC 8548 section 3.5):
/// the next of its chain is what is left. Who was asked for it keeps it, since anybody can repeat a SYN; there each
/// use has another nonce.
pub(super) fn put_back(cx: &mut Context<'_>, peer: IpAddr, named: Option<Named>, by: By) {
    if !cx.config.session_cache {
        return;
    }
    match named {
        None => {}
        Some(Named::Legacy(session)) => cx.cache.put(peer, *session, cx.now),
        Some(Named::Standard(session, _)) => {
            let session = match by {
                By::Opener => session.successor(),
                By::Other => *session,
            };
            cx.cache.put_standard(peer, session, cx.now);
        }
    }
}
