//! The FIFO's `C` commands (isakmpd 4).

use thiserror::Error;
use zeroize::Zeroizing;

use crate::grammar::is_space;
use crate::problem::Problem;
use crate::store::{Change, Store};
use crate::text::text;
use crate::value;

/// No word of a command may be longer, in octets.
pub const MAX_WORD: usize = 200;

/// A command that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("ui_config: command \"{0}\" malformed")]
pub struct MalformedCommand(pub String);

/// A `C` command.
pub enum Command {
    /// `get`: the value is for the result file.
    Get {
        /// Name of the section.
        section: String,
        /// The tag.
        tag: String,
    },
    /// `set`, `rm`, `rms`.
    Change(Change),
    /// `add`: append to a list.
    Add {
        /// Name of the section.
        section: String,
        /// The tag.
        tag: String,
        /// The element.
        value: Zeroizing<String>,
    },
    /// `rmv`: take an element out of a list.
    RemoveValue {
        /// Name of the section.
        section: String,
        /// The tag.
        tag: String,
        /// The element.
        value: Zeroizing<String>,
    },
}

/// What a command did.
#[derive(Default)]
pub struct Applied {
    /// What was refused, for the log.
    pub problems: Vec<Problem>,
    /// Of a `get`: the content of the result file, empty if the tag has no value.
    pub result: Option<Zeroizing<String>>,
    /// The connection lists are to be built anew, 5 seconds from now.
    pub rebuild_connections: bool,
}

/// `sscanf` over octets, as far as the original uses it here.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn skip_space(&mut self) {
        while let Some((first, rest)) = self.0.split_first() {
            if !is_space(*first) {
                break;
            }
            self.0 = rest;
        }
    }

    fn literal(&mut self, octet: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[octet])?;
        Some(())
    }

    /// One to [`MAX_WORD`] octets up to one that `ends` it. Longer ones, which the original cuts or makes two of, are
    /// refused.
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
        let end = self
            .0
            .iter()
            .position(|octet| ends(*octet))
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(end)?;
        if word.is_empty() || word.len() > MAX_WORD {
            return None;
        }
        self.0 = rest;
        Some(word)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        self.skip_space();
        self.until(is_space)
    }

    fn section(&mut self) -> Option<String> {
        self.skip_space();
        self.literal(b'[')?;
        self.until(|octet| octet == b']').map(text)
    }

    fn tag_follows(&mut self) -> Option<()> {
        self.literal(b']')?;
        self.literal(b':')
    }

    /// `[SECT]:TAG`
    fn tag(&mut self) -> Option<(String, String)> {
        let section = self.section()?;
        self.tag_follows()?;
        Some((section, text(self.word()?)))
    }

    /// `[SECT]:TAG=VALUE`, and whether a word follows.
    fn setting(&mut self) -> Option<(String, String, Zeroizing<String>, bool)> {
        let section = self.section()?;
        self.tag_follows()?;
        let tag = text(self.until(|octet| octet == b'=')?);
        self.literal(b'=')?;
        let value = Zeroizing::new(text(self.word()?));
        self.skip_space();
        Some((section, tag, value, !self.0.is_empty()))
    }
}

impl Command {
    /// Reads a line, without its newline, that begins with `C`.
    ///
    /// # Errors
    /// If it is malformed. The text may have a secret in it, as it has in the original.
    pub fn parse(line: &[u8]) -> Result<Self, MalformedCommand> {
        // A string of C.
        let line = line.split(|octet| *octet == 0).next().unwrap_or_default();
        Self::scan(line).ok_or_else(|| MalformedCommand(text(line)))
    }

    fn scan(line: &[u8]) -> Option<Self> {
        let mut scan = Scan(line);
        scan.literal(b'C')?;
        let verb = scan.word()?.to_ascii_lowercase();
        Some(match verb.as_slice() {
            b"get" => {
                let (section, tag) = scan.tag()?;
                Self::Get { section, tag }
            }
            b"set" => {
                let (section, tag, value, force) = scan.setting()?;
                Self::Change(Change::Set {
                    section,
                    tag,
                    value,
                    force,
                })
            }
            b"add" => {
                let (section, tag, value, _) = scan.setting()?;
                Self::Add {
                    section,
                    tag,
                    value,
                }
            }
            b"rmv" => {
                let (section, tag, value, _) = scan.setting()?;
                Self::RemoveValue {
                    section,
                    tag,
                    value,
                }
            }
            b"rm" => {
                let (section, tag) = scan.tag()?;
                Self::Change(Change::Remove { section, tag })
            }
            b"rms" => Self::Change(Change::RemoveSection {
                section: scan.section()?,
            }),
            _ => return None,
        })
    }
}

/// `set`, `add` and `rmv` of these lists make the daemon look at them again, even when refused; `rm` and `rms` do not.
fn is_connection_list(section: &str, tag: &str) -> bool {
    section.eq_ignore_ascii_case("Phase 2")
        && (tag.eq_ignore_ascii_case("Connections")
            || tag.eq_ignore_ascii_case("Passive-connections"))
}

impl Store {
    /// Does what a command says.
    #[must_use]
    pub fn apply(&mut self, command: Command) -> Applied {
        let (change, rebuild_connections) = match command {
            Command::Get { section, tag } => {
                let result = self
                    .get(&section, &tag)
                    .map_or_else(String::new, |value| format!("{value}\n"));
                return Applied {
                    result: Some(Zeroizing::new(result)),
                    ..Applied::default()
                };
            }
            Command::Change(change) => {
                let rebuild = matches!(&change, Change::Set { section, tag, .. } if is_connection_list(section, tag));
                (Some(change), rebuild)
            }
            Command::Add {
                section,
                tag,
                value,
            } => {
                let rebuild = is_connection_list(&section, &tag);
                let there = self.get(&section, &tag).unwrap_or_default();
                let is_there = value::list(&there)
                    .elements
                    .iter()
                    .any(|element| **element == *value);
                let separator = if there.is_empty() || there.ends_with(',') {
                    ""
                } else {
                    ","
                };
                let list = Zeroizing::new(format!("{there}{separator}{}", *value));
                let change = (!is_there).then_some(Change::Set {
                    section,
                    tag,
                    value: list,
                    force: true,
                });
                (change, rebuild)
            }
            Command::RemoveValue {
                section,
                tag,
                value,
            } => {
                let rebuild = is_connection_list(&section, &tag);
                let change = self.list(&section, &tag).map(|mut list| {
                    list.elements.retain(|element| **element != *value);
                    if list.elements.is_empty() {
                        Change::Remove { section, tag }
                    } else {
                        Change::Set {
                            section,
                            tag,
                            value: Zeroizing::new(list.elements.join(",")),
                            force: true,
                        }
                    }
                });
                (change, rebuild)
            }
        };
        let problems = self.commit(change.into_iter().collect());
        Applied {
            problems,
            result: None,
            rebuild_connections,
        }
    }
}
