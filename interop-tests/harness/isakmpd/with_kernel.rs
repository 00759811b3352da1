//! Two isakmpd on the two hosts of a network whose kernel has IPsec, and what has to hold whenever they have a
//! tunnel.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::isakmpd::configuration::Tunnel;
use crate::isakmpd::daemon::{Daemon, Setup};
use crate::isakmpd::gateways::{INNER, Tap, with_networks};
use crate::isakmpd::implementation::{Implementation, subject};
use crate::isakmpd::ipsec::{State, agree, flow, nothing_left, policies};
use crate::isakmpd::network::Network;
use crate::lab::host::Host;
use crate::program::{Guarded, collect, run_command};

/// Lets the kernel load what SAs need and test it, which takes an emulated processor half a minute in which the
/// daemon that asked first would not answer.
pub fn load_modules() {
    let key = |octets: usize| format!("0x{}", "01".repeat(octets));
    let sha256 = format!("auth-trunc 'hmac(sha256)' {} 128", key(32));
    let script = [
        format!("proto esp spi 0x101 enc 'cbc(aes)' {} {sha256}", key(16)),
        format!(
            "proto esp spi 0x102 enc 'cbc(des3_ede)' {} auth 'hmac(sha1)' {}",
            key(24),
            key(20)
        ),
        format!(
            "proto esp spi 0x103 aead 'rfc4106(gcm(aes))' {} 128",
            key(36)
        ),
        format!(
            "proto ah spi 0x104 auth-trunc 'hmac(sha512)' {} 256",
            key(64)
        ),
    ]
    .map(|sa| format!("ip xfrm state add src 127.0.0.1 dst 127.0.0.2 {sa} mode tunnel\n"))
    .concat();
    let mut shell = Command::new("sh");
    shell.args(["-euc", &(script + "ip xfrm state flush\n")]);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = Guarded(shell.spawn().expect("a shell"));
    let done = collect(child, Duration::from_secs(180));
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
}

/// Phase 1 that is quick to compute, also on an emulated processor.
pub const QUICK: &str = "AES-SHA2-256-GRP19";

/// The isakmpd of the scenarios.
pub fn ours() -> &'static Implementation {
    subject("a scenario in a machine").expect("an isakmpd and a laboratory for it")
}

/// How a daemon is started that has a kernel.
pub fn setup(tunnel: &Tunnel) -> Setup {
    Setup::new(tunnel.text()).with_kernel()
}

/// The configurations of both sides for a suite.
pub fn tunnels(suites: &str) -> [Tunnel; 2] {
    [Tunnel::left(), Tunnel::right()].map(|tunnel| tunnel.with(QUICK, suites))
}

/// The same over IPv6.
pub fn tunnels6(suites: &str) -> [Tunnel; 2] {
    let left = Tunnel::between("fd77::1", "fd77::2", "fd01::", "fd02::");
    let right = Tunnel::between("fd77::2", "fd77::1", "fd02::", "fd01::");
    [left, right].map(|tunnel| tunnel.with(QUICK, suites))
}

/// Both configurations for what the hosts themselves say to each other.
pub fn between_hosts(suites: &str) -> [Tunnel; 2] {
    tunnels(suites).map(|mut tunnel| {
        let own = |address: &str| match address {
            "10.77.0.1" => "10.77.0.1",
            _ => "10.77.0.2",
        };
        (tunnel.local_net, tunnel.remote_net) = (own(&tunnel.local), own(&tunnel.remote));
        tunnel
    })
}

/// Two daemons.
#[derive(Debug)]
pub struct Pair {
    /// The one that asks.
    pub left: Daemon,
    /// The other.
    pub right: Daemon,
    /// Their hosts.
    pub network: Network,
}

impl Pair {
    /// Starts both at a cable.
    pub fn start(tunnels: &[Tunnel; 2]) -> Pair {
        Pair::start_in(with_networks(Network::cable()), tunnels)
    }

    /// Starts both.
    pub fn start_in(network: Network, [left, right]: &[Tunnel; 2]) -> Pair {
        let right = Daemon::start(&network.right, ours(), &setup(right));
        let left = Daemon::start(&network.left, ours(), &setup(left));
        Pair {
            left,
            right,
            network,
        }
    }

    /// The left one asks, until both kernels have what both daemons say.
    pub fn up(&self) -> [Vec<State>; 2] {
        let marks = [self.left.mark(), self.right.mark()];
        // What is kept up already is looked at once a minute only.
        self.left.command("t conn-x\nc conn-x");
        self.left
            .wait_for_since(marks[0], "isakmpd: quick mode done: ");
        self.right
            .wait_for_since(marks[1], "isakmpd: quick mode done (as responder): ");
        self.both_agree()
    }

    /// Both kernels have exactly the SAs that the daemons say, and the SAs of one are those of the other.
    pub fn both_agree(&self) -> [Vec<State>; 2] {
        let left = agree(&self.left, &self.network.left);
        let right = agree(&self.right, &self.network.right);
        let spis =
            |states: &[State]| -> BTreeSet<u32> { states.iter().map(|s| s.sa.spi).collect() };
        assert_eq!(spis(&left), spis(&right), "{left:#?}{right:#?}");
        [left, right]
    }

    /// The policies of both kernels are those of one flow.
    pub fn flows(&self, [left, right]: [&str; 2], templates: &[&str]) {
        assert_eq!(policies(&self.network.left), flow(left, right, templates));
        assert_eq!(policies(&self.network.right), flow(right, left, templates));
    }

    /// Both end, and nothing is left in either kernel: the left one says goodbye to the right one.
    pub fn end(mut self) {
        assert_eq!(self.left.quit(), 0, "{:#?}", self.left.lines());
        nothing_left(&self.network.left);
        self.right
            .eventually("the right one has no SA", || self.right.sas().is_empty());
        nothing_left(&self.network.right);
        assert_eq!(self.right.quit(), 0, "{:#?}", self.right.lines());
        nothing_left(&self.network.right);
    }
}

/// Packets from an address of the left host are answered; all that leaves either host for the other is what `filter`
/// takes.
pub fn protected(network: &Network, from: &str, to: &str, filter: &str) {
    let taps = [&network.left, &network.right].map(Tap::on);
    ping(&network.left, from, to);
    for tap in &taps {
        tap.at_least(3, filter);
        let clear = tap.lines("icmp or (icmp6 and ip6[40] >= 128 and ip6[40] <= 129)");
        assert!(clear.is_empty(), "in clear: {clear:#?}");
    }
}

/// Packets between the networks' addresses go through a tunnel.
pub fn through_tunnel(network: &Network) {
    protected(network, INNER[0], INNER[1], "esp");
}

/// Three packets are answered.
pub fn ping(host: &Host, from: &str, to: &str) {
    let line = format!("ping -n -c 3 -i 0.2 -W 5 -I {from} {to}");
    let done = run_command(host.command("sh").args(["-c", &line]));
    assert_eq!(done.rc, 0, "{line}: {}", done.stdout_text());
}
