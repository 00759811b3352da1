//! Forged, changed and flooding messages: nothing panics, nothing grows, and the real peer gets through.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::event::Path;
use ike::{Limits, Options};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use support::{Keys, Queued, Side};

const ONE: &str = "10.77.0.1";
const OTHER: &str = "10.77.0.2";

fn configuration(exchange: &str, remote: &str) -> Vec<u8> {
    format!(
        "[Phase 1]\n{remote}= peer-x\nDefault= anybody\n[Phase 2]\nPassive-connections= conn-x\n\
         [peer-x]\nPhase= 1\nAddress= {remote}\nConfiguration= mm-x\nAuthentication= mekmitasdigoat\n\
         [anybody]\nPhase= 1\nConfiguration= mm-x\nAuthentication= mekmitasdigoat\n\
         [mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= {exchange}\nTransforms= AES-SHA2-256-GRP19\n\
         [conn-x]\nPhase= 2\nISAKMP-peer= peer-x\nConfiguration= qm-x\nLocal-ID= l\nRemote-ID= r\n\
         [l]\nID-type= IPV4_ADDR\nAddress= 10.0.0.1\n[r]\nID-type= IPV4_ADDR\nAddress= 10.0.0.2\n\
         [qm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-SHA2-256-SUITE\n"
    )
    .into_bytes()
}

fn address(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().expect("an address"), 500)
}

fn side(exchange: &str, own: &str, remote: &str, seed: u64, now: Instant) -> Side {
    let configuration = configuration(exchange, remote);
    let options = Options::default();
    let mut side = Side::new(
        &configuration,
        Keys::default(),
        options,
        Queued::seeded(seed),
        now,
    );
    side.engine.set_local_addresses(vec![address(own)]);
    side
}

fn is_done(side: &Side) -> bool {
    side.lines()
        .iter()
        .any(|line| line.starts_with("isakmpd: phase 1 done"))
}

/// One change of a message, as somebody on the path might make it.
fn mutate(message: &[u8], random: &mut TestRng) -> Vec<u8> {
    let mut changed = message.to_vec();
    let mut place = |len: usize| random.random_range(0..len.max(1));
    match place(6) {
        // Some bits anywhere.
        0 | 1 => {
            for _ in 0..=place(4) {
                let at = place(changed.len());
                changed[at] ^= 1 << place(8);
            }
        }
        // Cut short, the length put right.
        2 => {
            changed.truncate(28 + place(changed.len() - 28));
            let length = u32::try_from(changed.len()).expect("short").to_be_bytes();
            changed[24..28].copy_from_slice(&length);
        }
        // Cut short as it is.
        3 => changed.truncate(place(changed.len())),
        // An octet of a length or type field set to an extreme.
        4 => {
            let at = 16 + place(changed.len() - 16);
            changed[at] = [0, 1, 0x7f, 0x80, 0xff][place(5)];
        }
        // Another part twice.
        _ => {
            let (from, to) = (
                28 + place(changed.len() - 28),
                28 + place(changed.len() - 28),
            );
            let octet = changed[from];
            changed[to] = octet;
        }
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_real_peer_gets_through(seed: [u8; 32], aggressive: bool) {
        let mut random = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &seed);
        let exchange = if aggressive { "AGGRESSIVE" } else { "ID_PROT" };
        let start = Instant::now();
        let mut now = start;
        let mut sides = [side(exchange, ONE, OTHER, 1, now), side(exchange, OTHER, ONE, 2, now)];
        sides[0].engine.keep_up(now, "conn-x");
        let mut forged = 0;
        while now < start + Duration::from_secs(100) {
            for index in 0..2 {
                sides[index].engine.handle_timeout(now);
                for (path, octets) in sides[index].turn(now) {
                    let path = Path { local: path.remote, remote: path.local, ..path };
                    let phase_1 = matches!(octets[18], 2 | 4);
                    for _ in 0..3 {
                        if phase_1 && forged < 24 {
                            forged += 1;
                            let changed = mutate(&octets, &mut random);
                            sides[1 - index].engine.handle_datagram(now, path, &changed);
                        }
                    }
                    sides[1 - index].engine.handle_datagram(now, path, &octets);
                }
            }
            now += Duration::from_millis(500);
            if is_done(&sides[0]) && is_done(&sides[1]) {
                break;
            }
        }
        prop_assert!(is_done(&sides[0]), "{:?} {:?}", sides[0].lines(), sides[1].lines());
        prop_assert!(is_done(&sides[1]), "{:?} {:?}", sides[0].lines(), sides[1].lines());
        // Everything ends with Exchange-max-time.
        for _ in 0..130 {
            now += Duration::from_secs(1);
            sides[1].engine.handle_timeout(now);
            sides[1].turn(now);
        }
        prop_assert_eq!(sides[1].engine.exchange_summaries().filter(|e| e.phase == 1).count(), 0);
    }

    /// Octets out of nowhere, with a sound header or not.
    #[test]
    fn noise(datagrams in prop::collection::vec(
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..40)) {
        let now = Instant::now();
        let mut side = side("ID_PROT", OTHER, ONE, 2, now);
        let path = Path { local: address(OTHER), remote: address(ONE), encapsulated: false };
        for (header, mut octets) in datagrams {
            if header && octets.len() >= 28 {
                octets[8..16].fill(0);
                octets[16] %= 22;
                octets[17] = 0x10;
                octets[18] = 2 + octets[18] % 4;
                octets[19] = 0;
                octets[20..24].fill(0);
                let length = u32::try_from(octets.len()).expect("short").to_be_bytes();
                octets[24..28].copy_from_slice(&length);
            }
            side.engine.handle_datagram(now, path, &octets);
            side.turn(now);
        }
        prop_assert!(side.engine.exchange_summaries().count() <= Limits::default().half_open_per_peer);
    }
}

/// A sound first message of the peer.
fn first_message(now: Instant) -> Vec<u8> {
    let mut initiator = side("ID_PROT", ONE, OTHER, 7, now);
    initiator.engine.keep_up(now, "conn-x");
    initiator.engine.handle_timeout(now);
    initiator.turn(now).remove(0).1
}

fn spoofed(message: &[u8], number: u32) -> (Path, Vec<u8>) {
    let mut octets = message.to_vec();
    octets[..4].copy_from_slice(&(number | 0x8000_0000).to_be_bytes());
    let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number)), 500);
    (
        Path {
            local: address(OTHER),
            remote,
            encapsulated: false,
        },
        octets,
    )
}

/// 20,000 spoofed first messages in two seconds: the tables stay bounded, the established peer is answered all the
/// while, and another one finds room, too.
#[test]
fn a_flood_of_first_messages() {
    let start = Instant::now();
    let mut sides = [
        side("ID_PROT", ONE, OTHER, 1, start),
        side("ID_PROT", OTHER, ONE, 2, start),
    ];
    let meet = |sides: &mut [Side; 2], now: Instant| {
        for _ in 0..12 {
            for index in 0..2 {
                sides[index].engine.handle_timeout(now);
                for (path, octets) in sides[index].turn(now) {
                    // Answers to the spoofed ones go nowhere.
                    if [address(ONE), address(OTHER)].contains(&path.remote) {
                        let path = Path {
                            local: path.remote,
                            remote: path.local,
                            ..path
                        };
                        sides[1 - index].engine.handle_datagram(now, path, &octets);
                    }
                }
            }
        }
    };
    sides[0].engine.keep_up(start, "conn-x");
    meet(&mut sides, start);
    assert!(is_done(&sides[1]));
    let message = first_message(start);
    for number in 0..20_000 {
        let now = start + Duration::from_micros(u64::from(number) * 100);
        let (path, octets) = spoofed(&message, number);
        sides[1].engine.handle_datagram(now, path, &octets);
        sides[1].turn(now);
        assert!(sides[1].engine.exchange_summaries().count() <= Limits::default().half_open + 8);
    }
    // The peer comes back after a restart, in the middle of it.
    let now = start + Duration::from_secs(2);
    let before = sides[1]
        .lines()
        .iter()
        .filter(|l| l.contains("phase 1 done"))
        .count();
    sides[0] = side("ID_PROT", ONE, OTHER, 3, now);
    sides[0].engine.keep_up(now, "conn-x");
    meet(&mut sides, now);
    let after = sides[1]
        .lines()
        .iter()
        .filter(|l| l.contains("phase 1 done"))
        .count();
    assert_eq!(after, before + 1, "answered in the flood");
}

/// Beyond the rate a stranger is not answered, for nothing could be answered without state; a peer whose address is
/// configured is, though it has no SA yet.
#[test]
fn strangers_do_not_use_up_the_room_of_peers() {
    let start = Instant::now();
    let mut responder = side("ID_PROT", OTHER, ONE, 2, start);
    let message = first_message(start);
    let mut answered = |number: u32, peer: Option<&str>| {
        let (mut path, octets) = spoofed(&message, number);
        if let Some(peer) = peer {
            path.remote = address(peer);
        }
        responder.engine.handle_datagram(start, path, &octets);
        !responder.turn(start).is_empty()
    };
    let limits = Limits::default();
    let count = (0..20_000).filter(|number| answered(*number, None)).count();
    let at_once = usize::try_from(limits.first_messages_per_second).expect("a number");
    assert_eq!(count, limits.half_open / 2 + 1 + at_once);
    assert!(answered(20_000, Some(ONE)));
    assert!(!answered(20_001, None));
    // Forged ones of that peer have a limit, too.
    let count = (20_002..40_000)
        .filter(|number| answered(*number, Some(ONE)))
        .count();
    assert_eq!(count, at_once - 1);
}

/// Spoofed with the real peer's address: it gets through all the same, and few are kept.
#[test]
fn spoofed_with_the_peers_address() {
    let now = Instant::now();
    let mut sides = [
        side("ID_PROT", ONE, OTHER, 1, now),
        side("ID_PROT", OTHER, ONE, 2, now),
    ];
    let message = first_message(now);
    for number in 0..100 {
        let (mut path, octets) = spoofed(&message, number);
        path.remote = address(ONE);
        sides[1].engine.handle_datagram(now, path, &octets);
        sides[1].turn(now);
    }
    assert_eq!(
        sides[1].engine.exchange_summaries().count(),
        Limits::default().half_open_per_peer
    );
    sides[0].engine.keep_up(now, "conn-x");
    for _ in 0..12 {
        for index in 0..2 {
            sides[index].engine.handle_timeout(now);
            for (path, octets) in sides[index].turn(now) {
                let path = Path {
                    local: path.remote,
                    remote: path.local,
                    ..path
                };
                sides[1 - index].engine.handle_datagram(now, path, &octets);
            }
        }
    }
    assert!(is_done(&sides[0]) && is_done(&sides[1]));
}

/// Stray packets get a bounded number of answers.
#[test]
fn error_notifications_are_limited() {
    let now = Instant::now();
    let mut side = side("ID_PROT", OTHER, ONE, 2, now);
    let message = first_message(now);
    let mut answers = 0;
    for number in 0..2000 {
        let (path, mut octets) = spoofed(&message, number);
        octets[8..16].fill(7);
        side.engine.handle_datagram(now, path, &octets);
        answers += side.turn(now).len();
    }
    let most = Limits::default().notifications_per_second as usize;
    assert!((1..=most).contains(&answers), "{answers}");
    assert_eq!(side.engine.exchange_summaries().count(), 0);
    let lines = side.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("message_recv: invalid cookie(s) "))
    );
}
