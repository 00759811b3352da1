//! What can be wrong with an answer, in the original's words.

use kx_log::goquote::quote;

use crate::chunked::ChunkError;
use crate::lines::HeadError;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The connection ended before an answer. kxc: `Failed to get key: Get "URL": EOF`.
    #[error("EOF")]
    Closed,
    /// The head cannot be read. kxc: `Failed to get key: Get "URL": ERR`.
    #[error("net/http: HTTP/1.x transport connection broken: {0}")]
    Head(#[from] HeadFailure),
    /// The body cannot be read. kxc: `Error reading key body: ERR`.
    #[error(transparent)]
    Body(#[from] BodyFailure),
}

/// What is wrong with the head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadFailure {
    /// The connection ended within it.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The first line has no space.
    #[error("malformed HTTP response {}", quote(.0))]
    StatusLine(Vec<u8>),
    /// What should be the status code is not three digits.
    #[error("malformed HTTP status code {}", quote(.0))]
    StatusCode(Vec<u8>),
    /// What should be the version is not one.
    #[error("malformed HTTP version {}", quote(.0))]
    Version(Vec<u8>),
    /// A header line is malformed.
    #[error(transparent)]
    Header(HeadError),
    /// Head and interim answers before it are longer than allowed.
    #[error("net/http: server response headers exceeded {0} bytes; aborted")]
    TooLarge(usize),
    /// A transfer coding other than chunked.
    #[error("unsupported transfer encoding: {}", quote(.0))]
    TransferEncoding(Vec<u8>),
    /// Several Transfer-Encoding headers.
    #[error("too many transfer encodings: {}", quoted_list(.0))]
    TransferEncodings(Vec<Vec<u8>>),
    /// A Content-Length that is no number.
    #[error("bad Content-Length {}", quote(.0))]
    ContentLength(Vec<u8>),
    /// Several that differ.
    #[error("http: message cannot contain multiple Content-Length headers; got {}", quoted_list(.0))]
    ContentLengths(Vec<Vec<u8>>),
    /// The Trailer header announces a header that cannot be in a trailer.
    #[error("bad trailer key {}", quote(.0.as_bytes()))]
    Trailer(&'static str),
}

/// What is wrong with the body of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyFailure {
    /// It is shorter than announced.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The connection ended where the trailer section should be.
    #[error("http: unexpected EOF reading trailer")]
    TrailerEof,
    /// The chunked coding is broken.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// It is longer than the caller's bound, in octets. The original has no bound.
    #[error("body is longer than {0} bytes")]
    TooLarge(usize),
}

fn quoted_list(values: &[Vec<u8>]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", quoted.join(" "))
}
