//! Receiving many datagrams with one call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for one datagram: the longest attribute and the headers around it.
const SLOT: usize = 66 * 1024 + 512;

/// A datagram from here on is a big one.
const BIG: usize = 8 * 1024;

/// Slots that are used while big datagrams come: what is received should still be in the processor's cache
/// when it is looked at, and memory should not be touched for the sake of few calls.
const FEW: usize = 4;

/// Slots for datagrams, made once. Memory that no datagram has touched yet costs nothing, so room for the
/// biggest in each slot is not paid as long as small ones come, and big ones only touch the first slots.
pub struct Batch {
    memory: Vec<u8>,
    /// How many slots the next call fills at most.
    in_use: usize,
    /// The last call filled all that it might.
    full: bool,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    lengths: Vec<usize>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Batch")
            .field("slots", &self.vectors.capacity())
            .field("filled", &self.lengths.len())
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// A batch of at most `slots` datagrams.
    #[must_use]
    pub fn new(slots: usize) -> Batch {
        Batch {
            memory: vec![0; slots * SLOT],
            in_use: slots.min(FEW),
            full: false,
            vectors: Vec::with_capacity(slots),
            headers: Vec::with_capacity(slots),
            lengths: Vec::with_capacity(slots),
        }
    }

    /// How many datagrams fit at most.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.memory.len() / SLOT
    }

    /// True if the last call left off for want of slots: more may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// More slots while many small datagrams come, few when a big one did.
    fn adapt(&mut self) {
        self.full = self.lengths.len() == self.in_use;
        if self.lengths.iter().any(|length| *length >= BIG) {
            self.in_use = FEW.min(self.slots());
        } else if self.full {
            self.in_use = self.in_use.saturating_mul(4).min(self.slots());
        }
    }

    /// Receives what is there, without waiting; what was in the batch is gone. Returns the number
    /// of datagrams, 0 if there are none.
    #[allow(unsafe_code)]
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.lengths.clear();
        self.full = false;
        self.vectors.clear();
        self.headers.clear();
        for slot in self.memory.chunks_exact_mut(SLOT).take(self.in_use) {
            self.vectors.push(libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            });
        }
        for vector in &mut self.vectors {
            // SAFETY: both are plain C structures; all zeros is "no name, no control data".
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        let count = libc::c_uint::try_from(self.headers.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the headers point to `vectors`, those to disjoint pieces of `memory`; none of
        // the three is touched or moved before the call returns.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        let received = usize::try_from(received).unwrap_or(0);
        for header in self.headers.iter().take(received) {
            // A datagram that did not fit is cut: its last message is malformed by its length.
            self.lengths.push((header.msg_len as usize).min(SLOT));
        }
        self.adapt();
        Ok(received)
    }

    /// The datagrams received last.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.memory
            .chunks_exact(SLOT)
            .zip(&self.lengths)
            .filter_map(|(slot, &length)| slot.get(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn datagrams_come_together_and_in_order() {
        let (sender, receiver) = UnixDatagram::pair().expect("pair");
        let mut batch = Batch::new(3);
        assert_eq!(batch.receive(receiver.as_fd()).expect("nothing yet"), 0);
        for text in ["one", "two", "three", "four"] {
            sender.send(text.as_bytes()).expect("sent");
        }
        assert_eq!(batch.receive(receiver.as_fd()).expect("received"), 3);
        let texts: Vec<&[u8]> = batch.datagrams().collect();
        assert_eq!(texts, [b"one".as_slice(), b"two", b"three"]);
        assert_eq!(batch.receive(receiver.as_fd()).expect("received"), 1);
        assert_eq!(batch.datagrams().next(), Some(b"four".as_slice()));
        assert_eq!(batch.slots(), 3);
    }

    #[test]
    fn big_datagrams_touch_few_slots() {
        let (sender, receiver) = UnixDatagram::pair().expect("pair");
        let mut batch = Batch::new(64);
        let mut counts = Vec::new();
        let mut receive = |octets: usize, many: usize| {
            for _ in 0..many {
                sender.send(&vec![7; octets]).expect("sent");
            }
            let mut left = many;
            while left > 0 {
                let count = batch.receive(receiver.as_fd()).expect("received");
                assert!(batch.datagrams().all(|datagram| datagram.len() == octets));
                counts.push(count);
                left -= count;
            }
        };
        receive(60, 9);
        receive(60, 9);
        receive(20_000, 1);
        receive(60, 9);
        assert_eq!(counts, [4, 5, 9, 1, 4, 5]);
    }
}
