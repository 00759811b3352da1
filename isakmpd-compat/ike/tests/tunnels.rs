//! Ten thousand tunnels between a hub and its peers (all of them one engine): everything comes up, a tunnel takes
//! a bounded number of octets, look-ups do not slow down with the tables, and nothing is left at the end.
//!
//! One test only, since the allocator counts for the whole process.

mod world;

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::Options;
use ike::config::Peer;
use kx_secret::SecretBytes;
use kx_sys::counting_alloc::CountingAllocator;
use world::sections::{Sections, esp, network, phase1, protocol, quick_mode};
use world::{Host, Lcg, imitated, ip};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TUNNELS: u32 = 10_000;

/// Peers, each with its own ISAKMP SA and an equal share of the tunnels.
const PEERS: u32 = 500;

/// Octets of one side of a tunnel, ISAKMP SA and suite and connection, when nothing is under way.
const MOST_OCTETS: u64 = 16 * 1024;

fn spoke(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a80_0000 + n).into()
}

fn name(n: u32) -> String {
    format!("tunnel-{n}")
}

fn sections() -> (Sections, Sections) {
    let qm = quick_mode(vec![vec![protocol(3, vec![esp(36_000, None)])]]);
    let mut hub = Sections::new(ip("192.0.2.1"), phase1(2, 36_000));
    let mut spokes = Sections::new(ip("192.0.2.1"), phase1(2, 36_000));
    for n in 0..PEERS {
        let peer = format!("peer-{n}");
        hub.add_peer(&peer, spoke(n));
        let section = Peer {
            name: peer.clone(),
            address: Some(ip("10.0.0.1").into()),
            port: 500,
            local_address: Some(spoke(n).into()),
            configuration: "mm".into(),
            authentication: Some(Rc::new(SecretBytes::from(b"mekmitasdigoat".to_vec()))),
            id: None,
            remote_id: None,
            ikecfg: false,
        };
        spokes.peers.insert(peer.clone(), Rc::new(section));
    }
    for n in 0..TUNNELS {
        let peer = format!("peer-{}", n % PEERS);
        let (ours, theirs) = (network(0, n), network(100, n));
        hub.connection(
            &name(n),
            &peer,
            Some(ours.clone()),
            Some(theirs.clone()),
            &qm,
        );
        spokes.connection(&name(n), &peer, Some(theirs), Some(ours), &qm);
    }
    spokes.default_peer = Some("peer-0".into());
    (hub, spokes)
}

/// Passes messages between the two until both are quiet.
fn settle(hosts: &mut [Host; 2], now: Instant) {
    loop {
        let mut quiet = true;
        for from in 0..2 {
            for (path, octets) in hosts[from].settle(now, imitated) {
                quiet = false;
                let seen = ike::event::Path {
                    local: path.remote,
                    remote: path.local,
                    ..path
                };
                hosts[1 - from].engine.handle_datagram(now, seen, &octets);
            }
        }
        if quiet {
            return;
        }
    }
}

#[test]
fn ten_thousand_tunnels() {
    let (hub, spokes) = sections();
    let now = Instant::now();
    let host = |address, sections: Sections, seed| {
        let random = Lcg::new(seed);
        Host::new(
            address,
            Rc::new(sections),
            None,
            random,
            Options::default(),
            now,
        )
    };
    let mut hosts = [
        host("10.0.0.1:500", hub, 1),
        host("10.128.0.0:500", spokes, 2),
    ];
    let before = CountingAllocator::in_use();
    for n in 0..TUNNELS {
        hosts[1].engine.keep_up(now, &name(n));
        hosts[1].engine.handle_timeout(now);
        settle(&mut hosts, now);
    }
    for host in &hosts {
        assert_eq!(
            host.kernel.installed.len(),
            TUNNELS as usize,
            "{:?}",
            host.log.last()
        );
    }
    for host in &mut hosts {
        host.log = Vec::new();
    }
    let busy = (CountingAllocator::in_use() - before) / u64::from(TUNNELS) / 2;
    // The exchanges' time goes by, and with it what they kept to send again.
    let later = now + Duration::from_secs(121);
    for host in &mut hosts {
        host.engine.handle_timeout(later);
    }
    settle(&mut hosts, later);
    for host in &hosts {
        assert_eq!(host.engine.exchange_summaries().count(), 0);
    }
    for host in &mut hosts {
        // What the test itself remembers is not the engine's.
        host.kernel.installed.clear();
        host.kernel.spis.clear();
    }
    let quiet = (CountingAllocator::in_use() - before) / u64::from(TUNNELS) / 2;
    println!(
        "octets of one side of a tunnel: {busy} just made (with the test's own), {quiet} later"
    );
    assert!(quiet < MOST_OCTETS, "{quiet}");
    assert!(busy < 2 * MOST_OCTETS, "{busy}");
    // Everything goes again.
    hosts[1].engine.teardown_all(later);
    settle(&mut hosts, later);
    hosts[1].engine.shutdown(later);
    settle(&mut hosts, later);
    for host in &hosts {
        assert_eq!(host.sas(later), "");
    }
    assert!(hosts[1].drained);
}
