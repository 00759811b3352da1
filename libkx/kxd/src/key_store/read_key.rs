//! Reading a key so that never a mixture of two goes out.
//!
//! Replacing the file (write another, rename) is safe by itself: all reading is from one open
//! descriptor. Writing in place is not: a reader may find the head of the new key and the tail of
//! the old. The kernel stamps a file at the start of each write, so a reading is good when size and
//! stamps are the same before and after it, and the stamps are not so fresh that a write may still
//! be under way or hide in the same tick of the clock. Otherwise the reading is repeated until the
//! file is at rest. (A writer that pauses longer than [`SETTLE_MILLISECONDS`] in the middle of its
//! work cannot be noticed by anybody; administrators should rename.)

use std::time::Duration;

use kx_crypto::secret::SecretBytes;
use kx_sys::dir::{File, Metadata, Stamp};

use super::{KEY_LIMIT, ReadReason, readable};

/// A file must not have changed for so long: several ticks of the clock (10 ms at most), and time
/// for a writer that was interrupted between stamp and data.
const SETTLE_MILLISECONDS: i64 = 50;
/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(20);
/// So many readings, then the request fails: two seconds.
const READINGS: u32 = 100;

pub(super) async fn read(file: &File) -> Result<SecretBytes, ReadReason> {
    for _ in 0..READINGS {
        if let Some(key) = read_once(file)? {
            return Ok(key);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ReadReason::Changing)
}

/// One reading; `None` if the file was, or may have been, written to during it.
fn read_once(file: &File) -> Result<Option<SecretBytes>, ReadReason> {
    let before = readable(file)?;
    if before.size > KEY_LIMIT {
        return Err(ReadReason::TooLarge);
    }
    let size = usize::try_from(before.size).map_err(|_| ReadReason::TooLarge)?;
    // Of the right size at once: growing would mean copies.
    let mut key = SecretBytes::zeroed(size);
    let count = file
        .read_at(key.as_mut_slice(), 0)
        .map_err(ReadReason::System)?;
    let after = file.metadata().map_err(ReadReason::System)?;
    let whole = count == size && unchanged(&before, &after) && at_rest(&after, &Stamp::now());
    Ok(whole.then_some(key))
}

fn unchanged(before: &Metadata, after: &Metadata) -> bool {
    (before.size, before.modified, before.changed) == (after.size, after.modified, after.changed)
}

/// A stamp of the future (the clock was set back) says nothing about a write under way now.
fn at_rest(file: &Metadata, now: &Stamp) -> bool {
    let fresh = |stamp: &Stamp| {
        now.milliseconds_since(stamp).unsigned_abs() < SETTLE_MILLISECONDS.unsigned_abs()
    };
    !fresh(&file.changed) && !fresh(&file.modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kx_sys::dir::Kind;

    fn at(milliseconds: i64) -> Stamp {
        Stamp {
            seconds: milliseconds.div_euclid(1000),
            nanoseconds: milliseconds.rem_euclid(1000) * 1_000_000,
        }
    }

    fn file(size: u64, modified: i64, changed: i64) -> Metadata {
        Metadata {
            kind: Kind::Regular,
            size,
            modified: at(modified),
            changed: at(changed),
            mode: 0o600,
            uid: 0,
            gid: 0,
            id: (1, 1),
            device: (0, 0),
        }
    }

    #[test]
    fn each_sign_of_a_write_counts() {
        let before = file(5, 1000, 1000);
        assert!(unchanged(&before, &file(5, 1000, 1000)));
        assert!(!unchanged(&before, &file(6, 1000, 1000)));
        assert!(!unchanged(&before, &file(5, 1001, 1000)));
        assert!(!unchanged(&before, &file(5, 1000, 1001)));
    }

    #[test]
    fn fresh_files_are_not_at_rest() {
        let now = at(1_000_000);
        assert!(at_rest(&file(5, 0, 0), &now));
        assert!(at_rest(&file(5, 999_950, 999_950), &now));
        assert!(!at_rest(&file(5, 999_951, 0), &now));
        assert!(
            !at_rest(&file(5, 0, 999_951), &now),
            "the time of the content may be set by anybody"
        );
        assert!(!at_rest(&file(5, 0, 1_000_010), &now));
        assert!(
            at_rest(&file(5, 0, 2_000_000), &now),
            "the clock was set back"
        );
    }
}
