//! Answers, before they are written for one protocol version or another.

use std::borrow::Cow;
use std::fmt;

/// The content of an answer.
pub enum Body {
    /// Nothing.
    Empty,
    /// A fixed or composed text.
    Text(Cow<'static, [u8]>),
    /// A key. Held as the caller gave it, so that it is wiped the way the caller's type does it.
    Key(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        match self {
            Body::Empty => &[],
            Body::Text(text) => text,
            Body::Key(key) => (**key).as_ref(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Text(text) => f
                .debug_tuple("Text")
                .field(&String::from_utf8_lossy(text))
                .finish(),
            Body::Key(key) => write!(f, "Key({} octets)", (**key).as_ref().len()),
        }
    }
}

/// An answer to a request, the same for HTTP/1.1 and HTTP/2 (kxd spec 7).
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: Option<&'static str>,
    /// Whether `X-Content-Type-Options: nosniff` goes along.
    pub nosniff: bool,
    /// Value of `Location`, ASCII only.
    pub location: Option<String>,
    /// Whether this answer is the last of its connection by its own will (`*` with a method other than
    /// OPTIONS, 417). It then carries `Connection: close` as its first header. HTTP/1.1 only.
    pub close: bool,
    /// Whether `Content-Length: 0` is one of the answer's own headers and so stands before Date (`OPTIONS *`).
    pub declares_no_content: bool,
    /// The content.
    pub body: Body,
}

impl Response {
    /// An answer without content and without headers of its own.
    #[must_use]
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            content_type: None,
            nosniff: false,
            location: None,
            close: false,
            declares_no_content: false,
            body: Body::Empty,
        }
    }

    /// A plain text answer: `text` and a line feed (kxd spec 7 "Error answers").
    #[must_use]
    pub fn error(status: u16, text: &str) -> Response {
        let mut line = String::with_capacity(text.len().saturating_add(1));
        line.push_str(text);
        line.push('\n');
        Response {
            content_type: Some("text/plain; charset=utf-8"),
            nosniff: true,
            body: Body::Text(Cow::Owned(line.into_bytes())),
            ..Response::empty(status)
        }
    }

    /// The answer that carries a key, unchanged.
    #[must_use]
    pub fn key(key: impl AsRef<[u8]> + Send + Sync + 'static) -> Response {
        Response {
            content_type: Some("application/octet-stream"),
            body: Body::Key(Box::new(key)),
            ..Response::empty(200)
        }
    }

    /// A redirect to `location` (ASCII only). `html` is what a body would say, already composed: only GET gets one.
    #[must_use]
    pub fn redirect(location: String, content_type: bool, html: Option<Vec<u8>>) -> Response {
        Response {
            content_type: content_type.then_some("text/html; charset=utf-8"),
            location: Some(location),
            body: html.map_or(Body::Empty, |html| Body::Text(Cow::Owned(html))),
            ..Response::empty(301)
        }
    }

    /// The headers that belong to the answer itself, in the order in which they are sent, with names as
    /// written in HTTP/1.1. Date, Content-Length and the like are the protocol's business.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("Content-Type", self.content_type),
            ("Location", self.location.as_deref()),
            ("X-Content-Type-Options", self.nosniff.then_some("nosniff")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}
