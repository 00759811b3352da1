//! A link in the middle of the path that carries less than those of the hosts.

use proptest::prelude::*;
use tcpcrypt_proto::packet::{Direction, Notes};
use tcpcrypt_proto::verdict::Verdict;

use crate::model::family::{interface, is_ipv6};
use crate::model::narrow::{Narrow, may_be_cut, refusal};
use crate::model::{Conn, Host, Lab, Network, SIDES, Side};
use crate::promises::{
    assert_encrypted, assert_forgotten, assert_nothing_shown, complete, ours, pair, seconds, text,
};

const NARROW: usize = 1300;

/// Long packets vanish, and nobody says so.
#[test]
fn long_packets_that_vanish_are_found_out() {
    for mtu in [NARROW, 1280] {
        let mut lab = pair(7);
        lab.set_middlebox(Box::new(move |_, packet| {
            match packet.len() > mtu && !may_be_cut(&packet) {
                true => Vec::new(),
                false => vec![packet],
            }
        }));
        let conn = lab.connect();
        let (up, down) = (text(1, 200_000), text(2, 200_000));
        lab.send(conn, Side::Client, &up);
        lab.send(conn, Side::Server, &down);
        let all = |lab: &Lab| {
            lab.received(conn, Side::Server).len() == up.len()
                && lab.received(conn, Side::Client).len() == down.len()
        };
        assert!(lab.run_until(seconds(20), all), "{mtu}: it stands still");
        assert_eq!(lab.received(conn, Side::Server), up);
        assert_eq!(lab.received(conn, Side::Client), down);
        assert_encrypted(&mut lab, conn);
    }
}

/// A connection with data under way from the client: the longest packet that was sent last.
fn under_way() -> (Lab, Conn, Vec<u8>) {
    let mut lab = pair(8);
    let conn = lab.connect();
    lab.send(conn, Side::Client, &text(1, 3000));
    lab.run(seconds(1));
    assert_encrypted(&mut lab, conn);
    lab.set_middlebox(Box::new(|_, _| Vec::new()));
    lab.send(conn, Side::Client, &text(3, 9000));
    lab.run(seconds(1) / 100);
    let sent = lab.tap.seen.iter().filter(|seen| seen.from == Side::Client);
    let lost = sent.map(|seen| seen.packet.clone()).max_by_key(Vec::len);
    (lab, conn, lost.expect("a packet"))
}

/// Gives a packet to the client's daemon.
fn give(lab: &mut Lab, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let now = lab.instant();
    let mut out = Vec::new();
    let notes = Notes {
        interface: interface(),
        ..Notes::default()
    };
    let endpoint = lab.endpoint(Side::Client);
    let verdict = endpoint.handle_noted_packet(now, Direction::In, packet, notes, &mut out);
    (verdict, out)
}

#[test]
fn what_a_router_says_of_data_under_way_reaches_the_kernel() {
    let (mut lab, conn, lost) = under_way();
    let packet = refusal(&lost, NARROW as u16);
    let (verdict, out) = give(&mut lab, &packet);
    assert_eq!((verdict, out.len()), (Verdict::Replace, packet.len()));
    let changed: Vec<usize> = (0..out.len())
        .filter(|at| out[*at] != packet[*at])
        .collect();
    assert!(changed.len() <= 6, "{changed:?}");
    // From then on nothing is longer, and all arrives.
    let seen = lab.tap.seen.len();
    lab.remove_middlebox();
    let whole = |lab: &Lab| lab.received(conn, Side::Server).len() == 12_000;
    assert!(lab.run_until(seconds(20), whole), "it stands still");
    for seen in &lab.tap.seen[seen..] {
        assert!(seen.packet.len() <= NARROW, "{}", seen.packet.len());
    }
}

#[test]
fn what_was_not_said_of_data_under_way_is_dropped_and_of_others_passes() {
    let (mut lab, _, lost) = under_way();
    let tcp = if lost[0] >> 4 == 6 { 40 } else { 20 };
    // Numbers of nothing: far behind, far ahead.
    for bit in [0x80, 0x40, 0x10] {
        let mut other = lost.clone();
        other[tcp + 4] ^= bit;
        let packet = refusal(&other, 600);
        assert_eq!(give(&mut lab, &packet).0, Verdict::Drop);
    }
    // A port that has no connection, and a message that is broken.
    let mut other = lost.clone();
    other[tcp] ^= 1;
    let packet = refusal(&other, 600);
    assert_eq!(give(&mut lab, &packet), (Verdict::Accept, Vec::new()));
    let mut broken = refusal(&lost, 600);
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(give(&mut lab, &broken), (Verdict::Accept, Vec::new()));
}

prop_compose! {
    /// What makes no segment short beside the link.
    fn host()(super_packets: bool, sack in prop::bool::weighted(0.7), timestamps: bool, resegment: bool) -> Host {
        ours().set(|s| {
            s.super_packets = super_packets;
            s.sack = sack;
            s.timestamps = timestamps;
            s.resegment = resegment;
        })
    }
}

prop_compose! {
    fn network()(loss in prop_oneof![Just(0.0), 0.0..0.05], reorder in 0.0..0.05, merge in 0.0..0.5,
        split in 0.0..0.1) -> Network {
        Network { reorder, merge, split, ..Network::lossy(loss) }
    }
}

prop_compose! {
    fn narrow()(below in 0..=840_u16, tells in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0]) -> Narrow {
        let least = if is_ipv6() { 1280 } else { 576 };
        Narrow { mtu: (1416 - below).max(least), tells }
    }
}

/// What was sent before the link became narrow, and what is sent then. All arrives.
fn everything_arrives(
    lab: &mut Lab,
    network: Network,
    narrow: Narrow,
    before: usize,
    sizes: [usize; 2],
) {
    // Key exchanges that take long are tested elsewhere.
    let conn = lab.connect();
    lab.run(seconds(1));
    assert_encrypted(lab, conn);
    lab.set_network(network);
    let texts = [text(1, before + sizes[0]), text(2, before + sizes[1])];
    for (side, text) in SIDES.into_iter().zip(&texts) {
        lab.send(conn, side, &text[..before]);
    }
    lab.run(seconds(1) / 50);
    lab.narrow = Some(narrow);
    for (side, text) in SIDES.into_iter().zip(&texts) {
        lab.send(conn, side, &text[before..]);
        lab.finish(conn, side);
    }
    complete(lab, conn, &texts[0], &texts[1], seconds(900));
    assert_nothing_shown(lab);
    lab.narrow = None;
    assert_forgotten(lab);
}

proptest! {
    #![proptest_config(crate::promises::cases(40))]
    #[test]
    fn everything_arrives_over_a_narrow_link(seed: u64, client in host(), server in host(), network in network(),
        narrow in narrow(), before in prop_oneof![Just(0_usize), 0..100_000_usize], up in 0..60_000_usize,
        down in 0..60_000_usize) {
        let mut lab = Lab::new(seed).client(client).server(server);
        everything_arrives(&mut lab, network, narrow, before, [up, down]);
    }
}

/// In the standard, the oldest of what is missing may be a frame without data, in one packet with data that are too
/// long with it.
#[test]
fn a_frame_without_data_in_front_of_what_vanishes() {
    for seed in [14_397_385_972_744_798_002, 14_397_385_972_744_798_188] {
        let make = |resegment| {
            ours().set(|s| {
                s.timestamps = false;
                s.resegment = resegment;
            })
        };
        let network = Network {
            reorder: 0.007026226105671396,
            merge: 0.4600573216107013,
            split: 0.0297339996062102,
            ..Network::lossy(0.038615296440785055)
        };
        let narrow = Narrow {
            mtu: 1416,
            tells: 0.0,
        };
        let mut lab = Lab::new(seed).client(make(false)).server(make(true));
        everything_arrives(&mut lab, network, narrow, 59_683, [0, 0]);
    }
}
