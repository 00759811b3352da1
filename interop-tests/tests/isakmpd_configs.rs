//! The sample configurations that are shipped come up, as two sites would run them.

use std::path::PathBuf;

use interop_tests::certificates::{Recipe, rsa_key};
use interop_tests::isakmpd::PATIENCE;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::{Implementation, subject};
use interop_tests::isakmpd::libreswan::{Libreswan, libreswan};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::strongswan::{StrongSwan, strongswan};
use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::wait;

fn sample(path: &str) -> String {
    let file: PathBuf = workspace()
        .join("isakmpd-compat/isakmpd/samples")
        .join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A cable with the samples' addresses: the left host is 192.0.2.1, the right one 192.0.2.2 and the sites.
fn network() -> Network {
    let network = Network::cable();
    network
        .left
        .script("ip addr add 192.0.2.1/24 dev wire; ip addr add 2001:db8::1/64 dev wire nodad");
    network
        .right
        .script("ip addr add 192.0.2.2/24 dev wire; ip addr add 2001:db8::2/64 dev wire nodad");
    network
}

/// Starts both; the one whose file has `Connections` last. All of its tunnels come up on both sides.
fn come_up(network: &Network, subject: &Implementation, left: &Setup, right: &Setup) {
    let begins = |setup: &Setup| {
        let text = setup.configuration.as_deref().unwrap_or_default();
        text.lines()
            .find_map(|l| l.strip_prefix("Connections="))
            .map(|list| list.split(',').count())
    };
    let (first, second, begun) = match (begins(left), begins(right)) {
        (Some(count), None) => {
            let right = Daemon::start(&network.right, subject, right);
            (right, Daemon::start(&network.left, subject, left), count)
        }
        (None, Some(count)) => {
            let left = Daemon::start(&network.left, subject, left);
            (left, Daemon::start(&network.right, subject, right), count)
        }
        other => panic!("one side has to begin: {other:?}"),
    };
    let (waits, asks) = (first, second);
    asks.eventually("all of its tunnels", || {
        let done = asks.texts();
        done.iter()
            .filter(|t| t.contains("quick mode done: "))
            .count()
            == begun
    });
    waits.eventually("all of its tunnels", || waits.count(2) == begun);
    assert_eq!(asks.count(2), begun);
    assert_eq!((asks.count(1), waits.count(1)), (1, 1));
}

fn pair(test: &str, dir: &str, [left, right]: [&str; 2]) {
    let Some(subject) = subject(test) else { return };
    let setup = |file: &str| Setup::new(sample(&format!("{dir}/{file}.conf")));
    come_up(&network(), subject, &setup(left), &setup(right));
}

macro_rules! samples {
    ($($test:ident: $dir:literal $left:literal $right:literal;)*) => {$(
        #[test]
        fn $test() {
            pair(stringify!($test), $dir, [$left, $right]);
        }
    )*};
}

samples! {
    aggressive_fqdn: "aggressive-fqdn" "server" "client";
    ah: "ah" "east" "west";
    dpd: "dpd" "east" "west";
    east_west: "east-west" "east" "west";
    elliptic_curves: "elliptic-curves" "east" "west";
    ipv6: "ipv6" "east" "west";
    mode_config: "mode-config" "server" "client";
    mode_config_asking: "mode-config" "server" "asking-client";
    several_suites: "several-suites" "east" "west";
    transport_mode: "transport-mode" "east" "west";
    two_networks: "two-networks" "east" "west";
    year_2004: "year-2004" "east" "west";
}

/// As [`pair`], unless the original is the subject, which cannot for a reason of its own.
fn pair_of_ours(test: &str, dir: &str, why_not: &str) {
    let Some(subject) = subject(test) else { return };
    if subject.original {
        eprintln!("{test}: an expected difference: {why_not}");
        return;
    }
    pair(test, dir, ["east", "west"]);
}

#[test]
fn one_service() {
    let why = "in its jail the original knows protocols and services by number only";
    pair_of_ours("one_service", "one-service", why);
}

#[test]
fn own_sections() {
    let why = "the original does not take its own answer to this offer (a lifetime in kilobytes above 65535)";
    pair_of_ours("own_sections", "own-sections", why);
}

#[test]
fn road_warrior() {
    let Some(subject) = subject("road_warrior") else {
        return;
    };
    let keys = [rsa_key(), rsa_key()];
    let setup = |file: &str, own: usize, id: &str, other: &str| {
        let private = keys[own]
            .rsa()
            .expect("RSA")
            .private_key_to_pem()
            .expect("PEM");
        let public = keys[1 - own].public_key_to_pem().expect("PEM");
        Setup::new(sample(&format!("road-warrior/{file}.conf")))
            .file(&format!("private/{id}"), private, 0o600)
            .file(&format!("pubkeys/{other}"), public, 0o644)
    };
    let gateway = setup(
        "gateway",
        0,
        "gateway.example.net",
        "ufqdn/alice@example.net",
    );
    let laptop = setup("laptop", 1, "alice@example.net", "fqdn/gateway.example.net");
    come_up(&network(), subject, &gateway, &laptop);
}

#[test]
fn esp_and_ah() {
    pair_of_ours(
        "esp_and_ah",
        "esp-and-ah",
        "bundles are broken in the original",
    );
}

#[test]
fn rsa_x509() {
    let Some(subject) = subject("rsa_x509") else {
        return;
    };
    let authority = Recipe::new("Example").key(&rsa_key()).authority().make();
    let certificates = ["192.0.2.1", "192.0.2.2"].map(|address| {
        let recipe = Recipe::new(address).ip(address).key(&rsa_key());
        recipe.eku(None).issued_by(&authority).make()
    });
    let setup = |file: &str, own: usize| {
        let mut setup = Setup::new(sample(&format!("rsa-x509/{file}.conf")))
            .file("ca/ca.crt", authority.cert_pem(), 0o644)
            .file("certs/own.crt", certificates[own].cert_pem(), 0o644)
            .file(
                "private/local.key",
                certificates[own]
                    .key
                    .rsa()
                    .expect("RSA")
                    .private_key_to_pem()
                    .expect("PEM"),
                0o600,
            );
        if subject.original {
            // It never asks for a certificate, so that it must have the other's.
            setup = setup.file("certs/other.crt", certificates[1 - own].cert_pem(), 0o644);
        }
        setup
    };
    come_up(&network(), subject, &setup("east", 0), &setup("west", 1));
}

#[test]
fn rsa_raw_keys() {
    let Some(subject) = subject("rsa_raw_keys") else {
        return;
    };
    let keys = [rsa_key(), rsa_key()];
    let setup = |file: &str, own: usize, other: &str| {
        let private = keys[own]
            .rsa()
            .expect("RSA")
            .private_key_to_pem()
            .expect("PEM");
        let public = keys[1 - own].public_key_to_pem().expect("PEM");
        Setup::new(sample(&format!("rsa-raw-keys/{file}.conf")))
            .file("private/local.key", private, 0o600)
            .file(&format!("pubkeys/fqdn/{other}.example.net"), public, 0o644)
    };
    come_up(
        &network(),
        subject,
        &setup("east", 0, "west"),
        &setup("west", 1, "east"),
    );
}

#[test]
fn nat_traversal() {
    let Some(subject) = subject("nat_traversal") else {
        return;
    };
    let network = Network::masqueraded();
    network.right.script("ip addr add 192.0.2.2/32 dev wire");
    network.router("ip route add 192.0.2.2 via 10.79.0.2");
    let inside = Setup::new(sample("nat-traversal/inside.conf"));
    let outside = Setup::new(sample("nat-traversal/outside.conf"));
    come_up(&network, subject, &inside, &outside);
}

#[test]
fn on_demand_waits() {
    let Some(subject) = subject("on_demand_waits") else {
        return;
    };
    let network = network();
    let mut daemon = Daemon::start(
        &network.left,
        subject,
        &Setup::new(sample("on-demand/east.conf")),
    );
    assert_eq!(
        daemon.result("C get [peer-192.0.2.2]:Address"),
        "192.0.2.2\n"
    );
    assert!(daemon.sas().is_empty());
    assert_eq!(daemon.quit(), 0);
}

/// The fifty sites around the hub, as one daemon with fifty addresses.
#[test]
fn hub_with_fifty_sites() {
    let Some(subject) = subject("hub_with_fifty_sites") else {
        return;
    };
    if subject.original {
        eprintln!(
            "hub_with_fifty_sites: both ends begin at once, and the original loses some of fifty"
        );
        return;
    }
    let network = network();
    let mut addresses = Vec::new();
    let mut names = Vec::new();
    let mut sections = String::new();
    let one = sample("hub/site-1.conf");
    let (_, ends) = one
        .split_once("[main-mode]")
        .expect("the configurations of site 1");
    for site in 1..=50 {
        let address = format!("192.0.2.{}", 100 + site);
        network
            .right
            .script(&format!("ip addr add {address}/24 dev wire"));
        addresses.push(address.clone());
        names.push(format!("site-{site}"));
        sections += &format!(
            "[hub-{site}]\nPhase=1\nAddress=192.0.2.1\nLocal-address={address}\nConfiguration=main-mode\n\
             Authentication=a-long-and-random-secret-{site}\n\
             [site-{site}]\nPhase=2\nISAKMP-peer=hub-{site}\nConfiguration=quick-mode\nLocal-ID=net-{site}\nRemote-ID=net-hub\n\
             [net-{site}]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.{}.0.0\nNetmask=255.255.0.0\n",
            100 + site
        );
    }
    let sites = format!(
        "[General]\nListen-on={}\n[Phase 2]\nConnections={}\n{sections}[net-hub]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.1.0.0\n\
         Netmask=255.255.0.0\n[main-mode]{ends}",
        addresses.join(","),
        names.join(",")
    );
    // All sites have the hub's address as their peer's, so that here they are the ones who begin.
    let hub = sample("hub/hub.conf").replace("\nConnections=", "\nPassive-connections=");
    let hub = Daemon::start(&network.left, subject, &Setup::new(hub));
    let sites = Daemon::start(&network.right, subject, &Setup::new(sites));
    sites.eventually("fifty tunnels", || sites.count(2) == 50);
    hub.eventually("fifty tunnels", || hub.count(2) == 50);
    assert_eq!(hub.count(1), 50);
}

#[test]
fn to_strongswan() {
    let test = "to_strongswan";
    let Some(subject) = subject(test) else { return };
    if strongswan().is_none() {
        skip(
            test,
            "no strongSwan in target/peers (interop-tests/peers.sh)",
        );
        return;
    }
    let network = network();
    network.right.script("ip addr add 10.2.0.1/16 dev lo");
    // No proposals: those it has by itself.
    let conf = "connections { x {\n version = 1\n local_addrs = 192.0.2.2\n remote_addrs = 192.0.2.1\n encap = yes\n
        local { auth = psk }\n remote { auth = psk }\n
        children { net {\n local_ts = 10.2.0.0/16\n remote_ts = 10.1.0.0/16\n } }\n } }\n
        secrets { ike-x { secret = a-long-and-random-secret-1 } }\n";
    let conf = conf.replace(
        "local { auth = psk }\n remote { auth = psk }",
        "local {\n auth = psk\n }\n remote {\n auth = psk\n }",
    );
    let conf = conf.replace(
        "ike-x { secret = a-long-and-random-secret-1 }",
        "ike-x {\n secret = a-long-and-random-secret-1\n }",
    );
    let swan = StrongSwan::start(&network.right, &conf, &[], "");
    let ours = Daemon::start(
        &network.left,
        subject,
        &Setup::new(sample("strongswan/east.conf")),
    );
    ours.wait_for("isakmpd: quick mode done: ");
    let installed = wait::until(PATIENCE, || {
        swan.sas(&network.right).contains("INSTALLED").then_some(())
    });
    assert!(installed.is_some(), "{}", swan.sas(&network.right));
}

#[test]
fn to_libreswan() {
    let test = "to_libreswan";
    let Some(subject) = subject(test) else { return };
    if libreswan().is_none() {
        skip(
            test,
            "no libreswan in target/peers (interop-tests/peers.sh)",
        );
        return;
    }
    let network = network();
    let conf = "conn x\n\tikev2=no\n\tauthby=secret\n\tleft=192.0.2.2\n\tright=192.0.2.1\n\tleftsubnet=10.2.0.0/16\n\
                \trightsubnet=10.1.0.0/16\n\tauto=ignore\n";
    let secrets = ": PSK \"a-long-and-random-secret-1\"\n";
    let swan = Libreswan::start(&network.right, conf, secrets, &["x"]);
    let ours = Daemon::start(
        &network.left,
        subject,
        &Setup::new(sample("libreswan/east.conf")),
    );
    ours.wait_for("isakmpd: phase 1 done: ");
    swan.wait_for("IKE SA established");
}
