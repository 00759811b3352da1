//! Listening for connections and running a program for each, within limits (keysrv spec 14.2, 17).
//! One thread that waits for everything; what a connection says is read by its own process only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kx_sys::fork;
use kx_sys::notify::Notifier;
use kx_sys::signals::{Signals, number};
use kx_sys::spawn::{Child, Command};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::authinfo_file;
use crate::program::{Environment, Exit, Program};

/// How long to leave connections alone after the system has run out of something.
const PAUSE: Duration = Duration::from_millis(100);
/// What sessions get to end by themselves when we are asked to end.
pub const GRACE: Duration = Duration::from_secs(2);
/// Variables of a service manager that are about us, not about the programs that we start.
const OURS_ALONE: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "CREDENTIALS_DIRECTORY",
];

/// Connections at the same time; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of all services together. Those that come when there are so many wait.
    pub total: Option<usize>,
    /// From one address; of IPv6 from one network of 64 bits. Those beyond are closed.
    pub per_address: Option<usize>,
}

/// An address to listen on and what to run there.
pub struct Service {
    /// As it was given (`tcp!*!infkey`), for messages.
    pub address: String,
    /// Its sockets.
    pub listeners: Vec<TcpListener>,
    /// What runs for every connection.
    pub run: Run,
}

/// What runs for a connection, with the connection as its standard input and output.
pub enum Run {
    /// A program of the system's, in a process of its own.
    Command(Box<Command>),
    /// One of ours with its words, in a copy of this process: what it needs of memory beside what we
    /// share is a fifth.
    Ourselves(&'static Program, Vec<OsString>),
}

/// Has the cryptographic library make what it makes on first use (its tables and generators), so that copies
/// of this process share it. The library seeds its generators anew in each.
pub fn prepare_library() {
    use kx_crypto::{digest::Algorithm, rsa};
    // What does not work here will say so where it is needed.
    let _ = rsa::PrivateKey::generate(512, 3).and_then(|key| key.apply(&key.public().n));
    for digest in [Algorithm::Sha1, Algorithm::Md5] {
        let _ = digest.digest(&[]);
    }
    kx_sys::memory::trim();
}

impl Run {
    fn start(
        &self,
        environment: &Environment,
        connection: BorrowedFd<'_>,
    ) -> Result<Child, String> {
        match self {
            Run::Command(command) => command
                .spawn_on(connection)
                .map_err(|error| error.to_string()),
            Run::Ourselves(program, words) => fork::on_connection(connection, || {
                // As it is called in a list of processes. Without it that is "svc-auth".
                if let Ok(name) = std::ffi::CString::new(program.name) {
                    let _ = rustix::thread::set_name(&name);
                }
                let mut environment = environment.for_session(program.name, &OURS_ALONE);
                (program.run)(&mut environment, words.clone()).code()
            })
            .map_err(|error| format!("fork: {}", kx_log::format_errno(&error))),
        }
    }
}

/// A program with its own environment: ours without what is about us alone.
#[must_use]
pub fn command(environment: &Environment, path: impl Into<OsString>) -> Command {
    let mut command = Command::new(path);
    for (name, value) in &environment.variables {
        if let Some(name) = name.to_str().filter(|name| !OURS_ALONE.contains(name)) {
            command.environment(name, value);
        }
    }
    command
}

/// This program, under one of its names.
#[must_use]
pub fn ourselves(environment: &Environment, name: &str) -> Command {
    // Not the path: it may be another file by now.
    let mut command = command(environment, "/proc/self/exe");
    command.called(name);
    command
}

/// Binds all sockets of an address.
///
/// # Errors
/// The system's text (`address already in use`).
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let listener = kx_sys::listen::bind(address, false)
            .map_err(|error| kx_log::format_errno(&error.source))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A running program and where its connection comes from.
struct Session {
    child: Child,
    network: IpAddr,
}

/// What keeps the connections coming.
pub struct Acceptor {
    services: Vec<Service>,
    limits: Limits,
    verbose: bool,
    signals: Signals,
    sessions: Vec<Session>,
    per_network: BTreeMap<IpAddr, usize>,
    /// Until when nothing is accepted.
    paused: Option<Instant>,
    /// Whose end is our end, and its name.
    partner: Option<(std::process::Child, &'static str)>,
    /// Files that each session reads for itself, with the names by which errors call them.
    key_files: Vec<(&'static str, PathBuf)>,
}

/// Collects the signals that [`Acceptor`] waits for. To be called after programs were started that
/// shall get their signals as usual, and before any that shall end together with us.
///
/// # Errors
/// The system's.
pub fn collect_signals() -> io::Result<Signals> {
    kx_sys::spawn::reset_sigchld()?;
    Signals::collect(&[
        number::TERMINATE,
        number::INTERRUPT,
        number::HANG_UP,
        number::CHILD,
    ])
}

impl Acceptor {
    /// Of these services.
    #[must_use]
    pub fn new(
        services: Vec<Service>,
        limits: Limits,
        verbose: bool,
        signals: Signals,
    ) -> Acceptor {
        Acceptor {
            services,
            limits,
            verbose,
            signals,
            sessions: Vec::new(),
            per_network: BTreeMap::new(),
            paused: None,
            partner: None,
            key_files: Vec::new(),
        }
    }

    /// At SIGHUP these are looked at, so that who has replaced one hears at once that it is no good, and not
    /// from the next client.
    pub fn with_key_files(&mut self, files: Vec<(&'static str, PathBuf)>) {
        self.key_files = files;
    }

    /// Ends when this process ends, and it is asked to end when we do.
    pub fn with_partner(&mut self, child: std::process::Child, name: &'static str) {
        self.partner = Some((child, name));
    }

    /// Runs until SIGTERM or SIGINT. Sessions then have [`GRACE`] to end.
    pub fn run(&mut self, environment: &mut Environment, notifier: &Notifier) -> Exit {
        let exit = loop {
            if let Err(error) = self.wait() {
                break environment.fail(kx_log::format_errno(&error));
            }
            match self.signals_seen(environment, notifier) {
                Ok(None) => {}
                Ok(Some(exit)) => break exit,
                Err(error) => break environment.fail(kx_log::format_errno(&error)),
            }
            self.accept_all(environment);
        };
        let _ = notifier.stopping();
        self.services.clear();
        self.end_sessions();
        self.end_partner();
        exit
    }

    fn is_full(&self) -> bool {
        self.limits
            .total
            .is_some_and(|total| self.sessions.len() >= total)
    }

    /// Until there is a signal or a connection that can be taken.
    fn wait(&mut self) -> io::Result<()> {
        let left = self
            .paused
            .map(|until| until.saturating_duration_since(Instant::now()));
        let open = !self.is_full() && self.paused.is_none();
        let mut descriptors = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if open {
            for listener in self.services.iter().flat_map(|service| &service.listeners) {
                descriptors.push(PollFd::new(listener, PollFlags::IN));
            }
        }
        poll(&mut descriptors, left)?;
        if left.is_some_and(|left| left.is_zero()) {
            self.paused = None;
        }
        Ok(())
    }

    fn signals_seen(
        &mut self,
        environment: &mut Environment,
        notifier: &Notifier,
    ) -> io::Result<Option<Exit>> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                number::CHILD => {
                    self.reap()?;
                    if let Some(name) = self.partner_has_ended()? {
                        return Ok(Some(environment.fail(format_args!("{name} has ended"))));
                    }
                }
                number::HANG_UP => {
                    let _ = notifier.reloading();
                    self.look_at_keys(environment);
                    let _ = notifier.ready();
                }
                _ => return Ok(Some(Exit::Success)),
            }
        }
        Ok(None)
    }

    /// Every session reads its key itself: there is nothing old to replace.
    fn look_at_keys(&self, environment: &mut Environment) {
        let mut good = true;
        for (name, file) in &self.key_files {
            if let Err(error) = authinfo_file::read(file) {
                good = false;
                let file = file.display();
                environment.complain(format_args!("can't read {name} key file {file}: {error}"));
            }
        }
        if good && self.verbose {
            environment.complain("keys are read again from now on");
        }
    }

    fn partner_has_ended(&mut self) -> io::Result<Option<&'static str>> {
        match &mut self.partner {
            Some((child, name)) => Ok(child.try_wait()?.map(|_| *name)),
            None => Ok(None),
        }
    }

    /// Forgets the sessions that have ended.
    fn reap(&mut self) -> io::Result<()> {
        let mut left = Vec::with_capacity(self.sessions.len());
        for mut session in std::mem::take(&mut self.sessions) {
            if session.child.try_wait()?.is_none() {
                left.push(session);
                continue;
            }
            if let Some(count) = self.per_network.get_mut(&session.network) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.per_network.remove(&session.network);
                }
            }
        }
        self.sessions = left;
        Ok(())
    }

    fn accept_all(&mut self, environment: &mut Environment) {
        let services = std::mem::take(&mut self.services);
        for service in &services {
            for listener in &service.listeners {
                self.accept(environment, service, listener);
            }
        }
        self.services = services;
    }

    fn accept(&mut self, environment: &mut Environment, service: &Service, listener: &TcpListener) {
        while !self.is_full() && self.paused.is_none() {
            match listener.accept() {
                Ok((connection, address)) => {
                    self.start(environment, service, &connection, address);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Gone before it was looked at, or a signal.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    let (address, error) = (&service.address, kx_log::format_errno(&error));
                    environment.complain(format_args!("listen error on '{address}': {error}"));
                    self.paused = Some(Instant::now() + PAUSE);
                }
            }
        }
    }

    fn start(
        &mut self,
        environment: &mut Environment,
        service: &Service,
        connection: &TcpStream,
        peer: SocketAddr,
    ) {
        let name = || format!("{}!{}", kx_sys::peer::ip_text(&peer), peer.port());
        let network = network(peer.ip());
        let here = self.per_network.get(&network).copied().unwrap_or(0);
        if self.limits.per_address.is_some_and(|limit| here >= limit) {
            if self.verbose {
                let (address, name) = (&service.address, name());
                environment.complain(format_args!(
                    "refused connection on {address} from {name}: too many from there"
                ));
            }
            return;
        }
        if self.verbose {
            let (address, name) = (&service.address, name());
            environment.complain(format_args!("got connection on {address} from {name}"));
        }
        // Without it the connection still works.
        let _ = kx_sys::connection::keep_alive(connection);
        let _ = connection.set_nodelay(true);
        match service.run.start(environment, connection.as_fd()) {
            Ok(child) => {
                self.sessions.push(Session { child, network });
                *self.per_network.entry(network).or_default() += 1;
            }
            Err(error) => {
                environment.complain(&error);
                self.paused = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Lets sessions end, then ends them.
    fn end_sessions(&mut self) {
        let deadline = Instant::now() + GRACE;
        loop {
            let _ = self.reap();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.sessions.is_empty() || left.is_zero() {
                break;
            }
            let mut descriptors = [PollFd::new(&self.signals, PollFlags::IN)];
            if poll(&mut descriptors, Some(left)).is_err() {
                break;
            }
            while matches!(self.signals.next(), Ok(Some(_))) {}
        }
        for session in &mut self.sessions {
            let _ = session.child.kill();
        }
        // They are not waited for: who takes over when we end does that.
    }

    fn end_partner(&mut self) {
        if let Some((mut child, _)) = self.partner.take() {
            if matches!(child.try_wait(), Ok(None)) {
                let number = i32::try_from(child.id()).unwrap_or(0);
                if let Some(process) = rustix::process::Pid::from_raw(number) {
                    let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
                }
                let _ = child.wait();
            }
        }
    }
}

/// Waits so long at most. A signal is no error.
fn poll(descriptors: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match rustix::event::poll(descriptors, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What counts as one address: a host of IPv6 has as many as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        for (given, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let expected: IpAddr = expected.parse().expect("address");
            assert_eq!(network(given.parse().expect("address")), expected);
        }
    }
}
