//! Soak: an hour of virtual time, or `KX_SOAK_HOURS` of them, between two engines with 5 % loss and new keys every 30
//! seconds. At every minute the kernel of each holds exactly the SAs that its engine lists, memory stays flat, and in
//! the end nothing is left.
//!
//! One test only, since the allocator counts for the whole process.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ike::Phase;
use kx_sys::counting_alloc::CountingAllocator;
use world::{Faults, Host, World, tunnel};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CONNECTIONS: u32 = 8;

/// Life of the suites, in seconds; that of the ISAKMP SA.
const LIFE: (u32, u32) = (30, 600);

/// Minutes after which tables and buffers have the size that they keep.
const WARM: u64 = 10;

/// How much more may be in use than at the worst of the first minutes: what is under way differs.
const MORE: u64 = 64 * 1024;

fn world() -> World {
    let mut world = world::pair(CONNECTIONS, LIFE, Some(19), 20, 100);
    world.faults = Faults {
        lost: 5,
        duplicated: 1,
        delay: 60,
    };
    world
}

/// Minutes that an SPI may be reserved for an exchange, whose time is two.
const RESERVED: u64 = 3;

/// Incoming SPIs of the finished suites that `S` prints.
fn listed(text: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for sa in text.split("\n\n").filter(|sa| sa.contains("(Phase 2)")) {
        let flags = sa.lines().find_map(|line| line.strip_prefix("Flags 0x"));
        let flags = u32::from_str_radix(flags.expect("flags"), 16).expect("a number");
        for line in sa.lines().filter(|_| flags & 1 != 0) {
            if let Some(spi) = line.strip_prefix("SPI 1: ") {
                let spi = u32::from_str_radix(spi.trim_end(), 16).expect("a number");
                assert!(found.insert(spi), "SPI {spi:08x} twice");
            }
        }
    }
    found
}

/// The kernel's list is the engine's; what is neither belongs to an exchange. `reserved`: since which minute.
fn agree(
    host: &mut Host,
    now: Instant,
    minute: u64,
    reserved: &mut BTreeMap<u32, u64>,
) -> Result<(), String> {
    let listed = listed(&host.sas(now));
    let installed: BTreeSet<u32> = host.kernel.installed.keys().copied().collect();
    if installed != listed {
        return Err(format!("installed {installed:x?}, listed {listed:x?}"));
    }
    let spis: BTreeSet<u32> = host.kernel.spis.iter().map(|(_, spi)| *spi).collect();
    let spare: BTreeSet<u32> = spis.difference(&installed).copied().collect();
    reserved.retain(|spi, _| spare.contains(spi));
    for spi in &spare {
        let since = *reserved.entry(*spi).or_insert(minute);
        if minute - since > RESERVED {
            return Err(format!("SPI {spi:x} is reserved since minute {since}"));
        }
    }
    if spare.len() > host.engine.exchange_summaries().count() {
        return Err(format!("reserved without an exchange: {spare:x?}"));
    }
    // Incoming SAs that came before their suite have become part of it, or went with their SPI.
    host.kernel.early.retain(|sa| spare.contains(&sa.spi));
    Ok(())
}

#[test]
fn hours_of_rekeying_leak_nothing() {
    let hours =
        std::env::var("KX_SOAK_HOURS").map_or(1, |hours| hours.parse().expect("a number of hours"));
    let mut world = world();
    for n in 0..CONNECTIONS {
        world.connect((n % 2) as usize, &tunnel(n));
    }
    let (mut warm, mut late) = (0, 0);
    let mut reserved = [BTreeMap::new(), BTreeMap::new()];
    for minute in 0..60 * hours {
        world.run(Duration::from_secs(60));
        let now = world.now;
        for (which, host) in world.hosts.iter_mut().enumerate() {
            if let Err(difference) = agree(host, now, minute, &mut reserved[which]) {
                panic!(
                    "minute {minute}, host {which}: {difference}\n{:#?}",
                    host.log
                );
            }
            let (installed, sas) = (host.kernel.installed.len(), host.sas(now));
            // Each tunnel has a suite, and one more while the former is still used.
            assert!(
                installed <= 4 * CONNECTIONS as usize,
                "minute {minute}: {installed}"
            );
            assert!(
                sas.matches("(Phase 1/").count() <= 6,
                "minute {minute}:\n{sas}"
            );
            let report = host.engine.report(now);
            assert!(
                report.timers.len() < 150,
                "minute {minute}: {}",
                report.timers.len()
            );
            // What the tests remember is not the engine's memory.
            host.log = Vec::new();
            host.kernel.early.shrink_to_fit();
        }
        let in_use = CountingAllocator::in_use();
        match minute < WARM {
            true => warm = warm.max(in_use),
            false => late = late.max(in_use),
        }
        if minute % 60 == 59 {
            println!("{} h: {in_use} octets in use", minute / 60 + 1);
        }
    }
    assert!(
        late <= warm + MORE,
        "{warm} octets in the first minutes, {late} later"
    );
    let rekeyed = world.hosts[0].kernel.installations;
    let wanted = 60 * hours * u64::from(CONNECTIONS);
    assert!(
        rekeyed as u64 > wanted,
        "{rekeyed} suites in {hours} h, expected more than {wanted}"
    );

    // Well again, both have the same; torn down, nothing is left.
    world.faults = Faults::default();
    world.run(Duration::from_secs(200));
    assert_eq!(world.same_sas(), Ok(()));
    let now = world.now;
    for host in &mut world.hosts {
        host.engine.teardown_all(now);
        for n in 0..CONNECTIONS {
            host.engine.teardown(now, Phase::Two, &tunnel(n));
        }
    }
    world.settle();
    for host in &mut world.hosts {
        host.engine.teardown(now, Phase::One, "peer");
    }
    world.run(Duration::from_secs(130));
    let now = world.now;
    for host in &mut world.hosts {
        assert!(host.kernel.installed.is_empty());
        assert_eq!(host.sas(now), "");
        assert!(host.kernel.spis.is_empty(), "{:x?}", host.kernel.spis);
        assert_eq!(host.engine.exchange_summaries().count(), 0);
        assert_eq!(host.engine.poll_timeout(), None);
    }
}
