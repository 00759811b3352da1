//! Two engines over a network that loses, duplicates, delays and so reorders: whatever happens, once the network is
//! well both have the same SAs, and nothing is left when all is torn down.

mod world;

use std::time::Duration;

use ike::Phase;
use proptest::prelude::*;
use world::{Faults, World, tunnel};

const CONNECTIONS: u32 = 3;

fn world(seed: u64, life: u32, group: Option<u16>) -> World {
    world::pair(CONNECTIONS, (life, 3600), group, 30, seed)
}

fn empty(world: &World) -> Result<(), String> {
    for (which, host) in world.hosts.iter().enumerate() {
        if !host.kernel.installed.is_empty() {
            return Err(format!("{which}: {:?}", host.kernel.installed));
        }
        if !host.kernel.spis.is_empty() {
            return Err(format!("{which}: SPIs {:?}", host.kernel.spis));
        }
        let sas = host.sas(world.now);
        if !sas.is_empty() {
            return Err(format!("{which}: {sas}"));
        }
        let exchanges = host.engine.exchange_summaries().count();
        if exchanges != 0 {
            return Err(format!("{which}: {exchanges} exchanges"));
        }
        if host.engine.poll_timeout().is_some() {
            return Err(format!(
                "{which}: {:?}",
                host.engine.report(world.now).timers
            ));
        }
    }
    Ok(())
}

/// Everything goes, and the tables are empty when the last exchange's time is over.
fn tear_down(world: &mut World) {
    let now = world.now;
    for host in &mut world.hosts {
        host.engine.teardown_all(now);
        for n in 0..CONNECTIONS {
            host.engine.teardown(now, Phase::Two, &tunnel(n));
        }
    }
    world.settle();
    let now = world.now;
    for host in &mut world.hosts {
        host.engine.teardown(now, Phase::One, "peer");
    }
    world.run(Duration::from_secs(130));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize, u32),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..2_usize, 0..CONNECTIONS).prop_map(|(host, n)| Step::Connect(host, n)),
        (0..20_000_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ends_agree_when_the_network_is_well_again(
        seed in any::<u64>(),
        lost in 0..45_u32,
        duplicated in 0..40_u32,
        delay in 0..9_000_u32,
        pfs in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..8),
    ) {
        let mut world = world(seed, 1200, pfs.then_some(19));
        world.faults = Faults { lost, duplicated, delay };
        let mut wanted = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Connect(host, n) => {
                    wanted.insert(n);
                    world.connect(host, &tunnel(n));
                }
                Step::Wait(time) => world.run(Duration::from_millis(time.into())),
            }
        }
        world.faults = Faults::default();
        world.run(Duration::from_secs(420));
        prop_assert_eq!(world.same_sas(), Ok(()));
        for n in wanted {
            let there = world.hosts[0]
                .kernel
                .installed
                .values()
                .any(|suite| suite.name.as_deref() == Some(&tunnel(n)));
            prop_assert!(there, "{} is not up: {:#?}", tunnel(n), world.hosts[0].log);
        }
        tear_down(&mut world);
        prop_assert_eq!(empty(&world), Ok(()));
    }
}

/// An hour with a life of 30 seconds and one datagram of twenty lost.
#[test]
fn an_hour_of_rekeying_leaks_nothing() {
    let mut world = world(7, 30, Some(19));
    world.faults = Faults {
        lost: 5,
        duplicated: 2,
        delay: 80,
    };
    for n in 0..CONNECTIONS {
        world.connect((n % 2) as usize, &tunnel(n));
    }
    let mut most = 0;
    for minute in 0..60 {
        world.run(Duration::from_secs(60));
        for host in &world.hosts {
            most = most.max(host.kernel.installed.len());
            let report = host.engine.report(world.now);
            assert!(
                report.timers.len() < 100,
                "minute {minute}: {:#?}",
                report.timers
            );
            assert!(
                report.exchanges.len() < 150,
                "minute {minute}: {}",
                report.exchanges.len()
            );
        }
    }
    // Two lives of each tunnel overlap.
    assert!(most <= 4 * CONNECTIONS as usize, "{most}");
    assert!(
        world.hosts[0].kernel.installations > 100,
        "{}",
        world.hosts[0].kernel.installations
    );
    world.faults = Faults::default();
    world.run(Duration::from_secs(200));
    assert_eq!(world.same_sas(), Ok(()));
    tear_down(&mut world);
    assert_eq!(empty(&world), Ok(()));
}

/// The responder takes its answer back when nobody confirms it. Here that is lost, too, and it says so once more.
#[test]
fn an_answer_that_is_taken_back_is_taken_back_twice() {
    let mut world = world(13_105_725_374_148_887_759, 1200, None);
    world.faults = Faults {
        lost: 27,
        duplicated: 10,
        delay: 7919,
    };
    world.connect(0, &tunnel(0));
    world.run(Duration::from_millis(2842));
    world.run(Duration::from_millis(77_400));
    assert!(world.hosts[1].said("giving up on exchange tunnel-0"));
    assert_ne!(world.same_sas(), Ok(()));
    world.faults = Faults::default();
    // The exchange has 120 seconds.
    world.run(Duration::from_secs(120));
    assert_eq!(world.same_sas(), Ok(()));
}
