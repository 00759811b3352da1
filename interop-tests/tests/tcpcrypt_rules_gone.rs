//! The packet filter's rules go away while daemons run: what was encrypted must not go on in the clear.
//!
//! Our own script tells the daemon first, so that nothing leaves. Of others who take rules away the daemon
//! learns at once (nftables) or when it looks the next time; until then the kernel sends plain text, which
//! nobody can prevent any more; the tests bound for how long.

use std::net::TcpStream;
use std::time::Duration;

use interop_tests::lab::applications::{exchange, expect_reset, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::rule_script::{self, LEGACY};
use interop_tests::lab::rules_gone::{
    GONE, LEAK, OTHER_PORT, assert_plain_now, assert_reset_and_others_go_on, assert_short_leak,
    open_both, wait_for_resets, write_until_reset,
};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, id_of, one_talk};
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::wait::SOON;

/// Both daemons, and the rules of our script.
fn with_script(name: &str, settings: Settings, body: impl Fn(&Lab, Daemon<'_>, Daemon<'_>)) {
    case(name, settings, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        for host in lab.hosts() {
            rule_script::run(host, LEGACY, "start");
        }
        body(lab, client, server);
    });
}

/// The script's `stop` while the daemons run, and both ends write all the time: not one segment in the clear.
fn stop_leaks_nothing(name: &str, settings: Settings) {
    with_script(name, settings, |lab, client, server| {
        let both = open_both(lab, &client, &server);
        let tap = lab.tap();
        std::thread::scope(|scope| {
            let (near, far) = &both.encrypted;
            let writers =
                [near, far].map(|stream| scope.spawn(move || write_until_reset(stream, SOON)));
            std::thread::sleep(Duration::from_millis(200));
            rule_script::run(&lab.client, LEGACY, "stop");
            for writer in writers {
                assert!(writer.join().expect("the writer").is_some(), "no reset");
            }
        });
        assert!(!tap.contains(b"a secret line"), "plain text on the cable");
        assert!(
            client.log().contains("Told that the rules will go"),
            "{}",
            client.log()
        );
        assert_reset_and_others_go_on(&both);
        rule_script::run(&lab.server, LEGACY, "stop");
        assert_plain_now(lab, &client, &server);
        for host in lab.hosts() {
            rule_script::run(host, LEGACY, "start");
        }
        // Encrypted again as soon as the daemons' pause is over.
        std::thread::sleep(Duration::from_secs(6));
        one_talk(lab, &client, &server);
    });
}

#[test]
fn our_script_ends_encrypted_connections_before_the_rules() {
    let name = "our_script_ends_encrypted_connections_before_the_rules";
    stop_leaks_nothing(name, Settings::default());
}

#[test]
fn our_script_ends_encrypted_connections_over_ipv6_before_the_rules() {
    let settings = Settings {
        ipv6: true,
        ..Settings::default()
    };
    let name = "our_script_ends_encrypted_connections_over_ipv6_before_the_rules";
    stop_leaks_nothing(name, settings);
}

/// The daemon was killed just now, and its guard is at work: the rules stay until that is done.
#[test]
fn our_script_waits_for_the_guard() {
    let name = "our_script_waits_for_the_guard";
    with_script(name, Settings::default(), |lab, client, server| {
        let both = open_both(lab, &client, &server);
        let tap = lab.tap();
        std::thread::scope(|scope| {
            let (near, far) = &both.encrypted;
            let writers =
                [near, far].map(|stream| scope.spawn(move || write_until_reset(stream, SOON)));
            std::thread::sleep(Duration::from_millis(200));
            client.kill();
            rule_script::run(&lab.client, LEGACY, "stop");
            for writer in writers {
                assert!(writer.join().expect("the writer").is_some(), "no reset");
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        assert!(!tap.contains(b"a secret line"), "plain text on the cable");
        assert_reset_and_others_go_on(&both);
        server.assert_well("the other's death");
    });
}

#[test]
fn flushed_rules_of_iptables_end_encrypted_connections() {
    let name = "flushed_rules_of_iptables_end_encrypted_connections";
    with_script(name, Settings::default(), |lab, client, server| {
        for _ in 0..2 {
            assert_short_leak(lab, &client, &server, "iptables-legacy -t mangle -F", LEAK);
            // Without a pause, since nobody said anything: encrypted again at once.
            rule_script::run(&lab.client, LEGACY, "start");
            one_talk(lab, &client, &server);
        }
    });
}

/// An idle connection ends as well, so that the first thing that it says later is not in the clear.
#[test]
fn idle_connections_end_with_the_rules() {
    let name = "idle_connections_end_with_the_rules";
    let settings = Settings {
        ipv6: true,
        ..Settings::default()
    };
    with_script(name, settings, |lab, client, server| {
        let six = open_both(lab, &client, &server);
        let listener = lab.server.listen(PORT);
        let mut many = Vec::new();
        for _ in 0..150 {
            let near = lab
                .client
                .connect((lab.server.address, PORT))
                .expect("connecting");
            let far = interop_tests::lab::applications::accept(&listener, SOON).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            many.push((near, far));
        }
        // Those of the other family have their rules still.
        lab.client.script("ip6tables-legacy -t mangle -F");
        let tap = lab.tap();
        wait_for_resets(&client, 1);
        assert_reset_and_others_go_on(&six);
        let (near, far) = &many[149];
        talk(near, far, QUESTION, ANSWER).expect("IPv4 goes on");
        lab.client.script("iptables-legacy -t mangle -F OUTPUT");
        wait_for_resets(&client, 2);
        for (near, far) in &many {
            expect_reset(near, QUESTION).expect("reset here");
            expect_reset(far, ANSWER).expect("reset there");
        }
        for text in [QUESTION, ANSWER] {
            assert!(!tap.contains(&text[..12]), "plain text on the cable");
        }
    });
}

/// Rules of others come and go, of either kind, in front of ours and behind; nothing happens to connections.
#[test]
fn rules_of_others_come_and_go() {
    let name = "rules_of_others_come_and_go";
    with_script(name, Settings::default(), |lab, client, server| {
        let both = open_both(lab, &client, &server);
        let (near, far) = &both.encrypted;
        let id = id_of(&client, &server, near);
        let busy = lab.connection(PORT).expect("connecting");
        std::thread::scope(|scope| {
            let exchange = scope.spawn(|| exchange(&busy.0, &busy.1, 8_000_000, 8_000_000));
            come_and_go(lab, near, far);
            let done = exchange.join().expect("the exchange");
            done.expect("a busy connection goes on");
        });
        // A host that is quiet is looked at, too.
        std::thread::sleep(Duration::from_millis(1200));
        talk(near, far, QUESTION, ANSWER).expect("talking");
        assert_eq!(id_of(&client, &server, near), id);
        for daemon in [&client, &server] {
            assert!(!daemon.log().contains(GONE), "{}", daemon.log());
        }
    });
}

fn come_and_go(lab: &Lab, near: &TcpStream, far: &TcpStream) {
    for round in 0..10 {
        lab.client.script(&format!(
            "for c in INPUT OUTPUT; do
                     iptables-legacy -t mangle -I $c -p udp --dport 5{round} -j DROP
                     iptables-legacy -A $c -p tcp --dport 9{round} -j DROP
                 done
                 iptables-legacy -t nat -A OUTPUT -p udp --dport 1 -j ACCEPT
                 if nft add table inet other{round}; then
                     nft add chain inet other{round} c '{{ type filter hook output priority 0; }}'
                     nft add rule inet other{round} c udp dport 5 drop
                 fi"
        ));
        talk(near, far, QUESTION, ANSWER).expect("talking");
    }
    lab.client.script(
        "iptables-legacy -F; iptables-legacy -t nat -F
             for r in 0 1 2 3 4 5 6 7 8 9; do
                 for c in INPUT OUTPUT; do iptables-legacy -t mangle -D $c 1; done
             done
             nft flush ruleset || true",
    );
}

/// Rules of one port go, made by hand and also for the loopback interface: connections of others go on.
#[test]
fn only_connections_without_rules_end() {
    let name = "only_connections_without_rules_end";
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&PORT.to_string());
        lab.divert(&OTHER_PORT.to_string());
        let open = |port| {
            let (near, far) = lab.connection(port).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            id_of(&client, &server, &near);
            (near, far)
        };
        let (stays, goes) = (open(PORT), open(OTHER_PORT));
        // Of the second one a probe has come by then; the first looks are a few milliseconds apart.
        std::thread::sleep(Duration::from_millis(50));
        let tap = lab.tap();
        lab.client.rule(&format!(
            "-D OUTPUT -p tcp -m multiport --ports {OTHER_PORT} -j NFQUEUE --queue-num 666 --queue-bypass"
        ));
        wait_for_resets(&client, 1);
        expect_reset(&goes.0, QUESTION).expect("reset here");
        expect_reset(&goes.1, ANSWER).expect("reset there");
        talk(&stays.0, &stays.1, QUESTION, ANSWER).expect("the other goes on");
        id_of(&client, &server, &stays.0);
        assert_secret(&tap);
        assert!(
            client.log().contains("reset 1 encrypted"),
            "{}",
            client.log()
        );
    });
}
