//! What the headers of a request say about the connection and the body. Nothing else of them is kept.

use super::reject::Malformed;
use super::{Request, Version};
use crate::token::{Field, is_token, list_has, trim_blanks, words_have};

/// Length of a request body as announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// So many octets; zero when nothing is said.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// An empty `Content-Length`. The original takes it for "not known": no body if the connection goes on,
    /// and everything up to the end if not.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expectation {
    #[default]
    None,
    Continue,
    Unknown,
}

/// The digest of the headers, filled line by line.
#[derive(Debug, Default)]
pub(super) struct Headers {
    any: bool,
    bad_name: bool,
    hosts: u8,
    host_malformed: bool,
    connection_seen: bool,
    /// Close and keep-alive in the first Connection header, read laxly.
    first_close: bool,
    first_keep_alive: bool,
    /// The same in any of them, read strictly.
    any_close: bool,
    any_keep_alive: bool,
    expect_seen: bool,
    expectation: Expectation,
    transfer_encodings: u8,
    chunked: bool,
    content_length: Option<Vec<u8>>,
    content_length_conflict: bool,
    bad_trailer: bool,
}

/// What was found once all headers are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) body: BodyLength,
    /// The client wants the connection closed after the answer.
    pub(super) wants_close: bool,
    /// HTTP/1.0 with `Connection: keep-alive`.
    pub(super) wants_keep_alive_10: bool,
    /// The client waits for a 100 before it sends its body.
    pub(super) expects_continue: bool,
    /// An `Expect` with anything else in it.
    pub(super) unknown_expectation: bool,
    /// The connection preface of HTTP/2, answered as a request and then closed.
    pub(super) preface: bool,
}

impl Headers {
    /// Takes in one header.
    pub(super) fn add(&mut self, field: Field<'_>) {
        let Field { name, value } = field;
        self.any = true;
        // Lengths first: most headers are told apart without a comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.host_malformed |= !value.iter().copied().all(is_host_octet);
                self.hosts = self.hosts.saturating_add(1);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            7 if name.eq_ignore_ascii_case(b"trailer") => {
                self.bad_trailer |= ["transfer-encoding", "trailer", "content-length"]
                    .iter()
                    .any(|banned| list_has(value, banned.as_bytes()));
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                self.transfer_encodings = self.transfer_encodings.saturating_add(1);
            }
            _ => self.bad_name |= !is_token(name),
        }
    }

    fn expect(&mut self, value: &[u8]) {
        if !self.expect_seen {
            self.expect_seen = true;
            self.expectation = if words_have(value, b"100-continue") {
                Expectation::Continue
            } else if value.is_empty() {
                Expectation::None
            } else {
                Expectation::Unknown
            };
        }
    }

    fn connection(&mut self, value: &[u8]) {
        if !self.connection_seen {
            self.connection_seen = true;
            self.first_close = words_have(value, b"close");
            self.first_keep_alive = words_have(value, b"keep-alive");
        }
        self.any_close |= list_has(value, b"close");
        self.any_keep_alive |= list_has(value, b"keep-alive");
    }

    fn length(&mut self, value: &[u8]) {
        let value = trim_blanks(value);
        match &self.content_length {
            None => self.content_length = Some(value.to_vec()),
            Some(first) => self.content_length_conflict |= first != value,
        }
    }

    /// Judges the whole, in the original's order.
    pub(super) fn finish(&self, request: &Request) -> Result<Framing, Malformed> {
        let version = request.version;
        let at_least_11 = version >= Version { major: 1, minor: 1 };
        let is_10 = version == Version { major: 1, minor: 0 };
        if self.hosts > 1 {
            return Err(Malformed::Syntax);
        }
        // HTTP/1.0 knows no transfer codings.
        let chunked = at_least_11 && self.transfer_encodings > 0;
        if chunked && (self.transfer_encodings > 1 || !self.chunked) {
            return Err(Malformed::TransferEncoding);
        }
        let length = self.content_length()?;
        if chunked && self.bad_trailer {
            return Err(Malformed::Syntax);
        }
        let is_preface = version == Version { major: 2, minor: 0 }
            && request.method == b"PRI"
            && request.target == b"*";
        if version.major != 1 && !is_preface {
            return Err(Malformed::Version);
        }
        let bare_preface = is_preface && !self.any;
        if at_least_11 && self.hosts == 0 && !bare_preface && request.method != b"CONNECT" {
            return Err(Malformed::HostMissing);
        }
        if self.host_malformed {
            return Err(Malformed::HostInvalid);
        }
        if self.bad_name {
            return Err(Malformed::FieldName);
        }
        let body = if chunked { BodyLength::Chunked } else { length };
        let closes = if is_10 {
            self.any_close || !self.any_keep_alive
        } else {
            self.any_close
        };
        Ok(Framing {
            body,
            wants_close: closes || self.first_close,
            wants_keep_alive_10: is_10 && self.first_keep_alive,
            expects_continue: self.expectation == Expectation::Continue
                && at_least_11
                && body != BodyLength::Exact(0),
            unknown_expectation: self.expectation == Expectation::Unknown,
            preface: bare_preface,
        })
    }

    fn content_length(&self) -> Result<BodyLength, Malformed> {
        let Some(text) = &self.content_length else {
            return Ok(BodyLength::Exact(0));
        };
        if self.content_length_conflict {
            return Err(Malformed::Syntax);
        }
        if text.is_empty() {
            return Ok(BodyLength::Unknown);
        }
        decimal(text)
            .map(BodyLength::Exact)
            .ok_or(Malformed::Syntax)
    }
}

/// A `Content-Length`: digits only, below 2^63.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for octet in text {
        let digit = octet.is_ascii_digit().then(|| octet.wrapping_sub(b'0'))?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (number <= i64::MAX.unsigned_abs()).then_some(number)
}

/// Octets of a host and port in any of its forms (RFC 3986 section 3.2.2), taken together.
pub(crate) fn is_host_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'$'
                | b'%'
                | b'&'
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'-'
                | b'.'
                | b':'
                | b';'
                | b'='
                | b'['
                | b'\''
                | b']'
                | b'_'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::{BodyLength, Framing, Headers, Malformed, decimal};
    use crate::server::request_line;
    use crate::token::field;

    fn judge(line: &str, fields: &[&str]) -> Result<Framing, Malformed> {
        let mut headers = Headers::default();
        for text in fields {
            headers.add(field(text.as_bytes()).unwrap());
        }
        headers.finish(&request_line::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn lengths() {
        let post = |fields: &[&str]| {
            let mut all = vec!["Host: x"];
            all.extend(fields);
            judge("POST / HTTP/1.1", &all).map(|framing| framing.body)
        };
        assert_eq!(post(&[]), Ok(BodyLength::Exact(0)));
        assert_eq!(post(&["content-length: 04"]), Ok(BodyLength::Exact(4)));
        assert_eq!(
            post(&["Content-Length: 4", "CONTENT-LENGTH:4 "]),
            Ok(BodyLength::Exact(4))
        );
        assert_eq!(
            post(&["Content-Length: 4", "Content-Length: 04"]),
            Err(Malformed::Syntax)
        );
        assert_eq!(post(&["Content-Length: +4"]), Err(Malformed::Syntax));
        assert_eq!(post(&["Content-Length:"]), Ok(BodyLength::Unknown));
        assert_eq!(
            post(&["Transfer-Encoding: Chunked", "Content-Length: 9"]),
            Ok(BodyLength::Chunked)
        );
        assert_eq!(
            post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
            Err(Malformed::TransferEncoding)
        );
        assert_eq!(
            post(&["Transfer-Encoding: chunked", "Trailer: a, Content-Length"]),
            Err(Malformed::Syntax)
        );
        assert_eq!(
            judge("POST / HTTP/1.0", &["Transfer-Encoding: gzip"])
                .unwrap()
                .body,
            BodyLength::Exact(0)
        );
    }

    #[test]
    fn closing() {
        let get = |version: &str, connection: &[&str]| {
            let mut all = vec!["Host: x"];
            all.extend(connection);
            let framing = judge(&format!("GET / HTTP/{version}"), &all).unwrap();
            (framing.wants_close, framing.wants_keep_alive_10)
        };
        assert_eq!(get("1.1", &[]), (false, false));
        assert_eq!(get("1.1", &["Connection: x, Close"]), (true, false));
        assert_eq!(
            get("1.1", &["Connection: x", "Connection: close"]),
            (true, false)
        );
        assert_eq!(get("1.1", &["Connection: x close"]), (true, false));
        assert_eq!(
            get("1.1", &["Connection: x", "Connection: y close"]),
            (false, false)
        );
        assert_eq!(get("1.0", &[]), (true, false));
        assert_eq!(get("1.0", &["Connection: keep-alive"]), (false, true));
        assert_eq!(get("1.0", &["Connection: close, keep-alive"]), (true, true));
    }

    #[test]
    fn hosts_and_names() {
        let get = |fields: &[&str]| judge("GET / HTTP/1.1", fields).map(|_| ());
        assert_eq!(get(&["Host: [::1]:80"]), Ok(()));
        assert_eq!(get(&["Host: a/b"]), Err(Malformed::HostInvalid));
        assert_eq!(get(&["Host: a", "host: a"]), Err(Malformed::Syntax));
        assert_eq!(get(&["Host: a", "b c: d"]), Err(Malformed::FieldName));
        assert_eq!(get(&[]), Err(Malformed::HostMissing));
        assert!(judge("CONNECT a:1 HTTP/1.1", &[]).is_ok());
        assert!(judge("PRI * HTTP/2.0", &[]).unwrap().preface);
        assert_eq!(
            judge("PRI * HTTP/2.0", &["a: b"]).unwrap_err(),
            Malformed::HostMissing
        );
        assert_eq!(
            judge("GET / HTTP/0.9", &[]).unwrap_err(),
            Malformed::Version
        );
    }

    #[test]
    fn expectations() {
        let post = |version: &str, fields: &[&str]| {
            let mut all = vec!["Host: x"];
            all.extend(fields);
            let framing = judge(&format!("POST / HTTP/{version}"), &all).unwrap();
            (framing.expects_continue, framing.unknown_expectation)
        };
        let expect = "Expect: 100-Continue";
        assert_eq!(post("1.1", &["Content-Length: 1", expect]), (true, false));
        assert_eq!(post("1.0", &["Content-Length: 1", expect]), (false, false));
        assert_eq!(post("1.1", &[expect]), (false, false));
        assert_eq!(post("1.1", &["Expect: tea"]), (false, true));
        assert_eq!(post("1.1", &["Expect:", "Expect: tea"]), (false, false));
    }

    #[test]
    fn decimals() {
        assert_eq!(
            decimal(b"9223372036854775807"),
            Some(i64::MAX.unsigned_abs())
        );
        assert_eq!(decimal(b"9223372036854775808"), None);
        assert_eq!(decimal(b"99999999999999999999999"), None);
        assert_eq!(decimal(b"1_0"), None);
        assert_eq!(decimal(b""), None);
    }
}
