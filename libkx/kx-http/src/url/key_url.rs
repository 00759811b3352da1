//! What kxc makes of the URL it is given, and where a request for a URL goes (kxd spec 8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kx_log::goquote::quote;
use zeroize::{Zeroize, Zeroizing};

use super::{ParseError, Url, authority, split_host_port};
use crate::server::is_host_octet;

/// Why kxc does not take a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// Not a URL.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A scheme other than https, http and kxd, or none.
    #[error("unsupported URL schema (try kxd://)")]
    Scheme,
}

/// Why no request can be made for a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A scheme other than http and https.
    #[error("unsupported protocol scheme {}", quote(.0))]
    Scheme(Vec<u8>),
    /// No host and no port.
    #[error("http: no Host in request URL")]
    HostMissing,
    /// A host name with characters beyond ASCII that cannot be put in terms of the DNS.
    #[error("idna: invalid label {}", quote(.0))]
    HostName(Vec<u8>),
}

/// A scheme for which a request can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS. Only ever comes from a redirect.
    Http,
    /// With TLS.
    Https,
}

/// Where a request goes and what it says. All ASCII but for `request_target` and `display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether with TLS.
    pub scheme: Scheme,
    /// Name or address without brackets, perhaps with a zone (`fe80::1%eth0`); may be empty.
    pub host: Vec<u8>,
    /// Digits; any number of them.
    pub port: Vec<u8>,
    /// Path and query as they stand in the request line.
    pub request_target: Vec<u8>,
    /// Value of `Host`.
    pub host_header: Vec<u8>,
    /// Value of `Authorization`.
    pub authorization: Option<Zeroizing<Vec<u8>>>,
    /// The URL for messages, the password starred out. Stands there quoted: `Get "URL": ERR`.
    pub display: Vec<u8>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let display = String::from_utf8_lossy(&self.display);
        f.debug_tuple("Target").field(&display).finish()
    }
}

impl Target {
    /// `HOST:PORT`, an IPv6 address in brackets: what is dialled, as it stands in messages.
    #[must_use]
    pub fn address(&self) -> Vec<u8> {
        if self.host.contains(&b':') {
            [b"[", &self.host[..], b"]:", &self.port].concat()
        } else {
            [&self.host[..], b":", &self.port].concat()
        }
    }
}

impl Url {
    /// Reads the URL given to kxc: the scheme becomes https, `/v1` goes in front of the path and 19840 is
    /// the port where none is given.
    ///
    /// # Errors
    /// [`ExtractError`], to be shown behind `Failed to extract the URL: `.
    pub fn for_key(text: &[u8]) -> Result<Url, ExtractError> {
        let mut url = Url::parse(text)?;
        if !matches!(url.scheme.as_slice(), b"https" | b"http" | b"kxd") {
            return Err(ExtractError::Scheme);
        }
        url.scheme = b"https".to_vec();
        if !url.path.starts_with(b"/v1/") {
            url.path.splice(0..0, *b"/v1");
        }
        if !has_port(&url.host) {
            url.host.extend_from_slice(b":19840");
        }
        // The original goes on with the text of this URL. `kxd:k` loses what was added by that.
        let mut text = url.to_bytes();
        let again = Url::parse(&text);
        text.zeroize();
        let mut url = again?;
        if has_port(&url.host) && url.host.ends_with(b":") {
            url.host.pop();
        }
        Ok(url)
    }

    /// The URL that `location` of a redirect leads to from here.
    ///
    /// # Errors
    /// [`ParseError`]; shown as `failed to parse Location header "LOCATION": ERR`.
    pub fn redirect(&self, location: &[u8]) -> Result<Url, ParseError> {
        Ok(self.resolve(&Url::parse(location)?))
    }

    /// Value of `Referer` in a request to `next` that this URL led to: none on the way from TLS to clear text.
    #[must_use]
    pub fn referer(&self, next: &Url) -> Option<Vec<u8>> {
        if self.scheme == b"https" && next.scheme == b"http" {
            return None;
        }
        let anonymous = Url {
            user: None,
            ..self.clone()
        };
        Some(anonymous.to_bytes())
    }

    /// Where a request for this URL goes.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn target(&self) -> Result<Target, TargetError> {
        let scheme = match self.scheme.as_slice() {
            b"https" => Scheme::Https,
            b"http" => Scheme::Http,
            _ => return Err(TargetError::Scheme(self.scheme.clone())),
        };
        if self.host.is_empty() {
            return Err(TargetError::HostMissing);
        }
        let (name, port) = split_host_port(&self.host);
        let default_port: &[u8] = match scheme {
            Scheme::Http => b"80",
            Scheme::Https => b"443",
        };
        let host = super::idna::to_ascii(name)
            .ok_or_else(|| TargetError::HostName(name.to_vec()))?
            .into_owned();
        let mut host_header = if host == name {
            without_zone(&self.host)
        } else if self.host.len() == name.len() {
            host.clone()
        } else {
            [&host[..], b":", port].concat()
        };
        if !host_header.iter().copied().all(is_host_octet) {
            host_header = Vec::new();
        }
        Ok(Target {
            scheme,
            host,
            port: if port.is_empty() { default_port } else { port }.to_vec(),
            request_target: self.request_uri(),
            host_header,
            authorization: self.user.as_ref().map(basic_authorization),
            display: self.to_redacted(),
        })
    }
}

/// Whether a colon stands behind the last bracket.
fn has_port(host: &[u8]) -> bool {
    let last = |wanted: u8| host.iter().rposition(|&octet| octet == wanted);
    last(b':') > last(b']')
}

fn basic_authorization(user: &authority::UserInfo) -> Zeroizing<Vec<u8>> {
    let password = user.password.as_deref().map_or(&b""[..], Vec::as_slice);
    let plain = Zeroizing::new([&user.name[..], b":", password].concat());
    let encoded = Zeroizing::new(STANDARD.encode(plain.as_slice()));
    Zeroizing::new([b"Basic ", encoded.as_bytes()].concat())
}

/// Host and port without the zone of an IPv6 address: it means something on this machine only.
fn without_zone(host: &[u8]) -> Vec<u8> {
    let last = |text: &[u8], wanted: u8| text.iter().rposition(|&octet| octet == wanted);
    let cut = || {
        host.strip_prefix(b"[")?;
        let close = last(host, b']')?;
        let percent = last(host.get(..close)?, b'%')?;
        Some([host.get(..percent)?, host.get(close..)?].concat())
    };
    cut().unwrap_or_else(|| host.to_vec())
}
