//! Requests that end before, or after, they could be decided: told to metrics and access log. The log
//! itself says nothing of them, as the original's.

use super::Shared;
use crate::access_log;
use crate::clock;
use crate::handler::Caller;

/// What was wrong with a request, or with how the client took its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not HTTP, or too long: answered with this status.
    Malformed(u16),
    /// Not HTTP/2; the library's words.
    Http2(String),
    /// The header took longer than `--header_timeout`.
    HeaderTimeout,
    /// The announced body took as long.
    BodyTimeout,
    /// Too many large headers at once.
    LargeHeaders,
    /// The answer was not taken in time.
    AnswerTimeout,
}

impl Fault {
    /// One word for the access log and the metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Fault::Malformed(_) => "malformed",
            Fault::Http2(_) => "http2",
            Fault::HeaderTimeout => "header_timeout",
            Fault::BodyTimeout => "body_timeout",
            Fault::LargeHeaders => "large_headers",
            Fault::AnswerTimeout => "answer_timeout",
        }
    }

    fn event(&self) -> &'static str {
        match self {
            Fault::AnswerTimeout => "answer_cut",
            _ => "bad_request",
        }
    }
}

/// Counts the fault and writes it to the access log.
pub(super) fn tell(shared: &Shared, caller: &Caller<'_>, fault: &Fault) {
    match fault {
        Fault::Malformed(status) => shared.metrics.malformed(*status),
        other => shared.metrics.dropped(other.reason()),
    }
    if let Some(log) = &shared.access_log {
        log.fault(&access_log::FaultEntry {
            time: clock::now(),
            event: fault.event(),
            remote: &caller.peer.text,
            status: match fault {
                Fault::Malformed(status) => Some(*status),
                _ => None,
            },
            reason: fault.reason(),
            error: match fault {
                Fault::Http2(text) => Some(text),
                _ => None,
            },
            certificate: caller.client.map(|c| &c.leaf),
            tls_version: caller.tls_version,
        });
    }
}
