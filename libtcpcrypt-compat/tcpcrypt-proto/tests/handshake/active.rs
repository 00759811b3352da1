//! The opener.

use std::time::Duration;

use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::packet::{Direction, options};

use crate::host::{
    ACK, BARE, CLIENT_ISN, FIN, Pair, RST, SERVER_ISN, STAMPS, SYN, Segment, lowered_mss, resets,
};

const OURS: u32 = CLIENT_ISN.wrapping_add(1);
const THEIRS: u32 = SERVER_ISN + 1;
/// Octets of the messages on P-256.
const INIT1: u32 = 110;
const INIT2: u32 = 108;

#[test]
fn a_full_exchange() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    assert_eq!(syn.eno_bytes().unwrap(), [0xfd, 6, 0x45, 0x4e, 0x21, 0x22]);
    assert_eq!(syn.options[..20], pair.client.syn().options, "kept");
    assert_eq!(syn.options[26..], [0, 0]);
    let seen = pair.server.get(&syn).unwrap();
    assert_eq!(seen.window, 0);
    assert_eq!(options::mss(&seen.options), Some(lowered_mss(true)));
    assert!(options::sack_permitted(&seen.options));
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert_eq!(syn_ack.eno_bytes().unwrap(), [0xfd, 5, 0x45, 0x4e, 0x21]);
    let seen = pair.client.get(&syn_ack).unwrap();
    assert_eq!(seen.window, 0);
    assert_eq!(options::mss(&seen.options), Some(lowered_mss(true)));
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    assert_eq!(init1.options, [&STAMPS[..], &BARE].concat());
    assert_eq!((init1.seq, init1.ack, init1.flags), (OURS, THEIRS, ACK));
    assert_eq!(init1.payload.len(), 110);
    assert_eq!(init1.window, third.window);
    let seen = pair.server.get(&init1).unwrap();
    assert_eq!((seen.seq, seen.ack, seen.flags), (OURS, THEIRS, ACK));
    assert_eq!((seen.window, seen.payload.len()), (0, 0));
    let init2 = pair.server.sent_one();
    assert_eq!((init2.seq, init2.flags), (THEIRS, ACK));
    assert_eq!(init2.ack, OURS.wrapping_add(INIT1));
    assert_eq!((init2.options.len(), init2.payload.len()), (0, 108));
    // A copy of the client's, but never more than the server's TCP has: 65160 >> 10.
    assert_eq!(init2.window, 63);
    let opened = pair.client.get(&init2).unwrap();
    assert_eq!((opened.seq, opened.ack), (THEIRS, OURS));
    assert_eq!((opened.window, opened.payload.len()), (63, 0));
    let ack = pair.client.sent_one();
    assert_eq!(
        (ack.seq, ack.ack),
        (OURS.wrapping_add(INIT1), THEIRS + INIT2)
    );
    assert_eq!((ack.flags, ack.options.len(), ack.window), (ACK, 0, 500));
    let opened = pair.server.get(&ack).unwrap();
    assert_eq!((opened.seq, opened.ack, opened.window), (OURS, THEIRS, 500));
    let id = pair.assert_same_id();
    assert_eq!((id.len(), id[0]), (33, 0x21));
    pair.talk();
    assert_eq!((pair.client.netstat(), pair.server.netstat()), (1, 1));
    assert_eq!(pair.client.log(), ["Can't find session for host"]);
    assert_eq!(pair.server.log(), [""; 0]);
}

#[test]
fn preferred_key_exchange() {
    let p521 = Config {
        prefer: Some(Tep::P521),
        ..Config::default()
    };
    for (client, server, tep, init1) in [
        (p521, Config::default(), 0x22, 178),
        (Config::default(), p521, 0x21, 110),
    ] {
        let mut pair = Pair::new(client, server);
        let (_, syn_ack) = pair.syns();
        assert_eq!(syn_ack.eno().unwrap().suboptions(), [tep]);
        let third = pair.third();
        let sent = pair.client.out(&third).unwrap();
        assert_eq!(sent.payload.len(), init1);
        let mut pair = Pair::new(client, server);
        pair.connect();
        assert_eq!(pair.assert_same_id()[0], tep);
        pair.talk();
    }
}

#[test]
fn ecn_syns_are_encrypted() {
    let mut pair = Pair::default();
    let ecn = pair.client.syn().with(|syn| syn.flags.0 |= 0xc0);
    let syn = pair.client.out(&ecn).unwrap();
    assert_eq!(syn.flags.0, 0xc2);
    assert!(pair.server.get(&syn).unwrap().window == 0);
    let answer = pair.server.syn_ack().with(|syn| syn.flags.0 |= 0x40);
    let answer = pair.server.out(&answer).unwrap();
    assert!(answer.eno().is_some());
    assert_eq!(pair.client.get(&answer).unwrap().window, 0);
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    pair.assert_client_encrypted();
}

impl Pair {
    fn assert_client_encrypted(&mut self) {
        assert_eq!(self.client.netstat(), 1);
    }
}

#[test]
fn everything_the_local_tcp_sends_is_init1_until_encryption_is_on() {
    let mut pair = Pair::default();
    let init1 = pair.init1();
    let third = pair.third();
    let same = |sent: Option<Segment>| {
        let sent = sent.expect("INIT1");
        assert_eq!(sent.payload, init1.payload);
        assert_eq!((sent.seq, sent.flags), (OURS, ACK));
        assert_eq!(sent.eno_bytes().unwrap(), BARE);
    };
    same(pair.client.out(&third));
    let probe = third.clone().with(|segment| segment.seq = CLIENT_ISN);
    same(pair.client.out(&probe));
    let data = third
        .clone()
        .with(|segment| segment.payload = b"x".to_vec());
    same(pair.client.out(&data));
    let fin = third.clone().with(|segment| segment.flags = FIN | ACK);
    same(pair.client.out(&fin));
    // A SYN-ACK again goes to the local TCP, whose answer brings INIT1 again.
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    let seen = pair.client.get(&syn_ack).unwrap();
    assert_eq!(
        (seen.window, options::mss(&seen.options)),
        (0, Some(lowered_mss(true)))
    );
    same(pair.client.out(&third));
    // A TCP in front of the server's daemon may acknowledge INIT1; ours must not hear of it.
    let ack = pair.server.says(ACK, THEIRS, OURS.wrapping_add(INIT1));
    assert_eq!(pair.client.get(&ack), None);
    let ack = pair.server.says(ACK, THEIRS, OURS);
    assert_eq!(pair.client.get(&ack).unwrap().window, 0);
}

#[test]
fn init1_is_repeated_by_timer_then_given_up() {
    let mut pair = Pair::default();
    let init1 = pair.init1();
    pair.client.pass(Duration::from_millis(99));
    assert_eq!(pair.client.sent(), []);
    pair.client.pass(Duration::from_millis(1));
    assert_eq!(pair.client.sent_one(), init1);
    pair.client.pass(Duration::from_secs(60));
    let sent = pair.client.sent();
    let repeated = sent.iter().filter(|(_, segment)| *segment == init1);
    assert_eq!(repeated.count(), 9);
    assert_eq!(resets(&sent), (2, 1));
    assert!(pair.client.log().contains(&"Retransmit timeout".to_owned()));
    // Never plain.
    let third = pair.third().with(|segment| segment.payload = b"x".to_vec());
    assert_eq!(pair.client.out(&third), None);
    assert_eq!(resets(&pair.client.sent()), (0, 1));
}

#[test]
fn without_timers_nothing_is_repeated() {
    let config = Config {
        timers: false,
        ..Config::default()
    };
    let mut pair = Pair::new(config, config);
    pair.init2();
    pair.client.pass(Duration::from_secs(100));
    pair.server.pass(Duration::from_secs(100));
    assert_eq!(pair.client.sent(), []);
    assert_eq!(pair.server.sent(), []);
    // The bound in time holds.
    pair.client.pass(Duration::from_secs(40));
    pair.server.pass(Duration::from_secs(40));
    assert_eq!(resets(&pair.client.sent()), (2, 1));
    assert_eq!(resets(&pair.server.sent()), (2, 1));
}

#[test]
fn what_is_not_init2_resets_both_ends() {
    let wrong: [fn(&mut Segment); 6] = [
        |segment| segment.payload = b"HTTP/1.0 200 OK".to_vec(),
        |segment| segment.payload[0] ^= 1,
        |segment| segment.payload[5] = 0x10,
        // A cipher that was not offered, and a point that is on no curve.
        |segment| segment.payload[8] = 9,
        |segment| segment.payload[80] ^= 1,
        |segment| {
            segment.payload.clear();
            segment.flags = FIN | ACK;
        },
    ];
    let lines = [
        "init2: can't find opt",
        "init2: can't find opt",
        "init2: bad len",
        "init2: select_sym()",
        "init2: bad pubkey",
        "init2: can't find opt",
    ];
    for (change, line) in wrong.into_iter().zip(lines) {
        let mut pair = Pair::default();
        let init2 = pair.init2().with(change);
        pair.client.log();
        assert_eq!(pair.client.get(&init2), None);
        let sent = pair.client.sent();
        assert_eq!(resets(&sent), (2, 1), "{line}");
        // The local TCP takes this one: exactly the number it awaits.
        let local = sent.iter().find(|(to, _)| *to == Direction::In).unwrap();
        assert_eq!((local.1.seq, local.1.ack), (THEIRS, OURS));
        assert_eq!(pair.client.log()[0], line);
        assert_eq!(pair.client.netstat(), 0);
        // Whatever comes and goes now, nothing is in the clear.
        let data = pair.client.says(ACK, OURS, THEIRS);
        let data = data.with(|segment| segment.payload = b"secret".to_vec());
        assert_eq!(pair.client.out(&data), None);
        assert_eq!(pair.client.get(&init2), None);
        assert_eq!(resets(&pair.client.sent()), (1, 1));
        assert_eq!(pair.client.endpoint.stats().reset, 1);
    }
}

#[test]
fn init2_in_pieces() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    let piece = |from: usize, to: usize| {
        init2.clone().with(|segment| {
            segment.payload = init2.payload[from..to].to_vec();
            segment.seq += u32::try_from(from).unwrap();
        })
    };
    assert_eq!(pair.client.get(&piece(50, 108)), None, "a hole");
    assert_eq!(pair.client.get(&piece(0, 3)), None);
    assert_eq!(pair.client.get(&piece(0, 60)), None);
    // With the first octets of a record behind it, which come again.
    let last = piece(40, 108).with(|segment| segment.payload.extend([0, 0, 30]));
    assert_eq!(pair.client.get(&last).unwrap().payload, b"");
    let ack = pair.client.sent_one();
    assert_eq!(ack.ack, THEIRS + INIT2);
    pair.server.get(&ack).unwrap();
    pair.talk();
}

#[test]
fn a_lost_acknowledgement_of_init2() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    pair.client.get(&init2).unwrap();
    pair.client.sent_one();
    pair.server.pass(Duration::from_millis(100));
    assert_eq!(pair.server.sent_one(), init2);
    // The local TCP of the client is made to say where it stands.
    let nudge = pair.client.get(&init2).expect("something to answer");
    assert!(nudge.payload.len() <= 1);
    let ack = pair.client.says(ACK, OURS, THEIRS);
    let ack = pair.client.out(&ack).unwrap();
    assert_eq!(ack.ack, THEIRS + INIT2);
    pair.server.get(&ack).unwrap();
    pair.talk();
}

/// It goes with what the local TCP sends at once, or by itself when there is nothing, or a little later.
#[test]
fn the_acknowledgement_of_init2_waits_for_a_segment() {
    let owing = || {
        let mut pair = Pair::default();
        let init2 = pair.init2();
        pair.client.get(&init2).unwrap();
        assert!(pair.client.endpoint.has_debts());
        pair
    };
    let mut pair = owing();
    let data = pair.client.says(ACK, OURS, THEIRS);
    let data = data.with(|segment| segment.payload = b"question".to_vec());
    let record = pair.client.out(&data).unwrap();
    assert_eq!(record.ack, THEIRS + INIT2);
    assert!(!pair.client.endpoint.has_debts());
    assert_eq!(pair.client.sent(), []);
    pair.client.pass(Duration::from_millis(5));
    assert_eq!(pair.client.sent(), []);
    assert_eq!(pair.server.get(&record).unwrap().payload, b"question");

    let mut pair = owing();
    pair.client.pass(Duration::from_micros(900));
    assert!(pair.client.endpoint.has_debts());
    pair.client.pass(Duration::from_micros(200));
    assert!(!pair.client.endpoint.has_debts());
    assert_eq!(pair.client.sent_one().ack, THEIRS + INIT2);

    // Nobody owes anything for a connection that is over.
    let mut pair = owing();
    let reset = pair.client.says(RST | ACK, OURS, THEIRS);
    pair.client.out(&reset).unwrap();
    assert!(!pair.client.endpoint.has_debts());
    let mut pair = owing();
    pair.client.endpoint.shutdown();
    assert!(!pair.client.endpoint.has_debts());
    assert_eq!(resets(&pair.client.sent()), (1, 1));
}

/// What comes again is answered by the connection that stands.
#[test]
fn init2_again_makes_no_second_debt() {
    let mut pair = Pair::default();
    let init2 = pair.init2();
    pair.client.get(&init2).unwrap();
    for _ in 0..3 {
        pair.client.get(&init2);
    }
    assert_eq!(pair.client.sent_one().ack, THEIRS + INIT2);
}

#[test]
fn resets_on_the_way() {
    // Of the local TCP: the peer's may or may not know of INIT1.
    let mut pair = Pair::default();
    pair.init1();
    let reset = pair.client.says(RST | ACK, OURS, THEIRS);
    assert_eq!(pair.client.out(&reset), Some(reset.clone()));
    let second = pair.client.sent_one();
    assert_eq!(second.seq, OURS.wrapping_add(INIT1));
    assert_eq!(pair.client.endpoint.stats().half_open, 0);
    // Of the peer: only with the exact number.
    for (number, over) in [(0, true), (INIT2, true), (1, false), (5000, false)] {
        let mut pair = Pair::default();
        pair.init1();
        let reset = pair.server.says(RST | ACK, THEIRS + number, OURS);
        let seen = pair.client.get(&reset);
        assert_eq!(seen.is_some(), over, "{number}");
        if let Some(seen) = seen {
            assert_eq!(seen.seq, THEIRS);
        }
        assert_eq!(pair.client.endpoint.stats().half_open, usize::from(!over));
    }
    // A refused connection.
    let mut pair = Pair::default();
    pair.client.out(&pair.client.syn()).unwrap();
    let wrong = pair.server.says(RST | ACK, 0, OURS + 9);
    assert_eq!(pair.client.get(&wrong), Some(wrong.clone()));
    assert_eq!(pair.client.endpoint.stats().half_open, 1);
    let refused = pair.server.says(RST | ACK, 0, OURS);
    assert_eq!(pair.client.get(&refused), Some(refused.clone()));
    assert_eq!(pair.client.endpoint.stats().half_open, 0);
    assert_eq!(pair.client.endpoint.poll_timeout(), None);
}

#[test]
fn a_repeated_syn_says_the_same() {
    let mut pair = Pair::default();
    let first = pair.client.out(&pair.client.syn()).unwrap();
    pair.client.pass(Duration::from_secs(1));
    let later = pair.client.syn().with(|syn| syn.options[9] = 7);
    let second = pair.client.out(&later).unwrap();
    assert_eq!(second.eno(), first.eno());
    // The server gets both, and answers both.
    pair.server.get(&first).unwrap();
    pair.server.get(&second).unwrap();
    let answer = pair.server.syn_ack();
    let one = pair.server.out(&answer).unwrap();
    let other = pair.server.out(&answer).unwrap();
    assert_eq!(one, other);
    pair.client.get(&one).unwrap();
    pair.client.get(&other).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    pair.talk();
}

#[test]
fn a_long_path_is_given_its_time() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    pair.client.pass(Duration::from_secs(1));
    pair.server.pass(Duration::from_secs(1));
    pair.client.get(&syn_ack).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    pair.server.sent_one();
    pair.client.pass(Duration::from_millis(1400));
    pair.server.pass(Duration::from_millis(1400));
    assert_eq!(pair.client.sent(), []);
    assert_eq!(pair.server.sent(), []);
    pair.server.pass(Duration::from_secs(12));
    assert!(resets(&pair.server.sent()) == (0, 0), "given up too early");
}

#[test]
fn segments_that_are_nobodys_business() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    assert!(syn.eno().is_some());
    // A SYN-ACK for another number is the local TCP's to refuse.
    let wrong = pair.server.syn_ack().with(|syn| syn.ack += 1);
    assert_eq!(pair.client.get(&wrong), Some(wrong.clone()));
    let refusal = pair.client.says(RST, OURS + 1, 0);
    assert_eq!(pair.client.out(&refusal), Some(refusal.clone()));
    let challenge = pair.server.says(ACK, 77, 99);
    assert_eq!(pair.client.get(&challenge), Some(challenge.clone()));
    assert_eq!(pair.client.endpoint.stats().half_open, 1);
    // Connections that were there before us.
    let mut other = Pair::default();
    let data = other.client.says(ACK, 1, 1);
    let data = data.with(|segment| segment.payload = b"old".to_vec());
    assert_eq!(other.client.out(&data), Some(data.clone()));
    let syn_ack = other.server.syn_ack();
    assert_eq!(other.client.get(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(other.client.out(&syn_ack), Some(syn_ack.clone()));
    let fin = data.with(|segment| segment.flags = SYN | FIN);
    assert_eq!(other.client.out(&fin), Some(fin.clone()));
}

#[test]
fn the_same_over_ipv6() {
    let mut pair = Pair::default();
    let (one, other) = ("[fd00::1]:40000", "[fd00::2]:80");
    (pair.client.own, pair.client.peer) = (one.parse().unwrap(), other.parse().unwrap());
    (pair.server.own, pair.server.peer) = (pair.client.peer, pair.client.own);
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.resume();
    pair.talk();
    let stats = pair.client.endpoint.stats();
    assert_eq!((stats.exchanged, stats.resumed), (1, 1));
    // The control protocol has no place for them.
    (pair.client.own, pair.client.peer) =
        ("1.2.3.4:5".parse().unwrap(), "1.2.3.4:6".parse().unwrap());
    assert_eq!(pair.client.netstat(), 0);
}

/// A proxy's SYN-ACK, whose window opens later.
#[test]
fn a_closed_window_in_the_syn_ack() {
    let mut pair = Pair::default();
    pair.client.out(&pair.client.syn()).unwrap();
    pair.server
        .get(&pair.client.syn().with(|syn| {
            syn.options.extend([0xfd, 6, 0x45, 0x4e, 0x21, 0x22, 0, 0]);
        }))
        .unwrap();
    let syn_ack = pair.server.syn_ack().with(|syn| syn.window = 0);
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    pair.client.get(&syn_ack).unwrap();
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    assert_eq!(init2.window, 500);
    assert_eq!(pair.client.get(&init2).unwrap().window, 500);
}
