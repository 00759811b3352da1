//! Requests that never become one, and answers that nobody takes: what metrics and access log say of them, and that the log says
//! nothing (the original has neither metrics nor access log, and no line for them in its log).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::subject::ours;
use interop_tests::tls_client::Connection;
use interop_tests::undisturbed::{assert_prompt, with_key};
use interop_tests::wait::{self, SOON};
use serde_json::Value;

/// A server that tells all it can.
fn telling(config: &Config, more: &[&str]) -> Kxd {
    let mut starter = kxd(config)
        .arg(format!("--access_log={}", config.text("access")))
        .arg(format!("--metrics_addr=unix:{}", config.text("metrics")));
    for arg in more {
        starter = starter.arg(arg);
    }
    starter.start()
}

/// The lines of the access log, once there are `count`.
fn lines(config: &Config, count: usize) -> Vec<Value> {
    let read = || {
        let text = std::fs::read_to_string(config.join("access")).unwrap_or_default();
        let parsed = text.lines().map(serde_json::from_str);
        parsed.collect::<Result<Vec<Value>, _>>().ok()
    };
    let all = wait::until(SOON, || read().filter(|lines| lines.len() >= count));
    all.unwrap_or_else(|| panic!("not {count} lines: {:?}", read()))
}

fn metric(config: &Config, name: &str) -> u64 {
    let mut stream = UnixStream::connect(config.join("metrics")).expect("metrics");
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("request");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("page");
    let line = page.lines().find_map(|l| l.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

#[test]
fn malformed_requests_are_counted_and_in_the_access_log_only() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = telling(&config, &[]);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(2 << 20));
    let requests: [(u64, &str); 6] = [
        (400, "GET\r\n\r\n"),
        (400, "GET /v1/k HTTP/1.1\r\n\r\n"),
        (
            400,
            "GET /v1/k HTTP/1.1\r\nHost: localhost\r\na b: c\r\n\r\n",
        ),
        (431, &long),
        (
            501,
            "POST /v1/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
        (505, "GET /v1/k HTTP/3.0\r\nHost: localhost\r\n\r\n"),
    ];
    for (status, request) in requests {
        let answers = server.client().exchange(request.as_bytes(), &["GET"]);
        // A client that still writes may lose the answer to a reset.
        if let Ok([answer]) = answers.as_deref() {
            assert_eq!(u64::from(answer.code()), status, "{answer:?}");
        } else {
            assert_eq!(status, 431, "{answers:?}");
        }
    }
    for (line, (status, _)) in lines(&config, requests.len()).iter().zip(requests) {
        assert_eq!(line["event"], "bad_request", "{line}");
        assert_eq!(line["reason"], "malformed", "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["tls"], "TLSv1.3", "{line}");
        assert!(line["fingerprint"].is_string(), "{line}");
        assert!(line.get("path").is_none(), "{line}");
    }
    for (status, count) in [(400, 3), (431, 1), (501, 1), (505, 1)] {
        let name = format!("kxd_requests_total{{status=\"{status}\"}}");
        assert_eq!(metric(&config, &name), count, "{name}");
    }
    assert_eq!(metric(&config, "kxd_request_duration_seconds_count"), 0);
    assert_eq!(server.new_lines(0), [""; 0], "the log");
}

#[test]
fn a_client_that_goes_away_between_requests_is_no_bad_request() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = telling(&config, &[]);
    let mut connection = server.client().connect().expect("handshake");
    assert_eq!(connection.get_keep_alive("/v1/k").body, b"KEY");
    drop(connection);
    drop(server.client().connect().expect("handshake"));
    assert_eq!(server.get("/v1/k").body, b"KEY");
    let lines = lines(&config, 2);
    assert!(lines.iter().all(|l| l["event"] == "request"), "{lines:?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn late_headers_and_bodies_are_counted_and_in_the_access_log_only() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = telling(&config, &["--header_timeout=300ms", "--idle_timeout=300ms"]);
    let late = |alpn: &[&str], bytes: &[u8]| {
        let mut connection = server.client().alpn(alpn).connect().expect("handshake");
        connection.stream.write_all(bytes).expect("a part");
        connection.read_to_end();
    };
    late(&[], b"GET /v1/k HTTP/1.1\r\nHost:");
    late(
        &[],
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab",
    );
    late(&["h2"], b"PRI * HTTP/2.0\r\n");
    // Nothing at all is an idle connection, and that is no fault.
    late(&[], b"");
    let lines = lines(&config, 3);
    let reasons: Vec<&Value> = lines.iter().map(|l| &l["reason"]).collect();
    assert_eq!(
        reasons,
        ["header_timeout", "body_timeout", "header_timeout"]
    );
    assert!(lines.iter().all(|l| l["event"] == "bad_request"));
    for (reason, count) in [("header_timeout", 2), ("body_timeout", 1)] {
        let name = format!("kxd_requests_dropped_total{{reason=\"{reason}\"}}");
        assert_eq!(metric(&config, &name), count, "{name}");
    }
    assert_eq!(server.new_lines(0), [""; 0], "the log");
}

#[test]
fn what_is_not_http2_is_counted_and_in_the_access_log_only() {
    if !ours() {
        return;
    }
    let config = with_key();
    let server = telling(&config, &[]);
    let mut broken = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS, then DATA on stream 0, which must not be (RFC 9113, 6.1).
    broken.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    broken.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, b'x']);
    for bytes in [b"GET /v1/k HTTP/1.1\r\nHost: localhost\r\n\r\n", &*broken] {
        let mut connection = server.client().alpn(&["h2"]).connect().expect("handshake");
        connection.stream.write_all(bytes).expect("sent");
        connection.read_to_end();
    }
    for line in lines(&config, 2) {
        assert_eq!(line["event"], "bad_request", "{line}");
        assert_eq!(line["reason"], "http2", "{line}");
        assert!(line["error"].is_string(), "{line}");
    }
    let name = "kxd_requests_dropped_total{reason=\"http2\"}";
    assert_eq!(metric(&config, name), 2);
    assert_eq!(server.new_lines(0), [""; 0], "the log");
}

/// Takes what comes slowly, but never stops, until `told`; whether all of `wanted` octets came.
fn sip(mut connection: Connection, wanted: usize, told: impl Fn() -> bool) -> bool {
    // What the kernel holds for the client shall not count.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(connection.stream.get_ref(), 8192);
    let mut taken = 0;
    let mut buffer = [0; 16 * 1024];
    while !told() && taken < wanted {
        match connection.stream.read(&mut buffer) {
            Ok(n @ 1..) => taken += n,
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    taken >= wanted
}

#[test]
fn an_answer_that_is_taken_too_slowly_is_cut() {
    const KEY: usize = 8_000_000;
    if !ours() {
        return;
    }
    let config = with_key();
    config.key("big", vec![b'x'; KEY]);
    // 16 times 512 KiB: four seconds for all of it.
    let server = telling(&config, &["--answer_timeout=250ms"]);
    assert_eq!(server.get("/v1/big").body.len(), KEY);
    let request = interop_tests::tls_client::get_request("/v1/big").into_bytes();
    let mut h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS and WINDOW_UPDATE: any window; then GET /v1/big by HPACK's static table and literals.
    h2.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    h2.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]);
    h2.extend([0, 0, 14, 1, 5, 0, 0, 0, 1]);
    h2.extend(b"\x82\x87\x01\x01h\x04\x07/v1/big");
    let reason = "kxd_requests_dropped_total{reason=\"answer_timeout\"}";
    for (before, (protocol, request)) in (0..).zip([("http/1.1", request), ("h2", h2)]) {
        let began = Instant::now();
        let mut slow = server
            .client()
            .alpn(&[protocol])
            .connect()
            .expect("handshake");
        slow.stream.write_all(&request).expect("request");
        let whole = sip(slow, KEY, || metric(&config, reason) > before);
        assert!(!whole, "{protocol}: all of it, in {:?}", began.elapsed());
        assert_eq!(metric(&config, reason), before + 1, "{protocol}");
        let took = began.elapsed();
        assert!(
            took > Duration::from_secs(3),
            "{protocol}: cut after {took:?}"
        );
        assert!(
            took < Duration::from_secs(30),
            "{protocol}: cut after {took:?}"
        );
    }
    let events: Vec<String> = lines(&config, 5)
        .iter()
        .map(|l| l["event"].to_string())
        .collect();
    let wanted = ["request", "request", "answer_cut", "request", "answer_cut"];
    assert_eq!(events, wanted.map(|event| format!("{event:?}")));
    assert_prompt(&server, "answers that were cut");
}
