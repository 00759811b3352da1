//! Two isakmpd that talk to their kernels by PF_KEY ("isakmpd 6.2"), in a machine whose kernel has it: as with XFRM the
//! kernel has what `S` says, packets go through it, and nothing is left.

use std::time::Duration;

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::gateways::{Gateways, INNER, INNER6, NETS, NETS6, Tap, with_networks};
use interop_tests::isakmpd::ipsec::{agree, nothing_left, policies, states};
use interop_tests::isakmpd::network::Network;
use interop_tests::isakmpd::with_kernel::{
    Pair, QUICK, between_hosts, load_modules, ours, ping, protected, setup, through_tunnel,
    tunnels, tunnels6,
};
use interop_tests::lab::host::Host;
use interop_tests::program::run;
use interop_tests::{machine, scenarios};

/// The check values that the kernel cuts as peers do.
const SUITE: &str = "QM-ESP-AES-SHA-SUITE";

#[test]
fn isakmpd_by_pf_key() {
    machine::test(
        "isakmpd_by_pf_key",
        Duration::from_secs(1200),
        2,
        load_algorithms,
        scenarios![
            : rekeying_loses_no_packet;
            slow: seconds_run_out;
            : tunnel_of_networks;
            slow: tunnel_of_ctr_and_sha2_512;
            slow: authentication_header_in_transport_mode;
            slow: tunnel_over_ipv6;
            slow: through_a_router;
            : on_demand;
            : killed_and_cleaned_up;
            : what_pf_key_has_not_is_said;
        ],
    );
}

/// A machine whose kernel has PF_KEY alone.
#[test]
fn isakmpd_without_xfrm() {
    machine::test(
        "isakmpd_without_xfrm",
        Duration::from_secs(600),
        1,
        forbid_xfrm,
        scenarios![: falls_back_to_pf_key;],
    );
}

/// The kernel looks for all algorithms that it might have when somebody registers, the first time for long.
fn load_algorithms() {
    load_modules();
    kx_sys::pf_key::Notices::open().expect("a kernel with PF_KEY");
}

fn by_pf_key(setup: Setup) -> Setup {
    setup.variable("KX_ISAKMPD_KERNEL", "pfkey")
}

fn start_in(network: Network, [left, right]: &[Tunnel; 2]) -> Pair {
    let right = Daemon::start(&network.right, ours(), &by_pf_key(setup(right)));
    let left = Daemon::start(&network.left, ours(), &by_pf_key(setup(left)));
    Pair {
        left,
        right,
        network,
    }
}

fn start(tunnels: &[Tunnel; 2]) -> Pair {
    start_in(with_networks(Network::cable()), tunnels)
}

/// What is found of ours has the small numbers that policies of PF_KEY can have.
fn is_of_pf_key(host: &Host) {
    let text = host.output("ip xfrm policy") + &host.output("ip xfrm state");
    let reqids: Vec<u32> = text
        .split("reqid ")
        .skip(1)
        .filter_map(|rest| {
            rest.split_whitespace()
                .next()?
                .split('(')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert!(!reqids.is_empty(), "{text}");
    assert!(
        reqids.iter().all(|one| (0x2000..0x4000).contains(one)),
        "{text}"
    );
}

fn tunnel(suite: &str) {
    let pair = start(&tunnels(suite));
    pair.up();
    is_of_pf_key(&pair.network.left);
    pair.flows(NETS, &["esp tunnel"]);
    through_tunnel(&pair.network);
    for daemon in [&pair.left, &pair.right] {
        daemon.command("t conn-x");
        nothing_left(&pair.network.left);
        nothing_left(&pair.network.right);
        pair.up();
    }
    through_tunnel(&pair.network);
    pair.end();
}

fn tunnel_of_networks() {
    tunnel(SUITE);
}

fn tunnel_of_ctr_and_sha2_512() {
    let own = "[own-suite]\nProtocols= own-protocol\n\
               [own-protocol]\nPROTOCOL_ID= IPSEC_ESP\nTransforms= own-esp\n\
               [own-esp]\nTRANSFORM_ID= AES_CTR\nKEY_LENGTH= 128\nAUTHENTICATION_ALGORITHM= HMAC_SHA2_512\n\
               ENCAPSULATION_MODE= TUNNEL\nLife= LIFE_QUICK_MODE\n";
    let pair = start(&tunnels("own-suite").map(|mut tunnel| {
        tunnel.more = own.to_owned();
        tunnel
    }));
    pair.up();
    through_tunnel(&pair.network);
    pair.end();
}

fn authentication_header_in_transport_mode() {
    let pair = start(&between_hosts("QM-AH-TRP-SHA-SUITE"));
    pair.up();
    pair.flows(["10.77.0.1/32", "10.77.0.2/32"], &["ah transport"]);
    protected(&pair.network, "10.77.0.1", "10.77.0.2", "ah");
    pair.end();
}

fn tunnel_over_ipv6() {
    let pair = start(&tunnels6(SUITE));
    pair.up();
    pair.flows(NETS6, &["esp tunnel"]);
    protected(&pair.network, INNER6[0], INNER6[1], "esp");
    pair.end();
}

fn through_a_router() {
    let [mut left, mut right] = tunnels(SUITE);
    (left.local, left.remote) = ("10.78.0.2".to_owned(), "10.79.0.2".to_owned());
    (right.local, right.remote) = ("10.79.0.2".to_owned(), "10.79.0.1".to_owned());
    let pair = start_in(with_networks(Network::masqueraded()), &[left, right]);
    let both = pair.up();
    assert!(
        both.iter()
            .flatten()
            .all(|state| state.encapsulation.is_some()),
        "{both:?}"
    );
    let esp = "udp port 4500 and udp[4:2] > 20 and udp[8:4] != 0";
    protected(&pair.network, INNER[0], INNER[1], esp);
    pair.end();
}

/// With tunnels that live for so many seconds.
fn living(seconds: u32) -> [Tunnel; 2] {
    tunnels("own-suite").map(|mut tunnel| {
        tunnel.more = format!(
            "[own-suite]\nProtocols= own-protocol\n\
             [own-protocol]\nPROTOCOL_ID= IPSEC_ESP\nTransforms= own-esp\n\
             [own-esp]\nTRANSFORM_ID= AES\nKEY_LENGTH= 128\nAUTHENTICATION_ALGORITHM= HMAC_SHA\n\
             ENCAPSULATION_MODE= TUNNEL\nLife= own-life\n\
             [own-life]\nLIFE_TYPE= SECONDS\nLIFE_DURATION= {seconds},5:86400\n"
        );
        tunnel
    })
}

fn rekeying_loses_no_packet() {
    let gateways = Gateways::new(Network::cable());
    let [left, right] = living(12);
    let right = Daemon::start(&gateways.network.right, ours(), &by_pf_key(setup(&right)));
    let left = Daemon::start(&gateways.network.left, ours(), &by_pf_key(setup(&left)));
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    agree(&right, &gateways.network.right);
    let sent = gateways
        .left
        .output("ping -n -i 0.05 -w 25 -q 192.168.102.2");
    assert!(
        left.count_since(0, "quick mode done: ") >= 3,
        "{:#?}",
        left.lines()
    );
    assert!(
        sent.contains(" 0% packet loss"),
        "{sent}{:#?}",
        left.lines()
    );
    left.eventually("the old SAs are gone", || {
        states(&gateways.network.left).len() <= 4
    });
}

fn seconds_run_out() {
    let pair = start(&living(15));
    pair.left.command("c conn-x");
    pair.right
        .wait_for("isakmpd: quick mode done (as responder): ");
    // Nobody can renew it now.
    pair.network.cut();
    assert!(!states(&pair.network.right).is_empty());
    nothing_left(&pair.network.right);
    assert_eq!(pair.right.count(2), 0);
}

/// Somebody else's policies ask for SAs.
fn on_demand() {
    let tunnels = tunnels(SUITE);
    let network = with_networks(Network::cable());
    let right = Daemon::start(&network.right, ours(), &by_pf_key(setup(&tunnels[1])));
    let mut left = by_pf_key(setup(&tunnels[0]));
    left.configuration = Some(format!(
        "[General]\nListen-on= 10.77.0.1\nAcquire-Only=\nDefault-phase-2-suites= {SUITE}\n\
         [Phase 1]\n10.77.0.2= peer-10.77.0.2\n\
         [peer-10.77.0.2]\nPhase= 1\nAddress= 10.77.0.2\nConfiguration= mm-x\nAuthentication= mekmitasdigoat\n\
         [mm-x]\nDOI= IPSEC\nEXCHANGE_TYPE= ID_PROT\nTransforms= {QUICK}\n"
    ));
    let left = Daemon::start(&network.left, ours(), &left);
    let [ours, theirs] = NETS;
    let policy = |direction: &str, from: (&str, &str), to: (&str, &str)| {
        format!(
            "ip xfrm policy add src {} dst {} dir {direction} \
             tmpl src {} dst {} proto esp mode tunnel reqid 77\n",
            from.0, to.0, from.1, to.1
        )
    };
    let (own, peer) = ((ours, "10.77.0.1"), (theirs, "10.77.0.2"));
    let script = policy("out", own, peer) + &policy("in", peer, own) + &policy("fwd", peer, own);
    network.left.script(&script);
    let before = policies(&network.left);
    left.eventually("packets are answered", || {
        let line = format!("ping -n -c 1 -W 1 -I {} {}", INNER[0], INNER[1]);
        network.left.output(&line).contains(" 0% packet loss")
    });
    agree(&left, &network.left);
    through_tunnel(&network);
    assert_eq!(left.count(2), 1, "{}", left.result("S"));
    let mut left = left;
    assert_eq!(left.quit(), 0, "{:#?}", left.lines());
    assert_eq!(policies(&network.left), before);
    assert!(states(&network.left).is_empty());
    right.eventually("the right one has no SA", || right.count(2) == 0);
    nothing_left(&network.right);
}

fn killed_and_cleaned_up() {
    let tunnels = tunnels(SUITE);
    let mut pair = start(&tunnels);
    pair.up();
    // Somebody else's, which must stay.
    pair.network.right.script(
        "ip xfrm state add src 10.77.0.9 dst 10.77.0.8 proto esp spi 0x1234 mode tunnel \
         enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff
         ip xfrm policy add src 10.9.0.0/24 dst 10.8.0.0/24 dir out \
         tmpl src 10.77.0.9 dst 10.77.0.8 proto esp mode tunnel",
    );
    pair.right.kill();
    // The kernel goes on with them.
    ping(&pair.network.left, INNER[0], INNER[1]);
    pair.right = Daemon::start(&pair.network.right, ours(), &by_pf_key(setup(&tunnels[1])));
    let left_over = |what: &str| {
        let (sas, flows) = (states(&pair.network.right), policies(&pair.network.right));
        assert_eq!(
            (sas.len(), flows.len()),
            (1, 1),
            "{what}: {sas:#?}{flows:#?}"
        );
    };
    left_over("after the start");
    let mut right = pair.right;
    assert_eq!(right.quit(), 0);
    left_over("after the end");
}

fn what_pf_key_has_not_is_said() {
    let pair = start(&tunnels("QM-ESP-AES-SHA2-256-SUITE").map(|tunnel| {
        let soon = tunnel.general("Exchange-max-time= 8");
        soon.general("Retransmits= 1")
    }));
    pair.left.command("c conn-x");
    pair.left.wait_for("PF_KEY has no hmac(sha256) of 128 bits");
    pair.left.command("t conn-x");
    nothing_left(&pair.network.left);
    nothing_left(&pair.network.right);
    assert_eq!((pair.left.count(2), pair.right.count(2)), (0, 0));
}

/// The kernel's module of NETLINK_XFRM cannot be loaded; what PF_KEY and ESP need, can.
fn forbid_xfrm() {
    std::fs::write(
        "/etc/modprobe.d/no-xfrm.conf",
        "install xfrm_user /bin/false\n",
    )
    .expect("a setting of modprobe");
    for module in ["af_key", "esp4", "authenc", "cbc", "sha1_generic"] {
        assert_eq!(run("modprobe", &[module]).rc, 0, "{module}");
    }
    kx_sys::pf_key::Notices::open().expect("a kernel with PF_KEY");
}

fn falls_back_to_pf_key() {
    let network = with_networks(Network::cable());
    let [left, right] = between_hosts(SUITE.replace("ESP-", "ESP-TRP-").as_str());
    let right = Daemon::start(&network.right, ours(), &setup(&right));
    let left = Daemon::start(&network.left, ours(), &setup(&left));
    left.wait_for("app_init: XFRM: ");
    left.command("c conn-x");
    left.wait_for("isakmpd: quick mode done: ");
    right.wait_for("isakmpd: quick mode done (as responder): ");
    protected(&network, "10.77.0.1", "10.77.0.2", "esp");
    // The policies are for all that the hosts say to each other, but not for what the daemons say.
    let tap = Tap::on(&network.left);
    left.command("t conn-x");
    right.eventually("the other end is told in clear", || right.count(2) == 0);
    tap.at_least(1, "udp port 500");
    // And there are no policies any more.
    ping(&network.left, "10.77.0.1", "10.77.0.2");
    tap.at_least(3, "icmp");
}
