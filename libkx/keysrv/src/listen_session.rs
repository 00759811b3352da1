//! One connection to a `listen` that authenticates: the record layer stands between it and the
//! command (keysrv spec 14.2, 19.4).

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use inferno_auth::floor::Floor;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::{Names, Policy};
use inferno_auth::sts::Config;
use kx_secret::SecretBytes;
use rustix::event::{PollFd, PollFlags};

use crate::driver::Driver;
use crate::keysrv::authenticate;
use crate::program::{Environment, Exit};
use crate::{acceptor, authinfo_file, logind};
use inferno_auth::peer_text::one_line;

/// The name by which `listen` starts it; nobody else needs it.
pub const NAME: &str = "listen-session";

/// What is taken from either side before the other has taken it.
const ROOM: usize = 32 * 1024;

/// `listen-session keyfile address -v|-- algorithms command argument...` (`*`: all, else with commas), with the connection on descriptor 0.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    environment.name = "listen".to_owned();
    let [key_file, address, flag, names, command, arguments @ ..] = words.as_slice() else {
        let usage = "usage: listen-session keyfile address -v|-- algorithms command [arg...]";
        return environment.usage(usage);
    };
    let names = names.to_string_lossy();
    let names = match &*names {
        "*" => Ok(Names::ALL),
        list => Names::of(list.split(',')),
    };
    let policy = match names {
        Ok(names) => Policy::Listed(names),
        Err(other) => return environment.fail(format_args!("unsupported algorithm: {other}")),
    };
    let verbose = flag == "-v";
    let address = address.to_string_lossy().into_owned();
    let connection = match kx_sys::connection::inherited() {
        Ok(connection) => connection,
        Err(error) => return environment.fail(kx_log::format_errno(&error)),
    };
    logind::keep_errors_off_the_connection(environment);
    let info = match authinfo_file::read(Path::new(key_file)) {
        Ok(info) => Arc::new(info),
        Err(error) => {
            let file = Path::new(key_file).display();
            return environment.fail(format_args!("cannot read {file}: {error}"));
        }
    };
    let role = Role::Server { policy, idle: None };
    let config = Config {
        auth_info: Some(info),
        floor: Floor::default(),
        unix_now: environment.clock.now(),
    };
    let session = Session::new(role, config, Instant::now());
    let served = Driver::new(session, connection).and_then(|mut driver| {
        let user = match authenticate(&mut driver, &mut |_| {})? {
            Ok(user) => user,
            Err(error) => {
                let text = format_args!("auth on {address} failed: {error}");
                return Ok(environment.fail(text));
            }
        };
        if verbose {
            let user = one_line(&user);
            environment.complain(format_args!("authenticated on {address} as {user}"));
        }
        let (session, connection) = driver.into_parts();
        let (ours, commands) = UnixStream::pair()?;
        let mut started = acceptor::command(environment, command);
        for argument in arguments {
            started.argument(argument);
        }
        started.environment("user", &user);
        let child = started.spawn_on(commands.as_fd());
        drop((child.map_err(io::Error::other)?, commands));
        Relay::new(session, connection, ours)?.run()?;
        Ok(Exit::Success)
    });
    served.unwrap_or_else(|error| environment.fail(kx_log::format_errno(&error)))
}

/// Moves data between a session and a command, and waits for neither alone.
struct Relay {
    session: Session,
    connection: TcpStream,
    command: UnixStream,
    /// Records for the peer.
    to_peer: Vec<u8>,
    to_command: SecretBytes,
    /// The peer says no more, or has been cut off.
    peer_is_done: bool,
    /// The command says no more.
    command_is_done: bool,
}

impl Relay {
    fn new(session: Session, connection: TcpStream, command: UnixStream) -> io::Result<Relay> {
        connection.set_nonblocking(true)?;
        command.set_nonblocking(true)?;
        Ok(Relay {
            session,
            connection,
            command,
            to_peer: Vec::new(),
            to_command: SecretBytes::default(),
            peer_is_done: false,
            command_is_done: false,
        })
    }

    /// Until the command has said all, or the peer is gone and the command has heard all.
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.take_events();
            while self.session.poll_transmit(&mut self.to_peer) {}
            let peer_has_all = self.to_peer.is_empty();
            if (self.command_is_done && peer_has_all)
                || (self.peer_is_done && self.to_command.is_empty())
            {
                return Ok(());
            }
            self.wait()?;
            self.read_peer();
            self.read_command();
            self.write();
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Data(data) => self.to_command.extend_from_slice(&data),
                Event::Failed(_) | Event::Closed => self.peer_is_done = true,
                Event::Authenticated { .. } | Event::Ready(_) => {}
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let wants = |read: bool, write: bool| {
            let read = if read {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            read | if write {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            }
        };
        let peer = wants(self.hears_peer(), !self.to_peer.is_empty());
        let command = wants(self.hears_command(), !self.to_command.is_empty());
        // A side of which nothing is wanted would wake us with its end again and again.
        let mut descriptors = Vec::with_capacity(2);
        if !peer.is_empty() {
            descriptors.push(PollFd::new(&self.connection, peer));
        }
        if !command.is_empty() {
            descriptors.push(PollFd::new(&self.command, command));
        }
        match rustix::event::poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hears_peer(&self) -> bool {
        !self.peer_is_done && self.to_command.len() < ROOM
    }

    fn hears_command(&self) -> bool {
        !self.command_is_done && self.to_peer.len() < ROOM
    }

    fn read_peer(&mut self) {
        if !self.hears_peer() {
            return;
        }
        let mut piece = [0; 8192];
        match self.connection.read(&mut piece) {
            Ok(0) => self.session.receive_end(Instant::now()),
            Ok(count) => {
                let octets = piece.get(..count).unwrap_or_default();
                self.session.receive(Instant::now(), octets);
            }
            Err(error) if is_nothing(&error) => {}
            Err(_) => self.peer_is_done = true,
        }
    }

    fn read_command(&mut self) {
        if !self.hears_command() {
            return;
        }
        let mut piece = SecretBytes::zeroed(8192);
        match self.command.read(piece.as_mut_slice()) {
            Ok(0) => self.command_is_done = true,
            Ok(count) => {
                let data = piece.as_slice().get(..count).unwrap_or_default();
                if self.session.send(data).is_err() {
                    self.command_is_done = true;
                }
            }
            Err(error) if is_nothing(&error) => {}
            Err(_) => self.command_is_done = true,
        }
    }

    fn write(&mut self) {
        if !self.to_peer.is_empty() {
            match self.connection.write(&self.to_peer) {
                Ok(count) => drop(self.to_peer.drain(..count.min(self.to_peer.len()))),
                Err(error) if is_nothing(&error) => {}
                Err(_) => {
                    self.to_peer.clear();
                    self.peer_is_done = true;
                }
            }
        }
        if !self.to_command.is_empty() {
            match self.command.write(self.to_command.as_slice()) {
                Ok(count) => self.to_command.drop_front(count),
                Err(error) if is_nothing(&error) => {}
                // It does not want to hear more; it may still say something.
                Err(_) => self.to_command.truncate(0),
            }
        }
    }
}

/// Not now.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
