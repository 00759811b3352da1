//! Our services as processes: started in every way, with limits, slow and silent clients, and
//! their end ("keysrv spec 14, 17, 19").

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;

use interop_tests::daemon::free_port;
use interop_tests::inferno::database::User;
use interop_tests::inferno::domain::{Domain, MASTER, Session, as_inetd};
use interop_tests::inferno::framing::{Heard, receive, send};
use interop_tests::inferno::keys::{AuthInfo, Key, Signer};
use interop_tests::inferno::login::{self, Bent};
use interop_tests::inferno::original::Ports;
use interop_tests::inferno::ours::{Root, own_memory_kb};
use interop_tests::inferno::sts::{self, connect};
use interop_tests::inferno::transcript::Transcript;
use interop_tests::program::{Guarded, signal, status_number};
use interop_tests::wait::{self, SOON};

const SECRET: &[u8] = b"alice in wonderland";

fn users() -> [User; 2] {
    [
        User::new("alice", SECRET),
        User::hashed("bob", "bob the builder"),
    ]
}

/// Status of a process that ends.
fn status(child: &mut Guarded) -> i32 {
    let status = wait::until(SOON * 2, || child.0.try_wait().ok().flatten());
    status_number(status.expect("it ends"))
}

/// The connection ends, by an end or a reset.
fn closed(mut stream: &TcpStream) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match stream.read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(e) => !matches!(e.kind(), TimedOut | WouldBlock),
    }
}

#[test]
fn one_connection_on_descriptor_0() {
    let domain = Domain::new(&users());
    let alice = domain.issue("alice");
    let (stream, mut child, _log) = as_inetd(&domain.root, "keysrv", &[]);
    let records = sts::session(stream, &alice, "sha1/rc4_256").expect("STS");
    let mut session = Session::start(records).expect("a session");
    assert_eq!(session.check(SECRET), Ok(0));
    drop(session);
    assert_eq!(status(&mut child), 0);

    let (stream, mut child, _log) = as_inetd(&domain.root, "logind", &[]);
    let bob = Key::new("bob", 1024);
    let info = login::login(stream, bob, b"bob the builder", &Bent::default());
    assert!(info.is_ok());
    assert_eq!(status(&mut child), 0);

    // Another key file; a refusal is a status of 1 and a line.
    let other = Signer::new("other.example").issue("server");
    domain.root.put("other", other.file());
    let path = domain.root.path("other").display().to_string();
    let (mut stream, mut child, mut log) = as_inetd(&domain.root, "keysrv", &["-k", &path]);
    send(&mut stream, b"1").expect("sent");
    for text in [
        b"AwM=".to_vec(),
        alice.certificate.into(),
        alice.key.public().into(),
    ] {
        send(&mut stream, &text).expect("sent");
    }
    assert_eq!(status(&mut child), 1);
    log.expect("keysrv: can't authenticate: pk doesn't match certificate\n");

    let missing = domain.root.path("missing").display().to_string();
    let (stream, mut child, mut log) = as_inetd(&domain.root, "keysrv", &["-k", &missing]);
    assert_eq!(status(&mut child), 1);
    log.expect(&format!("keysrv: can't read server key file {missing}: "));
    assert!(closed(&stream));
}

#[test]
fn listen_runs_a_program_for_each_connection() {
    let domain = Domain::new(&users());
    let port = free_port();
    let address = format!("tcp!127.0.0.1!{port}");
    let program = interop_tests::subject::subject().program("inferno-auth");
    let program = program.display().to_string();
    let mut command = domain
        .root
        .command("listen", &["-A", "-t", "-s", "-v", &address]);
    command.args([&program, "keysrv"]).stdin(Stdio::null());
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut listen = Guarded(child.expect("listen"));
    let mut log = Transcript::default();
    log.follow(listen.0.stderr.take().expect("stderr"));
    let there = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    assert!(wait::until(SOON * 2, there).is_some(), "{}", log.text());
    log.expect(&format!(
        "listen: got connection on {address} from 127.0.0.1!"
    ));
    let alice = domain.issue("alice");
    let sessions: Vec<_> = (0..3)
        .map(|_| {
            let stream = connect((Ipv4Addr::LOCALHOST, port).into());
            let records = sts::session(stream, &alice, "sha1/rc4_256").expect("STS");
            Session::start(records).expect("a session")
        })
        .collect();
    for mut session in sessions {
        assert_eq!(session.check(SECRET), Ok(0));
    }
    let taken = domain.root.run("listen", &["-A", "-s", &address, "true"]);
    let text = format!("listen: failed to announce on '{address}': ");
    assert!(
        taken.rc == 1 && taken.stderr_text().starts_with(&text),
        "{taken:?}"
    );
    assert_eq!(domain.root.run("listen", &[]).rc, 2);
    signal(listen.0.id(), "TERM");
    status(&mut listen);
    assert!(there().is_none());
}

#[test]
fn svc_auth_is_the_whole_service() {
    let root = Root::new();
    let signer = Signer::new("signer.example");
    let Ports {
        login,
        key,
        signer: s,
        countersigner,
    } = Ports::free();
    let ports = format!("{login},{key},{s},{countersigner}");
    let args = ["--bind", "127.0.0.1", "--ports", &ports];
    let none = root.run("svc-auth", &args);
    let text = "auth: need to use createsignerkey(8)\n";
    assert!(
        none.rc == 1 && none.stderr_text().ends_with(text),
        "{none:?}"
    );
    root.install(&signer.own(), &signer.issue("server"));
    let none = root.run("svc-auth", &args);
    let text = "auth: need to create /keydb/keys\n";
    assert!(
        none.rc == 1 && none.stderr_text().ends_with(text),
        "{none:?}"
    );

    root.fill(&users(), MASTER);
    let mut wrong = root.dialog("svc-auth", &args);
    wrong.ask("Key: ", "not the password");
    let (status, screen) = wrong.end();
    let damaged = "incorrect key or corrupt/damaged keyfile";
    assert!(status == 1 && screen.contains(damaged), "{status} {screen}");

    let mut service = root.dialog("svc-auth", &args);
    service.ask("Key: ", MASTER);
    let there = || TcpStream::connect((Ipv4Addr::LOCALHOST, key)).ok();
    assert!(wait::until(SOON * 2, there).is_some(), "nobody listens");
    let stream = connect((Ipv4Addr::LOCALHOST, key).into());
    let records = sts::session(stream, &signer.issue("alice"), "sha1/rc4_256").expect("STS");
    let mut alice = Session::start(records).expect("a session");
    assert_eq!(alice.check(SECRET), Ok(0));
    let stream = connect((Ipv4Addr::LOCALHOST, login).into());
    let bob = login::login(
        stream,
        Key::new("bob", 1024),
        b"bob the builder",
        &Bent::default(),
    );
    assert!(bob.is_ok());
    // One signal ends all of it.
    let socket = root.keys_socket();
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    signal(service.child().id(), "TERM");
    let (status, screen) = service.end();
    assert_eq!(status, 0, "{screen}");
    let keyfs = || {
        std::os::unix::net::UnixStream::connect(&socket)
            .is_err()
            .then_some(())
    };
    assert!(wait::until(SOON, keyfs).is_some(), "keyfs goes on");
    assert!(there().is_none());
}

#[test]
fn sigterm_ends_idle_and_open_sessions() {
    let domain = Domain::new(&users());
    let mut silent = connect(domain.key);
    let mut session = domain.session_of("alice");
    assert_eq!(session.check(SECRET), Ok(0));
    let (status, log) = domain.service.stop();
    assert_eq!(status, 0, "{log}");
    assert!(closed(&session.client.carrier.stream));
    // It may have said its version.
    let _ = receive(&mut silent);
    assert!(closed(&silent));
}

/// As many sessions, once those who looked whether the service is there are gone.
fn sessions(domain: &Domain, info: &AuthInfo, count: usize) -> Vec<Session> {
    let one = || wait::until(SOON * 2, || domain.session(info).ok()).expect("a session");
    (0..count).map(|_| one()).collect()
}

#[test]
fn an_address_has_few_connections() {
    let domain = Domain::with(&users(), &["--max-per-address", "3"]);
    let info = domain.issue("alice");
    let mut all = sessions(&domain, &info, 3);
    assert!(closed(&connect(domain.key)));
    for session in &mut all {
        assert_eq!(session.check(SECRET), Ok(0));
    }
    drop(all);
    sessions(&domain, &info, 1);
}

#[test]
fn all_addresses_together_wait_for_a_place() {
    let domain = Domain::with(&users(), &["--max-conn", "3"]);
    let info = domain.issue("alice");
    let mut all = sessions(&domain, &info, 3);
    let waiting = connect(domain.key);
    for session in &mut all {
        assert_eq!(session.check(SECRET), Ok(0));
    }
    waiting.set_nonblocking(true).expect("set");
    let unheard = waiting.peek(&mut [0; 6]);
    assert!(unheard.is_err(), "served beyond the limit: {unheard:?}");
    waiting.set_nonblocking(false).expect("set");
    all.pop();
    let records = sts::session(waiting, &info, "sha1/rc4_256").expect("its turn");
    let mut served = Session::start(records).expect("a session");
    assert_eq!(served.check(SECRET), Ok(0));
}

#[test]
fn silent_sessions_end() {
    let domain = Domain::with(&users(), &["--idle", "1"]);
    let info = domain.issue("alice");
    let session = sessions(&domain, &info, 1).remove(0);
    assert!(closed(&session.client.carrier.stream));
    // The place is free again, and who talks is heard (on a busy machine not at once).
    let heard = || domain.session(&info).ok()?.check(SECRET).ok();
    assert_eq!(wait::until(SOON * 2, heard), Some(0));
}

#[test]
fn slow_clients_are_served() {
    let domain = Domain::new(&users());
    // One octet in each segment, both ways of reading: frames and records.
    let mut stream = connect(domain.key);
    for octet in b"0001\n1" {
        stream.write_all(&[*octet]).expect("sent");
    }
    assert_eq!(receive(&mut stream), Heard::Text(b"1".to_vec()));
    let mut session = domain.session_of("alice");
    let stat = interop_tests::inferno::ninep::message(124, 1, &[&session.root.to_le_bytes()]);
    let records = &mut session.client.carrier;
    let record = records.seal(&stat);
    for octet in record {
        records.stream.write_all(&[octet]).expect("sent");
    }
    assert!(records.receive().is_some_and(|reply| reply[4] == 125));
    let mut slow = connect(domain.login);
    for octet in b"\x80\x04\0bob" {
        slow.write_all(&[*octet]).expect("sent");
    }
    let mut answer = [0; 6];
    slow.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"\x80\x04\0bob");
}

#[test]
fn the_key_file_is_read_again_on_sighup() {
    let mut domain = Domain::new(&users());
    assert!(domain.session(&domain.issue("alice")).is_ok());
    let other = Signer::new("another.example");
    domain.root.install(&other.own(), &other.issue("server"));
    signal(domain.service.child.0.id(), "HUP");
    let alice = other.issue("alice");
    let taken = wait::until(SOON * 2, || domain.session(&alice).ok());
    assert!(taken.is_some(), "{}", domain.service.log.text());
    let log = &mut domain.service.log;
    log.expect("listen: keys are read again from now on\n");

    // A key that is no good is told of at once.
    domain.root.put("keydb/signerkey", b"nonsense");
    signal(domain.service.child.0.id(), "HUP");
    log.expect("listen: can't read signer key file ");
    log.expect(": input or format error\n");
}

#[test]
fn nothing_secret_is_in_the_log() {
    let mut domain = Domain::with(&users(), &["-v"]);
    let mut alice = domain.session_of("alice");
    assert!(alice.check(b"not the secret at all").is_err());
    assert!(alice.change(SECRET, b"a rather new secret").is_ok());
    assert!(domain.login("bob", "bob the builder").is_ok());
    assert!(domain.login("nobody", "bob the builder").is_err());
    domain.service.log.expect("no password entry for nobody");
    let log = domain.service.stop().1 + &domain.keyfs.stop().1;
    for secret in ["wonderland", "rather new", "the builder", "not the secret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_hundred_sessions_at_once_leave_nothing_behind() {
    let limits = ["--max-conn", "200", "--max-per-address", "200"];
    let domain = Domain::with(&users(), &limits);
    let info = domain.issue("alice");
    sessions(&domain, &info, 1);
    let alone = || (domain.root.processes().len() == 2).then_some(());
    assert!(
        wait::until(SOON * 2, alone).is_some(),
        "{:?}",
        domain.root.processes()
    );
    for _ in 0..2 {
        let mut all = sessions(&domain, &info, 100);
        // Some say nothing any more, some go in the middle of a word.
        let silent: Vec<_> = (0..20).map(|_| connect(domain.key)).collect();
        for mut stream in &silent {
            stream.write_all(b"00").expect("sent");
        }
        for session in &mut all {
            assert_eq!(session.check(SECRET), Ok(0));
        }
        drop((all, silent));
        assert!(
            wait::until(SOON * 2, alone).is_some(),
            "{:?}",
            domain.root.processes()
        );
    }
}

/// Thousands of sessions, secrets changed in each, logins refused: what is left needs as much memory as
/// after the first hundreds.
#[test]
fn memory_is_flat() {
    let limits = ["--max-conn", "200", "--max-per-address", "200"];
    let domain = Domain::with(&users(), &limits);
    let info = domain.issue("alice");
    let alone = || (domain.root.processes().len() == 2).then_some(());
    let load = |count: usize| {
        for _ in 0..count / 20 {
            for session in &mut sessions(&domain, &info, 20) {
                assert_eq!(session.check(SECRET), Ok(0));
            }
            let mut session = domain.session_of("alice");
            assert!(session.change(SECRET, SECRET).is_ok());
            assert!(session.check(b"another secret").is_err());
            drop(connect(domain.login));
        }
        assert!(wait::until(SOON * 2, alone).is_some(), "all are gone");
        own_memory_kb(&domain.root.processes())
    };
    let first = load(400);
    let last = load(2000);
    // A leak of 200 octets a session would be seen.
    assert!(last <= first + 400, "{first} kB, then {last} kB");
}

#[test]
fn ten_thousand_users() {
    // More than the original can serve: it has 12 bits for the place of a user.
    let mut users: Vec<User> = (0..10_000)
        .map(|n| User::new(&format!("user{n:05}"), SECRET))
        .collect();
    let domain = Domain::new(&users);
    for name in ["user00000", "user04095", "user04096", "user09999"] {
        assert_eq!(domain.session_of(name).check(SECRET), Ok(0), "{name}");
    }
    let mut session = domain.session_of("user09007");
    assert!(session.change(SECRET, b"another secret").is_ok());
    users[9007].secret = b"another secret".to_vec();
    assert!(domain.root.users(MASTER) == users, "only one has changed");
}
