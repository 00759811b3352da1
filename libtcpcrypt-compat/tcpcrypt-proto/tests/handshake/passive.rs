//! The end that is connected to.

use std::time::Duration;

use tcpcrypt_proto::packet::{Direction, Flags, options};

use crate::host::{
    ACK, BARE, CLIENT_ISN, FIN, Pair, RST, SERVER_ISN, SYN, Segment, lowered_mss, resets,
};

const OURS: u32 = SERVER_ISN + 1;
const THEIRS: u32 = CLIENT_ISN.wrapping_add(1);
const INIT1: u32 = 110;
const INIT2: u32 = 108;

#[test]
fn init2_is_repeated_every_tenth_of_a_second_then_given_up() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    pair.server.pass(Duration::from_millis(1050));
    let sent = pair.server.sent();
    assert_eq!(sent.len(), 10);
    assert!(sent.iter().all(|(_, segment)| *segment == init2));
    pair.server.pass(Duration::from_millis(50));
    let sent = pair.server.sent();
    assert_eq!(resets(&sent), (2, 1));
    let local = sent.iter().find(|(to, _)| *to == Direction::In).unwrap();
    assert_eq!((local.1.seq, local.1.ack), (THEIRS, OURS));
    assert!(pair.server.log().contains(&"Retransmit timeout".to_owned()));
    assert_eq!(pair.server.endpoint.stats().half_open, 0);
}

#[test]
fn init1_again_brings_init2_again() {
    let mut pair = Pair::default();
    let init1 = pair.init1();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    // The local TCP gets the third segment again, too: its queue may have been full.
    let seen = pair.server.get(&init1).unwrap();
    assert_eq!((seen.payload.len(), seen.window), (0, 0));
    assert_eq!(pair.server.sent_one(), init2);
    // And its SYN-ACK, repeated for the same reason, still has our choice.
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [0x21]);
    // What else it sends stays here.
    let probe = pair.server.says(ACK, SERVER_ISN, THEIRS);
    assert_eq!(pair.server.out(&probe), None);
    let data = probe.with(|segment| segment.payload = b"greeting".to_vec());
    assert_eq!(pair.server.out(&data), None);
    // An acknowledgement of the third segment alone says nothing.
    let ack = pair.client.says(ACK, THEIRS.wrapping_add(INIT1), OURS);
    assert_eq!(pair.server.get(&ack), None);
    assert_eq!(pair.server.netstat(), 0);
}

#[test]
fn a_record_may_acknowledge_init2() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    pair.client.get(&init2).unwrap();
    pair.client.sent();
    pair.talk();
    pair.assert_same_id();
}

/// The keys may be agreed on before they are needed, and are the same.
#[test]
fn leisure_behind_init2() {
    for pieces in [0, 1, 2] {
        let mut pair = Pair::default();
        let init2 = pair.init2();
        let server = &mut pair.server.endpoint;
        for _ in 0..pieces {
            server.use_leisure();
        }
        // The source that knows what is asked for wants a key, too; that is for last.
        assert_eq!(server.has_work_for_leisure(), pieces < 2, "{pieces}");
        assert_eq!(pair.server.sent(), []);
        pair.client.get(&init2).unwrap();
        pair.client.sent();
        pair.talk();
        pair.assert_same_id();
    }
    // What was given up meanwhile costs nothing.
    let mut pair = Pair::default();
    pair.init2();
    pair.server.pass(Duration::from_secs(2));
    pair.server.sent();
    pair.server.endpoint.use_leisure();
    pair.server.endpoint.use_leisure();
    assert!(!pair.server.endpoint.has_work_for_leisure());
    assert_eq!(pair.server.sent(), []);
}

#[test]
fn what_is_not_init1_resets_both_ends() {
    type Change = fn(&mut Segment);
    let wrong: [(&str, Change); 8] = [
        ("can't find init1", |s| {
            s.payload = b"GET / HTTP/1.0".to_vec()
        }),
        ("can't find init1", |s| s.payload[3] ^= 1),
        ("bad init1 len", |s| s.payload[7] -= 1),
        ("bad init1 len", |s| s.payload.push(0)),
        ("bad init1 len", |s| s.payload[8] = 255),
        ("init1: can't negotiate", |s| s.payload[9..11].fill(9)),
        ("init1: bad pubkey", |s| s.payload[80] ^= 1),
        ("can't find init1", |s| {
            s.payload.clear();
            s.flags = FIN | ACK;
        }),
    ];
    for (line, change) in wrong {
        let mut pair = Pair::default();
        let init1 = pair.init1().with(change);
        assert_eq!(pair.server.get(&init1), None, "{line}");
        let sent = pair.server.sent();
        assert_eq!(resets(&sent), (1, 1), "{line}");
        assert_eq!(pair.server.log()[0], line);
        // The application hears nothing of it, and nothing goes out.
        assert_eq!(pair.server.get(&init1), None);
        let data = pair.server.says(ACK, OURS, THEIRS);
        let data = data.with(|segment| segment.payload = b"secret".to_vec());
        assert_eq!(pair.server.out(&data), None);
    }
}

#[test]
fn a_bare_third_segment_and_init1_in_pieces() {
    let mut pair = Pair::default();
    let init1 = pair.init1();
    let bare = init1.clone().with(|segment| segment.payload.clear());
    let seen = pair.server.get(&bare).unwrap();
    assert_eq!(seen.window, 0);
    let wrong = init1.clone().with(|segment| segment.ack += 1);
    assert_eq!(pair.server.get(&wrong), None);
    // From here on there is no way back.
    let first = init1.clone().stripped().with(|segment| {
        segment.payload.truncate(60);
    });
    assert_eq!(pair.server.get(&first).unwrap().payload, b"");
    assert_eq!(pair.server.sent(), []);
    let second = init1.clone().stripped().with(|segment| {
        segment.payload = init1.payload[60..].to_vec();
        segment.seq = segment.seq.wrapping_add(60);
    });
    let seen = pair.server.get(&second).unwrap();
    assert_eq!((seen.seq, seen.payload.len()), (THEIRS, 0));
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.talk();
}

#[test]
fn resets_on_the_way() {
    for (number, over) in [(0, true), (INIT1, true), (1, false)] {
        let mut pair = Pair::default();
        pair.init2();
        let seq = THEIRS.wrapping_add(number);
        let reset = pair.client.says(RST | ACK, seq, OURS);
        let seen = pair.server.get(&reset);
        assert_eq!(seen.is_some(), over);
        if let Some(seen) = seen {
            assert_eq!(seen.seq, THEIRS);
        }
        assert_eq!(pair.server.endpoint.stats().half_open, usize::from(!over));
    }
    // Of the local TCP.
    let mut pair = Pair::default();
    pair.init2();
    let reset = pair.server.says(RST | ACK, OURS, THEIRS);
    let sent = pair.server.out(&reset).unwrap();
    assert_eq!((sent.seq, sent.ack), (OURS, THEIRS.wrapping_add(INIT1)));
    assert_eq!(pair.server.sent_one().seq, OURS + INIT2);
    // A closed port.
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let refused = pair.server.says(RST | ACK, 0, THEIRS);
    assert_eq!(pair.server.out(&refused).unwrap().ack, THEIRS);
    assert_eq!(pair.server.endpoint.stats().half_open, 0);
}

#[test]
fn mss_is_lowered_or_added() {
    for (options, seen) in [
        (vec![2, 4, 5, 0xb4], Some(lowered_mss(false))),
        (vec![2, 4, 0x02, 0x18], Some(496)),
        (vec![], Some(lowered_mss(false))),
        (vec![3, 3, 7, 1], Some(lowered_mss(false))),
    ] {
        let mut pair = Pair::default();
        let syn = pair.client.syn().with(|syn| syn.options = options.clone());
        let syn = pair.client.out(&syn).unwrap();
        assert_eq!(options::mss(&syn.options), options::mss(&options), "wire");
        let local = pair.server.get(&syn).unwrap();
        assert_eq!(options::mss(&local.options), seen);
        let syn_ack = pair.server.syn_ack();
        let syn_ack = syn_ack.with(|syn| syn.options = options.clone());
        let syn_ack = pair.server.out(&syn_ack).unwrap();
        let local = pair.client.get(&syn_ack).unwrap();
        assert_eq!(options::mss(&local.options), seen);
    }
}

#[test]
fn data_in_a_syn_are_not_for_the_local_tcp() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let syn = syn.with(|syn| {
        syn.payload = b"early".to_vec();
        syn.flags |= Flags::PSH;
    });
    let seen = pair.server.get(&syn).unwrap();
    assert_eq!((seen.flags, seen.payload.len()), (SYN, 0));
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    let syn_ack = syn_ack.with(|syn| syn.payload = b"early".to_vec());
    assert_eq!(pair.client.get(&syn_ack).unwrap().payload, b"");
}

#[test]
fn a_syn_again_with_another_offer() {
    // The transcript has the last one.
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let other = syn.clone().with(|syn| {
        let at = syn.options.len() - 4;
        assert_eq!(syn.options[at..], [0x21, 0x22, 0, 0]);
        syn.options[at..].copy_from_slice(&[0x22, 0x21, 0, 0]);
    });
    pair.server.get(&other).unwrap();
    let syn_ack = pair.server.syn_ack();
    let before = pair.server.out(&syn_ack).unwrap();
    assert_eq!(before.eno().unwrap().suboptions(), [0x22]);
    pair.server.get(&syn).unwrap();
    let after = pair.server.out(&syn_ack).unwrap();
    assert_eq!(after.eno().unwrap().suboptions(), [0x21]);
    pair.client.get(&after).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.assert_same_id();
    pair.talk();
}

/// An option that was taken off the SYN when it came again, but the client knows our answer to the first.
#[test]
fn a_syn_again_without_the_option() {
    let mut pair = Pair::default();
    let (syn, _) = pair.syns();
    pair.server.get(&syn.stripped()).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.talk();
}

/// Too many connections wait to be accepted: the local TCP does not take the third segment, and repeats the
/// SYN-ACK when encryption is on.
#[test]
fn a_syn_ack_after_encryption_is_on() {
    let mut pair = Pair::default();
    pair.connect();
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    let nudge = pair.client.get(&syn_ack).expect("something to answer");
    assert!(!nudge.flags.has(SYN));
    let ack = pair.client.says(ACK, THEIRS, OURS);
    let ack = pair.client.out(&ack).unwrap();
    let seen = pair.server.get(&ack).unwrap();
    assert_eq!((seen.seq, seen.ack), (THEIRS, OURS));
    pair.talk();
}

/// INIT1 of a connection that we do not know must not reach an application.
#[test]
fn init1_from_nowhere_is_no_data() {
    let mut pair = Pair::default();
    let init1 = pair.init1();
    let mut other = Pair::default();
    assert_eq!(other.server.get(&init1), None);
    assert_eq!(resets(&other.server.sent()), (1, 1));
    let plain = init1.stripped();
    assert_eq!(other.server.get(&plain), Some(plain.clone()));
    let bare = plain.with(|segment| {
        segment.options.extend(BARE);
        segment.payload.clear();
    });
    assert_eq!(other.server.get(&bare), Some(bare.clone()));
}

/// What the local TCP promised it must keep, though its SYN-ACK has no more room for it.
#[test]
fn a_syn_ack_again_that_is_full() {
    let mut pair = Pair::default();
    pair.syns();
    let full = pair.server.syn_ack().with(|syn| {
        syn.options = [&[0xfe, 40][..], &[7; 38]].concat();
    });
    assert_eq!(pair.server.out(&full), None);
    assert_eq!(resets(&pair.server.sent()), (1, 1));
}

/// SYN and SYN-ACK again, while encryption is on.
#[test]
fn a_syn_again_after_encryption_is_on() {
    let mut pair = Pair::default();
    let (syn, _) = pair.syns();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.server.get(&syn);
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(pair.server.netstat(), 1);
    // One for another SYN is not the old connection's.
    let other = syn_ack.with(|syn| syn.ack += 4);
    assert_eq!(pair.server.out(&other), None);
    // Nor is a forged SYN answered by it.
    let forged = syn.with(|syn| syn.seq = 99);
    pair.server.get(&forged).unwrap();
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(pair.server.netstat(), 1);
    pair.talk();
}
