//! Connections that a proxy carries: the endpoint knows who they are and what became of them, so that programs
//! can ask; it sees none of their packets.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::config::Config;
use crate::conn::{Context, Identity, Wish};
use crate::event::Line;
use crate::packet::FourTuple;

use super::Endpoint;

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The handshake goes on.
    Undecided,
    /// It is in the clear.
    Plain,
    /// It is encrypted.
    Encrypted(Identity),
}

/// All of them.
#[derive(Default)]
pub(super) struct Redirected {
    pub fates: BTreeMap<FourTuple, Fate>,
    /// Other names by which this host's application knows its connection.
    aliases: HashMap<FourTuple, FourTuple>,
    resets: VecDeque<FourTuple>,
    /// Whose session is to be forgotten.
    flushes: VecDeque<FourTuple>,
    encrypted: usize,
}

impl Redirected {
    pub(super) fn resolve(&self, tuple: FourTuple) -> FourTuple {
        self.aliases.get(&tuple).copied().unwrap_or(tuple)
    }

    pub(super) fn fate(&self, tuple: &FourTuple) -> Option<Fate> {
        self.fates.get(&self.resolve(*tuple)).copied()
    }

    /// Encrypted ones, and those in the handshake.
    pub(super) fn counts(&self) -> (usize, usize) {
        (
            self.encrypted,
            self.fates.len().saturating_sub(self.encrypted),
        )
    }

    /// Asks the proxy to reset one; says whether there is one.
    pub(super) fn reset(&mut self, tuple: FourTuple) -> bool {
        let tuple = self.resolve(tuple);
        let known = self.fates.contains_key(&tuple);
        if known {
            self.resets.push_back(tuple);
        }
        known
    }

    /// Has the proxy forget the session of one that is encrypted; says whether there is one.
    pub(super) fn flush(&mut self, tuple: FourTuple) -> bool {
        let encrypted = matches!(self.fate(&tuple), Some(Fate::Encrypted(_)));
        if encrypted {
            self.flushes.push_back(self.resolve(tuple));
        }
        encrypted
    }

    fn set(&mut self, tuple: FourTuple, fate: Option<Fate>) {
        let is = matches!(fate, Some(Fate::Encrypted(..)));
        let before = match fate {
            Some(fate) => self.fates.insert(tuple, fate),
            None => self.fates.remove(&tuple),
        };
        let was = matches!(before, Some(Fate::Encrypted(..)));
        self.encrypted = self
            .encrypted
            .saturating_add(usize::from(is))
            .saturating_sub(usize::from(was));
    }
}

impl Endpoint {
    /// A proxy carries a connection, seen from this host: `tuple` is how it is listed, `alias` what the
    /// application of this host sees instead, if something else.
    pub fn redirected(&mut self, tuple: FourTuple, alias: Option<FourTuple>, fate: Fate) {
        self.redirected.set(tuple, Some(fate));
        if let Some(alias) = alias {
            self.redirected.aliases.insert(alias, tuple);
        }
        if fate != Fate::Undecided {
            self.answer_waiting(&tuple);
            if let (Fate::Plain, true) = (fate, self.services.config.debug) {
                self.services.events.line(Line::Plain);
            }
        }
    }

    /// A connection of a proxy has ended.
    pub fn redirected_ended(&mut self, tuple: FourTuple, alias: Option<FourTuple>) {
        self.redirected.set(tuple, None);
        if let Some(alias) = alias {
            self.redirected.aliases.remove(&alias);
        }
        self.answer_waiting(&tuple);
    }

    /// The next connection that a program asked to reset.
    pub fn poll_redirected_reset(&mut self) -> Option<FourTuple> {
        self.redirected.resets.pop_front()
    }

    /// The next connection whose session a program asked to forget, for
    /// [`Stream::forget_session`](crate::stream::Stream::forget_session).
    pub fn poll_redirected_flush(&mut self) -> Option<FourTuple> {
        self.redirected.flushes.pop_front()
    }

    /// Whether a connection to `peer` is to be left alone: encryption is off, or the peer answered without ENO
    /// lately.
    pub fn is_plain_peer(&mut self, now: Instant, peer: &SocketAddr) -> bool {
        !self.services.config.encrypts() || self.plain_peers.knows(peer, now)
    }

    /// Whether a connection that an application opens from the local port `port` to `peer` need not be
    /// redirected at all.
    pub fn leaves_alone(&mut self, now: Instant, port: u16, peer: &SocketAddr) -> bool {
        if self.is_plain_peer(now, peer) {
            return true;
        }
        let unwanted = !self.ports.copy(port).enabled;
        if unwanted {
            // It was for this connection.
            self.ports.consume(port);
        }
        unwanted
    }

    /// Whether connections to the local port `port` are encrypted if the peer offers it.
    #[must_use]
    pub fn serves(&self, port: u16) -> bool {
        self.services.config.encrypts() && self.ports.copy(port).enabled
    }

    /// A peer answered without ENO, or with it.
    pub(crate) fn remember_peer(&mut self, now: Instant, peer: SocketAddr, is_plain: bool) {
        if is_plain {
            self.stats.plain = self.stats.plain.saturating_add(1);
            self.plain_peers.remember(peer, now);
        } else {
            self.plain_peers.forget(&peer);
        }
    }

    /// A line for the log about a connection of a proxy, which is reset because of it.
    pub fn redirected_failed(&mut self, line: Line) {
        self.stats.reset = self.stats.reset.saturating_add(1);
        self.services.events.line(line);
    }

    pub(crate) fn stream_line(&mut self, line: Line) {
        self.services.events.line(line);
    }

    pub(crate) fn stream_context(&mut self, now: Instant) -> Context<'_> {
        self.now = self.now.max(now);
        self.services.context(self.now)
    }

    /// What the application of a port that opens a connection wants; `None`: no encryption.
    pub(crate) fn wish_of_opener(&mut self, port: u16) -> Option<Wish> {
        let wish = self.ports.consume(port);
        (self.config().encrypts() && wish.enabled).then_some(wish)
    }

    /// What the application that listens on a port wants; `None`: no encryption.
    pub(crate) fn wish_of_listener(&mut self, port: u16) -> Option<Wish> {
        let wish = self.ports.copy(port);
        (self.config().encrypts() && wish.enabled).then_some(wish)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.services.config
    }

    pub(crate) fn count_stream(&mut self, is_resumed: bool) {
        let count = match is_resumed {
            true => &mut self.stats.resumed,
            false => &mut self.stats.exchanged,
        };
        *count = count.saturating_add(1);
    }
}
