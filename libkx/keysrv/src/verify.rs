//! `verify`: shows what a set-top box must show too, and lets countersigner give out its blind if somebody accepts
//! (keysrv spec 15).

use std::ffi::OsString;
use std::fmt::Write as _;

use kx_cli::plan9::Args;

use crate::enrolment::{self, COUNTERSIGNED, SIGNED};
use crate::program::{Environment, Exit};
use crate::prompt::{self, Echo};

/// The words that octets are read out as.
const SPELLING: &str = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike \
                        nancy oscar papa quebec romeo sierra tango uniform victor whisky xray yankee zulu";

/// Octets of an answer.
const ANSWER: usize = 5;

/// Asks about the box that is named.
pub fn run(env: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut args = Args::new(words);
    let option = args.option();
    let operands = args.operands();
    let (None, Some(name)) = (option, operands.first()) else {
        return env.usage("usage: verify boxid");
    };
    // The original calls itself so.
    "signer".clone_into(&mut env.name);
    match judge(env, &name.to_string_lossy()) {
        Ok(exit) => exit,
        Err(text) => env.fail(text),
    }
}

fn judge(env: &mut Environment, name: &str) -> Result<Exit, String> {
    let from = enrolment::file(env, SIGNED, name)?;
    let to = enrolment::file(env, COUNTERSIGNED, name)?;
    let [blind, sum] = enrolment::load(&from).map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::InvalidData => "read",
            _ => "open",
        };
        let error = kx_log::format_errno(&error);
        format!("can't {what} {SIGNED}/{name}: {error}")
    })?;
    let question = format!("{}\naccept (y or n)? ", spelled(&sum));
    let system = |error: std::io::Error| kx_log::format_errno(&error);
    let answer = prompt::line(&mut *env.console, &question, Echo::Shown, ANSWER).map_err(system)?;
    let accepted = answer.is_some_and(|answer| answer.as_slice().first() == Some(&b'y'));
    if !accepted {
        env.print("\nrejected\n").map_err(system)?;
        return Ok(Exit::Error);
    }
    enrolment::store(&to, &[&blind]).map_err(|error| {
        let error = kx_log::format_errno(&error);
        format!("can't create {COUNTERSIGNED}/{name}: {error}")
    })?;
    // The original says so before it has tried.
    env.print("\naccepted\n").map_err(system)?;
    Ok(Exit::Success)
}

/// A line for each octet: a word for its upper half, and one for the whole modulo 26, which was meant to be its
/// lower half. Boxes show the same.
fn spelled(octets: &[u8]) -> String {
    let words: Vec<&str> = SPELLING.split(' ').collect();
    let word = |value: u8| words.iter().cycle().nth(value.into()).copied();
    let mut text = String::new();
    for (octet, number) in octets.iter().zip((0_usize..).step_by(2)) {
        let (first, second) = (word(octet >> 4), word(*octet));
        let _ = writeln!(
            text,
            "{number}: {}\t{}: {}",
            first.unwrap_or_default(),
            number + 1,
            second.unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn octets_are_spelled() {
        let text = spelled(&[0x00, 0xff, 0x1a, 0x19]);
        let wanted =
            "0: alpha\t1: alpha\n2: papa\t3: victor\n4: bravo\t5: alpha\n6: bravo\t7: zulu\n";
        assert_eq!(text, wanted);
    }
}
