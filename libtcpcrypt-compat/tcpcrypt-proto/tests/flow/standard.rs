//! What RFC 8548 says of frames and the TCP header: urgent data, the end of the stream, a new key as a question.

use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::Key;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::flow::{Closing, Failure, Flow, FlowOptions, Numbers};
use tcpcrypt_proto::packet::{Flags, FourTuple};
use tcpcrypt_proto::rfc8547::Host;
use tcpcrypt_proto::rfc8548::frame::{Flags as FrameFlags, Opener, Sealer};
use tcpcrypt_proto::rfc8548::keys::{Keys, Suite};

use super::bench::{ACK, End, FIN, PSH, RST, Seg, URG, addresses, client_numbers, text};

/// Octets of a frame without data.
const EMPTY: usize = 20;

fn keys(host: Host) -> (Sealer, Opener) {
    let suite = Suite {
        host,
        tep: Tep::X25519,
        algorithm: Algorithm::Aes128Gcm,
    };
    Keys::new(Key::from(&[7; 32]), suite).split().expect("keys")
}

/// Host A with the numbers of [`client_numbers`], and host B.
pub(crate) fn pair(change: impl Fn(&mut FlowOptions)) -> (End, End) {
    let numbers = client_numbers(1000, 2000);
    let mirrored = Numbers {
        out_plain: numbers.in_plain,
        out_wire: numbers.in_wire,
        in_plain: numbers.out_plain,
        in_wire: numbers.out_wire,
    };
    let tuple = addresses();
    let other = FourTuple {
        local: tuple.remote,
        remote: tuple.local,
    };
    let now = std::time::Instant::now();
    let end = |numbers, host, tuple| {
        let (sealer, opener) = keys(host);
        let mut options = FlowOptions::new(tuple);
        options.sack = true;
        change(&mut options);
        End {
            flow: Flow::new(numbers, sealer, opener, options, now),
            tuple,
            now,
        }
    };
    (end(numbers, Host::A, tuple), end(mirrored, Host::B, other))
}

fn plain_pair() -> (End, End) {
    pair(|_| {})
}

/// Section 3.7: the field has the index of the last urgent octet, counted from the first of the frame. The pointer of the
/// TCP header is that of the octet behind it (RFC 6093).
#[test]
fn the_last_urgent_octet() {
    for (pointer, field, back) in [(4, 3, 4), (1, 0, 1), (0, 0, 1), (0xffff, 0xfffe, 0xffff)] {
        let (mut a, mut b) = plain_pair();
        let mut urgent = Seg::new(1000, 2000, URG, b"look here");
        urgent.urgent = pointer;
        let wire = a.send(&urgent).only();
        let (_, mut opener) = keys(Host::B);
        let mut data = Vec::new();
        let flags = opener.open(0, &wire.payload, &mut data).expect("a frame");
        assert_eq!(flags.urgent, Some(field), "{pointer}");
        let local = b.receive(&wire).only();
        assert!(local.flags.has(Flags::URG));
        assert_eq!((local.seq, local.urgent), (1000, back));
    }
}

/// A frame by the other host, with what the local TCP has to make of it.
fn frames(list: &[(FrameFlags, &[u8])]) -> Vec<Seg> {
    let (mut sealer, _) = keys(Host::A);
    let mut offset = 0;
    let mut segments = Vec::new();
    for (flags, data) in list {
        let mut frame = Vec::new();
        sealer
            .seal(offset, *flags, data, &mut frame)
            .expect("a frame");
        segments.push(Seg::new(1110 + offset as u32, 2108, PSH, &frame));
        offset += frame.len() as u64;
    }
    segments
}

const LAST: FrameFlags = FrameFlags {
    fin: true,
    urgent: None,
};

/// Section 3.7: the end is told when, and only when, its frame has come. The FIN of the segment was taken away, and
/// comes later.
#[test]
fn the_end_is_told_with_its_frame() {
    let (_, mut b) = plain_pair();
    let last = &frames(&[(LAST, b"bye")])[0];
    let local = b.receive(last).only();
    assert_eq!((local.seq, local.payload.as_slice()), (1000, &b"bye"[..]));
    assert!(local.has_fin());
    assert_eq!(b.flow.closing(), Closing::HalfClosed);
    // The peer's TCP has not sent a FIN that we could acknowledge.
    let behind = 1110 + 23;
    let ack = b.send(&Seg::new(2000, 1004, ACK, b"")).only();
    assert_eq!((ack.ack, ack.flags), (behind, ACK));
    // What it acknowledges meanwhile has the number that the local TCP awaits.
    let word = b.send(&Seg::new(2000, 1004, PSH, b"word")).only();
    assert_eq!((word.seq, word.ack), (2108, behind));
    let heard = b.receive(&Seg::new(behind, 2108 + 24, ACK, b"")).only();
    assert_eq!((heard.seq, heard.ack), (1004, 2004));
    // The whole segment again, now with its FIN: acknowledged from here, as the local TCP may be gone.
    for _ in 0..2 {
        let mut again = last.clone();
        again.flags = FIN;
        again.ack = 2108 + 24;
        let out = b.receive(&again);
        assert_eq!(out.wire.len(), 1, "{out:?}");
        assert_eq!((out.wire[0].ack, out.wire[0].flags), (behind + 1, ACK));
        assert!(out.step.iter().chain(&out.local).all(|seg| !seg.has_fin()));
        assert!(out.step.iter().chain(&out.local).all(|seg| seg.seq == 1004));
    }
    let ack = b.send(&Seg::new(2004, 1004, ACK, b"")).only();
    assert_eq!(ack.ack, behind + 1);
    // The other direction ends as ever.
    let fin = b.send(&Seg::new(2004, 1004, FIN, b"")).only();
    assert_eq!(
        (fin.seq, fin.ack, fin.payload.len()),
        (2132, behind + 1, EMPTY)
    );
    let acked = Seg::new(behind + 1, 2132 + 20 + 1, ACK, b"");
    assert_eq!(b.receive(&acked).only().ack, 2005);
    assert_eq!(b.flow.closing(), Closing::Closed);
}

/// The local TCP closes too, before the FIN has come: the connection is not over until it has.
#[test]
fn both_ends_before_the_fin() {
    let (_, mut b) = plain_pair();
    let last = &frames(&[(LAST, b"bye")])[0];
    b.receive(last).only();
    let fin = b.send(&Seg::new(2000, 1004, FIN, b"")).only();
    assert_eq!((fin.seq, fin.ack), (2108, 1133));
    let acked = Seg::new(1133, 2108 + 20 + 1, ACK, b"");
    let local = b.receive(&acked).only();
    assert_eq!((local.seq, local.ack), (1004, 2001));
    assert_eq!(b.flow.closing(), Closing::HalfClosed);
    // A reset has the number that the peer counts, and ends it.
    let (_, mut other) = plain_pair();
    other.receive(last).only();
    other.send(&Seg::new(2000, 1004, ACK, b"")).only();
    let reset = other.receive(&Seg::new(1133, 2108, RST, b"")).only();
    assert_eq!((reset.seq, reset.flags), (1004, RST));
    assert_eq!(other.flow.closing(), Closing::Reset);
    // The FIN, by itself.
    let mut fin = Seg::new(1133, 2108 + 21, FIN, b"");
    let out = b.receive(&fin);
    assert_eq!(out.wire[0].ack, 1134);
    assert_eq!(b.flow.closing(), Closing::Closed);
    // And once more, to what is left.
    fin.ack = 2129;
    let mut tombstone = b.flow.tombstone();
    let packet = Seg::new(2001, 1004, ACK, b"").packet(b.tuple);
    let view = tcpcrypt_proto::packet::View::parse(&packet).expect("a packet");
    let mut wire = Vec::new();
    tombstone.outgoing(&view, &mut wire);
    let wire = Seg::parse(&wire);
    assert_eq!((wire.seq, wire.ack), (2129, 1134));
}

/// Nothing may stand behind the last frame, and a FIN elsewhere is none.
#[test]
fn behind_the_end() {
    let (_, mut b) = plain_pair();
    let last = &frames(&[(LAST, b"bye")])[0];
    b.receive(last).only();
    let more = Seg::new(1133, 2108, PSH, &text(30));
    assert_eq!(b.receive(&more).failed, Some(Failure::Malformed));
    let (_, mut b) = plain_pair();
    let mut early = Seg::new(1110, 2108, FIN, b"");
    early.flags = FIN;
    assert_eq!(b.receive(&early).failed, Some(Failure::Truncated));
}

/// Section 3.8: without data no new key is begun again as long as the one before is not answered, though TCP has
/// acknowledged it.
#[test]
fn one_question_at_a_time() {
    let (mut a, mut b) = plain_pair();
    // The peer's TCP has said something, and ours.
    let word = a.send(&Seg::new(1000, 2000, PSH, b"word")).only();
    b.receive(&word).only();
    let ack = b.send(&Seg::new(2000, 1004, ACK, b"")).only();
    a.receive(&ack).only();
    let keep_alive = Seg::new(1003, 2000, ACK, b"");
    let asked = a.send(&keep_alive);
    let question: Vec<_> = asked
        .wire
        .iter()
        .filter(|seg| !seg.payload.is_empty())
        .collect();
    assert_eq!(question.len(), 1);
    let question = question[0].clone();
    assert_eq!((question.payload.len(), question.payload[0]), (EMPTY, 1));
    let answer = b.receive(&question);
    let answer = answer.wire.iter().find(|seg| !seg.payload.is_empty());
    let answer = answer.expect("an answer").clone();
    assert_eq!((answer.payload.len(), answer.payload[0]), (EMPTY, 1));
    // Its acknowledgement comes, the answer does not.
    let mut acked = answer.clone();
    acked.payload.clear();
    acked.ack = question.end();
    a.receive(&acked);
    let more = a.send(&keep_alive);
    assert!(
        more.wire.iter().all(|seg| seg.payload.is_empty()),
        "{more:?}"
    );
    a.receive(&answer);
    let again = a.send(&keep_alive);
    let asked: Vec<_> = again
        .wire
        .iter()
        .filter(|seg| seg.payload.len() == EMPTY)
        .collect();
    assert_eq!((asked.len(), asked[0].payload[0]), (1, 1));
}
