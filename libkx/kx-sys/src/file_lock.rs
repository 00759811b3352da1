//! A lock that one process at a time can hold, as long as it lives.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The lock, held. A process made by `fork` holds it too.
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code)] OwnedFd);

impl FileLock {
    /// Takes the lock whose file is `path`; makes the file if need be, and leaves it there: who removed
    /// it could let two processes lock two files of one name. `None`: another process has the lock.
    ///
    /// # Errors
    /// The system's; `ELOOP` for a symbolic link.
    pub fn take(path: &Path) -> io::Result<Option<FileLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FileLock(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("f.lock");
        let first = FileLock::take(&path).expect("taken");
        assert!(first.is_some());
        assert!(FileLock::take(&path).expect("asked").is_none());
        drop(first);
        // A child that another test is just starting has the descriptor, too, until its exec.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while FileLock::take(&path).expect("asked").is_none() {
            assert!(std::time::Instant::now() < end, "still locked");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        let error = FileLock::take(&link).expect_err("a link");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
