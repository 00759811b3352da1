//! PF_KEY on the monitor's side: the socket for requests, and another one for what the kernel tells, which is passed
//! on to the child without anybody's keys.

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};

use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::pf_key::{self, Message, Notices, Requests};
use kx_sys::xfrm::{Notice, Subject};

use crate::kernel::{Found, PF_KEY_REQIDS};

use super::guard::Interface;

/// Octets of the longest notice: a message of the kernel's and a policy behind it.
pub const MAX_NOTICE: usize = 32 * 1024;

impl Interface for Requests {
    fn subject(&self, octets: &[u8]) -> Option<Subject> {
        Message::from_octets(octets.to_vec())?.subject()
    }

    fn ask(&mut self, octets: &[u8]) -> io::Result<Option<Found>> {
        let message = Message::from_octets(octets.to_vec()).ok_or(ErrorKind::InvalidData)?;
        let found = Requests::ask(self, &message)?;
        Ok(found.map(|state| Found {
            spi: state.spi,
            octets: state.octets,
            packets: state.packets,
        }))
    }

    fn remove_all(&mut self) -> io::Result<usize> {
        Requests::remove_all(self, &PF_KEY_REQIDS)
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        PF_KEY_REQIDS
    }
}

/// Passes on what the kernel tells.
pub struct Relay {
    notices: Notices,
    /// Asks for the policies that want SAs.
    policies: Requests,
    line: DescriptorChannel,
}

impl Relay {
    /// With sockets of its own. The other end is the child's; neither blocks.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<(Relay, DescriptorChannel)> {
        let (line, childs) = DescriptorChannel::pair()?;
        // A child that waits for an answer does not read this one.
        for end in [&line, &childs] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let relay = Relay {
            notices: Notices::open()?,
            policies: Requests::open()?,
            line,
        };
        Ok((relay, childs))
    }

    /// What was passed on. What the child has no room for is lost, as in any socket.
    pub fn pass_on(&mut self) -> Vec<Notice> {
        let told = self.notices.take(&mut self.policies);
        let mut all = Vec::new();
        for octets in told.unwrap_or_default() {
            let notices = pf_key::notices(&octets);
            if !notices.is_empty() && octets.len() <= MAX_NOTICE {
                let _ = self.line.send(&octets, None);
            }
            all.extend(notices);
        }
        all
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}
