//! A second process of the same program that notices the end of the first.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitOptions};

/// What the first process says before it ends in good order.
const FAREWELL: u8 = 1;

/// Which of the two processes goes on.
#[derive(Debug)]
pub enum Side {
    /// The first one, known to whoever started it.
    First(Companion),
    /// The new one.
    Companion(Watch),
}

/// The first process's end.
#[derive(Debug)]
pub struct Companion {
    line: UnixStream,
    pid: Pid,
}

/// The companion's end.
#[derive(Debug)]
pub struct Watch {
    line: UnixStream,
}

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It said so before.
    Orderly,
    /// It was killed, or crashed.
    Sudden,
}

/// Starts the companion, which has all that this process has. `name` is its name in lists of
/// processes, 15 octets at most.
///
/// # Errors
/// The system's; [`ErrorKind::Unsupported`] if there is more than one thread, since only one would
/// live on in the companion.
#[allow(unsafe_code)]
pub fn start(name: &std::ffi::CStr) -> io::Result<Side> {
    // For one thread this does nothing (unshare(2)), for more it fails; /proc may be out of reach.
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(ErrorKind::Unsupported.into());
    }
    let (ours, theirs) = UnixStream::pair()?;
    // SAFETY: there is one thread, so no lock is held by another; both processes go on in safe
    // code with a copy each of all that is there.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            // Its name is all that depends on it.
            let _ = rustix::thread::set_name(name);
            Ok(Side::Companion(Watch { line: theirs }))
        }
        pid => {
            drop(theirs);
            let pid = Pid::from_raw(pid).ok_or(ErrorKind::InvalidData)?;
            Ok(Side::First(Companion { line: ours, pid }))
        }
    }
}

impl Companion {
    /// Says farewell, and waits a moment until the companion is gone: what both hold open is
    /// closed then.
    pub fn dismiss(mut self, patience: Duration) {
        let _ = self.line.write_all(&[FAREWELL]);
        // Nothing that a sandbox may have taken away.
        let timeout = Timespec::try_from(patience).ok();
        let mut gone = [PollFd::new(&self.line, PollFlags::IN)];
        let _ = rustix::event::poll(&mut gone, timeout.as_ref());
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
    }
}

impl AsFd for Companion {
    /// Readable when the companion is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl Watch {
    /// Waits for the end of the first process.
    #[must_use]
    pub fn wait(&mut self) -> Ending {
        let mut word = [0];
        loop {
            return match self.line.read(&mut word) {
                Ok(1..) if word == [FAREWELL] => Ending::Orderly,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => Ending::Sudden,
            };
        }
    }
}
