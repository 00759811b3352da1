//! What routers say of packets that are too long: written by hand, read, and written with another number.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use tcpcrypt_proto::packet::{Direction, FourTuple, Fresh, Seq, TooBig, View};

fn ends(ipv6: bool) -> FourTuple {
    let [local, remote] = match ipv6 {
        true => ["[fd00::1]:4711", "[fd00::2]:80"],
        false => ["10.77.0.1:4711", "10.77.0.2:80"],
    };
    let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
    FourTuple {
        local: parse(local),
        remote: parse(remote),
    }
}

fn sum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// The sum over an ICMP message in an IP packet: 0 if its checksum is right.
fn sum_of(packet: &[u8]) -> u16 {
    if packet[0] >> 4 == 4 {
        return sum(&packet[20..]);
    }
    let length = u32::try_from(packet.len() - 40).unwrap().to_be_bytes();
    let pseudo = [&packet[8..40], &length, &[0, 0, 0, 58], &packet[40..]];
    sum(&pseudo.concat())
}

/// The message of a router about a packet of this host with data, of which it quotes so many octets.
fn message(ipv6: bool, seq: u32, mtu: u16, quoted: usize) -> Vec<u8> {
    let tuple = ends(ipv6);
    let mut lost = Vec::new();
    let mut fresh = Fresh::new(tuple, Direction::Out);
    fresh.seq = Seq(seq);
    assert!(fresh.write(&[&[7; 1400]], &mut lost));
    lost.truncate(quoted);
    let mut icmp = match ipv6 {
        true => vec![2, 0, 0, 0, 0, 0],
        false => vec![3, 4, 0, 0, 0, 0],
    };
    icmp.extend_from_slice(&mtu.to_be_bytes());
    icmp.extend_from_slice(&lost);
    let length = u16::try_from(icmp.len()).unwrap();
    let mut packet = Vec::new();
    match tuple.local.ip() {
        IpAddr::V4(local) => {
            packet.extend_from_slice(&[0x45, 0xc0]);
            packet.extend_from_slice(&(length + 20).to_be_bytes());
            packet.extend_from_slice(&[0, 1, 0, 0, 64, 1, 0, 0, 10, 77, 1, 1]);
            packet.extend_from_slice(&local.octets());
        }
        IpAddr::V6(local) => {
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[58, 64]);
            packet.extend_from_slice(&[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            packet.extend_from_slice(&local.octets());
        }
    }
    let at = packet.len();
    packet.extend_from_slice(&icmp);
    let sum = sum_of(&packet);
    packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn headers(ipv6: bool) -> usize {
    if ipv6 { 40 } else { 20 }
}

proptest! {
    #[test]
    fn another_number_and_nothing_else(ipv6: bool, seq: u32, other: u32, mtu: u16, more in 0..1400_usize) {
        let packet = message(ipv6, seq, mtu, headers(ipv6) + 8 + more);
        let read = TooBig::parse(&packet).expect("a message");
        prop_assert_eq!((read.seq(), read.mtu()), (Seq(seq), u32::from(mtu)));
        prop_assert_eq!(read.ends(), ends(ipv6));
        let mut out = vec![7];
        read.write(Seq(other), &mut out);
        prop_assert_eq!(out[0], 7, "appended");
        let out = &out[1..];
        prop_assert_eq!(sum_of(out), 0);
        let mut expected = packet;
        let (icmp, seq) = (headers(ipv6) + 2, 2 * headers(ipv6) + 12);
        expected[icmp..icmp + 2].copy_from_slice(&out[icmp..icmp + 2]);
        expected[seq..seq + 4].copy_from_slice(&other.to_be_bytes());
        prop_assert_eq!(out, &expected[..]);
    }

    #[test]
    fn what_was_changed_on_its_way_is_none(ipv6: bool, at: prop::sample::Index, bit in 0..8_u32) {
        let packet = message(ipv6, 1, 1300, headers(ipv6) + 28);
        let from = headers(ipv6);
        let mut broken = packet.clone();
        let at = from + at.index(packet.len() - from);
        broken[at] ^= 1 << bit;
        prop_assert!(TooBig::parse(&broken).is_none(), "octet {at}");
    }

    #[test]
    fn any_octets_are_read_or_refused(ipv6: bool, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), length: prop::sample::Index) {
        let mut packet = message(ipv6, 1, 1300, headers(ipv6) + 28);
        for (at, octet) in changes {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        packet.truncate(length.index(packet.len() + 1));
        // So that what is behind the sum is reached, too.
        let at = headers(ipv6);
        if packet.len() > at + 4 && packet[0] >> 4 == if ipv6 { 6 } else { 4 } {
            packet[at + 2..at + 4].fill(0);
            let sum = sum_of(&packet);
            packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
        }
        if let Some(read) = TooBig::parse(&packet) {
            let mut out = Vec::new();
            read.write(Seq(9), &mut out);
            let again = TooBig::parse(&out).expect("what was written");
            prop_assert_eq!((again.seq(), again.ends(), again.mtu()), (Seq(9), read.ends(), read.mtu()));
        }
    }
}

#[test]
fn other_packets_are_none() {
    for ipv6 in [false, true] {
        let whole = message(ipv6, 1, 1300, headers(ipv6) + 8);
        assert!(TooBig::parse(&whole).is_some());
        for length in 0..whole.len() {
            assert!(TooBig::parse(&whole[..length]).is_none(), "{length} octets");
        }
        // Padding of the link layer is not looked at.
        let padded = [&whole[..], &[1, 2, 3]].concat();
        assert!(TooBig::parse(&padded).is_some());
        // A port that nobody listens on, of another packet, an echo.
        let at = headers(ipv6);
        for (offset, value) in [(0, 11), (0, 8), (at + 8, 17)] {
            let mut other = whole.clone();
            match offset {
                0 => other[at] = value,
                _ => other[at + 8 + if ipv6 { 6 } else { 9 }] = value,
            }
            other[at + 2..at + 4].fill(0);
            let sum = sum_of(&other);
            other[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
            assert!(TooBig::parse(&other).is_none(), "{offset} {value}");
        }
        assert!(View::parse(&whole).is_err());
    }
}
