//! Debian's libreswan on a host: pluto, told by whack.

use std::path::PathBuf;

use crate::isakmpd::PATIENCE;
use crate::isakmpd::process::Process;
use crate::isakmpd::stage::Stage;
use crate::lab::host::Host;
use crate::peers::unpacked;
use crate::program::{Finished, run_command};
use crate::wait;

/// A pluto. Dropping it kills it.
#[derive(Debug)]
pub struct Libreswan {
    stage: Stage,
    process: Process,
}

/// ipsec.secrets: the key of [`Tunnel::left`](crate::isakmpd::configuration::Tunnel::left).
pub const SECRETS: &str = ": PSK \"mekmitasdigoat\"\n";

/// ipsec.conf of the right host: connection `x` with the left one, between the networks behind them, with these
/// proposals and more lines.
pub fn conf(ike: &str, esp: &str, more: &str) -> String {
    let more: String = more.lines().map(|l| format!("\t{}\n", l.trim())).collect();
    format!(
        "conn x\n\tikev2=no\n\tauthby=secret\n\tleft=10.77.0.2\n\tright=10.77.0.1\n\tleftsubnet=192.168.102.0/24\n\
         \trightsubnet=192.168.101.0/24\n\tike={ike}\n\tesp={esp}\n\tauto=ignore\n{more}"
    )
}

/// Where it is, if `interop-tests/peers.sh` could unpack it.
pub fn libreswan() -> Option<PathBuf> {
    unpacked("libreswan", "usr/libexec/ipsec/pluto")
}

impl Libreswan {
    /// Starts one on `host` with ipsec.conf (`config setup` is added), ipsec.secrets, and the names of the
    /// connections to load.
    pub fn start(host: &Host, conf: &str, secrets: &str, connections: &[&str]) -> Libreswan {
        let unpacked = libreswan().expect("libreswan");
        let mut stage = Stage::new(&host.dir().join("libreswan"));
        stage.lay_over_usr(&unpacked);
        stage.etc(
            "ipsec.conf",
            &format!("config setup\n\tikev1-policy=accept\n\tuniqueids=no\n\n{conf}"),
        );
        stage.etc("ipsec.secrets", secrets);
        stage.directory("/etc/ipsec.d", 0o700);
        for sub in ["pluto", "nss"] {
            std::fs::create_dir_all(stage.run_dir().join(sub)).expect("a directory below /run");
        }
        let nss = "sql:/run/nss";
        let mut certutil = stage.command(host, "certutil");
        let made = run_command(certutil.args(["-N", "-d", nss, "--empty-password"]));
        assert_eq!(made.rc, 0, "certutil: {}", made.stderr_text());
        let mut pluto = stage.command(host, "/usr/libexec/ipsec/pluto");
        pluto.args([
            "--config",
            "/etc/ipsec.conf",
            "--nofork",
            "--stderrlog",
            "--nssdir",
            "/run/nss",
        ]);
        let process = Process::start(&mut pluto);
        let started = Libreswan { stage, process };
        let listens = wait::until(PATIENCE, || {
            (started.whack(host, &["--listen"]).rc == 0).then_some(())
        });
        assert!(
            listens.is_some(),
            "pluto does not start: {:#?}",
            started.lines()
        );
        for name in connections {
            let mut addconn = started.stage.command(host, "/usr/libexec/ipsec/addconn");
            let added = run_command(addconn.args(["--config", "/etc/ipsec.conf", name]));
            assert_eq!(added.rc, 0, "addconn {name}: {}", added.stderr_text());
        }
        started
    }

    /// Runs whack.
    pub fn whack(&self, host: &Host, arguments: &[&str]) -> Finished {
        let mut whack = self.stage.command(host, "/usr/libexec/ipsec/whack");
        run_command(whack.args(arguments))
    }

    /// Its log so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Waits for a line of its log.
    pub fn wait_for(&self, text: &str) -> String {
        let line = self.process.wait_for(0, text, PATIENCE);
        line.unwrap_or_else(|| panic!("pluto does not say {text:?}"))
    }
}
