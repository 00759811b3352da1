//! kxc against servers of every kind: which server certificates it accepts, what it asks, and
//! what it makes of odd answers (vectors/kxd/side.json "server ...", "answer ...", "kxc
//! request"; kxd spec 8).

use std::process::Command;
use std::slice::from_ref;

use interop_tests::certificates::{Pair, Recipe};
use interop_tests::config::Config;
use interop_tests::normalize;
use interop_tests::program::{Finished, run_command};
use interop_tests::scripted_server::{Script, Server};
use interop_tests::subject::{ours, subject};
use interop_tests::table::Table;
use openssl::hash::MessageDigest;
use openssl::ssl::SslVersion;
use openssl::x509::X509;
use serde_json::{Value, json};

const LONG_AGO: i64 = 1_609_459_200;

/// What the server shows, what kxc is told to accept, and the host in the URL.
struct Case {
    server: Pair,
    others: Vec<X509>,
    accepted: Vec<X509>,
    host: &'static str,
}

fn pinned(server: Pair) -> Case {
    let accepted = vec![server.cert.clone()];
    Case {
        server,
        others: Vec::new(),
        accepted,
        host: "localhost",
    }
}

impl Case {
    fn by_ip(mut self) -> Case {
        self.host = "127.0.0.1";
        self
    }

    fn accepting(mut self, accepted: &[&Pair]) -> Case {
        self.accepted = accepted.iter().map(|p| p.cert.clone()).collect();
        self
    }

    fn sending(mut self, others: &[&Pair]) -> Case {
        self.others = others.iter().map(|p| p.cert.clone()).collect();
        self
    }
}

fn server_case(name: &str) -> Case {
    let srv = || Recipe::new("srv");
    let root = Recipe::new("root").authority().make();
    let middle = Recipe::new("middle").authority().issued_by(&root).make();
    let leaf_of = |issuer: &Pair| srv().dns("localhost").issued_by(issuer).make();
    let star = || srv().dns("*").make();
    match name {
        "san localhost" => pinned(srv().dns("localhost").make()),
        "san star" => pinned(star()),
        "san star by ip" => pinned(star()).by_ip(),
        "cn star, no san" => pinned(srv().common_name("*").make()),
        "cn holds a star, san localhost, by ip" => {
            pinned(srv().common_name("a*b").dns("localhost").make()).by_ip()
        }
        "san *.example.com" => pinned(srv().dns("*.example.com").make()),
        "cn localhost only" => pinned(srv().common_name("localhost").make()),
        "no names" => pinned(srv().make()),
        "san other" => pinned(srv().dns("other.example").make()),
        "san upper case" => pinned(srv().dns("LOCALHOST").make()),
        "san ip by ip" => pinned(srv().ip("127.0.0.1").make()).by_ip(),
        "san ip by name" => pinned(srv().ip("127.0.0.1").make()),
        "san dns holding an ip, by ip" => pinned(srv().dns("127.0.0.1").make()).by_ip(),
        "eku client" => pinned(srv().dns("localhost").eku(Some(&["clientAuth"])).make()),
        "no eku" => pinned(srv().dns("localhost").eku(None).make()),
        "expired" => pinned(srv().dns("localhost").not_after(LONG_AGO).make()),
        "expired star" => pinned(srv().dns("*").not_after(LONG_AGO).make()),
        "same key, made anew" => {
            let old = srv().dns("localhost").make();
            pinned(srv().dns("localhost").key(&old.key).make()).accepting(&[&old])
        }
        "other" => {
            let other = Recipe::new("other").dns("localhost").make();
            pinned(srv().dns("localhost").make()).accepting(&[&other])
        }
        "bundle with a star one turns the name check off" => {
            pinned(srv().dns("other.example").make()).accepting(&[&star()])
        }
        "bundle with a star one, ours has another name" => {
            let server = srv().dns("other.example").make();
            pinned(server.clone()).accepting(&[&star(), &server])
        }
        "authority allowed" => pinned(leaf_of(&root)).accepting(&[&root]),
        "authority sent and allowed" => {
            pinned(leaf_of(&root)).sending(&[&root]).accepting(&[&root])
        }
        "leaf allowed, signed by an authority" => pinned(leaf_of(&root)),
        "root allowed, intermediate sent" => pinned(leaf_of(&middle))
            .sending(&[&middle])
            .accepting(&[&root]),
        "root allowed, intermediate not sent" => pinned(leaf_of(&middle)).accepting(&[&root]),
        "intermediate allowed" => pinned(leaf_of(&middle)).accepting(&[&middle]),
        "star mode: root allowed, intermediate sent" => {
            let other_star = Recipe::new("star").dns("*").make();
            pinned(leaf_of(&middle))
                .sending(&[&middle])
                .accepting(&[&root, &other_star])
        }
        "sha1 self signed" => pinned(srv().dns("localhost").digest(MessageDigest::sha1()).make()),
        "wrong self signature" => pinned(srv().dns("localhost").wrong_signature().make()),
        "v3 with san only" => pinned(srv().dns("localhost").without_usages().make()),
        _ => panic!("no server for {name}"),
    }
}

fn key_script() -> Script {
    Box::new(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nKEY".to_vec())
}

/// kxc with the usual client certificate, accepting `accepted`.
fn kxc(accepted: &[X509], url: &str, extra: &[&str]) -> Finished {
    let config = Config::new();
    let pem: Vec<u8> = accepted
        .iter()
        .flat_map(|c| c.to_pem().expect("PEM"))
        .collect();
    let server_cert = config.write("server_cert.pem", pem);
    run_command(
        Command::new(subject().program("kxc"))
            .arg(format!("--client_cert={}", config.text("client/cert.pem")))
            .arg(format!("--client_key={}", config.text("client/key.pem")))
            .arg(format!("--server_cert={}", server_cert.display()))
            .args(extra)
            .arg(url),
    )
}

fn record(finished: &Finished, port: u16) -> Value {
    let stderr = normalize::output(&finished.stderr_text()).replace("STAMP ", "");
    let stderr = stderr.replace(&port.to_string(), "PORT");
    let stderr = normalize::between(&stderr, "current time ", " is ", "NOW");
    json!({"rc": finished.rc, "stdout": finished.stdout_text(), "stderr": stderr})
}

#[test]
fn recorded_server_certificates_are_judged_as_recorded() {
    let mut table = Table::load("side").only(|n| n.starts_with("server "));
    for name in table.names() {
        let case = server_case(name.strip_prefix("server ").unwrap_or(""));
        for version in [SslVersion::TLS1_3, SslVersion::TLS1_2] {
            let server = Server::start(&case.server, &case.others, Some(version), key_script());
            let url = format!("kxd://{}:{}/k", case.host, server.port);
            let finished = kxc(&case.accepted, &url, &[]);
            table.check(&name, &record(&finished, server.port));
        }
    }
    table.finish();
}

/// The bytes a server answers in a case.
fn answer(name: &str) -> Script {
    let fixed = |bytes: &'static [u8]| -> Script { Box::new(move |_, _| bytes.to_vec()) };
    match name {
        "200" => key_script(),
        "201" => fixed(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nKEY\n"),
        "204" => fixed(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "error with reason" => {
            fixed(b"HTTP/1.1 418 I'm \"x\"\r\nContent-Length: 5\r\n\r\nbody\n")
        }
        "error without body" => fixed(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        "short body" => fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nKEY"),
        "chunked" => fixed(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nK\r\n2\r\nEY\r\n0\r\n\r\n",
        ),
        "until close" => fixed(b"HTTP/1.1 200 OK\r\n\r\nKEY"),
        "gzip" => fixed(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 23\r\n\r\n\
              \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xf3\x76\x8d\x04\x00\x23\xe9\x37\x1c\x03\x00\x00\x00",
        ),
        "redirect" => Box::new(|n, _| match n {
            0 => b"HTTP/1.1 302 x\r\nLocation: /v1/other\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nKEY".to_vec(),
        }),
        "redirect loop" => {
            fixed(b"HTTP/1.1 302 x\r\nLocation: /v1/again\r\nContent-Length: 0\r\n\r\n")
        }
        "redirect to http" => fixed(
            b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/k\r\nContent-Length: 0\r\n\r\n",
        ),
        "redirect without location" => fixed(b"HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n"),
        "not http" => fixed(b"utter garbage\r\n\r\n"),
        "closes" => fixed(b""),
        _ => panic!("no answer for {name}"),
    }
}

#[test]
fn recorded_answers_are_taken_as_recorded() {
    let mut table = Table::load("side").only(|n| n.starts_with("answer "));
    for name in table.names() {
        let pair = Recipe::new("srv").dns("localhost").make();
        let script = answer(name.strip_prefix("answer ").unwrap_or(""));
        let server = Server::start(&pair, &[], None, script);
        let url = format!("kxd://localhost:{}/k", server.port);
        let finished = kxc(from_ref(&pair.cert), &url, &[]);
        let mut got = record(&finished, server.port);
        let lines = server.requests();
        let lines: Vec<&str> = lines.iter().filter_map(|r| r.lines().next()).collect();
        got["requests"] = json!(lines);
        table.check(&name, &got);
    }
    table.finish();
}

#[test]
fn the_request_is_the_recorded_one_to_the_octet() {
    let mut table = Table::load("side").only(|n| n == "kxc request");
    let pair = Recipe::new("srv").dns("localhost").make();
    let server = Server::start(&pair, &[], None, key_script());
    let url = format!("kxd://localhost:{}/k", server.port);
    assert_eq!(kxc(from_ref(&pair.cert), &url, &[]).rc, 0);
    let request = server
        .requests()
        .concat()
        .replace(&server.port.to_string(), "PORT");
    table.check(
        "kxc request",
        &json!({"bytes": request, "alpn": server.offered_protocols()}),
    );
    table.finish();
}

#[test]
fn a_user_name_in_the_url_becomes_basic_authorization() {
    let pair = Recipe::new("srv").dns("localhost").make();
    let server = Server::start(&pair, &[], None, key_script());
    let url = format!("kxd://user:pw@localhost:{}/k", server.port);
    assert_eq!(kxc(from_ref(&pair.cert), &url, &[]).rc, 0);
    assert!(
        server
            .requests()
            .concat()
            .contains("\r\nAuthorization: Basic dXNlcjpwdw==\r\n")
    );
}

#[test]
fn a_server_of_tls_1_1_is_refused() {
    let pair = Recipe::new("srv").dns("localhost").make();
    let server = Server::start(&pair, &[], Some(SslVersion::TLS1_1), key_script());
    let url = format!("kxd://localhost:{}/k", server.port);
    let finished = kxc(from_ref(&pair.cert), &url, &[]);
    assert_eq!(finished.rc, 1);
    assert!(finished.stdout.is_empty());
    let text = finished.stderr_text();
    assert!(text.contains("protocol version"), "{text}");
}

#[test]
fn ours_tries_the_next_server_when_one_is_down() {
    if !ours() {
        return;
    }
    let pair = Recipe::new("srv").dns("localhost").make();
    let server = Server::start(&pair, &[], None, key_script());
    let dead = format!("kxd://localhost:{}/k", interop_tests::daemon::free_port());
    let live = format!("kxd://localhost:{}/k", server.port);
    let fallback = format!("--fallback_urls={live}");
    let finished = kxc(from_ref(&pair.cert), &dead, &[&fallback]);
    assert_eq!(
        (finished.rc, finished.stdout_text().as_str()),
        (0, "KEY"),
        "{finished:?}"
    );
}
