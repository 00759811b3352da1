//! Memory that all connections of a thread share: a connection that has nothing to say has none of it.

use tcpcrypt_proto::stream::READ_ROOM;

/// Octets read from the wire at once.
const WIRE: usize = 256 * 1024;
/// Octets of plain text read at once.
const PLAIN: usize = 128 * 1024;
/// Buffers that are kept for the next connection that has to wait, by all threads that carry.
const KEPT: usize = 64;
/// Beyond this a buffer is not worth keeping.
const WORTH: usize = 1 << 20;

/// The buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    /// What was read from the wire; a record that began earlier stands in front.
    pub wire: Vec<u8>,
    /// What was opened.
    pub opened: Vec<u8>,
    /// What answers it.
    pub reply: Vec<u8>,
    /// What was read from an application.
    pub plain: Vec<u8>,
    /// What was sealed.
    pub sealed: Vec<u8>,
    kept: Vec<Vec<u8>>,
    most_kept: usize,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers::shared_by(1)
    }

    /// For one of so many threads, which keep no more than one would.
    pub(super) fn shared_by(threads: usize) -> Buffers {
        Buffers {
            wire: vec![0; READ_ROOM + WIRE],
            opened: Vec::new(),
            reply: Vec::new(),
            plain: vec![0; PLAIN],
            sealed: Vec::new(),
            kept: Vec::new(),
            most_kept: KEPT.checked_div(threads).unwrap_or(KEPT),
        }
    }

    pub(super) fn lend(&mut self) -> Vec<u8> {
        self.kept.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.kept.len() < self.most_kept && (1..=WORTH).contains(&buffer.capacity()) {
            buffer.clear();
            self.kept.push(buffer);
        }
    }
}
