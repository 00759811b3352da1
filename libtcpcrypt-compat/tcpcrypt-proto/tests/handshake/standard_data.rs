//! Data in the standard: where the stream ends, new keys, segments that cut frames (RFC 8548 sections 3.6 to 3.9).

use std::time::Duration;

use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::packet::{Direction, Flags};
use tcpcrypt_proto::rfc8548::frame::KeyLimits;

use crate::host::{ACK, CLIENT_ISN, FIN, Host, Pair, SERVER_ISN, Segment, resets};
use crate::standard::{both, policy};

const PSH: Flags = Flags::PSH;
const URG: Flags = Flags::URG;

/// Octets of a frame without data.
const EMPTY: usize = 20;

fn first() -> (u32, u32) {
    (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1)
}

fn connected() -> Pair {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair
}

/// A word of the client's TCP, `at` octets behind the beginning.
fn word(pair: &Pair, at: u32, octets: &[u8]) -> Segment {
    let (seq, ack) = first();
    let word = pair.client.says(ACK | PSH, seq.wrapping_add(at), ack);
    word.with(|word| word.payload = octets.to_vec())
}

/// The server's TCP has so many octets.
fn have(pair: &Pair, octets: u32) -> Segment {
    let (seq, ack) = first();
    pair.server.says(ACK, ack, seq.wrapping_add(octets))
}

fn piece(segment: &Segment, from: usize, to: usize) -> Segment {
    segment.clone().with(|piece| {
        piece.payload = segment.payload[from..to].to_vec();
        piece.seq = segment.seq.wrapping_add(u32::try_from(from).unwrap());
        if to < segment.payload.len() {
            piece.flags = piece.flags.without(FIN);
        }
    })
}

fn of_wire(host: &mut Host) -> Vec<Segment> {
    let sent = host.sent().into_iter();
    sent.filter(|(direction, _)| *direction == Direction::Out)
        .map(|(_, segment)| segment)
        .collect()
}

#[test]
fn a_fin_has_a_frame() {
    let mut pair = connected();
    let (seq, ack) = first();
    let said = pair.client.out(&word(&pair, 0, b"bye")).unwrap();
    pair.server.get(&said).unwrap();
    let fin = pair.client.says(ACK | FIN, seq.wrapping_add(3), ack);
    let wire = pair.client.out(&fin).unwrap();
    assert_eq!((wire.payload.len(), wire.flags.has(FIN)), (EMPTY, true));
    // Sent again it is the same.
    assert_eq!(pair.client.out(&fin), Some(wire.clone()));
    let heard = pair.server.get(&wire).unwrap();
    assert_eq!((heard.seq, heard.payload.len()), (fin.seq, 0));
    assert!(heard.flags.has(FIN));
    let answer = pair.server.out(&have(&pair, 4)).unwrap();
    let behind = wire.seq.wrapping_add(u32::try_from(EMPTY).unwrap() + 1);
    assert_eq!(answer.ack, behind);
    assert_eq!(pair.client.get(&answer).unwrap().ack, fin.seq + 1);
}

#[test]
fn a_fin_with_data_says_so_in_their_frame() {
    let mut pair = connected();
    let last = word(&pair, 0, b"bye").with(|last| last.flags |= FIN);
    let wire = pair.client.out(&last).unwrap();
    assert_eq!(wire.payload.len(), EMPTY + 3);
    let heard = pair.server.get(&wire).unwrap();
    assert_eq!(
        (heard.payload.as_slice(), heard.flags.has(FIN)),
        (&b"bye"[..], true)
    );
    // First without, then with: the frame of the data is made already.
    let mut pair = connected();
    let wire = pair.client.out(&word(&pair, 0, b"bye")).unwrap();
    let again = pair.client.out(&last).unwrap();
    assert_eq!(of_wire(&mut pair.client), []);
    assert!(again.payload.starts_with(&wire.payload));
    assert_eq!(again.payload.len(), wire.payload.len() + EMPTY);
    assert!(again.flags.has(FIN));
    let heard = pair.server.get(&again).unwrap();
    assert_eq!(
        (heard.payload.as_slice(), heard.flags.has(FIN)),
        (&b"bye"[..], true)
    );
}

/// Somebody on the way ends the stream early.
#[test]
fn a_forged_end() {
    for cut in [0, 1, 10] {
        let mut pair = connected();
        let wire = pair
            .client
            .out(&word(&pair, 0, b"do not stop here"))
            .unwrap();
        pair.server.get(&wire).unwrap();
        let more = pair.client.out(&word(&pair, 16, b"but here")).unwrap();
        let forged = piece(&more, 0, cut).with(|forged| forged.flags |= FIN);
        assert_eq!(pair.server.get(&forged), None);
        assert_eq!(resets(&pair.server.sent()), (1, 1));
        assert!(
            pair.server
                .log()
                .iter()
                .any(|line| line.contains("closed inside a record"))
        );
    }
}

#[test]
fn frames_cut_anywhere() {
    for cut in 1..70 {
        let mut pair = connected();
        let one = pair.client.out(&word(&pair, 0, b"one and ")).unwrap();
        let two = pair
            .client
            .out(&word(&pair, 8, b"two, then nothing"))
            .unwrap();
        let whole = one.clone().with(|whole| {
            whole.payload.extend_from_slice(&two.payload);
        });
        let cut = cut.min(whole.payload.len());
        let mut heard = Vec::new();
        for (from, to) in [(0, cut), (cut, whole.payload.len())] {
            if let Some(segment) = pair.server.get(&piece(&whole, from, to)) {
                if segment.seq == first().0.wrapping_add(u32::try_from(heard.len()).unwrap()) {
                    heard.extend_from_slice(&segment.payload);
                }
            }
        }
        for (direction, segment) in pair.server.sent() {
            assert_eq!(direction, Direction::In);
            heard.extend_from_slice(&segment.payload);
        }
        assert_eq!(heard, b"one and two, then nothing", "cut at {cut}");
    }
}

/// Two hosts that change keys with each frame of their own.
fn restless() -> Pair {
    let config = Config {
        key_limits: KeyLimits {
            frames: 1,
            octets: 1 << 20,
        },
        ..policy(Policy::Standard)
    };
    let mut pair = Pair::new(config, policy(Policy::Standard));
    pair.connect();
    pair
}

#[test]
fn a_new_key_is_answered() {
    let mut pair = restless();
    let one = pair.client.out(&word(&pair, 0, b"one")).unwrap();
    assert_eq!(one.payload[0], 0);
    pair.server.get(&one).unwrap();
    assert_eq!(pair.server.sent(), []);
    let ack = pair.server.out(&have(&pair, 3)).unwrap();
    pair.client.get(&ack).unwrap();
    let two = pair.client.out(&word(&pair, 3, b"two")).unwrap();
    assert_eq!(two.payload[0], 1);
    assert_eq!(pair.server.get(&two).unwrap().payload, b"two");
    let answers = of_wire(&mut pair.server);
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].payload.len(), answers[0].payload[0]),
        (EMPTY, 1)
    );
    // It gets lost. The server's TCP has nothing to repeat; so it is repeated for it.
    pair.server.pass(Duration::from_millis(600));
    let again = of_wire(&mut pair.server);
    assert_eq!(again.len(), 1);
    assert_eq!(
        (again[0].seq, &again[0].payload),
        (answers[0].seq, &answers[0].payload)
    );
    // What is said meanwhile goes behind it, and both are one stream.
    let (seq, ack) = first();
    let said = pair.server.says(ACK | PSH, ack, seq.wrapping_add(6));
    let said = said.with(|said| said.payload = b"three".to_vec());
    let three = pair.server.out(&said).unwrap();
    assert_eq!(three.seq, again[0].seq + u32::try_from(EMPTY).unwrap());
    pair.client.get(&again[0]).unwrap();
    assert_eq!(pair.client.get(&three).unwrap().payload, b"three");
    // Once acknowledged it is not sent any more.
    let heard = pair.client.says(ACK, seq.wrapping_add(6), ack + 5);
    let heard = pair.client.out(&heard).unwrap();
    assert_eq!(heard.ack, three.seq + 5 + u32::try_from(EMPTY).unwrap());
    pair.server.get(&heard).unwrap();
    pair.server.pass(Duration::from_secs(300));
    assert_eq!(of_wire(&mut pair.server), []);
}

/// Repeated with the data behind it, from the beginning.
#[test]
fn an_empty_frame_in_front_of_data_is_repeated_with_them() {
    let mut pair = restless();
    let one = pair.client.out(&word(&pair, 0, b"one")).unwrap();
    pair.server.get(&one).unwrap();
    let ack = pair.server.out(&have(&pair, 3)).unwrap();
    pair.client.get(&ack).unwrap();
    let two = pair.client.out(&word(&pair, 3, b"two")).unwrap();
    pair.server.get(&two).unwrap();
    let empty = of_wire(&mut pair.server).remove(0);
    let (seq, ack) = first();
    let said = pair.server.says(ACK | PSH, ack, seq.wrapping_add(6));
    let said = said.with(|said| said.payload = b"three".to_vec());
    let three = pair.server.out(&said).unwrap();
    // Both got lost.
    let again = pair.server.out(&said).unwrap();
    assert_eq!(again.seq, empty.seq);
    assert_eq!(again.payload, [empty.payload, three.payload].concat());
    assert_eq!(of_wire(&mut pair.server), []);
}

#[test]
fn what_is_urgent() {
    let mut pair = connected();
    let urgent = word(&pair, 0, b"look here").with(|urgent| urgent.flags |= URG);
    let mut packet = urgent.packet();
    // The pointer, and the checksum with it.
    let at = packet.len() - 9 - urgent.options.len() - 2;
    packet[at + 1] = 4;
    let sum = u16::from_be_bytes([packet[at - 2], packet[at - 1]]);
    let sum = if sum >= 4 {
        sum - 4
    } else {
        sum.wrapping_sub(5)
    };
    packet[at - 2..at].copy_from_slice(&sum.to_be_bytes());
    let mut wire = Vec::new();
    let endpoint = &mut pair.client.endpoint;
    endpoint.handle_packet(pair.client.now, Direction::Out, &packet, &mut wire);
    // In the frame: somebody on the way takes it out of the header.
    let segment = Segment::read(&wire);
    assert_eq!(segment.payload.len(), EMPTY + 2 + 9);
    let segment = segment.with(|segment| segment.flags = segment.flags.without(URG));
    let heard = pair.server.get(&segment).unwrap();
    assert_eq!(heard.payload, b"look here");
    assert!(heard.flags.has(URG));
    // And who puts it in is not believed.
    let more = pair.client.out(&word(&pair, 9, b"nothing")).unwrap();
    let more = more.with(|more| more.flags |= URG);
    assert!(!pair.server.get(&more).unwrap().flags.has(URG));
}
