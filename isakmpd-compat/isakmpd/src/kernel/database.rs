//! The kernel's data base of SAs and policies, by whatever interface.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use kx_sys::xfrm::{Direction, Notice, Policy, Sa, Selector};

/// What the kernel answers about an SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// As on the wire.
    pub spi: u32,
    /// Octets that it carried.
    pub octets: u64,
    /// Packets that it carried.
    pub packets: u64,
}

/// By what the kernel knows an SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// As in the IP header.
    pub protocol: u8,
    /// As on the wire.
    pub spi: u32,
}

impl Name {
    /// `make` of its parts, in their order.
    pub(super) fn pass<T>(&self, make: impl FnOnce(IpAddr, IpAddr, u8, u32) -> T) -> T {
        make(self.source, self.destination, self.protocol, self.spi)
    }
}

/// The kernel's data base of SAs and policies, by one of its interfaces.
pub trait Database {
    /// Its name, for the log.
    fn interface(&self) -> &'static str;

    /// Reqids that are ours, for flows. The first is that of larval SAs.
    fn reqids(&self) -> RangeInclusive<u32>;

    /// An SPI of `range` for a larval SA.
    ///
    /// # Errors
    /// The kernel's.
    fn allocate_spi(&mut self, sa: &Sa<'_>, range: RangeInclusive<u32>) -> io::Result<u32>;

    /// A whole SA, a new one or (`update`) in place of a larval one. An update of a whole one changes nothing but its
    /// ports of UDP and its lifetime, which begins no other time for that; keys are not looked at.
    ///
    /// # Errors
    /// The kernel's: ESRCH if there is no larval one.
    fn install(&mut self, sa: &Sa<'_>, update: bool) -> io::Result<()>;

    /// Takes an SA away.
    ///
    /// # Errors
    /// The kernel's: ESRCH if there is none.
    fn remove(&mut self, name: &Name) -> io::Result<()>;

    /// Looks at an SA.
    ///
    /// # Errors
    /// The kernel's: ESRCH if there is none.
    fn look(&mut self, name: &Name) -> io::Result<Option<Found>>;

    /// A policy, a new one or (`replace`) in place of one with the same traffic and direction.
    ///
    /// # Errors
    /// The kernel's: EEXIST if there is one.
    fn put_policy(&mut self, policy: &Policy, replace: bool) -> io::Result<()>;

    /// Takes a policy away.
    ///
    /// # Errors
    /// The kernel's.
    fn remove_policy(&mut self, selector: &Selector, direction: Direction) -> io::Result<()>;

    /// What becomes readable when there are notices.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// The notices that came.
    ///
    /// # Errors
    /// The system's.
    fn notices(&mut self) -> io::Result<Vec<Notice>>;
}
