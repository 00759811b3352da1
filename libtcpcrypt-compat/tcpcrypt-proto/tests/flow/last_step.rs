//! Between the flow and its local TCP: packets are lost there, too, overtaken, and refused for their age.

use std::time::Duration;

use super::bench::{ACK, End, Out, Seg, pair_at, text};
use tcpcrypt_proto::packet::options;

const PATIENCE: Duration = Duration::from_millis(25);

fn with_timestamps() -> (End, End) {
    pair_at(1000, 2000, |options| {
        options.sack = true;
        options.timestamps = true;
    })
}

/// `count` records of 1000 octets from the first host, sent at the times 101, 102 and so on.
fn records(a: &mut End, count: usize) -> Vec<Seg> {
    let data = text(1000 * count);
    let records = data.chunks(1000).enumerate().map(|(index, part)| {
        let seg = Seg::new(1000 + 1000 * index as u32, 2000, ACK, part);
        a.send(&seg.timestamps(101 + index as u32, 7)).only()
    });
    records.collect()
}

/// When a packet says that it was sent.
fn time(seg: &Seg) -> Option<u32> {
    options::timestamps(&seg.options).map(|(value, _)| value)
}

/// The pieces of the stream in front of `from`, as they stand in it.
#[track_caller]
fn assert_pieces(out: &Out, from: u32, to: u32) {
    let mut place = from;
    for seg in &out.local {
        assert_eq!(seg.seq, place);
        let begin = (seg.seq - 1000) as usize;
        let data = text((seg.end() - 1000) as usize);
        assert!(seg.payload == data[begin..], "another text at {place}");
        place = seg.end();
    }
    assert_eq!(place, to);
    assert!(out.wire.is_empty() && out.failed.is_none());
}

/// What comes early becomes a word about old data. With its own time it would make all older that is sent before
/// it and comes behind it, and the kernel throws that away (PAWS).
#[test]
fn what_fills_a_hole_is_not_too_old() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 40);
    assert_eq!(time(&b.receive(&sent[0]).only()), Some(101));
    for seg in &sent[2..] {
        let nudge = b.receive(seg).only();
        assert_eq!((nudge.payload.len(), time(&nudge)), (1, Some(101)));
    }
    // An acknowledgement alone that is ahead of the hole as well.
    let ack = Seg::new(41_910, 2108, ACK, b"").timestamps(500, 7);
    assert_eq!(time(&b.receive(&ack).only()), Some(101));
    let out = b.receive(&sent[1]);
    let first = out.step.as_ref().expect("a packet");
    assert_eq!((first.seq, time(first)), (2000, Some(102)));
    // What follows may be overtaken by what the queue holds, so nobody is to ask how old it is.
    assert_eq!(out.local.len(), 2);
    assert!(out.local.iter().all(|seg| seg.options.is_empty()));
}

#[test]
fn a_late_packet_looks_no_older_than_the_one_before() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 2);
    b.receive(&sent[0].clone().timestamps(300, 7));
    let late = b.receive(&sent[1].clone().timestamps(299, 9)).only();
    assert_eq!((late.payload.len(), time(&late)), (1000, Some(300)));
    let stamps = options::timestamps(&late.options).expect("timestamps");
    assert_eq!(stamps.1, 9, "the echo is the peer's");
}

/// The local TCP says that it lacks what it was given: it gets it once more, without the peer.
#[test]
fn a_gap_is_filled_from_here() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 60);
    for seg in &sent[1..] {
        b.receive(seg);
    }
    let out = b.receive(&sent[0]);
    assert_eq!(out.local.last().map(Seg::end), Some(61_000));
    // Only the last of them arrived.
    let held = out.local[2].seq;
    let blocks = [(held, 61_000)];
    let ack = |ack: u32| Seg::new(2000, ack, ACK, b"").timestamps(9, 102);
    assert_eq!(b.send(&ack(1000).sack(&blocks)).only().ack, 1110);
    assert!(
        b.wait(Duration::from_millis(10)).local.is_empty(),
        "at once"
    );
    let out = b.wait(PATIENCE);
    assert_pieces(&out, 1000, held);
    assert!(out.local.iter().all(|seg| seg.payload.len() <= 16 * 1024));
    // A part of it is lost as well.
    let half = out.local[0].end();
    b.send(&ack(half).sack(&blocks)).only();
    assert_pieces(&b.wait(PATIENCE), half, held);
    assert_eq!(b.send(&ack(61_000)).only().ack, sent[59].end());
    let out = b.wait(Duration::from_secs(4));
    assert!(out.local.is_empty() && out.wire.is_empty());
}

/// If nobody listens it is not repeated for ever, and again when the local TCP says so again.
#[test]
fn filling_a_gap_has_an_end() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 3);
    for seg in &sent {
        b.receive(seg);
    }
    let told = Seg::new(2000, 2000, ACK, b"")
        .timestamps(9, 102)
        .sack(&[(3000, 4000)]);
    b.send(&told).only();
    let first = b.wait(Duration::from_secs(60)).local.len();
    assert!((3..10).contains(&first), "{first}");
    b.send(&told).only();
    assert_eq!(b.wait(Duration::from_secs(60)).local.len(), 1);
}

/// A duplicate that is reported, or one behind all that was given, is no gap.
#[test]
fn other_blocks_are_no_gaps() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 3);
    for seg in &sent {
        b.receive(seg);
    }
    let told = |ack, blocks| Seg::new(2000, ack, ACK, b"").sack(blocks);
    b.send(&told(2000, &[(1000, 2000)])).only();
    b.send(&told(4000, &[(3000, 4000)])).only();
    b.send(&told(4000, &[(9000, 9500)])).only();
    assert!(b.wait(Duration::from_secs(4)).local.is_empty());
}

/// All of a super-packet that comes once more goes on, if the local TCP may lack it.
#[test]
fn a_repeated_super_packet_goes_on_whole() {
    let (mut a, mut b) = with_timestamps();
    let sent = records(&mut a, 40);
    let whole: Vec<u8> = sent.iter().flat_map(|seg| seg.payload.clone()).collect();
    let whole = Seg::new(sent[0].seq, 2108, ACK, &whole).timestamps(200, 7);
    assert_eq!(b.receive(&whole).only().payload.len(), 40_000);
    let again = b.receive(&whole.timestamps(400, 7)).only();
    assert_eq!((again.seq, again.payload.len()), (1000, 40_000));
}
