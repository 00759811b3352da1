//! The programs as processes: names, usage lines, exit codes, listeners and their end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::session::{Event, Role, Session};
use inferno_auth::sts::Config;
use keysrv::authinfo_file;
use keysrv::driver::Driver;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inferno-auth");
const SOON: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        .env("INFERNO_ROOT", root)
        .env("INFERNO_USER", "alice")
        .env_remove("SIGNER")
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    command(Path::new("/nonexistent"), words)
        .output()
        .expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn terminate(child: &Guarded) {
    let number = i32::try_from(child.0.id()).expect("a process number");
    let process = rustix::process::Pid::from_raw(number).expect("a process number");
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("a signal");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}

fn connect(port: u16) -> TcpStream {
    let mut stream = None;
    until(|| {
        stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        stream.is_some()
    });
    let stream = stream.expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a limit");
    stream
}

#[test]
fn without_a_name_the_programs_are_listed() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.starts_with("usage: inferno-auth PROGRAM [ARGUMENT...]\n\n"),
        "{text}"
    );
    let listed: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert_eq!(
        listed.join(" "),
        "keysrv keyfs passwd logind createsignerkey mkauthinfo getauthinfo changelogin convpasswd \
         getpk ai2key signer countersigner verify listen svc-auth"
    );
    let output = run(&["nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("inferno-auth: no program nonsense\nusage: "));
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"usage: "));
}

#[test]
fn usage_lines_and_their_exit_code() {
    for (words, line) in [
        ("keyfs -q", "Usage: keyfs [-D] [-m mountpoint] [keyfile]"),
        ("passwd -q", "usage: passwd [-u user] [-s signer] [keyfile]"),
        (
            "getauthinfo",
            "usage: getauthinfo {net!hostname | default | /file}",
        ),
        ("changelogin", "usage: changelogin userid"),
        (
            "convpasswd -q",
            "usage: convpasswd [-f] [-v] [-m /mnt/keys] [passwordfile]",
        ),
        (
            "listen -A tcp!*!1",
            "usage: listen [-i {initscript}] [-Ast] [-k keyfile] [-a alg]... addr command [arg...]",
        ),
        ("svc-auth -q", "usage: svc-auth [-nv] [-k authinfo] "),
    ] {
        let output = run(&words.split(' ').collect::<Vec<_>>());
        let text = stderr(&output);
        assert!(text.starts_with(line), "{words}: {text}");
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}

#[test]
fn a_name_of_its_own_is_as_good_as_an_argument() {
    for called in ["changelogin", "/usr/libexec/inferno-auth/changelogin"] {
        let output = Command::new(PROGRAM)
            .arg0(called)
            .output()
            .expect("it runs");
        assert_eq!(stderr(&output), "usage: changelogin userid\n");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn errors_are_a_line_and_1() {
    for (words, text) in [
        (
            "passwd",
            "passwd: can't read certificate from /nonexistent/usr/alice/keyring/default: ",
        ),
        (
            "changelogin bob",
            "changelogin: can't get auth info for bob in /nonexistent/mnt/keys: ",
        ),
        (
            "convpasswd",
            "convpasswd: /nonexistent/keydb/password: no such file or directory\n",
        ),
        (
            "listen -A tcp!*!nothing true",
            "listen: failed to announce on 'tcp!*!nothing': unknown",
        ),
        (
            "listen -A tcp!*!0 no-such-program",
            "listen: no-such-program: not found\n",
        ),
        ("svc-auth", "auth: need to use createsignerkey(8)\n"),
        ("keysrv", "keysrv: no connection on descriptor 0: "),
        ("logind", "logind: no connection on descriptor 0: "),
    ] {
        let output = run(&words.split(' ').collect::<Vec<_>>());
        let errors = stderr(&output);
        assert!(errors.starts_with(text), "{words}: {errors}");
        assert_eq!(output.status.code(), Some(1), "{words}");
    }
}

const VECTORS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../interop-tests/vectors/keysrv/authinfo"
);

fn authinfo(name: &str) -> AuthInfo {
    authinfo_file::read(&Path::new(VECTORS).join(name)).expect("a golden file")
}

#[test]
fn listen_authenticates_and_protects() {
    let port = free_port();
    let (key, address) = (
        format!("{VECTORS}/keysrv_default.rsa"),
        format!("tcp!127.0.0.1!{port}"),
    );
    let place = tempfile::tempdir().expect("directory");
    let first = place.path().join("first");
    let first_block = format!("{{echo $net >{}}}", first.display());
    let words = [
        "listen",
        "-s",
        "-v",
        "-i",
        &first_block,
        "-k",
        &key,
        &address,
        "{echo $user $1; exec cat}",
        "word",
    ];
    let child = command(Path::new("/nonexistent"), &words)
        .spawn()
        .expect("it runs");
    let _listener = Guarded(child);

    let role = || Role::Client { server_name: None };
    let config = |name| Config {
        auth_info: Some(Arc::new(authinfo(name))),
        floor: Floor::default(),
        unix_now: 1_795_262_400,
    };
    let session = Session::new(role(), config("alice.rsa.authinfo"), Instant::now());
    let mut driver = Driver::new(session, connect(port)).expect("a driver");
    driver.set_deadline(Some(Instant::now() + SOON));
    // More than fits anywhere at once, so that both directions are under way together.
    let sent = vec![b'x'; 300_000];
    let mut heard = Vec::new();
    while heard.len() < b"alice word\n".len() + sent.len() {
        match driver.machine.poll_event() {
            Some(Event::Ready(_)) => driver.machine.send(&sent).expect("sealed"),
            Some(Event::Data(data)) => heard.extend_from_slice(&data),
            Some(Event::Failed(error)) => panic!("{error}"),
            Some(Event::Closed) => panic!("closed"),
            Some(Event::Authenticated { .. }) => {}
            None => driver.wait().expect("in time"),
        }
    }
    assert!(heard.starts_with(b"alice word\nxx") && heard.ends_with(b"xxx"));
    let told = std::fs::read_to_string(&first).expect("run before anybody came");
    assert_eq!(told, format!("{address}\n"));

    // Somebody of another domain.
    let session = Session::new(role(), config("alice.elgamal.authinfo"), Instant::now());
    let mut driver = Driver::new(session, connect(port)).expect("a driver");
    driver.set_deadline(Some(Instant::now() + SOON));
    let refused = loop {
        match driver.machine.poll_event() {
            Some(Event::Failed(_)) => break true,
            Some(Event::Ready(_) | Event::Closed) => break false,
            Some(_) => {}
            None => driver.wait().expect("in time"),
        }
    };
    assert!(refused);

    let output = run(&["listen", "-a", "none", "-k", &key, &address, "cat"]);
    assert_eq!(stderr(&output), "listen: unsupported algorithm: none\n");
}

/// A listener in the foreground, its port and what it says.
fn listen(options: &[&str], program: &[&str]) -> (Guarded, u16, impl FnMut() -> String) {
    let port = free_port();
    let address = format!("tcp!127.0.0.1!{port}");
    let words = [&["listen", "-A", "-s", "-v"], options, &[&address], program].concat();
    let mut child = command(Path::new("/nonexistent"), &words)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let line = move || {
        let mut line = String::new();
        errors.read_line(&mut line).expect("a line");
        line
    };
    (Guarded(child), port, line)
}

#[test]
fn listen_gives_every_connection_to_a_command() {
    let (listener, port, mut line) = listen(&[], &["sed", "-u", "s/^/> /"]);
    for word in ["one", "two"] {
        let mut stream = connect(port);
        let peer = stream.local_addr().expect("address");
        assert_eq!(
            line(),
            format!(
                "listen: got connection on tcp!127.0.0.1!{port} from 127.0.0.1!{}\n",
                peer.port()
            )
        );
        writeln!(stream, "{word}").expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("no more");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, format!("> {word}\n"));
    }
    terminate(&listener);
    let mut listener = listener;
    assert_eq!(listener.0.wait().expect("it ends").code(), Some(0));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("closed");
}

#[test]
fn listen_returns_when_it_is_there() {
    let port = free_port();
    let address = format!("tcp!127.0.0.1!{port}");
    let words = ["listen", "-A", &address, "cat", "/proc/self/stat"];
    // It keeps its standard error, so that a pipe there would not come to its end.
    let status = command(Path::new("/nonexistent"), &words)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.expect("it runs").code(), Some(0));
    let mut answer = String::new();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("no waiting");
    stream.read_to_string(&mut answer).expect("an answer");
    // The command's parent is the listener.
    let parent = answer
        .split(' ')
        .nth(3)
        .and_then(|number| number.parse().ok());
    let parent = parent
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(parent, rustix::process::Signal::TERM).expect("ours");

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("its number").port();
    let address = format!("tcp!127.0.0.1!{port}");
    let output = run(&["listen", "-A", &address, "cat"]);
    let text = format!("listen: failed to announce on '{address}': address already in use\n");
    assert_eq!((stderr(&output), output.status.code()), (text, Some(1)));
}

#[test]
fn one_address_gets_so_many_and_all_together_so_many() {
    let (_listener, port, mut line) = listen(&["--max-per-address=2"], &["cat"]);
    let mut kept: Vec<_> = (0..2).map(|_| connect(port)).collect();
    for stream in &mut kept {
        assert!(line().starts_with("listen: got connection on "));
        stream.write_all(b"x").expect("sent");
        stream.read_exact(&mut [0]).expect("served");
    }
    let mut refused = connect(port);
    assert!(line().starts_with("listen: refused connection on "));
    assert!(!matches!(refused.read(&mut [0]), Ok(1..)));
    // Room again when one has gone.
    drop(kept.pop());
    until(|| {
        let mut stream = connect(port);
        stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
    });

    let (_listener, port, _line) = listen(&["--max-conn=1"], &["cat"]);
    let mut first = connect(port);
    first.write_all(b"x").expect("sent");
    first.read_exact(&mut [0]).expect("served");
    let mut second = connect(port);
    second.write_all(b"y").expect("sent");
    drop(first);
    second.read_exact(&mut [0]).expect("served after the first");
}

#[test]
fn sessions_are_ended_some_time_after_the_listener() {
    let (listener, port, _line) = listen(&[], &["cat"]);
    let mut stream = connect(port);
    stream.write_all(b"x").expect("sent");
    stream.read_exact(&mut [0]).expect("served");
    terminate(&listener);
    // Its end is not that of the connection at once: the grace is for it.
    assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    let mut listener = listener;
    assert_eq!(listener.0.wait().expect("it ends").code(), Some(0));
}
