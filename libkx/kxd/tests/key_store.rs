//! The data directory cases of `interop-tests/vectors/kxd/http.json`, at function level, and what a
//! key that changes under the reader does.

use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kxd::key_store::{AllowedHosts, ClientsFile, KEY_LIMIT, KeyStore, LIST_LIMIT, LookupError};
use proptest::prelude::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("runtime").block_on(future)
}

struct Place {
    directory: tempfile::TempDir,
    store: KeyStore,
}

impl Place {
    fn new() -> Place {
        Place::in_directory(tempfile::tempdir().expect("temporary directory"))
    }

    /// In memory where possible: a writer must not have to wait for a disk.
    fn in_memory() -> Place {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Place::in_directory(directory.expect("temporary directory"))
    }

    fn in_directory(directory: tempfile::TempDir) -> Place {
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("directory");
        Place {
            store: KeyStore::new(&data),
            directory,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("data").join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Place {
        std::fs::create_dir_all(self.at(path).parent().expect("parent")).expect("directory");
        std::fs::write(self.at(path), content).expect("written");
        self
    }

    fn dir(&self, path: &str) -> &Place {
        std::fs::create_dir_all(self.at(path)).expect("directory");
        self
    }

    fn link(&self, path: &str, target: &str) -> &Place {
        std::fs::create_dir_all(self.at(path).parent().expect("parent")).expect("directory");
        symlink(target, self.at(path)).expect("link");
        self
    }

    fn fifo(&self, path: &str) -> &Place {
        std::fs::create_dir_all(self.at(path).parent().expect("parent")).expect("directory");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, self.at(path), kind, mode, 0).expect("fifo");
        self
    }

    /// The text of the look-up's error with the place cut off, empty if there is none.
    fn lookup(&self, key_path: &[u8]) -> String {
        match self.store.lookup(key_path) {
            Ok(_) => String::new(),
            Err(LookupError::Unknown) => "unknown".to_owned(),
            Err(error) => self.strip(&error),
        }
    }

    fn strip(&self, text: &dyn std::fmt::Display) -> String {
        text.to_string()
            .replace(&self.directory.path().display().to_string(), "DIR")
    }
}

#[test]
fn keys_are_found_or_not_as_by_the_original() {
    let place = Place::new();
    place
        .file("k/key", "secret")
        .file("d/key", "")
        .file("d/e/key", "x")
        .file("plainfile", "");
    place
        .dir("nokey")
        .dir("keyisdir/key")
        .dir("a/b")
        .fifo("fifokey/key");
    place
        .link("brokenlink/key", "nowhere")
        .link("badlink", "nowhere")
        .link("loop/key", "key");
    place
        .link("loopdir", "loopdir")
        .link("dirlink", "k")
        .link("linked/key", "../k/key");
    place
        .link("throughfile", "plainfile/x")
        .link("devkey/key", "/dev/null");
    let outside = place.directory.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::write(outside.join("key"), "o").expect("written");
    place.link("out", "../outside");

    for good in ["k", "d", "d/e", "dirlink", "linked", "out"] {
        assert_eq!(place.lookup(good.as_bytes()), "", "{good}");
    }
    for unknown in [
        "nope",
        "nope/x",
        "nokey",
        "plainfile",
        "k/key",
        "keyisdir",
        "a",
        "a/b",
        "brokenlink",
        "badlink",
        "badlink/x",
        "devkey",
        "fifokey",
        "k ",
        "K",
    ] {
        assert_eq!(place.lookup(unknown.as_bytes()), "unknown", "{unknown}");
    }
    let (long, deep) = ("n".repeat(256), ["d"; 2100].join("/"));
    for (key_path, text) in [
        ("plainfile/x", "stat DIR/data/plainfile/x: not a directory"),
        ("k/key/x", "stat DIR/data/k/key/x: not a directory"),
        (
            "loop",
            "stat DIR/data/loop/key: too many levels of symbolic links",
        ),
        (
            "loopdir",
            "stat DIR/data/loopdir: too many levels of symbolic links",
        ),
        (
            "loopdir/x",
            "stat DIR/data/loopdir/x: too many levels of symbolic links",
        ),
        ("throughfile", "stat DIR/data/throughfile: not a directory"),
        ("k\0", "stat DIR/data/k\\x00: invalid argument"),
        ("\0", "stat DIR/data/\\x00: invalid argument"),
        (&long, &format!("stat DIR/data/{long}: file name too long")),
        (&deep, &format!("stat DIR/data/{deep}: file name too long")),
    ] {
        assert_eq!(place.lookup(key_path.as_bytes()), text);
    }
    assert_eq!(place.lookup(b"\xff"), "unknown");
    assert_eq!(
        place.lookup(b"plainfile/\xff\n"),
        "stat DIR/data/plainfile/\\xff\\n: not a directory",
        "safe for the log"
    );
}

#[test]
fn the_key_path_never_leaves_the_directory() {
    let place = Place::new();
    place.file("k/key", "x");
    std::fs::write(place.directory.path().join("key"), "outside").expect("written");
    for key_path in [
        "..",
        "../data/k",
        "k/..",
        "k/../k",
        ".",
        "",
        "/k",
        "k/",
        "k//",
        "/",
    ] {
        assert!(!place.lookup(key_path.as_bytes()).is_empty(), "{key_path}");
    }
}

#[test]
fn the_data_directory_may_be_missing_or_wrong() {
    let place = Place::new();
    let store = KeyStore::new(place.at("not-there"));
    assert!(matches!(store.lookup(b"k"), Err(LookupError::Unknown)));
    place.file("file", "");
    let error = KeyStore::new(place.at("file"))
        .lookup(b"k")
        .expect_err("a file");
    assert_eq!(place.strip(&error), "stat DIR/data/file/k: not a directory");
    place.file("not-there/k/key", "x");
    store.lookup(b"k").expect("it came later");
}

#[test]
fn configuration_files_are_read_with_the_originals_texts() {
    let place = Place::new();
    place
        .file("k/key", b"secret\0\xff\n")
        .file("k/allowed_clients", "pem");
    place.file("k/allowed_hosts", "127.0.0.1\r\n\u{a0}::1\n");
    place.file("k/email_to", " a@b.c \n\nno address\n#x@y\r\nd@e f");
    let found = place.store.lookup(b"k").expect("found");
    assert_eq!(
        found
            .allowed_clients()
            .expect("read")
            .as_deref()
            .map(ClientsFile::text),
        Some(&b"pem"[..])
    );
    let hosts = found.allowed_hosts().expect("read").expect("there");
    assert!(hosts.lists_address("127.0.0.1") && hosts.lists_address("::1"));
    assert_eq!(
        found.email_to().expect("read"),
        [&b"a@b.c"[..], b"#x@y", b"d@e f"]
    );
    assert_eq!(
        run(found.key()).expect("read").as_slice(),
        b"secret\0\xff\n"
    );

    place.file("bare/key", "");
    let bare = place.store.lookup(b"bare").expect("found");
    assert!(bare.allowed_clients().expect("absent").is_none());
    assert!(bare.allowed_hosts().expect("absent").is_none());
    assert!(bare.email_to().expect("absent").is_empty());
    assert!(run(bare.key()).expect("empty is a key, too").is_empty());

    place
        .file("odd/key", "x")
        .dir("odd/allowed_clients")
        .dir("odd/allowed_hosts");
    place.link("odd/email_to", "email_to");
    let odd = place.store.lookup(b"odd").expect("found");
    let texts = [
        place.strip(&odd.allowed_clients().expect_err("a directory")),
        place.strip(&odd.allowed_hosts().expect_err("a directory")),
        place.strip(&odd.email_to().expect_err("a loop")),
    ];
    assert_eq!(
        texts,
        [
            "read DIR/data/odd/allowed_clients: is a directory",
            "read DIR/data/odd/allowed_hosts: is a directory",
            "open DIR/data/odd/email_to: too many levels of symbolic links",
        ]
    );
}

#[test]
fn devices_and_fifos_do_not_block_and_size_is_bounded() {
    let place = Place::new();
    place
        .file("k/key", "x")
        .fifo("k/allowed_hosts")
        .link("k/allowed_clients", "/dev/zero");
    place.link("k/email_to", "/dev/null");
    let found = place.store.lookup(b"k").expect("found");
    let error = found.allowed_hosts().expect_err("a fifo");
    assert_eq!(
        place.strip(&error),
        "read DIR/data/k/allowed_hosts: not a regular file"
    );
    let error = found.allowed_clients().expect_err("a device");
    assert_eq!(
        place.strip(&error),
        "read DIR/data/k/allowed_clients: not a regular file"
    );
    assert!(
        found
            .email_to()
            .expect("people link lists to /dev/null")
            .is_empty()
    );

    let sparse = |path: &str, size: u64| {
        let _ = std::fs::remove_file(place.at(path));
        let file = std::fs::File::create(place.at(path)).expect("created");
        file.set_len(size).expect("sparse");
    };
    sparse("k/key", KEY_LIMIT + 1);
    sparse("k/email_to", LIST_LIMIT as u64 + 1);
    let error = run(found.key()).expect_err("too large");
    assert_eq!(place.strip(&error), "read DIR/data/k/key: file too large");
    let error = found.email_to().expect_err("too large");
    assert_eq!(
        place.strip(&error),
        "read DIR/data/k/email_to: file too large"
    );
}

#[test]
fn a_key_that_vanishes_after_the_check_is_an_error() {
    let place = Place::new();
    place.file("k/key", "x");
    let found = place.store.lookup(b"k").expect("found");
    std::fs::remove_file(place.at("k/key")).expect("removed");
    let error = run(found.key()).expect_err("gone");
    assert_eq!(
        place.strip(&error),
        "open DIR/data/k/key: no such file or directory"
    );
    place.dir("k/key");
    let error = run(found.key()).expect_err("a directory now");
    assert_eq!(place.strip(&error), "read DIR/data/k/key: is a directory");
}

/// Reads the key again and again while `write` replaces it by turns with all `a` and all `b`.
/// Returns how many readings gave a key.
fn torn(write: impl Fn(&Path, &[u8]) + Sync, size: usize, duration: Duration) -> usize {
    let place = Place::in_memory();
    let contents = [vec![b'a'; size], vec![b'b'; size]];
    place.file("k/key", &contents[0]);
    let (path, stop) = (place.at("k/key"), AtomicBool::new(false));
    let (mut good, mut mixture) = (0, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for content in contents.iter().cycle() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                write(&path, content);
            }
        });
        let start = Instant::now();
        while start.elapsed() < duration && mixture.is_none() {
            let Ok(found) = place.store.lookup(b"k") else {
                continue;
            };
            let Ok(key) = run(found.key()) else { continue };
            if key.ct_eq(&contents[0]) || key.ct_eq(&contents[1]) {
                good += 1;
            } else {
                mixture = Some(key.len());
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(mixture, None, "a mixture, or a part, of {size} octets");
    good
}

#[test]
fn a_key_replaced_by_renaming_is_the_old_or_the_new_one() {
    let replace = |path: &Path, content: &[u8]| {
        let new = path.with_extension("new");
        std::fs::write(&new, content).expect("written");
        std::fs::rename(&new, path).expect("renamed");
    };
    assert!(
        torn(replace, 100_000, Duration::from_secs(2)) > 5,
        "each reading gives a key"
    );
}

#[test]
fn a_key_written_in_place_is_waited_for() {
    let always = |path: &Path, content: &[u8]| {
        std::fs::write(path, content).expect("written");
    };
    torn(always, 300_000, Duration::from_secs(3));
    let with_pauses = |path: &Path, content: &[u8]| {
        std::fs::write(path, content).expect("written");
        std::thread::sleep(Duration::from_millis(300));
    };
    assert!(
        torn(with_pauses, 300_000, Duration::from_secs(2)) > 3,
        "there is time between"
    );
}

#[test]
fn allowed_clients_that_change_count_at_once_although_they_are_kept() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("renamed over", |path| {
            let new = path.with_extension("new");
            std::fs::write(&new, "new").expect("written");
            std::fs::rename(&new, path).expect("renamed");
        }),
        ("written in place", |path| {
            std::fs::write(path, "new").expect("written");
        }),
        ("written in place, its time set back", |path| {
            let before = std::fs::metadata(path).expect("metadata");
            std::fs::write(path, "new").expect("written");
            let file = std::fs::File::options().write(true).open(path);
            let time = before.modified().expect("a time");
            file.and_then(|file| file.set_modified(time)).expect("set");
        }),
        ("linked", |path| {
            let new = path.with_extension("new");
            std::fs::write(&new, "new").expect("written");
            std::fs::remove_file(path).expect("removed");
            symlink(&new, path).expect("linked");
        }),
        ("removed", |path| {
            std::fs::remove_file(path).expect("removed");
        }),
    ];
    let place = Place::new();
    for (n, _) in changes.iter().enumerate() {
        place
            .file(&format!("{n}/key"), "x")
            .file(&format!("{n}/allowed_clients"), "old");
    }
    // Only what has not changed for three seconds is kept.
    std::thread::sleep(Duration::from_millis(3300));
    for (n, (how, change)) in changes.iter().enumerate() {
        let read = || {
            let found = place.store.lookup(n.to_string().as_bytes());
            found.expect("found").allowed_clients().expect("read")
        };
        let [_, second, third] = [(); 3].map(|()| read().expect("it is there"));
        assert_eq!(second.text(), b"old");
        assert!(std::sync::Arc::ptr_eq(&second, &third), "it is not kept");
        change(&place.at(&format!("{n}/allowed_clients")));
        for _ in 0..3 {
            let text = read().map(|file| file.text().to_vec());
            let wanted = (*how != "removed").then(|| b"new".to_vec());
            assert_eq!(text, wanted, "{how}");
        }
    }
}

#[test]
fn look_ups_are_relative_to_descriptors() {
    const MARK: &str = "KX_TEST_LOOK_UP";
    if let Some(data) = std::env::var_os(MARK) {
        let found = KeyStore::new(data).lookup(b"d/e").expect("found");
        found.allowed_clients().expect("read");
        run(found.key()).expect("read");
        return;
    }
    let place = Place::new();
    place.file("d/e/key", "x").file("d/e/allowed_clients", "y");
    let trace = place.directory.path().join("trace");
    let result = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=%file", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "look_ups_are_relative_to_descriptors",
            "--test-threads=1",
        ])
        .env(MARK, place.store.root())
        .output();
    let Ok(output) = result else {
        eprintln!("no strace on this machine: not tested");
        return;
    };
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    if !text.contains("execve(") {
        eprintln!("strace may not trace here: not tested");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let root = format!("\"{}", place.store.root().display());
    let whole = text.lines().filter(|line| line.contains(&root)).count();
    assert_eq!(
        whole, 1,
        "the full path is named once, to open the data directory:\n{text}"
    );
    for (call, name, flags) in [
        ("openat", "d/e", "|O_PATH|O_DIRECTORY"),
        ("newfstatat", "key", "S_IFREG"),
        ("openat", "key", "O_RDONLY|O_NOCTTY|O_NONBLOCK|"),
        ("openat", "allowed_clients", "O_RDONLY|O_NOCTTY|O_NONBLOCK|"),
    ] {
        let fits = |line: &str| {
            let arguments = line
                .split_once(&format!(" {call}("))
                .map(|(_, arguments)| arguments);
            arguments
                .and_then(|arguments| arguments.split_once(", "))
                .is_some_and(|(descriptor, rest)| {
                    descriptor.parse::<u32>().is_ok()
                        && rest.starts_with(&format!("\"{name}\", "))
                        && rest.contains(flags)
                })
        };
        assert!(text.lines().any(fits), "{call}(FD, {name}\n{text}");
    }
}

proptest! {
    #[test]
    fn any_allowed_hosts_file_is_read(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let hosts = AllowedHosts::parse(&text);
        for name in hosts.names() {
            prop_assert!(!name.is_empty() && name.len() <= 254);
            prop_assert!(name.parse::<std::net::IpAddr>().is_err());
        }
        prop_assert!(!hosts.decide("", &[]));
    }

    #[test]
    fn an_address_fits_only_its_own_text(
        octets in any::<[u8; 4]>(),
        segments in any::<[u16; 8]>(),
        other in any::<[u8; 4]>(),
        around in "[ \t\r\u{a0}\u{2003}]{0,3}",
    ) {
        let four = std::net::Ipv4Addr::from(octets).to_string();
        let six = std::net::Ipv6Addr::from(segments).to_string();
        let text = format!("{around}{four}{around}\n{six}{around}\n");
        let hosts = AllowedHosts::parse(text.as_bytes());
        prop_assert!(hosts.lists_address(&four));
        prop_assert!(hosts.lists_address(&six));
        let other_text = std::net::Ipv4Addr::from(other).to_string();
        prop_assert_eq!(hosts.lists_address(&other_text), other == octets);
        prop_assert!(hosts.names().is_empty());
    }

    #[test]
    fn any_key_path_is_answered(key_path in proptest::collection::vec(any::<u8>(), 0..60)) {
        let store = KeyStore::new(std::env::temp_dir());
        let _ = store.lookup(&key_path);
        let missing = KeyStore::new("/nonexistent-data-directory");
        prop_assert!(missing.lookup(&key_path).is_err());
    }
}
