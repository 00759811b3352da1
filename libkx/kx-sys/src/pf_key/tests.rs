use super::number::{extension, kind, sa_type};
use super::request::{Request, plain};
use super::*;
use crate::xfrm::tests::{ip, larval, web};
use crate::xfrm::{
    Algorithm, Direction, Lifetime, Mode, Notice, Policy, PolicyName, Sa, Selector, StateName,
    Subject, Template,
};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

/// Octets of pieces in hexadecimal, blanks between them.
#[cfg(target_endian = "little")]
fn hex(pieces: &[&str]) -> Vec<u8> {
    let digits: String = pieces.concat().split_whitespace().collect();
    let octet = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let octets = (0..digits.len()).step_by(2).map(octet);
    octets.collect::<Option<_>>().expect("digits")
}

/// Against the structures of linux/pfkeyv2.h, field by field.
#[cfg(target_endian = "little")]
#[test]
fn requests_have_the_layout_of_the_header_file() {
    let source = "0300 0500 00 20 0000 0200 0000 c0000202 0000000000000000";
    let destination = "0300 0600 00 20 0000 0200 0000 c0000201 0000000000000000";
    let sa2 = "0200 1300 02 00 0000 00000000 07000000";
    let allocate = hex(&[
        "02 01 00 03 0c00 0000 00000000 00000000",
        source,
        destination,
        sa2,
        "0200 1000 00010000 ffffff0f 00000000",
    ]);
    assert_eq!(
        allocate_spi(&larval(), 0x100..=0x0fff_ffff).octets(),
        allocate
    );
    let cipher_key: Vec<u8> = (0..16).collect();
    let authentication_key: Vec<u8> = (0x20..0x34).collect();
    let whole = Sa {
        spi: 0x0102_0304,
        replay_window: 16,
        algorithms: vec![
            Algorithm::Cipher("cbc(aes)", &cipher_key),
            Algorithm::Authentication("hmac(sha1)", &authentication_key, 96),
        ],
        encapsulation: Some((4500, 4501)),
        lifetime: Lifetime {
            hard_octets: Some(1 << 20),
            soft_seconds: Some(1080),
            hard_seconds: Some(1200),
            soft_octets: None,
        },
        sequence: 0x6b78_0000,
        ..larval()
    };
    let expected = hex(&[
        "02 02 00 03 1e00 0000 0000786b 00000000",
        "0200 0100 01020304 10 01 03 0c 00000000",
        sa2,
        source,
        destination,
        "0400 0800 a000 0000 202122232425262728292a2b2c2d2e2f30313233 00000000",
        "0300 0900 8000 0000 000102030405060708090a0b0c0d0e0f",
        "0400 0300 00000000 0000100000000000 b004000000000000 0000000000000000",
        "0400 0400 00000000 0000000000000000 3804000000000000 0000000000000000",
        "0100 1400 02 000000",
        "0100 1500 1194 0000",
        "0100 1600 1195 0000",
    ]);
    assert_eq!(install(&whole, true).expect("known").octets(), expected);
    let remove = hex(&[
        "02 04 00 03 0a00 0000 00000000 00000000",
        "0200 0100 01020304 00 01 00 00 00000000",
        source,
        destination,
    ]);
    let (from, to) = (whole.source, whole.destination);
    assert_eq!(super::remove(from, to, 50, whole.spi).octets(), remove);
    let mut look = remove;
    look[1] = 5;
    assert_eq!(super::look(from, to, 50, whole.spi).octets(), look);
    let mut web = web();
    let traffic = [
        "0300 0500 06 10 0000 0200 0000 0a010000 0000000000000000",
        "0300 0600 06 18 0000 0200 0050 0a020000 0000000000000000",
    ];
    let put = hex(&[
        "02 0e 00 00 1200 0000 00000000 00000000",
        traffic[0],
        traffic[1],
        "0a00 1200 0200 02 00 00000000 e8030000",
        "3000 3200 02 03 0000 07000000 00000000",
        "0200 0000 c0000201 0000000000000000 0200 0000 c0000202 0000000000000000",
        "1000 3300 01 01 0000 08000000 00000000",
    ]);
    assert_eq!(put_policy(&web, false).expect("sayable").octets(), put);
    let gone = hex(&[
        "02 0f 00 00 0a00 0000 00000000 00000000",
        traffic[0],
        traffic[1],
        "0200 1200 0200 02 00 00000000 00000000",
    ]);
    let request = remove_policy(&web.selector, web.direction);
    assert_eq!(request.octets(), gone);
    // A tunnel of IPv6 for all of IPv6, IPComp in it.
    web.selector = Selector {
        source: (ip("::"), 0),
        destination: (ip("2001:db8::"), 32),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
    };
    web.direction = Direction::Forward;
    web.templates = vec![Template {
        source: ip("2001:db8::1"),
        destination: ip("2001:db8::2"),
        protocol: 108,
        mode: Mode::Tunnel,
        reqid: 7,
        optional: true,
    }];
    let put = hex(&[
        "02 0d 00 00 1700 0000 00000000 00000000",
        "0500 0500 ff 00 0000 0a00 0000 00000000 00000000000000000000000000000000 00000000 00000000",
        "0500 0600 ff 20 0000 0a00 0000 00000000 20010db8000000000000000000000000 00000000 00000000",
        "0b00 1200 0200 03 00 00000000 e8030000",
        "4800 6c00 02 01 0000 07000000 00000000",
        "0a00 0000 00000000 20010db8000000000000000000000001 00000000",
        "0a00 0000 00000000 20010db8000000000000000000000002 00000000",
    ]);
    assert_eq!(put_policy(&web, true).expect("sayable").octets(), put);
    assert_eq!(
        bypass(Direction::Out),
        hex(&["0200 1200 0400 02 00 00000000 00000000"])
    );
}

#[test]
fn what_cannot_be_said_is_refused() {
    let with = |algorithm| Sa {
        algorithms: vec![algorithm],
        ..larval()
    };
    let key = [0; 36];
    for (algorithm, text) in [
        (
            Algorithm::Aead("rfc4106(gcm(aes))", &key, 128),
            "PF_KEY has no rfc4106(gcm(aes))",
        ),
        (Algorithm::Cipher("xts", &key), "PF_KEY has no xts"),
        (Algorithm::Compression("zstd"), "PF_KEY has no zstd"),
        (
            Algorithm::Authentication("hmac(sha256)", &key, 128),
            "PF_KEY has no hmac(sha256) of 128 bits",
        ),
    ] {
        let error = install(&with(algorithm), false).err().expect("refused");
        assert_eq!(error.to_string(), text);
    }
    for reqid in [0, MOST_REQID + 1, u32::MAX] {
        let mut policy = web();
        policy.templates[1].reqid = reqid;
        let error = put_policy(&policy, false).err().expect("refused");
        assert_eq!(
            error.to_string(),
            format!("PF_KEY has no reqid {reqid} for policies")
        );
    }
}

#[test]
fn a_window_is_what_the_kernel_has() {
    for (wanted, told) in [(0, 0), (1, 1), (32, 32), (33, 32), (4096, 32)] {
        let sa = Sa {
            replay_window: wanted,
            spi: 9,
            ..larval()
        };
        let message = install(&sa, false).expect("known");
        assert_eq!(message.octets()[16 + 8], told);
    }
}

#[test]
fn whoever_passes_requests_on_knows_what_they_are_about() {
    let again = |message: &Message| {
        let copy = Message::from_octets(message.octets().to_vec()).expect("one of ours");
        copy.subject().expect("a subject")
    };
    let name = |spi| StateName::new(ip("192.0.2.1"), 50, spi);
    let made = |spi, update| Subject::Make {
        name: name(spi),
        update,
        reqid: 7,
        mark: larval().sequence,
    };
    assert_eq!(again(&allocate_spi(&larval(), 1..=9)), made(0, false));
    let key = [0; 24];
    let whole = Sa {
        spi: 9,
        algorithms: vec![Algorithm::Cipher("cbc(des3_ede)", &key)],
        ..larval()
    };
    for update in [false, true] {
        let message = install(&whole, update).expect("known");
        assert_eq!(again(&message), made(9, update));
    }
    let (from, to) = (whole.source, whole.destination);
    for message in [remove(from, to, 50, 9), look(from, to, 50, 9)] {
        assert_eq!(again(&message), Subject::State(name(9)));
    }
    let web = web();
    let policy = PolicyName::new(&web.selector, web.direction);
    assert_eq!(
        again(&put_policy(&web, true).expect("sayable")),
        Subject::Policy {
            name: policy,
            replace: true,
            reqids: vec![7, 8],
        }
    );
    let gone = remove_policy(&web.selector, web.direction);
    assert_eq!(again(&gone), Subject::NoPolicy(policy));
    // The same as by the other interface, whose names they are.
    let other = crate::xfrm::put_policy(&web, true).subject();
    assert_eq!(other, put_policy(&web, true).expect("sayable").subject());
    let other = crate::xfrm::remove(from, to, 50, 9).subject();
    assert_eq!(other, remove(from, to, 50, 9).subject());
    // A whole SA without an SPI.
    let nameless = install(&larval(), true).expect("known");
    assert_eq!(nameless.subject(), None);
}

#[test]
fn what_is_no_request_of_ours_is_not_passed_on() {
    let refused = |octets: &[u8]| Message::from_octets(octets.to_vec()).is_none();
    let good = put_policy(&web(), false).expect("sayable");
    let good = good.octets();
    assert!(!refused(good));
    let changed = |at: usize, octet: u8| {
        let mut octets = good.to_vec();
        octets[at] ^= octet;
        refused(&octets)
    };
    // Version, FLUSH, error, type, length, reserved, sequence and process.
    for (at, octet) in [
        (0, 1),
        (1, kind::SPDADD ^ 9),
        (2, 1),
        (3, 3),
        (4, 1),
        (6, 1),
        (12, 1),
    ] {
        assert!(changed(at, octet), "{at}");
    }
    // Another protocol in the second address, an index, discard, a level, a length of a template.
    let destination = 16 + 24;
    let policy = 16 + 48;
    for at in [
        destination + 4,
        policy + 8,
        policy + 4,
        policy + 16 + 5,
        policy + 16,
    ] {
        assert!(changed(at, 1), "{at}");
    }
    assert!(refused(&good[..good.len() - 8]));
    assert!(refused(&[good, &[0; 8]].concat()));
    assert!(refused(&vec![0; 5000]));
    assert!(refused(&[]));
    // An extension too many: one that is there already, one that the module has not.
    let base = remove(ip("192.0.2.1"), ip("192.0.2.2"), 50, 9);
    for kind in [extension::SA, extension::SA2, 24, 26] {
        let mut octets = base.octets().to_vec();
        octets.extend(1u16.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend([0; 4]);
        octets[4] += 1;
        assert!(refused(&octets), "{kind}");
    }
    for kind in [kind::DUMP, kind::SPDDUMP, kind::REGISTER, 9, 19] {
        assert!(refused(plain(kind, sa_type(50)).octets()), "{kind}");
    }
}

/// As the kernel tells it: `process` 0 is nobody's request.
fn told(kind: u8, extensions: &[&[u8]]) -> Vec<u8> {
    let body = extensions.concat();
    let mut octets = vec![2, kind, 0, 3];
    let units = u16::try_from((16 + body.len()) / 8).expect("short");
    octets.extend(units.to_ne_bytes());
    octets.extend([0; 2]);
    octets.extend(5u32.to_ne_bytes());
    octets.extend([0; 4]);
    octets.extend(body);
    octets
}

fn extension_of(message: &Message, wanted: u16) -> Vec<u8> {
    let (frame, _) = Frame::parse(message.octets()).expect("whole");
    frame.find(wanted).expect("there").to_vec()
}

fn lifetime(kind: u16, packets: u32, octets: u64) -> Vec<u8> {
    let mut out = 4u16.to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(packets.to_ne_bytes());
    out.extend(octets.to_ne_bytes());
    out.extend([0; 16]);
    out
}

fn expiry(limit: u16) -> Vec<u8> {
    let sa = Sa {
        spi: 0x0102_0304,
        ..larval()
    };
    let message = install(&sa, false).expect("known");
    let piece = |kind| extension_of(&message, kind);
    told(
        kind::EXPIRE,
        &[
            &piece(extension::SA),
            &lifetime(extension::LIFETIME_CURRENT, 9, 1000),
            &lifetime(limit, 0, 0),
            &piece(extension::ADDRESS_SRC),
            &piece(extension::ADDRESS_DST),
            &piece(extension::SA2),
        ],
    )
}

/// A NAT that gave the peer another port; what is left out of it makes it none.
fn mapping(left_out: Option<u16>) -> Vec<u8> {
    let sa = Sa {
        spi: 0x0102_0304,
        encapsulation: Some((4500, 20_001)),
        ..larval()
    };
    let message = install(&sa, false).expect("known");
    let kinds = [
        extension::SA,
        extension::ADDRESS_SRC,
        extension::NAT_T_SPORT,
        extension::ADDRESS_DST,
        extension::NAT_T_DPORT,
    ];
    let kinds = kinds.into_iter().filter(|kind| Some(*kind) != left_out);
    let pieces: Vec<Vec<u8>> = kinds.map(|kind| extension_of(&message, kind)).collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    told(kind::NAT_T_NEW_MAPPING, &[&pieces.concat()])
}

#[test]
fn a_new_mapping_of_a_nat_is_understood() {
    let Sa {
        source,
        destination,
        ..
    } = larval();
    let expected = Notice::Mapping {
        spi: 0x0102_0304,
        protocol: 50,
        old: (source, 4500).into(),
        new: (destination, 20_001).into(),
    };
    assert_eq!(notices(&mapping(None)), [expected]);
    for missing in [
        extension::SA,
        extension::ADDRESS_SRC,
        extension::NAT_T_SPORT,
        extension::ADDRESS_DST,
        extension::NAT_T_DPORT,
    ] {
        assert_eq!(notices(&mapping(Some(missing))), [], "{missing}");
    }
}

/// With the policy behind it, whose index is 41.
fn acquire() -> Vec<u8> {
    let template = remove(ip("192.0.2.1"), ip("192.0.2.2"), 50, 9);
    let policy = put_policy(&web(), false).expect("sayable");
    let indexed = |message: &Message| {
        let mut policy = extension_of(message, extension::POLICY);
        policy[8..12].copy_from_slice(&41u32.to_ne_bytes());
        policy
    };
    let bare = indexed(&remove_policy(&web().selector, Direction::Out));
    let ends = |message: &Message| {
        let kinds = [extension::ADDRESS_SRC, extension::ADDRESS_DST];
        kinds.map(|kind| extension_of(message, kind)).concat()
    };
    let asked = told(kind::ACQUIRE, &[&ends(&template), &bare]);
    let answer = told(kind::SPDGET, &[&ends(&policy), &indexed(&policy)]);
    [asked, answer].concat()
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
    let (soft, hard) = (
        expiry(extension::LIFETIME_SOFT),
        expiry(extension::LIFETIME_HARD),
    );
    let wanted = Notice::Acquire {
        source: ip("192.0.2.1"),
        destination: ip("192.0.2.2"),
        protocol: 50,
        mode: Mode::Tunnel,
        reqid: 7,
        sequence: 5,
        selector: web().selector,
    };
    let all = [soft, acquire(), hard.clone()].concat();
    assert_eq!(notices(&all), [gone(false), wanted, gone(true)]);
    for cut in [1, 8, 60] {
        assert_eq!(notices(&all[..all.len() - cut]).len(), 2);
    }
    // Somebody's message, a message of an error, another version.
    for (at, octet) in [(12, 1), (2, 1), (0, 3)] {
        let mut other = hard.clone();
        other[at] = octet;
        assert_eq!(notices(&other), [], "{at}");
    }
    // An ACQUIRE without its policy, or with another one.
    let acquire = acquire();
    let length = usize::from(acquire[4]) * 8;
    assert_eq!(notices(&acquire[..length]), []);
    let mut other = acquire.clone();
    other[length - 8] ^= 1;
    assert_eq!(notices(&other), []);
    // Of a protocol for which the policy has no template.
    let mut other = acquire;
    other[3] = 9;
    assert_eq!(notices(&other), []);
}

#[test]
fn lengths_that_lie_end_a_message() {
    let good = expiry(extension::LIFETIME_HARD);
    assert_eq!(notices(&good).len(), 1);
    for length in [0u16, 1, u16::MAX] {
        let mut octets = good.clone();
        octets[4..6].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(notices(&octets), [], "{length}");
        // Of the first extension.
        let mut octets = good.clone();
        octets[16..18].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(notices(&octets), [], "{length}");
    }
    // Of a template in a policy.
    for length in [0u16, 15, 17, 49, u16::MAX] {
        let mut octets = acquire();
        let at = octets.len() - 64;
        octets[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(notices(&octets), [], "{length}");
    }
}

fn addresses() -> impl Strategy<Value = [IpAddr; 2]> {
    let four = any::<[u32; 2]>().prop_map(|two| two.map(|one| Ipv4Addr::from(one).into()));
    let six = any::<[u128; 2]>().prop_map(|two| two.map(|one| Ipv6Addr::from(one).into()));
    prop_oneof![four, six]
}

/// What there may be of algorithms: numbers of the tables, with keys of any length.
fn algorithms() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>)> {
    let key = || proptest::collection::vec(any::<u8>(), 0..64);
    (0u8..4, key(), key())
}

prop_compose! {
    fn template(mode: Mode, ends: [IpAddr; 2])(
        protocol in prop_oneof![Just(50u8), Just(51), Just(108)],
        reqid in 1..=MOST_REQID,
        optional: bool,
    ) -> Template {
        Template { source: ends[0], destination: ends[1], protocol, mode, reqid, optional }
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let ends = (addresses(), addresses());
    let base = (
        ends,
        any::<(u8, u8, u16, u16, u32)>(),
        1u8..255,
        0u8..3,
        any::<bool>(),
    );
    base.prop_flat_map(|((traffic, ends), numbers, protocol, direction, tunnel)| {
        let any_address: IpAddr = match traffic[0] {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (mode, ends) = match tunnel {
            true => (Mode::Tunnel, ends),
            false => (Mode::Transport, [any_address; 2]),
        };
        let (source_prefix, prefix, source_port, destination_port, priority) = numbers;
        let selector = Selector {
            source: (traffic[0], source_prefix),
            destination: (traffic[1], prefix),
            protocol,
            source_port,
            destination_port,
        };
        let direction = match direction {
            0 => Direction::In,
            1 => Direction::Out,
            _ => Direction::Forward,
        };
        let templates = proptest::collection::vec(template(mode, ends), 0..4);
        templates.prop_map(move |templates| Policy {
            selector,
            direction,
            priority,
            templates,
        })
    })
}

proptest! {
    #[test]
    fn policies_come_back(policy in policies(), replace: bool) {
        let message = put_policy(&policy, replace).expect("sayable");
        let copy = Message::from_octets(message.octets().to_vec()).expect("one of ours");
        let Some(Request::PutPolicy(again, replaces)) = copy.request() else {
            return Err(TestCaseError::fail("another request"));
        };
        prop_assert_eq!((again, replaces), (policy.clone(), replace));
        let gone = remove_policy(&policy.selector, policy.direction);
        let copy = Message::from_octets(gone.octets().to_vec()).expect("one of ours");
        let Some(Request::RemovePolicy(selector, direction)) = copy.request() else {
            return Err(TestCaseError::fail("another request"));
        };
        prop_assert_eq!((selector, direction), (policy.selector, policy.direction));
    }

    #[test]
    fn sas_come_back(
        [source, destination] in addresses(),
        spi in 1u32..,
        reqid: u32,
        sequence: u32,
        tunnel: bool,
        replay_window in 0..=MOST_WINDOW,
        (which, cipher_key, authentication_key) in algorithms(),
        encapsulation in proptest::option::of(any::<(u16, u16)>()),
        limits in any::<[Option<core::num::NonZeroU64>; 4]>(),
        update: bool,
    ) {
        let [soft_octets, hard_octets, soft_seconds, hard_seconds] =
            limits.map(|limit| limit.map(core::num::NonZeroU64::get));
        let cipher = Algorithm::Cipher("rfc3686(ctr(aes))", &cipher_key);
        let authentication = Algorithm::Authentication("hmac(sha384)", &authentication_key, 192);
        let (protocol, algorithms) = match which {
            0 => (50, vec![cipher, authentication]),
            1 => (50, vec![cipher]),
            2 => (51, vec![authentication]),
            _ => (108, vec![Algorithm::Compression("deflate")]),
        };
        let sa = Sa {
            source,
            destination,
            spi,
            protocol,
            mode: if tunnel { Mode::Tunnel } else { Mode::Transport },
            reqid,
            replay_window,
            algorithms,
            encapsulation,
            lifetime: Lifetime { soft_octets, hard_octets, soft_seconds, hard_seconds },
            selector: None,
            sequence,
        };
        let message = install(&sa, update).expect("known");
        let copy = Message::from_octets(message.octets().to_vec()).expect("one of ours");
        let Some(Request::Install(again, updates)) = copy.request() else {
            return Err(TestCaseError::fail("another request"));
        };
        prop_assert_eq!(updates, update);
        prop_assert_eq!(
            (again.source, again.destination, again.spi, again.protocol, again.mode, again.reqid),
            (sa.source, sa.destination, sa.spi, sa.protocol, sa.mode, sa.reqid)
        );
        prop_assert_eq!(
            (again.replay_window, again.encapsulation, again.lifetime, again.sequence),
            (sa.replay_window, sa.encapsulation, sa.lifetime, sa.sequence)
        );
        prop_assert_eq!(again.algorithms.len(), sa.algorithms.len());
        for (one, other) in again.algorithms.iter().zip(&sa.algorithms) {
            match (one, other) {
                (Algorithm::Cipher(a, b), Algorithm::Cipher(c, d)) => {
                    prop_assert_eq!((a, b), (c, d));
                }
                (Algorithm::Authentication(a, b, c), Algorithm::Authentication(d, e, f)) => {
                    prop_assert_eq!((a, b, c), (d, e, f));
                }
                (Algorithm::Compression(a), Algorithm::Compression(b)) => prop_assert_eq!(a, b),
                _ => return Err(TestCaseError::fail("another algorithm")),
            }
        }
    }

    #[test]
    fn no_octets_make_it_stumble(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = notices(&octets);
        if let Some(message) = Message::from_octets(octets) {
            let _ = message.subject();
        }
    }

    #[test]
    fn no_change_makes_it_stumble(
        changes in proptest::collection::vec((0usize..500, any::<u8>()), 1..8),
    ) {
        let policy = put_policy(&web(), false).expect("sayable").octets().to_vec();
        let told = [acquire(), expiry(extension::LIFETIME_HARD), mapping(None)].concat();
        for mut octets in [policy, told] {
            for (at, octet) in &changes {
                if let Some(place) = octets.get_mut(*at) {
                    *place = *octet;
                }
            }
            let _ = notices(&octets);
            if let Some(message) = Message::from_octets(octets.clone()) {
                let request = message.request().expect("a request").encode().expect("sayable");
                prop_assert_eq!(request.octets(), octets);
            }
        }
    }
}
