//! What keeps two hosts from the standard, or ends the connection: options that were taken out, altered or added, and
//! messages that were.

use proptest::prelude::*;
use tcpcrypt_control::OptionName;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::eno::{EnoOption, Kind};

use crate::host::{Host, Pair, Segment, resets};
use crate::standard::{both, policy, turn};

const POLICIES: [Policy; 2] = [Policy::Standard, Policy::Auto];

/// The same with another option.
pub(crate) fn with_option(segment: Segment, option: &[u8]) -> Segment {
    let mut segment = segment.stripped();
    while matches!(segment.options.last(), Some(0 | 1)) {
        segment.options.pop();
    }
    segment.options.extend_from_slice(option);
    segment
}

#[test]
fn options_that_were_taken_out() {
    for eno in POLICIES {
        let mut pair = both(eno);
        let syn = pair.client.out(&pair.client.syn()).unwrap().stripped();
        assert_eq!(pair.server.get(&syn), Some(syn.clone()));
        let syn_ack = pair.server.syn_ack();
        assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
        assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
        pair.assert_plain();

        let mut pair = both(eno);
        let syn = pair.client.out(&pair.client.syn()).unwrap();
        pair.server.get(&syn).unwrap();
        let syn_ack = pair.server.syn_ack();
        let syn_ack = pair.server.out(&syn_ack).unwrap().stripped();
        assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
        let third = pair.third();
        assert_eq!(pair.client.out(&third), Some(third.clone()));
        assert_eq!(pair.server.get(&third), Some(third.clone()));
        pair.assert_plain();

        // INIT1 was said.
        let mut pair = both(eno);
        let init1 = pair.init1().stripped();
        assert_eq!(pair.server.get(&init1), None);
        assert_eq!(resets(&pair.server.sent()), (1, 1));
    }
}

/// A resumed session is on for the opener; for the other it is plain then, and nothing that it says is believed.
#[test]
fn the_option_of_a_resumed_third_segment_was_taken_out() {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.syns();
    let third = pair.client.out(&pair.third()).unwrap().stripped();
    assert_eq!(pair.server.get(&third), Some(third.clone()));
    // The connection before.
    assert_eq!(pair.server.netstat(), 1);
    let word = pair.server.says(crate::host::ACK, third.ack, third.seq);
    let word = word.with(|segment| segment.payload = b"\0\0\x17in the clear, and a lie".to_vec());
    let word = pair.server.out(&word).unwrap();
    assert_eq!(pair.client.get(&word), None);
    assert_eq!(resets(&pair.client.sent()), (1, 1));
}

#[test]
fn both_kinds_in_a_syn() {
    let mut pair = both(Policy::Auto);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let asked = syn.eno().unwrap();
    let syn = with_option(syn, &[asked.as_bytes(), &[69, 3, 0x23]].concat());
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack));
}

/// Two hosts that would both be B, and two that would both be A.
#[test]
fn no_roles() {
    let mut pair = both(Policy::Standard);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let syn = with_option(syn, &[69, 4, 1, 0x23]);
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack));

    let mut pair = both(Policy::Standard);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    let syn_ack = with_option(syn_ack, &[69, 3, 0x23]);
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack));
}

#[test]
fn answers_that_were_not_asked_for() {
    for (eno, answers) in [
        (
            Policy::Standard,
            vec![
                vec![69, 4, 1, 0x30],
                vec![69, 3, 1],
                vec![69, 5, 1, 0x9f, 0x23],
                vec![253, 5, 0x45, 0x4e, 0x23],
                vec![253, 5, 0x45, 0x4e, 0x21],
                vec![69, 4, 1, 0x23, 253, 5, 0x45, 0x4e, 0x23],
            ],
        ),
        (
            Policy::Auto,
            vec![
                vec![69, 4, 1, 0x23],
                vec![253, 4, 0x45, 0x4e],
                vec![253, 5, 0x45, 0x4e, 0x30],
            ],
        ),
        (
            Policy::Legacy,
            vec![vec![253, 5, 0x45, 0x4e, 0x23], vec![69, 4, 1, 0x23]],
        ),
    ] {
        for answer in answers {
            let mut pair = both(eno);
            let syn = pair.client.out(&pair.client.syn()).unwrap();
            pair.server.get(&syn);
            let syn_ack = pair.server.syn_ack();
            let syn_ack = with_option(syn_ack, &answer);
            assert_eq!(
                pair.client.get(&syn_ack),
                Some(syn_ack.clone()),
                "{answer:?}"
            );
            let third = pair.third();
            assert_eq!(pair.client.out(&third), Some(third.clone()));
        }
    }
}

/// A list from which the strongest were taken out: both agree on another key exchange, and not on a session.
#[test]
fn an_altered_list_gives_two_session_ids() {
    for (eno, list) in [
        (Policy::Standard, &[69, 3, 0x22][..]),
        (Policy::Standard, &[69, 4, 0x22, 0x21]),
        (Policy::Auto, &[253, 5, 0x45, 0x4e, 0x24]),
        (Policy::Auto, &[253, 7, 0x45, 0x4e, 0x21, 0x22, 0x24]),
    ] {
        let mut pair = both(eno);
        let syn = pair.client.out(&pair.client.syn()).unwrap();
        pair.server.get(&with_option(syn, list)).unwrap();
        let syn_ack = pair.server.syn_ack();
        let syn_ack = pair.server.out(&syn_ack).unwrap();
        pair.client.get(&syn_ack).unwrap();
        let init1 = pair.client.out(&pair.third()).unwrap();
        pair.server.get(&init1).unwrap();
        let init2 = pair.server.sent_one();
        pair.client.get(&init2).unwrap();
        let sent = pair.client.sent();
        assert_eq!(
            sent.len(),
            1,
            "{list:?} {:?} {:?}",
            pair.client.log(),
            pair.server.log()
        );
        let ack = &sent[0].1;
        pair.server.get(ack).unwrap();
        let ids = [&mut pair.client, &mut pair.server].map(|host| host.session_id().unwrap());
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0][0], ids[1][0]);
        // The first word ends it.
        let word = pair.third().with(|third| third.payload = b"hello".to_vec());
        let word = pair.client.out(&word).unwrap();
        assert_eq!(pair.server.get(&word), None);
        assert_eq!(resets(&pair.server.sent()), (1, 1));
    }
}

/// From `auto` down to the original's dialect: the key exchanges of the standard were taken out of the SYN.
#[test]
fn pushed_down_to_the_original() {
    let mut pair = both(Policy::Auto);
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server
        .get(&with_option(syn, &[253, 6, 0x45, 0x4e, 0x21, 0x22]))
        .unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [0x21]);
    pair.client.get(&syn_ack).unwrap();
    let init1 = pair.client.out(&pair.third()).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    assert_ne!(pair.client.session_id(), pair.server.session_id());
}

/// Each octet of either message, altered: an error that is not the end of the stream, or keys that differ.
#[test]
fn altered_messages() {
    let mut pair = both(Policy::Standard);
    let len = pair.init1().payload.len();
    for at in 0..len {
        let mut pair = both(Policy::Standard);
        let init1 = pair.init1().with(|init1| init1.payload[at] ^= 1);
        pair.server.get(&init1);
        let sent = pair.server.sent();
        if resets(&sent) == (1, 1) || sent.is_empty() {
            continue;
        }
        let (_, init2) = &sent[0];
        pair.client.get(init2);
        let sent = pair.client.sent();
        if resets(&sent).0 > 0 {
            continue;
        }
        let (_, ack) = &sent[0];
        pair.server.get(ack);
        let ids = [&mut pair.client, &mut pair.server].map(|host| host.session_id());
        assert_ne!(ids[0], ids[1], "octet {at}");
    }
}

/// Somebody repeats the SYN of a resumed connection: without the keys nothing comes of it, and the session is still
/// good for who has them.
#[test]
fn a_repeated_name() {
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    let (syn, _) = pair.resume();
    pair.talk();
    let id = pair.assert_same_id();
    // From another port, the same SYN.
    let again = syn.with(|syn| syn.from.set_port(9));
    pair.server.get(&again).unwrap();
    pair.server.peer.set_port(9);
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    // The session had its connection, so a fresh exchange is offered.
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [1, 0x23]);
    pair.server.peer.set_port(pair.client.own.port());
    assert_eq!(pair.assert_same_id(), id);
    pair.next_port();
    pair.resume();
    pair.talk();
}

#[test]
fn a_peer_that_prefers_nothing_of_ours() {
    let mut pair = Pair::new(policy(Policy::Standard), policy(Policy::Legacy));
    let (syn, syn_ack) = pair.syns();
    assert_eq!(syn.eno().unwrap().kind(), Kind::Standard);
    assert_eq!(syn_ack.eno(), None);
    pair.assert_plain();
    turn(&mut pair);
    let (syn, syn_ack) = pair.syns();
    assert_eq!(
        syn.eno().map(|eno| eno.suboptions().to_vec()),
        Some(vec![0x21, 0x22])
    );
    assert_eq!(syn_ack.eno(), None::<EnoOption>);
    pair.assert_plain();
}

/// An application that insists on one at the other end that knows of encryption.
#[test]
fn mandatory_application_aware_mode() {
    let ask = |host: &mut Host, value: u8| {
        let peer = host.peer;
        host.peer.set_port(0);
        let set = host.control(true, OptionName::AppSupport, &[value, 0, 0, 0]);
        set.expect("an answer");
        host.peer = peer;
    };
    for eno in [Policy::Legacy, Policy::Standard, Policy::Auto] {
        for (client, server, encrypted) in [
            (0, 0, true),
            (1, 0, true),
            (1, 3, true),
            (3, 1, true),
            (3, 3, true),
            (3, 0, false),
            (0, 3, false),
        ] {
            let mut pair = both(eno);
            ask(&mut pair.client, client);
            ask(&mut pair.server, server);
            if encrypted {
                pair.connect();
                pair.talk();
                pair.assert_same_id();
                continue;
            }
            let syn = pair.client.out(&pair.client.syn()).unwrap();
            pair.server.get(&syn).unwrap();
            let syn_ack = pair.server.syn_ack();
            let syn_ack = pair.server.out(&syn_ack).unwrap();
            pair.client.get(&syn_ack).unwrap();
            let third = pair.third();
            assert_eq!(pair.client.out(&third), Some(third.clone()));
            assert_eq!(pair.server.get(&third), Some(third));
            pair.assert_plain();
        }
    }
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        4 => 0x20..0x26_u8,
        2 => 0xa0..0xa6_u8,
        2 => 0..4_u8,
        1 => any::<u8>(),
    ];
    (any::<bool>(), prop::collection::vec(octet, 0..17)).prop_map(|(old, content)| {
        let head: &[u8] = if old { &[253, 0, 0x45, 0x4e] } else { &[69, 0] };
        let mut option = [head, &content].concat();
        option[1] = u8::try_from(option.len()).unwrap();
        option
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Legacy),
        Just(Policy::Standard),
        Just(Policy::Auto),
        Just(Policy::Off),
    ]
}

proptest! {
    /// Whatever a SYN says: plain, or something that it named, in its kind, once, and then a handshake goes on.
    #[test]
    fn any_syn(eno in any_policy(), list in option(), init1 in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut pair = both(eno);
        let syn = pair.client.syn();
        let syn = with_option(syn, &list);
        pair.server.get(&syn).unwrap();
        let syn_ack = pair.server.syn_ack();
        let syn_ack = pair.server.out(&syn_ack).unwrap();
        if let Some(answer) = syn_ack.eno() {
            let kind = answer.kind();
            prop_assert_eq!(kind == Kind::Standard, list[0] == 69);
            let teps = answer.suboptions().iter().filter(|octet| **octet >= 0x20);
            let teps: Vec<u8> = teps.copied().collect();
            prop_assert_eq!(teps.len(), 1);
            prop_assert!(list.contains(&teps[0]) || list.contains(&(teps[0] | 0x80)));
        }
        // With or without what should be INIT1.
        let third = pair.third().with(|third| {
            third.options.extend_from_slice(&list[..list.len().min(4)]);
            third.payload = [&[0x15, 0x10, 0x1a, 0x0e, 0, 0][..], &init1].concat();
        });
        pair.server.get(&third);
        let sent = pair.server.sent();
        prop_assert!(sent.len() <= 3);
    }

    /// Whatever a SYN-ACK says, and whatever comes instead of INIT2.
    #[test]
    fn any_syn_ack(eno in any_policy(), answer in option(), init2 in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut pair = both(eno);
        let syn = pair.client.out(&pair.client.syn()).unwrap();
        let syn_ack = with_option(pair.server.syn_ack(), &answer);
        pair.client.get(&syn_ack).unwrap();
        let third = pair.client.out(&pair.third()).unwrap();
        // INIT1 only where it was agreed on.
        if !third.payload.is_empty() {
            let asked = syn.eno().unwrap();
            prop_assert_eq!(asked.as_bytes()[0], answer[0]);
            prop_assert_eq!(third.eno().unwrap().as_bytes()[0], answer[0]);
        }
        let ack = third.seq.wrapping_add(u32::try_from(third.payload.len()).unwrap());
        let reply = pair.server.says(crate::host::ACK, third.ack, ack);
        let reply = reply.with(|reply| reply.payload = [&[9, 0x71, 5, 0xe0, 0, 0][..], &init2].concat());
        pair.client.get(&reply);
        prop_assert_eq!(pair.client.netstat(), 0);
    }
}
