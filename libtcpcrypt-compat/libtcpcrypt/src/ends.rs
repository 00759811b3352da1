//! The two ends of a caller's socket, as the daemon knows connections (tcpcrypt spec 3.2): by IPv4 addresses in
//! the original's requests, by those of either family in ours.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::error::Error;

const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const FAMILY_LEN: usize = 2;

/// What a request is about: a connection, a port, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The address on this host.
    pub local: SocketAddr,
    /// The other end; 0.0.0.0:0 for a socket that is not connected.
    pub remote: SocketAddr,
}

impl Ends {
    /// For requests that are about no connection.
    pub const NONE: Self = Self {
        local: SocketAddr::V4(NOWHERE),
        remote: SocketAddr::V4(NOWHERE),
    };

    /// Both ends, if they are of IPv4.
    pub(crate) fn narrow(&self) -> Option<(SocketAddrV4, SocketAddrV4)> {
        match (self.local, self.remote) {
            (SocketAddr::V4(local), SocketAddr::V4(remote)) => Some((local, remote)),
            _ => None,
        }
    }

    /// Both ends as the original's library has them: those of IPv6 become 0.0.0.0:0.
    pub(crate) fn reduced(&self) -> (SocketAddrV4, SocketAddrV4) {
        let reduced = |end| match end {
            SocketAddr::V4(end) => end,
            SocketAddr::V6(_) => NOWHERE,
        };
        (reduced(self.local), reduced(self.remote))
    }

    /// The ends of a socket. One that has no port yet is bound, so that it has one; it will keep it.
    ///
    /// # Errors
    /// The system's, or the socket is not one of IP.
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, Error> {
        Self::of_raw(socket.as_raw_fd())
    }

    /// The same for a number that may be no descriptor at all.
    pub(crate) fn of_raw(socket: RawFd) -> Result<Self, Error> {
        let mut local = name_of(socket)?;
        if local.port()? == 0 {
            bind_anywhere(socket, &local)?;
            local = name_of(socket)?;
        }
        Ok(Self {
            local: local.address(),
            remote: peer_of(socket).map_or(NOWHERE.into(), |peer| peer.address()),
        })
    }
}

/// A socket address as the kernel wrote it.
#[repr(C, align(8))]
struct Name {
    bytes: [u8; Name::ROOM],
    len: usize,
}

impl Name {
    /// The size of a `sockaddr_storage`.
    const ROOM: usize = 128;

    fn octets<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let written = self.bytes.get(..self.len)?;
        written.get(at..)?.first_chunk().copied()
    }

    fn family(&self) -> i32 {
        self.octets(0).map_or(libc::AF_UNSPEC, |family| {
            libc::sa_family_t::from_ne_bytes(family).into()
        })
    }

    /// The port of a socket of IP.
    fn port(&self) -> Result<u16, Error> {
        match (self.family(), self.octets(FAMILY_LEN)) {
            (libc::AF_INET | libc::AF_INET6, Some(port)) => Ok(u16::from_be_bytes(port)),
            _ => Err(Error::Family),
        }
    }

    /// The address: that of IPv4, if there is one, since an IPv6 address may contain one, and the unspecified
    /// one stands for that of IPv4 too. 0.0.0.0:0 for what is none.
    fn address(&self) -> SocketAddr {
        let Ok(port) = self.port() else {
            return NOWHERE.into();
        };
        let address = match self.family() {
            libc::AF_INET => self
                .octets::<4>(4)
                .map(|ip| SocketAddrV4::new(ip.into(), port).into()),
            _ => self
                .octets::<16>(8)
                .map(|ip| wide(ip.into(), port, self.octets(24))),
        };
        address.unwrap_or(NOWHERE.into())
    }
}

fn wide(ip: Ipv6Addr, port: u16, scope: Option<[u8; 4]>) -> SocketAddr {
    match within(ip) {
        Some(ip) => SocketAddrV4::new(ip, port).into(),
        None => {
            let scope = scope.map_or(0, u32::from_ne_bytes);
            SocketAddrV6::new(ip, port, 0, scope).into()
        }
    }
}

/// The IPv4 address within a mapped (`::ffff:1.2.3.4`), a compatible (`::1.2.3.4`) or the
/// unspecified address.
fn within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip {
        Ipv6Addr::LOCALHOST => None,
        // `to_ipv4` is for mapped and compatible ones, and `::` becomes 0.0.0.0.
        _ => ip.to_ipv4(),
    }
}

type Asked = unsafe extern "C" fn(RawFd, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

#[allow(unsafe_code)]
fn ask(socket: RawFd, call: Asked) -> Result<Name, Error> {
    let mut name = Name {
        bytes: [0; Name::ROOM],
        len: 0,
    };
    let mut len = libc::socklen_t::try_from(Name::ROOM).map_err(|_| Error::Family)?;
    // SAFETY: getsockname or getpeername; both write at most `len` octets, for which there is room,
    // and check the descriptor themselves.
    if unsafe { call(socket, (&raw mut name.bytes).cast(), &raw mut len) } != 0 {
        return Err(Error::last());
    }
    name.len = usize::try_from(len).map_or(0, |len| len.min(Name::ROOM));
    Ok(name)
}

fn name_of(socket: RawFd) -> Result<Name, Error> {
    ask(socket, libc::getsockname)
}

fn peer_of(socket: RawFd) -> Option<Name> {
    ask(socket, libc::getpeername).ok()
}

/// Binds to the unspecified address, any port.
#[allow(unsafe_code)]
fn bind_anywhere(socket: RawFd, like: &Name) -> Result<(), Error> {
    let len = match like.family() {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        _ => size_of::<libc::sockaddr_in6>(),
    };
    let mut anywhere = Name {
        bytes: [0; Name::ROOM],
        len,
    };
    if let (Some(to), Some(from)) = (
        anywhere.bytes.get_mut(..FAMILY_LEN),
        like.bytes.get(..FAMILY_LEN),
    ) {
        to.copy_from_slice(from);
    }
    let len = libc::socklen_t::try_from(len).map_err(|_| Error::Family)?;
    // SAFETY: reads `len` octets, which are there.
    if unsafe { libc::bind(socket, (&raw const anywhere.bytes).cast(), len) } != 0 {
        return Err(Error::last());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn name(bytes: &[u8]) -> Name {
        let mut name = Name {
            bytes: [0; Name::ROOM],
            len: bytes.len(),
        };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        name
    }

    fn v6(ip: &str, scope: u32) -> SocketAddr {
        let ip: Ipv6Addr = ip.parse().unwrap();
        let mut bytes = vec![10, 0, 0x1f, 0x90, 0, 0, 0, 0];
        bytes.extend(ip.octets());
        bytes.extend(scope.to_ne_bytes());
        name(&bytes).address()
    }

    #[test]
    fn addresses_of_ipv6_that_are_of_ipv4() {
        assert_eq!(v6("::ffff:10.77.0.1", 0), "10.77.0.1:8080".parse().unwrap());
        assert_eq!(v6("::10.77.0.1", 0), "10.77.0.1:8080".parse().unwrap());
        assert_eq!(v6("::", 0), "0.0.0.0:8080".parse().unwrap());
        for (other, scope, wanted) in [
            ("::1", 0, "[::1]:8080"),
            ("fe80::1", 7, "[fe80::1%7]:8080"),
            ("2001:db8::a4d:1", 0, "[2001:db8::a4d:1]:8080"),
        ] {
            let local = v6(other, scope);
            assert_eq!(local, wanted.parse().unwrap());
            let ends = Ends {
                local,
                ..Ends::NONE
            };
            assert_eq!((ends.narrow(), ends.reduced()), (None, (NOWHERE, NOWHERE)));
        }
    }

    #[test]
    fn names_that_are_cut_off() {
        let whole = [2, 0, 0x1f, 0x90, 10, 77, 0, 1];
        assert_eq!(name(&whole).address(), "10.77.0.1:8080".parse().unwrap());
        for len in 0..whole.len() {
            assert_eq!(name(&whole[..len]).address(), NOWHERE.into());
        }
        assert_eq!(name(&[10, 0, 0x1f, 0x90, 0]).address(), NOWHERE.into());
        assert_eq!(name(&[1, 0, 47]).port(), Err(Error::Family));
    }

    #[test]
    #[cfg_attr(miri, ignore = "sockets")]
    fn ends_of_sockets() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = listener.local_addr().unwrap();
        let ends = Ends::of(listener.as_fd()).unwrap();
        assert_eq!(ends.local, here);
        assert_eq!(ends.remote, NOWHERE.into());
        assert_eq!(ends.narrow(), Some(ends.reduced()));

        let client = TcpStream::connect(here).unwrap();
        let ends = Ends::of(client.as_fd()).unwrap();
        assert_eq!(ends.remote, here);
        assert_eq!(ends.local, client.local_addr().unwrap());

        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{}", here.port())
            .parse()
            .unwrap();
        if let Ok(client) = TcpStream::connect(mapped) {
            let ends = Ends::of(client.as_fd()).unwrap();
            assert_eq!(ends.remote, here);
            assert_eq!(ends.local.ip(), Ipv4Addr::LOCALHOST);
        }
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            let here = listener.local_addr().unwrap();
            let client = TcpStream::connect(here).unwrap();
            assert_eq!(Ends::of(client.as_fd()).unwrap().remote, here);
        }
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_ne!(Ends::of(udp.as_fd()).unwrap().local.port(), 0);
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(Ends::of(unix.as_fd()), Err(Error::Family));
    }

    #[test]
    #[cfg_attr(miri, ignore = "descriptors")]
    fn numbers_that_are_no_sockets() {
        assert_eq!(Ends::of_raw(-1), Err(Error::System(libc::EBADF)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Ends::of(file.as_fd()), Err(Error::System(libc::ENOTSOCK)));
    }
}
