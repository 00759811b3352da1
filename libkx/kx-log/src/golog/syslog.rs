//! Lines to the system log over a Unix socket, as Go's `log/syslog` sends them, but never waiting.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Where syslog daemons listen, in the order tried.
const PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Lines kept while the daemon does not take them.
const MAX_LINES: usize = 1024;
/// Octets of lines kept while the daemon does not take them.
const MAX_OCTETS: usize = 256 * 1024;
/// A line too long for a datagram is cut to this.
const CUT_LINE: usize = 8 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Syslog(Arc<Shared>);

struct Shared {
    paths: Vec<PathBuf>,
    queue: Mutex<Queue>,
    emptied: Condvar,
}

struct Queue {
    connection: Option<Connection>,
    waiting: VecDeque<Vec<u8>>,
    octets: usize,
}

enum Connection {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

/// The lines syslog has not taken yet.
pub(super) struct Backlog(Arc<Shared>);

impl Syslog {
    pub(super) fn open() -> io::Result<Self> {
        Self::open_at(PATHS.iter().map(PathBuf::from).collect())
    }

    pub(super) fn open_at(paths: Vec<PathBuf>) -> io::Result<Self> {
        let connection = Connection::open(&paths)?;
        Ok(Self(Arc::new(Shared {
            paths,
            queue: Mutex::new(Queue {
                connection: Some(connection),
                waiting: VecDeque::new(),
                octets: 0,
            }),
            emptied: Condvar::new(),
        })))
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        let connection = Connection::open(&self.0.paths)?;
        self.0.lock().connection = Some(connection);
        Ok(())
    }

    pub(super) fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.0))
    }

    /// Sends one line, or keeps it to be sent soon. Never waits.
    pub(super) fn send(&self, line: &[u8]) -> io::Result<()> {
        let mut queue = self.0.lock();
        if !queue.waiting.is_empty() {
            // Order is kept: the thread that sends those will send this one too.
            return queue.keep(line);
        }
        match queue.send(&self.0.paths, line) {
            Ok(sent) if sent >= line.len() => Ok(()),
            Ok(sent) => {
                queue.keep(line.get(sent..).unwrap_or_default())?;
                let shared = Arc::downgrade(&self.0);
                let started = thread::Builder::new()
                    .name("syslog".into())
                    .spawn(move || send_waiting(&shared));
                if let Err(error) = started {
                    queue.forget();
                    return Err(error);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Backlog {
    /// Waits until it is empty, `limit` at most. Whether it is.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let queue = self.0.lock();
        let waited = self
            .0
            .emptied
            .wait_timeout_while(queue, limit, |queue| !queue.waiting.is_empty());
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.waiting.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn keep(&mut self, line: &[u8]) -> io::Result<()> {
        let octets = self.octets.saturating_add(line.len());
        if self.waiting.len() >= MAX_LINES || octets > MAX_OCTETS {
            return Err(io::Error::other("syslog does not take them"));
        }
        self.octets = octets;
        self.waiting.push_back(line.to_vec());
        Ok(())
    }

    fn forget(&mut self) {
        self.waiting.clear();
        self.octets = 0;
    }

    /// How many octets of the line the daemon took: all of them, or, if it is busy, fewer.
    ///
    /// A connection that broke (a daemon that was restarted) is made anew once.
    fn send(&mut self, paths: &[PathBuf], line: &[u8]) -> io::Result<usize> {
        if let Some(connection) = &self.connection {
            match connection.send(line) {
                Ok(sent) => return Ok(sent),
                Err(_) => self.connection = None,
            }
        }
        let connection = self.connection.insert(Connection::open(paths)?);
        connection.send(line)
    }

    /// Sends what waits. Whether all is sent.
    fn send_waiting(&mut self, paths: &[PathBuf]) -> bool {
        while let Some(mut line) = self.waiting.pop_front() {
            let sent = self.send(paths, &line).unwrap_or(0);
            if sent < line.len() {
                line.drain(..sent);
                self.octets = self.octets.saturating_sub(sent);
                self.waiting.push_front(line);
                return false;
            }
            self.octets = self.octets.saturating_sub(line.len());
        }
        true
    }
}

/// The thread that lives while lines wait.
fn send_waiting(shared: &Weak<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause.saturating_mul(2));
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut queue = shared.lock();
        let before = queue.octets;
        if queue.send_waiting(&shared.paths) {
            shared.emptied.notify_all();
            return;
        }
        if queue.octets < before {
            pause = FIRST_PAUSE;
        }
    }
}

impl Connection {
    fn open(paths: &[PathBuf]) -> io::Result<Self> {
        for path in paths {
            if let Ok(socket) = datagram(path) {
                return Ok(Self::Datagram(socket));
            }
        }
        for path in paths {
            if let Ok(socket) = stream(path) {
                return Ok(Self::Stream(socket));
            }
        }
        Err(io::Error::other("Unix syslog delivery error"))
    }

    fn send(&self, line: &[u8]) -> io::Result<usize> {
        loop {
            let sent = match self {
                Self::Datagram(socket) => send_datagram(socket, line),
                Self::Stream(socket) => (&*socket).write(line),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_busy(&error) => return Ok(0),
                sent => return sent,
            }
        }
    }
}

fn datagram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn stream(path: &Path) -> io::Result<UnixStream> {
    let socket = UnixStream::connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A line that no datagram can hold must not vanish (its text may come from a peer): its begin is sent.
fn send_datagram(socket: &UnixDatagram, line: &[u8]) -> io::Result<usize> {
    const EMSGSIZE: i32 = 90;
    match socket.send(line) {
        Err(error) if error.raw_os_error() == Some(EMSGSIZE) && line.len() > CUT_LINE => {
            let mut cut = line.get(..CUT_LINE).unwrap_or(line).to_vec();
            cut.extend_from_slice(b"...\n");
            socket.send(&cut).map(|_| line.len())
        }
        Ok(_) => Ok(line.len()),
        Err(error) => Err(error),
    }
}

/// The daemon's queue is full, or the system is short of buffers.
fn is_busy(error: &io::Error) -> bool {
    const ENOBUFS: i32 = 105;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS)
}
