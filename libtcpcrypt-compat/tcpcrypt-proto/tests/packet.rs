//! Packets: what is read from one and written again is the same, whatever it was.

use std::net::SocketAddr;

use proptest::prelude::*;
use tcpcrypt_proto::packet::{
    Direction, Flags, FourTuple, Fresh, OptionBuf, ParseError, Rewrite, View, ends_of_refused,
    options,
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

/// A header of `kind` that names what follows it. `length` is in units of eight octets.
fn extension(kind: u8, next: u8, length: u8) -> Vec<u8> {
    let mut header = vec![0; usize::from(length) * 8];
    header[0] = next;
    if kind == 44 {
        // No offset, nothing more: all of the packet is in this fragment.
        header.truncate(8);
        header[4..8].copy_from_slice(&[1, 2, 3, 4]);
    } else {
        header[1] = length - 1;
        // One option of padding; in a routing header, a kind and no segment left.
        header[2] = if kind == 43 { 0 } else { 1 };
    }
    header
}

/// An IPv6 packet with these headers between the fixed one and TCP.
fn with_extensions(packet: &[u8], kinds: &[(u8, u8)]) -> Vec<u8> {
    let mut out = packet[..40].to_vec();
    let following = kinds.iter().map(|(kind, _)| *kind).chain([6]);
    for ((kind, length), next) in kinds.iter().zip(following.skip(1)) {
        out.extend(extension(*kind, next, *length));
    }
    out[6] = kinds.first().map_or(6, |(kind, _)| *kind);
    out.extend(&packet[40..]);
    let length = u16::try_from(out.len() - 40).unwrap();
    out[4..6].copy_from_slice(&length.to_be_bytes());
    out
}

fn over_ipv6(data: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    assert!(Fresh::new(tuple(true), Direction::Out).write(&[data], &mut packet));
    packet
}

proptest! {
    #[test]
    fn extension_headers_stay_as_they_are(
        hop_by_hop: Option<bool>,
        kinds in proptest::collection::vec((prop_oneof![Just(60_u8), Just(43), Just(44)], 1..5_u8), 0..6),
        data in proptest::collection::vec(any::<u8>(), 0..200),
        other in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let first = hop_by_hop.map(|long| (0_u8, 1 + u8::from(long)));
        let kinds: Vec<_> = first.into_iter().chain(kinds).collect();
        let packet = with_extensions(&over_ipv6(&data), &kinds);
        let view = View::parse(&packet).unwrap();
        prop_assert_eq!(view.payload(), &data[..]);
        prop_assert_eq!(view.tuple(Direction::Out), tuple(true));
        prop_assert_eq!(view.total_length(), packet.len());
        prop_assert!(view.is_intact());
        prop_assert_eq!(ends_of_refused(&packet, Direction::Out), Some(tuple(true)));

        // With other data, the headers are the same, and the length and the checksum fit.
        let mut out = Vec::new();
        prop_assert!(Rewrite::of(&view).write(&[&other], &mut out));
        let again = View::parse(&out).unwrap();
        prop_assert_eq!(again.ip_header().len(), view.ip_header().len());
        prop_assert_eq!(&again.ip_header()[6..], &view.ip_header()[6..]);
        prop_assert_eq!(again.payload(), &other[..]);
        prop_assert!(again.is_intact());
        prop_assert_eq!(again.total_length(), out.len());
        prop_assert_eq!(Rewrite::of(&view).length(other.len()), out.len());
        // Nothing that is cut off is read.
        for cut in [view.ip_header().len() - 1, view.ip_header().len() + 19, packet.len() - 1] {
            prop_assert!(View::parse(&packet[..cut]).is_err());
        }
    }

    #[test]
    fn any_extension_headers_are_read_or_refused(
        mut octets in proptest::collection::vec(any::<u8>(), 40..400),
        kinds in proptest::collection::vec(prop_oneof![Just(0_u8), Just(60), Just(43), Just(44), Just(51), any::<u8>()], 1..5),
    ) {
        let length = u16::try_from(octets.len() - 40).unwrap();
        octets[0] = 0x60;
        octets[4..6].copy_from_slice(&length.to_be_bytes());
        // Short headers, so that there is something behind them.
        let mut at = 6;
        for (index, kind) in kinds.iter().enumerate() {
            octets[at] = *kind;
            at = 40 + index * 8;
            if at + 8 > octets.len() {
                break;
            }
            octets[at + 1] = 0;
            octets[at] = 6;
        }
        let _ = ends_of_refused(&octets, Direction::In);
        if let Ok(view) = View::parse(&octets) {
            prop_assert_eq!(view.total_length(), octets.len());
            prop_assert_eq!(ends_of_refused(&octets, Direction::In), Some(view.tuple(Direction::In)));
        }
    }
}

#[test]
fn what_stands_behind_other_headers_is_nothing_of_ours() {
    let packet = over_ipv6(b"data");
    let with = |kinds: &[(u8, u8)], at: usize, value: u8| {
        let mut changed = with_extensions(&packet, kinds);
        changed[at] = value;
        View::parse(&changed).map(|v| v.payload().len())
    };
    assert_eq!(with(&[], 4, 0), Ok(4), "nothing changed");
    assert_eq!(
        with(&[(60, 1), (0, 1)], 0, 0x60),
        Err(ParseError::Protocol(0))
    );
    for kind in [50, 51, 59, 135, 139, 140, 17, 58] {
        let refused = Err(ParseError::Protocol(kind));
        assert_eq!(with(&[(60, 1)], 40, kind), refused);
    }
    assert_eq!(
        with(&[(43, 1)], 43, 1),
        Err(ParseError::Protocol(43)),
        "a route that is not at its end"
    );
    assert_eq!(
        with(&[(44, 1)], 43, 1),
        Err(ParseError::Fragment),
        "the first"
    );
    assert_eq!(
        with(&[(44, 1)], 43, 8),
        Err(ParseError::Fragment),
        "an offset"
    );
    assert_eq!(
        with(&[(44, 1)], 42, 1),
        Err(ParseError::Fragment),
        "an offset"
    );
    let mut jumbo = with_extensions(&packet, &[(0, 1)]);
    jumbo[4..6].fill(0);
    assert_eq!(View::parse(&jumbo).err(), Some(ParseError::Jumbogram));
    jumbo[6] = 6;
    assert!(View::parse(&jumbo).is_err(), "no length at all");
}

#[test]
fn whose_packet_it_is_shows_where_nothing_can_be_done_with_it() {
    let ends = |packet: &[u8]| ends_of_refused(packet, Direction::In);
    let swapped = |v6| FourTuple {
        local: tuple(v6).remote,
        remote: tuple(v6).local,
    };
    let six = over_ipv6(b"data");
    let mut first = with_extensions(&six, &[(60, 2), (44, 1)]);
    first[40 + 16 + 3] = 1;
    assert_eq!(ends(&first), Some(swapped(true)), "a first fragment");
    first[40 + 16 + 3] = 9;
    assert_eq!(ends(&first), None, "another fragment");
    let mut jumbo = with_extensions(&six, &[(0, 1)]);
    jumbo[4..6].fill(0);
    assert_eq!(ends(&jumbo), Some(swapped(true)));
    assert_eq!(ends(&six[..44]), Some(swapped(true)), "cut off");
    assert_eq!(ends(&six[..43]), None);
    let mut four = Vec::new();
    assert!(Fresh::new(tuple(false), Direction::Out).write(&[b"data"], &mut four));
    four[6] = 0x20;
    assert_eq!(ends(&four), Some(swapped(false)), "a first fragment");
    four[7] = 1;
    assert_eq!(ends(&four), None, "another fragment");
    four[9] = 17;
    assert_eq!(ends(&four), None);
    assert_eq!(ends(&[]), None);
}

#[test]
fn link_local_addresses_belong_to_an_interface() {
    let ends = FourTuple {
        local: "[fe80::1]:1".parse().unwrap(),
        remote: "[fe80::2]:2".parse().unwrap(),
    };
    let on = ends.on_interface(3);
    assert_eq!((on.interface(), ends.interface()), (3, 0));
    assert_ne!(on, ends.on_interface(4));
    assert_eq!(on.remote, "[fe80::2%3]:2".parse().unwrap());
    for other in [tuple(false), tuple(true)] {
        assert_eq!(other.on_interface(3), other);
        assert_eq!(other.on_interface(3).interface(), 0);
    }
}
