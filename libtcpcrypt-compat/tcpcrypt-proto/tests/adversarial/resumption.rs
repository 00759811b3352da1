//! Chains of sessions.

use std::collections::HashSet;

use tcpcrypt_proto::config::Config;

use crate::model::{Host, Lab, Network, SIDES, Side, is_standard};
use crate::promises::{
    assert_encrypted, assert_nothing_shown, exchange, ours, pair, seconds, tep, text,
};

/// Connects, exchanges, closes; gives the session id.
fn once(lab: &mut Lab, opener: Side, round: u64) -> Vec<u8> {
    let conn = lab.open_from(opener, 6000 + round as u16);
    assert!(lab.run_until(seconds(120), |lab| lab.is_established(conn)));
    let (up, down) = (text(round, 2000), text(!round, 2000));
    lab.send(conn, Side::Client, &up);
    lab.send(conn, Side::Server, &down);
    let arrived = |lab: &Lab| {
        lab.received(conn, Side::Server).len() == 2000
            && lab.received(conn, Side::Client).len() == 2000
    };
    assert!(lab.run_until(seconds(120), arrived), "round {round}");
    let id = assert_encrypted(lab, conn);
    lab.finish(conn, Side::Client);
    lab.finish(conn, Side::Server);
    crate::promises::complete(lab, conn, &up, &down, seconds(300));
    id
}

#[test]
fn a_chain() {
    for loss in [0.0, 0.05] {
        let mut lab = pair(1).network(Network::lossy(loss));
        let mut seen = HashSet::new();
        for round in 0..20 {
            let id = once(&mut lab, Side::Client, round);
            if loss == 0.0 {
                assert_eq!(
                    tep(&id),
                    if round == 0 { 0x21 } else { 0xa1 },
                    "round {round}"
                );
            }
            assert!(seen.insert(id), "a session twice, round {round}");
        }
        let stats = lab.endpoint(Side::Client).stats();
        assert_eq!(stats.resumed + stats.exchanged, 20);
        assert!(stats.resumed >= 10, "{} of 20 resumed", stats.resumed);
        assert_nothing_shown(&lab);
    }
}

#[test]
fn a_session_is_not_used_in_the_other_direction() {
    let mut lab = pair(2);
    // In the standard it is (RFC 8548 section 3.5).
    let turned = if is_standard() { 0xa1 } else { 0x21 };
    assert_eq!(tep(&once(&mut lab, Side::Client, 0)), 0x21);
    assert_eq!(tep(&once(&mut lab, Side::Server, 1)), turned);
    assert_eq!(tep(&once(&mut lab, Side::Client, 2)), 0xa1);
    assert_eq!(tep(&once(&mut lab, Side::Server, 3)), 0xa1);
    assert_nothing_shown(&lab);
}

#[test]
fn several_at_once_share_nothing() {
    let mut lab = pair(3);
    once(&mut lab, Side::Client, 0);
    let conns: Vec<_> = (0..5).map(|_| lab.open()).collect();
    lab.run(seconds(2));
    let mut ids = HashSet::new();
    for (index, conn) in conns.iter().enumerate() {
        assert!(ids.insert(assert_encrypted(&mut lab, *conn)));
        let seed = index as u64;
        exchange(
            &mut lab,
            *conn,
            &text(seed, 4000),
            &text(!seed, 4000),
            seconds(20),
        );
    }
    assert_nothing_shown(&lab);
}

/// One side has forgotten, or keeps nothing: a full exchange.
#[test]
fn one_side_does_not_know() {
    for forgetful in SIDES {
        let config = Config {
            session_cache: false,
            ..Config::default()
        };
        let mut lab = pair(4);
        lab = match forgetful {
            Side::Client => lab.client(Host::tcpcrypt(config)),
            Side::Server => lab.server(Host::tcpcrypt(config)),
        };
        for round in 0..4 {
            let id = once(&mut lab, Side::Client, round);
            assert_eq!(tep(&id), 0x21, "{forgetful:?}");
        }
        assert_nothing_shown(&lab);
    }
    // Restarted between two connections.
    for forgetful in SIDES {
        let mut lab = pair(5);
        once(&mut lab, Side::Client, 0);
        once(&mut lab, Side::Client, 1);
        lab = match forgetful {
            Side::Client => lab.client(ours()),
            Side::Server => lab.server(ours()),
        };
        assert_eq!(tep(&once(&mut lab, Side::Client, 2)), 0x21);
        assert_eq!(tep(&once(&mut lab, Side::Client, 3)), 0xa1);
        assert_nothing_shown(&lab);
    }
}

/// Connections that fail in the middle of the handshake or right behind it: whatever the two sides
/// then know, the next connection works and no key is used twice.
#[test]
fn interrupted_generations() {
    for seed in 0..40 {
        let mut lab = pair(seed);
        let mut ids = HashSet::new();
        assert!(ids.insert(once(&mut lab, Side::Client, 0)));
        for round in 1..4_u64 {
            lab.set_network(Network::lossy(0.4));
            let conn = lab.open_from(Side::Client, 7000 + round as u16);
            lab.run(std::time::Duration::from_millis(10 + seed * 7));
            for side in SIDES {
                if lab.socket(conn, side).is_some() && lab.end(conn, side).is_none() {
                    lab.send(conn, side, &text(seed, 100));
                    lab.abort(conn, side);
                }
            }
            lab.run(seconds(2));
            lab.set_network(Network::clean());
            lab.run(seconds(1));
            let id = once(&mut lab, Side::Client, 100 * round);
            assert!(ids.insert(id), "a session twice, seed {seed} round {round}");
        }
        assert_nothing_shown(&lab);
    }
}
