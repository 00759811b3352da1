//! Beyond the original: several servers, retries, time limits; and the texts of connections that fail.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[path = "support/program.rs"]
mod program;
mod support;

use kxc::{ClientBuilder, Code, FetchError, PemSource};
use openssl::ssl::SslVersion;
use support::test_certs::{Identity, Spec};
use support::tls_server::{Reply, Setup, TlsServer, ok};

struct Scene {
    dir: tempfile::TempDir,
    identity: Identity,
    client: Identity,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            identity: Spec::server(&["localhost"]).self_signed(),
            client: Spec {
                cn: "client".to_owned(),
                ..Spec::default()
            }
            .self_signed(),
        };
        for (name, content) in [
            ("cert.pem", scene.client.cert_pem()),
            ("key.pem", scene.client.key_pem()),
            ("server.pem", scene.identity.cert_pem()),
        ] {
            fs::write(scene.dir.path().join(name), content).unwrap();
        }
        scene
    }

    fn settings(&self) -> ClientBuilder {
        let mut settings = ClientBuilder::new();
        settings
            .client_cert(PemSource::memory(&self.client.cert_pem()))
            .client_key(PemSource::memory(&self.client.key_pem()))
            .server_cert(PemSource::memory(&self.identity.cert_pem()));
        settings
    }

    fn server(&self, reply: impl Fn(&[u8]) -> Reply + Send + 'static) -> TlsServer {
        Setup::new(self.identity.clone()).start(reply)
    }

    /// The code, stdout and stderr of the program.
    fn kxc(&self, words: &[&str]) -> (i32, Vec<u8>, String) {
        let file =
            |flag: &str, name: &str| format!("-{flag}={}", self.dir.path().join(name).display());
        let mut all = vec![
            file("client_cert", "cert.pem"),
            file("client_key", "key.pem"),
            file("server_cert", "server.pem"),
        ];
        all.extend(words.iter().map(|&w| w.to_owned()));
        let output = program::kxc(&all);
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), output.stdout, stderr)
    }

    fn fetch_error(&self, port: u16) -> FetchError {
        let client = self.settings().build().unwrap();
        client
            .fetch(format!("kxd://localhost:{port}/k").as_bytes())
            .unwrap_err()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn url(port: u16) -> String {
    format!("kxd://localhost:{port}/k")
}

/// What is behind `Get "URL": ` in an error.
fn cause(error: &FetchError) -> String {
    let text = error.to_string();
    text.split_once("\": ")
        .map_or(text.clone(), |(_, cause)| cause.to_owned())
}

#[test]
fn the_next_server_gives_the_key() {
    let scene = Scene::new();
    let good = scene.server(|_| Reply::Send(ok(b"KEY")));
    let refusing = scene
        .server(|_| Reply::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec()));
    let stranger = Setup::new(Spec::server(&["localhost"]).self_signed())
        .start(|_| Reply::Send(ok(b"a false key")));
    let dead = free_port();
    let more = format!(
        "-fallback_urls={} {} {}",
        url(refusing.port()),
        url(stranger.port()),
        url(good.port())
    );
    let (code, stdout, stderr) = scene.kxc(&[&more, &url(dead)]);
    assert_eq!((code, &*stdout, &*stderr), (0, &b"KEY"[..], ""));
    stranger
        .wait(1)
        .seen(|s| assert_eq!((s.requests.len(), &*s.client_certs), (0, &[false][..])));
}

#[test]
fn each_failed_server_has_its_line() {
    let scene = Scene::new();
    let refusing = scene.server(|_| {
        Reply::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n".to_vec())
    });
    let dead = free_port();
    let more = format!("-fallback_urls=  {}   ftp://x/y ", url(refusing.port()));
    let (code, stdout, stderr) = scene.kxc(&[&more, &url(dead)]);
    let lines: Vec<&str> = stderr.lines().map(|l| l.get(20..).unwrap()).collect();
    assert_eq!((code, &*stdout), (1, &b""[..]));
    assert_eq!(
        lines,
        [
            format!(
                "Failed to get key: Get \"https://localhost:{dead}/v1/k\": dial tcp 127.0.0.1:{dead}: connect: connection refused"
            ),
            "HTTP error \"403 Forbidden\" getting key: no".to_owned(),
            "Failed to extract the URL: unsupported URL schema (try kxd://)".to_owned(),
        ]
    );
    let client = scene.settings().build().unwrap();
    let errors = client
        .fetch_any(&[url(dead), url(refusing.port())])
        .unwrap_err();
    let codes: Vec<Code> = errors.iter().map(FetchError::code).collect();
    assert_eq!(codes, [Code::Connect, Code::HttpStatus]);
    assert_eq!(kxc::most_telling(&errors).unwrap().http_status(), Some(403));
}

#[test]
fn it_waits_for_a_server_that_comes_up() {
    let scene = Scene::new();
    let port = free_port();
    let identity = scene.identity.clone();
    let starter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        Setup::new(identity).start_on(listener, |_| Reply::Send(ok(b"KEY")))
    });
    let (code, stdout, stderr) = scene.kxc(&["-retry=20s", "-retry_wait=50ms", &url(port)]);
    assert_eq!((code, &*stdout, &*stderr), (0, &b"KEY"[..], ""));
    drop(starter.join().unwrap());
}

#[test]
fn retries_end_and_are_not_for_refusals() {
    let scene = Scene::new();
    let started = Instant::now();
    let (code, _, stderr) = scene.kxc(&["-retry=300ms", "-retry_wait=50ms", &url(free_port())]);
    let took = started.elapsed();
    assert_eq!(code, 1);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );

    let refusing = scene
        .server(|_| Reply::Send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()));
    let (code, ..) = scene.kxc(&["-retry=1h", &url(refusing.port())]);
    assert_eq!(code, 1);
    refusing.wait(1).seen(|s| assert_eq!(s.requests.len(), 1));
}

#[test]
fn the_time_limit_holds_in_every_phase() {
    let scene = Scene::new();
    let limited = |port: u16| {
        let started = Instant::now();
        let mut settings = scene.settings();
        let client = settings
            .timeout(Duration::from_millis(250))
            .build()
            .unwrap();
        let error = client.fetch(url(port).as_bytes()).unwrap_err();
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(240) && took < Duration::from_secs(4),
            "{took:?}"
        );
        assert_eq!(error.code(), Code::Timeout, "{error}");
        error
    };
    // A server that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = limited(silent.local_addr().unwrap().port());
    assert_eq!(cause(&error), "net/http: TLS handshake timeout");
    // One that says nothing to the request.
    let stall = Duration::from_millis(800);
    let server = scene.server(move |_| Reply::SendAndStall(Vec::new(), stall));
    let error = limited(server.port());
    assert_eq!(
        cause(&error),
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    // One that stops in the body.
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nKEY".to_vec();
    let server = scene.server(move |_| Reply::SendAndStall(half.clone(), stall));
    let error = limited(server.port());
    assert_eq!(
        error.to_string(),
        "Error reading key body: context deadline exceeded (Client.Timeout or context cancellation while reading body)"
    );
}

#[test]
fn a_silent_first_server_does_not_hold_up_the_second() {
    let scene = Scene::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = scene.server(|_| Reply::Send(ok(b"KEY")));
    let (code, stdout, _) = scene.kxc(&[
        "-connect_timeout=200ms",
        &format!("-fallback_urls={}", url(good.port())),
        &url(silent.local_addr().unwrap().port()),
    ]);
    assert_eq!((code, &*stdout), (0, &b"KEY"[..]));
}

#[test]
fn failed_handshakes_have_the_original_texts() {
    let scene = Scene::new();
    let with = |change: &dyn Fn(&mut Setup)| {
        let mut setup = Setup::new(scene.identity.clone());
        change(&mut setup);
        setup.start(|_| Reply::Send(ok(b"KEY")))
    };
    // TLS 1.3 tells only after the handshake, TLS 1.2 in it.
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let server = with(&|s| {
            s.refuse_client = true;
            s.version = Some(version);
        });
        let error = scene.fetch_error(server.port());
        assert!(cause(&error).starts_with("remote error: tls: "), "{error}");
        assert_eq!(error.code(), Code::Tls);
    }
    let server = with(&|s| s.version = Some(SslVersion::TLS1_1));
    let error = scene.fetch_error(server.port());
    assert_eq!(
        cause(&error),
        "remote error: tls: protocol version not supported"
    );

    let server = with(&|s| s.clear_answer = Some(b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec()));
    let error = scene.fetch_error(server.port());
    assert_eq!(
        cause(&error),
        "http: server gave HTTP response to HTTPS client"
    );

    let server = with(&|s| s.clear_answer = Some(b"220 mail.example ESMTP\r\n".to_vec()));
    let error = scene.fetch_error(server.port());
    assert_eq!(
        cause(&error),
        "tls: first record does not look like a TLS handshake"
    );

    // Closed, and reset.
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closing.local_addr().unwrap().port();
    let closer = std::thread::spawn(move || {
        let (mut tcp, _) = closing.accept().unwrap();
        let _ = tcp.read(&mut [0; 4096]);
        drop(tcp);
        // Unread octets at the close make a reset.
        let (tcp, _) = closing.accept().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(tcp);
    });
    let error = scene.fetch_error(port);
    assert_eq!(
        (cause(&error).as_str(), error.code()),
        ("EOF", Code::Connect)
    );
    let error = scene.fetch_error(port);
    let text = cause(&error);
    assert!(text.starts_with("read tcp 127.0.0.1:"), "{text}");
    assert!(
        text.ends_with(&format!(
            "->127.0.0.1:{port}: read: connection reset by peer"
        )),
        "{text}"
    );
    closer.join().unwrap();
}

#[test]
fn both_tls_versions_and_weak_pairs_work() {
    let scene = Scene::new();
    let weak = Spec {
        rsa: Some(1024),
        sha1: true,
        ..Spec::server(&["localhost"])
    }
    .self_signed();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let setup = Setup {
            version: Some(version),
            ..Setup::new(weak.clone())
        };
        let server = setup.start(|_| Reply::Send(ok(b"KEY")));
        let mut settings = scene.settings();
        settings
            .client_cert(PemSource::memory(&weak.cert_pem()))
            .client_key(PemSource::memory(&weak.key_pem()))
            .server_cert(PemSource::memory(&weak.cert_pem()));
        let key = settings
            .build()
            .unwrap()
            .fetch(url(server.port()).as_bytes());
        assert_eq!(key.unwrap().as_slice(), b"KEY", "{version:?}");
        server.wait(1).seen(|s| assert_eq!(s.client_certs, [true]));
    }
}

#[test]
fn passwords_go_to_their_server_only_and_stay_out_of_messages() {
    let scene = Scene::new();
    let server = scene.server(|request| {
        if request.starts_with(b"GET /v1/k ") {
            Reply::Send(
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
            )
        } else {
            Reply::Send(ok(b"KEY"))
        }
    });
    let client = scene.settings().build().unwrap();
    let secret = format!("kxd://user:geheim@localhost:{}/k", server.port());
    let error = client.fetch(secret.as_bytes()).unwrap_err();
    assert!(!error.to_string().contains("geheim") && !format!("{error:?}").contains("geheim"));
    server.wait(1).seen(|s| {
        let head = String::from_utf8_lossy(&s.requests[0]).into_owned();
        assert!(
            head.contains("\r\nAuthorization: Basic dXNlcjpnZWhlaW0=\r\n"),
            "{head}"
        );
    });
    let dead = format!("kxd://user:geheim@localhost:{}/k", free_port());
    let error = client.fetch(dead.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("user:***@localhost"), "{error}");
}

#[test]
fn keys_of_many_sizes_come_whole() {
    let scene = Scene::new();
    for size in [0, 1, 2048, 16_384, 100_000, 3_000_000] {
        let body: Vec<u8> = (0..size)
            .map(|i: u32| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
            .collect();
        let sent = ok(&body);
        let server = scene.server(move |_| Reply::Send(sent.clone()));
        let (code, stdout, stderr) = scene.kxc(&[&url(server.port())]);
        assert_eq!((code, &*stderr), (0, ""), "{size}");
        assert!(stdout == body, "{size}");
    }
}
