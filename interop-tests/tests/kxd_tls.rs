//! TLS as recorded (vectors/kxd/tls.json; kxd spec 4.1): versions, suites, protocols, groups,
//! resumption, alerts, and what comes to bytes that are no TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::normalize::latin1;
use interop_tests::program;
use interop_tests::subject::ours;
use interop_tests::table::Table;
use interop_tests::tls_client::{Client, get_request};
use openssl::ssl::SslVersion;
use serde_json::{Value, json};

fn data_directory() -> Config {
    let c = Config::new();
    c.key("k", "KEY");
    for size in [2048, 2049, 4096] {
        c.key(&format!("s{size}"), vec![b's'; size]);
    }
    c
}

fn version_of(name: &str) -> Option<SslVersion> {
    match name {
        "TLSv1" => Some(SslVersion::TLS1),
        "TLSv1_1" => Some(SslVersion::TLS1_1),
        "TLSv1_2" | "1.2" => Some(SslVersion::TLS1_2),
        "TLSv1_3" | "1.3" => Some(SslVersion::TLS1_3),
        _ => None,
    }
}

/// Only lines about the TLS layer count here.
fn handshake_lines(server: &Kxd, at_least: usize) -> Vec<String> {
    let mut lines = server.new_lines(at_least);
    lines.retain(|l| l.starts_with("server.go"));
    // Newer Go releases quote the protocols' names, the recorded one does not.
    lines
        .iter()
        .map(|l| l.replace("([\"", "([").replace("\"])", "])"))
        .collect()
}

/// The reason of a failure without the wrapping that the recording client put around it:
/// `ssl:[SSL] tlsv1 alert x (_ssl.c:1)` and `ssl:TLSV1_ALERT_X` are the same.
fn bare_reason(error: &str) -> String {
    let error = error.strip_prefix("ssl:").unwrap_or(error);
    let error = error.strip_prefix("[SSL] ").unwrap_or(error);
    let error = error.split(" (_ssl").next().unwrap_or(error);
    error.to_uppercase().replace(' ', "_")
}

/// One handshake and one request, in the shape of the table.
fn handshake(client: &Client, server: &Kxd, log_lines: usize) -> Value {
    let mut result = json!({});
    let error = match client.connect() {
        Ok(mut connection) => {
            let ssl = connection.stream.ssl();
            let alpn = ssl.selected_alpn_protocol().map(latin1);
            let cipher = ssl.current_cipher().map(|c| c.name());
            result["version"] = json!(ssl.version_str());
            result["cipher"] = json!(cipher);
            result["alpn"] = json!(alpn);
            if alpn.as_deref() == Some("h2") {
                return result;
            }
            if client.chain.is_empty() {
                connection.verdict()
            } else {
                let answer = connection.get("/v1/k");
                if answer.error.is_none() {
                    result["answer"] = json!(answer.status);
                }
                answer.error
            }
        }
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        result["error"] = json!(bare_reason(&error));
    }
    result["log"] = json!(handshake_lines(server, log_lines));
    result
}

fn client_for(name: &str, server: &Kxd) -> Option<Client> {
    let (what, detail) = name.split_once(' ')?;
    let mut client = server.client();
    match what {
        "version" => client.version = version_of(detail),
        "cipher1.2" => {
            client.version = Some(SslVersion::TLS1_2);
            client.ciphers = format!("{detail}:@SECLEVEL=0");
        }
        "default" => {
            client.version = version_of(detail.strip_prefix("order ")?);
            client.ciphers = "DEFAULT:@SECLEVEL=0".to_owned();
        }
        "no" => {
            client = client.anonymous();
            client.version = version_of(detail.strip_prefix("client cert ")?);
        }
        "alpn" => client = client.alpn(&detail.split(',').collect::<Vec<_>>()),
        "sni" if detail == "none" => client.sni = None,
        "sni" => client.sni = Some("other.example".to_owned()),
        _ => return None,
    }
    Some(client)
}

fn compare_handshakes(table: &mut Table, server: &Kxd) {
    for name in table.names() {
        let Some(client) = client_for(&name, server) else {
            continue;
        };
        let mut expected = table.expected(&name);
        if let Some(error) = expected["error"].as_str() {
            expected["error"] = json!(bare_reason(error));
        }
        let lines = expected["log"].as_array().map_or(0, Vec::len);
        let got = handshake(&client, server, lines);
        table.check_against(&name, &expected, &got);
    }
}

fn is_handshake(name: &str) -> bool {
    ["version ", "cipher1.2 ", "default ", "no ", "alpn ", "sni "]
        .iter()
        .any(|p| name.starts_with(p))
}

#[test]
fn versions_suites_protocols_and_missing_certificates() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(is_handshake);
    compare_handshakes(&mut table, &server);
    table.finish();
}

#[test]
fn with_tls_min_1_0_ours_accepts_what_the_original_does() {
    if !ours() {
        return;
    }
    let config = data_directory();
    let server = kxd(&config).arg("--tls_min=1.0").start();
    let mut table = Table::load("tls")
        .only(is_handshake)
        .without_deviation("D4");
    compare_handshakes(&mut table, &server);
    table.finish();
}

#[test]
fn the_four_nist_and_x25519_groups_are_accepted_and_x448_is_not() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n.starts_with("group "));
    for name in table.names() {
        let group = name.strip_prefix("group ").unwrap_or("");
        let mut client = server.client().version(SslVersion::TLS1_3);
        client.groups = Some(group.to_owned());
        let accepted = client.get("/v1/k").code() == 200;
        let recorded = table.text(&name, "result");
        let problem = (accepted == (recorded == "refused"))
            .then(|| format!("accepted: {accepted}, recorded: {recorded}"));
        table.record(&name, problem);
    }
    table.finish();
}

#[test]
fn sessions_are_resumed_and_authorise_with_the_first_handshakes_certificate() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n.starts_with("resume "));
    for name in table.names() {
        let client = server.client().version(
            version_of(name.strip_prefix("resume ").unwrap_or("")).unwrap_or(SslVersion::TLS1_3),
        );
        let mut first = client.connect().expect("first handshake");
        assert_eq!(first.get("/v1/k").body, b"KEY");
        let got = match client.resume(&first) {
            Ok(mut second) => {
                let reused = second.stream.ssl().session_reused();
                json!({"reused": reused, "answer": second.get("/v1/k").status})
            }
            Err(error) => json!({"reused": false, "answer": error}),
        };
        table.check(&name, &got);
    }
    table.finish();
}

#[test]
fn a_resumed_session_is_authorised_anew() {
    let config = data_directory();
    let server = kxd(&config).start();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        config.key("gone", "KEY");
        let client = server.client().version(version);
        let mut first = client.connect().expect("first handshake");
        assert_eq!(first.get("/v1/gone").code(), 200);
        std::fs::remove_file(config.join("data/gone/allowed_clients")).expect("removing");
        let mut second = client.resume(&first).expect("second handshake");
        assert_eq!(
            second.get("/v1/gone").code(),
            403,
            "the certificate was taken out"
        );
    }
}

#[test]
fn bytes_that_are_no_tls_get_the_recorded_answer() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n.starts_with("raw "));
    for name in table.names() {
        let bytes: &[u8] = match name.as_str() {
            "raw plain http" => b"GET /v1/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "raw plain post" => b"POST /v1/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "raw garbage" => b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d",
            "raw ssh" => b"SSH-2.0-OpenSSH_9.2\r\n",
            "raw sslv2 hello" => {
                b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\
                  \x04\x00\x80\x05\x00\x80\x06\x00\x40\x07\x00\xc00123456789abcdef"
            }
            "raw connect and close" => b"",
            _ => panic!("no bytes for {name}"),
        };
        let expected = table.expected(&name);
        let lines = expected["log"].as_array().map_or(0, Vec::len);
        let mut stream = TcpStream::connect(server.address()).expect("connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("timeout");
        stream.write_all(bytes).expect("writing");
        if bytes.is_empty() {
            stream.shutdown(std::net::Shutdown::Write).expect("closing");
        }
        let mut answer = Vec::new();
        // A reset in place of an orderly end is as good here.
        let _ = stream.read_to_end(&mut answer);
        drop(stream);
        let mut log = handshake_lines(&server, lines);
        if bytes.is_empty() {
            log.retain(|l| !l.ends_with(": EOF"));
        }
        table.check_against(
            &name,
            &expected,
            &json!({"bytes": latin1(&answer), "log": log}),
        );
    }
    table.finish();
}

/// Runs `openssl s_client` with the usual client certificate until the server's end.
fn s_client(config: &Config, server: &Kxd, args: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .arg("s_client")
        .args([
            "-connect",
            &server.address().to_string(),
            "-servername",
            "localhost",
            "-ign_eof",
        ])
        .args([
            "-cert",
            &config.text("client/cert.pem"),
            "-key",
            &config.text("client/key.pem"),
        ])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl s_client");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin
        .write_all(input.as_bytes())
        .expect("request to s_client");
    drop(stdin);
    program::collect(program::Guarded(child), Duration::from_secs(30)).stdout_text()
}

#[test]
fn the_certificate_request_names_no_authority_and_the_recorded_algorithms() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n.starts_with("certificate request "));
    for name in table.names() {
        let version = if name.ends_with("1.3") {
            "-tls1_3"
        } else {
            "-tls1_2"
        };
        let text = s_client(&config, &server, &[version], &get_request("/v1/k"));
        let expected = table.expected_list(&name);
        let has = |line: &str| text.lines().any(|l| l.trim() == line.trim());
        let missing: Vec<&String> = expected.iter().filter(|l| !has(l)).collect();
        let problem =
            (!missing.is_empty()).then(|| format!("s_client does not show {missing:?}\n{text}"));
        table.record(&name, problem);
    }
    table.finish();
}

#[test]
fn tickets_live_as_long_as_the_originals() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n.starts_with("resume "));
    for name in table.names() {
        let version = if name.ends_with("_3") {
            "-tls1_3"
        } else {
            "-tls1_2"
        };
        let text = s_client(&config, &server, &[version], &get_request("/v1/k"));
        let hint = text
            .lines()
            .find_map(|l| l.trim().strip_prefix("TLS session ticket lifetime hint: "))
            .and_then(|l| l.split(' ').next()?.parse().ok())
            .unwrap_or(0u64);
        let ticket = text.contains("TLS session ticket:");
        table.check(&name, &json!({"lifetime": hint, "ticket": ticket}));
    }
    table.finish();
}

#[test]
fn curl_over_h2_and_h1_sees_the_recorded_headers() {
    let config = data_directory();
    let server = kxd(&config).start();
    let mut table = Table::load("tls").only(|n| n == "curl");
    let expected = table.expected("curl");
    for (name, lines) in expected.as_object().expect("the curl case") {
        let (protocol, rest) = name.split_once(' ').expect("protocol and request");
        let mut words: Vec<&str> = rest.split(' ').filter(|w| *w != "GET").collect();
        let path = words.pop().unwrap_or("/");
        let version = if protocol == "http2" {
            "--http2"
        } else {
            "--http1.1"
        };
        let out = program::run_command(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--insecure",
                    "--max-time",
                    "20",
                    "-D",
                    "-",
                ])
                .args(["-o", "/dev/null", "--path-as-is", version])
                .args(["--cert", &config.text("client/cert.pem")])
                .args(["--key", &config.text("client/key.pem")])
                .args(words)
                .arg(format!("https://{}{path}", server.address())),
        );
        let got: Vec<String> = out
            .stdout_text()
            .lines()
            .filter(|l| !l.is_empty())
            .map(|l| {
                if l.to_lowercase().starts_with("date: ") {
                    "date: DATE"
                } else {
                    l
                }
                .to_owned()
            })
            .collect();
        let problem = (json!(got) != *lines).then(|| {
            format!(
                "{name}\n  expected {lines}\n  got      {got:?} {}",
                out.stderr_text()
            )
        });
        table.record("curl", problem);
    }
    table.finish();
}
