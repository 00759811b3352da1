//! Redirect mode (`-e`): a transparent proxy (tcpcrypt spec 5.3).
//!
//! The packet filter redirects connections to [`PORT`]. The opener's TCP gets its SYN-ACK only when the half that
//! goes on stands, so that connecting fails as it would without us. The kernel's TCP carries both halves; through
//! the queue come only the packets of the handshakes, which get the ENO options, and at the end of connections
//! with the original those that it needs [changed](quirk).
//!
//! The rules may be the original's, or ours, which ask before they redirect: then what is to be plain is left
//! alone, and so is everything when no daemon is there.

mod buffers;
mod carry;
mod connection;
mod end;
mod event_loop;
mod hand_over;
mod handshake;
mod mailbox;
mod near_routes;
mod packets;
mod program;
mod quirk;
mod table;
mod worker;
mod workers;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use kx_sys::conntrack_lookup::ConntrackLookup;
use kx_sys::nfqueue::Verdicts;
use kx_sys::tcp_proxy::Listener;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::stream::Shape;

use crate::injector::Injector;

use buffers::Buffers;
use carry::{Carried, Keeper, Trouble};
use connection::Connection;
use end::End;
use near_routes::NearRoutes;
use quirk::Ending;
use table::{Key, Side, Syns, Table};
use workers::Workers;

pub use event_loop::{Ended, Parts, ProxyDaemon};
pub use program::Program;

/// Where redirected connections arrive.
pub const PORT: u16 = 65530;
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 4096;
/// Type of service of the packets of our own handshakes, by which the rules find them.
pub const HANDSHAKE_TOS: u8 = 0x04;
/// The bit in the mark of a SYN by which we ask our rules to redirect the connection.
pub const MARK_REDIRECT: u32 = 0x0008_0000;
/// The bit in the mark of connections with what may be the original: we want to see the peer's FIN, and what we send.
pub const MARK_WATCHED: u32 = 0x0080_0000;
/// The bit in the mark of connections with it that have a FIN: we want to see all that comes.
pub const MARK_ENDING: u32 = 0x0010_0000;

/// The bit in the mark of connections to an application of this host that are made in the name of the peer. Packets
/// that have it stay on this host, by our rules; so the application sees the peer's address.
pub const MARK_NEAR: u32 = 0x0004_0000;

/// The bit in the mark of connections of ours whose handshake the program does: their SYNs need not come through
/// the queue, and what acknowledges a SYN-ACK without data goes nowhere, since the original takes only what has
/// INIT1.
pub const MARK_PROGRAM: u32 = 0x0002_0000;
/// Octets for our option in a SYN that the kernel makes, beside its own.
const SYN_ROOM: usize = 20;
/// With a smaller maximum an INIT message or a record is not sure to fit a segment.
const SMALLEST_MSS: u16 = 256;

/// An application's octets have no borders.
const PLAIN_SHAPE: Shape = Shape::Stream;

/// How long connecting may take; the kernel gives up a little earlier.
const CONNECTING: Duration = Duration::from_secs(130);
/// How long the opener may take to answer its SYN-ACK.
const ACCEPTING: Duration = Duration::from_secs(75);
/// How long INIT2 may take.
const ANSWERING: Duration = Duration::from_secs(30);
/// INIT1 comes with the segment that makes a connection. One that did not come after this time will not: the
/// client never got our answer, and perhaps it is our application that has to speak first.
const INIT1_PATIENCE: Duration = Duration::from_secs(3);
/// Connections that were begun and not accepted, beyond which peers begin none that are encrypted.
const BEGUN: usize = 4096;
/// Send buffer toward what may be the original in divert mode, in octets as the kernel is asked for them. Fewer
/// than 100 segments fit, however short they are ([`End`] writes one for each record): the original knows the
/// last 100 that arrived, and an older one that is repeated comes out in another place of its stream.
const FLIGHT: usize = 36 * 1024;
/// SYN-ACKs that wait in the queue, which has room for 16,384 packets.
const HELD: usize = 4096;
/// Octets after which a connection is a stream, and another thread's. Most connections never are: to hand one over
/// costs as much as to carry some kilobytes, and these need the thread with the queue and the endpoint anyway.
const STREAM: u64 = 64 * 1024;
/// Threads that carry streams, at most.
pub const MOST_THREADS: usize = 64;
/// Without another wish there are no more of them than this.
const THREADS: usize = 8;
/// Connections accepted before the others get their turn.
const ACCEPTS_IN_A_ROW: usize = 64;

/// Numbers for the state dump.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    /// Packets that came.
    pub packets: u64,
    /// Of these, replaced.
    pub replaced: u64,
    /// Of these, dropped.
    pub dropped: u64,
    /// Connections that were redirected.
    pub redirected: u64,
    /// Connections that could not be made.
    pub refused: u64,
    /// Connections that another thread got to carry.
    pub handed_over: u64,
}

/// The proxy: all that is no event loop.
pub struct Proxy {
    host: Endpoint,
    injector: Injector,
    lookup: ConntrackLookup,
    /// One for each family.
    listeners: Vec<Listener>,
    /// Without it, options of handshakes are the queue's business.
    program: Option<Program>,
    epoll: OwnedFd,
    table: Table,
    syns: Syns,
    near_routes: NearRoutes,
    ending: Ending,
    buffers: Buffers,
    workers: Workers,
    /// Connections that were reset because a thread ended, which the log does not know yet.
    lost: Option<usize>,
    /// Connections that have more to do.
    ready: VecDeque<Key>,
    /// SYN-ACKs that wait in the queue.
    held: usize,
    /// Connections at most.
    limit: usize,
    counters: Counters,
    packet: Vec<u8>,
}

impl Proxy {
    fn watch(epoll: &OwnedFd, key: Key, side: Side, end: &End) -> io::Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(key.token(side));
        Ok(epoll::add(epoll, &end.socket, data, flags)?)
    }

    /// Something happened to a socket.
    fn handle_socket(
        &mut self,
        now: Instant,
        key: Key,
        side: Side,
        flags: epoll::EventFlags,
        verdicts: &mut Verdicts,
    ) {
        let Some(mut connection) = self.table.take(key) else {
            return;
        };
        if connection.has_failed(side, flags) {
            self.destroy(now, key, connection, Some(Trouble::System));
            return;
        }
        if !connection.connected && !self.is_connected(now, key, &mut connection, verdicts) {
            return self.table.put_back(key, connection);
        }
        if !connection.connected {
            self.destroy(now, key, connection, None);
            return;
        }
        self.carry(now, key, connection);
    }

    /// Gives a connection its turn, and puts it back or ends it.
    fn carry(&mut self, now: Instant, key: Key, mut connection: Box<Connection>) {
        match connection.carry(Keeper::Here(&mut self.host), now, &mut self.buffers) {
            Ok(Carried::Done) => self.destroy(now, key, connection, None),
            Ok(carried) => {
                let Some(mut connection) = self.hand_over(key, connection) else {
                    return;
                };
                if carried == Carried::More && !std::mem::replace(&mut connection.queued, true) {
                    self.ready.push_back(key);
                }
                self.table.put_back(key, connection);
            }
            Err(trouble) => self.destroy(now, key, connection, Some(trouble)),
        }
    }

    /// Ends a connection that was taken out of the table. Sockets that were not closed in order reset their
    /// peers.
    fn destroy(
        &mut self,
        now: Instant,
        key: Key,
        mut connection: Box<Connection>,
        trouble: Option<Trouble>,
    ) {
        if let Some(Trouble::Broken(line)) = trouble {
            self.host.redirected_failed(line);
        }
        if let Some(quirk) = connection.quirk {
            self.ending.note(now, quirk);
        }
        self.table.forget(key, &mut connection);
        connection.give_up(&mut self.host, now);
        connection.forget_waiting(&mut self.buffers);
    }

    /// Connections that have more to do get one turn each.
    fn handle_ready(&mut self, now: Instant) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            if let Some(mut connection) = self.table.take(key) {
                connection.queued = false;
                self.carry(now, key, connection);
            }
        }
    }

    fn handle_accepts(&mut self, now: Instant, which: usize) {
        for _ in 0..ACCEPTS_IN_A_ROW {
            let Some(listener) = self.listeners.get(which) else {
                return;
            };
            match listener.accept() {
                Ok(Some((socket, peer))) => self.accepted(now, socket, peer),
                Ok(None) => return,
                // Gone before we looked, or no descriptors; the limit sees to those.
                Err(_) => {}
            }
        }
    }

    fn handle_deadlines(&mut self, now: Instant, verdicts: &mut Verdicts) {
        while let Some(key) = self.table.due(now) {
            let Some(mut connection) = self.table.take(key) else {
                continue;
            };
            let stands = connection.near.is_some() && connection.far.is_some();
            if !connection.connected || !stands {
                self.refuse(&mut connection, verdicts, false);
                self.destroy(now, key, connection, None);
                continue;
            }
            let Some(stream) = &mut connection.stream else {
                self.destroy(now, key, connection, None);
                continue;
            };
            if stream.is_ready() {
                self.table.put_back(key, connection);
            } else if stream.lost_patience() {
                connection.settled(&mut self.host);
                self.carry(now, key, connection);
            } else {
                let trouble = Trouble::Broken(Line::RetransmitTimeout);
                self.destroy(now, key, connection, Some(trouble));
            }
        }
    }

    /// Programs asked for these.
    fn handle_requests_of_programs(&mut self, now: Instant) {
        while let Some(tuple) = self.host.poll_redirected_flush() {
            let key = self.table.by_listed.get(&tuple).copied();
            if let Some(away) = key.and_then(|key| self.table.away(key)) {
                if let Some(bequest) = &mut away.bequest {
                    bequest.forget_session(&mut self.host, now);
                }
                continue;
            }
            let connection = key.and_then(|key| self.table.get(key));
            if let Some(stream) = connection.and_then(|connection| connection.stream.as_mut()) {
                stream.forget_session(&mut self.host, now);
            }
        }
        while let Some(tuple) = self.host.poll_redirected_reset() {
            let key = self.table.by_listed.get(&tuple).copied();
            if key.is_some_and(|key| self.end_away(key, true)) {
                continue;
            }
            if let Some((key, connection)) = key.and_then(|key| Some((key, self.table.take(key)?)))
            {
                self.destroy(now, key, connection, None);
            }
        }
    }

    /// Resets everything.
    fn shutdown(&mut self, now: Instant, verdicts: &mut Verdicts) {
        for key in self.table.keys() {
            if let Some(mut connection) = self.table.take(key) {
                if !connection.connected {
                    self.refuse(&mut connection, verdicts, true);
                }
                self.destroy(now, key, connection, None);
            }
            self.end_away(key, false);
        }
        self.workers.stop();
    }

    /// Whether there is something to do without an event.
    fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    fn has_too_many_begun(&self) -> bool {
        self.table.by_redirected.len() >= BEGUN
    }

    fn is_full(&self) -> bool {
        self.table.len() >= self.limit
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Connections that fit a limit of open files beside the descriptors of so many threads.
#[must_use]
pub fn connections_of(files: u64, threads: usize) -> usize {
    // Two each; some are the daemon's own, and those that just close count, too.
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let own = threads.saturating_mul(2).saturating_add(64);
    (files.saturating_sub(own) / 2).max(1)
}

/// Threads that carry streams if nobody says how many: as many as there are processors, within reason.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS))
}
