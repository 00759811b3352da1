//! Redirect mode (`-e`): the daemon as a transparent proxy, against itself, against divert mode, against plain
//! peers. Against the original: `tcpcrypt_redirect_original.rs`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use interop_tests::lab::applications::{accept, exchange, local, remote, talk};
use interop_tests::lab::case::{Pair, case};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::Mode::{
    Divert, Redirect, RedirectByProgram, RedirectOriginalOmit, RedirectOriginalRules,
    RedirectOriginalRulesByProgram,
};
use interop_tests::lab::redirect::{
    Mode, Speech, WAYS, agreed_id, between, either_end_closes_first, half_close, one_talk,
    one_talk_on,
};
use interop_tests::lab::scenarios::{
    ANSWER, QUESTION, assert_secret, busy_at_once, close_both, slow,
};
use interop_tests::lab::segment::hex;
use interop_tests::lab::wire_checks::opening;
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::program::signal;
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

/// Ours at both ends, as a proxy, with handshakes in either way.
fn redirected(name: &str, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    for speech in [Speech::LEGACY, Speech::STANDARD_IPV6] {
        speaking(name, speech, &body);
    }
}

/// The same in one dialect.
fn speaking(name: &str, speech: Speech, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    in_either_way(name, speech, |lab, pair, mode| {
        between(lab, pair, (mode, mode), speech, &body);
    });
}

/// With our rules and handshakes in either way.
fn in_either_way(name: &str, speech: Speech, body: impl Fn(&Lab, Pair, Mode)) {
    for mode in WAYS.into_iter().filter(|mode| mode.is_possible()) {
        case(name, speech.settings(), |lab, pair| {
            eprintln!("{name}: {speech:?}, {mode:?}");
            body(lab, pair, mode);
        });
    }
}

/// Whether this is the id of a session that went on.
fn is_resumed(id: &str) -> bool {
    id.starts_with(['A', '8', '9', 'B'])
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
    redirected(name, |lab, _, _| {
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

/// A peer without tcpcrypt, at either end; the server speaks first, too.
#[test]
fn redirect_plain_peers_are_served() {
    for client_has_it in [true, false] {
        let with = [
            (Redirect, Speech::LEGACY),
            (Redirect, Speech::STANDARD_IPV6),
            (RedirectByProgram, Speech::LEGACY),
            (RedirectByProgram, Speech::STANDARD_IPV6),
            (RedirectOriginalRules, Speech::UPGRADED),
            (RedirectOriginalRulesByProgram, Speech::UPGRADED),
        ];
        for (mode, speech) in with.into_iter().filter(|(mode, _)| mode.is_possible()) {
            case(
                "redirect_plain_peers_are_served",
                speech.settings(),
                |lab, pair| {
                    let (host, implementation) = match client_has_it {
                        true => (&lab.client, pair.client),
                        false => (&lab.server, pair.server),
                    };
                    let daemon =
                        Daemon::start(host, implementation, &mode.options(&["-v", speech.eno]));
                    mode.rules(host);
                    let listener = lab.server.listen(PORT);
                    for number in 0..4 {
                        let began = Instant::now();
                        let (near, far) = lab.connect_to(&listener).expect("connecting");
                        let (first, second) = match number % 2 {
                            0 => (&near, &far),
                            _ => (&far, &near),
                        };
                        talk(first, second, QUESTION, ANSWER).expect("talking");
                        assert!(
                            began.elapsed() < Duration::from_millis(800),
                            "{:?}",
                            began.elapsed()
                        );
                        // Ours leave them alone: the application sees its real peer.
                        if WAYS.contains(&mode) && !client_has_it {
                            assert_eq!(remote(&far), local(&near));
                        }
                        exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                        assert_eq!(daemon.netstat(), vec![]);
                    }
                    daemon.assert_well("plain peers");
                },
            );
        }
    }
}

#[test]
fn redirect_options_stripped_give_plain_tcp() {
    let name = "redirect_options_stripped_give_plain_tcp";
    for (at_server, server_first, speech, kind) in [
        (true, false, Speech::LEGACY, 253),
        (false, true, Speech::LEGACY, 253),
        (true, true, Speech::STANDARD_IPV6, 69),
        (false, false, Speech::STANDARD_IPV6, 69),
        (true, false, Speech::UPGRADED, 253),
        (false, true, Speech::UPGRADED, 253),
    ] {
        {
            speaking(name, speech, |lab, client, server| {
                // In front of the rule that shows SYNs to the daemon.
                let (host, flags) = match at_server {
                    true => (&lab.server, "SYN"),
                    false => (&lab.client, "SYN,ACK"),
                };
                let strip = format!(
                    "PREROUTING -p tcp --tcp-flags SYN,ACK {flags} -j TCPOPTSTRIP --strip-options {kind}"
                );
                host.rule(&format!("-t mangle -I {strip}"));
                let tap = lab.tap();
                for _ in 0..2 {
                    let (near, far) = lab.connection(PORT).expect("connecting");
                    let (first, second) = if server_first {
                        (&far, &near)
                    } else {
                        (&near, &far)
                    };
                    talk(first, second, QUESTION, ANSWER).expect("talking");
                    exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                    assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
                }
                assert!(tap.contains(QUESTION));
                // The second time the peer was known to be plain: it was not asked.
                let asked = tap.segments().iter().filter(|s| s.eno().is_some()).count();
                assert_eq!(
                    asked,
                    if at_server { 1 } else { 2 },
                    "SYN, and SYN-ACK before the strip"
                );
            });
        }
    }
}

/// Connections that say nothing cost little.
#[test]
fn redirect_idle_connections_are_cheap() {
    let name = "redirect_idle_connections_are_cheap";
    redirected(name, |lab, client, server| {
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

/// Starting the rules twice does no harm.
#[test]
fn redirect_rules_may_be_there_twice() {
    let name = "redirect_rules_may_be_there_twice";
    redirected(name, |lab, client, server| {
        lab.redirect(&PORT.to_string());
        for _ in 0..3 {
            one_talk(lab, client, server);
        }
    });
}

/// An application that chose one of its host's addresses keeps it.
#[test]
fn redirect_keeps_the_applications_address() {
    let name = "redirect_keeps_the_applications_address";
    redirected(name, |lab, client, server| {
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

/// Where the rules do not lead answers back, servers are served all the same.
#[test]
fn redirect_without_a_route_of_its_own() {
    let name = "redirect_without_a_route_of_its_own";
    redirected(name, |lab, client, server| {
        for family in ["-4", "-6"] {
            lab.server
                .script(&format!("ip {family} route flush table 65530 || true"));
        }
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        assert_eq!(remote(&far).ip(), local(&far).ip());
        agreed_id(client, server, &near);
    });
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
    redirected("redirect_loss_is_repaired", |lab, _, _| {
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
    let count = if slow() { 10_000_u32 } else { 500 };
    redirected("redirect_short_connections", |lab, client, server| {
        let listener = lab.server.listen(PORT);
        for number in 0..count {
            let one = || -> io::Result<(TcpStream, TcpStream)> {
                let (near, far) = lab.connect_to(&listener)?;
                talk(&near, &far, &number.to_be_bytes(), b"four")?;
                Ok((near, far))
            };
            let (near, far) = one().unwrap_or_else(|e| panic!("connection {number}: {e}"));
            close_both(near, far);
        }
        one_talk_on(lab, client, server, &listener);
    });
}

/// The signal that the rule script sends before it takes the rules away means divert mode, where plain text would
/// leave without them.
#[test]
fn redirect_goes_on_when_told_that_the_rules_go() {
    let name = "redirect_goes_on_when_told_that_the_rules_go";
    redirected(name, |lab, client, server| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        for daemon in [client, server] {
            signal(daemon.pid(), "USR2");
        }
        talk(&near, &far, QUESTION, ANSWER).expect("the connection goes on");
        one_talk(lab, client, server);
    });
}

#[test]
fn redirect_many_connections_at_once() {
    redirected(
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
    redirected(
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

#[test]
fn redirect_restarts_of_either_daemon() {
    in_either_way(
        "redirect_restarts_of_either_daemon",
        Speech::LEGACY,
        |lab, pair, mode| {
            let options = mode.options(&["-v"]);
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &options);
            lab.redirect(&PORT.to_string());
            one_talk(lab, &client, &server);
            assert_eq!(server.stop(), 0);
            let server = Daemon::start(&lab.server, pair.server, &options);
            assert!(!is_resumed(&one_talk(lab, &client, &server)));
            assert!(is_resumed(&one_talk(lab, &client, &server)));
            assert_eq!(client.stop(), 0);
            let client = Daemon::start(&lab.client, pair.client, &options);
            assert!(!is_resumed(&one_talk(lab, &client, &server)));
            assert!(is_resumed(&one_talk(lab, &client, &server)));
        },
    );
}

/// A daemon that is killed resets its connections; new ones are plain.
#[test]
fn redirect_a_killed_daemon_opens_the_way() {
    for client_dies in [true, false] {
        in_either_way(
            "redirect_a_killed_daemon_opens_the_way",
            Speech::LEGACY,
            |lab, pair, mode| {
                let options = mode.options(&["-v"]);
                let client = Daemon::start(&lab.client, pair.client, &options);
                let server = Daemon::start(&lab.server, pair.server, &options);
                lab.redirect(&PORT.to_string());
                let listener = lab.server.listen(PORT);
                let (mut near, mut far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let (dead, other) = match client_dies {
                    true => (client, server),
                    false => (server, client),
                };
                dead.kill();
                for stream in [&mut near, &mut far] {
                    let end = stream.read(&mut [0; 10]).map_err(|e| e.kind());
                    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
                }
                let (near, far) = lab.connect_to(&listener).expect("connecting without it");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                close_both(near, far);
                other.assert_well("the other's death");
            },
        );
    }
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
