//! Debian's strongSwan on a host, told by swanctl: charon with ESP in user space (its plugin kernel-libipsec), or with
//! the kernel's.

use std::fs;
use std::path::PathBuf;

use crate::isakmpd::PATIENCE;
use crate::isakmpd::process::Process;
use crate::isakmpd::stage::Stage;
use crate::lab::host::Host;
use crate::peers::unpacked;
use crate::program::{Finished, run_command};
use crate::wait;

/// Only what is needed, since each plugin has libraries of its own. kernel-libipsec does ESP, kernel-netlink the
/// rest.
const PLUGINS: &str = "random nonce aes des sha1 sha2 md5 hmac kdf openssl gmp pem pkcs1 pkcs8 x509 pubkey \
                       constraints revocation kernel-libipsec kernel-netlink socket-default vici attr unity";

/// Who does ESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Esp {
    /// strongSwan itself.
    InUserSpace,
    /// The kernel.
    InKernel,
}

/// A charon. Dropping it kills it.
#[derive(Debug)]
pub struct StrongSwan {
    stage: Stage,
    process: Process,
    swanctl: PathBuf,
}

/// Where it is, if `interop-tests/peers.sh` could unpack it.
pub fn strongswan() -> Option<PathBuf> {
    unpacked("strongswan", "usr/lib/ipsec/charon")
}

impl StrongSwan {
    /// Starts one on `host` with swanctl.conf, files below /etc/swanctl, and lines for its section `charon`.
    pub fn start(host: &Host, conf: &str, files: &[(&str, &[u8])], charon: &str) -> StrongSwan {
        StrongSwan::start_with(host, conf, files, charon, Esp::InUserSpace)
    }

    /// The same with ESP where one wants it.
    pub fn start_with(
        host: &Host,
        conf: &str,
        files: &[(&str, &[u8])],
        charon: &str,
        esp: Esp,
    ) -> StrongSwan {
        let log = "default = 1\n ike = 2\n cfg = 2\n flush_line = yes\n";
        StrongSwan::launch(host, conf, files, charon, esp, log)
    }

    /// For measurements: ESP in user space, and of its log no more than what comes up and goes down.
    pub fn start_quiet(host: &Host, conf: &str, files: &[(&str, &[u8])]) -> StrongSwan {
        StrongSwan::launch(host, conf, files, "", Esp::InUserSpace, "default = 0\n")
    }

    fn launch(
        host: &Host,
        conf: &str,
        files: &[(&str, &[u8])],
        charon: &str,
        esp: Esp,
        log: &str,
    ) -> StrongSwan {
        // OpenSSL before gmp, as Debian's own order has it: the first one computes.
        let plugins = match esp {
            Esp::InUserSpace => PLUGINS.to_owned(),
            Esp::InKernel => PLUGINS.replace("kernel-libipsec ", ""),
        };
        let unpacked = strongswan().expect("strongSwan");
        let mut stage = Stage::new(&host.dir().join("strongswan"));
        stage.lay_over_usr(&unpacked);
        stage.etc(
            "strongswan.conf",
            &format!(
                "charon {{\n load = {plugins}\n {charon}\n
                 filelog {{ stderr {{ {log} }} }}\n }}\n"
            ),
        );
        let swanctl = stage.directory("/etc/swanctl", 0o755);
        for sub in ["x509", "x509ca", "private", "rsa", "pubkey", "conf.d"] {
            fs::create_dir_all(swanctl.join(sub)).expect("a directory below /etc/swanctl");
        }
        fs::write(swanctl.join("swanctl.conf"), conf).expect("swanctl.conf");
        for (file, content) in files {
            fs::write(swanctl.join(file), content).expect("a file below /etc/swanctl");
        }
        let process = Process::start(&mut stage.command(host, "/usr/lib/ipsec/charon"));
        let started = StrongSwan {
            stage,
            process,
            swanctl,
        };
        let socket = started.stage.run_dir().join("charon.vici");
        let ready = wait::until(PATIENCE, || socket.exists().then_some(()));
        assert!(ready.is_some(), "charon does not start");
        let loaded = wait::until(PATIENCE, || {
            let done = started.swanctl(host, &["--load-all"]);
            (done.rc == 0).then_some(())
        });
        assert!(loaded.is_some(), "swanctl --load-all fails");
        started
    }

    /// Replaces swanctl.conf and loads it.
    pub fn load(&self, host: &Host, conf: &str) {
        fs::write(self.swanctl.join("swanctl.conf"), conf).expect("swanctl.conf");
        let done = self.swanctl(host, &["--load-all"]);
        assert_eq!(done.rc, 0, "swanctl --load-all: {}", done.stderr_text());
    }

    /// Runs swanctl.
    pub fn swanctl(&self, host: &Host, arguments: &[&str]) -> Finished {
        run_command(self.stage.command(host, "swanctl").args(arguments))
    }

    /// Its SAs as `swanctl --list-sas` shows them.
    pub fn sas(&self, host: &Host) -> String {
        self.swanctl(host, &["--list-sas"]).stdout_text()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its log so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Waits for a line of its log.
    pub fn wait_for(&self, text: &str) -> String {
        let line = self.process.wait_for(0, text, PATIENCE);
        line.unwrap_or_else(|| panic!("charon does not say {text:?}"))
    }

    /// It vanishes without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}
