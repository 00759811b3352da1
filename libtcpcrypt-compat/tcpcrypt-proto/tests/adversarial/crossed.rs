//! Both ends open the same connection at the same time, and one of the two applications asked to be host B (RFC 8547
//! section 4.3).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tcpcrypt_control::{Datagram, Header, OptionName, SET};
use tcpcrypt_proto::endpoint::ClientId;

use crate::model::{Conn, Lab, Loopback, Network, SIDES, Side, Which, eno_kind};
use crate::promises::{
    MARKER, assert_encrypted, assert_nothing_shown, assert_prefix, exchange, is_over, pair,
    seconds, tep, text, with_a_plain_host,
};

/// The port of both ends.
const PORT: u16 = 4000;

/// The application of this side asks for it.
fn ask_for_host_b(lab: &mut Lab, side: Side) {
    let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let option = OptionName::PassiveRole.number();
    let mut header = Header::request(1, any(PORT), any(0), option);
    header.flags = SET;
    let mut request = Vec::new();
    Datagram::write(&header, &1_u32.to_ne_bytes(), &mut request);
    let now = lab.instant();
    let endpoint = lab.endpoint(side);
    endpoint.handle_control(now, ClientId(1), &request);
    let mut answer = Vec::new();
    assert_eq!(endpoint.poll_control(&mut answer), Some(ClientId(1)));
    let answer = Datagram::parse(&answer).expect("an answer");
    assert_eq!(answer.header.error, 0);
}

/// Both open; `hosts_b` are those that asked for it.
fn open(lab: &mut Lab, hosts_b: &[Side]) -> Conn {
    for side in hosts_b {
        ask_for_host_b(lab, *side);
    }
    lab.open_simultaneously()
}

fn established(lab: &mut Lab, conn: Conn) {
    let up = lab.run_until(seconds(120), |lab| lab.is_established(conn));
    let states = SIDES.map(|side| lab.state(conn, side));
    assert!(up, "{states:?}");
}

#[test]
fn host_b_is_who_asked_for_it() {
    for side in SIDES {
        let mut lab = pair(1);
        let conn = open(&mut lab, &[side]);
        established(&mut lab, conn);
        lab.run(seconds(1));
        assert_encrypted(&mut lab, conn);
        let roles = SIDES.map(|side| lab.get(conn, side, OptionName::Role).expect("a role"));
        let role = |of| if of == side { b"B" } else { b"A" };
        for (got, of) in roles.iter().zip(SIDES) {
            assert!(got.starts_with(role(of)), "{got:?}");
        }
        exchange(
            &mut lab,
            conn,
            &text(1, 50_000),
            &text(2, 50_000),
            seconds(60),
        );
        assert_nothing_shown(&lab);
        for side in SIDES {
            assert_eq!(
                lab.kernel(side).refusals,
                0,
                "a kernel got what it did not expect"
            );
        }
    }
}

#[test]
fn hosts_that_are_the_same_are_plain() {
    for hosts_b in [&[][..], &SIDES] {
        let mut lab = pair(2);
        let conn = open(&mut lab, hosts_b);
        established(&mut lab, conn);
        exchange(&mut lab, conn, &text(1, 5000), &text(2, 5000), seconds(60));
        assert!(lab.tap.showing(0, MARKER) > 0, "it was encrypted after all");
    }
}

/// SYNs and all that follows are lost, doubled and late, in the network and on the way to the own kernel.
#[test]
fn a_bad_network_takes_longer() {
    for seed in 0..120 {
        let network = Network {
            duplicate: 0.1,
            reorder: 0.1,
            jitter: Duration::from_millis(seed % 7),
            ..Network::lossy(0.05 * (seed % 6) as f64)
        };
        let loopback = Loopback {
            loss: if seed % 5 == 0 { 0.2 } else { 0.0 },
            delay: Duration::from_millis(seed % 3),
        };
        let mut lab = pair(seed).network(network);
        lab.loopback = loopback;
        let side = SIDES[usize::from(seed % 2 == 0)];
        let conn = open(&mut lab, &[side]);
        established(&mut lab, conn);
        exchange(&mut lab, conn, &text(1, 9000), &text(2, 9000), seconds(300));
        assert_nothing_shown(&lab);
    }
}

/// A session of an earlier connection goes on.
#[test]
fn sessions_are_resumed() {
    for seed in 0..30 {
        for side in SIDES {
            let mut lab = pair(seed);
            let conn = lab.connect();
            exchange(&mut lab, conn, &text(1, 500), &text(2, 500), seconds(20));
            lab.set_network(Network::lossy(if seed < 3 { 0.0 } else { 0.15 }));
            let conn = open(&mut lab, &[side]);
            established(&mut lab, conn);
            lab.run(seconds(20));
            assert_eq!(
                tep(&assert_encrypted(&mut lab, conn)),
                0xa1,
                "{side:?} {seed}"
            );
            exchange(&mut lab, conn, &text(1, 9000), &text(2, 9000), seconds(300));
            assert_nothing_shown(&lab);
        }
    }
}

/// Whatever a middlebox takes out, in both directions or in one: it works in plain, or ends, and no application gets
/// what is not its peer's.
#[test]
fn options_are_taken_out() {
    for which in [Which::Syn, Which::SynAck, Which::Later, Which::All] {
        for from in [&SIDES[..], &SIDES[..1], &SIDES[1..]] {
            for (seed, side) in (0..8).flat_map(|seed| SIDES.map(|side| (seed, side))) {
                let loss = if seed < 2 { 0.0 } else { 0.05 };
                let mut lab = pair(seed).network(Network::lossy(loss));
                for direction in from {
                    let network = Network::lossy(loss).strip(eno_kind(), which);
                    lab.set_network_from(*direction, network);
                }
                let conn = open(&mut lab, &[side]);
                lab.run(seconds(20));
                let (up, down) = (text(1, 3000), text(2, 3000));
                let what = format!("{which:?} {from:?} {side:?} {seed}");
                for (side, data) in [(Side::Client, &up), (Side::Server, &down)] {
                    if lab.end(conn, side).is_none() {
                        lab.send(conn, side, data);
                        lab.finish(conn, side);
                    }
                }
                lab.run(seconds(300));
                assert!(is_over(&lab, conn), "neither works nor ends: {what}");
                assert_prefix(&lab, conn, Side::Server, &up);
                assert_prefix(&lab, conn, Side::Client, &down);
            }
        }
    }
}

/// One of the two has no daemon.
#[test]
fn with_hosts_that_do_not_speak_it() {
    for seed in 0..10 {
        for side in SIDES {
            let mut lab = with_a_plain_host(seed, side);
            let conn = open(&mut lab, &[side]);
            established(&mut lab, conn);
            exchange(&mut lab, conn, &text(1, 5000), &text(2, 5000), seconds(120));
        }
    }
}
