//! The addresses of this host's network interfaces, and being told that they change.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::netlink_changes;

/// Multicast groups of rtnetlink(7): RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub interface: String,
    /// Its address, with port 0; a link-local one has its scope.
    pub address: SocketAddr,
    /// Its mask, in the form of an address.
    pub netmask: Option<IpAddr>,
    /// The interface is up.
    pub up: bool,
}

/// All IPv4 and IPv6 addresses, in the order in which the system tells them.
///
/// # Errors
/// The system's.
#[allow(unsafe_code)]
pub fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: a place for the pointer to the list.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: an element of the list is there until the list is freed below, or the pointer is null.
    while let Some(element) = unsafe { next.as_ref() } {
        next = element.ifa_next;
        if let Some(address) = address_of(element.ifa_addr) {
            // SAFETY: the name is a string of C that is there as long as the element.
            let interface = unsafe { CStr::from_ptr(element.ifa_name) };
            found.push(InterfaceAddress {
                interface: interface.to_string_lossy().into_owned(),
                address,
                netmask: address_of(element.ifa_netmask).map(|netmask| netmask.ip()),
                up: element.ifa_flags & libc::IFF_UP as libc::c_uint != 0,
            });
        }
    }
    // SAFETY: the list came from getifaddrs, nothing points into it any more, and it is freed once.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

#[allow(unsafe_code)]
fn address_of(raw: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: null, or an address of the list, whose family every kind of address begins with.
    let family = unsafe { raw.as_ref() }?.sa_family;
    match libc::c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: of this family, so it is a sockaddr_in; it may be aligned for less.
            let raw = unsafe { raw.cast::<libc::sockaddr_in>().read_unaligned() };
            let address = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(address, 0).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this family, so it is a sockaddr_in6; it may be aligned for less.
            let raw = unsafe { raw.cast::<libc::sockaddr_in6>().read_unaligned() };
            let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, 0, 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The interface of the IPv4 default route, as /proc/net/route tells: the one with the lowest metric.
#[must_use]
pub fn default_interface_ipv4() -> Option<String> {
    lowest(&std::fs::read_to_string("/proc/net/route").ok()?, |words| {
        // Interface, destination, gateway, flags, references, use, metric, mask.
        let [name, "00000000", _, _, _, _, metric, "00000000", ..] = words else {
            return None;
        };
        Some((metric.parse().ok()?, *name))
    })
}

/// The same of IPv6, as /proc/net/ipv6_route tells.
#[must_use]
pub fn default_interface_ipv6() -> Option<String> {
    lowest(
        &std::fs::read_to_string("/proc/net/ipv6_route").ok()?,
        |words| {
            // Destination, its length, source, its length, next hop, metric, references, use, flags, interface.
            let [_, "00", _, _, gateway, metric, _, _, _, name] = words else {
                return None;
            };
            // The route that refuses everything is at the loopback interface, without a gateway.
            let refuses = *name == "lo" && gateway.bytes().all(|digit| digit == b'0');
            Some((u64::from_str_radix(metric, 16).ok()?, *name)).filter(|_| !refuses)
        },
    )
}

fn lowest(
    table: &str,
    read: impl for<'a> Fn(&'a [&'a str]) -> Option<(u64, &'a str)>,
) -> Option<String> {
    let mut best: Option<(u64, String)> = None;
    for line in table.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let Some((metric, name)) = read(&words) {
            if best.as_ref().is_none_or(|best| metric < best.0) {
                best = Some((metric, name.to_owned()));
            }
        }
    }
    best.map(|best| best.1)
}

/// A descriptor that becomes readable when an interface or an address comes, goes or changes.
#[derive(Debug)]
pub struct AddressChanges(OwnedFd);

impl AddressChanges {
    /// Opens it, for the network name space of this process.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<AddressChanges> {
        netlink_changes::open(None, GROUPS).map(AddressChanges)
    }

    /// Takes what has come; true if there was something. Whoever wants to know what changed looks himself.
    pub fn take(&self) -> bool {
        netlink_changes::take(&self.0)
    }
}

impl AsFd for AddressChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::thread::UnshareFlags;
    use std::process::Command;

    #[test]
    fn the_default_route_is_the_one_with_the_lowest_metric() {
        let table = "a 100\nb 7\nc 7\nd x\n";
        let read = |words: &[&str]| -> Option<u64> { words.get(1)?.parse().ok() };
        let best = lowest(table, |words| Some((read(words)?, *words.first()?)));
        assert_eq!(best.as_deref(), Some("b"));
        let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        let expected = routes.lines().any(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000")
        });
        assert_eq!(default_interface_ipv4().is_some(), expected);
    }

    #[test]
    fn loopback_is_there() {
        let all = interface_addresses().expect("told");
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let found = all.iter().find(|one| one.address == loopback);
        let found = found.expect("127.0.0.1");
        assert_eq!((found.interface.as_str(), found.up), ("lo", true));
        assert_eq!(found.netmask, Some(Ipv4Addr::new(255, 0, 0, 0).into()));
    }

    /// In a network name space of this thread's own.
    #[test]
    #[allow(unsafe_code)]
    fn a_new_address_is_told() {
        std::thread::spawn(|| {
            // SAFETY: only this thread's network is another one now.
            let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            if let Err(error) = own {
                return println!("skipped: {error}");
            }
            let changes = AddressChanges::open().expect("opened");
            assert!(!changes.take());
            let before = interface_addresses().expect("told");
            assert!(before.iter().all(|one| !one.up), "{before:?}");
            for words in ["link set lo up", "address add 192.0.2.77/32 dev lo"] {
                match Command::new("ip").args(words.split(' ')).status() {
                    Ok(status) => assert!(status.success()),
                    Err(error) => return println!("skipped: {error}"),
                }
            }
            let mut wanted = [PollFd::new(&changes, PollFlags::IN)];
            let patience = Timespec {
                tv_sec: 20,
                tv_nsec: 0,
            };
            assert_eq!(poll(&mut wanted, Some(&patience)), Ok(1));
            assert!(changes.take());
            let after = interface_addresses().expect("told");
            let new = SocketAddr::from(([192, 0, 2, 77], 0));
            assert!(after.iter().any(|one| one.address == new && one.up));
        })
        .join()
        .expect("no panic");
    }
}
