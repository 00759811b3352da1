//! Peers and middleboxes without tcpcrypt: then there is none, and the connection works.

use tcpcrypt_proto::config::Config;

use crate::model::{Host, Lab, Network, SIDES, Side, Which, eno_kind};
use crate::promises::{
    MARKER, assert_encrypted, assert_nothing_shown, assert_prefix, exchange, is_over, ours, pair,
    seconds, text, with_a_plain_host,
};

fn works_plain(mut lab: Lab) {
    let conn = lab.connect();
    exchange(
        &mut lab,
        conn,
        &text(1, 50_000),
        &text(2, 50_000),
        seconds(60),
    );
    assert!(lab.tap.showing(0, MARKER) > 0, "it was encrypted after all");
}

#[test]
fn plain_peers() {
    for loss in [0.0, 0.03] {
        let lab = || Lab::new(1).network(Network::lossy(loss));
        works_plain(lab().client(ours()).server(Host::plain()));
        works_plain(lab().client(Host::plain()).server(ours()));
    }
}

#[test]
fn switched_off() {
    let config = Config {
        enabled: false,
        ..Config::default()
    };
    let off = || Host::tcpcrypt(config);
    works_plain(Lab::new(2).client(off()).server(ours()));
    works_plain(Lab::new(2).client(ours()).server(off()));
}

#[test]
fn our_option_is_taken_out_of_a_syn() {
    for which in [Which::Syn, Which::SynAck, Which::All] {
        for loss in [0.0, 0.03] {
            works_plain(pair(3).network(Network::lossy(loss).strip(eno_kind(), which)));
        }
    }
}

#[test]
fn it_is_taken_out_in_one_direction_only() {
    for side in SIDES {
        let mut lab = pair(4);
        lab.set_network_from(
            side,
            Network::clean()
                .strip(eno_kind(), Which::Syn)
                .strip(eno_kind(), Which::SynAck),
        );
        works_plain(lab);
    }
}

/// The client has sent INIT1 by then: both ends go down, and nothing of either application is seen.
#[test]
fn our_option_is_taken_out_of_the_third_segment() {
    let mut lab = pair(5).network(Network::clean().strip(eno_kind(), Which::Later));
    let conn = lab.open();
    lab.run(seconds(1));
    let (up, down) = (text(1, 3000), text(2, 3000));
    for (side, data) in [(Side::Client, &up), (Side::Server, &down)] {
        if lab.socket(conn, side).is_some() && lab.end(conn, side).is_none() {
            lab.send(conn, side, data);
        }
    }
    lab.run(seconds(60));
    assert!(is_over(&lab, conn), "neither works nor ends");
    assert_prefix(&lab, conn, Side::Server, &up);
    assert_prefix(&lab, conn, Side::Client, &down);
    let from_client = |s: &&crate::model::Seen| s.from == Side::Client;
    for seen in lab.tap.seen.iter().filter(from_client) {
        assert!(!seen.packet.windows(MARKER.len()).any(|w| w == MARKER));
    }
}

/// SACK, timestamps and the rest do not matter.
#[test]
fn other_options_are_taken_out() {
    for kind in [2, 3, 4, 5, 8] {
        for which in [Which::Syn, Which::SynAck, Which::Later, Which::All] {
            if (kind == 3 || kind == 8) && matches!(which, Which::Syn | Which::SynAck) {
                continue;
            }
            let mut lab = pair(6).network(Network::lossy(0.01).strip(kind, which));
            let conn = lab.connect();
            lab.run(seconds(5));
            assert_encrypted(&mut lab, conn);
            exchange(
                &mut lab,
                conn,
                &text(1, 60_000),
                &text(2, 60_000),
                seconds(120),
            );
            assert_nothing_shown(&lab);
        }
    }
}

/// Segments so small that INIT messages do not fit into one.
#[test]
fn tiny_segments() {
    for mss in [64, 100, 150, 200] {
        let host = || ours().set(|s| s.mss = mss);
        works_plain(Lab::new(8).client(host()).server(host()));
    }
}

#[test]
fn no_room_for_our_option() {
    let crowded = || {
        ours().set(|s| {
            s.syn_options = vec![254; 1]
                .into_iter()
                .chain([20])
                .chain([7; 18])
                .collect()
        })
    };
    works_plain(Lab::new(7).client(crowded()).server(ours()));
    works_plain(Lab::new(7).client(ours()).server(crowded()));
}

#[test]
fn simultaneous_open_is_plain_and_works() {
    for seed in 0..20 {
        let mut lab = pair(seed).network(Network::lossy(if seed < 3 { 0.0 } else { 0.1 }));
        let conn = lab.open_simultaneously();
        assert!(
            lab.run_until(seconds(120), |lab| lab.is_established(conn)),
            "seed {seed}"
        );
        exchange(&mut lab, conn, &text(1, 5000), &text(2, 5000), seconds(120));
    }
}

/// One of two that open at once has no daemon.
#[test]
fn simultaneous_open_with_a_plain_host() {
    for seed in 0..10 {
        for side in SIDES {
            let mut lab = with_a_plain_host(seed, side);
            let conn = lab.open_simultaneously();
            assert!(
                lab.run_until(seconds(120), |lab| lab.is_established(conn)),
                "seed {seed}"
            );
            exchange(&mut lab, conn, &text(1, 5000), &text(2, 5000), seconds(120));
        }
    }
}
