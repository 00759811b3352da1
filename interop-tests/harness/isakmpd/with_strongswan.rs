//! An isakmpd on the left host and strongSwan on the right one, each as the side that asks.

use crate::isakmpd::PATIENCE;
use crate::isakmpd::configuration::Tunnel;
use crate::isakmpd::daemon::{Daemon, Setup};
use crate::isakmpd::implementation::{Implementation, subject};
use crate::isakmpd::network::Network;
use crate::isakmpd::strongswan::{Esp, StrongSwan, strongswan};
use crate::lab::host::Host;
use crate::skip::skip;
use crate::wait;

/// The subject, if strongSwan is there too.
pub fn ready(test: &str) -> Option<&'static Implementation> {
    let subject = subject(test)?;
    if strongswan().is_none() {
        skip(
            test,
            "no strongSwan in target/peers (interop-tests/peers.sh)",
        );
        return None;
    }
    Some(subject)
}

/// The subject, unless it is the original: in Aggressive Mode that does nothing of NAT-T, which strongSwan's ESP in
/// user space takes.
pub fn ready_for_aggressive_mode(test: &str) -> Option<&'static Implementation> {
    let subject = ready(test)?;
    if subject.original {
        eprintln!("{test}: a wanted difference: the original's Aggressive Mode is without NAT-T");
        return None;
    }
    Some(subject)
}

/// What a test asks of strongSwan: its connection `x` with the child `net`.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Phase 1.
    pub proposals: &'static str,
    /// Phase 2.
    pub esp: &'static str,
    /// Lines of the connection.
    pub connection: String,
    /// Lines of `local`.
    pub local: String,
    /// Lines of `remote`.
    pub remote: String,
    /// Addresses of strongSwan and of isakmpd; nothing: any.
    pub addresses: [String; 2],
    /// Networks behind strongSwan and behind isakmpd; nothing: the addresses themselves.
    pub nets: [&'static str; 2],
    /// Lines of the child.
    pub child: &'static str,
    /// The section `secrets`.
    pub secrets: String,
    /// More sections.
    pub more: &'static str,
    /// Lines of strongswan.conf's section `charon`.
    pub charon: &'static str,
    /// Files below /etc/swanctl.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Who does its ESP.
    pub does_esp: Esp,
}

impl Peer {
    /// The other side of [`Tunnel::left`].
    pub fn psk(proposals: &'static str, esp: &'static str) -> Peer {
        Peer {
            proposals,
            esp,
            connection: String::new(),
            local: "auth = psk".to_owned(),
            remote: "auth = psk".to_owned(),
            addresses: ["10.77.0.2", "10.77.0.1"].map(str::to_owned),
            nets: ["192.168.102.0/24", "192.168.101.0/24"],
            child: "",
            secrets: "ike-x { secret = mekmitasdigoat }".to_owned(),
            more: "",
            charon: "",
            files: Vec::new(),
            does_esp: Esp::InUserSpace,
        }
    }

    /// With the kernel's ESP, which needs no encapsulation.
    #[must_use]
    pub fn in_kernel(mut self) -> Peer {
        self.does_esp = Esp::InKernel;
        self.connection += "encap = no\n";
        self
    }

    /// In Aggressive Mode, which strongSwan answers with a pre-shared key only when told twice.
    #[must_use]
    pub fn aggressive(mut self) -> Peer {
        self.connection += "aggressive = yes\n";
        self.charon = "i_dont_care_about_security_and_use_aggressive_mode_psk = yes";
        self
    }

    /// swanctl.conf.
    pub fn conf(&self) -> String {
        let lines = [
            ("local_addrs", self.addresses[0].as_str()),
            ("remote_addrs", &self.addresses[1]),
            ("proposals", self.proposals),
        ];
        let child_lines = [
            ("local_ts", self.nets[0]),
            ("remote_ts", self.nets[1]),
            ("esp_proposals", self.esp),
        ];
        let text = |lines: &[(&str, &str)]| -> String {
            let given = lines.iter().filter(|(_, value)| !value.is_empty());
            given
                .map(|(key, value)| format!("{key} = {value}\n"))
                .collect()
        };
        format!(
            "connections {{ x {{\nversion = 1\nencap = yes\n{}{}\nlocal {{\n{}\n}}\nremote {{\n{}\n}}\n\
             children {{ net {{\n{}{}\n}} }}\n}} }}\nsecrets {{ {} }}\n{}\n",
            text(&lines),
            self.connection,
            self.local,
            self.remote,
            text(&child_lines),
            self.child,
            self.secrets,
            self.more
        )
    }

    /// Starts it on the right host.
    pub fn start(&self, network: &Network) -> StrongSwan {
        self.start_on(&network.right)
    }

    /// Starts it on a host.
    pub fn start_on(&self, host: &Host) -> StrongSwan {
        let files: Vec<(&str, &[u8])> =
            self.files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
        StrongSwan::start_with(host, &self.conf(), &files, self.charon, self.does_esp)
    }
}

/// Two hosts at one cable, and the address that strongSwan wants inside its selector.
pub fn hosts() -> Network {
    inside(Network::cable())
}

/// The left host behind a masquerading router.
pub fn hosts_behind_router() -> Network {
    inside(Network::masqueraded())
}

fn inside(network: Network) -> Network {
    network
        .right
        .script("ip addr add 192.168.102.1/24 dev lo; ip addr add fd02::1/64 dev lo nodad");
    network
}

/// isakmpd asks.
pub fn initiates(
    network: &Network,
    subject: &Implementation,
    setup: &Setup,
    peer: &Peer,
) -> (Daemon, StrongSwan) {
    let swan = peer.start(network);
    let ours = Daemon::start(&network.left, subject, setup);
    ours.command("c conn-x");
    ours.wait_for("isakmpd: quick mode done: ");
    installed(network, &swan);
    assert_eq!((ours.count(1), ours.count(2)), (1, 1));
    (ours, swan)
}

/// strongSwan asks.
pub fn responds(
    network: &Network,
    subject: &Implementation,
    setup: &Setup,
    peer: &Peer,
) -> (Daemon, StrongSwan) {
    let swan = peer.start(network);
    let ours = Daemon::start(&network.left, subject, setup);
    ask(network, &swan);
    ours.wait_for("isakmpd: quick mode done (as responder): ");
    installed(network, &swan);
    assert_eq!((ours.count(1), ours.count(2)), (1, 1));
    (ours, swan)
}

/// strongSwan brings its child up.
pub fn ask(network: &Network, swan: &StrongSwan) {
    let done = swan.swanctl(
        &network.right,
        &["--initiate", "--child", "net", "--timeout", "20"],
    );
    assert_eq!(
        done.rc,
        0,
        "{}{}{:#?}",
        done.stdout_text(),
        done.stderr_text(),
        swan.lines()
    );
}

/// Waits until strongSwan has SAs of both phases.
pub fn installed(network: &Network, swan: &StrongSwan) {
    let sas = wait::until(PATIENCE, || {
        let sas = swan.sas(&network.right);
        (sas.contains("ESTABLISHED") && sas.contains("INSTALLED")).then_some(sas)
    });
    assert!(
        sas.is_some(),
        "strongSwan has no SA: {}{:#?}",
        swan.sas(&network.right),
        swan.lines()
    );
}

/// Each asks once, on hosts of their own.
pub fn both_roles(subject: &Implementation, tunnel: &Tunnel, peer: &Peer) {
    let setup = Setup::new(tunnel.text());
    initiates(&hosts(), subject, &setup, peer);
    responds(&hosts(), subject, &setup, peer);
}
