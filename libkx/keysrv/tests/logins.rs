//! logind and its client, at the two ends of a connection (keysrv spec 7, 11).

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use keysrv::client;
use keysrv::logind::{Options, serve};
use kx_crypto::digest::sha1;
use tempfile::TempDir;

const NOW: i64 = 1_795_000_000;
const EXPIRE: i32 = 2_114_380_799;
const PASSWORD: &[u8] = b"correct horse";

fn auth_info(name: &str) -> AuthInfo {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );
    AuthInfo::parse(&fs::read(Path::new(root).join(name)).unwrap()).unwrap()
}

fn keys() -> TempDir {
    let keys = tempfile::tempdir().unwrap();
    for (user, secret, expire) in [
        ("alice", &sha1(&[PASSWORD])[..], "never".to_owned()),
        ("bob", &sha1(&[b"bobs password"]), EXPIRE.to_string()),
        ("late", &sha1(&[PASSWORD]), u32::MAX.to_string()),
        ("carol", b"clear text secret", "never".to_owned()),
    ] {
        let user = keys.path().join(user);
        fs::create_dir(&user).unwrap();
        fs::write(user.join("secret"), secret).unwrap();
        fs::write(user.join("expire"), expire).unwrap();
    }
    keys
}

fn options(keys: &TempDir) -> Options {
    Options {
        accounts: keys.path().to_path_buf(),
        hide_users: false,
        floor: Floor::default(),
    }
}

type Outcome = Result<String, String>;

/// A logind for one connection, and the connection.
fn start(signer: Result<AuthInfo, String>, options: Options) -> (TcpStream, JoinHandle<Outcome>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let thread = thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        serve(connection, signer.map(Arc::new), &options, NOW)
            .unwrap()
            .map_err(|error| error.to_string())
    });
    (connection, thread)
}

/// What a client and the server report.
fn login(
    algorithm: &str,
    options: Options,
    user: &str,
    password: &[u8],
) -> (Result<AuthInfo, String>, Outcome) {
    let signer = auth_info(&format!("signerkey.{algorithm}"));
    let (connection, thread) = start(Ok(signer), options);
    let result = client::login(connection, user, password, Floor::default());
    (
        result.map_err(|error| error.to_string()),
        thread.join().unwrap(),
    )
}

#[test]
fn certificates() {
    let keys = keys();
    for algorithm in ["rsa", "elgamal"] {
        for (user, password, expiry) in [
            ("alice", PASSWORD, 0),
            ("bob", b"bobs password", EXPIRE),
            ("late", PASSWORD, i32::MAX),
        ] {
            let (info, log) = login(algorithm, options(&keys), user, password);
            let info = info.unwrap();
            assert_eq!(log, Ok(user.to_owned()));
            assert_eq!(info.public_key().owner(), user);
            assert_eq!(info.certificate.expiry(), expiry);
            assert!(info.is_certified());
            let signer = auth_info(&format!("signerkey.{algorithm}"));
            assert_eq!(info.signer_key.text(), signer.public_key().text());
            assert_eq!(info.group.p, signer.group.p);
        }
    }
}

#[test]
fn wrong_names_and_passwords_look_alike() {
    let keys = keys();
    let incorrect = "name or secret incorrect (alpha**r0 mod p)";
    for (user, password, log) in [
        (
            "alice",
            &b"wrong password"[..],
            "can't get alpha**r1 mod p:hungup",
        ),
        (
            "nobody1",
            PASSWORD,
            "no password entry for nobody1: '/mnt/keys/nobody1' file does not exist",
        ),
        (
            "alice/../bob",
            b"bobs password",
            "no password entry for alice/../bob: '/mnt/keys/alice/../bob' file does not exist",
        ),
        (
            "carol",
            PASSWORD,
            "bad password for carol: not SHA1 hashed?",
        ),
    ] {
        let (info, said) = login("rsa", options(&keys), user, password);
        assert_eq!(info.err().as_deref(), Some(incorrect));
        assert_eq!(said, Err(log.to_owned()));
        // Hidden, all that is seen is a wrong password.
        let hidden = Options {
            hide_users: true,
            ..options(&keys)
        };
        let (info, said) = login("rsa", hidden, user, password);
        assert_eq!(info.err().as_deref(), Some(incorrect));
        assert_eq!(said, Err("can't get alpha**r1 mod p:hungup".to_owned()));
    }
}

#[test]
fn errors_are_told_before_the_end_of_the_connection() {
    let keys = keys();
    let text = "can't read signer's own key: readauthinfo /k: input or format error";
    let (mut connection, thread) =
        start(Err("/k: input or format error".to_owned()), options(&keys));
    // What is sent into the void must not take the answer away.
    connection
        .write_all(&[0x80, 6, 0, b'a', b'l', b'i', b'c', b'e'])
        .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    assert_eq!(
        answer[..3],
        [0x80, u8::try_from(text.len() + 1).unwrap(), 0xff]
    );
    assert_eq!(&answer[3..], text.as_bytes());
    drop(connection);
    assert_eq!(thread.join().unwrap(), Err(text.to_owned()));
}

#[test]
fn short_vectors_do_not_break_it() {
    let keys = keys();
    let (mut connection, thread) = start(Ok(auth_info("signerkey.rsa")), options(&keys));
    connection
        .write_all(b"\x80\x06\0alice\x80\x04\0abc")
        .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let text = "can't get initialization vector: input or format error";
    assert!(answer.ends_with(text.as_bytes()));
    assert_eq!(thread.join().unwrap(), Err(text.to_owned()));
}
