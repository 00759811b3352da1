//! One host's tcpcrypt: all its connections, the settings of its ports, the requests of its programs.
//!
//! Whoever holds an [`Endpoint`] gives it every packet that comes or goes, every request and the time, and
//! takes from it what to send, to answer, to write into the log, and when to come back.

mod controls;
mod leisure;
mod lifecycle;
mod netstat;
mod packets;
mod redirected;
mod request;
mod settings;
mod table;
mod timers;
mod tombstones;

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::cache::SessionCache;
use crate::config::Config;
use crate::conn::{Context, Outbox};
use crate::dialect::Memory;
use crate::eno::Tep;
use crate::entropy::Entropy;
use crate::event::{Event, Events, Line};
use crate::packet::{FourTuple, Notes, ParseError, TooBig, View, ends_of_refused};
use crate::stream::PlainPeers;
use crate::verdict::{Direction, Verdict};

pub use crate::conn::Identity;
use controls::Controls;
pub use redirected::Fate;
use redirected::Redirected;
use settings::Ports;
use table::{State, Table};

/// Tombstones are looked at in batches: waking up for each would cost more than they do.
const TOMBSTONE_SLACK: Duration = Duration::from_secs(1);

/// Connections that are remembered as encrypted lately.
const FRESH: usize = 1024;

/// When a connection is called again that finds something due at once, over and over.
const BREATH: Duration = Duration::from_millis(1);

/// Names the program that sent a request, so that the answer finds it. The holder's own numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Numbers about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections in the handshake.
    pub half_open: usize,
    /// Encrypted connections.
    pub encrypted: usize,
    /// Closed connections whose last segments are still translated.
    pub tombstones: usize,
    /// Sessions that can be resumed.
    pub sessions: usize,
    /// Ports with settings.
    pub ports: usize,
    /// Requests that wait for a handshake.
    pub waiting_requests: usize,
    /// Connections that became encrypted, by a full exchange.
    pub exchanged: u64,
    /// Connections that became encrypted, by resumption.
    pub resumed: u64,
    /// Connections that we tried to encrypt and that became plain.
    pub plain: u64,
    /// Connections that were reset by us.
    pub reset: u64,
}

/// What handshakes work with, beside the connections.
struct Services {
    config: Config,
    teps: [Tep; 2],
    memory: Memory,
    entropy: Box<dyn Entropy + Send>,
    cache: SessionCache,
    events: Events,
    outbox: Outbox,
}

impl Services {
    fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            config: &self.config,
            teps: &self.teps,
            memory: &mut self.memory,
            entropy: self.entropy.as_mut(),
            cache: &mut self.cache,
            events: &mut self.events,
            outbox: &mut self.outbox,
        }
    }
}

/// tcpcrypt of one host.
pub struct Endpoint {
    services: Services,
    table: Table,
    /// Connections that may have packets to send.
    ready: VecDeque<FourTuple>,
    /// Connections that keys are to be agreed on for.
    agreeing: VecDeque<FourTuple>,
    ports: Ports,
    controls: Controls,
    redirected: Redirected,
    plain_peers: PlainPeers,
    /// Connections that became encrypted since somebody asked.
    fresh: Vec<FourTuple>,
    /// Of [`Stats`], what is only counted.
    stats: Stats,
    /// The latest instant that was given.
    now: Instant,
}

impl Endpoint {
    /// An endpoint without connections. `entropy` is where nonces and keys come from.
    #[must_use]
    pub fn new(config: Config, entropy: Box<dyn Entropy + Send>, now: Instant) -> Self {
        let mut teps = Tep::DEFAULT;
        if config.prefer == Some(Tep::P521) {
            teps.reverse();
        }
        let limits = config.limits;
        Self {
            services: Services {
                config,
                teps,
                memory: Memory::default(),
                entropy,
                cache: SessionCache::new(),
                events: Events::new(limits.events, config.debug),
                outbox: Outbox::new(limits.packets),
            },
            table: Table::default(),
            ready: VecDeque::new(),
            agreeing: VecDeque::new(),
            ports: Ports::default(),
            controls: Controls::default(),
            redirected: Redirected::default(),
            plain_peers: PlainPeers::default(),
            fresh: Vec::new(),
            stats: Stats::default(),
            now,
        }
    }

    /// Decides about a packet, an IP packet from its first octet on. With [`Verdict::Replace`] the whole
    /// packet to be sent in its place was appended to `out`; else `out` is as it was.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.handle_noted_packet(now, direction, packet, Notes::default(), out)
    }

    /// The same for a packet that the kernel said more of. What replaces a super-packet is one, too, and of at
    /// least two segments.
    pub fn handle_noted_packet(
        &mut self,
        now: Instant,
        direction: Direction,
        packet: &[u8],
        notes: Notes,
        out: &mut Vec<u8>,
    ) -> Verdict {
        self.now = self.now.max(now);
        let interface = notes.interface;
        if notes.is_truncated {
            return self.refused(direction, interface, packet);
        }
        let view = match View::parse(packet) {
            Ok(view) => view.with_notes(notes),
            Err(ParseError::Protocol(_)) if direction == Direction::In => {
                return self.too_big(interface, packet, out);
            }
            Err(error) => {
                if is_bad(error) {
                    self.services.events.line(Line::BadPacket);
                }
                return self.refused(direction, interface, packet);
            }
        };
        let before = out.len();
        let tuple = view.tuple(direction).on_interface(interface);
        let verdict = self.decide(tuple, direction, &view, out);
        if verdict != Verdict::Replace {
            out.truncate(before);
        } else if direction == Direction::Out && view.is_super() {
            return self.kept_whole(&tuple, out, before);
        }
        verdict
    }

    /// A packet that cannot be worked on. The kernel may well put it together and give it to its TCP, past us: a
    /// fragment over IPv6, which is one still when it comes here. To a connection that is encrypted, or may
    /// become so, that is a stranger's plaintext, so the first fragment goes nowhere, and with it the others.
    /// Nor may one pass that was too long for the queue.
    fn refused(&self, direction: Direction, interface: u32, packet: &[u8]) -> Verdict {
        let ends = ends_of_refused(packet, direction).map(|ends| ends.on_interface(interface));
        let state = ends.and_then(|ends| self.table.get(&ends));
        match state.map(|connection| &connection.state) {
            None | Some(State::Unwanted(_)) => Verdict::Accept,
            Some(_) => Verdict::Drop,
        }
    }

    /// Not TCP, but perhaps what a router says of a packet of ours. It quotes the number on the wire, which the
    /// local TCP does not know.
    fn too_big(&mut self, interface: u32, packet: &[u8], out: &mut Vec<u8>) -> Verdict {
        let Some(message) = TooBig::parse(packet) else {
            return self.refused(Direction::In, interface, packet);
        };
        let ends = message.ends().on_interface(interface);
        match self.table.get_mut(&ends).map(|it| &mut it.state) {
            Some(State::Encrypted(established)) => {
                match established.flow.too_big(message.seq(), message.mtu()) {
                    Some(seq) => {
                        message.write(seq, out);
                        Verdict::Replace
                    }
                    // As a number that was never sent it is forged or late; to the local TCP it might be one.
                    None => Verdict::Drop,
                }
            }
            _ => Verdict::Accept,
        }
    }

    /// What takes the place of a super-packet is cut into segments, and lost if it is shorter than one. So what
    /// fits one goes by itself.
    fn kept_whole(&mut self, tuple: &FourTuple, out: &mut Vec<u8>, before: usize) -> Verdict {
        let packet = out.get(before..).unwrap_or_default();
        let mtu = match self.table.get(tuple).map(|connection| &connection.state) {
            Some(State::Encrypted(established)) => established.flow.mtu(),
            _ => self.services.config.mtu,
        };
        if packet.len() > usize::from(mtu) {
            return Verdict::Replace;
        }
        let outbox = &mut self.services.outbox;
        outbox.push(Direction::Out, tuple.interface(), packet.to_vec());
        out.truncate(before);
        Verdict::Drop
    }

    /// Appends the next packet to be sent by ourselves. [`Direction::Out`] is for the wire, [`Direction::In`]
    /// for this host's own TCP. To be called until there is none, after each of the other calls.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Direction> {
        self.poll_transmit_on(out).map(|(direction, _)| direction)
    }

    /// The same, with the index of the network interface that the packet's link-local addresses belong to; 0
    /// for other packets.
    pub fn poll_transmit_on(&mut self, out: &mut Vec<u8>) -> Option<(Direction, u32)> {
        if let Some(packet) = self.services.outbox.pop(out) {
            return Some(packet);
        }
        while let Some(tuple) = self.ready.front() {
            if let Some(connection) = self.table.get_mut(tuple) {
                if let State::Encrypted(established) = &mut connection.state {
                    if let Some(direction) = established.flow.poll_transmit(out) {
                        return Some((direction, tuple.interface()));
                    }
                }
                connection.ready = false;
            }
            self.ready.pop_front();
        }
        None
    }

    /// Whether there may be something to transmit.
    #[must_use]
    pub fn has_packets(&self) -> bool {
        !self.services.outbox.is_empty() || !self.ready.is_empty()
    }

    /// Takes a request of the control socket. What is not one is dropped.
    pub fn handle_control(&mut self, now: Instant, client: ClientId, datagram: &[u8]) {
        self.now = self.now.max(now);
        self.request(client, datagram);
    }

    /// Appends the next answer, which may come long after the request.
    pub fn poll_control(&mut self, out: &mut Vec<u8>) -> Option<ClientId> {
        self.controls.pop(out)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let tombstones = self.table.order.first();
        let tombstones = tombstones.and_then(|until| until.checked_add(TOMBSTONE_SLACK));
        let all = [
            self.table.timers.next(),
            tombstones,
            self.controls.next(),
            self.services.outbox.owed_until(),
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due at `now`. Early and late calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        while let Some(tuple) = self.table.timers.pop(now) {
            if let Some(connection) = self.table.get_mut(&tuple) {
                connection.entered = None;
            }
            self.timeout(&tuple);
            let limits = &self.services.config.limits;
            if let Some(connection) = self.table.get_mut(&tuple) {
                // In the future, whatever the connection says, so that this ends.
                let soonest = now.checked_add(BREATH).unwrap_or(now);
                let wanted = connection.deadline(limits).map(|at| at.max(soonest));
                let mut entered = connection.entered.take();
                self.table.timers.forget(&tuple, entered.take());
                self.table.timers.want(&tuple, wanted, &mut entered);
                if let Some(connection) = self.table.get_mut(&tuple) {
                    connection.entered = entered;
                }
            }
        }
        self.bury(now);
        self.expire_requests(now);
        self.services.outbox.pay_due(now);
    }

    /// The next event for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.services.events.pop()
    }

    /// Resets every connection that is encrypted or about to be, at both ends: the packets come from
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn shutdown(&mut self) {
        for tuple in self.table.tuples() {
            self.abort(&tuple);
        }
    }

    /// How many connections are encrypted.
    #[must_use]
    pub fn count_encrypted(&self) -> usize {
        self.table.encrypted.len()
    }

    /// At most `count` encrypted connections, in a fixed order: the first ones, or those behind `after`.
    #[must_use]
    pub fn encrypted_after(&self, after: Option<FourTuple>, count: usize) -> Vec<FourTuple> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tuples = self.table.encrypted.range((from, Bound::Unbounded));
        tuples.take(count).copied().collect()
    }

    /// True if [`take_fresh`](Self::take_fresh) would find a connection.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Connections that became encrypted since the last call, and are; of very many, some.
    pub fn take_fresh(&mut self) -> Vec<FourTuple> {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain(|tuple| self.table.encrypted.contains(tuple));
        fresh
    }

    /// True if a connection is encrypted.
    #[must_use]
    pub fn is_encrypted(&self, tuple: &FourTuple) -> bool {
        self.table.encrypted.contains(tuple)
    }

    /// Resets one connection that is encrypted or about to be, as [`shutdown`](Self::shutdown) all of them.
    pub fn reset(&mut self, tuple: &FourTuple) {
        self.abort(tuple);
    }

    /// Whether connections that begin from now on are encrypted, as [`Config::enabled`] says at first.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.services.config.enabled = enabled;
    }

    /// Octets in the buffers of all connections, and of packets, requests and answers that wait. It looks at
    /// every connection.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let flows = self.table.footprint();
        flows + self.services.outbox.footprint() + self.controls.footprint()
    }

    /// Numbers for a dump of the state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (encrypted, half_open) = self.redirected.counts();
        Stats {
            half_open: self.table.half_open().saturating_add(half_open),
            encrypted: self.table.encrypted.len().saturating_add(encrypted),
            tombstones: self.table.ended(),
            sessions: self.services.cache.len(),
            ports: self.ports.len(),
            waiting_requests: self.controls.waiting(),
            ..self.stats
        }
    }
}

/// Whether a packet contradicts itself. Fragments and other protocols are nothing of ours.
fn is_bad(error: ParseError) -> bool {
    !matches!(
        error,
        ParseError::Fragment
            | ParseError::Jumbogram
            | ParseError::Protocol(_)
            | ParseError::Version(_)
    )
}
