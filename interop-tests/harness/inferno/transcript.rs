//! What a program has said so far, and waiting for what it should say next.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a text; key generation of the original takes most of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

/// All that came out of one or more streams, in the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    cursor: usize,
}

impl Transcript {
    /// Collects a stream from now on, in a thread that ends with the stream.
    pub fn follow(&self, mut stream: impl Read + Send + 'static) {
        let heard = Arc::clone(&self.heard);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            loop {
                // A terminal whose other end is gone gives an error, not an end.
                let n = stream.read(&mut part).unwrap_or(0);
                let mut now = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
                now.bytes
                    .extend(part.iter().take(n).filter(|&&b| b != b'\r'));
                now.ended = n == 0;
                heard.1.notify_all();
                if n == 0 {
                    break;
                }
            }
        });
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        let heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard.bytes).into_owned()
    }

    /// Waits until `wanted` stands behind what was waited for before, and gives what is between.
    ///
    /// # Errors
    ///
    /// The whole transcript, if the stream ended or nothing came for too long.
    pub fn find(&mut self, wanted: &str, limit: Duration) -> Result<String, String> {
        let end = Instant::now() + limit;
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let rest = heard.bytes.get(self.cursor..).unwrap_or_default();
            let found = rest
                .windows(wanted.len().max(1))
                .position(|window| window == wanted.as_bytes());
            if let Some(at) = found {
                let between = String::from_utf8_lossy(rest.get(..at).unwrap_or_default());
                let between = between.into_owned();
                self.cursor += at + wanted.len();
                return Ok(between);
            }
            let left = end.saturating_duration_since(Instant::now());
            if heard.ended || left.is_zero() {
                let all = String::from_utf8_lossy(&heard.bytes).into_owned();
                return Err(format!("no {wanted:?} in:\n{all}"));
            }
            let waited = self.heard.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// `find` with the usual limit; panics with the transcript.
    pub fn expect(&mut self, wanted: &str) -> String {
        self.find(wanted, PATIENCE)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits for the end of the stream and gives everything.
    pub fn to_end(&mut self) -> String {
        let end = Instant::now() + PATIENCE;
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !heard.ended && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let waited = self.heard.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        String::from_utf8_lossy(&heard.bytes).into_owned()
    }
}
