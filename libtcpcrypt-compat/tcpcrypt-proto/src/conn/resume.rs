//! Which stored session a connection may use (tcpcrypt spec 4.4).

use std::net::IpAddr;

use crate::eno::EnoOption;
use crate::event::Line;
use crate::legacy::keys::Session;

use super::{Context, Wish};

/// The session for a connection that we open.
pub(crate) fn for_peer(cx: &mut Context<'_>, peer: IpAddr, wish: Wish) -> Option<Box<Session>> {
    if !cx.config.session_cache || wish.no_cache {
        return None;
    }
    let found = cx.cache.take_for_peer(peer, cx.now);
    if found.is_none() {
        cx.events.line(Line::NoSession);
    }
    found.map(Box::new)
}

/// The session that a client names in its SYN.
pub(crate) fn named(cx: &mut Context<'_>, syn: &EnoOption, wish: Wish) -> Option<Box<Session>> {
    if !cx.config.session_cache || wish.no_cache {
        return None;
    }
    syn.resume_ids()
        .find_map(|id| cx.cache.take_by_id(&id, cx.now))
        .map(Box::new)
}

/// Puts a session back that no record was made with.
pub(crate) fn put_back(cx: &mut Context<'_>, peer: IpAddr, session: Option<Box<Session>>) {
    if let Some(session) = session {
        if cx.config.session_cache {
            cx.cache.put(peer, *session, cx.now);
        }
    }
}
