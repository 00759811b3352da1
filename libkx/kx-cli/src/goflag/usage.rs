//! The help text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use kx_log::goquote::quote;

use super::duration::format_duration;
use super::{Flag, Kind};

/// `Usage of ARGV0:` and all flags in the order of their names.
pub(super) fn usage(argv0: &OsStr, flags: &[Flag]) -> Vec<u8> {
    let mut text = b"Usage of ".to_vec();
    text.extend_from_slice(argv0.as_bytes());
    text.extend_from_slice(b":\n");
    let mut flags: Vec<&Flag> = flags.iter().collect();
    flags.sort_by_key(|flag| flag.name);
    for flag in flags {
        text.extend_from_slice(describe(flag).as_bytes());
    }
    text
}

fn describe(flag: &Flag) -> String {
    let (value, usage) = value_name(flag);
    let mut line = format!("  -{}", flag.name);
    if !value.is_empty() {
        line.push(' ');
        line.push_str(value);
    }
    // A switch of one letter has its help on the same line.
    line.push_str(if line.len() <= 4 { "\t" } else { "\n    \t" });
    line.push_str(&usage.replace('\n', "\n    \t"));
    line.push_str(&default(flag.kind));
    line.push('\n');
    line
}

/// What the value is called, and the help text without the back quotes that may name it.
fn value_name(flag: &Flag) -> (&str, String) {
    let mut parts = flag.usage.splitn(3, '`');
    if let (Some(before), Some(name), Some(after)) = (parts.next(), parts.next(), parts.next()) {
        return (name, [before, name, after].concat());
    }
    let name = match flag.kind {
        Kind::String(_) => "string",
        Kind::Int(_) => "int",
        Kind::Bool(_) => "",
        Kind::Duration(_) => "duration",
    };
    (name, flag.usage.to_owned())
}

fn default(kind: Kind) -> String {
    match kind {
        Kind::String("") | Kind::Int(0) | Kind::Bool(false) | Kind::Duration(0) => String::new(),
        Kind::String(value) => format!(" (default {})", quote(value.as_bytes())),
        Kind::Int(value) => format!(" (default {value})"),
        Kind::Bool(value) => format!(" (default {value})"),
        Kind::Duration(value) => format!(" (default {})", format_duration(value)),
    }
}
