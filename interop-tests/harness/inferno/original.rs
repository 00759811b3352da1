//! The original: Inferno hosted on Linux, given by `KX_REF_INFERNO` (a directory that holds the
//! tree and, in it or in `Linux/386/bin`, the emulator as `emu` or `emu-g`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, OnceLock};

use tempfile::TempDir;

use super::transcript::Transcript;
use crate::daemon::free_port;
use crate::program::Guarded;
use crate::skip::skip;

/// Where the original is.
#[derive(Debug)]
pub struct Original {
    tree: PathBuf,
    emulator: PathBuf,
}

static ORIGINAL: LazyLock<Option<Original>> = LazyLock::new(|| {
    let tree = PathBuf::from(std::env::var_os("KX_REF_INFERNO")?);
    let tree = fs::canonicalize(&tree).unwrap_or_else(|e| panic!("{}: {e}", tree.display()));
    let names = ["emu", "emu-g", "Linux/386/bin/emu", "Linux/386/bin/emu-g"];
    let mut found = names.iter().map(|name| tree.join(name));
    let Some(emulator) = found.find(|path| path.is_file()) else {
        panic!("KX_REF_INFERNO: no emulator in {}", tree.display());
    };
    Some(Original { tree, emulator })
});

/// The original, if one is given.
pub fn original() -> Option<&'static Original> {
    ORIGINAL.as_ref()
}

/// The original, or a note that the calling test was skipped.
pub fn original_or_skip(test: &str) -> Option<&'static Original> {
    if original().is_none() {
        skip(test, "KX_REF_INFERNO names no Inferno with its emulator");
    }
    original()
}

/// The ports of the services, in the order of "keysrv spec 14".
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// inflogin
    pub login: u16,
    /// infkey
    pub key: u16,
    /// infsigner
    pub signer: u16,
    /// infcsigner
    pub countersigner: u16,
}

impl Ports {
    /// Four free ones.
    pub fn free() -> Ports {
        Ports {
            login: free_port(),
            key: free_port(),
            signer: free_port(),
            countersigner: free_port(),
        }
    }
}

/// A machine that runs Inferno: a root of its own whose programs are the tree's.
#[derive(Debug)]
pub struct Machine {
    original: &'static Original,
    root: TempDir,
}

impl Machine {
    /// An empty one that knows the services under these ports.
    pub fn new(original: &'static Original, ports: Ports) -> Machine {
        let root = tempfile::tempdir().expect("a temporary directory");
        let own = [
            "keydb/signed",
            "keydb/countersigned",
            "usr/root/keyring",
            "usr/inferno/keyring",
            "tmp",
            "mnt/keys",
            "mnt/keysrv",
            "n/local",
            "nvfs",
            "lib/ndb",
            "services/logs",
            "net",
            "dev",
            "fd",
            "prog",
            "env",
            "chan",
        ];
        for dir in own {
            fs::create_dir_all(root.path().join(dir)).expect("a directory");
        }
        for dir in ["dis", "module", "locale"] {
            symlink(original.tree.join(dir), root.path().join(dir)).expect("a link");
        }
        for file in fs::read_dir(original.tree.join("lib"))
            .expect("lib")
            .flatten()
        {
            if file.file_name() != "ndb" {
                let name = root.path().join("lib").join(file.file_name());
                symlink(file.path(), name).expect("a link");
            }
        }
        // The whole data base of names: only what the tests look up.
        let Ports {
            login,
            key,
            signer,
            countersigner,
        } = ports;
        let names = format!(
            "database=\n\tfile=/lib/ndb/local\ninfernosite=\n\tSIGNER=127.0.0.1\n\
             tcp=inflogin port={login}\ntcp=infkey port={key}\n\
             tcp=infsigner port={signer}\ntcp=infcsigner port={countersigner}\n"
        );
        fs::write(root.path().join("lib/ndb/local"), names).expect("lib/ndb/local");
        Machine { original, root }
    }

    /// Where a file of the machine is on this one.
    pub fn path(&self, inner: &str) -> PathBuf {
        self.root.path().join(inner.trim_start_matches('/'))
    }

    /// Puts a file there.
    pub fn put(&self, inner: &str, data: impl AsRef<[u8]>) {
        fs::write(self.path(inner), data).unwrap_or_else(|e| panic!("{inner}: {e}"));
    }

    /// A file from there.
    pub fn get(&self, inner: &str) -> Vec<u8> {
        fs::read(self.path(inner)).unwrap_or_else(|e| panic!("{inner}: {e}"))
    }

    /// Starts a script of its shell.
    pub fn start(&self, script: &str) -> Running {
        let mut file = tempfile::Builder::new();
        let file = file.prefix("script").tempfile_in(self.path("tmp"));
        let (mut file, path) = file.and_then(|f| Ok(f.keep()?)).expect("a script");
        let head = "load std\npath=(/dis /dis/auth .)\n";
        file.write_all(format!("{head}{script}\n").as_bytes())
            .expect("a script");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("/tmp/{name}");
        let mut child = Command::new(&self.original.emulator)
            .arg(format!("-r{}", self.root.path().display()))
            .args(["sh", &name])
            // It kills its whole group when it ends.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Errors of its programs are on its screen; only its own end is told here.
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator");
        let screen = Transcript::default();
        screen.follow(child.stdout.take().expect("stdout"));
        let keyboard = child.stdin.take().expect("stdin");
        Running {
            child: Guarded(child),
            keyboard,
            screen,
        }
    }

    /// Runs a script to its end; gives what it printed.
    pub fn run(&self, script: &str) -> String {
        self.start(&format!("{script}\necho halt > /dev/sysctl"))
            .end()
    }

    /// A signer key of 1024 bits and a key for the server, made by the original once for all tests
    /// of a process: it takes its time.
    pub fn make_signer(&self) {
        const FILES: [&str; 2] = ["keydb/signerkey", "usr/root/keyring/default"];
        static MADE: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
        let made = MADE.get_or_init(|| {
            let said = self.run(
                "createsignerkey -b 1024 signer.example\n\
                 mkauthinfo -k 'key=/keydb/signerkey' root > /usr/root/keyring/default\n\
                 echo made",
            );
            assert!(said.contains("made"), "{said}");
            FILES.map(|file| self.get(file))
        });
        for (file, data) in FILES.iter().zip(made) {
            self.put(file, data);
        }
    }

    /// Starts keyfs on a database under a password, then logind and keysrv on their ports.
    pub fn serve(&self, database: &[u8], password: &str) -> Running {
        self.put("keydb/keys", database);
        self.put("keydb/nvram", password);
        let mut running = self.start(
            "ndb/cs\nkeyfs -n /keydb/nvram /keydb/keys\n\
             listen -v -A -t 'tcp!127.0.0.1!inflogin' {logind&}\n\
             listen -v -A -t 'tcp!127.0.0.1!infkey' {keysrv&}\n\
             echo READY\n",
        );
        running.expect("READY");
        running
    }

    /// The root on this machine.
    pub fn root(&self) -> &Path {
        self.root.path()
    }
}

/// A running emulator.
#[derive(Debug)]
pub struct Running {
    child: Guarded,
    keyboard: ChildStdin,
    screen: Transcript,
}

impl Running {
    /// Waits for a text on the screen and gives what stands before it.
    pub fn expect(&mut self, text: &str) -> String {
        self.screen.expect(text)
    }

    /// Types a line. A terminal without echo takes all that is there as one line: wait for the
    /// question first.
    pub fn answer(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.keyboard.write_all(line.as_bytes()).expect("typing");
    }

    /// Waits for a question and answers it.
    pub fn ask(&mut self, question: &str, line: &str) -> String {
        let before = self.expect(question);
        self.answer(line);
        before
    }

    /// Process group of the emulator.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// What it printed up to its end.
    pub fn end(mut self) -> String {
        self.screen.to_end()
    }
}
