//! IPsec in the kernel: NETLINK_XFRM ("isakmpd 6.2", "isakmpd-xfrm").
//!
//! [`Requests`] asks for things and waits for the answer; that needs CAP_NET_ADMIN in whoever sends.
//! [`Notices`] hears what the kernel tells; it goes on hearing when privileges are given up. Octets of
//! requests are made by plain functions, so that one process can make them and another send them.

#[cfg(test)]
pub(crate) mod live_tests;
mod notice;
mod request;
#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, netlink, recv, sendto, socket_with};

pub use notice::{Notice, State};
pub use request::{
    Algorithm, Direction, Lifetime, MOST_WINDOW, Message, Mode, Policy, PolicyName, Sa, Selector,
    StateName, Subject, Template, allocate_spi, bypass, install, look, put_policy, remove,
    remove_policy,
};

pub(crate) use request::wipe;

use notice::Content;

/// XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE and XFRMNLGRP_MAPPING, as bits. With a listener in the first, the kernel keeps
/// a larval SA for the first packet that finds none, and tells of it once ("isakmpd-xfrm 3").
const GROUPS: u32 = 1 | 2 | 1 << 7;
/// The kernel answers at once; this is for the one that does not.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of an answer or of some notices.
const BUFFER: usize = 16 * 1024;

/// Asks the kernel.
#[derive(Debug)]
pub struct Requests {
    socket: OwnedFd,
    sequence: u32,
}

impl Requests {
    /// Opens the socket.
    ///
    /// # Errors
    /// The system's: no XFRM in this kernel.
    pub fn open() -> io::Result<Requests> {
        Ok(Requests {
            socket: open(0)?,
            sequence: 0,
        })
    }

    /// Sends `message` and waits for the end of it; returns the SA that came, if one did.
    ///
    /// # Errors
    /// The kernel's (EEXIST, ESRCH, EPROTONOSUPPORT: no such transform), or [`ErrorKind::TimedOut`].
    pub fn ask(&mut self, message: &Message) -> io::Result<Option<State>> {
        // The kernel sends an SA before it confirms.
        let wants_state = matches!(
            message.kind(),
            Some(request::kind::ALLOCSPI | request::kind::GETSA)
        );
        let mut found = None;
        self.exchange(message, |content| {
            if let (Content::State(state), true) = (content, wants_state) {
                found = Some(state);
            }
        })?;
        Ok(found)
    }

    /// Removes all policies with a reqid of `ours`, and all SAs with one or with the mark `sequence`: what a process
    /// left that was killed. Returns how many.
    ///
    /// # Errors
    /// As [`Requests::ask`].
    pub fn remove_all(&mut self, ours: &RangeInclusive<u32>, sequence: u32) -> io::Result<usize> {
        let mut old = Vec::new();
        self.exchange(&request::dump(true), |content| {
            if let Content::Policy(selector, direction, Some(reqid)) = content {
                if ours.contains(&reqid) {
                    old.push(request::remove_told_policy(&selector, direction));
                }
            }
        })?;
        self.exchange(&request::dump(false), |content| {
            if let Content::State(state) = content {
                let is_ours = ours.contains(&state.reqid) || state.sequence == sequence;
                // A larval one without SPI cannot be removed; it runs out.
                if is_ours && state.spi != 0 {
                    old.push(remove(
                        state.source,
                        state.destination,
                        state.protocol,
                        state.spi,
                    ));
                }
            }
        })?;
        let mut count = 0_usize;
        for message in old {
            // It may have run out meanwhile.
            count = count.saturating_add(usize::from(self.ask(&message).is_ok()));
        }
        Ok(count)
    }

    fn exchange(&mut self, message: &Message, mut each: impl FnMut(Content)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut octets = Message(message.octets().to_vec());
        if let Some(place) = octets.0.get_mut(8..12) {
            place.copy_from_slice(&self.sequence.to_ne_bytes());
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &octets.0, SendFlags::empty(), &kernel)?;
        let end = Instant::now() + PATIENCE;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, count)) => count.min(BUFFER),
                Err(rustix::io::Errno::AGAIN) => {
                    wait(&self.socket, end)?;
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for received in notice::messages(buffer.get(..count).unwrap_or_default()) {
                if received.sequence != self.sequence {
                    continue;
                }
                match received.content {
                    Content::Done(result) => {
                        // The SA that was looked at came with its keys.
                        wipe(&mut buffer);
                        return result.map_err(io::Error::from_raw_os_error);
                    }
                    content => each(content),
                }
            }
        }
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
    /// Joins the groups of expiries, of packets that want an SA, and of NATs that changed a peer's place.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Notices> {
        Ok(Notices(open(GROUPS)?))
    }

    /// All that has come; never blocks. Notices that did not fit the socket's buffer are lost.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&self) -> io::Result<Vec<Notice>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; BUFFER];
        // The others get their turn.
        for _ in 0..256 {
            match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, count)) => {
                    all.extend(notices(buffer.get(..count.min(BUFFER)).unwrap_or_default()));
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
                Err(error) => return Err(error.into()),
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

/// The notices in a datagram: those of the kernel itself. Public for whoever tries hostile ones.
#[doc(hidden)]
#[must_use]
pub fn notices(datagram: &[u8]) -> Vec<Notice> {
    let told = notice::messages(datagram).into_iter();
    told.filter_map(|received| match received.content {
        Content::Notice(notice) if received.port == 0 => Some(notice),
        _ => None,
    })
    .collect()
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::XFRM),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

pub(crate) fn wait(socket: &OwnedFd, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    let limit = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
