//! keyfs' tree as a 9P2000 client meets it: names, modes, identities, contents and texts of keysrv
//! spec 10.4.

use std::path::Path;
use std::sync::Arc;

use keyfs_db::Key;
use keysrv::keyfs::store::Store;
use keysrv::keyfs::tree::KeyTree;
use kx_secret::SecretBytes;
use kx_sys::file_replacement::Directory;
use styx::client::{Call, Client, Error, Fid};
use styx::message::{DMDIR, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, Stat};
use styx::server::{Dialect, HangUp, Server};

const NOW: u32 = 1_800_000_000;

/// A server without a socket.
struct Joined(Server<KeyTree>);

impl Call for Joined {
    type Error = HangUp;

    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> Result<(), HangUp> {
        self.0.receive(request)?;
        self.0.poll_reply(NOW, reply).map(|_| ())
    }
}

/// A keyfs and somebody who has its root.
struct Session {
    client: Client<Joined>,
    root: Fid,
    store: Arc<Store>,
    place: tempfile::TempDir,
}

impl Session {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        let steps = Directory::open(place.path(), 0o600, true).expect("opened");
        let key = Key::from_password(b"k");
        let store = Store::with(Box::new(steps), Path::new("k"), "keys".as_ref(), key, b"");
        let store = Arc::new(store.expect("opened"));
        let mut client = join(&store);
        let root = client.attach(b"whoever", b"").expect("attached");
        Self {
            client,
            root,
            store,
            place,
        }
    }

    fn create(&mut self, name: &str) -> Result<(), String> {
        let fid = self.client.walk(&self.root, &[]).map_err(said)?;
        let made = self
            .client
            .create(&fid, name.as_bytes(), DMDIR | 0o775, OREAD);
        let made = made.map(|_| ()).map_err(said);
        self.client.clunk(fid).expect("clunked");
        made
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        let content = self.client.read_file(&self.root, &split(path), 1000);
        let content = content.map_err(said)?;
        Ok(String::from_utf8_lossy(content.as_slice()).into_owned())
    }

    fn write(&mut self, path: &str, data: &[u8]) -> Result<u32, String> {
        self.client
            .write_file(&self.root, &split(path), data)
            .map_err(said)
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        let fid = self.client.walk(&self.root, &split(path)).map_err(said)?;
        self.client.remove(fid).map_err(said)
    }

    fn wstat(&mut self, path: &str, stat: &Stat) -> Result<(), String> {
        let fid = self.client.walk(&self.root, &split(path)).map_err(said)?;
        let done = self.client.wstat(&fid, stat).map_err(said);
        self.client.clunk(fid).expect("clunked");
        done
    }

    fn stat(&mut self, path: &str) -> Stat {
        let fid = self.client.walk(&self.root, &split(path)).expect("there");
        let stat = self.client.stat(&fid).expect("described");
        self.client.clunk(fid).expect("clunked");
        stat
    }

    fn names(&mut self, path: &str) -> Vec<String> {
        let entries = self
            .client
            .list(&self.root, &split(path), 1000)
            .expect("listed");
        let text = |entry: Stat| String::from_utf8(entry.name).expect("text");
        entries.into_iter().map(text).collect()
    }
}

fn join(store: &Arc<Store>) -> Client<Joined> {
    let tree = KeyTree::new(Arc::clone(store), b"inferno");
    Client::new(Joined(Server::new(Dialect::Styxservers, tree)), 8216).expect("agreed")
}

fn said(error: Error<HangUp>) -> String {
    match error {
        Error::Refused(text) => text,
        other => panic!("{other}"),
    }
}

fn split(path: &str) -> Vec<&[u8]> {
    let names = path.split('/').filter(|name| !name.is_empty());
    names.map(str::as_bytes).collect()
}

fn refused<T>(text: &str) -> Result<T, String> {
    Err(text.to_owned())
}

#[test]
fn what_the_entries_say() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    session.create("bob").expect("made");
    session
        .write("bob/secret", b"twelve bytes")
        .expect("written");
    for (path, name, mode, kind, path_number, length) in [
        ("", "/", DMDIR | 0o755, 0x80, 0, 0),
        ("alice", "alice", DMDIR | 0o500, 0x80, 0x1, 0),
        ("bob", "bob", DMDIR | 0o500, 0x80, 0x1_0011, 0),
        ("alice/secret", "secret", 0o600, 0, 0x2, 0),
        ("bob/secret", "secret", 0o600, 0, 0x1_0012, 12),
        ("bob/log", "log", 0o600, 0, 0x1_0013, 0),
        ("bob/status", "status", 0o600, 0, 0x1_0014, 0),
        ("bob/expire", "expire", 0o600, 0, 0x1_0015, 0),
    ] {
        let stat = session.stat(path);
        assert_eq!(String::from_utf8_lossy(&stat.name), name);
        assert_eq!((stat.mode, stat.length), (mode, length), "{path}");
        assert_eq!(
            (stat.qid.kind, stat.qid.path, stat.qid.version),
            (kind, path_number, 0),
            "{path}"
        );
        assert_eq!((stat.atime, stat.mtime), (NOW, NOW));
        assert_eq!(
            (&stat.uid[..], &stat.gid[..], &stat.muid[..]),
            (&b"inferno"[..], &b"inferno"[..], &b""[..])
        );
        assert_eq!((stat.kind, stat.device), (0, 0));
    }
    assert_eq!(session.names(""), ["alice", "bob"]);
    assert_eq!(session.names("bob"), ["secret", "log", "status", "expire"]);
    // The directory says of a file what the file says of itself.
    let listed = session
        .client
        .list(&session.root, &[b"bob"], 10)
        .expect("listed");
    assert_eq!(listed[0], session.stat("bob/secret"));
}

#[test]
fn a_slot_is_used_again_under_another_number() {
    let mut session = Session::new();
    for name in ["a", "b", "c"] {
        session.create(name).expect("made");
    }
    session.remove("b").expect("removed");
    session.create("d").expect("made");
    assert_eq!(session.names(""), ["a", "d", "c"]);
    assert_eq!(session.stat("d").qid.path, 0x3_0011);
}

#[test]
fn walking() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    for (path, expected) in [
        ("bob", None),
        ("alice/x", None),
        ("alice/..", Some(0)),
        ("..", Some(0)),
        ("../../alice/../alice/log", Some(3)),
    ] {
        let walked = session.client.walk(&session.root, &split(path));
        match (walked, expected) {
            (Ok(fid), Some(number)) => {
                assert_eq!(session.client.stat(&fid).expect("there").qid.path, number);
            }
            (Err(error), None) => assert_eq!(said(error), "file does not exist", "{path}"),
            (walked, _) => panic!("{path}: {walked:?}"),
        }
    }
    let into_a_file = session.client.walk(&session.root, &split("alice/log/x"));
    assert_eq!(
        said(into_a_file.expect_err("no directory")),
        "file does not exist"
    );
}

#[test]
fn making_users() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    assert_eq!(session.create("alice"), refused("file already exists"));
    assert_eq!(session.create(".."), refused(". and .. are illegal names"));
    assert_eq!(session.create(""), refused("bad character in file name"));
    assert_eq!(
        session.create(&"x".repeat(256)),
        refused("user name too long")
    );
    assert_eq!(
        session.create(&"ж".repeat(200)),
        refused("user name too long")
    );
    // Not a file, and not below a user.
    let fid = session.client.walk(&session.root, &[]).expect("cloned");
    let file = session.client.create(&fid, b"file", 0o600, OREAD);
    assert_eq!(said(file.expect_err("a file")), "permission denied");
    let inside = session
        .client
        .walk(&session.root, &[b"alice"])
        .expect("walked");
    let file = session.client.create(&inside, b"x", DMDIR | 0o700, OREAD);
    assert_eq!(said(file.expect_err("below a user")), "permission denied");
    assert_eq!(session.read("alice/secret"), Ok(String::new()));
    assert_eq!(session.read("alice/expire"), Ok("never".into()));
    assert_eq!(session.read("alice/status"), Ok("ok".into()));
    assert_eq!(session.read("alice/log"), Ok("0".into()));
}

#[test]
fn reading_and_writing() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    assert_eq!(session.write("alice/secret", b"new secret\n"), Ok(11));
    assert_eq!(session.read("alice/secret"), Ok("new secret\n".into()));
    assert_eq!(
        session.write("alice/secret", &[b'x'; 256]),
        refused("illegal write")
    );
    let fid = session
        .client
        .walk(&session.root, &split("alice/secret"))
        .expect("walked");
    session.client.open(&fid, ORDWR | OTRUNC).expect("opened");
    assert_eq!(
        session.read("alice/secret"),
        Ok("new secret\n".into()),
        "not by opening"
    );
    let elsewhere = session
        .client
        .write(&fid, 3, b"x")
        .expect_err("not at the beginning");
    assert_eq!(said(elsewhere), "illegal write");
    let mut piece = SecretBytes::default();
    session.client.read(&fid, 4, 3, &mut piece).expect("read");
    assert_eq!(piece.as_slice(), b"sec");
    assert_eq!(
        session.client.read(&fid, 11, 3, &mut piece).expect("read"),
        0
    );
    assert_eq!(
        session
            .client
            .read(&fid, 1 << 62, 3, &mut piece)
            .expect("read"),
        0
    );
    assert_eq!(session.client.write(&fid, 0, b"").expect("written"), 0);
    assert_eq!(
        session.read("alice/secret"),
        Ok(String::new()),
        "by writing nothing"
    );

    assert_eq!(session.write("alice/expire", b"1800000000\n"), Ok(11));
    assert_eq!(session.read("alice/status"), Ok("ok".into()));
    assert_eq!(session.write("alice/expire", b"1799999999"), Ok(10));
    assert_eq!(session.read("alice/status"), Ok("expired".into()));
    assert_eq!(session.read("alice/secret"), refused("user expired"));
    assert_eq!(
        session.write("alice/expire", b"soon"),
        refused("illegal expiry time")
    );
    assert_eq!(
        session.write("alice/status", b"expired"),
        refused("unknown status")
    );
    assert_eq!(session.write("alice/status", b"disabled"), Ok(8));
    assert_eq!(session.read("alice/secret"), refused("user disabled"));
    assert_eq!(
        session.write("alice/secret", b"still"),
        Ok(5),
        "can be set nevertheless"
    );
    assert_eq!(session.write("alice/log", b"bad"), Ok(3));
    assert_eq!(session.read("alice/log"), Ok("1".into()));
}

#[test]
fn opening() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    for (path, mode, text) in [
        ("alice", OWRITE, "permission denied"),
        ("", ORDWR, "permission denied"),
        ("alice/secret", 3, "bad argument"),
        ("alice/secret", OREAD | ORCLOSE, "permission denied"),
        ("", OREAD | ORCLOSE, "permission denied"),
    ] {
        let fid = session
            .client
            .walk(&session.root, &split(path))
            .expect("walked");
        let refused = session.client.open(&fid, mode).expect_err(path);
        assert_eq!(said(refused), text, "{path} {mode:x}");
    }
}

#[test]
fn removing() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    session.write("alice/secret", b"s").expect("written");
    session.remove("alice/secret").expect("emptied");
    assert_eq!(session.read("alice/secret"), Ok(String::new()));
    for path in ["alice/log", "alice/status", "alice/expire", ""] {
        assert_eq!(session.remove(path), refused("permission denied"), "{path}");
    }
    session.remove("alice").expect("removed");
    assert_eq!(session.names(""), Vec::<String>::new());
    let file = std::fs::read(session.place.path().join("keys")).expect("there");
    assert!(file.is_empty(), "no users are no octets");
}

#[test]
fn renaming() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    session.create("bob").expect("made");
    let named = |name: &str| Stat {
        name: name.as_bytes().to_vec(),
        ..Stat::unchanged()
    };
    assert_eq!(
        session.wstat("alice", &named("bob")),
        refused("user already exists")
    );
    assert_eq!(
        session.wstat("alice", &named("..")),
        refused(". and .. are illegal names")
    );
    assert_eq!(
        session.wstat("alice", &named("")),
        refused("permission denied")
    );
    assert_eq!(session.wstat("", &named("x")), refused("permission denied"));
    assert_eq!(
        session.wstat("alice/log", &named("x")),
        refused("permission denied")
    );
    assert_eq!(session.wstat("alice", &named("carol")), Ok(()));
    assert_eq!(session.names(""), ["carol", "bob"]);
}

/// The kernel of Linux opens a file for truncation in this way.
#[test]
fn emptying_by_an_entry_is_allowed_and_does_nothing() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    session.write("alice/secret", b"kept").expect("written");
    let empty = Stat {
        length: 0,
        mtime: NOW,
        ..Stat::unchanged()
    };
    for path in ["alice/secret", "alice/log", "alice/status", "alice/expire"] {
        assert_eq!(session.wstat(path, &empty), Ok(()), "{path}");
        for other in [
            Stat::unchanged(),
            Stat {
                length: 1,
                ..Stat::unchanged()
            },
            Stat {
                mode: 0o666,
                ..empty.clone()
            },
            Stat {
                gid: b"all".to_vec(),
                ..empty.clone()
            },
        ] {
            assert_eq!(session.wstat(path, &other), refused("permission denied"));
        }
    }
    for path in ["", "alice"] {
        assert_eq!(
            session.wstat(path, &empty),
            refused("permission denied"),
            "{path}"
        );
    }
    assert_eq!(session.read("alice/secret"), Ok("kept".into()));
}

#[test]
fn a_user_who_is_gone() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    let mut other = join(&session.store);
    let root = other.attach(b"x", b"").expect("attached");
    let user = other.walk(&root, &[b"alice"]).expect("walked");
    let listed = other.walk(&user, &[]).expect("cloned");
    other.open(&listed, OREAD).expect("opened");
    let open = other.walk(&user, &[b"secret"]).expect("walked");
    other.open(&open, ORDWR).expect("opened");
    let unopened = other.walk(&user, &[b"log"]).expect("walked");

    session.remove("alice").expect("removed");
    session
        .create("alice")
        .expect("made again, and not the same");
    let gone = "user has been removed";
    let mut out = SecretBytes::default();
    assert_eq!(
        said(other.read(&open, 0, 10, &mut out).expect_err("gone")),
        gone
    );
    assert_eq!(said(other.write(&open, 0, b"x").expect_err("gone")), gone);
    assert_eq!(said(other.write(&open, 1, b"x").expect_err("gone")), gone);
    assert_eq!(other.read(&listed, 0, 1000, &mut out).expect("nothing"), 0);
    other
        .open(&unopened, OREAD)
        .expect("the files remember nothing of it");
    assert_eq!(
        said(other.read(&unopened, 0, 10, &mut out).expect_err("gone")),
        gone
    );
    assert_eq!(
        said(other.stat(&user).expect_err("gone")),
        "file does not exist"
    );
    assert_eq!(other.stat(&open).expect("as an empty one").length, 0);
    let renamed = Stat {
        name: b"x".to_vec(),
        ..Stat::unchanged()
    };
    assert_eq!(said(other.wstat(&user, &renamed).expect_err("gone")), gone);
    assert_eq!(said(other.remove(open).expect_err("gone")), gone);
    assert_eq!(said(other.remove(user).expect_err("gone")), gone);
    assert_eq!(
        session.read("alice/secret"),
        Ok(String::new()),
        "the new one is there"
    );
}

#[test]
fn a_secret_is_exchanged_in_one_step() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    session.write("alice/secret", b"old").expect("written");
    let changed = || Err("secret has been changed".to_owned());
    for wrong in [&b"\x03olx"[..], b"\x00new", b"\x02olnew", b"\x04old "] {
        assert_eq!(
            session.write("alice/exchange", wrong),
            changed(),
            "{wrong:?}"
        );
    }
    for none in [
        &b""[..],
        b"\x09old",
        &[b"\x03old".as_slice(), &[7; 256]].concat(),
    ] {
        let refused = session.write("alice/exchange", none);
        assert_eq!(refused, Err("illegal write".to_owned()), "{none:?}");
    }
    assert_eq!(session.read("alice/secret"), Ok("old".to_owned()));
    assert_eq!(session.write("alice/exchange", b"\x03oldnew"), Ok(7));
    assert_eq!(session.read("alice/secret"), Ok("new".to_owned()));
    assert_eq!(session.write("alice/exchange", b"\x03oldother"), changed());
    // Nobody sees it who does not know of it, and it tells nothing.
    let names = session.client.list(&session.root, &[b"alice"], 10);
    let names: Vec<_> = names
        .expect("listed")
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names.len(), 4);
    assert!(!names.contains(&b"exchange".to_vec()));
    assert_eq!(
        session.read("alice/exchange"),
        Err("permission denied".to_owned())
    );
    assert_eq!(
        session.remove("alice/exchange"),
        Err("permission denied".to_owned())
    );
    session.remove("alice").expect("removed");
    let gone = session.write("alice/exchange", b"\x03newold");
    assert_eq!(gone, Err("file does not exist".to_owned()));
}

/// Of many who know the same secret and replace it at the same time, one does.
#[test]
fn of_many_exchanges_one_wins() {
    let mut session = Session::new();
    session.create("alice").expect("made");
    for round in 0..20 {
        session.write("alice/secret", b"old").expect("written");
        let start = std::sync::Barrier::new(8);
        let won: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8u8)
                .map(|number| {
                    let (store, start) = (session.store.clone(), &start);
                    scope.spawn(move || {
                        let mut client = join(&store);
                        let root = client.attach(b"whoever", b"").expect("attached");
                        start.wait();
                        let data = [b"\x03old".as_slice(), &[number; 9]].concat();
                        let path: [&[u8]; 2] = [b"alice", b"exchange"];
                        usize::from(client.write_file(&root, &path, &data).is_ok())
                    })
                })
                .collect();
            tries.into_iter().map(|it| it.join().expect("joined")).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}
