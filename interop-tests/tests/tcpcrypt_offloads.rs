//! Divert mode with super-packets, for what the devices may do ("tcpcrypt-datapath spec 0"): everything, regroup
//! only, nothing. On the cable each segment is one whole record in all of them, as peers of the original need it.

use std::time::{Duration, Instant};

use interop_tests::lab::applications::{exchange, local};
use interop_tests::lab::case::{case, crossings};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::scenarios::{assert_secret, id_of};
use interop_tests::lab::segment::Segment;
use interop_tests::lab::wire_checks::{assert_only_records, of_port};
use interop_tests::lab::{Lab, Offload, PORT, Settings};
use interop_tests::wait::{self, SOON};

const OFFLOADS: [Offload; 3] = [Offload::On, Offload::Nic, Offload::Off];

/// Part of the packets lost on arrival, at each host.
const LOSS: f64 = 0.005;

fn settings(offload: Offload) -> Settings {
    Settings {
        offload,
        ..Settings::default()
    }
}

/// Ours at both ends with the rules of divert mode, once for each setting.
fn for_each(name: &str, body: impl Fn(Offload, &Lab, &Daemon<'_>, &Daemon<'_>)) {
    for offload in OFFLOADS {
        case(name, settings(offload), |lab, pair| {
            if pair.client.original {
                // It cuts super-packets before it looks at them.
                return;
            }
            let client = Daemon::start(&lab.client, pair.client, &["-v"]);
            let server = Daemon::start(&lab.server, pair.server, &["-v"]);
            lab.divert(&PORT.to_string());
            body(offload, lab, &client, &server);
            for host in lab.hosts() {
                assert_nothing_lost(host);
            }
            client.assert_well("the test");
            server.assert_well("the test");
        });
    }
}

/// The kernel's counters: no packet dropped for a full queue or a full buffer.
fn assert_nothing_lost(host: &Host) {
    let table = host.output("cat /proc/net/netfilter/nfnetlink_queue");
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields.get(5..7), Some(&["0", "0"][..]), "{line}");
    }
}

/// What the daemon says of a thing behind this word when it is asked for its state.
fn stated(daemon: &Daemon<'_>, word: &str) -> u64 {
    daemon.signal("USR1");
    let number = wait::until(SOON, || {
        let log = daemon.log();
        let (_, rest) = log.rsplit_once(word)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    number.unwrap_or_else(|| panic!("no dump of the state with {word}"))
}

#[test]
fn super_packets_cross_the_queue_whole() {
    for_each(
        "super_packets_cross_the_queue_whole",
        |offload, lab, client, server| {
            let size = 20_000_000;
            let listener = lab.server.listen(PORT);
            for (up, down) in [(size, 0), (0, size), (size / 4, size / 4)] {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                exchange(&near, &far, up, down)
                    .unwrap_or_else(|e| panic!("{offload:?}: {up}/{down}: {e}"));
            }
            // 50 MB and what acknowledges them: 35,000 segments.
            let sender = stated(client, "Packets: ") + stated(server, "Packets: ");
            println!("{offload:?}: {sender} packets in both queues");
            if offload != Offload::Off {
                assert!(sender < 20_000, "{offload:?}: {sender} packets");
            }
            assert_eq!(stated(client, "Lost by the kernel: "), 0);
        },
    );
}

#[test]
fn each_segment_is_one_record() {
    for_each(
        "each_segment_is_one_record",
        |offload, lab, client, server| {
            let tap = lab.tap();
            let (near, far) = lab.connection(PORT).expect("connecting");
            exchange(&near, &far, 2_000_000, 0).expect("the exchange");
            let port = local(&near).port();
            // Where super-packets cross the cable whole, the tap sees them whole.
            if offload != Offload::On {
                let seen: Vec<Segment> = tap.segments();
                let longest = of_port(&seen, port).map(|s| s.payload.len()).max();
                assert!(longest <= Some(1448), "{longest:?}");
                assert_only_records(&seen, port);
            }
            assert_secret(&tap);
            let (near, _far) = lab.connection(PORT).expect("connecting");
            id_of(client, server, &near);
        },
    );
}

#[test]
fn twenty_megabytes_under_loss() {
    for_each("twenty_megabytes_under_loss", |offload, lab, _, _| {
        let listener = lab.server.listen(PORT);
        lab.lose(LOSS);
        let mut times = Vec::new();
        for (up, down) in [(20_000_000, 0), (0, 20_000_000), (10_000_000, 10_000_000)] {
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            let began = Instant::now();
            exchange(&near, &far, up, down)
                .unwrap_or_else(|e| panic!("{offload:?}: {up}/{down}: {e}"));
            times.push(began.elapsed());
        }
        println!("{offload:?}: {times:?}");
        // A machine with other work to do; the benchmark looks at the time itself.
        let longest = times.into_iter().max().unwrap_or_default();
        assert!(
            longest < Duration::from_secs(10),
            "{offload:?}: {longest:?}"
        );
    });
}

#[test]
fn plain_bulk_passes_as_it_is() {
    for offload in OFFLOADS {
        for option in ["-d", "-a", "-m"] {
            case(
                "plain_bulk_passes_as_it_is",
                settings(offload),
                |lab, pair| {
                    let client = Daemon::start(&lab.client, pair.client, &[option]);
                    let server = Daemon::start(&lab.server, pair.server, &[option]);
                    lab.divert(&PORT.to_string());
                    let (near, far) = lab.connection(PORT).expect("connecting");
                    exchange(&near, &far, 5_000_000, 5_000_000)
                        .unwrap_or_else(|e| panic!("{offload:?} {option}: {e}"));
                    client.assert_well("the test");
                    server.assert_well("the test");
                },
            );
        }
    }
}

#[test]
fn original_bulk_with_offloads() {
    for offload in OFFLOADS {
        let name = "original_bulk_with_offloads";
        crossings(name, settings(offload), |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            let listener = lab.server.listen(PORT);
            for (up, down) in [(8_000_000, 0), (0, 8_000_000), (2_000_000, 2_000_000)] {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                exchange(&near, &far, up, down)
                    .unwrap_or_else(|e| panic!("{offload:?}: {up}/{down}: {e}"));
            }
            client.assert_well("the test");
            server.assert_well("the test");
        });
    }
}
