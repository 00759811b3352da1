//! The recorded requests of `interop-tests/vectors/kxd/http.json` against the server's side: every octet of
//! every answer, however the request is cut up and whatever stands in front of it.

use std::fs;

use kx_http::router::{Route, key_path, route};
use kx_http::server::{Body, Connection, Limits, Request, Response, Step};
use kx_secret::SecretBytes;
use serde_json::Value;

const BIG_KEY: usize = 5000;

struct Answer {
    status: u16,
    head: Vec<u8>,
    /// None: not recorded (a hash is).
    body: Option<Vec<u8>>,
    length: Option<usize>,
}

struct Case {
    name: String,
    request: Vec<u8>,
    answers: Vec<Answer>,
    log: Vec<String>,
}

fn octets(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

/// The three requests that are recorded abbreviated, `FRONT ...(N octets)`, go on as they begin.
fn unabbreviated(text: &str) -> Vec<u8> {
    let Some((front, length)) = text.split_once(" ...(") else {
        return octets(text);
    };
    let length: usize = length.strip_suffix(" octets)").unwrap().parse().unwrap();
    let end: &[u8] = if front.contains('\n') {
        b"\r\n\r\n"
    } else {
        b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    };
    let mut request = octets(front);
    let period = if front.contains("/n/n") { 2 } else { 1 };
    while request.len() + end.len() < length {
        request.push(request[request.len() - period]);
    }
    request.extend_from_slice(end);
    assert_eq!(request.len(), length);
    request
}

fn answer(recorded: &Value) -> Answer {
    let status_line = recorded["status"].as_str().unwrap();
    let mut head = format!("{status_line}\r\n");
    let mut length = None;
    for header in recorded["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        head.push_str(&format!("{name}: {value}\r\n"));
        if name == "Content-Length" {
            length = Some(value.parse().unwrap());
        }
    }
    head.push_str("\r\n");
    let body = recorded["body"].as_str().unwrap();
    Answer {
        status: status_line[9..12].parse().unwrap(),
        head: head.into_bytes(),
        body: (!body.starts_with("sha256:")).then(|| octets(body)),
        length,
    }
}

fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/http.json"
    );
    let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        let lines = value.as_array().unwrap().iter();
        lines
            .map(|line| line.as_str().unwrap().to_owned())
            .collect()
    };
    let cases = json["cases"].as_object().unwrap().iter();
    cases
        .map(|(name, case)| Case {
            name: name.clone(),
            request: unabbreviated(case["request"].as_str().unwrap()),
            answers: case["responses"]
                .as_array()
                .unwrap()
                .iter()
                .map(answer)
                .collect(),
            log: texts(&case["log"]),
        })
        .collect()
}

/// What the data directory of the recording has for a request that got as far as that.
fn handler(case: &Case, index: usize, request: &Request, path: &[u8]) -> Response {
    let expected = &case.answers[index];
    // The logged path tells that the request was taken for what it is. Long ones are not recorded.
    // A line feed in the path made two lines of one.
    let log = case.log.join("\n").replace("\\xff", "\u{fffd}");
    let line = format!(" 127.0.0.1:PORT {} ", String::from_utf8_lossy(path));
    let logged = log.contains(&line) || log.contains("...len=");
    assert!(logged, "{}: {path:?} is not in {:?}", case.name, case.log);
    if key_path(path).is_err() {
        return Response::error(406, "Invalid key path");
    }
    let body = match (&expected.body, request.method == b"HEAD") {
        (Some(body), false) => body.clone(),
        // Of a HEAD only the length is recorded, and of a big key not even that.
        _ => vec![b'x'; expected.length.unwrap_or(BIG_KEY)],
    };
    if expected.status == 200 {
        return Response::key(body);
    }
    let text = String::from_utf8(body[..body.len() - 1].to_vec()).unwrap();
    Response::error(expected.status, &text)
}

/// Feeds `input` in pieces and returns what comes back until the connection is closed.
fn run(case: &Case, input: &[u8], step: usize, in_front: usize) -> Vec<u8> {
    let mut connection = Connection::new(Limits::default());
    let mut pieces = input.chunks(step);
    let mut out = SecretBytes::default();
    let mut answered = 0;
    let mut waiting = None;
    loop {
        if waiting.is_none() {
            match connection.poll() {
                Step::NeedInput => {}
                Step::Reject(reject) => {
                    let said = reject
                        .bytes
                        .get(9..12)
                        .map(|s| String::from_utf8_lossy(s).into_owned());
                    assert_eq!(reject.status.map(|s| s.to_string()), said, "{}", case.name);
                    out.extend_from_slice(&reject.bytes);
                    return out.as_slice().to_vec();
                }
                Step::Request(request) => {
                    assert_eq!(connection.poll_interim(), None, "{}", case.name);
                    waiting = Some(match route(&request) {
                        Route::Response(response) => response,
                        Route::V1 { .. } if answered < in_front => Response::key(Vec::new()),
                        Route::V1 { path } => {
                            assert_eq!(path, request.path);
                            handler(case, answered - in_front, &request, &path)
                        }
                    });
                }
            }
        }
        if waiting.is_some() && connection.ready_to_respond() {
            connection.respond(&waiting.take().unwrap(), "DATE", &mut out);
            answered += 1;
            if !connection.keep_alive() {
                return out.as_slice().to_vec();
            }
            continue;
        }
        match pieces.next() {
            Some(piece) => connection.handle_input(piece).unwrap(),
            None => connection.handle_eof(),
        }
    }
}

fn expected(case: &Case) -> Vec<u8> {
    let mut all = Vec::new();
    for answer in &case.answers {
        all.extend_from_slice(&answer.head);
        match &answer.body {
            Some(body) => all.extend_from_slice(body),
            None => {
                all.extend_from_slice(format!("{BIG_KEY:x}\r\n").as_bytes());
                all.resize(all.len() + BIG_KEY, b'x');
                all.extend_from_slice(b"\r\n0\r\n\r\n");
            }
        }
    }
    all
}

fn check(case: &Case, input: &[u8], step: usize, in_front: usize, expected: &[u8]) {
    let got = run(case, input, step, in_front);
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(expected),
        "{} in pieces of {step}",
        case.name
    );
}

#[test]
fn all_cases() {
    let cases = cases();
    assert_eq!(cases.len(), 210);
    for case in &cases {
        let expected = expected(case);
        for step in [usize::MAX, 1, 2, 5, 1000] {
            check(case, &case.request, step, 0, &expected);
        }
    }
}

#[test]
fn all_cases_behind_another_request() {
    let front = b"GET /v1/first HTTP/1.1\r\nHost: h\r\n\r\n";
    let first = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nDate: DATE\r\nContent-Length: 0\r\n\r\n";
    for case in &cases() {
        let input = [&front[..], &case.request].concat();
        let expected = [first.as_bytes(), &expected(case)].concat();
        for step in [usize::MAX, 1, 7] {
            check(case, &input, step, 1, &expected);
        }
    }
}

#[test]
fn bodies_show_no_keys() {
    assert_eq!(
        format!("{:?}", Response::key(b"secret".to_vec()).body),
        "Key(6 octets)"
    );
    assert!(matches!(Response::empty(200).body, Body::Empty));
}
