//! Data through bad networks that nobody attacks.

use std::time::Duration;

use proptest::prelude::*;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::eno::Tep;

use crate::model::rng::Rng;
use crate::model::{End, Host, Lab, Loopback, Network, Probe, SIDES, Side, Which};
use crate::promises::{
    assert_encrypted, assert_forgotten, assert_nothing_shown, assert_prefix, cases, complete,
    exchange, ours, pair, seconds, tep, text,
};

#[test]
fn a_few_octets_each_way() {
    let mut lab = pair(1);
    let conn = lab.connect();
    lab.send(conn, Side::Client, b"in clear? hello");
    lab.run(seconds(1));
    lab.send(conn, Side::Server, b"in clear? hello yourself");
    lab.run(seconds(1));
    assert_eq!(lab.received(conn, Side::Server), b"in clear? hello");
    assert_eq!(
        lab.received(conn, Side::Client),
        b"in clear? hello yourself"
    );
    let id = assert_encrypted(&mut lab, conn);
    assert_eq!((id.len(), tep(&id)), (33, 0x21));
    assert_nothing_shown(&lab);
    lab.finish(conn, Side::Client);
    lab.finish(conn, Side::Server);
    assert_forgotten(&mut lab);
    for side in SIDES {
        assert_eq!(
            lab.kernel(side).refusals,
            0,
            "a kernel got what it did not expect"
        );
    }
}

#[test]
fn both_curves() {
    for tep in [Tep::P256, Tep::P521] {
        let config = Config {
            prefer: Some(tep),
            ..Config::default()
        };
        let mut lab = Lab::new(2).client(Host::tcpcrypt(config)).server(ours());
        let conn = lab.connect();
        exchange(&mut lab, conn, &text(1, 5000), &text(2, 5000), seconds(10));
        assert_nothing_shown(&lab);
    }
}

/// On a clean network nothing is sent twice, and bulk is not slower than the window allows.
#[test]
fn a_clean_network_sees_nothing_twice() {
    let mut lab = pair(3);
    let conn = lab.connect();
    let (up, down) = (text(1, 400_000), text(2, 400_000));
    exchange(&mut lab, conn, &up, &down, seconds(10));
    assert_nothing_shown(&lab);
    for (_, stream) in lab.tap.streams() {
        let sent: u64 = stream.segments.iter().map(|(from, to)| to - from).sum();
        assert_eq!(sent, stream.octets.len() as u64, "sent twice");
    }
    for side in SIDES {
        let again = lab.socket(conn, side).map(|s| s.send.retransmitted);
        assert_eq!(again, Some(0), "{side:?}");
    }
}

fn time_for_a_megabyte(mut lab: Lab, encrypted: bool) -> Duration {
    let conn = lab.connect();
    let data = text(7, 1 << 20);
    let begin = lab.now();
    lab.send(conn, Side::Client, &data);
    let done = lab.run_until(seconds(600), |lab| {
        lab.received(conn, Side::Server).len() == data.len()
    });
    assert_prefix(&lab, conn, Side::Server, &data);
    assert!(done, "{} octets", lab.received(conn, Side::Server).len());
    if encrypted {
        assert_encrypted(&mut lab, conn);
        assert_nothing_shown(&lab);
    }
    lab.now() - begin
}

/// A megabyte over 10 ms of round trip under loss in both directions: at most twice as long as
/// without tcpcrypt, summed over ten runs, and never over 5 s.
#[test]
fn loss_costs_time_but_not_much() {
    for sack in [true, false] {
        for loss in [0.005, 0.01, 0.02] {
            let mut sums = [Duration::ZERO; 2];
            for seed in 0..10 {
                let lab = |host: fn() -> Host| {
                    let make = || host().set(|s| s.sack = sack);
                    Lab::new(seed)
                        .client(make())
                        .server(make())
                        .network(Network::lossy(loss))
                };
                let plain = time_for_a_megabyte(lab(Host::plain), false);
                let encrypted = time_for_a_megabyte(lab(ours), true);
                assert!(
                    encrypted < seconds(5),
                    "{encrypted:?}, seed {seed}, loss {loss}"
                );
                sums[0] += plain;
                sums[1] += encrypted;
            }
            println!("sack {sack}, loss {loss}: plain, encrypted {sums:?}");
            assert!(sums[1] < 2 * sums[0], "loss {loss}, sack {sack}: {sums:?}");
        }
    }
}

/// Both kernels hand out super-packets and get such: to the original there is one record per segment all the same, and
/// nothing is sent twice on a clean network.
#[test]
fn super_packets_become_records_in_segments() {
    for (seed, sack) in [(1, true), (2, false)] {
        let host = || {
            ours().set(|s| {
                s.super_packets = true;
                s.sack = sack;
            })
        };
        let network = Network {
            merge: 0.95,
            ..Network::clean()
        };
        let mut lab = Lab::new(seed).client(host()).server(host());
        lab.set_network(network);
        let conn = lab.connect();
        let (up, down) = (text(1, 1_000_000), text(2, 1_000_000));
        exchange(&mut lab, conn, &up, &down, seconds(20));
        assert_nothing_shown(&lab);
        assert!(lab.super_packets > 50, "{}", lab.super_packets);
        for (_, stream) in lab.tap.streams() {
            let sent: u64 = stream.segments.iter().map(|(from, to)| to - from).sum();
            assert_eq!(sent, stream.octets.len() as u64, "sent twice");
        }
        for side in SIDES {
            assert_eq!(lab.kernel(side).refusals, 0);
            let again = lab.socket(conn, side).map(|s| s.send.retransmitted);
            assert_eq!(again, Some(0), "{side:?}");
        }
    }
}

/// Under loss they cost no more than segments do.
#[test]
fn super_packets_under_loss() {
    for loss in [0.005, 0.02] {
        let mut sums = [Duration::ZERO; 2];
        for seed in 0..10 {
            let lab = |super_packets, host: fn() -> Host| {
                let make = || host().set(|s| s.super_packets = super_packets);
                let network = Network {
                    merge: 0.5,
                    ..Network::lossy(loss)
                };
                Lab::new(seed)
                    .client(make())
                    .server(make())
                    .network(network)
            };
            sums[0] += time_for_a_megabyte(lab(false, Host::plain), false);
            sums[1] += time_for_a_megabyte(lab(true, ours), true);
        }
        println!("loss {loss}: plain, encrypted in super-packets {sums:?}");
        assert!(sums[1] < 2 * sums[0], "loss {loss}: {sums:?}");
    }
}

/// What a daemon makes itself for its kernel is lost as well, and comes late: the queue's packets overtake it. The
/// peer knows nothing of that and believes that all arrived, so nobody but the daemon can repair it in time.
#[test]
fn plaintext_is_lost_behind_the_daemon() {
    let loopback = Loopback {
        loss: 0.1,
        delay: Duration::from_millis(3),
    };
    for super_packets in [false, true] {
        let mut sums = [Duration::ZERO; 2];
        for seed in 0..2 {
            let lab = |host: fn() -> Host| {
                let make = || {
                    host().set(|s| {
                        s.super_packets = super_packets;
                        s.receive_buffer = 2 << 20;
                    })
                };
                let network = Network {
                    reorder: 0.01,
                    merge: if super_packets { 0.9 } else { 0.0 },
                    ..Network::lossy(0.005)
                };
                let mut lab = Lab::new(seed).client(make()).server(make());
                lab.set_network(network);
                lab.loopback = loopback;
                lab
            };
            for (encrypted, host) in [(false, Host::plain as fn() -> Host), (true, ours)] {
                let mut lab = lab(host);
                let conn = lab.connect();
                let begin = lab.now();
                let (up, down) = (text(1, 1 << 20), text(2, 1 << 20));
                exchange(&mut lab, conn, &up, &down, seconds(600));
                sums[usize::from(encrypted)] += lab.now() - begin;
                // What was overtaken, on a plain connection.
                let late = SIDES.map(|side| lab.socket(conn, side).map(|s| s.late));
                assert!(!encrypted || late == [Some(0); 2], "{late:?}");
            }
        }
        println!("super-packets {super_packets}: plain, encrypted {sums:?}");
        assert!(sums[1] < 2 * sums[0], "{super_packets}: {sums:?}");
    }
}

/// Numbers go through 2^32 in both spaces, at different octets.
#[test]
fn numbers_wrap() {
    for before in [1_u32, 2, 50, 108, 109, 110, 111, 150, 5000, 60_000] {
        let host = || ours().set(|s| s.isn = Some(before.wrapping_neg()));
        let mut lab = Lab::new(4).client(host()).server(host());
        lab.set_network(Network {
            reorder: 0.02,
            ..Network::lossy(0.01)
        });
        let conn = lab.connect();
        exchange(
            &mut lab,
            conn,
            &text(1, 100_000),
            &text(2, 100_000),
            seconds(60),
        );
        assert_nothing_shown(&lab);
    }
}

#[test]
fn small_writes_stay_in_order() {
    let network = Network {
        reorder: 0.1,
        duplicate: 0.05,
        ..Network::lossy(0.03)
    };
    let mut lab = pair(5).network(network);
    let conn = lab.connect();
    let data = text(1, 3000);
    for piece in data.chunks(7) {
        lab.send(conn, Side::Client, piece);
        lab.send(conn, Side::Server, piece);
        lab.run(Duration::from_millis(3));
    }
    lab.finish(conn, Side::Client);
    lab.finish(conn, Side::Server);
    complete(&mut lab, conn, &data, &data, seconds(60));
    assert_nothing_shown(&lab);
}

/// Network cards that leave checksums to the kernel, which looks at them behind the queue. Damage
/// on the way is no attack then, and no reason for a reset.
#[test]
fn damaged_packets_are_lost_packets() {
    for seed in 0..10 {
        let mut lab = pair(seed);
        lab.set_cheap_cards();
        lab.set_network(Network {
            flip: 0.02,
            ..Network::clean()
        });
        let conn = lab.connect();
        lab.run(seconds(5));
        assert_encrypted(&mut lab, conn);
        exchange(
            &mut lab,
            conn,
            &text(1, 100_000),
            &text(2, 100_000),
            seconds(120),
        );
        assert_nothing_shown(&lab);
    }
}

prop_compose! {
    fn host()(super_packets: bool, sack in prop::bool::weighted(0.7), timestamps: bool, resegment: bool,
        scale in prop::option::of(0..9_u8), mss in 300..=1460_u16, octet: bool,
        buffer in 3000..200_000_usize,
        isn in prop_oneof![Just(None), (0xffff_0000..=u32::MAX).prop_map(Some)]) -> Host {
        ours().set(|s| {
            s.sack = sack;
            s.timestamps = timestamps;
            s.resegment = resegment;
            s.super_packets = super_packets;
            s.window_scale = scale;
            s.mss = mss;
            s.receive_buffer = buffer;
            s.isn = isn;
            s.probe = if octet { Probe::OneOctet } else { Probe::Empty };
        })
    }
}

prop_compose! {
    fn network()(loss in 0.0..0.06, duplicate in 0.0..0.05, reorder in 0.0..0.1,
        jitter in 0..3_u64, merge in 0.0..0.5, split in 0.0..0.1, flip in 0.0..0.02,
        strip in prop::option::weighted(0.2, prop_oneof![Just(2_u8), Just(4), Just(5), Just(8)]),
    ) -> Network {
        let network = Network { loss, duplicate, reorder, merge, split, flip,
            jitter: Duration::from_millis(jitter), ..Network::clean() };
        match strip {
            Some(kind) => network.strip(kind, Which::All),
            None => network,
        }
    }
}

prop_compose! {
    fn loopback()(loss in prop_oneof![2 => Just(0.0), 1 => 0.0..0.2], delay in 0..6_u64) -> Loopback {
        Loopback { loss, delay: Duration::from_millis(delay) }
    }
}

fn any_two(
    seed: u64,
    hosts: (Host, Host),
    network: Network,
    loopback: Loopback,
    up: usize,
    down: usize,
) {
    let (up, down) = (text(seed, up), text(!seed, down));
    let mut lab = Lab::new(seed)
        .client(hosts.0)
        .server(hosts.1)
        .network(network);
    lab.loopback = loopback;
    let conn = lab.connect();
    let early = Rng::new(seed).chance(0.5);
    if early {
        // The applications begin before encryption does.
        exchange(&mut lab, conn, &up, &down, seconds(900));
    } else {
        lab.run_until(seconds(30), |_| false);
        assert_encrypted(&mut lab, conn);
        exchange(&mut lab, conn, &up, &down, seconds(900));
    }
    assert_nothing_shown(&lab);
    assert_forgotten(&mut lab);
    assert_nothing_shown(&lab);
}

/// A megabyte each way takes no more than a few time-outs longer than without tcpcrypt.
fn bulk(seed: u64, super_packets: bool, buffer: usize, network: &Network, loopback: Loopback) {
    let time = |host: fn() -> Host| {
        let make = || {
            host().set(|s| {
                s.super_packets = super_packets;
                s.receive_buffer = buffer;
            })
        };
        let mut lab = Lab::new(seed).client(make()).server(make());
        lab.set_network(network.clone());
        lab.loopback = loopback;
        let conn = lab.connect();
        let (up, down) = (text(seed, 1 << 20), text(!seed, 1 << 20));
        let begin = lab.now();
        lab.send(conn, Side::Client, &up);
        lab.send(conn, Side::Server, &down);
        let got = |lab: &Lab, side, all: &[u8]| lab.received(conn, side).len() == all.len();
        let done = lab.run_until(seconds(600), |lab| {
            got(lab, Side::Server, &up) && got(lab, Side::Client, &down)
        });
        assert!(done, "it stands still");
        lab.now() - begin
    };
    let (plain, encrypted) = (time(Host::plain), time(ours));
    assert!(
        encrypted < 3 * plain + seconds(2),
        "{plain:?} {encrypted:?}"
    );
}

/// What an application writes at once, and how long it waits then.
fn writes() -> impl Strategy<Value = Vec<(usize, u64)>> {
    let size = prop_oneof![4 => 1..20_usize, 4 => 20..3000_usize, 1 => 3000..40_000_usize];
    prop::collection::vec((size, 0..400_u64), 0..12)
}

/// What a middlebox does that takes part in the connection: it cuts and joins what it likes, and changes bits with
/// the checksum made to fit.
#[derive(Debug, Clone)]
struct Attack {
    flip: f64,
    split: f64,
    merge: f64,
}

prop_compose! {
    fn attack()(flip in prop_oneof![1 => Just(0.0), 2 => 0.0..0.05], split in 0.0..0.3, merge in 0.0..0.5) -> Attack {
        Attack { flip, split, merge }
    }
}

/// What arrives is a beginning of what was sent, at any time. In the end it is all of it, in order, or the
/// connection has failed; the latter only if there was an attack. The session ids are equal.
fn a_beginning_or_a_reset(
    seed: u64,
    hosts: (Host, Host),
    network: Network,
    attack: &Attack,
    plans: &[Vec<(usize, u64)>; 2],
) {
    let mut lab = Lab::new(seed).client(hosts.0).server(hosts.1);
    if Rng::new(seed).chance(0.5) {
        lab.set_cheap_cards();
    }
    let conn = lab.connect();
    lab.run(seconds(1));
    assert_encrypted(&mut lab, conn);
    lab.set_network(Network {
        flip: network.flip + attack.flip,
        flip_unnoticed: attack.flip > 0.0,
        split: attack.split,
        merge: attack.merge,
        ..network
    });
    let total = |plan: &[(usize, u64)]| plan.iter().map(|(size, _)| size).sum();
    let texts = [text(seed, total(&plans[0])), text(!seed, total(&plans[1]))];
    let mut sent = [0, 0];
    for round in 0..plans[0].len().max(plans[1].len()) {
        for (index, side) in SIDES.into_iter().enumerate() {
            let Some((size, pause)) = plans[index].get(round).copied() else {
                continue;
            };
            lab.send(conn, side, &texts[index][sent[index]..][..size]);
            sent[index] += size;
            lab.run(Duration::from_millis(pause));
        }
        assert_prefix(&lab, conn, Side::Server, &texts[0][..sent[0]]);
        assert_prefix(&lab, conn, Side::Client, &texts[1][..sent[1]]);
    }
    for side in SIDES {
        lab.finish(conn, side);
    }
    let over = |lab: &Lab| SIDES.iter().all(|side| lab.end(conn, *side).is_some());
    lab.run_until(seconds(1800), over);
    assert_prefix(&lab, conn, Side::Server, &texts[0]);
    assert_prefix(&lab, conn, Side::Client, &texts[1]);
    assert_nothing_shown(&lab);
    for (index, side) in SIDES.into_iter().enumerate() {
        let whole = lab.received(conn, side.other()).len() == texts[index].len();
        let failed = SIDES.map(|side| lab.end(conn, side) != Some(End::Closed));
        assert!(whole || failed.contains(&true), "silently cut short");
        let states = SIDES.map(|side| (lab.state(conn, side), lab.end(conn, side)));
        let now = lab.now();
        assert!(
            whole || attack.flip > 0.0,
            "{side:?}, {states:?} at {now:?}: {:?}",
            lab.log(side)
        );
    }
}

proptest! {
    #![proptest_config(cases(150))]
    #[test]
    fn what_arrives_is_a_beginning_or_the_connection_is_reset(seed: u64, client in host(), server in host(),
        network in network(), attack in attack(), up in writes(), down in writes()) {
        a_beginning_or_a_reset(seed, (client, server), network, &attack, &[up, down]);
    }
}

proptest! {
    #![proptest_config(cases(60))]
    #[test]
    fn everything_arrives(seed: u64, client in host(), server in host(), network in network(),
        loopback in loopback(), up in 0..50_000_usize, down in 0..50_000_usize) {
        any_two(seed, (client, server), network, loopback, up, down);
    }
}

proptest! {
    #![proptest_config(cases(4))]
    #[test]
    fn bulk_both_ways_does_not_crawl(seed: u64, super_packets: bool, loss in 0.0..0.02, reorder in 0.0..0.02,
        merge in 0.0..0.9, loopback in loopback(), buffer in 100_000..2_000_000_usize) {
        let network = Network { reorder, merge, ..Network::lossy(loss) };
        bulk(seed, super_packets, buffer, &network, loopback);
    }
}
