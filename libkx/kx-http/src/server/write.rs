//! Answers as bytes of HTTP/1.x.

use kx_secret::SecretBytes;

use super::body::Intake;
use super::headers::Framing;
use super::response::Response;
use super::{Request, Version};

/// Content up to this length is announced by `Content-Length`, more is chunked: the size of the original's
/// buffer before its decision.
const MAX_LENGTH_KNOWN: usize = 2048;

/// What is remembered of a request until it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    pub(super) is_head: bool,
    pub(super) version: Version,
    /// `OPTIONS *`, whose handler reads the body.
    pub(super) reads_body: bool,
}

impl Exchange {
    pub(super) fn new(request: &Request) -> Exchange {
        Exchange {
            is_head: request.method == b"HEAD",
            version: request.version,
            reads_body: request.method == b"OPTIONS" && request.target == b"*",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    /// Nothing follows the head, and nothing is said about it.
    None,
    Length,
    Chunked,
    Close,
}

/// Appends the answer to `out`; returns whether the connection is to be closed.
pub(super) fn write(
    response: &Response,
    exchange: &Exchange,
    framing: &Framing,
    intake: Intake,
    date: &str,
    out: &mut SecretBytes,
) -> bool {
    let content = response.body.as_ref();
    let at_least_11 = exchange.version >= Version { major: 1, minor: 1 };
    // The handler of `OPTIONS *` closes on a body that is too much for it.
    let own_close = response.close || (exchange.reads_body && intake == Intake::TooBig);
    // Content-Length is known when everything is written before the head has to go out. An empty answer to
    // HEAD could have meant "no content because it is HEAD", so nothing is said then.
    let length_known = response.declares_no_content
        || (content.len() <= MAX_LENGTH_KNOWN && !(exchange.is_head && content.is_empty()));

    let mut close = framing.preface || own_close;
    let mut connection = None;
    if framing.wants_keep_alive_10 && (exchange.is_head || length_known) {
        connection = (!own_close).then_some("keep-alive");
    } else if !at_least_11 || framing.wants_close {
        close = true;
    }
    match intake {
        Intake::Complete => {}
        Intake::TooBig if !close => {
            close = true;
            connection = Some("close");
        }
        // A body that was not taken in stands between here and a next request.
        Intake::TooBig | Intake::Pending | Intake::Abandoned => close = true,
    }
    let delimiter = if exchange.is_head {
        Delimiter::None
    } else if length_known {
        Delimiter::Length
    } else if at_least_11 {
        Delimiter::Chunked
    } else {
        close = true;
        Delimiter::Close
    };
    if close && !own_close && at_least_11 {
        connection = Some("close");
    }

    let location = response.location.as_deref().map_or(0, str::len);
    out.reserve(content.len().saturating_add(location).saturating_add(512));
    status_line(response.status, at_least_11, out);
    let mut header = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    let mut digits = Digits::default();
    if own_close {
        header("Connection", "close");
    }
    if response.declares_no_content {
        header("Content-Length", "0");
    }
    for (name, value) in response.headers() {
        header(name, value);
    }
    header("Date", date);
    if length_known && !response.declares_no_content {
        header("Content-Length", digits.decimal(content.len()));
    }
    if let Some(value) = connection {
        header("Connection", value);
    }
    if delimiter == Delimiter::Chunked {
        header("Transfer-Encoding", "chunked");
    }
    out.extend_from_slice(b"\r\n");
    match delimiter {
        Delimiter::None => {}
        Delimiter::Length | Delimiter::Close => out.extend_from_slice(content),
        Delimiter::Chunked => {
            // All of it as one chunk, as the original's handler writes it with one call.
            out.extend_from_slice(digits.hexadecimal(content.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(content);
            out.extend_from_slice(b"\r\n0\r\n\r\n");
        }
    }
    close
}

fn status_line(status: u16, at_least_11: bool, out: &mut SecretBytes) {
    out.extend_from_slice(if at_least_11 {
        b"HTTP/1.1 "
    } else {
        b"HTTP/1.0 "
    });
    match status_text(status) {
        Some(text) => {
            out.extend_from_slice(Digits::default().decimal(usize::from(status)).as_bytes());
            out.push(b' ');
            out.extend_from_slice(text.as_bytes());
        }
        None => {
            out.extend_from_slice(format!("{status:03} status code {status}").as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The text of RFC 9110 for the statuses that kxd uses.
#[must_use]
pub fn status_text(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => return None,
    })
}

/// Room for a number as text.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn decimal(&mut self, number: usize) -> &str {
        self.base(number, 10)
    }

    fn hexadecimal(&mut self, number: usize) -> &str {
        self.base(number, 16)
    }

    fn base(&mut self, mut number: usize, base: usize) -> &str {
        let mut start = self.0.len();
        for place in self.0.iter_mut().rev() {
            let digit = u32::try_from(number.checked_rem(base).unwrap_or(0)).unwrap_or(0);
            *place = char::from_digit(digit, 16).map_or(b'0', |c| u8::try_from(c).unwrap_or(b'0'));
            start = start.saturating_sub(1);
            number = number.checked_div(base).unwrap_or(0);
            if number == 0 {
                break;
            }
        }
        let digits = self.0.get(start..).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or("0")
    }
}

#[cfg(test)]
mod tests {
    use super::Digits;

    #[test]
    fn digits() {
        for number in [0, 9, 10, 255, 4096, usize::MAX] {
            assert_eq!(Digits::default().decimal(number), number.to_string());
            assert_eq!(Digits::default().hexadecimal(number), format!("{number:x}"));
        }
    }
}
