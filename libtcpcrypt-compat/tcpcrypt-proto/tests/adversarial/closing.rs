//! Ends of connections, and what comes after them.

use std::time::Duration;

use tcpcrypt_proto::packet::{Flags, Rewrite, Seq, View};

use crate::model::{End, Host, Lab, Network, SIDES, Side, State};
use crate::promises::{
    MARKER, assert_encrypted, assert_forgotten, assert_nothing_shown, assert_prefix, complete,
    exchange, is_over, ours, pair, seconds, text,
};

#[test]
fn half_closed_connections_go_on() {
    for first in SIDES {
        for loss in [0.0, 0.03] {
            let mut lab = pair(1).network(Network::lossy(loss));
            let conn = lab.connect();
            let (request, reply) = (text(1, 3000), text(2, 100_000));
            lab.send(conn, first, &request);
            lab.finish(conn, first);
            lab.run(seconds(20));
            assert!(lab.saw_end(conn, first.other()), "{first:?}");
            assert_eq!(lab.state(conn, first), Some(State::FinWait2));
            for part in reply.chunks(30_000) {
                lab.send(conn, first.other(), part);
                lab.run(seconds(10));
            }
            lab.finish(conn, first.other());
            let (up, down) = match first {
                Side::Client => (&request, &reply),
                Side::Server => (&reply, &request),
            };
            complete(&mut lab, conn, up, down, seconds(60));
            assert_nothing_shown(&lab);
            assert_forgotten(&mut lab);
        }
    }
}

#[test]
fn both_close_at_once() {
    for seed in 0..20 {
        let mut lab = pair(seed).network(Network::lossy(if seed < 5 { 0.0 } else { 0.1 }));
        let conn = lab.connect();
        lab.run(seconds(5));
        exchange(&mut lab, conn, &text(1, 100), &text(2, 100), seconds(300));
        assert_nothing_shown(&lab);
        assert_forgotten(&mut lab);
    }
}

#[test]
fn an_empty_connection_closes() {
    for first in SIDES {
        let mut lab = pair(2);
        let conn = lab.connect();
        lab.run(seconds(1));
        lab.close(conn, first);
        lab.run(seconds(1));
        lab.close(conn, first.other());
        complete(&mut lab, conn, b"", b"", seconds(10));
        assert_forgotten(&mut lab);
    }
}

#[test]
fn closed_before_encryption_is_on() {
    for side in SIDES {
        for after in 0..12 {
            let mut lab = pair(3);
            let conn = lab.open();
            lab.run(Duration::from_millis(5 * after));
            if lab.socket(conn, side).is_none() {
                continue;
            }
            lab.send(conn, side, &text(1, 500));
            lab.close(conn, side);
            lab.run(seconds(5));
            if lab.end(conn, side.other()).is_none() {
                lab.close(conn, side.other());
            }
            assert!(
                lab.run_until(seconds(300), |lab| is_over(lab, conn)),
                "{side:?} {after}"
            );
            assert_prefix(&lab, conn, side.other(), &text(1, 500));
            let all = lab.received(conn, side.other()).len() == 500;
            let reset = lab.end(conn, side.other()) == Some(End::Reset);
            assert!(all || reset, "{side:?} {after}");
            assert_eq!(lab.tap.showing(0, MARKER), 0);
            assert_forgotten(&mut lab);
        }
    }
}

#[test]
fn resets_of_applications_pass() {
    for side in SIDES {
        for amount in [0, 5000] {
            let mut lab = pair(4);
            let conn = lab.connect();
            lab.send(conn, side, &text(1, amount));
            lab.run(seconds(1));
            assert_encrypted(&mut lab, conn);
            lab.abort(conn, side);
            lab.run(seconds(1));
            assert_eq!(lab.end(conn, side), Some(End::Aborted));
            assert_eq!(
                lab.end(conn, side.other()),
                Some(End::Reset),
                "{side:?} {amount}"
            );
            assert_nothing_shown(&lab);
            assert_forgotten(&mut lab);
        }
    }
}

#[test]
fn data_for_an_application_that_is_gone_is_refused() {
    for gone in SIDES {
        let mut lab = pair(5);
        let conn = lab.connect();
        lab.send(conn, gone, &text(1, 100));
        lab.run(seconds(1));
        lab.close(conn, gone);
        lab.run(seconds(1));
        lab.send(conn, gone.other(), &text(2, 3000));
        lab.run(seconds(2));
        assert_eq!(lab.end(conn, gone.other()), Some(End::Reset), "{gone:?}");
        assert_nothing_shown(&lab);
        assert_forgotten(&mut lab);
    }
}

/// The reset of an application is lost: its peer finds out when it sends, and its kernel's attempts
/// stay unseen.
#[test]
fn a_lost_reset() {
    for side in SIDES {
        let mut lab = pair(6);
        let conn = lab.connect();
        lab.send(conn, side, &text(1, 5000));
        lab.run(seconds(1));
        lab.set_network(Network::lossy(1.0));
        lab.abort(conn, side);
        lab.run(seconds(1));
        lab.set_network(Network::clean());
        // Before and after the remains of the connection are forgotten.
        for wait in [1, 200] {
            lab.run(seconds(wait));
            if lab.end(conn, side.other()).is_none() {
                lab.send(conn, side.other(), &text(2, 5000));
            }
            lab.run(seconds(10));
            assert_nothing_shown(&lab);
        }
        assert_eq!(lab.end(conn, side.other()), Some(End::Reset), "{side:?}");
    }
}

/// A host is cut off while it has data in flight and gives up after a quarter of an hour. All it
/// sends meanwhile is the same records.
#[test]
fn an_unreachable_peer() {
    for side in SIDES {
        let mut lab = pair(7);
        let conn = lab.connect();
        lab.send(conn, side, &text(1, 5000));
        lab.run(seconds(1));
        lab.set_network(Network::lossy(1.0));
        lab.send(conn, side, &text(1, 50_000));
        lab.finish(conn, side);
        lab.run(seconds(3600));
        assert_eq!(lab.end(conn, side), Some(End::TimedOut));
        assert_nothing_shown(&lab);
        // The peer notices when it has something to say.
        lab.set_network(Network::clean());
        lab.send(conn, side.other(), &text(2, 500));
        lab.run(seconds(5));
        assert_eq!(lab.end(conn, side.other()), Some(End::Reset));
        assert_nothing_shown(&lab);
    }
}

/// The acknowledgement of the last FIN is lost again and again: the kernel repeats the FIN, with
/// data, for minutes.
#[test]
fn the_last_acknowledgement_is_lost() {
    for side in SIDES {
        for cut in [3, 50, 90, 300, 800].map(seconds) {
            let mut lab = pair(8);
            let conn = lab.connect();
            lab.send(conn, side.other(), &text(2, 100));
            lab.run(seconds(1));
            lab.finish(conn, side);
            lab.run(seconds(1));
            lab.set_network_from(side, Network::lossy(1.0));
            lab.send(conn, side.other(), &text(2, 700));
            lab.finish(conn, side.other());
            lab.run(cut);
            lab.set_network(Network::clean());
            lab.run(seconds(1000));
            assert!(is_over(&lab, conn), "{side:?} {cut:?}");
            assert_nothing_shown(&lab);
            assert_forgotten(&mut lab);
        }
    }
}

/// A host gives up a peer that vanished, without a word. What its daemon holds of the connection
/// must go as well.
#[test]
fn a_connection_that_was_given_up_is_forgotten() {
    for side in SIDES {
        let mut lab = pair(14);
        let conn = lab.connect();
        lab.run(seconds(1));
        lab.set_network(Network::lossy(1.0));
        lab.send(conn, side, &text(1, 200_000));
        lab.run(seconds(3600));
        assert_eq!(lab.end(conn, side), Some(End::TimedOut));
        let stats = lab.endpoint(side).stats();
        assert_eq!((stats.encrypted, stats.tombstones), (0, 0), "{side:?}");
        // The other one has nothing outstanding, and would wait for days.
        assert_eq!(lab.endpoint(side.other()).stats().encrypted, 1);
        assert_nothing_shown(&lab);
    }
}

/// The same when all that is missing is the acknowledgement of a FIN.
#[test]
fn a_close_that_was_given_up_is_forgotten() {
    for side in SIDES {
        let mut lab = pair(15);
        let conn = lab.connect();
        lab.run(seconds(1));
        lab.set_network(Network::lossy(1.0));
        lab.close(conn, side);
        lab.run(seconds(3600));
        let stats = lab.endpoint(side).stats();
        assert_eq!((stats.encrypted, stats.tombstones), (0, 0), "{side:?}");
    }
}

/// A kernel that does not give up so soon: as long as it repeats what it sent, two minutes apart, its
/// connection is there, and goes on when the network does.
#[test]
fn a_connection_that_is_not_given_up_stays() {
    for side in SIDES {
        let patient = || ours().set(|s| s.retries = 200);
        let mut lab = Lab::new(16).client(patient()).server(patient());
        let conn = lab.connect();
        lab.run(seconds(1));
        lab.set_network(Network::lossy(1.0));
        lab.send(conn, side, &text(1, 50_000));
        lab.run(seconds(4 * 3600));
        lab.set_network(Network::clean());
        lab.send(conn, side.other(), &text(2, 500));
        for end in SIDES {
            lab.finish(conn, end);
        }
        let (up, down) = match side {
            Side::Client => (text(1, 50_000), text(2, 500)),
            Side::Server => (text(2, 500), text(1, 50_000)),
        };
        complete(&mut lab, conn, &up, &down, seconds(600));
        assert_nothing_shown(&lab);
    }
}

/// An application that does not read for hours: the peer's kernel asks after the window, and that is
/// enough. Nor does a connection end on which nobody says anything.
#[test]
fn slow_connections_stay() {
    for side in SIDES {
        // This kernel counts probes that are answered, too.
        let patient = || ours().set(|s| s.retries = 1000);
        let mut lab = Lab::new(17).client(patient()).server(patient());
        let conn = lab.connect();
        lab.run(seconds(12 * 3600));
        lab.set_reading(conn, side.other(), false);
        lab.send(conn, side, &text(1, 900_000));
        lab.run(seconds(12 * 3600));
        assert_encrypted(&mut lab, conn);
        lab.set_reading(conn, side.other(), true);
        lab.run(seconds(300));
        assert_prefix(&lab, conn, side.other(), &text(1, 900_000));
        let arrived = lab.received(conn, side.other()).len();
        assert_eq!(
            arrived,
            900_000,
            "{:?}",
            SIDES.map(|side| lab.end(conn, side))
        );
        assert_nothing_shown(&lab);
    }
}

/// The same addresses again, while the remains of the last connection are still there.
#[test]
fn a_port_is_used_again() {
    for loss in [0.0, 0.05] {
        let mut lab = pair(9);
        let mut ids = Vec::new();
        for round in 0..4 {
            lab.set_network(Network::clean());
            let conn = lab.open_from(Side::Client, 5555);
            lab.run(seconds(1));
            ids.push(assert_encrypted(&mut lab, conn));
            lab.set_network(Network::lossy(loss));
            let (up, down) = (text(round, 2000), text(!round, 2000));
            lab.send(conn, Side::Client, &up);
            lab.send(conn, Side::Server, &down);
            lab.finish(conn, Side::Server);
            lab.run(seconds(5));
            lab.finish(conn, Side::Client);
            complete(&mut lab, conn, &up, &down, seconds(60));
            let closed = |lab: &Lab| lab.state(conn, Side::Client) == Some(State::Closed);
            assert!(lab.run_until(seconds(70), closed));
            let next = lab.socket(conn, Side::Client).unwrap().iss.0;
            lab.kernel(Side::Client).settings.isn = Some(next.wrapping_add(1 << 20));
        }
        ids.dedup();
        assert_eq!(ids.len(), 4, "a session was used twice");
        assert_nothing_shown(&lab);
    }
}

/// The daemon stops: nothing of its connections goes on, in clear or otherwise.
#[test]
fn a_daemon_that_stops_resets() {
    for side in SIDES {
        let mut lab = pair(10);
        let conn = lab.connect();
        lab.send(conn, Side::Client, &text(1, 60_000));
        lab.send(conn, Side::Server, &text(2, 60_000));
        lab.run(Duration::from_millis(40));
        lab.endpoint(side).shutdown();
        lab.run(seconds(30));
        for end in SIDES {
            assert_eq!(
                lab.end(conn, end),
                Some(End::Reset),
                "{side:?} stops, {end:?}"
            );
        }
        assert_prefix(&lab, conn, Side::Server, &text(1, 60_000));
        assert_nothing_shown(&lab);
    }
}

/// Sends `flags` as if `from` had sent it, `off` numbers beside its next one on the wire.
fn forge(lab: &mut Lab, from: Side, flags: Flags, off: u32) {
    let next = |side| {
        let packets = lab.tap.seen.iter().filter(|s| s.from == side);
        let ends = packets.map(|s| View::parse(&s.packet).unwrap().end());
        ends.reduce(Seq::max).unwrap()
    };
    let (seq, ack) = (next(from), next(from.other()));
    let last = lab.tap.seen.iter().rfind(|s| s.from == from);
    let packet = last.map(|s| s.packet.clone()).unwrap();
    let view = View::parse(&packet).unwrap();
    let mut forged = Rewrite::of(&view);
    (forged.seq, forged.ack, forged.flags) = (seq + off, ack, flags);
    let mut out = Vec::new();
    assert!(forged.write(&[], &mut out));
    lab.inject(from, out);
}

/// Resets and SYNs by guess: the kernel does not believe them, so the daemon must not, either. If
/// it forgot the connection, what comes next would go out in clear.
#[test]
fn guessed_numbers_end_nothing() {
    let kinds = [
        Flags::RST,
        Flags::RST | Flags::ACK,
        Flags::SYN,
        Flags::SYN | Flags::ACK,
    ];
    for victim in SIDES {
        for flags in kinds {
            for off in [
                1,
                2,
                100,
                70_000,
                0x4000_0000,
                0u32.wrapping_sub(1),
                0u32.wrapping_sub(100),
            ] {
                let mut lab = pair(11);
                let conn = lab.connect();
                lab.send(conn, Side::Client, &text(1, 3000));
                lab.send(conn, Side::Server, &text(2, 3000));
                lab.run(seconds(1));
                forge(&mut lab, victim.other(), flags, off);
                lab.run(seconds(1));
                assert_eq!(lab.end(conn, victim), None, "{victim:?} {flags:?} {off}");
                let more = (text(3, 3000), text(4, 3000));
                lab.send(conn, Side::Client, &more.0);
                lab.send(conn, Side::Server, &more.1);
                lab.finish(conn, Side::Client);
                lab.finish(conn, Side::Server);
                let up = [text(1, 3000), more.0].concat();
                let down = [text(2, 3000), more.1].concat();
                complete(&mut lab, conn, &up, &down, seconds(30));
                assert_nothing_shown(&lab);
            }
        }
    }
}

/// A reset with the exact number ends the connection: TCP's own, which nobody authenticates.
#[test]
fn a_reset_with_the_right_number_ends_the_connection() {
    for victim in SIDES {
        let mut lab = pair(12);
        let conn = lab.connect();
        lab.send(conn, Side::Client, &text(1, 3000));
        lab.send(conn, Side::Server, &text(2, 3000));
        lab.run(seconds(1));
        forge(&mut lab, victim.other(), Flags::RST, 0);
        lab.run(seconds(1));
        assert_eq!(lab.end(conn, victim), Some(End::Reset));
        // The other side does not know yet.
        lab.send(conn, victim.other(), &text(3, 3000));
        lab.run(seconds(5));
        assert_eq!(lab.end(conn, victim.other()), Some(End::Reset));
        assert_nothing_shown(&lab);
    }
}

#[test]
fn plain_hosts_keep_their_ends() {
    let mut lab = Lab::new(13).client(ours()).server(Host::plain());
    let conn = lab.connect();
    lab.abort(conn, Side::Server);
    lab.run(seconds(1));
    assert_eq!(lab.end(conn, Side::Client), Some(End::Reset));
}
