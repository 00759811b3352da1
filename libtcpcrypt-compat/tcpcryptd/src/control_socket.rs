//! The control socket: datagrams in, answers out, whoever asks (tcpcrypt spec 3.3).

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kx_sys::datagram::{DatagramSocket, Peer};
use tcpcrypt_control::{Address, REQUEST_MAX};

/// Clients whose answer may be outstanding. An answer to one that was pushed out is not sent.
const CLIENTS: usize = 1024;

/// Anybody may ask and set; the original's interface.
const MODE: u32 = 0o777;

/// The socket, and who asked lately.
#[derive(Debug)]
pub struct ControlSocket {
    socket: DatagramSocket,
    /// Client `n` is at place `n` modulo the length.
    clients: Vec<Option<(u64, Peer)>>,
    next: u64,
    buffer: Vec<u8>,
}

impl ControlSocket {
    /// Binds the socket. A socket left by an earlier daemon is replaced.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(address: &Address) -> io::Result<ControlSocket> {
        let socket = match address {
            Address::Path(path) => {
                DatagramSocket::bind_path(Path::new(OsStr::from_bytes(path)), MODE)?
            }
            Address::Abstract(_) => {
                DatagramSocket::bind_abstract(&address.abstract_name().unwrap_or_default())?
            }
            Address::Loopback(port) => {
                DatagramSocket::bind_udp((Ipv4Addr::LOCALHOST, *port).into())?
            }
        };
        Ok(ControlSocket {
            socket,
            clients: vec![None; CLIENTS],
            next: 0,
            buffer: vec![0; REQUEST_MAX],
        })
    }

    /// The next request and the number by which it is answered. What cannot be received is
    /// skipped.
    pub fn receive(&mut self) -> Option<(u64, &[u8])> {
        let (count, peer) = self.socket.receive(&mut self.buffer).ok().flatten()?;
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        *place(&mut self.clients, number)? = Some((number, peer));
        Some((number, self.buffer.get(..count)?))
    }

    /// Answers. A client that is gone, or does not read, is no reason to stop.
    pub fn answer(&mut self, number: u64, datagram: &[u8]) {
        let asked = place(&mut self.clients, number)
            .and_then(|client| client.take_if(|(asked, _)| *asked == number));
        if let Some((_, peer)) = asked {
            let _ = self.socket.answer(&peer, datagram);
        }
    }
}

fn place(clients: &mut [Option<(u64, Peer)>], number: u64) -> Option<&mut Option<(u64, Peer)>> {
    let index = usize::try_from(number % CLIENTS as u64).ok()?;
    clients.get_mut(index)
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn client(name: &str, server: &Address) -> UnixDatagram {
        let own = SocketAddr::from_abstract_name(name).expect("address");
        let socket = UnixDatagram::bind_addr(&own).expect("bound");
        let name = server.abstract_name().expect("abstract");
        let address = SocketAddr::from_abstract_name(name).expect("address");
        socket.connect_addr(&address).expect("connected");
        socket.set_nonblocking(true).expect("non-blocking");
        socket
    }

    #[test]
    fn answers_may_come_late_and_in_any_order() {
        let text = format!("@kx-control-{}", std::process::id());
        let address = Address::parse(text.as_bytes()).expect("address");
        let mut control = ControlSocket::bind(&address).expect("bound");
        assert!(control.receive().is_none());
        let first = client(&format!("{text}-1"), &address);
        let second = client(&format!("{text}-2"), &address);
        first.send(b"one").expect("sent");
        second.send(b"two").expect("sent");
        let (one, request) = control.receive().expect("a request");
        assert_eq!(request, b"one");
        let (two, request) = control.receive().expect("a request");
        assert_eq!(request, b"two");
        control.answer(two, b"to two");
        control.answer(one, b"to one");
        control.answer(one, b"once only");
        control.answer(99, b"nobody");
        let mut buffer = [0; 16];
        assert_eq!(first.recv(&mut buffer).expect("answer"), 6);
        assert_eq!(&buffer[..6], b"to one");
        assert!(first.recv(&mut buffer).is_err());
        assert_eq!(second.recv(&mut buffer).expect("answer"), 6);
        drop(second);
        first.send(b"again").expect("sent");
        let (again, _) = control.receive().expect("a request");
        drop(first);
        control.answer(again, b"nobody reads this");
    }
}
