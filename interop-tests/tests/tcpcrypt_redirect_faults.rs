//! Redirect mode (`-e`) where something is missing: a peer without tcpcrypt, options on the way, rules, a route, a daemon
//! that ends.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use interop_tests::independent_peer::wire::Wire;
use interop_tests::lab::PORT;
use interop_tests::lab::applications::{exchange, local, remote, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::Mode::{
    Redirect, RedirectByProgram, RedirectOriginalRules, RedirectOriginalRulesByProgram,
};
use interop_tests::lab::redirect::{
    Speech, WAYS, agreed_id, in_both_dialects, in_either_way, is_resumed, one_talk, speaking,
};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, close_both};
use interop_tests::lab::segment::{ACK, RST, SYN, Segment};
use interop_tests::program::signal;
use interop_tests::wait::SOON;

/// A peer without tcpcrypt, at either end; the server speaks first, too.
#[test]
fn redirect_plain_peers_are_served() {
    for client_has_it in [true, false] {
        let with = [
            (Redirect, Speech::LEGACY),
            (Redirect, Speech::STANDARD_IPV6),
            (RedirectByProgram, Speech::LEGACY),
            (RedirectByProgram, Speech::STANDARD_IPV6),
            (RedirectOriginalRules, Speech::UPGRADED),
            (RedirectOriginalRulesByProgram, Speech::UPGRADED),
        ];
        for (mode, speech) in with.into_iter().filter(|(mode, _)| mode.is_possible()) {
            case(
                "redirect_plain_peers_are_served",
                speech.settings(),
                |lab, pair| {
                    let (host, implementation) = match client_has_it {
                        true => (&lab.client, pair.client),
                        false => (&lab.server, pair.server),
                    };
                    let daemon =
                        Daemon::start(host, implementation, &mode.options(&["-v", speech.eno]));
                    mode.rules(host);
                    let listener = lab.server.listen(PORT);
                    for number in 0..4 {
                        let began = Instant::now();
                        let (near, far) = lab.connect_to(&listener).expect("connecting");
                        let (first, second) = match number % 2 {
                            0 => (&near, &far),
                            _ => (&far, &near),
                        };
                        talk(first, second, QUESTION, ANSWER).expect("talking");
                        assert!(
                            began.elapsed() < Duration::from_millis(800),
                            "{:?}",
                            began.elapsed()
                        );
                        // Ours leave them alone: the application sees its real peer.
                        if WAYS.contains(&mode) && !client_has_it {
                            assert_eq!(remote(&far), local(&near));
                        }
                        exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                        assert_eq!(daemon.netstat(), vec![]);
                    }
                    daemon.assert_well("plain peers");
                },
            );
        }
    }
}

#[test]
fn redirect_options_stripped_give_plain_tcp() {
    let name = "redirect_options_stripped_give_plain_tcp";
    for (at_server, server_first, speech, kind) in [
        (true, false, Speech::LEGACY, 253),
        (false, true, Speech::LEGACY, 253),
        (true, true, Speech::STANDARD_IPV6, 69),
        (false, false, Speech::STANDARD_IPV6, 69),
        (true, false, Speech::UPGRADED, 253),
        (false, true, Speech::UPGRADED, 253),
    ] {
        {
            speaking(name, speech, |lab, client, server| {
                // In front of the rule that shows SYNs to the daemon.
                let (host, flags) = match at_server {
                    true => (&lab.server, "SYN"),
                    false => (&lab.client, "SYN,ACK"),
                };
                let strip = format!(
                    "PREROUTING -p tcp --tcp-flags SYN,ACK {flags} -j TCPOPTSTRIP --strip-options {kind}"
                );
                host.rule(&format!("-t mangle -I {strip}"));
                let tap = lab.tap();
                for _ in 0..2 {
                    let (near, far) = lab.connection(PORT).expect("connecting");
                    let (first, second) = if server_first {
                        (&far, &near)
                    } else {
                        (&near, &far)
                    };
                    talk(first, second, QUESTION, ANSWER).expect("talking");
                    exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                    assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
                }
                assert!(tap.contains(QUESTION));
                // The second time the peer was known to be plain: it was not asked.
                let asked = tap.segments().iter().filter(|s| s.eno().is_some()).count();
                assert_eq!(
                    asked,
                    if at_server { 1 } else { 2 },
                    "SYN, and SYN-ACK before the strip"
                );
            });
        }
    }
}

/// Starting the rules twice does no harm.
#[test]
fn redirect_rules_may_be_there_twice() {
    let name = "redirect_rules_may_be_there_twice";
    in_both_dialects(name, |lab, client, server| {
        lab.redirect(&PORT.to_string());
        for _ in 0..3 {
            one_talk(lab, client, server);
        }
    });
}

/// Where the rules do not lead answers back, servers are served all the same.
#[test]
fn redirect_without_a_route_of_its_own() {
    let name = "redirect_without_a_route_of_its_own";
    in_both_dialects(name, |lab, client, server| {
        for family in ["-4", "-6"] {
            lab.server
                .script(&format!("ip {family} route flush table 65530 || true"));
        }
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        assert_eq!(remote(&far).ip(), local(&far).ip());
        agreed_id(client, server, &near);
    });
}

/// The signal that the rule script sends before it takes the rules away means divert mode, where plain text would
/// leave without them.
#[test]
fn redirect_goes_on_when_told_that_the_rules_go() {
    let name = "redirect_goes_on_when_told_that_the_rules_go";
    in_both_dialects(name, |lab, client, server| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        for daemon in [client, server] {
            signal(daemon.pid(), "USR2");
        }
        talk(&near, &far, QUESTION, ANSWER).expect("the connection goes on");
        one_talk(lab, client, server);
    });
}

#[test]
fn redirect_restarts_of_either_daemon() {
    in_either_way(
        "redirect_restarts_of_either_daemon",
        Speech::LEGACY,
        |lab, pair, way| {
            let options = way.options(&["-v"]);
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &options);
            lab.redirect(&PORT.to_string());
            one_talk(lab, &client, &server);
            assert_eq!(server.stop(), 0);
            let server = Daemon::start(&lab.server, pair.server, &options);
            assert!(!is_resumed(&one_talk(lab, &client, &server)));
            assert!(is_resumed(&one_talk(lab, &client, &server)));
            assert_eq!(client.stop(), 0);
            let client = Daemon::start(&lab.client, pair.client, &options);
            assert!(!is_resumed(&one_talk(lab, &client, &server)));
            assert!(is_resumed(&one_talk(lab, &client, &server)));
        },
    );
}

/// Linux says of data that overtake the making of their socket on another processor that they have none, and resets
/// who sent them: the application, or the peer. That is one connection of 30,000, so here such resets are made.
#[test]
fn redirect_resets_of_what_stands_go_nowhere() {
    const PROXY: u16 = 65530;
    let name = "redirect_resets_of_what_stands_go_nowhere";
    speaking(name, Speech::LEGACY, |lab, _, _| {
        let tap = lab.tap();
        let mut at_client = Wire::through_the_queue(&lab.client);
        let at_server = Wire::through_the_queue(&lab.server);
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        let reset = |from: [u8; 4], to: SocketAddr, seq: u32| {
            let mut reset = Segment::new((from, PROXY), to);
            (reset.flags, reset.seq) = (RST, seq);
            reset
        };
        // What the application awaits next: the answer is the only thing that it has got.
        let port = local(&near).port();
        let to_application = at_client.wait(port, SOON, |it| it.has(SYN | ACK));
        let awaited = to_application.expect("a SYN-ACK").end();
        let awaited = awaited.wrapping_add(ANSWER.len() as u32);
        at_client.send(&reset([127, 0, 0, 1], local(&near), awaited));
        talk(&near, &far, QUESTION, ANSWER).expect("the application was not reset");
        // What the client's daemon awaits next.
        let seen = tap.segments();
        let mut to_client = seen.iter().rev().filter(|it| it.source == remote(&near));
        let last = to_client.next().expect("the server's last segment");
        at_server.send(&reset(
            lab.server.address.octets(),
            last.destination,
            last.end(),
        ));
        talk(&near, &far, QUESTION, ANSWER).expect("the peer was not reset");
        // Of what does not stand nothing is kept back.
        let stray = SocketAddr::from((lab.client.address, 9));
        let mut acknowledgement = Segment::new(stray, (lab.server.address, PROXY));
        acknowledgement.flags = ACK;
        at_client.send(&acknowledgement);
        let told = |it: &Segment| it.has(RST) && it.destination == stray;
        assert!(tap.wait_for(SOON, told).is_some());
    });
}

/// A daemon that is killed resets its connections; new ones are plain.
#[test]
fn redirect_a_killed_daemon_opens_the_way() {
    for client_dies in [true, false] {
        in_either_way(
            "redirect_a_killed_daemon_opens_the_way",
            Speech::LEGACY,
            |lab, pair, way| {
                let options = way.options(&["-v"]);
                let client = Daemon::start(&lab.client, pair.client, &options);
                let server = Daemon::start(&lab.server, pair.server, &options);
                lab.redirect(&PORT.to_string());
                let listener = lab.server.listen(PORT);
                let (mut near, mut far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let (dead, other) = match client_dies {
                    true => (client, server),
                    false => (server, client),
                };
                dead.kill();
                for stream in [&mut near, &mut far] {
                    let end = stream.read(&mut [0; 10]).map_err(|e| e.kind());
                    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
                }
                let (near, far) = lab.connect_to(&listener).expect("connecting without it");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                close_both(near, far);
                other.assert_well("the other's death");
            },
        );
    }
}
