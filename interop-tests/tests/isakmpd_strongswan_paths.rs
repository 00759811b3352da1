//! strongSwan as the peer: IPv6, masquerading routers, a peer that dies or comes back, both asking at the same
//! instant, mode-config.

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup, flags};
use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::strongswan::StrongSwan;
use interop_tests::isakmpd::with_strongswan::{
    Peer, ask, both_roles, hosts, hosts_behind_router, initiates, installed, ready,
    ready_for_aggressive_mode, responds,
};

fn peer() -> Peer {
    Peer::psk("aes128-sha256-modp2048", "aes128-sha256")
}

fn ipv6() -> (Tunnel, Peer) {
    let tunnel = Tunnel::between("fd77::1", "fd77::2", "fd01::", "fd02::");
    let peer = Peer {
        addresses: ["fd77::2", "fd77::1"].map(str::to_owned),
        nets: ["fd02::/64", "fd01::/64"],
        ..peer()
    };
    (tunnel, peer)
}

#[test]
fn over_ipv6() {
    let Some(subject) = ready("over_ipv6") else {
        return;
    };
    let (tunnel, peer) = ipv6();
    both_roles(subject, &tunnel, &peer);
}

#[test]
fn over_ipv6_in_aggressive_mode() {
    let Some(subject) = ready_for_aggressive_mode("over_ipv6_in_aggressive_mode") else {
        return;
    };
    let (mut tunnel, peer) = ipv6();
    tunnel.exchange = "AGGRESSIVE";
    both_roles(subject, &tunnel, &peer.aggressive());
}

/// isakmpd behind the router: it alone can ask.
fn through_router(subject: &Implementation, mut tunnel: Tunnel, mut peer: Peer) {
    let network = hosts_behind_router();
    tunnel.local = "10.78.0.2".to_owned();
    tunnel.remote = "10.79.0.2".to_owned();
    // What strongSwan sees is the router; the name is what is inside.
    peer.addresses = ["10.79.0.2", "10.79.0.1"].map(str::to_owned);
    peer.remote += "\nid = 10.78.0.2";
    peer.connection += "encap = no\n";
    peer.secrets = "ike-x { secret = mekmitasdigoat }".to_owned();
    let (ours, swan) = initiates(&network, subject, &Setup::new(tunnel.text()), &peer);
    let nat_t = |sa: &Vec<String>| flags(sa) & 0x100 != 0;
    assert!(ours.sas().iter().any(nat_t), "{:#?}", ours.sas());
    let sas = swan.sas(&network.right);
    assert!(sas.contains("TUNNEL-in-UDP"), "{sas}");
    let masqueraded = sas.lines().any(|line| {
        let port = line
            .split_once("10.79.0.1[")
            .and_then(|(_, rest)| rest.split_once(']'));
        port.and_then(|(port, _)| port.parse::<u16>().ok())
            .is_some_and(|port| (20000..=30000).contains(&port))
    });
    assert!(masqueraded, "{sas}");
    // Now that the router knows the way, the peer can ask too.
    let mark = ours.mark();
    let rekeyed = swan.swanctl(&network.right, &["--rekey", "--child", "net"]);
    assert_eq!(rekeyed.rc, 0, "{}", rekeyed.stderr_text());
    ours.wait_for_since(mark, "isakmpd: quick mode done (as responder): ");
}

#[test]
fn through_a_router() {
    let Some(subject) = ready("through_a_router") else {
        return;
    };
    through_router(subject, Tunnel::left(), peer());
}

#[test]
fn through_a_router_in_aggressive_mode() {
    let Some(subject) = ready_for_aggressive_mode("through_a_router_in_aggressive_mode") else {
        return;
    };
    let mut tunnel = Tunnel::left();
    tunnel.exchange = "AGGRESSIVE";
    through_router(subject, tunnel, peer().aggressive());
}

#[test]
fn dead_peer_is_found() {
    let Some(subject) = ready("dead_peer_is_found") else {
        return;
    };
    let network = hosts();
    let setup = Setup::new(Tunnel::left().general("DPD-check-interval= 3").text());
    let (ours, mut swan) = initiates(&network, subject, &setup, &peer());
    // It is asked, answers and lives.
    swan.wait_for("N(DPD)");
    assert_eq!((ours.count(1), ours.count(2)), (1, 1));
    swan.kill();
    ours.eventually("the dead peer's SAs are gone", || ours.sas().is_empty());
}

#[test]
fn dead_isakmpd_is_found() {
    let Some(subject) = ready("dead_isakmpd_is_found") else {
        return;
    };
    let network = hosts();
    let mut peer = peer();
    peer.connection = "dpd_delay = 1\ndpd_timeout = 5\n".to_owned();
    peer.child = "dpd_action = clear\n";
    let setup = Setup::new(Tunnel::left().text());
    let (mut ours, swan) = responds(&network, subject, &setup, &peer);
    swan.wait_for("N(DPD_ACK)");
    ours.kill();
    ours.eventually("strongSwan gives up", || {
        swan.sas(&network.right).trim().is_empty()
    });
}

#[test]
fn restart_of_strongswan() {
    let Some(subject) = ready("restart_of_strongswan") else {
        return;
    };
    let network = hosts();
    let setup = Setup::new(Tunnel::left().text());
    let mut peer = peer();
    // What it takes to send INITIAL-CONTACT: it knows of nothing when it comes back.
    peer.connection = "unique = replace\n".to_owned();
    peer.remote += "\nid = 10.77.0.1";
    let (ours, mut swan) = initiates(&network, subject, &setup, &peer);
    swan.kill();
    drop(swan);
    let again = peer.start(&network);
    let mark = ours.mark();
    ask(&network, &again);
    ours.wait_for_since(mark, "isakmpd: quick mode done (as responder): ");
    ours.eventually("the old SAs are gone", || {
        (ours.count(1), ours.count(2)) == (1, 1)
    });
    installed(&network, &again);
}

#[test]
fn restart_of_isakmpd() {
    let Some(subject) = ready("restart_of_isakmpd") else {
        return;
    };
    let network = hosts();
    let setup = Setup::new(Tunnel::left().text());
    let (mut ours, swan) = initiates(&network, subject, &setup, &peer());
    ours.kill();
    drop(ours);
    let again = Daemon::start(&network.left, subject, &setup);
    again.command("c conn-x");
    again.wait_for("isakmpd: quick mode done: ");
    swan.wait_for("destroying duplicate IKE_SA for peer '10.77.0.1', received INITIAL_CONTACT");
    again.eventually("strongSwan has the new SAs only", || {
        let sas = swan.sas(&network.right);
        (
            sas.matches("ESTABLISHED").count(),
            sas.matches("INSTALLED").count(),
        ) == (1, 1)
    });
    assert_eq!((again.count(1), again.count(2)), (1, 1));
}

/// The SPIs of ready phase 2 SAs, outgoing first, as strongSwan writes them.
fn spis(ours: &Daemon) -> Vec<[String; 2]> {
    let value = |sa: &Vec<String>, start: &str| {
        let line = sa.iter().find_map(|l| l.strip_prefix(start));
        line.map(|v| v.trim().to_owned())
    };
    let sas = ours.sas();
    let pairs = sas
        .iter()
        .map(|sa| Some([value(sa, "SPI 0: ")?, value(sa, "SPI 1: ")?]));
    pairs.flatten().collect()
}

fn shared(network: &Network, ours: &Daemon, swan: &StrongSwan) {
    ours.eventually("a tunnel that both have", || {
        let sas = swan.sas(&network.right);
        spis(ours)
            .iter()
            .any(|[out, inn]| sas.contains(out.as_str()) && sas.contains(inn.as_str()))
    });
}

#[test]
fn both_ask_at_the_same_instant() {
    let Some(subject) = ready("both_ask_at_the_same_instant") else {
        return;
    };
    for _ in 0..3 {
        let network = hosts();
        let swan = peer().start(&network);
        let ours = Daemon::start(&network.left, subject, &Setup::new(Tunnel::left().text()));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                swan.swanctl(
                    &network.right,
                    &["--initiate", "--child", "net", "--timeout", "20"],
                )
            });
            ours.send("c conn-x");
            let done = asking.join().expect("swanctl");
            assert_eq!(done.rc, 0, "{}{}", done.stdout_text(), done.stderr_text());
        });
        shared(&network, &ours, &swan);
    }
}

#[test]
fn mode_config_pulled_by_strongswan() {
    let Some(subject) = ready("mode_config_pulled_by_strongswan") else {
        return;
    };
    let mut tunnel = Tunnel::left();
    tunnel.more = "[ipv4/10.77.0.2]\nAddress= 192.168.102.77\nNetmask= 255.255.255.0\nNameserver= 192.168.1.10\n"
        .to_owned();
    let mut peer = peer();
    peer.connection = "vips = 0.0.0.0\n".to_owned();
    let (_ours, swan) = responds(&hosts(), subject, &Setup::new(tunnel.text()), &peer);
    swan.wait_for("installing new virtual IP 192.168.102.77");
}

#[test]
fn mode_config_pushed_to_strongswan() {
    let Some(subject) = ready("mode_config_pushed_to_strongswan") else {
        return;
    };
    let mut tunnel = Tunnel::left();
    tunnel.peer.push("Flags= ikecfg".to_owned());
    tunnel.more = "[ipv4/10.77.0.2]\nAddress= 192.168.102.77\nNetmask= 255.255.255.0\n".to_owned();
    let mut peer = peer();
    peer.connection = "vips = 0.0.0.0\npull = no\n".to_owned();
    let (_ours, swan) = initiates(&hosts(), subject, &Setup::new(tunnel.text()), &peer);
    swan.wait_for("installing new virtual IP 192.168.102.77");
}

#[test]
fn mode_config_asked_of_strongswan() {
    let Some(subject) = ready("mode_config_asked_of_strongswan") else {
        return;
    };
    let network = hosts();
    let mut tunnel = Tunnel::left();
    tunnel.peer.push("Flags= ikecfg".to_owned());
    tunnel.more =
        "[ipv4/10.77.0.2]\nMode= REQUEST\nAttributes= Address,Netmask,Nameserver\n".to_owned();
    let mut peer = peer();
    peer.connection = "pools = left\n".to_owned();
    peer.more = "pools { left { addrs = 192.168.101.50/32\ndns = 192.168.1.10\n} }";
    let (ours, swan) = initiates(&network, subject, &Setup::new(tunnel.text()), &peer);
    swan.wait_for("assigning virtual IP 192.168.101.50");
    assert_eq!(ours.count(2), 1);
}
