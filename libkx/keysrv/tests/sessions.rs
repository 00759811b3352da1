//! keysrv and its clients, at the two ends of a connection (keysrv spec 5.3, 8.1, 9).

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::generate;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::ssl::Policy;
use inferno_auth::sts::Config;
use keysrv::client::{self, SecretFile};
use keysrv::clock::Clock;
use keysrv::driver::Driver;
use keysrv::keysrv::{Options, Served, serve};
use kx_crypto::digest::sha1;
use serde_json::Value;
use tempfile::TempDir;

/// A moment after the recordings, in seconds since 1970.
const NOW: i64 = 1_795_000_000;
const PASSWORD: &[u8] = b"correct horse";

fn vectors(name: &str) -> PathBuf {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv"
    );
    Path::new(root).join(name)
}

fn auth_info(name: &str) -> AuthInfo {
    let file = fs::read(vectors("authinfo").join(name)).unwrap();
    AuthInfo::parse(&file).unwrap()
}

/// A certified key of this name.
fn certified(owner: &str) -> AuthInfo {
    generate::user(&auth_info("signerkey.rsa"), owner, 0).unwrap()
}

/// A keyfs of files, as if mounted.
struct Keys(TempDir);

impl Keys {
    fn new(users: &[(&str, &[u8])]) -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for (user, secret) in users {
            fs::create_dir(keys.0.path().join(user)).unwrap();
            keys.set(user, secret);
        }
        keys
    }

    fn set(&self, user: &str, secret: &[u8]) {
        fs::write(self.0.path().join(user).join("secret"), secret).unwrap();
    }

    fn secret(&self, user: &str) -> Vec<u8> {
        fs::read(self.0.path().join(user).join("secret")).unwrap()
    }

    fn options(&self) -> Options {
        Options {
            accounts: self.0.path().to_path_buf(),
            owner: "root".into(),
            strict: false,
            count_failures: false,
            policy: Policy::Exact,
            floor: Floor::default(),
            idle: None,
        }
    }
}

/// A server for one connection.
struct Server {
    address: std::net::SocketAddr,
    thread: JoinHandle<(Served, String)>,
}

impl Server {
    fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            let info = Arc::new(auth_info("keysrv_default.rsa"));
            let mut lines = String::new();
            let mut log = |text: &str| {
                lines.push_str(text);
                lines.push('\n');
            };
            let served = serve(connection, info, &options, &Clock::fixed(NOW, 0), &mut log);
            (served.unwrap(), lines)
        });
        Self { address, thread }
    }

    fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    fn connect(&self, info: AuthInfo) -> SecretFile {
        let options = client::Options::default();
        SecretFile::connect(self.dial(), info, "root", &options, NOW).unwrap()
    }

    fn end(self) -> (Served, String) {
        self.thread.join().unwrap()
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn refused(result: Result<(), client::SecretError>) -> String {
    match result {
        Err(client::SecretError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_in_clear_is_changed_by_the_originals_rule() {
    let keys = Keys::new(&[("carol", b"an old secret")]);
    for strict in [false, true] {
        keys.set("carol", b"an old secret");
        let server = Server::start(Options {
            strict,
            ..keys.options()
        });
        let mut file = server.connect(auth_info("carol.rsa.authinfo"));
        assert_eq!(file.peer(), "keysrv.rsa");
        file.check(b"an old secret").unwrap();
        assert_eq!(refused(file.check(b"another")), "wrong secret");
        file.change(b"an old secret", b" new secret\n").unwrap();
        assert_eq!(keys.secret("carol"), b" new secret\n");
        // What the session knew of it stays what it was.
        file.check(b"an old secret").unwrap();
        assert_eq!(refused(file.check(b" new secret\n")), "wrong secret");
        file.change(b"an old secret", b"the third one").unwrap();
        assert_eq!(keys.secret("carol"), b"the third one");
        drop(file);
        let (served, log) = server.end();
        assert!(matches!(served, Served::Session), "{served:?}");
        assert!(log.contains("carol: secret changed\n"), "{log}");
        // A client cannot fill the log with checks.
        assert_eq!(log.matches("carol: secret checked\n").count(), 1, "{log}");
        assert!(log.ends_with("carol: secret checked 2 times\n"), "{log}");
        assert!(!log.contains("third"), "{log}");
        assert!(!log.contains(&hex(&sha1(&[b"an old secret"]))), "{log}");
    }
}

#[test]
fn a_hashed_secret_is_changed_by_ours() {
    let keys = Keys::new(&[("alice", &sha1(&[PASSWORD]))]);
    let server = Server::start(keys.options());
    let mut file = server.connect(auth_info("alice.rsa.authinfo"));
    file.check(PASSWORD).unwrap();
    file.change(PASSWORD, b"new horse").unwrap();
    assert_eq!(keys.secret("alice"), sha1(&[b"new horse"]));
    // The original's rule holds for the same entry, and stores what is sent.
    let twice = hex(&sha1(&[&sha1(&[PASSWORD])]));
    file.write(format!("{twice} as it is").as_bytes()).unwrap();
    assert_eq!(keys.secret("alice"), b"as it is");
    drop(file);
    server.end();

    keys.set("alice", &sha1(&[PASSWORD]));
    let server = Server::start(Options {
        strict: true,
        ..keys.options()
    });
    let mut file = server.connect(auth_info("alice.rsa.authinfo"));
    assert_eq!(refused(file.check(PASSWORD)), "wrong secret");
}

#[test]
fn commands_that_are_refused() {
    let keys = Keys::new(&[("carol", b"an old secret")]);
    let server = Server::start(keys.options());
    let mut file = server.connect(auth_info("carol.rsa.authinfo"));
    let hash = hex(&sha1(&[b"an old secret"]));
    for (command, text) in [
        (hash.to_uppercase(), "wrong secret"),
        (format!("{hash}\n"), "wrong secret"),
        (format!("{hash}\nnew secret"), "wrong secret"),
        (hash[..39].to_owned(), "wrong secret"),
        (format!("{hash} 1234567"), "unacceptable secret"),
        (format!("{hash}  123456"), "unacceptable secret"),
    ] {
        assert_eq!(refused(file.write(command.as_bytes())), text, "{command}");
    }
    // Nothing after the blank is no new secret.
    file.write(format!("{hash} ").as_bytes()).unwrap();
    assert_eq!(keys.secret("carol"), b"an old secret");
}

#[test]
fn what_another_has_changed_is_no_longer_known() {
    let keys = Keys::new(&[("carol", b"an old secret")]);
    let (one, other) = (Server::start(keys.options()), Server::start(keys.options()));
    let mut first = one.connect(auth_info("carol.rsa.authinfo"));
    let mut second = other.connect(auth_info("carol.rsa.authinfo"));
    second.check(b"an old secret").unwrap();
    first.change(b"an old secret", b"a new secret").unwrap();
    assert_eq!(refused(second.check(b"an old secret")), "wrong secret");
    assert_eq!(refused(second.check(b"a new secret")), "wrong secret");
    let change = second.change(b"an old secret", b"a third secret");
    assert_eq!(refused(change), "wrong secret");
    assert_eq!(keys.secret("carol"), b"a new secret");
    fs::remove_dir_all(keys.0.path().join("carol")).unwrap();
    let gone = refused(first.check(b"an old secret"));
    assert_eq!(gone, "user not registered: carol");
}

#[test]
fn users_without_a_secret() {
    let keys = Keys::new(&[("empty", b""), ("bob", b"bobs secret")]);
    fs::create_dir(keys.0.path().join("broken")).unwrap();
    for (info, text) in [
        (
            auth_info("ghost.rsa.authinfo"),
            "user not registered: ghost",
        ),
        (auth_info("empty.rsa.authinfo"), "no existing secret"),
        (
            certified("alice/../bob"),
            "user not registered: alice/../bob",
        ),
        (certified(".."), "user not registered: .."),
    ] {
        let server = Server::start(keys.options());
        let mut file = server.connect(info);
        assert_eq!(refused(file.check(b"bobs secret")), text);
        drop(file);
        let (_, log) = server.end();
        assert!(
            log.contains(&format!("session without secret: {text}")),
            "{log}"
        );
    }
    let server = Server::start(keys.options());
    let mut file = server.connect(certified("broken"));
    let text = refused(file.check(b"x"));
    assert!(text.starts_with("can't open broken/secret: "), "{text}");
    let nowhere = Options {
        accounts: keys.0.path().join("nowhere"),
        ..keys.options()
    };
    let server = Server::start(nowhere);
    let mut file = server.connect(auth_info("carol.rsa.authinfo"));
    let text = refused(file.check(b"x"));
    assert!(text.starts_with("can't stat carol: "), "{text}");
}

fn connect_error(server: &Server, info: AuthInfo, options: &client::Options) -> String {
    match SecretFile::connect(server.dial(), info, "root", options, NOW) {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn who_is_not_authenticated_is_told_why() {
    let keys = Keys::new(&[]);
    let any = client::Options::default();
    for (info, here, there) in [
        (
            auth_info("expired.rsa.authinfo"),
            "remote: certificate expired",
            "certificate expired",
        ),
        (
            auth_info("carol.elgamal.authinfo"),
            "pk doesn't match certificate",
            "pk doesn't match certificate",
        ),
    ] {
        let server = Server::start(keys.options());
        assert_eq!(connect_error(&server, info, &any), here);
        let (served, log) = server.end();
        let Served::NotAuthenticated(error) = served else {
            panic!("{served:?}");
        };
        assert_eq!((error.to_string().as_str(), log.as_str()), (there, ""));
    }
    // Every user's key passes for a server's, unless one is asked for by name.
    let server = Server::start(keys.options());
    let options = client::Options {
        server_name: Some("keysrv.elsewhere".into()),
        ..client::Options::default()
    };
    let text = connect_error(&server, auth_info("carol.rsa.authinfo"), &options);
    assert_eq!(text, "server is keysrv.rsa");
}

#[test]
fn silent_servers_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let options = client::Options {
        patience: Duration::from_millis(20),
        ..client::Options::default()
    };
    let info = auth_info("carol.rsa.authinfo");
    let result = SecretFile::connect(connection, info, "root", &options, NOW);
    let Err(client::ConnectError::Connection(error)) = result else {
        panic!("connected");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

fn octets(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Takes out of a reply what is different on every server: places in its tree and times.
fn comparable(mut reply: Vec<u8>) -> Vec<u8> {
    let places: &[(usize, usize)] = match (reply[4], reply.len()) {
        (105, _) => &[(8, 20)],
        (111, 22) => &[(14, 22)],
        (113, _) => &[(12, 20)],
        (125, _) => &[(22, 30), (34, 42)],
        (117, 78) => &[(24, 32), (36, 44)],
        _ => &[],
    };
    for &(from, to) in places {
        reply[from..to].fill(0);
    }
    reply
}

/// An authenticated connection for recorded requests.
struct Raw(Driver<Session>);

impl Raw {
    fn connect(server: &Server, info: AuthInfo) -> Self {
        let config = Config {
            auth_info: Some(Arc::new(info)),
            floor: Floor::default(),
            unix_now: NOW,
        };
        let role = Role::Client { server_name: None };
        let session = Session::new(role, config, Instant::now());
        let mut raw = Self(Driver::new(session, server.dial()).unwrap());
        while !matches!(raw.event(), Event::Ready(_)) {}
        raw
    }

    fn event(&mut self) -> Event {
        self.0
            .set_deadline(Instant::now().checked_add(Duration::from_secs(20)));
        loop {
            if let Some(event) = self.0.machine.poll_event() {
                return event;
            }
            self.0.wait().unwrap();
        }
    }

    fn record(&mut self) -> Vec<u8> {
        match self.event() {
            Event::Data(data) => data.to_vec(),
            Event::Failed(error) => panic!("{error}"),
            _ => panic!("closed"),
        }
    }
}

#[test]
fn recorded_requests_get_the_recorded_replies() {
    for case in [
        "mount_read",
        "passwd_change",
        "passwd_ghost",
        "passwd_hashed_entry",
        "passwd_nosecret",
    ] {
        let file = fs::read(vectors(&format!("sts/rsa_{case}.json"))).unwrap();
        let session: Value = serde_json::from_slice(&file).unwrap();
        let keys = Keys::new(&[
            ("alice", &sha1(&[PASSWORD])),
            ("carol", b"clear text secret"),
            ("empty", b""),
        ]);
        let server = Server::start(Options {
            strict: true,
            ..keys.options()
        });
        let shown = session["client"]["messages"][3]["text"].as_str().unwrap();
        let user = shown.lines().nth(1).unwrap();
        let mut raw = Raw::connect(&server, auth_info(&format!("{user}.rsa.authinfo")));
        let requests = session["client"]["records"].as_array().unwrap();
        let replies = session["server"]["records"].as_array().unwrap();
        assert_eq!(requests.len(), replies.len());
        for (request, reply) in requests.iter().zip(replies) {
            raw.0.machine.send(&octets(&request["plain_hex"])).unwrap();
            let ours = comparable(raw.record());
            let theirs = comparable(octets(&reply["plain_hex"]));
            assert_eq!(ours, theirs, "{case}: {request}");
        }
        if case == "passwd_change" {
            assert_eq!(keys.secret("carol"), b"a new clear secret");
        }
    }
}

#[test]
fn requests_come_in_any_records_and_each_reply_in_one() {
    let keys = Keys::new(&[("carol", b"clear text secret")]);
    let file = fs::read(vectors("sts/rsa_passwd_change.json")).unwrap();
    let session: Value = serde_json::from_slice(&file).unwrap();
    let requests = session["client"]["records"].as_array().unwrap();
    let all: Vec<u8> = requests
        .iter()
        .flat_map(|request| octets(&request["plain_hex"]))
        .collect();
    for size in [1, 33, 100_000] {
        keys.set("carol", b"clear text secret");
        let server = Server::start(keys.options());
        let mut raw = Raw::connect(&server, auth_info("carol.rsa.authinfo"));
        for piece in all.chunks(size) {
            raw.0.machine.send(piece).unwrap();
        }
        for reply in session["server"]["records"].as_array().unwrap() {
            assert_eq!(
                comparable(raw.record()),
                comparable(octets(&reply["plain_hex"]))
            );
        }
    }
}

#[test]
fn nonsense_ends_the_connection_without_a_word() {
    let keys = Keys::new(&[("carol", b"clear text secret")]);
    for wire in [
        &[4, 0, 0, 0, 100, 1, 0][..],
        &[0xff, 0xff, 0xff, 0xff, 100, 1, 0],
        &[7, 0, 0, 0, 99, 1, 0],
    ] {
        let server = Server::start(keys.options());
        let mut raw = Raw::connect(&server, auth_info("carol.rsa.authinfo"));
        raw.0.machine.send(wire).unwrap();
        assert!(matches!(raw.event(), Event::Closed));
        assert!(matches!(server.end().0, Served::Broken(_)));
    }
}

#[test]
fn idle_clients_are_left() {
    let keys = Keys::new(&[("carol", b"clear text secret")]);
    let server = Server::start(Options {
        idle: Some(Duration::from_millis(20)),
        ..keys.options()
    });
    let mut raw = Raw::connect(&server, auth_info("carol.rsa.authinfo"));
    assert!(matches!(raw.event(), Event::Closed));
    let (served, _) = server.end();
    let Served::Broken(why) = served else {
        panic!("{served:?}");
    };
    assert_eq!(why, "timed out");
}
