//! The model network itself: two hosts without tcpcrypt must get on under all that the other tests
//! do to hosts with it.

mod model;

use std::time::Duration;

use model::rng::Rng;
use model::{Conn, End, Host, Lab, Network, Probe, SIDES, Side, State, Which};
use proptest::prelude::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn finished(lab: &Lab, conn: Conn) -> bool {
    SIDES.into_iter().all(|side| lab.end(conn, side).is_some())
}

/// Sends both ways, closes both ways.
fn exchange(lab: &mut Lab, up: &[u8], down: &[u8], limit: Duration) {
    let conn = lab.connect();
    lab.send(conn, Side::Client, up);
    lab.send(conn, Side::Server, down);
    lab.finish(conn, Side::Client);
    lab.finish(conn, Side::Server);
    let done = lab.run_until(limit, |lab| finished(lab, conn));
    let got = |side| lab.received(conn, side);
    assert_eq!(got(Side::Server).len(), up.len());
    assert_eq!(got(Side::Client).len(), down.len());
    assert!(got(Side::Server) == up && got(Side::Client) == down);
    for side in SIDES {
        assert_eq!(lab.end(conn, side), Some(End::Closed));
        let receive = lab.socket(conn, side).and_then(|s| s.receive.as_ref());
        assert_eq!(receive.map(|r| r.contradictions), Some(0));
    }
    assert!(done);
}

#[test]
fn a_megabyte_through_a_bad_network() {
    let network = Network {
        reorder: 0.05,
        duplicate: 0.01,
        jitter: Duration::from_millis(1),
        ..Network::lossy(0.05)
    };
    let data = Rng::new(0).octets(1 << 20);
    let mut lab = Lab::new(1).network(network);
    exchange(&mut lab, &data, b"short", seconds(60));
    assert!(lab.tap.seen.len() < 4000, "{}", lab.tap.seen.len());
}

#[test]
fn a_clean_network_sees_nothing_twice() {
    let mut lab = Lab::new(2);
    let data = Rng::new(0).octets(300_000);
    exchange(&mut lab, &data, &data, seconds(5));
    for ((_, _, _), stream) in lab.tap.streams() {
        assert_eq!(stream.octets, data);
        let sent: u64 = stream.segments.iter().map(|(from, to)| to - from).sum();
        assert_eq!(sent, 300_000);
    }
}

#[test]
fn half_closed_connections_go_on() {
    let mut lab = Lab::new(3);
    let conn = lab.connect();
    lab.finish(conn, Side::Client);
    lab.run(seconds(10));
    assert!(lab.saw_end(conn, Side::Server));
    assert_eq!(lab.state(conn, Side::Client), Some(State::FinWait2));
    lab.send(conn, Side::Server, &[7; 50_000]);
    lab.run(seconds(10));
    assert_eq!(lab.received(conn, Side::Client), [7; 50_000]);
    lab.finish(conn, Side::Server);
    lab.run(seconds(1));
    assert_eq!(lab.state(conn, Side::Server), Some(State::Closed));
    assert_eq!(lab.state(conn, Side::Client), Some(State::TimeWait));
}

#[test]
fn resets() {
    for side in SIDES {
        let mut lab = Lab::new(4);
        let conn = lab.connect();
        lab.send(conn, side, &[1; 5000]);
        lab.run(seconds(1));
        lab.abort(conn, side);
        lab.run(seconds(1));
        assert_eq!(lab.end(conn, side), Some(End::Aborted));
        assert_eq!(lab.end(conn, side.other()), Some(End::Reset));
    }
    // Data for an application that is gone.
    let mut lab = Lab::new(5);
    let conn = lab.connect();
    lab.close(conn, Side::Server);
    lab.run(seconds(1));
    lab.send(conn, Side::Client, b"anybody there?");
    lab.run(seconds(1));
    assert_eq!(lab.end(conn, Side::Client), Some(End::Reset));
}

#[test]
fn simultaneous_open() {
    for seed in 0..20 {
        let mut lab = Lab::new(seed).network(Network::lossy(0.1));
        let conn = lab.open_simultaneously();
        assert!(lab.run_until(seconds(120), |lab| lab.is_established(conn)));
        lab.send(conn, Side::Client, b"one");
        lab.send(conn, Side::Server, b"other");
        lab.run(seconds(60));
        assert_eq!(lab.received(conn, Side::Server), b"one");
        assert_eq!(lab.received(conn, Side::Client), b"other");
    }
}

#[test]
fn closed_windows_open_again() {
    for probe in [Probe::Empty, Probe::OneOctet] {
        let mut lab = Lab::new(6)
            .client(Host::plain().set(|s| s.probe = probe))
            .server(Host::plain().set(|s| s.receive_buffer = 20_000));
        let conn = lab.connect();
        lab.set_reading(conn, Side::Server, false);
        let data = Rng::new(0).octets(100_000);
        lab.send(conn, Side::Client, &data);
        lab.run(seconds(60));
        let before = lab.received(conn, Side::Server).len();
        assert!((18_000..=21_000).contains(&before), "{before}");
        // The news of the open window is lost.
        lab.set_network_from(Side::Server, Network::lossy(1.0));
        lab.set_reading(conn, Side::Server, true);
        lab.run(seconds(1));
        lab.set_network(Network::clean());
        lab.run(seconds(300));
        assert_eq!(lab.received(conn, Side::Server), data);
    }
}

#[test]
fn keep_alives_are_answered() {
    for probe in [Probe::Empty, Probe::OneOctet] {
        let host = || {
            Host::plain().set(|s| {
                s.keep_alive = Some(seconds(10));
                s.probe = probe;
            })
        };
        let mut lab = Lab::new(7).client(host()).server(Host::plain());
        let conn = lab.connect();
        lab.send(conn, Side::Client, b"hello");
        lab.run(seconds(5));
        let before = lab.tap.seen.len();
        lab.run(seconds(100));
        let probes = lab.tap.seen.len() - before;
        assert!((18..=22).contains(&probes), "{probes}");
        assert_eq!(lab.received(conn, Side::Server), b"hello");
    }
}

#[test]
fn blind_resets_are_challenged() {
    let mut lab = Lab::new(8);
    let conn = lab.connect();
    lab.send(conn, Side::Client, b"hello");
    lab.run(seconds(1));
    let last = lab.tap.seen.iter().rfind(|s| s.from == Side::Server);
    let packet = last.map(|s| s.packet.clone()).unwrap();
    let view = tcpcrypt_proto::packet::View::parse(&packet).unwrap();
    let mut reset = tcpcrypt_proto::packet::Rewrite::of(&view);
    reset.flags = tcpcrypt_proto::packet::Flags::RST;
    for (off, end) in [(5, None), (0, Some(End::Reset))] {
        reset.seq = view.seq() + off;
        let mut out = Vec::new();
        assert!(reset.write(&[], &mut out));
        lab.inject(Side::Server, out);
        lab.run(seconds(1));
        assert_eq!(lab.end(conn, Side::Client), end);
    }
}

#[test]
fn a_lost_peer_is_given_up() {
    let mut lab = Lab::new(9);
    let conn = lab.connect();
    lab.set_network(Network::lossy(1.0));
    lab.send(conn, Side::Client, b"hello");
    lab.run(seconds(3600));
    assert_eq!(lab.end(conn, Side::Client), Some(End::TimedOut));
}

#[test]
fn a_port_is_used_again_while_the_peer_waits() {
    let mut lab = Lab::new(10);
    for round in 0..3_u8 {
        let conn = lab.open_from(Side::Client, 5555);
        lab.run(seconds(1));
        lab.send(conn, Side::Client, &[round; 10]);
        lab.finish(conn, Side::Server);
        lab.run(seconds(1));
        lab.finish(conn, Side::Client);
        lab.run(seconds(1));
        assert_eq!(lab.received(conn, Side::Server), [round; 10]);
        assert_eq!(lab.state(conn, Side::Server), Some(State::TimeWait));
        assert_eq!(lab.state(conn, Side::Client), Some(State::Closed));
        // A later incarnation has later numbers.
        let next = lab
            .socket(conn, Side::Client)
            .unwrap()
            .iss
            .0
            .wrapping_add(1 << 20);
        lab.kernel(Side::Client).settings.isn = Some(next);
    }
}

#[test]
fn stripped_options_are_not_used() {
    let network = Network::lossy(0.02)
        .strip(5, Which::All)
        .strip(4, Which::Syn)
        .strip(8, Which::SynAck);
    let data = Rng::new(0).octets(200_000);
    exchange(
        &mut Lab::new(11).network(network),
        &data,
        &data,
        seconds(60),
    );
}

prop_compose! {
    fn host()(sack: bool, timestamps: bool, resegment: bool, scale in prop::option::of(0..9_u8),
        mss in 400..=1460_u16, octet: bool, buffer in 3000..200_000_usize,
        isn in prop_oneof![Just(None), (0xffff_0000..=u32::MAX).prop_map(Some)]) -> Host {
        Host::plain().set(|s| {
            s.sack = sack;
            s.timestamps = timestamps;
            s.resegment = resegment;
            s.window_scale = scale;
            s.mss = mss;
            s.receive_buffer = buffer;
            s.isn = isn;
            s.probe = if octet { Probe::OneOctet } else { Probe::Empty };
        })
    }
}

prop_compose! {
    fn network()(loss in 0.0..0.08, duplicate in 0.0..0.05, reorder in 0.0..0.1,
        jitter in 0..3_u64, merge in 0.0..0.5, split in 0.0..0.1, flip in 0.0..0.02) -> Network {
        Network { loss, duplicate, reorder, merge, split, flip,
            jitter: Duration::from_millis(jitter), ..Network::clean() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_two_hosts_on_any_network(seed: u64, client in host(), server in host(), network in network(),
        up in 0..60_000_usize, down in 0..60_000_usize) {
        let (up, down) = (Rng::new(seed).octets(up), Rng::new(!seed).octets(down));
        let mut lab = Lab::new(seed).client(client).server(server).network(network);
        exchange(&mut lab, &up, &down, seconds(600));
    }
}
