//! The server's side of HTTP/1.1 as a machine (kxd spec 7).
//!
//! One [`Connection`] per connection. The caller reads from its socket only when told so:
//!
//! 1. [`poll`](Connection::poll). On [`Step::NeedInput`] read and give it to
//!    [`handle_input`](Connection::handle_input) (end of stream: [`handle_eof`](Connection::handle_eof)), poll again.
//! 2. On [`Step::Request`] find the answer ([`crate::router::route`] and what is behind it). Before
//!    [`respond`](Connection::respond), send what [`poll_interim`](Connection::poll_interim) gives and read on as long as
//!    [`ready_to_respond`](Connection::ready_to_respond) says no: the body of the request has to be taken in first.
//! 3. Send the answer. If [`keep_alive`](Connection::keep_alive) is true go on at 1, else close.
//! 4. On [`Step::Reject`] send its bytes and close.

mod body;
mod headers;
mod reject;
mod request_line;
mod response;
mod write;

use std::borrow::Cow;

use kx_secret::SecretBytes;

use self::body::{Intake, RequestBody};
use self::headers::{Framing, Headers};
use self::reject::Malformed;
use self::write::Exchange;
use crate::lines::{HeadStep, Lines};

pub(crate) use self::headers::{decimal, is_host_octet};
pub(crate) use self::request_line::version;
pub use self::response::{Body, Response};
pub use self::write::status_text;

/// What a caller may feed at once beyond what is asked for.
const MAX_INPUT: usize = 256 << 10;

/// What of a body the handler of `OPTIONS *` reads.
const MAX_OPTIONS_BODY: u64 = 4096;

/// Bounds of what a client may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of request line and headers together, line ends included. Above: 431.
    pub max_head: usize,
    /// Octets of a request body that are read and thrown away to keep a connection. Above: it is closed.
    pub max_discarded_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_head: (1 << 20) + 4096,
            max_discarded_body: 256 << 10,
        }
    }
}

/// The version of a request as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Always 1, or 2 for a connection preface of HTTP/2.
    pub major: u8,
    /// 0 to 9.
    pub minor: u8,
}

/// A request, its body left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method as sent.
    pub method: Vec<u8>,
    /// The request target as sent.
    pub target: Vec<u8>,
    /// The path, percent-decoded; any octets.
    pub path: Vec<u8>,
    /// What stands behind the first `?` of the target.
    pub raw_query: Option<Vec<u8>>,
    /// The version.
    pub version: Version,
    /// An `Expect` that cannot be met: the router answers 417.
    pub unknown_expectation: bool,
}

/// Last words to a client that did not send HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Status of the answer; `None` for a mere close, which is no fault of the client's.
    pub status: Option<u16>,
    /// The whole answer; may be empty.
    pub bytes: Cow<'static, [u8]>,
    /// Whether the client may still be sending. The original shuts down its side, waits 500 ms and then
    /// closes, so that the answer is not lost to a reset.
    pub linger: bool,
}

impl Reject {
    /// Just close.
    fn silent() -> Reject {
        Reject {
            status: None,
            bytes: Cow::Borrowed(&[]),
            linger: false,
        }
    }
}

/// What a connection wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More octets.
    NeedInput,
    /// An answer to this request.
    Request(Request),
    /// Send these and close. Comes again on every further poll.
    Reject(Reject),
}

/// More input than the machine asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("input beyond the bound while none was asked for")]
pub struct InputOverflow;

/// Where a connection stands.
#[derive(Debug)]
enum State {
    /// Before or within the first line of a request.
    RequestLine,
    /// Within the headers of this request.
    Headers(Box<(Request, Headers)>),
    /// A request was handed out and waits for its answer.
    Answering(Framing, Exchange),
    /// The last words were said.
    Rejected(Reject),
    /// The last answer was given.
    Closed,
}

/// One connection of a client. See the [module](self) for the order of calls.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    state: State,
    input: Lines,
    body: RequestBody,
    interim: bool,
    eof: bool,
    linger: bool,
    /// Whether a request was answered on this connection.
    used: bool,
    /// Whether line ends in front of the next request are skipped: only behind a POST, for the sake of
    /// clients of old that send more than they announce.
    skip_line_ends: bool,
}

impl Connection {
    /// A new connection. Allocates nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Connection {
            limits,
            state: State::RequestLine,
            input: Lines::new(limits.max_head),
            body: RequestBody::none(),
            interim: false,
            eof: false,
            linger: false,
            used: false,
            skip_line_ends: false,
        }
    }

    /// Takes in what was read.
    ///
    /// # Errors
    /// [`InputOverflow`] if the caller goes on reading although nothing asked for it; close then.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), InputOverflow> {
        if matches!(self.state, State::Rejected(_) | State::Closed) {
            return Ok(());
        }
        let held = self.input.rest().len();
        if held.saturating_add(bytes.len()) > self.limits.max_head.saturating_add(MAX_INPUT) {
            return Err(InputOverflow);
        }
        self.input.push(bytes);
        Ok(())
    }

    /// The client will send nothing more.
    pub fn handle_eof(&mut self) {
        self.eof = true;
    }

    /// The next step. While a request waits for its answer it is [`Step::NeedInput`].
    pub fn poll(&mut self) -> Step {
        let outcome = match &self.state {
            State::RequestLine | State::Headers(_) => self.read_head(),
            State::Answering(..) => return Step::NeedInput,
            State::Rejected(reject) => return Step::Reject(reject.clone()),
            State::Closed => return Step::Reject(Reject::silent()),
        };
        match outcome {
            Ok(Some(request)) => Step::Request(request),
            Ok(None) if self.eof => self.end_of_input(),
            Ok(None) => {
                self.input.release_if_empty();
                Step::NeedInput
            }
            Err(malformed) => self.reject(malformed.into()),
        }
    }

    /// The interim answer that is due, once. Call it after every [`Step::Request`] and send what it gives.
    pub fn poll_interim(&mut self) -> Option<&'static [u8]> {
        std::mem::take(&mut self.interim).then_some(b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Whether the answer to the request last returned may be given now. If not, more input is needed.
    pub fn ready_to_respond(&mut self) -> bool {
        let used = self.body.take(self.input.rest());
        self.input.consume(used);
        if self.eof {
            self.body.end();
        }
        self.body.intake() != Intake::Pending
    }

    /// Appends the answer to the request last returned to `out`. `date` is the present time in the form of
    /// RFC 9110 section 5.6.7 (`Sun, 06 Nov 1994 08:49:37 GMT`). Nothing happens when no request waits.
    ///
    /// If the caller did not wait for [`ready_to_respond`](Self::ready_to_respond), the connection is closed
    /// rather than the rest of the body taken for a request. `out` is never grown in place, so a key that
    /// stands in it is not left behind in freed memory.
    pub fn respond(&mut self, response: &Response, date: &str, out: &mut SecretBytes) {
        self.ready_to_respond();
        let State::Answering(framing, exchange) = &self.state else {
            return;
        };
        let close = write::write(response, exchange, framing, self.body.intake(), date, out);
        self.interim = false;
        if close {
            self.linger = !self.body.is_received(self.input.rest());
            self.input.clear();
            self.state = State::Closed;
        } else {
            self.input.begin_head();
            self.state = State::RequestLine;
            self.used = true;
        }
    }

    /// After [`respond`](Self::respond): whether the connection stays open.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        !matches!(self.state, State::Closed | State::Rejected(_))
    }

    /// After [`respond`](Self::respond), when the connection is not kept: whether the client may still be
    /// sending, as in [`Reject::linger`].
    #[must_use]
    pub fn linger(&self) -> bool {
        self.linger
    }

    /// Whether no octet of a further request was received. After a [`poll`](Self::poll) in this state no
    /// memory is held beyond the struct itself.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::RequestLine) && self.input.rest().is_empty()
    }

    fn reject(&mut self, reject: Reject) -> Step {
        self.input.clear();
        self.linger = reject.linger;
        self.state = State::Rejected(reject.clone());
        Step::Reject(reject)
    }

    /// The input ended where a request was expected or within its head.
    fn end_of_input(&mut self) -> Step {
        let seen = self.input.seen_of_head();
        // Between requests the original looks out for four octets before it begins to read.
        let nothing_came = seen == 0 || (self.used && seen < 4);
        if nothing_came && matches!(self.state, State::RequestLine) {
            self.reject(Reject::silent())
        } else {
            self.reject(Malformed::Syntax.into())
        }
    }

    fn read_head(&mut self) -> Result<Option<Request>, Malformed> {
        let (request, mut headers) = match std::mem::replace(&mut self.state, State::RequestLine) {
            State::Headers(head) => *head,
            _ => match self.read_request_line()? {
                Some(request) => (request, Headers::default()),
                None => return Ok(None),
            },
        };
        loop {
            match self.input.header(|field| headers.add(field))? {
                HeadStep::More => {}
                HeadStep::End => return self.begin_answer(request, &headers).map(Some),
                HeadStep::NeedInput => {
                    self.state = State::Headers(Box::new((request, headers)));
                    return Ok(None);
                }
            }
        }
    }

    fn read_request_line(&mut self) -> Result<Option<Request>, Malformed> {
        if self.skip_line_ends {
            let rest = self.input.rest();
            if rest.len() < 4 && !self.eof {
                return Ok(None);
            }
            let is_end = |octet: &&u8| matches!(octet, b'\r' | b'\n');
            let skipped = rest.iter().take(4).take_while(is_end).count();
            self.input.consume(skipped);
            self.skip_line_ends = false;
        }
        self.input.line(request_line::parse)?.transpose()
    }

    fn begin_answer(
        &mut self,
        mut request: Request,
        headers: &Headers,
    ) -> Result<Request, Malformed> {
        let framing = headers.finish(&request)?;
        let exchange = Exchange::new(&request);
        self.skip_line_ends = request.method == b"POST";
        request.unknown_expectation = framing.unknown_expectation;
        self.body = if exchange.reads_body && !framing.unknown_expectation {
            self.interim = framing.expects_continue;
            RequestBody::read(&framing, MAX_OPTIONS_BODY)
        } else {
            // The answer to `*` closes the connection by itself; see `Response::close`.
            let closing = (framing.wants_close && !framing.wants_keep_alive_10)
                || framing.expects_continue
                || framing.unknown_expectation
                || framing.preface
                || (request.target == b"*" && request.version >= Version { major: 1, minor: 1 });
            let limit = u64::try_from(self.limits.max_discarded_body).unwrap_or(u64::MAX);
            RequestBody::discarded(&framing, closing, limit)
        };
        self.state = State::Answering(framing, exchange);
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
