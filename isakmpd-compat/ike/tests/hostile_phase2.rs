//! A peer that has the keys and means harm: phase 2 messages changed in any way before they are encrypted, with right
//! and wrong HASHes. None ends the engine's work, and the next good message is answered.

mod support;

use std::time::Duration;

use ike::keys::phase_2_iv;
use ike::random::Purpose;
use ike::sa::Role;
use isakmp_proto::attribute::Attribute;
use isakmp_proto::header::{Cookie, Header};
use isakmp_proto::message::Builder;
use isakmp_proto::number::ExchangeType;
use isakmp_proto::number::{CfgType, Doi, IdType, NotifyType, Protocol};
use isakmp_proto::payload::{Delete, Id, ModeConfig, Notify, Payload};
use isakmp_proto::sa::{Proposal, Sa, Transform};
use kx_crypto::cbc::Algorithm;
use kx_crypto::prf::{BlockSize, Hash, prf};
use proptest::prelude::*;
use support::{Replay, key_file, recording};

const RECORDING: &str = "mm-psk-aes128-sha256-g14";

/// The responder of a recording after phase 1, and what its peer knows.
struct Victim {
    replay: Replay,
    cookies: (Cookie, Cookie),
    skeyid_a: Vec<u8>,
    key: Vec<u8>,
    last_block: Vec<u8>,
}

impl Victim {
    fn new() -> Self {
        let directory = recording(RECORDING);
        let mut replay = Replay::new(&directory, Role::Responder);
        replay.play(|packet| packet.is_phase_1());
        let keys = key_file(&directory, Role::Responder);
        let key = |name: &str| {
            let found = keys.iter().find(|(key, _)| key == name);
            found.expect("a recorded key").1.clone()
        };
        let first = replay
            .packets
            .iter()
            .find(|packet| packet.exchange() == 32)
            .expect("Quick Mode");
        let cookie =
            |at: usize| Cookie(first.message[at..at + 8].try_into().expect("eight octets"));
        Self {
            cookies: (cookie(0), cookie(8)),
            skeyid_a: key("skeyid_a"),
            key: key("enc_key"),
            last_block: key("phase1_last_iv"),
            replay,
        }
    }

    fn header(&self, exchange: ExchangeType, id: u32) -> Header {
        Header::new(self.cookies.0, self.cookies.1, exchange, id)
    }

    /// Puts HASH(1) over `rest` before it (or another one), encrypts, and delivers; answers come back.
    fn send(
        &mut self,
        exchange: ExchangeType,
        id: u32,
        first: u8,
        rest: &[u8],
        right: bool,
    ) -> Vec<Vec<u8>> {
        let hash = prf(
            Hash::Sha256,
            BlockSize::Standard,
            &self.skeyid_a,
            &[&id.to_be_bytes(), rest],
        )
        .expect("a hash");
        let mut text = vec![first, 0, 0, 36];
        text.extend(hash.as_slice());
        if !right {
            text[10] ^= 1;
        }
        text.extend(rest);
        text.resize(text.len().next_multiple_of(16), 0);
        let mut iv = phase_2_iv(Hash::Sha256, &self.last_block, id, 16).expect("an IV");
        Algorithm::Aes
            .encrypt(&self.key, &mut iv, &mut text)
            .expect("encrypted");
        let mut header = self.header(exchange, id);
        header.next_payload = isakmp_proto::number::PayloadType::HASH;
        header.flags = 1;
        header.length = u32::try_from(28 + text.len()).expect("short");
        let mut octets = header.encode().to_vec();
        octets.extend(text);
        let now = self.replay.start + Duration::from_secs(2);
        let packet = self
            .replay
            .packets
            .iter()
            .find(|packet| packet.exchange() == 32)
            .expect("one")
            .clone();
        let path = self.replay.path(&packet);
        self.replay.side.engine.handle_datagram(now, path, &octets);
        self.replay
            .side
            .turn(now)
            .into_iter()
            .map(|(_, octets)| octets)
            .collect()
    }

    /// Type of the first payload after HASH, and all octets after HASH.
    fn rest(&self, exchange: ExchangeType, payloads: Vec<Payload>) -> (u8, Vec<u8>) {
        let mut builder = Builder::new(self.header(exchange, 1));
        let first = payloads[0].payload_type().0;
        for payload in payloads {
            builder.push(payload);
        }
        (
            first,
            builder.build().expect("a message").octets()[28..].to_vec(),
        )
    }
}

fn quick_mode() -> Vec<Payload> {
    let subnet = |n: u8| {
        Payload::Id(Id {
            id_type: IdType::IPV4_ADDR_SUBNET,
            protocol: 0,
            port: 0,
            data: vec![192, 168, n, 0, 255, 255, 255, 0],
        })
    };
    let transform = Transform {
        number: 1,
        id: 12,
        attributes: [(1, 1), (2, 1200), (4, 1), (5, 5), (6, 128)]
            .map(|(ty, value)| Attribute::basic(ty as u16, value))
            .to_vec(),
    };
    let proposal = |number, protocol| Proposal {
        number,
        protocol: Protocol(protocol),
        spi: vec![1, 2, 3, number],
        transforms: vec![transform.clone()],
    };
    vec![
        Payload::Sa(Sa::new(vec![proposal(1, 3), proposal(2, 3)])),
        Payload::Nonce(vec![3; 16]),
        subnet(101),
        subnet(102),
    ]
}

fn informational() -> Vec<Payload> {
    vec![
        Payload::Delete(Delete {
            doi: Doi::IPSEC,
            protocol: Protocol::ESP,
            spi_size: 4,
            spis: vec![vec![1, 2, 3, 4], vec![5, 6, 7, 8]],
        }),
        Payload::Notify(Notify {
            doi: Doi::IPSEC,
            protocol: Protocol::ISAKMP,
            spi: vec![7; 16],
            notify_type: NotifyType::DPD_R_U_THERE,
            data: vec![0, 0, 0, 1],
        }),
    ]
}

fn mode_config() -> Vec<Payload> {
    vec![Payload::ModeConfig(ModeConfig {
        kind: CfgType::REQUEST,
        identifier: 7,
        attributes: (0..20_u16)
            .map(|ty| Attribute::variable(ty, vec![1; usize::from(ty)]))
            .collect(),
    })]
}

/// Changes octets, cuts, or repeats a part.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => (any::<prop::sample::Index>(), 1..64_u8).prop_map(|(at, n)| Change::Repeat(at, n)),
    ]
}

fn changed(octets: &mut Vec<u8>, change: &Change) {
    if octets.is_empty() {
        return;
    }
    match change {
        Change::Set(at, to) => *at.get_mut(octets) = *to,
        Change::Cut(at) => octets.truncate(at.index(octets.len())),
        Change::Repeat(at, n) => {
            let from = at.index(octets.len());
            let part: Vec<u8> = octets
                .iter()
                .skip(from)
                .take(usize::from(*n))
                .copied()
                .collect();
            octets.splice(from..from, part);
        }
    }
}

fn good_message_is_answered(victim: &mut Victim, id: u32) -> bool {
    let (first, rest) = victim.rest(ExchangeType::QUICK_MODE, quick_mode());
    let answers = victim.send(ExchangeType::QUICK_MODE, id, first, &rest, true);
    answers.iter().any(|answer| answer[18] == 32)
}

#[test]
fn the_unchanged_messages_are_understood() {
    let mut victim = Victim::new();
    victim.replay.side.random.push(Purpose::Spi, &[9; 4]);
    assert!(
        good_message_is_answered(&mut victim, 77),
        "{:?}",
        victim.replay.side.lines()
    );
    let (first, rest) = victim.rest(ExchangeType::TRANSACTION, mode_config());
    let answers = victim.send(ExchangeType::TRANSACTION, 78, first, &rest, true);
    assert_eq!(answers.len(), 1, "{:?}", victim.replay.side.lines());
    // A wrong HASH is told.
    let (first, rest) = victim.rest(ExchangeType::QUICK_MODE, quick_mode());
    let answers = victim.send(ExchangeType::QUICK_MODE, 79, first, &rest, false);
    assert!(answers.iter().all(|answer| answer[18] == 5));
    assert!(
        victim
            .replay
            .side
            .lines()
            .iter()
            .any(|line| line.contains("INVALID_HASH_INFORMATION"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_messages_do_no_harm(
        messages in proptest::collection::vec(
            (0..3_usize, proptest::collection::vec(change(), 1..6), any::<bool>(), any::<u8>(), 0..4_u32),
            1..20,
        ),
    ) {
        let mut victim = Victim::new();
        for (kind, changes, right, first_payload, id) in messages {
            let (exchange, payloads) = match kind {
                0 => (ExchangeType::QUICK_MODE, quick_mode()),
                1 => (ExchangeType::INFORMATIONAL, informational()),
                _ => (ExchangeType::TRANSACTION, mode_config()),
            };
            let (first, mut rest) = victim.rest(exchange, payloads);
            for change in &changes {
                changed(&mut rest, change);
            }
            let first = if first_payload < 16 { first_payload } else { first };
            let answers = victim.send(exchange, 100 + id, first, &rest, right);
            prop_assert!(answers.len() <= 3, "{}", answers.len());
        }
        prop_assert!(victim.replay.side.engine.exchange_summaries().count() < 20);
        prop_assert!(good_message_is_answered(&mut victim, 5000));
        // And all that was begun ends in time.
        let later = victim.replay.start + Duration::from_secs(300);
        victim.replay.side.engine.handle_timeout(later);
        victim.replay.side.turn(later);
        prop_assert_eq!(victim.replay.side.engine.exchange_summaries().count(), 0);
    }
}
