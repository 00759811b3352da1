//! Our programs as processes, on an Inferno root of their own.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::database::{self, User};
use super::keys::AuthInfo;
use super::original::Ports;
use super::terminal::Dialog;
use super::transcript::Transcript;
use crate::program::{Finished, Guarded, run_command, signal};
use crate::subject::subject;
use crate::wait::{self, SOON};

/// Whose keyring the programs use.
pub const USER: &str = "root";

/// A directory that is `INFERNO_ROOT` for programs of ours.
#[derive(Debug)]
pub struct Root {
    dir: TempDir,
    program: PathBuf,
}

impl Default for Root {
    fn default() -> Root {
        Root::new()
    }
}

impl Root {
    /// An empty tree, for the subject's programs.
    pub fn new() -> Root {
        Root::of(&subject().program("inferno-auth"))
    }

    /// An empty tree for this `inferno-auth`.
    pub fn of(program: &Path) -> Root {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for inner in ["keydb", "usr/root/keyring", "mnt"] {
            let path = dir.path().join(inner);
            fs::create_dir_all(&path).expect("a directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("0700");
        }
        Root {
            dir,
            program: program.to_owned(),
        }
    }

    /// Where a file of the tree is.
    pub fn path(&self, inner: &str) -> PathBuf {
        self.dir.path().join(inner.trim_start_matches('/'))
    }

    /// Puts a file there, mode 0600.
    pub fn put(&self, inner: &str, data: impl AsRef<[u8]>) {
        let path = self.path(inner);
        fs::write(&path, data).unwrap_or_else(|e| panic!("{inner}: {e}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("0600");
    }

    /// A file from there.
    pub fn get(&self, inner: &str) -> Vec<u8> {
        fs::read(self.path(inner)).unwrap_or_else(|e| panic!("{inner}: {e}"))
    }

    /// One of the programs.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(program)
            .args(args)
            .env("INFERNO_ROOT", self.dir.path())
            .env("INFERNO_USER", USER)
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("TZ", "UTC")
            .env_remove("SIGNER");
        command
    }

    /// Runs one with empty stdin and no terminal.
    pub fn run(&self, program: &str, args: &[&str]) -> Finished {
        let command = self.command(program, args);
        // No terminal, also when the tests have one.
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(command.get_program());
        alone.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => alone.env(key, value),
                None => alone.env_remove(key),
            };
        }
        run_command(&mut alone)
    }

    /// Starts one on a terminal.
    pub fn dialog(&self, program: &str, args: &[&str]) -> Dialog {
        Dialog::start(&self.command(program, args))
    }

    /// The key files a server needs.
    pub fn install(&self, signer: &AuthInfo, server: &AuthInfo) {
        self.put("keydb/signerkey", signer.file());
        self.put("usr/root/keyring/default", server.file());
    }

    /// The key files that a server needs, by ElGamal with 1024 bits.
    pub fn elgamal_signer(&self) {
        // The search for a safe prime takes as long as it takes.
        let limit = Duration::from_secs(300);
        let options = ["--compat", "-a", "elgamal", "-b", "1024", "signer.example"];
        let mut command = self.command("createsignerkey", &options);
        let mut child = Guarded(command.spawn().expect("createsignerkey"));
        let made = wait::until(limit, || child.0.try_wait().ok().flatten());
        assert!(made.is_some_and(|status| status.success()), "{made:?}");
        let server = self.run("mkauthinfo", &["-k", &self.signer_spec(), USER]);
        assert_eq!(server.rc, 0, "{}", server.stderr_text());
        self.put("usr/root/keyring/default", &server.stdout);
    }

    /// The database, and the file with its password.
    pub fn fill(&self, users: &[User], password: &str) {
        self.put("keydb/keys", database::write(users, password));
        self.put("keydb/nvram", password);
    }

    /// What the database holds now.
    pub fn users(&self, password: &str) -> Vec<User> {
        database::read(&self.get("keydb/keys"), password)
    }

    /// The entry of one user.
    pub fn user(&self, name: &str, password: &str) -> User {
        let all = self.users(password);
        let found = all.iter().find(|user| user.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {all:?}"))
            .clone()
    }

    /// keyfs on the database; runs until it is dropped.
    pub fn keyfs(&self) -> Service {
        let nvram = self.path("keydb/nvram").display().to_string();
        let mut service = self.service("keyfs", &["-F", "-n", &nvram], None);
        service.wait_until(|| UnixStream::connect(self.keys_socket()).is_ok());
        service
    }

    /// Processes that have this tree for their root, wherever they were started.
    pub fn processes(&self) -> Vec<u32> {
        let wanted = format!("INFERNO_ROOT={}", self.dir.path().display());
        let all = fs::read_dir("/proc").expect("/proc").flatten();
        let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment
                .split(|b| *b == 0)
                .any(|one| one == wanted.as_bytes())
        })
        .collect()
    }

    /// Kills the processes of this tree that are still there, but for these.
    pub fn kill_all_but(&self, spared: &[u32]) {
        for id in self.processes() {
            let id = i32::try_from(id).ok().filter(|_| !spared.contains(&id));
            let _ = id
                .and_then(Pid::from_raw)
                .map(|id| kill_process(id, Signal::KILL));
        }
    }

    /// How mkauthinfo is told to sign with the signer's key.
    pub fn signer_spec(&self) -> String {
        format!("key={}", self.path("keydb/signerkey").display())
    }

    /// Where keyfs answers ("keysrv spec 19.3").
    pub fn keys_socket(&self) -> PathBuf {
        let place = self.path("mnt/keys");
        match place.is_dir() {
            true => place.join(".9p"),
            false => place,
        }
    }

    /// svc-auth with a keyfs that runs already, on free ports.
    pub fn serve(&self, more: &[&str]) -> Service {
        self.serve_on(Ports::free(), more)
    }

    /// The same on these ports.
    pub fn serve_on(&self, ports: Ports, more: &[&str]) -> Service {
        let Ports {
            login,
            key,
            signer,
            countersigner,
        } = ports;
        let numbers = format!("{login},{key},{signer},{countersigner}");
        let mut args = vec!["-n", "--bind", "127.0.0.1", "--ports", &numbers];
        // All clients of a test have one address; what limits do is tested where they are set.
        args.extend(["--max-conn", "64", "--max-per-address", "64"]);
        args.extend(more);
        let mut service = self.service("svc-auth", &args, Some(ports));
        for port in [login, key] {
            service.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
        service
    }

    fn service(&self, program: &str, args: &[&str], ports: Option<Ports>) -> Service {
        let mut child = self
            .command(program, args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        let log = Transcript::default();
        log.follow(BufReader::new(child.stderr.take().expect("stderr")));
        Service {
            child: Guarded(child),
            log,
            ports,
        }
    }
}

/// Nothing outlives its tree, however its parent ended.
impl Drop for Root {
    fn drop(&mut self) {
        self.kill_all_but(&[]);
    }
}

/// A running service of ours.
#[derive(Debug)]
pub struct Service {
    /// The process.
    pub child: Guarded,
    /// Its stderr.
    pub log: Transcript,
    ports: Option<Ports>,
}

impl Service {
    fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let limit = Duration::from_secs(20);
        let child = &mut self.child.0;
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        let done = wait::until(limit, || match ready() {
            true => Some(true),
            false => ended(child).then_some(false),
        });
        assert_eq!(done, Some(true), "not ready: {}", self.log.text());
    }

    /// Its ports.
    pub fn ports(&self) -> Ports {
        self.ports.expect("a service with ports")
    }

    /// Where keysrv is.
    pub fn key(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports().key).into()
    }

    /// Where logind is.
    pub fn login(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports().login).into()
    }

    /// Sends SIGTERM and gives the exit status, and what it said.
    pub fn stop(mut self) -> (i32, String) {
        signal(self.child.0.id(), "TERM");
        let status = wait::until(SOON, || self.child.0.try_wait().ok().flatten());
        let status = status.unwrap_or_else(|| panic!("it goes on: {}", self.log.text()));
        (crate::program::status_number(status), self.log.to_end())
    }
}

/// Threads of a process that live; the first one of the original's emulator does not.
pub fn live_threads(process: u32) -> Vec<u32> {
    let all = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten();
    let ids = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let status = fs::read_to_string(format!("/proc/{process}/task/{id}/status"));
        status.is_ok_and(|text| !text.contains("\nState:\tZ"))
    })
    .collect()
}

/// Processor time that these processes have used, in seconds; those that have ended are not counted.
pub fn processor_time(processes: &[u32]) -> f64 {
    let one = |id: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name, in which anything can be: the state is the third field.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        Some(user + fields.next()?.parse::<u64>().ok()?)
    };
    let ticks: u64 = processes.iter().filter_map(one).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Memory in kB that these processes have written to and not given back: what only they need.
pub fn own_memory_kb(processes: &[u32]) -> u64 {
    let one = |id: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    processes.iter().filter_map(one).sum()
}

/// Memory of these processes in kB, what they share counted once.
pub fn memory_kb(processes: &[u32]) -> u64 {
    let one = |id: &u32| -> Option<u64> {
        let thread = *live_threads(*id).first()?;
        let text = fs::read_to_string(format!("/proc/{thread}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    processes.iter().filter_map(one).sum()
}
