//! keyfs as a process: killed at any time, in the background, traced, with more clients than it takes
//! (keysrv spec 10.5 and 19.3).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keyfs_db::{File, Key};
use keysrv::accounts::Accounts;
use keysrv::keyfs::serve::MAX_CLIENTS;
use keysrv::keyfs::store::{OpenError, Store};

const MASTER: &[u8] = b"master";
/// More than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A root with an empty database and the key in a file.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("temporary directory");
        for directory in ["keydb", "mnt"] {
            std::fs::create_dir(place.path().join(directory)).expect("made");
        }
        std::fs::write(place.path().join("keydb/keys"), b"").expect("written");
        std::fs::write(place.path().join("nvram"), MASTER).expect("written");
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inferno-auth"));
        command.arg("keyfs").args(options);
        command.arg("-n").arg(self.path("nvram"));
        command
            .env("INFERNO_ROOT", self.0.path())
            .env("INFERNO_USER", "inferno");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn start(&self, options: &[&str]) -> Running {
        let mut command = self.command(options);
        let running = Running(command.stderr(Stdio::piped()).spawn().expect("started"));
        until("it listens", || {
            UnixStream::connect(self.path("mnt/keys")).is_ok()
        });
        running
    }

    fn accounts(&self) -> Accounts {
        Accounts::open(&self.path("mnt/keys")).expect("reached")
    }

    fn store(&self) -> Store {
        let file = self.path("keydb/keys");
        // Who was killed may need a moment to let go of the lock.
        let end = Instant::now() + PATIENCE;
        loop {
            match Store::open(&file, Key::from_password(MASTER)) {
                Err(OpenError::Locked(_)) if Instant::now() < end => std::thread::yield_now(),
                result => return result.expect("opened"),
            }
        }
    }
}

/// Killed when it is not needed any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn terminate(process: u32) {
    let status = Command::new("kill").arg(process.to_string()).status();
    assert!(status.expect("kill is there").success());
}

/// Four clients change a secret each, again and again, until keyfs is killed. What was answered is there
/// afterwards, or what was asked for next.
#[test]
fn killed_at_any_time_it_has_kept_what_it_answered() {
    let root = Root::new();
    for round in 0u32..8 {
        let mut running = root.start(&["-F"]);
        let answered: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for (number, answered) in answered.iter().enumerate() {
                let mut accounts = root.accounts();
                let name = format!("user{number}");
                if round == 0 {
                    accounts.create(&name).expect("made");
                }
                accounts.set_secret(&name, b"0").expect("set");
                scope.spawn(move || {
                    let mut next = 1u32;
                    while accounts
                        .set_secret(&name, next.to_string().as_bytes())
                        .is_ok()
                    {
                        answered.store(next, Ordering::SeqCst);
                        next += 1;
                    }
                });
            }
            let enough = 3 + 5 * round;
            until("changes are made", || {
                answered
                    .iter()
                    .all(|count| count.load(Ordering::SeqCst) >= enough)
            });
            running.0.kill().expect("killed");
        });
        running.0.wait().expect("ended");
        let database = root.store().database();
        assert_eq!(database.len(), 4);
        for (number, answered) in answered.iter().enumerate() {
            let user = database
                .find(format!("user{number}").as_bytes())
                .expect("there");
            let secret = database.read(user, File::Secret, 0).expect("readable");
            let kept: u32 = String::from_utf8_lossy(secret.as_slice())
                .parse()
                .expect("a number");
            let answered = answered.load(Ordering::SeqCst);
            assert!(
                kept == answered || kept == answered + 1,
                "{kept} and not {answered}"
            );
        }
        // The socket is still there, and so may be half a new file; neither is in the way.
        assert!(root.path("mnt/keys").exists());
        std::fs::write(root.path("keydb/keys.new"), b"half").expect("written");
    }
}

#[test]
fn in_the_background_until_it_is_told_to_end() {
    let root = Root::new();
    let ended = root
        .command(&[])
        .stderr(Stdio::null())
        .status()
        .expect("run");
    assert!(ended.success());
    root.accounts().create("alice").expect("there at once");
    let process = owner_of(&root.path("keydb/keys.lock"));
    // A second one says why it does not start.
    let second = root.command(&["-F"]).output().expect("run");
    let file = root.path("keydb/keys");
    let text = format!("keyfs: {}: in use by another keyfs\n", file.display());
    assert_eq!(String::from_utf8_lossy(&second.stderr), text);
    assert_eq!(second.status.code(), Some(1));
    let session = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("there");
    let session = session
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split(' ').nth(4));
    assert_eq!(
        session,
        Some(process.to_string().as_str()),
        "a session of its own"
    );
    terminate(process);
    until("the socket goes", || !root.path("mnt/keys").exists());
    assert!(root.store().database().find(b"alice").is_some());
}

/// The process that has this file open: the lock's.
fn owner_of(file: &Path) -> u32 {
    let processes = std::fs::read_dir("/proc").expect("listed");
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has = |process: &u32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
            return false;
        };
        let mut open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        open.any(|path| path == file)
    };
    numbers.into_iter().find(has).expect("somebody has it open")
}

#[test]
fn traces_tell_no_secrets() {
    let root = Root::new();
    let mut running = root.start(&["-F", "-D"]);
    let mut accounts = root.accounts();
    accounts.create("alice").expect("made");
    accounts.set_secret("alice", b"geheimnis").expect("set");
    assert_eq!(
        accounts.secret("alice").expect("read").as_slice(),
        b"geheimnis"
    );
    drop(accounts);
    terminate(running.0.id());
    assert!(running.0.wait().expect("ended").success());
    let mut said = String::new();
    let mut stderr = running.0.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    assert!(
        said.contains("<- Tmsg.Version(65535,8216,\"9P2000\")\n"),
        "{said}"
    );
    assert!(said.contains("-> Rmsg.Version(65535,8216,\"9P2000\")\n"));
    assert!(said.contains(",0,array[9] of byte)\n"));
    assert!(!said.contains("geheimnis"));
}

#[test]
fn more_clients_than_it_takes_are_turned_away() {
    let root = Root::new();
    let allowed = kx_sys::hardening::raise_descriptor_limit().expect("raised");
    if allowed.is_some_and(|allowed| allowed < MAX_CLIENTS as u64 + 200) {
        println!("SKIPPED: only {allowed:?} descriptors");
        return;
    }
    let _running = root.start(&["-F"]);
    // One by one: a client that is answered has its place.
    let hello = b"\x13\0\0\0\x64\xff\xff\x18\x20\0\0\x06\x009P2000";
    let answered = || -> Option<UnixStream> {
        let mut client = UnixStream::connect(root.path("mnt/keys")).ok()?;
        client.set_read_timeout(Some(PATIENCE)).ok()?;
        client.write_all(hello).ok()?;
        let mut reply = [0; 19];
        client.read_exact(&mut reply).ok()?;
        Some(client)
    };
    let mut clients = Vec::new();
    // The first connection, to see whether it listens, may not be gone yet.
    until("it is full", || match answered() {
        Some(client) => {
            clients.push(client);
            clients.len() == MAX_CLIENTS
        }
        None => false,
    });
    assert!(answered().is_none(), "one more");
    assert!(answered().is_none(), "and one more");
    clients.pop();
    until("a place is free again", || answered().is_some());
}
