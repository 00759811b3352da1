//! Both hosts open the connection, and the application of one asked to be host B (RFC 8547 sections 4.3 and 4.6): segment
//! by segment. What networks do to it is in `adversarial/crossed.rs`.

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::eno::Kind;
use tcpcrypt_proto::verdict::Direction;

use crate::host::{ACK, CLIENT_ISN, Pair, RST, SERVER_ISN, SYN, Segment, resets};
use crate::rules::{ask, set};
use crate::standard::{assert_bare, both, policy};

/// The server's application asked to be host B; both SYNs are on their way.
fn syns(eno: Policy) -> (Pair, Segment, Segment) {
    let mut pair = both(eno);
    ask(&mut pair.server, OptionName::PassiveRole);
    let from_a = pair.client.out(&pair.client.syn()).expect("a SYN");
    let own = pair.server.syn().with(|syn| {
        syn.seq = SERVER_ISN;
        // Of a connection between the same addresses, before (Linux: `tcp_tw_reuse`).
        syn.options[8..16].copy_from_slice(&[0, 0, 9, 9, 0, 0, 7, 7]);
    });
    let from_b = pair.server.out(&own).expect("a SYN");
    assert_eq!(from_b.eno_bytes().expect("an option")[..3], [69, 7, 1]);
    (pair, from_a, from_b)
}

/// Host A has answered host B's SYN, and waits until it hears that B has seen its option.
fn waiting() -> Pair {
    let (mut pair, _, from_b) = syns(Policy::Standard);
    assert_eq!(pair.client.get(&from_b), None);
    pair.client.sent_one();
    pair
}

fn assert_answers(segment: &Segment, own: &Segment, other: &Segment) {
    assert_eq!(segment.flags, SYN | ACK);
    assert_eq!((segment.seq, segment.ack), (own.seq, other.seq + 1));
    assert_eq!(segment.options, replying(own, other));
}

/// The options of this SYN with the other's timestamp as the one that is repeated.
fn replying(own: &Segment, other: &Segment) -> Vec<u8> {
    let mut options = own.options.clone();
    options[12..16].copy_from_slice(&other.options[8..12]);
    options
}

/// The third segment of the local TCP of host B, which believes to have begun.
fn third_of_b(pair: &Pair) -> Segment {
    pair.server.says(ACK, SERVER_ISN + 1, CLIENT_ISN + 1)
}

#[test]
fn each_syn_answers_the_other() {
    let (mut pair, from_a, from_b) = syns(Policy::Standard);
    // Host A waits until B has seen its option.
    assert_eq!(pair.client.get(&from_b), None);
    let answer_of_a = pair.client.sent_one();
    assert_answers(&answer_of_a, &from_a, &from_b);
    // Host B's TCP is connected, and may not send.
    let for_local = pair.server.get(&from_a).expect("a SYN-ACK");
    assert_eq!(for_local.flags, SYN | ACK);
    assert_eq!((for_local.seq, for_local.ack), (CLIENT_ISN, SERVER_ISN + 1));
    assert_eq!(for_local.window, 0);
    assert_eq!(for_local.options[8..16], replying(&from_a, &from_b)[8..16]);
    let answer_of_b = pair.server.sent_one();
    assert_answers(&answer_of_b, &from_b, &from_a);
    assert_eq!(pair.server.out(&third_of_b(&pair)), None);
    assert_eq!(pair.server.get(&answer_of_a), None);
    // Whatever is repeated is answered again.
    assert_eq!(pair.client.get(&from_b), None);
    assert_eq!(pair.client.sent_one(), answer_of_a);
    assert_eq!(pair.server.get(&from_a), None);
    assert_eq!(pair.server.sent_one(), answer_of_b);
    let own = pair.server.syn().with(|syn| syn.seq = SERVER_ISN);
    assert_eq!(pair.server.out(&own), None);
    assert_eq!(pair.server.sent(), [(Direction::In, for_local)]);

    let syn_ack = pair.client.get(&answer_of_b).expect("a SYN-ACK");
    assert_eq!(syn_ack.window, 0);
    let init1 = pair.client.out(&pair.third()).expect("INIT1");
    assert_bare(&init1, Kind::Standard);
    pair.server.get(&init1).expect("the third segment");
    let init2 = pair.server.sent_one();
    assert_bare(&init2, Kind::Standard);
    pair.client.get(&init2).expect("what opens the window");
    let ack = pair.client.sent_one();
    pair.server.get(&ack).expect("what opens the window");
    pair.talk();
    pair.assert_same_id();
    for (host, role) in [(&mut pair.client, b"A"), (&mut pair.server, b"B")] {
        let told = host.control(false, OptionName::Role, &[0; 64]);
        assert!(told.expect("a role").starts_with(role));
    }
}

/// A host that did not see the other's SYN knows from the SYN-ACK that there was one: who only answers is host B.
#[test]
fn the_syn_of_host_a_was_lost() {
    let (mut pair, from_a, from_b) = syns(Policy::Standard);
    assert_eq!(pair.client.get(&from_b), None);
    let answer_of_a = pair.client.sent_one();
    let for_local = pair.server.get(&answer_of_a).expect("a SYN-ACK");
    assert_eq!((for_local.flags, for_local.window), (SYN | ACK, 0));
    assert_answers(&pair.server.sent_one(), &from_b, &from_a);
}

/// Host A's SYN was the only one of its segments that had the option, or none had: then B must not believe it.
#[test]
fn host_b_was_not_heard() {
    let (mut pair, from_a, _) = syns(Policy::Standard);
    pair.server.get(&from_a).expect("a SYN-ACK");
    pair.server.sent_one();
    let syn_ack = pair.client.says(SYN | ACK, CLIENT_ISN, SERVER_ISN + 1);
    assert_eq!(pair.server.get(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();

    // The other way round: without the option in B's answer A says nothing.
    let mut pair = waiting();
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();
}

/// The SYN-ACK of host B was lost, and what comes next shows that it is connected.
#[test]
fn host_b_goes_on_in_plain() {
    let mut pair = waiting();
    let data = third_of_b(&pair).with(|segment| segment.payload = b"hello".to_vec());
    let syn_ack = pair.client.get(&data).expect("a SYN-ACK");
    assert_eq!(syn_ack.flags, SYN | ACK);
    assert_eq!((syn_ack.seq, syn_ack.ack), (SERVER_ISN, CLIENT_ISN + 1));
    assert!(syn_ack.payload.is_empty());
    pair.assert_plain();
}

/// The same of a host B whose segments have the option: it has seen A's.
#[test]
fn the_answer_of_host_b_was_lost() {
    let mut pair = waiting();
    let third = third_of_b(&pair).with(|segment| segment.options.extend([69, 2, 0, 0]));
    let syn_ack = pair.client.get(&third).expect("a SYN-ACK");
    assert_eq!((syn_ack.flags, syn_ack.window), (SYN | ACK, 0));
    let init1 = pair.client.out(&pair.third()).expect("INIT1");
    assert_bare(&init1, Kind::Standard);
    assert!(!init1.payload.is_empty());
}

/// An application that wants nobody but those who know of encryption.
#[test]
fn an_application_that_insists() {
    for insists in [0, 1] {
        let mut pair = both(Policy::Standard);
        ask(&mut pair.server, OptionName::PassiveRole);
        let host = match insists {
            0 => &mut pair.client,
            _ => &mut pair.server,
        };
        set(host, OptionName::AppSupport, 3);
        let from_a = pair.client.out(&pair.client.syn()).expect("a SYN");
        let own = pair.server.syn().with(|syn| syn.seq = SERVER_ISN);
        let from_b = pair.server.out(&own).expect("a SYN");
        match insists {
            0 => assert_eq!(pair.client.get(&from_b), Some(from_b.clone())),
            _ => assert_eq!(pair.server.get(&from_a), Some(from_a.clone())),
        }
    }
}

/// Host B's TCP believes to be connected: without a word of A it is told that it is not.
#[test]
fn host_a_never_says_more() {
    let (mut pair, from_a, _) = syns(Policy::Standard);
    pair.server.get(&from_a).expect("a SYN-ACK");
    let answer = pair.server.sent_one();
    let mut answers = 0;
    for _ in 0..1200 {
        pair.server.pass(std::time::Duration::from_millis(100));
        let sent = pair.server.sent();
        answers += sent.iter().filter(|(_, it)| *it == answer).count();
        if sent.iter().any(|(_, it)| it.flags.has(RST)) {
            assert_eq!(resets(&sent), (1, 1));
            assert!((3..20).contains(&answers), "{answers}");
            assert_eq!(pair.server.endpoint.stats().half_open, 0);
            return;
        }
    }
    panic!("it waits for ever");
}

/// Without timers of the handshake, too.
#[test]
fn host_a_never_says_more_and_nothing_is_repeated() {
    let config = Config {
        timers: false,
        ..policy(Policy::Standard)
    };
    let mut pair = Pair::new(config, config);
    ask(&mut pair.server, OptionName::PassiveRole);
    let from_a = pair.client.out(&pair.client.syn()).expect("a SYN");
    let own = pair.server.syn().with(|syn| syn.seq = SERVER_ISN);
    pair.server.out(&own).expect("a SYN");
    pair.server.get(&from_a).expect("a SYN-ACK");
    pair.server.sent_one();
    pair.server.pass(config.limits.handshake);
    assert_eq!(resets(&pair.server.sent()), (1, 1));
}
