//! What a hook writes: standard output is read and thrown away, of standard error the head and
//! the tail are kept for the log.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;

/// So much of the beginning is kept, and so much of the end.
const KEPT: usize = 32 * 1024;
/// Read at once.
const PIECE: usize = 16 * 1024;

/// The first and the last 32 KiB of a stream.
#[derive(Debug, Default)]
pub(super) struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    omitted: u64,
}

impl Captured {
    pub(super) fn push(&mut self, octets: &[u8]) {
        let room = KEPT.saturating_sub(self.head.len()).min(octets.len());
        let (head, tail) = octets.split_at(room);
        self.head.extend_from_slice(head);
        // Of a long piece the start would only be pushed out again.
        let skipped = tail.len().saturating_sub(KEPT);
        let tail = tail.get(skipped..).unwrap_or_default();
        self.tail.extend(tail);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
        let gone = u64::try_from(skipped.saturating_add(surplus)).unwrap_or(u64::MAX);
        self.omitted = self.omitted.saturating_add(gone);
    }

    /// What was kept, with a line in between that says how much was not.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = self.head.clone();
        if self.omitted > 0 {
            text.extend_from_slice(
                format!("\n... omitting {} bytes ...\n", self.omitted).as_bytes(),
            );
        }
        text.extend(&self.tail);
        text
    }
}

/// Reads both streams to their ends.
pub(super) async fn drain_both(
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    captured: &Mutex<Captured>,
) {
    let keep = |octets: &[u8]| {
        captured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(octets);
    };
    tokio::join!(drain(stdout, |_| ()), drain(stderr, keep));
}

async fn drain(stream: Option<OwnedFd>, mut keep: impl FnMut(&[u8])) {
    let Some(stream) = stream.and_then(|stream| Receiver::from_owned_fd(stream).ok()) else {
        return;
    };
    let mut piece = vec![0u8; PIECE];
    while stream.readable().await.is_ok() {
        match stream.try_read(piece.as_mut_slice()) {
            Ok(0) => return,
            Ok(count) => keep(piece.get(..count).unwrap_or_default()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => continue,
                io::ErrorKind::Interrupted => {}
                _ => return,
            },
        }
        // A hook that writes without end must not keep the thread to itself.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pieces: &[&[u8]]) -> Vec<u8> {
        let mut captured = Captured::default();
        for piece in pieces {
            captured.push(piece);
        }
        captured.text()
    }

    #[test]
    fn up_to_64_kib_are_kept_whole() {
        assert_eq!(captured(&[]), b"");
        assert_eq!(captured(&[b"a", b"", b"bc"]), b"abc");
        let whole: Vec<u8> = (0..2 * KEPT).map(|number| (number % 251) as u8).collect();
        assert_eq!(captured(&[&whole]), whole);
        let (one, two) = whole.split_at(40_000);
        assert_eq!(captured(&[one, two]), whole);
    }

    #[test]
    fn of_more_the_middle_is_left_out() {
        let whole: Vec<u8> = (0..200_000).map(|number| (number % 251) as u8).collect();
        let expected = [
            &whole[..KEPT],
            b"\n... omitting 134464 bytes ...\n",
            &whole[whole.len() - KEPT..],
        ]
        .concat();
        assert_eq!(captured(&[&whole]), expected);
        let pieces: Vec<&[u8]> = whole.chunks(1000).collect();
        assert_eq!(captured(&pieces), expected);
        let one_more = captured(&[&whole[..2 * KEPT + 1]]);
        assert_eq!(
            one_more.len(),
            2 * KEPT + b"\n... omitting 1 bytes ...\n".len()
        );
    }
}
