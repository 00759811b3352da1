//! A process for a connection without a new program: a copy of this one, which shares its memory until one
//! of the two writes to it.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

use crate::signals;
use crate::spawn::Child;

/// What a child ends with whose work panicked.
const PANICKED: i32 = 101;

/// Runs `work` in a copy of this process that has the connection as standard input and output, standard
/// error as ours, nothing else open, and all signals as after login. The child ends with the number that
/// `work` gives; nothing of this process is run in it after that but what atexit(3) knows of.
///
/// What `work` finds of this process's descriptors in its memory is closed: it must not use them.
///
/// # Errors
/// The system's; [`ErrorKind::Unsupported`] if there is more than one thread, since only one would live on.
#[allow(unsafe_code)]
pub fn on_connection(connection: BorrowedFd<'_>, work: impl FnOnce() -> u8) -> io::Result<Child> {
    // For one thread this does nothing (unshare(2)), for more it fails.
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(ErrorKind::Unsupported.into());
    }
    // SAFETY: there is one thread, so no lock is held by another; both processes go on in safe code with a
    // copy each of all that is there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = match prepare(connection) {
                Ok(()) => catch_unwind(AssertUnwindSafe(work)).map_or(PANICKED, i32::from),
                Err(_) => PANICKED,
            };
            // No owner of a descriptor is dropped: their numbers are closed, or others' by now.
            std::process::exit(status)
        }
        number => {
            let pid = Pid::from_raw(number).ok_or(ErrorKind::NotFound)?;
            Ok(Child::of_fork(pid))
        }
    }
}

/// The child's descriptors and signals.
fn prepare(connection: BorrowedFd<'_>) -> io::Result<()> {
    // From 3 on, so that neither of the two below closes it.
    let copy = rustix::io::fcntl_dupfd_cloexec(connection.as_fd(), 3)?;
    rustix::stdio::dup2_stdin(&copy)?;
    rustix::stdio::dup2_stdout(&copy)?;
    std::mem::forget(copy);
    close_from_3()?;
    signals::reset()
}

/// Closes everything but standard input, output and error.
#[allow(unsafe_code)]
fn close_from_3() -> io::Result<()> {
    // The system call, since not all C libraries have a function for it.
    let (first, last, flags) = (3, libc::c_uint::MAX, 0);
    // SAFETY: takes numbers only; the process that this is called in uses none of those descriptors again
    // and drops no owner of one (see `on_connection`).
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::on_connection;
    use crate::spawn::ExitStatus;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// The harness has threads, so here it is refused; what it does is tested where it is used (keysrv).
    #[test]
    fn with_other_threads_there_is_no_copy() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        match on_connection(ours.as_fd(), || 7) {
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
            // With --test-threads=1 the harness has none.
            Ok(mut child) => {
                let limit = std::time::Duration::from_secs(20);
                let status = child.wait_blocking(limit).expect("waited");
                assert_eq!(status, Some(ExitStatus::Exited(7)));
            }
        }
    }
}
