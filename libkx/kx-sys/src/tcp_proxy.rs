//! Sockets of a transparent proxy: connections that the packet filter redirected to it, connections that it
//! makes itself, and writing with the borders of segments.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt,
};

/// Segments that one call writes at most.
pub const SEGMENTS_AT_ONCE: usize = 64;

/// Lets this process open as many files as it may, two for each connection, and says how many that is.
#[must_use]
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.unwrap_or(1 << 20)
}

/// Whether packets to `address` with a mark stay on this host, as [`connect_as`](ProxySocket::connect_as) needs
/// it: the route for them has a source on the loopback interface. Sends nothing.
///
/// # Errors
/// The system's.
pub fn stays_here(address: IpAddr, mark: u32) -> io::Result<bool> {
    let to = SocketAddr::new(address, 9);
    let socket =
        rustix::net::socket_with(family(to), SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    crate::raw_socket::set_mark(&socket, mark)?;
    rustix::net::connect(&socket, &to)?;
    Ok(address_of(rustix::net::getsockname(&socket)?)?
        .ip()
        .is_loopback())
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// An address and a port, and nothing that two names of one end could differ in.
fn address_of(any: rustix::net::SocketAddrAny) -> io::Result<SocketAddr> {
    let address = SocketAddr::try_from(any)?;
    Ok(SocketAddr::new(address.ip(), address.port()))
}

/// The listening end.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One connection, or one that is being made. Closed without [`orderly`](Self::orderly) it resets the peer, and
/// so it does when the process dies: an end that nobody meant must not look like one.
#[derive(Debug)]
pub struct ProxySocket(OwnedFd);

impl Listener {
    /// Takes a port of every IPv4 address.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(port: u16) -> io::Result<Listener> {
        Self::bind_any(Ipv4Addr::UNSPECIFIED.into(), port)
    }

    /// Takes a port of every IPv6 address.
    ///
    /// # Errors
    /// The system's; it may have no IPv6.
    pub fn bind_ipv6(port: u16) -> io::Result<Listener> {
        Self::bind_any(Ipv6Addr::UNSPECIFIED.into(), port)
    }

    fn bind_any(any: IpAddr, port: u16) -> io::Result<Listener> {
        let address = SocketAddr::new(any, port);
        let socket = stream(address)?;
        if any.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // What is accepted has it from here.
        prepare(&socket)?;
        rustix::net::bind(&socket, &address)?;
        Ok(Listener(socket))
    }

    /// From here on connections come. So many of them wait to be accepted.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        Ok(rustix::net::listen(&self.0, backlog)?)
    }

    /// The next connection and its other end; `None` if there is none now.
    ///
    /// # Errors
    /// The system's, also those of a connection that is gone already.
    pub fn accept(&self) -> io::Result<Option<(ProxySocket, SocketAddr)>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = rustix::io::retry_on_intr(|| rustix::net::acceptfrom_with(&self.0, flags));
        let (socket, peer) = match accepted {
            Ok((socket, Some(peer))) => (socket, peer),
            Ok((_, None)) => return Ok(None),
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some((ProxySocket(socket), address_of(peer)?)))
    }
}

/// A socket that can connect to such an address.
fn stream(to: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        family(to),
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// What every socket of a proxy needs: segments at once, urgent data in their place, a reset at its end.
fn prepare(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_oobinline(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    Ok(())
}

impl ProxySocket {
    /// Begins a connection, from a certain address of this host if it matters. `tos` is in all its packets until it is
    /// changed. With `quiet` it [is quiet](Self::be_quiet).
    ///
    /// # Errors
    /// The system's.
    pub fn connect(
        from: Option<IpAddr>,
        to: SocketAddr,
        tos: u8,
        quiet: bool,
    ) -> io::Result<ProxySocket> {
        let socket = Self::unconnected(from, to)?;
        if tos != 0 {
            socket.set_tos(tos)?;
        }
        if quiet {
            socket.be_quiet()?;
        }
        socket.begin(to)?;
        Ok(socket)
    }

    /// What will be a connection to `to`, from a certain address of this host if it matters.
    ///
    /// # Errors
    /// The system's.
    pub fn unconnected(from: Option<IpAddr>, to: SocketAddr) -> io::Result<ProxySocket> {
        let socket = ProxySocket(stream(to)?);
        prepare(&socket.0)?;
        if let Some(from) = from {
            // The port is chosen with the other end in view: there are as many for each.
            set_int(
                &socket.0,
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                1,
            )?;
            rustix::net::bind(&socket.0, &SocketAddr::new(from, 0))?;
        }
        Ok(socket)
    }

    /// The handshake's third segment waits for data that go with it, a fifth of a second at most.
    ///
    /// # Errors
    /// The system's.
    pub fn be_quiet(&self) -> io::Result<()> {
        Ok(sockopt::set_tcp_quickack(&self.0, false)?)
    }

    /// Begins the connection.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(&self, to: SocketAddr) -> io::Result<()> {
        match rustix::net::connect(&self.0, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a connection to a socket of this host in the name of somebody else: from his address, and from his
    /// port if that can be had. The packets of both directions have to find their way to this host by the mark.
    /// Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The system's.
    pub fn connect_as(from: SocketAddr, to: SocketAddr, mark: u32) -> io::Result<ProxySocket> {
        Self::connect_from(from, to, mark)
            .or_else(|_| Self::connect_from(SocketAddr::new(from.ip(), 0), to, mark))
    }

    fn connect_from(from: SocketAddr, to: SocketAddr, mark: u32) -> io::Result<ProxySocket> {
        let socket = ProxySocket(stream(to)?);
        prepare(&socket.0)?;
        socket.set_mark(mark)?;
        let (level, name) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
        };
        set_int(&socket.0, level, name, 1)?;
        match from.port() {
            0 => set_int(
                &socket.0,
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                1,
            )?,
            // An earlier connection of the same ends may not have been quite forgotten.
            _ => sockopt::set_socket_reuseaddr(&socket.0, true)?,
        }
        rustix::net::bind(&socket.0, &from)?;
        socket.begin(to)?;
        Ok(socket)
    }

    /// From here on closing ends the connection in order.
    pub fn orderly(&self) {
        // A socket that does not know the option any more is gone anyway.
        let _ = sockopt::set_socket_linger(&self.0, None);
    }

    /// Type of service or traffic class of its packets.
    ///
    /// # Errors
    /// The system's.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        if sockopt::socket_domain(&self.0)? == AddressFamily::INET6 {
            return Ok(sockopt::set_ipv6_tclass(&self.0, tos.into())?);
        }
        Ok(sockopt::set_ip_tos(&self.0, tos)?)
    }

    /// The mark of its packets, which rules can look at. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The system's.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        crate::raw_socket::set_mark(&self.0, mark)
    }

    /// A peer that is gone without a word shows after some hours.
    pub fn keep_alive(&self) {
        let _ = sockopt::set_socket_keepalive(&self.0, true);
    }

    /// About this many octets are on their way at most.
    pub fn limit_flight(&self, octets: usize) {
        let _ = sockopt::set_socket_send_buffer_size(&self.0, octets);
    }

    /// About this many octets wait to be sent at most, beside those that are on their way.
    pub fn limit_unsent(&self, octets: u32) {
        // Without it the kernel takes as much as it likes.
        let octets = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT);
        let _ = set_int(&self.0, level, name, octets);
    }

    /// What was received is acknowledged without waiting for data to go with it.
    pub fn acknowledge_now(&self) {
        // Without it the acknowledgement comes a little later.
        let _ = sockopt::set_tcp_quickack(&self.0, true);
    }

    /// How a connection that was begun has come out.
    ///
    /// # Errors
    /// Why there is none.
    pub fn outcome(&self) -> io::Result<()> {
        match sockopt::socket_error(&self.0)? {
            Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// This end.
    ///
    /// # Errors
    /// The system's.
    pub fn local(&self) -> io::Result<SocketAddr> {
        address_of(rustix::net::getsockname(&self.0)?)
    }

    /// Where a connection went before the packet filter redirected it to `here`, [this end](Self::local).
    ///
    /// # Errors
    /// It was not redirected.
    pub fn original_destination(&self, here: SocketAddr) -> io::Result<SocketAddr> {
        if here.is_ipv6() {
            let address = sockopt::ipv6_original_dst(&self.0)?;
            return Ok(SocketAddr::new((*address.ip()).into(), address.port()));
        }
        Ok(sockopt::ip_original_dst(&self.0)?.into())
    }

    /// Octets of data in the longest segment at the moment.
    ///
    /// # Errors
    /// The system's.
    pub fn segment_size(&self) -> io::Result<usize> {
        segment_size(&self.0)
    }

    /// Octets of ours that the other end has acknowledged. The SYN may be one of them.
    ///
    /// # Errors
    /// The system's.
    pub fn acknowledged(&self) -> io::Result<u64> {
        /// Where `tcpi_bytes_acked` is; since Linux 4.1.
        const BYTES_ACKED: usize = 120;
        let info: [u8; BYTES_ACKED + 8] = tcp_info(self.0.as_fd())?;
        let count = info.last_chunk().copied().unwrap_or_default();
        Ok(u64::from_ne_bytes(count))
    }

    /// Reads what is there; `Ok(None)` if that is nothing, `Ok(Some(0))` at the end.
    ///
    /// # Errors
    /// The connection's.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let flags = RecvFlags::empty();
        match rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, flags)) {
            Ok((count, _)) => Ok(Some(count)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much as is taken, which may be nothing.
    ///
    /// # Errors
    /// The connection's.
    pub fn write(&self, data: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL;
        match rustix::io::retry_on_intr(|| rustix::net::send(&self.0, data, flags)) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much as is taken. What follows later will not share a segment with the end of `data`.
    ///
    /// # Errors
    /// The connection's.
    pub fn write_ended(&self, data: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::EOR;
        match rustix::io::retry_on_intr(|| rustix::net::send(&self.0, data, flags)) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes `pieces`, each of which shall be a segment, as far as they are taken. At most
    /// [`SEGMENTS_AT_ONCE`] of them are looked at. Returns the octets taken.
    ///
    /// # Errors
    /// The connection's, if nothing was taken.
    pub fn write_segments(&self, pieces: &[&[u8]]) -> io::Result<usize> {
        match send_segments(&self.0, pieces) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// No more will be written.
    ///
    /// # Errors
    /// The connection's.
    pub fn end_writing(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?)
    }
}

impl AsFd for ProxySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[allow(unsafe_code)]
fn set_int(socket: &OwnedFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an int that outlives the call and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)]
fn segment_size(socket: &OwnedFd) -> io::Result<usize> {
    let mut size: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int that outlives the call and its length is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw mut size).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(usize::try_from(size).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether both ends of a connection permit selective acknowledgements.
pub(crate) fn permits_sack(socket: BorrowedFd<'_>) -> io::Result<bool> {
    /// Where `tcpi_options` is, and its bit `TCPI_OPT_SACK`.
    const OPTIONS: usize = 5;
    const SACK: u8 = 2;
    let info: [u8; OPTIONS + 1] = tcp_info(socket)?;
    Ok(info.last().is_some_and(|options| options & SACK != 0))
}

/// The front of `struct tcp_info`; zeros where the kernel knows less.
#[allow(unsafe_code)]
fn tcp_info<const LEN: usize>(socket: BorrowedFd<'_>) -> io::Result<[u8; LEN]> {
    let mut front = [0_u8; LEN];
    let mut length = libc::socklen_t::try_from(LEN).unwrap_or(0);
    // SAFETY: the value has as many octets as is said, and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            front.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(front),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One call for all: `sendmmsg` with the flag that ends a segment behind each message.
#[allow(unsafe_code)]
fn send_segments(socket: &OwnedFd, pieces: &[&[u8]]) -> io::Result<usize> {
    let empty = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut parts = [empty; SEGMENTS_AT_ONCE];
    // SAFETY: a message header consists of numbers and pointers, for which zero is a value.
    let mut messages: [libc::mmsghdr; SEGMENTS_AT_ONCE] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for ((piece, part), message) in pieces.iter().zip(&mut parts).zip(&mut messages) {
        part.iov_base = piece.as_ptr().cast_mut().cast();
        part.iov_len = piece.len();
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers point at a part each, and those at a slice each; all live on through the
    // call, which only reads what the parts name and writes nothing but the lengths into the headers.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count,
            libc::MSG_EOR | libc::MSG_NOSIGNAL,
        )
    };
    let Ok(sent) = usize::try_from(sent) else {
        return Err(io::Error::last_os_error());
    };
    let lengths = messages.iter().take(sent);
    Ok(lengths
        .filter_map(|message| usize::try_from(message.msg_len).ok())
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (ProxySocket, TcpStream) {
        pair_on(Ipv4Addr::LOCALHOST.into())
    }

    fn pair_on(ip: IpAddr) -> (ProxySocket, TcpStream) {
        let listener = TcpListener::bind((ip, 0)).expect("bound");
        let address = listener.local_addr().expect("address");
        let socket = ProxySocket::connect(Some(ip), address, 4, true).expect("begun");
        assert_eq!(socket.local().expect("bound").ip(), ip);
        let (peer, _) = listener.accept().expect("accepted");
        socket.outcome().expect("connected");
        (socket, peer)
    }

    #[test]
    fn octets_go_both_ways() {
        octets_go(pair());
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            octets_go(pair_on(Ipv6Addr::LOCALHOST.into()));
        }
    }

    fn octets_go((socket, mut peer): (ProxySocket, TcpStream)) {
        let mut buffer = [0; 10];
        assert_eq!(socket.read(&mut buffer).expect("open"), None);
        let pieces: [&[u8]; 3] = [b"one", b"two", b"three"];
        let before = socket.acknowledged().expect("known");
        assert!(before <= 1, "{before}");
        assert_eq!(socket.write_segments(&pieces).expect("written"), 11);
        let mut text = [0; 11];
        peer.read_exact(&mut text).expect("read");
        assert_eq!(&text, b"onetwothree");
        peer.write_all(b"back").expect("written");
        drop(peer);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(socket.acknowledged().expect("known"), before + 11);
        assert_eq!(socket.read(&mut buffer).expect("open"), Some(4));
        assert_eq!(socket.read(&mut buffer).expect("ended"), Some(0));
        assert!(socket.segment_size().expect("known") > 500);
        let here = socket.local().expect("connected");
        assert!(socket.original_destination(here).is_err());
        let sack = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_sack").expect("a setting");
        let permitted = permits_sack(socket.as_fd()).expect("known");
        assert_eq!(permitted, sack.trim() != "0");
    }

    #[test]
    fn what_stays_here_is_told_by_its_route() {
        assert!(stays_here(Ipv4Addr::LOCALHOST.into(), 0).expect("a route"));
        // Whether or not there is one, it does not lead to this host.
        assert!(!stays_here(Ipv4Addr::new(192, 0, 2, 1).into(), 0).unwrap_or(false));
    }

    /// They have it from the socket that listens.
    #[test]
    fn accepted_sockets_are_prepared() {
        let listener = Listener::bind(0).expect("a port");
        listener.listen(1).expect("listening");
        let port = rustix::net::getsockname(&listener.0).expect("bound");
        let port = address_of(port).expect("an address").port();
        let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
        let (socket, _) = listener.accept().expect("accepted").expect("one");
        assert!(sockopt::tcp_nodelay(&socket.0).expect("known"));
        assert!(sockopt::socket_oobinline(&socket.0).expect("known"));
        drop(socket);
        assert!(peer.read(&mut [0; 4]).is_err(), "it is reset");
    }

    #[test]
    fn ends_are_orderly_only_when_said() {
        for orderly in [true, false] {
            let (socket, mut peer) = pair();
            if orderly {
                socket.orderly();
            }
            drop(socket);
            let end = peer.read(&mut [0; 4]);
            assert_eq!(end.is_ok(), orderly, "{end:?}");
        }
    }

    #[test]
    fn what_waits_to_be_sent_is_limited() {
        let taken = |limit: Option<u32>| {
            let (socket, _peer) = pair();
            if let Some(limit) = limit {
                socket.limit_unsent(limit);
            }
            let mut sent = 0;
            while let count @ 1.. = socket.write(&[7; 16384]).expect("open") {
                sent += count;
            }
            std::thread::sleep(Duration::from_millis(20));
            // What the peer's kernel has taken is acknowledged.
            let gone = usize::try_from(socket.acknowledged().expect("known"));
            sent.saturating_sub(gone.expect("small"))
        };
        let (free, limited) = (taken(None), taken(Some(65536)));
        assert!(limited < 400_000 && limited * 2 < free, "{limited}, {free}");
    }

    #[test]
    fn a_full_connection_takes_no_more_and_loses_nothing() {
        let (socket, mut peer) = pair();
        let piece = [7; 1000];
        let pieces = [&piece[..]; SEGMENTS_AT_ONCE];
        let mut sent = 0;
        loop {
            match socket.write_segments(&pieces).expect("open") {
                0 => break,
                count => sent += count,
            }
        }
        socket.orderly();
        drop(socket);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("all of it");
        assert_eq!(all.len(), sent);
    }
}
