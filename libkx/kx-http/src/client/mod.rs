//! The client's side of HTTP/1.1: one GET and its answer (kxd spec 8).
//!
//! [`get`] makes the request. A [`ResponseReader`] takes what comes back: [`poll`](ResponseReader::poll) it, read on
//! [`Event::NeedInput`], look at [`Event::Head`] for a redirect, and go on for [`Event::Body`].

mod failure;
mod response;

use zeroize::Zeroizing;

use crate::url::Target;

pub use self::failure::{BodyFailure, HeadFailure, ResponseError};
pub use self::response::{Event, Limits, ResponseHead, ResponseReader};
pub use crate::chunked::ChunkError;
pub use crate::lines::HeadError;

/// The most redirects that are followed; one more is an error.
pub const MAX_REDIRECTS: usize = 10;

/// Too many redirects. The URL shown with it is the last Location as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped after {MAX_REDIRECTS} redirects")]
pub struct TooManyRedirects;

/// The octets of a GET. `referer` is what [`crate::url::Url::referer`] says after a redirect. Secret when the URL has
/// a password.
#[must_use]
pub fn get(target: &Target, referer: Option<&[u8]>) -> Zeroizing<Vec<u8>> {
    let authorization = target.authorization.as_deref().map(Vec::as_slice);
    let headers: [(&str, Option<&[u8]>); 5] = [
        ("Host", Some(&target.host_header)),
        ("User-Agent", Some(b"Go-http-client/1.1")),
        ("Authorization", authorization),
        ("Referer", referer),
        ("Accept-Encoding", Some(b"gzip")),
    ];
    let length = headers
        .iter()
        .filter_map(|(name, value)| Some(name.len().saturating_add(value.as_ref()?.len())))
        .fold(target.request_target.len(), usize::saturating_add);
    // Room for all of it: growing would leave copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(64)));
    for part in [&b"GET "[..], &target.request_target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    for (name, value) in headers {
        if let Some(value) = value {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests;
