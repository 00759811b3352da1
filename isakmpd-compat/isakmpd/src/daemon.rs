//! The running daemon: one thread that waits for messages, commands, signals, results and deadlines, and does
//! what each asks for.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::Engine;
use ike::event::{Address, Event};
use ike::journal::Class;
use ike::kernel::Request;
use isakmpd_conf::Running;
use kx_sys::interface_addresses::AddressChanges;
use kx_sys::signals::{Signals, number};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::capture::Capture;
use crate::fifo::{Command, CommandError, Fifo, Phase};
use crate::files::Files;
use crate::host::Surveyed;
use crate::kernel::{Kernel, Notice};
use crate::log::{ALL, Log};
use crate::options::{Level, Options};
use crate::reload::Reloadable;
use crate::results::{write_report, write_result};
use crate::sockets::{NoSockets, Sockets, Surroundings, listen_on};
use crate::workers::Workers;

/// How long after a command the lists of connections are made anew.
const REBUILD_DELAY: Duration = Duration::from_secs(5);
/// Messages to addresses without a socket make us look for new ones so often at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the last messages may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the daemon works with; everything is open when it is made.
pub struct Parts {
    /// The command line.
    pub options: Rc<Options>,
    /// The log.
    pub log: Rc<Log>,
    /// Who opens what only root may.
    pub files: Rc<dyn Files>,
    /// isakmpd.conf
    pub configuration: Rc<Running>,
    /// Keys and policy, which are read again with it.
    pub reloadable: Reloadable,
    /// The protocol.
    pub engine: Engine,
    /// Where SAs are put.
    pub kernel: Box<dyn Kernel>,
    /// The host's addresses.
    pub host: Surveyed,
    /// Sockets at them.
    pub sockets: Sockets,
    /// Threads for public keys.
    pub workers: Workers,
    /// Commands.
    pub fifo: Fifo,
    /// HUP, USR1, TERM, perhaps INT.
    pub signals: Signals,
    /// New addresses.
    pub changes: Option<AddressChanges>,
}

/// The daemon.
pub struct Daemon {
    parts: Parts,
    capture: Capture,
    message: Vec<u8>,
    rebuild_at: Option<Instant>,
    looked_at: Instant,
    /// Until when the end may take.
    ending: Option<Instant>,
    drained: bool,
}

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    Workers,
    Fifo,
    Changes,
    Kernel,
    Monitor,
    Sockets,
}

impl Daemon {
    /// Everything is there.
    #[must_use]
    pub fn new(parts: Parts, now: Instant) -> Daemon {
        Daemon {
            parts,
            capture: Capture::new(),
            message: Vec::new(),
            rebuild_at: None,
            looked_at: now,
            ending: None,
            drained: false,
        }
    }

    /// Opens the sockets and begins with the connections.
    ///
    /// # Errors
    /// An address or port cannot be had.
    pub fn begin(&mut self) -> Result<(), NoSockets> {
        self.look(true)?;
        if let Some(path) = self.parts.options.capture.clone() {
            self.capture
                .start(&path, &*self.parts.files, &self.parts.log);
        }
        self.synchronize();
        let now = Instant::now();
        self.parts.engine.rebuild_connections(now);
        self.pump(now);
        Ok(())
    }

    /// Works until it is told to end, and has done so.
    ///
    /// # Errors
    /// The system cannot say what can be read; the monitor is gone.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            let now = Instant::now();
            for source in ready {
                self.serve(source, now)?;
            }
            if self.rebuild_at.is_some_and(|at| at <= now) {
                self.rebuild_at = None;
                self.parts.engine.rebuild_connections(now);
            }
            if self.parts.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.parts.engine.handle_timeout(now);
            }
            self.pump(now);
            if let Some(until) = self.ending {
                if self.drained || now >= until {
                    self.capture.stop(&self.parts.log);
                    self.parts.log.print("isakmpd: exit");
                    return Ok(());
                }
            }
        }
    }

    fn wait(&mut self) -> io::Result<Vec<Source>> {
        let parts = &self.parts;
        let mut sources = vec![Source::Signals, Source::Workers];
        let mut wanted = vec![
            PollFd::new(&parts.signals, PollFlags::IN),
            PollFd::new(&parts.workers, PollFlags::IN),
        ];
        if !parts.fifo.has_ended() {
            sources.push(Source::Fifo);
            wanted.push(PollFd::new(&parts.fifo, PollFlags::IN));
        }
        if let Some(changes) = &parts.changes {
            sources.push(Source::Changes);
            wanted.push(PollFd::new(changes, PollFlags::IN));
        }
        if let Some(line) = parts.files.line() {
            sources.push(Source::Monitor);
            wanted.push(PollFd::from_borrowed_fd(line, PollFlags::IN));
        }
        if let Some(kernel) = parts.kernel.descriptor() {
            sources.push(Source::Kernel);
            wanted.push(PollFd::from_borrowed_fd(kernel, PollFlags::IN));
        }
        sources.push(Source::Sockets);
        wanted.push(PollFd::new(&parts.sockets, PollFlags::IN));
        let deadlines = [parts.engine.poll_timeout(), self.rebuild_at, self.ending];
        let patience = deadlines.into_iter().flatten().min().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut wanted, patience.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sources
            .into_iter()
            .zip(&wanted)
            .filter(|(_, wanted)| !wanted.revents().is_empty());
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn serve(&mut self, source: Source, now: Instant) -> io::Result<()> {
        match source {
            Source::Signals => self.take_signals(now),
            Source::Workers => {
                for (id, result) in self.parts.workers.results() {
                    self.parts.engine.handle_job(now, id, result);
                }
            }
            Source::Fifo => match self.parts.fifo.read() {
                Ok(commands) => {
                    for command in commands {
                        self.command(command, now);
                        // What a command did is done before the next one is looked at.
                        self.pump(now);
                    }
                }
                Err(error) => self.parts.log.error("ui_handler: read", &error),
            },
            Source::Changes => {
                if self
                    .parts
                    .changes
                    .as_ref()
                    .is_some_and(AddressChanges::take)
                {
                    // Already listening: what is missing now may come later.
                    let _ = self.look(false);
                }
            }
            Source::Kernel => {
                for notice in self.parts.kernel.notices() {
                    self.notice(notice, now);
                }
            }
            // Nobody asked it anything: it is gone, and without it there is nothing to be done in good order.
            Source::Monitor => return Err(io::ErrorKind::BrokenPipe.into()),
            Source::Sockets => {
                for place in self.parts.sockets.ready()? {
                    self.receive(place, now);
                }
            }
        }
        Ok(())
    }

    fn notice(&mut self, notice: Notice, now: Instant) {
        let Parts {
            engine,
            kernel,
            configuration,
            ..
        } = &mut self.parts;
        match notice {
            Notice::Expire(expire) => engine.handle_expire(now, expire),
            Notice::Mapping(mapping) => engine.handle_mapping(now, mapping),
            Notice::Lost(connection) => engine.lost(now, &connection),
            Notice::Acquire(mut acquired) => {
                let is_there = |name: &String| configuration.store().is_defined(name, "Phase");
                let connection = match acquired.known.take().filter(is_there) {
                    Some(connection) => connection,
                    None => {
                        // Policies of Linux always name our end; a section for just the peer counts all the same.
                        let peer = format!("peer-{}", acquired.question.destination);
                        if configuration.store().is_defined(&peer, "Phase") {
                            acquired.question.source = None;
                        }
                        configuration.acquire(&acquired.question)
                    }
                };
                kernel.acquired(&connection, &acquired);
                engine.acquire(now, &connection);
            }
        }
    }

    fn receive(&mut self, place: usize, now: Instant) {
        let Parts {
            engine,
            sockets,
            log,
            ..
        } = &mut self.parts;
        let received = sockets.receive(place, log, |path, octets| {
            engine.handle_datagram(now, path, octets);
        });
        match received {
            Ok(false) => {}
            Ok(true) => {
                if now.saturating_duration_since(self.looked_at) >= LOOK_AGAIN {
                    let _ = self.look(false);
                }
            }
            Err(error) => log.error("recvfrom", &error),
        }
    }

    /// Opens sockets at new addresses and closes those at old ones.
    fn look(&mut self, first: bool) -> Result<(), NoSockets> {
        self.looked_at = Instant::now();
        let parts = &mut self.parts;
        match parts.host.look(&*parts.files) {
            Ok(true) => parts.configuration.set_host(parts.host.host()),
            Ok(false) => {}
            Err(error) => {
                parts
                    .log
                    .error("virtual_init: getifaddrs () failed", &error);
                return if first { Err(NoSockets(error)) } else { Ok(()) };
            }
        }
        let listed = parts.configuration.store().list("General", "Listen-on");
        let listed: Vec<String> = listed.map(|list| list.elements).unwrap_or_default();
        let listed: Option<Vec<Address>> = listen_on(&listed, &parts.host.interfaces(), &parts.log);
        let around = Surroundings {
            files: &*parts.files,
            log: &parts.log,
        };
        let scanned = parts
            .sockets
            .scan(&parts.host.addresses, listed.as_deref(), first, &around);
        parts
            .engine
            .set_local_addresses(parts.sockets.local_addresses());
        scanned
    }

    fn take_signals(&mut self, now: Instant) {
        while let Ok(Some(signal)) = self.parts.signals.next() {
            match signal {
                number::HANG_UP => {
                    self.parts.log.print("SIGHUP received");
                    self.reinitialize(now);
                }
                number::USER1 => {
                    self.parts.log.print("SIGUSR1 received");
                    let lines = self.report(now);
                    let lines = lines.iter().map(|line| line.as_str());
                    let path = &self.parts.options.report;
                    write_report(path, lines, &*self.parts.files, &self.parts.log);
                }
                _ => self.shut_down(now),
            }
        }
    }

    fn shut_down(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.parts.log.print("isakmpd: shutting down...");
        self.ending = now.checked_add(FAREWELL);
        self.parts.engine.shutdown(now);
    }

    fn reinitialize(&mut self, now: Instant) {
        let parts = &mut self.parts;
        parts.log.print("isakmpd: reinitializing daemon");
        read_configuration(
            &parts.configuration,
            &parts.options.configuration,
            &*parts.files,
            &parts.log,
        );
        apply_levels(&parts.configuration, &parts.log);
        if let Some(policy) =
            parts
                .reloadable
                .reload(&parts.configuration, &*parts.files, &parts.log)
        {
            parts.engine.set_policy(policy);
        }
        self.rebuild_at = None;
        let _ = self.look(false);
        self.synchronize();
        self.parts.engine.reinitialized(now);
    }

    /// The engine only makes lines that are wanted, and messages that are captured.
    fn synchronize(&mut self) {
        let levels = self.parts.log.levels_for_engine();
        for (class, level) in ALL.into_iter().zip(levels) {
            self.parts.engine.set_log_level(class, level);
        }
        self.parts.reloadable.keys().synchronize(&self.parts.log);
        self.parts.engine.set_verbose(self.parts.log.is_verbose());
        self.parts.engine.set_capture(self.capture.is_active());
    }

    fn command(&mut self, command: Result<Command, CommandError>, now: Instant) {
        let log = Rc::clone(&self.parts.log);
        let log = &*log;
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                log.print(error.to_string());
                return;
            }
        };
        match command {
            Command::Connect(name) => {
                log.debug(Class::Ui, 10, || {
                    format!("ui_connect: setup connection \"{name}\"")
                });
                self.parts.engine.keep_up(now, &name);
            }
            Command::Config(command, line) => {
                let applied = self.parts.configuration.apply(command);
                for problem in &applied.problems {
                    log.print(problem.to_string());
                }
                if let Some(result) = &applied.result {
                    let octets = zeroize::Zeroizing::new(isakmpd_conf::octets(result));
                    write_result(&octets, &*self.parts.files, log);
                }
                log.debug(Class::Ui, 30, || format!("ui_config: \"{line}\""));
                if applied.rebuild_connections {
                    self.rebuild_at = now.checked_add(REBUILD_DELAY);
                }
            }
            Command::Delete {
                cookies,
                message_id,
            } => {
                if !self.parts.engine.delete(now, cookies, message_id) {
                    let cookies: String =
                        cookies.iter().map(|octet| format!("{octet:02x}")).collect();
                    let message_id =
                        message_id.map_or_else(|| "-".to_owned(), |id| format!("{id:08x}"));
                    log.print(format!(
                        "ui_delete: command \"d {cookies} {message_id}\" found no SA"
                    ));
                }
            }
            Command::Level(class, level) => {
                log.set_level(class, level);
                self.synchronize();
            }
            Command::AllLevels(level) => {
                log.apply(&Level::All(level));
                self.synchronize();
            }
            Command::ToggleLevels => {
                log.toggle();
                self.synchronize();
            }
            Command::Mode(active) => {
                let mode = if active { "active" } else { "passive" };
                log.debug(Class::Ui, 20, || {
                    format!("ui_setmode: switching to {mode} mode")
                });
                self.parts.engine.set_active(now, active);
            }
            Command::CaptureOn(path) => {
                self.capture
                    .restart(path.as_deref(), &*self.parts.files, log);
                self.synchronize();
            }
            Command::CaptureOff => {
                self.pump(now);
                self.capture.stop(log);
                self.synchronize();
            }
            Command::Nothing => {}
            Command::Shutdown => {
                log.print("ui_shutdown_daemon: received shutdown command");
                self.shut_down(now);
            }
            Command::Reinitialize => self.reinitialize(now),
            Command::Sas => {
                let mut text = String::new();
                self.parts.engine.write_sas(now, &mut text);
                write_result(&isakmpd_conf::octets(&text), &*self.parts.files, log);
            }
            Command::Report => {
                for line in self.report(now) {
                    // Keys are in the report file, which only root reads, and not in a log.
                    match line.split_once("=\t") {
                        Some((tag, _)) if tag.eq_ignore_ascii_case("Authentication") => {
                            log.report(&format!("{tag}=\t..."));
                        }
                        _ => log.report(&line),
                    }
                }
            }
            Command::TearDown(phase, name) => {
                let (number, of) = match phase {
                    Phase::Main => (1, ike::Phase::One),
                    Phase::Quick => (2, ike::Phase::Two),
                };
                log.debug(Class::Ui, 10, || {
                    format!("ui_teardown: teardown connection \"{name}\", phase {number}")
                });
                self.parts.engine.teardown(now, of, &name);
            }
            Command::TearDownAll => self.parts.engine.teardown_all(now),
        }
    }

    /// All lines, in the original's order: SAs, exchanges, sockets, connections, timers, configuration.
    fn report(&self, now: Instant) -> Vec<zeroize::Zeroizing<String>> {
        let plain = |line: String| zeroize::Zeroizing::new(line);
        let report = self.parts.engine.report(now);
        let mut lines: Vec<zeroize::Zeroizing<String>> = Vec::new();
        lines.extend(report.sas.into_iter().map(plain));
        lines.extend(report.exchanges.into_iter().map(plain));
        lines.extend(self.parts.sockets.report().into_iter().map(plain));
        lines.extend(report.connections.into_iter().map(plain));
        lines.extend(report.timers.into_iter().map(plain));
        lines.push(plain(
            "conf_report: dumping running configuration".to_owned(),
        ));
        lines.extend(self.parts.configuration.store().dump());
        lines
    }

    /// Everything that the engine wants done, until it wants nothing more.
    fn pump(&mut self, now: Instant) {
        loop {
            let mut idle = true;
            while let Some(event) = self.parts.engine.poll_event() {
                idle = false;
                self.handle(event, now);
            }
            for warning in self.parts.configuration.take_warnings() {
                self.parts.log.print(warning);
            }
            let log = &self.parts.log;
            let keys = self.parts.reloadable.keys();
            keys.drain_log(|record| log.record(&record, now));
            while self.parts.workers.has_room() {
                let Some((id, job)) = self.parts.engine.poll_job() else {
                    break;
                };
                self.parts.workers.submit(id, job);
            }
            while let Some(transmit) = self.parts.engine.poll_transmit(&mut self.message) {
                idle = false;
                self.parts
                    .sockets
                    .send(&transmit, &self.message, &self.parts.log);
            }
            if idle {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event, now: Instant) {
        let Parts {
            engine,
            kernel,
            log,
            ..
        } = &mut self.parts;
        match event {
            Event::Log(record) => log.record(&record, now),
            Event::Capture(message) => self.capture.write(&message, log),
            Event::Drained => self.drained = true,
            Event::Kernel(request) => match request {
                Request::AllocateSpi {
                    ticket,
                    protocol,
                    local,
                    remote,
                } => {
                    let spi = kernel.allocate_spi(protocol, local, remote);
                    engine.handle_spi(now, ticket, spi);
                }
                Request::ReleaseSpi {
                    protocol,
                    spi,
                    local,
                    remote,
                } => kernel.release_spi(protocol, spi, local, remote),
                Request::InstallIncoming(installation) => kernel.install_incoming(&installation),
                Request::Install(ticket, installation) => {
                    let result = kernel.install(&installation);
                    engine.handle_installed(now, ticket, result);
                }
                Request::Remove {
                    local,
                    remote,
                    protocols,
                    flow,
                } => kernel.remove(local, remote, &protocols, flow.as_ref()),
                Request::Move {
                    local,
                    from,
                    to,
                    protocols,
                } => kernel.move_peer(local, from, to, &protocols),
                Request::LastUse {
                    ticket,
                    protocol,
                    spi,
                    local,
                    remote,
                } => {
                    let idle = kernel.last_use(protocol, spi, local, remote);
                    engine.handle_last_use(now, ticket, idle);
                }
            },
        }
    }
}

/// Reads isakmpd.conf, which need not be there. What is wrong with it is logged, and never fatal.
pub fn read_configuration(configuration: &Running, path: &Path, files: &dyn Files, log: &Log) {
    use crate::files::{SecretError, read_secret};
    let content = match read_secret(files, path) {
        Ok(content) => Some(content),
        Err(SecretError::Open(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(SecretError::Open(error)) => {
            let path = path.display();
            log.error(
                format!("conf_reinit: open(\"{path}\", O_RDONLY, 0) failed"),
                &error,
            );
            None
        }
        Err(refused @ SecretError::Refused(_)) => {
            log.print(refused.to_string());
            None
        }
        Err(SecretError::Read(error)) => {
            log.error("conf_reinit: read failed", &error);
            None
        }
    };
    let problems = configuration.reload(content.as_ref().map(|content| content.as_slice()));
    for problem in problems {
        log.print(problem.to_string());
    }
}

/// `Loglevel` and `Logverbose`.
pub fn apply_levels(configuration: &Running, log: &Log) {
    let store = configuration.store();
    if store.is_defined("General", "Logverbose") {
        log.set_verbose(true);
    }
    let Some(list) = store.list("General", "Loglevel") else {
        return;
    };
    for one in list.elements {
        let level = Level::parse(std::ffi::OsStr::new(&one));
        if !log.apply(&level) {
            log.print(format!("init: invalid logging class or level: {one}"));
        }
    }
}
