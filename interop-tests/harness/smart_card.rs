//! A smart card reader of our own: pcscd with the virtual reader driver in a private mount namespace, so
//! that its socket is not the machine's, and `kx-vcard` as the card.

use std::fs;
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::program::{Finished, Guarded, collect, run_command, signal};
use crate::skip::skip;
use crate::subject::subject;
use crate::wait;

/// What Debian's vsmartcard-vpcd installs.
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// Where OpenSC's PKCS#11 module is.
pub const PKCS11_MODULE: &str = "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so";
/// How long a client may take: sharing a DKEK costs 30 million MD5.
const CLIENT: Duration = Duration::from_secs(600);
/// How long a reader may take to see a card.
const INSERT: Duration = Duration::from_secs(20);

/// A running pcscd with one virtual reader.
#[derive(Debug)]
pub struct SmartCardReader {
    dir: TempDir,
    // Before the reader: a card that sees it go would only wait for the next.
    card: Option<Guarded>,
    pcscd: Guarded,
    port: u16,
}

/// Two ports one after the other: the driver takes one for each of its two slots.
fn free_ports() -> u16 {
    wait::until(wait::SOON, || {
        let first = TcpListener::bind("0.0.0.0:0").ok()?;
        let port = first.local_addr().ok()?.port();
        TcpListener::bind(("0.0.0.0", port.checked_add(1)?)).ok()?;
        Some(port)
    })
    .expect("two free ports")
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|directory| directory.join(program).exists())
}

impl SmartCardReader {
    /// Starts a reader without a card. `None`: what it needs is not here, and the test `name` was reported
    /// as skipped.
    pub fn start(name: &str) -> Option<Self> {
        for (program, package) in [
            ("pcscd", "pcscd"),
            ("sc-hsm-tool", "opensc"),
            ("unshare", "util-linux"),
        ] {
            if !there(program) {
                skip(name, &format!("{program} is missing (package {package})"));
                return None;
            }
        }
        if !Path::new(DRIVER).exists() {
            skip(
                name,
                "the virtual reader is missing (package vsmartcard-vpcd)",
            );
            return None;
        }
        let may = run_command(Command::new("unshare").args(["--mount", "true"]));
        if may.rc != 0 {
            skip(name, "needs root for a mount namespace of its own");
            return None;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = dir.path().join("readers");
        fs::create_dir(&config).expect("directory");
        let port = free_ports();
        let reader = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {DRIVER}\nCHANNELID 0x{port:X}\n"
        );
        fs::write(config.join("vpcd"), reader).expect("written");
        // The namespace lives as long as pcscd, which keeps the process number of the shell.
        let script = "mkdir -p /run/pcscd && mount -t tmpfs none /run/pcscd && exec pcscd --foreground --config \"$0\"";
        let log = fs::File::create(dir.path().join("pcscd.log")).expect("log");
        let pcscd = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(&config)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("pcscd");
        let reader = Self {
            dir,
            card: None,
            pcscd: Guarded(pcscd),
            port,
        };
        let listens = wait::until(INSERT, || {
            let listed = reader.run("opensc-tool", &["--list-readers"]);
            listed.stdout_text().contains("Virtual PCD").then_some(())
        });
        assert!(
            listens.is_some(),
            "pcscd does not run: {:?}",
            fs::read_to_string(reader.path("pcscd.log"))
        );
        Some(reader)
    }

    /// A path in the reader's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for command lines.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Starts a card with its state in the directory `state` and puts it in the reader.
    pub fn insert(&mut self, state: &str, options: &[&str]) {
        assert!(self.card.is_none(), "there is a card in the reader");
        let log = fs::File::create(self.path("card.log")).expect("log");
        let card = Command::new(subject().program("kx-vcard"))
            .args(["--state", &self.text(state)])
            .args(["--vpcd", &format!("127.0.0.1:{}", self.port)])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kx-vcard");
        self.card = Some(Guarded(card));
        self.wait_for_card();
    }

    /// Waits until clients see the card.
    pub fn wait_for_card(&self) {
        let seen = wait::until(INSERT, || {
            let asked = self.run("opensc-tool", &["--reader", "0", "--atr"]);
            (asked.rc == 0).then_some(())
        });
        assert!(seen.is_some(), "no card is seen: {}", self.card_log());
    }

    /// Ends the card with SIGTERM; its exit status.
    pub fn remove(&mut self) -> i32 {
        let card = self.card.take().expect("a card");
        signal(card.0.id(), "TERM");
        let rc = collect(card, INSERT).rc;
        self.wait_for_no_card();
        rc
    }

    /// Ends the card with SIGKILL.
    pub fn kill_card(&mut self) {
        self.card = None;
        self.wait_for_no_card();
    }

    /// Waits until clients see that the card is gone: one that comes before would be taken for it.
    fn wait_for_no_card(&self) {
        let gone = wait::until(INSERT, || {
            let asked = self.run("opensc-tool", &["--reader", "0", "--atr"]);
            (asked.rc != 0).then_some(())
        });
        assert!(gone.is_some(), "the card is still seen");
    }

    /// What the card said.
    pub fn card_log(&self) -> String {
        fs::read_to_string(self.path("card.log")).unwrap_or_default()
    }

    /// A client's command line, ready to be started where this reader is the only one.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.pcscd.0.id()))
            .arg(program)
            .args(args)
            .current_dir("/")
            .env("LC_ALL", "C")
            .env("OPENSC_CONF", "/dev/null");
        command
    }

    /// Runs a client to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Finished {
        let child = self
            .command(program, args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        collect(Guarded(child), CLIENT)
    }

    /// Runs a client in whose dialogue `answers` are given.
    pub fn dialogue(&self, program: &str, args: &[&str], answers: &str) -> Finished {
        let mut input = tempfile::tempfile().expect("temporary file");
        input.write_all(answers.as_bytes()).expect("written");
        input.rewind().expect("rewound");
        let child = self
            .command(program, args)
            .env("TERM", "dumb")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        collect(Guarded(child), CLIENT)
    }

    /// Runs a client that must succeed; what it said on stdout and stderr.
    pub fn must(&self, program: &str, args: &[&str]) -> String {
        let done = self.run(program, args);
        let said = done.stdout_text() + &done.stderr_text();
        assert_eq!(
            done.rc,
            0,
            "{program} {args:?}: {said}\n{}",
            self.card_log()
        );
        said
    }

    /// `pkcs11-tool` with the user logged in, which must succeed.
    pub fn pkcs11(&self, pin: &str, args: &[&str]) -> String {
        let login = ["--module", PKCS11_MODULE, "--login", "--pin", pin];
        self.must("pkcs11-tool", &[&login[..], args].concat())
    }
}
