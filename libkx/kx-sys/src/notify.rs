//! Telling the service manager what we are doing: the `NOTIFY_SOCKET` protocol of sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a full queue of the manager may hold us up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the service manager; without one every message is dropped silently.
#[derive(Debug, Default)]
pub struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// From the value of `NOTIFY_SOCKET`: a path, or `@name` for an abstract address. Unset,
    /// empty or of another kind (`vsock:`): nobody is told.
    #[must_use]
    pub fn new(value: Option<&OsStr>) -> Notifier {
        let octets = value.map(OsStrExt::as_bytes).unwrap_or_default();
        Notifier(match octets.split_first() {
            Some((b'/', _)) => SocketAddr::from_pathname(OsStr::from_bytes(octets)).ok(),
            Some((b'@', name)) => SocketAddr::from_abstract_name(name).ok(),
            _ => None,
        })
    }

    /// [`Notifier::new`] with this process's environment.
    #[must_use]
    pub fn from_environment() -> Notifier {
        Notifier::new(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    /// True if somebody listens, as far as we can know.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Start is complete, or a reload is.
    ///
    /// # Errors
    /// The system's; there is no need to stop for one.
    pub fn ready(&self) -> io::Result<()> {
        self.send(b"READY=1")
    }

    /// A reload begins; [`Notifier::ready`] ends it. With the time stamp that `Type=notify-reload` asks for.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn reloading(&self) -> io::Result<()> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(format!("RELOADING=1\nMONOTONIC_USEC={microseconds}").as_bytes())
    }

    /// The end begins.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn stopping(&self) -> io::Result<()> {
        self.send(b"STOPPING=1")
    }

    /// One line for `systemctl status`. Line feeds in it become blanks.
    ///
    /// # Errors
    /// As [`Notifier::ready`].
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.send(format!("STATUS={}", text.replace('\n', " ")).as_bytes())
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let Some(address) = &self.0 else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to_addr(message, address).map(drop)
    }

    /// A connection to the manager that is still there when its address cannot be reached any more,
    /// for one that changes its root directory or gives up making sockets. `None` if nobody listens.
    #[must_use]
    pub fn connect(&self) -> Option<ConnectedNotifier> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect_addr(self.0.as_ref()?).ok()?;
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(ConnectedNotifier(socket))
    }
}

/// See [`Notifier::connect`].
#[derive(Debug)]
pub struct ConnectedNotifier(UnixDatagram);

impl ConnectedNotifier {
    /// As [`Notifier::ready`].
    ///
    /// # Errors
    /// As there.
    pub fn ready(&self) -> io::Result<()> {
        self.0.send(b"READY=1").map(drop)
    }

    /// As [`Notifier::stopping`].
    ///
    /// # Errors
    /// As there.
    pub fn stopping(&self) -> io::Result<()> {
        self.0.send(b"STOPPING=1").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        let mut buffer = [0u8; 256];
        let count = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn messages_reach_a_path() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        let notifier = Notifier::new(Some(path.as_os_str()));
        notifier.ready().expect("sent");
        assert_eq!(received(&socket), "READY=1");
        let connected = notifier.connect().expect("connected");
        connected.ready().expect("sent");
        assert_eq!(received(&socket), "READY=1");
        connected.stopping().expect("sent");
        assert_eq!(received(&socket), "STOPPING=1");
        notifier.status("a\nb").expect("sent");
        assert_eq!(received(&socket), "STATUS=a b");
        notifier.stopping().expect("sent");
        assert_eq!(received(&socket), "STOPPING=1");
        notifier.reloading().expect("sent");
        let text = received(&socket);
        let stamp = text
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .expect(&text);
        assert!(stamp.parse::<u64>().expect("a number") > 1_000_000);
    }

    #[test]
    fn messages_reach_an_abstract_name() {
        let name = format!("kx-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("address");
        let socket = UnixDatagram::bind_addr(&address).expect("bind");
        Notifier::new(Some(OsStr::new(&format!("@{name}"))))
            .ready()
            .expect("sent");
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn nobody_is_told_without_a_usable_address() {
        for value in [None, Some(""), Some("relative"), Some("vsock:2:1234")] {
            let notifier = Notifier::new(value.map(OsStr::new));
            assert!(!notifier.is_connected());
            assert!(notifier.connect().is_none());
            notifier.ready().expect("nothing to do");
        }
    }
}
