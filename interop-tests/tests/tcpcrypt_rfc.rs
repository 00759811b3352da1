//! Daemons that speak the standard (RFC 8547, RFC 8548) where both ends can: the subject with itself in every key
//! exchange and cipher over either family, in every combination of `--eno`, and as it comes with the original.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop_tests::lab::applications::{accept, exchange, local, talk};
use interop_tests::lab::case::{Pair, case, crossings};
use interop_tests::lab::control::{CIPHER, DIALECT, KEY_EXCHANGE, PASSIVE_ROLE, ROLE};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::scenarios::{
    self, ANSWER, QUESTION, assert_secret, close_both, id_of, one_talk, one_talk_on, open_at_once,
};
use interop_tests::lab::segment::hex;
use interop_tests::lab::wire_checks::{assert_only_records, opening};
use interop_tests::lab::{Lab, Offload, PORT, Settings};
use interop_tests::peers::on_path;
use interop_tests::skip::skip;
use interop_tests::wait::{self, SOON};
use rustix::net::sockopt::set_socket_linger;

/// Daemons on both hosts with these options, over IPv4 and, if it is there, IPv6.
fn with(lab: &Lab, pair: Pair, options: [&[&str]; 2], body: impl FnOnce(&Daemon<'_>, &Daemon<'_>)) {
    let client = Daemon::start(&lab.client, pair.client, options[0]);
    let server = Daemon::start(&lab.server, pair.server, options[1]);
    body(&client, &server);
    client.assert_well("the test");
    server.assert_well("the test");
    assert_eq!((client.stop(), server.stop()), (0, 0));
}

fn both_families() -> Settings {
    Settings {
        ipv6: true,
        ..Settings::default()
    }
}

/// A test of the subject with itself. The original knows none of this.
fn ours(name: &str, settings: Settings, body: impl Fn(&Lab, Pair)) {
    case(name, settings, |lab, pair| {
        if !pair.client.original {
            lab.divert(&PORT.to_string());
            body(lab, pair);
        }
    });
}

#[test]
fn every_key_exchange_and_cipher() {
    let name = "every_key_exchange_and_cipher";
    ours(name, both_families(), |lab, pair| {
        for (tep, exchange_name) in [
            ("0x21", "TCPCRYPT_ECDHE_P256"),
            ("0x22", "TCPCRYPT_ECDHE_P521"),
            ("0x23", "TCPCRYPT_ECDHE_Curve25519"),
            ("0x24", "TCPCRYPT_ECDHE_Curve448"),
        ] {
            for (aead, cipher) in [
                ("aes-128-gcm", "AEAD_AES_128_GCM"),
                ("aes-256-gcm", "AEAD_AES_256_GCM"),
                ("chacha20-poly1305", "AEAD_CHACHA20_POLY1305"),
            ] {
                let aead = format!("--aead={aead}");
                let options: &[&str] = &["--eno=rfc", "-C", tep, &aead];
                with(lab, pair, [options, options], |client, server| {
                    let tap = lab.tap();
                    let listener = lab.server.listen(PORT);
                    for to in [lab.server_address(PORT), (lab.server.address, PORT).into()] {
                        for round in 0..3 {
                            let near = lab.client.connect(to).expect("connecting");
                            let far = accept(&listener, SOON).expect("accepting");
                            talk(&near, &far, QUESTION, ANSWER).expect("talking");
                            assert_eq!(client.about(&near, KEY_EXCHANGE), exchange_name);
                            assert_eq!(client.about(&near, CIPHER), cipher);
                            assert_eq!(server.about(&far, CIPHER), cipher);
                            assert_eq!(client.about(&near, DIALECT), "rfc8548");
                            assert_eq!(client.about(&near, ROLE), "A");
                            assert_eq!(server.about(&far, ROLE), "B");
                            let begun = opening(&tap.segments(), local(&near).port());
                            assert_eq!(begun.exchanged, round == 0, "{to} {round}");
                            assert_eq!(begun.syn.expect("an option")[0], 69);
                            exchange(&near, &far, 100_000, 100_000).expect("exchanging");
                        }
                    }
                    assert_secret(&tap);
                });
            }
        }
    });
}

/// Each row of the table of tcpcrypt spec 7.7: what is spoken by whom with whom.
#[test]
fn who_speaks_what_with_whom() {
    let names = ["legacy", "rfc", "auto", "off"];
    let table: BTreeMap<&str, [Option<(u8, &str)>; 4]> = [
        ("legacy", [Some((253, "21")), None, Some((253, "21")), None]),
        ("rfc", [None, Some((69, "23")), Some((69, "23")), None]),
        (
            "auto",
            [
                Some((253, "21")),
                Some((253, "23")),
                Some((253, "23")),
                None,
            ],
        ),
        ("off", [None; 4]),
    ]
    .into();
    ours(
        "who_speaks_what_with_whom",
        Settings::default(),
        |lab, pair| {
            for (opener, row) in &table {
                for (other, wanted) in names.iter().zip(row) {
                    let options = [opener, other].map(|name| format!("--eno={name}"));
                    let options = [&[options[0].as_str()][..], &[options[1].as_str()]];
                    with(lab, pair, options, |client, server| {
                        let tap = lab.tap();
                        let (near, far) = lab.connection(PORT).expect("connecting");
                        talk(&near, &far, QUESTION, ANSWER).expect("talking");
                        let begun = opening(&tap.segments(), local(&near).port());
                        match wanted {
                            Some((kind, tep)) => {
                                let id = id_of(client, server, &near);
                                assert_eq!(&id[..2], *tep, "{opener} {other}");
                                assert_eq!(begun.syn.map(|eno| eno[0]), Some(*kind));
                                assert_eq!(begun.syn_ack.map(|eno| eno[0]), Some(*kind));
                                assert_only_records(&tap.segments(), local(&near).port());
                                assert_secret(&tap);
                            }
                            None => {
                                assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
                                assert_eq!(begun.syn_ack, None, "{opener} {other}");
                                assert!(tap.contains(QUESTION));
                            }
                        }
                        close_both(near, far);
                    });
                }
            }
        },
    );
}

/// The scenarios of the original's dialect that say nothing of its octets, by two daemons with `--eno=rfc` and by two
/// as they come.
macro_rules! scenario {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            ours(stringify!($name), both_families(), |lab, pair| {
                for eno in ["--eno=rfc", "--eno=auto"] {
                    with(lab, pair, [&[eno], &[eno]], |client, server| {
                        $run(lab, client, server);
                    });
                }
            });
        }
    };
}

scenario!(rfc_bulk_arrives_unaltered, scenarios::bulk);
scenario!(rfc_short_connections, scenarios::short_connections);
scenario!(rfc_many_connections_at_once, scenarios::at_once);
scenario!(
    rfc_the_client_closes_first_and_still_reads,
    scenarios::client_closes_first
);
scenario!(
    rfc_the_server_closes_first_and_still_reads,
    scenarios::server_closes_first
);
scenario!(rfc_a_reset_of_either_end_arrives, scenarios::resets);

/// Where offloads join and cut segments.
#[test]
fn rfc_bulk_under_offloads() {
    for offload in [Offload::Nic, Offload::On] {
        let settings = Settings {
            offload,
            ..Settings::default()
        };
        ours("rfc_bulk_under_offloads", settings, |lab, pair| {
            for eno in ["--eno=rfc", "--eno=auto"] {
                with(lab, pair, [&[eno], &[eno]], |client, server| {
                    scenarios::bulk(lab, client, server);
                });
            }
        });
    }
}

/// With long frames and with one in each segment.
#[test]
fn rfc_loss_is_repaired() {
    for offload in [Offload::Off, Offload::Nic, Offload::On] {
        let settings = Settings {
            offload,
            ..Settings::default()
        };
        ours("rfc_loss_is_repaired", settings, |lab, pair| {
            with(lab, pair, [&["--eno=rfc"]; 2], |client, server| {
                scenarios::loss_is_repaired(lab, client, server);
            });
        });
    }
}

#[test]
fn rfc_options_stripped_give_plain_tcp() {
    let name = "rfc_options_stripped_give_plain_tcp";
    ours(name, Settings::default(), |lab, pair| {
        with(lab, pair, [&["--eno=rfc"]; 2], |client, server| {
            for (host, flags) in [(&lab.server, "SYN"), (&lab.client, "SYN,ACK")] {
                host.strip_incoming(69, &format!("--tcp-flags SYN,ACK {flags}"));
                let (near, far) = lab.connection(PORT).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
                host.lose_nothing();
            }
            one_talk(lab, client, server);
        });
    });
}

/// Both open the connection, and the application of one asked to be host B: anew, then resumed, with that of the other.
#[test]
fn rfc_simultaneous_open_with_roles() {
    let name = "rfc_simultaneous_open_with_roles";
    ours(name, Settings::default(), |lab, pair| {
        with(lab, pair, [&["--eno=rfc"]; 2], |client, server| {
            let tap = lab.tap();
            for (host_b, beginning) in [(client, "2"), (server, "A"), (client, "A")] {
                let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
                let reply = host_b.client().set(PASSIVE_ROLE, any(PORT), any(0), 1);
                assert_eq!(reply.expect("a reply").error, 0);
                let (near, far) = open_at_once(lab);
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let id = id_of(client, server, &near);
                assert!(id.starts_with(beginning), "{id}");
                for (daemon, stream) in [(client, &near), (server, &far)] {
                    let role = if std::ptr::eq(daemon, host_b) {
                        "B"
                    } else {
                        "A"
                    };
                    assert_eq!(daemon.about(stream, ROLE), role);
                }
                exchange(&near, &far, 300_000, 300_000).expect("the exchange");
                // No end that waits for late segments: the next one has the same addresses.
                for stream in [&near, &far] {
                    set_socket_linger(stream, Some(Duration::ZERO)).expect("set");
                }
                drop((near, far));
            }
            assert_secret(&tap);
        });
    });
}

/// A restart of either daemon: what the other names is not known, and the connection is encrypted all the same.
#[test]
fn rfc_restart_of_either_side() {
    let name = "rfc_restart_of_either_side";
    ours(name, Settings::default(), |lab, pair| {
        let start = |host| Daemon::start(host, pair.client, &["--eno=auto"]);
        let (mut client, mut server) = (start(&lab.client), start(&lab.server));
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "23");
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "A3");
        assert_eq!(server.stop(), 0);
        server = start(&lab.server);
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "23");
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "A3");
        assert_eq!(client.stop(), 0);
        client = start(&lab.client);
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "23");
        assert_eq!(&one_talk(lab, &client, &server).0[..2], "A3");
    });
}

/// Time for tshark to begin, and to write what it has seen.
const LISTENING: Duration = Duration::from_secs(60);

/// What tshark says of SYNs and of segments with our option, so far.
fn read_by_tshark(file: &Path) -> String {
    let out = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args(["-Y", "tcp.flags.syn == 1 || tcp.option_kind == 69", "-V"])
        .output()
        .expect("tshark");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Our options as Wireshark reads them, if its dissector knows the kind.
#[test]
fn tshark_reads_our_options() {
    let name = "tshark_reads_our_options";
    if !on_path("tshark") {
        skip(name, "there is no tshark");
        return;
    }
    ours(name, Settings::default(), |lab, pair| {
        with(lab, pair, [&["--eno=rfc"]; 2], |client, server| {
            let file = lab.dir().join("eno.pcap");
            let mut tshark = lab
                .client
                .command("tshark")
                // Should the test end before it is told to stop.
                .args(["-i", "wire", "-a", "duration:300", "-w"])
                .arg(&file)
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("tshark");
            // It writes the beginning of the file when it has begun to listen.
            let begun = || std::fs::metadata(&file).ok().filter(|it| it.len() > 0);
            wait::until(LISTENING, begun).expect("a capture that has begun");
            // A fresh one and one that is resumed.
            one_talk(lab, client, server);
            one_talk(lab, client, server);
            // By name where the dissector knows it (4.0 does not), else as an option that it can pass over.
            let eno =
                |line: &&str| line.trim_start().starts_with("Kind: ") && line.ends_with("(69)");
            // Two SYNs, two SYN-ACKs, and at least two third segments.
            let text = wait::until(LISTENING, || {
                let text = read_by_tshark(&file);
                (text.lines().filter(eno).count() >= 6).then_some(text)
            });
            let ended = Command::new("kill").arg(tshark.id().to_string()).status();
            assert!(ended.expect("kill").success());
            tshark.wait().expect("tshark's end");
            let text = text.unwrap_or_else(|| panic!("{}", read_by_tshark(&file)));
            assert!(
                text.contains("21222324"),
                "the list of the first SYN: {text}"
            );
            assert!(!text.contains("Malformed"), "{text}");
        });
    });
}

/// A daemon as it comes with the original, in both roles. What is not about octets.
macro_rules! original {
    ($name:ident, $run:expr) => {
        #[test]
        fn $name() {
            crossings(stringify!($name), Settings::default(), |lab, pair| {
                let options = |it: &interop_tests::lab::implementation::Implementation| {
                    if it.original {
                        vec![]
                    } else {
                        vec!["--eno=auto"]
                    }
                };
                let client = Daemon::start(&lab.client, pair.client, &options(pair.client));
                let server = Daemon::start(&lab.server, pair.server, &options(pair.server));
                lab.divert(&PORT.to_string());
                $run(lab, &client, &server);
                client.assert_well("the test");
                server.assert_well("the test");
            });
        }
    };
}

original!(original_auto_bulk_arrives_unaltered, scenarios::bulk);
original!(
    original_auto_short_connections,
    scenarios::short_connections
);
original!(original_auto_many_connections_at_once, scenarios::at_once);
original!(
    original_auto_the_client_closes_first_and_still_reads,
    scenarios::client_closes_first
);
original!(
    original_auto_the_server_closes_first_and_still_reads,
    scenarios::server_closes_first
);
original!(
    original_auto_options_stripped_give_plain_tcp,
    scenarios::stripped
);
original!(
    original_auto_resumes,
    |lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>| {
        let tap = lab.tap();
        let listener = lab.server.listen(PORT);
        let ours_opens = !client.implementation.original;
        for round in 0..6 {
            let (id, port) = one_talk_on(lab, client, server, &listener);
            let begun = opening(&tap.segments(), port);
            assert_eq!(&id[..2], if round == 0 { "21" } else { "A1" });
            let syn = hex(&begun.syn.expect("ENO in the SYN"));
            // The original passes over what stands behind its own key exchanges.
            let wanted = if ours_opens {
                "454e21222324"
            } else {
                "454e2122"
            };
            assert!(syn[4..].starts_with(wanted), "{syn}");
            assert_eq!(begun.exchanged, round == 0);
        }
        assert_secret(&tap);
    }
);
