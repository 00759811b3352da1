//! Sockets, then away with the privileges; with the original's messages.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use kx_sys::privileges::{self, DropError, User};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::thread::CapabilitySet;
use tcpcrypt::system_text;
use thiserror::Error;

/// Set when this is built, like the daemon's.
const JAIL_USER: &str = match option_env!("KX_TCPCRYPT_JAIL_USER") {
    Some(user) => user,
    None => "tcpcryptd",
};
const JAIL_DIR: &str = match option_env!("KX_TCPCRYPT_JAIL_DIR") {
    Some(dir) => dir,
    None => "/var/run/tcpcryptd",
};

/// Why it does not start. Behind the program's name this is the message.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// A system call for a socket.
    #[error("{call}(): {}", text(source))]
    Socket {
        call: &'static str,
        source: io::Error,
    },
    /// The user's entry cannot be had.
    #[error("Can't find user '{JAIL_USER}'{}", source.as_ref().map_or_else(String::new, |e| format!(": {}", text(e))))]
    NoUser { source: Option<io::Error> },
    /// A step on the way down.
    #[error("{}", drop_text(.0))]
    Drop(#[from] DropError),
}

/// The system's text without Rust's number behind it.
fn text(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), system_text)
}

fn drop_text(error: &DropError) -> String {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref());
    source.map_or_else(|| error.to_string(), |e| format!("{error}: {}", text(e)))
}

/// A socket that sees every TCP packet that comes in over IPv4, from the IP header on.
pub(crate) fn sniffer() -> Result<OwnedFd, StartError> {
    raw_socket(AddressFamily::INET)
}

/// One that sees every TCP segment that comes in over IPv6, from the TCP header on; none where there is no IPv6.
pub(crate) fn sniffer_v6() -> Option<OwnedFd> {
    raw_socket(AddressFamily::INET6).ok()
}

fn raw_socket(family: AddressFamily) -> Result<OwnedFd, StartError> {
    rustix::net::socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::TCP),
    )
    .map_err(|e| StartError::Socket {
        call: "socket",
        source: e.into(),
    })
}

/// A listening socket. One of IPv6 leaves IPv4 to others.
pub(crate) fn listener(ip: IpAddr, port: u16) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Socket {
        call: "bind",
        source,
    };
    let listener = match ip {
        IpAddr::V4(ip) => TcpListener::bind(SocketAddrV4::new(ip, port)),
        IpAddr::V6(ip) => listener_v6(ip, port).map_err(io::Error::from),
    };
    let listener = listener.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn listener_v6(ip: Ipv6Addr, port: u16) -> Result<TcpListener, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV6::new(ip, port, 0, 0))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// As many as the standard library lets wait.
const BACKLOG: i32 = 128;

/// Whether an error of [`listener`] says that there is no IPv6 here.
pub(crate) fn is_without_ipv6(error: &StartError) -> bool {
    let StartError::Socket { source, .. } = error else {
        return false;
    };
    let errno = Errno::from_io_error(source);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Becomes the jail's user, in the jail, with no capability: the sockets are open.
pub(crate) fn drop_privileges() -> Result<(), StartError> {
    let user = User::find(JAIL_USER).map_err(|e| StartError::NoUser { source: Some(e) })?;
    let user = user.ok_or(StartError::NoUser { source: None })?;
    Ok(privileges::drop_to(
        &user,
        Path::new(JAIL_DIR),
        CapabilitySet::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn messages() {
        let source = io::Error::from(Errno::ADDRINUSE);
        let error = StartError::Socket {
            call: "bind",
            source,
        };
        assert_eq!(error.to_string(), "bind(): Address already in use");
        assert_eq!(
            StartError::NoUser { source: None }.to_string(),
            "Can't find user 'tcpcryptd'"
        );
        let source = io::Error::from(Errno::NOENT);
        let path = "/jail".into();
        assert_eq!(
            StartError::from(DropError::Chroot { path, source }).to_string(),
            "Could not chroot to /jail: No such file or directory"
        );
        assert_eq!(
            StartError::from(DropError::NotDropped("user")).to_string(),
            "privileges are still there: user"
        );
    }

    #[test]
    fn a_port_that_is_taken() {
        let first = listener(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = listener(Ipv4Addr::LOCALHOST.into(), port).unwrap_err();
        assert_eq!(error.to_string(), "bind(): Address already in use");
    }

    #[test]
    fn both_families_on_one_port() {
        let first = listener(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap();
        let port = first.local_addr().unwrap().port();
        match listener(Ipv6Addr::UNSPECIFIED.into(), port) {
            Ok(second) => assert!(second.local_addr().unwrap().is_ipv6()),
            Err(error) => assert!(is_without_ipv6(&error), "{error}"),
        }
    }
}
