//! Two engines that negotiate phase 1 with each other: methods, modes, groups, hashes, NAT, both at once.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ike::event::Path;
use ike::{Engine, Options};
use isakmp_proto::message::Message;
use isakmp_proto::number::PayloadType;
use kx_crypto::rsa_block_type_1::SigningKey;
use support::{Keys, Queued, Side, recording};

/// What differs between the configurations.
#[derive(Clone)]
struct Form {
    exchange: &'static str,
    transforms: &'static str,
    /// More lines of the peer's section.
    peer: &'static str,
    sections: &'static str,
}

const MAIN: Form = Form {
    exchange: "ID_PROT",
    transforms: "AES-SHA2-256-GRP19",
    peer: "Authentication= mekmitasdigoat\n",
    sections: "",
};

fn configuration(form: &Form, remote: &str) -> Vec<u8> {
    let Form {
        exchange,
        transforms,
        peer,
        sections,
    } = form;
    format!(
        "[Phase 1]\n{remote}= peer-x\n[Phase 2]\nPassive-connections= conn-x\n\
         [peer-x]\nPhase= 1\nAddress= {remote}\nConfiguration= mm-x\n{peer}\
         [mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= {exchange}\nTransforms= {transforms}\n\
         [conn-x]\nPhase= 2\nISAKMP-peer= peer-x\nConfiguration= qm-x\nLocal-ID= l\nRemote-ID= r\n\
         [l]\nID-type= IPV4_ADDR\nAddress= 10.0.0.1\n[r]\nID-type= IPV4_ADDR\nAddress= 10.0.0.2\n\
         [qm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-SHA2-256-SUITE\n{sections}"
    )
    .into_bytes()
}

const INITIATOR: &str = "10.77.0.1";
const RESPONDER: &str = "10.77.0.2";

struct Pair {
    initiator: Side,
    responder: Side,
    now: Instant,
    /// What the responder sees as the initiator's address and port, per port of ours: a NAT.
    nat: Option<fn(SocketAddr) -> SocketAddr>,
    /// Every datagram, the initiator's ones marked.
    wire: Vec<(bool, Path, Vec<u8>)>,
}

fn rsa() -> (Keys, Keys) {
    let directory = recording("mm-rsa-x509-aes256-sha256-g14-pfs");
    (
        support::keys_of(&directory, ike::sa::Role::Initiator),
        support::keys_of(&directory, ike::sa::Role::Responder),
    )
}

impl Pair {
    fn new(one: &Form, other: &Form, keys: (Keys, Keys), options: Options) -> Self {
        let now = Instant::now();
        let side = |form: &Form, remote: &str, keys, seed, own: &str| {
            let configuration = configuration(form, remote);
            let mut side = Side::new(&configuration, keys, options, Queued::seeded(seed), now);
            let address = SocketAddr::new(own.parse().expect("an address"), 500);
            side.engine.set_local_addresses(vec![address]);
            side
        };
        Self {
            initiator: side(one, RESPONDER, keys.0, 1, INITIATOR),
            responder: side(other, INITIATOR, keys.1, 2, RESPONDER),
            now,
            nat: None,
            wire: Vec::new(),
        }
    }

    fn plain(form: &Form) -> Self {
        Self::new(
            form,
            form,
            (Keys::default(), Keys::default()),
            Options::default(),
        )
    }

    fn begin(&mut self) {
        self.initiator.engine.keep_up(self.now, "conn-x");
        self.initiator.engine.handle_timeout(self.now);
    }

    /// Delivers until nobody says anything more.
    fn settle(&mut self) {
        loop {
            let ours = self.initiator.turn(self.now);
            let theirs = self.responder.turn(self.now);
            if ours.is_empty() && theirs.is_empty() {
                return;
            }
            for (path, octets) in ours {
                self.wire.push((true, path, octets.clone()));
                let from = self.nat.map_or(path.local, |nat| nat(path.local));
                let path = Path {
                    local: path.remote,
                    remote: from,
                    ..path
                };
                self.responder
                    .engine
                    .handle_datagram(self.now, path, &octets);
            }
            for (path, octets) in theirs {
                self.wire.push((false, path, octets.clone()));
                let local = SocketAddr::new(
                    INITIATOR.parse().expect("an address"),
                    if path.encapsulated { 4500 } else { 500 },
                );
                let path = Path {
                    local,
                    remote: path.local,
                    ..path
                };
                self.initiator
                    .engine
                    .handle_datagram(self.now, path, &octets);
            }
        }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.initiator.engine.handle_timeout(self.now);
        self.responder.engine.handle_timeout(self.now);
    }

    fn assert_done(&self) {
        for (side, line) in [
            (&self.initiator, "isakmpd: phase 1 done: "),
            (&self.responder, "isakmpd: phase 1 done (as responder): "),
        ] {
            let lines = side.lines();
            assert!(
                lines.iter().any(|l| l.starts_with(line)),
                "{line}: {lines:?}"
            );
        }
    }
}

fn sas(engine: &Engine, now: Instant) -> String {
    let mut text = String::new();
    engine.write_sas(now, &mut text);
    text
}

/// How many SAs are negotiated.
fn ready(engine: &Engine, now: Instant) -> usize {
    let text = sas(engine, now);
    text.lines()
        .filter(|line| line.starts_with("Flags ") && *line != "Flags 0x00000000")
        .count()
}

#[test]
fn every_transform_both_modes() {
    for exchange in ["ID_PROT", "AGGRESSIVE"] {
        for transforms in [
            "3DES-MD5-GRP1",
            "3DES-SHA-GRP2",
            "CAST-SHA-GRP19",
            "BLF-SHA-GRP5",
            "AES-SHA2-256-GRP14",
            "AES-256-SHA2-384-GRP20",
            "AES-192-SHA2-512-GRP21",
            "AES-MD5-GRP25",
            "AES-SHA-GRP26",
            "AES-SHA-GRP27",
            "AES-SHA-GRP28",
            "AES-SHA-GRP29",
            "AES-SHA-GRP30",
        ] {
            let form = Form {
                exchange,
                transforms,
                ..MAIN
            };
            let mut pair = Pair::plain(&form);
            pair.begin();
            pair.settle();
            eprintln!("{exchange} {transforms}");
            pair.assert_done();
        }
    }
}

#[test]
fn signatures_both_modes_with_requests_and_certificates() {
    for exchange in ["ID_PROT", "AGGRESSIVE"] {
        let form = Form {
            exchange,
            transforms: "AES-SHA2-256-GRP19-RSA_SIG",
            peer: "",
            ..MAIN
        };
        let (mut one, mut other) = rsa();
        one.ca = true;
        other.ca = true;
        let mut pair = Pair::new(&form, &form, (one, other), Options::default());
        pair.begin();
        pair.settle();
        pair.assert_done();
        // Both ask, as soon as they may.
        for (at, ours) in [("AGGRESSIVE", [0, 1]), ("ID_PROT", [2, 3])] {
            for index in ours.into_iter().filter(|_| at == exchange) {
                let message = Message::parse(&pair.wire[index].2).expect("a message in clear");
                assert!(
                    message.index_of(PayloadType::CERT_REQUEST).is_some(),
                    "{exchange} {index}"
                );
            }
        }
    }
}

#[test]
fn a_wrong_key_fails_and_says_why() {
    let form = Form {
        transforms: "AES-SHA2-256-GRP19-RSA_SIG",
        peer: "",
        ..MAIN
    };
    let (one, mut other) = rsa();
    // The responder believes that the initiator has the responder's own key.
    other.peer = other
        .own
        .as_ref()
        .and_then(|key: &SigningKey| key.verifying_key().ok());
    let mut pair = Pair::new(&form, &form, (one, other), Options::default());
    pair.begin();
    pair.settle();
    let lines = pair.responder.lines();
    assert!(
        lines.contains(&"rsa_sig_decode_hash: RSA_public_decrypt () failed"),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("notification type INVALID_ID_INFORMATION"))
    );
    assert_eq!(ready(&pair.responder.engine, pair.now), 0);
}

#[test]
fn aggressive_with_a_wrong_key_fails() {
    let form = Form {
        exchange: "AGGRESSIVE",
        ..MAIN
    };
    let other = Form {
        peer: "Authentication= another\n",
        ..form.clone()
    };
    let none = || (Keys::default(), Keys::default());
    let mut pair = Pair::new(&form, &other, none(), Options::default());
    pair.begin();
    pair.settle();
    let lines = pair.initiator.lines();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("ike_phase_1_recv_AUTH: HASH_R does not match")),
        "{lines:?}"
    );
    assert_eq!(ready(&pair.initiator.engine, pair.now), 0);
}

/// Not the configured mode, no common transform, wrong Remote-ID: each with its line.
#[test]
fn refusals() {
    let cases: [(Form, Form, &str); 3] = [
        (
            Form {
                exchange: "AGGRESSIVE",
                ..MAIN
            },
            MAIN,
            "exchange_setup_p1: expected exchange type ID_PROT got AGGRESSIVE",
        ),
        (
            Form {
                transforms: "AES-SHA2-256-GRP14",
                ..MAIN
            },
            MAIN,
            "attribute_unacceptable: GROUP_DESCRIPTION: got MODP_2048, expected ECP_256",
        ),
        (
            MAIN,
            Form {
                peer: "Authentication= mekmitasdigoat\nRemote-ID= them\n",
                sections: "[them]\nID-type= FQDN\nName= host.example\n",
                ..MAIN
            },
            "ike_phase_1_recv_ID: received remote ID other than expected host.example",
        ),
    ];
    for (one, other, line) in cases {
        let keys = (Keys::default(), Keys::default());
        let mut pair = Pair::new(&one, &other, keys, Options::default());
        pair.begin();
        pair.settle();
        let lines = pair.responder.lines();
        assert!(lines.contains(&line), "{line}: {lines:?}");
        assert_eq!(ready(&pair.initiator.engine, pair.now), 0);
    }
}

/// The initiator floats to 4500 with its first encrypted message, in both modes.
#[test]
fn behind_a_nat() {
    for exchange in ["ID_PROT", "AGGRESSIVE"] {
        let form = Form { exchange, ..MAIN };
        let mut pair = Pair::plain(&form);
        pair.nat = Some(|from| {
            let port = if from.port() == 4500 { 31_001 } else { 31_000 };
            // The responder's table has this address.
            SocketAddr::new(from.ip(), port)
        });
        pair.begin();
        pair.settle();
        pair.assert_done();
        let encrypted = pair
            .wire
            .iter()
            .filter(|(_, _, octets)| octets[19] & 1 != 0);
        assert!(encrypted.clone().count() >= 2);
        for (ours, path, _) in encrypted {
            assert!(path.encapsulated, "{exchange} {ours}");
            assert_eq!(path.local.port(), 4500);
        }
        let flags = sas(&pair.responder.engine, pair.now);
        assert!(flags.contains("Flags 0x00000101"), "{flags}");
        // So does the next phase 1, at 85 to 95 % of an hour.
        pair.wire.clear();
        for _ in 0..60 {
            pair.later(60);
            pair.settle();
        }
        let again: Vec<_> = pair
            .wire
            .iter()
            .filter(|(_, _, octets)| octets[18] < 5)
            .collect();
        assert!(again.len() >= 3, "{exchange}: {}", again.len());
        assert!(
            again.iter().all(|(_, path, _)| path.encapsulated),
            "{exchange}"
        );
    }
}

/// Who turns debugging on sees SAs come and go, and what is due when.
#[test]
fn debugging_tells_of_sas_and_timers() {
    use ike::journal::Class;
    let says =
        |side: &Side, text: &str| side.log.iter().any(|record| record.text.starts_with(text));
    let mut pair = Pair::plain(&MAIN);
    for class in [Class::Misc, Class::Timer, Class::Sa] {
        pair.initiator.engine.set_log_level(class, 99);
    }
    pair.begin();
    pair.settle();
    pair.assert_done();
    let expected = [
        "timer_handle_expirations: event connection_checker(0)",
        "sa_setup_expirations: SA ",
        "sa_enter: SA ",
    ];
    for text in expected {
        assert!(says(&pair.initiator, text), "{text}");
        // Nobody asked the other side.
        assert!(!says(&pair.responder, text), "{text}");
    }
    assert!(
        pair.initiator
            .engine
            .teardown(pair.now, ike::Phase::One, "peer-x")
    );
    pair.settle();
    assert!(says(&pair.initiator, "sa_remove: SA "));
}

/// Once the ports have changed, the old one is heard for informational messages only.
#[test]
fn the_old_port_is_closed_after_floating() {
    let mut pair = Pair::plain(&MAIN);
    pair.nat = Some(|from| SocketAddr::new(from.ip(), from.port() + 30_000));
    pair.begin();
    pair.settle();
    pair.assert_done();
    let encrypted =
        |(_, path, octets): &&(bool, Path, Vec<u8>)| octets[19] & 1 != 0 && path.encapsulated;
    let (_, path, mut octets) = pair.wire.iter().find(encrypted).expect("one").clone();
    // Another exchange under the same cookies: what can be read of it is told in the log.
    octets[18] = 32;
    octets[20..24].copy_from_slice(&[1, 2, 3, 4]);
    let mut heard = |encapsulated: bool, exchange: u8| {
        octets[18] = exchange;
        octets[23] = octets[23].wrapping_add(1);
        let (own, from) = match encapsulated {
            true => (4500, 34_500),
            false => (500, 30_500),
        };
        let path = Path {
            local: SocketAddr::new(path.remote.ip(), own),
            remote: SocketAddr::new(path.local.ip(), from),
            encapsulated,
        };
        let before = pair.responder.lines().len();
        pair.responder
            .engine
            .handle_datagram(pair.now, path, &octets);
        pair.responder.turn(pair.now);
        pair.responder.lines().len() > before
    };
    let quick_mode = [heard(true, 32), heard(false, 32)];
    assert_eq!(quick_mode, [true, false]);
    let informational = [heard(true, 5), heard(false, 5)];
    assert_eq!(informational, [true, true]);
}

#[test]
fn without_nat_traversal_nothing_floats() {
    let options = Options {
        nat_t: false,
        ..Options::default()
    };
    let keys = (Keys::default(), Keys::default());
    let mut pair = Pair::new(&MAIN, &MAIN, keys, options);
    pair.nat = Some(|from| SocketAddr::new(from.ip(), 31_000));
    pair.begin();
    pair.settle();
    pair.assert_done();
    assert!(pair.wire.iter().all(|(_, path, _)| !path.encapsulated));
}

#[test]
fn both_at_once() {
    let mut pair = Pair::plain(&MAIN);
    pair.begin();
    pair.responder.engine.keep_up(pair.now, "conn-x");
    pair.responder.engine.handle_timeout(pair.now);
    pair.settle();
    for side in [&pair.initiator, &pair.responder] {
        let done = side
            .lines()
            .iter()
            .filter(|l| l.starts_with("isakmpd: phase 1 done"))
            .count();
        assert!(done >= 1, "{:?}", side.lines());
    }
}

/// 0, 7, 16 and 27 s, then no more, with the original's line.
#[test]
fn nobody_answers() {
    let mut pair = Pair::plain(&MAIN);
    pair.begin();
    let mut sent = Vec::new();
    for second in 0..130 {
        if !pair.initiator.turn(pair.now).is_empty() {
            sent.push(second);
        }
        pair.later(1);
    }
    assert_eq!(sent.first(), Some(&0));
    assert!(sent.starts_with(&[0, 7, 16, 27]), "{sent:?}");
    let line = "transport_send_messages: giving up on exchange peer-x, no response from peer 10.77.0.2:500";
    assert!(pair.initiator.lines().contains(&line));
}

/// Each message of phase 1 lost once: what is sent again makes up for it.
#[test]
fn each_message_lost_once() {
    for exchange in ["ID_PROT", "AGGRESSIVE"] {
        let count = if exchange == "ID_PROT" { 6 } else { 3 };
        for lost in 0..count {
            let form = Form { exchange, ..MAIN };
            let mut pair = Pair::plain(&form);
            pair.begin();
            let mut seen = 0;
            for _ in 0..40 {
                for (path, octets) in pair.initiator.turn(pair.now) {
                    seen += 1;
                    if seen - 1 != lost {
                        let path = Path {
                            local: path.remote,
                            remote: path.local,
                            ..path
                        };
                        pair.responder
                            .engine
                            .handle_datagram(pair.now, path, &octets);
                    }
                }
                for (path, octets) in pair.responder.turn(pair.now) {
                    seen += 1;
                    if seen - 1 != lost {
                        let path = Path {
                            local: path.remote,
                            remote: path.local,
                            ..path
                        };
                        pair.initiator
                            .engine
                            .handle_datagram(pair.now, path, &octets);
                    }
                }
                pair.later(1);
            }
            eprintln!("{exchange} without message {lost}");
            pair.assert_done();
        }
    }
}
