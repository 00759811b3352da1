//! FIN in both directions, with ordinary peers and with the original's number (tcpcrypt spec 5.1), and what is
//! left afterwards.

use super::bench::{ACK, End, FIN, PSH, RST, Seg, pair, pair_at, text};
use tcpcrypt_proto::flow::{Closing, Failure, Step, Tombstone};
use tcpcrypt_proto::packet::{Flags, FourTuple, View};

/// 100 octets from each to the other, acknowledged.
fn exchanged(sack: bool) -> (End, End) {
    let (mut a, mut b) = pair(sack);
    let wire = a.send(&Seg::new(1000, 2000, ACK, &text(100))).only();
    b.receive(&wire);
    let wire = b.send(&Seg::new(2000, 1100, ACK, &text(100))).only();
    a.receive(&wire);
    let wire = a.send(&Seg::new(1100, 2100, ACK, b"")).only();
    b.receive(&wire);
    (a, b)
}

#[test]
fn true_numbers_between_peers_with_sack() {
    let (mut a, mut b) = exchanged(true);
    let fin = a.send(&Seg::new(1100, 2100, FIN, b"")).only();
    assert_eq!((fin.seq, fin.flags), (1230, FIN));
    assert_eq!(a.flow.closing(), Closing::HalfClosed);
    let local = b.receive(&fin).only();
    assert_eq!((local.seq, local.flags), (1100, FIN));
    let ack = b.send(&Seg::new(2100, 1101, ACK, b"")).only();
    assert_eq!(ack.ack, 1231);
    assert_eq!(a.receive(&ack).only().ack, 1101);
    // Data the other way go on.
    let wire = b.send(&Seg::new(2100, 1101, PSH, &text(50))).only();
    assert_eq!((wire.seq, wire.ack), (2228, 1231));
    let local = a.receive(&wire).only();
    assert_eq!(
        (local.seq, local.ack, local.payload.len()),
        (2100, 1101, 50)
    );
    let ack = a.send(&Seg::new(1101, 2150, ACK, b"")).only();
    assert_eq!((ack.seq, ack.ack), (1231, 2298));
    let local = b.receive(&ack).only();
    assert_eq!((local.seq, local.ack), (1101, 2150));
    let fin = b.send(&Seg::new(2150, 1101, FIN, b"")).only();
    a.receive(&fin);
    let ack = a.send(&Seg::new(1101, 2151, ACK, b"")).only();
    assert_eq!(b.receive(&ack).only().ack, 2151);
    assert_eq!(
        (a.flow.closing(), b.flow.closing()),
        (Closing::Closed, Closing::Closed)
    );
}

#[test]
fn both_numbers_to_a_peer_that_may_be_the_original() {
    let (mut a, mut b) = exchanged(false);
    let fin = a.send(&Seg::new(1100, 2100, FIN, b"")).only();
    b.receive(&fin);
    let sent = b.send(&Seg::new(2100, 1101, ACK, b"")).all_wire();
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].ack, sent[1].ack), (1211, 1231));
    assert_eq!((sent[1].seq, sent[1].flags), (2228, ACK));
    // Data with the short number alone; once more both when the peer repeats its FIN.
    let data = b.send(&Seg::new(2100, 1101, PSH, &text(50))).only();
    assert_eq!((data.seq, data.ack), (2228, 1211));
    b.receive(&fin);
    let sent = b.send(&Seg::new(2150, 1101, ACK, b"")).all_wire();
    assert_eq!(sent.iter().map(|s| s.ack).collect::<Vec<_>>(), [1211, 1231]);
    // Either is understood here.
    for wire in [&sent[0], &sent[1]] {
        let mut seg = wire.clone();
        seg.seq = 2228;
        assert_eq!(a.receive(&seg).only().ack, 1101);
    }
    assert_eq!(a.receive(&data).only().ack, 1101);
}

#[test]
fn an_ordinary_peer_is_known_by_its_acknowledgement() {
    let (mut a, _) = exchanged(false);
    a.send(&Seg::new(1100, 2100, FIN, b""));
    a.receive(&Seg::new(2228, 1231, FIN, b""));
    let ack = a.send(&Seg::new(1101, 2101, ACK, b"")).only();
    assert_eq!((ack.seq, ack.ack), (1231, 2229));
    assert_eq!(a.flow.closing(), Closing::Closed);
}

#[test]
fn the_original_is_known_by_its_acknowledgement() {
    let (mut a, _) = exchanged(false);
    a.send(&Seg::new(1100, 2100, FIN, b""));
    let local = a.receive(&Seg::new(2228, 1211, ACK, b"")).only();
    assert_eq!(local.ack, 1101);
    // It takes off the length of the key exchange alone from what is behind our FIN.
    let ack = a.send(&Seg::new(1101, 2100, ACK, b"")).only();
    assert_eq!(ack.seq, 1211);
    let local = a.receive(&Seg::new(2228, 1211, FIN, b"")).only();
    assert_eq!((local.seq, local.flags), (2100, FIN));
    let ack = a.send(&Seg::new(1101, 2101, ACK, b"")).only();
    assert_eq!((ack.seq, ack.ack), (1211, 2209));
    // And so are its own numbers behind its FIN.
    let local = a.receive(&Seg::new(2209, 1211, ACK, b"")).only();
    assert_eq!((local.seq, local.ack), (2101, 1101));
    assert_eq!(a.flow.closing(), Closing::Closed);
}

#[test]
fn data_and_fin_acknowledged_by_the_short_number_alone() {
    let (mut a, _) = exchanged(false);
    let wire = a.send(&Seg::new(1100, 2100, Flags(0x19), &text(70))).only();
    assert_eq!(
        (wire.seq, wire.payload.len(), wire.flags),
        (1230, 90, Flags(0x19))
    );
    // 1110 + 170 + 1, inside the second record on the wire.
    let local = a.receive(&Seg::new(2228, 1281, ACK, b"")).only();
    assert_eq!(local.ack, 1171);
    // Before everything that is under way.
    let (mut a, _) = exchanged(false);
    a.send(&Seg::new(1100, 2100, FIN, &text(5)));
    assert_eq!(a.receive(&Seg::new(2228, 1216, ACK, b"")).only().ack, 1106);
}

#[test]
fn a_short_number_that_may_be_another_is_not_believed() {
    // 1110 + 119 + 1 is where the first record ends.
    let (mut a, _) = exchanged(false);
    a.send(&Seg::new(1100, 2100, FIN, &text(19)));
    assert_eq!(a.receive(&Seg::new(2228, 1230, ACK, b"")).only().ack, 1100);
    assert_eq!(a.flow.closing(), Closing::HalfClosed);
    assert_eq!(a.receive(&Seg::new(2228, 1270, ACK, b"")).only().ack, 1120);
    // With SACK the peer is not the original.
    let (mut a, _) = exchanged(true);
    a.send(&Seg::new(1100, 2100, FIN, b""));
    assert_eq!(a.receive(&Seg::new(2228, 1211, ACK, b"")).only().ack, 1099);
    // Timestamps show what is late.
    let (mut a, _) = pair_at(1000, 2000, |options| options.timestamps = true);
    a.send(&Seg::new(1000, 2000, ACK, &text(100)).timestamps(1, 1));
    a.receive(&Seg::new(2108, 1230, ACK, b"").timestamps(9, 1));
    a.send(&Seg::new(1100, 2000, FIN, b"data").timestamps(2, 9));
    let late = Seg::new(2108, 1215, ACK, b"").timestamps(8, 1);
    assert_eq!(a.receive(&late).only().ack, 1099);
    let fresh = Seg::new(2108, 1215, ACK, b"").timestamps(10, 2);
    assert_eq!(a.receive(&fresh).only().ack, 1105);
}

#[test]
fn fin_with_data_again_and_together() {
    let (mut a, mut b) = pair(false);
    let first = a.send(&Seg::new(1000, 2000, ACK, &text(100))).only();
    let last = a.send(&Seg::new(1100, 2000, FIN, &text(50))).only();
    assert!(last.has_fin());
    // All of it once more, in one segment.
    let again = a
        .send(&Seg::new(1000, 2000, FIN, &[text(100), text(50)].concat()))
        .all_wire();
    assert_eq!(again.len(), 2);
    assert_eq!(
        (&again[0].payload, again[0].has_fin()),
        (&first.payload, false)
    );
    assert_eq!(
        (&again[1].payload, again[1].has_fin()),
        (&last.payload, true)
    );
    // The FIN alone.
    let bare = a.send(&Seg::new(1150, 2000, FIN, b"")).only();
    assert_eq!(
        (bare.seq, bare.payload.len(), bare.has_fin()),
        (1300, 0, true)
    );
    // It must not overtake (rule 8).
    for early in [&last, &bare] {
        let local = b.receive(early).only();
        assert!(!local.has_fin(), "{local:?}");
    }
    let local = b.receive(&first).only();
    assert_eq!(
        (local.seq, local.payload.len(), local.has_fin()),
        (1000, 150, true)
    );
    let local = b.receive(&bare).only();
    assert_eq!(
        (local.seq, local.has_fin()),
        (1150, true),
        "where it belongs"
    );
}

#[test]
fn fin_behind_more_than_a_packet_holds() {
    let (mut a, mut b) = pair(true);
    let data = text(60_000);
    let sent = a.send(&Seg::new(1000, 2000, FIN, &data)).all_wire();
    assert!(sent.iter().rev().skip(1).all(|s| !s.has_fin()));
    assert!(sent.last().is_some_and(Seg::has_fin));
    for seg in sent[1..].iter().rev() {
        assert!(!b.receive(seg).only().has_fin());
    }
    let local = b.receive(&sent[0]).all_local();
    let read: Vec<u8> = local.iter().flat_map(|s| s.payload.clone()).collect();
    assert!(read == data);
    assert_eq!(local.iter().filter(|s| s.has_fin()).count(), 1);
    assert!(local.last().is_some_and(Seg::has_fin));
}

#[test]
fn a_fin_inside_a_record_is_a_failure() {
    let (mut a, mut b) = pair(false);
    let mut wire = a.send(&Seg::new(1000, 2000, FIN, &text(100))).only();
    wire.payload.truncate(60);
    assert_eq!(b.receive(&wire).failed, Some(Failure::Truncated));
}

fn tomb_out(tomb: &mut Tombstone, tuple: FourTuple, seg: &Seg) -> Option<Seg> {
    let packet = seg.packet(tuple);
    let mut out = Vec::new();
    match tomb.outgoing(&View::parse(&packet).expect("packet"), &mut out) {
        Step::Replace => Some(Seg::parse(&out)),
        _ => None,
    }
}

fn tomb_in(tomb: &Tombstone, tuple: FourTuple, seg: &Seg) -> Option<Seg> {
    let peer = FourTuple {
        local: tuple.remote,
        remote: tuple.local,
    };
    let packet = seg.packet(peer);
    let mut out = Vec::new();
    match tomb.incoming(&View::parse(&packet).expect("packet"), &mut out) {
        Step::Replace => Some(Seg::parse(&out)),
        _ => None,
    }
}

#[test]
fn what_is_left_translates_and_lets_nothing_through() {
    for original in [false, true] {
        let (mut a, _) = exchanged(false);
        let (their_ack, our_ack) = if original { (1211, 2209) } else { (1231, 2229) };
        a.send(&Seg::new(1100, 2100, FIN, b""));
        a.receive(&Seg::new(2228, their_ack, FIN, b""));
        a.send(&Seg::new(1101, 2101, ACK, b""));
        assert_eq!(a.flow.closing(), Closing::Closed);
        let mut tomb = a.flow.tombstone();
        // Their FIN again, our acknowledgement again.
        let fin = tomb_in(&tomb, a.tuple, &Seg::new(2228, their_ack, FIN, b"")).expect("passes");
        assert_eq!((fin.seq, fin.ack, fin.flags), (2100, 1101, FIN));
        let ack = tomb_out(&mut tomb, a.tuple, &Seg::new(1101, 2101, ACK, b"")).expect("passes");
        assert_eq!(ack.ack, our_ack);
        // Our FIN again.
        let fin = tomb_out(&mut tomb, a.tuple, &Seg::new(1100, 2101, FIN, b"")).expect("passes");
        assert_eq!((fin.seq, fin.flags), (1230, FIN));
        // Data in either direction.
        let data = Seg::new(1094, 2101, PSH, b"secret");
        let data = tomb_out(&mut tomb, a.tuple, &data).expect("passes");
        assert!(data.payload.is_empty() && data.seq < their_ack);
        let fin =
            tomb_out(&mut tomb, a.tuple, &Seg::new(1095, 2101, FIN, b"tail!")).expect("passes");
        assert_eq!((fin.seq, fin.payload.len()), (1230, 0));
        let data = tomb_in(&tomb, a.tuple, &Seg::new(2108, 1231, PSH, b"plain")).expect("passes");
        assert!(data.payload.is_empty() && data.seq < 2101);
    }
}

#[test]
fn what_is_left_of_a_peer_that_said_nothing() {
    // Without a record of ours, its acknowledgement does not tell which it is.
    let (mut a, mut b) = pair(false);
    a.receive(&b.send(&Seg::new(2000, 1000, FIN, &text(100))).only());
    a.send(&Seg::new(1000, 2101, FIN, b""));
    a.receive(&Seg::new(2229, 1111, ACK, b""));
    assert_eq!(a.flow.closing(), Closing::Closed);
    let mut tomb = a.flow.tombstone();
    let ack = Seg::new(1001, 2101, ACK, b"");
    let acks = [(); 4].map(|()| tomb_out(&mut tomb, a.tuple, &ack).expect("passes").ack);
    assert_eq!(acks, [2209, 2229, 2209, 2229]);
}

/// The true one of both acknowledgements was lost, so that one of us takes the other for the original. The short number
/// of that one's FIN is where its last record begins: it says nothing.
#[test]
fn what_is_left_of_one_that_was_taken_for_the_original() {
    let (mut a, mut b) = exchanged(false);
    b.receive(&a.send(&Seg::new(1100, 2100, FIN, b"")).only());
    let acks = b.send(&Seg::new(2100, 1101, ACK, b"")).all_wire();
    assert_eq!(a.receive(&acks[0]).only().ack, 1101);
    // 2108 + 119 + 1 is where the second record begins.
    let last = b.send(&Seg::new(2100, 1101, FIN, &text(19))).only();
    a.receive(&last);
    let ack = Seg::new(1101, 2120, ACK, b"");
    let short = a.send(&ack).only();
    assert_eq!((short.seq, short.ack), (1211, 2228));
    assert_eq!(a.flow.closing(), Closing::Closed);
    let mut tomb = a.flow.tombstone();
    b.receive(&short);
    for expected in [2228, 2268] {
        assert_eq!(b.flow.closing(), Closing::HalfClosed);
        let fin = tomb_in(&tomb, a.tuple, &last).expect("passes");
        assert_eq!((fin.seq, fin.flags), (2119, FIN));
        let answer = tomb_out(&mut tomb, a.tuple, &ack).expect("passes");
        assert_eq!(answer.ack, expected);
        b.receive(&answer);
    }
    assert_eq!(b.flow.closing(), Closing::Closed);
}

#[test]
fn what_is_left_of_a_failure_resets_both_ends() {
    let (mut a, mut b) = exchanged(false);
    let mut wire = a.send(&Seg::new(1100, 2100, PSH, &text(50))).only();
    wire.payload[10] ^= 1;
    let out = b.receive(&wire);
    assert_eq!(out.failed, Some(Failure::Mac));
    assert!(out.local.is_empty() && out.wire.is_empty());
    b.flow.reset();
    let resets = b.poll();
    assert_eq!((resets.wire.len(), resets.local.len()), (1, 1));
    assert_eq!(
        (resets.wire[0].seq, resets.wire[0].ack, resets.wire[0].flags),
        (2228, 1230, RST)
    );
    assert_eq!(
        (
            resets.local[0].seq,
            resets.local[0].ack,
            resets.local[0].flags
        ),
        (1100, 2100, RST)
    );
    assert_eq!(a.receive(&resets.wire[0]).only().seq, 2100);
    assert_eq!(b.flow.closing(), Closing::Reset);
    // What the peer had under way makes this host's TCP reset it, with the number that the peer awaits.
    let mut tomb = b.flow.tombstone();
    let local = tomb_in(&tomb, b.tuple, &wire).expect("passes");
    assert!(local.payload.is_empty());
    let reset = Seg::new(local.ack, 0, Flags(0x04), b"");
    assert_eq!(
        tomb_out(&mut tomb, b.tuple, &reset).expect("passes").seq,
        wire.ack
    );
    let data = Seg::new(2100, 1100, PSH, b"secret");
    assert!(
        tomb_out(&mut tomb, b.tuple, &data)
            .expect("passes")
            .payload
            .is_empty()
    );
}

#[test]
fn the_peers_reset_counts_if_it_is_exact() {
    let (_, mut b) = exchanged(false);
    let local = b.receive(&Seg::new(1500, 2228, RST, b"")).only();
    assert_ne!(local.seq, 1100);
    let local = b.receive(&Seg::new(1229, 2228, RST, b"")).only();
    assert_ne!(local.seq, 1100);
    assert_eq!(b.flow.closing(), Closing::Open);
    let local = b
        .receive(&Seg::new(1230, 2228, RST, b"not for the program"))
        .only();
    assert_eq!((local.seq, local.payload.len()), (1100, 0));
    assert_eq!(b.flow.closing(), Closing::Reset);
}
