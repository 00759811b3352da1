//! 9P2000 over a Unix stream socket (keysrv spec 19.3): for this user and root alone, each client in a
//! thread of its own, so that a client that waits for the disk or does not read keeps nobody else.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kx_secret::SecretBytes;
use kx_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use styx::server::{Dialect, HangUp, Limits, Server, Trace};

use super::store::Store;
use super::tree::KeyTree;
use super::watch::Line;
use crate::accounts::SOCKET_NAME;
use crate::clock::Clock;

/// Clients at one time; those beyond are turned away.
pub const MAX_CLIENTS: usize = 1024;
/// A kernel that has our tree mounted keeps a fid for every name that it remembers.
const LIMITS: Limits = Limits {
    fids: 1 << 15,
    waiting: 1 << 17,
};
/// Octets that are taken from a client, and about as many as go to it, at one time.
const PIECE: usize = 16 << 10;
/// How long to leave clients alone after the system has run out of something.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Nothing recursive happens in a client's thread.
const STACK: usize = 256 << 10;

/// A socket that clients can connect to. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Binds the socket that belongs to the place: one in it if it is a directory, else itself. A socket
    /// that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// The system's; `AddrInUse` if somebody listens there.
    pub fn bind(place: &Path) -> io::Result<Listener> {
        let path = if place.is_dir() {
            place.join(SOCKET_NAME)
        } else {
            place.to_path_buf()
        };
        remove_stale(&path)?;
        let listener = UnixListener::bind(&path)?;
        // Until here the umask rules; who comes in between is looked at as everybody else.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Listener { listener, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// What every client gets.
#[derive(Debug, Clone)]
pub struct Service {
    /// The users.
    pub store: Arc<Store>,
    /// To whom the files belong.
    pub owner: Arc<[u8]>,
    /// Trace messages to standard error.
    pub trace: bool,
    /// For expiry and the times of files.
    pub clock: Clock,
}

/// Counts itself among the clients as long as it lives.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(count: &Arc<AtomicUsize>) -> Option<Seat> {
        let seat = Seat(Arc::clone(count));
        // Over the bound or not, dropping it gives the place back.
        (count.fetch_add(1, Ordering::SeqCst) < MAX_CLIENTS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// Serves everybody who connects, until a signal comes.
    ///
    /// # Errors
    /// The system's, about the listening socket.
    pub fn run(&self, listener: &Listener, signals: &Signals) -> io::Result<()> {
        let clients = Arc::new(AtomicUsize::new(0));
        loop {
            let mut ready = [
                PollFd::new(&listener.listener, PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if signals.next()?.is_some() {
                return Ok(());
            }
            match listener.listener.accept() {
                Ok((client, _)) => self.admit(client, &clients),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of descriptors, say: clients have to leave first.
                Err(_) => {
                    let mut ended = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
                    let _ = rustix::event::poll(&mut ended, Some(&PAUSE));
                }
            }
        }
    }

    /// Seconds since 1970, as messages carry them.
    fn now(&self) -> u32 {
        let now = self.clock.now().max(0);
        u32::try_from(now).unwrap_or(u32::MAX)
    }

    fn admit(&self, client: UnixStream, clients: &Arc<AtomicUsize>) {
        let Some(seat) = Seat::take(clients) else {
            return;
        };
        if !is_ours(&client) || client.set_nonblocking(false).is_err() {
            return;
        }
        let service = self.clone();
        // Without a thread the client is hung up on.
        let _ = std::thread::Builder::new()
            .name("client".into())
            .stack_size(STACK)
            .spawn(move || {
                let _seat = seat;
                // How a client left is nobody's business.
                let _ = service.converse(client);
            });
    }

    /// Serves one connection until its end.
    ///
    /// # Errors
    /// The system's; `InvalidData` if the client does not speak 9P2000.
    pub fn converse(&self, client: UnixStream) -> io::Result<()> {
        let line = Line::new(client);
        let mut client = line.stream();
        let tree = KeyTree::new(Arc::clone(&self.store), &self.owner).with_line(&line);
        let mut server = Server::with_limits(Dialect::Styxservers, tree, LIMITS);
        if self.trace {
            server.set_trace(trace());
        }
        let mut received = SecretBytes::zeroed(PIECE);
        let mut replies = SecretBytes::with_capacity(PIECE);
        loop {
            let count = match client.read(received.as_mut_slice()) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let octets = received.as_slice().get(..count).unwrap_or_default();
            let mut step = server.receive(octets).map(|()| true);
            while let Ok(true) = step {
                step = server.poll_reply(self.now(), &mut replies);
                let last = !matches!(step, Ok(true));
                if last || replies.len() >= PIECE {
                    line.send(replies.as_slice())?;
                    replies.truncate(0);
                }
            }
            step.map_err(|reason: HangUp| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        }
    }
}

/// Each message as a line, in one piece: lines of several clients do not mix.
fn trace() -> Trace {
    Box::new(|line| {
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    })
}

/// Whether the client is of the same user, or root.
fn is_ours(client: &UnixStream) -> bool {
    kx_sys::connection::peer_user(client)
        .is_ok_and(|user| user == 0 || user == kx_sys::user_name::effective_number())
}
