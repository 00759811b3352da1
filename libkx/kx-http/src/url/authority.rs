//! User, host and port of a URL (RFC 3986 section 3.2).

use std::fmt;

use zeroize::Zeroizing;

use super::escape::{Part, escape, unescape};
use super::{ParseReason, cut, ip_literal};

/// User name and password of a URL, unescaped. The password is wiped when dropped and not shown by Debug.
#[derive(Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// The user name; may be empty.
    pub name: Vec<u8>,
    /// The password, if there is a colon.
    pub password: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserInfo")
            .field("name", &String::from_utf8_lossy(&self.name))
            .finish_non_exhaustive()
    }
}

impl UserInfo {
    /// `NAME:PASSWORD` with escapes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = escape(&self.name, Part::User).into_owned();
        if let Some(password) = &self.password {
            out.push(b':');
            out.extend_from_slice(&escape(password, Part::User));
        }
        out
    }

    /// `NAME:***`; only the name, with escapes, if there is no password.
    pub(super) fn to_redacted(&self) -> Vec<u8> {
        if self.password.is_none() {
            return self.to_bytes();
        }
        [&self.name, &b":***"[..]].concat()
    }
}

/// Splits an authority. The host keeps its port and its brackets.
pub(super) fn parse(authority: &[u8]) -> Result<(Option<UserInfo>, Vec<u8>), ParseReason> {
    let Some(at) = authority.iter().rposition(|&octet| octet == b'@') else {
        return Ok((None, parse_host(authority)?));
    };
    let (user, host) = authority.split_at_checked(at).unwrap_or((b"", authority));
    let host = parse_host(host.get(1..).unwrap_or_default())?;
    let allowed =
        |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(octet);
    if !user.iter().all(allowed) {
        return Err(ParseReason::UserInfo);
    }
    let user = match cut(user, b':') {
        None => UserInfo {
            name: unescape(user, Part::User)?.into_owned(),
            password: None,
        },
        Some((name, password)) => UserInfo {
            name: unescape(name, Part::User)?.into_owned(),
            password: Some(Zeroizing::new(unescape(password, Part::User)?.into_owned())),
        },
    };
    Ok((Some(user), host))
}

fn parse_host(host: &[u8]) -> Result<Vec<u8>, ParseReason> {
    if let Some(open) = host.iter().rposition(|&octet| octet == b'[') {
        return parse_bracketed(host, open);
    }
    if let Some(colon) = host.iter().rposition(|&octet| octet == b':') {
        check_port(host.get(colon..).unwrap_or_default())?;
    }
    Ok(unescape(host, Part::Host)?.into_owned())
}

/// An IPv6 address, its last opening bracket at `open`. What stands before that is dropped, as the original
/// does.
fn parse_bracketed(host: &[u8], open: usize) -> Result<Vec<u8>, ParseReason> {
    let close = host.iter().rposition(|&octet| octet == b']');
    let close = close.ok_or(ParseReason::BracketMissing)?;
    let port = host.get(close.saturating_add(1)..).unwrap_or_default();
    check_port(port)?;
    // With the brackets the wrong way round there is nothing between them.
    let name = host.get(open.saturating_add(1)..close).unwrap_or_default();
    let zone = name.windows(3).position(|escape| escape == b"%25");
    let (address, zone) = zone
        .and_then(|at| name.split_at_checked(at))
        .unwrap_or((name, b""));
    let mut plain = unescape(address, Part::Host)?.into_owned();
    plain.extend_from_slice(&unescape(zone, Part::Zone)?);
    match ip_literal::check(&plain).map_err(ParseReason::IpLiteral)? {
        ip_literal::Family::V4 => Err(ParseReason::Ipv4Literal),
        ip_literal::Family::V6 => Ok([b"[", &plain[..], b"]", port].concat()),
    }
}

/// Nothing, or a colon and digits or none.
fn check_port(port: &[u8]) -> Result<(), ParseReason> {
    if is_optional_port(port) {
        Ok(())
    } else {
        Err(ParseReason::Port(port.to_vec()))
    }
}

fn is_optional_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Host without brackets and port without colon; the port is empty when there is none.
#[must_use]
pub fn split_host_port(host: &[u8]) -> (&[u8], &[u8]) {
    let colon = host.iter().rposition(|&octet| octet == b':');
    let (name, port) = colon
        .and_then(|at| host.split_at_checked(at))
        .filter(|(_, port)| is_optional_port(port))
        .unwrap_or((host, b""));
    let inner = name
        .strip_prefix(b"[")
        .and_then(|name| name.strip_suffix(b"]"));
    (inner.unwrap_or(name), port.get(1..).unwrap_or_default())
}
