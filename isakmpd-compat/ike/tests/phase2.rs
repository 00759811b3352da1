//! Quick Mode, mode-config and informational exchanges between two engines.

mod world;

use std::rc::Rc;
use std::time::{Duration, Instant};

use ike::Options;
use ike::config::Configuration;
use isakmpd_conf::{Running, Store};
use world::sections::{Sections, esp, network, phase1, protocol, quick_mode};
use world::{Host, Lcg, World, ip};

/// Both ends' sections, with the connection `tunnel`.
fn sections(qm: &ike::config::QuickMode) -> (Sections, Sections) {
    let a = Sections::new(ip("10.0.0.2"), phase1(2, 3600));
    let b = Sections::new(ip("10.0.0.1"), phase1(2, 3600));
    a.connection(
        "tunnel",
        "peer",
        Some(network(0, 1)),
        Some(network(1, 1)),
        qm,
    );
    b.connection(
        "tunnel",
        "peer",
        Some(network(1, 1)),
        Some(network(0, 1)),
        qm,
    );
    (a, b)
}

fn world(a: Rc<Sections>, b: Rc<Sections>) -> World {
    let now = Instant::now();
    let host = |address, sections, seed| {
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
    World::new(hosts, now, Lcg::new(3))
}

fn default_quick_mode() -> ike::config::QuickMode {
    quick_mode(vec![vec![protocol(3, vec![esp(1200, None)])]])
}

fn up(qm: &ike::config::QuickMode) -> World {
    let (a, b) = sections(qm);
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "tunnel");
    world
}

#[test]
fn a_tunnel_comes_up_with_the_same_keys_on_both_ends() {
    let world = up(&default_quick_mode());
    let [a, b] = &world.hosts[..] else { panic!() };
    assert_eq!(a.kernel.installed.len(), 1, "{:#?} {:#?}", a.log, b.log);
    assert_eq!(world.same_sas(), Ok(()));
    assert!(
        a.said("isakmpd: quick mode done: src: 10.0.0.1 dst: 10.0.0.2"),
        "{:#?}",
        a.log
    );
    assert!(b.said("isakmpd: quick mode done (as responder): src: 10.0.0.2 dst: 10.0.0.1"));
    let suite = a.kernel.installed.values().next().unwrap();
    assert_eq!(suite.incoming[0].encryption.len(), 16);
    assert_eq!(suite.incoming[0].authentication.len(), 32);
    assert!(suite.incoming[0].tunnel && suite.flow);
    // The responder's way in was there before its answer left, with the keys that stay.
    let answered = b.kernel.installed.values().next().unwrap();
    assert_eq!(b.kernel.early, answered.incoming);
    assert!(a.kernel.early.is_empty());
    assert!(a.sas(world.now).contains("SA name: tunnel (Phase 2)"));
    assert!(b.sas(world.now).contains("SA name: tunnel (Phase 2)"));
}

#[test]
fn with_perfect_forward_secrecy_and_real_keys() {
    let qm = quick_mode(vec![vec![protocol(3, vec![esp(1200, Some(14))])]]);
    let (a, b) = sections(&qm);
    let mut world = world(Rc::new(a), Rc::new(b));
    world.work = ike::job::Job::run;
    world.connect(0, "tunnel");
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn a_bundle_of_all_three_protocols() {
    let ah = ike::config::Transform {
        id: 5,
        key_length: None,
        ..esp(1200, None)
    };
    let ipcomp = ike::config::Transform {
        id: 2,
        key_length: None,
        authentication: None,
        ..esp(1200, None)
    };
    let qm = quick_mode(vec![vec![
        protocol(2, vec![ah]),
        protocol(3, vec![esp(1200, None)]),
        protocol(4, vec![ipcomp]),
    ]]);
    let world = up(&qm);
    let suite = world.hosts[0]
        .kernel
        .installed
        .values()
        .next()
        .expect("installed")
        .clone();
    let of = |directions: &[world::Direction]| {
        directions
            .iter()
            .map(|d| (d.protocol, d.tunnel))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&suite.incoming), [(4, true), (3, false), (2, false)]);
    assert_eq!(suite.incoming[2].authentication.len(), 32);
    assert_eq!(world.same_sas(), Ok(()));
}

/// A Quick Mode section of a sample that is shipped.
fn sample(path: &str) -> ike::config::QuickMode {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../isakmpd/samples")
        .join(path);
    let store = Store::parse(&std::fs::read(&file).expect("sample")).0;
    let qm = Running::new(store, isakmpd_conf::host::Host::default()).quick_mode("quick-mode");
    (*qm.expect("section")).clone()
}

#[test]
fn esp_in_tunnel_mode_with_ah_in_transport_mode_around_it() {
    let world = up(&sample("esp-and-ah/east.conf"));
    let [a, b] = &world.hosts[..] else { panic!() };
    assert_eq!(a.kernel.installed.len(), 1, "{:#?}", b.log);
    for host in [a, b] {
        let suite = host.kernel.installed.values().next().expect("installed");
        for direction in [&suite.incoming, &suite.outgoing] {
            let modes: Vec<_> = direction.iter().map(|d| (d.protocol, d.tunnel)).collect();
            assert_eq!(modes, [(3, true), (2, false)]);
        }
    }
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn compression_without_a_mode_goes_into_the_tunnel() {
    let ipcomp = ike::config::Transform {
        id: 2,
        encapsulation: None,
        key_length: None,
        authentication: None,
        ..esp(1200, None)
    };
    let qm = quick_mode(vec![vec![
        protocol(4, vec![ipcomp]),
        protocol(3, vec![esp(1200, None)]),
    ]]);
    let world = up(&qm);
    let suite = world.hosts[0].kernel.installed.values().next();
    let modes: Vec<_> = suite
        .expect("installed")
        .outgoing
        .iter()
        .map(|d| (d.protocol, d.tunnel))
        .collect();
    assert_eq!(modes, [(4, true), (3, false)]);
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn the_second_suite_is_taken_when_the_first_is_unknown() {
    let rc4 = ike::config::Transform {
        id: 10,
        ..esp(1200, None)
    };
    let qm = quick_mode(vec![
        vec![protocol(3, vec![rc4])],
        vec![protocol(3, vec![esp(1200, None)])],
    ]);
    let world = up(&qm);
    assert_eq!(world.hosts[0].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
    // The SPI of the suite that was not taken is given back.
    assert_eq!(world.hosts[0].kernel.spis.len(), 1);
}

#[test]
fn identities_that_no_connection_has_are_refused() {
    let (a, b) = sections(&default_quick_mode());
    a.connection(
        "tunnel",
        "peer",
        Some(network(0, 9)),
        Some(network(1, 1)),
        &default_quick_mode(),
    );
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "tunnel");
    let [a, b] = &world.hosts[..] else { panic!() };
    assert!(a.kernel.installed.is_empty() && b.kernel.installed.is_empty());
    assert!(b.said(
        "responder_recv_HASH_SA_NONCE: peer proposed invalid phase 2 IDs: initiator id 10.0.9.0/255.255.255.0, responder id 11.0.1.0/255.255.255.0"
    ), "{:#?}", b.log);
    assert!(b.said("due to notification type INVALID_ID_INFORMATION"));
}

#[test]
fn a_connection_with_loose_ids_takes_them() {
    let (a, b) = sections(&default_quick_mode());
    a.connection(
        "tunnel",
        "peer",
        Some(network(0, 9)),
        Some(network(1, 1)),
        &default_quick_mode(),
    );
    let loose = {
        let connections = b.connections.borrow();
        ike::config::Connection {
            loose_ids: true,
            ..(*connections["tunnel"]).clone()
        }
    };
    b.connections
        .borrow_mut()
        .insert("tunnel".into(), Rc::new(loose));
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "tunnel");
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
    assert_eq!(world.same_sas(), Ok(()));
}

/// Two sites and the connection of the second one, for which the first one asks. What `change` leaves out is as
/// in two sections that have nothing in common but our key.
fn asks_for_anothers(change: impl FnOnce(&mut Sections)) -> World {
    let (a, mut b) = sections(&default_quick_mode());
    b.add_peer("other", ip("10.0.0.3"));
    let (ours, theirs) = (network(1, 1), network(0, 1));
    b.connection(
        "tunnel",
        "other",
        Some(ours),
        Some(theirs),
        &default_quick_mode(),
    );
    change(&mut b);
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "tunnel");
    world
}

fn other(change: impl FnOnce(&mut ike::config::Peer)) -> Rc<ike::config::Peer> {
    let mut other = ike::config::Peer {
        name: "other".into(),
        address: Some(ip("10.0.0.3").into()),
        port: 500,
        local_address: None,
        configuration: "mm".into(),
        authentication: Some(Rc::new(b"a secret of its own".to_vec().into())),
        id: None,
        remote_id: None,
        ikecfg: false,
    };
    change(&mut other);
    Rc::new(other)
}

#[test]
fn a_peer_does_not_get_the_connection_of_another_one() {
    let name = || isakmp_proto::identity::Identity::Fqdn(b"other".to_vec());
    let same_secret = |peer: &mut ike::config::Peer| {
        peer.authentication = Some(Rc::new(b"mekmitasdigoat".to_vec().into()));
    };
    let refused: [fn(&mut ike::config::Peer); 2] = [|_| {}, |peer| peer.authentication = None];
    for change in refused {
        let world = asks_for_anothers(|b| {
            b.peers.insert("other".into(), other(change));
        });
        let b = &world.hosts[1];
        assert!(b.kernel.installed.is_empty());
        assert!(
            b.said("responder_recv_HASH_SA_NONCE: peer asks for connection tunnel of other"),
            "{:#?}",
            b.log
        );
        assert!(b.said("due to notification type INVALID_ID_INFORMATION"));
    }
    let world = asks_for_anothers(|b| {
        let other = other(|peer| {
            same_secret(peer);
            peer.remote_id = Some(name());
        });
        b.peers.insert("other".into(), other);
    });
    assert!(world.hosts[1].kernel.installed.is_empty());
    // The default peer, which is not that one either.
    let world = asks_for_anothers(|b| {
        b.peers.insert("other".into(), other(|_| {}));
        b.by_address.remove(&ip("10.0.0.1"));
        b.default_peer = Some("peer".into());
    });
    assert!(world.hosts[1].kernel.installed.is_empty());
}

#[test]
fn a_peer_gets_a_connection_that_may_be_its_own() {
    let taken = |world: &World| {
        assert_eq!(world.hosts[1].kernel.installed.len(), 1);
        assert_eq!(world.same_sas(), Ok(()));
    };
    // It could have authenticated as the other one.
    taken(&asks_for_anothers(|_| {}));
    // The other one is only for us to begin with: no address leads to it.
    taken(&asks_for_anothers(|b| {
        b.peers.insert("other".into(), other(|_| {}));
        b.by_address.remove(&ip("10.0.0.3"));
    }));
    // Road warriors: their section has no address.
    taken(&asks_for_anothers(|b| {
        b.peers
            .insert("other".into(), other(|peer| peer.address = None));
        b.default_peer = Some("other".into());
    }));
    // As in the original.
    taken(&asks_for_anothers(|b| {
        b.peers.insert("other".into(), other(|_| {}));
        let mut connections = b.connections.borrow_mut();
        let loose = ike::config::Connection {
            loose_ids: true,
            ..(*connections["tunnel"]).clone()
        };
        connections.insert("tunnel".into(), Rc::new(loose));
    }));
}

#[test]
fn without_identities_the_ends_are_the_traffic() {
    let (a, b) = sections(&default_quick_mode());
    let address = |text: &str| Some(isakmp_proto::identity::Identity::Address(ip(text)).into());
    a.connection("host", "peer", None, None, &default_quick_mode());
    b.connection(
        "host",
        "peer",
        address("10.0.0.2"),
        address("10.0.0.1"),
        &default_quick_mode(),
    );
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "host");
    assert_eq!(
        world.hosts[1].kernel.installed.len(),
        1,
        "{:#?}",
        world.hosts[1].log
    );
    assert_eq!(world.same_sas(), Ok(()));
}

#[test]
fn a_kernel_without_spis_or_memory_leaves_nothing_behind() {
    for (host, spi) in [(0, true), (1, true), (0, false), (1, false)] {
        let (a, b) = sections(&default_quick_mode());
        let mut world = world(Rc::new(a), Rc::new(b));
        world.hosts[host].kernel.refuse_spi = spi;
        world.hosts[host].kernel.refuse_install = !spi;
        world.connect(0, "tunnel");
        world.hosts[0]
            .engine
            .teardown(world.now, ike::Phase::Two, "tunnel");
        world.run(Duration::from_secs(200));
        for host in &world.hosts {
            assert!(host.kernel.installed.is_empty());
            assert!(host.kernel.spis.is_empty(), "{:?}", host.kernel.spis);
            assert_eq!(host.engine.exchange_summaries().count(), 0);
        }
    }
}

#[test]
fn a_second_request_is_attached_to_the_running_one() {
    let (a, b) = sections(&default_quick_mode());
    let mut world = world(Rc::new(a), Rc::new(b));
    let now = world.now;
    world.hosts[0].engine.keep_up(now, "tunnel");
    world.hosts[0].engine.keep_up(now, "TUNNEL");
    world.run(Duration::from_secs(61));
    assert_eq!(world.hosts[0].kernel.installations, 1);
}

#[test]
fn a_teardown_is_told() {
    let mut world = up(&default_quick_mode());
    let now = world.now;
    assert!(
        world.hosts[0]
            .engine
            .teardown(now, ike::Phase::Two, "tunnel")
    );
    world.run(Duration::from_secs(130));
    for host in &world.hosts {
        assert!(host.kernel.installed.is_empty());
        assert!(!host.sas(world.now).contains("tunnel"));
    }
    assert!(world.hosts[1].said(
        "isakmpd: Peer 10.0.0.1 made us delete live SA tunnel for proto 3, initiator id: 10.0.0.1, responder id: 10.0.0.2"
    ), "{:#?}", world.hosts[1].log);
    assert!(
        !world.hosts[0]
            .engine
            .teardown(now, ike::Phase::Two, "tunnel")
    );
    // Phase 1 by the peer's address, whatever its port.
    assert!(
        world.hosts[0]
            .engine
            .teardown(world.now, ike::Phase::One, "10.0.0.2")
    );
    world.settle();
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.sas(world.now).is_empty())
    );
    assert!(world.hosts[1].said("made us delete live SA peer for proto 1"));
}

#[test]
fn a_shutdown_deletes_everything_and_drains() {
    let mut world = up(&default_quick_mode());
    let now = world.now;
    world.hosts[0].engine.shutdown(now);
    world.settle();
    assert!(world.hosts[0].drained);
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.sas(world.now).is_empty())
    );
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.kernel.installed.is_empty())
    );
}

#[test]
fn an_sa_goes_by_its_cookies() {
    let mut world = up(&default_quick_mode());
    let report = world.hosts[0].engine.report(world.now);
    let line = report
        .sas
        .iter()
        .rev()
        .find(|line| line.contains("icookie"))
        .unwrap();
    let hex: String = line.split_whitespace().filter(|w| w.len() == 16).collect();
    let cookies: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    let id = report
        .sas
        .iter()
        .rev()
        .find(|line| line.contains("msgid"))
        .unwrap();
    let id = u32::from_str_radix(id.split_whitespace().nth(2).unwrap(), 16).unwrap();
    let cookies: [u8; 16] = cookies.try_into().unwrap();
    let now = world.now;
    assert!(!world.hosts[0].engine.delete(now, cookies, Some(id ^ 1)));
    assert!(world.hosts[0].engine.delete(now, cookies, Some(id)));
    world.settle();
    assert!(
        world
            .hosts
            .iter()
            .all(|host| host.kernel.installed.is_empty())
    );
    assert!(world.hosts[0].engine.delete(now, cookies, None));
    world.settle();
    assert!(world.hosts.iter().all(|host| host.sas(now).is_empty()));
}

#[test]
fn mode_config_comes_before_quick_mode() {
    for request in [false, true] {
        let (mut a, b) = sections(&default_quick_mode());
        a.ikecfg();
        let section = ike::config::ModeConfig {
            request,
            attributes: vec!["Address".into()],
            address: Some(ip("192.168.1.1")),
            ..Default::default()
        };
        *a.mode_config.borrow_mut() = Some(Rc::new(section.clone()));
        *b.mode_config.borrow_mut() = Some(Rc::new(section));
        let mut world = world(Rc::new(a), Rc::new(b));
        world.keep_capture = true;
        world.connect(0, "tunnel");
        assert_eq!(world.same_sas(), Ok(()));
        assert_eq!(world.hosts[0].kernel.installed.len(), 1);
        let types: Vec<u8> = world.capture.iter().map(|(_, octets)| octets[18]).collect();
        assert_eq!(types, [2, 2, 2, 2, 2, 2, 6, 6, 32, 32, 32]);
    }
}

#[test]
fn an_unprotected_notification_changes_nothing() {
    let mut world = up(&default_quick_mode());
    let mut octets = vec![9; 8];
    octets.extend([0; 8]);
    octets.extend([11, 0x10, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    octets.extend([0, 0, 0, 32, 0, 0, 0, 1, 1, 16, 0x8d, 0x28]);
    octets.extend([9; 16]);
    octets.extend([0, 0, 0, 1]);
    let length = octets.len() as u32;
    octets[24..28].copy_from_slice(&length.to_be_bytes());
    let sent = world.hosts[1].sent;
    world.inject(1, "10.0.0.1:500".parse().unwrap(), &octets);
    assert_eq!(world.hosts[1].sent, sent);
    assert_eq!(world.hosts[1].kernel.installed.len(), 1);
}

/// A policy with one answer.
struct Always(bool);

impl ike::policy::Policy for Always {
    fn permits(
        &self,
        question: &ike::policy::Question<'_>,
        _: &mut ike::policy::PolicyLog,
    ) -> bool {
        assert_eq!(question.suite.len(), 1);
        assert!(!question.remote_filter.to_string().is_empty());
        self.0
    }
}

fn with_policy(permits: bool, ours: isakmp_proto::identity::Identity) -> World {
    let (a, b) = sections(&default_quick_mode());
    a.connection(
        "tunnel",
        "peer",
        Some(ours.into()),
        Some(network(1, 77)),
        &default_quick_mode(),
    );
    let now = Instant::now();
    let policy: Rc<dyn ike::policy::Policy> = Rc::new(Always(permits));
    let host = |address, sections, policy, seed| {
        Host::new(
            address,
            Rc::new(sections),
            policy,
            Lcg::new(seed),
            Options::default(),
            now,
        )
    };
    let hosts = vec![
        host("10.0.0.1:500", a, None, 1),
        host("10.0.0.2:500", b, Some(policy), 2),
    ];
    let mut world = World::new(hosts, now, Lcg::new(3));
    world.connect(0, "tunnel");
    world
}

#[test]
fn the_policy_decides_about_identities_that_no_connection_has() {
    let unknown = network(0, 99).identity;
    let world = with_policy(true, unknown.clone());
    let suite = world.hosts[1].kernel.installed.values().next();
    assert_eq!(suite.expect("installed").name, None);
    assert_eq!(world.same_sas(), Ok(()));
    let world = with_policy(false, unknown);
    let [a, b] = &world.hosts[..] else { panic!() };
    assert!(a.kernel.installed.is_empty() && b.kernel.installed.is_empty());
    assert!(b.said("check_policy: negotiated SA failed policy check"));
    assert!(b.said("message_negotiate_sa: no compatible proposal found"));
    assert!(b.said("due to notification type NO_PROPOSAL_CHOSEN"));
}

#[test]
fn a_peer_that_starts_anew_says_so_and_its_old_sas_go() {
    let (a, b) = sections(&default_quick_mode());
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "tunnel");
    let old = *world.hosts[0].kernel.installed.keys().next().unwrap();
    world.run(Duration::from_secs(10));
    let (_, b) = sections(&default_quick_mode());
    let fresh = Host::new(
        "10.0.0.2:500",
        Rc::new(b),
        None,
        Lcg::new(8),
        Options::default(),
        world.now,
    );
    world.hosts[1] = fresh;
    world.connect(1, "tunnel");
    assert_eq!(world.same_sas(), Ok(()));
    assert!(!world.hosts[0].kernel.installed.contains_key(&old));
    assert_eq!(
        world.hosts[0].sas(world.now).matches("(Phase 1/").count(),
        1
    );
}

/// FIFO `c` with the section of a peer: an ISAKMP SA, and no other at the next looks.
#[test]
fn a_peer_can_be_asked_for_without_a_connection() {
    let (a, b) = sections(&default_quick_mode());
    let mut world = world(Rc::new(a), Rc::new(b));
    world.connect(0, "peer");
    world.run(Duration::from_secs(200));
    let text = world.hosts[0].sas(world.now);
    assert_eq!(text.matches("(Phase 1/Initiator)").count(), 1, "{text}");
    assert!(!text.contains("(Phase 2)"), "{text}");
    assert!(!world.hosts[0].said("does not have a correct phase"));
}
