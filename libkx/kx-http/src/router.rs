//! Which answer a path gets (kxd spec 7, items 1 to 3), for HTTP/1.1 and HTTP/2 alike.

use std::borrow::Cow;

use crate::server::{Request, Response, Version};
use crate::url::{Part, RequestTarget, escape};

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
    if request.unknown_expectation {
        return Route::Response(Response {
            close: true,
            ..Response::empty(417)
        });
    }
    let mut route = route_parts(&Parts {
        method: &request.method,
        path: &request.path,
        raw_query: request.raw_query.as_deref(),
        asterisk: request.target == b"*",
    });
    if let Route::Response(response) = &mut route {
        response.close &= request.version >= Version { major: 1, minor: 1 };
    }
    route
}

/// Routes a request given by its parts.
#[must_use]
pub fn route_parts(parts: &Parts<'_>) -> Route {
    if parts.asterisk {
        return Route::Response(if parts.method == b"OPTIONS" {
            Response {
                declares_no_content: true,
                ..Response::empty(200)
            }
        } else {
            Response {
                close: true,
                ..Response::empty(400)
            }
        });
    }
    // A tunnel's target is not a path to be tidied, so CONNECT is routed by what it says.
    let path = if parts.method == b"CONNECT" {
        Cow::Borrowed(parts.path)
    } else {
        clean_request_path(parts.path)
    };
    if *path == *b"/v1" {
        return Route::Response(redirect(parts, b"/v1/"));
    }
    if *path != *parts.path {
        return Route::Response(redirect(parts, &path));
    }
    if path.starts_with(b"/v1/") {
        return Route::V1 {
            path: path.into_owned(),
        };
    }
    Route::Response(Response::error(404, "404 page not found"))
}

/// Routes a request given by its method and its target as sent: HTTP/2's `:method` and `:path`. A target that
/// does not parse is answered with 400.
#[must_use]
pub fn route_target(method: &[u8], target: &[u8]) -> Route {
    let Ok(parsed) = RequestTarget::parse(target) else {
        return Route::Response(Response::error(400, "400 Bad Request"));
    };
    route_parts(&Parts {
        method,
        path: &parsed.path,
        raw_query: parsed.raw_query.as_deref(),
        asterisk: target == b"*",
    })
}

/// The key path in a percent-decoded request path: cleaned, without `/v1/` (kxd spec 3, row 2). Any octets.
///
/// # Errors
/// [`KeyPathError`].
pub fn key_path(path: &[u8]) -> Result<Vec<u8>, KeyPathError> {
    if path.first() != Some(&b'/') {
        return Err(KeyPathError::InvalidVersion);
    }
    let clean = clean(path);
    let key = clean
        .strip_prefix(b"/v1/")
        .ok_or(KeyPathError::InvalidVersion)?;
    if key.windows(2).any(|pair| pair == b"..") {
        return Err(KeyPathError::DotDot);
    }
    Ok(key.to_vec())
}

/// The path that a request should have had: rooted, without `.`, `..` and empty parts, a trailing slash kept.
fn clean_request_path(path: &[u8]) -> Cow<'_, [u8]> {
    if path.first() != Some(&b'/') {
        let mut rooted = Vec::with_capacity(path.len().saturating_add(1));
        rooted.push(b'/');
        rooted.extend_from_slice(path);
        return Cow::Owned(clean_request_path(&rooted).into_owned());
    }
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    if path.len() == 1 || is_clean(inner) {
        return Cow::Borrowed(path);
    }
    let mut cleaned = clean(path).into_owned();
    if path.ends_with(b"/") && cleaned.len() > 1 {
        cleaned.push(b'/');
    }
    Cow::Owned(cleaned)
}

/// Whether a rooted path without trailing slash has neither `.` nor `..` nor empty parts.
fn is_clean(path: &[u8]) -> bool {
    let mut parts = path.split(|&octet| octet == b'/');
    parts.next();
    parts.all(|part| !matches!(part, b"" | b"." | b".."))
}

/// A rooted path without `.`, `..`, empty parts and trailing slash (Go's `path.Clean`).
fn clean(path: &[u8]) -> Cow<'_, [u8]> {
    if path.len() > 1 && is_clean(path) {
        return Cow::Borrowed(path);
    }
    let mut cleaned = Vec::with_capacity(path.len());
    for part in path.split(|&octet| octet == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let parent = cleaned.iter().rposition(|&octet| octet == b'/');
                cleaned.truncate(parent.unwrap_or(0));
            }
            part => {
                cleaned.push(b'/');
                cleaned.extend_from_slice(part);
            }
        }
    }
    if cleaned.is_empty() {
        cleaned.push(b'/');
    }
    Cow::Owned(cleaned)
}

/// 301 to a path of this server, the query kept. GET also gets a page that says so.
fn redirect(parts: &Parts<'_>, path: &[u8]) -> Response {
    let mut url = escape(path, Part::Path).into_owned();
    if let Some(query) = parts.raw_query.filter(|query| !query.is_empty()) {
        url.push(b'?');
        url.extend_from_slice(query);
    }
    let page = (parts.method == b"GET").then(|| {
        let mut page = b"<a href=\"".to_vec();
        for &octet in &url {
            match octet {
                b'&' => page.extend_from_slice(b"&amp;"),
                b'<' => page.extend_from_slice(b"&lt;"),
                b'>' => page.extend_from_slice(b"&gt;"),
                b'"' => page.extend_from_slice(b"&#34;"),
                b'\'' => page.extend_from_slice(b"&#39;"),
                octet => page.push(octet),
            }
        }
        page.extend_from_slice(b"\">Moved Permanently</a>.\n\n");
        page
    });
    let typed = matches!(parts.method, b"GET" | b"HEAD");
    Response::redirect(ascii_location(&url), typed, page)
}

/// `url` with octets beyond ASCII escaped (they can only stand in its query).
fn ascii_location(url: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut location = String::with_capacity(url.len());
    for &octet in url {
        if octet.is_ascii() {
            location.push(char::from(octet));
        } else {
            // Writing to a String cannot fail. Small letters, as the original does here and only here.
            let _ = write!(location, "%{octet:02x}");
        }
    }
    location
}

#[cfg(test)]
mod tests {
    use super::{KeyPathError, Parts, Route, clean_request_path, key_path, route_parts};

    #[test]
    fn cleaning() {
        for (path, cleaned) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("a", "/a"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/a/.", "/a"),
            ("/a/./", "/a/"),
            ("/a/b/..", "/a"),
            ("/a/../", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/...", "/a/..."),
            ("/.a/b..", "/.a/b.."),
        ] {
            assert_eq!(
                &*clean_request_path(path.as_bytes()),
                cleaned.as_bytes(),
                "{path}"
            );
        }
    }

    #[test]
    fn key_paths() {
        let key = |path: &str| key_path(path.as_bytes());
        assert_eq!(key("/v1/k"), Ok(b"k".to_vec()));
        assert_eq!(key("/v1/d//e/"), Ok(b"d/e".to_vec()));
        assert_eq!(key("/v1/x/../k"), Ok(b"k".to_vec()));
        for path in ["/v1/", "/v1", "/", "", "v1/k", "/v1/..", "/v2/k"] {
            assert_eq!(key(path), Err(KeyPathError::InvalidVersion), "{path}");
        }
        for path in ["/v1/a..b", "/v1/...", "/v1/..\\k"] {
            assert_eq!(key(path), Err(KeyPathError::DotDot), "{path}");
        }
        assert_eq!(key_path(b"/v1/\xff"), Ok(b"\xff".to_vec()));
    }

    fn location(method: &str, path: &[u8], query: &[u8]) -> (String, Vec<u8>) {
        let route = route_parts(&Parts {
            method: method.as_bytes(),
            path,
            raw_query: Some(query),
            asterisk: false,
        });
        let Route::Response(response) = route else {
            panic!("not a response");
        };
        assert_eq!(response.status, 301);
        (response.location.unwrap(), response.body.as_ref().to_vec())
    }

    #[test]
    fn redirects() {
        let (url, page) = location("GET", b"/v1//k\xff?", b"a='<\xc3\xa9");
        assert_eq!(url, "/v1/k%FF%3F?a='<%c3%a9");
        assert_eq!(
            page,
            b"<a href=\"/v1/k%FF%3F?a=&#39;&lt;\xc3\xa9\">Moved Permanently</a>.\n\n"
        );
        let (url, page) = location("CONNECT", b"/v1", b"");
        assert_eq!((url.as_str(), page.as_slice()), ("/v1/", &b""[..]));
    }
}
