//! URIs in certificates, as far as the rules look into them: whether one is a URI at all, and its
//! host.

use std::net::IpAddr;

use kx_log::goquote::quote;

use super::is_domain;

/// The host part (with port, without user) of a URI reference of ASCII characters; empty when there
/// is none.
///
/// # Errors
/// The reason in the words of the original's URL parser.
pub(crate) fn host(uri: &str) -> Result<&str, String> {
    let because = |why: &str| Err(format!("parse {}: {why}", quote(uri.as_bytes())));
    if uri.bytes().any(|octet| octet.is_ascii_control()) {
        return because("net/url: invalid control character in URL");
    }
    if uri == "*" {
        return Ok("");
    }
    let uri_without_fragment = uri.split('#').next().unwrap_or_default();
    let rest = match scheme_end(uri_without_fragment) {
        Ok(Some(at)) => uri_without_fragment.get(at..).unwrap_or_default(),
        Ok(None) => uri_without_fragment,
        Err(why) => return because(why),
    };
    let has_scheme = rest.len() < uri_without_fragment.len();
    let path_and_host = rest.split('?').next().unwrap_or_default();
    if !path_and_host.starts_with('/') {
        if has_scheme {
            // Opaque: mailto:x, urn:x.
            return Ok("");
        }
        let segment = path_and_host.split('/').next().unwrap_or_default();
        if segment.contains(':') {
            return because("first path segment in URL cannot contain colon");
        }
    }
    let Some(after) = path_and_host
        .strip_prefix("//")
        .filter(|_| has_scheme || !path_and_host.starts_with("///"))
    else {
        return match bad_escape(path_and_host) {
            Some(escape) => because(&format!("invalid URL escape {escape}")),
            None => Ok(""),
        };
    };
    let (authority, path) = match after.find('/') {
        Some(at) => after.split_at_checked(at).unwrap_or((after, "")),
        None => (after, ""),
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (name, port) = match host.strip_prefix('[') {
        Some(_) => match host.rfind(']') {
            Some(at) => host.split_at_checked(at + 1).unwrap_or((host, "")),
            None => return because("missing ']' in host"),
        },
        None => match host.rfind(':') {
            Some(at) => host.split_at_checked(at).unwrap_or((host, "")),
            None => (host, ""),
        },
    };
    let digits = port.strip_prefix(':').unwrap_or_default();
    if !port.is_empty()
        && (!port.starts_with(':') || !digits.bytes().all(|octet| octet.is_ascii_digit()))
    {
        return because(&format!(
            "invalid port {} after host",
            quote(port.as_bytes())
        ));
    }
    if let Some(bad) = name
        .chars()
        .find(|&c| matches!(c, ' ' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        let bad = quote(bad.to_string().as_bytes());
        return because(&format!("invalid character {bad} in host name"));
    }
    if let Some(escape) = bad_escape(name).or_else(|| bad_escape(path)) {
        return because(&format!("invalid URL escape {escape}"));
    }
    if !is_domain(host) {
        return Err("invalid domain".to_owned());
    }
    Ok(host)
}

/// The place after `scheme:`.
fn scheme_end(uri: &str) -> Result<Option<usize>, &'static str> {
    for (i, octet) in uri.bytes().enumerate() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme"),
            b':' => return Ok(Some(i + 1)),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The first `%` without two hex digits, quoted.
fn bad_escape(text: &str) -> Option<String> {
    for (at, _) in text.match_indices('%') {
        let escape = text.get(at..(at + 3).min(text.len())).unwrap_or_default();
        let digits = escape.bytes().skip(1).filter(u8::is_ascii_hexdigit).count();
        if digits != 2 {
            return Some(quote(escape.as_bytes()));
        }
    }
    None
}

/// The host name to be compared with a constraint: there has to be one, and not an address.
pub(super) fn comparable_host<'a>(uri: &str, host: &'a str) -> Result<&'a str, String> {
    let shown = || quote(uri.as_bytes());
    if host.is_empty() {
        return Err(format!(
            "URI with empty host ({}) cannot be matched against constraints",
            shown()
        ));
    }
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    if name.parse::<IpAddr>().is_ok() || name.starts_with('[') {
        return Err(format!(
            "URI with IP ({}) cannot be matched against constraints",
            shown()
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::{comparable_host, host};

    #[test]
    fn hosts() {
        assert_eq!(host("https://a.b:1/x"), Ok("a.b:1"));
        assert_eq!(host("https://u:p@a.b?x"), Ok("a.b"));
        assert_eq!(host("urn:uuid:1"), Ok(""));
        assert_eq!(host("/x"), Ok(""));
        assert_eq!(host("spiffe://domain/workload"), Ok("domain"));
        assert_eq!(host("https://[::1]:5/"), Ok("[::1]:5"));
        assert_eq!(host("https://a./"), Err("invalid domain".to_owned()));
        for bad in [
            ":x",
            "a:b\u{7f}",
            "https://a:b/",
            "https://[::1",
            "https://a b/",
            "/%zz",
        ] {
            assert!(host(bad).unwrap_err().starts_with("parse \""), "{bad}");
        }
    }

    #[test]
    fn what_can_be_compared() {
        assert_eq!(comparable_host("u", "a.b:1"), Ok("a.b"));
        for bad in ["", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:1"] {
            assert!(comparable_host("u", bad).is_err(), "{bad}");
        }
    }
}
