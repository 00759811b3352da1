//! Asking somebody at a terminal, also for what must not be seen.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::termios::LocalModes;

/// Somebody to ask: where the questions go and where the answers come from. What is no terminal is
/// read octet by octet, so that what was not read is left to others.
pub struct Terminal {
    input: OwnedFd,
    output: OwnedFd,
    /// A line of a terminal, wiped as it is read.
    line: std::vec::IntoIter<u8>,
    /// The line ended without a line feed: somebody typed the character for the end of a file.
    ended: bool,
    /// The state of before echo was switched off.
    hidden: Option<Saved>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Terminal")
            .field("input", &self.input)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

/// What a terminal gives at once, at most: a line.
const LINE: usize = 4096;

impl Terminal {
    /// Standard input and output, whether a terminal or not.
    ///
    /// # Errors
    /// The system's: one of them is closed.
    pub fn standard() -> io::Result<Terminal> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Terminal::on(input, output))
    }

    /// The terminal that this session belongs to (`/dev/tty`), whatever the standard input is.
    ///
    /// # Errors
    /// The system's: there is none.
    pub fn controlling() -> io::Result<Terminal> {
        let file: File = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let output = OwnedFd::from(file.try_clone()?);
        Ok(Terminal::on(OwnedFd::from(file), output))
    }

    /// On descriptors of the caller's choice.
    #[must_use]
    pub fn on(input: OwnedFd, output: OwnedFd) -> Terminal {
        Terminal {
            input,
            output,
            line: Vec::new().into_iter(),
            ended: false,
            hidden: None,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match rustix::io::write(&self.output, text) {
                Ok(count) => text = text.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next octet; `None` at the end. A terminal has no end, but its character for it (^D) is one,
    /// also behind other octets in a line.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&mut self) -> io::Result<Option<u8>> {
        if let Some(octet) = self.take() {
            return Ok(Some(octet));
        }
        if std::mem::take(&mut self.ended) {
            return Ok(None);
        }
        let is_terminal = rustix::termios::isatty(&self.input);
        let mut line = vec![0; if is_terminal { LINE } else { 1 }];
        let count = loop {
            match rustix::io::read(&self.input, &mut line) {
                Ok(count) => break count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        line.truncate(count);
        self.ended = is_terminal && line.last().is_some_and(|&last| last != b'\n');
        self.line = line.into_iter();
        Ok(self.take())
    }

    /// The next octet of the line, which is forgotten with that.
    fn take(&mut self) -> Option<u8> {
        let place = self.line.as_mut_slice().first_mut()?;
        let octet = std::mem::take(place);
        // The compiler must not take the wiping for useless.
        std::hint::black_box(place);
        self.line.next();
        Some(octet)
    }

    /// Shows or hides what is typed; nothing happens if the input is no terminal. A signal that ends
    /// the process while it is hidden (SIGINT, SIGTERM, SIGHUP, SIGQUIT) puts the terminal back first.
    ///
    /// # Errors
    /// The system's.
    pub fn set_echo(&mut self, on: bool) -> io::Result<()> {
        if on {
            self.hidden = None;
        } else if self.hidden.is_none() && rustix::termios::isatty(&self.input) {
            self.hidden = Some(Saved::hide(self.input.as_fd())?);
        }
        Ok(())
    }
}

/// What a signal handler needs to put a terminal back.
struct Restore {
    descriptor: RawFd,
    state: libc::termios,
}

static PENDING: AtomicPtr<Restore> = AtomicPtr::new(std::ptr::null_mut());

const FATAL: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// A terminal whose echo is off; as before when dropped.
#[derive(Debug)]
struct Saved {
    /// In a box of its own: also the handler has its address.
    restore: *mut Restore,
    former: Vec<(libc::c_int, libc::sighandler_t)>,
}

// SAFETY: the box behind the pointer is not bound to a thread.
#[allow(unsafe_code)]
unsafe impl Send for Saved {}

impl Saved {
    #[allow(unsafe_code)]
    fn hide(terminal: BorrowedFd<'_>) -> io::Result<Saved> {
        let mut modes = rustix::termios::tcgetattr(terminal)?;
        let mut state = std::mem::MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: room for the state of a descriptor that is open.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), state.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call filled it in.
        let state = unsafe { state.assume_init() };
        let restore = Box::into_raw(Box::new(Restore {
            descriptor: terminal.as_raw_fd(),
            state,
        }));
        // First the way back, then the change.
        PENDING.store(restore, Ordering::SeqCst);
        let mut saved = Saved {
            restore,
            former: Vec::new(),
        };
        for signal in FATAL {
            let handler = put_back_and_die as extern "C" fn(libc::c_int);
            // SAFETY: the handler does only what is allowed in one.
            let former = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
            if former == libc::SIG_IGN {
                // SAFETY: no handler; who started us wants it ignored.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            } else if former != libc::SIG_ERR {
                saved.former.push((signal, former));
            }
        }
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL);
        // What was typed before the question is no answer to it, but may be one to the next.
        rustix::termios::tcsetattr(terminal, rustix::termios::OptionalActions::Drain, &modes)?;
        Ok(saved)
    }
}

impl Drop for Saved {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `hide`, freed nowhere else.
        let restore = unsafe { Box::from_raw(self.restore) };
        // SAFETY: the descriptor is open as long as the terminal that owns this value; the state is
        // one that the system gave us.
        unsafe {
            libc::tcsetattr(
                restore.descriptor,
                libc::TCSADRAIN,
                &raw const restore.state,
            )
        };
        PENDING.store(std::ptr::null_mut(), Ordering::SeqCst);
        for &(signal, former) in &self.former {
            // SAFETY: what the system said was there before.
            unsafe { libc::signal(signal, former) };
        }
    }
}

#[allow(unsafe_code)]
extern "C" fn put_back_and_die(signal: libc::c_int) {
    let restore = PENDING.load(Ordering::SeqCst);
    // SAFETY: null, or its owner has not begun to free it.
    if let Some(restore) = unsafe { restore.as_ref() } {
        // SAFETY: allowed in a handler; the state is one that the system gave us.
        unsafe { libc::tcsetattr(restore.descriptor, libc::TCSANOW, &raw const restore.state) };
    }
    // SAFETY: allowed in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: allowed in a handler; it is delivered when this one returns.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    /// The two ends of a new terminal: that of who types, and that of the program.
    fn pair() -> (File, OwnedFd) {
        let (mut master, mut slave) = (-1, -1);
        let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: room for two descriptors; the rest is not wanted.
        let result = unsafe { libc::openpty(&raw mut master, &raw mut slave, name, modes, size) };
        assert_eq!(result, 0);
        // SAFETY: a new descriptor that nobody else has.
        let master = unsafe { File::from_raw_fd(master) };
        // SAFETY: as above.
        (master, unsafe { OwnedFd::from_raw_fd(slave) })
    }

    fn echoes(terminal: &Terminal) -> bool {
        let modes = rustix::termios::tcgetattr(&terminal.input).expect("modes");
        modes.local_modes.contains(LocalModes::ECHO)
    }

    #[test]
    fn lines_of_a_terminal() {
        use std::io::Write;
        let (mut typist, slave) = pair();
        let output = slave.try_clone().expect("a copy");
        let mut terminal = Terminal::on(slave, output);
        let mut heard = |count: usize| -> Vec<Option<u8>> {
            (0..count).map(|_| terminal.read().expect("read")).collect()
        };
        typist.write_all(b"ab\ncd\x04e\n\x04").expect("typed");
        let some = |text: &[u8]| text.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(heard(3), some(b"ab\n"));
        assert_eq!(heard(2), some(b"cd"));
        assert_eq!(heard(1), [None]);
        assert_eq!(heard(2), some(b"e\n"));
        assert_eq!(heard(1), [None]);
    }

    #[test]
    fn what_is_typed_can_be_hidden() {
        let (_typist, slave) = pair();
        let output = slave.try_clone().expect("a copy");
        let mut terminal = Terminal::on(slave, output);
        assert!(echoes(&terminal));
        for _ in 0..2 {
            terminal.set_echo(false).expect("hidden");
            terminal.set_echo(false).expect("hidden already");
            assert!(!echoes(&terminal));
            terminal.set_echo(true).expect("shown");
            assert!(echoes(&terminal));
        }
    }

    #[test]
    fn who_is_killed_at_a_question_leaves_a_terminal_that_echoes() {
        let (_typist, slave) = pair();
        let output = slave.try_clone().expect("a copy");
        let mut terminal = Terminal::on(slave, output);
        // The handler ends its process, so a copy of ours has to go.
        // SAFETY: the copy calls what is allowed after fork only: tcsetattr, signal, raise.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let hidden = terminal.set_echo(false).is_ok() && !echoes(&terminal);
            if hidden {
                // SAFETY: always allowed.
                unsafe { libc::raise(libc::SIGTERM) };
            }
            // SAFETY: ends the copy without any of the test program's own doing.
            unsafe { libc::_exit(1) };
        }
        let mut status = 0;
        // SAFETY: a child of ours, and room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFSIGNALED(status), "{status}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGTERM);
        assert!(echoes(&terminal));
    }

    #[test]
    fn what_is_no_terminal_is_read_no_further_than_needed() {
        use std::io::{Read, Write};
        let (mut writer, reader) = std::os::unix::net::UnixStream::pair().expect("a pair");
        writer.write_all(b"ab").expect("written");
        let rest = reader.try_clone().expect("a copy");
        let output = OwnedFd::from(reader.try_clone().expect("a copy"));
        let mut terminal = Terminal::on(OwnedFd::from(reader), output);
        terminal.set_echo(false).expect("nothing to do");
        assert_eq!(terminal.read().expect("read"), Some(b'a'));
        let mut octet = [0];
        (&rest).read_exact(&mut octet).expect("left");
        assert_eq!(&octet, b"b");
        drop(writer);
        assert_eq!(terminal.read().expect("read"), None);
    }
}
