//! The packet filter's rules go away while daemons run: what was encrypted must not go on in the clear.
//!
//! Our own script tells the daemon first, so that nothing leaves. Of others who take rules away the daemon
//! learns at once (nftables) or when it looks the next time; until then the kernel sends plain text, which
//! nobody can prevent any more, and the tests bound for how long.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use interop_tests::lab::applications::{exchange, expect_reset, local, talk};
use interop_tests::lab::capture::Capture;
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, id_of, one_talk};
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::program::run_command;
use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::wait::SOON;

/// How long plain text may leave after somebody else took the rules: a tenth of a second is promised, the
/// rest is for a busy machine.
const LEAK: Duration = Duration::from_millis(900);
/// What the daemon says then.
const GONE: &str = "The packet filter's rules are gone";
/// A port beside the rules' one: its connections are plain.
const OTHER_PORT: u16 = 8081;

/// Our rule script on a host; `more` are variables.
fn script(host: &Host, more: &str, word: &str) {
    let script = workspace().join("libtcpcrypt-compat/tcpcryptd/scripts/iptables.sh");
    host.script(&format!(
        "DAEMON_USER=nobody DIVERT_PORT=666 ONLY_PORTS={PORT} IPTABLES=iptables-legacy \
         IP6TABLES=ip6tables-legacy {more} {} {word}",
        script.display()
    ));
}

const LEGACY: &str = "RULES=iptables";

/// Both daemons, and the rules of our script.
fn with_script(name: &str, settings: Settings, body: impl Fn(&Lab, Daemon<'_>, Daemon<'_>)) {
    case(name, settings, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        for host in lab.hosts() {
            script(host, LEGACY, "start");
        }
        body(lab, client, server);
    });
}

/// An encrypted connection, proven to be one, and a plain one.
struct Both {
    encrypted: (TcpStream, TcpStream),
    plain: (TcpStream, TcpStream),
}

fn open_both(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> Both {
    let plain = lab.connection(OTHER_PORT).expect("connecting");
    talk(&plain.0, &plain.1, b"hello", b"hello").expect("talking");
    let encrypted = lab.connection(PORT).expect("connecting");
    talk(&encrypted.0, &encrypted.1, QUESTION, ANSWER).expect("talking");
    id_of(client, server, &encrypted.0);
    Both { encrypted, plain }
}

/// Writes numbered lines until the stream says no; gives the time of that.
fn write_until_reset(mut stream: &TcpStream, limit: Duration) -> Option<Instant> {
    let end = Instant::now() + limit;
    let mut number = 0_u32;
    while Instant::now() < end {
        if writeln!(stream, "a secret line, number {number:08}").is_err() {
            return Some(Instant::now());
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

fn assert_reset_and_others_go_on(both: &Both) {
    for stream in [&both.encrypted.0, &both.encrypted.1] {
        expect_reset_whatever_was_heard(stream);
    }
    talk(&both.plain.0, &both.plain.1, b"still", b"here").expect("the plain connection goes on");
}

/// What came before may be there to be read.
fn expect_reset_whatever_was_heard(mut stream: &TcpStream) {
    let mut heard = Vec::new();
    let read = std::io::Read::read_to_end(&mut stream, &mut heard);
    let wrote = stream.write_all(b"after the end");
    assert!(read.is_err() || wrote.is_err(), "{read:?} {wrote:?}");
}

/// New connections are plain, and work.
fn assert_plain_now(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) {
    let (near, far) = lab.connection(PORT).expect("connecting without rules");
    talk(&near, &far, b"in the clear", b"as well").expect("talking without rules");
    let here = local(&near);
    for daemon in [client, server] {
        daemon.assert_well("the loss of the rules");
        let rows = daemon.netstat();
        assert!(
            !rows
                .iter()
                .any(|row| row.local == here || row.remote == here)
        );
    }
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
            script(&lab.client, LEGACY, "stop");
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
        script(&lab.server, LEGACY, "stop");
        assert_plain_now(lab, &client, &server);
        for host in lab.hosts() {
            script(host, LEGACY, "start");
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
            script(&lab.client, LEGACY, "stop");
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

/// Numbers of the lines that a tap saw in the clear.
fn lines_seen(tap: &Capture) -> usize {
    let text = b"a secret line";
    let seen = tap.segments();
    let with_line = |payload: &[u8]| payload.windows(text.len()).any(|w| w == text);
    seen.iter().filter(|s| with_line(&s.payload)).count()
}

/// Somebody takes the rules of the client's host away while both ends write.
fn assert_short_leak(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>, remove: &str) {
    let both = open_both(lab, client, server);
    let tap = lab.tap();
    let (near, far) = &both.encrypted;
    std::thread::scope(|scope| {
        let writers =
            [near, far].map(|stream| scope.spawn(move || write_until_reset(stream, SOON)));
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(lines_seen(&tap), 0);
        lab.client.script(remove);
        let gone = Instant::now();
        for (writer, end) in writers.into_iter().zip(["near", "far"]) {
            let reset = writer.join().expect("the writer").expect("a reset");
            let late = reset.saturating_duration_since(gone);
            eprintln!("{end} end: reset after {late:?}");
            assert!(late < LEAK, "{end} end: reset only after {late:?}");
        }
    });
    let seen = lines_seen(&tap);
    eprintln!("{seen} segments in the clear");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lines_seen(&tap), seen, "and later still");
    assert_reset_and_others_go_on(&both);
    assert!(client.log().contains(GONE), "{}", client.log());
    assert!(!server.log().contains(GONE), "its own rules are there");
    assert_plain_now(lab, client, server);
}

#[test]
fn flushed_rules_of_iptables_end_encrypted_connections() {
    let name = "flushed_rules_of_iptables_end_encrypted_connections";
    with_script(name, Settings::default(), |lab, client, server| {
        for _ in 0..2 {
            assert_short_leak(lab, &client, &server, "iptables-legacy -t mangle -F");
            // Without a pause, since nobody said anything: encrypted again at once.
            script(&lab.client, LEGACY, "start");
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
        std::thread::sleep(LEAK);
        assert_reset_and_others_go_on(&six);
        let (near, far) = &many[149];
        talk(near, far, QUESTION, ANSWER).expect("IPv4 goes on");
        lab.client.script("iptables-legacy -t mangle -F OUTPUT");
        std::thread::sleep(LEAK);
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
        std::thread::sleep(LEAK);
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

/// Whether rules of this kind can be made, tried in a network name space of its own.
fn can(probe: &str) -> bool {
    let mut command = Command::new("unshare");
    run_command(command.args(["--net", "--", "sh", "-ec", probe])).rc == 0
}

fn flushed_nft(name: &str, variables: &str) {
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        script(&lab.client, variables, "start");
        script(&lab.server, LEGACY, "start");
        for _ in 0..2 {
            assert_short_leak(lab, &client, &server, "nft flush ruleset");
            script(&lab.client, variables, "start");
            one_talk(lab, &client, &server);
        }
    });
}

#[test]
fn flushed_rules_of_nftables_end_encrypted_connections() {
    let name = "flushed_rules_of_nftables_end_encrypted_connections";
    if !can("nft add table ip p; nft add chain ip p c; nft add rule ip p c queue num 1 bypass") {
        return skip(name, "no queues for nftables in this kernel");
    }
    flushed_nft(name, "RULES=nft");
}

#[test]
fn flushed_rules_of_iptables_nft_end_encrypted_connections() {
    let name = "flushed_rules_of_iptables_nft_end_encrypted_connections";
    if !can(
        "iptables-nft -t mangle -A OUTPUT -p tcp -m multiport --ports 1 -m mark ! --mark 1 -j NFQUEUE --queue-bypass",
    ) {
        return skip(name, "no iptables for nftables here");
    }
    let programs = "RULES=iptables IPV6=no IPTABLES=iptables-nft";
    flushed_nft(name, programs);
}
