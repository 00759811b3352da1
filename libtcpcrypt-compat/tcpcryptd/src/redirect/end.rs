//! One end of a connection that we carry: its socket, and what waits to be written to it.

use std::io;

use kx_sys::tcp_proxy::{ProxySocket, SEGMENTS_AT_ONCE};
use tcpcrypt_proto::stream::{Shape, first_unit};

use super::buffers::Buffers;

/// A socket and where it stands. The kernel tells of changes once, so they are kept here.
#[derive(Debug)]
pub(super) struct End {
    pub socket: ProxySocket,
    /// There may be something to read.
    pub readable: bool,
    /// There may be room.
    pub writable: bool,
    /// Everything was read.
    pub ended: bool,
    /// Everything was written.
    pub shut: bool,
    /// Octets written so far.
    pub written: u64,
    /// Octets read so far.
    pub read: u64,
    /// Records may share what the kernel cuts into segments: each is as long as one.
    pub together: bool,
    waiting: Vec<u8>,
    at: usize,
}

impl End {
    pub(super) fn new(socket: ProxySocket) -> End {
        End {
            socket,
            readable: false,
            writable: false,
            ended: false,
            shut: false,
            written: 0,
            read: 0,
            together: false,
            waiting: Vec::new(),
            at: 0,
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_busy(&self) -> bool {
        self.at < self.waiting.len()
    }

    /// Reads into `buffer`. `None`: nothing there, or the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.readable || self.ended {
            return Ok(None);
        }
        match self.socket.read(buffer)? {
            None => {
                self.readable = false;
                Ok(None)
            }
            Some(0) => {
                self.ended = true;
                Ok(None)
            }
            Some(count) => {
                self.read = self.read.saturating_add(count as u64);
                Ok(Some(count))
            }
        }
    }

    /// Writes `data`, and keeps what is not taken now. Only when nothing waits.
    pub(super) fn write(
        &mut self,
        shape: Shape,
        data: &[u8],
        buffers: &mut Buffers,
    ) -> io::Result<()> {
        let taken = match self.is_busy() {
            true => 0,
            false => self.put(shape, data)?,
        };
        let rest = data.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            if self.waiting.is_empty() {
                self.waiting = buffers.lend();
            }
            self.waiting.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self, shape: Shape, buffers: &mut Buffers) -> io::Result<bool> {
        if !self.is_busy() || !self.writable {
            return Ok(false);
        }
        let waiting = std::mem::take(&mut self.waiting);
        let rest = waiting.get(self.at..).unwrap_or_default();
        let taken = self.put(shape, rest);
        self.waiting = waiting;
        let taken = taken?;
        self.at = self.at.saturating_add(taken);
        if !self.is_busy() {
            self.forget(buffers);
        }
        Ok(taken > 0)
    }

    /// What waits is not to be written.
    pub(super) fn forget(&mut self, buffers: &mut Buffers) {
        self.at = 0;
        buffers.give_back(std::mem::take(&mut self.waiting));
    }

    /// Writes as much as the socket takes.
    fn put(&mut self, shape: Shape, data: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < data.len() && self.writable {
            let rest = data.get(done..).unwrap_or_default();
            let (asked, taken) = match shape {
                Shape::Stream => (rest.len(), self.socket.write(rest)?),
                Shape::Segments if self.together => (rest.len(), self.socket.write_ended(rest)?),
                Shape::Segments => {
                    let mut pieces = [&rest[..0]; SEGMENTS_AT_ONCE];
                    let (mut count, mut asked) = (0, 0);
                    for piece in &mut pieces {
                        let behind = rest.get(asked..).unwrap_or_default();
                        if behind.is_empty() {
                            break;
                        }
                        let length = first_unit(shape, behind).max(1);
                        *piece = behind.get(..length).unwrap_or(behind);
                        asked += piece.len();
                        count += 1;
                    }
                    let pieces = pieces.get(..count).unwrap_or_default();
                    (asked, self.socket.write_segments(pieces)?)
                }
            };
            self.written = self.written.saturating_add(taken as u64);
            done += taken;
            // What was not taken whole will be asked for again; the answer may be a full buffer, and only that
            // brings an event.
            if taken == 0 && asked > 0 {
                self.writable = false;
            }
        }
        Ok(done)
    }
}
