//! Frames of the standard that are longer than a segment: super-packets of the local TCP, cut anywhere behind the queue, and
//! translated place by place.

use super::bench::{ACK, End, FIN, Seg, text};
use super::host::Dice;
use super::standard::pair;

/// Data in a segment of the local TCP, and in a frame of full length.
const SEGMENT: usize = 1421;
const DATA: usize = 16_384 - 20;

/// Octets of a frame without data.
const EMPTY: u32 = 20;

fn ends() -> (End, End) {
    pair(|options| options.segment = Some(1421))
}

/// A super-packet of so many octets, and what takes its place.
fn burst(a: &mut End, len: usize) -> (Vec<u8>, Seg) {
    let data = text(len);
    let wire = a.send_super(&Seg::new(1000, 2000, ACK, &data)).only();
    (data, wire)
}

/// The lengths of the frames that a stream has.
fn frames(stream: &[u8]) -> Vec<usize> {
    let mut rest = stream;
    let mut lengths = Vec::new();
    while let [_, high, low, ..] = rest {
        let len = 3 + usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    lengths
}

/// What follows the beginning of the stream on the wire.
fn at(seg: &Seg) -> usize {
    seg.seq.wrapping_sub(1110) as usize
}

#[test]
fn a_super_packet_is_a_few_frames() {
    let (mut a, mut b) = ends();
    let (data, wire) = burst(&mut a, 46 * SEGMENT);
    assert_eq!(
        frames(&wire.payload),
        [16_384, 16_384, 16_384, data.len() - 3 * DATA + 20]
    );
    // Wherever it is cut.
    let mut heard = Vec::new();
    for (index, piece) in wire.payload.chunks(999).enumerate() {
        let seg = Seg::new(1110 + (index * 999) as u32, 2108, ACK, piece);
        for local in b.receive(&seg).all_local() {
            if local.seq == 1000 + heard.len() as u32 {
                heard.extend_from_slice(&local.payload);
            }
        }
    }
    assert_eq!(heard, data);
    // One that ends the stream says so in its last frame.
    let (mut a, mut b) = ends();
    let last = a
        .send_super(&Seg::new(1000, 2000, FIN, &text(30_000)))
        .only();
    assert_eq!(frames(&last.payload), [16_384, 30_000 - DATA + 20]);
    assert!(last.has_fin());
    let local = b.receive(&last).all_local();
    assert!(local.last().expect("data").has_fin());
}

/// Whatever the local TCP sends again, in whatever borders: the same octets at the same places, no more than it asked
/// for, and all of them somewhere.
#[test]
fn the_same_octets_again() {
    let mut dice = Dice(3);
    let (mut a, _) = ends();
    let (data, wire) = burst(&mut a, 40 * SEGMENT);
    for _ in 0..400 {
        let from = dice.roll(data.len() as u64 - 1) as usize;
        let to = (from + 1 + dice.roll(SEGMENT as u64) as usize).min(data.len());
        let again = a.send(&Seg::new(1000 + from as u32, 2000, ACK, &data[from..to]));
        let mut sent = 0;
        for seg in again.all_wire() {
            assert!(seg.payload.len() <= 1460);
            assert_eq!(seg.payload, wire.payload[at(&seg)..][..seg.payload.len()]);
            sent += seg.payload.len();
        }
        assert!(
            (to - from..=to - from + 20).contains(&sent),
            "{from} {to} {sent}"
        );
    }
    // All of it, in segments of other borders, is all of the stream.
    let mut stream = vec![None; wire.payload.len()];
    for (index, piece) in data.chunks(1000).enumerate() {
        let seq = 1000 + (index * 1000) as u32;
        for seg in a.send(&Seg::new(seq, 2000, ACK, piece)).all_wire() {
            for (place, octet) in seg.payload.iter().enumerate() {
                stream[at(&seg) + place] = Some(*octet);
            }
        }
    }
    let stream: Option<Vec<u8>> = stream.into_iter().collect();
    assert_eq!(stream, Some(wire.payload.clone()));
    // And as a super-packet.
    let again = a.send_super(&Seg::new(1000, 2000, ACK, &data)).only();
    assert_eq!(again.payload, wire.payload);
    let piece = a
        .send_super(&Seg::new(4000, 2000, ACK, &data[3000..9000]))
        .only();
    assert_eq!(
        piece.payload,
        wire.payload[at(&piece)..][..piece.payload.len()]
    );
    assert_eq!(piece.payload.len(), 6000);
}

/// What the peer acknowledges inside a frame is acknowledged to the local TCP, but for the last octet of the frame, which
/// needs the tag.
#[test]
fn acknowledgements_inside_frames() {
    let (mut a, _) = ends();
    let (data, wire) = burst(&mut a, 20 * SEGMENT);
    let mut before = 0;
    for place in (1..=wire.payload.len() as u32).step_by(7) {
        let heard = a
            .receive(&Seg::new(2108, 1110 + place, ACK, b""))
            .all_local();
        let acked = heard.last().map_or(before, |seg| seg.ack - 1000);
        let frame = place / 16_384;
        let wanted = match place % 16_384 {
            0..4 => frame * DATA as u32,
            inside => frame * DATA as u32 + (inside - 4).min(DATA as u32 - 1),
        };
        let wanted = wanted.min(data.len() as u32 - 1);
        assert_eq!(acked, wanted, "{place}");
        before = acked;
        // What is behind goes again with no octet too many.
        let rest = &data[acked as usize..data.len().min(acked as usize + 100)];
        let again = a.send(&Seg::new(1000 + acked, 2000, ACK, rest)).all_wire();
        assert!(at(&again[0]) <= place as usize && at(&again[0]) + 24 > place as usize);
    }
    let all = wire.end();
    assert_eq!(
        a.receive(&Seg::new(2108, all, ACK, b"")).only().ack,
        1000 + data.len() as u32
    );
}

/// Blocks shrink to the octets that need not be sent again.
#[test]
fn blocks_inside_frames() {
    let (mut a, _) = ends();
    burst(&mut a, 20 * SEGMENT);
    let mut said = |left: u32, right: u32| {
        let seg = Seg::new(2108, 1110, ACK, b"").sack(&[(1110 + left, 1110 + right)]);
        let heard = a.receive(&seg).all_local().remove(0);
        let blocks = heard.blocks().into_iter();
        blocks
            .map(|(left, right)| (left - 1000, right - 1000))
            .collect::<Vec<_>>()
    };
    assert_eq!(said(1428, 2856), [(1424, 2852)]);
    assert_eq!(said(0, 1428), [(0, 1424)]);
    assert_eq!(said(1, 1428), [(1, 1424)]);
    assert_eq!(said(3000, 16_383), [(2996, DATA as u32 - 1)]);
    assert_eq!(said(3000, 16_384), [(2996, DATA as u32)]);
    assert_eq!(said(3000, 20_000), [(2996, 20_000 - 24)]);
    assert_eq!(said(16_370, 16_380), []);
    assert_eq!(said(16_380, 20_000), [(DATA as u32, 20_000 - 24)]);
}

/// A word, then data, then an empty frame under a new key among them: nothing is lost between.
#[test]
fn frames_without_data_among_others() {
    let (mut a, mut b) = ends();
    let word = a.send(&Seg::new(1000, 2000, ACK, b"word")).only();
    b.receive(&word).only();
    let mut ack = b.send(&Seg::new(2000, 1004, ACK, b"")).only();
    ack.window = 60_000;
    a.receive(&ack).only();
    let asked = a.send(&Seg::new(1003, 2000, ACK, b"")).wire.remove(0);
    assert_eq!(asked.payload.len() as u32, EMPTY);
    let data = text(20_000);
    let row = a.send_super(&Seg::new(1004, 2000, ACK, &data)).only();
    assert_eq!(row.seq, asked.end());
    // The empty one was lost: it goes with the first octet of what is behind it.
    let again = a.send(&Seg::new(1004, 2000, ACK, &data[..1000])).all_wire();
    assert_eq!(again[0].seq, asked.seq);
    assert_eq!(again[0].payload[..20], asked.payload);
    for seg in again.iter().chain([&row]) {
        b.receive(seg);
    }
    let ack = b.send(&Seg::new(2000, 1004 + 20_000, ACK, b"")).all_wire();
    assert_eq!(ack[0].ack, row.end());
}
