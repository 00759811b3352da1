//! Reading a key so that never a mixture of two goes out.
//!
//! Replacing the file (write another, rename) is safe by itself: all reading is from one open
//! descriptor. Writing in place is not: a reader may find the head of the new key and the tail of
//! the old. Two things guard against it.
//!
//! A read lease, where we may have one (root, the file's owner, or `CAP_LEASE`): the kernel grants
//! it only if nobody has the file open for writing, and holds writers off while we read.
//!
//! Else the stamps that the kernel puts on a file at the start of each write. A reading is good when
//! they were old enough as it began that no write can still be under way or hide in the same tick of
//! the clock, and when size and stamps are the same after it; of a file that changed within the last
//! second, two such readings in a row must be equal, since the writer may have been kept waiting. A
//! writer that pauses longer in the middle of its work cannot be noticed so: administrators should
//! rename.
//!
//! What is not good is read again until the file is at rest.
//!
//! Most keys have not changed for long. For those the stamps alone say what a lease would: a writer
//! that was already there has been idle so long that it counts as at rest in any case, and one that
//! comes now leaves its stamp before its first octet.

use std::io;
use std::time::Duration;

use kx_crypto::secret::SecretBytes;
use kx_sys::dir::{File, Metadata, Stamp};

use super::{KEY_LIMIT, ReadReason, Seen, readable};

/// A file must not have changed for so long: several ticks of the clock (10 ms at most), and time
/// for a writer that was interrupted between stamp and data.
const SETTLE_MILLISECONDS: u64 = 100;
/// An empty file is most likely one that was just truncated to be written anew; between the two the
/// writer may have to wait for the disk.
const SETTLE_EMPTY_MILLISECONDS: u64 = 2000;
/// A file that has not changed for so long need not be read twice.
const TRUSTED_MILLISECONDS: u64 = 1000;
/// A file that somebody has open for writing but has not written to for so long counts as at rest.
const IDLE_WRITER_MILLISECONDS: u64 = 3000;
/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(20);
/// So many readings, then the request fails: five seconds.
const READINGS: u32 = 250;

/// Reads the key that was looked up a moment ago, or what came in its place since.
pub(super) async fn read(file: &File, seen: &Seen) -> Result<SecretBytes, ReadReason> {
    if let Some(key) = read_as_seen(file, seen) {
        return Ok(key);
    }
    if let Some(key) = read_at_rest(file)? {
        return Ok(key);
    }
    let mut former: Option<Reading> = None;
    for _ in 0..READINGS {
        former = match read_once(file)? {
            Some(reading) => {
                let confirmed = former.is_some_and(|former| former.equals(&reading));
                if confirmed || reading.trusted {
                    return Ok(reading.key);
                }
                Some(reading)
            }
            None => None,
        };
        tokio::time::sleep(PAUSE).await;
    }
    Err(ReadReason::Changing)
}

/// The usual case: the key that was looked up, and nothing has happened to it from before that until
/// after it was read. `None` if not so; then it is looked at anew.
fn read_as_seen(file: &File, seen: &Seen) -> Option<SecretBytes> {
    if !is_long_at_rest(&seen.key, &seen.now) {
        return None;
    }
    let key = whole(file, &seen.key).ok()?;
    let after = file.metadata().ok()?;
    key.filter(|_| after.id == seen.key.id && unchanged(&seen.key, &after))
}

/// As that, for a file that came in its place; `None` if it changed lately, or while it was read.
fn read_at_rest(file: &File) -> Result<Option<SecretBytes>, ReadReason> {
    let now = Stamp::now();
    let before = readable(file)?;
    if !is_long_at_rest(&before, &now) {
        return Ok(None);
    }
    let key = whole(file, &before)?;
    let after = file.metadata().map_err(ReadReason::System)?;
    Ok(key.filter(|_| unchanged(&before, &after)))
}

/// All octets of the file; `None` if there are fewer than `metadata` says.
fn whole(file: &File, metadata: &Metadata) -> Result<Option<SecretBytes>, ReadReason> {
    if metadata.size > KEY_LIMIT {
        return Err(ReadReason::TooLarge);
    }
    let size = usize::try_from(metadata.size).map_err(|_| ReadReason::TooLarge)?;
    // Of the right size at once: growing would mean copies.
    let mut key = SecretBytes::zeroed(size);
    let count = file
        .read_at(key.as_mut_slice(), 0)
        .map_err(ReadReason::System)?;
    Ok((count == size).then_some(key))
}

/// A good reading.
struct Reading {
    key: SecretBytes,
    metadata: Metadata,
    /// Whether it is good enough without another one.
    trusted: bool,
}

impl Reading {
    fn equals(&self, other: &Reading) -> bool {
        unchanged(&self.metadata, &other.metadata) && self.key.ct_eq(other.key.as_slice())
    }
}

/// What a lease says about writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// There are none, and will be none until the lease is given up.
    None,
    /// Somebody has the file open for writing.
    Some,
    /// No leases to be had.
    Unknown,
}

/// `None` if the file was, or may have been, written to meanwhile.
fn read_once(file: &File) -> Result<Option<Reading>, ReadReason> {
    // First a look whether it can be read at all.
    readable(file)?;
    let lease = file.lease();
    let writers = match &lease {
        Ok(_) => Writers::None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Writers::Some,
        Err(_) => Writers::Unknown,
    };
    // Before the stamps are looked at: were this thread stopped, a write of just now would look old.
    let now = Stamp::now();
    let before = readable(file)?;
    let key = whole(file, &before)?;
    let after = file.metadata().map_err(ReadReason::System)?;
    drop(lease);
    // Under a lease the stamps may change nevertheless: by a rename, a link, a new mode.
    let same = writers == Writers::None || unchanged(&before, &after);
    let good = after.size == before.size && same;
    let trusted = match writers {
        Writers::None => true,
        Writers::Some => age(&before, &now) >= IDLE_WRITER_MILLISECONDS,
        Writers::Unknown => age(&before, &now) >= TRUSTED_MILLISECONDS,
    };
    let good = good && (trusted || (writers == Writers::Unknown && at_rest(&before, &now)));
    Ok(key.filter(|_| good).map(|key| Reading {
        key,
        metadata: before,
        trusted,
    }))
}

/// Whether nobody can be within a write to the file that began before `now`.
pub(super) fn is_long_at_rest(file: &Metadata, now: &Stamp) -> bool {
    age(file, now) >= IDLE_WRITER_MILLISECONDS
}

fn unchanged(before: &Metadata, after: &Metadata) -> bool {
    (before.size, before.modified, before.changed) == (after.size, after.modified, after.changed)
}

fn at_rest(file: &Metadata, now: &Stamp) -> bool {
    let settle = if file.size == 0 {
        SETTLE_EMPTY_MILLISECONDS
    } else {
        SETTLE_MILLISECONDS
    };
    age(file, now) >= settle
}

/// How long ago the file changed. A stamp far in the future (the clock was set back) says nothing
/// about a write under way now, and counts as one equally far in the past.
fn age(file: &Metadata, now: &Stamp) -> u64 {
    let since = |stamp: &Stamp| now.milliseconds_since(stamp).unsigned_abs();
    since(&file.changed).min(since(&file.modified))
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
        assert!(at_rest(&file(5, 999_900, 999_900), &now));
        assert!(!at_rest(&file(5, 999_901, 0), &now));
        assert!(
            !at_rest(&file(5, 0, 999_901), &now),
            "the time of the content may be set by anybody"
        );
        assert!(!at_rest(&file(5, 0, 1_000_010), &now));
        assert!(
            at_rest(&file(5, 0, 2_000_000), &now),
            "the clock was set back"
        );
    }
}
