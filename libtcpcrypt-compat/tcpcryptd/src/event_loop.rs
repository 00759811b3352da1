//! One thread that waits for packets, requests, signals and deadlines, and does what each asks for.

mod rules;
mod sources;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use kx_sys::companion::Companion;
use kx_sys::conntrack::LiberalTracking;
use kx_sys::nfqueue::{Batch, Losses, Message, Messages, Queue, Statistics, Verdicts};
use kx_sys::signals::{Signals, number};
use kx_sys::socket_end::SocketEnder;
use tcpcrypt_proto::endpoint::{ClientId, Endpoint};
use tcpcrypt_proto::event::EventKind;

use crate::control_socket::ControlSocket;
use crate::divert::Divert;
use crate::injector::Injector;
use crate::key_log::KeyLogFile;
use crate::log::{ALWAYS, DEBUG, Log};
use crate::rule_watch::RuleWatch;

use sources::{Source, Sources};

/// Datagrams received with one call.
const BATCH: usize = 64;
/// Batches after which the others get their turn.
const BATCHES_IN_A_ROW: usize = 16;
/// Requests after which the others get their turn.
const REQUESTS_IN_A_ROW: usize = 64;
/// How long the last packets may take at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long the guard may take to go.
const GUARD_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for one of them.
const FAREWELL_STEP: Duration = Duration::from_millis(20);

/// What the loop works with; everything is open when it is made.
pub struct Parts {
    /// Where packets come from.
    pub queue: Queue,
    /// What the kernel counts about it, if that can be read.
    pub statistics: Option<Statistics>,
    /// How they are judged.
    pub divert: Divert,
    /// Where packets go to that we make.
    pub injector: Injector,
    /// Where programs ask.
    pub control: ControlSocket,
    /// What ends the daemon.
    pub signals: Signals,
    /// Who resets connections if we cannot.
    pub guard: Option<Companion>,
    /// To be put back at the end.
    pub tracking: Option<LiberalTracking>,
    /// The protocol.
    pub endpoint: Endpoint,
    /// Where keys are written for tests.
    pub key_log: Option<KeyLogFile>,
    /// Whether packets still come.
    pub rules: RuleWatch,
    /// Ends connections of this host that a reset may not have reached.
    pub ender: Option<SocketEnder>,
    /// Whether new connections are encrypted; without `-d` they are.
    pub enabled: bool,
}

/// The running daemon.
pub struct Daemon {
    parts: Parts,
    sources: Sources,
    batch: Batch,
    verdicts: Verdicts,
    answer: Vec<u8>,
    send_errors: u64,
    refused_verdicts: u64,
    fatal: bool,
    /// Until when new connections are plain.
    paused: Option<Instant>,
    probe: Vec<u8>,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal asked for it.
    Signal,
    /// In debug mode, something happened that must not.
    Check,
}

impl Daemon {
    /// Everything is there.
    ///
    /// # Errors
    /// The system cannot keep the list of what is waited for.
    pub fn new(parts: Parts) -> io::Result<Daemon> {
        let sources = Sources::new()?;
        sources.add(&parts.queue, Source::Packets)?;
        sources.add(&parts.control, Source::Request)?;
        sources.add(&parts.signals, Source::Signal)?;
        if let Some(guard) = &parts.guard {
            sources.add(guard, Source::Guard)?;
        }
        if let Some(changes) = &parts.rules.changes {
            sources.add(changes, Source::Rules)?;
        }
        Ok(Daemon {
            verdicts: parts.queue.verdicts(),
            parts,
            sources,
            batch: Batch::new(BATCH),
            answer: Vec::new(),
            send_errors: 0,
            refused_verdicts: 0,
            fatal: false,
            paused: None,
            probe: Vec::new(),
        })
    }

    /// Works until a signal says otherwise, then resets what is encrypted and puts back what was
    /// changed.
    ///
    /// # Errors
    /// The queue cannot be read any more.
    pub fn run(&mut self, log: &mut Log) -> io::Result<Ended> {
        let result = self.work(log);
        if matches!(result, Ok(Ended::Signal)) {
            // The line that the original leaves behind for the ^C on the terminal.
            log.say_part("\n");
        }
        self.say_farewell(log);
        result
    }

    /// The state, as a signal asks for it and at the end.
    pub fn dump(&self, log: &Log) {
        let control = self.parts.control.as_fd().as_raw_fd();
        let queue = self.parts.queue.as_fd().as_raw_fd();
        log.dump(&[control, queue], self);
    }

    fn work(&mut self, log: &mut Log) -> io::Result<Ended> {
        loop {
            let protocol = self.parts.endpoint.poll_timeout();
            let encrypted = self.parts.endpoint.count_encrypted();
            let fresh = self.parts.endpoint.has_fresh();
            let rules = &mut self.parts.rules;
            let rules = rules.deadline(Instant::now(), encrypted, fresh);
            let wait = [protocol, rules, self.paused].into_iter().flatten().min();
            let debts = self.parts.endpoint.has_debts();
            let leisure = self.parts.endpoint.has_work_for_leisure();
            let at_once = (debts || leisure).then(Instant::now);
            let mut ready = self.sources.wait(at_once.or(wait))?;
            let idle = !ready.packets && !ready.request;
            if debts && idle {
                // The peer waits for it.
                self.parts.endpoint.pay_debts();
            } else if leisure && idle {
                // The applications and the peer's daemon may wait for this processor.
                std::thread::yield_now();
                ready = self.sources.wait(at_once)?;
                if !ready.packets && !ready.request {
                    self.parts.endpoint.use_leisure();
                }
            }
            if ready.signal && self.is_asked_to_end(log)? {
                return Ok(Ended::Signal);
            }
            if ready.guard {
                if let Some(guard) = self.parts.guard.take() {
                    self.sources.remove(&guard);
                }
                self.parts.divert.table = None;
                let lost = "The guard process is gone; encrypted connections would outlive a crash";
                log.say(ALWAYS, lost);
            }
            if ready.packets {
                self.handle_packets(log)?;
            }
            if ready.request {
                self.handle_requests();
            }
            let now = Instant::now();
            self.end_pause(now);
            self.look_after_rules(log, now, ready.rules)?;
            if protocol.is_some_and(|deadline| deadline <= now) {
                self.parts.endpoint.handle_timeout(now);
            }
            self.drain(log, now);
            if self.fatal {
                return Ok(Ended::Check);
            }
        }
    }

    fn is_asked_to_end(&mut self, log: &mut Log) -> io::Result<bool> {
        while let Some(signal) = self.parts.signals.next()? {
            match signal {
                number::USER1 => self.dump(log),
                number::USER2 => self.give_up_encryption(log)?,
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Takes packets until there are none; their verdicts go out in front of what is injected, so
    /// that packets stay in order. True if there is none left.
    fn handle_packets(&mut self, log: &mut Log) -> io::Result<bool> {
        for _ in 0..BATCHES_IN_A_ROW {
            let received = self.parts.queue.receive(&mut self.batch)?;
            if received == 0 {
                return Ok(true);
            }
            let now = Instant::now();
            let mut had_super = false;
            for datagram in self.batch.datagrams() {
                for message in Messages::new(datagram) {
                    match message {
                        Ok(Message::Packet(packet)) => {
                            had_super |= packet.super_packet;
                            let parts = &mut self.parts;
                            self.verdicts.decide(packet.id, |out| {
                                let outward = packet.hook.is_outward();
                                if outward && parts.rules.came(packet.interface, packet.payload) {
                                    return Divert::DROP;
                                }
                                let endpoint = &mut parts.endpoint;
                                parts.divert.decide(endpoint, log, now, &packet, out)
                            });
                        }
                        Ok(Message::Answer { error: Some(_), .. }) => self.refused_verdicts += 1,
                        Ok(_) => {}
                        Err(error) => log.event(now, DEBUG, error),
                    }
                }
                // What follows a super-packet must come before the next.
                let follows = had_super && self.parts.endpoint.has_packets();
                if self.verdicts.is_full() || follows {
                    send(&self.parts.queue, &mut self.verdicts, &mut self.send_errors);
                }
                if follows {
                    let parts = &mut self.parts;
                    let table = parts.divert.table.as_mut();
                    parts.injector.drain(now, &mut parts.endpoint, table);
                }
            }
            send(&self.parts.queue, &mut self.verdicts, &mut self.send_errors);
            self.inject(now);
            if !self.batch.is_full() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn handle_requests(&mut self) {
        let now = Instant::now();
        for _ in 0..REQUESTS_IN_A_ROW {
            let Some((client, request)) = self.parts.control.receive() else {
                break;
            };
            self.parts
                .endpoint
                .handle_control(now, ClientId(client), request);
        }
    }

    fn inject(&mut self, now: Instant) -> bool {
        let parts = &mut self.parts;
        let table = parts.divert.table.as_mut();
        parts.injector.drain(now, &mut parts.endpoint, table)
    }

    /// What the protocol wants to have done.
    fn drain(&mut self, log: &mut Log, now: Instant) {
        self.inject(now);
        loop {
            self.answer.clear();
            let Some(client) = self.parts.endpoint.poll_control(&mut self.answer) else {
                break;
            };
            self.parts.control.answer(client.0, &self.answer);
        }
        while let Some(event) = self.parts.endpoint.poll_event() {
            self.fatal |= event.fatal;
            match (&event.kind, &mut self.parts.key_log) {
                (EventKind::KeyLog(keys), Some(file)) => file.write(keys),
                // Never where it was not asked for.
                (EventKind::KeyLog(_), None) => {}
                _ => log.event(now, event.level, &event),
            }
        }
    }

    /// Resets encrypted connections at both ends: without us they could only stall, or show plain
    /// text. The resets come through the queue themselves, so it is served a little longer.
    fn say_farewell(&mut self, log: &mut Log) {
        self.parts.endpoint.shutdown();
        let end = Instant::now() + FAREWELL;
        let mut waiting = self.inject(Instant::now());
        while waiting && Instant::now() < end {
            let step = Instant::now() + FAREWELL_STEP;
            waiting = matches!(self.sources.wait(Some(step)), Ok(ready) if ready.packets)
                && self.handle_packets(log).is_ok();
        }
        self.drain(log, Instant::now());
        if let Some(tracking) = &mut self.parts.tracking {
            if let Err(error) = tracking.restore() {
                log.complain(format_args!("nf_conntrack_tcp_be_liberal: {error}"));
            }
        }
        if let Some(guard) = self.parts.guard.take() {
            guard.dismiss(GUARD_PATIENCE);
        }
    }
}

fn send(queue: &Queue, verdicts: &mut Verdicts, errors: &mut u64) {
    if queue.send(verdicts).is_err() {
        *errors += 1;
    }
}

/// The lines that `-v` adds to the state dump.
impl fmt::Display for Daemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.parts.divert.counters;
        let injector = &self.parts.injector;
        writeln!(
            formatter,
            "Packets: {} in queue, {} replaced, {} dropped, {} own; {} injected, {} failed",
            counters.packets,
            counters.replaced,
            counters.dropped,
            counters.own,
            injector.sent,
            injector.failed,
        )?;
        writeln!(
            formatter,
            "Verdicts: {} refused, {} sends failed, {} packets too long",
            self.refused_verdicts,
            self.send_errors,
            self.verdicts.refused_replacements(),
        )?;
        let losses = match &self.parts.statistics {
            Some(statistics) => statistics.losses().ok().flatten(),
            None => None,
        };
        if let Some(Losses {
            queue_full,
            buffer_full,
        }) = losses
        {
            writeln!(
                formatter,
                "Lost by the kernel: {queue_full} for a full queue, {buffer_full} for a full buffer",
            )?;
        }
        let stats = self.parts.endpoint.stats();
        writeln!(
            formatter,
            "Connections: {} encrypted, {} in handshake, {} closed lately; {} sessions kept",
            stats.encrypted, stats.half_open, stats.tombstones, stats.sessions,
        )?;
        writeln!(
            formatter,
            "So far: {} by key exchange, {} resumed, {} fell back to plain, {} reset",
            stats.exchanged, stats.resumed, stats.plain, stats.reset,
        )
    }
}
