//! Every way in which fetching a key fails. Display is what kxc prints behind the time stamp.

use std::io;
use std::path::PathBuf;

use kx_cert::anchors::ServerCertificatesError;
use kx_cert::pair::PairError;
use kx_http::client::ResponseError;
use kx_http::url::{ExtractError, ParseError, TargetError};
use kx_log::golog::format_errno;
use kx_log::goquote::quote;
use thiserror::Error;

use crate::dial::DialError;
use crate::tls::TlsError;

/// The kinds of failure, for programs. The numbers are those of the C interface and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// The client's certificate or key cannot be loaded.
    ClientPair = 2,
    /// The server certificates cannot be loaded.
    ServerCerts = 3,
    /// The URL cannot be used.
    Url = 4,
    /// No connection: the name has no address, nobody listens, no route, the connection broke.
    Connect = 5,
    /// The TLS handshake failed, or the server sent an alert.
    Tls = 6,
    /// The server is not one of ours.
    Untrusted = 7,
    /// The server answered with another status than 200.
    HttpStatus = 8,
    /// The server's answer is not HTTP as we understand it, or redirects without end.
    Protocol = 9,
    /// The answer ended before it was complete.
    ShortBody = 10,
    /// A time limit passed.
    Timeout = 11,
    /// The answer is longer than [`crate::MAX_BODY`].
    TooLarge = 12,
}

/// Why there is no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The client's certificate and key.
    #[error("Failed to load keys: {0}")]
    ClientPair(ClientPairError),
    /// The trusted server certificates.
    #[error("Failed to load server certs: {0}")]
    ServerCerts(LoadServerCertsError),
    /// The URL.
    #[error("Failed to extract the URL: {0}")]
    Url(ExtractError),
    /// The request had no answer.
    #[error("Failed to get key: Get {}: {cause}", quote(.url))]
    Get {
        /// The URL asked last, passwords hidden.
        url: Vec<u8>,
        /// What went wrong.
        cause: Box<GetError>,
    },
    /// The server refused.
    #[error("HTTP error {} getting key: {}", quote(.status_text), String::from_utf8_lossy(.body))]
    HttpStatus {
        /// The three-digit code.
        status: u16,
        /// Code and reason as sent: `404 Not Found`.
        status_text: Vec<u8>,
        /// The answer's body.
        body: Vec<u8>,
    },
    /// The key's octets did not all come.
    #[error("Error reading key body: {0}")]
    Body(BodyError),
}

/// What is wrong with the client's certificate and key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientPairError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The contents do not make a pair.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// The TLS library does not take them.
    #[error("tls: {0}")]
    Library(#[from] openssl::error::ErrorStack),
}

/// What is wrong with the server certificates.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadServerCertsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content is of no use.
    #[error(transparent)]
    Content(#[from] ServerCertificatesError),
}

/// A file that cannot be read: `open P: no such file or directory`.
#[derive(Debug, Error)]
#[error("{step} {}: {}", path.display(), format_errno(error))]
pub struct FileError {
    /// `open` or `read`.
    pub step: &'static str,
    /// As given.
    pub path: PathBuf,
    /// The system's answer.
    pub error: io::Error,
}

/// Why a request had no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GetError {
    /// No request can be made for the URL, like `kxd:k` or a redirect to another scheme.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No TCP connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS connection, or it ended.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The answer is not HTTP.
    #[error(transparent)]
    Http(#[from] ResponseError),
    /// More than ten redirects.
    #[error("stopped after 10 redirects")]
    TooManyRedirects,
    /// A redirect to something that is no URL.
    #[error("failed to parse Location header {}: {reason}", quote(.location))]
    Location {
        /// As sent.
        location: Vec<u8>,
        /// What is wrong with it.
        reason: ParseError,
    },
    /// The time limit passed while waiting for the answer.
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout,
}

/// Why the body did not come whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It ended early.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The connection failed.
    #[error(transparent)]
    Tls(TlsError),
    /// The frame around it is wrong.
    #[error(transparent)]
    Http(ResponseError),
    /// Nothing came where compressed octets should have been.
    #[error("EOF")]
    Eof,
    /// The compressed form is wrong.
    #[error("gzip: invalid header")]
    Gzip,
    /// It is longer than [`crate::MAX_BODY`].
    #[error("the answer is longer than {} octets", crate::MAX_BODY)]
    TooLarge,
    /// The time limit passed.
    #[error(
        "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
    )]
    Timeout,
}

impl FetchError {
    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ClientPair(_) => Code::ClientPair,
            Self::ServerCerts(_) => Code::ServerCerts,
            Self::Url(_) => Code::Url,
            Self::HttpStatus { .. } => Code::HttpStatus,
            Self::Get { cause, .. } => cause.code(),
            Self::Body(BodyError::UnexpectedEof | BodyError::Eof) => Code::ShortBody,
            Self::Body(BodyError::Tls(e)) => e.code(),
            Self::Body(BodyError::Http(_) | BodyError::Gzip) => Code::Protocol,
            Self::Body(BodyError::TooLarge) => Code::TooLarge,
            Self::Body(BodyError::Timeout) => Code::Timeout,
        }
    }

    /// The HTTP status, when the server answered with another than 200.
    #[must_use]
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::HttpStatus { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether no server of ours was reached, so that trying again later may help: the name did not
    /// resolve, nobody listened, the connection broke, or it took too long.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Get { .. } => matches!(self.code(), Code::Connect | Code::Timeout),
            _ => false,
        }
    }
}

impl GetError {
    fn code(&self) -> Code {
        match self {
            Self::Target(_) | Self::Dial(DialError::InvalidPort(_)) => Code::Url,
            Self::Dial(DialError::Timeout(_)) | Self::Timeout => Code::Timeout,
            Self::Dial(_) => Code::Connect,
            Self::Tls(e) => e.code(),
            Self::Http(ResponseError::Closed) => Code::Connect,
            Self::Http(_) | Self::TooManyRedirects | Self::Location { .. } => Code::Protocol,
        }
    }
}

impl TlsError {
    fn code(&self) -> Code {
        match self {
            Self::Untrusted(_) => Code::Untrusted,
            Self::Timeout => Code::Timeout,
            Self::Eof | Self::UnexpectedEof | Self::Connection(_) => Code::Connect,
            Self::Alert(_) | Self::PlainHttp | Self::NotTls | Self::Version | Self::Library(_) => {
                Code::Tls
            }
        }
    }
}
