//! The GNU C library's getopt(3): short options, clustered, with their argument attached or as the
//! next word, mixed with operands in any order.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One option as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its letter.
    pub letter: u8,
    /// Its argument, if the letter takes one.
    pub argument: Option<OsString>,
}

/// What the library complains about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GetoptError {
    /// A letter that is not an option.
    #[error("invalid option -- '{}'", char::from(*.0))]
    Invalid(u8),
    /// The last word ends where the argument should stand.
    #[error("option requires an argument -- '{}'", char::from(*.0))]
    MissingArgument(u8),
}

impl GetoptError {
    /// The line as the library writes it, octet for octet, line feed included. `argv0` is the
    /// program's name as it was called.
    #[must_use]
    pub fn line(self, argv0: &OsStr) -> Vec<u8> {
        let (text, letter) = match self {
            GetoptError::Invalid(letter) => ("invalid option", letter),
            GetoptError::MissingArgument(letter) => ("option requires an argument", letter),
        };
        let mut line = argv0.as_bytes().to_vec();
        line.extend_from_slice(b": ");
        line.extend_from_slice(text.as_bytes());
        line.extend_from_slice(b" -- '");
        line.push(letter);
        line.extend_from_slice(b"'\n");
        line
    }
}

/// Walks over arguments (without the program's name) and finds the options.
#[derive(Debug)]
pub struct Getopt<I> {
    known: &'static [u8],
    words: I,
    /// What is left of a cluster.
    cluster: std::vec::IntoIter<u8>,
    operands: Vec<OsString>,
    first_operand_ends: bool,
    ended: bool,
}

impl<I: Iterator<Item = OsString>> Getopt<I> {
    /// `known` is the string of letters that getopt(3) takes; a colon after a letter means an
    /// argument. With `first_operand_ends` (the variable `POSIXLY_CORRECT`) options end at the
    /// first operand.
    pub fn new(known: &'static str, words: I, first_operand_ends: bool) -> Getopt<I> {
        Getopt {
            known: known.as_bytes(),
            words,
            cluster: Vec::new().into_iter(),
            operands: Vec::new(),
            first_operand_ends,
            ended: false,
        }
    }

    /// The words that are no options, in their order. Complete after the last option.
    #[must_use]
    pub fn into_operands(mut self) -> Vec<OsString> {
        self.operands.extend(self.words);
        self.operands
    }

    /// Whether letters of the current word are left.
    #[must_use]
    pub fn in_cluster(&self) -> bool {
        !self.cluster.as_slice().is_empty()
    }

    /// The next letter; words that are no options are put aside.
    fn letter(&mut self) -> Option<u8> {
        loop {
            if let Some(letter) = self.cluster.next() {
                return Some(letter);
            }
            if self.ended {
                return None;
            }
            let word = self.words.next()?;
            match word.as_bytes() {
                b"--" => {
                    self.ended = true;
                    return None;
                }
                [b'-', _, ..] => {
                    self.cluster = word.into_vec().into_iter();
                    self.cluster.next();
                }
                _ => {
                    self.operands.push(word);
                    self.ended = self.first_operand_ends;
                }
            }
        }
    }
}

impl<I: Iterator<Item = OsString>> Iterator for Getopt<I> {
    type Item = Result<Found, GetoptError>;

    fn next(&mut self) -> Option<Self::Item> {
        let letter = self.letter()?;
        let place = self
            .known
            .iter()
            .position(|&known| known == letter && known != b':');
        let Some(place) = place else {
            return Some(Err(GetoptError::Invalid(letter)));
        };
        if self.known.get(place + 1) != Some(&b':') {
            let argument = None;
            return Some(Ok(Found { letter, argument }));
        }
        let attached: Vec<u8> = self.cluster.by_ref().collect();
        let argument = if attached.is_empty() {
            // Whatever it is, also "--" or what looks like an option.
            self.words.next()
        } else {
            Some(OsString::from_vec(attached))
        };
        Some(match argument {
            Some(_) => Ok(Found { letter, argument }),
            None => Err(GetoptError::MissingArgument(letter)),
        })
    }
}

/// The C library's `atoi`: blanks, a sign, decimal digits, and nothing of what follows. 0 without
/// digits. Too large for a `long` is the largest one, of which the low 32 bits remain.
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub fn atoi(text: &OsStr) -> i32 {
    let (negative, digits) = signed(text.as_bytes());
    let mut value = 0i64;
    for digit in digits.iter().map_while(|&octet| digit_of(octet, 10)) {
        let digit = i64::from(digit);
        let step = if negative { -digit } else { digit };
        value = value.saturating_mul(10).saturating_add(step);
    }
    value as i32
}

/// The C library's `strtoul` for base 16, or with base 0 for the base that the prefix tells.
#[must_use]
pub fn strtoul(text: &OsStr, base: u32) -> u64 {
    let (negative, digits) = signed(text.as_bytes());
    let hexadecimal = match digits {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
            Some(rest)
        }
        _ => None,
    };
    let (base, digits) = match (base, hexadecimal) {
        (0 | 16, Some(rest)) => (16, rest),
        (0, None) if digits.first() == Some(&b'0') => (8, digits),
        (0, None) => (10, digits),
        (base, _) => (base, digits),
    };
    let mut value = Some(0u64);
    for digit in digits.iter().map_while(|&octet| digit_of(octet, base)) {
        value = value
            .and_then(|value| value.checked_mul(u64::from(base)))
            .and_then(|value| value.checked_add(u64::from(digit)));
    }
    match value {
        Some(value) if negative => value.wrapping_neg(),
        Some(value) => value,
        None => u64::MAX,
    }
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    // isspace() of the C locale has the vertical tab in addition.
    let blank = |octet: &u8| octet.is_ascii_whitespace() || *octet == 0x0b;
    let start = text.iter().take_while(|octet| blank(octet)).count();
    match text.get(start..).unwrap_or_default() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

fn digit_of(octet: u8, base: u32) -> Option<u32> {
    char::from(octet).to_digit(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], posix: bool) -> (Vec<String>, Vec<OsString>) {
        let words = words.iter().map(OsString::from);
        let mut getopt = Getopt::new("hp:vu:", words, posix);
        let mut found = Vec::new();
        for item in getopt.by_ref() {
            found.push(match item {
                Ok(Found { letter, argument }) => {
                    let argument = argument.map(|text| text.to_string_lossy().into_owned());
                    format!("{}{}", char::from(letter), argument.unwrap_or_default())
                }
                Err(error) => error.to_string(),
            });
        }
        (found, getopt.into_operands())
    }

    #[test]
    fn options_and_operands_mix() {
        let (found, operands) = parsed(&["a", "-vvp666", "b", "-u", "-v", "-", "-h", "c"], false);
        assert_eq!(found, ["v", "v", "p666", "u-v", "h"]);
        assert_eq!(operands, ["a", "b", "-", "c"]);
    }

    #[test]
    fn two_hyphens_end_the_options_but_can_be_an_argument() {
        let (found, operands) = parsed(&["-v", "--", "-v"], false);
        assert_eq!((found, operands), (vec!["v".into()], vec!["-v".into()]));
        let (found, operands) = parsed(&["-u", "--", "-v"], false);
        assert_eq!(found, ["u--", "v"]);
        assert!(operands.is_empty());
    }

    #[test]
    fn posix_ends_at_the_first_operand() {
        let (found, operands) = parsed(&["-v", "a", "-v"], true);
        assert_eq!(found, ["v"]);
        assert_eq!(operands, ["a", "-v"]);
    }

    #[test]
    fn errors_read_as_the_librarys() {
        assert_eq!(parsed(&["-q"], false).0, ["invalid option -- 'q'"]);
        assert_eq!(parsed(&["-:"], false).0, ["invalid option -- ':'"]);
        let long = parsed(&["--v"], false).0;
        assert_eq!(long, ["invalid option -- '-'", "v"]);
        let missing = "option requires an argument -- 'p'";
        assert_eq!(parsed(&["-vp"], false).0, ["v", missing]);
        let line = GetoptError::Invalid(0xff).line(OsStr::new("./d"));
        assert_eq!(line, b"./d: invalid option -- '\xff'\n");
    }

    #[test]
    fn numbers_are_read_as_the_c_library_does() {
        for (text, value) in [
            ("666", 666),
            (" +7x", 7),
            ("-1", -1),
            ("0x21", 0),
            ("", 0),
            ("4294967297", 1),
            ("99999999999999999999", -1),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(atoi(OsStr::new(text)), value, "{text}");
        }
        for (text, base, value) in [
            ("10", 16, 0x10),
            ("0xffz", 16, 0xff),
            ("0x", 16, 0),
            ("zz", 16, 0),
            ("-1", 16, u64::MAX),
            ("fffffffffffffffff", 16, u64::MAX),
            ("0x21", 0, 33),
            ("33", 0, 33),
            ("041", 0, 33),
        ] {
            assert_eq!(strtoul(OsStr::new(text), base), value, "{text}");
        }
    }
}
