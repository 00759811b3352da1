//! What one thread leaves for another, and the bell that wakes that one up.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Letters in their order. One thread takes them; its epoll has to wait for the [bell](AsFd).
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    letters: Mutex<VecDeque<T>>,
    bell: OwnedFd,
}

impl<T> Mailbox<T> {
    /// # Errors
    /// The system's: no more descriptors.
    pub(super) fn new() -> io::Result<Mailbox<T>> {
        Ok(Mailbox {
            letters: Mutex::new(VecDeque::new()),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Who panicked with the lock left the letters whole: nothing is done under it that can panic in between.
    fn letters(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a letter. How many there may be is for the sender to see to.
    pub(super) fn post(&self, letter: T) {
        let was_empty = {
            let mut letters = self.letters();
            letters.push_back(letter);
            letters.len() == 1
        };
        // Otherwise it has rung, and nobody has come yet.
        if was_empty {
            self.ring();
        }
    }

    /// Letters that wait. For the only one who leaves any, there will not be more of them; for the one who takes them, not
    /// fewer.
    pub(super) fn len(&self) -> usize {
        self.letters().len()
    }

    fn ring(&self) {
        // It fails only when it has rung 2^64 times unheard.
        let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.bell, &1_u64.to_ne_bytes()));
    }

    /// Takes all letters.
    pub(super) fn take(&self) -> VecDeque<T> {
        // In this order: what comes in between rings again.
        let mut count = [0; 8];
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&self.bell, &mut count));
        std::mem::take(&mut *self.letters())
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings<T>(mailbox: &Mailbox<T>, milliseconds: i64) -> bool {
        let mut fds = [PollFd::new(mailbox, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: milliseconds * 1_000_000,
        };
        poll(&mut fds, Some(&timeout)).expect("polled") == 1
    }

    #[test]
    fn it_rings_until_all_is_taken() {
        let mailbox = Mailbox::new().expect("made");
        assert!(!rings(&mailbox, 0));
        mailbox.post(1);
        mailbox.post(2);
        assert!(rings(&mailbox, 0));
        assert_eq!(mailbox.len(), 2);
        assert_eq!(mailbox.take(), [1, 2]);
        assert!(!rings(&mailbox, 0));
        mailbox.post(3);
        assert!(rings(&mailbox, 0));
        assert_eq!(mailbox.take(), [3]);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn every_letter_arrives_in_order_and_none_waits_unheard() {
        const LETTERS: u32 = 100_000;
        let mailbox = Arc::new(Mailbox::new().expect("made"));
        let sender = Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || {
            for letter in 0..LETTERS {
                while sender.len() >= 8 {
                    std::thread::yield_now();
                }
                sender.post(letter);
            }
        });
        let mut next = 0;
        while next < LETTERS {
            assert!(rings(&mailbox, 900), "asleep in front of {next}");
            for letter in mailbox.take() {
                assert_eq!(letter, next);
                next += 1;
            }
        }
        thread.join().expect("ended");
        assert!(!rings(&mailbox, 0));
    }
}
