//! How SAs end: soft and hard expiry of both phases, the kernel's own expiries, DPD, and what happens to exchanges
//! whose time is over.

mod world;

use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::Options;
use ike::kernel::Expire;
use world::sections::{Sections, esp, network, phase1, protocol, quick_mode};
use world::{Host, Lcg, World, ip};

const SECOND: Duration = Duration::from_secs(1);

struct Lives {
    phase1: u32,
    phase2: u32,
    dpd: Option<u64>,
}

fn sections(lives: &Lives) -> (Rc<Sections>, Rc<Sections>) {
    let qm = quick_mode(vec![vec![protocol(3, vec![esp(lives.phase2, None)])]]);
    let a = Sections::new(ip("10.0.0.2"), phase1(2, lives.phase1));
    let b = Sections::new(ip("10.0.0.1"), phase1(2, lives.phase1));
    a.connection(
        "tunnel",
        "peer",
        Some(network(0, 1)),
        Some(network(1, 1)),
        &qm,
    );
    b.connection(
        "tunnel",
        "peer",
        Some(network(1, 1)),
        Some(network(0, 1)),
        &qm,
    );
    for sections in [&a, &b] {
        sections.change_general(|general| {
            general.dpd_check_interval = lives.dpd.map(Duration::from_secs);
        });
    }
    (Rc::new(a), Rc::new(b))
}

fn up(lives: &Lives) -> (World, Rc<Sections>) {
    let (a, b) = sections(lives);
    let now = Instant::now();
    let host = |address, sections: Rc<Sections>, seed| {
        Host::new(
            address,
            sections,
            None,
            Lcg::new(seed),
            Options::default(),
            now,
        )
    };
    let hosts = vec![
        host("10.0.0.1:500", Rc::clone(&a), 1),
        host("10.0.0.2:500", b, 2),
    ];
    let mut world = World::new(hosts, now, Lcg::new(3));
    world.connect(0, "tunnel");
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
    (world, a)
}

const LONG: Lives = Lives {
    phase1: 36_000,
    phase2: 36_000,
    dpd: None,
};

#[test]
fn a_new_suite_is_there_before_the_old_one_goes() {
    let (mut world, _) = up(&Lives {
        phase2: 100,
        ..LONG
    });
    world.run(84 * SECOND);
    assert_eq!(world.hosts[0].kernel.installations, 1);
    world.run(11 * SECOND);
    for host in &world.hosts {
        assert_eq!(host.kernel.installed.len(), 2);
        assert!(
            host.sas(world.now).contains("Flags 0x0000000"),
            "{}",
            host.sas(world.now)
        );
    }
    // The initiator's old one: ready, stays alive, replaced.
    assert!(world.hosts[0].sas(world.now).contains("Flags 0x0000000b"));
    world.run(6 * SECOND);
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.kernel.installed.len() == 1)
    );
    assert_eq!(world.same_sas(), Ok(()));
    world.run(3600 * SECOND);
    assert!(
        world
            .hosts
            .iter()
            .all(|host| (1..=2).contains(&host.kernel.installed.len()))
    );
    assert!((36..=44).contains(&world.hosts[0].kernel.installations));
}

#[test]
fn phase_1_is_made_anew_while_the_tunnel_stands() {
    let (mut world, _) = up(&Lives {
        phase1: 100,
        ..LONG
    });
    world.run(99 * SECOND);
    assert_eq!(
        world.hosts[0].sas(world.now).matches("(Phase 1/").count(),
        2
    );
    world.run(2 * SECOND);
    for host in &world.hosts {
        assert_eq!(
            host.sas(world.now).matches("(Phase 1/").count(),
            1,
            "{}",
            host.sas(world.now)
        );
        assert_eq!(host.kernel.installed.len(), 1);
    }
    assert_eq!(world.hosts[0].kernel.installations, 1);
}

#[test]
fn what_the_responder_has_fades_without_a_new_one() {
    let (mut world, _) = up(&Lives {
        phase1: 100,
        phase2: 50,
        dpd: None,
    });
    // The initiator no longer wants it, and cannot say so.
    world.faults.lost = 100;
    let now = world.now;
    world.hosts[0]
        .engine
        .teardown(now, ike::Phase::Two, "tunnel");
    world.run(49 * SECOND);
    assert!(
        world.hosts[1].sas(world.now).contains("Flags 0x00000011"),
        "{}",
        world.hosts[1].sas(world.now)
    );
    world.run(60 * SECOND);
    assert!(world.hosts[1].sas(world.now).is_empty());
    assert!(world.hosts[1].kernel.installed.is_empty());
}

fn expire(world: &mut World, hard: bool, used: bool) {
    let spi = *world.hosts[0].kernel.installed.keys().next().unwrap();
    let expire = Expire {
        protocol: 3,
        spi,
        destination: ip("10.0.0.1"),
        hard,
        used,
    };
    let now = world.now;
    world.hosts[0].engine.handle_expire(
        now,
        Expire {
            destination: ip("10.0.0.9"),
            ..expire
        },
    );
    world.settle();
    assert_eq!(world.hosts[0].kernel.installations, 1);
    world.hosts[0].engine.handle_expire(now, expire);
    world.settle();
}

#[test]
fn the_kernels_soft_expiry_negotiates_anew() {
    let (mut world, _) = up(&LONG);
    expire(&mut world, false, false);
    assert_eq!(world.hosts[0].kernel.installed.len(), 2);
    assert_eq!(world.same_sas(), Ok(()));
    // The old one's next expiry is of no interest: it is replaced.
    let spi = *world.hosts[0].kernel.installed.keys().next().unwrap();
    let now = world.now;
    let again = Expire {
        protocol: 3,
        spi,
        destination: ip("10.0.0.1"),
        hard: false,
        used: true,
    };
    world.hosts[0].engine.handle_expire(now, again);
    world.settle();
    assert_eq!(world.hosts[0].kernel.installed.len(), 2);
}

#[test]
fn the_kernels_hard_expiry_drops_the_suite() {
    let (mut world, _) = up(&LONG);
    expire(&mut world, true, false);
    let names: Vec<_> = world.hosts[0].kernel.installed.keys().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(world.hosts[0].kernel.installations, 2);
    // The peer, whose kernel did not see it end, is told.
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn an_sa_made_on_demand_is_renewed_only_if_it_was_used() {
    for used in [false, true] {
        let (a, b) = sections(&LONG);
        let on_demand = {
            let connections = a.connections.borrow();
            ike::config::Connection {
                on_demand: true,
                ..(*connections["tunnel"]).clone()
            }
        };
        a.connections
            .borrow_mut()
            .insert("tunnel".into(), Rc::new(on_demand));
        let now = Instant::now();
        let host = |address, sections: Rc<Sections>, seed| {
            Host::new(
                address,
                sections,
                None,
                Lcg::new(seed),
                Options::default(),
                now,
            )
        };
        let hosts = vec![host("10.0.0.1:500", a, 1), host("10.0.0.2:500", b, 2)];
        let mut world = World::new(hosts, now, Lcg::new(3));
        world.hosts[0].engine.acquire(now, "tunnel");
        world.settle();
        world.hosts[0].engine.acquire(now, "tunnel");
        world.settle();
        // The flow was there before.
        assert!(
            !world.hosts[0]
                .kernel
                .installed
                .values()
                .next()
                .unwrap()
                .flow
        );
        let flags = world.hosts[0].sas(world.now);
        assert!(flags.contains("Flags 0x00000005"), "{flags}");
        expire(&mut world, false, used);
        assert_eq!(
            world.hosts[0].kernel.installations,
            if used { 2 } else { 1 }
        );
    }
}

#[test]
fn an_sa_that_somebody_took_away_is_negotiated_anew() {
    let (mut world, _) = up(&LONG);
    let now = world.now;
    world.hosts[0].engine.acquire(now, "tunnel");
    world.settle();
    assert_eq!(world.hosts[0].kernel.installations, 1, "it is there");
    let now = world.now;
    world.hosts[0].engine.lost(now, "tunnel");
    world.settle();
    assert_eq!(world.hosts[0].kernel.installations, 2);
    // The one that is lost goes when its time has come.
    let text = world.hosts[0].sas(world.now);
    assert!(text.contains("Flags 0x0000000b"), "{text}");
}

#[test]
fn a_dead_peer_is_noticed_after_five_probes() {
    let (mut world, _) = up(&Lives {
        dpd: Some(10),
        ..LONG
    });
    world.run(60 * SECOND);
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
    let sent = world.hosts[0].sent;
    world.faults.lost = 100;
    world.run(10 * SECOND);
    assert!(world.hosts[0].sent > sent);
    world.run(23 * SECOND);
    assert_eq!(
        world.hosts[0].kernel.installed.len(),
        1,
        "not before the fifth failure"
    );
    world.run(12 * SECOND);
    for host in &world.hosts {
        assert!(host.kernel.installed.is_empty());
        assert!(!host.sas(world.now).contains("(Phase 2)"));
    }
    // The peer comes back, and the watchdog with it.
    world.faults.lost = 0;
    world.run(130 * SECOND);
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn traffic_makes_probes_needless() {
    let (mut world, _) = up(&Lives {
        dpd: Some(10),
        ..LONG
    });
    for host in &mut world.hosts {
        host.kernel.idle = Some(2 * SECOND);
    }
    world.run(2 * SECOND);
    let sent = world.hosts[0].sent + world.hosts[1].sent;
    world.run(600 * SECOND);
    assert_eq!(world.hosts[0].sent + world.hosts[1].sent, sent);
    for host in &mut world.hosts {
        host.kernel.idle = None;
    }
    world.run(30 * SECOND);
    assert!(world.hosts[0].sent + world.hosts[1].sent > sent);
}

#[test]
fn a_quick_mode_without_an_answer_ends_in_time_and_begins_with_phase_1_then() {
    let (mut world, _) = up(&LONG);
    let now = world.now;
    world.hosts[0]
        .engine
        .teardown(now, ike::Phase::Two, "tunnel");
    world.settle();
    // The peer starts anew and remembers nothing.
    let (_, b) = sections(&LONG);
    let address = "10.0.0.2:500";
    world.hosts[1] = Host::new(address, b, None, Lcg::new(9), Options::default(), world.now);
    world.connect(0, "tunnel");
    assert!(world.hosts[0].kernel.installed.is_empty());
    assert!(world.hosts[1].said("message_recv: invalid cookie(s)"));
    world.run(41 * SECOND);
    assert!(world.hosts[0].said(
        "transport_send_messages: giving up on exchange tunnel, no response from peer 10.0.0.2:500"
    ), "{:#?}", world.hosts[0].log);
    world.run(60 * SECOND);
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
    world.run(130 * SECOND);
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.engine.exchange_summaries().count() == 0)
    );
}

/// The responder has its way in before the initiator has the answer. When nobody takes the answer, that goes at once.
#[test]
fn a_quick_mode_that_is_not_confirmed_leaves_no_way_in() {
    let (mut world, _) = up(&LONG);
    let now = world.now;
    let before = world.hosts[1].kernel.spis.clone();
    world.hosts[0].engine.lost(now, "tunnel");
    // The initiator asks and is heard no more.
    let asked = world.hosts[0].settle(now, world.work);
    let [(path, octets)] = &asked[..] else {
        panic!("{} messages", asked.len());
    };
    let seen = ike::event::Path {
        local: path.remote,
        remote: path.local,
        ..*path
    };
    world.hosts[1].engine.handle_datagram(now, seen, octets);
    world.faults.lost = 100;
    world.run(20 * SECOND);
    let early = &world.hosts[1].kernel.early;
    let spi = (3, early.last().expect("a way in").spi);
    assert!(world.hosts[1].kernel.spis.contains(&spi));
    assert!(!world.hosts[1].said("giving up"));
    // The last of three retransmissions has 13 seconds for an answer, in all it is 40.
    world.run(21 * SECOND);
    assert!(world.hosts[1].said("giving up on exchange tunnel"));
    assert_eq!(world.hosts[1].kernel.spis, before);
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
    // Who comes too late is not heard.
    world.faults.lost = 0;
    world.run(2 * SECOND);
    assert_eq!(world.hosts[1].kernel.spis, before);
}

#[test]
fn hup_negotiates_anew_if_that_is_wanted() {
    let (mut world, a) = up(&LONG);
    let now = world.now;
    world.hosts[0].engine.reinitialized(now);
    world.settle();
    assert_eq!(world.hosts[0].kernel.installations, 1);
    a.keep.borrow_mut().push("tunnel".into());
    a.change_general(|general| general.renegotiate_on_hup = true);
    world.hosts[0].engine.reinitialized(now);
    world.settle();
    assert_eq!(world.hosts[0].kernel.installations, 2);
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn a_passive_daemon_begins_nothing_and_deletes_nothing() {
    let (mut world, _) = up(&LONG);
    let now = world.now;
    world.hosts[0].engine.set_active(now, false);
    world.hosts[1]
        .engine
        .teardown(now, ike::Phase::Two, "tunnel");
    world.run(300 * SECOND);
    assert!(world.hosts[0].kernel.installed.is_empty());
    let now = world.now;
    world.hosts[0].engine.set_active(now, true);
    world.run(61 * SECOND);
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
}
