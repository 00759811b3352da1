//! IPsec in the kernel: PF_KEYv2 (RFC 2367) with the extensions of Linux, where NETLINK_XFRM is not to be had.
//!
//! It has the face of [`crate::xfrm`] and takes the same SAs and policies, as far as it has words for them: no AEAD,
//! no check value of another length than the kernel's own for the algorithm, no replay window above 32, no selector
//! and no mark of an SA, reqids of policies up to [`MOST_REQID`].
//!
//! Only opening a socket needs a privilege; whoever has one may do everything with it, and gets the keys of all SAs
//! that anybody makes. So a process that is to have no privileges must have no such socket: another one keeps both,
//! [`Requests`] and [`Notices`], and passes on what it has looked at.

mod decode;
mod extension;
#[cfg(test)]
mod live_tests;
mod notice;
mod number;
mod request;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::xfrm::{State, wait, wipe};

pub use notice::notices;
pub use request::{
    MOST_REQID, MOST_WINDOW, Message, Unsupported, allocate_spi, bypass, install, look, put_policy,
    remove, remove_policy,
};

use extension::{Frame, HEADER};
use number::kind;

/// The kernel answers at once; this is for the one that does not.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of an answer.
const BUFFER: usize = 16 * 1024;
/// Requests without a mark count from here; the kernel counts its own from 1 and would take one of ours for an
/// answer to it.
const FIRST_SEQUENCE: u32 = 0x8000_0000;

/// Asks the kernel.
#[derive(Debug)]
pub struct Requests {
    socket: OwnedFd,
    process: u32,
    sequence: u32,
}

/// An answer, wiped when it is dropped: the kernel tells keys, too.
struct Received(Vec<u8>);

impl Drop for Received {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Requests {
    /// Opens the socket, which needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// The system's: EAFNOSUPPORT if there is no PF_KEY in this kernel.
    pub fn open() -> io::Result<Requests> {
        Ok(Requests {
            socket: open()?,
            process: std::process::id(),
            sequence: FIRST_SEQUENCE,
        })
    }

    /// Sends `message` and waits for the answer; returns the SA that came, if one did.
    ///
    /// # Errors
    /// The kernel's (EEXIST, ESRCH, ENOSYS: no such algorithm), or [`ErrorKind::TimedOut`].
    pub fn ask(&mut self, message: &Message) -> io::Result<Option<State>> {
        let wants_state = matches!(message.0.get(1), Some(&(kind::GETSPI | kind::GET)));
        let mut found = None;
        self.exchange(message, |frame, _| {
            if wants_state {
                found = notice::state(frame);
            }
        })?;
        Ok(found)
    }

    /// Removes all SAs and policies with a reqid of `ours`: what a process left that was killed. Returns how many.
    ///
    /// # Errors
    /// As [`Requests::ask`].
    pub fn remove_all(&mut self, ours: &RangeInclusive<u32>) -> io::Result<usize> {
        let mut old = Vec::new();
        let nothing = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            _ => Err(error),
        };
        // Those of sockets have no direction that would be one.
        let policies = self.exchange(&request::plain(kind::SPDDUMP, 0), |frame, _| {
            if let Some((index, policy)) = notice::policy(frame) {
                if policy.templates.iter().any(|one| ours.contains(&one.reqid)) {
                    old.push(request::by_index(kind::SPDDELETE2, index));
                }
            }
        });
        policies.or_else(nothing)?;
        let states = self.exchange(&request::plain(kind::DUMP, 0), |frame, _| {
            if let Some(state) = notice::state(frame) {
                // A larval one without SPI cannot be removed; it runs out.
                if ours.contains(&state.reqid) && state.spi != 0 {
                    let State {
                        source,
                        destination,
                        protocol,
                        spi,
                        ..
                    } = state;
                    old.push(remove(source, destination, protocol, spi));
                }
            }
        });
        states.or_else(nothing)?;
        let mut count = 0_usize;
        for message in old {
            // It may have run out meanwhile.
            count = count.saturating_add(usize::from(self.ask(&message).is_ok()));
        }
        Ok(count)
    }

    /// Sends a message, and calls `each` with every message of the answer.
    fn exchange(
        &mut self,
        message: &Message,
        mut each: impl FnMut(&Frame<'_>, &[u8]),
    ) -> io::Result<()> {
        self.forget_others()?;
        let mut octets = Message(message.octets().to_vec());
        self.sequence = self.sequence.wrapping_add(1).max(FIRST_SEQUENCE);
        let [_, kind, ..] = *octets
            .0
            .first_chunk::<HEADER>()
            .ok_or(ErrorKind::InvalidInput)?;
        let sequence = match extension::native_u32(&octets.0, 8) {
            None | Some(0) => self.sequence,
            Some(mark) => mark,
        };
        for (at, number) in [(8, sequence), (12, self.process)] {
            if let Some(place) = octets.0.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *place = number.to_ne_bytes();
            }
        }
        send(&self.socket, &octets.0, SendFlags::empty())?;
        let dump = matches!(kind, kind::DUMP | kind::SPDDUMP);
        let end = Instant::now() + PATIENCE;
        loop {
            let Some(received) = receive(&self.socket)? else {
                wait(&self.socket, end)?;
                continue;
            };
            let Some((frame, _)) = Frame::parse(&received.0) else {
                continue;
            };
            // What others ask for is told to everybody. A dump counts its messages down to 0.
            if (frame.kind, frame.process) != (kind, self.process)
                || (!dump && frame.sequence != sequence)
            {
                continue;
            }
            if frame.error != 0 {
                return Err(io::Error::from_raw_os_error(frame.error.into()));
            }
            each(&frame, &received.0);
            if !dump || frame.sequence == 0 {
                return Ok(());
            }
        }
    }

    /// What was told to everybody meanwhile would fill the socket.
    fn forget_others(&self) -> io::Result<()> {
        while receive(&self.socket)?.is_some() {}
        Ok(())
    }

    /// The octets of a policy as the kernel tells them, by its index.
    fn policy(&mut self, index: u32) -> io::Result<Vec<u8>> {
        let mut told = Vec::new();
        self.exchange(&request::by_index(kind::SPDGET, index), |_, octets| {
            told = octets.to_vec();
        })?;
        Ok(told)
    }
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Hears the kernel.
#[derive(Debug)]
pub struct Notices(OwnedFd);

impl Notices {
    /// Opens a socket, which needs CAP_NET_ADMIN, and registers it. Linux tells whoever has registered for one
    /// protocol of all; it looks for all algorithms that it might have first, which can take seconds.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Notices> {
        let mut requests = Requests::open()?;
        requests.ask(&request::plain(kind::REGISTER, number::sa_type(50)))?;
        Ok(Notices(requests.socket))
    }

    /// All that has come, as datagrams for [`notices`]; none of them has a key. Never blocks. What did not fit the
    /// socket's buffer is lost. With `requests` the policies are asked for that want an SA.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&self, requests: &mut Requests) -> io::Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        // The others get their turn.
        for _ in 0..256 {
            let Some(received) = receive(&self.0)? else {
                break;
            };
            let Some((frame, _)) = Frame::parse(&received.0) else {
                continue;
            };
            match frame.kind {
                // From nobody but the kernel.
                kind::EXPIRE | kind::NAT_T_NEW_MAPPING | kind::ACQUIRE
                    if frame.process != 0 || frame.error != 0 => {}
                kind::EXPIRE | kind::NAT_T_NEW_MAPPING => all.push(received.0.clone()),
                kind::ACQUIRE => {
                    // It may be gone already.
                    let policy = notice::index(&frame).map(|index| requests.policy(index));
                    if let Some(Ok(policy)) = policy {
                        all.push([&received.0[..], &policy].concat());
                    }
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    let version = NonZero::new(u32::from(number::VERSION)).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::KEY,
        SocketType::RAW,
        flags,
        version,
    )?)
}

/// The next datagram, which is one message; `None`: there is none yet.
fn receive(socket: &OwnedFd) -> io::Result<Option<Received>> {
    let mut received = Received(vec![0; BUFFER]);
    loop {
        match recv(socket, &mut received.0[..], RecvFlags::DONTWAIT) {
            Ok((_, count)) => {
                received.0.truncate(count);
                return Ok(Some(received));
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
