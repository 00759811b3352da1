//! URLs with the grammar of Go's `net/url`, over octets, and what kxc makes of them (kxd spec 8).

mod authority;
mod escape;
mod idna;
mod ip_literal;
mod key_url;
mod request_target;
mod resolve;

use std::borrow::Cow;

use kx_log::goquote::quote;

pub use self::authority::{UserInfo, split_host_port};
pub use self::escape::{Part, escape};
pub use self::ip_literal::AddressError;
pub use self::key_url::{ExtractError, Scheme, Target, TargetError};
pub use self::request_target::RequestTarget;

use self::escape::{is_valid_escaped, unescape};

/// Why something is not a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseReason {
    /// An ASCII control character.
    #[error("net/url: invalid control character in URL")]
    ControlCharacter,
    /// Nothing at all, where a request target should be.
    #[error("empty url")]
    Empty,
    /// A colon at the very front.
    #[error("missing protocol scheme")]
    SchemeMissing,
    /// A request target that is neither a path nor absolute.
    #[error("invalid URI for request")]
    NotForRequest,
    /// A relative reference that looks like it had a scheme.
    #[error("first path segment in URL cannot contain colon")]
    ColonInFirstSegment,
    /// `%` without two digits, or one that is not allowed in its place. What was seen.
    #[error("invalid URL escape {}", quote(.0))]
    Escape(Vec<u8>),
    /// A character that cannot be in a host.
    #[error("invalid character {} in host name", quote(&[*.0]))]
    HostCharacter(u8),
    /// `[` without `]`.
    #[error("missing ']' in host")]
    BracketMissing,
    /// Something else than digits behind the host's colon.
    #[error("invalid port {} after host", quote(.0))]
    Port(Vec<u8>),
    /// No IP address between the brackets. The text and what is wrong with it.
    #[error("invalid host: {0}")]
    IpLiteral(AddressError),
    /// An IPv4 address between brackets.
    #[error("invalid IP-literal")]
    Ipv4Literal,
    /// A character that cannot be in user name or password.
    #[error("net/url: invalid userinfo")]
    UserInfo,
}

/// A text that is not a URL; shown as `parse "TEXT": WHY`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse {}: {reason}", quote(.text))]
pub struct ParseError {
    /// The text, without fragment unless that is what is wrong.
    pub text: Vec<u8>,
    /// What is wrong with it.
    pub reason: ParseReason,
}

/// A URL or a relative reference (RFC 3986), taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Url {
    /// The scheme in small letters; empty in a relative reference.
    pub scheme: Vec<u8>,
    /// What follows the scheme when that does not begin with a slash, as sent, up to the query.
    pub opaque: Vec<u8>,
    /// User name and password.
    pub user: Option<UserInfo>,
    /// Host and port, unescaped.
    pub host: Vec<u8>,
    /// The path, unescaped.
    pub path: Vec<u8>,
    /// The path as sent, if that is not what [`escape`] makes of `path`.
    pub raw_path: Vec<u8>,
    /// `scheme:/path`: there is no authority, not even an empty one.
    pub omit_host: bool,
    /// There is a `?` with nothing behind it.
    pub force_query: bool,
    /// What is behind the first `?`, as sent.
    pub raw_query: Vec<u8>,
    /// What is behind the first `#`, unescaped.
    pub fragment: Vec<u8>,
    /// The fragment as sent, if that is not what [`escape`] makes of `fragment`.
    pub raw_fragment: Vec<u8>,
}

/// `text` up to `separator` and what is behind it.
fn cut(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&octet| octet == separator)?;
    Some((text.get(..at)?, text.get(at.checked_add(1)?..)?))
}

impl Url {
    /// Reads a URL or a relative reference.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(text: &[u8]) -> Result<Url, ParseError> {
        let (front, fragment) = cut(text, b'#').unwrap_or((text, b""));
        let error = |text: &[u8], reason| ParseError {
            text: text.to_vec(),
            reason,
        };
        let mut url =
            Url::parse_without_fragment(front, false).map_err(|reason| error(front, reason))?;
        let plain = unescape(fragment, Part::Fragment).map_err(|reason| error(text, reason))?;
        if *escape(&plain, Part::Fragment) != *fragment {
            url.raw_fragment = fragment.to_vec();
        }
        url.fragment = plain.into_owned();
        Ok(url)
    }

    /// Reads what a client of HTTP sent as its request target: a path or an absolute URL.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse_request(text: &[u8]) -> Result<Url, ParseError> {
        Url::parse_without_fragment(text, true).map_err(|reason| ParseError {
            text: text.to_vec(),
            reason,
        })
    }

    fn parse_without_fragment(text: &[u8], via_request: bool) -> Result<Url, ParseReason> {
        if text.iter().any(u8::is_ascii_control) {
            return Err(ParseReason::ControlCharacter);
        }
        if text.is_empty() && via_request {
            return Err(ParseReason::Empty);
        }
        let mut url = Url::default();
        if text == b"*" {
            url.path = b"*".to_vec();
            return Ok(url);
        }
        let (scheme, rest) = split_scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (rest, query) =
            cut(rest, b'?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        url.force_query = query.is_some_and(<[u8]>::is_empty);
        url.raw_query = query.unwrap_or_default().to_vec();
        if rest.first() != Some(&b'/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Ok(url);
            }
            if via_request {
                return Err(ParseReason::NotForRequest);
            }
            let segment = cut(rest, b'/').map_or(rest, |(segment, _)| segment);
            if segment.contains(&b':') {
                return Err(ParseReason::ColonInFirstSegment);
            }
        }
        let may_have_authority =
            !url.scheme.is_empty() || (!via_request && !rest.starts_with(b"///"));
        let path = match rest.strip_prefix(b"//") {
            Some(behind) if may_have_authority => {
                let end = behind.iter().position(|&octet| octet == b'/');
                let end = end.unwrap_or(behind.len());
                let (authority, path) = behind.split_at_checked(end).unwrap_or((behind, b""));
                (url.user, url.host) = authority::parse(authority)?;
                path
            }
            _ => {
                url.omit_host = !url.scheme.is_empty() && rest.first() == Some(&b'/');
                rest
            }
        };
        url.set_path(path)?;
        Ok(url)
    }

    /// Takes an escaped path.
    fn set_path(&mut self, escaped: &[u8]) -> Result<(), ParseReason> {
        let path = unescape(escaped, Part::Path)?;
        self.raw_path = if *escape(&path, Part::Path) == *escaped {
            Vec::new()
        } else {
            escaped.to_vec()
        };
        self.path = path.into_owned();
        Ok(())
    }

    /// The path with escapes, as sent if that is still a form of `path`.
    #[must_use]
    pub fn escaped_path(&self) -> Cow<'_, [u8]> {
        chosen_form(&self.path, &self.raw_path, Part::Path)
    }

    /// Path and query for a request line.
    #[must_use]
    pub fn request_uri(&self) -> Vec<u8> {
        let mut uri = Vec::new();
        if self.opaque.is_empty() {
            uri.extend_from_slice(&self.escaped_path());
            if uri.is_empty() {
                uri.push(b'/');
            }
        } else {
            if self.opaque.starts_with(b"//") {
                uri.extend_from_slice(&self.scheme);
                uri.push(b':');
            }
            uri.extend_from_slice(&self.opaque);
        }
        self.append_query(&mut uri);
        uri
    }

    fn append_query(&self, out: &mut Vec<u8>) {
        if self.force_query || !self.raw_query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.raw_query);
        }
    }

    /// The URL as text. Secret if there is a password.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.text(UserInfo::to_bytes)
    }

    /// The URL as text for messages: the password is three stars, the user name unescaped then.
    #[must_use]
    pub fn to_redacted(&self) -> Vec<u8> {
        self.text(UserInfo::to_redacted)
    }

    fn text(&self, user_text: impl Fn(&UserInfo) -> Vec<u8>) -> Vec<u8> {
        let mut out = self.scheme.clone();
        if !self.scheme.is_empty() {
            out.push(b':');
        }
        if self.opaque.is_empty() {
            let empty_authority = self.host.is_empty() && self.user.is_none();
            let has_scheme_or_more = !self.scheme.is_empty() || !empty_authority;
            if has_scheme_or_more && !(self.omit_host && empty_authority) {
                if !empty_authority || !self.path.is_empty() {
                    out.extend_from_slice(b"//");
                }
                if let Some(user) = &self.user {
                    out.extend_from_slice(&user_text(user));
                    out.push(b'@');
                }
                out.extend_from_slice(&escape(&self.host, Part::Host));
            }
            let path = self.escaped_path();
            if !path.is_empty() && path.first() != Some(&b'/') && !self.host.is_empty() {
                out.push(b'/');
            }
            let segment = cut(&path, b'/').map_or(&*path, |(segment, _)| segment);
            if out.is_empty() && segment.contains(&b':') {
                out.extend_from_slice(b"./");
            }
            out.extend_from_slice(&path);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        self.append_query(&mut out);
        if !self.fragment.is_empty() {
            out.push(b'#');
            let fragment = chosen_form(&self.fragment, &self.raw_fragment, Part::Fragment);
            out.extend_from_slice(&fragment);
        }
        out
    }
}

/// The form in which `plain` was sent if it is known and makes sense, else the usual one.
fn chosen_form<'a>(plain: &'a [u8], raw: &'a [u8], part: Part) -> Cow<'a, [u8]> {
    if !raw.is_empty() && is_valid_escaped(raw, part) {
        let matches = unescape(raw, part).is_ok_and(|meant| *meant == *plain);
        if matches {
            return Cow::Borrowed(raw);
        }
    }
    if part == Part::Path && plain == b"*" {
        return Cow::Borrowed(plain);
    }
    escape(plain, part)
}

/// Splits off `SCHEME:`. What cannot be a scheme is none.
fn split_scheme(text: &[u8]) -> Result<(&[u8], &[u8]), ParseReason> {
    for (index, octet) in text.iter().enumerate() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if index > 0 => {}
            b':' if index == 0 => return Err(ParseReason::SchemeMissing),
            b':' => return Ok(cut(text, b':').unwrap_or((b"", text))),
            _ => break,
        }
    }
    Ok((b"", text))
}

#[cfg(test)]
mod tests;
