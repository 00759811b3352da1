//! A laboratory for tcpcrypt: two network namespaces joined by a cable (a veth pair), a
//! tcpcryptd of either implementation in each, and what a tap on the cable sees.
//!
//! Every laboratory has names of its own, so that tests run side by side with the same
//! addresses, and takes everything away when it is dropped, also by a panic. Nothing waits
//! without a limit.

pub mod applications;
pub mod capture;
pub mod case;
pub mod cgroup;
pub mod control;
pub mod daemon;
pub mod host;
pub mod implementation;
pub mod later;
pub mod redirect;
pub mod routers;
pub mod rule_script;
pub mod rules_gone;
pub mod scenarios;
pub mod segment;
pub mod wire_checks;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::capture::Capture;
use crate::lab::host::Host;

/// The port that the rule sets of most tests send through the queue.
pub const PORT: u16 = 8080;

/// What the devices do for the kernel ("tcpcrypt-datapath spec 0").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offload {
    /// Every packet on the cable is one segment.
    #[default]
    Off,
    /// Segmented in software, regrouped by the receiver.
    Nic,
    /// Super-packets cross the cable whole.
    On,
}

impl Offload {
    /// What ethtool is told of segmenting and of regrouping.
    fn switches(self) -> (&'static str, &'static str) {
        match self {
            Offload::Off => ("off", "off"),
            Offload::Nic => ("off", "on"),
            Offload::On => ("on", "off"),
        }
    }
}

/// How a laboratory differs from the usual one.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Segmentation and regrouping; off, because the original cannot take it.
    pub offload: Offload,
    /// Congestion control of both hosts.
    pub congestion_control: &'static str,
    /// `net.ipv4.tcp_ecn=1`: SYNs go out with ECE and CWR.
    pub ecn: bool,
    /// Hosts have IPv6 as well, tests use it, and rules hold for both.
    pub ipv6: bool,
    /// Between the hosts are two routers, and between those a link that carries packets of so many octets at
    /// most. The hosts' own cables carry 1500.
    pub narrow: Option<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            offload: Offload::Off,
            congestion_control: "cubic",
            ecn: false,
            ipv6: false,
            narrow: None,
        }
    }
}

/// Two hosts and a cable.
#[derive(Debug)]
pub struct Lab {
    /// 10.77.0.1 and fd77::1, which connects.
    pub client: Host,
    /// 10.77.0.2 and fd77::2, which listens.
    pub server: Host,
    /// Namespaces of the routers in between, if there are any.
    routers: Vec<String>,
    dir: tempfile::TempDir,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);
const PREFIX: &str = "kxlab-";

/// Why no laboratory can be had here, if so.
pub fn missing() -> Option<String> {
    if !crate::undisturbed::is_root() {
        return Some("needs root for network namespaces".to_owned());
    }
    for program in ["ip", "iptables-legacy", "ethtool"] {
        if !crate::peers::on_path(program) {
            return Some(format!("no program {program}"));
        }
    }
    None
}

impl Lab {
    /// Builds one; [`missing`] tells beforehand whether it can be.
    pub fn new(settings: Settings) -> Lab {
        take_away_leftovers(PREFIX);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("{PREFIX}{}-{number}-{side}", std::process::id());
        let dir = tempfile::Builder::new().prefix("kxlab").tempdir();
        let dir = dir.expect("a directory for the laboratory");
        open_to_all(dir.path());
        let host = |side: &str, last: u8| {
            let own = dir.path().join(side);
            std::fs::create_dir_all(own.join("jail")).expect("the jail's directory");
            open_to_all(&own);
            open_to_all(&own.join("jail"));
            let address6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last.into());
            Host::new(
                name(side),
                Ipv4Addr::new(10, 77, 0, last),
                settings.ipv6.then_some(address6),
                own,
            )
        };
        let lab = Lab {
            client: host("c", 1),
            server: host("s", 2),
            routers: match settings.narrow {
                Some(_) => vec![name("n"), name("f")],
                None => Vec::new(),
            },
            dir,
        };
        match settings.narrow {
            Some(mtu) => lab.route(settings, mtu),
            None => lab.wire(settings),
        }
        lab
    }

    fn wire(&self, settings: Settings) {
        let (c, s) = (&self.client.namespace, &self.server.namespace);
        host::shell(&format!(
            "ip netns add {c}; ip netns add {s};
             ip link add wire netns {c} type veth peer name wire netns {s}"
        ));
        let (segment, regroup) = settings.offload.switches();
        for host in [&self.client, &self.server] {
            // The congestion control goes by the route, since the setting itself takes only
            // what every user may choose. 3,000 connections one after another must not run
            // out of ports.
            host.script(&format!(
                "ip addr add {address}/24 dev wire; ip link set wire up; ip link set lo up;
                 ip route change 10.77.0.0/24 dev wire src {address} proto kernel scope link \
                     congctl {};
                 ethtool -K wire tso {segment} gso {segment} gro {regroup};
                 cd /proc/sys/net/ipv4; echo {} >tcp_ecn;
                 echo '10000 60999' >ip_local_port_range; echo 1 >tcp_tw_reuse",
                settings.congestion_control,
                u8::from(settings.ecn),
                address = host.address,
            ));
        }
        for host in [&self.client, &self.server] {
            // Link-local addresses end like the others, so that tests know them.
            if let Some(address) = host.address6 {
                let last = address.segments()[7];
                host.script(&format!(
                    "ip addr add {address}/64 dev wire nodad;
                     ip addr add fe80::77:{last}/64 dev wire nodad"
                ));
            }
        }
        if self.server.address6.is_some() {
            self.client.script("ping -6 -c1 -W5 fd77::2 || true");
        }
        // IPv6 neighbour discovery and the like are not wanted in captures; ARP is done once.
        self.client.script("ping -c1 -W5 10.77.0.2 || true");
    }

    /// The laboratory's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Both hosts.
    pub fn hosts(&self) -> [&Host; 2] {
        [&self.client, &self.server]
    }

    /// The rules of divert mode ("tcpcrypt spec 2.5", end) on both hosts, for these ports in
    /// multiport syntax.
    pub fn divert(&self, ports: &str) {
        for host in self.hosts() {
            host.divert(ports);
        }
    }

    /// The rules of redirect mode as the original has them, on both hosts.
    pub fn redirect_as_original(&self, ports: &str) {
        for host in self.hosts() {
            host.redirect_as_original(ports, false);
        }
    }

    /// Our rules of redirect mode on both hosts.
    pub fn redirect(&self, ports: &str) {
        for host in self.hosts() {
            host.redirect(ports);
        }
    }

    /// Loses packets of TCP at random on arrival, on both hosts, in front of every queue.
    pub fn lose(&self, probability: f64) {
        for host in self.hosts() {
            host.lose_incoming(probability);
        }
    }

    /// A tap at the client's end of the cable.
    pub fn tap(&self) -> Capture {
        Capture::start(&self.client)
    }

    /// The server's address with a port.
    pub fn server_address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.server.ip(), port)
    }

    /// Opens a connection from the client to a listener of the server.
    pub fn connect_to(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, TcpStream)> {
        let port = listener.local_addr()?.port();
        let client = self.client.connect(self.server_address(port))?;
        let server = applications::accept(listener, Duration::from_secs(10))?;
        Ok((client, server))
    }

    /// Opens a connection from the client to a new listener of the server on `port`.
    pub fn connection(&self, port: u16) -> std::io::Result<(TcpStream, TcpStream)> {
        self.connect_to(&self.server.listen(port))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let hosts = self.hosts().map(|host| &host.namespace);
        for name in hosts.into_iter().chain(&self.routers) {
            let _ = host::try_shell(&format!("ip netns del {name}"));
        }
    }
}

/// Directories of `tempfile` are for their owner only; the daemon becomes somebody else.
pub(crate) fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, mode).expect("opening the laboratory's directory");
}

/// Namespaces of test processes that were killed.
pub(crate) fn take_away_leftovers(prefix: &str) {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(prefix).and_then(|n| n.split('-').next());
        if owner.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            let _ = host::try_shell(&format!("ip netns del {name}"));
        }
    }
}
