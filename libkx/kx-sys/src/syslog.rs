//! Lines to the system's log (syslog(3)), over a connection that outlives a change of the root directory.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::local_time::LocalTime;

/// Where it listens.
pub const DEFAULT_PATH: &str = "/dev/log";

/// The facility of daemons.
const DAEMON: u8 = 3 << 3;

/// How long a full queue may hold us up.
const PATIENCE: Duration = Duration::from_millis(100);

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// LOG_ALERT
    Alert = 1,
    /// LOG_CRIT
    Critical = 2,
    /// LOG_ERR
    Error = 3,
    /// LOG_WARNING
    Warning = 4,
    /// LOG_NOTICE
    Notice = 5,
    /// LOG_INFO
    Info = 6,
    /// LOG_DEBUG
    Debug = 7,
}

/// The way to the log. Facility DAEMON, with the number of the process.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    identity: String,
}

impl Syslog {
    /// Connects. `identity` stands in front of every line.
    ///
    /// # Errors
    /// The system's; nobody listens.
    pub fn connect(path: &Path, identity: &str) -> io::Result<Syslog> {
        Ok(Syslog {
            socket: connected(path)?,
            path: path.to_owned(),
            identity: identity.to_owned(),
        })
    }

    /// Over a connection that somebody else made, for a process that cannot: see [`connection`].
    #[must_use]
    pub fn over(connection: OwnedFd, path: &Path, identity: &str) -> Syslog {
        Syslog {
            socket: connection.into(),
            path: path.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Sends a line. If the log was started anew meanwhile, and can be reached, the connection is made again.
    ///
    /// # Errors
    /// The system's. The line is lost then.
    pub fn send(&mut self, priority: Priority, text: &dyn fmt::Display) -> io::Result<()> {
        let now = LocalTime::now();
        let month = usize::try_from(now.month.saturating_sub(1)).ok();
        let month = month.and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
        let line = format!(
            "<{}>{month} {:2} {:02}:{:02}:{:02} {}[{}]: {text}",
            DAEMON | priority as u8,
            now.day,
            now.hour,
            now.minute,
            now.second,
            self.identity,
            std::process::id(),
        );
        match self.socket.send(line.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => Err(error),
                _ => {
                    self.socket = connected(&self.path)?;
                    self.socket.send(line.as_bytes()).map(drop)
                }
            },
        }
    }
}

/// A connection for [`Syslog::over`].
///
/// # Errors
/// The system's; nobody listens.
pub fn connection(path: &Path) -> io::Result<OwnedFd> {
    connected(path).map(OwnedFd::from)
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_also_after_the_log_was_started_anew() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        assert!(Syslog::connect(&path, "kx").is_err());
        let log = UnixDatagram::bind(&path).expect("bound");
        let mut syslog = Syslog::connect(&path, "kx").expect("connected");
        let received = |log: &UnixDatagram| {
            log.set_read_timeout(Some(Duration::from_secs(20)))
                .expect("patience");
            let mut buffer = [0; 256];
            let count = log.recv(&mut buffer).expect("a line");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        syslog.send(Priority::Notice, &"hello").expect("sent");
        let line = received(&log);
        let end = format!(" kx[{}]: hello", std::process::id());
        assert!(line.starts_with("<29>") && line.ends_with(&end), "{line}");
        // "Mmm dd hh:mm:ss" as syslog(3) has it.
        assert_eq!(line.len(), "<29>".len() + 15 + end.len(), "{line}");
        drop(log);
        std::fs::remove_file(&path).expect("removed");
        assert!(syslog.send(Priority::Error, &"lost").is_err());
        let log = UnixDatagram::bind(&path).expect("bound again");
        syslog.send(Priority::Alert, &"again").expect("sent");
        assert!(received(&log).starts_with("<25>"));
    }
}
