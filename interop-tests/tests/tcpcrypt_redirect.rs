//! Redirect mode (`-e`): the daemon as a transparent proxy, against itself, against divert mode, against plain
//! peers. Against the original: `tcpcrypt_redirect_original.rs`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use interop_tests::lab::applications::{accept, exchange, local, remote, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::Mode::{
    Divert, Redirect, RedirectByProgram, RedirectOriginalOmit, RedirectOriginalRules,
    RedirectOriginalRulesByProgram,
};
use interop_tests::lab::redirect::{
    Mode, Speech, WAYS, agreed_id, between, either_end_closes_first, half_close, in_both_dialects,
    is_resumed, one_talk, one_talk_on, speaking,
};
use interop_tests::lab::scenarios::{
    ANSWER, QUESTION, assert_secret, busy_at_once, close_both, one_after_the_other, slow,
};
use interop_tests::lab::segment::hex;
use interop_tests::lab::wire_checks::opening;
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::wait::{self, SOON};

/// Pairs of modes that have the proxy at one end at least, and where the original's rules come in, over IPv4 only.
const MODES: [(Mode, Mode); 5] = [
    (Redirect, Redirect),
    (Redirect, Divert),
    (Divert, Redirect),
    (RedirectOriginalRules, RedirectOriginalRules),
    (RedirectOriginalOmit, RedirectOriginalOmit),
];

/// The same where the program does handshakes.
const MODES_BY_PROGRAM: [(Mode, Mode); 4] = [
    (RedirectByProgram, RedirectByProgram),
    (RedirectByProgram, Divert),
    (Divert, RedirectByProgram),
    (
        RedirectOriginalRulesByProgram,
        RedirectOriginalRulesByProgram,
    ),
];

/// Ours at both ends, in each of these pairs and both dialects.
fn in_all_modes(name: &str, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    in_modes(name, Speech::LEGACY, &MODES, &body);
    in_modes(name, Speech::UPGRADED, &[MODES[0], MODES[3]], &body);
    in_modes(name, Speech::STANDARD_IPV6, &MODES[..3], &body);
    in_modes(name, Speech::LEGACY, &MODES_BY_PROGRAM, &body);
    in_modes(name, Speech::UPGRADED, &MODES_BY_PROGRAM[..1], &body);
    in_modes(name, Speech::STANDARD_IPV6, &MODES_BY_PROGRAM[..1], &body);
}

/// In these modes and one dialect.
fn in_modes(
    name: &str,
    speech: Speech,
    modes: &[(Mode, Mode)],
    body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>),
) {
    for &modes in modes {
        case(name, speech.settings(), |lab, pair| {
            eprintln!("{name}: {speech:?}, {modes:?}");
            between(lab, pair, modes, speech, &body);
        });
    }
}

#[test]
fn redirect_a_connection_is_encrypted_with_one_id() {
    let name = "redirect_a_connection_is_encrypted_with_one_id";
    in_all_modes(name, |lab, client, server| {
        let tap = lab.tap();
        let began = Instant::now();
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let took = began.elapsed();
        assert!(took < Duration::from_millis(800), "{took:?}");
        assert!(!is_resumed(&agreed_id(client, server, &near)));
        close_both(near, far);
        assert_secret(&tap);
        let rows = (client.netstat(), server.netstat());
        let gone = wait::until(Duration::from_secs(3), || {
            (client.netstat().is_empty() && server.netstat().is_empty()).then_some(())
        });
        assert!(gone.is_some(), "{rows:?}");
    });
}

#[test]
fn redirect_the_handshake_looks_as_the_specification_says() {
    let name = "redirect_the_handshake_looks_as_the_specification_says";
    speaking(name, Speech::LEGACY, |lab, _, _| {
        let tap = lab.tap();
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let seen = tap.segments();
        let syn = seen
            .iter()
            .find(|s| s.destination.port() == PORT)
            .expect("a SYN");
        let port = syn.source.port();
        let opening = opening(&seen, port);
        assert_eq!(
            opening.syn.as_deref().map(hex).as_deref(),
            Some("fd06454e2122")
        );
        assert_eq!(
            opening.syn_ack.as_deref().map(hex).as_deref(),
            Some("fd05454e21")
        );
        assert!(opening.exchanged);
        let third = seen.iter().filter(|s| s.source.port() == port).nth(1);
        let third = third.expect("a third segment");
        assert_eq!(third.eno().map(hex).as_deref(), Some("fd04454e"));
        assert_eq!(third.payload.len(), 110);
        interop_tests::lab::wire_checks::assert_only_records(&seen, port);
        close_both(near, far);
    });
}

#[test]
fn redirect_later_connections_resume_the_first() {
    let name = "redirect_later_connections_resume_the_first";
    in_all_modes(name, |lab, client, server| {
        let mut ids = Vec::new();
        for number in 0..6 {
            let id = one_talk(lab, client, server);
            assert_eq!(is_resumed(&id), number > 0, "{number}: {id}");
            assert!(!ids.contains(&id), "the same id twice");
            ids.push(id);
        }
    });
}

#[test]
fn redirect_bulk_arrives_unaltered() {
    let name = "redirect_bulk_arrives_unaltered";
    let size: u64 = if slow() { 1_000_000_000 } else { 100_000_000 };
    in_both_dialects(name, |lab, _, _| {
        let listener = lab.server.listen(PORT);
        for (up, down) in [(size, 0), (0, size), (size / 4, size / 4)] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
        }
    });
    in_all_modes(name, |lab, _, _| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 5_000_000, 5_000_000).expect("exchanging");
    });
}

#[test]
fn redirect_either_end_closes_first_and_still_reads() {
    let name = "redirect_either_end_closes_first_and_still_reads";
    in_all_modes(name, |lab, _, _| either_end_closes_first(lab));
}

#[test]
fn redirect_a_reset_of_either_end_arrives() {
    let name = "redirect_a_reset_of_either_end_arrives";
    in_all_modes(name, |lab, _, _| {
        let listener = lab.server.listen(PORT);
        for by_client in [true, false] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let (first, mut second) = if by_client { (near, far) } else { (far, near) };
            rustix::net::sockopt::set_socket_linger(&first, Some(Duration::ZERO)).expect("linger");
            drop(first);
            let end = second.read(&mut [0; 10]).map_err(|e| e.kind());
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{by_client}");
        }
    });
}

#[test]
fn redirect_a_closed_port_refuses() {
    in_all_modes("redirect_a_closed_port_refuses", |lab, client, server| {
        for _ in 0..3 {
            let began = Instant::now();
            let result = lab.client.connect(lab.server_address(PORT));
            let kind = result.map_err(|e| e.kind()).err();
            assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused));
            assert!(began.elapsed() < Duration::from_millis(800));
        }
        one_talk(lab, client, server);
    });
}

/// Connections that say nothing cost little.
#[test]
fn redirect_idle_connections_are_cheap() {
    let name = "redirect_idle_connections_are_cheap";
    in_both_dialects(name, |lab, client, server| {
        let listener = lab.server.listen(PORT);
        let open = |count: usize| -> Vec<(TcpStream, TcpStream)> {
            let one = || {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                (near, far)
            };
            (0..count).map(|_| one()).collect()
        };
        let _first = open(50);
        let before = [client.resident_kib(), server.resident_kib()];
        let _idle = open(300);
        for (daemon, before) in [client, server].into_iter().zip(before) {
            let each = (daemon.resident_kib().saturating_sub(before)) * 1024 / 300;
            eprintln!("{each} bytes for each connection");
            assert!(each < 12_000, "{each}");
        }
    });
}

/// An application that chose one of its host's addresses keeps it.
#[test]
fn redirect_keeps_the_applications_address() {
    let name = "redirect_keeps_the_applications_address";
    in_both_dialects(name, |lab, client, server| {
        let own: IpAddr = match lab.client.address6 {
            None => [10, 77, 0, 9].into(),
            Some(_) => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 9).into(),
        };
        let (length, flags) = if own.is_ipv6() {
            (64, "nodad")
        } else {
            (24, "")
        };
        lab.client
            .script(&format!("ip addr add {own}/{length} dev wire {flags}"));
        let listener = lab.server.listen(PORT);
        let near = lab.client.within(|| {
            use rustix::net::{AddressFamily, SocketType};
            let family = match own {
                IpAddr::V4(_) => AddressFamily::INET,
                IpAddr::V6(_) => AddressFamily::INET6,
            };
            let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
            rustix::net::bind(&socket, &SocketAddr::new(own, 0)).expect("bound");
            rustix::net::connect(&socket, &lab.server_address(PORT)).expect("connecting");
            TcpStream::from(socket)
        });
        assert_eq!(local(&near).ip(), own);
        let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        agreed_id(client, server, &near);
    });
}

/// A server sees who is connected to it, encrypted or not, also when a client uses its port again.
#[test]
fn redirect_a_server_sees_its_clients_address() {
    let name = "redirect_a_server_sees_its_clients_address";
    for (modes, speech) in [
        ((Redirect, Redirect), Speech::LEGACY),
        ((Redirect, Redirect), Speech::STANDARD_IPV6),
        (
            (RedirectByProgram, RedirectByProgram),
            Speech::STANDARD_IPV6,
        ),
        ((Divert, Redirect), Speech::LEGACY),
        ((Divert, Redirect), Speech::STANDARD_IPV6),
    ] {
        case(name, speech.settings(), |lab, pair| {
            between(lab, pair, modes, speech, |lab, client, server| {
                let listener = lab.server.listen(PORT);
                for by_client in [true, false, true] {
                    // As soon as the kernel lets it: the last connection may have been a moment ago.
                    let near = wait::until(SOON, || {
                        let to = lab.server_address(PORT);
                        lab.client.connect_from(40_404, to).ok()
                    });
                    let near = near.expect("connecting");
                    let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
                    talk(&near, &far, QUESTION, ANSWER).expect("talking");
                    assert_eq!(remote(&far).ip(), local(&near).ip());
                    // A proxy at the client's end has another port on the wire.
                    assert!(modes.0 != Divert || remote(&far) == local(&near));
                    let id = agreed_id(client, server, &near);
                    assert!(server.row_of(local(&far), remote(&far)).is_some(), "{id}");
                    match by_client {
                        true => close_both(near, far),
                        false => close_both(far, near),
                    }
                }
            });
        });
    }
}

#[test]
fn redirect_the_server_may_speak_first() {
    in_all_modes(
        "redirect_the_server_may_speak_first",
        |lab, client, server| {
            let listener = lab.server.listen(PORT);
            for _ in 0..4 {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                let began = Instant::now();
                talk(&far, &near, ANSWER, QUESTION).expect("talking");
                assert!(began.elapsed() < Duration::from_millis(800));
                agreed_id(client, server, &near);
                exchange(&near, &far, 300_000, 300_000).expect("exchanging");
            }
        },
    );
}

/// Without selective acknowledgements a peer is taken for the original in divert mode: whoever is not must come to
/// no harm.
#[test]
fn redirect_without_sack_nothing_is_lost() {
    let name = "redirect_without_sack_nothing_is_lost";
    // In the standard nobody is taken for the original.
    let dialects = [
        (Speech::LEGACY, &MODES[..]),
        (Speech::LEGACY, &MODES_BY_PROGRAM[..1]),
        (Speech::STANDARD, &MODES[..1]),
    ];
    for (speech, modes) in dialects {
        in_modes(name, speech, modes, |lab, client, server| {
            for host in lab.hosts() {
                host.script("echo 0 >/proc/sys/net/ipv4/tcp_sack");
            }
            let listener = lab.server.listen(PORT);
            for (up, down) in [(40_000_000, 0), (0, 40_000_000), (10_000_000, 10_000_000)] {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
            }
            for by_client in [true, false] {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                match by_client {
                    true => half_close(near, far),
                    false => half_close(far, near),
                }
            }
            for _ in 0..5 {
                one_talk_on(lab, client, server, &listener);
            }
            // Nothing is left hanging behind the last FIN.
            let closed = wait::until(Duration::from_secs(5), || {
                let left = "ss -Htan state fin-wait-1 state closing state last-ack";
                let all: String = lab.hosts().iter().map(|host| host.output(left)).collect();
                all.is_empty().then_some(())
            });
            assert!(closed.is_some());
        });
    }
}

#[test]
fn redirect_loss_is_repaired() {
    in_both_dialects("redirect_loss_is_repaired", |lab, _, _| {
        lab.lose(0.02);
        let listener = lab.server.listen(PORT);
        for (up, down) in [(3_000_000, 0), (0, 3_000_000), (1_000_000, 1_000_000)] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
        }
    });
}

#[test]
fn redirect_short_connections() {
    let many = if slow() { 10_000_u32 } else { 500 };
    let name = "redirect_short_connections";
    for speech in [Speech::LEGACY, Speech::STANDARD_IPV6] {
        for modes in [&MODES[..1], &MODES_BY_PROGRAM[..1]] {
            in_modes(name, speech, modes, |lab, client, server| {
                let listener = lab.server.listen(PORT);
                one_after_the_other(lab, &listener, many);
                one_talk_on(lab, client, server, &listener);
            });
        }
    }
}

#[test]
fn redirect_many_connections_at_once() {
    in_both_dialects(
        "redirect_many_connections_at_once",
        |lab, client, server| {
            let listener = lab.server.listen(PORT);
            busy_at_once(lab, &listener, 50, 200_000);
            one_talk_on(lab, client, server, &listener);
        },
    );
}

/// A reader that does not read stops the writer; then everything arrives.
#[test]
fn redirect_a_slow_reader_stops_the_writer() {
    in_both_dialects(
        "redirect_a_slow_reader_stops_the_writer",
        |lab, _, server| {
            let (near, far) = lab.connection(PORT).expect("connecting");
            near.set_write_timeout(Some(Duration::from_millis(300)))
                .expect("timeout");
            let block = vec![9; 65536];
            let mut sent = 0_usize;
            while let Ok(count) = (&near).write(&block) {
                sent += count;
                assert!(sent < 200_000_000, "nothing stops the writer");
            }
            assert!(server.resident_kib() < 100_000);
            near.shutdown(Shutdown::Write).expect("closing");
            let mut all = 0;
            let mut buffer = vec![0; 65536];
            loop {
                match (&far).read(&mut buffer).expect("reading") {
                    0 => break,
                    count => all += count,
                }
            }
            assert_eq!(all, sent);
        },
    );
}

/// The server's application asks with the addresses that it sees.
#[test]
fn redirect_both_applications_can_ask() {
    use interop_tests::lab::control::SESSID;
    for speech in [Speech::LEGACY, Speech::STANDARD] {
        speaking(
            "redirect_both_applications_can_ask",
            speech,
            |lab, client, server| {
                let (near, far) = lab.connection(PORT).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let id = agreed_id(client, server, &near);
                for (daemon, stream) in [(client, &near), (server, &far)] {
                    let (here, there) = (local(stream), remote(stream));
                    let reply = daemon
                        .client()
                        .get(SESSID, here, there, 64)
                        .expect("a reply");
                    assert_eq!(reply.error, 0);
                    assert_eq!(hex(&reply.data).to_uppercase(), id);
                }
            },
        );
    }
}

/// Explicit congestion notification puts two flags into the SYN.
#[test]
fn redirect_works_with_ecn() {
    let with_ecn = |modes: (Mode, Mode), speech: Speech, body: &dyn Fn(&Lab, [&Daemon<'_>; 2])| {
        let settings = Settings {
            ecn: true,
            ..speech.settings()
        };
        case("redirect_works_with_ecn", settings, |lab, pair| {
            between(lab, pair, modes, speech, |lab, client, server| {
                body(lab, [client, server]);
            });
        });
    };
    for speech in [Speech::LEGACY, Speech::STANDARD_IPV6] {
        for way in WAYS {
            with_ecn((way, way), speech, &|lab, [client, server]| {
                one_talk(lab, client, server);
            });
        }
    }
    // The original's rules overlook such handshakes: the connection stands, though in the clear.
    for (mode, speech) in [
        (RedirectOriginalRules, Speech::LEGACY),
        (RedirectOriginalRules, Speech::STANDARD),
        (RedirectOriginalRulesByProgram, Speech::LEGACY),
        (RedirectOriginalRulesByProgram, Speech::STANDARD),
    ] {
        with_ecn((mode, mode), speech, &|lab, _| {
            let listener = lab.server.listen(PORT);
            for _ in 0..3 {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                close_both(near, far);
            }
        });
    }
}
