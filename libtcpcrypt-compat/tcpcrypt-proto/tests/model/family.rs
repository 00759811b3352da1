//! Which IP and which dialect the hosts speak: those of the test program's name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The network interface of every host. Link-local addresses are nothing without it.
pub(crate) const INTERFACE: u32 = 7;

/// The programs whose names end so are the others, over IPv6.
pub(crate) fn is_ipv6() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_ipv6")
}

/// The programs whose names end so are the others, in the standard, under either kind.
pub(crate) fn is_standard() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_standard") || is_upgrade()
}

/// The program whose name ends so is another, in the standard under kind 253.
pub(crate) fn is_upgrade() -> bool {
    env!("CARGO_CRATE_NAME").ends_with("_upgrade")
}

/// The kind of the ENO option.
pub(crate) fn eno_kind() -> u8 {
    let under_69 = is_standard() && !is_upgrade();
    if under_69 { 69 } else { 253 }
}

/// Octets of the IP header beyond those of IPv4.
pub(crate) fn longer_header() -> u16 {
    if is_ipv6() { 20 } else { 0 }
}

/// The interface that packets of connections belong to.
pub(crate) fn interface() -> u32 {
    if is_ipv6() { INTERFACE } else { 0 }
}

pub(crate) fn address(last: u8) -> IpAddr {
    if is_ipv6() {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 77, 0, last).into()
    }
}

/// An end of a connection as programs name it.
pub(crate) fn scoped(end: SocketAddr) -> SocketAddr {
    match end {
        SocketAddr::V4(_) => end,
        SocketAddr::V6(end) => SocketAddrV6::new(*end.ip(), end.port(), 0, INTERFACE).into(),
    }
}
