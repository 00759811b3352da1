//! What the original's own test suite looks for (kxd spec 16), in our words: statuses and the
//! phrases it searches in kxc's stderr. A replacement must satisfy whoever runs that suite.

use std::process::Command;

use interop_tests::config::Config;
use interop_tests::daemon::{Kxd, kxd};
use interop_tests::program::{Finished, run, run_command};
use interop_tests::smtp_sink::{Manners, Sink};
use interop_tests::subject::{Kind, subject};

/// One side, with certificates of the subject's own kxgencert.
fn side(organization: &str, host: Option<&str>) -> Config {
    let config = Config::new();
    for name in ["cert.pem", "key.pem"] {
        std::fs::remove_file(config.join(name)).expect("the usual certificate");
    }
    let mut command = Command::new(subject().program("kxgencert"));
    command
        .arg(format!("-organization={organization}"))
        .arg(format!("-cert={}", config.text("cert.pem")))
        .arg(format!("-key={}", config.text("key.pem")));
    if let Some(host) = host {
        command.arg(format!("-host={host}"));
    }
    assert_eq!(run_command(&mut command).rc, 0);
    config
}

fn key(server: &Config, name: &str, clients: &[&Config]) -> Vec<u8> {
    let content: Vec<u8> = name.bytes().cycle().take(1024).collect();
    server.bare_key(name, &content);
    let allowed: Vec<u8> = clients
        .iter()
        .flat_map(|c| std::fs::read(c.join("cert.pem")).expect("cert"))
        .collect();
    if !clients.is_empty() {
        server.write(format!("data/{name}/allowed_clients"), allowed);
    }
    content
}

fn call(client: &Config, server_cert: &str, url: &str) -> Finished {
    run_command(
        Command::new(subject().program("kxc"))
            .arg(format!("--client_cert={}", client.text("cert.pem")))
            .arg(format!("--client_key={}", client.text("key.pem")))
            .arg(format!("--server_cert={server_cert}"))
            .arg(url),
    )
}

/// A server's configuration and process with a client's configuration.
struct Scene {
    server: Config,
    client: Config,
    process: Kxd,
}

impl Scene {
    fn new(host: Option<&str>) -> Scene {
        let server = side("kxd-tests-server", host);
        let client = side("kxd-tests-client", None);
        let process = kxd(&server).start();
        Scene {
            server,
            client,
            process,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("kxd://localhost:{}/{path}", self.process.port)
    }

    fn fetch(&self, path: &str) -> Finished {
        call(&self.client, &self.server.text("cert.pem"), &self.url(path))
    }
}

fn assert_fails(finished: &Finished, phrases: &[&str]) {
    assert_ne!(finished.rc, 0);
    let text = finished.stderr_text();
    let mut rest = text.as_str();
    for phrase in phrases {
        let Some((_, tail)) = rest.split_once(phrase) else {
            panic!("no {phrase:?} in {text:?}")
        };
        rest = tail;
    }
}

#[test]
fn the_simple_round() {
    let scene = Scene::new(Some("localhost"));
    let other = side("other", None);
    let k1 = key(&scene.server, "k1", &[&scene.client]);
    scene.server.write("data/k1/allowed_hosts", "localhost\n");
    assert_eq!(scene.fetch("k1").stdout, k1);
    assert_fails(&scene.fetch("k2"), &["404 Not Found"]);

    key(&scene.server, "k3", &[&other]);
    assert_fails(
        &scene.fetch("k3"),
        &["403 Forbidden", "No allowed certificate found"],
    );
    key(&scene.server, "k4", &[&scene.client]);
    scene.server.write("data/k4/allowed_hosts", "");
    assert_fails(&scene.fetch("k4"), &["403 Forbidden", "Host not allowed"]);
    key(&scene.server, "k5", &[]);
    assert_fails(&scene.fetch("k5"), &["403 Forbidden"]);

    let wrong = call(&scene.client, &other.text("cert.pem"), &scene.url("k1"));
    assert_fails(&wrong, &["certificate signed by unknown authority"]);
}

#[test]
fn certificates_for_any_host() {
    // 0.15 has no star rule; its own default host is `*`, which TLS then takes for one label.
    let scene = Scene::new(Some("*"));
    let k1 = key(&scene.server, "k1", &[&scene.client]);
    assert_eq!(scene.fetch("k1").stdout, k1);
    let by_ip = format!("kxd://127.0.0.1:{}/k1", scene.process.port);
    let got = call(&scene.client, &scene.server.text("cert.pem"), &by_ip);
    assert_eq!(
        got.rc == 0,
        subject().kind != Kind::V015,
        "{}",
        got.stderr_text()
    );
}

#[test]
fn urls_and_server_certificates_that_cannot_be_used() {
    let scene = Scene::new(Some("localhost"));
    key(&scene.server, "k1", &[&scene.client]);
    let cert = scene.server.text("cert.pem");
    let at = |cert: &str, url: &str| call(&scene.client, cert, url);
    assert_fails(
        &at(&cert, "invalidschema://a/b"),
        &["unsupported URL schema"],
    );
    assert_fails(
        &at(&cert, " http://invalid"),
        &["first path segment in URL cannot contain colon"],
    );
    let url = scene.url("k1");
    assert_fails(
        &at("/dev/null", &url),
        &["Failed to load server certs: error appending certificates"],
    );
    assert_fails(
        &at("/does/not/exist", &url),
        &["open /does/not/exist: no such file or directory"],
    );
    let bad = scene.server.write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    );
    // 0.15 skips what it cannot parse and ends with an empty list.
    let phrase = match subject().kind {
        Kind::V015 => "error appending certificates",
        _ => "x509: malformed",
    };
    assert_fails(&at(&bad.to_string_lossy(), &url), &[phrase]);
}

#[test]
fn two_clients_share_some_keys_and_not_others() {
    let scene = Scene::new(Some("localhost"));
    let second = side("kxd-tests-client2", None);
    let both = key(&scene.server, "k1", &[&scene.client, &second]);
    let only_second = key(&scene.server, "k2", &[&second]);
    let cert = scene.server.text("cert.pem");
    assert_eq!(scene.fetch("k1").stdout, both);
    assert_eq!(call(&second, &cert, &scene.url("k1")).stdout, both);
    assert_eq!(call(&second, &cert, &scene.url("k2")).stdout, only_second);
    assert_fails(
        &scene.fetch("k2"),
        &["403 Forbidden", "No allowed certificate found"],
    );
}

#[test]
fn many_keys_at_many_depths() {
    let scene = Scene::new(Some("localhost"));
    let names = [
        "a",
        "d1/a",
        "a/b/c",
        "d1/d2/d3/d4/k",
        "x.y",
        "with-dash_and.dot",
    ];
    let keys: Vec<_> = names
        .iter()
        .map(|n| key(&scene.server, n, &[&scene.client]))
        .collect();
    for _ in 0..2 {
        for (name, content) in names.iter().zip(&keys) {
            assert_eq!(&scene.fetch(name).stdout, content, "{name}");
        }
    }
    assert_fails(&scene.fetch("a/b"), &["404 Not Found"]);
}

#[test]
fn one_client_of_two_servers() {
    let (one, two) = (Scene::new(Some("localhost")), Scene::new(Some("localhost")));
    let first = key(&one.server, "k1", &[&one.client]);
    two.server.bare_key("k1", "another");
    let allowed = two.server.join("data/k1/allowed_clients");
    std::fs::copy(one.client.join("cert.pem"), allowed).expect("allowing");
    // Both servers' certificates in one file.
    let bundle = [&one, &two].map(|s| std::fs::read(s.server.join("cert.pem")).expect("cert"));
    let bundle = one.client.write("both.pem", bundle.concat());
    let bundle = bundle.to_string_lossy();
    assert_eq!(call(&one.client, &bundle, &one.url("k1")).stdout, first);
    assert_eq!(
        call(&one.client, &bundle, &two.url("k1")).stdout,
        b"another"
    );
}

#[test]
fn requests_by_hand() {
    let scene = Scene::new(Some("localhost"));
    assert_eq!(scene.process.get("/v1/a/../b").code(), 301);
    assert_eq!(scene.process.get("/v1/../a").code(), 301);
    let invalid = if subject().kind == Kind::V015 {
        404
    } else {
        406
    };
    assert_eq!(scene.process.get("/v1/").code(), invalid);
    assert!(
        scene
            .process
            .client()
            .anonymous()
            .get("/v1/k1")
            .error
            .is_some()
    );
    let connection = scene.process.client().connect().expect("handshake");
    let ssl = connection.stream.ssl();
    assert!(
        ssl.current_cipher()
            .is_some_and(|c| c.bits().algorithm >= 128)
    );
    let shown = ssl
        .peer_certificate()
        .expect("certificate")
        .to_pem()
        .expect("PEM");
    let file = std::fs::read(scene.server.join("cert.pem")).expect("cert");
    assert_eq!(
        String::from_utf8_lossy(&shown).trim(),
        String::from_utf8_lossy(&file).trim()
    );
}

#[test]
fn a_broken_allowed_clients_and_a_missing_key() {
    let scene = Scene::new(Some("localhost"));
    scene.server.bare_key("k1", "KEY");
    scene.server.write(
        "data/k1/allowed_clients",
        "something that is no certificate",
    );
    let got = scene.fetch("k1");
    let text = got.stderr_text();
    assert_eq!(got.rc, 1);
    let known = ["Error loading certs", "No allowed certificate found"];
    assert!(known.iter().any(|k| text.contains(k)), "{text}");
    key(&scene.server, "k2", &[&scene.client]);
    std::fs::remove_file(scene.server.join("data/k2/key")).expect("removing");
    assert_fails(&scene.fetch("k2"), &["404 Not Found"]);
}

#[test]
fn a_hook_decides_and_sees_the_client() {
    let mut scene = Scene::new(Some("localhost"));
    let hook = scene.server.script(
        "hook",
        "#!/bin/sh\necho \"CLIENT_CERT_SUBJECT=$CLIENT_CERT_SUBJECT\" > hook-output\n\
         env >> hook-output\n[ ! -e refuse ]\n",
    );
    scene.process = kxd(&scene.server)
        .arg(format!("--hook={}", hook.display()))
        .start();
    let k1 = key(&scene.server, "k1", &[&scene.client]);
    assert_eq!(scene.fetch("k1").stdout, k1);
    let output = || std::fs::read_to_string(scene.server.join("data/hook-output")).expect("output");
    assert!(output().contains("CLIENT_CERT_SUBJECT=O=kxd-tests-client\n"));
    assert!(!output().contains("EMAIL_TO="));
    scene
        .server
        .write("data/k1/email_to", "me@example.com\nyou@test.net\n");
    assert_eq!(scene.fetch("k1").stdout, k1);
    assert!(output().contains("EMAIL_TO=me@example.com you@test.net\n"));
    scene.server.write("data/refuse", "");
    assert_fails(&scene.fetch("k1"), &["Prevented by hook"]);
}

#[test]
fn mail_through_a_server_that_knows_helo_only_and_ends_lines_with_lf() {
    let mut scene = Scene::new(Some("localhost"));
    let sink = Sink::start(Manners {
        extensions: None,
        line_end: "\n",
        ..Manners::default()
    });
    scene.process = kxd(&scene.server)
        .arg(format!("--smtp_addr=localhost:{}", sink.port))
        .arg("--email_from=kxd@test.net")
        .start();
    let k1 = key(&scene.server, "k1", &[&scene.client]);
    scene
        .server
        .write("data/k1/email_to", "me@example.com\nyou@test.net\n");
    assert_eq!(scene.fetch("k1").stdout, k1, "{:?}", sink.received(0).talk);
    let received = sink.received(1);
    assert!(
        received
            .talk
            .contains(&"C: RCPT TO:<you@test.net>\\r\\n".to_owned())
    );
    assert_eq!(received.messages.len(), 1);
    assert!(received.messages[0].contains("\r\nSubject: Access to key k1\r\n"));
    let k2 = key(&scene.server, "k2", &[&scene.client]);
    assert_eq!(scene.fetch("k2").stdout, k2, "no addresses, no mail");
    assert_eq!(sink.received(0).messages.len(), 1);
}

#[test]
fn the_version_is_told_by_builds_that_have_the_flag() {
    let out = run(subject().program("kxd"), &["--version"]);
    if matches!(subject().kind, Kind::V015 | Kind::V017) {
        assert_eq!(out.rc, 2);
        return;
    }
    assert_eq!(out.rc, 0);
    let text = out.stdout_text();
    let rest = text.strip_prefix("kxd version ").expect("its beginning");
    assert!(rest.contains(" (") && rest.ends_with(")\n"), "{text:?}");
}
