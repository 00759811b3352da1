//! Telling clients that a user has changed, so that they need not ask before each use of what they
//! know. A client reads `changes` of a user; it is answered, with no data, after the next change of that user
//! is on disk, and before whoever made the change hears of it.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use keyfs_db::UserId;
use kx_secret::SecretBytes;
use rustix::net::SendFlags;
use styx::server::read_reply;

/// Such reads of one client that can wait.
const MAX_WAITING: usize = 16;

/// A client's connection, on which more than one thread sends.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    sending: Mutex<()>,
}

impl Line {
    /// To this client.
    #[must_use]
    pub fn new(stream: UnixStream) -> Arc<Line> {
        Arc::new(Line {
            stream,
            sending: Mutex::new(()),
        })
    }

    /// What the client says is read from here.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends whole messages, and waits until the client has room for them.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&self, messages: &[u8]) -> io::Result<()> {
        let _turn = locked(&self.sending);
        (&self.stream).write_all(messages)
    }

    /// Sends a message without waiting for anything. A client that cannot be told is hung up on: that, too,
    /// tells it to ask again.
    fn tell(&self, message: &[u8]) {
        let hang_up = match self.sending.try_lock() {
            Ok(_) | Err(TryLockError::Poisoned(_)) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let sent = rustix::net::send(&self.stream, message, flags);
                (sent != Ok(message.len())).then_some(Shutdown::Both)
            }
            // A reply is on its way. It still gets there.
            Err(TryLockError::WouldBlock) => Some(Shutdown::Read),
        };
        if let Some(how) = hang_up {
            let _ = self.stream.shutdown(how);
        }
    }
}

/// A read that waits.
struct Watcher {
    user: UserId,
    line: Arc<Line>,
    tag: u16,
}

/// All reads that wait for a change.
#[derive(Default)]
pub struct Watchers(Mutex<Vec<Watcher>>);

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} watchers", locked(&self.0).len())
    }
}

impl Watchers {
    /// Answers the read `tag` of this client after the next change of `user`. False if too many of its
    /// reads wait.
    #[must_use]
    pub fn add(&self, user: UserId, line: &Arc<Line>, tag: u16) -> bool {
        let mut all = locked(&self.0);
        let of_line = all.iter().filter(|one| Arc::ptr_eq(&one.line, line));
        if of_line.count() >= MAX_WAITING {
            return false;
        }
        let line = Arc::clone(line);
        all.push(Watcher { user, line, tag });
        true
    }

    /// The client does not want to know any more.
    pub fn forget(&self, line: &Arc<Line>, tag: u16) {
        locked(&self.0).retain(|one| !(Arc::ptr_eq(&one.line, line) && one.tag == tag));
    }

    /// The client is gone.
    pub fn remove(&self, line: &Arc<Line>) {
        locked(&self.0).retain(|one| !Arc::ptr_eq(&one.line, line));
    }

    /// These users have changed.
    pub fn announce(&self, users: &HashSet<UserId>) {
        locked(&self.0).retain(|one| {
            let concerned = users.contains(&one.user);
            if concerned {
                let mut message = SecretBytes::default();
                // No data are never too long.
                let _ = read_reply(one.tag, &[], &mut message);
                one.line.tell(message.as_slice());
            }
            !concerned
        });
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALICE: UserId = UserId {
        slot: 1,
        generation: 7,
    };
    const BOB: UserId = UserId {
        slot: 2,
        generation: 7,
    };
    /// Rread of no data for tag 2.
    const NOTICE: [u8; 11] = [11, 0, 0, 0, 117, 2, 0, 0, 0, 0, 0];

    fn client() -> (Arc<Line>, UnixStream) {
        let (server, client) = UnixStream::pair().expect("a pair");
        client.set_nonblocking(true).expect("set");
        (Line::new(server), client)
    }

    fn heard(mut client: &UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        let error = client.read_to_end(&mut all).expect_err("still open");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        all
    }

    #[test]
    fn a_change_is_told_once_and_only_to_those_it_concerns() {
        let watchers = Watchers::default();
        let (of_alice, alice) = client();
        let (of_bob, bob) = client();
        assert!(watchers.add(ALICE, &of_alice, 2));
        assert!(watchers.add(BOB, &of_bob, 2));
        for told in [&NOTICE[..], &[]] {
            watchers.announce(&HashSet::from([ALICE]));
            assert_eq!(heard(&alice), told);
            assert_eq!(heard(&bob), []);
        }
    }

    #[test]
    fn who_has_forgotten_or_left_is_told_nothing() {
        let watchers = Watchers::default();
        let (line, client) = client();
        assert!(watchers.add(ALICE, &line, 2));
        assert!(watchers.add(ALICE, &line, 3));
        watchers.forget(&line, 3);
        watchers.announce(&HashSet::from([ALICE]));
        assert_eq!(heard(&client), NOTICE);
        assert!(watchers.add(ALICE, &line, 2));
        watchers.remove(&line);
        watchers.announce(&HashSet::from([ALICE]));
        assert_eq!(heard(&client), []);
    }

    #[test]
    fn the_reads_of_a_client_are_bounded() {
        let watchers = Watchers::default();
        let (line, _client) = client();
        let (other, _other) = client();
        for tag in 0..16 {
            assert!(watchers.add(ALICE, &line, tag));
        }
        assert!(!watchers.add(ALICE, &line, 16));
        assert!(watchers.add(ALICE, &other, 16));
    }

    #[test]
    fn a_client_that_does_not_read_is_hung_up_on() {
        let watchers = Watchers::default();
        let (line, mut client) = client();
        line.stream.set_nonblocking(true).expect("set");
        while (&line.stream).write(&[0; 1024]).is_ok() {}
        line.stream.set_nonblocking(false).expect("set");
        assert!(watchers.add(ALICE, &line, 2));
        watchers.announce(&HashSet::from([ALICE]));
        // To the end, which would not come otherwise.
        client.read_to_end(&mut Vec::new()).expect("hung up on");
    }

    #[test]
    fn a_client_that_is_being_answered_gets_its_answer_and_the_end() {
        let watchers = Watchers::default();
        let (line, _client) = client();
        assert!(watchers.add(ALICE, &line, 2));
        let turn = locked(&line.sending);
        watchers.announce(&HashSet::from([ALICE]));
        drop(turn);
        line.send(b"the answer").expect("sent");
        let mut rest = [0; 1];
        assert_eq!((&line.stream).read(&mut rest).expect("the end"), 0);
    }
}
