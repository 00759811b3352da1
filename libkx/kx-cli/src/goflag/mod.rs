//! Command lines as Go's `flag` package reads them (kxd spec 1).
//!
//! A program's flags are a table; words are octets and need not be UTF-8.
//!
//! ```
//! use std::ffi::OsStr;
//! use kx_cli::goflag::{self, Flag, Kind};
//!
//! const FLAGS: [Flag; 2] = [
//!     Flag { name: "port", kind: Kind::Int(19840), usage: "Port to listen on" },
//!     Flag { name: "version", kind: Kind::Bool(false), usage: "Print version and exit" },
//! ];
//! let words = ["--port=0x10", "-version", "left", "-over"].map(Into::into);
//! let parsed = goflag::parse(OsStr::new("kxd"), &FLAGS, words.into_iter()).unwrap();
//! assert_eq!(parsed.int("port"), 16);
//! assert!(parsed.bool("version"));
//! assert_eq!(parsed.rest(), ["left", "-over"]);
//!
//! let stop = goflag::parse(OsStr::new("kxd"), &FLAGS, ["-port".into()].into_iter()).unwrap_err();
//! assert_eq!(stop.code, 2);
//! assert!(stop.stderr.starts_with(b"flag needs an argument: -port\nUsage of kxd:\n  -port int\n"));
//! ```

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use kx_log::goquote::quote;

mod duration;
mod integer;
mod usage;

pub use duration::{format_duration, parse_duration};
pub use integer::parse_int;

/// A flag's type and default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any octets.
    String(&'static str),
    /// A 64 bit integer, in any of Go's notations (see [`parse_int`]).
    Int(i64),
    /// A switch: `-name` or `-name=BOOLEAN`.
    Bool(bool),
    /// Nanoseconds, in Go's notation (see [`parse_duration`]).
    Duration(i64),
}

/// One row of a program's flag table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// Type and default.
    pub kind: Kind,
    /// Help text. A word in back quotes names the value in place of the type.
    pub usage: &'static str,
}

/// Why a value is not one of its flag's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not in the notation.
    #[error("parse error")]
    Syntax,
    /// An integer of more than 64 bits.
    #[error("value out of range")]
    Range,
}

/// The program must end now: help was asked for, or the command line is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Exit code: 0 for help, 2 for an error.
    pub code: i32,
    /// What to print on stderr: the error's line, if it is one, and the usage.
    pub stderr: Vec<u8>,
}

impl Stop {
    /// Prints the text and gives the exit code. A closed stderr is no error.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Nobody is left to be told.
        let _ = io::stderr().write_all(&self.stderr);
        ExitCode::from(u8::try_from(self.code).unwrap_or(2))
    }
}

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    values: Vec<Slot>,
    rest: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    name: &'static str,
    value: Value,
    is_set: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    String(OsString),
    Int(i64),
    Bool(bool),
    Duration(i64),
}

impl Parsed {
    /// Value of a string flag.
    ///
    /// This and its sisters take a name from the table. For another name, or another type, they give the empty
    /// value; debug builds panic.
    #[must_use]
    pub fn string(&self, name: &str) -> &OsStr {
        match self.value(name) {
            Some(Value::String(value)) => value,
            other => misuse(name, other, OsStr::new("")),
        }
    }

    /// Value of an integer flag.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Int(value)) => *value,
            other => misuse(name, other, 0),
        }
    }

    /// Value of a boolean flag.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Bool(value)) => *value,
            other => misuse(name, other, false),
        }
    }

    /// Value of a duration flag, in nanoseconds.
    #[must_use]
    pub fn duration(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Duration(value)) => *value,
            other => misuse(name, other, 0),
        }
    }

    /// Whether the flag was given, be it with its default.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.slot(name).is_some_and(|slot| slot.is_set)
    }

    /// The words after the flags.
    #[must_use]
    pub fn rest(&self) -> &[OsString] {
        &self.rest
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        self.values.iter().find(|slot| slot.name == name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.slot(name).map(|slot| &slot.value)
    }
}

fn misuse<T>(name: &str, value: Option<&Value>, empty: T) -> T {
    debug_assert!(
        false,
        "flag {name} asked for as another type than {value:?}"
    );
    empty
}

/// Reads the words of a command line, the program's name not among them.
///
/// Later values win. The first word that is no flag, and all after it, are [`Parsed::rest`]; `--` is dropped.
///
/// # Errors
///
/// [`Stop`] for help (`-h`, `-help`, unless the table has such a flag) and for the first error.
pub fn parse(
    argv0: &OsStr,
    flags: &[Flag],
    args: impl Iterator<Item = OsString>,
) -> Result<Parsed, Stop> {
    let slots = flags.iter().map(|flag| Slot {
        name: flag.name,
        value: flag.kind.default(),
        is_set: false,
    });
    let mut parsed = Parsed {
        values: slots.collect(),
        rest: Vec::new(),
    };
    let mut args = args.map(OsString::into_vec);
    match parse_flags(&mut parsed.values, &mut args) {
        Ok(first) => {
            let rest = first.into_iter().chain(args);
            parsed.rest = rest.map(OsString::from_vec).collect();
            Ok(parsed)
        }
        Err(End::Help) => Err(Stop {
            code: 0,
            stderr: usage::usage(argv0, flags),
        }),
        Err(End::Error(mut stderr)) => {
            stderr.push(b'\n');
            stderr.extend_from_slice(&usage::usage(argv0, flags));
            Err(Stop { code: 2, stderr })
        }
    }
}

/// The end for a value that is of its flag's type but means nothing to the program, in the words of
/// a parse error.
#[must_use]
pub fn reject(argv0: &OsStr, flags: &[Flag], name: &str, value: &[u8], why: &str) -> Stop {
    let line = format!("invalid value {} for flag -{name}: {why}\n", quote(value));
    let mut stderr = line.into_bytes();
    stderr.extend_from_slice(&usage::usage(argv0, flags));
    Stop { code: 2, stderr }
}

enum End {
    Help,
    Error(Vec<u8>),
}

impl End {
    fn error(parts: &[&[u8]]) -> Self {
        Self::Error(parts.concat())
    }
}

/// Reads flags until the first other word, which it returns.
fn parse_flags(
    slots: &mut [Slot],
    args: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<Option<Vec<u8>>, End> {
    while let Some(word) = args.next() {
        let body = match word.as_slice() {
            b"--" => return Ok(None),
            [b'-', b'-', body @ ..] | [b'-', body @ ..] if !body.is_empty() => body,
            _ => return Ok(Some(word)),
        };
        if matches!(body.first(), Some(b'-' | b'=')) {
            return Err(End::error(&[b"bad flag syntax: ", &word]));
        }
        let mut parts = body.splitn(2, |&octet| octet == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next();
        let slot = slots.iter_mut().find(|slot| slot.name.as_bytes() == name);
        let Some(slot) = slot else {
            return Err(match name {
                b"h" | b"help" => End::Help,
                _ => End::error(&[b"flag provided but not defined: -", name]),
            });
        };
        slot.is_set = true;
        if let Value::Bool(current) = &mut slot.value {
            *current = match value {
                None => true,
                Some(value) => parse_bool(value).map_err(|error| {
                    let value = quote(value);
                    let text = format!("invalid boolean value {value} for -{}: {error}", slot.name);
                    End::Error(text.into_bytes())
                })?,
            };
            continue;
        }
        let value = match value {
            Some(value) => value.to_vec(),
            None => args
                .next()
                .ok_or_else(|| End::error(&[b"flag needs an argument: -", name]))?,
        };
        slot.value.set(&value).map_err(|error| {
            let value = quote(&value);
            let text = format!("invalid value {value} for flag -{}: {error}", slot.name);
            End::Error(text.into_bytes())
        })?;
    }
    Ok(None)
}

impl Kind {
    fn default(self) -> Value {
        match self {
            Self::String(value) => Value::String(value.into()),
            Self::Int(value) => Value::Int(value),
            Self::Bool(value) => Value::Bool(value),
            Self::Duration(value) => Value::Duration(value),
        }
    }
}

impl Value {
    fn set(&mut self, text: &[u8]) -> Result<(), ValueError> {
        match self {
            Self::String(value) => *value = OsStr::from_bytes(text).to_owned(),
            Self::Int(value) => *value = parse_int(text)?,
            Self::Bool(value) => *value = parse_bool(text)?,
            Self::Duration(value) => *value = parse_duration(text)?,
        }
        Ok(())
    }
}

/// Go's booleans.
fn parse_bool(text: &[u8]) -> Result<bool, ValueError> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => Err(ValueError::Syntax),
    }
}

#[cfg(test)]
mod tests;
