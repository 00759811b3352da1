//! Plain TCP, where nothing was agreed, and nothing but a reset where something was.

use std::time::Duration;

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::packet::options;

use crate::host::{ACK, CLIENT_ISN, LINUX, Pair, SERVER_ISN, SYN, Segment, resets};

fn eno(suboptions: &[u8]) -> Vec<u8> {
    let len = u8::try_from(4 + suboptions.len()).unwrap();
    [&[0xfd, len, 0x45, 0x4e], suboptions].concat()
}

#[test]
fn a_peer_without_tcpcrypt() {
    let mut pair = Pair::default();
    let off = Config {
        enabled: false,
        ..Config::default()
    };
    pair.server = Pair::new(off, off).server;
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();
    assert_eq!(pair.client.endpoint.stats().plain, 1);
    assert_eq!(pair.client.endpoint.stats().half_open, 0);

    // The other way round.
    let mut pair = Pair::new(off, Config::default());
    let syn = pair.client.syn();
    assert_eq!(pair.client.out(&syn), Some(syn.clone()));
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();
}

#[test]
fn stripped_from_the_syn_the_syn_ack_or_the_third_segment() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap().stripped();
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();

    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap().stripped();
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    let third = pair.third();
    assert_eq!(pair.client.out(&third), Some(third.clone()));
    assert_eq!(pair.server.get(&third), Some(third.clone()));
    pair.assert_plain();
    assert_eq!(pair.server.log(), ["No ENO option found in expected INIT1"]);

    // The client has said INIT1 and cannot go back. The application must not get it.
    let mut pair = Pair::default();
    let init1 = pair.init1().stripped();
    assert_eq!(pair.server.get(&init1), None);
    let sent = pair.server.sent();
    assert_eq!(resets(&sent), (1, 1));
    let (_, reset) = sent.iter().find(|(_, s)| s.to == pair.client.own).unwrap();
    // As the client's daemon does not know ours, its own TCP's number it is.
    assert_eq!(pair.client.get(reset).unwrap().seq, SERVER_ISN + 1);
}

#[test]
fn simultaneous_open() {
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    let other = pair.server.syn().with(|syn| syn.seq = SERVER_ISN);
    let other = pair.server.out(&other).unwrap();
    assert!(other.eno().is_some());
    assert_eq!(pair.server.get(&syn), Some(syn.clone()));
    assert_eq!(pair.client.get(&other), Some(other.clone()));
    let answer = pair.client.says(SYN | ACK, CLIENT_ISN, SERVER_ISN + 1);
    assert_eq!(pair.client.out(&answer), Some(answer.clone()));
    assert_eq!(pair.server.get(&answer), Some(answer.clone()));
    let answer = pair.server.syn_ack();
    assert_eq!(pair.server.out(&answer), Some(answer.clone()));
    assert_eq!(pair.client.get(&answer), Some(answer.clone()));
    pair.assert_plain();

    // The peer's SYN came first, then the local TCP opens.
    let mut pair = Pair::default();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let own = pair.server.syn().with(|syn| syn.seq = SERVER_ISN);
    assert_eq!(pair.server.out(&own), Some(own.clone()));
    assert_eq!(pair.server.endpoint.stats().half_open, 0);
}

#[test]
fn no_room_for_the_option() {
    for (used, fits) in [
        (20, true),
        (32, true),
        (33, true),
        (34, true),
        (35, false),
        (36, false),
        (40, false),
    ] {
        let mut pair = Pair::default();
        let syn = pair.client.syn().with(|syn| {
            let rest = u8::try_from(used - 4).unwrap();
            syn.options = [&[2, 4, 5, 0xb4, 0xfe, rest], &vec![7; used - 6][..]].concat();
        });
        let padded = Segment::read(&syn.packet());
        let sent = pair.client.out(&padded).unwrap();
        assert_eq!(sent.eno().is_some(), fits, "{used}");
        assert_eq!(sent.options[..used], syn.options[..used]);
        if !fits {
            assert_eq!(sent, padded);
            assert!(pair.client.log().contains(&"No space for hello".to_owned()));
            continue;
        }
        // And in the SYN-ACK.
        pair.server.get(&sent).unwrap();
        let syn_ack = pair.server.syn_ack().with(|syn| {
            syn.options = [&[0xfe, 36][..], &[7; 34]].concat();
        });
        assert_eq!(pair.server.out(&syn_ack), Some(syn_ack.clone()));
        assert_eq!(pair.server.log(), ["No space for ENO"]);
        assert_eq!(pair.server.endpoint.stats().half_open, 0);
    }
    // Without the name of a session there is room.
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    let syn = pair.client.syn().with(|syn| {
        syn.options = [&LINUX[..], &[0xfe, 8, 1, 2, 3, 4, 5, 6]].concat();
    });
    let sent = pair.client.out(&syn).unwrap();
    assert_eq!(sent.eno().unwrap().suboptions(), [0x21, 0x22]);
    assert_eq!(pair.client.endpoint.stats().sessions, 1);
}

#[test]
fn hostile_syns_are_plain_or_encrypted_but_never_harm() {
    let wanted: [(&[u8], bool); 8] = [
        (&[], false),
        (&[0x25, 0x26], false),
        (&[0x30, 0x21], true),
        (&[0xa1; 28], false),
        (&[0xff; 20], false),
        (&[2], false),
        (&[0x22], true),
        (&[0x21, 0xa1, 1, 2, 3], true),
    ];
    for (list, encrypted) in wanted {
        let mut pair = Pair::default();
        let syn = pair.client.syn().with(|syn| {
            syn.options = eno(list);
        });
        let seen = pair.server.get(&Segment::read(&syn.packet())).unwrap();
        assert_eq!(seen.window == 0, encrypted, "{list:02x?}");
        let syn_ack = pair.server.syn_ack();
        let sent = pair.server.out(&syn_ack).unwrap();
        assert_eq!(sent.eno().is_some(), encrypted, "{list:02x?}");
        if !encrypted {
            assert_eq!(seen.options, Segment::read(&syn.packet()).options);
            assert_eq!(pair.server.log(), ["No cipher"]);
        }
    }
    for options in [
        [eno(&[0x21]), eno(&[0x21])].concat(),
        [eno(&[0x21]), vec![69, 3, 0x21]].concat(),
        vec![0xfd, 0, 0x45, 0x4e],
        vec![0xfd, 40, 0x45, 0x4e],
        [vec![2, 4, 0, 0], eno(&[0x21])].concat(),
        [vec![2, 4, 0, 90], eno(&[0x21])].concat(),
    ] {
        let mut pair = Pair::default();
        let syn = pair.client.syn().with(|syn| syn.options = options);
        let syn = Segment::read(&syn.packet());
        assert_eq!(pair.server.get(&syn), Some(syn.clone()));
        assert_eq!(pair.server.endpoint.stats().half_open, 0);
    }
}

#[test]
fn hostile_syn_acks_leave_a_plain_connection() {
    let lists: [&[u8]; 8] = [
        &[],
        &[0x23],
        &[0x30],
        &[0xa1],
        &[0xff; 4],
        &[2],
        &[0xa1, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0xa1; 28],
    ];
    for list in lists {
        let mut pair = Pair::default();
        pair.client.out(&pair.client.syn()).unwrap();
        let syn_ack = pair.server.syn_ack().with(|syn| syn.options = eno(list));
        let syn_ack = Segment::read(&syn_ack.packet());
        assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
        assert_eq!(pair.client.log()[1..], ["No cipher"]);
        pair.assert_plain();
    }
    let mut pair = Pair::default();
    pair.client.out(&pair.client.syn()).unwrap();
    let tiny = [vec![2, 4, 0, 100], eno(&[0x21])].concat();
    let syn_ack = pair.server.syn_ack().with(|syn| syn.options = tiny);
    let syn_ack = Segment::read(&syn_ack.packet());
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    pair.assert_plain();
}

#[test]
fn data_in_our_own_syn_are_sent_in_plain() {
    let mut pair = Pair::default();
    let syn = pair.client.syn().with(|syn| syn.payload = b"fast".to_vec());
    assert_eq!(pair.client.out(&syn), Some(syn.clone()));
    let refused = pair.client.syn().with(|syn| syn.seq += 5);
    assert!(pair.client.out(&refused).unwrap().eno().is_some(), "anew");
    // A SYN with an ENO option already is somebody else's.
    for options in [eno(&[0x21, 0x22, 0, 0]), vec![69, 3, 0x23, 0]] {
        let mut pair = Pair::default();
        let syn = pair.client.syn().with(|syn| syn.options = options);
        assert_eq!(pair.client.out(&syn), Some(syn.clone()));
    }
}

#[test]
fn settings_of_a_port() {
    // Disabled by the application, once.
    let mut pair = Pair::default();
    let peer = pair.client.peer;
    pair.client.peer.set_port(0);
    assert_eq!(
        pair.client.control(true, OptionName::Enable, &[0]),
        Ok(vec![0])
    );
    pair.client.peer = peer;
    let syn = pair.client.syn();
    assert_eq!(pair.client.out(&syn), Some(syn.clone()));
    // Also when it has to be repeated, until it is answered.
    assert_eq!(pair.client.out(&syn), Some(syn.clone()));
    assert_eq!(
        pair.client.control(false, OptionName::Enable, &[0; 4]),
        Ok(vec![0; 4])
    );
    let syn_ack = pair.server.syn_ack();
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    assert_eq!(pair.client.endpoint.stats().half_open, 0);
    pair.assert_plain();
    let again = syn.with(|syn| syn.seq += 1);
    assert!(pair.client.out(&again).unwrap().eno().is_some());
    // Application aware on both sides: the listening port keeps its settings.
    let mut pair = Pair::default();
    for host in [&mut pair.client, &mut pair.server] {
        let peer = host.peer;
        host.peer.set_port(0);
        host.control(true, OptionName::AppSupport, &[1]).unwrap();
        host.peer = peer;
    }
    let (syn, syn_ack) = pair.syns();
    assert_eq!(syn.eno().unwrap().suboptions(), [0x21, 0x22, 2]);
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [0x21, 2]);
    let third = pair.third();
    let init1 = pair.client.out(&third).unwrap();
    pair.server.get(&init1).unwrap();
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).unwrap();
    let ack = pair.client.sent_one();
    pair.server.get(&ack).unwrap();
    for host in [&mut pair.client, &mut pair.server] {
        let answer = host.control(false, OptionName::AppSupport, &[0; 34]);
        assert_eq!(answer.unwrap()[0], 3);
    }
    pair.next_port();
    let (syn, syn_ack) = pair.syns();
    assert!(!syn.eno().unwrap().app_aware());
    assert!(syn_ack.eno().unwrap().app_aware());
}

#[test]
fn debug_mode_tells_of_plain_connections() {
    let config = Config {
        debug: true,
        ..Config::default()
    };
    let mut pair = Pair::new(config, config);
    pair.client.out(&pair.client.syn()).unwrap();
    let syn_ack = pair.server.syn_ack();
    pair.client.get(&syn_ack).unwrap();
    let events = std::iter::from_fn(|| pair.client.endpoint.poll_event());
    assert_eq!(events.filter(|event| event.fatal).count(), 1);
}

#[test]
fn key_log() {
    let config = Config {
        key_log: true,
        ..Config::default()
    };
    let mut pair = Pair::new(config, Config::default());
    pair.connect();
    let lines = pair.client.log();
    let keys: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    let len = |name: &str| keys[name].as_str().unwrap().len();
    assert_eq!(
        (len("priv"), len("pub"), len("peer"), len("es")),
        (64, 130, 130, 64)
    );
    assert_eq!(pair.server.log(), [""; 0]);
}

#[test]
fn sack_and_mss_stay_on_the_wire() {
    let mut pair = Pair::default();
    let (syn, syn_ack) = pair.syns();
    for segment in [syn, syn_ack] {
        assert!(options::sack_permitted(&segment.options));
        assert_eq!(options::mss(&segment.options), Some(1460));
    }
}

#[test]
fn packets_that_are_none() {
    let mut pair = Pair::default();
    let good = pair.client.syn().packet();
    let mut out = Vec::new();
    let mut bad = 0;
    for len in 0..good.len() {
        let now = pair.client.now;
        let direction = tcpcrypt_proto::verdict::Direction::Out;
        let endpoint = &mut pair.client.endpoint;
        let verdict = endpoint.handle_packet(now, direction, &good[..len], &mut out);
        assert_eq!(verdict, tcpcrypt_proto::verdict::Verdict::Accept);
        bad += 1;
    }
    let log = pair.client.log();
    assert!(log.iter().all(|line| line == "Bad packet 2"));
    // An empty packet is of no version at all.
    assert_eq!(log.len(), bad - 1);
    pair.client.pass(Duration::from_secs(1));
}
