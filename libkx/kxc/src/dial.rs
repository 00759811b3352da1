//! Name resolution and TCP connection, with the original's order of addresses and its error texts.
//!
//! The addresses of the first answer's family are tried one after the other; the other family starts
//! 300 ms later or when the first has failed (RFC 6555). All of it runs in the calling thread, except
//! a name lookup under a time limit: the C library's resolver cannot be stopped, so it then runs in a
//! thread of its own, which is left behind when the limit passes.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use kx_log::golog::format_errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use thiserror::Error;

/// Head start of the first address family.
const FALLBACK_DELAY: Duration = Duration::from_millis(300);
/// As the original: a dead peer is noticed after about 2.5 minutes even without a time limit.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 9;
/// No more of /etc/resolv.conf is looked at; it is read for an error text only.
const RESOLV_CONF_MAX: u64 = 64 * 1024;

/// Why no connection came about. Display is the original's text, from `dial tcp` on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// A port number above 65535.
    #[error("dial tcp: address {0}: invalid port")]
    InvalidPort(String),
    /// The name has no address, or the resolver has no answer.
    #[error("dial tcp: lookup {host}{server}: {reason}")]
    Lookup {
        /// The name as asked.
        host: String,
        /// ` on ADDRESS:53`, or nothing where no server was asked.
        server: String,
        /// `no such host` and the like.
        reason: String,
    },
    /// The first address's failure.
    #[error("dial tcp {address}: {step}: {}", format_errno(.error))]
    Connect {
        /// `ADDRESS:PORT`, IPv6 in brackets.
        address: String,
        /// The system call: `connect` or `socket`.
        step: &'static str,
        /// What it answered.
        error: io::Error,
    },
    /// The time limit passed.
    #[error("dial tcp {0}: i/o timeout")]
    Timeout(String),
}

/// Connects to `host` (no brackets; empty means this machine) and `port` (digits).
///
/// # Errors
/// [`DialError`]; of several addresses the first one's failure is given.
pub(crate) fn dial(
    host: &str,
    port: &str,
    deadline: Option<Instant>,
) -> Result<TcpStream, DialError> {
    let Ok(number) = port.parse::<u16>() else {
        return Err(DialError::InvalidPort(port.to_owned()));
    };
    let addresses = if host.is_empty() {
        vec![Target {
            address: (Ipv4Addr::LOCALHOST, number).into(),
            shown: format!(":{number}"),
        }]
    } else {
        resolve(host, number, deadline)?
            .into_iter()
            .map(Target::from)
            .collect()
    };
    race(addresses, deadline)
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    shown: String,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            shown: address.to_string(),
        }
    }
}

fn resolve(host: &str, port: u16, deadline: Option<Instant>) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    // With a colon it is an IPv6 address with a zone.
    if !host.contains(':') && !is_domain_name(host) {
        return Err(DialError::Lookup {
            host: host.to_owned(),
            server: String::new(),
            reason: "no such host".to_owned(),
        });
    }
    let answer = match deadline {
        None => lookup(host, port),
        Some(deadline) => {
            let (sender, receiver) = mpsc::channel();
            let name = host.to_owned();
            let spawned = std::thread::Builder::new()
                .name("kx-lookup".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || drop(sender.send(lookup(&name, port))));
            match spawned {
                Err(e) => Err(e),
                Ok(_) => receiver
                    .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            }
        }
    };
    let failed = |reason: String| DialError::Lookup {
        host: host.to_owned(),
        server: name_server(),
        reason,
    };
    match answer {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(failed("no such host".to_owned())),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(failed("i/o timeout".to_owned())),
        Err(e) if e.raw_os_error().is_some() => Err(failed(format_errno(&e))),
        // The C library's number is not to be had from std, its text is.
        Err(e) if e.to_string().contains("Temporary failure") => {
            Err(failed("server misbehaving".to_owned()))
        }
        Err(_) => Err(failed("no such host".to_owned())),
    }
}

/// Whether the original would look for this name at all. It is a matter of safety too: the C
/// library takes numbers like `2130706433` and `127.1` for addresses.
fn is_domain_name(name: &str) -> bool {
    let inner = name.strip_suffix('.').unwrap_or(name);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    let beyond_digits = |c: u8| c.is_ascii_alphabetic() || c == b'-' || c == b'_';
    inner.len() <= 253 && inner.split('.').all(label_fits) && inner.bytes().any(beyond_digits)
}

fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// ` on ADDRESS:53` with the first server of /etc/resolv.conf, as the original's own resolver says.
fn name_server() -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open("/etc/resolv.conf") {
        // What could be read is good enough for an error text.
        let _ = file.take(RESOLV_CONF_MAX).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let server = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .next()
        .unwrap_or(Ipv4Addr::LOCALHOST.into());
    format!(" on {}", SocketAddr::from((server, 53)))
}

/// One address family: its addresses in turn.
struct Racer {
    waiting: VecDeque<Target>,
    attempt: Option<(OwnedFd, Target)>,
    first_error: Option<DialError>,
}

impl Racer {
    fn new(targets: Vec<Target>) -> Self {
        Self {
            waiting: targets.into(),
            attempt: None,
            first_error: None,
        }
    }

    fn note(&mut self, error: DialError) {
        self.first_error.get_or_insert(error);
    }

    fn finished(&self) -> bool {
        self.attempt.is_none() && self.waiting.is_empty()
    }

    /// Begins with the next address, unless one is under way. Some when connected at once.
    fn start(&mut self) -> Option<OwnedFd> {
        while self.attempt.is_none() {
            let target = self.waiting.pop_front()?;
            match begin(&target) {
                Ok((fd, true)) => return Some(fd),
                Ok((fd, false)) => self.attempt = Some((fd, target)),
                Err(e) => self.note(e),
            }
        }
        None
    }

    /// The attempt's socket became writable: connected or failed.
    fn conclude(&mut self) -> Option<OwnedFd> {
        let (fd, target) = self.attempt.take()?;
        match sockopt::socket_error(&fd) {
            Ok(Ok(())) => Some(fd),
            Ok(Err(errno)) | Err(errno) => {
                self.note(failure(&target, "connect", errno));
                None
            }
        }
    }
}

fn failure(target: &Target, step: &'static str, errno: Errno) -> DialError {
    if errno == Errno::TIMEDOUT {
        // The kernel's own limit; the original says it like this too.
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        return DialError::Connect {
            address: target.shown.clone(),
            step,
            error,
        };
    }
    DialError::Connect {
        address: target.shown.clone(),
        step,
        error: errno.into(),
    }
}

/// A socket with its connection begun; true when it is already there.
fn begin(target: &Target) -> Result<(OwnedFd, bool), DialError> {
    let family = match target.address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
        .map_err(|e| failure(target, "socket", e))?;
    match connect(&fd, &target.address) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((fd, false)),
        Err(e) => Err(failure(target, "connect", e)),
    }
}

fn race(targets: Vec<Target>, deadline: Option<Instant>) -> Result<TcpStream, DialError> {
    let v4_first = targets.first().is_some_and(|t| t.address.is_ipv4());
    let all_shown = targets.first().map(|t| t.shown.clone()).unwrap_or_default();
    let (first, second) = targets
        .into_iter()
        .partition(|t| t.address.is_ipv4() == v4_first);
    let (mut first, mut second) = (Racer::new(first), Racer::new(second));
    let second_starts = Instant::now() + FALLBACK_DELAY;
    loop {
        if let Some(fd) = first.start() {
            return Ok(ready(fd));
        }
        let now = Instant::now();
        let second_runs = first.finished() || now >= second_starts;
        if let Some(fd) = second_runs.then(|| second.start()).flatten() {
            return Ok(ready(fd));
        }
        if first.finished() && second.finished() {
            let error = first.first_error.or(second.first_error);
            return Err(error.unwrap_or(DialError::Timeout(all_shown)));
        }
        if deadline.is_some_and(|d| now >= d) {
            return Err(first.first_error.unwrap_or(DialError::Timeout(all_shown)));
        }
        let wake = if second_runs || second.finished() {
            None
        } else {
            Some(second_starts)
        };
        let wake = match (wake, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let (first_ready, second_ready) = wait_writable(&first, &second, wake);
        if let Some(fd) = first_ready.then(|| first.conclude()).flatten() {
            return Ok(ready(fd));
        }
        if let Some(fd) = second_ready.then(|| second.conclude()).flatten() {
            return Ok(ready(fd));
        }
    }
}

fn wait_writable(first: &Racer, second: &Racer, until: Option<Instant>) -> (bool, bool) {
    let mut fds = Vec::with_capacity(2);
    for racer in [first, second] {
        if let Some((fd, _)) = &racer.attempt {
            fds.push(PollFd::new(fd, PollFlags::OUT));
        }
    }
    // An interrupted or failed poll counts as "nothing yet"; the caller's loop looks at the clock.
    if poll(&mut fds, timespec_until(until).as_ref()).is_err() {
        return (false, false);
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let first_ready = first.attempt.is_some() && ready.next().unwrap_or(false);
    (
        first_ready,
        second.attempt.is_some() && ready.next().unwrap_or(false),
    )
}

/// The time left until `until`, for poll(2); `None` waits for ever.
pub(crate) fn timespec_until(until: Option<Instant>) -> Option<Timespec> {
    let left = until?.saturating_duration_since(Instant::now());
    Timespec::try_from(left).ok()
}

/// A connected socket, still non-blocking, with the options that the original sets.
fn ready(fd: OwnedFd) -> TcpStream {
    // None of these can make the connection useless; a failure leaves the system's default.
    let _ = sockopt::set_tcp_nodelay(&fd, true);
    let _ = sockopt::set_socket_keepalive(&fd, true);
    let _ = sockopt::set_tcp_keepidle(&fd, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(&fd, KEEPALIVE);
    let _ = sockopt::set_tcp_keepcnt(&fd, KEEPALIVE_PROBES);
    TcpStream::from(fd)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    }

    #[test]
    fn refused_and_invalid_ports() {
        let port = free_port();
        let error = dial("127.0.0.1", &port.to_string(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
        );
        let error = dial("", &port.to_string(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp :{port}: connect: connection refused")
        );
        let error = dial("localhost", "99999", None).unwrap_err();
        assert_eq!(error.to_string(), "dial tcp: address 99999: invalid port");
    }

    #[test]
    fn only_names_are_looked_up() {
        for good in [
            "localhost",
            "localhost.",
            "a_b.example",
            "xn--bcher-kva.de",
            "1a",
            "1-2",
        ] {
            assert!(is_domain_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-.b",
            "127.1",
            "2130706433",
            "a b",
            "a\0b",
            "ü",
            &*long,
        ] {
            assert!(!is_domain_name(bad), "{bad}");
        }
        let error = dial("127.1", "1", None).unwrap_err();
        assert_eq!(error.to_string(), "dial tcp: lookup 127.1: no such host");
    }

    #[test]
    fn the_other_family_is_tried_at_once_after_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let bad: SocketAddr = format!("[::1]:{}", free_port()).parse().unwrap();
        let started = Instant::now();
        let stream = race(vec![bad.into(), good.into()], None).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(started.elapsed() < FALLBACK_DELAY);
    }

    #[test]
    fn the_first_failure_is_told() {
        let a: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let b: SocketAddr = format!("127.0.0.2:{}", free_port()).parse().unwrap();
        let error = race(vec![a.into(), b.into()], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp {a}: connect: connection refused")
        );
    }

    #[test]
    fn a_silent_address_ends_with_the_limit() {
        // A full backlog drops further connection requests on the loopback.
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let address: SocketAddr = rustix::net::getsockname(&socket)
            .unwrap()
            .try_into()
            .unwrap();
        let _fill: Vec<_> = (0..3)
            .map(|_| begin(&Target::from(address)).map(|(fd, _)| fd))
            .collect();
        std::thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        let error = race(
            vec![address.into()],
            Some(started + Duration::from_millis(150)),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp {address}: i/o timeout")
        );
        assert!(started.elapsed() >= Duration::from_millis(150));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}
