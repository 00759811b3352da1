//! The engine: everything the daemon negotiates, as one value.

mod contents;
mod dump;
mod input;
mod notify;
mod requests;
mod seal;
pub(crate) mod tables;
pub(crate) mod timers;
pub(crate) mod transmit;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isakmp_proto::header::Cookie;

use crate::config::{Configuration, General};
use crate::credentials::Credentials;
use crate::event::{Address, Event, Path, Transmit};
use crate::exchange::quick_mode;
use crate::exchange::{Exchange, ExchangeId, ExchangeSummary, Outcome, State, Waiting};
use crate::job::{Job, JobId, JobResult};
use crate::journal::{Class, Journal};
use crate::kernel::{Request, Ticket};
use crate::policy::Policy;
use crate::random::{Purpose, Random};
use crate::sa::{Role, SaId};

use notify::Bucket;
use tables::{Exchanges, Sas};
use timers::{Timer, Timers};
use transmit::Queue;

/// Everything an engine works with.
pub struct Setup {
    /// isakmpd.conf
    pub configuration: Rc<dyn Configuration>,
    /// Keys and certificates.
    pub credentials: Rc<dyn Credentials>,
    /// isakmpd.policy; `None` with `-K`.
    pub policy: Option<Rc<dyn Policy>>,
    /// Octets nobody can guess.
    pub random: Box<dyn Random>,
    /// Options of the command line.
    pub options: Options,
}

/// Options of the command line that concern the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// NAT traversal is offered and accepted; `-T` switches it off.
    pub nat_t: bool,
    /// Nothing is initiated, and nothing deleted at shutdown: `-S`.
    pub passive: bool,
    /// Flows are left to others: `-a`.
    pub acquire_only: bool,
    /// Port of our NAT traversal sockets: `-N`.
    pub nat_t_port: u16,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nat_t: true,
            passive: false,
            acquire_only: false,
            nat_t_port: 4500,
            limits: Limits::default(),
        }
    }
}

/// How much of what others cause is kept.
///
/// A half-open exchange that a spoofed first message made takes below 1 KiB (plus the SA payload where it is
/// longer than 256 octets, all of them together at most [`half_open_octets`](Self::half_open_octets)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Half-open responder exchanges in all; the oldest goes first.
    pub half_open: usize,
    /// Half-open responder exchanges of one address; the oldest goes first.
    pub half_open_per_peer: usize,
    /// Octets of SA payloads kept for half-open exchanges in all.
    pub half_open_octets: usize,
    /// Exchanges of all kinds; beyond it nothing new is begun or answered.
    pub exchanges: usize,
    /// Unauthenticated error notifications per second.
    pub notifications_per_second: u32,
    /// First messages answered per second while the table of half-open exchanges is more than half full: so many from
    /// addresses that the configuration lists, and as many from others.
    pub first_messages_per_second: u32,
    /// First messages of Aggressive Mode per second: each costs a key exchange.
    pub aggressive_per_second: u32,
    /// Messages of the same step that may take an earlier one's place, until the peer is authenticated:
    /// a forged message must not block the real peer.
    pub replacements: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            half_open: 4096,
            half_open_per_peer: 16,
            half_open_octets: 4 << 20,
            exchanges: 65_536,
            notifications_per_second: 100,
            first_messages_per_second: 2000,
            aggressive_per_second: 500,
            replacements: 32,
        }
    }
}

/// Which SAs a request of the operator is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// ISAKMP SAs (`main`).
    One,
    /// IPsec SAs (`quick`).
    Two,
}

/// IKEv1 for all peers of one daemon. See the crate's notes for who calls what.
pub struct Engine {
    pub(crate) configuration: Rc<dyn Configuration>,
    pub(crate) credentials: Rc<dyn Credentials>,
    pub(crate) policy: Option<Rc<dyn Policy>>,
    pub(crate) random: Box<dyn Random>,
    pub(crate) options: Options,
    /// `[General]` as of the last input.
    pub(crate) general: Rc<General>,
    pub(crate) journal: Journal,
    pub(crate) exchanges: Exchanges,
    pub(crate) sas: Sas,
    pub(crate) timers: Timers,
    pub(crate) queue: Queue,
    pub(crate) active: bool,
    pub(crate) shutting_down: bool,
    pub(crate) drained: bool,
    /// INITIAL_CONTACT went to these, once in the life of the daemon.
    pub(crate) contacted: HashSet<Address>,
    pub(crate) local_addresses: Vec<SocketAddr>,
    /// What phase 2 keeps besides exchanges and SAs.
    pub(crate) phase2: crate::phase2::Shared,
    /// Octets of SA payloads of half-open exchanges.
    pub(crate) half_open_octets: usize,
    events: VecDeque<Event>,
    jobs: VecDeque<(JobId, Job)>,
    waiting_jobs: HashMap<JobId, ExchangeId>,
    waiting_tickets: HashMap<Ticket, ExchangeId>,
    capture: bool,
    next_id: u64,
    notifications: Bucket,
    first_messages: Bucket,
    first_messages_of_listed: Bucket,
    aggressive: Bucket,
    started: Instant,
}

impl Engine {
    /// An engine without exchanges and SAs.
    #[must_use]
    pub fn new(setup: Setup, now: Instant) -> Self {
        let limits = setup.options.limits;
        Self {
            general: setup.configuration.general(),
            configuration: setup.configuration,
            credentials: setup.credentials,
            policy: setup.policy,
            random: setup.random,
            options: setup.options,
            journal: Journal::default(),
            exchanges: Exchanges::default(),
            sas: Sas::default(),
            timers: Timers::default(),
            queue: Queue::default(),
            active: !setup.options.passive,
            shutting_down: false,
            drained: false,
            contacted: HashSet::new(),
            local_addresses: Vec::new(),
            phase2: crate::phase2::Shared::default(),
            half_open_octets: 0,
            events: VecDeque::new(),
            jobs: VecDeque::new(),
            waiting_jobs: HashMap::new(),
            waiting_tickets: HashMap::new(),
            capture: false,
            next_id: 0,
            notifications: Bucket::new(now, limits.notifications_per_second),
            first_messages: Bucket::new(now, limits.first_messages_per_second),
            first_messages_of_listed: Bucket::new(now, limits.first_messages_per_second),
            aggressive: Bucket::new(now, limits.aggressive_per_second),
            started: now,
        }
    }

    /// The next message to send, written to `octets` (whose content is replaced). Deletions come first.
    pub fn poll_transmit(&mut self, octets: &mut Vec<u8>) -> Option<Transmit> {
        let (transmit, message) = self.queue.pop()?;
        octets.clear();
        octets.extend_from_slice(&message);
        Some(transmit)
    }

    /// The next thing for the program.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if let Some(record) = self.journal.pop() {
            return Some(Event::Log(record));
        }
        if self.shutting_down && !self.drained && self.queue.is_empty() {
            self.drained = true;
            return Some(Event::Drained);
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_due()
    }

    /// Work for a thread; its result goes to [`handle_job`](Self::handle_job).
    pub fn poll_job(&mut self) -> Option<(JobId, Job)> {
        self.jobs.pop_front()
    }

    /// Everything that is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.refresh();
        while let Some(timer) = self.timers.pop(now) {
            self.journal.debug(Class::Timer, 10, || {
                let (name, number) = crate::report::timer_name(&timer);
                format!("timer_handle_expirations: event {name}({number})")
            });
            match timer {
                Timer::ExchangeDeadline(id) => {
                    if let Some(exchange) = self.exchanges.take(id) {
                        self.exchange_expired(now, exchange);
                    }
                }
                Timer::Retransmit(id) => {
                    if let Some(exchange) = self.exchanges.take(id) {
                        self.retransmission_due(now, exchange);
                    }
                }
                other => crate::phase2::timer(self, now, other),
            }
        }
    }

    /// The result of a job.
    pub fn handle_job(&mut self, now: Instant, id: JobId, result: JobResult) {
        self.refresh();
        let Some(exchange) = self.waiting_jobs.remove(&id) else {
            return;
        };
        let Some(mut exchange) = self.exchanges.take(exchange) else {
            return;
        };
        if exchange.waiting != Some(Waiting::Job(id)) {
            self.exchanges.put_back(exchange);
            return;
        }
        exchange.waiting = None;
        let outcome = match exchange.state {
            State::Main(_) => {
                crate::exchange::main_mode::job_done(self, now, &mut exchange, result)
            }
            State::Aggressive(_) => {
                crate::exchange::aggressive::job_done(self, now, &mut exchange, result)
            }
            State::Quick(_) => quick_mode::job_done(self, now, &mut exchange, result),
            State::Informational | State::Transaction(_) => Outcome::Refused,
        };
        let deferred = std::mem::take(&mut exchange.deferred);
        self.conclude(now, exchange, outcome);
        for (path, octets) in deferred {
            self.handle_datagram(now, path, &octets);
        }
    }

    /// The kernel's answer to `Request::AllocateSpi`; `None`: it has none.
    pub fn handle_spi(&mut self, now: Instant, ticket: Ticket, spi: Option<u32>) {
        self.kernel_answer(now, ticket, |engine, exchange| {
            quick_mode::spi(engine, now, exchange, ticket, spi)
        });
    }

    /// The kernel's answer to `Request::Install`.
    pub fn handle_installed(&mut self, now: Instant, ticket: Ticket, result: Result<(), String>) {
        self.kernel_answer(now, ticket, |engine, exchange| {
            quick_mode::installed(engine, now, exchange, ticket, result)
        });
    }

    fn kernel_answer(
        &mut self,
        now: Instant,
        ticket: Ticket,
        answer: impl FnOnce(&mut Self, &mut Exchange) -> Outcome,
    ) {
        self.refresh();
        let Some(exchange) = self.waiting_tickets.remove(&ticket) else {
            return;
        };
        let Some(mut exchange) = self.exchanges.take(exchange) else {
            return;
        };
        if exchange.waiting == Some(Waiting::Kernel(ticket)) {
            exchange.waiting = None;
        }
        let outcome = answer(self, &mut exchange);
        self.conclude(now, exchange, outcome);
    }

    /// Another policy from now on; `None`: none, as with `-K`.
    pub fn set_policy(&mut self, policy: Option<Rc<dyn Policy>>) {
        self.policy = policy;
    }

    /// Our sockets' addresses, the IKE ones (not those of port 4500).
    pub fn set_local_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.local_addresses = addresses;
    }

    /// Debugging lines of a class up to this level.
    pub fn set_log_level(&mut self, class: Class, level: u8) {
        self.journal.set_level(class, level);
    }

    /// Lines about finished negotiations: `-v`.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.journal.set_verbose(verbose);
    }

    /// Whether messages in clear are made for a capture.
    pub fn set_capture(&mut self, capture: bool) {
        self.capture = capture;
    }

    /// Running exchanges, oldest first.
    pub fn exchange_summaries(&self) -> impl Iterator<Item = ExchangeSummary> + '_ {
        self.exchanges.iter().map(|exchange| ExchangeSummary {
            id: exchange.id,
            name: exchange.name.clone(),
            phase: exchange.state.phase(),
            exchange: exchange.state.exchange_type(),
            step: exchange.step,
            role: exchange.role,
        })
    }

    /// When the engine was made.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The configuration may have changed since the last input.
    pub(crate) fn refresh(&mut self) {
        self.general = self.configuration.general();
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// A name for a new SA.
    pub(crate) fn new_sa_id(&mut self) -> SaId {
        SaId(self.fresh_id())
    }

    /// Something for the program, after all lines logged so far.
    pub(crate) fn emit(&mut self, event: Event) {
        while let Some(record) = self.journal.pop() {
            self.events.push_back(Event::Log(record));
        }
        self.events.push_back(event);
    }

    /// Hands work to a thread; the exchange waits for it.
    pub(crate) fn begin_job(&mut self, exchange: &mut Exchange, job: Job) {
        let id = JobId(self.fresh_id());
        self.waiting_jobs.insert(id, exchange.id);
        exchange.waiting = Some(Waiting::Job(id));
        self.jobs.push_back((id, job));
    }

    /// Asks the kernel something for an exchange; `make` gets the ticket. The caller sets `waiting`.
    pub(crate) fn ask_kernel(
        &mut self,
        exchange: ExchangeId,
        make: impl FnOnce(Ticket) -> Request,
    ) -> Ticket {
        let ticket = Ticket(self.fresh_id());
        self.waiting_tickets.insert(ticket, exchange);
        self.emit(Event::Kernel(make(ticket)));
        ticket
    }

    /// A new exchange, not yet entered in the table.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new_exchange(
        &mut self,
        now: Instant,
        state: State,
        role: Role,
        cookies: (Cookie, Cookie),
        message_id: u32,
        path: Path,
        name: Option<Rc<str>>,
    ) -> Box<Exchange> {
        let id = ExchangeId(self.fresh_id());
        let due = now + self.general.exchange_max_time.max(Duration::from_secs(1));
        let deadline = self.timers.set(due, Timer::ExchangeDeadline(id));
        Box::new(Exchange {
            id,
            state,
            role,
            initiator_cookie: cookies.0,
            responder_cookie: cookies.1,
            message_id,
            path,
            name,
            step: 0,
            sa: None,
            started: now,
            deadline,
            retransmit_timer: None,
            iv: Vec::new(),
            last_received: None,
            last_sent: None,
            last_is_final: false,
            muted: false,
            transmissions: 0,
            given_up: false,
            waiting: None,
            deferred: Vec::new(),
            then: Vec::new(),
            done: false,
            he_committed: false,
            stay_alive: false,
        })
    }

    /// A new phase 2 exchange under `sa`, not yet entered: its IV is derived. `None`: no such SA.
    pub(crate) fn new_phase2_exchange(
        &mut self,
        now: Instant,
        sa: SaId,
        state: State,
        role: Role,
        message_id: u32,
        name: Option<Rc<str>>,
    ) -> Option<Box<Exchange>> {
        let isakmp = self.sas.phase1(sa)?;
        let cookies = (isakmp.initiator_cookie, isakmp.responder_cookie);
        let path = isakmp.path;
        let iv = isakmp.protection.phase2_iv(message_id);
        let mut exchange = self.new_exchange(now, state, role, cookies, message_id, path, name);
        exchange.sa = Some(sa);
        exchange.iv = iv;
        Some(exchange)
    }

    /// A message ID nobody uses under that SA.
    pub(crate) fn new_message_id(&mut self, sa: SaId) -> u32 {
        let cookies = self
            .sas
            .phase1(sa)
            .map(|sa| (sa.initiator_cookie, sa.responder_cookie));
        loop {
            let mut octets = [0; 4];
            self.random.fill(Purpose::MessageId, &mut octets);
            let id = u32::from_be_bytes(octets);
            let taken = cookies.is_some_and(|(i, r)| self.exchanges.find(i, r, id).is_some());
            if id != 0 && !taken {
                return id;
            }
        }
    }

    pub(crate) fn new_cookie(&mut self) -> Cookie {
        loop {
            let mut octets = [0; 8];
            self.random.fill(Purpose::Cookie, &mut octets);
            let cookie = Cookie(octets);
            if !cookie.is_zero() {
                return cookie;
            }
        }
    }

    /// Puts an exchange back after work, or away.
    pub(crate) fn conclude(&mut self, now: Instant, mut exchange: Box<Exchange>, outcome: Outcome) {
        match outcome {
            Outcome::Continue | Outcome::Refused => self.exchanges.put_back(exchange),
            Outcome::Done => {
                self.exchanges.no_longer_half_open(&exchange);
                exchange.done = true;
                let then = std::mem::take(&mut exchange.then);
                let (sa, phase) = (exchange.sa, exchange.state.phase());
                if exchange.last_sent.is_some() {
                    self.exchanges.put_back(exchange);
                } else {
                    self.free(exchange);
                }
                self.run_then(now, sa, then, phase);
            }
            Outcome::Abandon => {
                let then = std::mem::take(&mut exchange.then);
                self.free(exchange);
                self.then_failed(now, then);
            }
        }
    }

    /// Forgets an exchange that was taken out of the table.
    pub(crate) fn free(&mut self, mut exchange: Box<Exchange>) {
        self.journal.debug(Class::Exchange, 80, || {
            format!(
                "exchange_free: exchange {} {}",
                exchange.id,
                exchange.display_name()
            )
        });
        self.stop_retransmission(&mut exchange);
        self.timers.cancel(exchange.deadline);
        match exchange.waiting {
            Some(Waiting::Job(job)) => {
                self.waiting_jobs.remove(&job);
                self.jobs.retain(|(id, _)| *id != job);
            }
            Some(Waiting::Kernel(ticket)) => {
                self.waiting_tickets.remove(&ticket);
            }
            None => {}
        }
        if let State::Main(negotiation) | State::Aggressive(negotiation) = &exchange.state {
            if exchange.role == Role::Responder && !exchange.done {
                self.half_open_octets = self
                    .half_open_octets
                    .saturating_sub(negotiation.sa_body.len());
            }
        }
        if let State::Quick(_) = &exchange.state {
            quick_mode::freed(self, &mut exchange);
        }
        self.exchanges.forget(&exchange);
    }

    fn exchange_expired(&mut self, now: Instant, mut exchange: Box<Exchange>) {
        let then = std::mem::take(&mut exchange.then);
        if !exchange.done {
            self.journal.debug(Class::Exchange, 10, || {
                format!(
                    "exchange_free_aux: exchange {} {} timed out at step {}",
                    exchange.id,
                    exchange.display_name(),
                    exchange.step
                )
            });
        }
        self.free(exchange);
        self.then_failed(now, then);
    }
}
