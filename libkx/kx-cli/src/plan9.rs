//! Plan 9's and Inferno's arg(2): options are single letters, several to a word, their value is the
//! rest of the word or the next word, `--` or the first other word ends them. The dialect does not
//! know which letters take a value: the program asks for one when it meets such a letter.
//!
//! Words that begin with `--` and go on are options with long names, which the originals do not
//! have; their value follows after `=` or is the next word.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opt {
    /// `-x`. Also `-é`; octets that are not UTF-8 are U+FFFD.
    Letter(char),
    /// `--name`, without the dashes and without `=` and what follows.
    Long(String),
    /// The long option before was given a value with `=` and nobody asked for it.
    Excess(String),
}

/// Walks over the words of a command line (without the program's name).
#[derive(Debug)]
pub struct Args {
    words: VecDeque<OsString>,
    /// What is left of a cluster of letters.
    cluster: Vec<u8>,
    /// The name of a long option and the value attached to it.
    attached: Option<(String, OsString)>,
    ended: bool,
}

impl Args {
    /// Of these words.
    #[must_use]
    pub fn new(words: impl IntoIterator<Item = OsString>) -> Args {
        Args {
            words: words.into_iter().collect(),
            cluster: Vec::new(),
            attached: None,
            ended: false,
        }
    }

    /// The next option; `None` when operands follow.
    pub fn option(&mut self) -> Option<Opt> {
        if let Some((name, _)) = self.attached.take() {
            return Some(Opt::Excess(name));
        }
        if !self.cluster.is_empty() {
            return Some(self.letter());
        }
        let word = self.words.front().filter(|_| !self.ended)?;
        match word.as_bytes() {
            b"--" => {
                self.words.pop_front();
                self.ended = true;
                None
            }
            [b'-', b'-', name @ ..] => {
                let (name, value) = split_at_equals(name);
                self.attached = value.map(|value| (name.clone(), value));
                self.words.pop_front();
                Some(Opt::Long(name))
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                self.cluster = letters.to_vec();
                self.words.pop_front();
                Some(self.letter())
            }
            _ => {
                self.ended = true;
                None
            }
        }
    }

    /// The value of the option that [`Args::option`] returned last; `None` if the words are at
    /// their end.
    pub fn value(&mut self) -> Option<OsString> {
        if let Some((_, value)) = self.attached.take() {
            return Some(value);
        }
        if !self.cluster.is_empty() {
            return Some(OsString::from_vec(std::mem::take(&mut self.cluster)));
        }
        self.words.pop_front()
    }

    /// [`Args::value`] as text, if it is UTF-8.
    pub fn text(&mut self) -> Option<String> {
        self.value()?.into_string().ok()
    }

    /// The words after the options.
    #[must_use]
    pub fn operands(self) -> Vec<OsString> {
        self.words.into()
    }

    fn letter(&mut self) -> Opt {
        let text = String::from_utf8_lossy(&self.cluster);
        let letter = text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
        let valid = self
            .cluster
            .starts_with(letter.encode_utf8(&mut [0; 4]).as_bytes());
        let length = if valid { letter.len_utf8() } else { 1 };
        self.cluster.drain(..length.min(self.cluster.len()));
        Opt::Letter(letter)
    }
}

fn split_at_equals(word: &[u8]) -> (String, Option<OsString>) {
    let mut parts = word.splitn(2, |&octet| octet == b'=');
    let name = parts.next().unwrap_or_default();
    let value = parts
        .next()
        .map(|value| OsStr::from_bytes(value).to_owned());
    (String::from_utf8_lossy(name).into_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        Args::new(words.iter().map(OsString::from))
    }

    #[test]
    fn letters_cluster_and_values_stand_behind_or_next() {
        let mut args = args(&["-vkfile", "-k", "other", "-k", "--", "-v", "word", "-x"]);
        for value in ["file", "other", "--"] {
            if value == "file" {
                assert_eq!(args.option(), Some(Opt::Letter('v')));
            }
            assert_eq!(args.option(), Some(Opt::Letter('k')));
            assert_eq!(args.text().as_deref(), Some(value));
        }
        assert_eq!(args.option(), Some(Opt::Letter('v')));
        assert_eq!(args.option(), None);
        assert_eq!(args.option(), None);
        assert_eq!(args.operands(), ["word", "-x"]);
    }

    #[test]
    fn two_dashes_or_a_lone_one_end_the_options() {
        let mut after = args(&["-v", "--", "-x"]);
        assert_eq!(after.option(), Some(Opt::Letter('v')));
        assert_eq!(after.option(), None);
        assert_eq!(after.option(), None);
        assert_eq!(after.operands(), ["-x"]);
        for lone in ["-", ""] {
            let mut args = args(&[lone, "-x"]);
            assert_eq!(args.option(), None);
            assert_eq!(args.operands(), [lone, "-x"]);
        }
    }

    #[test]
    fn a_value_may_be_missing() {
        let mut args = args(&["-k"]);
        assert_eq!(args.option(), Some(Opt::Letter('k')));
        assert_eq!(args.value(), None);
        assert!(args.operands().is_empty());
    }

    #[test]
    fn long_names_take_values_in_two_ways() {
        let mut args = args(&["--idle=5", "--idle", "6", "--strict=yes", "--strict", "x"]);
        for value in ["5", "6"] {
            assert_eq!(args.option(), Some(Opt::Long("idle".into())));
            assert_eq!(args.text().as_deref(), Some(value));
        }
        assert_eq!(args.option(), Some(Opt::Long("strict".into())));
        assert_eq!(args.option(), Some(Opt::Excess("strict".into())));
        assert_eq!(args.option(), Some(Opt::Long("strict".into())));
        assert_eq!(args.option(), None);
        assert_eq!(args.operands(), ["x"]);
    }

    #[test]
    fn letters_beyond_ascii_and_beyond_utf_8() {
        let mut args = Args::new([
            OsString::from("-éx"),
            OsString::from_vec(b"-\xffy".to_vec()),
        ]);
        for letter in ['é', 'x', char::REPLACEMENT_CHARACTER, 'y'] {
            assert_eq!(args.option(), Some(Opt::Letter(letter)));
        }
        assert_eq!(args.option(), None);
    }
}
