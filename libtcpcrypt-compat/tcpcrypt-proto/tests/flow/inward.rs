//! From the wire to the local TCP.

use std::time::Duration;

use super::bench::{ACK, End, PSH, Seg, pair, pair_at, text};
use tcpcrypt_proto::legacy::record::OffsetForm;
use tcpcrypt_proto::packet::Flags;

/// The records of `sizes` from the first host, each in its segment.
fn records(a: &mut End, sizes: &[usize]) -> Vec<Seg> {
    let mut place = 0;
    let data = text(sizes.iter().sum());
    let mut sent = Vec::new();
    for size in sizes {
        let part = &data[place..place + size];
        sent.push(
            a.send(&Seg::new(1000 + place as u32, 2000, ACK, part))
                .only(),
        );
        place += size;
    }
    sent
}

/// One segment of `segs`' payload from one place to another.
fn cut(segs: &[Seg], from: usize, to: usize) -> Seg {
    let all: Vec<u8> = segs.iter().flat_map(|s| s.payload.clone()).collect();
    Seg::new(1110 + from as u32, 2108, ACK, &all[from..to])
}

/// What an octet that makes the local TCP acknowledge looks like.
#[track_caller]
fn assert_nudge(seg: &Seg, acked: u32) {
    assert_eq!((seg.seq, seg.payload.len(), seg.flags), (acked - 1, 1, ACK));
}

#[test]
fn any_cut_of_the_stream_is_read() {
    let sizes = [1, 100, 0x300, 5, 1400];
    let total = sizes.iter().map(|s| s + 20).sum::<usize>();
    for step in [1, 2, 3, 7, 19, 20, 21, 100, 500, total] {
        let (mut a, mut b) = pair(false);
        let sent = records(&mut a, &sizes);
        let mut read = Vec::new();
        for from in (0..total).step_by(step) {
            let seg = cut(&sent, from, total.min(from + step));
            for local in b.receive(&seg).all_local() {
                assert_eq!(local.seq as usize, 1000 + read.len());
                read.extend(local.payload);
            }
        }
        assert!(read == text(sizes.iter().sum()), "in steps of {step}");
    }
}

#[test]
fn what_comes_early_is_kept_and_told() {
    let (mut a, mut b) = pair(true);
    let sent = records(&mut a, &[100; 5]);
    assert_nudge(&b.receive(&sent[2]).only(), 1000);
    let ack = b
        .send(&Seg::new(2000, 1000, ACK, b"").sack(&[(999, 1000)]))
        .only();
    assert_eq!((ack.ack, ack.blocks()), (1110, vec![(1350, 1470)]));
    assert_nudge(&b.receive(&sent[4]).only(), 1000);
    let ack = b.send(&Seg::new(2000, 1000, ACK, b"")).only();
    assert_eq!(ack.blocks(), [(1590, 1710), (1350, 1470)]);
    // On a segment with data, too, where there is room.
    let with_data = b.send(&Seg::new(2000, 1000, ACK, b"data")).only();
    assert_eq!(with_data.blocks().len(), 2);
    let full = b.send(&Seg::new(2004, 1000, ACK, &text(1440))).only();
    assert!(full.blocks().is_empty());
    // The first is there: one record. Then the rest at once.
    assert_eq!(b.receive(&sent[0]).only().payload.len(), 100);
    let local = b.receive(&sent[1]).only();
    assert_eq!((local.seq, local.payload.len()), (1100, 200));
    let local = b.receive(&sent[3]).only();
    assert_eq!((local.seq, local.payload.len()), (1300, 200));
    let ack = b.send(&Seg::new(2000, 1500, ACK, b"")).only();
    assert_eq!((ack.ack, ack.blocks()), (1710, vec![]));
}

/// The room for what comes early is used up, and what the peer sends again reaches into it: other borders than at
/// first, or joined by a network card. Nothing but what continues the stream makes room again.
#[test]
fn what_continues_the_stream_is_taken_however_much_waits() {
    let (mut a, mut b) = pair_at(1000, 2000, |options| options.local_window_scale = Some(0));
    b.send(&Seg::new(2000, 1000, ACK, b""));
    let sent = records(&mut a, &[100; 120]);
    let full = b.flow.footprint() + (128 << 10);
    for early in sent.chunks(3).flat_map(|three| &three[1..]) {
        b.receive(early);
    }
    assert!(b.flow.footprint() > full, "{}", b.flow.footprint());
    let mut read = Vec::new();
    let total = 120 * 120;
    for from in (0..total).step_by(360) {
        let again = cut(&sent, from, total.min(from + 400));
        for local in b.receive(&again).all_local() {
            assert_eq!(local.seq as usize, 1000 + read.len());
            read.extend(local.payload);
        }
    }
    assert!(read == text(120 * 100), "{} octets", read.len());
}

#[test]
fn three_blocks_beside_timestamps() {
    let (mut a, mut b) = pair_at(1000, 2000, |options| {
        options.sack = true;
        options.timestamps = true;
    });
    let sent = records(&mut a, &[100; 9]);
    for i in [1, 3, 5, 7] {
        b.receive(&sent[i].clone().timestamps(1, 2));
    }
    let ack = b
        .send(&Seg::new(2000, 1000, ACK, b"").timestamps(3, 4))
        .only();
    assert_eq!(ack.blocks(), [(1950, 2070), (1710, 1830), (1470, 1590)]);
}

#[test]
fn nothing_is_told_to_a_peer_without_sack() {
    let (mut a, mut b) = pair(false);
    let sent = records(&mut a, &[100; 3]);
    b.receive(&sent[2]);
    let ack = b.send(&Seg::new(2000, 1000, ACK, b"")).only();
    assert!(ack.options.is_empty());
}

#[test]
fn a_filled_hole_brings_more_than_one_packet_holds() {
    let (mut a, mut b) = pair(true);
    let sent = records(&mut a, &[1400; 60]);
    for seg in &sent[1..] {
        b.receive(seg);
    }
    let local = b.receive(&sent[0]).all_local();
    assert!(local.len() > 4);
    let mut read = Vec::new();
    for seg in &local {
        assert_eq!(seg.seq as usize, 1000 + read.len());
        read.extend_from_slice(&seg.payload);
    }
    assert!(read == text(1400 * 60));
    // Acknowledged is what the local TCP has: whole records.
    let ack = |b: &mut End, plain| b.send(&Seg::new(2000, plain, ACK, b"")).only().ack;
    assert_eq!(ack(&mut b, 1000 + 16384), 1110 + 11 * 1420);
    assert_eq!(ack(&mut b, 1000 + 60 * 1400), 1110 + 60 * 1420);
}

#[test]
fn an_incomplete_record_is_no_duplicate_acknowledgement() {
    let (mut a, mut b) = pair(false);
    let sent = records(&mut a, &[100, 100]);
    b.receive(&Seg::new(1110, 2108, ACK, b""));
    b.receive(&cut(&sent, 0, 50)).nothing();
    // A change of window or acknowledgement has to pass.
    let mut window = cut(&sent, 50, 60);
    window.window = 77;
    let local = b.receive(&window).only();
    assert_eq!(
        (local.seq, local.window, local.payload.len()),
        (1000, 77, 0)
    );
    // In the end the local TCP is made to acknowledge, and all octets that came are acknowledged.
    assert!(b.wait(Duration::from_millis(30)).local.is_empty());
    let local = b.wait(Duration::from_millis(60)).local;
    assert_eq!(local.len(), 1);
    assert_nudge(&local[0], 1000);
    assert_eq!(local[0].window, 77);
    let ack = b.send(&Seg::new(2000, 1000, ACK, b"")).only();
    assert_eq!(ack.ack, 1170);
    assert!(b.wait(Duration::from_secs(1)).local.is_empty(), "once");
    // The peer may begin behind them.
    let local = b.receive(&cut(&sent, 60, 240)).only();
    assert_eq!((local.seq, local.payload.len()), (1000, 200));
}

#[test]
fn while_recovering_everything_is_acknowledged() {
    let (mut a, mut b) = pair(true);
    let sent = records(&mut a, &[100, 100, 100]);
    assert_nudge(&b.receive(&sent[2]).only(), 1000);
    assert_nudge(&b.receive(&cut(&sent, 0, 60)).only(), 1000);
    let ack = b.send(&Seg::new(2000, 1000, ACK, b"")).only();
    assert_eq!((ack.ack, ack.blocks()), (1170, vec![(1350, 1470)]));
}

#[test]
fn duplicates_are_answered_by_the_local_tcp() {
    let (mut a, mut b) = pair(false);
    let sent = records(&mut a, &[100, 100]);
    b.receive(&sent[0]);
    b.receive(&sent[1]);
    // Not acknowledged yet: perhaps it never came there.
    let again = b.receive(&sent[0]).only();
    assert_eq!((again.seq, &again.payload[..]), (1000, &text(100)[..]));
    let again = b.receive(&sent[1]).only();
    assert_eq!((again.seq, &again.payload[..]), (1100, &text(200)[100..]));
    b.send(&Seg::new(2000, 1100, ACK, b""));
    let again = b.receive(&cut(&sent, 0, 240)).only();
    assert_eq!((again.seq, &again.payload[..]), (1100, &text(200)[100..]));
    b.send(&Seg::new(2000, 1200, ACK, b""));
    assert_nudge(&b.receive(&sent[1]).only(), 1200);
    assert_nudge(&b.receive(&sent[0]).only(), 1200);
    // The acknowledgement in it counts all the same.
    a.receive(&b.send(&Seg::new(2000, 1200, ACK, b"answer")).only());
    let mut seg = sent[0].clone();
    seg.ack = 2108 + 26;
    assert_eq!(b.receive(&seg).only().ack, 2006);
}

#[test]
fn keep_alives_and_probes_are_passed_on() {
    let (mut a, mut b) = pair(false);
    let before = b.receive(&Seg::new(1109, 2108, ACK, b"")).only();
    assert_eq!(before.seq, 999);
    let sent = records(&mut a, &[100]);
    b.receive(&sent[0]);
    b.send(&Seg::new(2000, 1100, ACK, b""));
    for seq in [1229, 1209, 1110] {
        let probe = b.receive(&Seg::new(seq, 2108, ACK, b"")).only();
        assert_eq!((probe.seq, probe.payload.len()), (1099, 0));
    }
    // With an octet of old data, as some systems do.
    assert_nudge(&b.receive(&Seg::new(1229, 2108, ACK, b"\0")).only(), 1100);
}

#[test]
fn a_record_without_data_is_acknowledged() {
    let (_, mut b) = pair(false);
    let numbers = super::bench::client_numbers(1000, 2000);
    let [(mut sealer, _), _] = super::bench::keys(&numbers);
    let mut record = Vec::new();
    sealer
        .seal(0, Default::default(), b"", &mut record)
        .expect("sealed");
    assert_nudge(&b.receive(&Seg::new(1110, 2108, ACK, &record)).only(), 1000);
    assert_eq!(b.send(&Seg::new(2000, 1000, ACK, b"")).only().ack, 1130);
    record.clear();
    sealer
        .seal(20, Default::default(), b"data", &mut record)
        .expect("sealed");
    let local = b.receive(&Seg::new(1130, 2108, PSH, &record)).only();
    assert_eq!((local.seq, &local.payload[..]), (1000, &b"data"[..]));
}

#[test]
fn a_syn_once_more_is_answered() {
    let (mut a, _) = pair(false);
    let mut syn_ack = Seg::new(1999, 1000, Flags(0x12), b"");
    syn_ack.options = vec![2, 4, 5, 0xb4];
    let local = a.receive(&syn_ack).only();
    assert_nudge(&local, 2000);
    assert!(local.options.is_empty());
    a.send(&syn_ack).nothing();
}

/// The form in which `a` seals records behind the wrap, 300 octets in front of which it is.
fn form_of(a: &mut End, start: u32) -> OffsetForm {
    let numbers = super::bench::client_numbers(start, start);
    let [_, (_, mut opener)] = super::bench::keys(&numbers);
    let mut offset = 0;
    for i in 0..4 {
        let plain = start.wrapping_add(i * 200);
        let wire = a.send(&Seg::new(plain, start, ACK, &text(200))).only();
        let mut out = Vec::new();
        opener.open(offset, &wire.payload, &mut out).expect("opens");
        assert_eq!(out, text(200));
        offset += 220;
    }
    opener.form().expect("behind the wrap")
}

#[test]
fn nonces_behind_the_wrap() {
    let start = u32::MAX - 300;
    let numbers = super::bench::client_numbers(start, start);
    // Toward what may be the original its own, toward others the plain count.
    let with = |sack| pair_at(start, start, |options| options.sack = sack).0;
    assert_eq!(form_of(&mut with(false), start), OffsetForm::Subtracted);
    assert_eq!(form_of(&mut with(true), start), OffsetForm::Counted);
    // What the peer shows counts more.
    for form in [OffsetForm::Counted, OffsetForm::Subtracted] {
        for sack in [false, true] {
            let [_, (mut theirs, _)] = super::bench::keys(&numbers);
            theirs.set_form(form);
            let mut a = with(sack);
            let mut inward = numbers.in_wire;
            for i in 0..5 {
                let mut record = Vec::new();
                theirs
                    .seal(i * 120, Default::default(), &text(100), &mut record)
                    .expect("sealed");
                let seg = Seg::new(inward.0, numbers.out_wire.0, ACK, &record);
                assert_eq!(a.receive(&seg).only().payload, text(100), "record {i}");
                inward += 120;
            }
            assert_eq!(form_of(&mut a, start), form);
        }
    }
}
