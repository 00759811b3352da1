//! Signals as something to poll.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals that do not interrupt anything any more but wait in a descriptor (signalfd(2)).
#[derive(Debug)]
pub struct Signals(OwnedFd);

/// The numbers that the programs use; others by their number.
pub mod number {
    /// Interrupt from the terminal.
    pub const INTERRUPT: i32 = libc::SIGINT;
    /// Please end.
    pub const TERMINATE: i32 = libc::SIGTERM;
    /// For the program's use.
    pub const USER1: i32 = libc::SIGUSR1;
    /// For the program's use, too.
    pub const USER2: i32 = libc::SIGUSR2;
    /// A child has ended.
    pub const CHILD: i32 = libc::SIGCHLD;
    /// The end, which nobody can put off.
    pub const KILL: i32 = libc::SIGKILL;
    /// Go on after a stop.
    pub const CONTINUE: i32 = libc::SIGCONT;
    /// The terminal is gone.
    pub const HANG_UP: i32 = libc::SIGHUP;
}

impl Signals {
    /// Blocks the signals for this thread, and for threads and programs started later, and
    /// collects them.
    ///
    /// # Errors
    /// The system's, or a number that is no signal.
    #[allow(unsafe_code)]
    pub fn collect(numbers: &[i32]) -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set that it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for &number in numbers {
            // SAFETY: the set has been initialised above; a wrong number is refused.
            if unsafe { libc::sigaddset(set.as_mut_ptr(), number) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the set is initialised; the old one is not wanted.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let descriptor =
            unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has.
        Ok(Signals(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The number of the next signal that has come; `None` if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut information = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut information) {
            Ok(count) if count == information.len() => {
                let number = information.first_chunk().copied().unwrap_or_default();
                Ok(i32::try_from(u32::from_ne_bytes(number)).ok())
            }
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Blocks no signal any more: for a copy of a process that collected them.
///
/// # Errors
/// The system's.
#[allow(unsafe_code)]
pub fn reset() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised; the old one is not wanted.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(())
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn signals_wait_in_order_of_number() {
        let signals = Signals::collect(&[libc::SIGUSR2, libc::SIGURG]).expect("collected");
        assert_eq!(signals.next().expect("read"), None);
        for number in [libc::SIGURG, libc::SIGUSR2] {
            // SAFETY: always succeeds.
            let thread = unsafe { libc::pthread_self() };
            // SAFETY: the calling thread exists, and the signal is blocked in it.
            unsafe { libc::pthread_kill(thread, number) };
        }
        assert_eq!(signals.next().expect("read"), Some(libc::SIGUSR2));
        assert_eq!(signals.next().expect("read"), Some(libc::SIGURG));
        assert_eq!(signals.next().expect("read"), None);
        assert!(Signals::collect(&[4711]).is_err());
    }
}
