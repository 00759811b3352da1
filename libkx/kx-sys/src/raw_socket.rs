//! Sending IP packets of our own making.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

/// Octets of packets that may be under way within this host.
const SEND_BUFFER: usize = 8 << 20;

/// A socket that sends whole packets of one family, header included, and receives nothing.
///
/// The protocol is `IPPROTO_RAW`: a raw socket for TCP would get a copy of every TCP packet that
/// comes in.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
    is_ipv6: bool,
}

impl RawSocket {
    /// Opens a socket for IPv4; all its packets carry `mark` (socket(7), `SO_MARK`).
    ///
    /// # Errors
    /// The capabilities `CAP_NET_RAW` and `CAP_NET_ADMIN` are missing.
    pub fn open(mark: u32) -> io::Result<RawSocket> {
        RawSocket::of_family(AddressFamily::INET, mark)
    }

    /// The same for IPv6. `None` if the system has no IPv6.
    ///
    /// # Errors
    /// As [`RawSocket::open`].
    pub fn open_ipv6(mark: u32) -> io::Result<Option<RawSocket>> {
        match RawSocket::of_family(AddressFamily::INET6, mark) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
            result => result.map(Some),
        }
    }

    fn of_family(family: AddressFamily, mark: u32) -> io::Result<RawSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))?;
        set_mark(&socket, mark)?;
        // A packet counts until its verdict where it goes through a queue. Best effort: without the
        // capability it is as much as the system allows.
        if sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        }
        Ok(RawSocket {
            socket,
            is_ipv6: family == AddressFamily::INET6,
        })
    }

    /// Sends one packet to the destination in its header: to the wire, or to this host through
    /// the loopback interface if the destination is an address of its own. Of IPv4 the kernel fills in
    /// the IP checksum and, if it is zero, the identification; of IPv6, nothing.
    ///
    /// # Errors
    /// As [`RawSocket::send_on`].
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.send_on(packet, 0)
    }

    /// The same with the index of the interface that link-local addresses belong to, which have no
    /// route without it. Other destinations do not look at it.
    ///
    /// # Errors
    /// `InvalidInput` for what is shorter than an IP header, else the system's: among them
    /// `EMSGSIZE` for more than the route's MTU and `EPERM` when the firewall drops it.
    pub fn send_on(&self, packet: &[u8], interface: u32) -> io::Result<()> {
        let to = destination(packet, self.is_ipv6, interface);
        let to = to.ok_or(io::ErrorKind::InvalidInput)?;
        rustix::io::retry_on_intr(|| {
            rustix::net::sendto(&self.socket, packet, SendFlags::empty(), &to)
        })?;
        Ok(())
    }
}

/// Where a packet says that it goes. The port would be the protocol.
fn destination(packet: &[u8], is_ipv6: bool, interface: u32) -> Option<SocketAddr> {
    if is_ipv6 {
        let octets: [u8; 16] = *packet.get(24..)?.first_chunk()?;
        let address = SocketAddrV6::new(Ipv6Addr::from(octets), 0, 0, interface);
        return Some(address.into());
    }
    let octets: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(octets), 0).into())
}

#[allow(unsafe_code)]
pub(crate) fn set_mark(socket: &OwnedFd, mark: u32) -> io::Result<()> {
    // SAFETY: the value is 32 bits that outlive the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// A UDP datagram from 192.0.2.1:9 to 127.0.0.1. Without UDP checksum, which IPv4 allows.
    fn datagram(port: u16, text: &[u8]) -> Vec<u8> {
        let length = u16::try_from(28 + text.len()).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 127, 0, 0, 1, 0, 9]);
        packet.extend_from_slice(&port.to_be_bytes());
        packet.extend_from_slice(&(length - 20).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(text);
        packet
    }

    #[test]
    fn packets_from_elsewhere_reach_this_host() {
        let socket = match RawSocket::open(0x1234) {
            Ok(socket) => socket,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                println!("skipped: {error}");
                return;
            }
        };
        assert!(socket.send(&[0x45; 19]).is_err());
        let receiver = UdpSocket::bind("0.0.0.0:0").expect("bound");
        let patience = Duration::from_secs(5);
        receiver.set_read_timeout(Some(patience)).expect("timeout");
        let port = receiver.local_addr().expect("address").port();
        socket.send(&datagram(port, b"made here")).expect("sent");
        let mut buffer = [0; 32];
        let (count, from) = receiver.recv_from(&mut buffer).expect("received");
        assert_eq!(&buffer[..count], b"made here");
        assert_eq!(from, ([192, 0, 2, 1], 9).into());
    }

    /// The same over IPv6, from [2001:db8::1]:9 to [::1], where the checksum has to be right.
    fn datagram_over_ipv6(port: u16, text: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + text.len()).expect("short");
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[17, 64]);
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let mut udp = vec![0, 9];
        udp.extend_from_slice(&port.to_be_bytes());
        udp.extend_from_slice(&length.to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(text);
        let pseudo = [&packet[8..40], &[0, 17], &length.to_be_bytes()].concat();
        let mut sum: u32 = 0;
        for pair in pseudo.chunks(2).chain(udp.chunks(2)) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).expect("folded");
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        [packet, udp].concat()
    }

    #[test]
    fn packets_over_ipv6_reach_this_host() {
        let socket = match RawSocket::open_ipv6(0x1234) {
            Ok(Some(socket)) => socket,
            Ok(None) => return println!("skipped: no IPv6"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                return println!("skipped: {error}");
            }
        };
        assert!(socket.send(&[0x60; 39]).is_err());
        let Ok(receiver) = UdpSocket::bind("[::1]:0") else {
            return println!("skipped: no [::1]");
        };
        let patience = Duration::from_secs(5);
        receiver.set_read_timeout(Some(patience)).expect("timeout");
        let port = receiver.local_addr().expect("address").port();
        let packet = datagram_over_ipv6(port, b"made here");
        socket.send(&packet).expect("sent");
        let mut buffer = [0; 32];
        let (count, from) = receiver.recv_from(&mut buffer).expect("received");
        assert_eq!(&buffer[..count], b"made here");
        assert_eq!(from.port(), 9);
        let none = socket.send_on(&packet[..39], 1).expect_err("no header");
        assert_eq!(none.kind(), io::ErrorKind::InvalidInput);
    }
}
