//! tcpcrypt over streams: two ends joined by arbitrary cuts, the original's recorded sessions, and peers that lie.

mod answered;
mod pair;
#[path = "../recorded/mod.rs"]
mod recorded;
mod standard;

use std::collections::VecDeque;
use std::time::Instant;

use kx_crypto::ecdh::{self, Curve, PrivateKey};
use kx_crypto::random::Unavailable;
use pair::{NUMBERS, PORT, ROOM, endpoint, hosts, id_of, open, option, peer, speaking};
use proptest::prelude::*;
use recorded::{NAMES, json, octets};
use serde_json::Value;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::entropy::Entropy;
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::stream::{Broken, Client, Server, Settled, Shape, first_unit};

#[test]
fn both_ends_agree_and_resume() {
    let mut all = hosts();
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut pair = open(all, false);
        let resumed = number > 0;
        assert_eq!(pair.settled == Settled::Resumed, resumed);
        assert_eq!(pair.streams[0].is_ready(), resumed);
        pair.settle();
        let sessions = [0, 1].map(|end| pair.streams[end].session().expect("encrypted").id);
        assert_eq!(sessions[0], sessions[1]);
        ids.push(sessions[0]);
        pair.send(0, b"question", 1000);
        pair.send(1, b"answer", 1000);
        pair.settle();
        assert_eq!(
            (&*pair.ways[1].got, &*pair.ways[0].got),
            (&b"question"[..], &b"answer"[..])
        );
        assert_eq!(pair.streams[0].overhead(), (20, 20));
        for end in 0..2 {
            assert_eq!(pair.streams[end].end(&[]), Ok(()));
        }
        pair.send(0, b"once more", 1000);
        pair.settle();
        assert_eq!(pair.ways[1].got, b"questiononce more");
        all = pair.hosts;
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

/// A client whose server forgot the session names it in vain, and the exchange is whole.
#[test]
fn a_server_that_forgot_gets_a_full_exchange() {
    let mut pair = open(hosts(), false);
    pair.settle();
    let [near, _] = pair.hosts;
    let mut pair = open([near, endpoint(Config::default())], false);
    assert_eq!(pair.settled, Settled::Exchange);
    pair.settle();
    assert_eq!(id_of(&pair.streams[0]), id_of(&pair.streams[1]));
}

#[test]
fn a_stripped_answer_gives_plain_text() {
    for speaks_first in [0, 1] {
        let mut pair = open(hosts(), true);
        assert_eq!(pair.settled, Settled::Plain);
        assert!(pair.streams[0].is_plain());
        if speaks_first == 0 {
            pair.send(0, b"GET / HTTP/1.0", 1000);
            pair.deliver(1, 3).expect("plain");
        } else {
            // The client waits for the server: only time can tell.
            assert!(!pair.streams[1].is_ready());
            assert!(pair.streams[1].lost_patience());
        }
        pair.settle();
        assert!(pair.streams[1].is_plain());
        pair.send(1, b"220 ready", 1000);
        pair.settle();
        assert_eq!(pair.ways[0].got, b"220 ready");
        assert_eq!(pair.streams[1].shape(), Shape::Stream);
    }
}

#[test]
fn what_is_not_genuine_ends_the_connection() {
    let mut ready = open(hosts(), false);
    ready.settle();
    ready.send(0, &[7; 3000], 1000);
    let wire = ready.ways[1].wire.clone();
    for (at, line) in [
        (0, Line::Broken("malformed record")),
        (1, Line::Broken("malformed record")),
        (5, Line::MacCheckFailed),
        (1019, Line::MacCheckFailed),
        (1030, Line::MacCheckFailed),
    ] {
        let mut pair = open(hosts(), false);
        pair.settle();
        pair.send(0, &[7; 3000], 1000);
        pair.ways[1].wire[at] ^= 0x80;
        // A length that was made longer waits for octets that never come; the end of the stream shows it.
        let broken = pair
            .deliver(1, usize::MAX)
            .and_then(|()| pair.streams[1].end(&pair.ways[1].unread.clone()));
        let due = if at == 1 {
            Line::Broken("connection closed inside a record")
        } else {
            line
        };
        assert_eq!(broken, Err(Broken(due)), "{at}");
        assert!(pair.ways[1].got.len() <= 1000);
        // And it stays so.
        assert!(pair.deliver(1, usize::MAX).is_err());
        assert!(pair.streams[1].send(b"x", 10, &mut Vec::new()).is_err());
        assert!(!pair.streams[1].lost_patience());
    }
    // A record cut off by the end of the stream.
    ready.ways[1].wire.truncate(wire.len() - 1);
    ready.deliver(1, usize::MAX).expect("genuine so far");
    let rest = ready.ways[1].unread.clone();
    let truncated = Broken(Line::Broken("connection closed inside a record"));
    assert_eq!(ready.streams[1].end(&rest), Err(truncated));
}

/// A client that agreed gets no plain text: whatever is no INIT2 ends the connection.
#[test]
fn a_client_that_agreed_takes_nothing_else() {
    let mut pair = open(hosts(), false);
    pair.ways[0].wire = b"220 mail.example.org".to_vec();
    let broken = pair.deliver(0, usize::MAX).expect_err("no INIT2");
    assert_eq!(
        broken,
        Broken(Line::HandshakeFailed("init2: can't find opt"))
    );
    let mut pair = open(hosts(), false);
    assert!(!pair.streams[0].lost_patience());
    let mut pair = open(hosts(), false);
    assert!(pair.streams[0].end(&[]).is_err());
}

/// An INIT1 with a key that is no point, and one that ends early.
#[test]
fn a_server_refuses_what_only_looks_like_init1() {
    let mut pair = open(hosts(), false);
    let last = pair.ways[1].wire.len() - 1;
    pair.ways[1].wire[last] ^= 1;
    let broken = pair.deliver(1, usize::MAX).expect_err("no point");
    assert_eq!(broken, Broken(Line::HandshakeFailed("init1: bad pubkey")));
    let mut pair = open(hosts(), false);
    pair.ways[1].wire.truncate(50);
    pair.deliver(1, usize::MAX).expect("not whole");
    let rest = pair.ways[1].unread.clone();
    assert!(pair.streams[1].end(&rest).is_err());
}

/// Behind the wrap of the sequence numbers the original's divert mode has nonces of its own; our ends understand
/// them, and answer alike.
#[test]
fn nonces_of_the_original_behind_the_wrap() {
    let mut pair = open(hosts(), false);
    pair.settle();
    let mut counted = Vec::new();
    // The numbers of this direction wrap 256 octets behind the SYN.
    pair.streams[0].assume_original();
    for number in 0..5 {
        let data = [number; 300];
        pair.send(0, &data, 1000);
        counted.extend_from_slice(&data);
        pair.settle();
    }
    assert_eq!(pair.ways[1].got, counted);
    // Shown by its records, the form is the other end's, too; and so it is without being assumed.
    let mut other = open(hosts(), false);
    other.settle();
    other.send(0, &[1; 300], 1000);
    other.send(0, &[2; 300], 1000);
    let mut assumed = open(hosts(), false);
    assumed.settle();
    assumed.streams[0].assume_original();
    assumed.send(0, &[1; 300], 1000);
    assumed.send(0, &[2; 300], 1000);
    assumed.settle();
    assert_eq!(assumed.ways[1].got.len(), 600);
    other.settle();
    assert_eq!(other.ways[1].got.len(), 600);
}

#[test]
fn units_are_whole_records() {
    let mut pair = open(hosts(), false);
    let init1 = pair.ways[1].wire.clone();
    assert_eq!(first_unit(Shape::Segments, &init1), init1.len());
    pair.settle();
    pair.send(0, &[1; 2500], 1000);
    let wire = &pair.ways[1].wire;
    let mut at = 0;
    let mut lengths = Vec::new();
    while at < wire.len() {
        let length = first_unit(Shape::Segments, &wire[at..]);
        lengths.push(length);
        at += length;
    }
    assert_eq!(lengths, [1020, 1020, 520]);
    assert_eq!(first_unit(Shape::Stream, wire), wire.len());
}

/// Without room for the offer the connection is plain; with room for the offer alone no session is named.
#[test]
fn options_that_are_full() {
    let now = Instant::now();
    let mut pair = open(hosts(), false);
    pair.settle();
    let [mut near, _] = pair.hosts;
    let mut offer = |room| {
        let mut client = Client::new(&mut near, now, PORT, peer(2)).expect("wanted");
        client.offer(&mut near, now, room)
    };
    let short = offer(12).expect("room");
    assert_eq!(short.as_bytes(), [253, 6, 0x45, 0x4e, 0x21, 0x22]);
    assert_eq!(offer(5), None);
    // The session that was not named is still there for the next.
    assert_eq!(offer(ROOM).expect("room").as_bytes().len(), 16);
}

/// Both dialects, and the standard as it is reached by hosts that know nothing of each other.
fn dialect() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Legacy),
        Just(Policy::Standard),
        Just(Policy::Auto)
    ]
}

/// One step of a connection: who sends how much in records how long, and how much is delivered to whom.
type Step = (bool, usize, usize, bool, usize);

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..40usize, 0..3000usize, 0..200_000usize];
    let most = prop_oneof![1..100usize, 100..2000usize, 2000..70_000usize];
    let cut = prop_oneof![0..4usize, 0..200usize, 0..100_000usize];
    (any::<bool>(), size, most, any::<bool>(), cut)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_cuts_carry_everything(
        steps in proptest::collection::vec(step(), 1..40),
        rounds in 1..3usize,
        policy in dialect(),
        rekeys in any::<u8>(),
    ) {
        let mut all = speaking(policy);
        for _ in 0..rounds {
            let mut pair = open(all, false);
            let mut sent = [Vec::new(), Vec::new()];
            for (number, &(from, size, most, to, cut)) in steps.iter().enumerate() {
                let from = usize::from(from);
                if rekeys >> (number % 8) & 1 == 1 {
                    pair.streams[from].rekey();
                }
                if pair.streams[from].is_ready() {
                    let octet = u8::try_from(number % 251).unwrap();
                    let data: Vec<u8> = (0..size).map(|at| octet ^ (at % 256) as u8).collect();
                    pair.send(from, &data, most);
                    sent[1 - from].extend(data);
                }
                pair.deliver(usize::from(to), cut).expect("genuine");
            }
            pair.settle();
            for end in 0..2 {
                pair.finish(end);
            }
            pair.settle();
            for (end, sent) in sent.iter().enumerate() {
                let is_standard = policy != Policy::Legacy;
                prop_assert_eq!(pair.streams[end].has_finished(), is_standard);
                prop_assert!(pair.ways[end].got == *sent);
                prop_assert!(pair.ways[end].unread.is_empty());
                prop_assert_eq!(pair.streams[end].end(&[]), Ok(()));
            }
            prop_assert_eq!(id_of(&pair.streams[0]), id_of(&pair.streams[1]));
            prop_assert_eq!(pair.streams[0].overhead().0, pair.streams[1].overhead().1);
            all = pair.hosts;
        }
    }

    /// Somebody on the way changes, takes out, repeats or puts in octets: a beginning of what was sent arrives, and
    /// what comes behind the change does not.
    #[test]
    fn a_change_on_the_way_ends_it(
        sizes in proptest::collection::vec(1..4000usize, 1..8),
        most in 1..2000usize,
        (kind, at, len) in (0..4u8, any::<prop::sample::Index>(), 1..3000usize),
        cut in 1..5000usize,
        resumed in any::<bool>(),
        policy in dialect(),
    ) {
        let mut pair = open(speaking(policy), false);
        pair.settle();
        if resumed {
            pair = open(pair.hosts, false);
            pair.settle();
        }
        let mut sent = Vec::new();
        for (number, size) in sizes.into_iter().enumerate() {
            let data: Vec<u8> = (0..size).map(|at| (number * 31 + at * 7) as u8).collect();
            pair.send(0, &data, most);
            sent.extend(data);
        }
        let wire = &mut pair.ways[1].wire;
        let genuine = wire.clone();
        let at = at.index(wire.len());
        let end = wire.len().min(at + len);
        let piece = wire[at..end].to_vec();
        match kind {
            0 => wire[at] ^= 1 << (len % 8),
            1 => drop(wire.drain(at..end)),
            2 => drop(wire.splice(at..at, piece)),
            _ => drop(wire.splice(at..at, std::iter::repeat_n(0x5a, len))),
        }
        let same = wire.iter().zip(&genuine).take_while(|(a, b)| a == b).count();
        let mut failed = false;
        while !pair.ways[1].wire.is_empty() && !failed {
            failed = pair.deliver(1, cut).is_err();
        }
        let got = &pair.ways[1].got;
        prop_assert!(sent.starts_with(got));
        // Each octet of a record that arrived stood on the wire as it was sealed.
        prop_assert!(got.len() <= same);
        if failed {
            prop_assert!(pair.streams[1].session().is_none());
            prop_assert!(pair.deliver(1, cut).is_err());
        } else {
            // What is left is the front of a record that will not be whole. In the standard the last one is missing,
            // too.
            let rest = std::mem::take(&mut pair.ways[1].unread);
            let may_end = rest.is_empty() && policy == Policy::Legacy;
            prop_assert_eq!(pair.streams[1].end(&rest).is_ok(), may_end);
        }
    }

    /// INIT2 that was changed makes no connection.
    #[test]
    fn a_changed_answer_makes_no_connection(
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
        policy in dialect(),
    ) {
        let mut pair = open(speaking(policy), false);
        pair.deliver(1, usize::MAX).expect("genuine");
        let wire = &mut pair.ways[0].wire;
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        let _ = pair.deliver(0, usize::MAX);
        prop_assert!(pair.ways[0].got.is_empty());
        // A nonce or a point that is another makes other keys.
        if pair.streams[0].is_ready() {
            prop_assert!(id_of(&pair.streams[0]) != id_of(&pair.streams[1]));
            pair.send(0, b"secret", 100);
            prop_assert!(pair.deliver(1, usize::MAX).is_err());
            prop_assert!(pair.ways[1].got.is_empty());
        }
    }

    /// Whatever a peer sends: no panic, and nothing of it is delivered as if it were genuine.
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..2000), cut in 1..500usize, init in any::<bool>(), policy in dialect()) {
        let mut pair = open(speaking(policy), false);
        if init {
            pair.settle();
        }
        pair.ways[0].wire = noise.clone();
        let mut failed = false;
        while !pair.ways[0].wire.is_empty() && !failed {
            failed = pair.deliver(0, cut).is_err();
        }
        prop_assert!(pair.ways[0].got.is_empty());
        prop_assert!(failed || pair.ways[0].unread == noise);
    }
}

/// Random numbers of a recording.
struct Replayed {
    keys: VecDeque<Vec<u8>>,
    nonces: VecDeque<Vec<u8>>,
}

impl Entropy for Replayed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Unavailable> {
        out.copy_from_slice(&self.nonces.pop_front().ok_or(Unavailable)?);
        Ok(())
    }

    fn private_key(&mut self, curve: Curve) -> Result<PrivateKey, ecdh::Error> {
        let key = self.keys.pop_front().ok_or(ecdh::Error::Library)?;
        PrivateKey::from_scalar(curve, &key)
    }
}

fn frames(connection: &Value, direction: &str) -> (Vec<u8>, Vec<u8>, bool) {
    let frames = connection[direction]["frames"].as_array().unwrap();
    let join = |field| frames.iter().flat_map(|f| octets(f, field)).collect();
    let unflagged = frames.iter().all(|f| f["flags"] == 0);
    (join("frame"), join("data"), unflagged)
}

/// Plays one recording with our end in one role, the wire cut every `cut` octets.
fn replay(name: &str, as_client: bool, cut: usize) {
    let recording = json(name);
    let connections = recording.as_array().unwrap();
    let first = &connections[0];
    let side = |field: &str| {
        octets(
            first,
            &format!("{field}_{}", if as_client { "c" } else { "s" }),
        )
    };
    let entropy = Replayed {
        keys: VecDeque::from([side("priv")]),
        nonces: VecDeque::from([side("nonce")]),
    };
    let mut config = Config::default();
    if octets(first, "offered").starts_with(&[2]) {
        config.ciphers.reverse();
    }
    if octets(first, "syn_eno").ends_with(&[0x22, 0x21]) {
        config.prefer = tcpcrypt_proto::eno::Tep::from_octet(0x22);
    }
    let now = Instant::now();
    let mut host = Endpoint::new(config, Box::new(entropy), now);
    for connection in connections {
        let resumed = connection["resumed"] == true;
        let (syn, syn_ack) = (
            octets(connection, "syn_eno"),
            octets(connection, "synack_eno"),
        );
        let init = |field| {
            if resumed {
                Vec::new()
            } else {
                octets(connection, field)
            }
        };
        let mut sent = Vec::new();
        let (mut stream, ours, theirs) = if as_client {
            let mut client = Client::new(&mut host, now, PORT, peer(2)).unwrap();
            let offer = client.offer(&mut host, now, ROOM).unwrap();
            assert_eq!(offer.as_bytes(), syn, "{name}");
            client.answered(&mut host, now, option(&syn_ack));
            let stream = client.begin(&mut host, now, NUMBERS, &mut sent).unwrap();
            (stream, "c2s", "s2c")
        } else {
            let offer = option(&syn).unwrap();
            let mut server = Server::new(&mut host, now, 8080, peer(1), offer).unwrap();
            let answer = server.answer(&mut host, now, ROOM).unwrap();
            assert_eq!(answer.as_bytes(), syn_ack, "{name}");
            (server.begin(&mut host, now, NUMBERS).unwrap(), "s2c", "c2s")
        };
        let (out_wire, out_plain, unflagged) = frames(connection, ours);
        let (in_wire, in_plain, _) = frames(connection, theirs);
        let (own, other) = if as_client {
            ("init1", "init2")
        } else {
            ("init2", "init1")
        };
        let incoming = [init(other), in_wire].concat();
        let (mut unread, mut got) = (Vec::new(), Vec::new());
        for piece in incoming.chunks(cut) {
            unread.extend_from_slice(piece);
            let received = stream
                .receive(&mut host, now, &unread, usize::MAX, &mut got, &mut sent)
                .unwrap();
            unread.drain(..received.consumed);
        }
        assert!(unread.is_empty() && got == in_plain, "{name}");
        assert_eq!(sent, init(own), "{name}");
        let id = stream.session().unwrap().id;
        assert_eq!(
            id.as_bytes()[..],
            octets(connection, "session_id"),
            "{name}"
        );
        if unflagged {
            let mut wire = Vec::new();
            for frame in connection[ours]["frames"].as_array().unwrap() {
                stream
                    .send(&octets(frame, "data"), 60_000, &mut wire)
                    .unwrap();
            }
            assert_eq!(wire, out_wire, "{name}");
            assert!(!out_plain.is_empty());
        }
    }
}

#[test]
fn the_originals_sessions_are_ours() {
    for name in NAMES {
        for as_client in [true, false] {
            for cut in [1, 7, 100, 1_000_000] {
                replay(name, as_client, cut);
            }
        }
    }
}
