//! Read leases (fcntl(2), `F_SETLEASE`): the one way to know that nobody has a file open for
//! writing, and to keep it so for the moment of reading.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `F_SETSIG` of fcntl(2), which the libc crate has for some architectures only.
const F_SETSIG: libc::c_int = 10;

/// A lease on a file open for reading. While it is held whoever opens the file for writing, or
/// truncates it, is made to wait; so hold it for the reading only. Dropping gives it up.
#[derive(Debug)]
pub struct ReadLease<'a>(BorrowedFd<'a>);

impl<'a> ReadLease<'a> {
    /// Takes the lease.
    ///
    /// # Errors
    /// The system's: `EAGAIN` if the file is open for writing; `EACCES` if this process is neither
    /// its owner nor has `CAP_LEASE`; `EINVAL` and others where the file system has no leases.
    pub fn take(file: BorrowedFd<'a>) -> io::Result<ReadLease<'a>> {
        // Who is made to wait has a signal sent to us: by default SIGIO, which kills. SIGURG does nothing
        // unless somebody asks for it.
        // SAFETY: the descriptor is open and the third argument is a number.
        check(unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) })?;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) })?;
        Ok(ReadLease(file))
    }
}

impl Drop for ReadLease<'_> {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open and the third argument is a number.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn a_lease_tells_of_writers_and_holds_them_off() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("f");
        let writer = std::fs::File::create(&path).expect("created");
        let reader = std::fs::File::open(&path).expect("opened");
        let refused = ReadLease::take(reader.as_fd());
        if let Err(error) = &refused {
            if error.raw_os_error() != Some(libc::EAGAIN) {
                eprintln!("no leases on this file system: {error}");
                return;
            }
        }
        refused.expect_err("there is a writer");
        drop(writer);
        let lease = ReadLease::take(reader.as_fd()).expect("nobody writes");
        let other = std::fs::File::open(&path).expect("readers are free");
        drop(ReadLease::take(other.as_fd()).expect("and may have leases, too"));
        std::thread::scope(|scope| {
            let start = Instant::now();
            let path = &path;
            let waiting = scope.spawn(move || {
                std::fs::write(path, "x").expect("written");
                start.elapsed()
            });
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(reader.metadata().expect("stat").len(), 0, "still waiting");
            drop(lease);
            let waited = waiting.join().expect("joined");
            assert!(waited >= Duration::from_millis(100), "{waited:?}");
        });
        // And the signal that came with it has killed nobody.
        ReadLease::take(reader.as_fd()).expect("as before");
    }
}
