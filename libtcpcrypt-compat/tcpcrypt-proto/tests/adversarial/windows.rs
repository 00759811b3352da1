//! Windows that close, probes, keep-alives.

use std::time::Duration;

use crate::model::{Lab, Network, Probe, SIDES, Side, is_standard};
use crate::promises::{
    assert_encrypted, assert_nothing_shown, complete, ours, pair, seconds, text,
};

#[test]
fn closed_windows_open_again() {
    for probe in [Probe::Empty, Probe::OneOctet] {
        for scale in [None, Some(0), Some(7)] {
            for buffer in [3000, 20_000, 150_000] {
                let host = || {
                    ours().set(|s| {
                        s.probe = probe;
                        s.window_scale = scale;
                        s.receive_buffer = buffer;
                    })
                };
                let mut lab = Lab::new(1).client(host()).server(host());
                let conn = lab.connect();
                lab.set_reading(conn, Side::Server, false);
                let data = text(1, 400_000);
                lab.send(conn, Side::Client, &data);
                lab.run(seconds(60));
                let before = lab.received(conn, Side::Server).len();
                // The model's window is rounded up to its scale with every segment.
                let most = buffer + 2000.max(buffer / 20);
                assert!(before <= most, "{before} in {buffer}");
                // The news of the open window is lost.
                lab.set_network_from(Side::Server, Network::lossy(1.0));
                lab.set_reading(conn, Side::Server, true);
                lab.run(seconds(1));
                lab.set_network(Network::clean());
                let all = |lab: &Lab| lab.received(conn, Side::Server).len() == data.len();
                assert!(
                    lab.run_until(seconds(400), all),
                    "{} octets; {probe:?}, scale {scale:?}, {buffer}",
                    lab.received(conn, Side::Server).len()
                );
                assert_eq!(lab.received(conn, Side::Server), data);
                assert_nothing_shown(&lab);
            }
        }
    }
}

/// The reader stops and goes on again and again, on a bad network.
#[test]
fn a_reader_that_stops_now_and_then() {
    for seed in 0..10 {
        let host = || ours().set(|s| s.receive_buffer = 10_000);
        let mut lab = Lab::new(seed).client(host()).server(host());
        let conn = lab.connect();
        lab.set_network(Network {
            reorder: 0.05,
            ..Network::lossy(0.03)
        });
        let data = text(seed, 100_000);
        lab.send(conn, Side::Client, &data);
        lab.send(conn, Side::Server, &data);
        for round in 0..20 {
            lab.set_reading(conn, Side::Server, round % 2 == 0);
            lab.set_reading(conn, Side::Client, round % 3 == 0);
            lab.run(seconds(3));
        }
        lab.set_reading(conn, Side::Server, true);
        lab.set_reading(conn, Side::Client, true);
        lab.run(seconds(300));
        assert!(lab.received(conn, Side::Server) == data, "seed {seed}");
        assert!(lab.received(conn, Side::Client) == data, "seed {seed}");
        assert_nothing_shown(&lab);
    }
}

#[test]
fn keep_alives_are_answered_and_show_nothing() {
    for probe in [Probe::Empty, Probe::OneOctet] {
        let host = || {
            ours().set(|s| {
                s.keep_alive = Some(seconds(10));
                s.probe = probe;
            })
        };
        let mut lab = Lab::new(2).client(host()).server(host());
        let conn = lab.connect();
        lab.run(seconds(50));
        assert_encrypted(&mut lab, conn);
        lab.send(conn, Side::Client, &text(1, 3000));
        lab.send(conn, Side::Server, &text(2, 3000));
        lab.run(seconds(5));
        let before = lab.tap.seen.len();
        lab.run(seconds(100));
        let packets = lab.tap.seen.len() - before;
        // In the standard a frame goes with each, and is answered with another.
        let most = if is_standard() { 120 } else { 60 };
        assert!(
            (18..=most).contains(&packets),
            "{packets} packets with {probe:?}"
        );
        assert_eq!(lab.received(conn, Side::Server), text(1, 3000));
        assert_eq!(lab.received(conn, Side::Client), text(2, 3000));
        assert_nothing_shown(&lab);
        let (up, down) = (text(1, 3000), text(2, 3000));
        lab.finish(conn, Side::Client);
        lab.finish(conn, Side::Server);
        complete(&mut lab, conn, &up, &down, seconds(30));
    }
}

/// Nobody says anything: the two daemons must not keep each other busy.
#[test]
fn a_silent_connection_is_silent() {
    let mut lab = pair(3);
    let conn = lab.connect();
    lab.send(conn, Side::Client, &text(1, 10_000));
    lab.run(seconds(10));
    let before = lab.tap.seen.len();
    lab.run(seconds(3600));
    assert_eq!(lab.tap.seen.len(), before);
}

/// Ten megaoctets have gone over a connection, some of them again and in disorder. Once all is acknowledged it is as
/// small as one that has said a word: what is not counted here is in `small` of the table and in tests/memory.rs.
#[test]
fn a_connection_that_rests_holds_nothing() {
    let network = Network {
        reorder: 0.01,
        ..Network::lossy(0.002)
    };
    let mut lab = pair(21).network(network);
    let conn = lab.connect();
    let data = text(1, 10 << 20);
    let mut most = 0;
    for (round, part) in data.chunks(1 << 20).enumerate() {
        let side = SIDES[round % 2];
        lab.send(conn, side, part);
        lab.run(Duration::from_millis(60));
        most = SIDES
            .into_iter()
            .map(|side| lab.endpoint(side).footprint())
            .fold(most, usize::max);
        lab.run(seconds(30));
        lab.tap.seen.clear();
    }
    assert!(most > 1 << 14, "{most} octets: nothing was under way");
    let arrived = SIDES.map(|side| lab.received(conn, side).len());
    assert_eq!(arrived, [5 << 20; 2]);
    assert_encrypted(&mut lab, conn);
    lab.run(seconds(60));
    for side in SIDES {
        let rest = lab.endpoint(side).footprint();
        assert!(rest < 1536, "{rest} octets, {most} before");
    }
}
