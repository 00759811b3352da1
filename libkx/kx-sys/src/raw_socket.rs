//! Sending IPv4 packets of our own making.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};

/// A socket that sends whole IPv4 packets, header included, and receives nothing.
///
/// The protocol is `IPPROTO_RAW`: a raw socket for TCP would get a copy of every TCP packet that
/// comes in.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens the socket; all its packets carry `mark` (socket(7), `SO_MARK`).
    ///
    /// # Errors
    /// The capabilities `CAP_NET_RAW` and `CAP_NET_ADMIN` are missing.
    pub fn open(mark: u32) -> io::Result<RawSocket> {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(ipproto::RAW),
        )?;
        set_mark(&socket, mark)?;
        Ok(RawSocket(socket))
    }

    /// Sends one packet to the destination in its header: to the wire, or to this host through
    /// the loopback interface if the destination is an address of its own. The kernel fills in
    /// the IP checksum and, if it is zero, the identification.
    ///
    /// # Errors
    /// `InvalidInput` for what is shorter than an IPv4 header, else the system's: among them
    /// `EMSGSIZE` for more than the route's MTU and `EPERM` when the firewall drops it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let destination: [u8; 4] = packet
            .get(16..20)
            .and_then(|octets| octets.try_into().ok())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let address = SocketAddrV4::new(Ipv4Addr::from(destination), 0);
        rustix::io::retry_on_intr(|| {
            rustix::net::sendto(&self.0, packet, SendFlags::empty(), &address)
        })?;
        Ok(())
    }
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
}
