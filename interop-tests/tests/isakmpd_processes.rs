//! isakmpd's two processes ("isakmpd.md 2"): what each has given up, that they still do everything, and that neither
//! goes on without the other, at whatever moment it dies.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use interop_tests::isakmpd::PATIENCE;
use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::subject;
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::with_kernel::QUICK;
use interop_tests::program::{is_gone, signal};
use interop_tests::wait;

/// A field of /proc/PID/status.
fn field(path: &str, name: &str) -> String {
    let status = fs::read_to_string(path).expect(path);
    let line = status.lines().find(|line| line.starts_with(name));
    line.expect(name)
        .split_once(':')
        .expect("a field")
        .1
        .trim()
        .to_owned()
}

#[test]
fn the_child_has_given_everything_up() {
    let test = "the_child_has_given_everything_up";
    let Some(subject) = subject(test).filter(|subject| !subject.original) else {
        return;
    };
    let network = Network::cable();
    let daemon = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
    let child = daemon.worker().expect("two processes");
    let status = format!("/proc/{child}/status");
    assert_ne!(field(&status, "Uid").split_whitespace().next(), Some("0"));
    assert_ne!(field(&status, "Gid").split_whitespace().next(), Some("0"));
    assert!(
        !field(&status, "Groups")
            .split_whitespace()
            .any(|group| group == "0")
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    let root = format!("/proc/{child}/root");
    assert_ne!(fs::read_link(&root).expect("root").to_str(), Some("/"));
    assert_eq!(
        fs::read_dir(&root).expect("root").count(),
        0,
        "files in its root"
    );
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{child}/task")).expect("threads") {
        let status = thread.expect("thread").path().join("status");
        let status = status.to_str().expect("text");
        assert_eq!(field(status, "NoNewPrivs"), "1");
        assert_eq!(field(status, "Seccomp"), "2");
        threads += 1;
    }
    assert!(threads > 1, "public keys have threads of their own");
}

/// Numbers of capabilities that isakmpd(8) lists: DAC_READ_SEARCH, KILL, NET_BIND_SERVICE, NET_ADMIN.
const MONITOR_CAPABILITIES: [u32; 4] = [2, 5, 10, 12];

#[test]
fn the_monitor_keeps_what_it_needs() {
    let test = "the_monitor_keeps_what_it_needs";
    let Some(subject) = subject(test).filter(|subject| !subject.original) else {
        return;
    };
    let network = Network::cable();
    let daemon = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
    let status = format!("/proc/{}/status", daemon.pid());
    assert_eq!(field(&status, "Uid").split_whitespace().next(), Some("0"));
    let wanted: u64 = MONITOR_CAPABILITIES.iter().map(|number| 1 << number).sum();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status, set), format!("{wanted:016x}"), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
    assert_eq!(field(&status, "Threads"), "1");
}

/// SPIs of suites that the recording kernel holds, by direction. Panics if one was put in by halves.
fn held(record: &Path) -> BTreeSet<(bool, String)> {
    let mut held = BTreeSet::new();
    let text = fs::read_to_string(record).unwrap_or_default();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "a line by halves: {text}"
    );
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&"install") => {
                let mut both = [false, false];
                for words in words.windows(3) {
                    let [direction @ ("in" | "out"), _, spi] = words else {
                        continue;
                    };
                    both[usize::from(*direction == "out")] = true;
                    held.insert((*direction == "in", (*spi).to_owned()));
                }
                assert_eq!(both, [true, true], "half a suite: {line}");
            }
            Some(&"remove") => {
                for words in words.windows(2) {
                    if let [direction @ ("in" | "out"), spi] = words {
                        held.remove(&(*direction == "in", (*spi).to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    held
}

/// Either process of the one that asks dies after so many lines of its debugging log, from the first message to
/// what follows a finished negotiation.
#[test]
fn killed_at_any_moment_nothing_is_left_by_halves() {
    let test = "killed_at_any_moment_nothing_is_left_by_halves";
    let Some(subject) = subject(test).filter(|subject| !subject.original) else {
        return;
    };
    let network = Network::cable();
    let tunnels = [Tunnel::left(), Tunnel::right()]
        .map(|tunnel| tunnel.with(QUICK, "QM-ESP-AES-SHA2-256-PFS-GRP19-SUITE"));
    let directory = network.left.dir().to_owned();
    let record = |name: &str| directory.join(format!("kernel-{name}"));
    let setup = |tunnel: &Tunnel, record: &Path| {
        Setup::new(tunnel.text()).variable("KX_ISAKMPD_FAKE_KERNEL", &record.display().to_string())
    };
    let mut right = Daemon::start(
        &network.right,
        subject,
        &setup(&tunnels[1], &record("right")),
    );
    for (round, lines) in [1, 20, 60, 120, 180, 240, 300, 360, 420, 500]
        .into_iter()
        .enumerate()
    {
        let kill_child = round % 2 == 0;
        let record = record(&format!("left-{round}"));
        let setup = setup(&tunnels[0], &record).option("-DA=90");
        let mut left = Daemon::start(&network.left, subject, &setup);
        let child = left.worker().expect("two processes");
        let mark = left.mark();
        left.send("c conn-x");
        left.eventually("a negotiation as far as this", || {
            left.mark() >= mark + lines
                || left
                    .texts()
                    .iter()
                    .any(|text| text.contains("quick mode done"))
        });
        if kill_child {
            signal(child, "KILL");
            assert_eq!(left.wait_end(), 1, "after {lines} lines");
        } else {
            signal(left.pid(), "KILL");
            left.wait_end();
            left.wait_for("main: the monitor is gone");
        }
        let gone = wait::until(PATIENCE, || is_gone(child).then_some(()));
        assert!(gone.is_some(), "the child goes on alone");
        let _ = held(&record);
        // The other one is there for whoever comes next.
        assert!(right.runs());
        let _ = right.result("S");
    }
    let mark = right.mark();
    let mut left = Daemon::start(&network.left, subject, &setup(&tunnels[0], &record("left")));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    right.wait_for_since(mark, "isakmpd: quick mode done (as responder): ");
    assert!(!held(&record("left")).is_empty() && !held(&record("right")).is_empty());
    assert_eq!((left.quit(), right.quit()), (0, 0));
    assert_eq!(held(&record("left")), BTreeSet::new());
    assert_eq!(held(&record("right")), BTreeSet::new());
}

/// Everything that needs a file or a socket once the child is confined.
#[test]
fn a_confined_child_still_does_everything() {
    let test = "a_confined_child_still_does_everything";
    let Some(subject) = subject(test) else { return };
    let network = Network::cable();
    let [left, right] = [Tunnel::left().text(), Tunnel::right().text()];
    let right = Daemon::start(&network.right, subject, &Setup::new(right));
    let left = Daemon::start(&network.left, subject, &Setup::new(left));
    left.command("p on\nR");
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    right.signal("HUP");
    right.wait_for("isakmpd: reinitializing daemon");
    left.command("p off");
    assert!(!left.report().is_empty());
    assert!(left.result("S").contains("(Phase 2)"));
    assert!(left.site().run_dir().join("isakmpd.pcap").exists());
    left.command("t conn-x\nc conn-x");
    left.eventually("a second tunnel", || {
        left.texts()
            .iter()
            .filter(|text| text.starts_with("isakmpd: quick mode done: "))
            .count()
            == 2
    });
}

#[test]
fn neither_goes_on_alone() {
    let test = "neither_goes_on_alone";
    let Some(subject) = subject(test).filter(|subject| !subject.original) else {
        return;
    };
    for kill_child in [true, false] {
        let network = Network::cable();
        let setup = Setup::new(Tunnel::left().text());
        let mut daemon = Daemon::start(&network.left, subject, &setup);
        let child = daemon.worker().expect("two processes");
        if kill_child {
            signal(child, "KILL");
            assert_eq!(daemon.wait_end(), 1);
            // The monitor leaves nothing behind.
            for name in ["isakmpd.fifo", "isakmpd.pid"] {
                assert!(!daemon.site().run_dir().join(name).exists(), "{name}");
            }
        } else {
            signal(daemon.pid(), "KILL");
            daemon.wait_end();
            daemon.wait_for("main: the monitor is gone");
        }
        let gone = wait::until(PATIENCE, || is_gone(child).then_some(()));
        assert!(gone.is_some(), "the child goes on alone");
    }
}
