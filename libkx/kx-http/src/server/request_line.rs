//! The first line of a request.

use super::reject::Malformed;
use super::{Request, Version};
use crate::token::is_token;
use crate::url::RequestTarget;

/// Reads `METHOD TARGET HTTP/X.Y`, split at the first two spaces.
pub(super) fn parse(line: &[u8]) -> Result<Request, Malformed> {
    let mut parts = line.splitn(3, |&octet| octet == b' ');
    let (Some(method), Some(target), Some(protocol)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::Syntax);
    };
    if !is_token(method) {
        return Err(Malformed::Syntax);
    }
    let version = version(protocol).ok_or(Malformed::Syntax)?;
    // The target of CONNECT may be an authority alone; then there is no path.
    let authority_only = method == b"CONNECT" && target.first() != Some(&b'/');
    let parsed = if authority_only {
        RequestTarget::parse_authority(target)
    } else {
        RequestTarget::parse(target)
    }
    .map_err(|_| Malformed::Syntax)?;
    Ok(Request {
        method: method.to_vec(),
        target: target.to_vec(),
        path: parsed.path,
        raw_query: parsed.raw_query,
        version,
        unknown_expectation: false,
    })
}

/// Reads `HTTP/X.Y`.
pub(crate) fn version(protocol: &[u8]) -> Option<Version> {
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = protocol else {
        return None;
    };
    let digit = |octet: &u8| octet.is_ascii_digit().then(|| octet.wrapping_sub(b'0'));
    Some(Version {
        major: digit(major)?,
        minor: digit(minor)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Version, parse};

    #[test]
    fn accepted() {
        let request = parse(b"get /a%20b?c=%zz HTTP/1.2").unwrap();
        assert_eq!(request.method, b"get");
        assert_eq!(request.target, b"/a%20b?c=%zz");
        assert_eq!(request.path, b"/a b");
        assert_eq!(request.raw_query.as_deref(), Some(&b"c=%zz"[..]));
        assert_eq!(request.version, Version { major: 1, minor: 2 });
        let request = parse(b"CONNECT host:443 HTTP/1.1").unwrap();
        assert_eq!(request.path, b"");
        let request = parse(b"GET http:opaque HTTP/1.1").unwrap();
        assert_eq!(request.path, b"");
    }

    #[test]
    fn refused() {
        for line in [
            &b""[..],
            b"GET",
            b"GET /",
            b" / HTTP/1.1",
            b"G\xc3 / HTTP/1.1",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET / HTTP/1,1",
            b"GET / HTTP/11",
            b"GET / http/1.1",
            b"GET / HTTP/x.1",
            b"GET  HTTP/1.1",
            b"GET /%4 HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"GET k HTTP/1.1",
            b"GET :a HTTP/1.1",
            b"CONNECT a:b HTTP/1.1",
        ] {
            assert_eq!(parse(line), Err(Malformed::Syntax), "{line:?}");
        }
    }
}
