//! The subject and the original at the two ends of a cable, in both directions. Needs
//! `KX_REF_TCPCRYPTD` (see `harness/lab/implementation.rs`).

use interop_tests::lab::applications::talk;
use interop_tests::lab::case::crossings;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::implementation::{original, subject};
use interop_tests::lab::scenarios::{self, ANSWER, QUESTION, id_of, one_talk};
use interop_tests::lab::segment::hex;
use interop_tests::lab::wire_checks::{assert_only_records, opening};
use interop_tests::lab::{Lab, PORT, Settings};

fn with_options(
    name: &str,
    client: &[&str],
    server: &[&str],
    body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>),
) {
    crossings(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, client);
        let server = Daemon::start(&lab.server, pair.server, server);
        lab.divert(&PORT.to_string());
        body(lab, &client, &server);
        client.assert_well("the test");
        server.assert_well("the test");
    });
}

macro_rules! scenario {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            with_options(stringify!($name), &[], &[], $run);
        }
    };
}

scenario!(
    original_a_connection_is_encrypted_with_one_id,
    scenarios::first_exchange
);
scenario!(
    original_bulk_in_both_directions_arrives_unaltered,
    scenarios::bulk
);
scenario!(
    original_eight_hundred_short_connections,
    scenarios::short_connections
);
scenario!(original_many_connections_at_once, scenarios::at_once);
scenario!(
    original_the_client_closes_first_and_still_reads,
    scenarios::client_closes_first
);
scenario!(
    original_the_server_closes_first_and_still_reads,
    scenarios::server_closes_first
);
scenario!(original_a_reset_of_either_end_arrives, scenarios::resets);
scenario!(
    original_options_stripped_give_plain_tcp,
    scenarios::stripped
);
scenario!(
    original_later_connections_resume_the_first,
    scenarios::resumption
);

#[test]
fn original_without_a_cache_every_exchange_is_full() {
    let name = "original_without_a_cache_every_exchange_is_full";
    with_options(name, &["-c"], &[], scenarios::always_full);
    with_options(name, &[], &["-c"], scenarios::always_full);
}

#[test]
fn original_a_disabled_daemon_gives_plain_tcp() {
    let name = "original_a_disabled_daemon_gives_plain_tcp";
    for (client, server) in [(&["-d"][..], &[][..]), (&[], &["-d"])] {
        with_options(name, client, server, |lab, client, server| {
            let tap = lab.tap();
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            assert!(tap.contains(QUESTION) && tap.contains(ANSWER));
            assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
            scenarios::close_both(near, far);
        });
    }
}

#[test]
fn original_restart_of_either_side() {
    crossings(
        "original_restart_of_either_side",
        Settings::default(),
        |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            one_talk(lab, &client, &server);
            server.stop();
            let server = Daemon::start(&lab.server, pair.server, &[]);
            scenarios::after_server_restart(lab, &client, &server);
            client.stop();
            let client = Daemon::start(&lab.client, pair.client, &[]);
            scenarios::after_client_restart(lab, &client, &server);
        },
    );
}

#[test]
fn original_either_tcnetstat_asks_either_daemon() {
    let name = "original_either_tcnetstat_asks_either_daemon";
    with_options(name, &[], &[], |lab, client, server| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let id = id_of(client, server, &near);
        for asking in [subject(), original()].into_iter().flatten() {
            for daemon in [client, server] {
                let rows = daemon.netstat_by(asking);
                assert_eq!(rows.len(), 1, "{}", asking.name());
                assert_eq!(rows[0].id, id, "{}", asking.name());
            }
        }
        scenarios::close_both(near, far);
    });
}

#[test]
fn original_either_library_lists_many_connections() {
    let name = "original_either_library_lists_many_connections";
    with_options(name, &[], &[], |lab, client, server| {
        let listener = lab.server.listen(PORT);
        let mut open = Vec::new();
        for _ in 0..30 {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            open.push((near, far));
        }
        for asking in [subject(), original()].into_iter().flatten() {
            for daemon in [client, server] {
                let rows = daemon.netstat_by(asking);
                // 24 rows fit the 1,200 bytes of the old interface ("tcpcrypt spec 2.2").
                let both_ours = !asking.original && !daemon.implementation.original;
                let wanted = if both_ours { 30 } else { 24 };
                assert_eq!(rows.len(), wanted, "{}", asking.name());
            }
        }
    });
}

#[test]
fn original_aware_applications_learn_of_each_other() {
    let name = "original_aware_applications_learn_of_each_other";
    with_options(name, &[], &[], |lab, client, server| {
        scenarios::aware_applications(lab, client, server);
    });
}

/// The preferred key exchange of ours, taken by the original.
#[test]
fn original_agrees_to_p521() {
    crossings(
        "original_agrees_to_p521",
        Settings::default(),
        |lab, pair| {
            if pair.client.original {
                // Its own order is compiled in, and its server follows the client's.
                return;
            }
            let client = Daemon::start(&lab.client, pair.client, &["-C", "34"]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            let tap = lab.tap();
            let (id, port) = one_talk(lab, &client, &server);
            assert_eq!(&id[..2], "22");
            let seen = tap.segments();
            let seen_opening = opening(&seen, port);
            assert_eq!(
                seen_opening.syn.as_deref().map(hex).as_deref(),
                Some("fd06454e2221")
            );
            assert_only_records(&seen, port);
            assert_eq!(&one_talk(lab, &client, &server).0[..2], "A2");
        },
    );
}
