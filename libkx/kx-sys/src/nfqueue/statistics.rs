//! What the kernel counts about a queue (`/proc/net/netfilter/nfnetlink_queue`).

use std::fs::File;
use std::io::{self, Read, Seek};

/// One line per queue of this network namespace.
const PATH: &str = "/proc/self/net/netfilter/nfnetlink_queue";

/// Packets that the kernel dropped before they came to a process, since the queue was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Too many waited for a verdict ([`Settings::max_length`](super::Settings::max_length)).
    pub queue_full: u64,
    /// The receive buffer had no room ([`Settings::receive_buffer`](super::Settings::receive_buffer)), or
    /// the kernel had no memory.
    pub buffer_full: u64,
}

/// The counters of one queue. Opened in time, they can also be read in a jail without `/proc`.
#[derive(Debug)]
pub struct Statistics {
    file: File,
    number: u16,
}

impl Statistics {
    /// Opens the counters of queue `number`.
    ///
    /// # Errors
    /// The system's: no `/proc`, or not root.
    pub fn open(number: u16) -> io::Result<Statistics> {
        let file = File::open(PATH)?;
        Ok(Statistics { file, number })
    }

    /// What was lost so far; `None` if the queue is not listed.
    ///
    /// # Errors
    /// The system's.
    pub fn losses(&self) -> io::Result<Option<Losses>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                count => text.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        }
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().find_map(|line| losses_of(line, self.number)))
    }
}

/// Number, port, waiting, copy mode, copy range, dropped by the queue, dropped at the socket, last id, 1.
fn losses_of(line: &str, number: u16) -> Option<Losses> {
    let mut fields = line.split_whitespace().map(str::parse::<u64>);
    let found = fields.next()?.ok()?;
    if found != u64::from(number) {
        return None;
    }
    let queue_full = fields.nth(4)?.ok()?;
    let buffer_full = fields.next()?.ok()?;
    Some(Losses {
        queue_full,
        buffer_full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_queue() {
        let line = "  666  29031     0 2 65531     3    17     8712  1";
        let expected = Losses {
            queue_full: 3,
            buffer_full: 17,
        };
        assert_eq!(losses_of(line, 666), Some(expected));
        assert_eq!(losses_of(line, 66), None);
        assert_eq!(losses_of("666 1 2", 666), None);
        assert_eq!(losses_of("", 666), None);
    }
}
