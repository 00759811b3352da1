//! Packets that nobody sent but we.

use std::io;
use std::time::Instant;

use kx_sys::raw_socket::RawSocket;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::verdict::Direction;

use crate::divert::{MARK_INWARD, MARK_OUTWARD};
use crate::guard::Table;

/// A socket for each direction, since the mark is the socket's.
#[derive(Debug)]
pub struct Injector {
    outward: RawSocket,
    inward: RawSocket,
    buffer: Vec<u8>,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the system did not take.
    pub failed: u64,
}

impl Injector {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Injector> {
        Ok(Injector {
            outward: RawSocket::open(MARK_OUTWARD)?,
            inward: RawSocket::open(MARK_INWARD)?,
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
            let Some(direction) = endpoint.poll_transmit(&mut packet) else {
                break;
            };
            if let Some(table) = &mut table {
                table.injected(now, direction, &packet);
            }
            self.send(direction, &packet);
        }
        self.buffer = packet;
        self.sent + self.failed > before
    }

    /// Sends one packet.
    pub fn send(&mut self, direction: Direction, packet: &[u8]) {
        let socket = match direction {
            Direction::Out => &self.outward,
            Direction::In => &self.inward,
        };
        match socket.send(packet) {
            Ok(()) => self.sent += 1,
            Err(_) => self.failed += 1,
        }
    }
}
