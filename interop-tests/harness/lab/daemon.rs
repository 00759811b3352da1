//! A tcpcryptd of either implementation on a host.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::applications::{local, remote};
use crate::lab::control::{Control, NETSTAT, NOBODY, Reply};
use crate::lab::host::Host;
use crate::lab::implementation::Implementation;
use crate::peers::on_path;
use crate::program::{run_command, signal, status_number};
use crate::wait::{self, SOON};

/// Who the daemon becomes: a user that every system has.
const USER: &str = "nobody";

/// A running tcpcryptd; killed when dropped, its log shown when that is by a panic.
#[derive(Debug)]
pub struct Daemon<'h> {
    child: Child,
    host: &'h Host,
    /// Whose it is.
    pub implementation: &'static Implementation,
    /// Its control socket.
    pub control: PathBuf,
    log: PathBuf,
}

/// One encrypted connection, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The session id in upper-case hex.
    pub id: String,
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl<'h> Daemon<'h> {
    /// Starts a daemon on queue 666 and waits until it says that it runs, or answers on
    /// its control socket.
    pub fn start(
        host: &'h Host,
        implementation: &'static Implementation,
        options: &[&str],
    ) -> Daemon<'h> {
        Daemon::start_in(host, implementation, options, &[])
    }

    /// The same with more variables in its environment.
    pub fn start_in(
        host: &'h Host,
        implementation: &'static Implementation,
        options: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Daemon<'h> {
        let daemon = Daemon::spawn(host, implementation, options, environment);
        let up = wait::until(SOON, || {
            assert!(
                daemon.alive(),
                "tcpcryptd ended at once; its log:\n{}",
                daemon.log()
            );
            // The original's line may come late, when its log is a file.
            let said = daemon.log().contains("Running\n");
            (said || daemon.netstat_reply(512).is_ok()).then_some(())
        });
        assert!(up.is_some(), "tcpcryptd is not ready:\n{}", daemon.log());
        daemon
    }

    /// Starts one without waiting.
    pub fn spawn(
        host: &'h Host,
        implementation: &'static Implementation,
        options: &[&str],
        environment: &[(&str, &OsStr)],
    ) -> Daemon<'h> {
        let control = host.dir().join("control");
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = host.dir().join(format!("tcpcryptd.{number}.log"));
        let file = File::create(&log).expect("creating the daemon's log");
        let errors = file.try_clone().expect("the log twice");
        // The original's log would come in one piece at its end, if that is orderly.
        let mut command = if implementation.original && on_path("stdbuf") {
            let mut command = host.command("stdbuf");
            command.args(["-oL", "-eL"]).arg(&implementation.tcpcryptd);
            command
        } else {
            host.daemon(&implementation.tcpcryptd)
        };
        command.args(["-f", "-p", "666", "-U", USER, "-J"]);
        command.arg(host.dir().join("jail"));
        command.arg("-u").arg(&control);
        // What is about one dialect says so; what is about both, or about neither, is for the old one.
        let says = |option: &&str| option.starts_with("--eno=");
        if !implementation.original && !options.iter().any(says) {
            command.arg("--eno=legacy");
        }
        // The original has options of one letter only.
        let options = options
            .iter()
            .filter(|option| !implementation.original || !option.starts_with("--"));
        command.args(options).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Daemon {
            child,
            host,
            implementation,
            control,
            log,
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// False once it has ended, for whatever reason.
    pub fn alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let state = stat.ok().and_then(|s| {
            let after = s.rsplit_once(')')?.1.trim_start().to_owned();
            after.chars().next()
        });
        state.is_some_and(|s| s != 'Z')
    }

    /// Panics, with `occasion`, when it has ended or does not answer.
    pub fn assert_well(&self, occasion: &str) {
        assert!(
            self.alive(),
            "{occasion} ended the daemon; its log:\n{}",
            self.log()
        );
        let reply = self.netstat_reply(1200);
        assert!(
            reply.is_ok(),
            "{occasion}: the daemon does not answer: {reply:?}; its log:\n{}",
            self.log()
        );
    }

    /// Everything it printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Sends a signal, by name without SIG.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Asks it to end and gives its exit status; minus the signal's number if one killed it.
    pub fn stop(mut self) -> i32 {
        self.signal("TERM");
        let status = wait::until(SOON, || self.child.try_wait().ok().flatten());
        status_number(status.expect("tcpcryptd ends when asked"))
    }

    /// Kills it without asking.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A client of its control socket.
    pub fn client(&self) -> Control {
        Control::open(self.host, &self.control).expect("the control socket")
    }

    fn netstat_reply(&self, room: usize) -> std::io::Result<Reply> {
        Control::open(self.host, &self.control)?.get(NETSTAT, NOBODY, NOBODY, room)
    }

    /// The encrypted connections, asked by its own tcnetstat.
    pub fn netstat(&self) -> Vec<Row> {
        self.netstat_by(self.implementation)
    }

    /// The encrypted connections, asked by some tcnetstat.
    pub fn netstat_by(&self, asking: &Implementation) -> Vec<Row> {
        let done = run_command(&mut asking.tcnetstat(self.host, &self.control));
        let text = done.stdout_text();
        assert_eq!(done.rc, 0, "tcnetstat: {text}{}", done.stderr_text());
        let mut lines = text.lines();
        let header = lines.next();
        assert_eq!(header, Some("Local address\t\tForeign address\t\tSID"));
        lines
            .map(|l| row(l).unwrap_or_else(|| panic!("tcnetstat's row: {l:?}")))
            .collect()
    }

    /// What it says of a connection: the text of an option of the wider control protocol.
    pub fn about(&self, stream: &TcpStream, option: u32) -> String {
        let reply = self
            .client()
            .wide(false, option, local(stream), remote(stream), &[0; 64])
            .expect("an answer");
        assert_eq!(reply.error, 0);
        let text = reply.data.split(|octet| *octet == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    /// The row of a connection, waited for.
    pub fn row_of(&self, local: SocketAddr, remote: SocketAddr) -> Option<Row> {
        wait::until(Duration::from_secs(3), || {
            let rows = self.netstat();
            rows.into_iter()
                .find(|r| (r.local, r.remote) == (local, remote))
        })
    }
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split('\t').map(str::trim_end);
    let row = Row {
        local: fields.next()?.parse().ok()?,
        remote: fields.next()?.parse().ok()?,
        id: fields.next()?.to_owned(),
    };
    let digits = row
        .id
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    (digits && row.id.len() == 66 && fields.next().is_none()).then_some(row)
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let ended = !self.alive();
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            let path: &Path = &self.log;
            eprintln!(
                "---- {} tcpcryptd on {} ({}), {}:\n{}----",
                self.implementation.name(),
                self.host.address,
                if ended { "had ended" } else { "was running" },
                status.map(|s| s.to_string()).unwrap_or_default(),
                tail(&std::fs::read(path).unwrap_or_default()),
            );
        }
    }
}

fn tail(log: &[u8]) -> String {
    let begin = log.len().saturating_sub(4000);
    String::from_utf8_lossy(log.get(begin..).unwrap_or_default()).into_owned()
}
