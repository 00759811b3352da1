//! A link in the middle of the path that carries less than those of the hosts.

use tcpcrypt_proto::packet::{Direction, Fresh, Notes, Seq, View};
use tcpcrypt_proto::verdict::Verdict;

use crate::model::family::interface;
use crate::model::{Conn, Lab, Side};
use crate::promises::{assert_encrypted, pair, seconds, text};

const NARROW: usize = 1300;

/// Whether a router may cut a packet.
fn may_be_cut(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && packet[6] & 0x40 == 0
}

/// Long packets vanish, and nobody says so.
#[test]
fn long_packets_that_vanish_are_found_out() {
    for mtu in [NARROW, 1280] {
        let mut lab = pair(7);
        lab.set_middlebox(Box::new(move |_, packet| {
            match packet.len() > mtu && !may_be_cut(&packet) {
                true => Vec::new(),
                false => vec![packet],
            }
        }));
        let conn = lab.connect();
        let (up, down) = (text(1, 200_000), text(2, 200_000));
        lab.send(conn, Side::Client, &up);
        lab.send(conn, Side::Server, &down);
        let all = |lab: &Lab| {
            lab.received(conn, Side::Server).len() == up.len()
                && lab.received(conn, Side::Client).len() == down.len()
        };
        assert!(lab.run_until(seconds(20), all), "{mtu}: it stands still");
        assert_eq!(lab.received(conn, Side::Server), up);
        assert_eq!(lab.received(conn, Side::Client), down);
        assert_encrypted(&mut lab, conn);
    }
}

/// A connection with data under way from the client: the longest packet that was sent last.
fn under_way() -> (Lab, Conn, Vec<u8>) {
    let mut lab = pair(8);
    let conn = lab.connect();
    lab.send(conn, Side::Client, &text(1, 3000));
    lab.run(seconds(1));
    assert_encrypted(&mut lab, conn);
    lab.set_middlebox(Box::new(|_, _| Vec::new()));
    lab.send(conn, Side::Client, &text(3, 9000));
    lab.run(seconds(1) / 100);
    let sent = lab.tap.seen.iter().filter(|seen| seen.from == Side::Client);
    let lost = sent.map(|seen| seen.packet.clone()).max_by_key(Vec::len);
    (lab, conn, lost.expect("a packet"))
}

/// What a router says of a packet.
fn refusal(lost: &[u8], mtu: u16) -> Vec<u8> {
    let view = View::parse(lost).expect("a packet");
    // The addresses turned round, with TCP in place of ICMP, and that in its place: lengths and sums by hand.
    let mut fresh = Fresh::new(view.tuple(Direction::Out), Direction::In);
    fresh.seq = Seq(0);
    let mut packet = Vec::new();
    assert!(fresh.write(&[], &mut packet));
    let is_ipv6 = packet[0] >> 4 == 6;
    let at = packet.len() - 20;
    packet.truncate(at);
    packet.extend_from_slice(if is_ipv6 {
        &[2, 0, 0, 0]
    } else {
        &[3, 4, 0, 0]
    });
    packet.extend_from_slice(&u32::from(mtu).to_be_bytes());
    packet.extend_from_slice(&lost[..at + 28]);
    let length = (packet.len() - if is_ipv6 { 40 } else { 0 }) as u16;
    let length_at = if is_ipv6 { 4 } else { 2 };
    packet[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    packet[if is_ipv6 { 6 } else { 9 }] = if is_ipv6 { 58 } else { 1 };
    let mut summed = packet[at..].to_vec();
    if is_ipv6 {
        summed.extend_from_slice(&packet[8..40]);
        summed.extend_from_slice(&u32::from(length).to_be_bytes());
        summed.extend_from_slice(&[0, 0, 0, 58]);
    }
    let sum = summed.chunks(2).fold(0_u32, |sum, pair| {
        sum + (u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
    });
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Gives a packet to the client's daemon.
fn give(lab: &mut Lab, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let now = lab.instant();
    let mut out = Vec::new();
    let notes = Notes {
        interface: interface(),
        ..Notes::default()
    };
    let endpoint = lab.endpoint(Side::Client);
    let verdict = endpoint.handle_noted_packet(now, Direction::In, packet, notes, &mut out);
    (verdict, out)
}

#[test]
fn what_a_router_says_of_data_under_way_reaches_the_kernel() {
    let (mut lab, conn, lost) = under_way();
    let packet = refusal(&lost, NARROW as u16);
    let (verdict, out) = give(&mut lab, &packet);
    assert_eq!((verdict, out.len()), (Verdict::Replace, packet.len()));
    let changed: Vec<usize> = (0..out.len())
        .filter(|at| out[*at] != packet[*at])
        .collect();
    assert!(changed.len() <= 6, "{changed:?}");
    // From then on nothing is longer, and all arrives.
    let seen = lab.tap.seen.len();
    lab.remove_middlebox();
    let whole = |lab: &Lab| lab.received(conn, Side::Server).len() == 12_000;
    assert!(lab.run_until(seconds(20), whole), "it stands still");
    for seen in &lab.tap.seen[seen..] {
        assert!(seen.packet.len() <= NARROW, "{}", seen.packet.len());
    }
}

#[test]
fn what_was_not_said_of_data_under_way_is_dropped_and_of_others_passes() {
    let (mut lab, _, lost) = under_way();
    let tcp = if lost[0] >> 4 == 6 { 40 } else { 20 };
    // Numbers of nothing: far behind, far ahead.
    for bit in [0x80, 0x40, 0x10] {
        let mut other = lost.clone();
        other[tcp + 4] ^= bit;
        let packet = refusal(&other, 600);
        assert_eq!(give(&mut lab, &packet).0, Verdict::Drop);
    }
    // A port that has no connection, and a message that is broken.
    let mut other = lost.clone();
    other[tcp] ^= 1;
    let packet = refusal(&other, 600);
    assert_eq!(give(&mut lab, &packet), (Verdict::Accept, Vec::new()));
    let mut broken = refusal(&lost, 600);
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(give(&mut lab, &broken), (Verdict::Accept, Vec::new()));
}
