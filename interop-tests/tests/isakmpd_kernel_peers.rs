//! isakmpd with strongSwan and with libreswan in a machine whose kernel has IPsec, in both roles: what either puts
//! into its kernel carries the other's packets, and goes away again.

use std::time::Duration;

use interop_tests::isakmpd::PATIENCE;
use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::gateways::{ESP_IN_UDP, INNER, INNER6, NETS, NETS6, with_networks};
use interop_tests::isakmpd::ipsec::{agree, flow, nothing_left, policies, states};
use interop_tests::isakmpd::libreswan::{self, Libreswan, SECRETS, conf};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::strongswan::{StrongSwan, strongswan};
use interop_tests::isakmpd::with_kernel::{
    QUICK, between_hosts, load_modules, ours, protected, setup, through_tunnel, tunnels, tunnels6,
};
use interop_tests::isakmpd::with_strongswan::{Peer, ask, initiates, installed, responds};
use interop_tests::skip::skip;
use interop_tests::{machine, scenarios, wait};

#[test]
fn isakmpd_with_peers_in_a_kernel() {
    let test = "isakmpd_with_peers_in_a_kernel";
    if strongswan().is_none() || libreswan::libreswan().is_none() {
        return skip(test, "no peers in target/peers (interop-tests/peers.sh)");
    }
    machine::test(
        test,
        Duration::from_secs(1200),
        3,
        load_modules,
        scenarios![
            slow: two_strongswans;
            : swan_aes_sha1;
            : swan_gcm;
            slow: swan_triple_des_sha256;
            slow: swan_aes256_sha512;
            : swan_transport;
            : swan_ah;
            : swan_ipv6;
            : swan_through_a_router;
            slow: swan_asks_on_demand;
            : swan_renews;
            : swan_restarts;
            slow: libreswan_aes_sha256;
            : libreswan_gcm;
            slow: libreswan_triple_des_sha1;
            : libreswan_transport;
            slow: libreswan_ah;
            : libreswan_renews;
            slow: libreswan_through_a_router;
        ],
    );
}

fn swan_peer() -> Peer {
    Peer::psk("aes128-sha256-ecp256", "aes128-sha256").in_kernel()
}

/// The laboratory itself.
fn two_strongswans() {
    let network = with_networks(Network::cable());
    let right = swan_peer();
    let mut left = right.clone();
    left.addresses.reverse();
    left.nets.reverse();
    let right = right.start(&network);
    let left = left.start_on(&network.left);
    ask(&network, &right);
    installed(&network, &right);
    through_tunnel(&network);
    drop(left);
}

/// What passes between the sides, and how.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    /// What policies say.
    nets: [&'static str; 2],
    /// Addresses within.
    ends: [&'static str; 2],
    /// How.
    template: &'static str,
    /// What it is on the wire.
    filter: &'static str,
}

const TUNNEL: Traffic = Traffic {
    nets: NETS,
    ends: INNER,
    template: "esp tunnel",
    filter: "esp",
};
const HOSTS: Traffic = Traffic {
    nets: ["10.77.0.1/32", "10.77.0.2/32"],
    ends: ["10.77.0.1", "10.77.0.2"],
    template: "esp transport",
    filter: "esp",
};

/// The kernel of the left host has what `S` says, and it carries packets.
fn carried(network: &Network, ours: &Daemon, traffic: Traffic) {
    agree(ours, &network.left);
    let [own, other] = traffic.nets;
    let wanted = flow(own, other, &[traffic.template]);
    assert_eq!(policies(&network.left), wanted);
    protected(network, traffic.ends[0], traffic.ends[1], traffic.filter);
}

/// The peer's kernel has no SA any more.
fn peer_has_none(network: &Network, lines: &dyn Fn() -> Vec<String>) {
    let none = wait::until(PATIENCE, || states(&network.right).is_empty().then_some(()));
    assert!(
        none.is_some(),
        "{:#?}{:#?}",
        states(&network.right),
        lines()
    );
}

/// isakmpd asks and says goodbye; strongSwan asks and says goodbye.
fn with_swan(tunnel: &Tunnel, peer: &Peer, traffic: Traffic) {
    let network = with_networks(Network::cable());
    let (mut left, swan) = initiates(&network, ours(), &setup(tunnel), peer);
    carried(&network, &left, traffic);
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    nothing_left(&network.left);
    peer_has_none(&network, &|| swan.lines());
    drop((left, swan, network));
    let network = with_networks(Network::cable());
    let (left, swan) = responds(&network, ours(), &setup(tunnel), peer);
    carried(&network, &left, traffic);
    let done = swan.swanctl(&network.right, &["--terminate", "--ike", "x"]);
    assert_eq!(done.rc, 0, "{}{}", done.stdout_text(), done.stderr_text());
    nothing_left(&network.left);
    assert_eq!(left.count(1) + left.count(2), 0, "{}", left.result("S"));
}

fn swan_suite(suite: &str, esp: &'static str) {
    let [tunnel, _] = tunnels(suite);
    let peer = Peer::psk("aes128-sha256-ecp256", esp).in_kernel();
    with_swan(&tunnel, &peer, TUNNEL);
}

fn swan_aes_sha1() {
    swan_suite("QM-ESP-AES-SHA-SUITE", "aes128-sha1");
}

fn swan_gcm() {
    swan_suite("QM-ESP-AESGCM-256-SUITE", "aes256gcm16");
}

fn swan_triple_des_sha256() {
    swan_suite("QM-ESP-3DES-SHA2-256-SUITE", "3des-sha256");
}

fn swan_aes256_sha512() {
    swan_suite(
        "QM-ESP-AES-256-SHA2-512-PFS-GRP19-SUITE",
        "aes256-sha512-ecp256",
    );
}

fn swan_transport() {
    let [tunnel, _] = between_hosts("QM-ESP-TRP-AES-SHA2-256-SUITE");
    let mut peer = swan_peer();
    (peer.nets, peer.child) = (["", ""], "mode = transport\n");
    with_swan(&tunnel, &peer, HOSTS);
}

fn swan_ah() {
    let [tunnel, _] = tunnels("QM-AH-SHA2-256-SUITE");
    let mut peer = swan_peer();
    (peer.esp, peer.child) = ("", "ah_proposals = sha256\n");
    let traffic = Traffic {
        template: "ah tunnel",
        filter: "ah",
        ..TUNNEL
    };
    with_swan(&tunnel, &peer, traffic);
}

fn swan_ipv6() {
    let [tunnel, _] = tunnels6("QM-ESP-AES-SHA2-256-SUITE");
    let mut peer = swan_peer();
    peer.addresses = ["fd77::2", "fd77::1"].map(str::to_owned);
    peer.nets = [NETS6[1], NETS6[0]];
    let traffic = Traffic {
        nets: NETS6,
        ends: INNER6,
        ..TUNNEL
    };
    with_swan(&tunnel, &peer, traffic);
}

fn swan_through_a_router() {
    let network = with_networks(Network::masqueraded());
    let [mut tunnel, _] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    (tunnel.local, tunnel.remote) = ("10.78.0.2".to_owned(), "10.79.0.2".to_owned());
    let mut peer = swan_peer();
    // What strongSwan sees is the router; the name is what is inside.
    peer.addresses = ["10.79.0.2", "10.79.0.1"].map(str::to_owned);
    peer.remote += "\nid = 10.78.0.2";
    let (mut left, swan) = initiates(&network, ours(), &setup(&tunnel), &peer);
    let traffic = Traffic {
        filter: ESP_IN_UDP,
        ..TUNNEL
    };
    carried(&network, &left, traffic);
    for state in states(&network.left) {
        assert_eq!(state.encapsulation, Some((4500, 4500)), "{state:?}");
    }
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    nothing_left(&network.left);
    peer_has_none(&network, &|| swan.lines());
}

/// strongSwan's policy meets a packet, and it asks.
fn swan_asks_on_demand() {
    let network = with_networks(Network::cable());
    let [tunnel, _] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let left = Daemon::start(&network.left, ours(), &setup(&tunnel));
    let mut peer = swan_peer();
    peer.child = "start_action = trap\n";
    let swan = peer.start(&network);
    left.eventually("packets are answered", || {
        let line = format!("ping -n -c 1 -W 1 -I {} {}", INNER[1], INNER[0]);
        network.right.output(&line).contains(" 0% packet loss")
    });
    carried(&network, &left, TUNNEL);
    drop(swan);
}

/// Waits until the left host's kernel has SAs beside these, in both directions.
fn renewed(network: &Network, left: &Daemon, before: &[u32]) {
    left.eventually("other SAs", || {
        let now = spis(network);
        now.iter().filter(|spi| !before.contains(spi)).count() >= 2
    });
}

fn spis(network: &Network) -> Vec<u32> {
    states(&network.left)
        .iter()
        .map(|state| state.sa.spi)
        .collect()
}

fn swan_renews() {
    let network = with_networks(Network::cable());
    let [tunnel, _] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let (left, swan) = responds(&network, ours(), &setup(&tunnel), &swan_peer());
    let before = spis(&network);
    let done = swan.swanctl(&network.right, &["--rekey", "--child", "net"]);
    assert_eq!(done.rc, 0, "{}{}", done.stdout_text(), done.stderr_text());
    renewed(&network, &left, &before);
    carried(&network, &left, TUNNEL);
}

fn swan_restarts() {
    let network = with_networks(Network::cable());
    let [tunnel, _] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let mut peer = swan_peer();
    // What it takes to send INITIAL-CONTACT: it knows of nothing when it comes back.
    peer.connection += "unique = replace\n";
    peer.remote += "\nid = 10.77.0.1";
    let (left, mut swan) = initiates(&network, ours(), &setup(&tunnel), &peer);
    let before = spis(&network);
    swan.kill();
    drop(swan);
    let swan: StrongSwan = peer.start(&network);
    ask(&network, &swan);
    renewed(&network, &left, &before);
    carried(&network, &left, TUNNEL);
}

/// libreswan on the right host.
fn pluto(network: &Network, esp: &str, more: &str) -> Libreswan {
    // Its own script would need more of its installation than there is.
    let more = format!("leftupdown=/bin/true\n{more}");
    let mut conf = conf("aes128-sha2_256-dh19", esp, &more);
    if more.contains("transport") {
        let line = |line: &&str| !line.contains("subnet=");
        conf = conf
            .lines()
            .filter(line)
            .map(|l| format!("{l}\n"))
            .collect();
    }
    Libreswan::start(&network.right, &conf, SECRETS, &["x"])
}

/// isakmpd asks and says goodbye; libreswan asks and says goodbye.
fn with_libreswan(tunnel: &Tunnel, esp: &str, more: &str, traffic: Traffic) {
    let network = with_networks(Network::cable());
    let swan = pluto(&network, esp, more);
    let mut left = Daemon::start(&network.left, ours(), &setup(tunnel));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    swan.wait_for("IPsec SA established");
    carried(&network, &left, traffic);
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    nothing_left(&network.left);
    peer_has_none(&network, &|| swan.lines());
    drop((left, swan, network));
    let network = with_networks(Network::cable());
    let (left, swan) = libreswan_asks(&network, tunnel, esp, more);
    carried(&network, &left, traffic);
    let done = swan.whack(&network.right, &["--terminate", "--name", "x"]);
    assert_eq!(done.rc, 0, "{}{}", done.stdout_text(), done.stderr_text());
    nothing_left(&network.left);
    assert_eq!(left.count(1) + left.count(2), 0, "{}", left.result("S"));
}

fn libreswan_asks(
    network: &Network,
    tunnel: &Tunnel,
    esp: &str,
    more: &str,
) -> (Daemon, Libreswan) {
    let swan = pluto(network, esp, more);
    let left = Daemon::start(&network.left, ours(), &setup(tunnel));
    let asked = swan.whack(
        &network.right,
        &["--asynchronous", "--initiate", "--name", "x"],
    );
    assert_eq!(asked.rc, 0, "{}", asked.stderr_text());
    left.wait_for("isakmpd: quick mode done (as responder): ");
    swan.wait_for("IPsec SA established");
    (left, swan)
}

fn libreswan_aes_sha256() {
    let tunnel = Tunnel::left().with(QUICK, "QM-ESP-AES-SHA2-256-SUITE");
    with_libreswan(&tunnel, "aes128-sha2_256", "pfs=no", TUNNEL);
}

fn libreswan_gcm() {
    let tunnel = Tunnel::left().with(QUICK, "QM-ESP-AESGCM-256-SUITE");
    with_libreswan(&tunnel, "aes_gcm256", "pfs=no", TUNNEL);
}

fn libreswan_triple_des_sha1() {
    let tunnel = Tunnel::left().with(QUICK, "QM-ESP-3DES-SHA-PFS-GRP19-SUITE");
    with_libreswan(&tunnel, "3des-sha1;dh19", "pfs=yes", TUNNEL);
}

fn libreswan_transport() {
    let [tunnel, _] = between_hosts("QM-ESP-TRP-AES-SHA2-256-SUITE");
    let more = "pfs=no\ntype=transport";
    with_libreswan(&tunnel, "aes128-sha2_256", more, HOSTS);
}

fn libreswan_ah() {
    let tunnel = Tunnel::left().with(QUICK, "QM-AH-SHA-SUITE");
    let traffic = Traffic {
        template: "ah tunnel",
        filter: "ah",
        ..TUNNEL
    };
    with_libreswan(&tunnel, "sha1", "pfs=no\nphase2=ah", traffic);
}

fn libreswan_through_a_router() {
    let network = with_networks(Network::masqueraded());
    let [mut tunnel, _] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    (tunnel.local, tunnel.remote) = ("10.78.0.2".to_owned(), "10.79.0.2".to_owned());
    let more = "leftupdown=/bin/true\npfs=no\nrightid=10.78.0.2";
    // What libreswan sees is the router; the name is what is inside.
    let conf = conf("aes128-sha2_256-dh19", "aes128-sha2_256", more)
        .replace("10.77.0.2", "10.79.0.2")
        .replace("10.77.0.1", "10.79.0.1");
    let swan = Libreswan::start(&network.right, &conf, SECRETS, &["x"]);
    let mut left = Daemon::start(&network.left, ours(), &setup(&tunnel));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    swan.wait_for("IPsec SA established");
    let traffic = Traffic {
        filter: ESP_IN_UDP,
        ..TUNNEL
    };
    carried(&network, &left, traffic);
    for state in states(&network.left) {
        assert_eq!(state.encapsulation, Some((4500, 4500)), "{state:?}");
    }
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    nothing_left(&network.left);
    peer_has_none(&network, &|| swan.lines());
}

fn libreswan_renews() {
    let network = with_networks(Network::cable());
    let tunnel = Tunnel::left().with(QUICK, "QM-ESP-AES-SHA2-256-SUITE");
    let more = "pfs=no\nsalifetime=40s\nrekeymargin=20s\nrekeyfuzz=0%";
    let (left, _swan) = libreswan_asks(&network, &tunnel, "aes128-sha2_256", more);
    renewed(&network, &left, &spis(&network));
    carried(&network, &left, TUNNEL);
}
