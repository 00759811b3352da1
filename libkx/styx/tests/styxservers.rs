//! The server as a client of keyfs meets it: every text and limit of keysrv spec 8.2.

mod support;

use styx::message::{DMDIR, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, Stat, Tmessage};
use styx::server::Dialect::Styxservers;
use styx::server::HangUp;
use support::{Answer, CLOSED, DIR, INNER, Joined, SECRET, names, refused};

fn attached() -> Joined {
    Joined::attached(Styxservers)
}

#[test]
fn versions() {
    let mut joined = Joined::new(Styxservers);
    assert_eq!(joined.clunk(0), refused("Tversion not seen"));
    assert_eq!(joined.version(255), refused("message size too small"));
    let version = |msize, text: &str| Answer::Version(msize, text.into());
    for (text, answer) in [
        (&b"9P2000x"[..], version(8216, "unknown")),
        (b"9P1999", version(8216, "unknown")),
        (b"Q", version(8216, "unknown")),
        (b"9P2000.u", version(8216, "9P2000")),
    ] {
        let asked = Tmessage::Version {
            msize: 100_000,
            version: text,
        };
        assert_eq!(joined.ask(asked), answer);
    }
}

#[test]
fn attaching() {
    let mut joined = attached();
    let auth = Tmessage::Auth {
        afid: 1,
        uname: b"owner",
        aname: b"",
    };
    assert_eq!(joined.ask(auth), refused("authentication not required"));
    assert_eq!(joined.attach(0, b"owner"), refused("fid already in use"));
}

#[test]
fn walking() {
    let mut joined = attached();
    assert_eq!(joined.walk(9, 1, &[]), refused("bad fid"));
    assert_eq!(
        joined.walk(0, 1, &["secret"]),
        Answer::Walk(vec![SECRET as u64])
    );
    // The new fid is looked at first.
    assert_eq!(
        joined.walk(0, 1, &["nothing"]),
        refused("fid already in use")
    );
    assert_eq!(
        joined.walk(0, 2, &["nothing"]),
        refused("file does not exist")
    );
    assert_eq!(joined.walk(0, 2, &[""]), refused("file does not exist"));
    assert_eq!(joined.walk(0, 2, &["."]), refused("file does not exist"));
    assert_eq!(
        joined.walk(0, 2, &["dir", "nothing"]),
        Answer::Walk(vec![DIR as u64])
    );
    assert_eq!(
        joined.clunk(2),
        refused("bad fid"),
        "a short walk makes no fid"
    );
    assert_eq!(joined.walk(1, 2, &["x"]), refused("not a directory"));
    assert_eq!(
        joined.walk(0, 2, &["closed", "x"]),
        Answer::Walk(vec![CLOSED as u64])
    );
    joined.walk(0, 2, &["closed"]);
    assert_eq!(
        joined.walk(2, 3, &["x"]),
        refused("permission denied"),
        "not to be searched"
    );
    assert_eq!(
        joined.walk(0, 3, &["dir", "inner"]),
        Answer::Walk(vec![DIR as u64, INNER as u64])
    );
    joined.open(3, OREAD);
    assert_eq!(joined.walk(3, 4, &[]), refused("fid already opened"));
}

#[test]
fn opening() {
    let mut joined = attached();
    assert_eq!(joined.open(7, OREAD), refused("bad fid"));
    joined.walk(0, 1, &["secret"]);
    for mode in [OEXEC, 0x20, 0x80, 0xff] {
        assert_eq!(joined.open(1, mode), refused("bad argument"), "{mode:x}");
    }
    assert!(matches!(
        joined.open(1, OWRITE | OTRUNC),
        Answer::Open(_, 8192)
    ));
    assert_eq!(joined.open(1, OREAD), refused("fid already opened"));
    joined.walk(0, 2, &["dir"]);
    for mode in [OWRITE, ORDWR, OREAD | OTRUNC] {
        assert_eq!(
            joined.open(2, mode),
            refused("permission denied"),
            "{mode:x}"
        );
    }
    joined.walk(0, 3, &["readonly"]);
    assert_eq!(joined.open(3, OWRITE), refused("permission denied"));
    // Removing on close wants the right to write the directory; the root has none above it.
    assert_eq!(
        joined.open(0, OREAD | ORCLOSE),
        refused("permission denied")
    );
    assert!(matches!(joined.open(3, OREAD | ORCLOSE), Answer::Open(..)));
    assert_eq!(joined.clunk(3), Answer::Done);
    assert!(
        matches!(joined.walk(0, 3, &["readonly"]), Answer::Walk(_)),
        "and does nothing"
    );
}

#[test]
fn permissions_go_by_the_name_of_the_attach() {
    let mut joined = Joined::new(Styxservers);
    joined.version(8216);
    joined.attach(0, b"stranger");
    joined.walk(0, 1, &["secret"]);
    assert_eq!(joined.open(1, OREAD), refused("permission denied"));
    joined.walk(0, 2, &["readonly"]);
    assert!(matches!(joined.open(2, OREAD), Answer::Open(..)));
    assert_eq!(
        joined.create(0, "new", 0o600, OREAD),
        refused("permission denied")
    );
    assert!(matches!(joined.attach(5, b"staff"), Answer::Qid(_)));
    joined.walk(5, 6, &["secret"]);
    assert!(
        matches!(joined.open(6, ORDWR), Answer::Open(..)),
        "by the group"
    );
}

#[test]
fn creating() {
    let mut joined = attached();
    assert_eq!(joined.create(7, "new", 0o600, OREAD), refused("bad fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(
        joined.create(1, "new", 0o600, OREAD),
        refused("not a directory")
    );
    for (name, text) in [
        ("", "bad character in file name"),
        ("a/b", "bad character in file name"),
        ("a\0", "bad character in file name"),
        (".", ". and .. are illegal names"),
        ("..", ". and .. are illegal names"),
        ("secret", "file already exists"),
        ("x", "mounted directory forbids creation"),
    ] {
        assert_eq!(
            joined.create(0, name, 0o600, OREAD),
            refused(text),
            "{name}"
        );
    }
    assert_eq!(
        joined.create(0, "new", 0o600, OEXEC),
        refused("bad argument")
    );
    assert!(matches!(
        joined.create(0, "new", DMDIR | 0o700, OREAD),
        Answer::Open(..)
    ));
    // The fid stands for the new directory now, and is open.
    assert_eq!(
        joined.create(0, "new", 0o600, OREAD),
        refused("fid already opened")
    );
    assert_eq!(joined.read(0, 0, 100), Answer::Data(vec![]));
}

#[test]
fn reading() {
    let mut joined = attached();
    assert_eq!(joined.read(7, 0, 1), refused("bad fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(
        joined.read(1, 0, 1),
        refused("read/write -- on non open fid")
    );
    joined.open(1, OREAD);
    assert_eq!(joined.read(1, 2, 3), Answer::Data(b"234".to_vec()));
    let text = "read/write -- count negative or exceeds msgsize";
    assert_eq!(joined.read(1, 0, 8193), refused(text));
    assert_eq!(joined.read(1, 0, u32::MAX), refused(text));
    assert_eq!(
        joined.read(1, 1 << 63, 1),
        refused("read/write -- bad offset")
    );
    joined.opened(2, &["secret"], OWRITE);
    assert_eq!(
        joined.read(2, 0, 1),
        refused("read/write -- not open in suitable mode")
    );
}

#[test]
fn reading_directories() {
    let mut joined = attached();
    joined.opened(1, &[], OREAD);
    let whole = joined.read(1, 0, 8192);
    assert_eq!(names(&whole), ["dir", "secret", "readonly", "closed"]);
    let Answer::Data(whole) = whole else { panic!() };
    // In pieces, each of whole entries.
    let mut pieces = Vec::new();
    loop {
        let Answer::Data(piece) = joined.read(1, pieces.len() as u64, 100) else {
            panic!()
        };
        if piece.is_empty() {
            break;
        }
        pieces.extend(piece);
    }
    assert_eq!(pieces, whole);
    assert_eq!(joined.read(1, 0, 10), Answer::Data(vec![]), "no entry fits");
    // From the middle of an entry: the next ones.
    assert_eq!(
        names(&joined.read(1, 1, 8192)),
        ["secret", "readonly", "closed"]
    );
    let first = joined.read(1, 0, 80);
    assert_eq!(names(&first), ["dir"]);
    let Answer::Data(first) = first else { panic!() };
    joined.read(1, 0, 8192);
    let after = joined.read(1, first.len() as u64, 8192);
    assert_eq!(
        names(&after),
        ["secret", "readonly", "closed"],
        "at a border"
    );
}

#[test]
fn writing() {
    let mut joined = attached();
    assert_eq!(joined.write(7, 0, b"x"), refused("bad fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(
        joined.write(1, 0, b"x"),
        refused("read/write -- on non open fid")
    );
    joined.open(1, OWRITE);
    assert_eq!(joined.write(1, 0, b"abc"), Answer::Count(3));
    assert_eq!(joined.write(1, 0, b""), Answer::Count(0), "emptied");
    assert_eq!(
        joined.write(1, 1 << 63, b"x"),
        refused("read/write -- bad offset")
    );
    joined.opened(2, &["secret"], OREAD);
    assert_eq!(
        joined.write(2, 0, b"x"),
        refused("read/write -- not open in suitable mode")
    );
    joined.opened(3, &[], OREAD);
    assert_eq!(
        joined.write(3, 0, b"x"),
        refused("permission denied"),
        "a directory"
    );
}

#[test]
fn describing_and_removing() {
    let mut joined = attached();
    assert_eq!(joined.stat(7), refused("bad fid"));
    assert_eq!(
        joined.wstat(7, &Stat::unchanged()),
        refused("permission denied")
    );
    assert_eq!(
        joined.wstat(0, &Stat::unchanged()),
        refused("permission denied")
    );
    let renamed = Stat {
        name: b"other".to_vec(),
        ..Stat::unchanged()
    };
    assert_eq!(joined.wstat(0, &renamed), Answer::Done);
    assert_eq!(joined.0.tree().deeds, ["rename 0"]);
    assert_eq!(joined.remove(7), refused("bad fid"));
    assert_eq!(joined.remove(0), refused("permission denied"));
    assert_eq!(joined.clunk(0), refused("bad fid"));
}

#[test]
fn a_bad_entry_is_a_bad_message() {
    use styx::client::Call;
    use styx::message::{Malformed, Request};
    let mut joined = attached();
    let mut request = Default::default();
    let body = Tmessage::Wstat { fid: 0, stat: b"x" };
    Request { tag: 1, body }.build(&mut request).expect("built");
    let hung_up = joined.call(request.as_slice(), &mut Default::default());
    assert_eq!(hung_up, Err(HangUp::Malformed(Malformed::Short)));
}

#[test]
fn replies_that_do_not_fit() {
    let mut joined = attached();
    joined.version(256);
    let long = "x".repeat(250);
    joined.0.tree_mut().nodes[DIR].name = Box::leak(long.into_boxed_str());
    joined.walk(0, 1, &[]);
    joined.0.tree_mut().nodes[0].name = joined.0.tree().nodes[DIR].name;
    assert_eq!(joined.stat(1), refused("Styx reply didn't fit"));
}
