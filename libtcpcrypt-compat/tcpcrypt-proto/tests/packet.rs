//! Packets: what is read from one and written again is the same, whatever it was.

use std::net::SocketAddr;

use proptest::prelude::*;
use tcpcrypt_proto::packet::{
    Direction, Flags, FourTuple, Fresh, OptionBuf, ParseError, Rewrite, View, options,
};
use tcpcrypt_proto::seq::Seq;

/// The checksum written down as RFC 1071 words it, to judge the fast one.
fn naive(words: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in words.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Zero if all checksums of a packet are right.
fn faults(packet: &[u8]) -> u16 {
    let (head, pseudo) = if packet[0] >> 4 == 4 {
        let head = usize::from(packet[0] & 15) * 4;
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, 6]);
        pseudo.extend(u16::try_from(packet.len() - head).unwrap().to_be_bytes());
        (head, pseudo)
    } else {
        let mut pseudo = packet[8..40].to_vec();
        pseudo.extend(u32::try_from(packet.len() - 40).unwrap().to_be_bytes());
        pseudo.extend([0, 0, 0, 6]);
        (40, pseudo)
    };
    let header = if packet[0] >> 4 == 4 {
        naive(&packet[..head])
    } else {
        0
    };
    header | naive(&[&pseudo, &packet[head..]].concat())
}

fn tuple(v6: bool) -> FourTuple {
    let (local, remote): (SocketAddr, SocketAddr) = if v6 {
        (
            "[fd00::1]:4711".parse().unwrap(),
            "[fd00::2]:80".parse().unwrap(),
        )
    } else {
        (
            "10.77.0.1:4711".parse().unwrap(),
            "10.77.0.2:80".parse().unwrap(),
        )
    };
    FourTuple { local, remote }
}

prop_compose! {
    fn fresh()(v6: bool, out: bool, seq: u32, ack: u32, flags: u8, window: u16,
        given in proptest::collection::vec(any::<u8>(), 0..=40)) -> Fresh {
        let direction = if out { Direction::Out } else { Direction::In };
        Fresh { seq: Seq(seq), ack: Seq(ack), flags: Flags(flags), window,
            options: OptionBuf::from_header(&given), ..Fresh::new(tuple(v6), direction) }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(fresh in fresh(), data in proptest::collection::vec(any::<u8>(), 0..3000), cut: prop::sample::Index) {
        let (a, b) = data.split_at(cut.index(data.len() + 1).min(data.len()));
        let mut packet = vec![7];
        prop_assert!(fresh.write(&[a, b], &mut packet));
        prop_assert_eq!(packet[0], 7, "appended, not overwritten");
        let packet = &packet[1..];
        prop_assert_eq!(faults(packet), 0);
        let view = View::parse(packet).unwrap();
        prop_assert_eq!(view.tuple(fresh.direction), fresh.tuple);
        prop_assert_eq!((view.seq(), view.ack(), view.flags(), view.window()), (fresh.seq, fresh.ack, fresh.flags, fresh.window));
        prop_assert_eq!(view.payload(), &data[..]);
        prop_assert_eq!(view.total_length(), packet.len());

        let rewrite = Rewrite::of(&view);
        let mut again = Vec::new();
        prop_assert!(rewrite.write(&[&data], &mut again));
        prop_assert_eq!(&again, packet);
        prop_assert_eq!(rewrite.length(data.len()), packet.len());
    }

    #[test]
    fn any_octets_are_read_or_refused(mut octets in proptest::collection::vec(any::<u8>(), 0..120), ip in 0..3_usize) {
        // Most random octets are no IP; help them past the first checks.
        if let Some(first) = octets.first_mut() {
            *first = [*first, 0x45, 0x60][ip];
        }
        if let Some(protocol) = octets.get_mut(if ip == 1 { 9 } else { 6 }) {
            *protocol = 6;
        }
        if let Ok(view) = View::parse(&octets) {
            for option in view.each_option() {
                prop_assert_eq!(view.options().get(option.at..option.at + option.raw.len()), Some(option.raw));
            }
            let mut out = Vec::new();
            prop_assert!(Rewrite::of(&view).write(&[view.payload()], &mut out));
            prop_assert_eq!(faults(&out), 0);
            let again = View::parse(&out).unwrap();
            prop_assert_eq!(again.payload(), view.payload());
            prop_assert_eq!(again.options(), view.options());
        }
    }

    #[test]
    fn options_survive_every_edit(given in proptest::collection::vec(any::<u8>(), 0..=48), reduction: u16) {
        let mut buf = OptionBuf::from_header(&given);
        buf.trim();
        buf.lower_mss(reduction, 64, 536);
        buf.remove(options::TIMESTAMPS);
        buf.blank(options::SACK_PERMITTED);
        prop_assert!(options::find(buf.as_slice(), options::SACK_PERMITTED).is_none());
        prop_assert!(options::find(buf.as_slice(), options::TIMESTAMPS).is_none());
        buf.push_sack(&[(Seq(1), Seq(2)); 4]);
        prop_assert!(buf.padded_len() <= 40);
    }
}

#[test]
fn fragments_and_false_lengths_are_refused() {
    let mut packet = Vec::new();
    assert!(Fresh::new(tuple(false), Direction::Out).write(&[b"data"], &mut packet));
    let with = |at: usize, value: u8| {
        let mut changed = packet.clone();
        changed[at] = value;
        View::parse(&changed).map(|v| v.payload().len())
    };
    assert_eq!(with(6, 0x20), Err(ParseError::Fragment), "more fragments");
    assert_eq!(with(7, 1), Err(ParseError::Fragment), "an offset");
    assert_eq!(with(0, 0x44), Err(ParseError::IpHeader(16)));
    assert_eq!(with(0, 0x55), Err(ParseError::Version(5)));
    assert_eq!(with(9, 17), Err(ParseError::Protocol(17)));
    assert_eq!(with(32, 0x40), Err(ParseError::TcpHeader(16)));
    assert_eq!(
        with(32, 0xf0),
        Err(ParseError::Short { need: 60, have: 24 })
    );
    assert_eq!(
        with(3, 200),
        Err(ParseError::Short {
            need: 200,
            have: 44
        })
    );
    // Ethernet pads short frames: what is behind the total length is not data.
    packet.extend([0; 6]);
    assert_eq!(View::parse(&packet).map(|v| v.payload().len()), Ok(4));
}

#[test]
fn a_packet_too_long_for_its_length_field_is_not_written() {
    let fresh = Fresh::new(tuple(false), Direction::Out);
    let mut out = vec![1, 2];
    assert!(!fresh.write(&[&vec![0; 65_500]], &mut out));
    assert_eq!(out, [1, 2]);
}
