//! A real pinentry on a terminal of its own: what is typed there arrives, and "no" is no.
//!
//! `script` (util-linux) makes the terminal; `pinentry-curses` is Debian's. Without them the test says so and
//! is passed over, but not with `CI` set.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no {name}");
        eprintln!("SKIP: there is no {name}");
    }
    found
}

/// A command on a terminal, what it shows, and its keyboard.
struct Typist {
    child: Child,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Typist {
    fn start(line: &str, directory: &Path) -> Self {
        // A narrow terminal could break the words that are looked for.
        let sized = format!("stty cols 100 rows 30; GPG_TTY=$(tty); export GPG_TTY; exec {line}");
        let mut child = Command::new("script")
            .args(["-qefc", &sized, "/dev/null"])
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script");
        let mut output = child.stdout.take().expect("stdout");
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                if send.send(piece[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            shown,
            seen: String::new(),
        }
    }

    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(error) => panic!("no {text:?} ({error}) in {:?}", self.seen),
            }
        }
    }

    fn types(&mut self, keys: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("stdin");
        stdin.write_all(keys).expect("typed");
        stdin.flush().expect("typed");
    }

    /// Exit status, and all that was shown.
    fn end(mut self) -> (i32, String) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("still asking: {:?}", self.seen);
                }
            }
        }
        let status = self.child.wait().expect("ended");
        (status.code().unwrap_or(-1), self.seen)
    }
}

#[test]
fn a_pin_is_typed_into_a_real_pinentry() {
    if program("script").is_none() {
        return;
    }
    let tool = env!("CARGO_BIN_EXE_kx-hsm");
    let name = "pinentry-curses";
    let Some(pinentry) = program(name) else {
        return;
    };
    let directory = tempfile::tempdir().expect("directory");
    let made = Command::new(tool)
        .args([
            "init",
            "--card",
            "vcard:card",
            "--so-pin",
            "3537363231383830",
        ])
        .args(["--pin", "648219", "--yes"])
        .current_dir(directory.path())
        .output()
        .expect("kx-hsm");
    assert!(made.status.success(), "{made:?}");
    let line = format!(
        "{tool} key generate --card vcard:card --type aes:128 --pin pinentry:{}",
        pinentry.display()
    );
    let ask = |keys: &[u8], end: &[u8]| {
        let mut typist = Typist::start(&line, directory.path());
        typist.wait_for("User PIN of vcard:card");
        for key in keys {
            typist.seen.clear();
            typist.types(&[*key]);
            typist.wait_for("*");
        }
        typist.types(end);
        typist.end()
    };
    let (status, shown) = ask(b"000000", b"\r");
    assert_eq!(status, 4, "{name}: {shown:?}");
    assert!(shown.contains("63C2"), "{name}: {shown:?}");
    // The third field is Cancel.
    let no: &[u8] = if name == "pinentry-tty" {
        b"\x03"
    } else {
        b"\t\t\r"
    };
    let (status, shown) = ask(b"", no);
    assert_eq!(status, 4, "{name}: {shown:?}");
    assert!(shown.contains("cancelled"), "{name}: {shown:?}");
    let (status, shown) = ask(b"648219", b"\r");
    assert_eq!(status, 0, "{name}: {shown:?}");
    assert!(
        !shown.contains("648219"),
        "{name}: it is not shown: {shown:?}"
    );
}
