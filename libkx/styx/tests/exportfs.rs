//! The server as a client of keysrv meets it: every text and limit of keysrv spec 8.1.

mod support;

use styx::message::{DMDIR, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, Stat, Tmessage};
use styx::server::Dialect::Exportfs;
use styx::server::Limits;
use support::{Answer, DIR, Joined, NOW, SECRET, names, refused};

fn attached() -> Joined {
    Joined::attached(Exportfs)
}

#[test]
fn versions() {
    let mut joined = Joined::new(Exportfs);
    assert_eq!(joined.version(63), refused("message size too small"));
    let version = |msize, text: &str| Answer::Version(msize, text.into());
    let other = Tmessage::Version {
        msize: 500,
        version: b"9P1999",
    };
    assert_eq!(joined.ask(other), version(500, "unknown"));
    assert_eq!(joined.attach(0, b"a"), refused("Tversion not seen"));
    assert_eq!(joined.version(8216), version(8216, "9P2000"));
    assert_eq!(joined.version(100_000), version(65_560, "9P2000"));
    let newer = Tmessage::Version {
        msize: 64,
        version: b"9P3000.x",
    };
    assert_eq!(joined.ask(newer), version(64, "9P2000"));
}

#[test]
fn nothing_is_done_before_the_version() {
    let mut joined = Joined::new(Exportfs);
    let no = refused("Tversion not seen");
    assert_eq!(joined.attach(0, b"owner"), no);
    assert_eq!(joined.walk(0, 1, &[]), no);
    assert_eq!(joined.clunk(0), no);
    assert_eq!(joined.ask(Tmessage::Flush { oldtag: 1 }), no);
}

#[test]
fn attaching() {
    let mut joined = Joined::new(Exportfs);
    joined.version(8216);
    let auth = Tmessage::Auth {
        afid: 1,
        uname: b"owner",
        aname: b"",
    };
    assert_eq!(joined.ask(auth), refused("authentication not required"));
    assert_eq!(
        joined.attach(0, b"nobody"),
        refused("nobody is not welcome")
    );
    assert!(matches!(joined.attach(0, b"owner"), Answer::Qid(qid) if qid.kind == 0x80));
    assert_eq!(joined.attach(0, b"owner"), refused("fid in use"));
}

#[test]
fn walking() {
    let mut joined = attached();
    assert_eq!(joined.walk(9, 1, &[]), refused("no such fid"));
    assert_eq!(
        joined.walk(0, 1, &["secret"]),
        Answer::Walk(vec![SECRET as u64])
    );
    assert_eq!(joined.walk(0, 1, &["secret"]), refused("fid in use"));
    // The walk comes first: what is missing is told, not that the fid is taken.
    assert_eq!(
        joined.walk(0, 1, &["nothing"]),
        refused("file does not exist")
    );
    assert_eq!(
        joined.walk(0, 2, &["nothing"]),
        refused("file does not exist")
    );
    assert_eq!(
        joined.walk(0, 2, &["dir", "nothing"]),
        Answer::Walk(vec![DIR as u64])
    );
    assert_eq!(
        joined.clunk(2),
        refused("no such fid"),
        "a short walk makes no fid"
    );
    assert_eq!(joined.walk(1, 2, &["x"]), refused("not a directory"));
    assert_eq!(
        joined.walk(0, 2, &["..", "..", "", ".", "dir"]),
        Answer::Walk(vec![0, 0, 0, 0, 1])
    );
    assert_eq!(
        joined.walk(2, 2, &[".."]),
        Answer::Walk(vec![0]),
        "in place"
    );
    assert_eq!(
        joined.open(2, OREAD),
        Answer::Open(stat_qid(&mut joined, 0), 8192)
    );
    assert_eq!(joined.walk(2, 3, &[]), refused("walk of open fid"));
    assert_eq!(joined.walk(2, 2, &[]), refused("walk of open fid"));
}

fn stat_qid(joined: &mut Joined, fid: u32) -> styx::message::Qid {
    match joined.stat(fid) {
        Answer::Stat(stat) => stat.qid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn opening() {
    let mut joined = attached();
    assert_eq!(joined.open(7, OREAD), refused("no such fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(joined.open(1, 0x0c), refused("bad arg in system call"));
    assert_eq!(joined.open(1, OEXEC), refused("permission denied"));
    assert!(matches!(
        joined.open(1, OWRITE | OTRUNC),
        Answer::Open(_, 8192)
    ));
    assert_eq!(
        joined.open(1, OREAD),
        refused("open/create -- unknown mode")
    );
    joined.walk(0, 2, &["dir"]);
    for mode in [OWRITE, ORDWR, OEXEC, OREAD | OTRUNC, OREAD | ORCLOSE] {
        assert_eq!(
            joined.open(2, mode),
            refused("file is a directory"),
            "{mode:x}"
        );
    }
    joined.walk(0, 3, &["secret"]);
    assert!(matches!(joined.open(3, ORDWR | ORCLOSE), Answer::Open(..)));
    assert_eq!(joined.clunk(3), Answer::Done);
    assert!(
        matches!(joined.walk(0, 3, &["secret"]), Answer::Walk(_)),
        "still there"
    );
    joined.walk(0, 4, &["readonly"]);
    assert_eq!(joined.open(4, OWRITE), refused("permission denied"));
}

#[test]
fn creating() {
    let mut joined = attached();
    assert_eq!(joined.create(7, "x", 0o600, OREAD), refused("no such fid"));
    assert_eq!(
        joined.create(0, "x", 0o600, OREAD),
        refused("mounted directory forbids creation")
    );
    assert_eq!(
        joined.create(0, "..", 0o600, OREAD),
        refused("file name syntax")
    );
    assert_eq!(
        joined.create(0, "a/b", 0o600, OREAD),
        refused("bad character in file name: a/b")
    );
    assert_eq!(
        joined.create(0, "a /'", 0o600, OREAD),
        refused("bad character in file name: 'a /'''")
    );
    joined.opened(1, &[], OREAD);
    assert_eq!(
        joined.create(1, "x", 0o600, OREAD),
        refused("open/create -- unknown mode")
    );
}

#[test]
fn reading() {
    let mut joined = attached();
    assert_eq!(joined.read(7, 0, 1), refused("no such fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(joined.read(1, 0, 1), refused("open/create -- unknown mode"));
    joined.open(1, ORDWR);
    assert_eq!(
        joined.read(1, 0, 8192),
        Answer::Data(b"0123456789".to_vec())
    );
    assert_eq!(joined.read(1, 8, 8192), Answer::Data(b"89".to_vec()));
    assert_eq!(joined.read(1, 10, 8192), Answer::Data(vec![]));
    assert_eq!(
        joined.read(1, 0, 8193),
        refused("read/write -- count too big")
    );
    assert_eq!(joined.read(1, 1 << 63, 1), refused("negative i/o offset"));
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
    let all = joined.read(1, 0, 8192);
    assert_eq!(names(&all), ["dir", "secret", "readonly", "closed"]);
    let Answer::Data(all) = all else { panic!() };
    assert_eq!(joined.read(1, all.len() as u64, 8192), Answer::Data(vec![]));
    assert_eq!(
        joined.read(1, 5, 8192),
        refused("can't seek on a directory")
    );
    // Whole entries only, and from the beginning as often as one likes.
    let one = joined.read(1, 0, 130);
    assert_eq!(names(&one), ["dir", "secret"]);
    let Answer::Data(one) = one else { panic!() };
    assert_eq!(joined.read(1, 0, 20), refused("i/o count too small"));
    assert_eq!(joined.read(1, 0, 0), Answer::Data(vec![]));
    assert_eq!(joined.read(1, 0, 130), Answer::Data(one.clone()));
    let rest = joined.read(1, one.len() as u64, 8192);
    assert_eq!(names(&rest), ["readonly", "closed"]);
}

#[test]
fn writing() {
    let mut joined = attached();
    assert_eq!(joined.write(7, 0, b"x"), refused("no such fid"));
    joined.walk(0, 1, &["secret"]);
    assert_eq!(
        joined.write(1, 0, b"x"),
        refused("open/create -- unknown mode")
    );
    joined.open(1, OWRITE);
    assert_eq!(joined.write(1, 0, b"abc"), Answer::Count(3));
    assert_eq!(joined.write(1, 0, b"bad"), refused("wrong secret"));
    assert_eq!(
        joined.write(1, u64::MAX, b"x"),
        refused("negative i/o offset")
    );
    assert_eq!(
        joined.write(1, 0, &[0; 8193]),
        refused("read/write -- count too big")
    );
    assert_eq!(joined.write(1, 0, &[0; 8192]), Answer::Count(8192));
    joined.opened(2, &["secret"], OREAD);
    assert_eq!(
        joined.write(2, 0, b"x"),
        refused("read/write -- not open in suitable mode")
    );
    joined.opened(3, &[], OREAD);
    assert_eq!(
        joined.write(3, 0, b"x"),
        refused("read/write -- not open in suitable mode")
    );
}

#[test]
fn describing() {
    let mut joined = attached();
    assert_eq!(joined.stat(7), refused("no such fid"));
    let Answer::Stat(root) = joined.stat(0) else {
        panic!()
    };
    assert_eq!((root.mode, root.atime), (DMDIR | 0o755, NOW));
    assert_eq!(joined.wstat(7, &Stat::unchanged()), refused("no such fid"));
    assert_eq!(
        joined.wstat(0, &Stat::unchanged()),
        refused("permission denied")
    );
    for stat in [&b""[..], b"\x01\0\0", &[0; 48]] {
        let wstat = Tmessage::Wstat { fid: 0, stat };
        assert_eq!(joined.ask(wstat), refused("malformed stat buffer"));
    }
}

#[test]
fn removing_forgets_the_fid_either_way() {
    let mut joined = attached();
    assert_eq!(joined.remove(7), refused("no such fid"));
    assert_eq!(joined.remove(0), refused("permission denied"));
    assert_eq!(joined.stat(0), refused("no such fid"));
    joined.attach(0, b"owner");
    joined.walk(0, 1, &["secret"]);
    assert_eq!(joined.remove(1), Answer::Done);
    assert_eq!(joined.clunk(1), refused("no such fid"));
}

#[test]
fn flushing_and_clunking() {
    let mut joined = attached();
    assert_eq!(joined.ask(Tmessage::Flush { oldtag: 77 }), Answer::Done);
    assert_eq!(joined.clunk(0), Answer::Done);
    assert_eq!(joined.clunk(0), refused("no such fid"));
}

#[test]
fn replies_that_do_not_fit() {
    let mut joined = attached();
    joined.version(64);
    // 7 octets, two more and sixteen identities of thirteen.
    assert_eq!(
        joined.walk(0, 1, &[".."; 5]),
        refused("failed to convert R-message")
    );
    assert_eq!(joined.walk(0, 2, &[".."; 4]), Answer::Walk(vec![0; 4]));
}

#[test]
fn fids_are_bounded() {
    let limits = Limits {
        fids: 3,
        ..Limits::default()
    };
    let mut joined = Joined::limited(Exportfs, limits);
    joined.version(8216);
    joined.attach(0, b"owner");
    assert_eq!(joined.walk(0, 1, &[]), Answer::Walk(vec![]));
    assert_eq!(joined.walk(0, 2, &[]), Answer::Walk(vec![]));
    assert_eq!(joined.walk(0, 3, &[]), refused("too many fids"));
    assert_eq!(
        joined.walk(2, 2, &["dir"]),
        Answer::Walk(vec![1]),
        "no new one"
    );
    assert_eq!(joined.clunk(1), Answer::Done);
    assert_eq!(joined.walk(0, 3, &[]), Answer::Walk(vec![]));
}
