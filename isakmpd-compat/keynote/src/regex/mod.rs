//! POSIX extended regular expressions over octets, C locale (RFC 2704 section 4.6.5, POSIX.1 chapter 9.4):
//! the leftmost match, of these the longest, and in it each subexpression as long as it can be, earlier ones
//! first. No pattern and no text makes it work longer than a given amount: a hostile credential may bring both.
//!
//! What POSIX leaves open is as in OpenBSD's library or refused: an empty alternative, a repetition of
//! nothing or of another repetition and an unmatched `)` are errors, and a backslash makes any octet after
//! it ordinary, digits and letters too.
//!
//! ```
//! use keynote::regex::Regex;
//! let found = Regex::new(b"([a-z]+)\\.(.*)$")?.find(b"gw.example", &mut 10_000)?.unwrap();
//! assert_eq!(found.group(2, b"gw.example"), Some(&b"example"[..]));
//! # Ok::<(), keynote::regex::RegexError>(())
//! ```

mod groups;
mod parse;
mod search;

use std::ops::Range;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// `(` or `)` without its partner.
    #[error("parentheses not balanced")]
    Parentheses,
    /// `[` without its `]`.
    #[error("brackets not balanced")]
    Brackets,
    /// `{` without its `}`, or something else than counts in them.
    #[error("invalid repetition count")]
    Count,
    /// A range that ends before it begins or has a class as an end.
    #[error("invalid character range")]
    Range,
    /// `[:name:]` that is not one of the classes, or an element of more than one octet.
    #[error("invalid character class")]
    Class,
    /// Nothing where an expression has to be.
    #[error("empty (sub)expression")]
    Empty,
    /// A repetition of nothing, of an anchor or of another repetition.
    #[error("repetition-operator operand invalid")]
    Repetition,
    /// A backslash at the end.
    #[error("trailing backslash (\\)")]
    Backslash,
    /// The pattern is longer or deeper than any sensible one.
    #[error("regular expression too big")]
    TooBig,
    /// The work allowed is done.
    #[error("regular expression needs too much work")]
    OutOfWork,
}

/// A set of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Octets([u64; 4]);

impl Octets {
    fn word(octet: u8) -> (usize, u64) {
        (usize::from(octet >> 6), 1 << (octet & 63))
    }

    pub(crate) fn insert(&mut self, octet: u8) {
        let (word, bit) = Self::word(octet);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(crate) fn contains(&self, octet: u8) -> bool {
        let (word, bit) = Self::word(octet);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn complement(self) -> Octets {
        Octets(self.0.map(|word| !word))
    }
}

/// Where a node of the tree stands in [`Regex::nodes`]; a node comes after its parts.
pub(crate) type NodeId = usize;

/// A node of the pattern's tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Any one of the octets.
    One(Octets),
    /// `^`
    Start,
    /// `$`
    End,
    /// One after the other; nothing at all if there is none.
    Sequence(Vec<NodeId>),
    /// `|`
    Either(Vec<NodeId>),
    /// At least and at most so many times.
    Repeat(NodeId, u32, Option<u32>),
    /// A subexpression and its number, from 1.
    Group(NodeId, usize),
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Regex {
    nodes: Vec<Node>,
    root: NodeId,
    groups: usize,
    program: Vec<search::Instruction>,
}

/// A match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The whole of it and then the subexpressions, `None` for those that took no part.
    spans: Vec<Option<Range<usize>>>,
}

impl Found {
    /// Number of subexpressions of the pattern.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.spans.len().saturating_sub(1)
    }

    /// Where the match (0) or a subexpression (from 1) is.
    #[must_use]
    pub fn span(&self, group: usize) -> Option<Range<usize>> {
        self.spans.get(group).cloned().flatten()
    }

    /// What it matched in the text that was searched.
    #[must_use]
    pub fn group<'t>(&self, group: usize, text: &'t [u8]) -> Option<&'t [u8]> {
        text.get(self.span(group)?)
    }
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`RegexError`], never `OutOfWork`.
    pub fn new(pattern: &[u8]) -> Result<Regex, RegexError> {
        let (nodes, root, groups) = parse::parse(pattern)?;
        let program = search::compile(&nodes, root)?;
        Ok(Regex {
            nodes,
            root,
            groups,
            program,
        })
    }

    /// Searches a text. `work` is how many steps (a few nanoseconds each) may be done; what is left of it
    /// stays there.
    ///
    /// # Errors
    /// `OutOfWork`
    pub fn find(&self, text: &[u8], work: &mut u64) -> Result<Option<Found>, RegexError> {
        let Some(whole) = search::find(&self.program, text, work)? else {
            return Ok(None);
        };
        let mut spans = vec![None; self.groups.saturating_add(1)];
        if self.groups > 0 {
            groups::locate(&self.nodes, self.root, text, &whole, &mut spans, work)?;
        }
        if let Some(first) = spans.first_mut() {
            *first = Some(whole);
        }
        Ok(Some(Found { spans }))
    }
}

/// Takes `steps` from the work left.
pub(crate) fn spend(work: &mut u64, steps: u64) -> Result<(), RegexError> {
    *work = work.checked_sub(steps).ok_or(RegexError::OutOfWork)?;
    Ok(())
}

#[cfg(test)]
mod tests;
