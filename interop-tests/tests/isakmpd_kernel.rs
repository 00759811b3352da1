//! Two isakmpd in a machine whose kernel has IPsec ("isakmpd 6.2, isakmpd-xfrm"): after each step the kernel has what
//! `S` says and packets go through it; afterwards nothing is left.

use std::time::Duration;

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::Daemon;
use interop_tests::isakmpd::gateways::{
    ESP_IN_UDP, Gateways, INNER, INNER6, NETS, NETS6, Tap, with_networks,
};
use interop_tests::isakmpd::ipsec::{agree, nothing_left, policies, states};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::with_kernel::{
    Pair, between_hosts, load_modules, ours, ping, protected, setup, through_tunnel, tunnels,
    tunnels6,
};
use interop_tests::lab::host::Host;
use interop_tests::program::signal;
use interop_tests::{machine, scenarios};

#[test]
fn isakmpd_in_a_kernel() {
    machine::test(
        "isakmpd_in_a_kernel",
        Duration::from_secs(1200),
        3,
        load_modules,
        scenarios![
            : rekeying_loses_no_packet;
            : kilobytes_run_out;
            : seconds_run_out;
            : aes_sha1;
            : aes_256_sha2_512;
            : aes_gcm;
            : triple_des_sha2_256;
            slow: aes_sha2_384;
            slow: aes_ctr;
            slow: aes_gmac;
            slow: triple_des_md5;
            : authentication_header;
            : transport_mode;
            : transport_mode_of_ah;
            slow: ah_around_a_tunnel_of_esp;
            slow: compressed_in_a_tunnel_of_esp;
            : tunnel_over_ipv6;
            : through_a_router;
            : a_router_gives_another_port;
            slow: a_router_gets_another_address;
            : on_demand;
            : acquire_only;
            : torn_down_by_either_side;
            : restart_of_either_side;
            : killed_and_cleaned_up;
            : policy_refuses;
        ],
    );
}

/// A tunnel with a suite carries packets as ESP, and goes.
fn tunnel(suite: &str) {
    let pair = Pair::start(&tunnels(suite));
    pair.up();
    pair.flows(NETS, &["esp tunnel"]);
    through_tunnel(&pair.network);
    pair.end();
}

macro_rules! suites {
    ($($name:ident: $suite:literal;)*) => {$(
        fn $name() {
            tunnel($suite);
        }
    )*};
}

suites! {
    aes_sha1: "QM-ESP-AES-SHA-SUITE";
    aes_sha2_384: "QM-ESP-AES-192-SHA2-384-SUITE";
    aes_256_sha2_512: "QM-ESP-AES-256-SHA2-512-PFS-GRP19-SUITE";
    aes_gcm: "QM-ESP-AESGCM-256-SUITE";
    aes_ctr: "QM-ESP-AESCTR-SHA2-256-SUITE";
    aes_gmac: "QM-ESP-AESGMAC-SUITE";
    triple_des_sha2_256: "QM-ESP-3DES-SHA2-256-SUITE";
    triple_des_md5: "QM-ESP-3DES-MD5-SUITE";
}

fn authentication_header() {
    let pair = Pair::start(&tunnels("QM-AH-SHA2-256-SUITE"));
    pair.up();
    pair.flows(NETS, &["ah tunnel"]);
    protected(&pair.network, INNER[0], INNER[1], "ah");
    pair.end();
}

fn hosts(suite: &str, template: &str, filter: &str) {
    let pair = Pair::start(&between_hosts(suite));
    pair.up();
    pair.flows(["10.77.0.1/32", "10.77.0.2/32"], &[template]);
    protected(&pair.network, "10.77.0.1", "10.77.0.2", filter);
    pair.end();
}

fn transport_mode() {
    hosts("QM-ESP-TRP-AES-SHA2-256-SUITE", "esp transport", "esp");
}

fn transport_mode_of_ah() {
    hosts("QM-AH-TRP-SHA-SUITE", "ah transport", "ah");
}

/// A suite of these protocols and sections.
fn bundle(protocols: &str, sections: &str) -> [Tunnel; 2] {
    tunnels("own-suite").map(|mut tunnel| {
        tunnel.more = format!("[own-suite]\nProtocols= {protocols}\n{sections}");
        tunnel
    })
}

fn ah_around_a_tunnel_of_esp() {
    let pair = Pair::start(&bundle("QM-ESP-AES-SHA2-256, QM-AH-TRP-SHA2-256", ""));
    let both = pair.up();
    assert!(both.iter().all(|states| states.len() == 4), "{both:#?}");
    pair.flows(NETS, &["esp tunnel", "ah transport"]);
    // ESP is what AH says comes next.
    protected(&pair.network, INNER[0], INNER[1], "ah and ip[20] == 50");
    pair.end();
}

fn compressed_in_a_tunnel_of_esp() {
    let pair = Pair::start(&bundle(
        "own-compression, QM-ESP-TRP-AES-SHA2-256",
        "[own-compression]\nPROTOCOL_ID= IPCOMP\nTransforms= own-deflate\n\
         [own-deflate]\nTRANSFORM_ID= DEFLATE\nENCAPSULATION_MODE= TUNNEL\nLife= LIFE_QUICK_MODE\n",
    ));
    pair.left.command("c conn-x");
    pair.left.wait_for("isakmpd: quick mode done: ");
    pair.right
        .wait_for("isakmpd: quick mode done (as responder): ");
    // Short packets are not worth it and come without.
    protected(&pair.network, INNER[0], INNER[1], "esp");
    let tap = Tap::on(&pair.network.left);
    let line = format!(
        "ping -n -q -c 3 -i 0.2 -s 1000 -p 00 -I {} {}",
        INNER[0], INNER[1]
    );
    let sent = pair.network.left.output(&line);
    assert!(sent.contains(" 0% packet loss"), "{sent}");
    tap.at_least(3, "esp and less 300");
    pair.end();
}

fn tunnel_over_ipv6() {
    let pair = Pair::start(&tunnels6("QM-ESP-AES-SHA2-256-SUITE"));
    pair.up();
    pair.flows(NETS6, &["esp tunnel"]);
    protected(&pair.network, INNER6[0], INNER6[1], "esp");
    pair.end();
}

/// The left one behind a router.
fn behind_a_router() -> Pair {
    let [mut left, mut right] = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    (left.local, left.remote) = ("10.78.0.2".to_owned(), "10.79.0.2".to_owned());
    (right.local, right.remote) = ("10.79.0.2".to_owned(), "10.79.0.1".to_owned());
    Pair::start_in(with_networks(Network::masqueraded()), &[left, right])
}

fn through_a_router() {
    let pair = behind_a_router();
    let both = pair.up();
    let masqueraded = |port: u16| (20000..=30000).contains(&port);
    for state in &both[0] {
        assert_eq!(state.encapsulation, Some((4500, 4500)), "{state:?}");
    }
    for state in &both[1] {
        let (from, to) = state.encapsulation.expect("encapsulation");
        assert!(
            (from == 4500 && masqueraded(to)) || (masqueraded(from) && to == 4500),
            "{state:?}"
        );
    }
    pair.flows(NETS, &["esp tunnel"]);
    protected(&pair.network, INNER[0], INNER[1], ESP_IN_UDP);
    pair.end();
}

/// What the left host sends finds the right one, and what comes back finds it.
fn answered(pair: &Pair) {
    pair.left.eventually("packets are answered", || {
        let line = format!("ping -n -c 1 -W 1 -I {} {}", INNER[0], INNER[1]);
        pair.network.left.output(&line).contains(" 0% packet loss")
    });
}

fn a_router_gives_another_port() {
    let pair = behind_a_router();
    pair.up();
    ping(&pair.network.right, INNER[1], INNER[0]);
    let before = spis(&pair.network.right);
    pair.network.router_restarts("10.79.0.1/24");
    answered(&pair);
    ping(&pair.network.right, INNER[1], INNER[0]);
    // With the SAs that there were, in both directions with the new port.
    assert_eq!(spis(&pair.network.right), before);
    let moved = |port: u16| (40000..=50000).contains(&port);
    for state in states(&pair.network.right) {
        let (from, to) = state.encapsulation.expect("encapsulation");
        assert!(
            (from == 4500 && moved(to)) || (moved(from) && to == 4500),
            "{state:?}"
        );
    }
    // What IKE says finds it, too.
    pair.right.command("t conn-x");
    nothing_left(&pair.network.right);
    nothing_left(&pair.network.left);
    pair.up();
    pair.end();
}

/// SAs are known by their addresses: the right one negotiates new ones.
fn a_router_gets_another_address() {
    let pair = behind_a_router();
    pair.up();
    ping(&pair.network.right, INNER[1], INNER[0]);
    let before = spis(&pair.network.right);
    pair.network.router_restarts("10.79.0.3/24");
    answered(&pair);
    ping(&pair.network.right, INNER[1], INNER[0]);
    let new = states(&pair.network.right);
    let to = |end: &str| {
        let mut new = new.iter().filter(|state| !before.contains(&state.sa.spi));
        new.any(|state| state.sa.dst == end)
    };
    assert!(to("10.79.0.3") && to("10.79.0.2"), "{new:#?}");
    pair.end();
}

/// Lines of a configuration with which each tunnel lives for `life`, besides at most for a day.
fn living(tunnels: [Tunnel; 2], life: &str) -> [Tunnel; 2] {
    tunnels.map(|mut tunnel| {
        tunnel.suites = "own-suite".to_owned();
        tunnel.more = format!(
            "[own-suite]\nProtocols= own-protocol\n\
             [own-protocol]\nPROTOCOL_ID= IPSEC_ESP\nTransforms= own-esp\n\
             [own-esp]\nTRANSFORM_ID= AES\nKEY_LENGTH= 128\nAUTHENTICATION_ALGORITHM= HMAC_SHA2_256\n\
             ENCAPSULATION_MODE= TUNNEL\nLife= own-life\n\
             [own-life]\n{life}\n"
        );
        tunnel
    })
}

fn rekeying_loses_no_packet() {
    let gateways = Gateways::new(Network::cable());
    let seconds = "LIFE_TYPE= SECONDS\nLIFE_DURATION= 12,5:86400";
    let tunnels = living(tunnels(""), seconds);
    let left = Daemon::start(&gateways.network.left, ours(), &setup(&tunnels[0]));
    let right = Daemon::start(&gateways.network.right, ours(), &setup(&tunnels[1]));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    agree(&right, &gateways.network.right);
    let line = "ping -n -i 0.05 -w 25 -q 192.168.102.2";
    let sent = gateways.left.output(line);
    let times = left.count_since(0, "quick mode done: ");
    assert!(times >= 3, "negotiated {times} times: {:#?}", left.lines());
    assert!(
        sent.contains(" 0% packet loss"),
        "{sent}{:#?}",
        left.lines()
    );
    left.eventually("the old SAs are gone", || {
        states(&gateways.network.left).len() <= 4 && left.count(2) <= 2
    });
    drop((left, right));
}

fn spis(host: &Host) -> Vec<u32> {
    states(host).iter().map(|state| state.sa.spi).collect()
}

fn kilobytes_run_out() {
    let kilobytes = "LIFE_TYPE= KILOBYTES\nLIFE_DURATION= 200,100:100000";
    let mut pair = Pair::start(&living(tunnels(""), kilobytes));
    pair.up();
    let host = &pair.network.left;
    let first = spis(host);
    let ping = |options: &str| {
        let line = format!("ping -n -q -s 996 {options} -I {} {}", INNER[0], INNER[1]);
        host.output(&line)
    };
    // 150 KB at once, and then what is left until one tenth is.
    for options in ["-c 150 -i 0.02", "-c 60 -i 0.3"] {
        let sent = ping(options);
        assert!(sent.contains(" 0% packet loss"), "{sent}");
    }
    pair.left
        .eventually("there are new SAs before the old ones end", || {
            spis(host).iter().any(|spi| !first.contains(spi))
        });
    let second = spis(host);
    // Nobody is there to make newer ones.
    let worker = pair.left.worker().expect("two processes");
    signal(worker, "STOP");
    ping("-c 260 -i 0.01 -W 1");
    signal(worker, "CONT");
    pair.left
        .eventually("what is used up is gone, and there are new ones", || {
            let now = spis(host);
            now.iter().any(|spi| !second.contains(spi))
                && second
                    .iter()
                    .any(|spi| !first.contains(spi) && !now.contains(spi))
        });
    through_tunnel(&pair.network);
    let third = spis(host);
    assert_eq!(pair.left.quit(), 0, "{:#?}", pair.left.lines());
    nothing_left(host);
    // The last packet that the left one's kernel counted may not have reached the right one's.
    let right = &pair.network.right;
    pair.right
        .eventually("the right one was told of the last SAs", || {
            spis(right).iter().all(|spi| !third.contains(spi))
        });
    assert_eq!(pair.right.quit(), 0, "{:#?}", pair.right.lines());
    nothing_left(right);
}

fn seconds_run_out() {
    let seconds = "LIFE_TYPE= SECONDS\nLIFE_DURATION= 15,5:86400";
    let pair = Pair::start(&living(tunnels(""), seconds));
    pair.left.command("c conn-x");
    pair.right
        .wait_for("isakmpd: quick mode done (as responder): ");
    // Nobody can renew it now.
    pair.network.cut();
    assert!(!states(&pair.network.right).is_empty());
    nothing_left(&pair.network.right);
    assert_eq!(pair.right.count(2), 0);
}

/// Policies that somebody else gives the left host, or (`swapped`) the right one.
fn own_policies(pair: &Pair, swapped: bool) {
    let (host, nets, ends) = match swapped {
        false => (&pair.network.left, NETS, ["10.77.0.1", "10.77.0.2"]),
        true => (
            &pair.network.right,
            [NETS[1], NETS[0]],
            ["10.77.0.2", "10.77.0.1"],
        ),
    };
    let policy = |direction: &str, from: usize| {
        let to = 1 - from;
        format!(
            "ip xfrm policy add src {} dst {} dir {direction} tmpl src {} dst {} proto esp mode tunnel\n",
            nets[from], nets[to], ends[from], ends[to]
        )
    };
    host.script(&(policy("out", 0) + &policy("in", 1) + &policy("fwd", 1)));
}

fn on_demand() {
    let tunnels = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let network = with_networks(Network::cable());
    let right = Daemon::start(&network.right, ours(), &setup(&tunnels[1]));
    let mut left = setup(&tunnels[0]);
    left.configuration = Some(format!(
        "[General]\nListen-on= 10.77.0.1\nAcquire-Only=\nDefault-phase-2-suites= QM-ESP-AES-SHA2-256-SUITE\n\
         [Phase 1]\n10.77.0.2= peer-10.77.0.2\n\
         [peer-10.77.0.2]\nPhase= 1\nAddress= 10.77.0.2\nConfiguration= mm-x\nAuthentication= mekmitasdigoat\n\
         [mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= ID_PROT\nTransforms= {}\n",
        tunnels[0].transforms
    ));
    let left = Daemon::start(&network.left, ours(), &left);
    let pair = Pair {
        left,
        right,
        network,
    };
    own_policies(&pair, false);
    let policies_before = policies(&pair.network.left);
    assert_eq!(
        (pair.left.count(1), states(&pair.network.left).len()),
        (0, 0)
    );
    // The first packets find no SA; they are what asks for it.
    pair.left.eventually("packets are answered", || {
        let line = format!("ping -n -c 1 -W 1 -I {} {}", INNER[0], INNER[1]);
        pair.network.left.output(&line).contains(" 0% packet loss")
    });
    pair.both_agree();
    through_tunnel(&pair.network);
    assert_eq!(pair.left.count(2), 1, "{}", pair.left.result("S"));
    // What others made is left to them.
    let Pair {
        mut left,
        right,
        network,
    } = pair;
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    assert_eq!(policies(&network.left), policies_before);
    assert!(states(&network.left).is_empty());
    right.eventually("the right one has no SA", || right.count(2) == 0);
    nothing_left(&network.right);
}

fn acquire_only() {
    let tunnels = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let network = with_networks(Network::cable());
    let [left, right] = [&tunnels[0], &tunnels[1]].map(|tunnel| setup(tunnel).option("-a"));
    let right = Daemon::start(&network.right, ours(), &right);
    let left = Daemon::start(&network.left, ours(), &left);
    let pair = Pair {
        left,
        right,
        network,
    };
    pair.up();
    assert!(policies(&pair.network.left).is_empty() && policies(&pair.network.right).is_empty());
    own_policies(&pair, false);
    own_policies(&pair, true);
    through_tunnel(&pair.network);
    let before = policies(&pair.network.left);
    pair.left.command("t conn-x");
    pair.left.eventually("no SA in either kernel", || {
        states(&pair.network.left).is_empty() && states(&pair.network.right).is_empty()
    });
    assert_eq!(policies(&pair.network.left), before);
}

fn torn_down_by_either_side() {
    let pair = Pair::start(&tunnels("QM-ESP-AES-SHA2-256-SUITE"));
    for daemon in [&pair.left, &pair.right] {
        pair.up();
        daemon.command("t conn-x");
        nothing_left(&pair.network.left);
        nothing_left(&pair.network.right);
        assert_eq!((pair.left.count(2), pair.right.count(2)), (0, 0));
    }
    pair.up();
    through_tunnel(&pair.network);
    pair.end();
}

fn restart_of_either_side() {
    let tunnels = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let mut pair = Pair::start(&tunnels);
    pair.up();
    assert_eq!(pair.right.quit(), 0);
    nothing_left(&pair.network.right);
    nothing_left(&pair.network.left);
    pair.right = Daemon::start(&pair.network.right, ours(), &setup(&tunnels[1]));
    pair.up();
    through_tunnel(&pair.network);
    assert_eq!(pair.left.quit(), 0);
    nothing_left(&pair.network.left);
    nothing_left(&pair.network.right);
    pair.left = Daemon::start(&pair.network.left, ours(), &setup(&tunnels[0]));
    pair.up();
    through_tunnel(&pair.network);
    pair.end();
}

fn killed_and_cleaned_up() {
    let tunnels = tunnels("QM-ESP-AES-SHA2-256-SUITE");
    let mut pair = Pair::start(&tunnels);
    // Somebody else's, which must stay.
    let foreign = "ip xfrm state add src 10.77.0.9 dst 10.77.0.8 proto esp spi 0x1234 mode tunnel \
                   enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff
                   ip xfrm policy add src 10.9.0.0/24 dst 10.8.0.0/24 dir out \
                   tmpl src 10.77.0.9 dst 10.77.0.8 proto esp mode tunnel";
    pair.up();
    pair.network.right.script(foreign);
    let (sas, flows) = (states(&pair.network.right), policies(&pair.network.right));
    assert_eq!((sas.len(), flows.len()), (3, 4), "{sas:#?}{flows:#?}");
    pair.right.kill();
    // The kernel goes on with them.
    assert_eq!(states(&pair.network.right).len(), 3);
    ping(&pair.network.left, INNER[0], INNER[1]);
    pair.right = Daemon::start(&pair.network.right, ours(), &setup(&tunnels[1]));
    let left_over = |what: &str| {
        let (sas, flows) = (states(&pair.network.right), policies(&pair.network.right));
        assert_eq!(
            (sas.len(), flows.len()),
            (1, 1),
            "{what}: {sas:#?}{flows:#?}"
        );
        assert_eq!(sas[0].sa.spi, 0x1234);
    };
    left_over("after the start");
    // The left one does not know yet that it talks to another life.
    pair.left.command("t conn-x\nt main peer-x");
    nothing_left(&pair.network.left);
    pair.left.command("c conn-x");
    pair.right
        .wait_for("isakmpd: quick mode done (as responder): ");
    through_tunnel(&pair.network);
    assert_eq!(pair.right.quit(), 0);
    left_over("after the end");
    nothing_left(&pair.network.left);
}

fn policy_refuses() {
    let network = with_networks(Network::cable());
    let [left, right] = tunnels("QM-ESP-AES-SHA-SUITE").map(|tunnel| {
        setup(
            &tunnel
                .general("Exchange-max-time= 8")
                .general("Retransmits= 1"),
        )
        .option("-D9=20")
    });
    let right = right.policy(
        "Authorizer: \"POLICY\"\nComment: strong hashes only\nLicensees: \"passphrase:mekmitasdigoat\"\n\
         Conditions: esp_auth_alg == \"hmac-sha2-256\";\n",
    );
    let right = Daemon::start(&network.right, ours(), &right);
    let left = Daemon::start(&network.left, ours(), &left);
    left.command("c conn-x");
    right.wait_for("check_policy: negotiated SA failed policy check");
    right.wait_for("policy assertion 1 (strong hashes only): ");
    left.wait_for("isakmpd: phase 1 done: ");
    nothing_left(&network.right);
    left.command("t conn-x");
    nothing_left(&network.left);
    assert_eq!((left.count(2), right.count(2)), (0, 0));
}
