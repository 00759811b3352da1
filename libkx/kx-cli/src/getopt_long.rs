//! The GNU C library's getopt_long(3): as [`getopt`](crate::getopt), and words with two hyphens, which may be
//! shortened as long as only one option is meant.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::getopt;

/// An option with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongOption {
    /// Its name without the hyphens.
    pub name: &'static str,
    /// Whether it takes an argument.
    pub argument: bool,
    /// What it stands for: the octet of a letter if there is one, else any larger number.
    pub value: u32,
}

/// One option as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// [`LongOption::value`], or the octet of a letter.
    pub value: u32,
    /// Its argument, if it takes one.
    pub argument: Option<OsString>,
}

/// What the library complains about. `Display` is the line without the program's name and line feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GetoptLongError {
    /// Of a letter.
    #[error(transparent)]
    Letter(#[from] getopt::GetoptError),
    /// A name that is none.
    #[error("unrecognized option '--{}'", .0.to_string_lossy())]
    Unrecognized(OsString),
    /// A beginning of several names.
    #[error("option '--{}' is ambiguous; possibilities:{}", .0.to_string_lossy(), listed(.1))]
    Ambiguous(OsString, Vec<&'static str>),
    /// `--name=argument` of an option that takes none.
    #[error("option '--{0}' doesn't allow an argument")]
    NoArgument(&'static str),
    /// The last word ends where the argument should stand.
    #[error("option '--{0}' requires an argument")]
    MissingArgument(&'static str),
}

fn listed(names: &[&'static str]) -> String {
    names.iter().map(|name| format!(" '--{name}'")).collect()
}

impl GetoptLongError {
    /// The line as the library writes it, octet for octet, line feed included. `argv0` is the
    /// program's name as it was called.
    #[must_use]
    pub fn line(&self, argv0: &OsStr) -> Vec<u8> {
        let mut line = argv0.as_bytes().to_vec();
        line.extend_from_slice(b": ");
        match self {
            GetoptLongError::Letter(error) => return error.line(argv0),
            GetoptLongError::Unrecognized(name) => {
                line.extend_from_slice(b"unrecognized option '--");
                line.extend_from_slice(name.as_bytes());
                line.push(b'\'');
            }
            GetoptLongError::Ambiguous(name, names) => {
                line.extend_from_slice(b"option '--");
                line.extend_from_slice(name.as_bytes());
                line.extend_from_slice(b"' is ambiguous; possibilities:");
                line.extend_from_slice(listed(names).as_bytes());
            }
            other => line.extend_from_slice(other.to_string().as_bytes()),
        }
        line.push(b'\n');
        line
    }
}

/// What a run over the arguments found: the options in their order, and the words that are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// Options and complaints, in their order.
    pub found: Vec<Result<Found, GetoptLongError>>,
    /// The operands.
    pub operands: Vec<OsString>,
}

/// Finds the options in `words` (without the program's name). `letters` is the string that getopt(3) takes.
/// With `first_operand_ends` (the variable `POSIXLY_CORRECT`) options end at the first operand.
pub fn parse(
    letters: &'static str,
    options: &[LongOption],
    words: impl IntoIterator<Item = OsString>,
    first_operand_ends: bool,
) -> Words {
    let mut rest = words.into_iter();
    let mut result = Words::default();
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            b"--" => break,
            [b'-', b'-', name @ ..] => result.found.push(named(name, options, &mut rest)),
            [b'-', _, ..] => cluster(letters, word, &mut rest, &mut result.found),
            _ => {
                result.operands.push(word);
                if first_operand_ends {
                    break;
                }
            }
        }
    }
    result.operands.extend(rest);
    result
}

/// A word of letters, and the next word if the last of them takes it.
fn cluster(
    letters: &'static str,
    word: OsString,
    rest: &mut impl Iterator<Item = OsString>,
    found: &mut Vec<Result<Found, GetoptLongError>>,
) {
    // One word at a time: what follows may be a long option, of which the other parser knows nothing.
    let mut source = std::iter::once(word).chain(rest);
    let mut getopt = getopt::Getopt::new(letters, &mut source, false);
    let mut first = true;
    while first || getopt.in_cluster() {
        first = false;
        let Some(item) = getopt.next() else { break };
        found.push(match item {
            Ok(item) => Ok(Found {
                value: u32::from(item.letter),
                argument: item.argument,
            }),
            Err(error) => Err(error.into()),
        });
    }
}

fn named(
    word: &[u8],
    options: &[LongOption],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<Found, GetoptLongError> {
    let mut parts = word.splitn(2, |&octet| octet == b'=');
    let name = parts.next().unwrap_or_default();
    let attached = parts.next().map(|text| OsString::from_vec(text.to_vec()));
    let option = find(name, word, options)?;
    let argument = match (option.argument, attached) {
        (false, None) => None,
        (false, Some(_)) => return Err(GetoptLongError::NoArgument(option.name)),
        (true, Some(argument)) => Some(argument),
        // Whatever it is, also what looks like an option.
        (true, None) => match rest.next() {
            Some(argument) => Some(argument),
            None => return Err(GetoptLongError::MissingArgument(option.name)),
        },
    };
    Ok(Found {
        value: option.value,
        argument,
    })
}

fn find<'a>(
    name: &[u8],
    word: &[u8],
    options: &'a [LongOption],
) -> Result<&'a LongOption, GetoptLongError> {
    if let Some(option) = options.iter().find(|option| option.name.as_bytes() == name) {
        return Ok(option);
    }
    let candidates: Vec<&LongOption> = options
        .iter()
        .filter(|option| option.name.as_bytes().starts_with(name))
        .collect();
    let text = || OsString::from_vec(word.to_vec());
    match candidates.as_slice() {
        [] => Err(GetoptLongError::Unrecognized(text())),
        [first, others @ ..] => {
            // Several names of one thing are no doubt.
            if others
                .iter()
                .all(|other| (other.value, other.argument) == (first.value, first.argument))
            {
                Ok(first)
            } else {
                let names = candidates.iter().map(|option| option.name).collect();
                Err(GetoptLongError::Ambiguous(text(), names))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [LongOption; 4] = [
        LongOption {
            name: "initialize",
            argument: false,
            value: b'X' as u32,
        },
        LongOption {
            name: "pin",
            argument: true,
            value: 0x100,
        },
        LongOption {
            name: "pin-retry",
            argument: true,
            value: 0x101,
        },
        LongOption {
            name: "force",
            argument: false,
            value: b'f' as u32,
        },
    ];

    fn parsed(words: &[&str]) -> (Vec<String>, Vec<String>) {
        let words = words.iter().map(OsString::from);
        let words = parse("Xfp:", &OPTIONS, words, false);
        let found = words.found.into_iter().map(|item| match item {
            Ok(found) => {
                let argument = found.argument.unwrap_or_default();
                format!("{:x}{}", found.value, argument.to_string_lossy())
            }
            Err(error) => String::from_utf8(error.line(OsStr::new("t"))).expect("text"),
        });
        let operands = words.operands.into_iter();
        let operands = operands.map(|word| word.to_string_lossy().into_owned());
        (found.collect(), operands.collect())
    }

    #[test]
    fn names_letters_and_operands_mix() {
        let (found, operands) = parsed(&[
            "a",
            "--pin",
            "1",
            "-Xf",
            "b",
            "--pin=2=3",
            "--ini",
            "-p",
            "--force",
            "--",
            "--pin",
        ]);
        assert_eq!(found, ["1001", "58", "66", "1002=3", "58", "70--force"]);
        assert_eq!(operands, ["a", "b", "--pin"]);
    }

    #[test]
    fn a_cluster_does_not_swallow_what_follows() {
        let (found, operands) = parsed(&["-X", "--force", "x", "-pY", "z"]);
        assert_eq!(found, ["58", "66", "70Y"]);
        assert_eq!(operands, ["x", "z"]);
    }

    #[test]
    fn complaints_read_as_the_librarys() {
        for (words, line) in [
            (
                &["--nothing=1"][..],
                "t: unrecognized option '--nothing=1'\n",
            ),
            (
                &["--pi"],
                "t: option '--pi' is ambiguous; possibilities: '--pin' '--pin-retry'\n",
            ),
            (
                &["--force=1"],
                "t: option '--force' doesn't allow an argument\n",
            ),
            (&["--pin"], "t: option '--pin' requires an argument\n"),
            (&["-q"], "t: invalid option -- 'q'\n"),
            (&["-p"], "t: option requires an argument -- 'p'\n"),
        ] {
            assert_eq!(parsed(words).0, [line], "{words:?}");
        }
    }
}
