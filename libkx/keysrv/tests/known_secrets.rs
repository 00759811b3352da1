//! What a session knows of a secret, and how it hears that somebody has changed it: `changes` of our keyfs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::generate;
use inferno_auth::ssl::Policy;
use keyfs_db::{Change, Key};
use keysrv::accounts::{Accounts, Status};
use keysrv::client::{self, SecretError, SecretFile};
use keysrv::clock::Clock;
use keysrv::keyfs::serve::Service;
use keysrv::keyfs::store::Store;
use keysrv::keysrv::{Options, serve};
use kx_secret::SecretBytes;
use styx::message::{NOFID, NOTAG, Reply, Request, Rmessage, Tmessage};

/// It stands still: what a session knows does not grow old here.
const NOW: i64 = 1_795_000_000;
const SECRET: &[u8] = b"what alice knows";

fn auth_info(name: &str) -> AuthInfo {
    let root = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );
    AuthInfo::parse(&std::fs::read(Path::new(root).join(name)).expect("read")).expect("parsed")
}

/// A keyfs whose connections can be looked at and cut.
struct Keyfs {
    place: tempfile::TempDir,
    store: Arc<Store>,
    /// Octets that its clients have sent.
    heard: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

impl Keyfs {
    fn start() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        let file = place.path().join("keys");
        std::fs::write(&file, b"").expect("written");
        let store = Store::open(&file, Key::from_password(b"master")).expect("opened");
        let keyfs = Self {
            place,
            store: Arc::new(store),
            heard: Arc::default(),
            connections: Arc::default(),
        };
        let listener = UnixListener::bind(keyfs.path()).expect("bound");
        let service = keyfs.service();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (service, client) = (service.clone(), client.expect("a client"));
                thread::spawn(move || service.converse(client));
            }
        });
        let listener = UnixListener::bind(keyfs.observed()).expect("bound");
        let (path, heard) = (keyfs.path(), Arc::clone(&keyfs.heard));
        let connections = Arc::clone(&keyfs.connections);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                let mut server = UnixStream::connect(&path).expect("connected");
                let mut back = client.try_clone().expect("a copy");
                let mut all = connections.lock().expect("whole");
                all.push(client.try_clone().expect("a copy"));
                let mut replies = server.try_clone().expect("a copy");
                thread::spawn(move || io::copy(&mut replies, &mut back));
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    let mut room = [0; 4096];
                    while let Ok(count @ 1..) = client.read(&mut room) {
                        heard.fetch_add(count, Ordering::SeqCst);
                        server.write_all(&room[..count]).expect("taken");
                    }
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        keyfs.accounts().create("alice").expect("made");
        keyfs.accounts().set_secret("alice", SECRET).expect("set");
        keyfs
    }

    fn service(&self) -> Service {
        Service {
            store: Arc::clone(&self.store),
            owner: b"inferno".as_slice().into(),
            trace: false,
            clock: Clock::fixed(NOW, 0),
        }
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    /// The same by way of `heard` and `connections`, where notices take their time.
    fn observed(&self) -> PathBuf {
        self.place.path().join("observed")
    }

    fn accounts(&self) -> Accounts {
        Accounts::open(&self.path()).expect("reached")
    }

    /// A session of alice's, with this socket for its keyfs.
    fn session(&self, accounts: PathBuf) -> SecretFile {
        let options = Options {
            accounts,
            owner: "root".into(),
            strict: false,
            count_failures: false,
            policy: Policy::Exact,
            floor: Floor::default(),
            idle: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        thread::spawn(move || {
            let (connection, _) = listener.accept().expect("a client");
            let info = Arc::new(auth_info("keysrv_default.rsa"));
            serve(
                connection,
                info,
                &options,
                &Clock::fixed(NOW, 0),
                &mut |_| {},
            )
        });
        let info = generate::user(&auth_info("signerkey.rsa"), "alice", 0).expect("certified");
        let connection = TcpStream::connect(address).expect("connected");
        let options = client::Options::default();
        SecretFile::connect(connection, info, "root", &options, NOW).expect("a session")
    }
}

fn refused(result: Result<(), SecretError>) -> String {
    match result {
        Err(SecretError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keyfs_is_asked_once_for_many_checks() {
    let keyfs = Keyfs::start();
    let mut session = keyfs.session(keyfs.observed());
    session.check(SECRET).expect("right");
    let heard = keyfs.heard.load(Ordering::SeqCst);
    for _ in 0..100 {
        session.check(SECRET).expect("right");
    }
    assert_eq!(keyfs.heard.load(Ordering::SeqCst), heard);
}

#[test]
fn the_change_of_another_is_known_as_soon_as_it_is_made() {
    let keyfs = Keyfs::start();
    let mut session = keyfs.session(keyfs.path());
    // Not through the socket: what keyfs says to those who wait, it has said when this returns.
    let user = keyfs.store.database().find(b"alice").expect("there");
    let set = |secret: &[u8]| {
        let (file, data) = (keyfs_db::File::Secret, SecretBytes::from(secret.to_vec()));
        let change = Change::Write { user, file, data };
        keyfs.store.change(change).expect("made");
    };
    session.check(SECRET).expect("right");
    let mut accounts = keyfs.accounts();
    accounts
        .set_secret("alice", b"another secret")
        .expect("set");
    assert_eq!(refused(session.check(SECRET)), "wrong secret");
    accounts.set_secret("alice", SECRET).expect("set");
    session.check(SECRET).expect("right again");
    accounts.set_status("alice", Status::Disabled).expect("set");
    assert_eq!(
        refused(session.check(SECRET)),
        "error reading alice/secret: user disabled"
    );
    accounts.set_status("alice", Status::Ok).expect("set");
    set(SECRET);
    session.check(SECRET).expect("right again");
    accounts.remove("alice").expect("removed");
    assert_eq!(refused(session.check(SECRET)), "user not registered: alice");
}

#[test]
fn a_change_of_ones_own_is_no_surprise() {
    let keyfs = Keyfs::start();
    let mut session = keyfs.session(keyfs.path());
    for n in 0..5 {
        session.check(SECRET).expect("right");
        // A session goes on by the secret that it found.
        let new = format!("the secret number {n}");
        session.change(SECRET, new.as_bytes()).expect("changed");
        let stored = keyfs.accounts().secret("alice").expect("read");
        assert_eq!(stored.as_slice(), new.as_bytes());
    }
}

#[test]
fn a_session_outlives_its_connection_to_keyfs() {
    let keyfs = Keyfs::start();
    let mut session = keyfs.session(keyfs.observed());
    session.check(SECRET).expect("right");
    for connection in keyfs.connections.lock().expect("whole").drain(..) {
        connection.shutdown(Shutdown::Both).expect("cut");
    }
    keyfs
        .accounts()
        .set_secret("alice", b"another secret")
        .expect("set");
    assert_eq!(refused(session.check(SECRET)), "wrong secret");
    keyfs.accounts().set_secret("alice", SECRET).expect("set");
    session.check(SECRET).expect("right");
}

/// Octets to and from keyfs.
struct Raw(UnixStream);

impl Raw {
    fn start(keyfs: &Keyfs) -> Self {
        let (here, there) = UnixStream::pair().expect("a pair");
        let service = keyfs.service();
        thread::spawn(move || service.converse(there));
        let mut raw = Self(here);
        let version = b"9P2000";
        raw.say(
            NOTAG,
            Tmessage::Version {
                msize: 8216,
                version,
            },
        );
        let (uname, aname) = (&b""[..], &b""[..]);
        let afid = NOFID;
        raw.say(
            1,
            Tmessage::Attach {
                fid: 0,
                afid,
                uname,
                aname,
            },
        );
        let names = vec![&b"alice"[..], b"changes"];
        raw.say(
            1,
            Tmessage::Walk {
                fid: 0,
                newfid: 1,
                names,
            },
        );
        raw.say(1, Tmessage::Open { fid: 1, mode: 0 });
        for expected in [101, 105, 111, 113] {
            assert_eq!(raw.hear().get(4), Some(&expected));
        }
        raw
    }

    fn say(&mut self, tag: u16, body: Tmessage<'_>) {
        let mut octets = SecretBytes::default();
        Request { tag, body }.build(&mut octets).expect("built");
        self.0.write_all(octets.as_slice()).expect("sent");
    }

    fn wait_for_changes(&mut self, tag: u16) {
        let (offset, count) = (0, 100);
        self.say(
            tag,
            Tmessage::Read {
                fid: 1,
                offset,
                count,
            },
        );
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("a message");
        let mut message = size.to_vec();
        message.resize(u32::from_le_bytes(size) as usize, 0);
        self.0.read_exact(&mut message[4..]).expect("all of it");
        message
    }

    /// keyfs has dealt with all that was said to it; nothing else has come.
    fn settle(&mut self) {
        self.say(77, Tmessage::Clunk { fid: 99 });
        let message = self.hear();
        let reply = Reply::parse(&message).expect("a reply");
        assert_eq!((reply.tag, message[4]), (77, 107));
    }
}

fn change(keyfs: &Keyfs) {
    let mut accounts = keyfs.accounts();
    accounts.log_bad("alice").expect("counted");
}

#[test]
fn a_read_of_changes_waits_for_one() {
    let keyfs = Keyfs::start();
    let mut raw = Raw::start(&keyfs);
    raw.wait_for_changes(8);
    raw.wait_for_changes(9);
    raw.settle();
    keyfs.accounts().create("bob").expect("made");
    raw.settle();
    change(&keyfs);
    for tag in [8, 9] {
        let message = raw.hear();
        let reply = Reply::parse(&message).expect("a reply");
        assert_eq!(reply.tag, tag);
        assert!(
            matches!(reply.body, Rmessage::Read { data: [] }),
            "{message:?}"
        );
    }
    change(&keyfs);
    raw.settle();
}

#[test]
fn a_read_that_is_flushed_is_not_answered() {
    let keyfs = Keyfs::start();
    let mut raw = Raw::start(&keyfs);
    raw.wait_for_changes(8);
    raw.wait_for_changes(9);
    raw.say(1, Tmessage::Flush { oldtag: 8 });
    assert_eq!(raw.hear().get(4), Some(&109));
    change(&keyfs);
    let message = raw.hear();
    assert_eq!(Reply::parse(&message).expect("a reply").tag, 9);
    raw.settle();
}

#[test]
fn reads_that_wait_are_bounded_and_those_of_who_is_gone_are_forgotten() {
    let keyfs = Keyfs::start();
    let mut raw = Raw::start(&keyfs);
    for tag in 100..116 {
        raw.wait_for_changes(tag);
    }
    raw.settle();
    raw.wait_for_changes(116);
    let message = raw.hear();
    let reply = Reply::parse(&message).expect("a reply");
    let too_many = b"too many reads wait".as_slice();
    assert!(matches!(reply.body, Rmessage::Error { ename } if ename == too_many));
    assert_eq!(format!("{:?}", keyfs.store.watchers()), "16 watchers");
    drop(raw);
    let mut left = 200_000;
    while format!("{:?}", keyfs.store.watchers()) != "0 watchers" {
        left -= 1;
        assert!(left > 0, "they are still waited for");
        thread::yield_now();
    }
}
