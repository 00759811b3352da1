//! Two daemons of the subject, divert mode, a tap on the cable between them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};
use std::time::Duration;

use interop_tests::lab::applications::{accept, exchange, local, read_exactly, remote, talk};
use interop_tests::lab::capture::Capture;
use interop_tests::lab::case::{Pair, case};
use interop_tests::lab::control::{APP_SUPPORT, ENABLE, NOCACHE, SESSID};
use interop_tests::lab::daemon::{Daemon, Row};
use interop_tests::lab::segment::{RST, SYN, hex};
use interop_tests::lab::wire_checks::{assert_only_records, opening};
use interop_tests::lab::{Lab, PORT, Settings};

const QUESTION: &[u8] = b"a question that nobody else may read";
const ANSWER: &[u8] = b"an answer that nobody else may read, either";

/// Daemons on both hosts, the rules, and then what happens.
fn with_daemons(name: &str, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    with_options(name, &[], &[], body);
}

fn with_options(
    name: &str,
    client: &[&str],
    server: &[&str],
    body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>),
) {
    case(name, Settings::default(), |lab, pair: Pair| {
        let client = Daemon::start(&lab.client, pair.client, client);
        let server = Daemon::start(&lab.server, pair.server, server);
        lab.divert(&PORT.to_string());
        body(lab, &client, &server);
        client.assert_well("the test");
        server.assert_well("the test");
    });
}

/// Opens a connection, talks, compares the rows of both ends, closes in order. Gives the id
/// and the client's port.
fn one_talk(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> (String, u16) {
    let (near, far) = lab.connection(PORT).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let (here, there) = (local(&near), remote(&near));
    let row = client.row_of(here, there).expect("the client's row");
    let other = server.row_of(there, here).expect("the server's row");
    assert_eq!(row.id, other.id);
    close_both(near, far);
    (row.id, here.port())
}

/// An orderly end, client first, seen by both.
fn close_both(mut near: std::net::TcpStream, mut far: std::net::TcpStream) {
    near.shutdown(Shutdown::Write).expect("closing");
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).expect("the client's end");
    drop(far);
    near.read_to_end(&mut rest).expect("the server's end");
    assert!(rest.is_empty());
}

fn assert_secret(tap: &Capture) {
    for text in [QUESTION, ANSWER] {
        assert!(!tap.contains(&text[..12]), "plaintext on the cable");
    }
}

#[test]
fn a_connection_is_encrypted_with_one_id_at_both_ends() {
    with_daemons(
        "a_connection_is_encrypted_with_one_id_at_both_ends",
        |lab, client, server| {
            let tap = lab.tap();
            let (id, port) = one_talk(lab, client, server);
            assert_eq!(&id[..2], "21");
            let seen = tap.segments();
            let opening = opening(&seen, port);
            let wanted = ("fd06454e2122".to_owned(), "fd05454e21".to_owned());
            let got = (opening.syn.as_deref(), opening.syn_ack.as_deref());
            assert_eq!(
                got,
                (Some(&*unhexed(&wanted.0)), Some(&*unhexed(&wanted.1)))
            );
            assert!(opening.exchanged);
            assert_only_records(&seen, port);
            assert_secret(&tap);
        },
    );
}

fn unhexed(text: &str) -> Vec<u8> {
    interop_tests::lab::segment::unhex(text)
}

#[test]
fn init1_travels_whole_in_the_segment_with_the_short_option() {
    with_daemons(
        "init1_travels_whole_in_the_segment_with_the_short_option",
        |lab, client, server| {
            let tap = lab.tap();
            let (_, port) = one_talk(lab, client, server);
            let seen = tap.segments();
            let of_client = |s: &&interop_tests::lab::segment::Segment| s.source.port() == port;
            let third = seen
                .iter()
                .filter(of_client)
                .nth(1)
                .expect("a third segment");
            assert_eq!(
                third.eno().map(hex).as_deref(),
                Some("fd04454e"),
                "{third:?}"
            );
            assert_eq!(third.payload.len(), 110, "{third:?}");
            let later = seen.iter().filter(|s| !s.has(SYN) && s.eno().is_some());
            assert!(
                later
                    .into_iter()
                    .all(|s| s.source.port() == port && s.seq == third.seq)
            );
        },
    );
}

#[test]
fn bulk_in_both_directions_arrives_unaltered() {
    with_daemons("bulk_in_both_directions_arrives_unaltered", |lab, _, _| {
        let size: u64 = if slow() { 100 << 20 } else { 8 << 20 };
        let listener = lab.server.listen(PORT);
        for (up, down) in [(size, 0), (0, size), (size / 4, size / 4)] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
        }
    });
}

fn slow() -> bool {
    std::env::var_os("KX_SLOW").is_some()
}

#[test]
fn eight_hundred_short_connections() {
    with_daemons("eight_hundred_short_connections", |lab, client, server| {
        let listener = lab.server.listen(PORT);
        for number in 0..800_u32 {
            let (near, far) = lab
                .connect_to(&listener)
                .unwrap_or_else(|e| panic!("connection {number}: {e}"));
            talk(&near, &far, &number.to_be_bytes(), b"four")
                .unwrap_or_else(|e| panic!("connection {number}: {e}"));
            close_both(near, far);
        }
        one_talk_on(lab, client, server, &listener);
    });
}

fn one_talk_on(
    lab: &Lab,
    client: &Daemon<'_>,
    server: &Daemon<'_>,
    listener: &std::net::TcpListener,
) -> Row {
    let (near, far) = lab.connect_to(listener).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let row = client.row_of(local(&near), remote(&near)).expect("a row");
    let other = server.row_of(remote(&near), local(&near)).expect("a row");
    assert_eq!(row.id, other.id);
    close_both(near, far);
    row
}

#[test]
fn many_connections_at_once() {
    with_daemons("many_connections_at_once", |lab, client, server| {
        let listener = lab.server.listen(PORT);
        let mut open = Vec::new();
        for _ in 0..20 {
            open.push(lab.connect_to(&listener).expect("connecting"));
        }
        std::thread::scope(|scope| {
            for (near, far) in &open {
                scope.spawn(|| exchange(near, far, 60_000, 60_000).expect("exchanging"));
            }
        });
        drop(open);
        one_talk_on(lab, client, server, &listener);
    });
}

#[test]
fn the_client_closes_first_and_still_reads() {
    with_daemons("the_client_closes_first_and_still_reads", |lab, _, _| {
        let (mut near, mut far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        near.shutdown(Shutdown::Write).expect("half-closing");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).expect("the client's end");
        for _ in 0..5 {
            far.write_all(ANSWER)
                .expect("writing after the client's end");
            read_exactly(&near, ANSWER).expect("reading after one's own end");
        }
        drop(far);
        near.read_to_end(&mut rest).expect("the server's end");
        assert!(rest.is_empty());
    });
}

#[test]
fn the_server_closes_first_and_still_reads() {
    with_daemons("the_server_closes_first_and_still_reads", |lab, _, _| {
        let (mut near, mut far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        far.shutdown(Shutdown::Write).expect("half-closing");
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).expect("the server's end");
        for _ in 0..5 {
            near.write_all(QUESTION)
                .expect("writing after the server's end");
            read_exactly(&far, QUESTION).expect("reading after one's own end");
        }
        drop(near);
        far.read_to_end(&mut rest).expect("the client's end");
        assert!(rest.is_empty());
    });
}

#[test]
fn a_reset_of_either_end_arrives() {
    with_daemons("a_reset_of_either_end_arrives", |lab, _, _| {
        let listener = lab.server.listen(PORT);
        for by_client in [true, false] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let (first, mut second) = if by_client { (near, far) } else { (far, near) };
            rustix::net::sockopt::set_socket_linger(&first, Some(Duration::ZERO)).expect("linger");
            drop(first);
            let end = second.read(&mut [0; 10]).map_err(|e| e.kind());
            assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset), "{by_client}");
        }
    });
}

#[test]
fn a_closed_port_refuses() {
    with_daemons("a_closed_port_refuses", |lab, _, _| {
        let result = lab.client.connect(lab.server_address(PORT));
        let kind = result.map_err(|e| e.kind());
        assert_eq!(kind.err(), Some(std::io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn later_connections_resume_the_first_each_with_an_id_of_its_own() {
    with_daemons(
        "later_connections_resume_the_first_each_with_an_id_of_its_own",
        |lab, client, server| {
            let tap = lab.tap();
            let mut ids = Vec::new();
            for number in 0..6 {
                let (id, port) = one_talk(lab, client, server);
                let opening = opening(&tap.segments(), port);
                let syn = opening.syn.expect("ENO in the SYN");
                let syn_ack = hex(&opening.syn_ack.expect("ENO in the SYN-ACK"));
                if number == 0 {
                    assert_eq!((&id[..2], syn.len(), &*syn_ack), ("21", 6, "fd05454e21"));
                } else {
                    // The original reads the name's random bytes for the application-aware
                    // bit, too, and then has one byte more in front.
                    let plain = syn_ack == "fd05454ea1" || syn_ack == "fd06454e04a1";
                    assert!(plain, "{syn_ack}");
                    assert_eq!((&id[..2], syn.len()), ("A1", 16));
                    // The name on the wire is the beginning of the id.
                    assert_eq!(hex(&syn[6..]).to_uppercase(), id[..20]);
                }
                assert_eq!(opening.exchanged, number == 0);
                assert!(!ids.contains(&id), "the same id twice");
                ids.push(id);
                assert_only_records(&tap.segments(), port);
            }
            assert_secret(&tap);
        },
    );
}

#[test]
fn without_a_cache_on_either_side_every_exchange_is_full() {
    for (number, (client, server)) in [(&["-c"][..], &[][..]), (&[], &["-c"])].iter().enumerate() {
        let name = "without_a_cache_on_either_side_every_exchange_is_full";
        with_options(name, client, server, |lab, client, server| {
            let tap = lab.tap();
            for _ in 0..3 {
                let (id, port) = one_talk(lab, client, server);
                let opening = opening(&tap.segments(), port);
                assert!(opening.exchanged, "side {number}");
                assert_eq!(&id[..2], "21");
            }
        });
    }
}

#[test]
fn a_server_that_forgot_gets_a_full_exchange_in_the_same_connection() {
    case(
        "a_server_that_forgot_gets_a_full_exchange_in_the_same_connection",
        Settings::default(),
        |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            let tap = lab.tap();
            one_talk(lab, &client, &server);
            server.stop();
            let server = Daemon::start(&lab.server, pair.server, &[]);
            let (id, port) = one_talk(lab, &client, &server);
            let seen = opening(&tap.segments(), port);
            assert_eq!(seen.syn.map(|o| o.len()), Some(16));
            assert_eq!(
                seen.syn_ack.as_deref().map(hex).as_deref(),
                Some("fd05454e21")
            );
            assert!(seen.exchanged);
            assert_eq!(&id[..2], "21");
            // And the new chain goes on.
            let (id, _) = one_talk(lab, &client, &server);
            assert_eq!(&id[..2], "A1");
        },
    );
}

#[test]
fn a_client_that_forgot_starts_anew() {
    case(
        "a_client_that_forgot_starts_anew",
        Settings::default(),
        |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            one_talk(lab, &client, &server);
            client.stop();
            let client = Daemon::start(&lab.client, pair.client, &[]);
            assert_eq!(&one_talk(lab, &client, &server).0[..2], "21");
            assert_eq!(&one_talk(lab, &client, &server).0[..2], "A1");
        },
    );
}

#[test]
fn a_peer_without_a_daemon_gets_plain_tcp() {
    for on_client in [true, false] {
        case(
            "a_peer_without_a_daemon_gets_plain_tcp",
            Settings::default(),
            |lab, pair| {
                let host = if on_client { &lab.client } else { &lab.server };
                let daemon = Daemon::start(host, pair.client, &[]);
                host.divert(&PORT.to_string());
                let listener = lab.server.listen(PORT);
                let tap = lab.tap();
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                assert!(tap.contains(QUESTION) && tap.contains(ANSWER));
                let seen = opening(&tap.segments(), local(&near).port());
                assert_eq!((seen.syn.is_some(), seen.syn_ack), (on_client, None));
                assert_eq!(daemon.netstat(), []);
                close_both(near, far);
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                exchange(&near, &far, 2 << 20, 2 << 20).expect("exchanging");
                daemon.assert_well("a plain peer");
            },
        );
    }
}

#[test]
fn options_stripped_from_the_syn_or_the_syn_ack_give_plain_tcp() {
    for (on_server, flags) in [(true, "SYN"), (false, "SYN,ACK")] {
        with_daemons(
            "options_stripped_from_the_syn_or_the_syn_ack_give_plain_tcp",
            |lab, client, server| {
                let host = if on_server { &lab.server } else { &lab.client };
                host.strip_incoming(253, &format!("--tcp-flags SYN,ACK {flags}"));
                let (near, far) = lab.connection(PORT).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
            },
        );
    }
}

#[test]
fn a_disabled_daemon_passes_everything_untouched() {
    with_options(
        "a_disabled_daemon_passes_everything_untouched",
        &["-d"],
        &[],
        |lab, client, server| {
            let tap = lab.tap();
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            assert!(tap.contains(QUESTION));
            assert_eq!(opening(&tap.segments(), local(&near).port()).syn, None);
            assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
        },
    );
}

#[test]
fn accept_and_modify_mode_change_nothing() {
    for option in ["-a", "-m"] {
        with_options(
            "accept_and_modify_mode_change_nothing",
            &[option],
            &[option],
            |lab, _, _| {
                let tap = lab.tap();
                let (near, far) = lab.connection(PORT).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let seen = tap.segments();
                assert_eq!(opening(&seen, local(&near).port()).syn, None, "{option}");
                assert!(tap.contains(QUESTION), "{option}");
                drop(tap);
                exchange(&near, &far, 4 << 20, 4 << 20).expect("exchanging");
            },
        );
    }
}

#[test]
fn an_application_can_ask_for_plain_tcp_before_it_connects() {
    with_daemons(
        "an_application_can_ask_for_plain_tcp_before_it_connects",
        |lab, client, _| {
            let own = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 31_000);
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            let reply = client
                .client()
                .set(ENABLE, own, nobody, 0)
                .expect("a reply");
            assert_eq!(reply.error, 0);
            let listener = lab.server.listen(PORT);
            let tap = lab.tap();
            let near = lab
                .client
                .connect_from(31_000, lab.server_address(PORT))
                .expect("connecting");
            let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            assert!(tap.contains(QUESTION));
            let reply = client.client().get(ENABLE, local(&near), remote(&near), 4);
            // Nothing is known of the connection now, so that the port's default may be told.
            assert_eq!(reply.expect("a reply").error, 0);
        },
    );
}

#[test]
fn an_application_can_forbid_resumption_before_it_connects() {
    with_daemons(
        "an_application_can_forbid_resumption_before_it_connects",
        |lab, client, server| {
            one_talk(lab, client, server);
            let own = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 31_001);
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            let reply = client
                .client()
                .set(NOCACHE, own, nobody, 1)
                .expect("a reply");
            assert_eq!(reply.error, 0);
            let listener = lab.server.listen(PORT);
            let near = lab
                .client
                .connect_from(31_001, lab.server_address(PORT))
                .expect("connecting");
            let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let row = client.row_of(local(&near), remote(&near)).expect("a row");
            assert_eq!(&row.id[..2], "21");
        },
    );
}

#[test]
fn both_applications_learn_that_the_other_is_aware() {
    with_daemons(
        "both_applications_learn_that_the_other_is_aware",
        |lab, client, server| {
            let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
            let own = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
            for (daemon, port) in [(client, 31_002), (server, PORT)] {
                let reply = daemon.client().set(APP_SUPPORT, own(port), nobody, 1);
                assert_eq!(reply.expect("a reply").error, 0);
            }
            let listener = lab.server.listen(PORT);
            let tap = lab.tap();
            let near = lab
                .client
                .connect_from(31_002, lab.server_address(PORT))
                .expect("connecting");
            let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let seen = opening(&tap.segments(), 31_002);
            assert_eq!(
                seen.syn.as_deref().map(hex).as_deref(),
                Some("fd07454e212202")
            );
            assert_eq!(
                seen.syn_ack.as_deref().map(hex).as_deref(),
                Some("fd06454e2102")
            );
            let (here, there) = (local(&near), remote(&near));
            for (daemon, from, to) in [(client, here, there), (server, there, here)] {
                let reply = daemon
                    .client()
                    .get(APP_SUPPORT, from, to, 64)
                    .expect("a reply");
                assert_eq!((reply.error, reply.data.len()), (0, 34));
                assert_eq!(reply.data[0], 3);
                let id = daemon.row_of(from, to).expect("a row").id;
                assert_eq!(hex(&reply.data[1..]).to_uppercase(), id);
                let reply = daemon.client().get(SESSID, from, to, 33).expect("a reply");
                assert_eq!(hex(&reply.data).to_uppercase(), id);
            }
        },
    );
}

#[test]
fn the_daemon_ends_in_order() {
    case(
        "the_daemon_ends_in_order",
        Settings::default(),
        |lab, pair| {
            for _ in 0..2 {
                let daemon = Daemon::start(&lab.client, pair.client, &[]);
                let control = daemon.control.clone();
                assert_eq!(daemon.stop(), 0);
                assert!(
                    control.exists(),
                    "the control socket stays, as the original's does"
                );
            }
        },
    );
}

#[test]
fn resets_are_only_sent_where_something_is_wrong() {
    with_daemons(
        "resets_are_only_sent_where_something_is_wrong",
        |lab, client, server| {
            let tap = lab.tap();
            for _ in 0..3 {
                one_talk(lab, client, server);
            }
            std::thread::sleep(Duration::from_millis(300));
            let reset = tap.segments().into_iter().find(|s| s.has(RST));
            assert_eq!(reset, None);
        },
    );
}
