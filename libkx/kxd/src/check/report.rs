//! Problems found, and how they are written.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kx_log::goquote::escape_control;

/// Problems that are shown; a broken data directory can have any number.
const MAX_SHOWN: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<String>,
    errors: usize,
    warnings: usize,
}

/// Where a problem is: a file or a flag, and a line if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    name: &'a [u8],
    line: Option<usize>,
}

impl<'a> From<&'a Path> for Place<'a> {
    fn from(path: &'a Path) -> Self {
        Place {
            name: path.as_os_str().as_bytes(),
            line: None,
        }
    }
}

impl<'a> From<(&'a Path, usize)> for Place<'a> {
    fn from((path, line): (&'a Path, usize)) -> Self {
        Place {
            line: Some(line),
            ..path.into()
        }
    }
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(flag: &'a str) -> Self {
        Place {
            name: flag.as_bytes(),
            line: None,
        }
    }
}

impl Report {
    pub(super) fn error<'a>(
        &mut self,
        place: impl Into<Place<'a>>,
        problem: impl Display,
        advice: impl Display,
    ) {
        self.errors += 1;
        self.add(place.into(), "error", &format!("{problem}: {advice}"));
    }

    pub(super) fn warning<'a>(
        &mut self,
        place: impl Into<Place<'a>>,
        problem: impl Display,
        advice: impl Display,
    ) {
        self.warnings += 1;
        self.add(place.into(), "warning", &format!("{problem}: {advice}"));
    }

    fn add(&mut self, place: Place<'_>, severity: &str, text: &str) {
        if self.lines.len() >= MAX_SHOWN {
            return;
        }
        let name = escape_control(place.name);
        let line = place.line.map(|n| format!("{n}:")).unwrap_or_default();
        let text = escape_control(text.as_bytes());
        self.lines.push(format!("{name}:{line} {severity}: {text}"));
    }

    /// Writes all lines and the summary; true if there is no error.
    pub(super) fn write(&self, out: &mut dyn Write, keys: usize) -> io::Result<bool> {
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        let unshown = (self.errors + self.warnings).saturating_sub(self.lines.len());
        if unshown > 0 {
            writeln!(out, "{unshown} more problems are not shown")?;
        }
        writeln!(
            out,
            "{} checked, {}, {}",
            count(keys, "key"),
            count(self.errors, "error"),
            count(self.warnings, "warning")
        )?;
        out.flush()?;
        Ok(self.errors == 0)
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}
