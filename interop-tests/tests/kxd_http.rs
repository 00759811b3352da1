//! Every recorded request (vectors/kxd/http.json) gets the recorded answer: status, header
//! order, body, redirect target and log lines (kxd spec 3 and 7).

use interop_tests::config::{Config, client_pair};
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::http_text::Answer;
use interop_tests::normalize::octets;
use interop_tests::table::Table;
use openssl::sha::sha256;
use serde_json::{Value, json};

const SECRET: &[u8] = b"secret\x00\xff\n";

/// The data directory that the recorded requests were made against.
fn data_directory() -> Config {
    let c = Config::new();
    for name in [
        "k",
        "d",
        "d/e",
        "a/b/c",
        "dot.",
        ".hid",
        "v1/k",
        "K",
        "semi;x",
        "pct%41",
        "sp ace",
        "plus+sign",
        "hé",
        "nl\nx",
        "tab\tx",
        "q?x",
        "back\\slash",
        "star*",
        "tilde~",
        "amp&",
        "colon:x",
        "key",
    ] {
        c.key(name, SECRET);
    }
    c.key("emptykey", "");
    c.key("sniff-html", "<html>x");
    c.key("big", vec![b'x'; 100_000]);
    c.bare_key("nocerts", SECRET);
    c.write("data/nokey/allowed_clients", "");
    c.write("data/plainfile", "");
    c.write("data/keyisdir/key/x", "");
    c.link("k", "data/linkdir");
    c.link("nowhere", "data/brokenlink");
    for (name, target) in [
        ("linkkey", "../k/key"),
        ("badlinkkey", "nowhere"),
        ("devkey", "/dev/null"),
        ("loop", "key"),
    ] {
        c.key(name, "");
        std::fs::remove_file(c.join(format!("data/{name}/key"))).expect("removing a key");
        c.link(target, &format!("data/{name}/key"));
    }
    c.bare_key("clientsdir", SECRET);
    c.write("data/clientsdir/allowed_clients/x", "");
    c.key("hostsdir", SECRET);
    c.write("data/hostsdir/allowed_hosts/x", "");
    for (name, hosts) in [
        ("space", " \t127.0.0.1 \n"),
        ("nbsp", "\u{a0}127.0.0.1\u{a0}\n"),
        ("comment", "# 127.0.0.1\n"),
        ("comment-after", "127.0.0.1 # here\n"),
        ("cidr", "127.0.0.0/8\n"),
        ("mapped", "::ffff:127.0.0.1\n"),
        ("zeros", "127.0.0.01\n"),
        ("short", "127.1\n"),
        ("bom", "\u{feff}127.0.0.1\n"),
        ("unknown", "no-such-host.invalid\n127.0.0.1\n"),
        ("two", "10.9.9.9\n127.0.0.1\n"),
    ] {
        c.key(&format!("hosts-{name}"), SECRET);
        c.write(format!("data/hosts-{name}/allowed_hosts"), hosts);
    }
    c.bare_key("hosts-noclients-other", SECRET);
    c.write("data/hosts-noclients-other/allowed_hosts", "10.9.9.9\n");
    c.bare_key("hosts-other-badclients", SECRET);
    c.write("data/hosts-other-badclients/allowed_hosts", "10.9.9.9\n");
    c.write(
        "data/hosts-other-badclients/allowed_clients",
        "no certificate\n",
    );
    c
}

/// Long requests stand in the table by their beginning and length only.
fn whole_request(name: &str, recorded: &str) -> Vec<u8> {
    let plain = |path: String| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let with_header = |size: usize| {
        let start = "GET /v1/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx: ";
        format!("{start}{}\r\n\r\n", "a".repeat(size)).into_bytes()
    };
    match name {
        "GET /v1/n/n/n/n/n/n/...4208" => plain(format!("/v1/{}", "n/".repeat(2100))),
        "big header" => with_header(1_000_000),
        "too big header" => with_header(1_060_000),
        _ => octets(recorded),
    }
}

/// All requests of one connection are sent at once. Only the first can be HEAD.
fn ask(server: &Kxd, request: &[u8]) -> Result<Vec<Answer>, String> {
    let method = request.split(|b| *b == b' ').next().unwrap_or_default();
    server
        .client()
        .exchange(request, &[&String::from_utf8_lossy(method)])
}

/// Bodies of more than 2,000 octets stand in the table by their SHA-256.
fn record(answers: &[Answer]) -> Value {
    let list = answers.iter().map(|a| {
        let mut record = a.record();
        if a.body.len() > 2000 {
            let hex: String = sha256(&a.body).iter().map(|b| format!("{b:02x}")).collect();
            record["body"] = Value::from(format!("sha256:{hex}"));
        }
        record
    });
    Value::Array(list.collect())
}

/// The original's Go pointers in "Full request" lines (0.15) change from run to run.
fn without_pointers(log: &[String]) -> Vec<String> {
    log.iter()
        .map(|l| l.split(" Full request: ").next().unwrap_or(l).to_owned())
        .collect()
}

#[test]
fn recorded_requests_get_the_recorded_answers() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("http");
    let signature = client_pair().signature_hex();
    let short = signature.get(..8).unwrap_or("");
    for name in table.names() {
        let mut expected = table.expected(&name);
        if name == "big key" {
            let hex: String = sha256(&[b'x'; 100_000])
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            expected["responses"][0]["body"] = Value::from(format!("sha256:{hex}"));
        }
        let request = whole_request(&name, &table.text(&name, "request"));
        let lines: Vec<String> = serde_json::from_value(expected["log"].clone()).expect("log");
        let answers = ask(&server, &request);
        let log = server.new_lines(lines.len());
        let log: Vec<String> = log
            .iter()
            .map(|l| l.replace(&format!("0x{short}"), "0xSIG"))
            .collect();
        let log = without_pointers(&log);
        expected["log"] = json!(without_pointers(&lines));
        let responses = match &answers {
            Ok(list) => record(list),
            Err(e) => Value::from(e.as_str()),
        };
        table.check_against(
            &name,
            &expected,
            &json!({"responses": responses, "log": log}),
        );
    }
    table.finish();
}

#[test]
fn a_client_over_ipv6_is_shown_in_brackets() {
    let config = data_directory();
    config.write("data/k/allowed_hosts", "::1\n");
    let server = kxd(&config).address("[::1]").start();
    let mut client = server.client();
    client.address = (std::net::Ipv6Addr::LOCALHOST, server.port).into();
    assert_eq!(client.get("/v1/k").body, SECRET);
    let lines = server.new_lines(3);
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("kxd.go:N: [::1]:PORT /v1/k Allowing")),
        "{lines:?}"
    );
}

#[test]
fn without_an_address_ipv4_clients_are_shown_as_plain_ipv4() {
    let config = data_directory();
    config.write("data/k/allowed_hosts", "127.0.0.1\n");
    let server = kxd(&config).address("").start();
    assert_eq!(server.get("/v1/k").body, SECRET);
    let lines = server.new_lines(3);
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("kxd.go:N: 127.0.0.1:PORT /v1/k")),
        "{lines:?}"
    );
}

#[test]
fn a_connection_serves_many_requests() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut connection = server.client().connect().expect("handshake");
    for _ in 0..20 {
        assert_eq!(connection.get_keep_alive("/v1/k").body, SECRET);
        assert_eq!(connection.get_keep_alive("/v1/nope").code(), 404);
    }
}

#[test]
fn changes_in_the_data_directory_act_at_once() {
    let config = data_directory();
    let server = kxd(&config).start();
    assert_eq!(server.get("/v1/new").code(), 404);
    config.key("new", "fresh");
    assert_eq!(server.get("/v1/new").body, b"fresh");
    std::fs::remove_file(config.join("data/new/allowed_clients")).expect("removing");
    assert_eq!(server.get("/v1/new").code(), 403);
    config.write("data/new/allowed_clients", "");
    assert_eq!(server.get("/v1/new").code(), 500);
}

#[test]
fn a_key_of_2048_octets_has_a_length_and_a_longer_one_is_chunked() {
    let config = Config::new();
    config.key("s2048", vec![1; 2048]);
    config.key("s2049", vec![1; 2049]);
    let server = kxd(&config).start();
    assert_eq!(
        server.get("/v1/s2048").header("Content-Length"),
        Some("2048")
    );
    assert_eq!(
        server.get("/v1/s2049").header("Transfer-Encoding"),
        Some("chunked")
    );
    let request = b"GET /v1/s2049 HTTP/1.0\r\n\r\n";
    let answer = server
        .client()
        .exchange(request, &["GET"])
        .expect("an answer");
    let headers: Vec<&str> = answer[0].headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(
        headers,
        ["Content-Type", "Date"],
        "HTTP/1.0 gets it until the end"
    );
    assert_eq!(answer[0].body.len(), 2049);
}

#[test]
fn the_answers_of_two_pipelined_requests_come_in_order() {
    let config = data_directory();
    let server = kxd(&config).start();
    let pair = "GET /v1/k HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = server
        .client()
        .exchange(pair.as_bytes(), &["GET", "GET"])
        .expect("answers");
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|a| a.body == SECRET));
}
