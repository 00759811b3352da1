//! A thread that carries connections whose keys are agreed: their octets, and nothing else.
//!
//! It has an epoll, buffers and connections of its own and can neither make sockets nor open files; what concerns
//! packets, programs and sessions stays with the thread that has the endpoint. When it ends, in whatever way, what it
//! carried is reset, and that thread is told.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use kx_sys::privileges;
use kx_sys::sandbox;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::thread::CapabilitySet;
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::stream::Stream;

use super::Proxy;
use super::buffers::Buffers;
use super::carry::{Carried, Keeper, Trouble};
use super::connection::Connection;
use super::mailbox::Mailbox;
use super::table::{Key, Side};

/// The number under which epoll knows the mailbox; a socket's has an upper half that is not 0.
const ORDERS: u64 = 0;
/// Events taken with one call.
const EVENTS: usize = 256;

/// What it is told.
pub(super) enum Order {
    /// To carry this one.
    Carry(Key, Box<Connection>),
    /// To reset this one, without a word.
    End(Key),
    /// To reset all and end.
    Stop,
    #[cfg(test)]
    Panic,
}

/// What it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// The peer of this one has shown that it has the keys.
    Authenticated(Key),
    /// This one has ended, perhaps because of this.
    Ended(Key, Option<Line>),
    /// This thread has ended.
    Gone(usize),
}

struct Held {
    connection: Box<Connection>,
    /// It was told that the peer has the keys.
    told: bool,
}

/// The thread.
pub(super) struct Worker {
    index: usize,
    orders: Arc<Mailbox<Order>>,
    reports: Arc<Mailbox<Report>>,
    epoll: OwnedFd,
    connections: HashMap<Key, Held>,
    /// Connections that have more to do.
    ready: VecDeque<Key>,
    buffers: Buffers,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        orders: Arc<Mailbox<Order>>,
        reports: Arc<Mailbox<Report>>,
        buffers: Buffers,
    ) -> io::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(ORDERS);
        epoll::add(&epoll, &*orders, data, epoll::EventFlags::IN)?;
        Ok(Worker {
            index,
            orders,
            reports,
            epoll,
            connections: HashMap::new(),
            ready: VecDeque::new(),
            buffers,
        })
    }

    /// Gives up what the thread needs not. Says what was done.
    pub(super) fn confine() -> String {
        let capabilities = match privileges::keep_only(CapabilitySet::empty()) {
            Ok(_) => "no capabilities",
            Err(_) => "capabilities as before",
        };
        let report = sandbox::confine(
            &[
                sandbox::BASIC_CALLS,
                sandbox::SOCKET_CALLS,
                sandbox::EPOLL_CALLS,
                sandbox::CARRY_CALLS,
            ],
            &[],
        );
        format!("{capabilities}; {report}")
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// The system's waiting fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            for event in &events {
                match event.data.u64() {
                    ORDERS if self.obey() => return Ok(()),
                    ORDERS => {}
                    token => {
                        let (key, side) = Key::of_token(token);
                        self.handle_socket(now, key, side, event.flags);
                    }
                }
            }
            for _ in 0..self.ready.len() {
                if let Some(key) = self.ready.pop_front() {
                    if let Some(held) = self.connections.get_mut(&key) {
                        held.connection.queued = false;
                    }
                    self.carry(now, key);
                }
            }
        }
    }

    /// None at all while there is more to do.
    fn timeout(&self) -> Option<Timespec> {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        (!self.ready.is_empty()).then_some(at_once)
    }

    /// Does what it was told; true if that is to end.
    fn obey(&mut self) -> bool {
        for order in self.orders.take() {
            match order {
                Order::Carry(key, connection) => self.take_over(key, connection),
                Order::End(key) => {
                    self.drop_connection(key);
                }
                Order::Stop => return true,
                #[cfg(test)]
                Order::Panic => panic!("as was asked for"),
            }
        }
        false
    }

    fn take_over(&mut self, key: Key, connection: Box<Connection>) {
        // That something is there to read, or room to write, is an event of the new epoll.
        let ends = [(Side::Near, &connection.near), (Side::Far, &connection.far)];
        let watched = ends.into_iter().all(|(side, end)| {
            end.as_ref()
                .is_some_and(|end| Proxy::watch(&self.epoll, key, side, end).is_ok())
        });
        let told = is_authenticated(&connection);
        self.connections.insert(key, Held { connection, told });
        if !watched {
            self.end(key, Some(Trouble::System));
        }
    }

    fn handle_socket(&mut self, now: Instant, key: Key, side: Side, flags: epoll::EventFlags) {
        let Some(held) = self.connections.get_mut(&key) else {
            return;
        };
        match held.connection.has_failed(side, flags) {
            true => self.end(key, Some(Trouble::System)),
            false => self.carry(now, key),
        }
    }

    /// Gives a connection its turn.
    fn carry(&mut self, now: Instant, key: Key) {
        let Some(held) = self.connections.get_mut(&key) else {
            return;
        };
        let Held { connection, told } = held;
        let mut tell = || {
            if !std::mem::replace(told, true) {
                self.reports.post(Report::Authenticated(key));
            }
        };
        match connection.carry(Keeper::Elsewhere(&mut tell), now, &mut self.buffers) {
            Ok(Carried::Waiting) => {}
            Ok(Carried::More) => {
                if !std::mem::replace(&mut connection.queued, true) {
                    self.ready.push_back(key);
                }
            }
            Ok(Carried::Done) => self.end(key, None),
            Err(trouble) => self.end(key, Some(trouble)),
        }
    }

    fn end(&mut self, key: Key, trouble: Option<Trouble>) {
        let line = match trouble {
            Some(Trouble::Broken(line)) => Some(line),
            Some(Trouble::System) | None => None,
        };
        if self.drop_connection(key) {
            self.reports.post(Report::Ended(key, line));
        }
    }

    /// Closes its sockets. One that was not closed in order resets its peer.
    fn drop_connection(&mut self, key: Key) -> bool {
        let Some(mut held) = self.connections.remove(&key) else {
            return false;
        };
        held.connection.forget_waiting(&mut self.buffers);
        true
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Reset before it is said, so that who hears of it can rely on it.
        self.connections.clear();
        self.reports.post(Report::Gone(self.index));
    }
}

fn is_authenticated(connection: &Connection) -> bool {
    let stream = connection.stream.as_ref();
    stream.is_some_and(Stream::is_authenticated)
}
