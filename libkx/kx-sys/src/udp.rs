//! UDP sockets of a daemon that listens at each of its addresses and, behind those, at all of them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

use crate::pf_key;
use crate::xfrm::{self, Direction};

/// The longest datagram.
const SLOT: usize = 1 << 16;

/// UDP_ENCAP_ESPINUDP of linux/udp.h.
const ESP_IN_UDP: libc::c_int = 2;

/// Room for one control message, the larger of the two kinds, aligned as the kernel wants it.
const CONTROL_WORDS: usize = 8;

/// How a socket is to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Nobody else may have a socket at the address and port, not even one that would share it. Later ones that
    /// share may come, for all addresses.
    pub exclusive: bool,
    /// Octets of datagrams that may wait; more than the system's limit for those who may.
    pub receive_buffer: usize,
}

/// A bound socket that does not block. At an unspecified address it knows to which address each datagram
/// came, and sends from any.
#[derive(Debug)]
pub struct Udp {
    socket: OwnedFd,
    local: SocketAddr,
}

impl Udp {
    /// Opens and binds one. IPv6 sockets take no IPv4.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(local: SocketAddr, binding: Binding) -> io::Result<Udp> {
        let family = match local {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        if local.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if !binding.exclusive {
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        if local.ip().is_unspecified() {
            tell_destinations(&socket, &local)?;
        }
        rustix::net::bind(&socket, &local)?;
        // From now on it shares with those that come later.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Beyond the limit of net.core.rmem_max only with CAP_NET_ADMIN; what can be had is good enough.
        if sockopt::set_socket_recv_buffer_size_force(&socket, binding.receive_buffer).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, binding.receive_buffer);
        }
        Udp::from_bound(socket)
    }

    /// Takes over a socket that another process bound.
    ///
    /// # Errors
    /// The system's; it is no socket of the internet.
    pub fn from_bound(socket: OwnedFd) -> io::Result<Udp> {
        let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)
            .map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        Ok(Udp { socket, local })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Leaves this socket's datagrams alone, whatever the IPsec policies of the host say ("isakmpd-xfrm 7").
    ///
    /// # Errors
    /// The system's: EPERM without CAP_NET_ADMIN.
    pub fn bypass_ipsec(&self) -> io::Result<()> {
        let ipv6 = self.local.is_ipv6();
        let (level, by_xfrm, by_pf_key) = match ipv6 {
            true => (
                libc::IPPROTO_IPV6,
                libc::IPV6_XFRM_POLICY,
                libc::IPV6_IPSEC_POLICY,
            ),
            false => (
                libc::IPPROTO_IP,
                libc::IP_XFRM_POLICY,
                libc::IP_IPSEC_POLICY,
            ),
        };
        for direction in [Direction::In, Direction::Out] {
            let set = self.set_option(level, by_xfrm, &xfrm::bypass(ipv6, direction));
            match set {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
                // A kernel may have the one interface without the other.
                Err(error) => self
                    .set_option(level, by_pf_key, &pf_key::bypass(direction))
                    .map_err(|_| error)?,
            }
        }
        Ok(())
    }

    /// Gives datagrams that are ESP to the kernel (RFC 3948).
    ///
    /// # Errors
    /// The system's.
    pub fn take_esp(&self) -> io::Result<()> {
        self.set_option(
            libc::IPPROTO_UDP,
            libc::UDP_ENCAP,
            &ESP_IN_UDP.to_ne_bytes(),
        )
    }

    #[allow(unsafe_code)]
    fn set_option(&self, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
        let length = libc::socklen_t::try_from(value.len()).map_err(|_| ErrorKind::InvalidInput)?;
        // SAFETY: the call reads `length` octets of `value`, which outlives it.
        let set = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                value.as_ptr().cast(),
                length,
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives the descriptor away.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends a datagram made of `parts`. `from` is the address to send it from, for a socket that is bound to all
    /// of them; others do not look at it.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::WouldBlock`] if the queue is full.
    #[allow(unsafe_code)]
    pub fn send(&self, from: IpAddr, to: SocketAddr, parts: [&[u8]; 2]) -> io::Result<()> {
        let mut control = [0u64; CONTROL_WORDS];
        let control_length = match self.local.ip().is_unspecified() {
            true => put_source(&mut control, from),
            false => 0,
        };
        let (mut name, name_length) = to_raw(&to);
        let mut vectors = parts.map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        });
        // SAFETY: all of its fields are numbers or pointers, for which zero is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = name_length;
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len() as _;
        if control_length > 0 {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control_length as _;
        }
        // SAFETY: the header points to things on this stack and to `parts`, which outlive the call, with their
        // lengths; the call only reads them.
        let sent = unsafe {
            libc::sendmsg(
                self.socket.as_raw_fd(),
                &raw const header,
                libc::MSG_NOSIGNAL,
            )
        };
        match sent {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A datagram in a [`UdpBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its sender.
    pub from: SocketAddr,
    /// The address it was sent to, if the socket is bound to all of them; none if that is one of several hosts
    /// (broadcast, multicast).
    pub to: Option<IpAddr>,
    /// What it says. Cut off if it is longer than a datagram can be.
    pub octets: &'a [u8],
}

#[derive(Clone, Copy)]
struct Slot {
    from: Option<SocketAddr>,
    to: Option<IpAddr>,
    length: usize,
}

/// Room for datagrams received with one call, made once. Memory that no datagram has touched costs nothing.
pub struct UdpBatch {
    memory: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    slots: Vec<Slot>,
}

impl fmt::Debug for UdpBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UdpBatch")
            .field("room", &self.names.len())
            .field("filled", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl UdpBatch {
    /// Room for `room` datagrams.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn new(room: usize) -> UdpBatch {
        // SAFETY: all of its fields are numbers, for which zero is a value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        UdpBatch {
            memory: vec![0; room.saturating_mul(SLOT)],
            names: vec![name; room],
            controls: vec![[0; CONTROL_WORDS]; room],
            slots: Vec::with_capacity(room),
        }
    }

    /// Receives what is there, without waiting; what was in the batch is gone. True if more may wait.
    ///
    /// # Errors
    /// The system's, among them those that belong to an earlier datagram that could not be delivered
    /// (`ECONNREFUSED`); call again.
    #[allow(unsafe_code)]
    pub fn receive(&mut self, socket: &Udp) -> io::Result<bool> {
        self.slots.clear();
        let room = self.names.len();
        let mut vectors: Vec<libc::iovec> = self
            .memory
            .chunks_exact_mut(SLOT)
            .map(|slot| libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(room);
        for ((vector, name), control) in vectors
            .iter_mut()
            .zip(&mut self.names)
            .zip(&mut self.controls)
        {
            // SAFETY: all of its fields are numbers or pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
            headers.push(header);
        }
        // SAFETY: each header points to a vector, a name, a control buffer and a slot of its own, with their
        // lengths; all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::WouldBlock => Ok(false),
                error if error.kind() == ErrorKind::Interrupted => Ok(true),
                error => Err(error),
            };
        };
        for ((header, name), control) in headers
            .iter()
            .take(count)
            .zip(&self.names)
            .zip(&self.controls)
        {
            #[allow(clippy::unnecessary_cast)] // Another type with another C library.
            let control_length = header.msg_hdr.msg_controllen as usize;
            self.slots.push(Slot {
                from: from_raw(name),
                to: destination(control, control_length),
                length: usize::try_from(header.msg_len).unwrap_or(0).min(SLOT),
            });
        }
        Ok(count == room)
    }

    /// What was received.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let slots = self.slots.iter().zip(self.memory.chunks_exact(SLOT));
        slots.filter_map(|(slot, memory)| {
            Some(Datagram {
                from: slot.from?,
                to: slot.to,
                octets: memory.get(..slot.length)?,
            })
        })
    }
}

#[allow(unsafe_code)]
fn tell_destinations(socket: &OwnedFd, local: &SocketAddr) -> io::Result<()> {
    let (level, name) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that outlives the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A control message is its header (length, level, type) and its data; both begin at a word.
const HEADER: usize = size_of::<libc::cmsghdr>();

/// The address in the first control message, which is the only one that was asked for.
fn destination(control: &[u64; CONTROL_WORDS], length: usize) -> Option<IpAddr> {
    let octets: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let octets = octets.get(..length)?;
    let number = |at: usize| -> Option<i32> {
        let octets = octets.get(at..)?.first_chunk()?;
        Some(i32::from_ne_bytes(*octets))
    };
    let level = number(std::mem::offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = number(std::mem::offset_of!(libc::cmsghdr, cmsg_type))?;
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let at = HEADER + std::mem::offset_of!(libc::in_pktinfo, ipi_addr);
            let said = octets.get(at..)?.first_chunk::<4>()?;
            // What the host itself would answer from: another one if this was for more than one host.
            let at = HEADER + std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst);
            let own = octets.get(at..)?.first_chunk::<4>()?;
            (said == own).then(|| Ipv4Addr::from(*said).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let at = HEADER + std::mem::offset_of!(libc::in6_pktinfo, ipi6_addr);
            let said = Ipv6Addr::from(*octets.get(at..)?.first_chunk::<16>()?);
            (!said.is_multicast()).then(|| said.into())
        }
        _ => None,
    }
}

/// Writes the control message that names the source. Returns its length.
fn put_source(control: &mut [u64; CONTROL_WORDS], from: IpAddr) -> usize {
    let mut octets = [0u8; CONTROL_WORDS * 8];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = octets.get_mut(at..at.saturating_add(value.len())) {
            place.copy_from_slice(value);
        }
    };
    let (level, kind, at, length) = match from {
        IpAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_PKTINFO,
            std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst),
            size_of::<libc::in_pktinfo>(),
        ),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_PKTINFO,
            std::mem::offset_of!(libc::in6_pktinfo, ipi6_addr),
            size_of::<libc::in6_pktinfo>(),
        ),
    };
    let length = HEADER + length;
    #[allow(clippy::unnecessary_cast)] // Another type with another C library.
    put(0, &(length as usize).to_ne_bytes());
    let field = std::mem::offset_of!(libc::cmsghdr, cmsg_level);
    put(field, &level.to_ne_bytes());
    let field = std::mem::offset_of!(libc::cmsghdr, cmsg_type);
    put(field, &kind.to_ne_bytes());
    match from {
        IpAddr::V4(from) => put(HEADER + at, &from.octets()),
        IpAddr::V6(from) => put(HEADER + at, &from.octets()),
    }
    for (word, octets) in control.iter_mut().zip(octets.chunks_exact(8)) {
        *word = octets
            .first_chunk()
            .map_or(0, |chunk| u64::from_ne_bytes(*chunk));
    }
    length.next_multiple_of(8)
}

#[allow(unsafe_code)]
fn to_raw(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all of its fields are numbers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            let place = (&raw mut storage).cast::<libc::sockaddr_in>();
            // SAFETY: a sockaddr_storage is large enough and aligned for every kind of address.
            unsafe { place.write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            let place = (&raw mut storage).cast::<libc::sockaddr_in6>();
            // SAFETY: a sockaddr_storage is large enough and aligned for every kind of address.
            unsafe { place.write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

#[allow(unsafe_code)]
fn from_raw(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            let place = std::ptr::from_ref(storage).cast::<libc::sockaddr_in>();
            // SAFETY: the kernel wrote an address of this family, and the storage is larger than it.
            let raw = unsafe { place.read() };
            let address = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(address, u16::from_be(raw.sin_port)).into())
        }
        libc::AF_INET6 => {
            let place = std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>();
            // SAFETY: the kernel wrote an address of this family, and the storage is larger than it.
            let raw = unsafe { place.read() };
            let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const SHARED: Binding = Binding {
        exclusive: false,
        receive_buffer: 1 << 20,
    };

    fn wait(socket: &Udp) {
        let mut wanted = [PollFd::new(socket, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut wanted, Some(&patience)), Ok(1));
    }

    fn only(batch: &mut UdpBatch, socket: &Udp) -> (SocketAddr, Option<IpAddr>, Vec<u8>) {
        wait(socket);
        assert!(!batch.receive(socket).expect("received"));
        let mut all = batch.datagrams();
        let one = all.next().expect("a datagram");
        assert!(all.next().is_none());
        (one.from, one.to, one.octets.to_vec())
    }

    fn there_and_back(loopback: IpAddr, all: IpAddr) {
        let wild = match Udp::bind(SocketAddr::new(all, 0), SHARED) {
            Ok(wild) => wild,
            Err(error) => return println!("skipped: {error}"),
        };
        let port = wild.local().port();
        let client = match Udp::bind(SocketAddr::new(loopback, 0), SHARED) {
            Ok(client) => client,
            Err(error) => return println!("skipped: {error}"),
        };
        let mut batch = UdpBatch::new(4);
        assert!(!batch.receive(&wild).expect("nothing there"));
        assert_eq!(batch.datagrams().count(), 0);
        client
            .send(all, SocketAddr::new(loopback, port), [b"fro", b"m"])
            .expect("sent");
        let (from, to, octets) = only(&mut batch, &wild);
        assert_eq!((from, to), (client.local(), Some(loopback)));
        assert_eq!(octets, b"from");
        wild.send(loopback, from, [b"back", b""]).expect("sent");
        let (from, to, octets) = only(&mut batch, &client);
        assert_eq!(from, SocketAddr::new(loopback, port));
        assert_eq!((to, octets), (None, b"back".to_vec()));
        // One at the address itself gets what is sent to it from now on.
        let near = Udp::bind(SocketAddr::new(loopback, port), SHARED).expect("shared");
        client
            .send(loopback, near.local(), [b"", b"near"])
            .expect("sent");
        assert_eq!(only(&mut batch, &near).2, b"near");
    }

    #[test]
    fn ipv4_knows_the_destination_and_answers_from_it() {
        there_and_back(
            Ipv4Addr::new(127, 0, 0, 3).into(),
            Ipv4Addr::UNSPECIFIED.into(),
        );
    }

    #[test]
    fn ipv6_knows_the_destination_and_answers_from_it() {
        there_and_back(Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into());
    }

    #[test]
    fn a_broadcast_has_no_destination() {
        let wild = Udp::bind(SocketAddr::from(([0, 0, 0, 0], 0)), SHARED).expect("bound");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        client.set_broadcast(true).expect("allowed");
        let to = ("127.255.255.255", wild.local().port());
        if let Err(error) = client.send_to(b"all", to) {
            return println!("skipped: {error}");
        }
        let mut batch = UdpBatch::new(4);
        let (_, to, octets) = only(&mut batch, &wild);
        assert_eq!((to, octets), (None, b"all".to_vec()));
    }

    #[test]
    fn exclusive_means_alone_until_the_wildcard_comes() {
        let exclusive = Binding {
            exclusive: true,
            ..SHARED
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Udp::bind(address, exclusive).expect("bound");
        let second = Udp::bind(first.local(), exclusive);
        assert_eq!(second.expect_err("taken").kind(), ErrorKind::AddrInUse);
        let all = SocketAddr::from(([0, 0, 0, 0], first.local().port()));
        Udp::bind(all, SHARED).expect("shares");
    }

    #[test]
    fn many_come_at_once() {
        let server = Udp::bind(SocketAddr::from(([127, 0, 0, 1], 0)), SHARED).expect("bound");
        let client = Udp::bind(SocketAddr::from(([127, 0, 0, 1], 0)), SHARED).expect("bound");
        for number in 0..5u8 {
            client
                .send(client.local().ip(), server.local(), [&[number], b""])
                .expect("sent");
        }
        let mut batch = UdpBatch::new(3);
        wait(&server);
        assert!(batch.receive(&server).expect("received"));
        let mut got: Vec<u8> = batch.datagrams().map(|one| one.octets[0]).collect();
        assert!(!batch.receive(&server).expect("received"));
        got.extend(batch.datagrams().map(|one| one.octets[0]));
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }
}
