//! What the daemon says: lines on standard output by level, the last words on standard error.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Always said.
pub const ALWAYS: u8 = 0;
/// `-v`.
pub const DEFAULT: u8 = 1;
/// `-vv`.
pub const DEBUG: u8 = 2;
/// `-vvv`: a line per packet.
pub const NOISY: u8 = 3;

/// Lines per second that peers can make us write before the rest is only counted.
const LINES_PER_SECOND: u32 = 50;

/// Where the lines go. Every line is written at once, so that a script that waits for one finds it.
#[derive(Debug)]
pub struct Log {
    name: String,
    verbosity: u8,
    second: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Log {
    /// For a program called as `argv0`.
    #[must_use]
    pub fn new(argv0: &OsStr, verbosity: u8) -> Log {
        let name = Path::new(argv0).file_name().unwrap_or(argv0);
        Log {
            name: name.to_string_lossy().into_owned(),
            verbosity,
            second: None,
            lines: 0,
            left_out: 0,
        }
    }

    /// True if lines of this level are written.
    #[must_use]
    pub fn shows(&self, level: u8) -> bool {
        self.verbosity >= level
    }

    /// A line of our own.
    pub fn say(&self, level: u8, line: impl std::fmt::Display) {
        if self.shows(level) {
            print(format_args!("{line}\n"));
        }
    }

    /// The beginning of a line, or its end.
    pub fn say_part(&self, part: impl std::fmt::Display) {
        print(format_args!("{part}"));
    }

    /// A line that a peer can cause. Without `-v` only some of them are written per second.
    pub fn event(&mut self, now: Instant, level: u8, line: impl std::fmt::Display) {
        if !self.shows(level) {
            return;
        }
        let second = *self.second.get_or_insert(now);
        if now.saturating_duration_since(second) >= Duration::from_secs(1) {
            if self.left_out > 0 {
                print(format_args!("({} lines left out)\n", self.left_out));
            }
            self.second = Some(now);
            (self.lines, self.left_out) = (0, 0);
        }
        self.lines = self.lines.saturating_add(1);
        if self.verbosity > 0 || self.lines <= LINES_PER_SECOND {
            print(format_args!("{line}\n"));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// A line on standard error, with the program's name.
    pub fn complain(&self, text: impl std::fmt::Display) {
        // Nobody is left to be told of a closed descriptor.
        let _ = writeln!(io::stderr(), "{}: {text}", self.name);
    }

    /// The state of the daemon, which the original shows as its descriptors, control socket first.
    pub fn dump(&self, descriptors: &[i32], more: impl std::fmt::Display) {
        print(format_args!("==== DUMPING STATE ====\n"));
        for descriptor in descriptors {
            print(format_args!("FD {descriptor} state 1\n"));
        }
        if self.shows(DEFAULT) {
            print(format_args!("{more}"));
        }
        print(format_args!("=======================\n"));
    }
}

/// Writes and flushes. A closed standard output is no reason to stop.
fn print(text: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// The system's text for an error, as strerror(3) gives it.
#[must_use]
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text
            .strip_suffix(&format!(" (os error {number})"))
            .unwrap_or(&text)
            .to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_in_c() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(system_text(&error), "No such file or directory");
        assert_eq!(system_text(&io::Error::other("own")), "own");
    }

    #[test]
    fn the_name_is_the_last_part() {
        assert_eq!(
            Log::new(OsStr::new("/usr/sbin/tcpcryptd"), 0).name,
            "tcpcryptd"
        );
        assert_eq!(Log::new(OsStr::new("x"), 0).name, "x");
    }
}
