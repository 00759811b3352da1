use super::notice::{Content, Received, messages};
use super::*;

use std::net::IpAddr;

use proptest::prelude::*;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

fn network(text: &str) -> (IpAddr, u8) {
    let (address, length) = text.split_once('/').expect("network");
    (ip(address), length.parse().expect("length"))
}

fn selector(source: &str, destination: &str) -> Selector {
    Selector {
        source: network(source),
        destination: network(destination),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
    }
}

pub(crate) fn larval() -> Sa<'static> {
    Sa {
        source: ip("192.0.2.2"),
        destination: ip("192.0.2.1"),
        spi: 0,
        protocol: 50,
        mode: Mode::Tunnel,
        reqid: 7,
        replay_window: 0,
        algorithms: Vec::new(),
        encapsulation: None,
        lifetime: Lifetime::default(),
        selector: None,
        sequence: 0,
    }
}

pub(crate) fn web() -> Policy {
    let inner = Template {
        source: ip("192.0.2.1"),
        destination: ip("192.0.2.2"),
        protocol: 50,
        mode: Mode::Tunnel,
        reqid: 7,
        optional: false,
    };
    let outer = Template {
        source: ip("0.0.0.0"),
        destination: ip("0.0.0.0"),
        protocol: 51,
        mode: Mode::Transport,
        reqid: 8,
        optional: true,
    };
    Policy {
        selector: Selector {
            protocol: 6,
            destination_port: 80,
            ..selector("10.1.0.0/16", "10.2.0.0/24")
        },
        direction: Direction::Out,
        priority: 1000,
        templates: vec![inner, outer],
    }
}

/// What iproute2 6.1.0 sent, seen with strace: the type, and all that follows the header.
#[cfg(target_endian = "little")]
fn of_iproute2(text: &str) -> (u16, Vec<u8>) {
    let mut lines = text.lines().skip(1);
    let kind = u16::from_str_radix(lines.next().expect("a type"), 16).expect("a type");
    let digits: String = lines.collect();
    let octet = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let octets = (0..digits.len()).step_by(2).map(octet);
    (kind, octets.collect::<Option<_>>().expect("digits"))
}

#[cfg(target_endian = "little")]
#[test]
fn requests_are_those_of_iproute2() {
    let key: Vec<u8> = (0..64).collect();
    let tunnel = Sa {
        source: ip("192.0.2.1"),
        destination: ip("192.0.2.2"),
        spi: 0x0102_0304,
        replay_window: 16,
        algorithms: vec![
            Algorithm::Cipher("cbc(aes)", &key[..16]),
            Algorithm::Authentication("hmac(sha256)", &key[32..], 128),
        ],
        encapsulation: Some((4500, 4501)),
        lifetime: Lifetime {
            hard_octets: Some(1 << 20),
            soft_seconds: Some(1080),
            hard_seconds: Some(1200),
            ..Lifetime::default()
        },
        ..larval()
    };
    let aead = Sa {
        source: ip("2001:db8::1"),
        destination: ip("2001:db8::2"),
        spi: 0x0102_0304,
        mode: Mode::Transport,
        algorithms: vec![Algorithm::Aead("rfc4106(gcm(aes))", &key[..20], 128)],
        selector: Some(Selector {
            protocol: 17,
            source_port: 5,
            destination_port: 6,
            ..selector("2001:db8::1/128", "2001:db8::2/128")
        }),
        ..larval()
    };
    let compression = Sa {
        source: ip("192.0.2.1"),
        destination: ip("192.0.2.2"),
        spi: 0x0203,
        protocol: 108,
        mode: Mode::Transport,
        algorithms: vec![Algorithm::Compression("deflate")],
        ..larval()
    };
    let mut through = web();
    through.selector = selector("2001:db8:1::/48", "2001:db8:2::/64");
    through.direction = Direction::Forward;
    through.priority = 9;
    through.templates.truncate(1);
    let (source, destination) = (tunnel.source, tunnel.destination);
    let named = (source, destination, 50, 0x0102_0304);
    let web = web();
    for (name, text, ours) in [
        (
            "tunnel",
            include_str!("testdata/tunnel.hex"),
            install(&tunnel, false),
        ),
        (
            "aead",
            include_str!("testdata/aead.hex"),
            install(&aead, false),
        ),
        (
            "compression",
            include_str!("testdata/compression.hex"),
            install(&compression, false),
        ),
        (
            "remove",
            include_str!("testdata/remove.hex"),
            remove(named.0, named.1, named.2, named.3),
        ),
        (
            "look",
            include_str!("testdata/look.hex"),
            look(named.0, named.1, named.2, named.3),
        ),
        (
            "policy",
            include_str!("testdata/policy.hex"),
            put_policy(&web, false),
        ),
        (
            "policy in place",
            include_str!("testdata/policy_in_place.hex"),
            put_policy(&through, true),
        ),
        (
            "no policy",
            include_str!("testdata/no_policy.hex"),
            remove_policy(&web.selector, web.direction),
        ),
    ] {
        let (kind, body) = of_iproute2(text);
        assert_eq!(ours.kind(), Some(kind), "{name}");
        assert_eq!(&ours.octets()[16..], body, "{name}");
        assert_eq!(
            &ours.octets()[..4],
            (ours.octets().len() as u32).to_ne_bytes()
        );
    }
    // The owner's mark is nothing that iproute2 has.
    let marked = Sa {
        sequence: 0x0506_0708,
        ..tunnel.clone()
    };
    let mut marked = install(&marked, true).octets().to_vec();
    assert_eq!(marked[16 + 204..16 + 208], 0x0506_0708u32.to_ne_bytes());
    marked[16 + 204..16 + 208].fill(0);
    assert_eq!(marked, install(&tunnel, true).octets());
    // iproute2 gives no limits and no flags there; the kernel looks at neither.
    let ours = allocate_spi(&larval(), 0x100..=u32::MAX);
    let (kind, mut body) = of_iproute2(include_str!("testdata/allocate.hex"));
    assert_eq!(ours.kind(), Some(kind));
    body[96..128].fill(0xff);
    body[216] = 32;
    assert_eq!(&ours.octets()[16..], body);
}

#[test]
fn ah_is_aligned_as_its_family_wants() {
    for (protocol, source, destination, mode, flags) in [
        (51, "192.0.2.1", "192.0.2.2", Mode::Tunnel, 32 | 64),
        (51, "192.0.2.1", "192.0.2.2", Mode::Transport, 64),
        (51, "2001:db8::1", "2001:db8::2", Mode::Tunnel, 32),
        (50, "192.0.2.1", "192.0.2.2", Mode::Tunnel, 32),
    ] {
        let sa = Sa {
            protocol,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            mode,
            ..larval()
        };
        assert_eq!(
            install(&sa, true).octets()[16 + 216],
            flags,
            "{destination}"
        );
    }
}

#[test]
fn a_large_window_has_its_own_attribute() {
    let sa = |replay_window| Sa {
        replay_window,
        ..larval()
    };
    let plain = install(&sa(32), true);
    assert_eq!(plain.kind(), Some(0x1a));
    assert_eq!(plain.octets().len(), 16 + 224);
    assert_eq!(plain.octets()[16 + 215], 32);
    for (window, words, granted) in [(33u32, 2u32, 33u32), (64, 2, 64), (9999, 128, MOST_WINDOW)] {
        let message = install(&sa(window), true);
        assert_eq!(message.octets()[16 + 215], 0);
        let attribute = &message.octets()[16 + 224..];
        let length = 4 + 24 + 4 * words as usize;
        assert_eq!(attribute.len(), length);
        assert_eq!(attribute[..2], (length as u16).to_ne_bytes());
        assert_eq!(attribute[2..4], 23u16.to_ne_bytes());
        assert_eq!(attribute[4..8], words.to_ne_bytes());
        assert_eq!(attribute[24..28], granted.to_ne_bytes());
        assert!(attribute[28..].iter().all(|octet| *octet == 0));
    }
}

#[test]
fn a_socket_is_left_alone_in_its_own_family() {
    let policy = bypass(true, Direction::Out);
    assert_eq!(policy.len(), 168);
    assert_eq!(policy[40..42], 10u16.to_ne_bytes());
    assert!(policy[56..88].iter().all(|octet| *octet == 0xff));
    assert_eq!(policy[160..162], [1, 0]);
    let policy = bypass(false, Direction::In);
    assert_eq!(policy[40..42], 2u16.to_ne_bytes());
    assert_eq!(policy[160..162], [0, 0]);
}

#[test]
fn whoever_passes_requests_on_knows_what_they_are_about() {
    let again = |message: &Message| {
        let copy = Message::from_octets(message.octets().to_vec()).expect("one of ours");
        copy.subject().expect("a subject")
    };
    let mut destination = [0; 16];
    destination[..4].copy_from_slice(&[192, 0, 2, 1]);
    let name = |spi| StateName {
        family: 2,
        destination,
        spi,
        protocol: 50,
    };
    let sa = Sa {
        spi: 0x0102_0304,
        algorithms: vec![Algorithm::Cipher("cbc(aes)", &[1; 16])],
        replay_window: 64,
        encapsulation: Some((1, 2)),
        ..larval()
    };
    let (name, reqid) = (name(0x0102_0304), 7);
    let larval_name = StateName { spi: 0, ..name };
    assert_eq!(
        again(&allocate_spi(&larval(), 0x100..=0xffff)),
        Subject::Make {
            name: larval_name,
            reqid,
            update: false,
            mark: sa.sequence
        }
    );
    for update in [false, true] {
        assert_eq!(
            again(&install(&sa, update)),
            Subject::Make {
                name,
                reqid,
                update,
                mark: sa.sequence
            }
        );
    }
    for message in [
        remove(sa.source, sa.destination, 50, sa.spi),
        look(sa.source, sa.destination, 50, sa.spi),
    ] {
        assert_eq!(again(&message), Subject::State(name));
    }
    // 192.0.2.1 and c000:201:: begin with the same octets, and are not the same.
    let long = "c000:201::".parse().expect("an address");
    let Subject::State(other) = again(&remove(long, long, 50, sa.spi)) else {
        panic!("no SA");
    };
    assert_eq!((other.destination, other.family), (name.destination, 10));
    assert_ne!(other, name);
    let web = web();
    let put = again(&put_policy(&web, true));
    let Subject::Policy {
        name,
        replace: true,
        reqids,
    } = put
    else {
        panic!("{put:?}");
    };
    assert_eq!(reqids, [7, 8]);
    let gone = remove_policy(&web.selector, web.direction);
    assert_eq!(again(&gone), Subject::NoPolicy(name));
    let other = remove_policy(&web.selector, Direction::In);
    assert_ne!(again(&other), Subject::NoPolicy(name));
}

#[test]
fn what_is_no_request_of_ours_is_not_passed_on() {
    let good = install(&larval(), false).octets().to_vec();
    let change = |at: usize, octets: &[u8]| {
        let mut bad = good.clone();
        bad.splice(at..at + octets.len(), octets.iter().copied());
        Message::from_octets(bad)
    };
    assert!(change(8, &[1, 2, 3, 4]).is_some());
    // Another length, FLUSHSA, a dump, a message of netlink's own.
    assert!(change(0, &[0xf1]).is_none());
    assert!(change(4, &0x1cu16.to_ne_bytes()).is_none());
    assert!(change(6, &0x301u16.to_ne_bytes()).is_none());
    assert!(change(4, &3u16.to_ne_bytes()).is_none());
    assert!(Message::from_octets(good[..15].to_vec()).is_none());
    assert!(Message::from_octets(vec![0; 10_000]).is_none());
}

#[test]
fn what_reaches_further_than_it_says_is_not_passed_on() {
    let subject = |octets: Vec<u8>| {
        let message = Message::from_octets(octets).expect("whole");
        message.subject()
    };
    let changed = |message: &Message, at: usize| {
        let mut octets = message.octets().to_vec();
        octets[16 + at] ^= 1;
        subject(octets)
    };
    // XFRMA_MARK, which no request of ours has; to an SA it may mean another one.
    let marked = |message: &Message| {
        let mut octets = message.octets().to_vec();
        octets.extend(12u16.to_ne_bytes());
        octets.extend(21u16.to_ne_bytes());
        octets.extend([0; 8]);
        let length = u32::try_from(octets.len()).expect("short");
        put(&mut octets, 0, &length.to_ne_bytes());
        subject(octets)
    };
    let (sa, web) = (larval(), web());
    let whole = Sa { spi: 9, ..larval() };
    // The kernel chooses the SPI of a larval one, and of no other.
    for message in [allocate_spi(&whole, 1..=2), install(&sa, true)] {
        assert_eq!(subject(message.octets().to_vec()), None);
    }
    let all = [
        allocate_spi(&sa, 1..=2),
        install(&whole, false),
        remove(sa.source, sa.destination, 50, 9),
        look(sa.source, sa.destination, 50, 9),
        put_policy(&web, false),
        remove_policy(&web.selector, web.direction),
    ];
    for message in &all {
        assert!(subject(message.octets().to_vec()).is_some());
        assert_eq!(marked(message), None, "{:?}", message.kind());
    }
    let [.., policy, gone] = all;
    // With an index the kernel does not look at the selector, with an action it drops.
    for at in [156, 161, 162, 163] {
        assert_eq!(changed(&policy, at), None, "{at}");
    }
    assert_eq!(changed(&gone, 56), None);
}

fn put(octets: &mut [u8], at: usize, value: &[u8]) {
    octets[at..at + value.len()].copy_from_slice(value);
}

/// A message of the kernel's.
fn told(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("short");
    let mut octets = length.to_ne_bytes().to_vec();
    octets.extend(kind.to_ne_bytes());
    octets.extend(2u16.to_ne_bytes());
    octets.extend(sequence.to_ne_bytes());
    octets.extend([0; 4]);
    octets.extend(body);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// `struct xfrm_usersa_info` ("isakmpd-xfrm 1").
fn usersa_info() -> Vec<u8> {
    let mut body = vec![0; 224];
    put(&mut body, 56, &[192, 0, 2, 1]);
    put(&mut body, 72, &[1, 2, 3, 4]);
    put(&mut body, 76, &[50]);
    put(&mut body, 80, &[192, 0, 2, 2]);
    put(&mut body, 160, &1000u64.to_ne_bytes());
    put(&mut body, 168, &9u64.to_ne_bytes());
    put(&mut body, 204, &3u32.to_ne_bytes());
    put(&mut body, 208, &7u32.to_ne_bytes());
    put(&mut body, 212, &2u16.to_ne_bytes());
    body
}

fn expiry(hard: u8) -> Vec<u8> {
    let mut body = usersa_info();
    body.extend([hard, 0, 0, 0, 0, 0, 0, 0]);
    told(0x18, 0, &body)
}

fn acquire(family: u16) -> Vec<u8> {
    let mut body = vec![0; 280];
    put(&mut body, 0, &ip_octets("2001:db8::2"));
    put(&mut body, 20, &[50]);
    put(&mut body, 24, &ip_octets("2001:db8::1"));
    // The packet is one of IPv4 in a tunnel of IPv6. The policy is a whole one.
    put(&mut body, 80, &2u16.to_ne_bytes());
    let policy = put_policy(&web(), false);
    put(&mut body, 96, &policy.octets()[16..16 + 168]);
    put(&mut body, 276, &5u32.to_ne_bytes());
    // XFRMA_POLICY_TYPE comes before the template here.
    body.extend(7u16.to_ne_bytes());
    body.extend(6u16.to_ne_bytes());
    body.extend([0; 4]);
    let mut template = vec![0; 64];
    put(&mut template, 24, &family.to_ne_bytes());
    put(&mut template, 44, &77u32.to_ne_bytes());
    template[48] = 1;
    body.extend(68u16.to_ne_bytes());
    body.extend(5u16.to_ne_bytes());
    body.extend(template);
    told(0x17, 0, &body)
}

/// The octets of a `struct xfrm_user_mapping` ("isakmpd-xfrm 1").
fn mapping(family: u16, old: &str, new: &str) -> Vec<u8> {
    let mut body = vec![0; 64];
    put(&mut body, 16, &[1, 2, 3, 4]);
    put(&mut body, 20, &family.to_ne_bytes());
    put(&mut body, 22, &[50]);
    put(&mut body, 24, &7u32.to_ne_bytes());
    put(&mut body, 28, &ip_octets(old));
    put(&mut body, 44, &ip_octets(new));
    put(&mut body, 60, &4500u16.to_be_bytes());
    put(&mut body, 62, &20_001u16.to_be_bytes());
    told(0x26, 0, &body)
}

#[test]
fn a_new_mapping_of_a_nat_is_understood() {
    let expected = |old: &str, new: &str| Notice::Mapping {
        spi: 0x0102_0304,
        protocol: 50,
        old: (ip(old), 4500).into(),
        new: (ip(new), 20_001).into(),
    };
    let (v4, v6) = (
        mapping(2, "192.0.2.2", "192.0.2.3"),
        mapping(10, "2001:db8::2", "2001:db8::3"),
    );
    assert_eq!(
        notices(&[&v4[..], &v6].concat()),
        [
            expected("192.0.2.2", "192.0.2.3"),
            expected("2001:db8::2", "2001:db8::3")
        ]
    );
    // Of a family that there is not, cut off, and made up by a process.
    assert_eq!(notices(&mapping(3, "192.0.2.2", "192.0.2.3")), []);
    assert_eq!(notices(&told(0x26, 0, &v4[16..79])), []);
    let mut made_up = v4;
    put(&mut made_up, 12, &4711u32.to_ne_bytes());
    assert_eq!(notices(&made_up), []);
}

fn ip_octets(text: &str) -> Vec<u8> {
    match ip(text) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[test]
fn notices_are_understood() {
    let gone = |hard| Notice::Expire {
        destination: ip("192.0.2.1"),
        spi: 0x0102_0304,
        protocol: 50,
        hard,
        packets: 9,
    };
    let wanted = Notice::Acquire {
        source: ip("2001:db8::1"),
        destination: ip("2001:db8::2"),
        protocol: 50,
        mode: Mode::Tunnel,
        reqid: 77,
        sequence: 5,
        selector: Selector {
            protocol: 6,
            destination_port: 80,
            ..selector("10.1.0.0/16", "10.2.0.0/24")
        },
    };
    // Several come in one datagram.
    let all = [expiry(0), acquire(10), expiry(1)].concat();
    assert_eq!(notices(&all), [gone(false), wanted, gone(true)]);
    // Of a family that there is not, and of a mode.
    assert_eq!(notices(&acquire(3)), []);
    let mut beet = acquire(10);
    let at = beet.len() - 64 + 48;
    beet[at] = 4;
    assert_eq!(notices(&beet), []);
    // What is cut off is no notice, and what came before it is.
    for cut in [1, 8, 60] {
        let cut = &all[..all.len() - cut];
        assert_eq!(notices(cut).len(), 2);
    }
    // With the port of a process it is an answer to that one, or made up by it.
    let mut made_up = expiry(1);
    put(&mut made_up, 12, &4711u32.to_ne_bytes());
    assert_eq!(notices(&made_up), []);
}

#[test]
fn answers_are_understood() {
    let contents = |octets: &[u8]| -> Vec<(u32, Content)> {
        let all = messages(octets).into_iter();
        all.map(
            |Received {
                 sequence, content, ..
             }| (sequence, content),
        )
        .collect()
    };
    let done = told(2, 5, &0i32.to_ne_bytes());
    let failed = told(2, 6, &(-17i32).to_ne_bytes());
    let lowest = told(2, 7, &i32::MIN.to_ne_bytes());
    let end = told(3, 8, &[]);
    let state = told(0x10, 9, &usersa_info());
    let all = [done, failed, lowest, end, state].concat();
    let expected = [
        (5, Content::Done(Ok(()))),
        (6, Content::Done(Err(17))),
        (7, Content::Done(Err(i32::MAX))),
        (8, Content::Done(Ok(()))),
        (
            9,
            Content::State(State {
                source: ip("192.0.2.2"),
                destination: ip("192.0.2.1"),
                protocol: 50,
                reqid: 7,
                sequence: 3,
                spi: 0x0102_0304,
                octets: 1000,
                packets: 9,
            }),
        ),
    ];
    assert_eq!(contents(&all), expected);
    // A policy of a dump, as it was sent: a socket's has no template.
    let sent = put_policy(&web(), false).octets()[16..].to_vec();
    let selector = sent[..56].try_into().expect("56 octets");
    let dumped = [told(0x13, 1, &sent), told(0x13, 1, &sent[..168])].concat();
    let expected = [
        (1, Content::Policy(selector, 1, Some(7))),
        (1, Content::Policy(selector, 1, None)),
    ];
    assert_eq!(contents(&dumped), expected);
    // Too short for what they say they are.
    for octets in [
        told(2, 1, &[0; 3]),
        told(0x10, 1, &usersa_info()[..223]),
        told(0x18, 1, &usersa_info()),
        told(0x13, 1, &sent[..160]),
        told(0x99, 1, &sent),
    ] {
        assert_eq!(contents(&octets), [(1, Content::Other)]);
    }
}

#[test]
fn lengths_that_lie_end_a_datagram() {
    for length in [0u32, 1, 15, 25, 0xffff, u32::MAX] {
        let mut octets = told(3, 1, &[0; 8]);
        put(&mut octets, 0, &length.to_ne_bytes());
        assert!(messages(&octets).is_empty(), "{length}");
    }
    // An attribute that is shorter than its head, or longer than the message.
    let good = acquire(10);
    for length in [0u16, 3, 69, u16::MAX] {
        let mut octets = good.clone();
        let at = octets.len() - 68;
        put(&mut octets, at, &length.to_ne_bytes());
        assert_eq!(notices(&octets), [], "{length}");
    }
}

proptest! {
    #[test]
    fn no_octets_make_it_stumble(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = messages(&octets);
        if let Some(message) = Message::from_octets(octets) {
            let _ = message.subject();
        }
    }

    #[test]
    fn no_body_makes_it_stumble(
        kind in prop_oneof![Just(2u16), Just(3), 0x10u16..0x27],
        body in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let octets = told(kind, 1, &body);
        prop_assert_eq!(messages(&octets).len(), 1);
        let mut asked = octets;
        put(&mut asked, 6, &5u16.to_ne_bytes());
        let length = u32::try_from(asked.len()).expect("short");
        put(&mut asked, 0, &length.to_ne_bytes());
        if let Some(message) = Message::from_octets(asked) {
            let _ = message.subject();
        }
    }

    /// Nothing in the middle of a good message makes it stumble, either.
    #[test]
    fn no_change_makes_it_stumble(
        changes in proptest::collection::vec((0usize..800, any::<u8>()), 1..8),
    ) {
        let mut octets = [acquire(2), expiry(1), told(0x10, 1, &usersa_info())].concat();
        for (at, octet) in changes {
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
        }
        let _ = messages(&octets);
    }
}
