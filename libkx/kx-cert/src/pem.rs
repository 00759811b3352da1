//! PEM (RFC 7468) read as Go's `encoding/pem` does (kxd spec 3.1), with places and reasons for
//! `--check`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use kx_secret::SecretBytes;
use memchr::{memchr, memchr_iter, memchr3, memmem};

/// A well-formed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// The words between `-----BEGIN ` and `-----`.
    pub label: &'a [u8],
    /// Whether header lines (`Proc-Type: ...`) stand before the base64.
    pub has_headers: bool,
    /// The decoded content. Zeroize it when it is a key.
    pub der: Vec<u8>,
    /// Line of the BEGIN, counted from 1.
    pub line: usize,
}

impl Block<'_> {
    /// Whether the block can hold a certificate: the right label and no headers.
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        self.label == b"CERTIFICATE" && !self.has_headers
    }
}

/// Something between a BEGIN and an END that is not a block, or a BEGIN that has no END.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Line of the BEGIN, or of the END when there is no BEGIN for it, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a block is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// `-----BEGIN` with something in front of it.
    #[error("BEGIN does not stand at the start of its line")]
    BeginNotAtLineStart,
    /// The BEGIN line does not end in five dashes.
    #[error("the BEGIN line does not end in \"-----\"")]
    BeginNotClosed,
    /// No END before the next BEGIN or the end of the text.
    #[error("BEGIN has no END line")]
    NoEnd,
    /// END without BEGIN.
    #[error("END has no BEGIN line")]
    NoBegin,
    /// The END has another label, or something after it.
    #[error("the END line does not fit to the BEGIN line")]
    EndDiffers,
    /// Only header lines.
    #[error("there is no content after the header lines")]
    OnlyHeaders,
    /// Not base64.
    #[error("the content is not base64")]
    NotBase64,
}

/// A block or what could have been one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A good block.
    Block(Block<'a>),
    /// A bad one.
    Malformed(Malformed),
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// Strict about padding and alphabet, lax about the unused bits of the last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The good blocks of `text` in order; all else is passed over.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut scanner = Scanner::new(text);
    std::iter::from_fn(move || {
        loop {
            match scanner.step()? {
                Found::Block(block) => return Some(block),
                Found::Malformed { .. } => {}
            }
        }
    })
}

/// Everything in `text` that is or looks like a block, by line. For `--check`.
#[must_use]
pub fn items(text: &[u8]) -> Vec<Item<'_>> {
    let mut scanner = Scanner::new(text);
    let mut items = Vec::new();
    let mut begins = HashSet::new();
    while let Some(found) = scanner.step() {
        match found {
            Found::Block(block) => {
                begins.insert(block.line);
                items.push(Item::Block(block));
            }
            Found::Malformed { at, reason } => {
                let line = scanner.lines.at(at);
                if reason != Reason::NoBegin {
                    begins.insert(line);
                }
                items.push(Item::Malformed(Malformed { line, reason }));
            }
        }
    }
    // BEGINs that the scan never came to: another BEGIN followed before any END, or no END at all.
    for (i, line) in text.split(|&octet| octet == b'\n').enumerate() {
        let number = i + 1;
        if let Some(at) = find(line, BEGIN)
            && !begins.contains(&number)
        {
            let reason = if at == 0 {
                Reason::NoEnd
            } else {
                Reason::BeginNotAtLineStart
            };
            items.push(Item::Malformed(Malformed {
                line: number,
                reason,
            }));
        }
    }
    items.sort_by_key(|item| match item {
        Item::Block(block) => block.line,
        Item::Malformed(malformed) => malformed.line,
    });
    items
}

enum Found<'a> {
    Block(Block<'a>),
    Malformed { at: usize, reason: Reason },
}

/// Walks from END line to END line; each one is matched with the last BEGIN before it, so that
/// cut-off blocks do not swallow good ones.
struct Scanner<'a> {
    text: &'a [u8],
    /// Where the search goes on.
    from: usize,
    lines: Lines<'a>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Scanner {
            text,
            from: 0,
            lines: Lines {
                text,
                offset: 0,
                line: 1,
            },
        }
    }

    fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    fn step(&mut self) -> Option<Found<'a>> {
        let end = self.from + find(self.slice(self.from, self.text.len()), END)?;
        let after_end = end + END.len();
        let window = self.slice(self.from, end);
        let malformed = |at, reason| Some(Found::Malformed { at, reason });

        let Some(begin) = rfind(window, BEGIN).map(|at| self.from + at) else {
            self.from = after_end;
            return malformed(end + 1, Reason::NoBegin);
        };
        // The octets before the place where the search went on do not count as the same line.
        if begin > self.from && self.text.get(begin - 1) != Some(&b'\n') {
            self.from = after_end;
            return malformed(begin, Reason::BeginNotAtLineStart);
        }
        let (label_line, mut at) = self.line_at(begin + BEGIN.len());
        let Some(label) = label_line.strip_suffix(DASHES) else {
            self.from = after_end;
            return malformed(begin, Reason::BeginNotClosed);
        };

        let mut has_headers = false;
        loop {
            if at >= self.text.len() {
                // The original gives up on the whole rest here.
                self.from = self.text.len();
                return malformed(begin, Reason::NoEnd);
            }
            let (line, next) = self.line_at(at);
            if memchr(b':', line).is_none() {
                break;
            }
            has_headers = true;
            at = next;
        }
        // The END may have been eaten with the headers when a colon stands in its line.
        if at > after_end {
            self.from = self.text.len();
            return malformed(begin, Reason::OnlyHeaders);
        }
        self.from = after_end;
        if has_headers && at > end {
            return malformed(begin, Reason::OnlyHeaders);
        }

        let trailer = self.slice(after_end, self.text.len());
        let fits = trailer
            .strip_prefix(label)
            .and_then(|rest| rest.strip_prefix(DASHES))
            .is_some_and(|rest| first_line(rest).0.is_empty());
        if !fits {
            return malformed(begin, Reason::EndDiffers);
        }
        let Some(der) = decode(self.slice(at, end)) else {
            return malformed(begin, Reason::NotBase64);
        };
        let line = self.lines.at(begin);
        self.from = self.line_at(end + 1).1;
        Some(Found::Block(Block {
            label,
            has_headers,
            der,
            line,
        }))
    }

    /// The line that begins at `at`, without its end and blanks before it, and where the next one
    /// begins.
    fn line_at(&self, at: usize) -> (&'a [u8], usize) {
        let (line, consumed) = first_line(self.slice(at, self.text.len()));
        (line, at + consumed)
    }
}

fn first_line(text: &[u8]) -> (&[u8], usize) {
    let (mut line, consumed) = match memchr(b'\n', text) {
        Some(at) => {
            let line = text.get(..at).unwrap_or_default();
            (line.strip_suffix(b"\r").unwrap_or(line), at + 1)
        }
        None => (text, text.len()),
    };
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    (line, consumed)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    // It may be a private key, and must not stay in memory.
    let mut packed = SecretBytes::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr3(b'\n', b'\r', b' ', rest) {
        let (piece, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        packed.extend_from_slice(piece);
        rest = after.get(1..).unwrap_or_default();
    }
    packed.extend_from_slice(rest);
    // Tabs are rare enough to be looked for on their own.
    if memchr(b'\t', packed.as_slice()).is_some() {
        let mut untabbed = SecretBytes::with_capacity(packed.len());
        packed
            .as_slice()
            .split(|&octet| octet == b'\t')
            .for_each(|p| untabbed.extend_from_slice(p));
        packed = untabbed;
    }
    BASE64.decode(packed.as_slice()).ok()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memmem::find(text, what)
}

fn rfind(text: &[u8], what: &[u8]) -> Option<usize> {
    memmem::rfind(text, what)
}

/// Line numbers of growing (or at least mostly growing) offsets.
struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    fn at(&mut self, offset: usize) -> usize {
        if offset < self.offset {
            (self.offset, self.line) = (0, 1);
        }
        let between = self.text.get(self.offset..offset).unwrap_or_default();
        self.line += memchr_iter(b'\n', between).count();
        self.offset = offset;
        self.line
    }
}

/// Writes one block: lines of 64 characters, LF.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 octets give 64 characters, so that padding can only come in the last line.
    for line in der.chunks(48) {
        BASE64.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Item, blocks, items};

    /// What is read at once is bounded by 16 MiB: half a million of the shortest pieces must not take
    /// minutes, whatever they are.
    #[test]
    fn many_begins_take_time_in_proportion() {
        const COUNT: usize = 200_000;
        for piece in [
            "-----BEGIN A-----\n",
            "x-----BEGIN A-----\n",
            "-----BEGIN A-----\nAAAA\n-----END A-----\n",
            "-----BEGIN A-----\n\n-----END B-----\n",
            "-----BEGIN A-----\nA: b\n-----END A-----\n",
            "\n-----END A-----\n",
        ] {
            let text = piece.repeat(COUNT);
            let began = Instant::now();
            let found = items(text.as_bytes());
            let took = began.elapsed();
            assert!(found.len() >= COUNT, "{piece:?}: {}", found.len());
            assert!(took < Duration::from_secs(10), "{piece:?}: {took:?}");
            let good = found.iter().filter(|i| matches!(i, Item::Block(_)));
            assert_eq!(good.count(), blocks(text.as_bytes()).count(), "{piece:?}");
        }
    }
}
