//! Lines to the system log over a Unix socket, as Go's `log/syslog` sends them, but never waiting.

use std::io::{self, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use super::backlog::{Outlet, Patient};

/// Where syslog daemons listen, in the order tried.
const PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// A line too long for a datagram is cut to this.
const CUT_LINE: usize = 8 * 1024;

/// The daemon, connected or to be connected to.
pub(super) struct Syslog {
    paths: Vec<PathBuf>,
    connection: Option<Connection>,
}

enum Connection {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    pub(super) fn open() -> io::Result<Patient<Self>> {
        Self::open_at(PATHS.iter().map(PathBuf::from).collect())
    }

    pub(super) fn open_at(paths: Vec<PathBuf>) -> io::Result<Patient<Self>> {
        let connection = Some(Connection::open(&paths)?);
        Ok(Patient::new(Self { paths, connection }))
    }

    /// Connects anew.
    pub(super) fn reopen(log: &Patient<Self>) -> io::Result<()> {
        let paths = log.with(|syslog| syslog.paths.clone());
        let connection = Some(Connection::open(&paths)?);
        log.with(|syslog| syslog.connection = connection);
        Ok(())
    }
}

impl Outlet for Syslog {
    const FULL: &'static str = "syslog does not take them";

    /// A connection that broke (a daemon that was restarted) is made anew once.
    fn send(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(connection) = &self.connection {
            match connection.send(line) {
                Ok(sent) => return Ok(sent),
                Err(_) => self.connection = None,
            }
        }
        let connection = self.connection.insert(Connection::open(&self.paths)?);
        connection.send(line)
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
