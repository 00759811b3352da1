//! A kxd under test.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::config::Config;
use crate::http_text::Answer;
use crate::normalize;
use crate::program::{self, status_number};
use crate::subject::subject;
use crate::tls_client::Client;
use crate::wait::{self, SOON};

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A port on which nobody listens now, below the range that outgoing connections use.
pub fn free_port() -> u16 {
    let pid = std::process::id();
    loop {
        let n = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(pid.wrapping_mul(131) % 11_000).unwrap_or(0);
        let port = 20_000 + (start + n) % 12_000;
        // Looked up and not tried: a trial socket could live on in a child that another
        // thread is just starting.
        if !listening(port) {
            return port;
        }
    }
}

/// How to start a kxd.
#[derive(Debug)]
pub struct Starter<'a> {
    config: &'a Config,
    program: PathBuf,
    args: Vec<OsString>,
    env: Option<Vec<(String, String)>>,
    wrapper: Vec<OsString>,
    address: &'static str,
}

/// A kxd of the subject on this configuration, with a log file and no hook.
pub fn kxd(config: &Config) -> Starter<'_> {
    Starter {
        config,
        program: subject().program("kxd"),
        args: Vec::new(),
        env: None,
        wrapper: Vec::new(),
        address: "127.0.0.1",
    }
}

impl Starter<'_> {
    /// Adds an argument (later ones win).
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Replaces the whole environment.
    pub fn env(mut self, env: &[(&str, &str)]) -> Self {
        let pairs = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.env = Some(pairs.collect());
        self
    }

    /// Starts through another program, such as `setpriv --reuid=65534`.
    pub fn through(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(OsString::from).collect();
        self
    }

    /// Uses another kxd than the subject's.
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// Listens here instead of on 127.0.0.1 (IPv6 in brackets).
    pub fn address(mut self, address: &'static str) -> Self {
        self.address = address;
        self
    }

    /// Starts it and waits until the port is open.
    pub fn start(self) -> Kxd {
        let port = free_port();
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().into());
        let (first, rest) = words.split_first().expect("at least the program");
        let log = self.config.join("log");
        let mut command = Command::new(first);
        command
            .args(rest)
            .arg(format!("--cert={}", self.config.text("cert.pem")))
            .arg(format!("--key={}", self.config.text("key.pem")))
            .arg(format!("--data_dir={}", self.config.text("data")))
            .arg(format!("--hook={}", self.config.text("nohook")))
            .arg(format!("--logfile={}", log.display()))
            .arg(format!("--ip_addr={}", self.address))
            .arg(format!("--port={port}"))
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().map(|(k, v)| (k, v)));
        }
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.display()));
        let mut kxd = Kxd {
            child,
            port,
            log,
            dir: self.config.text(""),
            seen: Mutex::new(0),
        };
        let up = wait::until(SOON, || {
            if let Ok(Some(status)) = kxd.child.try_wait() {
                panic!(
                    "kxd ended at once ({status}); its log: {:?}",
                    kxd.whole_log()
                );
            }
            listening(port).then_some(())
        });
        assert!(
            up.is_some(),
            "kxd did not listen within {SOON:?}: {:?}",
            kxd.whole_log()
        );
        *kxd.seen.lock().expect("no test panicked with it") = kxd.whole_log().len();
        kxd
    }
}

/// True when some socket of this machine listens on `port`. Asked of the kernel, since a
/// trial connection would leave a line in the subject's log.
pub fn listening(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        text.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or("");
            local.ends_with(&wanted) && fields.nth(1) == Some("0A")
        })
    })
}

/// A running kxd; killed when dropped.
#[derive(Debug)]
pub struct Kxd {
    child: Child,
    /// Its port.
    pub port: u16,
    log: PathBuf,
    dir: String,
    seen: Mutex<usize>,
}

impl Kxd {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, by IPv4.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A client that presents the usual certificate.
    pub fn client(&self) -> Client {
        Client::to(self.address())
    }

    /// GET by the usual client on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }

    /// The whole log, as it is.
    pub fn whole_log(&self) -> Vec<u8> {
        std::fs::read(&self.log).unwrap_or_default()
    }

    /// Lines written since the last call, normalised; waits until there are at least
    /// `at_least` of them (2 s), then a moment for those nobody expects.
    pub fn new_lines(&self, at_least: usize) -> Vec<String> {
        let mut seen = self.seen.lock().expect("no test panicked with it");
        let read = || {
            let log = self.whole_log();
            let fresh = log.get(*seen..).unwrap_or_default();
            (log.len(), normalize::log(fresh, &self.dir))
        };
        wait::until(Duration::from_secs(2), || {
            (read().1.len() >= at_least).then_some(())
        });
        if at_least == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let (end, lines) = read();
        *seen = end;
        lines
    }

    /// Waits until the log has a line that contains `text`.
    pub fn await_line(&self, text: &str) {
        let found = wait::until(SOON, || self.log_contains(text).then_some(()));
        let log = self.whole_log();
        assert!(
            found.is_some(),
            "no {text:?} in the log:\n{}",
            String::from_utf8_lossy(&log)
        );
    }

    /// True when the log has `text` now.
    pub fn log_contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.whole_log()).contains(text)
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name without SIG.
    pub fn signal(&self, name: &str) {
        program::signal(self.pid(), name);
    }

    /// Waits for its end; `None` after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        wait::until(limit, || self.child.try_wait().ok().flatten()).map(status_number)
    }
}

impl Drop for Kxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = normalize::text(&self.whole_log());
            let lines: Vec<&str> = log.lines().rev().take(12).collect();
            eprintln!(
                "--- last lines of kxd's log, newest first ---\n{}",
                lines.join("\n")
            );
        }
    }
}
