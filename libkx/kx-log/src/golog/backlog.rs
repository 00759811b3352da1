//! Lines to a reader that may be busy, never waiting for it: what it does not take at once is kept, in
//! order and within bounds, and a thread that lives no longer than that sends it on.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Lines kept while the reader does not take them.
const MAX_LINES: usize = 1024;
/// Octets of lines kept while the reader does not take them.
const MAX_OCTETS: usize = 256 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The way to a reader. Its calls must not wait.
pub(super) trait Outlet: Send + 'static {
    /// How many octets of the line were taken: all of them or, if the reader is busy, fewer.
    fn send(&mut self, line: &[u8]) -> io::Result<usize>;

    /// What lines are lost by when too many are kept.
    const FULL: &'static str;
}

/// An outlet and the lines it owes.
pub(super) struct Patient<O: Outlet>(Arc<Shared<O>>);

struct Shared<O> {
    queue: Mutex<Queue<O>>,
    emptied: Condvar,
}

struct Queue<O> {
    outlet: O,
    waiting: VecDeque<Vec<u8>>,
    octets: usize,
}

/// The lines that were not taken yet.
pub(super) trait Backlog {
    /// Waits until there are none, `limit` at most. Whether there are none.
    fn wait(&self, limit: Duration) -> bool;
}

impl<O: Outlet> Patient<O> {
    pub(super) fn new(outlet: O) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::new(Queue {
                outlet,
                waiting: VecDeque::new(),
                octets: 0,
            }),
            emptied: Condvar::new(),
        }))
    }

    /// Changes the outlet. What is kept goes where it leads then.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut O) -> T) -> T {
        change(&mut self.0.lock().outlet)
    }

    pub(super) fn backlog(&self) -> Arc<dyn Backlog> {
        Arc::<Shared<O>>::clone(&self.0)
    }

    /// Sends one line, or keeps it to be sent soon. Never waits.
    pub(super) fn send(&self, line: &[u8]) -> io::Result<()> {
        let mut queue = self.0.lock();
        if !queue.waiting.is_empty() {
            // Order is kept: the thread that sends those will send this one too.
            return queue.keep(line);
        }
        match queue.outlet.send(line) {
            Ok(sent) if sent >= line.len() => Ok(()),
            Ok(sent) => {
                queue.keep(line.get(sent..).unwrap_or_default())?;
                let shared = Arc::downgrade(&self.0);
                let started = thread::Builder::new()
                    .name("log".into())
                    .spawn(move || send_waiting(&shared));
                if let Err(error) = started {
                    queue.forget();
                    return Err(error);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl<O: Outlet> Backlog for Shared<O> {
    fn wait(&self, limit: Duration) -> bool {
        let waited = self
            .emptied
            .wait_timeout_while(self.lock(), limit, |queue| !queue.waiting.is_empty());
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.waiting.is_empty()
    }
}

impl<O> Shared<O> {
    fn lock(&self) -> MutexGuard<'_, Queue<O>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Outlet> Queue<O> {
    fn keep(&mut self, line: &[u8]) -> io::Result<()> {
        let octets = self.octets.saturating_add(line.len());
        // The rest of a line that was begun is kept in any case.
        if !self.waiting.is_empty() && (self.waiting.len() >= MAX_LINES || octets > MAX_OCTETS) {
            return Err(io::Error::other(O::FULL));
        }
        self.octets = octets;
        self.waiting.push_back(line.to_vec());
        Ok(())
    }

    fn forget(&mut self) {
        self.waiting.clear();
        self.octets = 0;
    }

    /// Sends what waits. Whether all is sent.
    fn send_waiting(&mut self) -> bool {
        while let Some(mut line) = self.waiting.pop_front() {
            let sent = self.outlet.send(&line).unwrap_or(0);
            if sent < line.len() {
                line.drain(..sent);
                self.octets = self.octets.saturating_sub(sent);
                self.waiting.push_front(line);
                return false;
            }
            self.octets = self.octets.saturating_sub(line.len());
        }
        true
    }
}

/// The thread that lives while lines wait.
fn send_waiting<O: Outlet>(shared: &Weak<Shared<O>>) {
    let mut pause = FIRST_PAUSE;
    loop {
        thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause.saturating_mul(2));
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let mut queue = shared.lock();
        let before = queue.octets;
        if queue.send_waiting() {
            shared.emptied.notify_all();
            return;
        }
        if queue.octets < before {
            pause = FIRST_PAUSE;
        }
    }
}
