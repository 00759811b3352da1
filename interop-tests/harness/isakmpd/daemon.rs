//! A running isakmpd with its FIFO, its result files and its log.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::isakmpd::PATIENCE;
use crate::isakmpd::implementation::Implementation;
use crate::isakmpd::process::Process;
use crate::isakmpd::stage::Stage;
use crate::lab::host::Host;
use crate::program::{Finished, run_command, signal};
use crate::wait;

/// What a daemon is started with.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// isakmpd.conf; nothing: there is no such file.
    pub configuration: Option<String>,
    /// Files below /etc/isakmpd with their modes.
    pub files: Vec<(String, Vec<u8>, u32)>,
    /// Options beside `-d`.
    pub options: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Its files are here below the host's directory, if it is not the host's only daemon.
    pub name: Option<String>,
}

impl Setup {
    /// With a configuration, and as most tests want it: no kernel, no policy, verbose.
    pub fn new(configuration: impl Into<String>) -> Setup {
        Setup {
            configuration: Some(configuration.into()),
            options: ["-n", "-K", "-v"].map(str::to_owned).into(),
            ..Setup::default()
        }
    }

    /// With a kernel: no `-n`.
    #[must_use]
    pub fn with_kernel(mut self) -> Setup {
        self.options.retain(|o| o != "-n");
        self
    }

    /// With one option more.
    #[must_use]
    pub fn option(mut self, option: &str) -> Setup {
        self.options.push(option.to_owned());
        self
    }

    /// With a variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Setup {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// With policy in use: no `-K`.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<Vec<u8>>) -> Setup {
        self.options.retain(|o| o != "-K");
        self.file("isakmpd.policy", policy, 0o600)
    }

    /// With a file below /etc/isakmpd.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Setup {
        self.files.push((path.to_owned(), content.into(), mode));
        self
    }
}

/// A view with the configuration in it, in which an isakmpd can be started.
#[derive(Debug)]
pub struct Site {
    stage: Stage,
    etc: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Site {
    /// Writes the files of `setup` for a daemon of `host`.
    pub fn new(host: &Host, setup: &Setup) -> Site {
        let dir = host.dir().join(setup.name.as_deref().unwrap_or("isakmpd"));
        let mut stage = Stage::new(&dir);
        let etc = stage.directory("/etc/isakmpd", 0o755);
        for (sub, mode) in [
            ("ca", 0o755),
            ("certs", 0o755),
            ("crls", 0o755),
            ("keynote", 0o755),
            ("private", 0o700),
            ("pubkeys/ipv4", 0o755),
            ("pubkeys/ipv6", 0o755),
            ("pubkeys/fqdn", 0o755),
            ("pubkeys/ufqdn", 0o755),
        ] {
            let sub = etc.join(sub);
            fs::create_dir_all(&sub).expect("a directory below /etc/isakmpd");
            fs::set_permissions(&sub, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        let site = Site {
            stage,
            etc,
            environment: setup.environment.clone(),
        };
        if let Some(text) = &setup.configuration {
            site.write("isakmpd.conf", text.as_bytes(), 0o600);
        }
        for (path, content, mode) in &setup.files {
            site.write(path, content, *mode);
        }
        site
    }

    /// Writes a file below /etc/isakmpd.
    pub fn write(&self, path: &str, content: &[u8], mode: u32) {
        let path = self.etc.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path)).expect("a directory below /etc/isakmpd");
        fs::write(&path, content).expect("a file below /etc/isakmpd");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a file's mode");
    }

    /// Where /etc/isakmpd really is.
    pub fn etc(&self) -> &Path {
        &self.etc
    }

    /// Where /run really is.
    pub fn run_dir(&self) -> PathBuf {
        self.stage.run_dir()
    }

    /// Its view of the file system.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Runs isakmpd with these options to its end.
    pub fn run(&self, host: &Host, isakmpd: &Implementation, options: &[&str]) -> Finished {
        run_command(self.command(host, isakmpd).args(options))
    }

    fn command(&self, host: &Host, isakmpd: &Implementation) -> Command {
        let mut command = self.stage.command(host, &isakmpd.isakmpd);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A daemon in the foreground. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    site: Site,
    process: Process,
    original: bool,
}

impl Daemon {
    /// Starts one on `host` and waits until it reads its FIFO.
    pub fn start(host: &Host, isakmpd: &Implementation, setup: &Setup) -> Daemon {
        let daemon = Daemon::start_unready(host, isakmpd, setup);
        daemon.ready();
        daemon
    }

    /// Starts one on `host` and does not wait.
    pub fn start_unready(host: &Host, isakmpd: &Implementation, setup: &Setup) -> Daemon {
        let site = Site::new(host, setup);
        let options: Vec<&str> = setup.options.iter().map(String::as_str).collect();
        let command = site.command(host, isakmpd);
        Daemon::start_command(site, isakmpd, command, &options)
    }

    /// Starts one in a prepared view, with `-d` and these options.
    pub fn start_in(site: Site, host: &Host, isakmpd: &Implementation, options: &[&str]) -> Daemon {
        let command = site.command(host, isakmpd);
        Daemon::start_command(site, isakmpd, command, options)
    }

    fn start_command(
        site: Site,
        isakmpd: &Implementation,
        mut command: Command,
        options: &[&str],
    ) -> Daemon {
        let process = Process::start(command.arg("-d").args(options));
        Daemon {
            site,
            process,
            original: isakmpd.original,
        }
    }

    /// True when this is the original.
    pub fn is_original(&self) -> bool {
        self.original
    }

    /// Its files.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The process that was started: the privileged one.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The unprivileged one, if there is one.
    pub fn worker(&self) -> Option<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(path).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Waits until it reads its FIFO.
    pub fn ready(&self) {
        let mark = self.mark();
        let answered = wait::until(PATIENCE, || {
            let fifo = self.site.run_dir().join("isakmpd.fifo");
            let fifo = fs::OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(fifo);
            fifo.and_then(|mut f| f.write_all(b"Z\n")).ok()
        });
        assert!(answered.is_some(), "no FIFO: {:#?}", self.lines());
        self.barrier(mark, 1);
    }

    /// Sends commands, one per line; they are carried out later.
    pub fn send(&self, commands: &str) {
        let fifo = fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.site.run_dir().join("isakmpd.fifo"));
        let mut fifo = fifo.unwrap_or_else(|e| panic!("the FIFO: {e}: {:#?}", self.lines()));
        let text = format!("{}\n", commands.trim_end_matches('\n'));
        fifo.write_all(text.as_bytes())
            .expect("writing to the FIFO");
    }

    /// Sends commands and waits until they were carried out. Returns what they logged, without regard to which half
    /// of the daemon did.
    pub fn command(&self, commands: &str) -> Vec<String> {
        let mark = self.mark();
        // The daemon complains of a command that does not exist, after the others.
        self.send(&format!("{commands}\nZ"));
        self.barrier(mark, 1)
    }

    fn barrier(&self, mark: usize, count: usize) -> Vec<String> {
        let answer = "unrecognized command: 'Z'";
        let done = wait::until(PATIENCE, || {
            let texts = self.texts_since(mark);
            let seen = texts.iter().filter(|t| t.contains(answer)).count();
            (seen >= count).then_some(texts)
        });
        let texts = done.unwrap_or_else(|| panic!("no answer at the FIFO: {:#?}", self.lines()));
        // Some texts of the original end in a newline of their own.
        let said = |t: &String| !t.is_empty() && !t.contains(answer);
        let texts = texts.into_iter().filter(said);
        texts
            .map(|t| t.trim_end_matches(" [priv]").to_owned())
            .collect()
    }

    /// What a command leaves in the result file.
    pub fn result(&self, command: &str) -> String {
        let path = self.site.run_dir().join("isakmpd.result");
        let _ = fs::remove_file(&path);
        self.command(command);
        fs::read_to_string(path).unwrap_or_else(|e| panic!("the result of {command}: {e}"))
    }

    /// The report that SIGUSR1 asks for.
    pub fn report(&self) -> String {
        let path = self.site.run_dir().join("isakmpd.report");
        let _ = fs::remove_file(&path);
        self.signal("USR1");
        let written = wait::until(PATIENCE, || {
            let text = fs::read_to_string(&path).ok()?;
            text.contains("conf_report: dumping running configuration")
                .then_some(text)
        });
        written.unwrap_or_else(|| panic!("no report: {:#?}", self.lines()))
    }

    /// Sends a signal, by name without SIG.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// What Ctrl-C at its terminal does.
    pub fn interrupt(&self) {
        self.process.interrupt();
    }

    /// Lines of its log so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Where its log now ends, for [`Daemon::texts_since`].
    pub fn mark(&self) -> usize {
        self.process.mark()
    }

    /// How many lines of its log contain `text`, from a mark on.
    pub fn count_since(&self, mark: usize, text: &str) -> usize {
        self.process.count(mark, text)
    }

    /// What it logged from a mark on, without times and classes of plain messages.
    pub fn texts_since(&self, mark: usize) -> Vec<String> {
        let lines = self.lines();
        let new = lines.get(mark..).unwrap_or_default();
        new.iter().map(|line| text_of(line)).collect()
    }

    /// What it logged, without times.
    pub fn texts(&self) -> Vec<String> {
        self.texts_since(0)
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_since(0, text)
    }

    /// Waits for a line that contains `text`, from a mark on.
    pub fn wait_for_since(&self, mark: usize, text: &str) -> String {
        self.wait_within(mark, text, PATIENCE)
            .unwrap_or_else(|| panic!("no line with {text:?}: {:#?}", self.lines()))
    }

    /// Waits for a line that contains `text`, at most so long.
    pub fn wait_within(&self, mark: usize, text: &str, limit: Duration) -> Option<String> {
        wait::until(limit, || {
            self.texts_since(mark)
                .into_iter()
                .find(|t| t.contains(text))
        })
    }

    /// The SAs as `S` shows them, each as its lines.
    pub fn sas(&self) -> Vec<Vec<String>> {
        let text = self.result("S");
        let blocks = text.split("\n\n").filter(|b| !b.trim().is_empty());
        blocks
            .map(|b| b.lines().map(str::to_owned).collect())
            .collect()
    }

    /// Waits until something holds.
    pub fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let held = wait::until(PATIENCE, || holds().then_some(()));
        assert!(held.is_some(), "never: {what}: {:#?}", self.lines());
    }

    /// How many ready SAs there are of a phase. `S` shows those too that are still negotiated.
    pub fn count(&self, phase: u8) -> usize {
        let mark = format!("(Phase {phase}");
        let of_phase = |sa: &Vec<String>| sa.first().is_some_and(|l| l.contains(&mark));
        let ready = |sa: &Vec<String>| flags(sa) & 1 != 0;
        let sas = self.sas();
        sas.iter().filter(|sa| of_phase(sa) && ready(sa)).count()
    }

    /// Waits for its end and returns its status.
    pub fn wait_end(&mut self) -> i32 {
        let status = self.process.wait_end(PATIENCE);
        status.unwrap_or_else(|| panic!("it does not end: {:#?}", self.lines()))
    }

    /// Ends it by `Q` and returns its status.
    pub fn quit(&mut self) -> i32 {
        self.send("Q");
        self.wait_end()
    }

    /// Both processes vanish without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// True while the privileged process runs.
    pub fn runs(&mut self) -> bool {
        self.process.runs()
    }
}

/// The flags of an SA as `S` shows it.
pub fn flags(sa: &[String]) -> u32 {
    let value = sa.iter().find_map(|l| l.strip_prefix("Flags 0x"));
    value
        .and_then(|v| u32::from_str_radix(v, 16).ok())
        .unwrap_or(0)
}

/// A log line without its time, and without the class of plain messages.
pub fn text_of(line: &str) -> String {
    let timed = line.split_once(' ').filter(|(time, _)| {
        time.len() == 13 && time.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    });
    let text = timed.map_or(line, |(_, rest)| rest);
    text.strip_prefix("Default ").unwrap_or(text).to_owned()
}
