//! The launcher as it is shipped, live, in redirect mode: its rules go with it.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use interop_tests::lab::applications::{local, remote, talk};
use interop_tests::lab::case::case;
use interop_tests::lab::host::Host;
use interop_tests::lab::implementation::Implementation;
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, close_both};
use interop_tests::lab::{PORT, Settings};
use interop_tests::program::{Guarded, run_command, signal};
use interop_tests::subject::workspace;
use interop_tests::wait::{self, SOON};

/// What the launcher leaves in the packet filter and among the routes.
const TRACES: &str = "{ iptables-legacy-save; ip rule; ip route show table 65530; } 2>&1 | \
                      grep -c -e NFQUEUE -e REDIRECT -e 65530; \
                      cat /proc/sys/net/ipv4/tcp_fwmark_accept /proc/sys/net/ipv4/fwmark_reflect";

/// Runs the launcher on a host, which has its own /run and its own list of users for it.
fn launch(host: &Host, implementation: &Implementation) -> Child {
    let dir = host.dir().display();
    let script = workspace().join("libtcpcrypt-compat/tcpcryptd/scripts/launch_tcpcryptd.sh");
    let text = format!(
        "mount -t tmpfs tmpfs /run
         cp -a /etc {dir}/etc
         mount --bind {dir}/etc /etc
         echo y | exec {} >{dir}/launcher.log 2>&1",
        script.display()
    );
    let mut command = host.command("unshare");
    command.args(["--mount", "--", "bash", "-euc", &text]);
    command.env("OPTS", format!("-v -u {}", control(host).display()));
    command.env("ONLY_PORTS", PORT.to_string());
    command.env("TCPCRYPTD", &implementation.tcpcryptd);
    command.envs([("RULES", "iptables"), ("IPTABLES", "iptables-legacy")]);
    // Redirect mode is what it takes when nothing is said.
    for name in ["MODE", "OMIT_PORTS", "MARK", "PLAIN_MARK", "IPV6"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).spawn().expect("started")
}

fn control(host: &Host) -> std::path::PathBuf {
    host.dir().join("control")
}

fn log(host: &Host) -> String {
    std::fs::read_to_string(host.dir().join("launcher.log")).unwrap_or_default()
}

/// Without the launcher's shell in between: it is the one whose parent is the child.
fn launcher(host: &Host, child: &Child) -> u32 {
    let ours = format!("pgrep -P {} -f launch_tcpcryptd.sh", child.id());
    let text = host.output(&ours);
    text.trim().parse().unwrap_or_else(|_| child.id())
}

#[test]
fn redirect_the_launcher_runs_it() {
    let name = "redirect_the_launcher_runs_it";
    case(name, Settings::default(), |lab, pair| {
        assert!(Path::new("/usr/bin/unshare").exists(), "util-linux");
        let children = lab.hosts().map(|host| Guarded(launch(host, pair.client)));
        for host in lab.hosts() {
            let runs = wait::until(SOON, || log(host).contains("Running\n").then_some(()));
            assert!(runs.is_some(), "{}", log(host));
        }
        for host in lab.hosts() {
            let traces = host.output(TRACES);
            assert!(
                !traces.starts_with("0\n") && traces.ends_with("\n1\n1\n"),
                "{traces}"
            );
        }
        let tap = lab.tap();
        let (near, far) = lab.connection(PORT).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        assert_secret(&tap);
        assert_eq!(remote(&far).ip(), local(&near).ip());
        let ids = lab.hosts().map(|host| {
            let list = run_command(&mut pair.client.tcnetstat(host, &control(host)));
            let list = list.stdout_text();
            let row = list.lines().nth(1).expect("a row");
            row.split_whitespace().last().expect("an id").to_owned()
        });
        assert_eq!(ids[0], ids[1]);
        close_both(near, far);
        for (host, child) in lab.hosts().into_iter().zip(&children) {
            signal(launcher(host, &child.0), "TERM");
            let clean = wait::until(SOON, || (host.output(TRACES) == "0\n0\n0\n").then_some(()));
            assert!(clean.is_some(), "{}\n{}", host.output(TRACES), log(host));
            assert!(log(host).contains("Removing iptables rules and quitting tcpcryptd..."));
        }
        // What was encrypted goes on in clear, from new connections on.
        std::thread::sleep(Duration::from_millis(50));
        let (near, far) = lab.connection(PORT).expect("connecting without it");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
    });
}
