//! Redirect mode (`-e`): streams are carried by threads of their own (`--threads`).

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use interop_tests::lab::applications::{Pattern, local, read_exactly, remote, talk};
use interop_tests::lab::control::{CACHE_FLUSH, RESET, SESSID};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::{Speech, agreed_id, in_either_way, is_resumed, one_talk_on};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, close_both};
use interop_tests::lab::segment::hex;
use interop_tests::lab::{Lab, PORT};
use interop_tests::wait::{self, SOON};

/// So many octets make a connection a stream, beyond doubt.
const MUCH: u64 = 2_000_000;

const SPEECHES: [Speech; 2] = [Speech::LEGACY, Speech::STANDARD_IPV6];

/// Ours at both ends, with so many threads.
fn with_threads(
    name: &str,
    threads: &'static str,
    speech: Speech,
    body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>),
) {
    in_either_way(name, speech, |lab, pair, way| {
        let options = way.options(&["-v", speech.eno, threads]);
        let client = Daemon::start(&lab.client, pair.client, &options);
        let server = Daemon::start(&lab.server, pair.server, &options);
        lab.redirect(&PORT.to_string());
        body(lab, &client, &server);
        client.assert_well(threads);
        server.assert_well(threads);
    });
}

/// So many octets both ways at the same time, which arrive as they were. The connection stays open.
fn carry(near: &TcpStream, far: &TcpStream, up: u64, down: u64) {
    let both = [(near, far, up), (far, near, down)];
    std::thread::scope(|scope| {
        for (from, to, octets) in both {
            let wanted = Pattern::new(octets + u64::from(local(from).port()), octets);
            let sent = wanted.clone();
            scope.spawn(move || sent.write_to(from).expect("sending"));
            scope.spawn(move || read_exactly(to, &wanted.bytes()).expect("what was sent"));
        }
    });
}

/// A line of the state that the daemon says now, without its first words.
fn dumped(daemon: &Daemon<'_>, first: &str) -> String {
    let before = daemon.log().matches("DUMPING").count();
    daemon.signal("USR1");
    let line = wait::until(SOON, || {
        let log = daemon.log();
        let dump = log.split("DUMPING").nth(before + 1)?;
        let line = dump.lines().find_map(|line| line.strip_prefix(first));
        Some(line?.to_owned())
    });
    line.expect("a dump")
}

/// What the daemon says of its threads: streams so far, and how many each of them carries.
fn carried(daemon: &Daemon<'_>) -> (usize, Vec<usize>) {
    let line = dumped(daemon, "Threads: ");
    let (count, rest) = line.split_once(' ').expect("a number");
    let list = rest
        .split_once('[')
        .and_then(|(_, it)| it.strip_suffix(']'));
    let numbers = list.expect("a list").split(", ");
    let numbers = numbers.filter(|it| !it.is_empty());
    (
        count.parse().expect("a number"),
        numbers.map(|it| it.parse().expect("a number")).collect(),
    )
}

/// A line of the state of each thread of a process, the first one first.
fn of_threads(daemon: &Daemon<'_>, name: &str) -> Vec<String> {
    let pid = daemon.pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let mut numbers: Vec<u32> = tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let value = |thread| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"));
        let status = status.expect("a state");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("known").trim_matches([':', '\t']).to_owned()
    };
    numbers.into_iter().map(value).collect()
}

/// What a thread learns of a peer is known before its application hears of it: whoever connects again then resumes.
#[test]
fn redirect_the_session_of_a_stream_is_there_at_once() {
    const CONNECTIONS: u64 = 60;
    for speech in SPEECHES {
        with_threads(
            "redirect_the_session_of_a_stream_is_there_at_once",
            "--threads=2",
            speech,
            |lab, client, server| {
                let listener = lab.server.listen(PORT);
                let mut open = Vec::new();
                for _ in 0..CONNECTIONS {
                    let (near, far) = lab.connect_to(&listener).expect("connecting");
                    // A stream before the server says anything.
                    let much = Pattern::new(1, 300_000);
                    std::thread::scope(|scope| {
                        let sent = much.clone();
                        let near = &near;
                        scope.spawn(move || sent.write_to(near).expect("sending"));
                        read_exactly(&far, &much.bytes()).expect("what was sent");
                    });
                    (&far).write_all(b"!").expect("answering");
                    read_exactly(&near, b"!").expect("the answer");
                    open.push((near, far));
                }
                let wanted = format!(
                    "1 by key exchange, {} resumed, 0 fell back to plain, 0 reset",
                    CONNECTIONS - 1
                );
                for daemon in [client, server] {
                    assert_eq!(dumped(daemon, "So far: "), wanted);
                }
            },
        );
    }
}

/// Streams at the same time arrive unaltered, and lie on all threads alike.
#[test]
fn redirect_streams_go_at_once() {
    for (threads, shares) in [
        ("--threads=0", &[][..]),
        ("--threads=1", &[12]),
        ("--threads=4", &[3, 3, 3, 3]),
    ] {
        for speech in SPEECHES {
            with_threads(
                "redirect_streams_go_at_once",
                threads,
                speech,
                |lab, client, server| {
                    let listener = lab.server.listen(PORT);
                    let pairs: Vec<_> = (0..12)
                        .map(|_| lab.connect_to(&listener).expect("connecting"))
                        .collect();
                    // None is a stream yet.
                    assert_eq!(carried(client).0, 0);
                    std::thread::scope(|scope| {
                        for (near, far) in &pairs {
                            scope.spawn(|| carry(near, far, MUCH, MUCH));
                        }
                    });
                    let all = shares.iter().sum::<usize>();
                    for daemon in [client, server] {
                        assert_eq!(carried(daemon), (all, shares.to_vec()), "{threads}");
                        assert_eq!(daemon.netstat().len(), 12);
                    }
                    // What was a stream may also talk, and end one end after the other.
                    for (near, far) in pairs {
                        talk(&near, &far, QUESTION, ANSWER).expect("talking");
                        close_both(near, far);
                    }
                    for daemon in [client, server] {
                        let none = wait::until(SOON, || daemon.netstat().is_empty().then_some(()));
                        assert!(none.is_some(), "{:?}", daemon.netstat());
                        assert_eq!(carried(daemon), (all, vec![0; shares.len()]));
                    }
                },
            );
        }
    }
}

/// Many come and go, on one thread and on several.
#[test]
fn redirect_many_streams_come_and_go() {
    for threads in ["--threads=1", "--threads=4"] {
        let name = "redirect_many_streams_come_and_go";
        with_threads(name, threads, Speech::STANDARD, |lab, client, server| {
            let listener = lab.server.listen(PORT);
            for _ in 0..10 {
                let pairs: Vec<_> = (0..20)
                    .map(|_| lab.connect_to(&listener).expect("connecting"))
                    .collect();
                std::thread::scope(|scope| {
                    for (number, (near, far)) in pairs.into_iter().enumerate() {
                        scope.spawn(move || {
                            let octets = [MUCH / 8, 0];
                            let (up, down) = (octets[number % 2], octets[(number + 1) % 2]);
                            carry(&near, &far, up, down);
                            match number % 3 {
                                0 => close_both(near, far),
                                1 => close_both(far, near),
                                // Both at once.
                                _ => {}
                            }
                        });
                    }
                });
            }
            for daemon in [client, server] {
                let none = wait::until(SOON, || daemon.netstat().is_empty().then_some(()));
                assert!(none.is_some(), "{:?}", daemon.netstat());
                let (so_far, now) = carried(daemon);
                assert_eq!((so_far, now.iter().sum::<usize>()), (200, 0));
            }
        });
    }
}

/// Every thread has given up what it needs not; those that carry have no capability either, and can make no sockets.
#[test]
fn redirect_threads_are_confined() {
    let name = "redirect_threads_are_confined";
    with_threads(name, "--threads=3", Speech::STANDARD, |_, client, _| {
        assert_eq!(of_threads(client, "NoNewPrivs"), ["1"; 4]);
        assert_eq!(of_threads(client, "Seccomp"), ["2"; 4]);
        let users = of_threads(client, "Uid");
        assert!(users.iter().all(|user| *user == users[0]));
        let capabilities = of_threads(client, "CapPrm");
        let net_admin = format!("{:016x}", 1 << 12);
        assert_eq!(capabilities[0], net_admin);
        assert!(
            capabilities[1..]
                .iter()
                .all(|it| it.bytes().all(|c| c == b'0'))
        );
        assert_eq!(capabilities.len(), 4);
    });
}

/// A stream on a thread has its id, can be told to leave no session behind, and can be reset.
#[test]
fn redirect_programs_reach_streams_on_threads() {
    let name = "redirect_programs_reach_streams_on_threads";
    with_threads(
        name,
        "--threads=2",
        Speech::STANDARD,
        |lab, client, server| {
            let listener = lab.server.listen(PORT);
            for forgets in [true, false] {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                // The client hears nothing of the server before the stream has long gone to a thread.
                carry(&near, &far, MUCH, 0);
                let (_, now) = carried(client);
                assert_eq!(now.iter().sum::<usize>(), 1);
                let id = agreed_id(client, server, &near);
                for (daemon, stream) in [(client, &near), (server, &far)] {
                    let (here, there) = (local(stream), remote(stream));
                    let reply = daemon.client().get(SESSID, here, there, 64);
                    let reply = reply.expect("a reply");
                    assert_eq!(reply.error, 0);
                    assert_eq!(hex(&reply.data).to_uppercase(), id);
                }
                if forgets {
                    let (from, to) = (local(&near), remote(&near));
                    let reply = client.client().set(CACHE_FLUSH, from, to, 1);
                    assert_eq!(reply.expect("a reply").error, 0);
                }
                // Only now the client knows that the server has the keys.
                talk(&far, &near, QUESTION, ANSWER).expect("talking");
                close_both(near, far);
                let resumed = is_resumed(&one_talk_on(lab, client, server, &listener));
                assert_eq!(resumed, !forgets);
            }
            for (asked, other) in [(client, server), (server, client)] {
                let (mut near, mut far) = lab.connect_to(&listener).expect("connecting");
                carry(&near, &far, MUCH, MUCH);
                let stream = match std::ptr::eq(asked, client) {
                    true => &near,
                    false => &far,
                };
                let (here, there) = (local(stream), remote(stream));
                let reply = asked.client().set(RESET, here, there, 1);
                assert_eq!(reply.expect("a reply").error, 0);
                // The request is answered by the thread that has the list, which forgets it at once.
                assert_eq!(asked.netstat(), vec![]);
                expect_resets([&mut near, &mut far]);
                let none = wait::until(SOON, || other.netstat().is_empty().then_some(()));
                assert!(none.is_some());
                assert_eq!(carried(asked).1, [0, 0]);
            }
        },
    );
}

fn expect_resets(streams: [&mut TcpStream; 2]) {
    for stream in streams {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        let end = stream.read(&mut [0; 10]).map_err(|e| e.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
    }
}

/// A daemon that ends resets what its threads carry, while octets are on their way, and says its last words.
#[test]
fn redirect_the_end_of_a_daemon_resets_streams() {
    let name = "redirect_the_end_of_a_daemon_resets_streams";
    for server_ends in [false, true] {
        in_either_way(name, Speech::STANDARD, |lab, pair, way| {
            let options = way.options(&["-v", Speech::STANDARD.eno, "--threads=2"]);
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &options);
            lab.redirect(&PORT.to_string());
            let listener = lab.server.listen(PORT);
            let mut pairs: Vec<_> = (0..4)
                .map(|_| lab.connect_to(&listener).expect("connecting"))
                .collect();
            for (near, far) in &pairs {
                carry(near, far, MUCH, 0);
                // More than is read.
                near.set_nonblocking(true).expect("set");
                while (&mut &*near).write(&[7; 65536]).is_ok() {}
                near.set_nonblocking(false).expect("set");
            }
            let (ending, other) = match server_ends {
                true => (server, client),
                false => (client, server),
            };
            assert_eq!(carried(&ending), (4, vec![2, 2]));
            assert_eq!(ending.stop(), 0);
            for (near, far) in &mut pairs {
                // What came before may still be read; what follows is no end.
                for stream in [near, far] {
                    let mut buffer = vec![0; 1 << 20];
                    let end = loop {
                        match stream.read(&mut buffer) {
                            Ok(0) => panic!("an end like any other"),
                            Ok(_) => {}
                            Err(error) => break error.kind(),
                        }
                    };
                    assert_eq!(end, io::ErrorKind::ConnectionReset);
                }
            }
            let none = wait::until(SOON, || other.netstat().is_empty().then_some(()));
            assert!(none.is_some());
            assert_eq!(carried(&other), (4, vec![0, 0]));
            other.assert_well("the other's end");
        });
    }
}
