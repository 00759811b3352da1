use kx_secret::SecretBytes;

use super::{Connection, Limits, Reject, Response, Step};
use crate::router::{Route, route};

const DATE: &str = "DATE";

/// Feeds `input` in pieces of `step` octets, answers every key with `k`, returns all output and whether the
/// connection is still open.
fn converse(input: &[u8], step: usize, end: bool) -> (String, bool) {
    let mut connection = Connection::new(Limits::default());
    let mut out = SecretBytes::default();
    let mut pieces = input.chunks(step.max(1));
    let mut waiting: Option<Response> = None;
    loop {
        if let Some(response) = waiting.take() {
            if connection.ready_to_respond() {
                connection.respond(&response, DATE, &mut out);
                if !connection.keep_alive() {
                    break;
                }
                continue;
            }
            waiting = Some(response);
        } else {
            match connection.poll() {
                Step::Request(request) => {
                    out.extend_from_slice(connection.poll_interim().unwrap_or_default());
                    waiting = Some(match route(&request) {
                        Route::Response(response) => response,
                        Route::V1 { .. } => Response::key(b"k".to_vec()),
                    });
                    continue;
                }
                Step::Reject(reject) => {
                    out.extend_from_slice(&reject.bytes);
                    break;
                }
                Step::NeedInput => {}
            }
        }
        match pieces.next() {
            Some(piece) => connection.handle_input(piece).unwrap(),
            None if end => connection.handle_eof(),
            None => break,
        }
    }
    (
        String::from_utf8_lossy(out.as_slice()).into_owned(),
        connection.keep_alive(),
    )
}

fn both(input: &[u8], end: bool) -> (String, bool) {
    let whole = converse(input, input.len(), end);
    for step in [1, 3, 7] {
        assert_eq!(
            whole,
            converse(input, step, end),
            "{}",
            String::from_utf8_lossy(input)
        );
    }
    whole
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nDate: DATE\r\nContent-Length: 1\r\n";

#[test]
fn body_is_taken_in_before_the_answer() {
    let head = "POST /v1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(
        both(format!("{head}bod").as_bytes(), false),
        (String::new(), true)
    );
    let (answer, open) = both(format!("{head}body").as_bytes(), false);
    assert_eq!((answer, open), (format!("{OK}\r\nk"), true));
    // The end within the body: an answer, but the last one.
    let (answer, open) = both(format!("{head}bod").as_bytes(), true);
    assert_eq!(
        (answer, open),
        (format!("{OK}Connection: close\r\n\r\nk"), false)
    );
}

#[test]
fn no_waiting_for_a_body_that_is_not_wanted() {
    for extra in ["Connection: close", "Expect: 100-continue"] {
        let head =
            format!("POST /v1/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n{extra}\r\n\r\n");
        let (answer, open) = both(head.as_bytes(), false);
        assert_eq!(
            (answer, open),
            (format!("{OK}Connection: close\r\n\r\nk"), false),
            "{extra}"
        );
    }
}

#[test]
fn limit_of_discarded_bodies() {
    let post = |length: usize, sent: usize| {
        let head = format!("POST /v1/k HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let mut input = head.into_bytes();
        input.resize(input.len() + sent, b'x');
        converse(&input, 10_000, false)
    };
    let k256 = 256 << 10;
    assert_eq!(post(k256 - 1, k256 - 1), (format!("{OK}\r\nk"), true));
    assert_eq!(
        post(k256, 0),
        (format!("{OK}Connection: close\r\n\r\nk"), false)
    );
    let chunked = |sent: usize| {
        let head = "POST /v1/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut input = format!("{head}{sent:x}\r\n").into_bytes();
        input.resize(input.len() + sent, b'x');
        input.extend_from_slice(b"\r\n0\r\n\r\n");
        converse(&input, 10_000, false)
    };
    assert!(chunked(k256).1);
    assert_eq!(
        chunked(k256 + 1),
        (format!("{OK}Connection: close\r\n\r\nk"), false)
    );
}

#[test]
fn broken_chunks_end_the_connection() {
    let head = "POST /v1/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (answer, open) = both(
        format!("{head}x\r\nGET /v1/k HTTP/1.1\r\n\r\n").as_bytes(),
        false,
    );
    assert_eq!(
        (answer, open),
        (format!("{OK}Connection: close\r\n\r\nk"), false)
    );
}

#[test]
fn options_asterisk_reads_the_body() {
    let options = |length: usize, extra: &str, sent: usize| {
        let head =
            format!("OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{extra}\r\n");
        let mut input = head.into_bytes();
        input.resize(input.len() + sent, b'x');
        both(&input, false)
    };
    let ok = "HTTP/1.1 200 OK\r\n";
    let length_date = "Content-Length: 0\r\nDate: DATE\r\n";
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let expect = "Expect: 100-continue\r\n";
    assert_eq!(
        options(3, expect, 3),
        (format!("{interim}{ok}{length_date}\r\n"), true)
    );
    assert_eq!(options(3, expect, 2), (interim.to_owned(), true));
    assert_eq!(
        options(5000, "", 4097),
        (format!("{ok}Connection: close\r\n{length_date}\r\n"), false)
    );
    assert_eq!(options(5000, "", 4096), (String::new(), true));
}

#[test]
fn http_10() {
    let big = |request: &str| {
        let mut connection = Connection::new(Limits::default());
        connection.handle_input(request.as_bytes()).unwrap();
        assert!(matches!(connection.poll(), Step::Request(_)));
        let mut out = SecretBytes::default();
        connection.respond(&Response::key(vec![b'k'; 2049]), DATE, &mut out);
        let text = String::from_utf8(out.as_slice().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.len(), connection.keep_alive())
    };
    let head = |version: &str, more: &str| {
        format!(
            "HTTP/{version} 200 OK\r\nContent-Type: application/octet-stream\r\nDate: DATE{more}"
        )
    };
    assert_eq!(
        big("GET /v1/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (head("1.0", ""), 2049, false)
    );
    assert_eq!(
        big("HEAD /v1/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (head("1.0", "\r\nConnection: keep-alive"), 0, true)
    );
    assert_eq!(
        big("GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            head("1.1", "\r\nTransfer-Encoding: chunked"),
            2049 + 5 + 7,
            true
        )
    );
    assert_eq!(
        big("HEAD /v1/k HTTP/1.1\r\nHost: h\r\n\r\n"),
        (head("1.1", ""), 0, true)
    );
    let (asterisk, open) = both(b"GET * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false);
    assert_eq!(
        asterisk,
        "HTTP/1.0 400 Bad Request\r\nDate: DATE\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    );
    assert!(open);
}

#[test]
fn ends() {
    let bad = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request";
    assert_eq!(both(b"", true), (String::new(), false));
    assert_eq!(both(b"G", true), (bad.to_owned(), false));
    assert_eq!(
        both(b"GET / HTTP/1.1\r\nHost: h\r\n", true),
        (bad.to_owned(), false)
    );
    let first = "GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(
        both(format!("{first}GET").as_bytes(), true),
        (format!("{OK}\r\nk"), false)
    );
    assert_eq!(
        both(format!("{first}GET ").as_bytes(), true).0,
        format!("{OK}\r\nk{bad}")
    );
}

#[test]
fn line_ends_behind_a_post() {
    let get = "GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = get.replace("GET", "POST");
    let (answers, open) = both(format!("{post}\r\n{get}").as_bytes(), false);
    assert_eq!((answers, open), (format!("{OK}\r\nk{OK}\r\nk"), true));
    let (answers, open) = both(format!("{get}\r\n{get}").as_bytes(), false);
    assert!(answers.contains("400 Bad Request") && !open);
}

#[test]
fn head_limit() {
    let limits = Limits {
        max_head: 100,
        ..Limits::default()
    };
    let first = "GET / HTTP/1.1\r\nHost: h\r\nx: ";
    for (filler, accepted) in [
        (100 - first.len() - 4, true),
        (100 - first.len() - 3, false),
    ] {
        let request = format!("{first}{}\r\n\r\n", "a".repeat(filler));
        for step in [1, request.len()] {
            let mut connection = Connection::new(limits);
            let mut last = Step::NeedInput;
            for piece in request.as_bytes().chunks(step) {
                connection.handle_input(piece).unwrap();
                last = connection.poll();
            }
            match last {
                Step::Request(_) => assert!(accepted),
                Step::Reject(Reject {
                    status,
                    bytes,
                    linger,
                }) => {
                    assert_eq!(status, Some(431));
                    assert!(!accepted && linger && bytes.starts_with(b"HTTP/1.1 431 "));
                }
                Step::NeedInput => panic!("{filler} {step}"),
            }
        }
    }
}

#[test]
fn input_is_bounded_and_memory_given_back() {
    let mut connection = Connection::new(Limits::default());
    connection
        .handle_input(b"GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert!(matches!(connection.poll(), Step::Request(_)));
    assert_eq!(connection.poll(), Step::NeedInput);
    let flood = vec![b'x'; 1 << 20];
    assert!(connection.handle_input(&flood).is_ok());
    assert!(connection.handle_input(&flood).is_err());
    let mut connection = Connection::new(Limits::default());
    connection
        .handle_input(b"GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert!(matches!(connection.poll(), Step::Request(_)));
    let mut out = SecretBytes::default();
    connection.respond(&Response::key(b"k".to_vec()), DATE, &mut out);
    assert_eq!(connection.poll(), Step::NeedInput);
    assert!(connection.is_idle());
    assert_eq!(connection.input.capacity(), 0);
    assert!(
        size_of::<Connection>() <= 512,
        "{}",
        size_of::<Connection>()
    );
}

#[test]
fn trickling_is_not_quadratic() {
    // One long line, and one header of a great many lines: a second look at what was seen would take hours.
    let mut requests = vec![b"GET / HTTP/1.1\r\nHost: h\r\nx: ".to_vec(); 2];
    requests[0].resize(1 << 20, b'a');
    while requests[1].len() < 1 << 20 {
        requests[1].extend_from_slice(b"a\r\n ");
    }
    for mut request in requests {
        request.extend_from_slice(b"\r\n\r\n");
        let mut connection = Connection::new(Limits::default());
        let mut last = Step::NeedInput;
        for octet in &request {
            connection.handle_input(&[*octet]).unwrap();
            last = connection.poll();
        }
        assert!(matches!(last, Step::Request(_)));
    }
}
