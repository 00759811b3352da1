//! What malformed requests are told (kxd spec 7 "Malformed requests").

use std::borrow::Cow;

use super::Reject;
use crate::lines::HeadError;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Anything without a variant of its own.
    #[error("400 Bad Request")]
    Syntax,
    /// A field name with a space in it.
    #[error("400 Bad Request: invalid header name")]
    FieldName,
    /// HTTP/1.1 without Host.
    #[error("400 Bad Request: missing required Host header")]
    HostMissing,
    /// Host holds an octet that cannot be in one.
    #[error("400 Bad Request: malformed Host header")]
    HostInvalid,
    /// The head is longer than allowed.
    #[error("431 Request Header Fields Too Large")]
    HeadTooLarge,
    /// A transfer coding other than chunked.
    #[error("501 Not Implemented")]
    TransferEncoding,
    /// Neither HTTP/1.x nor the preface of HTTP/2.
    #[error("505 HTTP Version Not Supported: unsupported protocol version")]
    Version,
}

macro_rules! answer {
    ($status:literal) => {
        answer!($status, $status)
    };
    ($status:literal, $body:literal) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
            $body
        )
    };
}

impl Malformed {
    fn status(self) -> u16 {
        match self {
            Malformed::Syntax
            | Malformed::FieldName
            | Malformed::HostMissing
            | Malformed::HostInvalid => 400,
            Malformed::HeadTooLarge => 431,
            Malformed::TransferEncoding => 501,
            Malformed::Version => 505,
        }
    }

    /// The whole answer. Unlike all others it has neither Date nor Content-Length.
    fn answer(self) -> &'static str {
        match self {
            Malformed::Syntax => answer!("400 Bad Request"),
            Malformed::FieldName => answer!("400 Bad Request: invalid header name"),
            Malformed::HostMissing => answer!("400 Bad Request: missing required Host header"),
            Malformed::HostInvalid => answer!("400 Bad Request: malformed Host header"),
            Malformed::HeadTooLarge => answer!("431 Request Header Fields Too Large"),
            Malformed::TransferEncoding => {
                answer!("501 Not Implemented", "Unsupported transfer encoding")
            }
            Malformed::Version => {
                answer!("505 HTTP Version Not Supported: unsupported protocol version")
            }
        }
    }
}

impl From<HeadError> for Malformed {
    fn from(error: HeadError) -> Malformed {
        match error {
            HeadError::TooLarge => Malformed::HeadTooLarge,
            _ => Malformed::Syntax,
        }
    }
}

impl From<Malformed> for Reject {
    fn from(malformed: Malformed) -> Reject {
        Reject {
            status: Some(malformed.status()),
            bytes: Cow::Borrowed(malformed.answer().as_bytes()),
            linger: malformed == Malformed::HeadTooLarge,
        }
    }
}
