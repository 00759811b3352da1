//! Which answer a path gets (kxd spec 7, items 1 to 3), for HTTP/1.1 and HTTP/2 alike.

use crate::server::{Request, Response};

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// It is answered already: a redirect, 404, `OPTIONS *`, 400, 417.
    Response(Response),
    /// It asks for a key.
    V1 {
        /// The percent-decoded path, cleaned but for a trailing slash (not even that for CONNECT).
        path: Vec<u8>,
    },
}

/// What the router looks at.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method as sent.
    pub method: &'a [u8],
    /// The percent-decoded path.
    pub path: &'a [u8],
    /// The query as sent, without `?`. None and empty are the same here.
    pub raw_query: Option<&'a [u8]>,
    /// Whether the target was `*` and nothing else.
    pub asterisk: bool,
}

/// Why a path names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyPathError {
    /// Nothing is left behind `/v1/`, or it is not there.
    #[error("invalid version")]
    InvalidVersion,
    /// Two dots in a row, anywhere.
    #[error("path contains '..'")]
    DotDot,
}

/// Routes a request of HTTP/1.x.
#[must_use]
pub fn route(request: &Request) -> Route {
    route_parts(&Parts {
        method: &request.method,
        path: &request.path,
        raw_query: request.raw_query.as_deref(),
        asterisk: request.target == b"*",
    })
}

/// Routes a request given by its parts.
#[must_use]
pub fn route_parts(_parts: &Parts<'_>) -> Route {
    Route::Response(Response::error(404, "404 page not found"))
}

/// The key path in a percent-decoded request path: cleaned, without `/v1/` (kxd spec 3, row 2). Any octets.
///
/// # Errors
/// [`KeyPathError`].
pub fn key_path(_path: &[u8]) -> Result<Vec<u8>, KeyPathError> {
    Err(KeyPathError::InvalidVersion)
}
