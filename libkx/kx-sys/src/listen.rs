//! Listening sockets: made by ourselves with the manners of the original (kxd spec 2), or taken
//! over from a service manager (sd_listen_fds(3)).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections that may wait for `accept`; the system may allow less (`net.core.somaxconn`).
pub const BACKLOG: i32 = 4096;

/// Which call failed; its name stands in front of the system's text in the original's message
/// (`listen tcp :19840: bind: address already in use`).
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct BindError {
    /// `socket`, `setsockopt`, `bind` or `listen`.
    pub call: &'static str,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

fn failed(call: &'static str) -> impl FnOnce(Errno) -> BindError {
    move |error| BindError {
        call,
        source: error.into(),
    }
}

/// Makes a listening socket, non-blocking and close-on-exec, whose port can be bound again at
/// once after a restart.
///
/// An unspecified address, `0.0.0.0` no less than `::`, means both families through one socket,
/// or IPv4 alone where there is no IPv6. With `share_port` further sockets may be bound to the
/// same port by the same user, and the system spreads connections over them.
///
/// # Errors
/// The failed call and the system's error.
pub fn bind(address: SocketAddr, share_port: bool) -> Result<TcpListener, BindError> {
    if !address.ip().is_unspecified() {
        return bind_one(address, share_port);
    }
    let port = address.port();
    match bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), share_port) {
        Err(error) if no_ipv6(&error) => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), share_port)
        }
        result => result,
    }
}

/// Without IPv6 in the kernel `socket` fails, with IPv6 switched off `bind` may.
fn no_ipv6(error: &BindError) -> bool {
    let number = error.source.raw_os_error();
    match error.call {
        "socket" => {
            number == Some(Errno::AFNOSUPPORT.raw_os_error())
                || number == Some(Errno::PROTONOSUPPORT.raw_os_error())
        }
        "setsockopt" => true,
        "bind" => number == Some(Errno::ADDRNOTAVAIL.raw_os_error()),
        _ => false,
    }
}

fn bind_one(address: SocketAddr, share_port: bool) -> Result<TcpListener, BindError> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .map_err(failed("socket"))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false).map_err(failed("setsockopt"))?;
    }
    sockopt::set_socket_reuseaddr(&socket, true).map_err(failed("setsockopt"))?;
    if share_port {
        sockopt::set_socket_reuseport(&socket, true).map_err(failed("setsockopt"))?;
    }
    rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed("listen"))?;
    Ok(TcpListener::from(socket))
}

/// A socket that a service manager has bound for us.
#[derive(Debug)]
pub struct Inherited {
    /// Its name from `LISTEN_FDNAMES` (`FileDescriptorName=` of the unit), empty if none.
    pub name: String,
    /// The socket: listening, TCP over IPv4 or IPv6, now non-blocking and close-on-exec.
    pub listener: TcpListener,
}

/// Why the sockets of a service manager cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// `LISTEN_FDS` is no number, or greater than anybody needs.
    #[error("LISTEN_FDS: invalid value")]
    Count,
    /// One of them is not a listening TCP socket.
    #[error("inherited descriptor {0}: not a listening TCP socket")]
    NotListening(RawFd),
    /// The system refused to look at it or to change it.
    #[error("inherited descriptor {0}: {1}")]
    System(RawFd, io::Error),
}

/// The first descriptor of sd_listen_fds(3).
const FIRST: RawFd = 3;
/// More sockets than this are a mistake.
const MOST: u32 = 64;

/// Takes the sockets that were passed to this process (`LISTEN_FDS`, `LISTEN_PID`,
/// `LISTEN_FDNAMES`); none if the variables are not there or meant for another process. Only the
/// first call gets them. The environment is left as it is: [`crate::spawn`] gives none of it on.
///
/// # Errors
/// [`InheritError`]; the sockets are closed then.
pub fn take_inherited() -> Result<Vec<Inherited>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).unwrap_or_default();
    let count = inherited_count(
        &variable("LISTEN_PID"),
        &variable("LISTEN_FDS"),
        std::process::id(),
    )?;
    if count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let mut sockets = Vec::new();
    for number in 0..count {
        let raw = RawFd::try_from(number)
            .unwrap_or(RawFd::MAX)
            .saturating_add(FIRST);
        let name = names.next().unwrap_or_default().to_owned();
        sockets.push(Inherited {
            name,
            listener: TcpListener::from(adopt(raw)?),
        });
    }
    Ok(sockets)
}

fn inherited_count(pid: &str, count: &str, own: u32) -> Result<u32, InheritError> {
    if pid.parse::<u32>().ok() != Some(own) {
        return Ok(0);
    }
    match count.parse::<u32>() {
        Ok(count) if count <= MOST => Ok(count),
        _ => Err(InheritError::Count),
    }
}

/// Makes the descriptor ours, after a look at what it is.
#[allow(unsafe_code)]
fn adopt(raw: RawFd) -> Result<OwnedFd, InheritError> {
    // SAFETY: only to be asked for its flags: a number that is not open answers EBADF, and one that
    // is open is not closed by anybody else meanwhile (the manager passed it for us to take).
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| InheritError::System(raw, error.into()))?;
    // SAFETY: it is open, as was just seen, and by the protocol of sd_listen_fds(3) it belongs to this
    // process and to nobody else in it; `TAKEN` sees to it that it is adopted once.
    let owned = unsafe { OwnedFd::from_raw_fd(raw) };
    check(owned.as_fd(), raw)?;
    Ok(owned)
}

fn check(socket: BorrowedFd<'_>, raw: RawFd) -> Result<(), InheritError> {
    let refuse = |_: Errno| InheritError::NotListening(raw);
    let stream = sockopt::socket_type(socket).map_err(refuse)? == SocketType::STREAM;
    let listening = sockopt::socket_acceptconn(socket).map_err(refuse)?;
    let family = sockopt::socket_domain(socket).map_err(refuse)?;
    if !(stream && listening && matches!(family, AddressFamily::INET | AddressFamily::INET6)) {
        return Err(InheritError::NotListening(raw));
    }
    rustix::io::ioctl_fionbio(socket, true).map_err(|error| InheritError::System(raw, error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Duration;

    fn any(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    #[test]
    fn an_unspecified_address_serves_both_families() {
        for text in ["[::]:0", "0.0.0.0:0"] {
            let listener = bind(any(text), false).expect("bound");
            let port = listener.local_addr().expect("address").port();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4");
            if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");
            }
        }
    }

    #[test]
    fn a_certain_address_serves_only_itself() {
        let listener = bind(any("127.0.0.1:0"), false).expect("bound");
        let address = listener.local_addr().expect("address");
        TcpStream::connect(address).expect("itself");
        assert!(TcpStream::connect(("127.0.0.2", address.port())).is_err());
    }

    #[test]
    fn errors_name_the_call() {
        let first = bind(any("127.0.0.1:0"), false).expect("bound");
        let again = bind(first.local_addr().expect("address"), false).expect_err("in use");
        assert_eq!(again.call, "bind");
        assert_eq!(again.source.raw_os_error(), Some(libc::EADDRINUSE));
        let foreign = bind(any("192.0.2.1:0"), false).expect_err("not ours");
        assert_eq!(
            (foreign.call, foreign.source.raw_os_error()),
            ("bind", Some(libc::EADDRNOTAVAIL))
        );
    }

    #[test]
    fn a_port_may_be_shared_on_request() {
        let first = bind(any("127.0.0.1:0"), true).expect("bound");
        bind(first.local_addr().expect("address"), true).expect("shared");
        bind(first.local_addr().expect("address"), false).expect_err("not asked for");
    }

    #[test]
    fn a_port_is_free_again_at_once() {
        let listener = bind(any("127.0.0.1:0"), false).expect("bound");
        let address = listener.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connected");
        listener.set_nonblocking(false).expect("blocking");
        let (accepted, _) = listener.accept().expect("accepted");
        drop(accepted); // the side that closes first keeps the port in TIME_WAIT
        drop(client);
        drop(listener);
        // A child that another test is just starting has the descriptor, too, until its exec: a
        // moment, where the time in TIME_WAIT is a minute.
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while let Err(error) = bind(address, false) {
            assert!(std::time::Instant::now() < end, "{error}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_managers_variables_are_checked() {
        assert_eq!(inherited_count("", "", 7).expect("none"), 0);
        assert_eq!(inherited_count("8", "1", 7).expect("for another"), 0);
        assert_eq!(inherited_count("7", "2", 7).expect("two"), 2);
        for bad in ["", "-1", "x", "65", "99999999999999999999"] {
            inherited_count("7", bad, 7).expect_err(bad);
        }
    }

    #[test]
    fn only_listening_tcp_sockets_are_taken() {
        let listener = bind(any("127.0.0.1:0"), false).expect("bound");
        check(listener.as_fd(), 0).expect("listening");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("client");
        check(client.as_fd(), 0).expect_err("connected");
        let file = std::fs::File::open("/dev/null").expect("file");
        check(file.as_fd(), 0).expect_err("a file");
    }
}
