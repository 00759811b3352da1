//! A program in two processes: one that keeps its privileges and does little, and one that gives them up.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::descriptor_channel::DescriptorChannel;

/// How often an end is asked for that is not there yet.
const INTERVAL: Duration = Duration::from_millis(10);

/// Which of the two processes goes on.
#[derive(Debug)]
pub enum Side {
    /// The one that was started, known to whoever did it.
    Parent(Child),
    /// The new one, with the line to its parent.
    Child(DescriptorChannel),
}

/// The parent's end.
#[derive(Debug)]
pub struct Child {
    line: DescriptorChannel,
    pid: Pid,
}

/// Splits the process in two, each with a copy of all that is there.
///
/// # Errors
/// The system's; [`ErrorKind::Unsupported`] if there is more than one thread, since only one would
/// live on.
#[allow(unsafe_code)]
pub fn split() -> io::Result<Side> {
    // For one thread this does nothing (unshare(2)), for more it fails.
    // SAFETY: takes a number only.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(ErrorKind::Unsupported.into());
    }
    let (ours, theirs) = DescriptorChannel::pair()?;
    // SAFETY: there is one thread, so no lock is held by another; both processes go on in safe
    // code with a copy each of all that is there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            Ok(Side::Child(theirs))
        }
        pid => {
            drop(theirs);
            let pid = Pid::from_raw(pid).ok_or(ErrorKind::InvalidData)?;
            Ok(Side::Parent(Child { line: ours, pid }))
        }
    }
}

impl Child {
    /// The line to it.
    #[must_use]
    pub fn line(&self) -> &DescriptorChannel {
        &self.line
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends it a signal, by number. One that it cannot get any more is no error.
    pub fn signal(&self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Waits for its end. Some: it ended by itself, with this status.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(self) -> io::Result<Option<i32>> {
        // What it still writes has nobody who reads it.
        drop(self.line);
        Ok(status(self.pid, WaitOptions::empty())?.flatten())
    }

    /// The same, for a child that is to have ended: one that goes on after `patience` is killed.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_or_kill(self, patience: Duration) -> io::Result<Option<i32>> {
        drop(self.line);
        let end = Instant::now().checked_add(patience);
        loop {
            if let Some(ended) = status(self.pid, WaitOptions::NOHANG)? {
                return Ok(ended);
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                break;
            }
            std::thread::sleep(INTERVAL);
        }
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        Ok(status(self.pid, WaitOptions::empty())?.flatten())
    }
}

/// None: it has not ended. Some of some: it ended by itself, with this status.
fn status(pid: Pid, options: WaitOptions) -> io::Result<Option<Option<i32>>> {
    loop {
        match rustix::process::waitpid(Some(pid), options) {
            Ok(ended) => return Ok(ended.map(|(_, status)| status.exit_status())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

/// Stops this process until somebody continues it, for a debugger.
pub fn stop_here() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
}
