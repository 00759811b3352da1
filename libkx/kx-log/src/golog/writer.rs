//! From a message to the octets of its line.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::backlog::Backlog;
use super::clock::Second;
use super::sink::Sink;
use super::{Line, Source};
use crate::errno::format_errno;
use crate::goquote::{escape_control, has_control};

/// A line buffer larger than this is not kept for the next line.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Where the line about lost lines claims to come from.
const LOST_SOURCE: Source = Source::new("log.go", 1);

pub(super) struct Writer {
    sink: Sink,
    second: Second,
    line: String,
    lost: u64,
    why: String,
}

impl Writer {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            second: Second::at(SystemTime::now()),
            line: String::with_capacity(256),
            lost: 0,
            why: String::new(),
        }
    }

    pub(super) fn line(&mut self, now: SystemTime, source: Source, text: fmt::Arguments<'_>) {
        if self.lost > 0 && !self.tell_of_lost(now) {
            return;
        }
        self.format(now, source, text);
        if let Err(error) = self.sink.write(&self.line) {
            self.count_lost(&error);
        }
        self.release();
    }

    pub(super) fn lines(&mut self, lines: &[Line]) {
        if !self.sink.takes_several() || self.lost > 0 {
            for line in lines {
                self.line(line.when, line.source, format_args!("{}", line.text));
            }
            return;
        }
        self.line.clear();
        for line in lines {
            let start = self.begin(line.when, line.source);
            self.line.push_str(&line.text);
            self.end(start);
        }
        if let Err(error) = self.sink.write(&self.line) {
            self.lost = self.lost.saturating_add(lines.len() as u64);
            self.why = format_errno(&error);
        }
        self.release();
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.sink.reopen()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn backlog(&self) -> Option<Arc<dyn Backlog>> {
        self.sink.backlog()
    }

    /// Whether the sink works again. If not, the line that was to follow is lost too.
    fn tell_of_lost(&mut self, now: SystemTime) -> bool {
        let why = std::mem::take(&mut self.why);
        let lost = self.lost;
        self.format(
            now,
            LOST_SOURCE,
            format_args!("{lost} log lines lost: {why}"),
        );
        match self.sink.write(&self.line) {
            Ok(()) => {
                self.lost = 0;
                true
            }
            Err(error) => {
                self.count_lost(&error);
                false
            }
        }
    }

    fn count_lost(&mut self, error: &io::Error) {
        self.lost = self.lost.saturating_add(1);
        self.why = format_errno(error);
    }

    fn format(&mut self, now: SystemTime, source: Source, text: fmt::Arguments<'_>) {
        self.line.clear();
        let start = self.begin(now, source);
        // Writing into a String fails only if a Display of the message does; then what there is must do.
        let _ = self.line.write_fmt(text);
        self.end(start);
    }

    /// Appends what stands before a message, and tells where that begins.
    fn begin(&mut self, now: SystemTime, source: Source) -> usize {
        let micros = self.second.advance(now);
        let line = &mut self.line;
        if matches!(self.sink, Sink::Syslog(_)) {
            line.push_str(self.second.syslog_header());
        }
        line.push_str(self.second.stamp());
        line.push('.');
        push_decimal(line, micros, 6);
        line.push(' ');
        line.push_str(source.file);
        line.push(':');
        push_decimal(line, source.line, 1);
        line.push_str(": ");
        line.len()
    }

    /// Makes the message that begins at `start` one line.
    fn end(&mut self, start: usize) {
        let line = &mut self.line;
        if line.len() > start && line.ends_with('\n') {
            line.pop();
        }
        let text = line.get(start..).unwrap_or_default();
        if has_control(text) {
            let escaped = escape_control(text.as_bytes()).into_owned();
            line.truncate(start);
            line.push_str(&escaped);
        }
        line.push('\n');
    }

    /// Gives back a buffer that one long line has made large.
    fn release(&mut self) {
        if self.line.capacity() > KEPT_CAPACITY {
            self.line = String::with_capacity(256);
        }
    }
}

/// Appends `number` with leading zeros up to `width` (10 at most). The formatter of `std` takes longer than all
/// else in a line.
fn push_decimal(text: &mut String, number: u32, width: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 && used >= width {
            break;
        }
    }
    let digits = digits.get(digits.len() - used..).unwrap_or_default();
    text.push_str(std::str::from_utf8(digits).unwrap_or("0"));
}

#[cfg(test)]
mod tests {
    use super::push_decimal;

    #[test]
    fn decimals() {
        for number in [0, 7, 10, 99, 123_456, 999_999, 1_000_000, u32::MAX] {
            for width in [1, 6] {
                let mut text = "x".to_owned();
                push_decimal(&mut text, number, width);
                assert_eq!(text, format!("x{number:0width$}"));
            }
        }
    }
}
