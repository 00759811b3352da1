//! Two hosts that find each other in the standard (RFC 8547, RFC 8548), under kind 69 and under kind 253, and the table of
//! tcpcrypt spec 7.7.

use kx_crypto::aead::Algorithm;
use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::eno::{Kind, Tep};
use tcpcrypt_proto::packet::Flags;

use crate::host::{ACK, CLIENT_ISN, Pair, SERVER_ISN, Segment};

pub(crate) fn policy(eno: Policy) -> Config {
    Config {
        eno,
        ..Config::default()
    }
}

pub(crate) fn both(eno: Policy) -> Pair {
    Pair::new(policy(eno), policy(eno))
}

/// The other host is the one that opens the next connection.
pub(crate) fn turn(pair: &mut Pair) {
    std::mem::swap(&mut pair.client, &mut pair.server);
    pair.next_port();
}

fn text(pair: &mut Pair, name: OptionName) -> [String; 2] {
    [&mut pair.client, &mut pair.server].map(|host| {
        let value = host.control(false, name, &[0; 64]).expect("a value");
        let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
        String::from_utf8(text.to_vec()).expect("text")
    })
}

pub(crate) fn assert_bare(segment: &Segment, kind: Kind) {
    let eno = segment.eno().expect("an option");
    assert_eq!((eno.kind(), eno.is_bare()), (kind, true));
}

const CIPHERS: [(Algorithm, &str); 3] = [
    (Algorithm::Aes128Gcm, "AEAD_AES_128_GCM"),
    (Algorithm::Aes256Gcm, "AEAD_AES_256_GCM"),
    (Algorithm::ChaCha20Poly1305, "AEAD_CHACHA20_POLY1305"),
];

/// A fresh session and resumed ones, by either host in turn.
fn whole_life(pair: &mut Pair, kind: Kind, tep: Tep, cipher: &str) {
    let init1 = pair.init1();
    assert_bare(&init1, kind);
    assert!(init1.flags.has(Flags::PSH));
    pair.server.get(&init1).expect("the third segment");
    let init2 = pair.server.sent_one();
    assert!(init2.flags.has(Flags::PSH));
    assert_eq!(init2.eno(), None);
    pair.client.get(&init2).expect("what opens the window");
    let ack = pair.client.sent_one();
    assert_eq!(ack.eno(), None);
    pair.server.get(&ack).expect("what opens the window");
    pair.talk();
    let mut ids = vec![pair.assert_same_id()];
    assert_eq!(ids[0][0], tep.octet());
    assert_eq!(text(pair, OptionName::Dialect), ["rfc8548"; 2]);
    assert_eq!(text(pair, OptionName::Cipher), [cipher; 2]);
    for round in 0..4 {
        if round == 2 {
            turn(pair);
        } else {
            pair.next_port();
        }
        let (syn, syn_ack) = pair.syns();
        let named = syn.eno().unwrap();
        assert_eq!(named.kind(), kind);
        assert_eq!(syn_ack.eno().unwrap().kind(), kind);
        let third = pair.client.out(&pair.third()).expect("the third segment");
        assert_bare(&third, kind);
        assert!(third.payload.is_empty());
        pair.server.get(&third).expect("the third segment");
        pair.talk();
        let id = pair.assert_same_id();
        assert_eq!(id[0], tep.resumed_octet());
        assert!(!ids.contains(&id));
        ids.push(id);
        assert_eq!(text(pair, OptionName::Cipher), [cipher; 2]);
        assert_eq!(text(pair, OptionName::Role), ["A", "B"]);
    }
    let stats = [&pair.client, &pair.server].map(|host| host.endpoint.stats());
    assert_eq!(stats.map(|it| (it.exchanged, it.resumed)), [(1, 4); 2]);
}

#[test]
fn every_key_exchange_and_cipher_under_kind_69() {
    for tep in Tep::ALL {
        for (first, name) in CIPHERS {
            let mut config = policy(Policy::Standard);
            config.prefer = Some(tep);
            let mut order = CIPHERS.map(|(algorithm, _)| algorithm);
            order.sort_by_key(|algorithm| *algorithm != first);
            config.standard_ciphers = order;
            whole_life(&mut Pair::new(config, config), Kind::Standard, tep, name);
        }
    }
}

#[test]
fn every_key_exchange_of_the_standard_under_kind_253() {
    for tep in [Tep::X25519, Tep::X448] {
        let mut config = policy(Policy::Auto);
        config.prefer = Some(tep);
        let mut pair = Pair::new(config, config);
        whole_life(&mut pair, Kind::Experimental, tep, "AEAD_AES_128_GCM");
    }
}

/// Which dialect two hosts speak that know nothing of each other: one line for each policy of the opener, one column
/// for each of the other.
#[test]
fn who_speaks_what_with_whom() {
    use Policy::{Auto, Legacy, Off, Standard};
    const POLICIES: [Policy; 4] = [Legacy, Standard, Auto, Off];
    let (old, new) = (Some((253, 0x21)), Some((253, 0x23)));
    let under_69 = Some((69, 0x23));
    for (opener, wanted) in [
        (Legacy, [old, None, old, None]),
        (Standard, [None, under_69, under_69, None]),
        (Auto, [old, new, new, None]),
        (Off, [None; 4]),
    ] {
        for (other, wanted) in POLICIES.into_iter().zip(wanted) {
            let mut pair = Pair::new(policy(opener), policy(other));
            match wanted {
                Some((kind, tep)) => {
                    pair.connect();
                    pair.talk();
                    let id = pair.assert_same_id();
                    assert_eq!(id[0], tep, "{opener:?} {other:?}");
                    pair.next_port();
                    let (syn, _) = pair.syns();
                    assert_eq!(syn.eno().unwrap().as_bytes()[0], kind);
                }
                None => {
                    let (syn, syn_ack) = pair.syns();
                    assert_eq!(syn.eno().is_none(), opener == Off);
                    assert_eq!(syn_ack.eno(), None);
                    let third = pair.third();
                    assert_eq!(pair.client.out(&third), Some(third.clone()));
                    assert_eq!(pair.server.get(&third), Some(third.clone()));
                    pair.assert_plain();
                }
            }
        }
    }
}

/// The kind of the option in the next SYN.
fn next_kind(pair: &mut Pair) -> Kind {
    pair.next_port();
    let syn = pair.client.out(&pair.client.syn()).expect("a SYN");
    syn.eno().expect("an option").kind()
}

#[test]
fn what_a_peer_spoke_is_offered_first() {
    let mut pair = Pair::new(policy(Policy::Standard), policy(Policy::Auto));
    pair.connect();
    // Nobody has shown yet that he has keys: a SYN alone, which anybody could have sent, teaches nothing.
    turn(&mut pair);
    assert_eq!(next_kind(&mut pair), Kind::Experimental);

    let mut pair = Pair::new(policy(Policy::Standard), policy(Policy::Auto));
    pair.connect();
    pair.talk();
    turn(&mut pair);
    assert_eq!(next_kind(&mut pair), Kind::Standard);
    // It does not answer to that any more: one connection is plain, and the next is offered the other kind.
    pair.server.endpoint = both(Policy::Legacy).server.endpoint;
    pair.next_port();
    let (_, syn_ack) = pair.syns();
    assert_eq!(syn_ack.eno(), None);
    let third = pair.third();
    assert_eq!(pair.client.out(&third), Some(third));
    pair.next_port();
    pair.connect();
    pair.talk();
    assert_eq!(pair.assert_same_id()[0], 0x21);
    // After an hour nothing is known.
    pair.client.pass(std::time::Duration::from_secs(3601));
    assert_eq!(next_kind(&mut pair), Kind::Experimental);
}

#[test]
fn a_preference_for_the_original() {
    let mut config = policy(Policy::Auto);
    config.prefer = Some(Tep::P521);
    let mut pair = Pair::new(policy(Policy::Auto), config);
    pair.connect();
    pair.talk();
    assert_eq!(pair.assert_same_id()[0], 0x21);
    assert_eq!(text(&mut pair, OptionName::Dialect), ["legacy"; 2]);
    // Sessions of the original's are resumed beside an offer of the standard.
    pair.next_port();
    pair.resume();
    pair.talk();
    assert_eq!(pair.assert_same_id()[0], 0xa1);
    // Which is taken where the session is not known any more.
    pair.server.endpoint = both(Policy::Auto).server.endpoint;
    pair.next_port();
    pair.connect();
    pair.talk();
    assert_eq!(pair.assert_same_id()[0], 0x23);
}

#[test]
fn a_host_that_has_forgotten() {
    for eno in [Policy::Standard, Policy::Auto] {
        let mut pair = both(eno);
        pair.connect();
        pair.talk();
        pair.client.log();
        pair.server.endpoint = both(eno).server.endpoint;
        pair.next_port();
        pair.connect();
        assert_eq!(pair.client.log(), ["Session caching failed"]);
        assert_eq!(pair.assert_same_id()[0], 0x23);
        pair.talk();
        pair.next_port();
        pair.resume();
        pair.talk();
    }
}

/// Both name the same session at the same time: neither has it any more when it is asked for it.
#[test]
fn a_race() {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    let forth = pair.client.out(&pair.client.syn()).unwrap();
    turn(&mut pair);
    let back = pair.client.out(&pair.client.syn()).unwrap();
    let halves = [&forth, &back].map(|syn| syn.eno().unwrap().suboptions().to_vec());
    assert_eq!(halves[0].len(), halves[1].len());
    pair.server.get(&back).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [1, 0x23]);
    pair.client.get(&syn_ack).unwrap();
    let init1 = pair.client.out(&pair.third()).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.talk();
    assert_eq!(pair.assert_same_id()[0], 0x23);
}

/// A session that was named is not named again, whatever came of it.
#[test]
fn a_name_is_used_once() {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    let first = pair.client.out(&pair.client.syn()).unwrap();
    assert_eq!(
        pair.client.out(&pair.client.syn()).unwrap().eno(),
        first.eno()
    );
    let refused = pair
        .server
        .says(Flags::RST | ACK, 0, CLIENT_ISN.wrapping_add(1));
    pair.client.get(&refused).unwrap();
    pair.next_port();
    let second = pair.client.out(&pair.client.syn()).unwrap();
    let half = |syn: &Segment| {
        let option = syn.eno().unwrap();
        let suboptions = option.suboptions();
        let at = suboptions.iter().position(|octet| *octet == 0xa3).unwrap();
        suboptions[at + 1..at + 10].to_vec()
    };
    assert_ne!(half(&first), half(&second));
}

#[test]
fn init1_in_pieces_and_init2_in_pieces() {
    let mut pair = both(Policy::Standard);
    let init1 = pair.init1();
    let (seq, len) = (init1.seq, init1.payload.len());
    for cut in [(0, 3), (3, 40), (40, len)] {
        let piece = init1.clone().with(|piece| {
            piece.payload = init1.payload[cut.0..cut.1].to_vec();
            piece.seq = seq.wrapping_add(u32::try_from(cut.0).unwrap());
            if cut.0 > 0 {
                piece.options.clear();
            }
        });
        assert_eq!(pair.server.sent(), []);
        pair.server.get(&piece).expect("the third segment");
    }
    let init2 = pair.server.sent_one();
    // The last piece once more: INIT2 got lost.
    let last = init1.with(|piece| {
        piece.payload.drain(..40);
        piece.seq = seq.wrapping_add(40);
    });
    pair.server.get(&last).expect("the third segment");
    assert_eq!(pair.server.sent_one().payload, init2.payload);
    let front = init2.clone().with(|piece| piece.payload.truncate(50));
    assert_eq!(pair.client.get(&front), None);
    let back = init2.with(|piece| {
        piece.payload.drain(..50);
        piece.seq += 50;
    });
    pair.client.get(&back).expect("what opens the window");
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.talk();
    pair.assert_same_id();
}

#[test]
fn octets_behind_the_keys_are_hashed_and_passed_over() {
    let mut pair = both(Policy::Standard);
    let longer = |segment: Segment| {
        segment.with(|segment| {
            segment.payload.extend_from_slice(&[7; 300]);
            let len = u32::try_from(segment.payload.len()).unwrap();
            segment.payload[4..8].copy_from_slice(&len.to_be_bytes());
        })
    };
    let init1 = longer(pair.init1());
    pair.server.get(&init1).unwrap();
    // It was taken, and as the client knows nothing of it the keys are different.
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let _ = pair.client.sent_one();
    let ack = pair.third().with(|ack| {
        ack.seq = ack
            .seq
            .wrapping_add(u32::try_from(init1.payload.len()).unwrap());
        ack.ack = SERVER_ISN + 1 + u32::try_from(init2.payload.len()).unwrap();
        ack.options.clear();
    });
    pair.server.get(&ack).unwrap();
    assert_ne!(pair.client.session_id(), pair.server.session_id());
}

/// The opener's segments carry the option until the peer has sent one behind its SYN.
#[test]
fn the_option_goes_with_each_segment_at_first() {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.syns();
    let (seq, ack) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN + 1);
    let said = pair.client.says(ACK | Flags::PSH, seq, ack);
    let said = said.with(|segment| segment.payload = vec![1; 1400]);
    let frame = pair.client.out(&said).unwrap();
    assert_bare(&frame, Kind::Standard);
    let third = pair.client.out(&pair.third()).unwrap();
    assert_bare(&third, Kind::Standard);
    // Data overtook the third segment.
    assert_eq!(pair.server.get(&frame).unwrap().payload, [1; 1400]);
    let answer = pair.server.says(ACK, ack, seq.wrapping_add(1400));
    let answer = pair.server.out(&answer).unwrap();
    assert_eq!(answer.eno(), None);
    pair.client.get(&answer).unwrap();
    let more = said.with(|segment| segment.seq = seq.wrapping_add(1400));
    assert_eq!(pair.client.out(&more).unwrap().eno(), None);
}

/// What a key log says of an exchange: each end its own key, and both the same secret.
#[test]
fn the_key_log() {
    for tep in Tep::ALL {
        let mut config = policy(Policy::Standard);
        config.prefer = Some(tep);
        config.key_log = true;
        let mut pair = Pair::new(config, config);
        pair.connect();
        let [mine, theirs] = [&mut pair.client, &mut pair.server].map(|host| {
            let lines = host.log();
            let keys: Vec<_> = lines.iter().filter(|line| line.starts_with('{')).collect();
            assert_eq!(keys.len(), 1, "{lines:?}");
            let field = |name: &str| {
                let (_, rest) = keys[0].split_once(&format!("\"{name}\":\"")).expect(name);
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            ["pub", "peer", "es"].map(field)
        });
        assert_eq!(
            (&mine[0], &mine[1], &mine[2]),
            (&theirs[1], &theirs[0], &theirs[2])
        );
        assert_eq!(mine[0].len(), 2 * tep.curve().compressed_len());
    }
}
