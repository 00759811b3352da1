//! A pattern as a tree.

use super::{Node, NodeId, Octets, RegexError};

/// Octets of a pattern.
const MOST_PATTERN: usize = 8192;
/// Parentheses around one another.
const MOST_NESTED: usize = 50;
/// POSIX's RE_DUP_MAX.
const MOST_TIMES: u32 = 255;

/// The nodes, which of them is the whole, and how many subexpressions there are.
pub(super) fn parse(pattern: &[u8]) -> Result<(Vec<Node>, NodeId, usize), RegexError> {
    if pattern.len() > MOST_PATTERN {
        return Err(RegexError::TooBig);
    }
    let mut parser = Parser {
        pattern,
        at: 0,
        nodes: Vec::new(),
        groups: 0,
        depth: 0,
    };
    let root = parser.either()?;
    if parser.peek().is_some() {
        return Err(RegexError::Parentheses);
    }
    Ok((parser.nodes, root, parser.groups))
}

struct Parser<'p> {
    pattern: &'p [u8],
    at: usize,
    nodes: Vec<Node>,
    groups: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let octet = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(octet)
    }

    fn accept(&mut self, octet: u8) -> bool {
        let there = self.peek() == Some(octet);
        if there {
            self.at = self.at.saturating_add(1);
        }
        there
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(node);
        id
    }

    fn one(&mut self, octet: u8) -> NodeId {
        let mut octets = Octets::default();
        octets.insert(octet);
        self.add(Node::One(octets))
    }

    fn either(&mut self) -> Result<NodeId, RegexError> {
        let first = self.sequence()?;
        if self.peek() != Some(b'|') {
            return Ok(first);
        }
        let mut branches = vec![first];
        while self.accept(b'|') {
            branches.push(self.sequence()?);
        }
        Ok(self.add(Node::Either(branches)))
    }

    fn sequence(&mut self) -> Result<NodeId, RegexError> {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some(b'|' | b')')) {
            let part = self.atom()?;
            parts.push(self.repeated(part)?);
        }
        match parts.as_slice() {
            [] if self.depth == 0 && self.peek() == Some(b')') => Err(RegexError::Parentheses),
            [] => Err(RegexError::Empty),
            [only] => Ok(*only),
            _ => Ok(self.add(Node::Sequence(parts))),
        }
    }

    fn atom(&mut self) -> Result<NodeId, RegexError> {
        match self.next() {
            Some(b'(') => self.group(),
            Some(b'[') => self.brackets(),
            Some(b'.') => Ok(self.add(Node::One(Octets::default().complement()))),
            Some(b'^') => Ok(self.add(Node::Start)),
            Some(b'$') => Ok(self.add(Node::End)),
            Some(b'\\') => {
                let octet = self.next().ok_or(RegexError::Backslash)?;
                Ok(self.one(octet))
            }
            Some(b'*' | b'+' | b'?') => Err(RegexError::Repetition),
            Some(b'{') if self.peek().is_some_and(|octet| octet.is_ascii_digit()) => {
                Err(RegexError::Repetition)
            }
            Some(octet) => Ok(self.one(octet)),
            None => Err(RegexError::Empty),
        }
    }

    fn group(&mut self) -> Result<NodeId, RegexError> {
        if self.depth >= MOST_NESTED {
            return Err(RegexError::TooBig);
        }
        self.groups = self.groups.saturating_add(1);
        let number = self.groups;
        let inside = if self.peek() == Some(b')') {
            self.add(Node::Sequence(Vec::new()))
        } else {
            self.depth = self.depth.saturating_add(1);
            let inside = self.either().map_err(|error| match error {
                // What is missing is the parenthesis.
                RegexError::Empty if self.peek().is_none() => RegexError::Parentheses,
                error => error,
            })?;
            self.depth = self.depth.saturating_sub(1);
            inside
        };
        if !self.accept(b')') {
            return Err(RegexError::Parentheses);
        }
        Ok(self.add(Node::Group(inside, number)))
    }

    /// What follows an atom: at most one repetition.
    fn repeated(&mut self, atom: NodeId) -> Result<NodeId, RegexError> {
        let Some((least, most)) = self.times()? else {
            return Ok(atom);
        };
        if matches!(self.nodes.get(atom), Some(Node::Start)) {
            return Err(RegexError::Repetition);
        }
        if self.times()?.is_some() {
            return Err(RegexError::Repetition);
        }
        Ok(self.add(Node::Repeat(atom, least, most)))
    }

    fn times(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        let times = match self.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => return self.counts(),
            _ => return Ok(None),
        };
        self.at = self.at.saturating_add(1);
        Ok(Some(times))
    }

    /// `{m}`, `{m,}` and `{m,n}`; a `{` without a digit after it is an ordinary octet.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, RegexError> {
        let after = self.at.saturating_add(1);
        if !self.pattern.get(after).is_some_and(u8::is_ascii_digit) {
            return Ok(None);
        }
        self.at = after;
        let least = self.count()?;
        let most = if !self.accept(b',') {
            Some(least)
        } else if self.peek() == Some(b'}') {
            None
        } else {
            Some(self.count()?)
        };
        if !self.accept(b'}') || most.is_some_and(|most| most < least) {
            return Err(RegexError::Count);
        }
        Ok(Some((least, most)))
    }

    fn count(&mut self) -> Result<u32, RegexError> {
        let mut count = None;
        while let Some(octet) = self.peek().filter(u8::is_ascii_digit) {
            self.at = self.at.saturating_add(1);
            let digit = u32::from(octet.saturating_sub(b'0'));
            count = Some(
                count
                    .unwrap_or(0u32)
                    .saturating_mul(10)
                    .saturating_add(digit),
            );
        }
        count
            .filter(|count| *count <= MOST_TIMES)
            .ok_or(RegexError::Count)
    }

    /// After `[`.
    fn brackets(&mut self) -> Result<NodeId, RegexError> {
        let not = self.accept(b'^');
        let mut octets = Octets::default();
        let mut first = true;
        while first || self.peek() != Some(b']') {
            first = false;
            let Some(start) = self.element(&mut octets)? else {
                // A class is no beginning of a range.
                if self.is_range() {
                    return Err(RegexError::Range);
                }
                continue;
            };
            let end = if self.is_range() {
                self.at = self.at.saturating_add(1);
                self.element(&mut octets)?.ok_or(RegexError::Range)?
            } else {
                start
            };
            if end < start {
                return Err(RegexError::Range);
            }
            for octet in start..=end {
                octets.insert(octet);
            }
        }
        self.at = self.at.saturating_add(1);
        Ok(self.add(Node::One(if not { octets.complement() } else { octets })))
    }

    fn is_range(&self) -> bool {
        let next = self.pattern.get(self.at.saturating_add(1));
        self.peek() == Some(b'-') && next.is_some_and(|next| *next != b']')
    }

    /// One octet, or `None` after a class, which is put into `octets`.
    fn element(&mut self, octets: &mut Octets) -> Result<Option<u8>, RegexError> {
        let octet = self.next().ok_or(RegexError::Brackets)?;
        let kind = self.peek();
        if octet != b'[' || !matches!(kind, Some(b':' | b'=' | b'.')) {
            return Ok(Some(octet));
        }
        self.at = self.at.saturating_add(1);
        let rest = self.pattern.get(self.at..).unwrap_or_default();
        let len = rest
            .windows(2)
            .position(|pair| pair.first().copied() == kind && pair.last() == Some(&b']'))
            .ok_or(RegexError::Brackets)?;
        let name = rest.get(..len).unwrap_or_default();
        self.at = self.at.saturating_add(len).saturating_add(2);
        match (kind, name) {
            (Some(b':'), name) => {
                let belongs = class(name).ok_or(RegexError::Class)?;
                for octet in (0..=u8::MAX).filter(belongs) {
                    octets.insert(octet);
                }
                Ok(None)
            }
            // An equivalence class or a collating element: in the C locale an octet is only itself.
            (Some(b'='), [octet]) => {
                octets.insert(*octet);
                Ok(None)
            }
            (_, [octet]) => Ok(Some(*octet)),
            _ => Err(RegexError::Class),
        }
    }
}

fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |octet| matches!(octet, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |octet| (0x20..0x7f).contains(octet),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |octet| crate::lexer::is_space(*octet),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}
