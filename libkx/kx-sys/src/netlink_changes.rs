//! Sockets of netlink(7) that only tell that something changed.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with,
};

/// Messages after which the others get their turn.
const IN_A_ROW: usize = 256;

/// Opens one, in the network name space of this process. `None` is NETLINK_ROUTE, number 0; `groups` is the mask
/// of those below 32.
pub(crate) fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        protocol,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Takes what has come; true if there was something. What it says is not looked at: whoever wants to know what
/// changed looks himself, and a message that was forged or lost misleads nobody.
pub(crate) fn take(socket: &OwnedFd) -> bool {
    let mut scratch = [0; 64];
    let mut came = false;
    for _ in 0..IN_A_ROW {
        match recv(socket, scratch.as_mut_slice(), RecvFlags::TRUNC) {
            // Some were too many.
            Ok(_) | Err(rustix::io::Errno::NOBUFS) => came = true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    came
}
