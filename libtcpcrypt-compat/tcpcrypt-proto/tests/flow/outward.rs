//! From the local TCP to the wire.

use std::time::Duration;

use super::bench::{ACK, DRAINED, End, PSH, RESTED, RST, Seg, URG, pair, pair_at, text};
use tcpcrypt_proto::packet::Flags;

#[test]
fn data_become_a_record_that_the_peer_reads() {
    let (mut a, mut b) = pair(false);
    let wire = a.send(&Seg::new(1000, 2000, PSH, b"hello")).only();
    assert_eq!((wire.seq, wire.ack, wire.flags), (1110, 2108, PSH));
    assert_eq!(wire.payload.len(), 25);
    assert!(!wire.payload.windows(5).any(|w| w == b"hello"));
    let local = b.receive(&wire).only();
    assert_eq!((local.seq, local.ack, local.flags), (1000, 2000, PSH));
    assert_eq!(local.payload, b"hello");
    assert!(b.flow.authenticated_once() && !a.flow.authenticated_once());

    let ack = b.send(&Seg::new(2000, 1005, ACK, b"")).only();
    assert_eq!((ack.seq, ack.ack), (2108, 1135));
    let ack = a.receive(&ack).only();
    assert_eq!((ack.seq, ack.ack), (2000, 1005));
    assert!(a.flow.footprint() <= DRAINED);
}

#[test]
fn what_is_sent_again_is_the_same_in_the_same_borders() {
    let (mut a, _) = pair(false);
    let data = text(3000);
    let mut first = Vec::new();
    for part in [0..1000, 1000..2000, 2000..3000] {
        let seq = 1000 + part.start as u32;
        first.push(a.send(&Seg::new(seq, 2000, ACK, &data[part])).only());
    }
    // All of it in one, from the middle, and one that ends in the middle.
    let again = a.send(&Seg::new(1000, 2000, PSH, &data)).all_wire();
    for (again, first) in again.iter().zip(&first) {
        assert_eq!((again.seq, &again.payload), (first.seq, &first.payload));
    }
    assert_eq!(again.len(), 3);
    assert_eq!(again[0].flags, ACK, "the push belongs to the last");
    assert_eq!(again[2].flags, PSH);
    let again = a
        .send(&Seg::new(1500, 2000, ACK, &data[500..1800]))
        .all_wire();
    let numbers: Vec<_> = again.iter().map(|s| s.seq).collect();
    assert_eq!(numbers, [1110, 2130]);
    assert_eq!(again[1].payload, first[1].payload);
}

#[test]
fn old_and_new_data_in_one_segment() {
    let (mut a, mut b) = pair(false);
    // A probe of a closed window, then the window opens.
    let probe = a.send(&Seg::new(1000, 2000, ACK, b"p")).only();
    assert_eq!(probe.payload.len(), 21);
    for _ in 0..3 {
        assert_eq!(a.send(&Seg::new(1000, 2000, ACK, b"p")).only(), probe);
    }
    let sent = a.send(&Seg::new(1000, 2000, PSH, b"probing")).all_wire();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].payload, probe.payload);
    assert_eq!((sent[1].seq, sent[1].payload.len()), (1131, 26));
    let mut read = Vec::new();
    for seg in &sent {
        read.extend(b.receive(seg).only().payload);
    }
    assert_eq!(read, b"probing");
}

#[test]
fn data_behind_a_lost_packet_wait_for_it() {
    let (mut a, _) = pair(false);
    a.send(&Seg::new(1100, 2000, ACK, &text(100))).nothing();
    a.send(&Seg::new(1200, 2000, Flags(0x11), b"")).nothing();
    // Its number may show in an empty segment; on the wire nothing was sent.
    let ack = a.send(&Seg::new(1200, 2000, ACK, b"")).only();
    assert_eq!(ack.seq, 1110);
    assert_eq!(
        a.send(&Seg::new(1000, 2000, ACK, &text(100))).only().seq,
        1110
    );
    assert_eq!(
        a.send(&Seg::new(1100, 2000, ACK, &text(100))).only().seq,
        1230
    );
}

#[test]
fn what_does_not_fit_the_path_is_divided() {
    let (mut a, mut b) = pair(false);
    let data = text(1460);
    let sent = a.send(&Seg::new(1000, 2000, PSH, &data)).all_wire();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].payload.len(), 1460);
    assert_eq!(sent[1].payload.len(), 40);
    assert_eq!((sent[0].flags, sent[1].flags), (ACK, PSH));
    let mut read = Vec::new();
    for seg in &sent {
        read.extend(b.receive(seg).only().payload);
    }
    assert_eq!(read, data);
    // A packet of many segments, in records for the path.
    let data = text(60_000);
    let (mut a, mut b) = pair(false);
    let sent = a.send(&Seg::new(1000, 2000, PSH, &data)).all_wire();
    assert_eq!(sent.len(), 42);
    let read: Vec<u8> = sent
        .iter()
        .flat_map(|s| b.receive(s).only().payload)
        .collect();
    assert!(read == data);
}

#[test]
fn urgent_data() {
    let (mut a, mut b) = pair(false);
    let mut seg = Seg::new(1000, 2000, URG, b"stop!");
    seg.urgent = 5;
    let wire = a.send(&seg).only();
    assert_eq!(wire.payload.len(), 27);
    assert_eq!((wire.flags, wire.urgent), (URG, 5));
    // The header may be changed on the way; the record counts.
    let mut changed = wire.clone();
    changed.flags = ACK;
    changed.urgent = 0;
    let local = b.receive(&changed).only();
    assert_eq!((local.flags, local.urgent), (URG, 5));
    let mut changed = a.send(&Seg::new(1005, 2000, ACK, b"more")).only();
    changed.flags = URG;
    changed.urgent = 3;
    assert_eq!(b.receive(&changed).only().flags, ACK);

    let (mut a, mut b) = pair(false);
    let mut seg = Seg::new(1000, 2000, URG, &text(1458));
    seg.urgent = 1450;
    let sent = a.send(&seg).all_wire();
    assert_eq!(
        sent.iter().map(|s| s.payload.len()).collect::<Vec<_>>(),
        [1460, 42]
    );
    b.receive(&sent[0]);
    let local = b.receive(&sent[1]).only();
    assert_eq!((local.seq, local.flags, local.urgent), (2438, URG, 12));
}

#[test]
fn keep_alives_and_probes_look_old() {
    for sack in [false, true] {
        let (mut a, mut b) = pair(sack);
        assert_eq!(a.send(&Seg::new(999, 2000, ACK, b"")).only().seq, 1109);
        let wire = a.send(&Seg::new(1000, 2000, ACK, &text(300))).only();
        b.receive(&wire);
        let ack = b.send(&Seg::new(2000, 1300, ACK, b"")).only();
        a.receive(&ack);
        // With the original the number has to be what it makes 1299 of.
        let expected = if sack { 1429 } else { 1409 };
        let probe = a.send(&Seg::new(1299, 2000, ACK, b"")).only();
        assert_eq!(probe.seq, expected);
        let with_octet = a.send(&Seg::new(1299, 2000, ACK, b"x")).only();
        assert_eq!((with_octet.seq, with_octet.payload.len()), (expected, 0));
        assert_eq!(b.receive(&probe).only().seq, 1299);
    }
}

#[test]
fn acknowledgements_end_at_records() {
    let (mut a, _) = pair(false);
    let data = text(300);
    for i in 0..3 {
        let part = i * 100..(i + 1) * 100;
        a.send(&Seg::new(1000 + part.start as u32, 2000, ACK, &data[part]))
            .only();
    }
    let acked = |a: &mut End, wire| a.receive(&Seg::new(2108, wire, ACK, b"")).step;
    assert_eq!(acked(&mut a, 1110).expect("passes").ack, 1000);
    // In the header, in the data, in the tag.
    for inside in [1112, 1150, 1229] {
        assert!(acked(&mut a, inside).is_none(), "not one duplicate more");
    }
    let same = acked(&mut a, 1229).expect("a duplicate");
    assert_eq!(same.ack, 1000);
    assert_eq!(acked(&mut a, 1230).expect("passes").ack, 1100);
    assert_eq!(acked(&mut a, 1400).expect("passes").ack, 1200);
    // Late ones are seen to be.
    assert_eq!(acked(&mut a, 1230).expect("passes").ack, 1199);
    assert!(acked(&mut a, 1471).is_none(), "never sent");
    assert_eq!(acked(&mut a, 1470).expect("passes").ack, 1300);
    assert!(a.flow.footprint() <= DRAINED);
}

#[test]
fn blocks_from_the_wire_shrink_to_records() {
    let (mut a, _) = pair(true);
    for i in 0..4 {
        a.send(&Seg::new(1000 + i * 100, 2000, ACK, &text(100)))
            .only();
    }
    let told = |a: &mut End, blocks: &[(u32, u32)]| {
        let seg = Seg::new(2108, 1110, ACK, b"").sack(blocks);
        a.receive(&seg).only().blocks()
    };
    assert_eq!(told(&mut a, &[(1230, 1350)]), [(1100, 1200)]);
    assert_eq!(told(&mut a, &[(1229, 1471)]), [(1100, 1300)]);
    assert_eq!(told(&mut a, &[(1231, 1349)]), []);
    assert_eq!(
        told(
            &mut a,
            &[(1470, 1590), (1000, 1010), (1230, 1350), (5000, 6000)]
        ),
        [(1300, 1400), (1100, 1200)]
    );
    // Timestamps beside it stay.
    let seg = Seg::new(2108, 1110, ACK, b"")
        .timestamps(7, 8)
        .sack(&[(1231, 1349)]);
    assert_eq!(
        a.receive(&seg).only().options,
        [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 8]
    );
}

#[test]
fn numbers_wrap() {
    let (mut a, mut b) = pair_at(u32::MAX - 150, u32::MAX - 20, |_| {});
    let mut sent = 0;
    for i in 0..10_u32 {
        let data = text(100);
        let plain = (u32::MAX - 150).wrapping_add(i * 100);
        let inward = u32::MAX - 20;
        let wire = a.send(&Seg::new(plain, inward, ACK, &data)).only();
        assert_eq!(wire.seq, plain.wrapping_add(110 + 20 * i));
        let local = b.receive(&wire).only();
        assert_eq!((local.seq, local.ack, local.payload), (plain, inward, data));
        let ack = b
            .send(&Seg::new(inward, local.seq.wrapping_add(100), ACK, b""))
            .only();
        assert_eq!(ack.ack, wire.end());
        assert_eq!(a.receive(&ack).only().ack, plain.wrapping_add(100));
        sent += 1;
    }
    assert_eq!(sent, 10);
    assert!(a.flow.footprint() <= DRAINED && b.flow.footprint() <= DRAINED);
}

#[test]
fn resets_have_exact_numbers() {
    let (mut a, mut b) = pair(false);
    let wire = a.send(&Seg::new(1000, 2000, ACK, &text(100))).only();
    b.receive(&wire);
    let ack = b.send(&Seg::new(2000, 1100, ACK, b"")).only();
    a.receive(&ack);
    let reset = a.send(&Seg::new(1100, 2000, RST, b"")).only();
    assert_eq!((reset.seq, reset.ack, reset.flags), (1230, 2108, RST));
    let local = b.receive(&reset).only();
    assert_eq!((local.seq, local.ack), (1100, 2000));
    assert_eq!(a.flow.closing(), tcpcrypt_proto::flow::Closing::Reset);
    assert_eq!(b.flow.closing(), tcpcrypt_proto::flow::Closing::Reset);
}

#[test]
fn a_silent_flow_holds_nothing() {
    assert!(size_of::<tcpcrypt_proto::flow::Flow>() < 1024);
    assert!(size_of::<tcpcrypt_proto::flow::Tombstone>() <= 64);
    let (mut a, mut b) = pair(true);
    for i in 0..100 {
        let plain = 1000 + i * 1000;
        let wire = a.send(&Seg::new(plain, 2000, ACK, &text(1000))).only();
        b.receive(&wire);
    }
    assert!(a.flow.footprint() > 100_000);
    let ack = b.send(&Seg::new(2000, 101_000, ACK, b"")).only();
    a.receive(&ack);
    assert!(a.flow.footprint() <= DRAINED && b.flow.footprint() <= DRAINED);
    assert!(a.flow.poll_timeout().is_some());
    for end in [&mut a, &mut b] {
        end.wait(Duration::from_secs(30));
        assert!(end.flow.poll_timeout().is_none(), "nothing to do");
        assert_eq!(end.flow.footprint(), 0);
    }
}

/// With a timer for each of them, many connections that speak now and then would be nothing but timers.
#[test]
fn short_messages_keep_a_little_and_need_no_timer() {
    let (mut a, mut b) = pair(true);
    let talk = |number: u32, a: &mut End, b: &mut End| {
        let (ours, theirs) = (1000 + number * 150, 2000 + number * 50);
        let question = a.send(&Seg::new(ours, theirs, PSH, &text(150))).only();
        assert_eq!(b.receive(&question).only().payload, text(150));
        let answer = b.send(&Seg::new(theirs, ours + 150, PSH, &text(50))).only();
        assert_eq!(a.receive(&answer).only().payload, text(50));
        let ack = a.send(&Seg::new(ours + 150, theirs + 50, ACK, b"")).only();
        b.receive(&ack);
    };
    let mut kept = [0; 2];
    for number in 0..100 {
        talk(number, &mut a, &mut b);
        for (end, kept) in [&mut a, &mut b].into_iter().zip(&mut kept) {
            assert_eq!(end.flow.poll_timeout(), None);
            end.wait(Duration::from_secs(1));
            assert!(number == 0 || end.flow.footprint() == *kept);
            *kept = end.flow.footprint();
        }
    }
    assert!(
        kept.iter().all(|kept| (1..RESTED).contains(kept)),
        "{kept:?}"
    );
    // What a long one needs goes back, and then the connection goes on.
    let (ours, theirs) = (1000 + 100 * 150, 2000 + 100 * 50);
    let long = a.send(&Seg::new(ours, theirs, PSH, &text(1000))).only();
    b.receive(&long);
    let ack = b.send(&Seg::new(theirs, ours + 1000, ACK, b"")).only();
    a.receive(&ack);
    for end in [&mut a, &mut b] {
        assert!(end.flow.footprint() > 1000);
        assert!(end.flow.poll_timeout().is_some());
        end.wait(Duration::from_secs(1));
        assert_eq!((end.flow.footprint(), end.flow.poll_timeout()), (0, None));
    }
    let again = a.send(&Seg::new(ours + 1000, theirs, PSH, b"more")).only();
    assert_eq!(b.receive(&again).only().payload, b"more");
}
