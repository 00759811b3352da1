//! Two daemons of the subject, divert mode, a tap on the cable between them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use interop_tests::lab::applications::{accept, exchange, local, remote, talk};
use interop_tests::lab::case::{Pair, case};
use interop_tests::lab::control::{ENABLE, NOBODY, NOCACHE};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::scenarios::{self, ANSWER, QUESTION, close_both, one_talk};
use interop_tests::lab::segment::{RST, SYN, hex};
use interop_tests::lab::wire_checks::opening;
use interop_tests::lab::{Lab, PORT, Settings};

/// Daemons on both hosts, the rules, and then what happens.
fn with_daemons(name: &str, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    with_options(name, &[], &[], body);
}

/// The scenarios that hold between any two daemons; `tcpcrypt_original.rs` runs them against
/// the original.
macro_rules! scenario {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            with_daemons(stringify!($name), $run);
        }
    };
}

scenario!(
    a_connection_is_encrypted_with_one_id_at_both_ends,
    scenarios::first_exchange
);
scenario!(bulk_in_both_directions_arrives_unaltered, scenarios::bulk);
scenario!(
    eight_hundred_short_connections,
    scenarios::short_connections
);
scenario!(many_connections_at_once, scenarios::at_once);
scenario!(
    the_client_closes_first_and_still_reads,
    scenarios::client_closes_first
);
scenario!(
    the_server_closes_first_and_still_reads,
    scenarios::server_closes_first
);
scenario!(a_reset_of_either_end_arrives, scenarios::resets);
scenario!(
    options_stripped_from_the_syn_or_the_syn_ack_give_plain_tcp,
    scenarios::stripped
);
scenario!(
    later_connections_resume_the_first_each_with_an_id_of_its_own,
    scenarios::resumption
);

#[test]
fn without_a_cache_on_either_side_every_exchange_is_full() {
    let name = "without_a_cache_on_either_side_every_exchange_is_full";
    with_options(name, &["-c"], &[], scenarios::always_full);
    with_options(name, &[], &["-c"], scenarios::always_full);
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
fn a_closed_port_refuses() {
    with_daemons("a_closed_port_refuses", |lab, _, _| {
        let result = lab.client.connect(lab.server_address(PORT));
        let kind = result.map_err(|e| e.kind());
        assert_eq!(kind.err(), Some(std::io::ErrorKind::ConnectionRefused));
    });
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
            one_talk(lab, &client, &server);
            server.stop();
            let server = Daemon::start(&lab.server, pair.server, &[]);
            scenarios::after_server_restart(lab, &client, &server);
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
            scenarios::after_client_restart(lab, &client, &server);
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
            let reply = client
                .client()
                .set(ENABLE, own, NOBODY, 0)
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
            let reply = client
                .client()
                .set(NOCACHE, own, NOBODY, 1)
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
            let seen = scenarios::aware_applications(lab, client, server);
            assert_eq!(
                seen.syn_ack.as_deref().map(hex).as_deref(),
                Some("fd06454e2102")
            );
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
