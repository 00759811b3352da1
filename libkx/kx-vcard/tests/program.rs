//! The program: how it starts, which end connects, how it goes on without a reader, how it ends.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use xkek::card::Card;
use xkek_io::vpcd_host::VpcdHost;
use xkek_io::{Error, Limits, Spec, Transport};

const LIMIT: Duration = Duration::from_secs(20);
const SELECT: &[u8] = &[
    0, 0xA4, 4, 0, 11, 0xE8, 0x2B, 6, 1, 4, 1, 0x81, 0xC3, 0x1F, 2, 1, 0,
];

/// Ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(state: &Path, options: &[&str]) -> Program {
    let child = Command::new(env!("CARGO_BIN_EXE_kx-vcard"))
        .arg("--state")
        .arg(state)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kx-vcard");
    Program(child)
}

/// Waits for the end; status and what was said.
fn ended(mut program: Program) -> (ExitStatus, String, String) {
    let end = Instant::now() + LIMIT;
    let status = loop {
        match program.0.try_wait().expect("asked") {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            None => panic!("it does not end"),
        }
    };
    let (mut out, mut err) = (String::new(), String::new());
    let stdout = program.0.stdout.as_mut().expect("stdout");
    stdout.read_to_string(&mut out).expect("read");
    let stderr = program.0.stderr.as_mut().expect("stderr");
    stderr.read_to_string(&mut err).expect("read");
    (status, out, err)
}

fn terminate(program: &Program) {
    let kill = Command::new("kill")
        .args(["-TERM", &program.0.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = listener.local_addr().expect("address").to_string();
    (listener, address)
}

/// Another test of this process may just be starting its program: until its exec the child has
/// the closed listener, too.
fn bind_again(address: &str) -> TcpListener {
    let end = Instant::now() + LIMIT;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < end, "the same port: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn select(card: &mut impl Card<Error = Error>) {
    let mut response = Vec::new();
    card.transmit(SELECT, &mut response).expect("an answer");
    assert!(response.ends_with(&[0x90, 0]), "{response:02x?}");
}

#[test]
fn it_comes_back_when_the_reader_does() {
    let dir = tempfile::tempdir().expect("directory");
    let (first, address) = listener();
    let program = start(dir.path(), &["--vpcd", &address]);
    let mut host = VpcdHost::accept(&first, LIMIT).expect("a card");
    assert_eq!(host.atr().len(), 24);
    select(&mut host);
    // As when pcscd is started anew: for a while nobody listens.
    drop(first);
    drop(host);
    let again = bind_again(&address);
    let mut host = VpcdHost::accept(&again, LIMIT).expect("the card again");
    let mut response = Vec::new();
    host.transmit(&[0, 0x20, 0, 0x81], &mut response)
        .expect("answered");
    assert_eq!(response, [0x6E, 0], "without power all was forgotten");
    select(&mut host);
    host.reset().expect("sent");
    host.transmit(&[0, 0x20, 0, 0x81], &mut response)
        .expect("answered");
    assert_eq!(response, [0x6E, 0], "and after a reset");
    terminate(&program);
    let (status, _, said) = ended(program);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("not a secure element"), "{said}");
    // Once more if a child that another test just forks still had the closed listener.
    assert!(said.matches("reader connected").count() >= 2, "{said}");
}

#[test]
fn it_listens_for_tools_and_for_drivers_with_turned_roles() {
    let dir = tempfile::tempdir().expect("directory");
    let (free, address) = listener();
    drop(free);
    let program = start(dir.path(), &["--listen", &address, "--atr", "3B00"]);
    let spec: Spec = format!("vpcd:{address}").parse().expect("a SPEC");
    for _ in 0..2 {
        let end = Instant::now() + LIMIT;
        let mut card = loop {
            match Transport::open(&spec, Limits::default()) {
                Ok(card) => break card,
                Err(Error::Io(_)) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        };
        select(&mut card);
        let Transport::Vpcd(host) = card else {
            panic!("another way");
        };
        assert_eq!(host.atr(), [0x3B, 0]);
    }
    terminate(&program);
    assert_eq!(ended(program).0.code(), Some(0));
}

#[test]
fn a_signal_ends_it_while_there_is_no_reader() {
    let dir = tempfile::tempdir().expect("directory");
    let (free, address) = listener();
    drop(free);
    let program = start(dir.path(), &["--vpcd", &address]);
    // The state is made after the signals are collected.
    let end = Instant::now() + LIMIT;
    while !dir.path().join("state").exists() {
        assert!(Instant::now() < end, "no state is made");
        std::thread::sleep(Duration::from_millis(5));
    }
    terminate(&program);
    assert_eq!(ended(program).0.code(), Some(0));
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    let dir = tempfile::tempdir().expect("directory");
    let (taken, address) = listener();
    let (status, _, said) = ended(start(dir.path(), &["--listen", &address]));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("in use"), "{said}");

    let first = start(dir.path(), &["--vpcd", &address]);
    let host = VpcdHost::accept(&taken, LIMIT).expect("a card");
    let (status, _, said) = ended(start(dir.path(), &[]));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.ends_with("in use by another process\n"), "{said}");
    drop((host, first));

    let state = dir.path().join("state");
    let mut damaged = std::fs::read(&state).expect("state");
    // Both halves: one alone is what a power failure leaves.
    for octet in &mut damaged {
        *octet ^= 1;
    }
    std::fs::write(&state, damaged).expect("written");
    let (status, _, said) = ended(start(dir.path(), &[]));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("damaged, or the key file is another one's"),
        "{said}"
    );

    let (status, _, said) = ended(start(dir.path(), &["--nonsense"]));
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("--nonsense: no such option"), "{said}");
    let (status, out, _) = ended(start(dir.path(), &["--help"]));
    assert_eq!(status.code(), Some(0));
    assert!(out.contains("not a secure element"), "{out}");
}
