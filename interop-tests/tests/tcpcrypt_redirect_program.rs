//! Redirect mode with handshakes by a program in the kernel (`--eno-by=ebpf`): what only that can get wrong. What
//! both ways have in common is in `tcpcrypt_redirect.rs`.

use std::net::SocketAddrV4;
use std::time::Duration;

use interop_tests::lab::applications::{accept, exchange, local, talk};
use interop_tests::lab::capture::Capture;
use interop_tests::lab::case::{Pair, case, crossings};
use interop_tests::lab::control::{APP_SUPPORT, ENABLE, NOBODY};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::redirect::Mode::{
    Divert, Redirect, RedirectByProgram, RedirectOriginalRulesByProgram,
};
use interop_tests::lab::redirect::{Mode, Speech, between, one_talk, one_talk_on};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, close_both};
use interop_tests::lab::segment::{ACK, FIN, RST, SYN, hex};
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::skip::skip;
use interop_tests::wait;

/// As long as something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ours at both ends in this mode, where the machine can do it.
fn by_program(name: &str, mode: Mode, body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>)) {
    case(name, Settings::default(), |lab, pair| {
        between(lab, pair, (mode, mode), Speech::LEGACY, &body);
    });
}

/// Packets that came through the queue, and how many of them were replaced.
fn packets(daemon: &Daemon<'_>) -> (u64, u64) {
    let dumps = |log: &str| log.matches("Packets: ").count();
    let before = dumps(&daemon.log());
    daemon.signal("USR1");
    let log = wait::until(PATIENCE, || {
        Some(daemon.log()).filter(|log| dumps(log) > before)
    });
    let log = log.expect("a dump");
    let line = log.rsplit("Packets: ").next().expect("a line");
    let mut words = line.split_whitespace();
    let mut number = |skipped| words.nth(skipped)?.parse().ok();
    // "2 in queue, 0 replaced"
    let both = number(0).zip(number(2));
    both.expect("two numbers")
}

/// The options of the SYN and the SYN-ACK that were seen last.
fn offer_and_answer(tap: &Capture) -> [Option<String>; 2] {
    let seen = tap.segments();
    [SYN, SYN | ACK].map(|flags| {
        let mut segments = seen.iter().rev();
        let found = segments.find(|it| it.flags & (SYN | ACK) == flags)?;
        found.eno().map(hex)
    })
}

/// Of each connection the queue sees the SYN that is redirected and the SYN-ACK that waits, and changes neither.
#[test]
fn by_program_the_queue_changes_nothing() {
    let name = "by_program_the_queue_changes_nothing";
    by_program(name, RedirectByProgram, |lab, client, server| {
        let tap = lab.tap();
        one_talk(lab, client, server);
        assert_secret(&tap);
        assert_eq!((packets(client), packets(server)), ((2, 0), (2, 0)));
        // The program does not know that the server has the session, so its answer is put right.
        assert_eq!(&one_talk(lab, client, server)[..2], "A1");
        assert_eq!((packets(client), packets(server)), ((4, 0), (4, 1)));
    });
}

/// With the original's rules, which have nothing against an acknowledgement that overtakes INIT1, connections are opened
/// through the queue. It puts the offer into the SYN and the short option into the third segment.
#[test]
fn by_program_opens_nothing_with_the_originals_rules() {
    let name = "by_program_opens_nothing_with_the_originals_rules";
    let mode = RedirectOriginalRulesByProgram;
    by_program(name, mode, |lab, client, server| {
        one_talk(lab, client, server);
        assert_eq!((packets(client).1, packets(server).1), (2, 0));
    });
}

/// The way is said in the log, once; where the program cannot be had it is the queue, unless it was asked for.
#[test]
fn by_program_or_not_is_said() {
    let name = "by_program_or_not_is_said";
    case(name, Settings::default(), |lab, pair| {
        if !RedirectByProgram.is_possible() {
            return;
        }
        for (option, said) in [
            ("--eno-by=auto", "ENO options by an eBPF program\n"),
            ("--eno-by=ebpf", "ENO options by an eBPF program\n"),
            ("--eno-by=queue", "ENO options by the queue\n"),
        ] {
            let daemon = Daemon::start(&lab.client, pair.client, &["-v", "-e", option]);
            assert_eq!(daemon.log().matches("ENO options").count(), 1);
            assert!(daemon.log().contains(said), "{}", daemon.log());
            daemon.stop();
        }
        // `ip netns` hides the cgroups.
        for (option, runs) in [("--eno-by=auto", true), ("--eno-by=ebpf", false)] {
            let log = without_cgroups(&lab.client, pair, option, runs);
            let said = match runs {
                true => "ENO options by the queue: no cgroup of version 2\n",
                false => "tcpcryptd: no eBPF program for handshakes: no cgroup of version 2\n",
            };
            assert!(log.contains(said), "{log}");
        }
    });
}

/// Runs a daemon that finds no cgroups until it says that it runs, or ends.
fn without_cgroups(host: &Host, pair: Pair, option: &str, runs: bool) -> String {
    let dir = host.dir().display();
    let program = pair.client.tcpcryptd.display();
    let until = if runs { "timeout 3" } else { "timeout 20" };
    host.output(&format!(
        "{until} {program} -f -v -e {option} -p 666 -U nobody -J {dir}/jail -u {dir}/other 2>&1"
    ))
}

/// A daemon that came into another cgroup: the program is not called for its new sockets. What it did not ask
/// it does not hold against the peer.
#[test]
fn by_program_that_is_not_called_connections_are_plain() {
    let name = "by_program_that_is_not_called_connections_are_plain";
    by_program(name, RedirectByProgram, |lab, client, server| {
        let Some(cgroup) = &lab.client.cgroup else {
            return skip(name, "no cgroup can be made");
        };
        let listener = lab.server.listen(PORT);
        assert_eq!(&one_talk_on(lab, client, server, &listener)[..2], "21");
        let tap = lab.tap();
        cgroup.leave(client.pid());
        for _ in 0..3 {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            exchange(&near, &far, 300_000, 300_000).expect("exchanging");
        }
        assert_eq!(offer_and_answer(&tap), [None, None]);
        // Once it is back it is seen that the session is still there, and that nobody was taken for plain.
        cgroup.enter(client.pid());
        assert_eq!(&one_talk_on(lab, client, server, &listener)[..2], "A1");
    });
}

/// Cookies leave nothing of the SYN for the program to answer: the answer comes from the queue.
#[test]
fn by_program_syn_cookies_are_answered_by_the_queue() {
    let name = "by_program_syn_cookies_are_answered_by_the_queue";
    by_program(name, RedirectByProgram, |lab, client, server| {
        lab.server
            .script("echo 2 >/proc/sys/net/ipv4/tcp_syncookies");
        for kind in ["21", "A1"] {
            assert_eq!(&one_talk(lab, client, server)[..2], kind);
        }
        assert_eq!(packets(server), (4, 2));
    });
}

/// SYN-ACKs that do not come by: the program's answer holds all the same.
#[test]
fn by_program_an_answer_that_nobody_held_holds() {
    let name = "by_program_an_answer_that_nobody_held_holds";
    for client_mode in [Redirect, RedirectByProgram, Divert] {
        case(name, Settings::default(), |lab, pair| {
            between(
                lab,
                pair,
                (client_mode, RedirectByProgram),
                Speech::LEGACY,
                |lab, client, server| {
                    lab.server.script(
                        "iptables-legacy -t mangle -I OUTPUT -p tcp --sport 65530 -j ACCEPT",
                    );
                    let tap = lab.tap();
                    let listener = lab.server.listen(PORT);
                    for number in 0..3 {
                        let (near, far) = lab.connect_to(&listener).expect("connecting");
                        // Whoever speaks first.
                        match number {
                            1 => talk(&far, &near, ANSWER, QUESTION).expect("talking"),
                            _ => talk(&near, &far, QUESTION, ANSWER).expect("talking"),
                        }
                        let row = client.row_of(local(&near), lab.server_address(PORT));
                        assert_eq!(&row.expect("encrypted").id[..2], "21");
                        exchange(&near, &far, 300_000, 300_000).expect("exchanging");
                    }
                    assert_secret(&tap);
                    assert_eq!(packets(server).1, 0);
                },
            );
        });
    }
}

/// What programs have asked for a port is in the SYN-ACK, though the kernel's program knows nothing of it.
#[test]
fn by_program_settings_of_a_port_count() {
    let name = "by_program_settings_of_a_port_count";
    by_program(
        name,
        RedirectOriginalRulesByProgram,
        |lab, client, server| {
            let port = SocketAddrV4::new([0; 4].into(), PORT);
            let set = |option, value| {
                let set = server.client().set(option, port, NOBODY, value);
                assert_eq!(set.expect("a reply").error, 0);
            };
            let tap = lab.tap();
            set(APP_SUPPORT, 1);
            one_talk(lab, client, server);
            let said = offer_and_answer(&tap);
            assert_eq!(said[1].as_deref(), Some("fd06454e2102"));
            set(ENABLE, 0);
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let said = offer_and_answer(&tap);
            assert!(said[0].is_some() && said[1].is_none(), "{said:?}");
            close_both(near, far);
        },
    );
}

/// A daemon that does not run when the SYN-ACK comes: the kernel acknowledges it by itself after a while. The
/// original would take that for the segment with INIT1, so it must not leave.
fn stopped_while_connecting(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let listener = lab.server.listen(PORT);
    let tap = lab.tap();
    let syn_acks = "PREROUTING -p tcp --tcp-flags SYN,ACK SYN,ACK -i wire -j DROP";
    lab.client.rule(&format!("-t raw -I {syn_acks}"));
    let near = std::thread::scope(|scope| {
        let near = scope.spawn(|| lab.client.connect(lab.server_address(PORT)));
        let flags = |flags| {
            move |it: &interop_tests::lab::segment::Segment| it.flags & (SYN | ACK) == flags
        };
        tap.wait_for(PATIENCE, flags(SYN | ACK)).expect("a SYN-ACK");
        client.signal("STOP");
        lab.client.rule(&format!("-t raw -D {syn_acks}"));
        // The other end repeats it until the kernel has it. Then comes the moment of the acknowledgement.
        let stands = wait::until(PATIENCE, || {
            let all = lab
                .client
                .output(&format!("ss -Htn state established dport = :{PORT}"));
            all.lines()
                .any(|line| !line.contains("127.0.0.1"))
                .then_some(())
        });
        assert!(stands.is_some(), "the half that goes on stands");
        std::thread::sleep(Duration::from_millis(500));
        client.signal("CONT");
        near.join().expect("connecting").expect("connected")
    });
    let far = accept(&listener, PATIENCE).expect("accepting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let rows = [client, server].map(Daemon::netstat);
    assert!(rows.iter().all(|rows| rows.len() == 1), "{rows:?}");
    assert_secret(&tap);
    let seen = tap.segments();
    let bare = seen.iter().find(|it| {
        let is_behind = it.flags & (SYN | RST | FIN) == 0;
        is_behind && it.eno().is_some() && it.payload.is_empty()
    });
    assert!(bare.is_none(), "{bare:?}");
    close_both(near, far);
}

#[test]
fn by_program_no_acknowledgement_overtakes_init1() {
    let name = "by_program_no_acknowledgement_overtakes_init1";
    by_program(name, RedirectByProgram, stopped_while_connecting);
}

#[test]
fn by_program_with_the_original_no_acknowledgement_overtakes_init1() {
    let name = "by_program_with_the_original_no_acknowledgement_overtakes_init1";
    crossings(name, Settings::default(), |lab, pair| {
        if !pair.client.original {
            between(
                lab,
                pair,
                (RedirectByProgram, Divert),
                Speech::UPGRADED,
                stopped_while_connecting,
            );
        }
    });
}
