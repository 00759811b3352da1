//! tcpcryptd under the stock kernel of Debian, in a machine of its own: what our script makes of nftables, and
//! handshakes by the program there. Kernels without a queue for nftables have the other suites, with iptables.

use std::os::fd::AsFd;
use std::time::Duration;

use interop_tests::lab::applications::exchange;
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::redirect::{self, either_end_closes_first};
use interop_tests::lab::rule_script::{self, LEGACY, NFT};
use interop_tests::lab::rules_gone::{LEAK, assert_short_leak};
use interop_tests::lab::scenarios::{self, assert_secret, one_talk};
use interop_tests::lab::{PORT, Settings};
use interop_tests::program::{run, status_field};
use interop_tests::{machine, scenarios};
use kx_sys::sock_ops::{self, SockOps};

fn over_ipv6() -> Settings {
    Settings {
        ipv6: true,
        ..Settings::default()
    }
}

#[test]
fn tcpcrypt_under_a_stock_kernel() {
    machine::test(
        "tcpcrypt_under_a_stock_kernel",
        Duration::from_secs(900),
        2,
        mount_control_groups,
        scenarios![
            : nftables_divert;
            : nftables_plain_connections_leave;
            slow: nftables_plain_connections_leave_over_ipv6;
            : nftables_rules_flushed;
            slow: iptables_nft_rules_flushed;
            : nftables_redirect_by_the_queue;
            : nftables_redirect_by_the_program;
            : nftables_redirect_over_ipv6;
            : nftables_redirect_with_a_plain_peer;
        ],
    );
}

/// A machine that systemd did not start has none, and programs for sockets are attached to one.
fn mount_control_groups() {
    let done = run("mount", &["-t", "cgroup2", "none", "/sys/fs/cgroup"]);
    assert_eq!(done.rc, 0, "{}", done.stderr_text());
}

/// What `auto` chooses on such a kernel is nftables, and stopping takes all of it away.
fn nftables_divert() {
    case("nftables_divert", Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        for host in lab.hosts() {
            rule_script::run(host, "RULES=auto", "start");
            assert!(rule_script::left(host).contains("tcpcrypt"));
        }
        let tap = lab.tap();
        one_talk(lab, &client, &server);
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 1_000_000, 1_000_000).expect("the exchange");
        assert_secret(&tap);
        for host in lab.hosts() {
            rule_script::run(host, "RULES=auto", "stop");
            assert_eq!(rule_script::left(host), "");
        }
    });
}

fn nftables_plain_connections_leave() {
    let name = "nftables_plain_connections_leave";
    case(name, Settings::default(), |lab, pair| {
        scenarios::plain_connections_leave(lab, pair, NFT);
    });
}

fn nftables_plain_connections_leave_over_ipv6() {
    let name = "nftables_plain_connections_leave_over_ipv6";
    case(name, over_ipv6(), |lab, pair| {
        scenarios::plain_connections_leave(lab, pair, NFT);
    });
}

/// Somebody flushes the ruleset of the client's host, which has rules by these variables.
fn flushed(name: &str, variables: &str) {
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        rule_script::run(&lab.client, variables, "start");
        rule_script::run(&lab.server, LEGACY, "start");
        for _ in 0..2 {
            // The machine is slow, and does nine of these at a time.
            assert_short_leak(lab, &client, &server, "nft flush ruleset", 5 * LEAK);
            rule_script::run(&lab.client, variables, "start");
            one_talk(lab, &client, &server);
        }
    });
}

fn nftables_rules_flushed() {
    flushed("flushed_rules_of_nftables_end_encrypted_connections", NFT);
}

fn iptables_nft_rules_flushed() {
    let name = "flushed_rules_of_iptables_nft_end_encrypted_connections";
    flushed(name, "RULES=iptables IPV6=no IPTABLES=iptables-nft");
}

/// What a daemon has kept of its rights, as `/proc` shows it.
fn rights(by_program: bool) -> String {
    let net_admin = 1_u64 << 12;
    let all = match by_program && needs_bpf() {
        true => net_admin | 1 << 39,
        false => net_admin,
    };
    format!("{all:016x}")
}

/// Linux before 5.19 asks for `CAP_BPF` also where the program's maps are used.
fn needs_bpf() -> bool {
    let cgroup = sock_ops::own_cgroup().expect("a cgroup");
    let program = SockOps::attach(cgroup.as_fd()).expect("a program");
    !program.capabilities_to_work().expect("known").is_empty()
}

/// Two daemons as proxies with rules of nftables: secret, resumed, in both directions, ended by either end; and nothing
/// is left of the rules.
fn redirected(name: &str, settings: Settings, options: &[&str]) {
    case(name, settings, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, options);
        let server = Daemon::start(&lab.server, pair.server, options);
        let variables = format!("{NFT} MODE=redirect");
        for host in lab.hosts() {
            rule_script::run(host, &variables, "start");
        }
        for daemon in [&client, &server] {
            let by_program = daemon.log().contains("ENO options by an eBPF program");
            assert_eq!(by_program, !options.contains(&"--eno-by=queue"));
            let kept = status_field(daemon.pid(), "CapPrm");
            assert_eq!(kept, rights(by_program));
        }
        let tap = lab.tap();
        let first = redirect::one_talk(lab, &client, &server);
        let second = redirect::one_talk(lab, &client, &server);
        assert!(!redirect::is_resumed(&first) && redirect::is_resumed(&second));
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 2_000_000, 2_000_000).expect("the exchange");
        either_end_closes_first(lab);
        assert_secret(&tap);
        client.assert_well("the test");
        server.assert_well("the test");
        for host in lab.hosts() {
            rule_script::run(host, &variables, "stop");
            assert_eq!(rule_script::left(host), "");
        }
    });
}

fn nftables_redirect_by_the_queue() {
    let options = ["-v", "--eno=auto", "-e", "--eno-by=queue"];
    let name = "nftables_redirect_by_the_queue";
    redirected(name, Settings::default(), &options);
}

fn nftables_redirect_by_the_program() {
    let options = ["-v", "--eno=auto", "-e", "--eno-by=ebpf"];
    let name = "nftables_redirect_by_the_program";
    redirected(name, Settings::default(), &options);
}

fn nftables_redirect_over_ipv6() {
    let options = ["-v", "--eno=rfc", "-e"];
    redirected("nftables_redirect_over_ipv6", over_ipv6(), &options);
}

/// A peer without a daemon is reached in clear.
fn nftables_redirect_with_a_plain_peer() {
    let name = "nftables_redirect_with_a_plain_peer";
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &["-v", "-e"]);
        rule_script::run(&lab.client, &format!("{NFT} MODE=redirect"), "start");
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 500_000, 500_000).expect("the exchange");
        client.assert_well("the test");
    });
}
