//! The hosts and what is between them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lab::host::{self, Host};
use crate::lab::{open_to_all, take_away_leftovers};

const PREFIX: &str = "ik-";
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Two hosts that reach each other, with the addresses of the recordings.
#[derive(Debug)]
pub struct Network {
    /// The initiator of most tests: 10.77.0.1 and fd77::1; behind a router 10.78.0.2.
    pub left: Host,
    /// The other: 10.77.0.2 and fd77::2; behind a router 10.79.0.2, to which the left one is 10.79.0.1.
    pub right: Host,
    router: Option<String>,
    dir: tempfile::TempDir,
}

impl Network {
    /// Two hosts at one cable, with IPv6.
    pub fn cable() -> Network {
        let network = Network::hosts(
            [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)],
            false,
        );
        let (left, right) = (&network.left.namespace, &network.right.namespace);
        host::shell(&format!(
            "ip netns add {left}; ip netns add {right}
             ip link add wire netns {left} type veth peer name wire netns {right}"
        ));
        for (host, last) in [(&network.left, 1), (&network.right, 2)] {
            let address = host.address;
            host.script(&format!(
                "echo 0 >/proc/sys/net/ipv6/conf/wire/accept_dad
                 ip link set lo up; ip link set wire up
                 ip addr add {address}/24 dev wire; ip addr add fd77::{last}/64 dev wire nodad"
            ));
        }
        network
            .left
            .script("ping -c1 -W5 10.77.0.2; ping -6 -c1 -W5 fd77::2 || true");
        network
    }

    /// The left host behind a router that masquerades it, with its ports changed.
    pub fn masqueraded() -> Network {
        let network = Network::hosts(
            [Ipv4Addr::new(10, 78, 0, 2), Ipv4Addr::new(10, 79, 0, 2)],
            true,
        );
        let (left, right) = (&network.left.namespace, &network.right.namespace);
        let router = network.router.as_deref().unwrap_or_default();
        host::shell(&format!(
            "for i in {left} {router} {right}; do ip netns add $i; ip -n $i link set lo up; done
             ip link add wire netns {left} type veth peer name inside netns {router}
             ip link add wire netns {right} type veth peer name outside netns {router}
             ip -n {router} addr add 10.78.0.1/24 dev inside; ip -n {router} link set inside up
             ip -n {router} addr add 10.79.0.1/24 dev outside; ip -n {router} link set outside up
             ip netns exec {router} sh -euc 'echo 1 >/proc/sys/net/ipv4/ip_forward
                 iptables-legacy -w 20 -t nat -A POSTROUTING -o outside -p udp -j MASQUERADE --to-ports 20000-30000
                 iptables-legacy -w 20 -t nat -A POSTROUTING -o outside -j MASQUERADE'"
        ));
        for host in [&network.left, &network.right] {
            host.script(&format!(
                "echo 0 >/proc/sys/net/ipv6/conf/wire/accept_dad; ip addr add {}/24 dev wire; ip link set wire up",
                host.address
            ));
        }
        network
            .left
            .script("ip route add default via 10.78.0.1; ping -c1 -W5 10.79.0.2");
        network
    }

    fn hosts(addresses: [Ipv4Addr; 2], router: bool) -> Network {
        take_away_leftovers(PREFIX);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("{PREFIX}{}-{number}-{side}", std::process::id());
        let dir = tempfile::Builder::new().prefix("kxik").tempdir();
        let dir = dir.expect("a directory for the laboratory");
        open_to_all(dir.path());
        let host = |side: &str, address: Ipv4Addr, last: u16| {
            let own = dir.path().join(side);
            std::fs::create_dir_all(&own).expect("a host's directory");
            open_to_all(&own);
            let address6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last);
            Host::new(name(side), address, (!router).then_some(address6), own)
        };
        Network {
            left: host("l", addresses[0], 1),
            right: host("r", addresses[1], 2),
            router: router.then(|| name("n")),
            dir,
        }
    }

    /// The network's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A cable of that name (`wire`, or one more) with fe80::1 and fe80::2, which are there on the others, too.
    pub fn link_local(&self, link: &str) {
        let (left, right) = (&self.left.namespace, &self.right.namespace);
        if link != "wire" {
            host::shell(&format!(
                "ip link add {link} netns {left} type veth peer name {link} netns {right}"
            ));
        }
        let hosts = [(&self.left, 1), (&self.right, 2)];
        for (host, last) in hosts {
            host.script(&format!(
                "echo 0 >/proc/sys/net/ipv6/conf/{link}/accept_dad; ip link set {link} up
                 ip addr add fe80::{last}/64 dev {link} nodad"
            ));
        }
        for (host, other) in [(&self.left, 2), (&self.right, 1)] {
            host.script(&format!("ping -6 -c1 -W5 fe80::{other}%{link}"));
        }
    }

    /// The router forgets every connection: what comes from outside has nowhere to go until something is sent
    /// from inside, which then gets a port from 40000 to 50000. `address`: of its outside, in place of 10.79.0.1/24.
    pub fn router_restarts(&self, address: &str) {
        self.router(&format!(
            "ip link set outside down
             iptables-legacy -w 20 -t nat -F POSTROUTING
             iptables-legacy -w 20 -t nat -A POSTROUTING -o outside -p udp -j MASQUERADE --to-ports 40000-50000
             ip addr flush dev outside; ip addr add {address} dev outside; ip link set outside up"
        ));
    }

    /// Runs shell commands, without apostrophes, on the router.
    pub fn router(&self, script: &str) {
        if let Some(router) = &self.router {
            host::shell(&format!("ip netns exec {router} sh -euc '{script}'"));
        }
    }

    /// Nothing passes between the hosts any more.
    pub fn cut(&self) {
        self.right.script("ip link set wire down");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = [&self.left, &self.right].map(|host| &host.namespace);
        for name in hosts.into_iter().chain(&self.router) {
            let _ = host::try_shell(&format!("ip netns del {name}"));
        }
    }
}
