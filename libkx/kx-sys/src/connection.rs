//! A connection that somebody else has accepted: inetd, a service manager with `Accept=yes`, or a
//! listener of ours puts it on descriptor 0.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SocketType, sockopt};

/// The connection on descriptor 0, blocking. Of whatever family it is: reading, writing, time limits
/// and shutting down are the same for all.
///
/// # Errors
/// The system's; `ENOTSOCK` if it is something else, `EINVAL` if it is a socket of another kind.
pub fn inherited() -> io::Result<TcpStream> {
    let descriptor: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    if sockopt::socket_type(&descriptor)? != SocketType::STREAM {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    rustix::io::ioctl_fionbio(&descriptor, false)?;
    Ok(TcpStream::from(descriptor))
}

/// Makes the system ask from time to time whether the other side still lives.
///
/// # Errors
/// The system's.
pub fn keep_alive(connection: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_keepalive(connection, true)?)
}

/// The user at the other end of a Unix socket: its number, as the system saw it when the connection
/// was made.
///
/// # Errors
/// The system's.
pub fn peer_user(connection: impl AsFd) -> io::Result<u32> {
    Ok(sockopt::socket_peercred(connection)?.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_pair_is_oneself() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(peer_user(&one).expect("asked"), own);
    }

    #[test]
    fn keepalive_is_switched_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("address");
        let stream = TcpStream::connect(address).expect("connected");
        assert_eq!(sockopt::socket_keepalive(&stream), Ok(false));
        keep_alive(&stream).expect("set");
        assert_eq!(sockopt::socket_keepalive(&stream), Ok(true));
    }
}
