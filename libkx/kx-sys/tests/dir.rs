//! Look-ups relative to open directories.

use std::os::unix::fs::symlink;

use kx_sys::dir::{self, Dir, Kind, Stamp};

#[test]
fn one_request_sees_one_directory() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (old, new) = (place.path().join("k"), place.path().join("new"));
    for (path, text) in [(&old, "old"), (&new, "new")] {
        std::fs::create_dir(path).expect("directory");
        std::fs::write(path.join("key"), text).expect("written");
    }
    let root = Dir::open(place.path()).expect("opened");
    let key_directory = root.open_dir(b"k").expect("opened");
    std::fs::rename(&old, place.path().join("away")).expect("moved");
    std::fs::rename(&new, &old).expect("moved");
    let content = key_directory
        .open_file(b"key")
        .expect("opened")
        .read_bounded(10);
    assert_eq!(
        content.expect("read"),
        b"old",
        "the directory that was opened"
    );
    let again = root.open_dir(b"k").and_then(|dir| dir.open_file(b"key"));
    assert_eq!(
        again.expect("opened").read_bounded(10).expect("read"),
        b"new"
    );
}

#[test]
fn only_plain_names_are_looked_up() {
    let place = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir(place.path().join("d")).expect("directory");
    let root = Dir::open(place.path()).expect("opened");
    for name in [&b""[..], b".", b"..", b"d/d", b"/", b"/etc", b"d\0", b"d/"] {
        let codes = [
            root.open_dir(name).expect_err("refused").raw_os_error(),
            root.open_file(name).expect_err("refused").raw_os_error(),
            root.stat(name).expect_err("refused").raw_os_error(),
        ];
        assert_eq!(codes, [Some(libc::EINVAL); 3], "{name:?}");
    }
    assert_eq!(
        root.stat(b"...").expect_err("not there").raw_os_error(),
        Some(libc::ENOENT)
    );
}

#[test]
fn several_names_at_once_are_plain_ones_too() {
    let place = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir_all(place.path().join("a/b")).expect("directories");
    std::fs::write(place.path().join("a/b/file"), "x").expect("written");
    let root = Dir::open(place.path()).expect("opened");
    let below = root.open_dir_below(b"a/b").expect("opened");
    let text = below.open_file(b"file").expect("opened").read_bounded(10);
    assert_eq!(text.expect("read"), b"x");
    for names in [
        &b""[..],
        b"/a",
        b"a/",
        b"a//b",
        b"a/./b",
        b"a/../a",
        b"..",
        b"../x",
        b"a/b\0",
        b"/etc",
    ] {
        let refused = root.open_dir_below(names).expect_err("refused");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{names:?}");
    }
    let code = |names| root.open_dir_below(names).expect_err("no directory");
    assert_eq!(code(b"a/c").raw_os_error(), Some(libc::ENOENT));
    assert_eq!(code(b"a/b/file").raw_os_error(), Some(libc::ENOTDIR));
}

#[test]
fn a_file_of_known_size_is_read_to_its_end() {
    let place = tempfile::tempdir().expect("temporary directory");
    let root = Dir::open(place.path()).expect("opened");
    for size in [0usize, 1, 8191, 8192, 8193, 20_000] {
        std::fs::write(place.path().join("file"), vec![b'x'; size]).expect("written");
        // The size is a hint, and may be out of date.
        for told in [0, 1, size as u64, 8192, 1 << 40] {
            let read = |limit| {
                let file = root.open_file(b"file").expect("opened");
                file.read_expected(limit, told)
            };
            if told as usize == size || told == 0 || told > size as u64 {
                assert_eq!(read(size).expect("read").len(), size, "{told}");
            }
            if size > 0 {
                assert!(read(size - 1).is_err());
            }
        }
    }
}

#[test]
fn kinds_links_and_errors() {
    let place = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("file"), "12345").expect("written");
    std::fs::create_dir(at("dir")).expect("directory");
    for (link, target) in [
        ("to-file", "file"),
        ("null", "/dev/null"),
        ("loop", "loop"),
        ("dangling", "nowhere"),
    ] {
        symlink(target, at(link)).expect("link");
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("fifo");
    let root = Dir::open(place.path()).expect("opened");
    let stat = |name: &str| root.stat(name.as_bytes());
    let code = |name: &str| stat(name).expect_err("refused").raw_os_error();
    assert_eq!(stat("file").expect("there").kind, Kind::Regular);
    assert_eq!(stat("to-file").expect("there").size, 5);
    assert_eq!(stat("dir").expect("there").kind, Kind::Directory);
    assert!(stat("null").expect("there").is_null_device());
    assert!(!stat("file").expect("there").is_null_device());
    assert_eq!(stat("fifo").expect("there").kind, Kind::Fifo);
    assert_eq!(code("loop"), Some(libc::ELOOP));
    assert_eq!(code("dangling"), Some(libc::ENOENT));
    assert_eq!(code(&"n".repeat(256)), Some(libc::ENAMETOOLONG));
    // Would wait for ever without O_NONBLOCK.
    assert_eq!(
        root.open_file(b"fifo")
            .expect("opened")
            .metadata()
            .expect("stat")
            .kind,
        Kind::Fifo
    );
    let error = root
        .open_file(b"dir")
        .expect("opened")
        .read_bounded(10)
        .expect_err("read");
    assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
    let error = root
        .open_file(b"file")
        .expect("opened")
        .read_bounded(4)
        .expect_err("too big");
    assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    assert_eq!(
        root.open_dir(b"file").expect_err("a file").raw_os_error(),
        Some(libc::ENOTDIR)
    );
    let mut names = root.names(100).expect("listed");
    names.sort();
    assert_eq!(
        names,
        ["dangling", "dir", "fifo", "file", "loop", "null", "to-file"]
    );
    assert_eq!(root.names(2).expect("listed").len(), 2);
    dir::check_executable(std::path::Path::new("/bin/sh")).expect("executable");
    dir::check_executable(&at("file")).expect_err("not executable");
}

#[test]
fn reading_at_a_place_ends_with_the_file() {
    let place = tempfile::tempdir().expect("temporary directory");
    std::fs::write(place.path().join("f"), "0123456789").expect("written");
    let file = Dir::open(place.path())
        .and_then(|root| root.open_file(b"f"))
        .expect("opened");
    let mut buffer = [0u8; 6];
    assert_eq!(file.read_at(&mut buffer, 7).expect("read"), 3);
    assert_eq!(&buffer, b"789\0\0\0");
    assert_eq!(file.read_at(&mut buffer, 10).expect("read"), 0);
    assert_eq!(file.read_at(&mut [], 0).expect("read"), 0);
}

#[test]
fn stamps_are_subtracted_without_overflow() {
    let at = |seconds, nanoseconds| Stamp {
        seconds,
        nanoseconds,
    };
    assert_eq!(
        at(10, 5_000_000).milliseconds_since(&at(9, 995_000_000)),
        10
    );
    assert_eq!(
        at(9, 995_000_000).milliseconds_since(&at(10, 5_000_000)),
        -10
    );
    assert_eq!(
        at(i64::MAX, 0).milliseconds_since(&at(i64::MIN, 0)),
        i64::MAX
    );
    assert!(Stamp::now().seconds > 1_700_000_000);
}
