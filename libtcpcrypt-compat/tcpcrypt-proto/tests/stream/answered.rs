//! SYNs that somebody answered by a list, who knew nothing of sessions and of ports.

use std::time::Instant;

use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::eno::{EnoOption, Kind, Tep};
use tcpcrypt_proto::stream::{Client, Server, Settled};

use crate::pair::{NUMBERS, PORT, Pair, ROOM, Way, endpoint, id_of, option, peer, speaking};

/// What the list has for a SYN.
fn look_up(answers: &[(u8, EnoOption)], syn: &EnoOption) -> Option<EnoOption> {
    let suboptions = syn.suboptions().iter();
    let mut alone = suboptions.take_while(|octet| **octet < 0x80);
    alone.find_map(|octet| {
        let mut fit = answers.iter();
        let fits = |it: &&(u8, EnoOption)| it.0 == *octet && it.1.kind() == syn.kind();
        fit.find(fits).map(|(_, answer)| *answer)
    })
}

/// An answer comes true, also that to a SYN that names a session.
#[test]
fn what_was_answered_by_the_list_comes_true() {
    for eno in [Policy::Legacy, Policy::Auto, Policy::Standard] {
        let [mut near, mut far] = speaking(eno);
        let now = Instant::now();
        let answers = Server::answers(&mut far);
        for number in 0..3 {
            let mut client = Client::new(&mut near, now, PORT, peer(2)).expect("wanted");
            let syn = client.offer(&mut near, now, ROOM).expect("room");
            let names_session = syn.suboptions().iter().any(|octet| *octet > 0xa0);
            assert!(number == 0 || names_session, "{eno:?}: {syn:?}");
            let Some(answer) = look_up(&answers, &syn) else {
                // In the standard the name of a session takes the room of all else.
                assert!(number > 0 && eno != Policy::Legacy, "{eno:?}");
                client.give_up(&mut near, now);
                break;
            };
            let settled = client.answered(&mut near, now, Some(answer));
            assert_eq!(settled, Settled::Exchange);
            let server = Server::answered(&mut far, 8080, peer(1), (syn, answer)).expect("ours");
            let mut ways = [Way::default(), Way::default()];
            let first = client.begin(&mut near, now, NUMBERS, &mut ways[1].wire);
            let second = server.begin(&mut far, now, (NUMBERS.1, NUMBERS.0));
            let mut pair = Pair {
                hosts: [near, far],
                streams: [first.expect("begun"), second.expect("begun")],
                ways,
                settled,
            };
            pair.settle();
            let [one, other] = [0, 1].map(|end| id_of(&pair.streams[end]));
            assert!(one.is_some() && one == other);
            [near, far] = pair.hosts;
        }
    }
}

/// The list says what we would choose ourselves, where nobody asked for something else.
#[test]
fn the_list_has_our_own_choice() {
    for (eno, count, first) in [
        (Policy::Legacy, 2, Tep::P256),
        (Policy::Auto, 2, Tep::X25519),
        (Policy::Standard, 2, Tep::X25519),
    ] {
        let [mut near, mut far] = speaking(eno);
        let now = Instant::now();
        let answers = Server::answers(&mut far);
        assert_eq!(answers.len(), count, "{eno:?}");
        let mut client = Client::new(&mut near, now, PORT, peer(2)).expect("wanted");
        let syn = client.offer(&mut near, now, ROOM).expect("room");
        let listed = look_up(&answers, &syn).expect("an answer");
        let mut server = Server::new(&mut far, now, 8080, peer(1), syn).expect("wanted");
        assert_eq!(server.answer(&mut far, now, ROOM), Some(listed));
        assert_eq!(listed.teps().next(), Some(first));
    }
    let mut off = endpoint(Config {
        enabled: false,
        ..Config::default()
    });
    assert!(Server::answers(&mut off).is_empty());
}

#[test]
fn what_is_no_answer_of_ours_is_none() {
    let [_, mut far] = speaking(Policy::Auto);
    let syn = EnoOption::of(Kind::Experimental, &[0x21, 0x23]);
    for strange in [
        &[253, 5, 0x45, 0x4e, 0x7f][..],
        &[253, 6, 0x45, 0x4e, 0x21, 2],
    ] {
        let strange = option(strange).expect("an option");
        assert!(Server::answered(&mut far, 8080, peer(1), (syn, strange)).is_none());
    }
    // Two hosts that both are B agree on nothing, in whatever words.
    let passive = EnoOption::of(Kind::Standard, &[1, 0x23]);
    let answer = Server::answers(&mut far);
    let answer = look_up(&answer, &passive).expect("the list does not know");
    assert!(Server::answered(&mut far, 8080, peer(1), (passive, answer)).is_none());
}
