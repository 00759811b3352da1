//! docs/tcpcrypt.md: its examples compile and do what the page says, between two hosts with a daemon each; what
//! it shows of them is what they are; what it quotes exists.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use interop_tests::lab::applications::accept;
use interop_tests::lab::case::{Pair, case};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::{Host, patient};
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::peers::on_path;
use interop_tests::program::{Finished, Guarded, collect, run_command};
use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::wait::{self, SOON};
use openssl::pkey::PKey;

#[path = "tcpcrypt_docs/page.rs"]
mod page;

/// Where the man in the middle listens.
const RELAY: u16 = 8081;
/// What the connecting end says to the other one once that has proven who it is.
const LETTER: &str = "the vault opens with 4711";
/// Longest run of a program.
const LIMIT: Duration = Duration::from_secs(40);

/// How the ends prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Password,
    Key,
}

impl Way {
    const BOTH: [Way; 2] = [Way::Password, Way::Key];

    fn name(self) -> &'static str {
        match self {
            Way::Password => "password",
            Way::Key => "key",
        }
    }

    /// Octets that each end sends as its proof.
    fn proof(self) -> u64 {
        match self {
            Way::Password => 32,
            Way::Key => 64,
        }
    }
}

fn sources() -> PathBuf {
    workspace().join("docs/examples/tcpcrypt")
}

/// The directory of the examples in Rust, built once.
fn rust_programs() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let done = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "interop-tests"])
            .args([
                "--example",
                "tcpcrypt-password",
                "--example",
                "tcpcrypt-key",
            ])
            .current_dir(workspace())
            .status();
        assert!(done.is_ok_and(|s| s.success()), "they do not build");
        // This test runs from target/PROFILE/deps.
        let exe = std::env::current_exe().expect("this program");
        let target = exe.ancestors().nth(3).expect("target");
        target.join("debug/examples")
    })
}

/// Builds an example in C, with all warnings.
fn compile(compiler: &str, way: Way, library: &Path, exe: &Path) {
    let done = run_command(
        Command::new(compiler)
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-I"])
            .arg(workspace().join("include"))
            .arg(sources().join(format!("{}.c", way.name())))
            .arg(sources().join("connection.c"))
            .arg(library)
            .args(["-lcrypto", "-o"])
            .arg(exe),
    );
    assert_eq!(done.rc, 0, "{compiler} {way:?}: {}", done.stderr_text());
}

/// Programs of one kind, and everything that they are given.
struct Scene<'l> {
    lab: &'l Lab,
    client: &'l Daemon<'l>,
    server: &'l Daemon<'l>,
    way: Way,
    /// In C and in Rust.
    programs: [PathBuf; 2],
}

/// How two programs ended: the connecting one and the listening one.
struct Both {
    near: Finished,
    far: Finished,
}

impl Scene<'_> {
    /// What an end gets to prove itself and to know the other by. `honest` has what belongs to it.
    fn secrets(&self, host: &Host, honest: bool) -> Vec<PathBuf> {
        let is_client = host.namespace == self.lab.client.namespace;
        let (mine, theirs) = if is_client {
            ("alice", "bob")
        } else {
            ("bob", "alice")
        };
        let names = match (self.way, honest) {
            (Way::Password, true) => vec!["rosebud".to_owned()],
            (Way::Password, false) => vec!["guess".to_owned()],
            (Way::Key, true) => vec![mine.to_owned(), format!("{theirs}.pub")],
            (Way::Key, false) => vec!["eve".to_owned(), format!("{theirs}.pub")],
        };
        names.into_iter().map(|n| self.lab.dir().join(n)).collect()
    }

    fn command(&self, host: &Host, program: &Path, secrets: &[PathBuf]) -> Command {
        let mut command = host.command(program);
        command
            .args(secrets)
            .env("LC_ALL", "C")
            .env("LD_LIBRARY_PATH", self.lab.dir())
            .env("TCPCRYPT_CONTROL", host.dir().join("control"));
        command
    }

    /// A program that connects to a port of the server's.
    fn connecting(&self, program: &Path, honest: bool, port: u16) -> Command {
        let client = &self.lab.client;
        let mut command = self.command(client, program, &self.secrets(client, honest));
        let address = self.lab.server.ip().to_string();
        command.args(["connect", &address, &port.to_string()]);
        command
    }

    /// Starts a program that listens, and waits until it does.
    fn listening(&self, program: &Path, honest: bool) -> (Guarded, PathBuf) {
        let server = &self.lab.server;
        let log = self.lab.dir().join("listening.log");
        let file = File::create(&log).expect("a file");
        let mut command = self.command(server, program, &self.secrets(server, honest));
        let errors = file.try_clone().expect("the file twice");
        command.args(["listen", &PORT.to_string()]);
        let child = command.stdout(file).stderr(errors).spawn();
        let mut child = Guarded(child.expect("starting"));
        let up = wait::until(SOON, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let ended = child.0.try_wait().ok().flatten();
            assert!(ended.is_none(), "{}: {ended:?}: {text}", program.display());
            text.contains("listening\n").then_some(())
        });
        assert!(up.is_some(), "{} does not listen", program.display());
        (child, log)
    }

    /// Two programs, the connecting one to this port, with somebody in between if that is the relay's.
    fn run(&self, near: (&Path, bool), far: (&Path, bool), port: u16) -> Both {
        let (child, log) = self.listening(far.0, far.1);
        let near = run_command(&mut self.connecting(near.0, near.1, port));
        let mut far = collect(child, LIMIT);
        far.stdout = fs::read(log).expect("what it said");
        Both { near, far }
    }

    /// Every pair of languages, the connecting one first.
    fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let [c, rust] = &self.programs;
        [(c, c), (rust, rust), (c, rust), (rust, c)]
            .into_iter()
            .map(|(near, far)| (near.as_path(), far.as_path()))
    }
}

impl Both {
    /// The session ids that the ends saw.
    fn ids(&self) -> [String; 2] {
        [&self.near, &self.far].map(|end| {
            let text = end.stdout_text();
            let id = text.lines().find_map(|l| l.strip_prefix("session id "));
            let id = id.unwrap_or_else(|| panic!("no session id: {text}{}", end.stderr_text()));
            assert_eq!(id.len(), 66, "{text}");
            id.to_owned()
        })
    }

    fn assert_content(&self, what: &str) {
        let said = self.texts();
        assert_eq!((self.near.rc, self.far.rc), (0, 0), "{what}: {said}");
        assert!(self.far.stdout_text().contains(LETTER), "{what}: {said}");
        let [near, far] = self.ids();
        assert_eq!(near, far, "{what}: one session, two ids");
    }

    fn assert_refused(&self, what: &str) {
        self.assert_near_refuses(what);
        assert_eq!(self.far.rc, 1, "{what}: {}", self.texts());
        assert!(self.far.stdout_text().contains("REFUSED"), "{what}");
    }

    fn assert_near_refuses(&self, what: &str) {
        let said = self.texts();
        assert_eq!(self.near.rc, 1, "{what}: {said}");
        assert!(
            self.near.stdout_text().contains("REFUSED"),
            "{what}: {said}"
        );
        assert_ne!(self.far.rc, 0, "{what}: {said}");
        assert!(!said.contains(LETTER), "{what}: {said}");
    }

    fn texts(&self) -> String {
        let text = |end: &Finished| format!("{}{}", end.stdout_text(), end.stderr_text());
        format!("\nnear: {}\nfar: {}", text(&self.near), text(&self.far))
    }
}

/// Files with passwords and keys; Eve is a stranger.
fn write_secrets(dir: &Path) {
    for password in ["rosebud", "guess"] {
        fs::write(dir.join(password), format!("{password}\n")).expect("a password");
    }
    for name in ["alice", "bob", "eve"] {
        let key = PKey::generate_ed25519().expect("a key");
        let private = key.private_key_to_pem_pkcs8().expect("the key as text");
        let public = key.public_key_to_pem().expect("the key as text");
        fs::write(dir.join(name), private).expect("a key's file");
        fs::write(dir.join(format!("{name}.pub")), public).expect("a key's file");
    }
}

/// Hosts with daemons and rules, and the programs of each way.
fn with_programs(name: &str, ipv6: bool, body: impl Fn(&Scene<'_>)) {
    let settings = Settings {
        ipv6,
        ..Settings::default()
    };
    case(name, settings, |lab, pair: Pair| {
        if ipv6 && pair.client.original {
            return;
        }
        let Some(compiler) = compilers().next() else {
            return skip(name, "no C compiler");
        };
        write_secrets(lab.dir());
        let library = lab.dir().join("libtcpcrypt.so.0");
        symlink(pair.client.library.join("libtcpcrypt.so"), &library).expect("a link");
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&format!("{PORT},{RELAY}"));
        for way in Way::BOTH {
            let in_c = lab.dir().join(way.name());
            compile(compiler, way, &library, &in_c);
            let in_rust = rust_programs().join(format!("tcpcrypt-{}", way.name()));
            body(&Scene {
                lab,
                client: &client,
                server: &server,
                way,
                programs: [in_c, in_rust],
            });
        }
        client.assert_well("the test");
        server.assert_well("the test");
    });
}

fn compilers() -> impl Iterator<Item = &'static str> {
    ["gcc", "clang", "cc"].into_iter().filter(|c| on_path(c))
}

#[test]
fn the_examples_compile_without_a_warning() {
    let name = "the_examples_compile_without_a_warning";
    let dir = tempfile::tempdir().expect("a directory");
    // A library with the four functions is all that the linker asks for.
    let stubs = dir.path().join("stubs.c");
    let text = "void tcpcrypt_setparam(void) {}\nvoid tcpcrypt_getsockopt(void) {}\n";
    fs::write(&stubs, text).expect("a file");
    let library = dir.path().join("libtcpcrypt.so");
    let mut found = false;
    for compiler in compilers() {
        found = true;
        let mut stub = Command::new(compiler);
        stub.args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&stubs);
        assert_eq!(run_command(&mut stub).rc, 0);
        for way in Way::BOTH {
            compile(compiler, way, &library, &dir.path().join("program"));
        }
    }
    if !found {
        skip(name, "no C compiler");
    }
    rust_programs();
}

#[test]
fn who_knows_the_password_or_has_the_key_is_let_in() {
    let name = "who_knows_the_password_or_has_the_key_is_let_in";
    with_programs(name, false, |scene| {
        for (near, far) in scene.pairs() {
            let both = scene.run((near, true), (far, true), PORT);
            both.assert_content(&format!("{} and {}", near.display(), far.display()));
        }
    });
}

#[test]
fn who_knows_the_password_or_has_the_key_is_let_in_over_ipv6() {
    let name = "who_knows_the_password_or_has_the_key_is_let_in_over_ipv6";
    with_programs(name, true, |scene| {
        for program in &scene.programs {
            let both = scene.run((program, true), (program, true), PORT);
            both.assert_content(&program.display().to_string());
        }
    });
}

#[test]
fn a_wrong_password_or_key_is_refused() {
    let name = "a_wrong_password_or_key_is_refused";
    with_programs(name, false, |scene| {
        for (near, far) in scene.pairs() {
            for (of_near, of_far) in [(false, true), (true, false)] {
                let both = scene.run((near, of_near), (far, of_far), PORT);
                let what = format!("{} and {}", near.display(), far.display());
                if scene.way == Way::Key && !of_far {
                    // Eve listens. She knows that Alice is Alice, and waits for her words in vain.
                    both.assert_near_refuses(&what);
                } else {
                    both.assert_refused(&format!("{what}, honest {of_near} and {of_far}"));
                }
                let [here, there] = both.ids();
                assert_eq!(here, there, "{what}: nobody was in between");
            }
        }
    });
}

/// Passes on everything between two connections until both have ended; octets there and back.
fn pass_on(near: &TcpStream, far: &TcpStream) -> (u64, u64) {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let octets = io::copy(&mut from, &mut to).expect("passing on");
        // The other side may be gone already.
        let _ = to.shutdown(Shutdown::Write);
        octets
    };
    std::thread::scope(|scope| {
        let there = scope.spawn(|| copy(near, far));
        let back = copy(far, near);
        (there.join().expect("passing on"), back)
    })
}

/// He has a tcpcrypt session with either end, reads everything, and changes nothing.
#[test]
fn a_man_in_the_middle_is_found_out() {
    with_programs("a_man_in_the_middle_is_found_out", false, |scene| {
        let listener = scene.lab.server.listen(RELAY);
        for (near, far) in scene.pairs() {
            let what = format!("{} and {}", near.display(), far.display());
            let (both, octets) = std::thread::scope(|scope| {
                let middle = scope.spawn(|| {
                    let near = accept(&listener, LIMIT).expect("accepting");
                    let far = scene.lab.client.connect(scene.lab.server_address(PORT));
                    pass_on(&near, &far.expect("connecting"))
                });
                let both = scene.run((near, true), (far, true), RELAY);
                (both, middle.join().expect("the man in the middle"))
            });
            both.assert_refused(&what);
            let [here, there] = both.ids();
            assert_ne!(here, there, "{what}: two sessions, one id");
            // The proof came through unharmed, and the listening end gave none away.
            assert_eq!(octets, (scene.way.proof(), 0), "{what}");
        }
    });
}

/// Who has no proof of his own sends ours back. That both ends have the same key does not help him.
#[test]
fn a_proof_that_comes_back_is_refused() {
    with_programs("a_proof_that_comes_back_is_refused", false, |scene| {
        let own = scene.lab.dir().join("alice.pub");
        fs::copy(&own, scene.lab.dir().join("bob.pub")).expect("one key for both");
        let listener = scene.lab.server.listen(PORT);
        for program in &scene.programs {
            let near = std::thread::scope(|scope| {
                let mirror = scope.spawn(|| mirror(&listener));
                let near = run_command(&mut scene.connecting(program, true, PORT));
                assert_eq!(mirror.join().expect("the mirror"), scene.way.proof());
                near
            });
            assert_eq!(near.rc, 1, "{}: {near:?}", program.display());
            assert!(near.stdout_text().contains("REFUSED: the other end"));
        }
    });
}

/// Sends everything back; how much that was.
fn mirror(listener: &TcpListener) -> u64 {
    let mut stream = accept(listener, LIMIT).expect("accepting");
    patient(&stream).expect("limits");
    let (mut octets, mut buffer) = (0, [0; 256]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        octets += length as u64;
        let heard = buffer.get(..length).unwrap_or_default();
        if stream.write_all(heard).is_err() {
            break;
        }
    }
    octets
}

/// Somebody takes the offer out of the SYN; and a host without a daemon.
#[test]
fn a_plain_connection_is_refused() {
    with_programs("a_plain_connection_is_refused", false, |scene| {
        let refused = |both: &Both, program: &Path| {
            both.assert_refused(&program.display().to_string());
            for end in [&both.near, &both.far] {
                let text = end.stdout_text();
                assert!(text.contains("REFUSED: not encrypted"), "{text}");
            }
        };
        for program in &scene.programs {
            let syn = "--tcp-flags SYN,ACK SYN";
            scene.lab.server.strip_incoming(253, syn);
            refused(&scene.run((program, true), (program, true), PORT), program);
            assert!(scene.client.netstat().is_empty() && scene.server.netstat().is_empty());
            scene.lab.server.lose_nothing();
        }
    });
}

/// Nobody can be asked: that is no reason to go on.
#[test]
fn without_a_daemon_nothing_is_said() {
    case(
        "without_a_daemon_nothing_is_said",
        Settings::default(),
        |lab, _| {
            write_secrets(lab.dir());
            for (way, secrets) in [
                (Way::Password, vec!["rosebud"]),
                (Way::Key, vec!["alice", "bob.pub"]),
            ] {
                let listener = lab.server.listen(PORT);
                let mut command = lab
                    .client
                    .command(rust_programs().join(format!("tcpcrypt-{}", way.name())));
                command.args(secrets.iter().map(|s| lab.dir().join(s)));
                command.args([
                    "connect",
                    &lab.server.address.to_string(),
                    &PORT.to_string(),
                ]);
                command.env("TCPCRYPT_CONTROL", lab.dir().join("absent"));
                let (done, heard) = std::thread::scope(|scope| {
                    let heard = scope.spawn(|| {
                        let mut heard = Vec::new();
                        let mut stream = accept(&listener, LIMIT).expect("accepting");
                        stream.read_to_end(&mut heard).expect("listening");
                        heard
                    });
                    (
                        run_command(&mut command),
                        heard.join().expect("the listener"),
                    )
                });
                assert_eq!((done.rc, heard), (1, Vec::new()), "{}", done.stdout_text());
            }
        },
    );
}
