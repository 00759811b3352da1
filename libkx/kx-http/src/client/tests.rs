use super::{Event, Limits, ResponseHead, ResponseReader, get};
use crate::url::Url;

type Outcome = Result<(ResponseHead, Vec<u8>), String>;

/// Reads `answer` in pieces of `step`; none: it is not over yet.
fn read(answer: &[u8], step: usize, end: bool) -> Option<Outcome> {
    let mut reader = ResponseReader::new(Limits {
        max_head: 500,
        max_body: 20,
    });
    let mut pieces = answer.chunks(step);
    let mut head = None;
    let mut ended = false;
    loop {
        match reader.poll() {
            Ok(Event::NeedInput) => match pieces.next() {
                Some(piece) => reader.handle_input(piece),
                None if end && !ended => {
                    ended = true;
                    reader.handle_eof();
                }
                None => {
                    assert!(!end, "wants more after the end");
                    return None;
                }
            },
            Ok(Event::Head(found)) => head = Some(found),
            Ok(Event::Body(body)) => {
                assert_eq!(reader.poll(), Ok(Event::Done));
                return Some(Ok((head.unwrap(), body.to_vec())));
            }
            Ok(Event::Done) => unreachable!(),
            Err(error) => {
                assert_eq!(reader.poll(), Err(error.clone()));
                return Some(Err(error.to_string()));
            }
        }
    }
}

fn read_all(answer: &str, end: bool) -> Option<Outcome> {
    let whole = read(answer.as_bytes(), usize::MAX, end);
    for step in [1, 2, 5] {
        assert_eq!(read(answer.as_bytes(), step, end), whole, "{answer:?}");
    }
    whole
}

fn body_of(answer: &str) -> String {
    let (_, body) = read_all(answer, true).unwrap().unwrap();
    String::from_utf8(body).unwrap()
}

fn error_of(answer: &str) -> String {
    read_all(answer, true).unwrap().unwrap_err()
}

#[test]
fn bodies() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nKEYmore",
        "HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 3 \n\nKEY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\nK\r\n2\r\nEY\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nKEY",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nKEY",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nKEY",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 200\r\nContent-Length: 3\r\n\r\nKEY",
    ] {
        assert_eq!(body_of(answer), "KEY", "{answer}");
    }
    assert_eq!(
        body_of("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nKEY"),
        ""
    );
    assert_eq!(
        read_all("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nKE", false),
        None
    );
    assert_eq!(read_all("HTTP/1.1 200 OK\r\n\r\nKEY", false), None);
    assert_eq!(body_of("HTTP/1.1 101 Switching\r\n\r\nKEY"), "");
}

#[test]
fn heads() {
    let head = |answer: &str| read_all(answer, true).unwrap().unwrap().0;
    let found = head(
        "HTTP/1.1  302 a b \r\nlocation: /x\r\nLocation: /y\r\nContent-Encoding: GZip\r\n\r\nx",
    );
    assert_eq!(found.status, b"302 a b ");
    assert_eq!(found.redirect(), Some(&b"/x"[..]));
    assert!(found.gzip);
    assert_eq!(head("HTTP/1.1 302 x\r\nLocation:\r\n\r\n").redirect(), None);
    assert_eq!(
        head("HTTP/1.1 200 x\r\nLocation: /x\r\n\r\n").redirect(),
        None
    );
    assert!(!head("HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n").gzip);
}

#[test]
fn errors() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let broken = "net/http: HTTP/1.x transport connection broken: ";
    for (answer, error) in [
        ("garbage", "malformed HTTP response \"garbage\""),
        ("garbage\r\n", "malformed HTTP response \"garbage\""),
        ("this is garbage\n", "malformed HTTP status code \"is\""),
        ("HTTP/1.1 2x0 a\n", "malformed HTTP status code \"2x0\""),
        ("HTTP/1.1 -20 a\n", "malformed HTTP status code \"-20\""),
        ("HTTP/1 200 a\n", "malformed HTTP version \"HTTP/1\""),
        ("HTTP/1.1 200 OK", "unexpected EOF"),
        ("HTTP/1.1 200 OK\r\na: b\r\n", "unexpected EOF"),
        ("HTTP/1.1 200 OK\r\na: b", "unexpected EOF"),
        (
            "HTTP/1.1 200 OK\r\na",
            "malformed MIME header: missing colon: \"a\"",
        ),
    ] {
        assert_eq!(error_of(answer), format!("{broken}{error}"));
    }
    for (headers, error) in [
        (" a: b\r\n", "malformed MIME header initial line:  a: b"),
        ("a\r\n", "malformed MIME header: missing colon: \"a\""),
        ("a(: b\r\n\r\n", "malformed MIME header line: a(: b"),
        (
            "Transfer-Encoding: x\r\n\r\n",
            "unsupported transfer encoding: \"x\"",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            "too many transfer encodings: [\"chunked\" \"x\"]",
        ),
        ("Content-Length: x\r\n\r\n", "bad Content-Length \"x\""),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "http: message cannot contain multiple Content-Length headers; got [\"1\" \"2\"]",
        ),
        (
            "Transfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n",
            "bad trailer key \"Content-Length\"",
        ),
    ] {
        assert_eq!(
            error_of(&format!("{ok}{headers}")),
            format!("{broken}{error}")
        );
    }
    assert_eq!(error_of(""), "EOF");
    let long = format!("{ok}x: {}\r\n\r\n", "a".repeat(500));
    let too_large = "net/http: server response headers exceeded 500 bytes; aborted";
    assert_eq!(error_of(&long), format!("{broken}{too_large}"));
    let interims = "HTTP/1.1 100 x\r\n\r\n".repeat(40);
    assert_eq!(error_of(&interims), format!("{broken}{too_large}"));
    let chunked = format!("{ok}Transfer-Encoding: chunked\r\n\r\n");
    for (body, error) in [
        (
            format!("{ok}Content-Length: 4\r\n\r\nKEY"),
            "unexpected EOF",
        ),
        (
            format!("{ok}Content-Length: 21\r\n\r\n{}", "x".repeat(21)),
            "body is longer than 20 bytes",
        ),
        (format!("{chunked}3\r\nKE"), "unexpected EOF"),
        (
            format!("{chunked}3\r\nKEY\r\n0\r\n"),
            "http: unexpected EOF reading trailer",
        ),
        (
            format!("{chunked}3\r\nKEY\r\n0\r\na: b\r\n"),
            "http: suspiciously long trailer after chunked body",
        ),
        (format!("{chunked}x\r\n"), "invalid byte in chunk length"),
    ] {
        assert_eq!(error_of(&body), error);
    }
}

#[test]
fn requests() {
    let url = Url::for_key(b"kxd://u:p@localhost:1/k").unwrap();
    let sent = get(&url.target().unwrap(), Some(b"https://x/"));
    assert_eq!(
        String::from_utf8_lossy(&sent),
        "GET /v1/k HTTP/1.1\r\nHost: localhost:1\r\nUser-Agent: Go-http-client/1.1\r\n\
         Authorization: Basic dTpw\r\nReferer: https://x/\r\nAccept-Encoding: gzip\r\n\r\n"
    );
}
