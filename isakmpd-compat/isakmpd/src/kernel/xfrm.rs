//! The kernel by NETLINK_XFRM: requests through the monitor, since the kernel wants CAP_NET_ADMIN of who sends them;
//! notices come to the child itself (isakmpd-xfrm 8).

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use kx_sys::xfrm::{self, Direction, Message, Notice, Notices, Policy, Sa, Selector};

use crate::monitor::Remote;

use super::database::{Database, Found, Name};

/// Reqids of ours: what is found with one at the start is a predecessor's, and is removed.
pub const REQIDS: RangeInclusive<u32> = 0x6b78_0000..=0x6b7f_ffff;

/// The interface.
pub struct Xfrm {
    monitor: Rc<Remote>,
    notices: Notices,
}

impl Xfrm {
    /// Requests to the monitor, notices from a socket that was opened with its privileges.
    #[must_use]
    pub fn new(monitor: Rc<Remote>, notices: Notices) -> Xfrm {
        Xfrm { monitor, notices }
    }

    fn ask(&self, message: &Message) -> io::Result<Option<Found>> {
        self.monitor.kernel(message.octets())
    }
}

impl Database for Xfrm {
    fn interface(&self) -> &'static str {
        "XFRM"
    }

    fn reqids(&self) -> RangeInclusive<u32> {
        REQIDS
    }

    fn allocate_spi(&mut self, sa: &Sa<'_>, range: RangeInclusive<u32>) -> io::Result<u32> {
        let found = self.ask(&xfrm::allocate_spi(sa, range))?;
        let found = found.ok_or(ErrorKind::InvalidData)?;
        Ok(found.spi)
    }

    fn install(&mut self, sa: &Sa<'_>, update: bool) -> io::Result<()> {
        self.ask(&xfrm::install(sa, update)).map(drop)
    }

    fn remove(&mut self, name: &Name) -> io::Result<()> {
        self.ask(&name.pass(xfrm::remove)).map(drop)
    }

    fn look(&mut self, name: &Name) -> io::Result<Option<Found>> {
        self.ask(&name.pass(xfrm::look))
    }

    fn put_policy(&mut self, policy: &Policy, replace: bool) -> io::Result<()> {
        self.ask(&xfrm::put_policy(policy, replace)).map(drop)
    }

    fn remove_policy(&mut self, selector: &Selector, direction: Direction) -> io::Result<()> {
        self.ask(&xfrm::remove_policy(selector, direction))
            .map(drop)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.notices.as_fd())
    }

    fn notices(&mut self) -> io::Result<Vec<Notice>> {
        self.notices.take()
    }
}
