//! keyfs over its socket, and the consumers' view of it (keysrv spec 10.4 and 19.3).

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keyfs_db::{Change, File, Key};
use keysrv::accounts::{Accounts, Error, Status};
use keysrv::clock::Clock;
use keysrv::keyfs::serve::{Listener, Service};
use keysrv::keyfs::store::Store;
use kx_sys::signals::{Signals, number};

const NOW: i64 = 1_800_000_000;
/// More than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A keyfs in a directory of its own.
struct Keyfs {
    place: tempfile::TempDir,
    store: Arc<Store>,
    /// Open while the thread serves.
    _served: Receiver<()>,
}

impl Keyfs {
    fn start() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        std::fs::write(place.path().join("keys"), b"").expect("written");
        let key = Key::from_password(b"master");
        let store = Store::open(&place.path().join("keys"), key).expect("opened");
        let store = Arc::new(store);
        let service = Service {
            store: Arc::clone(&store),
            owner: b"inferno".as_slice().into(),
            trace: false,
            clock: Clock::fixed(NOW, 0),
        };
        let listener = Listener::bind(&place.path().join("socket")).expect("bound");
        let (ends, served) = channel();
        std::thread::spawn(move || {
            let _ends = ends;
            // No signal of the tests' own comes; the thread ends with the process.
            let signals = Signals::collect(&[number::USER2]).expect("collected");
            service.run(&listener, &signals).expect("served");
        });
        Self {
            place,
            store,
            _served: served,
        }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    fn accounts(&self) -> Accounts {
        Accounts::open(&self.path()).expect("reached")
    }
}

#[test]
fn accounts_by_the_socket() {
    let keyfs = Keyfs::start();
    let mut accounts = keyfs.accounts();
    assert_eq!(accounts.names().expect("listed"), Vec::<Vec<u8>>::new());
    accounts.create("alice").expect("made");
    accounts.create("иван").expect("made");
    let error = accounts.create("alice").expect_err("there");
    assert!(matches!(&error, Error::Change(_)), "{error:?}");
    assert_eq!(error.to_string(), "file already exists");
    assert_eq!(
        accounts.names().expect("listed"),
        ["alice".as_bytes(), "иван".as_bytes()]
    );
    assert!(accounts.exists("alice").expect("asked"));
    assert!(!accounts.exists("bob").expect("asked"));
    assert!(!accounts.exists("alice/../иван").expect("not even asked"));

    assert!(accounts.secret("alice").expect("read").is_empty());
    accounts.set_secret("alice", b"new secret\n").expect("set");
    assert_eq!(
        accounts.secret("alice").expect("read").as_slice(),
        b"new secret\n"
    );
    let error = accounts
        .set_secret("alice", &[0; 256])
        .expect_err("too long");
    assert_eq!(error.to_string(), "illegal write");
    accounts.set_secret("alice", b"").expect("emptied");
    assert!(accounts.secret("alice").expect("read").is_empty());

    assert_eq!(accounts.expire("alice").expect("read"), None);
    accounts
        .set_expire("alice", Some(1_900_000_000))
        .expect("set");
    assert_eq!(accounts.expire("alice").expect("read"), Some(1_900_000_000));
    assert_eq!(accounts.status("alice").expect("read"), Status::Ok);
    accounts
        .set_expire("alice", Some(1_700_000_000))
        .expect("set");
    assert_eq!(accounts.status("alice").expect("read"), Status::Expired);
    let error = accounts.secret("alice").expect_err("expired");
    assert!(
        matches!(&error, Error::Access(text) if text == "user expired"),
        "{error:?}"
    );
    accounts.set_expire("alice", None).expect("set");

    accounts.log_bad("alice").expect("logged");
    assert_eq!(accounts.failures("alice").expect("read"), 1);
    accounts.log_good("alice").expect("logged");
    assert_eq!(accounts.failures("alice").expect("read"), 0);
    accounts.set_status("alice", Status::Disabled).expect("set");
    assert_eq!(accounts.status("alice").expect("read"), Status::Disabled);
    let error = accounts.secret("alice").expect_err("disabled");
    assert_eq!(error.to_string(), "user disabled");
    let error = accounts
        .set_status("alice", Status::Expired)
        .expect_err("cannot be set");
    assert_eq!(error.to_string(), "unknown status");

    for name in ["ghost", "..", "a/b", ""] {
        let error = accounts.secret(name).expect_err("nobody");
        assert!(matches!(&error, Error::NoUser), "{error:?}");
        assert_eq!(error.to_string(), "file does not exist");
    }
    accounts.remove("alice").expect("removed");
    assert!(!accounts.exists("alice").expect("asked"));
    assert!(matches!(accounts.remove("alice"), Err(Error::NoUser)));
}

#[test]
fn many_clients_change_at_once() {
    let keyfs = Keyfs::start();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let mut accounts = keyfs.accounts();
            scope.spawn(move || {
                let name = format!("user{number}");
                accounts.create(&name).expect("made");
                for round in 0..5 {
                    let secret = format!("{name} {round}");
                    accounts.set_secret(&name, secret.as_bytes()).expect("set");
                    let read = accounts.secret(&name).expect("read");
                    assert_eq!(read.as_slice(), secret.as_bytes());
                }
            });
        }
    });
    // What is answered is on the disk.
    let file = std::fs::read(keyfs.place.path().join("keys")).expect("read");
    let key = Key::from_password(b"master");
    let database = keyfs_db::Database::decode(&key, &file).expect("decoded");
    assert_eq!(database.len(), 16);
    for (id, user) in database.users() {
        let expected = [user.name(), b" 4"].concat();
        assert_eq!(
            database.read(id, File::Secret, 0).expect("read").as_slice(),
            expected
        );
    }
}

#[test]
fn thousands_of_users_are_listed_in_their_order() {
    let keyfs = Keyfs::start();
    let mut expected = Vec::new();
    // More than the original's numbers can tell apart.
    let mut database = keyfs_db::Database::default();
    for number in 0..5000 {
        let name = format!("user{number}").into_bytes();
        expected.push(name.clone());
        database.apply(&Change::Create { name }).expect("made");
    }
    let file = database
        .encode(&Key::from_password(b"master"), [1; 16])
        .expect("encoded");
    let path = keyfs.place.path().join("many");
    kx_sys::atomic_file::write(&path, &file, kx_sys::atomic_file::Permissions::Exact(0o600))
        .expect("written");
    let store = Store::open(&path, Key::from_password(b"master")).expect("opened");
    let service = Service {
        store: Arc::new(store),
        owner: b"inferno".as_slice().into(),
        trace: false,
        clock: Clock::fixed(NOW, 0),
    };
    let socket = keyfs.place.path().join("second");
    let listener = Listener::bind(&socket).expect("bound");
    std::thread::spawn(move || {
        let signals = Signals::collect(&[number::USER2]).expect("collected");
        service.run(&listener, &signals)
    });
    let mut accounts = Accounts::open(&socket).expect("reached");
    assert_eq!(accounts.names().expect("listed"), expected);
    accounts.set_secret("user4999", b"reached").expect("set");
    assert_eq!(
        accounts.secret("user4999").expect("read").as_slice(),
        b"reached"
    );
    assert!(accounts.secret("user903").expect("read").is_empty());
}

#[test]
fn sockets_are_private_and_stale_ones_are_replaced() {
    let place = tempfile::tempdir().expect("temporary directory");
    let directory = place.path().join("mnt");
    std::fs::create_dir(&directory).expect("made");
    let listener = Listener::bind(&directory).expect("bound");
    assert_eq!(listener.path(), directory.join(".9p"));
    let mode = std::fs::metadata(listener.path())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = Listener::bind(&directory).expect_err("somebody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!directory.join(".9p").exists(), "it goes with its listener");
    // One that nobody listens on any more.
    let stale = std::os::unix::net::UnixListener::bind(directory.join(".9p")).expect("bound");
    drop(stale);
    assert!(directory.join(".9p").exists());
    Listener::bind(&directory).expect("replaced");
    let file = place.path().join("file");
    std::fs::write(&file, b"precious").expect("written");
    Listener::bind(&file).expect_err("a file is in the way");
    assert_eq!(std::fs::read(&file).expect("read"), b"precious");
}

#[test]
fn who_talks_nonsense_is_hung_up_on_and_others_are_served() {
    let keyfs = Keyfs::start();
    let mut nonsense = UnixStream::connect(keyfs.path()).expect("connected");
    let silent = UnixStream::connect(keyfs.path()).expect("connected");
    nonsense.set_read_timeout(Some(PATIENCE)).expect("set");
    nonsense.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut rest = Vec::new();
    // A reset tells the same as an end.
    let _ = nonsense.read_to_end(&mut rest);
    assert!(rest.is_empty());
    keyfs.accounts().create("alice").expect("made");
    assert_eq!(keyfs.store.database().len(), 1);
    drop(silent);
}

#[test]
fn accounts_by_files() {
    let place = tempfile::tempdir().expect("temporary directory");
    let user = |name: &str| place.path().join(name);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
    let mut accounts = Accounts::open(place.path()).expect("a directory");
    accounts.create("alice").expect("made");
    write(&user("alice").join("status"), "ok");
    write(&user("alice").join("expire"), "never");
    write(&user("alice").join("log"), "3");
    write(&user("alice").join("secret"), "a longer one");
    assert_eq!(accounts.names().expect("listed"), [b"alice"]);
    assert!(accounts.exists("alice").expect("asked") && !accounts.exists("bob").expect("asked"));
    assert_eq!(accounts.status("alice").expect("read"), Status::Ok);
    assert_eq!(accounts.expire("alice").expect("read"), None);
    assert_eq!(accounts.failures("alice").expect("read"), 3);
    accounts.set_secret("alice", b"new").expect("set");
    assert_eq!(accounts.secret("alice").expect("read").as_slice(), b"new");
    assert!(matches!(accounts.secret("bob"), Err(Error::NoUser)));
    let error = accounts.create("alice").expect_err("there");
    assert_eq!(error.to_string(), "file already exists");
    std::fs::remove_file(user("alice").join("secret")).expect("removed");
    assert!(matches!(accounts.secret("alice"), Err(Error::Open(_))));
    assert!(matches!(
        Accounts::open(&user("nothing")),
        Err(Error::Unreachable(_))
    ));
}
