//! Log records (isakmpd.md 3): the engine says class, level and text, the program formats.

use std::collections::VecDeque;

/// Classes in the order of `-D class=level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// `Misc`
    Misc = 0,
    /// `Trpt`
    Transport = 1,
    /// `Mesg`
    Message = 2,
    /// `Cryp`
    Crypto = 3,
    /// `Timr`
    Timer = 4,
    /// `Sdep`
    SystemDependent = 5,
    /// `SA  `
    Sa = 6,
    /// `Exch`
    Exchange = 7,
    /// `Negt`
    Negotiation = 8,
    /// `Plcy`
    Policy = 9,
    /// `UI  `
    Ui = 10,
}

/// How many classes there are.
pub const CLASSES: usize = 11;

/// What kind of line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `Default TEXT`, priority NOTICE.
    Plain,
    /// The same, of an error: priority ERR.
    Error,
    /// A plain line that only `-v` or `Logverbose` wants.
    Verbose,
    /// Debugging of a class at a level (1-99).
    Debug(Class, u8),
}

/// One line to log. It never holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What kind of line.
    pub kind: Kind,
    /// The text, without a line end.
    pub text: String,
}

/// Lines that nobody fetched yet; the oldest go when there are too many.
#[derive(Debug, Default)]
pub struct Journal {
    levels: [u8; CLASSES],
    verbose: bool,
    records: VecDeque<Record>,
    lost: u64,
}

/// More than any one input causes.
const MOST_RECORDS: usize = 4096;

impl Journal {
    /// Which debugging lines are wanted at all; 0 is none.
    pub fn set_level(&mut self, class: Class, level: u8) {
        if let Some(slot) = self.levels.get_mut(class as usize) {
            *slot = level;
        }
    }

    /// Whether verbose lines are wanted.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    /// A plain line.
    pub fn plain(&mut self, text: impl Into<String>) {
        self.push(Kind::Plain, text.into());
    }

    /// A line about an error.
    pub fn error(&mut self, text: impl Into<String>) {
        self.push(Kind::Error, text.into());
    }

    /// A line for `-v`; the text is only made when it is wanted.
    pub fn verbose(&mut self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.push(Kind::Verbose, text());
        }
    }

    /// A debugging line; the text is only made when it is wanted.
    pub fn debug(&mut self, class: Class, level: u8, text: impl FnOnce() -> String) {
        if self.wants(class, level) {
            self.push(Kind::Debug(class, level), text());
        }
    }

    /// Whether [`debug`](Self::debug) would keep such a line.
    #[must_use]
    pub fn wants(&self, class: Class, level: u8) -> bool {
        let limit = self.level(class);
        limit != 0 && limit >= level
    }

    /// Up to which level debugging lines of a class are wanted.
    #[must_use]
    pub fn level(&self, class: Class) -> u8 {
        self.levels.get(class as usize).copied().unwrap_or(0)
    }

    /// The next line.
    pub fn pop(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// How many lines were dropped since the last call, because nobody fetched them.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn push(&mut self, kind: Kind, text: String) {
        if self.records.len() >= MOST_RECORDS {
            self.records.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.records.push_back(Record { kind, text });
    }
}
