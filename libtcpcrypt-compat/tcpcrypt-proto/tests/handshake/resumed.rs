//! Sessions that go on in another connection.

use std::time::Duration;

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::packet::options;

use crate::host::{ACK, CLIENT_ISN, Host, Pair, RST, SERVER_ISN, lowered_mss, resets};

fn no_cache() -> Config {
    Config {
        session_cache: false,
        ..Config::default()
    }
}

#[test]
fn a_chain() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    let mut ids = vec![pair.assert_same_id()];
    for _ in 0..5 {
        pair.next_port();
        let syn = pair.client.out(&pair.client.syn()).unwrap();
        let named = syn.eno().unwrap();
        let named = named.suboptions();
        assert_eq!((named.len(), &named[..3]), (12, &[0x21, 0x22, 0xa1][..]));
        let seen = pair.server.get(&syn).unwrap();
        assert_eq!(seen.window, 0);
        let syn_ack = pair.server.syn_ack();
        let syn_ack = pair.server.out(&syn_ack).unwrap();
        let answer = syn_ack.eno().unwrap();
        assert_eq!(answer.suboptions().last(), Some(&0xa1));
        // The client's TCP may send at once.
        let seen = pair.client.get(&syn_ack).unwrap();
        assert_eq!(seen.window, 65160);
        assert_eq!(options::mss(&seen.options), Some(lowered_mss(true)));
        let third = pair.third();
        let wire = pair.client.out(&third).unwrap();
        assert_eq!((wire.eno(), wire.payload.len()), (None, 0));
        assert_eq!((wire.seq, wire.ack), (third.seq, third.ack));
        let seen = pair.server.get(&wire).unwrap();
        assert_eq!(seen.window, third.window);
        pair.talk();
        let id = pair.assert_same_id();
        assert_eq!(id[0], 0xa1);
        assert!(!ids.contains(&id));
        assert_eq!(id[..10], named[2..]);
        ids.push(id);
    }
    let stats = pair.server.endpoint.stats();
    assert_eq!((stats.exchanged, stats.resumed, stats.sessions), (1, 5, 1));
}

#[test]
fn data_before_the_third_segment() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.syns();
    pair.talk();
}

#[test]
fn a_server_that_has_forgotten() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.client.log();
    // Restarted.
    let fresh = Pair::default().server;
    pair.server.endpoint = fresh.endpoint;
    pair.next_port();
    pair.connect();
    assert_eq!(pair.client.log(), ["Session caching failed"]);
    assert_eq!(pair.assert_same_id()[0], 0x21);
    pair.talk();
    pair.next_port();
    pair.resume();
    pair.talk();
}

#[test]
fn no_cache_on_either_side() {
    for (client, server) in [
        (no_cache(), Config::default()),
        (Config::default(), no_cache()),
    ] {
        let mut pair = Pair::new(client, server);
        for _ in 0..2 {
            pair.connect();
            pair.talk();
            assert_eq!(pair.assert_same_id()[0], 0x21);
            pair.next_port();
        }
    }
    // Asked for by an application.
    let mut pair = Pair::default();
    let ask = |host: &mut Host| {
        let peer = host.peer;
        host.peer.set_port(0);
        host.control(true, OptionName::NoCache, &[1]).unwrap();
        host.peer = peer;
    };
    ask(&mut pair.client);
    pair.connect();
    pair.talk();
    pair.next_port();
    let (syn, _) = pair.syns();
    assert_eq!(syn.eno().unwrap().suboptions().len(), 2);
    // A listening port that forbids it takes no session.
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    ask(&mut pair.server);
    pair.next_port();
    pair.connect();
    assert_eq!(pair.assert_same_id()[0], 0x21);
}

#[test]
fn a_session_that_was_not_used_is_used_later() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    let first = pair.client.out(&pair.client.syn()).unwrap();
    // Repeated with the same name.
    let again = pair.client.out(&pair.client.syn()).unwrap();
    assert_eq!(again.eno(), first.eno());
    // Meanwhile another connection has none to name.
    pair.next_port();
    let other = pair.client.out(&pair.client.syn()).unwrap();
    assert_eq!(other.eno().unwrap().suboptions().len(), 2);
    // Refused.
    pair.client.own.set_port(40001);
    pair.server.peer.set_port(40001);
    let ack = CLIENT_ISN.wrapping_add(1);
    let refused = pair.server.says(RST | ACK, 0, ack);
    pair.client.get(&refused).unwrap();
    pair.client.own.set_port(40005);
    pair.server.peer.set_port(40005);
    let (syn, _) = pair.resume();
    assert_eq!(syn.eno(), first.eno());
    pair.talk();
}

/// What the client names must be there once only, however often it is named.
#[test]
fn a_name_is_good_for_one_connection() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let copy = syn.with(|syn| syn.from.set_port(50000));
    pair.server.peer = copy.from;
    pair.server.get(&copy).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap();
    assert_eq!(syn_ack.eno().unwrap().suboptions(), [0x21]);
    // The first one is refused by the server's TCP: then the session can be named again.
    pair.server.peer = pair.client.own;
    let refused = pair.server.says(RST | ACK, 0, CLIENT_ISN.wrapping_add(1));
    pair.server.out(&refused).unwrap();
    pair.client.get(&refused).unwrap();
    pair.next_port();
    pair.resume();
    pair.talk();
}

/// A client must not name the next generation before the server has shown that it has this one.
#[test]
fn the_next_generation_waits_for_a_record() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.resume();
    assert_eq!(pair.client.endpoint.stats().sessions, 0);
    pair.talk();
    assert_eq!(pair.client.endpoint.stats().sessions, 1);
}

/// The answer was stripped of its option: the client is in the clear, which a server that resumes can only
/// see by its data.
#[test]
fn plaintext_on_a_resumed_connection() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    let syn = pair.client.out(&pair.client.syn()).unwrap();
    pair.server.get(&syn).unwrap();
    let syn_ack = pair.server.syn_ack();
    let syn_ack = pair.server.out(&syn_ack).unwrap().stripped();
    assert_eq!(pair.client.get(&syn_ack), Some(syn_ack.clone()));
    let data = pair.third();
    let data = data.with(|segment| segment.payload = b"plain text".to_vec());
    assert_eq!(pair.client.out(&data), Some(data.clone()));
    assert_eq!(pair.server.get(&data), None);
    assert_eq!(resets(&pair.server.sent()), (1, 1));
}

#[test]
fn sessions_expire() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.client.pass(Duration::from_secs(3601));
    pair.next_port();
    let (syn, _) = pair.syns();
    assert_eq!(syn.eno().unwrap().suboptions().len(), 2);
    assert_eq!(pair.server.log(), [""; 0]);
}

/// A session that the server has forgotten is not named again, even if nothing comes of the connection.
#[test]
fn a_forgotten_session_is_thrown_away() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.server.endpoint = Pair::default().server.endpoint;
    pair.next_port();
    pair.init1();
    let reset = pair.server.says(RST | ACK, SERVER_ISN + 1, 0);
    pair.client.get(&reset).unwrap();
    assert_eq!(pair.client.endpoint.stats().sessions, 0);
}

#[test]
fn a_third_segment_from_far_away() {
    let mut pair = Pair::default();
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.syns();
    let far = pair
        .third()
        .with(|segment| segment.seq = segment.seq.wrapping_add(1 << 21));
    let far = far.with(|segment| segment.payload = b"x".to_vec());
    assert_eq!(pair.server.get(&far), Some(far.clone()));
    assert_eq!(pair.server.endpoint.stats().resumed, 0);
    pair.talk();
}
