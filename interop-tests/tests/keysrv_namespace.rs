//! What a client of keysrv and of keyfs sees: the whole of "keysrv spec 8, 9.1, 9.2 and 10.4" through
//! a client of the tests' own.

use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use interop_tests::inferno::database::User;
use interop_tests::inferno::domain::{Domain, MASTER, Place, Session, as_inetd, everywhere};
use interop_tests::inferno::keys::{hex, sha1};
use interop_tests::inferno::ninep::{
    Carrier, NOFID, NineP, OREAD, OTRUNC, OWRITE, dial, kind, message, string,
};
use interop_tests::inferno::ours::{Root, Service};
use interop_tests::inferno::sts;

const SECRET: &[u8] = b"alice in wonderland";

fn err<T>(text: &str) -> Result<T, String> {
    Err(text.to_owned())
}

fn users() -> [User; 5] {
    let disabled = User {
        status: 1,
        ..User::new("mallory", SECRET)
    };
    let expired = User {
        expire: 1_500_000_000,
        ..User::new("oscar", SECRET)
    };
    [
        User::new("alice", SECRET),
        User::hashed("bob", "bob the builder"),
        User::new("empty", b""),
        disabled,
        expired,
    ]
}

/// A client of keysrv with nothing said yet.
fn unattached(domain: &Place) -> NineP<impl Carrier> {
    let stream = sts::connect(domain.key);
    let records = sts::session(stream, &domain.issue_quickly("alice"), "sha1/rc4_256");
    NineP::new(records.expect("STS"))
}

#[test]
fn versions_are_agreed_on_as_the_original_does() {
    everywhere(&users(), |domain| {
        for (asked, version, size, answer) in [
            (8216, "9P2000", 8216, "9P2000"),
            (64, "9P2000.L", 64, "9P2000"),
            (1_000_000, "9P3000", 65560, "9P2000"),
            (8216, "9P1999", 8216, "unknown"),
            (8216, "Styx", 8216, "unknown"),
        ] {
            let mut client = unattached(domain);
            assert_eq!(
                client.version(asked, version),
                Ok((size, answer.to_owned())),
                "{version}"
            );
        }
        let mut client = unattached(domain);
        assert_eq!(client.version(63, "9P2000"), err("message size too small"));
        let mut client = unattached(domain);
        // The original goes by a size of its own.
        if !domain.is_original() {
            assert_eq!(client.attach("alice"), err("Tversion not seen"));
        }
    });
}

#[test]
fn fids_and_walks_of_keysrv() {
    everywhere(&users(), |domain| {
        let Session { mut client, root } = domain.session_of("alice");
        let attach = |client: &mut NineP<_>, fid: u32| {
            let parts: [&[u8]; 4] = [
                &fid.to_le_bytes(),
                &NOFID.to_le_bytes(),
                &string("x"),
                &string("y"),
            ];
            client.call(kind::ATTACH, &parts)
        };
        assert_eq!(attach(&mut client, root), err("fid in use"));
        let auth = client.call(
            kind::AUTH,
            &[&77u32.to_le_bytes(), &string("x"), &string("")],
        );
        assert_eq!(auth, err("authentication not required"));
        assert_eq!(client.walk(999, &["secret"]), err("no such fid"));
        assert_eq!(client.walk(root, &["other"]), err("file does not exist"));
        assert_eq!(client.walk(root, &["..", "other"]), err("stopped"));
        assert!(client.walk(root, &["..", "..", "secret"]).is_ok());
        let walk = |from: u32, to: u32| [from.to_le_bytes(), to.to_le_bytes()].concat();
        let same = client.call(kind::WALK, &[&walk(root, root), &[0, 0]]);
        assert_eq!(same, Ok(vec![0, 0]));
        let other = client.walk(root, &[]).expect("a copy");
        let taken = client.call(kind::WALK, &[&walk(root, other), &[0, 0]]);
        assert_eq!(taken, err("fid in use"));
        client.open(other, OREAD).expect("opened");
        assert_eq!(client.walk(other, &["secret"]), err("walk of open fid"));
        assert_eq!(client.clunk(other), Ok(()));
        assert_eq!(client.clunk(other), err("no such fid"));
        assert_eq!(client.call(kind::FLUSH, &[&[9, 0]]), Ok(vec![]));
    });
}

#[test]
fn files_of_keysrv() {
    everywhere(&users(), |domain| {
        let Session { mut client, root } = domain.session_of("alice");
        // The directory has one entry and gives it once.
        let dir = client.walk(root, &[]).expect("a copy");
        assert_eq!(client.open(dir, OWRITE), err("file is a directory"));
        assert_eq!(client.read(dir, 0, 100), err("open/create -- unknown mode"));
        client.open(dir, OREAD).expect("opened");
        assert_eq!(client.open(dir, OREAD), err("open/create -- unknown mode"));
        let entry = client.read(dir, 0, 4096).expect("an entry");
        let length = u16::from_le_bytes([entry[0], entry[1]]);
        assert_eq!(usize::from(length) + 2, entry.len(), "exactly one");
        let end = u64::try_from(entry.len()).expect("short");
        assert_eq!(client.read(dir, end, 4096), Ok(vec![]));
        assert_eq!(client.read(dir, 3, 4096), err("can't seek on a directory"));
        assert_eq!(
            client.write(dir, 0, b"x"),
            err("read/write -- not open in suitable mode")
        );
        // Stat: what a directory entry says too.
        let file = client.walk(root, &["secret"]).expect("walked");
        let stat = client
            .call(kind::STAT, &[&file.to_le_bytes()])
            .expect("a stat");
        assert!(
            stat[2..].windows(8).any(|w| w == b"\x06\0secret"),
            "{stat:?}"
        );
        assert_eq!(stat[2 + 21..2 + 25], 0o660u32.to_le_bytes(), "mode");
        assert_eq!(stat[2 + 33..2 + 41], [0; 8], "length");
        let stat = client
            .call(kind::STAT, &[&root.to_le_bytes()])
            .expect("a stat");
        assert!(
            stat[2..].windows(8).any(|w| w == b"\x06\0keysrv"),
            "{stat:?}"
        );
        assert_eq!(
            stat[2 + 21..2 + 25],
            (0x8000_0000u32 | 0o555).to_le_bytes(),
            "mode"
        );

        assert_eq!(client.open(file, 3), err("permission denied"));
        client.open(file, 2).expect("opened both ways");
        assert_eq!(
            client.read(file, 0, 100),
            Ok(vec![]),
            "a secret is never read"
        );
        assert_eq!(
            client.read(file, 0, 8193),
            err("read/write -- count too big")
        );
        assert_eq!(client.read(file, 1 << 63, 1), err("negative i/o offset"));
        assert_eq!(
            client.write(file, 1 << 63, b"x"),
            err("negative i/o offset")
        );
        let write_only = client.walk(root, &["secret"]).expect("walked");
        client.open(write_only, OWRITE | OTRUNC).expect("opened");
        let refused = err("read/write -- not open in suitable mode");
        assert_eq!(client.read(write_only, 0, 1), refused);
        let create = client.create(root, "another", 0o600, OWRITE);
        assert_eq!(create, err("mounted directory forbids creation"));
        // In the original it is gone then, for this session.
        let removed = client.call(kind::REMOVE, &[&write_only.to_le_bytes()]);
        if !domain.is_original() {
            assert_eq!(removed, err("permission denied"));
        }
        assert_eq!(client.clunk(write_only), err("no such fid"));
        let short = client.call(kind::WSTAT, &[&file.to_le_bytes(), &[2, 0, 0, 0]]);
        assert_eq!(short, err("malformed stat buffer"));
    });
}

#[test]
fn messages_may_lie_across_records() {
    everywhere(&users(), |domain| {
        let mut alice = domain.session_of("alice");
        let read = message(kind::STAT, 1, &[&alice.root.to_le_bytes()]);
        let carrier = &mut alice.client.carrier;
        for part in [&read[..3], &read[3..4], &read[4..]] {
            carrier.send(part).expect("sent");
        }
        assert!(
            carrier
                .get()
                .is_some_and(|reply| reply[4] == kind::STAT + 1)
        );
        carrier
            .send(&[&read[..], &read, &read[..1]].concat())
            .expect("sent");
        carrier.send(&read[1..]).expect("sent");
        for _ in 0..3 {
            assert!(
                carrier
                    .get()
                    .is_some_and(|reply| reply[4] == kind::STAT + 1)
            );
        }
    });
}

#[test]
fn messages_that_are_none_end_the_session() {
    everywhere(&users(), |domain| {
        let mut neighbour = domain.session_of("bob");
        for bytes in [
            &[4, 0, 0, 0][..],
            &[0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0x7f, 100, 0, 0],
            &[7, 0, 0, 0, 106, 1, 0],
            &[7, 0, 0, 0, 255, 1, 0],
            &[8, 0, 0, 0, 112, 1, 0, 0],
        ] {
            let mut session = domain.session_of("alice");
            assert!(session.client.carrier.put(bytes));
            assert_eq!(session.client.carrier.get(), None, "{bytes:?}");
            assert_eq!(neighbour.check(&sha1(b"bob the builder")), Ok(0));
        }
    });
}

#[test]
fn the_grammar_of_secret() {
    everywhere(&users(), |domain| {
        let mut alice = domain.session_of("alice");
        let hash = hex(&sha1(SECRET));
        let wrong = || err("wrong secret");
        // A check answers with a count of nothing.
        assert_eq!(alice.write(hash.as_bytes()), Ok(0));
        assert_eq!(alice.write(format!("{hash} ").as_bytes()), Ok(0));
        assert_eq!(alice.write(hash.to_uppercase().as_bytes()), wrong());
        assert_eq!(alice.write(format!("{hash}\n").as_bytes()), wrong());
        assert_eq!(alice.write(&hash.as_bytes()[..20]), wrong());
        let mut alice = domain.session_of("alice");
        assert_eq!(alice.write(b""), wrong());
        assert_eq!(alice.write(SECRET), wrong());
        assert_eq!(alice.write(format!(" {hash}").as_bytes()), wrong());
        let unacceptable = err("unacceptable secret");
        assert_eq!(alice.change(SECRET, b"1234567"), unacceptable);
        let long = err("can't update secret: illegal write");
        assert_eq!(alice.change(SECRET, &[b'x'; 256]), long);
        assert_eq!(domain.stored("alice").secret, SECRET, "unchanged");

        let other = b" two blanks \n and a line\n";
        let count = u32::try_from(41 + other.len()).expect("short");
        assert_eq!(alice.change(SECRET, other), Ok(count));
        assert_eq!(domain.stored("alice").secret, other, "as it came");
        // This session goes on by what it knew; another one goes by what is so now.
        assert_eq!(alice.check(SECRET), Ok(0));
        assert_eq!(alice.check(other), wrong());
        assert_eq!(domain.session_of("alice").check(other), Ok(0));
        assert_eq!(
            domain.session_of("alice").change(other, &[b'y'; 255]),
            Ok(41 + 255)
        );
        assert_eq!(domain.stored("alice").secret, [b'y'; 255]);
    });
}

#[test]
fn a_secret_changed_elsewhere_is_wrong_here() {
    let domain = Domain::new(&users());
    let mut first = domain.session_of("alice");
    let mut second = domain.session_of("alice");
    assert_eq!(second.check(SECRET), Ok(0));
    assert!(first.change(SECRET, b"something new").is_ok());
    assert_eq!(second.check(SECRET), err("wrong secret"));
    let changed = second.change(SECRET, b"something else");
    assert_eq!(changed, err("wrong secret"));
    assert_eq!(domain.root.user("alice", MASTER).secret, b"something new");
}

#[test]
fn digests_are_checked_by_both_rules() {
    let domain = Domain::new(&users());
    let password = b"bob the builder";
    let stored = sha1(password);
    let mut bob = domain.session_of("bob");
    assert_eq!(bob.check(password), Ok(0), "by the digest itself");
    assert_eq!(bob.check(&stored), Ok(0), "by the digest of the digest");
    assert!(bob.change(password, b"short").is_err());
    assert!(bob.change(password, b"a new password").is_ok());
    let entry = domain.root.user("bob", MASTER);
    assert_eq!(entry.secret, sha1(b"a new password"), "it stays a digest");
    assert!(domain.login("bob", "a new password").is_ok());
    let clear = b"stored as it is";
    assert!(
        domain
            .session_of("bob")
            .change(&sha1(b"a new password"), clear)
            .is_ok()
    );
    assert_eq!(domain.root.user("bob", MASTER).secret, clear);

    // Only the original's rule.
    domain.root.fill(&[], MASTER);
    let domain = Domain::new(&[User::hashed("bob", "bob the builder")]);
    let (stream, _child, _log) = as_inetd(&domain.root, "keysrv", &["--strict"]);
    let info = domain.issue_quickly("bob");
    let records = sts::session(stream, &info, "sha1/rc4_256").expect("STS");
    let mut bob = Session::start(records).expect("a session");
    assert_eq!(bob.check(password), err("wrong secret"));
    assert_eq!(bob.check(&stored), Ok(0));
}

#[test]
fn those_who_have_no_secret() {
    everywhere(&users(), |domain| {
        for (user, text) in [
            ("ghost", "user not registered: ghost"),
            ("empty", "no existing secret"),
            ("mallory", "error reading mallory/secret: user disabled"),
            ("oscar", "error reading oscar/secret: user expired"),
        ] {
            let mut session = domain.session_of(user);
            assert_eq!(session.check(SECRET), err(text));
            let Session { client, root } = &mut session;
            let read = client.contents(*root, &["secret"]);
            assert_eq!(read.map(drop), err(text));
        }
    });
}

// keyfs

fn keyfs(users: &[User]) -> (Root, Service, NineP<UnixStream>, u32) {
    let root = Root::new();
    root.fill(users, MASTER);
    let service = root.keyfs();
    let (client, top) = dial(&root.keys_socket());
    (root, service, client, top)
}

#[test]
fn the_tree_of_keyfs() {
    let users = [
        User::new("alice", SECRET),
        User::new("Ольга with a blank", b"x"),
    ];
    let (root, _keyfs, mut client, top) = keyfs(&users);
    for (file, wanted) in [
        ("secret", SECRET),
        ("log", b"0"),
        ("status", b"ok"),
        ("expire", b"never"),
    ] {
        assert_eq!(
            client.contents(top, &["alice", file]),
            Ok(wanted.to_vec()),
            "{file}"
        );
    }
    assert_eq!(
        client.contents(top, &["Ольга with a blank", "secret"]),
        Ok(b"x".to_vec())
    );
    assert_eq!(client.walk(top, &["bob"]), err("file does not exist"));
    assert_eq!(client.walk(top, &["alice", "other"]), err("stopped"));

    // Every change is in the file before its answer.
    let now = |name: &str| root.user(name, MASTER);
    assert_eq!(client.store(top, &["alice", "secret"], b"another"), Ok(7));
    assert_eq!(now("alice").secret, b"another");
    assert_eq!(
        client.store(top, &["alice", "expire"], b"2000000000\n"),
        Ok(11)
    );
    assert_eq!(now("alice").expire, 2_000_000_000);
    assert_eq!(
        client.store(top, &["alice", "expire"], b"99999999999"),
        Ok(11)
    );
    assert_eq!(now("alice").expire, 2_147_483_647);
    assert_eq!(client.store(top, &["alice", "expire"], b"never"), Ok(5));
    assert_eq!(now("alice").expire, 0);
    assert_eq!(
        client.store(top, &["alice", "expire"], b"soon"),
        err("illegal expiry time")
    );
    assert_eq!(
        client.store(top, &["alice", "status"], b"fine"),
        err("unknown status")
    );
    assert_eq!(client.store(top, &["alice", "log"], b"bad"), Ok(3));
    assert_eq!(client.store(top, &["alice", "log"], b"whatever"), Ok(8));
    assert_eq!(now("alice").failed, 2);
    assert_eq!(client.store(top, &["alice", "log"], b"good thing"), Ok(10));
    assert_eq!(now("alice").failed, 0);
    assert_eq!(client.store(top, &["alice", "status"], b"disabled"), Ok(8));
    assert_eq!(
        client.contents(top, &["alice", "secret"]),
        err("user disabled")
    );
    assert_eq!(client.store(top, &["alice", "status"], b"ok"), Ok(2));
    assert_eq!(
        client.store(top, &["alice", "secret"], &[0; 256]),
        err("illegal write")
    );
    assert_eq!(client.store(top, &["alice", "secret"], &[7; 255]), Ok(255));
    assert_eq!(client.store(top, &["alice", "secret"], b""), Ok(0));
    assert_eq!(now("alice").secret, b"");
}

#[test]
fn fifty_failures_disable() {
    let (root, _keyfs, mut client, top) = keyfs(&[User::new("alice", SECRET)]);
    for n in 1..=50 {
        assert_eq!(
            client.contents(top, &["alice", "secret"]),
            Ok(SECRET.to_vec()),
            "{n}"
        );
        assert_eq!(client.store(top, &["alice", "log"], b"bad"), Ok(3));
    }
    assert_eq!(
        client.contents(top, &["alice", "status"]),
        Ok(b"disabled".to_vec())
    );
    assert_eq!(root.user("alice", MASTER).status, 1);
    assert_eq!(client.store(top, &["alice", "status"], b"ok"), Ok(2));
    assert_eq!(root.user("alice", MASTER), User::new("alice", SECRET));
}

#[test]
fn an_expired_user_says_so() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let past = (now - 1000).to_string();
    let (_root, _keyfs, mut client, top) = keyfs(&[User::new("alice", SECRET)]);
    client
        .store(top, &["alice", "expire"], past.as_bytes())
        .expect("stored");
    assert_eq!(
        client.contents(top, &["alice", "status"]),
        Ok(b"expired".to_vec())
    );
    assert_eq!(
        client.contents(top, &["alice", "secret"]),
        err("user expired")
    );
    assert_eq!(
        client.contents(top, &["alice", "expire"]),
        Ok(past.into_bytes())
    );
}

#[test]
fn users_come_go_and_are_renamed() {
    const DIR: u32 = 0x8000_0000;
    let users = [
        User::new("alice", b"1"),
        User::new("bob", b"2"),
        User::new("carol", b"3"),
    ];
    let (root, _keyfs, mut client, top) = keyfs(&users);
    let mut mkdir = |name: &str, mode: u32| {
        let fid = client.walk(top, &[]).expect("a copy");
        let done = client.create(fid, name, mode, OREAD);
        client.clunk(fid).expect("clunked");
        done
    };
    assert_eq!(mkdir("dave", 0o600), err("permission denied"));
    assert!(mkdir("alice", DIR | 0o700).is_err_and(|e| e.ends_with("already exists")));
    for name in [".", ".."] {
        assert_eq!(mkdir(name, DIR | 0o700), err(". and .. are illegal names"));
    }
    assert_eq!(mkdir("a/b", DIR | 0o700), err("bad character in file name"));
    // 200 letters of two octets each end the original.
    let long = "ж".repeat(200);
    assert_eq!(mkdir(&long, DIR | 0o700), err("user name too long"));
    assert_eq!(
        mkdir(&"x".repeat(256), DIR | 0o700),
        err("user name too long")
    );
    assert_eq!(mkdir("dave", DIR | 0o700), Ok(()));

    let file = client.walk(top, &["bob", "status"]).expect("walked");
    client.open(file, OREAD).expect("opened");
    let bob = client.walk(top, &["bob"]).expect("walked");
    assert_eq!(client.call(kind::REMOVE, &[&bob.to_le_bytes()]), Ok(vec![]));
    assert_eq!(client.read(file, 0, 10), err("user has been removed"));
    // A slot that became free is the next user's.
    let fid = client.walk(top, &[]).expect("a copy");
    client
        .create(fid, "eve", DIR | 0o700, OREAD)
        .expect("created");
    let names = |root: &Root| {
        let all = root.users(MASTER);
        all.into_iter().map(|user| user.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&root), ["alice", "eve", "carol", "dave"]);

    let secret = client.walk(top, &["carol", "secret"]).expect("walked");
    assert_eq!(
        client.call(kind::REMOVE, &[&secret.to_le_bytes()]),
        Ok(vec![])
    );
    assert_eq!(root.user("carol", MASTER).secret, b"");
    let status = client.walk(top, &["carol", "status"]).expect("walked");
    let refused = client.call(kind::REMOVE, &[&status.to_le_bytes()]);
    assert_eq!(refused, err("permission denied"));

    let carol = client.walk(top, &["carol"]).expect("walked");
    let mut rename = |name: &str| {
        // A stat in which only the name is not "leave it".
        let body = [
            &[0xff; 39][..],
            &string(name),
            &string(""),
            &string(""),
            &string(""),
        ]
        .concat();
        let size = u16::try_from(body.len()).expect("short");
        let stat = [&size.to_le_bytes()[..], &body].concat();
        let outer = u16::try_from(stat.len()).expect("short").to_le_bytes();
        client.call(kind::WSTAT, &[&carol.to_le_bytes(), &outer, &stat])
    };
    assert_eq!(rename("alice"), err("user already exists"));
    assert_eq!(rename(".."), err(". and .. are illegal names"));
    assert_eq!(rename("carla"), Ok(vec![]));
    assert_eq!(names(&root), ["alice", "eve", "carla", "dave"]);
    for name in ["alice", "eve", "carla", "dave"] {
        let fid = client.walk(top, &[name]).expect("walked");
        assert_eq!(client.call(kind::REMOVE, &[&fid.to_le_bytes()]), Ok(vec![]));
    }
    assert_eq!(root.get("keydb/keys"), b"", "no users, no octets");
}

#[test]
fn the_socket_of_keyfs_refuses_what_is_no_message() {
    let (root, _keyfs, mut client, top) = keyfs(&[User::new("alice", SECRET)]);
    for bytes in [
        &[4, 0, 0, 0][..],
        &[0xff, 0xff, 0xff, 0x7f, 100, 0, 0],
        &[7, 0, 0, 0, 255, 1, 0],
    ] {
        let mut stranger = UnixStream::connect(root.keys_socket()).expect("connected");
        assert!(stranger.put(bytes));
        assert_eq!(stranger.get(), None, "{bytes:?}");
    }
    assert_eq!(client.contents(top, &["alice", "log"]), Ok(b"0".to_vec()));
    let (mut other, _) = dial(&root.keys_socket());
    assert_eq!(other.version(255, "9P2000"), err("message size too small"));
    assert_eq!(client.clunk(4711), err("bad fid"));
    assert_eq!(client.read(top, 0, 1), err("read/write -- on non open fid"));
}
