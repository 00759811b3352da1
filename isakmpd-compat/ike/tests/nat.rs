//! A NAT in front of one end that gives it another place (RFC 3947 section 4): the other end goes on with it there.

mod world;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::kernel::Mapping;
use ike::{Options, Phase};
use world::sections::{Sections, esp, network, phase1, protocol, quick_mode};
use world::{Host, Lcg, World, ip};

/// One tunnel; the first host is behind a NAT that is seen as `address`.
fn up(address: &str) -> World {
    let qm = quick_mode(vec![vec![protocol(3, vec![esp(36_000, None)])]]);
    let a = Sections::new(ip("10.0.0.2"), phase1(2, 36_000));
    let b = Sections::new(ip(address), phase1(2, 36_000));
    let (ours, theirs) = (network(0, 1), network(1, 1));
    for (sections, local, remote) in [(&a, &ours, &theirs), (&b, &theirs, &ours)] {
        let ids = (Some(local.clone()), Some(remote.clone()));
        sections.connection("tunnel", "peer", ids.0, ids.1, &qm);
    }
    let now = Instant::now();
    let host = |address, sections: Sections, seed| {
        let (random, options) = (Lcg::new(seed), Options::default());
        Host::new(address, Rc::new(sections), None, random, options, now)
    };
    let hosts = vec![host("10.0.0.1:500", a, 1), host("10.0.0.2:500", b, 2)];
    let mut world = World::new(hosts, now, Lcg::new(3));
    world.nat = Some((ip(address), 20_000));
    world.connect(0, "tunnel");
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
    world
}

/// SPIs of the only suite of a host: what it receives with, what it sends with.
fn spis(host: &Host) -> (u32, u32) {
    let mut all = host.kernel.installed.values();
    let suite = all.next_back().expect("a suite");
    (suite.incoming[0].spi, suite.outgoing[0].spi)
}

/// The second host's kernel got a packet from elsewhere.
fn heard(world: &mut World, spi: u32, old: SocketAddr, new: SocketAddr) {
    let mapping = Mapping {
        protocol: 3,
        spi,
        old,
        new,
    };
    let now = world.now;
    world.hosts[1].engine.handle_mapping(now, mapping);
    world.run(Duration::ZERO);
}

fn place(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn a_peer_is_followed_to_another_port() {
    let mut world = up("10.0.0.1");
    let (old, new) = (place("10.0.0.1:24500"), place("10.0.0.1:34500"));
    world.nat = Some((ip("10.0.0.1"), 30_000));
    let (incoming, outgoing) = spis(&world.hosts[1]);
    for _ in 0..3 {
        heard(&mut world, incoming, old, new);
    }
    // Once, though it is told of each packet; and nothing is negotiated for it.
    let expected = vec![(old, new, vec![(3, incoming, outgoing)])];
    assert_eq!(world.hosts[1].kernel.moves, expected);
    assert_eq!(world.hosts[1].kernel.installations, 1);
    assert!(world.hosts[1].said("peer behind a NAT is at 10.0.0.1:34500 now"));
    // IKE goes there, too.
    let now = world.now;
    world.hosts[1].engine.teardown(now, Phase::Two, "tunnel");
    world.run(Duration::ZERO);
    for host in &world.hosts {
        assert!(host.kernel.installed.is_empty());
    }
}

#[test]
fn what_is_not_of_that_peer_moves_nothing() {
    let mut world = up("10.0.0.1");
    let (old, new) = (place("10.0.0.1:24500"), place("10.0.0.1:34500"));
    let (incoming, outgoing) = spis(&world.hosts[1]);
    heard(&mut world, outgoing, old, new);
    heard(&mut world, incoming + 1, old, new);
    heard(&mut world, incoming, new, old);
    heard(&mut world, incoming, old, old);
    // Of the past.
    heard(&mut world, incoming, place("10.0.0.1:14500"), new);
    heard(&mut world, incoming, old, place("[fd00::1]:34500"));
    // Who is behind the NAT does not follow who is not (RFC 7296 section 2.23).
    let own = spis(&world.hosts[0]).0;
    let mapping = Mapping {
        protocol: 3,
        spi: own,
        old: place("10.0.0.2:4500"),
        new: place("10.0.0.2:4501"),
    };
    let now = world.now;
    world.hosts[0].engine.handle_mapping(now, mapping);
    world.run(Duration::ZERO);
    for host in &world.hosts {
        assert!(host.kernel.moves.is_empty());
        assert!(!host.said("peer behind a NAT"));
    }
    // Without a NAT there is nothing that could change.
    let mut world = world::pair(1, (36_000, 36_000), None, 30, 5);
    world.connect(0, "tunnel-0");
    let incoming = spis(&world.hosts[1]).0;
    heard(&mut world, incoming, place("10.0.0.1:500"), new);
    assert!(world.hosts[1].kernel.moves.is_empty());
}

/// The SAs are known by the address: there are new ones at once, and the peer can take the old ones away.
#[test]
fn a_peer_at_another_address_gets_new_sas() {
    let mut world = up("10.9.0.1");
    let (old, new) = (place("10.9.0.1:24500"), place("10.9.0.2:34500"));
    world.nat = Some((ip("10.9.0.2"), 30_000));
    let incoming = spis(&world.hosts[1]).0;
    for _ in 0..3 {
        heard(&mut world, incoming, old, new);
    }
    assert!(world.hosts[1].kernel.moves.is_empty());
    for host in &world.hosts {
        assert_eq!(
            (host.kernel.installations, host.kernel.installed.len()),
            (2, 2)
        );
    }
    assert_eq!(world.same_sas(), Ok(()));
    let now = world.now;
    world.hosts[0].engine.teardown(now, Phase::Two, "tunnel");
    world.run(Duration::ZERO);
    for host in &world.hosts {
        assert!(host.kernel.installed.is_empty(), "{:?}", host.log);
    }
}

/// A Quick Mode of the peer's from elsewhere: its third message is no old one.
#[test]
fn a_peer_that_negotiates_from_elsewhere_is_followed() {
    let mut world = up("10.0.0.1");
    let (incoming, outgoing) = spis(&world.hosts[1]);
    world.nat = Some((ip("10.0.0.1"), 30_000));
    let now = world.now;
    world.hosts[0].engine.lost(now, "tunnel");
    world.run(Duration::ZERO);
    assert_eq!(world.hosts[1].kernel.installations, 2);
    let (old, new) = (place("10.0.0.1:24500"), place("10.0.0.1:34500"));
    let expected = vec![(old, new, vec![(3, incoming, outgoing)])];
    assert_eq!(world.hosts[1].kernel.moves, expected);
}
