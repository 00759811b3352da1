//! keysrv's client through the C interface, against our keysrv (keysrv spec 9).

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::thread;

use inferno_auth::floor::Floor;
use inferno_auth::ssl::Policy;
use keysrv::authinfo_file;
use keysrv::clock::Clock;
use keysrv::keysrv::{Options, serve};
use kx::inferno::*;
use kx::kx_status::*;

fn vectors(name: &str) -> PathBuf {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );
    Path::new(root).join(name)
}

fn c(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// A keysrv for one connection.
fn start(keys: &Path) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let options = Options {
        accounts: keys.to_path_buf(),
        owner: "root".into(),
        strict: false,
        count_failures: false,
        policy: Policy::Exact,
        floor: Floor::default(),
        idle: None,
    };
    thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let info = authinfo_file::read(&vectors("keysrv_default.rsa")).unwrap();
        let clock = Clock::of_host();
        serve(connection, Arc::new(info), &options, &clock, &mut |_| {}).unwrap();
    });
    connection
}

fn text(text: *const c_char) -> String {
    // SAFETY: the library's texts are never NULL, and end.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().unwrap().to_owned()
}

fn last_error(session: *const kx_inferno) -> String {
    // SAFETY: a session.
    text(unsafe { kx_inferno_last_error(session) })
}

fn authenticate(session: *const kx_inferno, connection: &TcpStream, file: &str) -> kx::kx_status {
    let path = c(&vectors(file));
    // SAFETY: a session, an open descriptor, a C string.
    unsafe { kx_inferno_authenticate(session, connection.as_raw_fd(), path.as_ptr()) }
}

fn check(session: *const kx_inferno, secret: &[u8]) -> kx::kx_status {
    // SAFETY: a session; the octets are there.
    unsafe { kx_inferno_check_secret(session, secret.as_ptr(), secret.len()) }
}

fn change(session: *const kx_inferno, old: &[u8], new: &[u8]) -> kx::kx_status {
    let (old_at, new_at) = (old.as_ptr(), new.as_ptr());
    // SAFETY: a session; the octets are there.
    unsafe { kx_inferno_change_secret(session, old_at, old.len(), new_at, new.len()) }
}

fn exists(session: *const kx_inferno) -> kx::kx_status {
    // SAFETY: a session.
    unsafe { kx_inferno_secret_exists(session) }
}

fn free(session: *mut kx_inferno) {
    // SAFETY: a session, not used again.
    unsafe { kx_inferno_free(session) };
}

fn keys() -> tempfile::TempDir {
    let keys = tempfile::tempdir().unwrap();
    for (user, secret) in [("carol", "an old secret"), ("empty", "")] {
        fs::create_dir(keys.path().join(user)).unwrap();
        fs::write(keys.path().join(user).join("secret"), secret).unwrap();
    }
    keys
}

#[test]
fn a_secret_is_checked_and_changed() {
    let keys = keys();
    let connection = start(keys.path());
    let session = kx_inferno_new();
    assert_eq!(exists(session), KX_ERR_ARGUMENT);
    assert_eq!(last_error(session), "not authenticated");
    assert_eq!(
        authenticate(session, &connection, "carol.rsa.authinfo"),
        KX_OK,
        "{}",
        last_error(session)
    );
    // SAFETY: a session.
    assert_eq!(text(unsafe { kx_inferno_peer(session) }), "keysrv.rsa");
    assert_eq!(exists(session), KX_OK);
    assert_eq!(check(session, b"an old secret"), KX_OK);
    assert_eq!(last_error(session), "");
    assert_eq!(check(session, b"another"), KX_ERR_REFUSED);
    assert_eq!(last_error(session), "wrong secret");
    assert_eq!(change(session, b"an old secret", b"short"), KX_ERR_REFUSED);
    assert_eq!(last_error(session), "unacceptable secret");
    assert_eq!(change(session, b"an old secret", b""), KX_ERR_ARGUMENT);
    assert_eq!(change(session, b"an old secret", b"a new secret"), KX_OK);
    let stored = fs::read(keys.path().join("carol/secret")).unwrap();
    assert_eq!(stored, b"a new secret");
    free(session);
}

#[test]
fn accounts_without_a_secret() {
    let keys = keys();
    for (file, why) in [
        ("ghost.rsa.authinfo", "user not registered: ghost"),
        ("empty.rsa.authinfo", "no existing secret"),
    ] {
        let connection = start(keys.path());
        let session = kx_inferno_new();
        assert_eq!(authenticate(session, &connection, file), KX_OK);
        assert_eq!(exists(session), KX_ERR_REFUSED);
        assert_eq!(last_error(session), why);
        free(session);
    }
}

#[test]
fn who_cannot_be_authenticated() {
    let keys = keys();
    let session = kx_inferno_new();
    for (file, status, why) in [
        (
            "expired.rsa.authinfo",
            KX_ERR_AUTH,
            "remote: certificate expired",
        ),
        (
            "carol.elgamal.authinfo",
            KX_ERR_AUTH,
            "pk doesn't match certificate",
        ),
    ] {
        let connection = start(keys.path());
        assert_eq!(authenticate(session, &connection, file), status);
        assert_eq!(last_error(session), why);
        assert_eq!(exists(session), KX_ERR_ARGUMENT);
    }
    let connection = start(keys.path());
    assert_eq!(
        authenticate(session, &connection, "nothing"),
        KX_ERR_AUTHINFO
    );
    let name = c"keysrv.elsewhere";
    // SAFETY: a session and a C string.
    let status = unsafe { kx_inferno_set_server_name(session, name.as_ptr()) };
    assert_eq!(status, KX_OK);
    let status = authenticate(session, &connection, "carol.rsa.authinfo");
    assert_eq!(status, KX_ERR_AUTH);
    assert_eq!(last_error(session), "server is keysrv.rsa");
    free(session);
}

#[test]
fn silence_and_hanging_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let session = kx_inferno_new();
    // SAFETY: a session.
    assert_eq!(unsafe { kx_inferno_set_timeout_ms(session, 20) }, KX_OK);
    let connection = TcpStream::connect(address).unwrap();
    // Such a connection would answer at once that there is nothing.
    connection.set_nonblocking(true).unwrap();
    let status = authenticate(session, &connection, "carol.rsa.authinfo");
    assert_eq!(status, KX_ERR_TIMEOUT);
    // SAFETY: a session.
    assert_eq!(unsafe { kx_inferno_set_timeout_ms(session, 0) }, KX_OK);
    let connection = TcpStream::connect(address).unwrap();
    drop(listener);
    let status = authenticate(session, &connection, "carol.rsa.authinfo");
    assert_eq!(status, KX_ERR_AUTH);
    assert_eq!(last_error(session), "hungup");
    free(session);
}

#[test]
#[allow(clippy::multiple_unsafe_ops_per_block)] // one reason for all of them
fn nothing_is_answered_with_an_error() {
    let none: *mut kx_inferno = ptr::null_mut();
    let session = kx_inferno_new();
    let file = c(&vectors("carol.rsa.authinfo"));
    assert_eq!(exists(none), KX_ERR_ARGUMENT);
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        assert_eq!(
            kx_inferno_set_server_name(none, ptr::null()),
            KX_ERR_ARGUMENT
        );
        assert_eq!(kx_inferno_set_timeout_ms(none, 1), KX_ERR_ARGUMENT);
        assert_eq!(
            kx_inferno_authenticate(none, 0, file.as_ptr()),
            KX_ERR_ARGUMENT
        );
        assert_eq!(
            kx_inferno_authenticate(session, 0, ptr::null()),
            KX_ERR_ARGUMENT
        );
        assert_eq!(
            kx_inferno_authenticate(session, -1, file.as_ptr()),
            KX_ERR_ARGUMENT
        );
        assert_eq!(
            kx_inferno_check_secret(session, ptr::null(), 3),
            KX_ERR_ARGUMENT
        );
        assert_eq!(
            kx_inferno_change_secret(session, ptr::null(), 3, ptr::null(), 4),
            KX_ERR_ARGUMENT
        );
        assert_eq!(kx_inferno_set_server_name(session, ptr::null()), KX_OK);
        assert_eq!(text(kx_inferno_peer(none)), "");
        assert_eq!(text(kx_inferno_peer(session)), "");
        assert_eq!(text(kx_inferno_last_error(none)), "");
        kx_inferno_free(none);
    }
    free(session);
}
