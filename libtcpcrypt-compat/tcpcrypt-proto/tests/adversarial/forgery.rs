//! An attacker on the path: he can stop a connection, and nothing else.

use proptest::prelude::*;
use tcpcrypt_proto::packet::{Flags, Rewrite, View};

use crate::model::rng::Rng;
use crate::model::{Conn, End, Lab, Network, SIDES, Side};
use crate::promises::{assert_encrypted, assert_nothing_shown, assert_prefix, pair, seconds, text};

fn running(seed: u64) -> (Lab, Conn) {
    let mut lab = pair(seed);
    let conn = lab.connect();
    lab.send(conn, Side::Client, &text(1, 3000));
    lab.send(conn, Side::Server, &text(2, 3000));
    lab.run(seconds(1));
    assert_encrypted(&mut lab, conn);
    (lab, conn)
}

/// Changes one data packet from a side, then lets everything pass.
fn tamper_once(lab: &mut Lab, from: Side, change: impl Fn(&View<'_>) -> Vec<Vec<u8>> + 'static) {
    let mut done = false;
    lab.set_middlebox(Box::new(move |side, packet| {
        let view = View::parse(&packet).unwrap();
        if done || side != from || view.payload().is_empty() {
            return vec![packet];
        }
        done = true;
        change(&view)
    }));
}

fn rewritten(view: &View<'_>, change: impl Fn(&mut Rewrite<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let mut rewrite = Rewrite::of(view);
    let mut payload = view.payload().to_vec();
    change(&mut rewrite, &mut payload);
    let mut out = Vec::new();
    assert!(rewrite.write(&[&payload], &mut out));
    out
}

/// Any bit of a record: the connection is reset at both ends and the log says why.
#[test]
fn a_changed_record_resets_both_ends() {
    for from in SIDES {
        for at in [0, 1, 2, 3, 4, 100, 400] {
            let (mut lab, conn) = running(1);
            tamper_once(&mut lab, from, move |view| {
                vec![rewritten(view, |_, payload| payload[at] ^= 0x40)]
            });
            lab.send(conn, from, &text(3, 500));
            lab.run(seconds(3));
            if lab.end(conn, from).is_none() {
                // A longer length: what follows is taken for the rest.
                lab.send(conn, from, &text(4, 60_000));
            }
            lab.run(seconds(30));
            for side in SIDES {
                let end = lab.end(conn, side);
                assert_eq!(end, Some(End::Reset), "octet {at} from {from:?}: {side:?}");
            }
            let (up, down) = (text(1, 3000), text(2, 3000));
            assert_eq!(lab.received(conn, Side::Server), up);
            assert_eq!(lab.received(conn, Side::Client), down);
            let log = lab.log(from.other()).join("\n");
            if at > 2 {
                assert!(log.contains("MAC check failed"), "{log}");
            }
            assert_nothing_shown(&lab);
        }
    }
}

/// Plaintext of the attacker's with the right numbers is not delivered.
#[test]
fn plaintext_that_is_put_in_is_not_delivered() {
    for from in SIDES {
        for length in [1, 2, 3, 20, 300] {
            let (mut lab, conn) = running(2);
            tamper_once(&mut lab, from, move |view| {
                vec![rewritten(view, |_, payload| {
                    *payload = b"evil".repeat(75)[..length].to_vec()
                })]
            });
            lab.send(conn, from, &text(3, 500));
            lab.run(seconds(30));
            lab.remove_middlebox();
            assert_eq!(lab.received(conn, Side::Server).get(3000..), Some(&[][..]));
            assert_eq!(lab.received(conn, Side::Client).get(3000..), Some(&[][..]));
            assert_nothing_shown(&lab);
        }
    }
}

/// A record from before, at a later place in the stream.
#[test]
fn replayed_records_are_not_delivered() {
    for from in SIDES {
        let (mut lab, conn) = running(3);
        let mut data = lab.tap.seen.iter().filter(|s| s.from == from);
        let old = data.rfind(|s| View::parse(&s.packet).unwrap().payload().len() > 200);
        let old = old.unwrap().packet.clone();
        let old = View::parse(&old).unwrap().payload().to_vec();
        tamper_once(&mut lab, from, move |view| {
            vec![rewritten(view, |_, payload| *payload = old.clone())]
        });
        lab.send(conn, from, &text(3, 500));
        lab.run(seconds(30));
        for side in SIDES {
            assert_eq!(lab.end(conn, side), Some(End::Reset), "{side:?}");
        }
        assert_eq!(lab.received(conn, Side::Server), text(1, 3000));
        assert_eq!(lab.received(conn, Side::Client), text(2, 3000));
    }
}

/// The same packet again, an hour later.
#[test]
fn a_repeated_packet_changes_nothing() {
    for from in SIDES {
        let (mut lab, conn) = running(4);
        lab.run(seconds(3600));
        for seen in lab.tap.seen.clone() {
            if seen.from == from {
                lab.inject(from, seen.packet);
                lab.run(std::time::Duration::from_millis(20));
            }
        }
        assert_encrypted(&mut lab, conn);
        assert_eq!(lab.received(conn, Side::Server), text(1, 3000));
        assert_eq!(lab.received(conn, Side::Client), text(2, 3000));
        lab.run(seconds(5));
        let more = (text(5, 500), text(6, 500));
        lab.send(conn, Side::Client, &more.0);
        lab.send(conn, Side::Server, &more.1);
        lab.run(seconds(20));
        assert_eq!(
            lab.received(conn, Side::Server),
            [text(1, 3000), more.0].concat()
        );
        assert_eq!(
            lab.received(conn, Side::Client),
            [text(2, 3000), more.1].concat()
        );
        assert_nothing_shown(&lab);
    }
}

/// Acknowledgements of what was not sent, and SACK blocks of all kinds, from an attacker.
#[test]
fn false_acknowledgements() {
    for from in SIDES {
        for off in [
            1_u32,
            19,
            20,
            21,
            5000,
            0x7fff_ffff,
            0x8000_0000,
            0u32.wrapping_sub(5000),
        ] {
            let (mut lab, conn) = running(5);
            let last = lab
                .tap
                .seen
                .iter()
                .rfind(|s| s.from == from)
                .unwrap()
                .packet
                .clone();
            let view = View::parse(&last).unwrap();
            let forged = rewritten(&view, |rewrite, payload| {
                rewrite.ack += off;
                rewrite.flags = Flags::ACK;
                payload.clear();
                rewrite
                    .options
                    .push_sack(&[(view.ack() + off, view.ack() + off + 50)]);
            });
            lab.inject(from, forged);
            lab.run(seconds(1));
            let more = (text(5, 40_000), text(6, 40_000));
            lab.send(conn, Side::Client, &more.0);
            lab.send(conn, Side::Server, &more.1);
            lab.run(seconds(60));
            assert_prefix(&lab, conn, Side::Server, &[text(1, 3000), more.0].concat());
            assert_prefix(&lab, conn, Side::Client, &[text(2, 3000), more.1].concat());
            assert_nothing_shown(&lab);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// Bits flip and the checksum is made to fit, from the moment encryption is on.
    #[test]
    fn what_arrives_is_a_beginning(seed: u64, flip in 0.0..0.1, loss in 0.0..0.05,
        up in 0..50_000_usize, down in 0..50_000_usize, split in 0.0..0.2, merge in 0.0..0.3) {
        let mut lab = pair(seed);
        let conn = lab.connect();
        lab.run(seconds(1));
        assert_encrypted(&mut lab, conn);
        lab.set_network(Network { flip, flip_unnoticed: true, split, merge, ..Network::lossy(loss) });
        let (up, down) = (text(seed, up), text(!seed, down));
        lab.send(conn, Side::Client, &up);
        lab.send(conn, Side::Server, &down);
        lab.finish(conn, Side::Client);
        lab.finish(conn, Side::Server);
        lab.run(seconds(300));
        assert_prefix(&lab, conn, Side::Server, &up);
        assert_prefix(&lab, conn, Side::Client, &down);
        assert_nothing_shown(&lab);
    }

    /// Packets of the attacker's making, near the numbers of the connection.
    #[test]
    fn invented_packets(seed: u64) {
        let (mut lab, conn) = running(seed);
        let mut rng = Rng::new(seed);
        let (mut up, mut down) = (text(1, 3000), text(2, 3000));
        for round in 0..30 {
            let index = rng.below(lab.tap.seen.len() as u64) as usize;
            let seen = lab.tap.seen[index].clone();
            let view = View::parse(&seen.packet).unwrap();
            let flags = Flags(rng.next() as u8).without(Flags::RST | Flags::SYN);
            let (seq, ack) = (rng.below(3000) as u32, rng.below(3000) as u32);
            let length = rng.below(200) as usize;
            let noise = rng.octets(length);
            let packet = rewritten(&view, |rewrite, payload| {
                rewrite.seq = rewrite.seq + seq - 1500;
                rewrite.ack = rewrite.ack + ack - 1500;
                rewrite.flags = flags;
                *payload = noise.clone();
            });
            lab.inject(seen.from, packet);
            if SIDES.iter().all(|side| lab.end(conn, *side).is_none()) {
                let (a, b) = (text(round, 700), text(!round, 700));
                lab.send(conn, Side::Client, &a);
                lab.send(conn, Side::Server, &b);
                up.extend(a);
                down.extend(b);
            }
            lab.run(std::time::Duration::from_millis(1 + rng.below(300)));
        }
        lab.run(seconds(60));
        assert_prefix(&lab, conn, Side::Server, &up);
        assert_prefix(&lab, conn, Side::Client, &down);
        prop_assert_eq!(lab.tap.showing(0, crate::promises::MARKER), 0);
    }
}
