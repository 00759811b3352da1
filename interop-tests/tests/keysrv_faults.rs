//! Every system call of a program that writes secrets fails in turn: what is on disk is the old file or the new one,
//! and what was answered is kept. By strace, which makes the calls fail.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use interop_tests::inferno::database::{self, User};
use interop_tests::inferno::domain::MASTER;
use interop_tests::inferno::framing;
use interop_tests::inferno::keys::Signer;
use interop_tests::inferno::ninep::{NineP, OREAD, OTRUNC, OWRITE};
use interop_tests::inferno::ours::{Root, USER};
use interop_tests::program::{Guarded, run_command};
use interop_tests::wait::{self, SOON};

/// Calls about files; those about memory and time do not fail in ways that a file could tell of.
const CALLS: [&str; 12] = [
    "openat",
    "read",
    "write",
    "fsync",
    "fdatasync",
    "fchmod",
    "fchown",
    "renameat,renameat2,rename",
    "unlinkat,unlink",
    "fstat",
    "newfstatat,statx",
    "ftruncate,fallocate",
];
/// Calls of each kind that fail, each in a run of its own.
const TURNS: usize = 25;

/// The command under strace, with one call that fails. What it traces goes to `trace`.
fn failing(command: &Command, calls: &str, turn: usize, trace: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:error=EIO:when={turn}")]);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

/// Whether a call was made to fail: else there are not so many.
fn has_failed(trace: &Path) -> bool {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    text.contains("(INJECTED)")
}

/// No file of `directory` but these, whose names do not begin with a dot.
fn leavings(directory: &Path, known: &[&str]) -> Vec<String> {
    let all = std::fs::read_dir(directory).expect("a directory").flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| !known.contains(&name.as_str()))
        .collect()
}

#[test]
fn a_key_file_is_the_old_one_or_the_new_one() {
    let root = Root::new();
    let signer = Signer::new("signer.example");
    root.install(&signer.own(), &signer.issue("server"));
    let file = "usr/root/keyring/given";
    let path = root.path(file).display().to_string();
    let spec = root.signer_spec();
    let command = root.command("mkauthinfo", &["-k", &spec, "bob", &path]);
    let trace = root.path("trace");
    let mut failed = 0;
    for calls in CALLS {
        for turn in 1..=TURNS {
            root.put(file, b"the old one");
            let done = run_command(&mut failing(&command, calls, turn, &trace));
            if !has_failed(&trace) {
                break;
            }
            failed += 1;
            let found = root.get(file);
            let is_new = found != b"the old one";
            if is_new {
                // Panics if it is not whole.
                assert_eq!(framing::messages(&found).len(), 5, "{calls} {turn}");
            }
            assert!(is_new || done.rc != 0, "{calls} {turn}: said to be written");
            let left = leavings(&root.path("usr/root/keyring"), &["default", "given"]);
            // What cannot be removed stays; the next writer of this name does not mind.
            assert!(
                left.is_empty() || calls.starts_with("unlink"),
                "{calls} {turn}: {left:?}"
            );
        }
    }
    assert!(failed > 20, "only {failed} calls have failed");
}

/// Changes alice's secret over the socket; whether that was confirmed.
fn change(socket: &Path, new: &[u8]) -> Option<()> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    let mut client = NineP::new(stream);
    client.version(8216, "9P2000").ok()?;
    let top = client.attach("test").ok()?;
    let file = client.walk(top, &["alice", "secret"]).ok()?;
    client.open(file, OWRITE | OTRUNC).ok()?;
    client.write(file, 0, new).ok().map(drop)
}

#[test]
fn a_data_base_is_the_old_one_or_the_new_one() {
    const OLD: &[u8] = b"alice in wonderland";
    const NEW: &[u8] = b"through the looking-glass";
    let root = Root::new();
    let nvram = root.path("keydb/nvram").display().to_string();
    let command = root.command("keyfs", &["-F", "-n", &nvram]);
    let trace = root.path("trace");
    let mut failed = 0;
    for calls in CALLS {
        for turn in 1..=TURNS {
            root.fill(&[User::new("alice", OLD)], MASTER);
            let socket = root.keys_socket();
            let _ = std::fs::remove_file(&socket);
            let mut strace = failing(&command, calls, turn, &trace);
            strace
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = Guarded(strace.spawn().expect("strace"));
            // It serves, or it has ended by the failure.
            let serves = wait::until(SOON, || {
                if UnixStream::connect(&socket).is_ok() {
                    return Some(true);
                }
                child.0.try_wait().expect("asked").map(|_| false)
            });
            let confirmed = serves == Some(true) && change(&socket, NEW).is_some();
            // What those who ask are told is what the file says.
            let told = (serves == Some(true)).then(|| read(&socket)).flatten();
            // strace writes to the end what it has seen.
            root.kill_all_but(&[child.0.id()]);
            let _ = child.0.wait();
            if !has_failed(&trace) {
                assert!(confirmed, "{calls} {turn}: nothing failed");
                break;
            }
            failed += 1;
            let users = database::read(&root.get("keydb/keys"), MASTER);
            assert_eq!(users.len(), 1, "{calls} {turn}");
            let stored = users[0].secret.clone();
            match confirmed {
                true => assert_eq!(stored, NEW, "{calls} {turn}: said to be written"),
                false => assert!(stored == OLD || stored == NEW, "{calls} {turn}"),
            }
            if let Some(told) = told {
                assert_eq!(told, stored, "{calls} {turn}");
            }
        }
    }
    assert!(failed > 20, "only {failed} calls have failed");
}

fn read(socket: &Path) -> Option<Vec<u8>> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    let mut client = NineP::new(stream);
    client.version(8216, "9P2000").ok()?;
    let top = client.attach(USER).ok()?;
    let file = client.walk(top, &["alice", "secret"]).ok()?;
    client.open(file, OREAD).ok()?;
    client.read(file, 0, 4096).ok()
}
