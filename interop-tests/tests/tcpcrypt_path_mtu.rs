//! A link in the middle of the path that carries less than those of the hosts, and nobody who clamps the MSS.
//! Records that were made too long cannot be made anew.

use std::time::{Duration, Instant};

use interop_tests::lab::applications::{exchange, local, remote};
use interop_tests::lab::case::{case, crossings};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::{Lab, Offload, PORT, Settings};

/// What the middle carries.
const NARROW: u16 = 1300;

const SIZE: u64 = 5_000_000;

/// For each way, on a machine with other work to do.
const LONGEST: Duration = Duration::from_secs(10);

/// What two of ours speak by themselves, and what the original speaks.
const STANDARD: &[&str] = &[];
const LEGACY: &[&str] = &["--eno=legacy"];

fn settings(offload: Offload, ipv6: bool) -> Settings {
    Settings {
        offload,
        ipv6,
        narrow: Some(NARROW),
        ..Settings::default()
    }
}

/// The rules of divert mode, with those for what routers say.
fn divert(host: &Host) {
    host.divert(&PORT.to_string());
    let queue = "-j NFQUEUE --queue-num 666 --queue-bypass";
    host.script(&format!(
        "iptables-legacy -w 20 -A INPUT -p icmp --icmp-type fragmentation-needed {queue}"
    ));
    if host.address6.is_some() {
        host.script(&format!(
            "ip6tables-legacy -w 20 -A INPUT -p icmpv6 --icmpv6-type packet-too-big {queue}"
        ));
    }
}

/// Five megabytes each way, each on two connections: the second begins with what the first has made the kernel
/// know of the path.
fn both_ways(lab: &Lab, what: &str, up_first: bool) {
    let listener = lab.server.listen(PORT);
    for number in 0..4 {
        let (up, down) = match (number % 2 == 0) == up_first {
            true => (SIZE, 0),
            false => (0, SIZE),
        };
        let (near, far) = lab.connect_to(&listener).expect("connecting");
        let began = Instant::now();
        exchange(&near, &far, up, down).unwrap_or_else(|e| panic!("{what}: {up}/{down}: {e}"));
        let took = began.elapsed();
        println!("{what}: {up}/{down}: {took:?}");
        assert!(took < LONGEST, "{what}: {up}/{down}: {took:?}");
    }
}

fn ours(name: &str, ipv6: bool, silent: bool) {
    for (offload, up_first, dialect) in [
        (Offload::Off, true, STANDARD),
        (Offload::Off, false, LEGACY),
        (Offload::Nic, true, LEGACY),
        (Offload::Nic, false, STANDARD),
        (Offload::On, true, STANDARD),
        (Offload::On, false, LEGACY),
    ] {
        case(name, settings(offload, ipv6), |lab, pair| {
            if pair.client.original && (ipv6 || offload != Offload::Off) {
                return;
            }
            let options = match pair.client.original {
                true => &[],
                false => dialect,
            };
            let client = Daemon::start(&lab.client, pair.client, options);
            let server = Daemon::start(&lab.server, pair.server, options);
            for host in lab.hosts() {
                divert(host);
            }
            if silent {
                lab.silence_routers();
            }
            both_ways(lab, &format!("{offload:?}"), up_first);
            // The kernel believed what the router said of numbers that it does not know. The other host was told by
            // the MSS from then on.
            let (host, other) = match up_first {
                true => (&lab.client, &lab.server),
                false => (&lab.server, &lab.client),
            };
            let route = host.output(&format!("ip route get {}", other.ip()));
            let knows = route.contains(&format!("mtu {NARROW}"));
            assert_eq!(knows, !silent, "{offload:?}: {route}");
            let (near, far) = lab.connection(PORT).expect("connecting");
            assert!(client.row_of(local(&near), remote(&near)).is_some());
            drop((near, far));
            client.assert_well("the test");
            server.assert_well("the test");
        });
    }
}

#[test]
fn a_narrow_link_in_the_middle() {
    ours("a_narrow_link_in_the_middle", false, false);
}

#[test]
fn a_narrow_link_in_the_middle_over_ipv6() {
    ours("a_narrow_link_in_the_middle_over_ipv6", true, false);
}

#[test]
fn a_narrow_link_that_nobody_tells_of() {
    ours("a_narrow_link_that_nobody_tells_of", false, true);
}

#[test]
fn a_narrow_link_that_nobody_tells_of_over_ipv6() {
    ours("a_narrow_link_that_nobody_tells_of_over_ipv6", true, true);
}

/// Ours sends, the original receives: it needs each record in one segment.
#[test]
fn a_narrow_link_on_the_way_to_the_original() {
    let name = "a_narrow_link_on_the_way_to_the_original";
    for silent in [false, true] {
        crossings(name, settings(Offload::Off, false), |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            for (host, daemon) in [(&lab.client, &client), (&lab.server, &server)] {
                match daemon.implementation.original {
                    true => host.divert(&PORT.to_string()),
                    false => divert(host),
                }
            }
            if silent {
                lab.silence_routers();
            }
            let (near, far) = lab.connection(PORT).expect("connecting");
            let (up, down) = match client.implementation.original {
                true => (0, 1_000_000),
                false => (1_000_000, 0),
            };
            let began = Instant::now();
            exchange(&near, &far, up, down)
                .unwrap_or_else(|e| panic!("silent {silent}: {up}/{down}: {e}"));
            println!("silent {silent}: {up}/{down}: {:?}", began.elapsed());
            client.assert_well("the test");
            server.assert_well("the test");
        });
    }
}
