//! Reading an answer (RFC 9112 section 6), with the original's leniency and strictness.

use zeroize::Zeroizing;

use super::failure::{BodyFailure, HeadFailure, ResponseError};
use crate::chunked::{ChunkError, Decoder, Progress};
use crate::lines::{HeadError, HeadStep, Lines};
use crate::server::{decimal, version};
use crate::token::{Field, list_has, trim_blanks};

/// Bounds of what a server may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of status line and headers, interim answers included.
    pub max_head: usize,
    /// Octets of the body.
    pub max_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_head: 10 << 20,
            max_body: 256 << 20,
        }
    }
}

/// What the head of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Code and reason as sent: `404 Not Found`.
    pub status: Vec<u8>,
    /// The code.
    pub code: u16,
    /// The first Location header, if it says anything.
    pub location: Option<Vec<u8>>,
    /// Whether the body is compressed by gzip.
    pub gzip: bool,
}

impl ResponseHead {
    /// Where to go instead, if this is a redirect that tells.
    #[must_use]
    pub fn redirect(&self) -> Option<&[u8]> {
        match self.code {
            301 | 302 | 303 | 307 | 308 => self.location.as_deref(),
            _ => None,
        }
    }
}

/// What became of an answer so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// More octets are needed.
    NeedInput,
    /// The head, once.
    Head(ResponseHead),
    /// The whole body, once, as sent (see [`ResponseHead::gzip`]).
    Body(Zeroizing<Vec<u8>>),
    /// Nothing more will come.
    Done,
}

#[derive(Debug)]
enum BodyState {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

#[derive(Debug)]
enum State {
    StatusLine,
    Headers(Box<HeadDraft>),
    Body(BodyState),
    Done,
    Failed(ResponseError),
}

/// A head of which not all headers were read.
#[derive(Debug, Default)]
struct HeadDraft {
    status: Vec<u8>,
    code: u16,
    at_least_11: bool,
    location: Option<Vec<u8>>,
    encoding: Option<Vec<u8>>,
    lengths: Vec<Vec<u8>>,
    transfer_encodings: Vec<Vec<u8>>,
    trailer: Option<&'static str>,
}

/// Reads one answer to a GET.
#[derive(Debug)]
pub struct ResponseReader {
    limits: Limits,
    input: Lines,
    state: State,
    body: Zeroizing<Vec<u8>>,
    eof: bool,
}

impl ResponseReader {
    /// A reader for the answer to a request just sent.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        ResponseReader {
            limits,
            input: Lines::new(limits.max_head),
            state: State::StatusLine,
            body: Zeroizing::new(Vec::new()),
            eof: false,
        }
    }

    /// Takes in what was received. Poll before every further call, so that not more than a head is held.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Done | State::Failed(_)) {
            self.input.push(bytes);
        }
    }

    /// The server will send nothing more.
    pub fn handle_eof(&mut self) {
        self.eof = true;
    }

    /// Whether the answer needs more octets or its end would do. True while a body has no announced length:
    /// then how the stream ends matters.
    #[must_use]
    pub fn reads_until_close(&self) -> bool {
        matches!(self.state, State::Body(BodyState::UntilClose))
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`ResponseError`], and the same one ever after.
    pub fn poll(&mut self) -> Result<Event, ResponseError> {
        let outcome = self.step();
        if let Err(error) = &outcome {
            self.state = State::Failed(error.clone());
            self.input.clear();
        }
        outcome
    }

    fn step(&mut self) -> Result<Event, ResponseError> {
        loop {
            match &mut self.state {
                State::StatusLine => match self.status_line()? {
                    Some(draft) => self.state = State::Headers(Box::new(draft)),
                    None => return Ok(Event::NeedInput),
                },
                State::Headers(draft) => {
                    let step = self.input.header(|field| draft.add(field));
                    match step.map_err(|error| head_error(error, self.limits))? {
                        HeadStep::More => {}
                        HeadStep::End => {
                            if let Some(head) = self.finish_head()? {
                                return Ok(Event::Head(head));
                            }
                        }
                        HeadStep::NeedInput if self.eof => return Err(self.cut_off_head()),
                        HeadStep::NeedInput => return Ok(Event::NeedInput),
                    }
                }
                State::Body(_) => return self.read_body(),
                State::Done => return Ok(Event::Done),
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    fn status_line(&mut self) -> Result<Option<HeadDraft>, ResponseError> {
        let line = self.input.line(HeadDraft::from_status_line);
        if let Some(draft) = line.map_err(|error| head_error(error, self.limits))? {
            return Ok(Some(draft?));
        }
        if !self.eof {
            return Ok(None);
        }
        if self.input.seen_of_head() == 0 {
            return Err(ResponseError::Closed);
        }
        // What stands there counts as a line, and if it is a good one its headers are missing.
        HeadDraft::from_status_line(self.input.rest())?;
        Err(HeadFailure::UnexpectedEof.into())
    }

    /// Why headers that end too early are no good: the last line is looked at although it has no end.
    fn cut_off_head(&self) -> ResponseError {
        let rest = self.input.rest();
        let is_header = rest.is_empty() || rest.contains(&b':');
        ResponseError::Head(if is_header {
            HeadFailure::UnexpectedEof
        } else {
            HeadFailure::Header(HeadError::NoColon(rest.to_vec()))
        })
    }

    /// All headers are there. None: that was an interim answer.
    fn finish_head(&mut self) -> Result<Option<ResponseHead>, HeadFailure> {
        let State::Headers(draft) = std::mem::replace(&mut self.state, State::StatusLine) else {
            return Ok(None);
        };
        let body = draft.body()?;
        if (100..200).contains(&draft.code) && draft.code != 101 {
            self.input.continue_head();
            return Ok(None);
        }
        let gzip = draft
            .encoding
            .is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
        let head = ResponseHead {
            status: draft.status,
            code: draft.code,
            location: draft.location.filter(|location| !location.is_empty()),
            gzip: gzip && !matches!(body, BodyState::Length(0)),
        };
        self.state = State::Body(body);
        Ok(Some(head))
    }

    fn read_body(&mut self) -> Result<Event, ResponseError> {
        let State::Body(state) = &mut self.state else {
            return Ok(Event::NeedInput);
        };
        loop {
            let rest = self.input.rest();
            let (used, data, finished) = match state {
                BodyState::UntilClose => (rest.len(), rest, self.eof),
                BodyState::Length(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    (take, rest.get(..take).unwrap_or_default(), *left == 0)
                }
                BodyState::Chunked(decoder) => {
                    match decoder.decode(rest).map_err(BodyFailure::Chunk)? {
                        (used, Progress::Data(data)) => (used, data, false),
                        (used, Progress::NeedInput) => (used, &[][..], false),
                        (used, Progress::Done) => (used, &[][..], true),
                    }
                }
            };
            let went_on = !data.is_empty();
            append(&mut self.body, data, self.limits.max_body)?;
            self.input.consume(used);
            if finished {
                self.state = State::Done;
                self.input.clear();
                return Ok(Event::Body(std::mem::take(&mut self.body)));
            }
            if !went_on {
                break;
            }
        }
        if !self.eof {
            return Ok(Event::NeedInput);
        }
        let at_trailer = match state {
            BodyState::Chunked(decoder) => decoder.is_at_trailer(),
            _ => false,
        };
        Err(ResponseError::Body(match at_trailer {
            true if self.input.rest().len() < 2 => BodyFailure::TrailerEof,
            true => BodyFailure::Chunk(ChunkError::LongTrailer),
            false => BodyFailure::UnexpectedEof,
        }))
    }
}

fn head_error(error: HeadError, limits: Limits) -> ResponseError {
    ResponseError::Head(match error {
        HeadError::TooLarge => HeadFailure::TooLarge(limits.max_head),
        other => HeadFailure::Header(other),
    })
}

/// Appends to a secret; its old places are wiped when it has to move.
fn append(body: &mut Zeroizing<Vec<u8>>, data: &[u8], limit: usize) -> Result<(), BodyFailure> {
    let length = body.len().saturating_add(data.len());
    if length > limit {
        return Err(BodyFailure::TooLarge(limit));
    }
    if length > body.capacity() {
        let room = length.max(body.capacity().saturating_mul(2));
        let mut grown = Zeroizing::new(Vec::with_capacity(room));
        grown.extend_from_slice(body);
        *body = grown;
    }
    body.extend_from_slice(data);
    Ok(())
}

impl HeadDraft {
    /// Reads `HTTP/X.Y CODE REASON`.
    fn from_status_line(line: &[u8]) -> Result<HeadDraft, HeadFailure> {
        let mut parts = line.splitn(2, |&octet| octet == b' ');
        let (Some(protocol), Some(status)) = (parts.next(), parts.next()) else {
            return Err(HeadFailure::StatusLine(line.to_vec()));
        };
        let blanks = status.iter().take_while(|&&octet| octet == b' ').count();
        let status = status.get(blanks..).unwrap_or_default();
        let text = status
            .split(|&octet| octet == b' ')
            .next()
            .unwrap_or_default();
        // Like the original this takes a sign for a digit: `+20`.
        let code = std::str::from_utf8(text)
            .ok()
            .filter(|text| text.len() == 3)
            .and_then(|text| text.parse::<i32>().ok())
            .and_then(|code| u16::try_from(code).ok())
            .ok_or_else(|| HeadFailure::StatusCode(text.to_vec()))?;
        let version = version(protocol).ok_or_else(|| HeadFailure::Version(protocol.to_vec()))?;
        Ok(HeadDraft {
            status: status.to_vec(),
            code,
            at_least_11: (version.major, version.minor) >= (1, 1),
            ..HeadDraft::default()
        })
    }

    fn add(&mut self, field: Field<'_>) {
        let Field { name, value } = field;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("Location") {
            self.location.get_or_insert_with(|| value.to_vec());
        } else if is("Content-Encoding") {
            self.encoding.get_or_insert_with(|| value.to_vec());
        } else if is("Content-Length") {
            self.lengths.push(value.to_vec());
        } else if is("Transfer-Encoding") {
            self.transfer_encodings.push(value.to_vec());
        } else if is("Trailer") {
            let banned = ["Transfer-Encoding", "Trailer", "Content-Length"];
            let found = banned
                .into_iter()
                .find(|key| list_has(value, key.as_bytes()));
            self.trailer = self.trailer.or(found);
        }
    }

    /// How the body is delimited.
    fn body(&self) -> Result<BodyState, HeadFailure> {
        let chunked = self.at_least_11 && !self.transfer_encodings.is_empty();
        if chunked {
            match self.transfer_encodings.as_slice() {
                [one] if one.eq_ignore_ascii_case(b"chunked") => {}
                [one] => return Err(HeadFailure::TransferEncoding(one.clone())),
                several => return Err(HeadFailure::TransferEncodings(several.to_vec())),
            }
        }
        let length = self.length()?;
        if chunked && let Some(key) = self.trailer {
            return Err(HeadFailure::Trailer(key));
        }
        Ok(match self.code {
            100..200 | 204 | 304 => BodyState::Length(0),
            _ if chunked => BodyState::Chunked(Decoder::new()),
            _ => length.map_or(BodyState::UntilClose, BodyState::Length),
        })
    }

    /// The announced length. An empty one is none.
    fn length(&self) -> Result<Option<u64>, HeadFailure> {
        let Some((first, more)) = self.lengths.split_first() else {
            return Ok(None);
        };
        if more
            .iter()
            .any(|other| trim_blanks(other) != trim_blanks(first))
        {
            return Err(HeadFailure::ContentLengths(self.lengths.clone()));
        }
        if first.is_empty() {
            return Ok(None);
        }
        match decimal(first) {
            Some(length) => Ok(Some(length)),
            None => Err(HeadFailure::ContentLength(first.clone())),
        }
    }
}
