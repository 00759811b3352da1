//! A log kept in memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was written to a log made by [`GoLog::memory`](super::GoLog::memory).
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    text: String,
    fails_with: Option<i32>,
}

impl Memory {
    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The lines so far without their stamps: `FILE:LINE: TEXT`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let content = self.lock();
        let unstamped = |line: &str| {
            let rest = line.splitn(3, ' ').nth(2);
            rest.unwrap_or_default().to_owned()
        };
        content.text.lines().map(unstamped).collect()
    }

    /// Lets each write fail with this error number, or succeed again.
    pub fn fail_with(&self, error: Option<i32>) {
        self.lock().fails_with = error;
    }

    pub(super) fn append(&self, line: &str) -> io::Result<()> {
        let mut content = self.lock();
        match content.fails_with {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => {
                content.text.push_str(line);
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
