//! Going on in the background: whoever started the program gets its prompt back when the work can
//! begin, and the work goes on without a terminal.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};

/// Which of the two processes goes on.
#[derive(Debug)]
pub enum Side {
    /// The one that was started. It should end with the success that is told here: whether the other
    /// one has become ready.
    Started(bool),
    /// The one in the background. It has all that the first one had open.
    Background(Ready),
}

/// Tells the first process that it may end.
#[derive(Debug)]
pub struct Ready(UnixStream);

/// Splits the process in two. In the first one this returns when the second one is ready or has ended.
/// The second has a session of its own, `/` as its directory, and nothing on standard input and output;
/// standard error stays as it is.
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
    let (mut ours, theirs) = UnixStream::pair()?;
    // SAFETY: there is one thread, so no lock is held by another; both processes go on in safe
    // code with a copy each of all that is there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            rustix::process::setsid()?;
            let null =
                rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::process::chdir("/")?;
            Ok(Side::Background(Ready(theirs)))
        }
        _ => {
            drop(theirs);
            let mut word = [0];
            Ok(Side::Started(matches!(ours.read(&mut word), Ok(1))))
        }
    }
}

impl Ready {
    /// Lets the first process end.
    pub fn tell(mut self) {
        // It may be gone already; that is its business.
        let _ = self.0.write_all(&[1]);
    }
}
