//! One of isakmpd's two processes is killed at any moment of a negotiation, in a machine whose kernel has IPsec: the
//! other ends as well, nothing half made is left when isakmpd is there again, and the peer is not harmed.

use std::time::{Duration, Instant};

use interop_tests::isakmpd::PATIENCE;
use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::ipsec::{nothing_left, policies, states};
use interop_tests::isakmpd::with_kernel::{
    Pair, load_modules, ours, setup, through_tunnel, tunnels,
};
use interop_tests::program::{is_gone, signal};
use interop_tests::{machine, scenarios, wait};

const SUITE: &str = "QM-ESP-AES-SHA2-256-SUITE";

#[test]
fn isakmpd_is_killed_in_a_kernel() {
    machine::test(
        "isakmpd_is_killed_in_a_kernel",
        Duration::from_secs(1200),
        3,
        load_modules,
        scenarios![
            : the_child_of_who_asks;
            : the_child_of_who_answers;
            : the_monitor_of_who_asks;
            : the_monitor_of_who_answers;
            slow: the_child_of_who_asks_at_many_moments;
            slow: the_child_of_who_answers_at_many_moments;
            slow: the_monitor_of_who_asks_at_many_moments;
            slow: the_monitor_of_who_answers_at_many_moments;
        ],
    );
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Child,
    Monitor,
}

fn the_child_of_who_asks() {
    at_moments(Victim::Child, true, 4);
}

fn the_child_of_who_answers() {
    at_moments(Victim::Child, false, 4);
}

fn the_monitor_of_who_asks() {
    at_moments(Victim::Monitor, true, 4);
}

fn the_monitor_of_who_answers() {
    at_moments(Victim::Monitor, false, 4);
}

fn the_child_of_who_asks_at_many_moments() {
    at_moments(Victim::Child, true, 40);
}

fn the_child_of_who_answers_at_many_moments() {
    at_moments(Victim::Child, false, 40);
}

fn the_monitor_of_who_asks_at_many_moments() {
    at_moments(Victim::Monitor, true, 40);
}

fn the_monitor_of_who_answers_at_many_moments() {
    at_moments(Victim::Monitor, false, 40);
}

/// Negotiations are interrupted at `moments` moments, from their begin until well after their usual end.
fn at_moments(victim: Victim, left: bool, moments: u32) {
    // As long a peer keeps what it has answered with.
    let tunnels = tunnels(SUITE).map(|tunnel| tunnel.general("Exchange-max-time= 10"));
    let mut pair = Pair::start(&tunnels);
    let begin = Instant::now();
    pair.up();
    // With the time that `up` takes to look at the kernels.
    let whole = begin.elapsed();
    pair.left.command("t conn-x\nt main peer-x");
    for moment in 0..moments {
        let network = &pair.network;
        nothing_left(&network.left);
        nothing_left(&network.right);
        let host = if left { &network.left } else { &network.right };
        let daemon: &Daemon = if left { &pair.left } else { &pair.right };
        let both = [daemon.pid(), daemon.worker().expect("two processes")];
        pair.left.send("c conn-x");
        // Not a wait for something: each negotiation is hit somewhere else.
        std::thread::sleep(whole * moment / moments);
        match victim {
            Victim::Monitor => signal(both[0], "KILL"),
            Victim::Child => signal(both[1], "KILL"),
        }
        let found = (states(host).len(), policies(host).len());
        let gone = wait::until(PATIENCE, || {
            both.iter().all(|&pid| is_gone(pid)).then_some(())
        });
        assert!(
            gone.is_some(),
            "the other process goes on: {:#?}",
            daemon.lines()
        );
        eprintln!("{victim:?} of left: {left}, moment {moment}: {found:?} SAs and policies");
        if victim == Victim::Child {
            // The monitor sweeps after it.
            nothing_left(host);
        }
        // Otherwise who comes next does.
        let (setup, host) = match left {
            true => (setup(&tunnels[0]), &pair.network.left),
            false => (setup(&tunnels[1]), &pair.network.right),
        };
        let again = Daemon::start(host, ours(), &setup);
        nothing_left(host);
        if left {
            pair.left = again;
        } else {
            pair.right = again;
        }
        // The other one knows nothing of it, and is no worse for it.
        for other in [&pair.left, &pair.right] {
            other.command("t main peer-x\nT");
        }
    }
    pair.up();
    through_tunnel(&pair.network);
    pair.end();
}
