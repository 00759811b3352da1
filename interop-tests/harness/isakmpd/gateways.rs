//! Networks behind the two hosts of a laboratory, and taps on what leaves them.

use std::path::PathBuf;
use std::process::Command;

use crate::isakmpd::PATIENCE;
use crate::isakmpd::network::Network;
use crate::isakmpd::process::Process;
use crate::lab::host::{self, Host};
use crate::program::run_command;
use crate::wait;

/// An address of the network behind the left host, and of the one behind the right one.
pub const INNER: [&str; 2] = ["192.168.101.1", "192.168.102.1"];
/// Those networks.
pub const NETS: [&str; 2] = ["192.168.101.0/24", "192.168.102.0/24"];
/// The same of IPv6.
pub const INNER6: [&str; 2] = ["fd01::1", "fd02::1"];
/// The same of IPv6.
pub const NETS6: [&str; 2] = ["fd01::/64", "fd02::/64"];

/// ESP that passes a router: neither IKE, which begins with four zero octets, nor the one octet that keeps the way
/// open.
pub const ESP_IN_UDP: &str = "udp port 4500 and udp[4:2] > 20 and udp[8:4] != 0";

/// Gives both hosts of a network an address of the network behind them, and the way to the other's.
pub fn with_networks(network: Network) -> Network {
    let ends = [&network.left, &network.right];
    for (i, host) in ends.into_iter().enumerate() {
        let (own, other) = (INNER[i], NETS[1 - i]);
        // Behind a router only that can be seen.
        let via = match (i, network.left.address6) {
            (_, Some(_)) => ends[1 - i].address.to_string(),
            (0, None) => "10.78.0.1".to_owned(),
            (_, None) => "10.79.0.1".to_owned(),
        };
        let mut script = format!(
            "echo 1 >/proc/sys/net/ipv4/ip_forward
             ip link set lo up; ip addr add {own}/32 dev lo; ip route add {other} via {via} src {own}\n"
        );
        if let Some(via) = ends[1 - i].address6 {
            let (own, other) = (INNER6[i], NETS6[1 - i]);
            script += &format!(
                "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
                 ip addr add {own}/128 dev lo nodad; ip route add {other} via {via} src {own}\n"
            );
        }
        host.script(&script);
    }
    network
}

/// Two gateways, each with a host behind it.
#[derive(Debug)]
pub struct Gateways {
    /// The gateways, and what is between them.
    pub network: Network,
    /// The host behind the left one, 192.168.101.2.
    pub left: Host,
    /// The host behind the right one, 192.168.102.2.
    pub right: Host,
}

impl Gateways {
    /// Puts a host behind each host of a network.
    pub fn new(network: Network) -> Gateways {
        let network = with_networks(network);
        let behind = |gateway: &Host, own: &str| {
            let name = format!("{}h", gateway.namespace);
            let address = format!("{}2", own.trim_end_matches('1'));
            let dir = gateway.dir().join("behind");
            std::fs::create_dir_all(&dir).expect("a host's directory");
            let namespace = &gateway.namespace;
            host::shell(&format!(
                "ip netns add {name}
                 ip link add wire netns {name} type veth peer name behind netns {namespace}
                 ip -n {name} link set lo up; ip -n {name} link set wire up
                 ip -n {name} addr add {address}/24 dev wire
                 ip -n {namespace} link set behind up
                 ip -n {namespace} addr add {own}/24 dev behind
                 ip -n {name} route add default via {own}"
            ));
            Host::new(name, address.parse().expect("an address"), None, dir)
        };
        Gateways {
            left: behind(&network.left, INNER[0]),
            right: behind(&network.right, INNER[1]),
            network,
        }
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        for host in [&self.left, &self.right] {
            let _ = host::try_shell(&format!("ip netns del {}", host.namespace));
        }
    }
}

/// Keeps what a host sends on its cable. What it receives would be shown twice: as it came, and out of its tunnel.
#[derive(Debug)]
pub struct Tap {
    tcpdump: Process,
    file: PathBuf,
}

impl Tap {
    /// Listens on `wire` of a host.
    pub fn on(host: &Host) -> Tap {
        let file = host.dir().join("sent.pcap");
        let mut command = host.command("tcpdump");
        command.args(["-i", "wire", "-Q", "out", "-nn", "-U", "-Z", "root", "-w"]);
        let tcpdump = Process::start(command.arg(&file));
        let begun = tcpdump.wait_for(0, "listening on", PATIENCE);
        assert!(
            begun.is_some(),
            "tcpdump does not listen: {:#?}",
            tcpdump.lines()
        );
        Tap { tcpdump, file }
    }

    /// The packets that a filter takes, one a line.
    pub fn lines(&self, filter: &str) -> Vec<String> {
        let mut command = Command::new("tcpdump");
        let read = command
            .args(["-nn", "-t", "-r"])
            .arg(&self.file)
            .arg(filter);
        let text = run_command(read).stdout_text();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the filter took so many. Returns how many.
    pub fn at_least(&self, count: usize, filter: &str) -> usize {
        let found = wait::until(PATIENCE, || {
            let found = self.lines(filter).len();
            (found >= count).then_some(found)
        });
        found.unwrap_or_else(|| {
            panic!(
                "less than {count} of {filter:?}: {:#?}, {:#?}",
                self.lines(""),
                self.tcpdump.lines()
            )
        })
    }
}
