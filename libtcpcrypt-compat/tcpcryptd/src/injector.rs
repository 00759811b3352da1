//! Packets that nobody sent but we.

use std::io;
use std::time::Instant;

use kx_sys::raw_socket::RawSocket;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::verdict::Direction;

use crate::divert::{MARK_INWARD, MARK_OUTWARD};
use crate::guard::Table;

/// A socket for each direction and family, since the mark is the socket's.
#[derive(Debug)]
pub struct Injector {
    ipv4: Sockets,
    /// Where the system has it.
    ipv6: Option<Sockets>,
    buffer: Vec<u8>,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the system did not take.
    pub failed: u64,
}

#[derive(Debug)]
struct Sockets {
    outward: RawSocket,
    inward: RawSocket,
    /// Without a mark.
    probe: RawSocket,
}

impl Sockets {
    fn open(open: impl Fn(u32) -> io::Result<Option<RawSocket>>) -> io::Result<Option<Sockets>> {
        let marked = open(MARK_OUTWARD)?.zip(open(MARK_INWARD)?);
        let all = marked.zip(open(0)?);
        Ok(all.map(|((outward, inward), probe)| Sockets {
            outward,
            inward,
            probe,
        }))
    }

    fn of<'a>(ipv4: &'a Sockets, ipv6: Option<&'a Sockets>, packet: &[u8]) -> &'a Sockets {
        let is_ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        ipv6.filter(|_| is_ipv6).unwrap_or(ipv4)
    }
}

impl Injector {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Injector> {
        let ipv4 = Sockets::open(|mark| RawSocket::open(mark).map(Some))?;
        Ok(Injector {
            ipv4: ipv4.ok_or(io::ErrorKind::Unsupported)?,
            ipv6: Sockets::open(RawSocket::open_ipv6)?,
            buffer: Vec::new(),
            sent: 0,
            failed: 0,
        })
    }

    /// Sends all that waits; true if there was something. What cannot be sent is lost like any
    /// packet, the protocol repeats it.
    pub fn drain(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        mut table: Option<&mut Table>,
    ) -> bool {
        let before = self.sent + self.failed;
        let mut packet = std::mem::take(&mut self.buffer);
        loop {
            packet.clear();
            let Some((direction, interface)) = endpoint.poll_transmit_on(&mut packet) else {
                break;
            };
            if let Some(table) = &mut table {
                table.injected(now, direction, interface, &packet);
            }
            self.send(direction, interface, &packet);
        }
        self.buffer = packet;
        self.sent + self.failed > before
    }

    /// Sends one packet; `interface` is that of link-local addresses.
    pub fn send(&mut self, direction: Direction, interface: u32, packet: &[u8]) {
        let sockets = Sockets::of(&self.ipv4, self.ipv6.as_ref(), packet);
        let socket = match direction {
            Direction::Out => &sockets.outward,
            Direction::In => &sockets.inward,
        };
        match socket.send_on(packet, interface) {
            Ok(()) => self.sent += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Sends one packet outward as if this host's TCP had made it, without a mark: the rules send it to
    /// the queue.
    ///
    /// # Errors
    /// The system's.
    pub fn send_probe(&self, interface: u32, packet: &[u8]) -> io::Result<()> {
        let sockets = Sockets::of(&self.ipv4, self.ipv6.as_ref(), packet);
        sockets.probe.send_on(packet, interface)
    }
}
