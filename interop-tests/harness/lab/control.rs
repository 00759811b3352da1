//! The control socket as any client sees it, written from "tcpcrypt spec 3.3" alone.

use std::io;
use std::net::{self, SocketAddrV4};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::host::Host;

/// Whether a connection is or will be encrypted.
pub const ENABLE: u32 = 0;
/// The session id.
pub const SESSID: u32 = 2;
/// The application-aware bits.
pub const APP_SUPPORT: u32 = 15;
/// Forget.
pub const RESET: u32 = 100;
/// No resumption.
pub const NOCACHE: u32 = 101;
/// The list of encrypted connections.
pub const NETSTAT: u32 = 102;

/// A request of ours within one of the original's, for addresses of 16 bytes.
pub const WIDE: u32 = 1001;
/// The rows of the list behind one, in [`WIDE`] requests of either family.
pub const PAGE: u32 = 1000;
/// This host's role.
pub const ROLE: u32 = 1002;
/// What was spoken.
pub const DIALECT: u32 = 1003;
/// The name of the key exchange.
pub const KEY_EXCHANGE: u32 = 1004;
/// The name of the cipher.
pub const CIPHER: u32 = 1005;
/// Forgets the session that a connection leaves behind.
pub const CACHE_FLUSH: u32 = 1007;
/// Whether who opens a connection is to be host B.
pub const PASSIVE_ROLE: u32 = 1006;

/// The address of nobody: port 0 means a connection that does not exist yet.
pub const NOBODY: SocketAddrV4 = SocketAddrV4::new(net::Ipv4Addr::UNSPECIFIED, 0);

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 0, an errno value or -1.
    pub error: i32,
    /// Its data.
    pub data: Vec<u8>,
}

/// A client of the control socket with a name of its own, so that it can be answered.
#[derive(Debug)]
pub struct Control {
    socket: UnixDatagram,
    daemon: PathBuf,
    sequence: u32,
}

static CLIENTS: AtomicU32 = AtomicU32::new(0);

impl Control {
    /// A client of a daemon's control socket on a host, not connected to it, like the
    /// original's library. Abstract names belong to the network namespace, so the client must
    /// be there.
    pub fn open(host: &Host, path: &Path) -> io::Result<Control> {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("kxlab-control-{}-{number}", std::process::id());
        let socket =
            host.within(|| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.set_write_timeout(Some(Duration::from_secs(5)))?;
        Ok(Control {
            socket,
            daemon: path.to_owned(),
            sequence: 0,
        })
    }

    /// Sends any bytes.
    pub fn send_raw(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send_to(datagram, &self.daemon)
    }

    /// Sends a request without waiting; gives its sequence number.
    pub fn send(
        &mut self,
        set: bool,
        option: u32,
        local: impl Into<net::SocketAddr>,
        remote: impl Into<net::SocketAddr>,
        data: &[u8],
    ) -> io::Result<u32> {
        self.sequence += 1;
        let mut datagram = self.sequence.to_ne_bytes().to_vec();
        for address in [local.into(), remote.into()] {
            let net::SocketAddr::V4(address) = address else {
                panic!("{address}: no room for it in these requests");
            };
            datagram.extend(address.ip().octets());
            datagram.extend(address.port().to_be_bytes());
            datagram.extend([0, 0]);
        }
        datagram.extend(if set { 2_u32 } else { 0 }.to_ne_bytes());
        datagram.extend(0_u32.to_ne_bytes());
        datagram.extend(option.to_ne_bytes());
        datagram.extend(u32::try_from(data.len()).expect("short data").to_ne_bytes());
        datagram.extend(data);
        self.send_raw(&datagram)?;
        Ok(self.sequence)
    }

    /// The next reply, within `limit`.
    pub fn reply(&mut self, limit: Duration) -> io::Result<Reply> {
        self.socket.set_read_timeout(Some(limit))?;
        let mut datagram = vec![0; 65536];
        let length = self.socket.recv(&mut datagram)?;
        datagram.truncate(length);
        let malformed = || io::Error::other(format!("a reply of {length} bytes"));
        let error = datagram.get(24..28).ok_or_else(malformed)?;
        let error = i32::from_ne_bytes(error.try_into().expect("four bytes"));
        let said = datagram.get(32..36).ok_or_else(malformed)?;
        let said = u32::from_ne_bytes(said.try_into().expect("four bytes"));
        let data = datagram.get(36..).ok_or_else(malformed)?.to_vec();
        if usize::try_from(said).ok() != Some(data.len()) {
            return Err(malformed());
        }
        Ok(Reply { error, data })
    }

    /// Gets an option; `room` zero bytes are sent along.
    pub fn get(
        &mut self,
        option: u32,
        local: impl Into<net::SocketAddr>,
        remote: impl Into<net::SocketAddr>,
        room: usize,
    ) -> io::Result<Reply> {
        self.send(false, option, local, remote, &vec![0; room])?;
        self.reply(Duration::from_secs(5))
    }

    /// Sets an option to an int.
    pub fn set(
        &mut self,
        option: u32,
        local: impl Into<net::SocketAddr>,
        remote: impl Into<net::SocketAddr>,
        value: i32,
    ) -> io::Result<Reply> {
        self.send(true, option, local, remote, &value.to_ne_bytes())?;
        self.reply(Duration::from_secs(5))
    }

    /// A request with wide addresses, written from tcpcrypt-control's documentation: version, option, room,
    /// the scope of each address, addresses and ports. The reply within has the version and an error in front
    /// of its data.
    pub fn wide(
        &mut self,
        set: bool,
        option: u32,
        local: net::SocketAddr,
        remote: net::SocketAddr,
        data: &[u8],
    ) -> io::Result<Reply> {
        let scope = |end: net::SocketAddr| match end {
            net::SocketAddr::V6(end) => end.scope_id(),
            net::SocketAddr::V4(_) => 0,
        };
        let ip = |end: net::SocketAddr| match end.ip() {
            net::IpAddr::V6(ip) => ip.octets(),
            net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        };
        let room = u32::try_from(data.len()).expect("short data");
        let mut inner = vec![1, 0, 0, 0];
        inner.extend(option.to_ne_bytes());
        inner.extend(room.to_ne_bytes());
        inner.extend(scope(local).to_ne_bytes());
        inner.extend(ip(local));
        inner.extend(local.port().to_be_bytes());
        inner.extend(remote.port().to_be_bytes());
        inner.extend(ip(remote));
        inner.extend(scope(remote).to_ne_bytes());
        if set {
            inner.extend(data);
        }
        self.send(set, WIDE, NOBODY, NOBODY, &inner)?;
        let outer = self.reply(Duration::from_secs(5))?;
        let error = outer.data.get(4..8).filter(|_| outer.error == 0);
        let Some(error) = error else {
            return Err(io::Error::other(format!("not understood: {outer:?}")));
        };
        Ok(Reply {
            error: i32::from_ne_bytes(error.try_into().expect("four bytes")),
            data: outer.data.get(8..).unwrap_or_default().to_vec(),
        })
    }
}
