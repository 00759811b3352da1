//! Bounded waiting.

use std::time::{Duration, Instant};

/// Longest wait for something that should happen at once.
pub const SOON: Duration = Duration::from_secs(10);

/// Calls `probe` until it gives something or `limit` has passed.
pub fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
