//! How the recorded kxc judged servers and took odd answers (interop-tests/vectors/kxd/side.json):
//! the same situations, made anew, with our program.

use std::fs;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;
mod support;

use openssl::x509::X509;
use program::{kxc, normalize};
use support::test_certs::{Identity, Spec};
use support::tls_server::{Reply, Setup, ok};

fn recorded() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/kxd/side.json"
    );
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    all["cases"].clone()
}

fn client(dir: &std::path::Path) {
    let client = Spec {
        cn: "client".to_owned(),
        ..Spec::default()
    }
    .self_signed();
    fs::write(dir.join("cert.pem"), client.cert_pem()).unwrap();
    fs::write(dir.join("key.pem"), client.key_pem()).unwrap();
}

fn ask(dir: &std::path::Path, url: &str) -> (i64, String, String) {
    let file = |flag: &str, name: &str| format!("-{flag}={}", dir.join(name).display());
    let output = kxc(&[
        file("client_cert", "cert.pem"),
        file("client_key", "key.pem"),
        file("server_cert", "server.pem"),
        url.to_owned(),
    ]);
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        output.status.code().unwrap().into(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A server's identity, what it sends behind its certificate, and what kxc is told to trust.
struct Situation {
    server: Identity,
    extra: Vec<X509>,
    trusted: Vec<X509>,
    by_ip: bool,
}

fn itself(server: Identity) -> Situation {
    let trusted = vec![server.cert.clone()];
    Situation {
        server,
        extra: vec![],
        trusted,
        by_ip: false,
    }
}

fn by_ip(server: Identity) -> Situation {
    Situation {
        by_ip: true,
        ..itself(server)
    }
}

fn trusting(server: Identity, extra: &[&Identity], trusted: &[&Identity]) -> Situation {
    let certs = |list: &[&Identity]| list.iter().map(|i| i.cert.clone()).collect();
    Situation {
        server,
        extra: certs(extra),
        trusted: certs(trusted),
        by_ip: false,
    }
}

fn named(cn: &str, dns: &[&str]) -> Spec {
    Spec {
        cn: cn.to_owned(),
        ..Spec::server(dns)
    }
}

fn situation(name: &str) -> Situation {
    let local = || Spec::server(&["localhost"]);
    let authority = |cn: &str| Spec {
        cn: cn.to_owned(),
        ca: true,
        ..Spec::default()
    };
    let root = authority("root").self_signed();
    let middle = authority("middle").signed_by(&root);
    match name.strip_prefix("server ").unwrap() {
        "san localhost" => itself(local().self_signed()),
        "san star" => itself(Spec::server(&["*"]).self_signed()),
        "san star by ip" => by_ip(Spec::server(&["*"]).self_signed()),
        "cn star, no san" => itself(named("*", &[]).self_signed()),
        "cn holds a star, san localhost, by ip" => {
            by_ip(named("a*b", &["localhost"]).self_signed())
        }
        "san *.example.com" => itself(Spec::server(&["*.example.com"]).self_signed()),
        "cn localhost only" => itself(named("localhost", &[]).self_signed()),
        "no names" => itself(named("", &[]).self_signed()),
        "san other" => itself(Spec::server(&["other.example"]).self_signed()),
        "san upper case" => itself(Spec::server(&["LOCALHOST"]).self_signed()),
        "san ip by ip" => by_ip(
            Spec {
                ip: vec!["127.0.0.1".to_owned()],
                ..Spec::server(&[])
            }
            .self_signed(),
        ),
        "san ip by name" => itself(
            Spec {
                ip: vec!["127.0.0.1".to_owned()],
                ..Spec::server(&[])
            }
            .self_signed(),
        ),
        "san dns holding an ip, by ip" => by_ip(Spec::server(&["127.0.0.1"]).self_signed()),
        "eku client" => itself(
            Spec {
                eku_server: Some(false),
                ..local()
            }
            .self_signed(),
        ),
        "no eku" | "v3 with san only" => itself(
            Spec {
                eku_server: None,
                ..local()
            }
            .self_signed(),
        ),
        "expired" => itself(
            Spec {
                expired: true,
                ..local()
            }
            .self_signed(),
        ),
        "expired star" => itself(
            Spec {
                expired: true,
                ..Spec::server(&["*"])
            }
            .self_signed(),
        ),
        "same key, made anew" => {
            let server = local().self_signed();
            let old = local().for_key(&server.key);
            trusting(server, &[], &[&old])
        }
        "other" => trusting(
            local().self_signed(),
            &[],
            &[&named("x", &["localhost"]).self_signed()],
        ),
        "bundle with a star one turns the name check off" => trusting(
            local().self_signed(),
            &[],
            &[
                &Spec::server(&["other.example"]).self_signed(),
                &Spec::server(&["*"]).self_signed(),
            ],
        ),
        "bundle with a star one, ours has another name" => {
            let server = Spec::server(&["other.example"]).self_signed();
            let trusted = [&server.clone(), &Spec::server(&["*"]).self_signed()];
            trusting(server, &[], &trusted)
        }
        "authority allowed" => trusting(local().signed_by(&root), &[], &[&root]),
        "authority sent and allowed" => trusting(local().signed_by(&root), &[&root], &[&root]),
        "leaf allowed, signed by an authority" => itself(local().signed_by(&root)),
        "root allowed, intermediate sent" => {
            trusting(local().signed_by(&middle), &[&middle], &[&root])
        }
        "root allowed, intermediate not sent" => {
            trusting(local().signed_by(&middle), &[], &[&root])
        }
        "intermediate allowed" => trusting(local().signed_by(&middle), &[], &[&middle]),
        "star mode: root allowed, intermediate sent" => trusting(
            named("srv", &["elsewhere"]).signed_by(&middle),
            &[&middle],
            &[&root, &Spec::server(&["*"]).self_signed()],
        ),
        "sha1 self signed" => itself(
            Spec {
                sha1: true,
                ..local()
            }
            .self_signed(),
        ),
        "wrong self signature" => itself(local().self_signed().with_wrong_signature()),
        other => panic!("a case that this test does not know: {other}"),
    }
}

#[test]
fn servers_are_judged_as_recorded() {
    let dir = tempfile::tempdir().unwrap();
    client(dir.path());
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, case) in recorded().as_object().unwrap() {
        if !name.starts_with("server ") {
            continue;
        }
        count += 1;
        let Situation {
            server,
            extra,
            trusted,
            by_ip,
        } = situation(name);
        let pem: Vec<u8> = trusted.iter().flat_map(|c| c.to_pem().unwrap()).collect();
        fs::write(dir.path().join("server.pem"), pem).unwrap();
        let server = Setup {
            extra,
            ..Setup::new(server)
        }
        .start(|_| Reply::Send(ok(b"KEY")));
        let host = if by_ip { "127.0.0.1" } else { "localhost" };
        let url = format!("kxd://{host}:{}/k", server.port());
        let (rc, stdout, stderr) = ask(dir.path(), &url);
        let stderr = normalize(&stderr, server.port(), "PORT", "/no/such/dir");
        let seen = (
            rc,
            stdout.as_str(),
            stderr.strip_prefix("STAMP ").unwrap_or(&stderr),
        );
        let expected = (
            case["rc"].as_i64().unwrap(),
            case["stdout"].as_str().unwrap(),
            case["stderr"].as_str().unwrap(),
        );
        if seen != expected {
            wrong.push(format!("{name}\n  wanted {expected:?}\n  got    {seen:?}"));
        }
        let trusts = rc == 0;
        server.wait(1).seen(|s| {
            assert_eq!(s.requests.len(), usize::from(trusts), "{name}: requests");
            assert_eq!(
                s.client_certs,
                [trusts],
                "{name}: an impostor must not see our certificate"
            );
            let indicated = (!by_ip).then(|| "localhost".to_owned());
            assert_eq!(s.names, [indicated], "{name}: server name");
            if !trusts {
                let alert = s.failures.concat();
                assert!(alert.contains("alert number 42"), "{name}: {alert}");
            }
        });
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 29, "{count}");
}

fn reply(case: &str, request: &[u8]) -> Reply {
    let redirected = request.starts_with(b"GET /v1/other ");
    let send = |text: &str| Reply::Send(text.as_bytes().to_vec());
    match case {
        "200" => Reply::Send(ok(b"KEY")),
        "201" => send("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nKEY"),
        "204" => send("HTTP/1.1 204 No Content\r\n\r\n"),
        "error with reason" => send("HTTP/1.1 418 I'm \"x\"\r\nContent-Length: 5\r\n\r\nbody\n"),
        "error without body" => send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        "short body" => send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nKEY"),
        "chunked" => send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nK\r\n2\r\nEY\r\n0\r\n\r\n",
        ),
        "until close" => {
            Reply::SendAndDrop(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nKEY".to_vec())
        }
        "gzip" => {
            use std::io::Write as _;
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(b"KEY").unwrap();
            let packed = packed.finish().unwrap();
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                packed.len()
            )
            .into_bytes();
            answer.extend(packed);
            Reply::Send(answer)
        }
        "redirect" if redirected => Reply::Send(ok(b"KEY")),
        "redirect" => {
            send("HTTP/1.1 302 Found\r\nLocation: /v1/other\r\nContent-Length: 0\r\n\r\n")
        }
        "redirect loop" => {
            send("HTTP/1.1 302 Found\r\nLocation: /v1/again\r\nContent-Length: 0\r\n\r\n")
        }
        "redirect to http" => {
            send("HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/k\r\nContent-Length: 0\r\n\r\n")
        }
        "redirect without location" => send("HTTP/1.1 302 x\r\nContent-Length: 0\r\n\r\n"),
        "not http" => send("garbage garbage\r\n\r\n"),
        "closes" => send(""),
        other => panic!("a case that this test does not know: {other}"),
    }
}

#[test]
fn answers_are_taken_as_recorded() {
    let dir = tempfile::tempdir().unwrap();
    client(dir.path());
    let identity = Spec::server(&["localhost"]).self_signed();
    fs::write(dir.path().join("server.pem"), identity.cert_pem()).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, case) in recorded().as_object().unwrap() {
        let Some(kind) = name.strip_prefix("answer ").map(str::to_owned) else {
            continue;
        };
        count += 1;
        let server = Setup::new(identity.clone()).start(move |request| reply(&kind, request));
        let (rc, stdout, stderr) = ask(dir.path(), &format!("kxd://localhost:{}/k", server.port()));
        let stderr = normalize(&stderr, server.port(), "PORT", "/no/such/dir");
        let hops = case["requests"].as_array().unwrap().len();
        let requests: Vec<String> = server.wait(hops).seen(|s| {
            s.requests
                .iter()
                .map(|r| {
                    String::from_utf8_lossy(r)
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                })
                .collect()
        });
        let requests = serde_json::to_value(requests).unwrap();
        let seen = (
            rc,
            &*stdout,
            stderr.strip_prefix("STAMP ").unwrap_or(&stderr),
            &requests,
        );
        let expected = (
            case["rc"].as_i64().unwrap(),
            case["stdout"].as_str().unwrap(),
            case["stderr"].as_str().unwrap(),
            &case["requests"],
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
    assert!(count >= 15, "{count}");
}

#[test]
fn the_request_has_the_recorded_octets() {
    let dir = tempfile::tempdir().unwrap();
    client(dir.path());
    let identity = Spec::server(&["localhost"]).self_signed();
    fs::write(dir.path().join("server.pem"), identity.cert_pem()).unwrap();
    let server = Setup::new(identity).start(|_| Reply::Send(ok(b"KEY")));
    let (rc, ..) = ask(dir.path(), &format!("kxd://localhost:{}/k", server.port()));
    assert_eq!(rc, 0);
    let expected = recorded()["kxc request"]["bytes"]
        .as_str()
        .unwrap()
        .to_owned();
    let expected = expected.replace("PORT", &server.port().to_string());
    server.seen(|s| assert_eq!(String::from_utf8_lossy(&s.requests[0]), expected));
}
