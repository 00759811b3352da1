//! Paths that carry less than records are long.

use std::time::Duration;

use super::bench::{ACK, End, Seg, pair, pair_at, text};
use tcpcrypt_proto::packet::{Direction, Notes, Seq, View};

/// Octets of data in a segment over Ethernet, and what its record is.
const DATA: usize = 1408;
const RECORD: u32 = 1428;

/// What every IPv6 path carries.
const SAFE: usize = 1280;

/// What goes onto the wire for a segment, as IP packets.
fn packets(end: &mut End, seg: &Seg) -> Vec<Vec<u8>> {
    end.now += Duration::from_millis(200);
    let packet = seg.packet(end.tuple);
    let view = View::parse(&packet).expect("a packet");
    let notes = Notes {
        is_super: packet.len() > 1500,
        ..Notes::default()
    };
    let mut out = Vec::new();
    end.flow
        .outgoing(end.now, &view.with_notes(notes), &mut out);
    let mut all = vec![out];
    loop {
        let mut out = Vec::new();
        match end.flow.poll_transmit(&mut out) {
            Some(direction) => assert_eq!(direction, Direction::Out),
            None => break,
        }
        all.push(out);
    }
    all.retain(|packet| !packet.is_empty());
    all
}

fn lengths(packets: &[Vec<u8>]) -> Vec<usize> {
    packets.iter().map(Vec::len).collect()
}

/// The number by which pieces of a packet are known, if routers may make pieces.
fn fragments(packet: &[u8]) -> Option<u16> {
    assert_eq!(packet[6] & 0x3f, 0, "in pieces");
    (packet[6] & 0x40 == 0).then(|| u16::from_be_bytes([packet[4], packet[5]]))
}

fn data(index: u32) -> Seg {
    let all = text(DATA * (index as usize + 1));
    let at = DATA * index as usize;
    Seg::new(1000 + at as u32, 2000, ACK, &all[at..])
}

/// The peer's acknowledgement of so many octets on the wire.
fn acknowledge(a: &mut End, octets: u32) {
    a.receive(&Seg::new(2108, 1110 + octets, ACK, b""));
}

#[test]
fn a_record_repeated_in_vain_goes_in_pieces() {
    let (mut a, mut b) = pair(true);
    let first = packets(&mut a, &data(0));
    assert_eq!(lengths(&first), [1468]);
    assert_eq!(fragments(&first[0]), None);
    assert_eq!(packets(&mut a, &data(0)), first);

    let pieces = packets(&mut a, &data(0));
    assert_eq!(lengths(&pieces), [SAFE, 1468 - SAFE + 40]);
    let payload: Vec<u8> = pieces.iter().flat_map(|p| p[40..].to_vec()).collect();
    assert_eq!(payload, first[0][40..], "the same octets");
    assert!(fragments(&pieces[0]).is_some() && fragments(&pieces[1]).is_none());

    // The peer makes one of them.
    b.receive(&Seg::parse(&pieces[0]));
    let local = b.receive(&Seg::parse(&pieces[1])).step.expect("plaintext");
    assert_eq!(local.payload, data(0).payload);
}

/// In the standard what went in short packets goes in one when it is repeated, and may be too long only then.
#[test]
fn short_frames_repeated_in_vain_in_one_packet_go_in_pieces() {
    let (mut a, _) = super::standard::pair(|_| {});
    let data = text(1380);
    packets(&mut a, &Seg::new(1000, 2000, ACK, &data[..1]));
    packets(&mut a, &Seg::new(1001, 2000, ACK, &data[1..]));
    let all = Seg::new(1000, 2000, ACK, &data);
    assert_eq!(lengths(&packets(&mut a, &all)), [40 + 21 + 1399]);
    let pieces = packets(&mut a, &all);
    assert_eq!(lengths(&pieces), [SAFE, 40 + 21 + 1399 - SAFE + 40]);
}

#[test]
fn what_follows_a_lost_record_tells_whether_its_length_was_the_reason() {
    // Once lost, and the next one arrives as it is: it was chance.
    let (mut a, _) = pair(true);
    for _ in 0..3 {
        packets(&mut a, &data(0));
    }
    assert_eq!(lengths(&packets(&mut a, &data(1))), [1468]);
    acknowledge(&mut a, 2 * RECORD);
    for _ in 0..2 {
        assert_eq!(lengths(&packets(&mut a, &data(2))), [1468]);
    }

    // The next one is lost as well: it is the length.
    let (mut a, _) = pair(true);
    for _ in 0..3 {
        packets(&mut a, &data(0));
    }
    acknowledge(&mut a, RECORD);
    for _ in 0..2 {
        assert_eq!(lengths(&packets(&mut a, &data(1))), [1468]);
    }
    assert_eq!(lengths(&packets(&mut a, &data(1))), [SAFE, 228]);
    acknowledge(&mut a, 2 * RECORD);
    // From now on records are made shorter.
    let new = packets(&mut a, &data(2));
    assert_eq!(lengths(&new), [SAFE, 40 + 20 + 188]);
    assert_eq!(
        usize::from(u16::from_be_bytes([new[0][41], new[0][42]])),
        1237
    );
    assert!(fragments(&new[0]).is_some() && fragments(&new[1]).is_none());
}

#[test]
fn a_long_record_that_arrived_clears_the_length_of_blame() {
    let (mut a, _) = pair(true);
    for index in 0..3 {
        packets(&mut a, &data(index));
    }
    packets(&mut a, &data(0));
    // The second is there, the first is not.
    let blocks = [(1110 + RECORD, 1110 + 2 * RECORD)];
    let told = Seg::new(2108, 1110, ACK, b"").sack(&blocks);
    for _ in 0..5 {
        a.receive(&told);
        assert_eq!(lengths(&packets(&mut a, &data(0))), [1468]);
    }
}

#[test]
fn an_acknowledgement_between_repetitions_begins_the_count_anew() {
    let (mut a, _) = pair(true);
    for index in 0..4 {
        for _ in 0..2 {
            assert_eq!(lengths(&packets(&mut a, &data(index))), [1468]);
        }
        acknowledge(&mut a, (index + 1) * RECORD);
    }
}

/// The local TCP's segments may be shorter than records, so that several are of one.
#[test]
fn repetitions_at_once_count_as_one() {
    let (mut a, _) = pair(true);
    packets(&mut a, &data(0));
    for _ in 0..10 {
        a.now -= Duration::from_millis(200);
        assert_eq!(lengths(&packets(&mut a, &data(0))), [1468]);
    }
}

#[test]
fn short_records_never_go_in_pieces() {
    let (mut a, _) = pair(true);
    for _ in 0..9 {
        let out = packets(&mut a, &Seg::new(1000, 2000, ACK, &text(500)));
        assert_eq!(lengths(&out), [560]);
        assert_eq!(fragments(&out[0]), None);
    }
}

/// The original needs a whole record in each segment, and does not survive that a long one is refused.
#[test]
fn what_may_be_the_original_gets_whole_records_that_routers_may_cut() {
    let (mut a, _) = pair(false);
    let mut ids = Vec::new();
    for index in [0, 1, 0, 0, 0, 1] {
        let out = packets(&mut a, &data(index));
        assert_eq!(lengths(&out), [1468]);
        ids.push(fragments(&out[0]).expect("no DF"));
    }
    let numbers: Vec<u16> = (0..6).map(|n| ids[0].wrapping_add(n)).collect();
    assert_eq!(ids, numbers);
    assert_eq!(a.flow.too_big(Seq(1110), 1300), Some(Seq(1000)));
    assert_eq!(lengths(&packets(&mut a, &data(0))), [1468]);
    assert_eq!(lengths(&packets(&mut a, &data(2))), [1300, 40 + 20 + 168]);
}

#[test]
fn what_a_router_says_is_translated_and_heeded() {
    let (mut a, _) = pair(true);
    for index in 0..2 {
        packets(&mut a, &data(index));
    }
    // At a record's beginning, and within the second.
    assert_eq!(a.flow.too_big(Seq(1110), 1300), Some(Seq(1000)));
    let second = Seq(1110 + RECORD);
    assert_eq!(a.flow.too_big(second + 5, 1400), Some(Seq(1000) + 1408));
    // The local TCP repeats it in shorter segments.
    let again = Seg::new(1000, 2000, ACK, &data(0).payload[..1260]);
    assert_eq!(lengths(&packets(&mut a, &again)), [1300, 208]);
    let new = Seg::new(1000 + 2816, 2000, ACK, &text(1260));
    let new = packets(&mut a, &new);
    assert_eq!(lengths(&new), [1300, 80]);
    assert_eq!(fragments(&new[0]), None);
}

/// The local TCP heeds a router when it likes to, and until then its super-packets are cut as before.
#[test]
fn super_packets_for_what_may_be_the_original_end_with_the_word_of_a_router() {
    let row = |index: u32| {
        let all = text(4 * RECORD as usize);
        let at = index as usize * 2 * RECORD as usize;
        let data = &all[at..at + 2 * RECORD as usize];
        Seg::new(1000 + at as u32, 2000, ACK, data)
    };
    for sack in [false, true] {
        let (mut a, _) = pair_at(1000, 2000, |options| {
            options.sack = sack;
            options.segment = Some(RECORD as u16);
        });
        assert!(lengths(&packets(&mut a, &row(0)))[0] > 1500);
        assert!(a.flow.too_big(Seq(1110), 1300).is_some());
        let longest = lengths(&packets(&mut a, &row(1))).into_iter().max();
        // What is cut elsewhere reaches all others as well.
        assert_eq!(longest > Some(1300), sack);
    }
}

#[test]
fn numbers_that_are_not_under_way_are_not_believed() {
    let (mut a, _) = pair(true);
    assert_eq!(a.flow.too_big(Seq(1110), 1300), None);
    for index in 0..2 {
        packets(&mut a, &data(index));
    }
    acknowledge(&mut a, RECORD);
    for seq in [0, 1109, 1110, 1109 + RECORD, 1110 + 2 * RECORD, u32::MAX] {
        assert_eq!(a.flow.too_big(Seq(seq), 600), None, "{seq}");
    }
    assert_eq!(lengths(&packets(&mut a, &data(1))), [1468]);
    assert!(a.flow.too_big(Seq(1110 + RECORD), 600).is_some());
}

#[test]
fn nobody_makes_us_send_dust() {
    for mtu in [0, 1, 68, 551, 552] {
        let (mut a, _) = pair(true);
        packets(&mut a, &data(0));
        assert!(a.flow.too_big(Seq(1110), mtu).is_some());
        let out = packets(&mut a, &data(0));
        assert_eq!(lengths(&out), [552, 552, 1468 - 2 * 512]);
        // What carries still less may cut.
        assert_eq!(fragments(&out[0]).is_some(), mtu < 552);
    }
    // What is longer than known is no news.
    let (mut a, _) = pair(true);
    packets(&mut a, &data(0));
    assert!(a.flow.too_big(Seq(1110), u32::MAX).is_some());
    assert_eq!(lengths(&packets(&mut a, &data(0))), [1468]);
}
