//! The database on disk: every step of a change fails once, and the power goes after every step
//! (keysrv spec 10.5).
#![allow(unreachable_pub)]

#[path = "support/disk.rs"]
mod disk;

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use disk::{Disk, Fault};
use keyfs_db::{Change, Database, File, Key};
use keysrv::keyfs::store::{ChangeError, OpenError, Store};
use kx_sys::file_replacement::Steps;

const NAME: &str = "keys";

fn key() -> Key {
    Key::from_password(b"master")
}

/// Two users, one with a secret.
fn old() -> Database {
    let mut database = Database::default();
    for name in ["alice", "bob"] {
        let name = name.into();
        database.apply(&Change::Create { name }).expect("made");
    }
    database
        .apply(&secret(&database, "alice", b"old"))
        .expect("set");
    database
}

fn secret(database: &Database, name: &str, data: &[u8]) -> Change {
    Change::Write {
        user: database.find(name.as_bytes()).expect("there"),
        file: File::Secret,
        data: data.to_vec().into(),
    }
}

/// For comparing: a database has no other face that shows all of it.
fn plain(database: &Database) -> Vec<u8> {
    database.encode(&key(), [0; 16]).expect("encoded")
}

fn decoded(octets: &[u8]) -> Option<Vec<u8>> {
    let database = Database::decode(&key(), octets).ok()?;
    Some(plain(&database))
}

fn store(disk: &Disk) -> Store {
    let content = disk.read(NAME).expect("there");
    let steps = Box::new(disk.clone());
    Store::with(
        steps,
        Path::new("/k/keys"),
        OsStr::new(NAME),
        key(),
        &content,
    )
    .expect("opened")
}

/// A change at whose every step the fault happens, and what has to be true then.
fn every_step(fault: Fault, check: impl Fn(usize, &Disk, &Store, Result<(), ChangeError>)) {
    for step in 1..100 {
        let disk = Disk::with(NAME, &old().encode(&key(), [1; 16]).expect("encoded"));
        disk.state().piece = 20;
        let store = store(&disk);
        disk.fail_at(step, fault);
        let change = secret(&store.database(), "alice", b"new");
        let result = store.change(change).map(|_| ());
        check(step, &disk, &store, result);
        if !disk.heal() {
            // create, some writes, sync, rename, sync of the directory
            assert!(step > 6, "{step}");
            return;
        }
        // What is healed works, and nothing is left over.
        let change = secret(&store.database(), "bob", b"after");
        store.change(change).expect("changed");
        assert_eq!(
            decoded(&disk.read(NAME).expect("there")),
            Some(plain(&store.database()))
        );
        assert_eq!(disk.names(), [NAME], "{fault:?} at {step}");
    }
    panic!("no change without a fault");
}

fn new() -> Database {
    let mut database = old();
    database
        .apply(&secret(&database, "alice", b"new"))
        .expect("set");
    database
}

/// Memory is what everybody sees on the disk.
fn same(disk: &Disk, store: &Store) -> Vec<u8> {
    let memory = plain(&store.database());
    assert_eq!(
        decoded(&disk.read(NAME).expect("there")),
        Some(memory.clone())
    );
    memory
}

#[test]
fn a_step_that_fails_leaves_the_old_state() {
    every_step(Fault::Fails, |step, disk, store, result| {
        let memory = same(disk, store);
        match result {
            Ok(()) => assert_eq!(memory, plain(&new())),
            Err(error) => {
                assert_eq!(memory, plain(&old()), "at {step}");
                let text = "error writing to /k/keys: input/output error";
                assert_eq!(error.to_string(), text);
            }
        }
    });
}

#[test]
fn a_step_that_tells_an_error_and_is_done_nevertheless() {
    every_step(Fault::Lies, |step, disk, store, result| {
        let memory = same(disk, store);
        let done = memory == plain(&new());
        assert!(done || memory == plain(&old()), "at {step}");
        assert!(done || result.is_err(), "at {step}");
    });
}

#[test]
fn a_disk_that_breaks_leaves_the_old_or_the_new_state() {
    every_step(Fault::Breaks, |step, disk, store, result| {
        let memory = same(disk, store);
        assert!(
            memory == plain(&old()) || memory == plain(&new()),
            "at {step}"
        );
        assert!(result.is_err() || memory == plain(&new()), "at {step}");
        for found in disk.after_power_cut(NAME) {
            let found = decoded(&found.expect("there")).expect("whole");
            assert!(
                found == plain(&old()) || found == plain(&new()),
                "at {step}"
            );
        }
    });
}

#[test]
fn a_power_cut_after_any_step_leaves_the_old_or_the_new_file() {
    for fault in [Fault::PowerCut, Fault::Fails, Fault::Lies] {
        every_step(fault, |step, disk, _, result| {
            for found in disk.after_power_cut(NAME) {
                let found = found.expect("the file is always there");
                let found = decoded(&found).unwrap_or_else(|| panic!("damaged at {step}"));
                if result.is_ok() {
                    assert_eq!(found, plain(&new()), "what was answered is durable");
                } else {
                    assert!(
                        found == plain(&old()) || found == plain(&new()),
                        "at {step}"
                    );
                }
            }
        });
    }
}

#[test]
fn what_is_refused_is_not_written() {
    let disk = Disk::with(NAME, &old().encode(&key(), [1; 16]).expect("encoded"));
    let store = store(&disk);
    let refused = store
        .change(secret(&old(), "alice", &[0; 256]))
        .expect_err("too long");
    assert_eq!(refused.to_string(), "illegal write");
    let name = b"bob".to_vec();
    let refused = store.change(Change::Create { name }).expect_err("is there");
    assert_eq!(refused.to_string(), "user already exists");
    assert_eq!(disk.state().steps, 0);
}

#[test]
fn the_iv_is_another_every_time() {
    let disk = Disk::with(NAME, &old().encode(&key(), [1; 16]).expect("encoded"));
    let store = store(&disk);
    let mut seen = Vec::new();
    for _ in 0..10 {
        store
            .change(secret(&old(), "alice", b"same"))
            .expect("changed");
        let iv = disk.read(NAME).expect("there")[..16].to_vec();
        assert!(!seen.contains(&iv));
        seen.push(iv);
    }
}

#[test]
fn the_last_user_goes_and_the_file_is_empty() {
    let disk = Disk::with(NAME, &old().encode(&key(), [1; 16]).expect("encoded"));
    let store = store(&disk);
    for name in ["alice", "bob"] {
        let user = old().find(name.as_bytes()).expect("there");
        store.change(Change::Remove { user }).expect("removed");
    }
    assert_eq!(disk.read(NAME).expect("there"), b"");
}

/// A disk whose first file takes until it is told.
struct Slow(Disk, Arc<Barrier>, bool);

impl Steps for Slow {
    fn create(&mut self, name: &OsStr) -> io::Result<()> {
        self.0.create(name)
    }
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }
    fn sync(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.2, true) {
            self.1.wait(); // It is being written now ...
            self.1.wait(); // ... until the others wait.
        }
        self.0.sync()
    }
    fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        self.0.sync_directory()
    }
    fn remove(&mut self, name: &OsStr) -> io::Result<()> {
        self.0.remove(name)
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// One is being written, and eight come meanwhile: two of them are refused, six share one write. Nobody
/// is answered before that is durable, and nobody sees anything before.
#[test]
fn changes_that_wait_share_one_write() {
    let content = old().encode(&key(), [1; 16]).expect("encoded");
    let disk = Disk::with(NAME, &content);
    let gate = Arc::new(Barrier::new(2));
    let steps = Box::new(Slow(disk.clone(), Arc::clone(&gate), false));
    let store = Store::with(steps, Path::new("f"), OsStr::new(NAME), key(), &content);
    let store = store.expect("opened");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| store.change(secret(&old(), "alice", b"first")));
        gate.wait();
        let others: Vec<_> = (0..8)
            .map(|number| {
                let name = if number < 2 {
                    "bob".into()
                } else {
                    format!("user{number}")
                };
                let name = name.into_bytes();
                let store = &store;
                scope.spawn(move || store.change(Change::Create { name }))
            })
            .collect();
        until("the others wait", || store.waiting() == 8);
        assert_eq!(
            plain(&store.database()),
            plain(&old()),
            "not yet durable, not yet seen"
        );
        gate.wait();
        first.join().expect("joined").expect("changed");
        let results = others
            .into_iter()
            .map(|other| other.join().expect("joined"));
        assert_eq!(results.filter(Result::is_ok).count(), 6);
    });
    assert_eq!(disk.state().renames, 2);
    assert_eq!(store.database().len(), 8);
    assert_eq!(
        decoded(&disk.read(NAME).expect("there")),
        Some(plain(&store.database()))
    );
}

/// A shared write that fails is an error for all who share it.
#[test]
fn changes_that_share_a_write_share_its_failure() {
    let content = old().encode(&key(), [1; 16]).expect("encoded");
    let disk = Disk::with(NAME, &content);
    let gate = Arc::new(Barrier::new(2));
    let steps = Box::new(Slow(disk.clone(), Arc::clone(&gate), false));
    let store = Store::with(steps, Path::new("f"), OsStr::new(NAME), key(), &content);
    let store = store.expect("opened");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| store.change(secret(&old(), "alice", b"first")));
        gate.wait();
        let others: Vec<_> = (0..5u8)
            .map(|number| {
                let store = &store;
                let name = vec![b'a' + number];
                scope.spawn(move || store.change(Change::Create { name }))
            })
            .collect();
        until("the others wait", || store.waiting() == 5);
        // The first one has done create and write; it goes on with sync, rename, sync. Then: create.
        disk.fail_at(4, Fault::Breaks);
        gate.wait();
        first.join().expect("joined").expect("changed");
        for other in others {
            let error = other.join().expect("joined").expect_err("broken");
            assert!(matches!(error, ChangeError::Storage(_)), "{error}");
        }
    });
    assert_eq!(store.database().len(), 2);
    same(&disk, &store);
}

fn private(path: &Path, content: &[u8]) {
    std::fs::write(path, content).expect("written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("changed");
}

#[test]
fn a_real_file_is_replaced_and_locked() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (file, link) = (place.path().join("keys"), place.path().join("link"));
    std::fs::write(&file, b"").expect("written");
    std::os::unix::fs::symlink("keys", &link).expect("link");
    let store = Store::open(&link, key()).expect("opened");
    let locked = Store::open(&file, key()).expect_err("locked");
    assert!(matches!(&locked, OpenError::Locked(_)));
    assert_eq!(
        locked.to_string(),
        format!("{}: in use by another keyfs", file.display())
    );
    let name = b"alice".to_vec();
    store.change(Change::Create { name }).expect("made");
    assert!(
        std::fs::symlink_metadata(&link)
            .expect("there")
            .is_symlink()
    );
    let mode = std::fs::metadata(&file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    drop(store);
    let again = Store::open(&file, key()).expect("opened");
    assert!(again.database().find(b"alice").is_some());
    drop(again);
    let before = std::fs::read(&file).expect("read");
    let error = Store::open(&file, Key::from_password(b"other")).expect_err("another key");
    let text = format!(
        "{}: incorrect key or corrupt/damaged keyfile",
        file.display()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(std::fs::read(&file).expect("read"), before);
}

#[test]
fn a_file_for_everybody_is_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = place.path().join("keys");
    private(&file, &old().encode(&key(), [1; 16]).expect("encoded"));
    for (mode, refused) in [(0o600, false), (0o640, false), (0o604, true), (0o602, true)] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, mode).expect("changed");
        match Store::open(&file, key()) {
            Ok(_) => assert!(!refused),
            Err(error) => {
                assert!(refused);
                let text = format!(
                    "{}: accessible to others: its mode must be 600",
                    file.display()
                );
                assert_eq!(error.to_string(), text);
            }
        }
    }
}

#[test]
fn files_that_are_not_there_or_no_files() {
    let place = tempfile::tempdir().expect("temporary directory");
    let missing = place.path().join("keys");
    let error = Store::open(&missing, key()).expect_err("missing");
    let shown = missing.display();
    let text = format!("can't open {shown}: '{shown}' does not exist");
    assert_eq!(error.to_string(), text);
    assert_eq!(
        std::fs::read_dir(place.path()).expect("list").count(),
        0,
        "no lock is left"
    );
    let error = Store::open(place.path(), key()).expect_err("a directory");
    assert!(matches!(error, OpenError::Unreadable(..)), "{error}");
}
