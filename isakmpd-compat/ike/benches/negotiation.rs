//! CPU of one negotiation, Main Mode and Quick Mode, both sides together: half of each number is one side's.
//! With one peer and with a thousand in the tables of both.
#![forbid(unsafe_code)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::Criterion;
use ike::event::Path;
use ike::sa::Role;
use ike::{Limits, Options};
use support::{Queued, Side};

/// What is measured: its name and the transform.
const FORMS: [(&str, &str); 3] = [
    ("group 14", "AES-SHA2-256-GRP14"),
    ("ECP-256", "AES-SHA2-256-GRP19"),
    ("RSA-2048 with group 14", "AES-SHA2-256-GRP14-RSA_SIG"),
];

fn peer_address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a64_0000 + number))
}

const HUB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1));

/// The hub knows `peers` peers by their addresses.
fn hub_configuration(transform: &str, peers: u32) -> String {
    let mut text = "[Phase 1]\n".to_owned();
    for number in 0..peers {
        let _ = writeln!(text, "{}= peer-{number}", peer_address(number));
    }
    text.push_str("[Phase 2]\nPassive-connections= ");
    for number in 0..peers {
        let _ = write!(text, "{}conn-{number}", if number == 0 { "" } else { "," });
    }
    text.push('\n');
    for number in 0..peers {
        let address = peer_address(number);
        let _ = write!(
            text,
            "[peer-{number}]\nPhase= 1\nAddress= {address}\nConfiguration= mm\nAuthentication= secret\n\
             [conn-{number}]\nPhase= 2\nISAKMP-peer= peer-{number}\nConfiguration= qm\n\
             Local-ID= hub\nRemote-ID= id-{number}\n\
             [id-{number}]\nID-type= IPV4_ADDR\nAddress= {address}\n"
        );
    }
    text + &common(transform)
}

fn common(transform: &str) -> String {
    format!(
        "[hub]\nID-type= IPV4_ADDR\nAddress= 10.1.1.1\n\
         [mm]\nEXCHANGE_TYPE= ID_PROT\nTransforms= {transform}\n\
         [qm]\nEXCHANGE_TYPE= QUICK_MODE\nSuites= QM-ESP-AES-SHA2-256-SUITE\n"
    )
}

fn peer_configuration(transform: &str, number: u32) -> String {
    format!(
        "[Phase 1]\n{HUB}= hub-peer\n[hub-peer]\nPhase= 1\nAddress= {HUB}\nConfiguration= mm\n\
         Authentication= secret\n[conn]\nPhase= 2\nISAKMP-peer= hub-peer\nConfiguration= qm\n\
         Local-ID= me\nRemote-ID= hub\n[me]\nID-type= IPV4_ADDR\nAddress= {}\n{}",
        peer_address(number),
        common(transform)
    )
}

fn side(configuration: &str, role: Role, own: IpAddr, seed: u64, now: Instant) -> Side {
    let directory = support::recording("mm-rsa-x509-aes256-sha256-g14-pfs");
    let keys = support::keys_of(&directory, role);
    let limits = Limits {
        exchanges: 1 << 20,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let octets = configuration.as_bytes();
    let mut side = Side::new(octets, keys, options, Queued::seeded(seed), now);
    side.engine.set_verbose(false);
    side.engine
        .set_local_addresses(vec![SocketAddr::new(own, 500)]);
    side
}

/// CPU time of this thread so far: what else the machine does counts little.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// From nothing to a tunnel.
fn negotiate(hub: &mut Side, peer: &mut Side, now: Instant) {
    peer.engine.keep_up(now, "conn");
    peer.engine.handle_timeout(now);
    loop {
        let (from_peer, from_hub) = (peer.turn(now), hub.turn(now));
        if from_peer.is_empty() && from_hub.is_empty() {
            break;
        }
        let deliver = |to: &mut Side, sent: Vec<(Path, Vec<u8>)>| {
            for (path, octets) in sent {
                let path = Path {
                    local: path.remote,
                    remote: path.local,
                    ..path
                };
                to.engine.handle_datagram(now, path, &octets);
            }
        };
        deliver(hub, from_peer);
        deliver(peer, from_hub);
    }
    let installed = |side: &mut Side| {
        let requests = std::mem::take(&mut side.requests);
        side.log.clear();
        requests
            .iter()
            .any(|request| matches!(request, ike::kernel::Request::Install(..)))
    };
    assert!(installed(hub) && installed(peer), "a tunnel");
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let now = Instant::now();
    let mut group = criterion.benchmark_group("negotiation, both sides");
    for (name, transform) in FORMS {
        for peers in [1, 1000] {
            let configuration = hub_configuration(transform, peers);
            let mut hub = side(&configuration, Role::Responder, HUB, 1, now);
            for number in 1..peers {
                let configuration = peer_configuration("AES-SHA2-256-GRP19", number);
                // Whatever the form, the others are there already; the cheap way in, where the hub takes it.
                let configuration = if transform.contains("GRP19") {
                    configuration
                } else {
                    peer_configuration(transform, number)
                };
                let own = peer_address(number);
                let mut peer = side(
                    &configuration,
                    Role::Initiator,
                    own,
                    u64::from(number) + 2,
                    now,
                );
                negotiate(&mut hub, &mut peer, now);
            }
            let configuration = peer_configuration(transform, 0);
            let mut seed = 1_000_000;
            group.bench_function(format!("{name}, {peers} peers"), |b| {
                b.iter_custom(|count| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..count {
                        seed += 1;
                        let own = peer_address(0);
                        let mut peer = side(&configuration, Role::Initiator, own, seed, now);
                        let before = cpu_time();
                        negotiate(&mut hub, &mut peer, now);
                        spent += cpu_time().saturating_sub(before);
                    }
                    // The clock moves in steps; none may have passed.
                    spent.max(Duration::from_nanos(1))
                });
            });
        }
    }
    group.finish();
}
