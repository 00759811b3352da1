//! A datagram socket of our own, connected to the daemon's: only the daemon's datagrams arrive at it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use tcpcrypt_control::{Address, Sockaddr};

use crate::error::Error;

/// One end of a conversation with a daemon.
#[derive(Debug)]
pub(crate) struct ControlSocket(OwnedFd);

impl ControlSocket {
    /// Connects. Nothing is sent yet; a Unix socket shows here that nobody is there.
    #[allow(unsafe_code)]
    pub(crate) fn connect(to: &Address) -> Result<Self, Error> {
        let family = if to.is_unix() {
            libc::AF_UNIX
        } else {
            libc::AF_INET
        };
        // SAFETY: takes numbers only.
        let socket = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(Error::last());
        }
        // SAFETY: a fresh descriptor that nobody else knows.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(socket) });
        if to.is_unix() {
            // A family without a name: the kernel chooses an abstract one, to which the daemon answers.
            // The room behind it is for valgrind, which looks for a path whatever the length.
            let family = libc::sa_family_t::to_ne_bytes(1);
            let mut unnamed = [0; Sockaddr::ROOM];
            unnamed[..family.len()].copy_from_slice(&family);
            socket.call(libc::bind, &unnamed, family.len())?;
        }
        let address = to.sockaddr();
        let address = address.as_bytes();
        socket.call(libc::connect, address, address.len())?;
        Ok(socket)
    }

    /// Binds or connects to the first `len` octets of `address`.
    #[allow(unsafe_code)]
    fn call(
        &self,
        call: unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32,
        address: &[u8],
        len: usize,
    ) -> Result<(), Error> {
        let len = libc::socklen_t::try_from(len.min(address.len())).map_err(|_| Error::TooLong)?;
        // SAFETY: bind or connect; both read `len` octets, which are there.
        if unsafe { call(self.0.as_raw_fd(), address.as_ptr().cast(), len) } != 0 {
            return Err(Error::last());
        }
        Ok(())
    }

    /// Sends a datagram; waits until `deadline` while the daemon's queue is full.
    #[allow(unsafe_code)]
    pub(crate) fn send(&self, datagram: &[u8], deadline: Instant) -> Result<(), Error> {
        loop {
            // SAFETY: reads as many octets as there are.
            let sent = unsafe {
                libc::send(
                    self.0.as_raw_fd(),
                    datagram.as_ptr().cast(),
                    datagram.len(),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) if sent == datagram.len() => return Ok(()),
                Ok(_) => return Err(Error::TooLong),
                Err(_) => self.wait_unless_fatal(libc::POLLOUT, deadline)?,
            }
        }
    }

    /// The next datagram: what fits `buffer`, and its whole length.
    #[allow(unsafe_code)]
    pub(crate) fn receive<'a>(
        &self,
        buffer: &'a mut [u8],
        deadline: Instant,
    ) -> Result<(&'a [u8], usize), Error> {
        loop {
            // SAFETY: writes at most as many octets as there is room for.
            let received = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                )
            };
            match usize::try_from(received) {
                Ok(whole) => {
                    let fitted = whole.min(buffer.len());
                    return Ok((buffer.get(..fitted).unwrap_or_default(), whole));
                }
                Err(_) => self.wait_unless_fatal(libc::POLLIN, deadline)?,
            }
        }
    }

    /// After a call that failed: waits if that was because nothing can be done now.
    fn wait_unless_fatal(&self, events: i16, deadline: Instant) -> Result<(), Error> {
        match Error::last() {
            Error::System(libc::EAGAIN) => self.wait(events, deadline),
            Error::System(libc::EINTR) => Ok(()),
            error => Err(error),
        }
    }

    /// Waits for `events`, errors of the socket or, at most until the deadline, a signal.
    #[allow(unsafe_code)]
    fn wait(&self, events: i16, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Silent);
        }
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events,
            revents: 0,
        };
        // Rounded up, so that it does not spin through the last millisecond.
        let timeout = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
        // SAFETY: one entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, timeout) };
        match ready {
            // The deadline is looked at again.
            0.. => Ok(()),
            _ => match Error::last() {
                Error::System(libc::EINTR) => Ok(()),
                error => Err(error),
            },
        }
    }
}
