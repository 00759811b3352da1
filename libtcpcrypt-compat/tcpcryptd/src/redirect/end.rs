//! One end of a connection that we carry: its socket, and what waits to be written to it.

use std::io;

use kx_sys::tcp_proxy::{ProxySocket, SEGMENTS_AT_ONCE};
use tcpcrypt_proto::stream::{Shape, first_unit};

use super::buffers::Buffers;

/// Octets that wait in a stream's socket before they are sent, beside those that are on their way. The kernel would take
/// some megabytes, which are out of the processor's memory again when their turn comes, and which, let go at once, are more
/// packets than its queue between two hosts may take; copying is most of what a stream costs.
const UNSENT: u32 = 128 * 1024;

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
    /// Octets of a record or message that was taken in part, which come first.
    begun: usize,
    /// What waits in the socket is limited.
    limited: bool,
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
            begun: 0,
            limited: false,
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_busy(&self) -> bool {
        self.at < self.waiting.len()
    }

    /// It belongs to a stream: from here on not too much waits in the socket.
    pub(super) fn limit_unsent(&mut self) {
        if !std::mem::replace(&mut self.limited, true) {
            self.socket.limit_unsent(UNSENT);
        }
    }

    /// Octets that went through it so far.
    pub(super) fn moved(&self) -> u64 {
        self.read.saturating_add(self.written)
    }

    /// Whether a segment behind the SYN has come from the other end: data, or an acknowledgement of ours.
    pub(super) fn was_answered(&self) -> bool {
        // The SYN may count as one; a record is longer than that.
        let acknowledged = || self.socket.acknowledged().unwrap_or(0);
        self.read > 0 || self.ended || self.written > 0 && acknowledged() > 1
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
                    for (piece, next) in pieces.iter_mut().zip(units(shape, rest, self.begun)) {
                        *piece = next;
                        asked += next.len();
                        count += 1;
                    }
                    let pieces = pieces.get(..count).unwrap_or_default();
                    let taken = self.socket.write_segments(pieces)?;
                    if taken > 0 {
                        self.begun = left_of_unit(pieces, taken);
                    }
                    (asked, taken)
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

/// What has to be segments of their own, in order; the first `begun` octets are the rest of one.
fn units(shape: Shape, mut wire: &[u8], mut begun: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = match std::mem::take(&mut begun) {
            0 => first_unit(shape, wire).max(1),
            left => left,
        };
        let (unit, rest) = wire.split_at(length.min(wire.len()));
        wire = rest;
        (!unit.is_empty()).then_some(unit)
    })
}

/// Octets missing of the unit in which the first `taken` octets of all end; 0 if that is between two.
fn left_of_unit(units: &[&[u8]], mut taken: usize) -> usize {
    for unit in units {
        match unit.len().checked_sub(taken) {
            Some(left) if taken > 0 => return left,
            Some(_) => return 0,
            None => taken = taken.saturating_sub(unit.len()),
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of 40, 30 and 50 octets; what is in them looks like headers of longer ones.
    fn wire() -> Vec<u8> {
        [40_u8, 30, 50]
            .into_iter()
            .flat_map(|len| {
                let mut record = vec![0, 0, len - 3];
                record.resize(usize::from(len), 1);
                record
            })
            .collect()
    }

    #[test]
    fn borders_outlive_a_write_that_was_taken_in_part() {
        let wire = wire();
        for cut in 0..=wire.len() {
            let all: Vec<_> = units(Shape::Segments, &wire, 0).collect();
            let lengths: Vec<_> = all.iter().map(|unit| unit.len()).collect();
            assert_eq!(lengths, [40, 30, 50]);
            let begun = left_of_unit(&all, cut);
            let later = units(Shape::Segments, &wire[cut..], begun);
            let ends: Vec<_> = later
                .scan(cut, |at, unit| {
                    *at += unit.len();
                    Some(*at)
                })
                .collect();
            let expected: Vec<_> = [40, 70, 120].into_iter().filter(|end| *end > cut).collect();
            assert_eq!(ends, expected, "{cut}");
        }
    }
}
