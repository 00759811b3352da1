//! The request target of HTTP (RFC 9112 section 3.2), as far as a server needs it.

use super::{ParseError, ParseReason, Url, cut};

/// Path and query of a request target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget {
    /// The path, unescaped. Empty for an absolute URL without one, and `*` for `*`.
    pub path: Vec<u8>,
    /// What is behind the first `?`, as sent.
    pub raw_query: Option<Vec<u8>>,
}

impl RequestTarget {
    /// Reads the target of any method but CONNECT, or a path. Also right for `:path` of HTTP/2.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(target: &[u8]) -> Result<RequestTarget, ParseError> {
        let plain = |octet: &u8| !octet.is_ascii_control() && *octet != b'%';
        // Nearly every target is a path without escapes.
        if target.first() == Some(&b'/') && target.iter().all(plain) {
            let (path, query) = match cut(target, b'?') {
                Some((path, query)) => (path, Some(query.to_vec())),
                None => (target, None),
            };
            return Ok(RequestTarget {
                path: path.to_vec(),
                raw_query: query,
            });
        }
        let url = Url::parse_request(target)?;
        let has_query = url.force_query || !url.raw_query.is_empty();
        Ok(RequestTarget {
            path: url.path,
            raw_query: has_query.then_some(url.raw_query),
        })
    }

    /// Reads the target of CONNECT where it is host and port only.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse_authority(authority: &[u8]) -> Result<RequestTarget, ParseError> {
        if authority.is_empty() {
            return Ok(RequestTarget {
                path: Vec::new(),
                raw_query: None,
            });
        }
        if authority.iter().any(u8::is_ascii_control) {
            return Err(ParseError {
                text: authority.to_vec(),
                reason: ParseReason::ControlCharacter,
            });
        }
        RequestTarget::parse(&[b"http://", authority].concat())
    }
}
