//! A datagram socket that answers: Unix, by path or abstract name, or UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{self, UnixDatagram};
use std::path::Path;

/// Who sent a datagram, in the form in which it can be answered.
#[derive(Debug, Clone)]
pub struct Peer(PeerAddress);

#[derive(Debug, Clone)]
enum PeerAddress {
    Unix(net::SocketAddr),
    Udp(SocketAddr),
}

/// A bound datagram socket that never blocks.
#[derive(Debug)]
pub struct DatagramSocket(Family);

#[derive(Debug)]
enum Family {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl DatagramSocket {
    /// Binds to a path, with the permissions given whatever the umask says. A socket that is
    /// there already is replaced; anything else there is an error.
    ///
    /// # Errors
    /// The system's.
    pub fn bind_path(path: &Path, mode: u32) -> io::Result<DatagramSocket> {
        let stale = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
        if stale {
            std::fs::remove_file(path)?;
        }
        // The umask is left alone, it belongs to all threads: until the next call, few can connect.
        let socket = UnixDatagram::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.set_nonblocking(true)?;
        Ok(DatagramSocket(Family::Unix(socket)))
    }

    /// Binds to an abstract name (unix(7)): all octets count, also zeros at the end. The name is
    /// what follows the leading zero octet.
    ///
    /// # Errors
    /// The system's; the name is too long.
    pub fn bind_abstract(name: &[u8]) -> io::Result<DatagramSocket> {
        let address = net::SocketAddr::from_abstract_name(name)?;
        let socket = UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(DatagramSocket(Family::Unix(socket)))
    }

    /// Binds to a UDP port.
    ///
    /// # Errors
    /// The system's.
    pub fn bind_udp(address: SocketAddr) -> io::Result<DatagramSocket> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(DatagramSocket(Family::Udp(socket)))
    }

    /// The next datagram, its length and its sender; `None` if there is none. What does not fit
    /// the buffer is cut off.
    ///
    /// # Errors
    /// The system's. For UDP among them errors that belong to an earlier answer
    /// (`ECONNREFUSED`); call again.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Peer)>> {
        let result = match &self.0 {
            Family::Unix(socket) => socket
                .recv_from(buffer)
                .map(|(count, from)| (count, Peer(PeerAddress::Unix(from)))),
            Family::Udp(socket) => socket
                .recv_from(buffer)
                .map(|(count, from)| (count, Peer(PeerAddress::Udp(from)))),
        };
        match result {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Answers.
    ///
    /// # Errors
    /// The sender has no address, is gone, or its queue is full; nothing is retried.
    pub fn answer(&self, peer: &Peer, datagram: &[u8]) -> io::Result<()> {
        match (&self.0, &peer.0) {
            (Family::Unix(socket), PeerAddress::Unix(to)) => socket.send_to_addr(datagram, to)?,
            (Family::Udp(socket), PeerAddress::Udp(to)) => socket.send_to(datagram, to)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(())
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Family::Unix(socket) => socket.as_fd(),
            Family::Udp(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(server: &DatagramSocket, text: &[u8]) {
        let mut buffer = [0; 16];
        let (count, peer) = server
            .receive(&mut buffer)
            .expect("no error")
            .expect("a datagram");
        assert_eq!(&buffer[..count], text);
        server.answer(&peer, b"answer").expect("answered");
        assert!(server.receive(&mut buffer).expect("no error").is_none());
    }

    fn ask(address: &net::SocketAddr, server: &DatagramSocket) {
        let name = format!("kx-datagram-client-{:?}", std::thread::current().id());
        let own = net::SocketAddr::from_abstract_name(name).expect("address");
        let client = UnixDatagram::bind_addr(&own).expect("bound");
        client.send_to_addr(b"ask", address).expect("sent");
        echo(server, b"ask");
        let mut buffer = [0; 16];
        assert_eq!(client.recv(&mut buffer).expect("received"), 6);
    }

    #[test]
    fn a_path_is_open_to_all_and_taken_over() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("control");
        let _first = DatagramSocket::bind_path(&path, 0o777).expect("bound");
        let second = DatagramSocket::bind_path(&path, 0o777).expect("bound again");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o777);
        ask(
            &net::SocketAddr::from_pathname(&path).expect("address"),
            &second,
        );

        let file = directory.path().join("file");
        std::fs::write(&file, "kept").expect("written");
        assert!(DatagramSocket::bind_path(&file, 0o777).is_err());
        assert_eq!(std::fs::read(&file).expect("kept"), b"kept");
    }

    #[test]
    fn zeros_at_the_end_of_an_abstract_name_count() {
        let name = format!("kx-datagram-{}", std::process::id());
        let long = format!("{name}\0\0");
        let server = DatagramSocket::bind_abstract(long.as_bytes()).expect("bound");
        ask(
            &net::SocketAddr::from_abstract_name(&long).expect("address"),
            &server,
        );
        let other = net::SocketAddr::from_abstract_name(&name).expect("address");
        let client = UnixDatagram::unbound().expect("socket");
        assert!(client.send_to_addr(b"ask", &other).is_err());
    }

    #[test]
    fn a_sender_without_address_cannot_be_answered() {
        let name = format!("kx-datagram-unnamed-{}", std::process::id());
        let server = DatagramSocket::bind_abstract(name.as_bytes()).expect("bound");
        let client = UnixDatagram::unbound().expect("socket");
        let address = net::SocketAddr::from_abstract_name(&name).expect("address");
        client.send_to_addr(b"x", &address).expect("sent");
        let received = server.receive(&mut [0; 4]).expect("received");
        let (_, peer) = received.expect("a datagram");
        assert!(server.answer(&peer, b"y").is_err());
    }

    #[test]
    fn udp_answers_too() {
        let server = DatagramSocket::bind_udp(([127, 0, 0, 1], 0).into()).expect("bound");
        let Family::Udp(socket) = &server.0 else {
            panic!("udp");
        };
        let address = socket.local_addr().expect("address");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
        client.send_to(b"ask", address).expect("sent");
        echo(&server, b"ask");
        assert_eq!(client.recv(&mut [0; 16]).expect("received"), 6);
    }
}
