//! What a daemon asks of its host and takes from it: packets, rights, connection tracking, offloads.

use std::time::Duration;

use interop_tests::lab::applications::{exchange, local, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::rule_script;
use interop_tests::lab::scenarios::{
    self, ANSWER, QUESTION, assert_secret, close_both, id_of, one_talk,
};
use interop_tests::lab::segment::{FIN, SYN, Segment, hex};
use interop_tests::lab::wire_checks::{INIT1, INIT2, assert_only_records, of_port};
use interop_tests::lab::{Lab, Offload, PORT, Settings};
use interop_tests::program::status_field;
use interop_tests::wait::{self, SOON};

/// Both daemons with these options, and the rules of divert mode.
fn with_daemons(
    name: &str,
    settings: Settings,
    options: &[&str],
    body: impl Fn(&Lab, Daemon<'_>, Daemon<'_>),
) {
    case(name, settings, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, options);
        let server = Daemon::start(&lab.server, pair.server, options);
        lab.divert(&PORT.to_string());
        body(lab, client, server);
    });
}

/// Packets that left a host by any of its devices, loopback included.
fn sent(host: &Host) -> u64 {
    let text = host.output("cat /proc/net/dev");
    let columns = text.lines().filter_map(|line| line.split_once(':'));
    columns
        .filter_map(|(_, numbers)| numbers.split_whitespace().nth(9)?.parse::<u64>().ok())
        .sum()
}

/// No test of the network, no name looked up, nothing said on a connection that is silent.
#[test]
fn no_packet_leaves_unasked() {
    case(
        "no_packet_leaves_unasked",
        Settings::default(),
        |lab, pair| {
            for host in lab.hosts() {
                // Nothing of IPv6 to be counted; and a way out that a question for a name would take.
                host.script(
                "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip route add default dev wire",
            );
            }
            let quiet = || {
                let before = lab.hosts().map(sent);
                std::thread::sleep(Duration::from_millis(1500));
                let after = lab.hosts().map(sent);
                assert_eq!(before, after, "packets nobody asked for");
            };
            let before = lab.hosts().map(sent);
            let options = ["-s", "check.tcpcrypt.org"];
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &options);
            lab.divert(&PORT.to_string());
            quiet();
            assert_eq!(lab.hosts().map(sent), before, "packets at the start");
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            id_of(&client, &server, &near);
            // Delayed acknowledgements, and neighbours that are asked once more whether they live.
            std::thread::sleep(Duration::from_millis(500));
            for host in lab.hosts() {
                host.script("ip neigh replace $(ip neigh | awk '{ print $1, \"lladdr\", $5 }') dev wire nud permanent");
            }
            quiet();
            close_both(near, far);
            std::thread::sleep(Duration::from_millis(500));
            quiet();
        },
    );
}

/// The daemon and its guard: an empty directory for a root, one capability, a filter for system calls,
/// no files, no new privileges, no core dump.
#[test]
fn every_process_is_confined() {
    let name = "every_process_is_confined";
    with_daemons(
        name,
        Settings::default(),
        &["-vv"],
        |lab, client, server| {
            one_talk(lab, &client, &server);
            let pid = client.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.expect("the kernel lists children");
            let guard: u32 = children.trim().parse().expect("one child, the guard");
            for pid in [pid, guard] {
                let root = std::fs::read_link(format!("/proc/{pid}/root")).expect("a root");
                assert_eq!(root, lab.client.dir().join("jail"));
                for (field, wanted) in [
                    ("Seccomp", "2"),
                    ("NoNewPrivs", "1"),
                    ("CapEff", "0000000000001000"),
                    ("CapPrm", "0000000000001000"),
                    ("Uid", "65534\t65534\t65534\t65534"),
                    ("Threads", "1"),
                ] {
                    assert_eq!(status_field(pid, field), wanted, "{field} of {pid}");
                }
                let limits =
                    std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
                let core = limits.lines().find(|l| l.starts_with("Max core file size"));
                let core: Vec<&str> = core.expect("a limit").split_whitespace().collect();
                assert_eq!(core[4], "0", "core dumps of {pid}");
            }
            let has_landlock = std::fs::read_to_string("/sys/kernel/security/lsm")
                .is_ok_and(|modules| modules.contains("landlock"));
            assert!(
                !has_landlock || client.log().contains("Landlock on, no files"),
                "{}",
                client.log()
            );
        },
    );
}

/// The blocks of a SACK option.
fn blocks(segment: &Segment) -> Vec<(u32, u32)> {
    let option = segment.option(5).unwrap_or_default();
    let words: Vec<u32> = option
        .get(2..)
        .unwrap_or_default()
        .chunks_exact(4)
        .filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
        .collect();
    words
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// A counter of the kernel's, of `/proc/net/netstat`.
fn counter(host: &Host, name: &str) -> u64 {
    let text = host.output("cat /proc/net/netstat");
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
    lines
        .chunks_exact(2)
        .find_map(|two| {
            let column = two[0].iter().position(|&n| n == name)?;
            two[1].get(column)?.parse().ok()
        })
        .unwrap_or_else(|| panic!("no counter {name}"))
}

/// SACK is translated, not taken away: on the cable the blocks begin and end where records do, and the
/// kernel behind the other daemon understands what it gets.
#[test]
fn what_is_missing_is_told_by_sack() {
    let name = "what_is_missing_is_told_by_sack";
    with_daemons(name, Settings::default(), &[], |lab, client, server| {
        lab.server.lose_incoming(0.02);
        let tap = lab.tap();
        let (near, far) = lab.connection(PORT).expect("connecting");
        let port = local(&near).port();
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        id_of(&client, &server, &near);
        exchange(&near, &far, 3_000_000, 0).expect("the upload");
        let seen = tap.segments();
        let syns: Vec<&Segment> = of_port(&seen, port).filter(|s| s.has(SYN)).collect();
        assert!(
            syns.len() >= 2 && syns.iter().all(|s| s.option(4).is_some()),
            "{syns:?}"
        );
        // Blocks are of records; the FIN behind the last one has a number, too, but is none.
        let records: Vec<(u32, u32)> = of_port(&seen, port)
            .filter(|s| s.source.port() == port)
            .map(|s| (s.seq, s.end().wrapping_sub(u32::from(s.has(FIN)))))
            .collect();
        // The tap may have missed segments, so what counts is that no block ends within one that it saw.
        let is_within = |edge: u32| {
            records.iter().any(|&(begin, end)| {
                let at = edge.wrapping_sub(begin);
                at > 0 && at < end.wrapping_sub(begin)
            })
        };
        let told: Vec<(u32, u32)> = of_port(&seen, port)
            .filter(|s| s.destination.port() == port)
            .flat_map(blocks)
            .collect();
        assert!(!told.is_empty(), "no SACK on the cable");
        for (begin, end) in told {
            assert!(
                !is_within(begin) && !is_within(end),
                "a block from {begin} to {end} is none of records"
            );
        }
        assert!(
            counter(&lab.client, "TCPSackRecovery") > 0,
            "not understood"
        );
        assert_eq!(counter(&lab.client, "TCPSACKDiscard"), 0);
        assert_only_records(&seen, port);
    });
}

const LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// A firewall that drops what connection tracking calls invalid ("tcpcrypt-datapath spec 2.6"), with the
/// drop-in rules: the switch is set while a daemon is there, and put back however it ends.
#[test]
fn a_firewall_that_drops_invalid_packets() {
    let name = "a_firewall_that_drops_invalid_packets";
    case(name, Settings::default(), |lab, pair| {
        let liberal = |host: &Host| host.output(&format!("cat {LIBERAL}")).trim().to_owned();
        for host in lab.hosts() {
            for chain in ["INPUT", "OUTPUT"] {
                host.rule(&format!(
                    "-A {chain} -m conntrack --ctstate INVALID -j DROP"
                ));
            }
            host.script(&format!("echo 0 >{LIBERAL}"));
        }
        let client = Daemon::start(&lab.client, pair.client, &["-v"]);
        let server = Daemon::start(&lab.server, pair.server, &["-v"]);
        lab.divert(&PORT.to_string());
        for (host, daemon) in [(&lab.client, &client), (&lab.server, &server)] {
            assert_eq!(liberal(host), "1");
            assert!(daemon.log().contains("nf_conntrack_tcp_be_liberal"));
        }
        let tap = lab.tap();
        for _ in 0..2 {
            one_talk(lab, &client, &server);
        }
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 3_000_000, 3_000_000).expect("the exchange");
        assert_secret(&tap);
        client.stop();
        assert_eq!(liberal(&lab.client), "0");
        server.kill();
        let back = wait::until(SOON, || (liberal(&lab.server) == "0").then_some(()));
        assert!(back.is_some(), "not put back after a kill");
    });
}

/// Rules that show plain numbers to connection tracking both ways. The handshake alone still needs the
/// switch: INIT2 is sent while the local TCP is shown a closed window.
#[test]
fn rules_outside_of_connection_tracking() {
    let name = "rules_outside_of_connection_tracking";
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        for host in lab.hosts() {
            for place in ["-t raw -A PREROUTING", "-t mangle -A POSTROUTING"] {
                host.rule(&format!(
                    "{place} -p tcp -m multiport --ports {PORT} -j NFQUEUE --queue-num 666 --queue-bypass"
                ));
            }
            for chain in ["INPUT", "OUTPUT"] {
                host.rule(&format!(
                    "-A {chain} -m conntrack --ctstate INVALID -j DROP"
                ));
            }
        }
        let tap = lab.tap();
        for _ in 0..2 {
            one_talk(lab, &client, &server);
        }
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 3_000_000, 3_000_000).expect("the exchange");
        assert_secret(&tap);
    });
}

/// With and without offloads.
fn plain_connections_leave(name: &str, ipv6: bool) {
    for offload in [Offload::Off, Offload::Nic, Offload::On] {
        let settings = Settings {
            ipv6,
            offload,
            ..Settings::default()
        };
        case(name, settings, |lab, pair| {
            scenarios::plain_connections_leave(lab, pair, rule_script::LEGACY);
        });
    }
}

#[test]
fn plain_connections_leave_the_queue() {
    plain_connections_leave("plain_connections_leave_the_queue", false);
}

#[test]
fn plain_connections_over_ipv6_leave_the_queue() {
    let name = "plain_connections_over_ipv6_leave_the_queue";
    plain_connections_leave(name, true);
}

/// `-t 2`: the packet that is named gets lost, and TCP repeats it.
#[test]
fn the_packet_dropper_loses_one_packet() {
    let name = "the_packet_dropper_loses_one_packet";
    case(name, Settings::default(), |lab, pair| {
        for number in 1..=6 {
            let options = ["-t", "2", "-T", &number.to_string()];
            let client = Daemon::start(&lab.client, pair.client, &options);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            assert!(client.log().contains("Running test 2: Packet dropper\n"));
            for _ in 0..2 {
                one_talk(lab, &client, &server);
            }
            client.stop();
            server.stop();
            for host in lab.hosts() {
                host.script("iptables-legacy -w 20 -F INPUT; iptables-legacy -w 20 -F OUTPUT");
            }
        }
    });
}

fn bulk_with(name: &str, offload: Offload) {
    let settings = Settings {
        offload,
        ..Settings::default()
    };
    with_daemons(name, settings, &[], |lab, client, server| {
        for (up, down) in [(8_000_000, 0), (0, 8_000_000), (3_000_000, 3_000_000)] {
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            id_of(&client, &server, &near);
            exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{up}/{down}: {e}"));
        }
        client.assert_well("bulk");
        server.assert_well("bulk");
    });
}

#[test]
fn bulk_where_the_receiver_regroups() {
    bulk_with("bulk_where_the_receiver_regroups", Offload::Nic);
}

#[test]
fn bulk_where_the_device_segments() {
    bulk_with("bulk_where_the_device_segments", Offload::On);
}

/// `TCPCRYPT_KEYLOG` ("tcpcrypt spec 9"): what is needed to read a capture, for its owner only.
#[test]
fn the_key_log_belongs_to_the_capture() {
    let name = "the_key_log_belongs_to_the_capture";
    case(name, Settings::default(), |lab, pair| {
        let file = |host: &Host| host.dir().join("keys");
        let start = |host, implementation| {
            let path = file(host);
            let keys = [("TCPCRYPT_KEYLOG", path.as_os_str())];
            Daemon::start_in(host, implementation, &[], &keys)
        };
        let client = start(&lab.client, pair.client);
        let server = start(&lab.server, pair.server);
        lab.divert(&PORT.to_string());
        let tap = lab.tap();
        // A full exchange and one that resumes, which has no keys of its own.
        one_talk(lab, &client, &server);
        one_talk(lab, &client, &server);
        let seen = tap.segments();
        let mut secrets = Vec::new();
        for (host, magic) in [(&lab.client, INIT1), (&lab.server, INIT2)] {
            use std::os::unix::fs::PermissionsExt;
            let path = file(host);
            let mode = path.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let text = std::fs::read_to_string(path).expect("text");
            assert_eq!(text.lines().count(), 1, "{text}");
            let keys: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let field = |name: &str| keys[name].as_str().expect(name).to_lowercase();
            let message = seen.iter().find(|s| s.payload.starts_with(&magic));
            let message = hex(&message.expect("a message").payload).to_lowercase();
            assert!(message.ends_with(&field("pub")), "{message}: {text}");
            assert_eq!(field("priv").len(), 64);
            secrets.push(field("es"));
        }
        assert_eq!(secrets[0], secrets[1]);
    });
}
