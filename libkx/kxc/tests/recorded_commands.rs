//! The recorded command lines of kxc (interop-tests/vectors/kxd/cli.json) with our program, against a
//! server that answers like the recorded kxd.

use std::fs;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;
mod support;

use program::{kxc, normalize};
use support::test_certs::Spec;
use support::tls_server::{Reply, Setup, TlsServer};

/// Flags of ours, which the recorded usage does not have.
const OUR_FLAGS: [&str; 5] = [
    "connect_timeout",
    "fallback_urls",
    "retry",
    "retry_wait",
    "timeout",
];
const BAD_BLOCK: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n";

fn answer(code: &str, body: &[u8]) -> Reply {
    let mut text =
        format!("HTTP/1.1 {code}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    Reply::Send(text)
}

fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = path.bytes();
    while let Some(octet) = octets.next() {
        if octet == b'%' {
            let hex: String = octets.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            out.push(octet);
        }
    }
    out
}

/// As the recorded server, as far as these requests go.
fn serve(request: &[u8]) -> Reply {
    let head = String::from_utf8(request.to_vec()).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let path = String::from_utf8(decoded(target.split('?').next().unwrap())).unwrap();
    let mut clean = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    let tail = if path.ends_with('/') && !clean.is_empty() {
        "/"
    } else {
        ""
    };
    let cleaned = format!("/{}{tail}", clean.join("/"));
    if cleaned != path || path == "/v1" {
        let location = if path == "/v1" { "/v1/" } else { &cleaned };
        return Reply::Send(
            format!("HTTP/1.1 301 Moved Permanently\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
                .into_bytes(),
        );
    }
    let Some(key) = path.strip_prefix("/v1/") else {
        return answer("404 Not Found", b"404 page not found\n");
    };
    let key = key.trim_end_matches('/');
    match key {
        "" => answer("406 Not Acceptable", b"Invalid key path\n"),
        k if k.contains("..") => answer("406 Not Acceptable", b"Invalid key path\n"),
        "hostdeny" => answer("403 Forbidden", b"Host not allowed\n"),
        "empty" => answer("200 OK", b""),
        "noeol" => answer("200 OK", b"no newline %s %d"),
        "bin" => answer("200 OK", &(0..=255).collect::<Vec<u8>>()),
        "k" | "v1" | "d/e" | "sp ace" | "h\u{e9}" | "a%b" | "q?x" | "h#x" | "x/v1/y" => {
            answer("200 OK", format!("KEY:{key}").as_bytes())
        }
        _ => answer("404 Not Found", b"Unknown key\n"),
    }
}

fn scene(dir: &std::path::Path) -> TlsServer {
    let client = Spec {
        cn: "client".to_owned(),
        ..Spec::default()
    }
    .self_signed();
    let other = Spec::default().self_signed();
    let server = Spec::server(&["localhost"]).self_signed();
    fs::create_dir(dir.join("client")).unwrap();
    let text = |parts: &[&[u8]]| parts.concat();
    for (name, content) in [
        ("client/cert.pem", client.cert_pem()),
        ("client/key.pem", client.key_pem()),
        ("otherkey.pem", other.key_pem()),
        ("cert.pem", server.cert_pem()),
        ("garbage", b"garbage\n".to_vec()),
        ("empty", Vec::new()),
        (
            "badblock",
            text(&[BAD_BLOCK.as_bytes(), &server.cert_pem()]),
        ),
        ("keyfirst", text(&[&server.key_pem(), &server.cert_pem()])),
        (
            "textaround",
            text(&[b"before\n", &server.cert_pem(), b"after\n"]),
        ),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
    Setup::new(server).start(serve)
}

/// Takes our own flags out of a usage text.
fn without_our_flags(text: &str) -> String {
    let mut out = String::new();
    let mut skip = 0;
    for line in text.split_inclusive('\n') {
        let name = line
            .strip_prefix("  -")
            .and_then(|l| l.split_whitespace().next());
        if name.is_some_and(|n| OUR_FLAGS.contains(&n)) {
            skip = 2;
        }
        if skip > 0 {
            skip -= 1;
        } else {
            out.push_str(line);
        }
    }
    out
}

#[test]
fn recorded_command_lines() {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/cli.json"
    );
    let vectors: Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = scene(dir.path());
    let dir_name = dir.path().to_str().unwrap();
    // Nobody listens there for the length of this test, with near certainty.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, case) in vectors["cases"].as_object().unwrap() {
        if !name.starts_with("kxc ") {
            continue;
        }
        count += 1;
        let by_free = name.contains(":FREE/");
        let port = if by_free { free } else { server.port() };
        let words: Vec<String> = case["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap().replace("DIR", dir_name))
            .map(|w| {
                w.replace("SRVPORT", &port.to_string())
                    .replace("FREEPORT", &port.to_string())
            })
            .collect();
        // The scripted server listens on IPv4 only.
        if name.contains("[::1]:P/") {
            continue;
        }
        let output = kxc(&words);
        let stdout = case["stdout"].as_str().unwrap();
        let seen_stdout: String = output
            .stdout
            .iter()
            .map(|&octet| {
                if name.contains("/bin") && octet > 127 {
                    format!("\\x{octet:02x}")
                } else {
                    char::from(octet).to_string()
                }
            })
            .collect();
        let seen_stdout = if name.contains("/bin") {
            seen_stdout
        } else {
            String::from_utf8(output.stdout.clone()).unwrap()
        };
        let port_name = if by_free { "FREEPORT" } else { "SRVPORT" };
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = without_our_flags(&normalize(&stderr, port, port_name, dir_name));
        let expected = (
            case["rc"].as_i64().unwrap(),
            stdout,
            case["stderr"].as_str().unwrap(),
        );
        let seen = (
            output.status.code().unwrap_or(-1).into(),
            &*seen_stdout,
            &*stderr,
        );
        if seen != expected {
            wrong.push(format!("{name}\n  wanted {expected:?}\n  got    {seen:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 60, "{count}");
}
