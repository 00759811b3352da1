//! Peers and wires that do what they should not.

use proptest::prelude::*;

use super::bench::{ACK, End, PSH, Seg, pair, pair_at, text};
use tcpcrypt_proto::flow::{Failure, Flow};
use tcpcrypt_proto::packet::Flags;

/// What a flow may hold in all, whatever comes (the constants that `Flow` documents).
const MOST: usize = 16 << 20;

fn footprint(end: &End) -> usize {
    end.flow.footprint() + size_of::<Flow>()
}

#[test]
fn the_first_to_come_counts() {
    let (mut a, mut b) = pair(true);
    let sent: Vec<_> = (0..3)
        .map(|i| {
            a.send(&Seg::new(1000 + i * 100, 2000, ACK, &text(100)))
                .only()
        })
        .collect();
    b.receive(&sent[1]);
    let mut forged = sent[1].clone();
    forged.payload.iter_mut().for_each(|octet| *octet ^= 0xff);
    b.receive(&forged);
    let mut around = sent[0].clone();
    around.payload.extend_from_slice(&forged.payload);
    around.payload.extend_from_slice(&sent[2].payload);
    let local = b.receive(&around).only();
    assert_eq!(local.payload, [text(100), text(100), text(100)].concat());
    // Behind it nothing changes any more, either.
    assert_eq!(b.receive(&forged).only().payload, text(100));
}

#[test]
fn what_is_no_record_is_a_failure() {
    let failure = |payload: &[u8]| {
        let (_, mut b) = pair(true);
        b.receive(&Seg::new(1110, 2108, PSH, payload)).failed
    };
    assert_eq!(failure(b"GET / HTTP/1.1"), Some(Failure::Malformed));
    assert_eq!(failure(&[0, 0, 16]), Some(Failure::Malformed));
    assert_eq!(failure(&[1]), Some(Failure::Malformed));
    assert_eq!(failure(&[0; 20]), Some(Failure::Malformed));
    assert_eq!(
        failure(&[&[0, 0, 17][..], &[0; 17]].concat()),
        Some(Failure::Mac)
    );
    assert_eq!(failure(&[0, 0xff, 0xff]), None);
}

#[test]
fn a_stream_that_never_begins() {
    // A gap at the front, then as much as there is, in segments of all sizes.
    for size in [1, 7, 100, 1400, 60_000] {
        let (_, mut b) = pair(true);
        let payload = vec![0; size];
        let mut seq = 1111_u32;
        for _ in 0..(40 << 20) / size.max(400) {
            b.receive(&Seg::new(seq, 2108, ACK, &payload));
            seq = seq.wrapping_add(size as u32);
        }
        assert!(footprint(&b) < MOST, "{}", footprint(&b));
    }
}

#[test]
fn gaps_everywhere() {
    for step in [2, 3000, 100_000] {
        let (_, mut b) = pair(true);
        for i in 1..20_000_u32 {
            b.receive(&Seg::new(1110_u32.wrapping_add(i * step), 2108, ACK, b"x"));
        }
        assert!(footprint(&b) < MOST / 2, "{}", footprint(&b));
    }
    // Backwards.
    let (_, mut b) = pair(true);
    for i in (1..100_000_u32).rev() {
        b.receive(&Seg::new(1110 + i, 2108, ACK, b"x"));
    }
    assert!(footprint(&b) < MOST / 2, "{}", footprint(&b));
}

#[test]
fn a_window_that_is_not_kept() {
    // The peer sends genuine records and the local TCP takes none of them.
    let (mut a, mut b) = pair_at(1000, 2000, |options| options.local_window_scale = Some(0));
    b.send(&Seg::new(2000, 1000, ACK, b""));
    let data = text(1000);
    for i in 0..10_000 {
        let wire = a.send(&Seg::new(1000 + i * 1000, 2000, ACK, &data));
        b.receive(&wire.only());
    }
    assert!(footprint(&b) < 400_000, "{}", footprint(&b));
    // The sending side is bounded, too: no acknowledgement ever comes.
    for i in 10_000..30_000 {
        a.send(&Seg::new(1000 + i * 1000, 2000, ACK, &data));
    }
    assert!(footprint(&a) < 20 << 20, "{}", footprint(&a));
}

#[test]
fn tiny_records() {
    let (mut a, mut b) = pair(true);
    for i in 0..400_000 {
        let wire = a.send(&Seg::new(1000 + i, 2000, ACK, b"x"));
        if let Some(wire) = wire.step {
            b.receive(&wire);
        }
    }
    assert!(footprint(&b) < MOST, "{}", footprint(&b));
}

/// A segment near what the flow expects, or far.
fn segment() -> impl Strategy<Value = (i32, i32, u8, Vec<u8>, Vec<u8>, u16)> {
    let near = prop_oneof![4 => -300..300_i32, 1 => any::<i32>()];
    let payload = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..60),
        Just(vec![0, 0, 20, 1, 2]),
        Just(vec![0; 30]),
    ];
    let options = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..10),
        1 => Just(vec![1, 1, 5, 18, 0, 0, 4, 0x60, 0, 0, 5, 0, 0, 0, 0, 0, 0xff, 0, 0, 0]),
    ];
    (
        near.clone(),
        near,
        any::<u8>(),
        payload,
        options,
        any::<u16>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No segment makes a flow panic, say plaintext, or send without end.
    #[test]
    fn anything_at_all(
        start in any::<[u32; 2]>(),
        sack in any::<bool>(),
        steps in prop::collection::vec((0..4_u8, segment()), 1..60),
    ) {
        let (mut a, mut b) = pair_at(start[0], start[1], |options| {
            options.sack = sack;
            options.timestamps = true;
        });
        let secret = b"never to be seen on any wire";
        let mut next = start[0];
        for (what, (seq, ack, flags, payload, options, window)) in steps {
            let out = match what {
                // The local TCP does its work, with a peer's flow at the other end.
                0 => {
                    let out = a.send(&Seg::new(next, start[1], PSH, secret));
                    next = next.wrapping_add(secret.len() as u32);
                    if let Some(wire) = &out.step {
                        b.receive(wire);
                    }
                    out
                }
                1 => {
                    let mut seg = Seg::new(
                        next.wrapping_add_signed(seq), start[1].wrapping_add_signed(ack),
                        Flags(flags), &secret[..payload.len().min(secret.len())],
                    );
                    seg.options = options;
                    seg.options.resize(seg.options.len().next_multiple_of(4), 0);
                    seg.window = window;
                    a.send(&seg)
                }
                _ => {
                    let mut seg = Seg::new(
                        start[1].wrapping_add(108).wrapping_add_signed(seq),
                        next.wrapping_add(110).wrapping_add_signed(ack),
                        Flags(flags), &payload,
                    );
                    seg.options = options;
                    seg.options.resize(seg.options.len().next_multiple_of(4), 0);
                    seg.window = window;
                    a.receive(&seg)
                }
            };
            if what < 2 {
                for seg in out.step.iter().chain(&out.wire) {
                    prop_assert!(!seg.payload.windows(8).any(|w| w == &secret[..8]));
                }
            }
            if out.failed.is_some() {
                a.flow.reset();
                prop_assert_eq!(a.poll().wire.len(), 1);
                break;
            }
            prop_assert!(footprint(&a) < 100_000);
        }
    }
}
