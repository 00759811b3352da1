//! Ending TCP connections of this host, whoever has them (sock_diag(7), `SOCK_DESTROY`): for when a reset
//! cannot be had to fit, since nobody knows any more which number the kernel's TCP expects.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Ask about a socket (`SOCK_DIAG_BY_FAMILY`).
const ASK: u16 = 20;
/// End it (`SOCK_DESTROY`).
const END: u16 = 21;
/// Any: the place of a cookie that is not known.
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// `TCP_LISTEN`.
const LISTENING: u8 = 10;
/// Of a netlink message.
const HEADER: usize = 16;

/// Asks the kernel to end connections. To be opened before privileges and system calls are given up;
/// `CAP_NET_ADMIN` is needed later, too.
#[derive(Debug)]
pub struct SocketEnder {
    socket: OwnedFd,
    sequence: u32,
}

impl SocketEnder {
    /// Opens it.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<SocketEnder> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(SOCK_DIAG),
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        // Nobody else can send to it.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        let sequence = 0;
        Ok(SocketEnder { socket, sequence })
    }

    /// Ends the connection between these ends, if this host has it: its program is told
    /// `ECONNABORTED`. A listener is never taken for it. False if there was no such connection.
    ///
    /// # Errors
    /// The system's; `EOPNOTSUPP` if the kernel was built without `CONFIG_INET_DIAG_DESTROY`.
    pub fn end(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
        // A lookup without a cookie falls back to whoever listens on the port.
        let found = self.exchange(ASK, libc::NLM_F_REQUEST, local, remote, NO_COOKIE);
        let cookie = match found {
            Ok(Answer::Socket(cookie)) => cookie,
            Ok(_) => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        match self.exchange(END, flags, local, remote, cookie) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn exchange(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        local: SocketAddr,
        remote: SocketAddr,
        cookie: [u8; 8],
    ) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(kind, flags, self.sequence, local, remote, cookie)
            .ok_or(io::ErrorKind::InvalidInput)?;
        rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, &request, SendFlags::empty())
        })?;
        let mut buffer = vec![0; 8192];
        loop {
            // The kernel answers while it is asked, so there is nothing to wait for.
            let (count, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())
            })?;
            let octets = buffer.get(..count).unwrap_or_default();
            if let Some((sequence, answer)) = parse(octets, local, remote) {
                if sequence == self.sequence {
                    return match answer {
                        Answer::Done(0) => Ok(Answer::Done(0)),
                        Answer::Done(number) => Err(io::Error::from_raw_os_error(number)),
                        other => Ok(other),
                    };
                }
            }
        }
    }
}

/// What the kernel says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// An error's number, or 0.
    Done(i32),
    /// The socket's cookie.
    Socket([u8; 8]),
    /// It is another socket: one that listens.
    Other,
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`. `None` for ends of two families.
fn request(
    kind: u16,
    flags: libc::c_int,
    sequence: u32,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: [u8; 8],
) -> Option<Vec<u8>> {
    let (family, interface) = match (local, remote) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => (libc::AF_INET, 0),
        (SocketAddr::V6(local), SocketAddr::V6(_)) => (libc::AF_INET6, local.scope_id()),
        _ => return None,
    };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    // In whatever state it is.
    body.extend_from_slice(&u32::MAX.to_ne_bytes());
    body.extend_from_slice(&local.port().to_be_bytes());
    body.extend_from_slice(&remote.port().to_be_bytes());
    for end in [local, remote] {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(ip) => address[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => address = ip.octets(),
        }
        body.extend_from_slice(&address);
    }
    body.extend_from_slice(&interface.to_ne_bytes());
    body.extend_from_slice(&cookie);

    let length = u32::try_from(HEADER + body.len()).ok()?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags as u16).to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&body);
    Some(message)
}

/// The first message of an answer, with the number of the request. `None` for what is none.
fn parse(octets: &[u8], local: SocketAddr, remote: SocketAddr) -> Option<(u32, Answer)> {
    let length = u32::from_ne_bytes(*octets.first_chunk()?);
    let message = octets.get(..usize::try_from(length).ok()?)?;
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let body = message.get(HEADER..)?;
    if libc::c_int::from(kind) == libc::NLMSG_ERROR {
        let number = i32::from_ne_bytes(*body.first_chunk()?);
        return Some((sequence, Answer::Done(number.checked_neg()?)));
    }
    if kind != ASK {
        return None;
    }
    // struct inet_diag_msg: family, state, timer, retransmissions, then the ends.
    let state = *body.get(1)?;
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let cookie = *body.get(44..)?.first_chunk()?;
    let is_it = state != LISTENING && (port(4)?, port(6)?) == (local.port(), remote.port());
    let answer = match is_it {
        true => Answer::Socket(cookie),
        false => Answer::Other,
    };
    Some((sequence, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    fn ends() -> (SocketAddr, SocketAddr) {
        let [local, remote] = ["10.0.0.1:80", "10.0.0.2:4000"].map(|it| it.parse().expect("one"));
        (local, remote)
    }

    /// An answer about a socket.
    fn told(state: u8, local: u16, remote: u16, cookie: u64) -> Vec<u8> {
        let mut message = 88_u32.to_ne_bytes().to_vec();
        message.extend_from_slice(&ASK.to_ne_bytes());
        message.extend_from_slice(&[0; 2]);
        message.extend_from_slice(&9_u32.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&[2, state, 0, 0]);
        message.extend_from_slice(&local.to_be_bytes());
        message.extend_from_slice(&remote.to_be_bytes());
        message.extend_from_slice(&[0; 36]);
        message.extend_from_slice(&cookie.to_ne_bytes());
        message.extend_from_slice(&[0; 20]);
        message
    }

    #[test]
    fn answers() {
        let (local, remote) = ends();
        let parse = |octets: &[u8]| parse(octets, local, remote);
        let good = told(1, 80, 4000, 77);
        assert_eq!(
            parse(&good),
            Some((9, Answer::Socket(77_u64.to_ne_bytes())))
        );
        assert_eq!(parse(&told(LISTENING, 80, 0, 77)), Some((9, Answer::Other)));
        assert_eq!(
            parse(&told(LISTENING, 80, 4000, 77)),
            Some((9, Answer::Other))
        );
        assert_eq!(parse(&told(1, 80, 4001, 77)), Some((9, Answer::Other)));
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), None);
        }
        let mut refused = told(1, 80, 4000, 77);
        refused[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        for (number, meant) in [(-libc::ENOENT, Some(libc::ENOENT)), (i32::MIN, None)] {
            refused[HEADER..HEADER + 4].copy_from_slice(&number.to_ne_bytes());
            let expected = meant.map(|number| (9, Answer::Done(number)));
            assert_eq!(parse(&refused), expected);
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(
            octets in proptest::collection::vec(any::<u8>(), 0..120),
            length in 0_u32..130,
            kind in prop_oneof![Just(2_u16), Just(ASK), any::<u16>()],
        ) {
            let (local, remote) = ends();
            parse(&octets, local, remote);
            let mut octets = octets;
            if let Some(head) = octets.get_mut(..6) {
                head[..4].copy_from_slice(&length.to_ne_bytes());
                head[4..].copy_from_slice(&kind.to_ne_bytes());
            }
            parse(&octets, local, remote);
        }
    }

    #[test]
    fn a_connection_ends_and_its_listener_stays() {
        for own in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(own) else {
                println!("skipped: no {own}");
                continue;
            };
            let there = listener.local_addr().expect("an address");
            let mut near = TcpStream::connect(there).expect("connected");
            let here = near.local_addr().expect("an address");
            let (far, _) = listener.accept().expect("accepted");
            let mut ender = SocketEnder::open().expect("opened");
            // The end of whoever listens: first the connection, then nothing any more.
            match ender.end(there, here) {
                Ok(done) => assert!(done),
                Err(error) => return println!("skipped: {error}"),
            }
            assert!(!ender.end(there, here).expect("asked again"));
            assert!(near.read(&mut [0; 1]).is_err());
            drop((near, far));
            TcpStream::connect(there).expect("it listens still");
        }
        let mixed = ["127.0.0.1:1", "[::1]:1"].map(|it| it.parse().expect("an address"));
        let mut ender = SocketEnder::open().expect("opened");
        assert!(ender.end(mixed[0], mixed[1]).is_err());
    }
}
