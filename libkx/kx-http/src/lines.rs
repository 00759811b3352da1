//! The input of a connection and the lines of a message head in it, shared by both sides.

use kx_log::goquote::quote;
use kx_secret::SecretBytes;

use crate::token::{Field, field, trim_blanks};

/// Why a head cannot be read on. The texts are the original's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is longer than allowed.
    #[error("message too large")]
    TooLarge,
    /// The first header line is folded to nothing.
    #[error("malformed MIME header initial line: {}", String::from_utf8_lossy(.0))]
    InitialLine(Vec<u8>),
    /// A header line without a colon.
    #[error("malformed MIME header: missing colon: {}", quote(.0))]
    NoColon(Vec<u8>),
    /// A header with a bad name or value.
    #[error("malformed MIME header line: {}", String::from_utf8_lossy(.0))]
    Line(Vec<u8>),
}

/// How far the headers were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadStep {
    /// One was given to the caller, or a line of one was put aside. Go on.
    More,
    /// They are all there.
    End,
    /// More octets are needed.
    NeedInput,
}

/// Input that was received and not used up.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    max_head: usize,
    /// Wiped: keys and passwords pass through it.
    buffer: SecretBytes,
    /// Octets at the front of `buffer` that are done with.
    start: usize,
    /// Octets behind `start` that hold no line end, as far as known.
    searched: usize,
    /// Octets of the present head that are done with.
    head: usize,
    /// A header of which more lines may follow.
    folded: Option<Vec<u8>>,
    /// Whether a header line of the present head was seen.
    any_header: bool,
}

impl Lines {
    /// Nothing received yet; nothing allocated. A head may have `max_head` octets, line ends included.
    pub(crate) fn new(max_head: usize) -> Lines {
        Lines {
            max_head,
            ..Lines::default()
        }
    }

    /// Takes in what was received.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            // What is left is less than a line, or requests that wait for their turn.
            self.buffer.drop_front(self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Everything that is not used up.
    pub(crate) fn rest(&self) -> &[u8] {
        self.buffer.as_slice().get(self.start..).unwrap_or_default()
    }

    /// Uses up `octets` that belong to no head.
    pub(crate) fn consume(&mut self, octets: usize) {
        self.start = self.start.saturating_add(octets).min(self.buffer.len());
        self.searched = 0;
    }

    /// Octets of the present head, received or done with.
    pub(crate) fn seen_of_head(&self) -> usize {
        self.head.saturating_add(self.rest().len())
    }

    /// The next octet will be the first of a head.
    pub(crate) fn begin_head(&mut self) {
        self.head = 0;
        self.searched = 0;
        self.folded = None;
        self.any_header = false;
    }

    /// The next octet will be the first of a head that shares the bound of the one before.
    pub(crate) fn continue_head(&mut self) {
        let head = self.head;
        self.begin_head();
        self.head = head;
    }

    /// Gives the memory back if nothing is held.
    pub(crate) fn release_if_empty(&mut self) {
        if self.start >= self.buffer.len() {
            self.clear();
        }
    }

    /// Octets of memory held for input.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Forgets what was received.
    pub(crate) fn clear(&mut self) {
        self.buffer = SecretBytes::default();
        self.start = 0;
        self.searched = 0;
    }

    /// Reads one line, without its end, through `read`. None: more octets are needed.
    pub(crate) fn line<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, HeadError> {
        let Some((length, whole)) = self.find_line()? else {
            return Ok(None);
        };
        let outcome = read(self.ahead(length));
        self.advance(whole);
        Ok(Some(outcome))
    }

    /// Reads one header line or one that is folded to it; whole headers are given to `take`.
    pub(crate) fn header(&mut self, take: impl FnOnce(Field<'_>)) -> Result<HeadStep, HeadError> {
        if let Some(folded) = self.folded.take() {
            return self.folded_line(folded, take);
        }
        let Some((length, whole)) = self.find_line()? else {
            return Ok(HeadStep::NeedInput);
        };
        if length == 0 {
            self.advance(whole);
            return Ok(HeadStep::End);
        }
        let line = self.ahead(length);
        if !self.any_header && matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadError::InitialLine(line.to_vec()));
        }
        if !line.contains(&b':') {
            return Err(HeadError::NoColon(line.to_vec()));
        }
        match self.peek(whole)? {
            None => return Ok(HeadStep::NeedInput),
            Some(b' ' | b'\t') => self.folded = Some(trim_blanks(line).to_vec()),
            Some(_) => take(field(line).ok_or_else(|| bad_line(line))?),
        }
        self.any_header = true;
        self.advance(whole);
        Ok(HeadStep::More)
    }

    /// Goes on with a header of which `folded` was read.
    fn folded_line(
        &mut self,
        mut folded: Vec<u8>,
        take: impl FnOnce(Field<'_>),
    ) -> Result<HeadStep, HeadError> {
        match self.peek(0)? {
            None => {
                self.folded = Some(folded);
                return Ok(HeadStep::NeedInput);
            }
            Some(b' ' | b'\t') => {}
            Some(_) => {
                take(field(&folded).ok_or_else(|| bad_line(&folded))?);
                return Ok(HeadStep::More);
            }
        }
        let Some((length, whole)) = self.find_line()? else {
            self.folded = Some(folded);
            return Ok(HeadStep::NeedInput);
        };
        folded.push(b' ');
        folded.extend_from_slice(trim_blanks(self.ahead(length)));
        self.folded = Some(folded);
        self.advance(whole);
        Ok(HeadStep::More)
    }

    /// The first `length` octets that are not done with.
    fn ahead(&self, length: usize) -> &[u8] {
        let rest = self.rest();
        rest.get(..length).unwrap_or(rest)
    }

    /// What of the input may be part of the present head, and whether that is as much as there can be.
    fn window(&self) -> (&[u8], bool) {
        let rest = self.rest();
        let most = self.max_head.saturating_sub(self.head);
        match rest.get(..most) {
            Some(window) => (window, true),
            None => (rest, false),
        }
    }

    /// Length of the line ahead without and with its end. What was searched in vain is not searched again.
    fn find_line(&mut self) -> Result<Option<(usize, usize)>, HeadError> {
        let (window, full) = self.window();
        let unsearched = window.get(self.searched..).unwrap_or_default();
        let Some(found) = unsearched.iter().position(|&octet| octet == b'\n') else {
            if full {
                return Err(HeadError::TooLarge);
            }
            self.searched = window.len();
            return Ok(None);
        };
        let end = self.searched.saturating_add(found);
        let text = window.get(..end).unwrap_or_default();
        let length = text.strip_suffix(b"\r").unwrap_or(text).len();
        self.searched = end;
        Ok(Some((length, end.saturating_add(1))))
    }

    /// The octet `at` octets ahead.
    fn peek(&self, at: usize) -> Result<Option<u8>, HeadError> {
        let (window, full) = self.window();
        match window.get(at) {
            Some(&octet) => Ok(Some(octet)),
            None if full => Err(HeadError::TooLarge),
            None => Ok(None),
        }
    }

    fn advance(&mut self, octets: usize) {
        self.consume(octets);
        self.head = self.head.saturating_add(octets);
    }
}

fn bad_line(line: &[u8]) -> HeadError {
    HeadError::Line(trim_blanks(line).to_vec())
}
