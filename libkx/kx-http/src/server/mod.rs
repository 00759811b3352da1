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

mod response;

use std::borrow::Cow;

use zeroize::Zeroizing;

pub use response::{Body, Response};

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
    /// The whole answer; may be empty.
    pub bytes: Cow<'static, [u8]>,
    /// Whether the client may still be sending. The original shuts down its side, waits 500 ms and then
    /// closes, so that the answer is not lost to a reset.
    pub linger: bool,
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

/// One connection of a client. See the [module](self) for the order of calls.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    buffer: Vec<u8>,
    eof: bool,
}

impl Connection {
    /// A new connection. Allocates nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Connection {
            limits,
            buffer: Vec::new(),
            eof: false,
        }
    }

    /// Takes in what was read.
    ///
    /// # Errors
    /// [`InputOverflow`] if the caller goes on reading although nothing asked for it; close then.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), InputOverflow> {
        if self.buffer.len().saturating_add(bytes.len()) > self.limits.max_head.saturating_mul(2) {
            return Err(InputOverflow);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The client will send nothing more.
    pub fn handle_eof(&mut self) {
        self.eof = true;
    }

    /// The next step.
    pub fn poll(&mut self) -> Step {
        if self.eof {
            return Step::Reject(Reject {
                bytes: Cow::Borrowed(&[]),
                linger: false,
            });
        }
        Step::NeedInput
    }

    /// The interim answer that is due, once. Call it after every [`Step::Request`] and send what it gives.
    pub fn poll_interim(&mut self) -> Option<&'static [u8]> {
        None
    }

    /// Whether the answer to the request last returned may be given now. If not, more input is needed.
    pub fn ready_to_respond(&mut self) -> bool {
        true
    }

    /// Appends the answer to the request last returned to `out`. `date` is the present time in the form of
    /// RFC 9110 section 5.6.7 (`Sun, 06 Nov 1994 08:49:37 GMT`).
    pub fn respond(&mut self, _response: &Response, _date: &str, _out: &mut Zeroizing<Vec<u8>>) {}

    /// After [`respond`](Self::respond): whether the connection stays open.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        false
    }

    /// After [`respond`](Self::respond), when the connection is not kept: whether the client may still be
    /// sending, as in [`Reject::linger`].
    #[must_use]
    pub fn linger(&self) -> bool {
        false
    }

    /// Whether no octet of a further request was received. No memory is held then.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty()
    }
}
