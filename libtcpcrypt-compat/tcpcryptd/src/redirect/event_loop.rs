//! The thread that waits for packets, connections, sockets, requests, signals and deadlines.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use kx_sys::conntrack::LiberalTracking;
use kx_sys::conntrack_lookup::ConntrackLookup;
use kx_sys::nfqueue::{Batch, Message, Messages, Queue, Verdicts};
use kx_sys::signals::{Signals, number};
use kx_sys::tcp_proxy::Listener;
use rustix::event::{Timespec, epoll};
use tcpcrypt_proto::endpoint::{ClientId, Endpoint};
use tcpcrypt_proto::event::EventKind;

use crate::control_socket::ControlSocket;
use crate::injector::Injector;
use crate::key_log::KeyLogFile;
use crate::log::{DEBUG, Log};

use super::buffers::Buffers;
use super::near_routes::NearRoutes;
use super::quirk::Ending;
use super::table::{Key, Syns, Table};
use super::workers::Workers;
use super::{Counters, Program, Proxy};

/// Datagrams received with one call.
const BATCH: usize = 64;
/// Batches after which the others get their turn.
const BATCHES_IN_A_ROW: usize = 4;
/// Requests after which the others get their turn.
const REQUESTS_IN_A_ROW: usize = 64;
/// Events taken with one call.
const EVENTS: usize = 256;

/// The numbers under which epoll knows what is no connection: their upper half is 0.
const QUEUE: u64 = 0;
const CONTROL: u64 = 1;
const SIGNALS: u64 = 2;
const REPORTS: u64 = 3;
/// The first of them, and those behind it up to the last that belongs to no connection.
const LISTENERS: u64 = 4;
const LAST: u64 = u32::MAX as u64;

/// What the loop works with; everything is open when it is made.
pub struct Parts {
    /// Where packets come from.
    pub queue: Queue,
    /// Where redirected connections come from, for each family.
    pub listeners: Vec<Listener>,
    /// What does the options of handshakes, if it can be had.
    pub program: Option<Program>,
    /// Who knows where they wanted to go.
    pub lookup: ConntrackLookup,
    /// Where packets go to that we make.
    pub injector: Injector,
    /// Where programs ask.
    pub control: ControlSocket,
    /// What ends the daemon.
    pub signals: Signals,
    /// The protocol.
    pub endpoint: Endpoint,
    /// Where keys are written for tests.
    pub key_log: Option<KeyLogFile>,
    /// Connections at most.
    pub connections: usize,
    /// To be put back at the end.
    pub tracking: Option<LiberalTracking>,
    /// Threads that carry streams.
    pub threads: usize,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal asked for it.
    Signal,
    /// In debug mode, something happened that must not.
    Check,
}

/// The running daemon.
pub struct ProxyDaemon {
    queue: Queue,
    control: ControlSocket,
    signals: Signals,
    key_log: Option<KeyLogFile>,
    proxy: Proxy,
    tracking: Option<LiberalTracking>,
    batch: Batch,
    verdicts: Verdicts,
    answer: Vec<u8>,
    send_errors: u64,
    refused_verdicts: u64,
    fatal: bool,
}

impl ProxyDaemon {
    /// Everything is there. Starts the threads, which confine themselves, and tells `log` how.
    ///
    /// # Errors
    /// The system's.
    pub fn new(parts: Parts, log: &Log) -> io::Result<ProxyDaemon> {
        let workers = Workers::start(parts.threads, |confined| {
            let line = format_args!("{} threads carry streams: {confined}", parts.threads);
            log.say(DEBUG, line);
        })?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let watch = |fd: rustix::fd::BorrowedFd<'_>, token| {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN)
        };
        watch(parts.queue.as_fd(), QUEUE)?;
        watch(parts.control.as_fd(), CONTROL)?;
        watch(parts.signals.as_fd(), SIGNALS)?;
        watch(workers.as_fd(), REPORTS)?;
        for (token, listener) in (LISTENERS..).zip(&parts.listeners) {
            watch(listener.as_fd(), token)?;
        }
        Ok(ProxyDaemon {
            verdicts: parts.queue.verdicts(),
            queue: parts.queue,
            control: parts.control,
            signals: parts.signals,
            key_log: parts.key_log,
            tracking: parts.tracking,
            proxy: Proxy {
                host: parts.endpoint,
                injector: parts.injector,
                lookup: parts.lookup,
                listeners: parts.listeners,
                program: parts.program,
                epoll,
                table: Table::default(),
                syns: Syns::default(),
                near_routes: NearRoutes::default(),
                ending: Ending::default(),
                buffers: Buffers::new(),
                workers,
                lost: None,
                ready: std::collections::VecDeque::new(),
                held: 0,
                limit: parts.connections,
                counters: Counters::default(),
                packet: Vec::new(),
            },
            batch: Batch::new(BATCH),
            answer: Vec::new(),
            send_errors: 0,
            refused_verdicts: 0,
            fatal: false,
        })
    }

    /// Works until a signal says otherwise, then resets all connections.
    ///
    /// # Errors
    /// The system's waiting or the queue fails.
    pub fn run(&mut self, log: &mut Log) -> io::Result<Ended> {
        let result = self.work(log);
        if matches!(result, Ok(Ended::Signal)) {
            // The line that the original leaves behind for the ^C on the terminal.
            log.say_part("\n");
        }
        let now = Instant::now();
        self.proxy.shutdown(now, &mut self.verdicts);
        self.send_verdicts();
        self.drain(log, now);
        if let Some(tracking) = &mut self.tracking {
            if let Err(error) = tracking.restore() {
                log.complain(format_args!("nf_conntrack_tcp_be_liberal: {error}"));
            }
        }
        result
    }

    /// The state, as a signal asks for it and at the end.
    pub fn dump(&self, log: &Log) {
        let control = self.control.as_fd().as_raw_fd();
        let queue = self.queue.as_fd().as_raw_fd();
        log.dump(&[control, queue], self);
    }

    fn work(&mut self, log: &mut Log) -> io::Result<Ended> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(
                &self.proxy,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            let mut requests = false;
            for event in &events {
                match event.data.u64() {
                    QUEUE => self.handle_packets(log, now)?,
                    CONTROL => requests = true,
                    SIGNALS if self.is_asked_to_end(log)? => return Ok(Ended::Signal),
                    SIGNALS => {}
                    REPORTS => self.proxy.handle_reports(now),
                    token @ LISTENERS..=LAST => {
                        let which = usize::try_from(token - LISTENERS).unwrap_or(usize::MAX);
                        self.proxy.handle_accepts(now, which);
                    }
                    token => {
                        let (key, side) = Key::of_token(token);
                        let flags = event.flags;
                        self.proxy
                            .handle_socket(now, key, side, flags, &mut self.verdicts);
                    }
                }
            }
            if requests {
                self.handle_requests(now);
            }
            if let Some(lost) = self.proxy.take_lost() {
                log.complain(format_args!(
                    "a thread that carries streams has ended; {lost} connections were reset"
                ));
            }
            self.proxy.handle_ready(now);
            self.proxy.handle_deadlines(now, &mut self.verdicts);
            if self
                .proxy
                .host
                .poll_timeout()
                .is_some_and(|deadline| deadline <= now)
            {
                self.proxy.host.handle_timeout(now);
            }
            self.proxy.handle_requests_of_programs(now);
            self.send_verdicts();
            self.drain(log, now);
            if self.fatal {
                return Ok(Ended::Check);
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if self.proxy.has_work() {
            return Some(none);
        }
        let deadlines = [
            self.proxy.table.next_deadline(),
            self.proxy.host.poll_timeout(),
        ];
        let deadline = deadlines.into_iter().flatten().min()?;
        // Rounded up: epoll may count in milliseconds, and must not wake up in front of a deadline for nothing.
        let wait = deadline
            .saturating_duration_since(Instant::now())
            .saturating_add(Duration::from_millis(1));
        Some(Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: 3600,
            tv_nsec: 0,
        }))
    }

    fn is_asked_to_end(&self, log: &Log) -> io::Result<bool> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                number::USER1 => self.dump(log),
                // The rules are about to go. Nothing leaks by that: the proxy's sockets carry records, and
                // connections that were redirected stay so.
                number::USER2 => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    fn handle_packets(&mut self, log: &mut Log, now: Instant) -> io::Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let received = self.queue.receive(&mut self.batch)?;
            if received == 0 {
                break;
            }
            for datagram in self.batch.datagrams() {
                for message in Messages::new(datagram) {
                    match message {
                        Ok(Message::Packet(packet)) => {
                            self.proxy.handle_packet(now, &packet, &mut self.verdicts);
                        }
                        Ok(Message::Answer { error: Some(_), .. }) => self.refused_verdicts += 1,
                        Ok(_) => {}
                        Err(error) => log.event(now, DEBUG, error),
                    }
                }
                if self.verdicts.is_full() && self.queue.send(&mut self.verdicts).is_err() {
                    self.send_errors += 1;
                }
            }
            if received < self.batch.slots() {
                break;
            }
        }
        self.send_verdicts();
        Ok(())
    }

    fn send_verdicts(&mut self) {
        if self.queue.send(&mut self.verdicts).is_err() {
            self.send_errors += 1;
        }
    }

    fn handle_requests(&mut self, now: Instant) {
        for _ in 0..REQUESTS_IN_A_ROW {
            let Some((client, request)) = self.control.receive() else {
                break;
            };
            let host = &mut self.proxy.host;
            host.handle_control(now, ClientId(client), request);
        }
    }

    /// What the protocol wants to have done.
    fn drain(&mut self, log: &mut Log, now: Instant) {
        loop {
            self.answer.clear();
            let Some(client) = self.proxy.host.poll_control(&mut self.answer) else {
                break;
            };
            self.control.answer(client.0, &self.answer);
        }
        while let Some(event) = self.proxy.host.poll_event() {
            self.fatal |= event.fatal;
            match (&event.kind, &mut self.key_log) {
                (EventKind::KeyLog(keys), Some(file)) => file.write(keys),
                // Never where it was not asked for.
                (EventKind::KeyLog(_), None) => {}
                _ => log.event(now, event.level, &event),
            }
        }
    }
}

/// The lines that `-v` adds to the state dump.
impl fmt::Display for ProxyDaemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.proxy.counters;
        let injector = &self.proxy.injector;
        writeln!(
            formatter,
            "Packets: {} in queue, {} replaced, {} dropped; {} injected, {} failed",
            counters.packets, counters.replaced, counters.dropped, injector.sent, injector.failed,
        )?;
        writeln!(
            formatter,
            "Verdicts: {} refused, {} sends failed, {} packets too long",
            self.refused_verdicts,
            self.send_errors,
            self.verdicts.refused_replacements(),
        )?;
        let stats = self.proxy.host.stats();
        writeln!(
            formatter,
            "Connections: {} carried, {} encrypted; {} redirected so far, {} refused; {} sessions kept",
            self.proxy.table.len(),
            stats.encrypted,
            counters.redirected,
            counters.refused,
            stats.sessions,
        )?;
        let carried: Vec<_> = self.proxy.workers.carried().collect();
        writeln!(
            formatter,
            "Threads: {} streams handed over so far, now {carried:?}",
            counters.handed_over,
        )?;
        writeln!(
            formatter,
            "So far: {} by key exchange, {} resumed, {} fell back to plain, {} reset",
            stats.exchanged, stats.resumed, stats.plain, stats.reset,
        )
    }
}
