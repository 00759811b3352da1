//! Log lines in the format of Go's `log` package: kxd's own log, and the line a Go program dies with.
//!
//! A line of kxd's log is `YYYY/MM/DD HH:MM:SS.uuuuuu FILE:LINE: TEXT\n` in local time (kxd spec 2.1). It leaves by one
//! system call. Control characters in TEXT are escaped (kxd spec D2), so a line is always one line.
//!
//! Nothing here ever fails towards the caller: lines that cannot be written are counted, and when writing works again
//! the line `N log lines lost: WHY` says so. A syslog daemon that hangs, or a pipe that nobody reads, delays nobody: lines
//! are kept then (1024 lines or 256 KiB at most) and written later in order, those beyond are lost.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use crate::errno::format_errno;
pub use memory::Memory;

mod backlog;
mod clock;
mod memory;
mod sink;
mod stream;
mod syslog;
mod writer;

use clock::Second;
use sink::Sink;
use writer::Writer;

/// Where the log goes: the meaning of kxd's `-logfile` (kxd spec 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Appended to this file; it is created with mode 0666 less the umask. When it is opened first, the reader of a FIFO
    /// is waited for; later its absence is an error.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// The system log: facility daemon, severity info, tag `kxd`, one datagram (or record of a stream) per line.
    ///
    /// Sockets tried, in Go's order: `/dev/log`, `/var/run/syslog`, `/var/run/log` as datagram sockets, then the same as
    /// streams.
    Syslog,
}

impl Target {
    /// The target a `-logfile` value names: empty is syslog, `-` is stdout.
    #[must_use]
    pub fn from_logfile(value: &OsStr) -> Self {
        match value.as_encoded_bytes() {
            b"" => Self::Syslog,
            b"-" => Self::Stdout,
            _ => Self::File(value.into()),
        }
    }
}

/// Why the log could not be opened; the text is kxd's (kxd spec 2.1).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file.
    #[error("Error opening log file {}: open {}: {}", path.display(), path.display(), format_errno(source))]
    File {
        /// As given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// None of the sockets took a connection.
    #[error("Error opening syslog: Unix syslog delivery error")]
    Syslog,
    /// Standard output cannot be used.
    #[error("Error opening log file -: {}", format_errno(source))]
    Stdout {
        /// What the operating system said.
        source: io::Error,
    },
}

/// The source position a line names: the reference's file, any line number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// `kxd.go`, `hook.go`, `email.go` or `server.go`.
    pub file: &'static str,
    /// Line number.
    pub line: u32,
}

impl Source {
    /// A position.
    #[must_use]
    pub const fn new(file: &'static str, line: u32) -> Self {
        Self { file, line }
    }
}

/// A line that was decided on and not written yet, for [`GoLog::lines`].
#[derive(Debug, Clone)]
pub struct Line {
    when: SystemTime,
    source: Source,
    text: String,
}

impl Line {
    /// A line of now.
    #[must_use]
    pub fn new(source: Source, text: String) -> Self {
        Self {
            when: SystemTime::now(),
            source,
            text,
        }
    }
}

/// A log. Clones are cheap and write to the same place; it may be used from any thread.
#[derive(Clone)]
pub struct GoLog(Arc<Mutex<Writer>>);

impl fmt::Debug for GoLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoLog").finish_non_exhaustive()
    }
}

impl GoLog {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// [`OpenError`], whose text is what kxd prints through [`stderr_line`] before it exits with 1.
    pub fn open(target: &Target) -> Result<Self, OpenError> {
        Ok(Self::over(Sink::open(target)?))
    }

    /// A log kept in memory, for tests.
    #[must_use]
    pub fn memory() -> (Self, Memory) {
        let memory = Memory::default();
        (Self::over(Sink::Memory(memory.clone())), memory)
    }

    fn over(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(Writer::new(sink))))
    }

    /// Writes one line. One LF at the end of `text` is dropped, other control characters are escaped.
    ///
    /// `text` is formatted while the log is locked: its parts must not log.
    pub fn line(&self, source: Source, text: fmt::Arguments<'_>) {
        self.lock().line(SystemTime::now(), source, text);
    }

    /// [`line`](Self::line) for a panic handler: if the log is in use, perhaps by the very thread that
    /// panicked, nothing is written.
    pub fn line_unless_busy(&self, source: Source, text: fmt::Arguments<'_>) {
        if let Ok(mut writer) = self.0.try_lock() {
            writer.line(SystemTime::now(), source, text);
        }
    }

    /// Writes several lines, each with its own time, in one system call where the target allows (syslog
    /// takes one message at a time). What they say and how they look is as with [`line`](Self::line).
    pub fn lines(&self, lines: &[Line]) {
        if !lines.is_empty() {
            self.lock().lines(lines);
        }
    }

    /// Opens the target anew, for log rotation. Standard output and memory stay as they are.
    ///
    /// # Errors
    ///
    /// The operating system's; the log then goes on as before.
    pub fn reopen(&self) -> io::Result<()> {
        self.lock().reopen()
    }

    /// Lines lost so far and not yet told of in the log.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lock().lost()
    }

    /// Waits until syslog, or who reads our pipe, has taken the lines it is owed, `limit` at most. Call it before the
    /// process ends.
    ///
    /// Whether nothing is owed any more. A file on a disk never owes anything.
    pub fn flush(&self, limit: Duration) -> bool {
        let waiting = self.lock().backlog();
        waiting.is_none_or(|backlog| backlog.wait(limit))
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic while formatting leaves at worst a half line in the buffer, which the next line clears.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints `YYYY/MM/DD HH:MM:SS TEXT\n` on stderr as Go's default logger does. A closed stderr is no error.
///
/// TEXT is printed as it is; LF is added unless it ends with one.
pub fn stderr_line(text: fmt::Arguments<'_>) {
    stderr_octets(fmt::format(text).as_bytes());
}

/// As [`stderr_line`], for text that need not be UTF-8.
pub fn stderr_octets(text: &[u8]) {
    // Nobody is left to be told.
    let _ = io::stderr().write_all(&default_line(SystemTime::now(), text));
}

fn default_line(now: SystemTime, text: &[u8]) -> Vec<u8> {
    let mut line = Second::at(now).stamp().as_bytes().to_vec();
    line.push(b' ');
    line.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        line.push(b'\n');
    }
    line
}

#[cfg(test)]
mod tests;
