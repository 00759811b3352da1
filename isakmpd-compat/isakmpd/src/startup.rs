//! From the command line to the running daemon, in the original's order and with its words (isakmpd 1, 2).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use ike::journal::Class;
use ike::{Engine, Limits, Setup};
use isakmpd_conf::{Running, Store};
use kx_sys::background::{self, Side};
use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::hardening;
use kx_sys::interface_addresses::AddressChanges;
use kx_sys::local_time::LocalTime;
use kx_sys::notify::Notifier;
use kx_sys::pf_key;
use kx_sys::privileges::{self, DropError, User};
use kx_sys::process_pair;
use kx_sys::signals::{Signals, number};
use kx_sys::xfrm::{Notices, Requests};
use rustix::thread::CapabilitySet;

use crate::confinement;
use crate::daemon::{Daemon, Parts, apply_levels, read_configuration};
use crate::fifo::{Fifo, FifoError};
use crate::files::Files;
use crate::host::{Surveyed, names};
use crate::kernel::{
    FAKE_VARIABLE, Fake, INTERFACE_VARIABLE, Ipsec, Kernel, MARK, NoKernel, PF_KEY_REQIDS, PfKey,
    XFRM_REQIDS, Xfrm,
};
use crate::log::{Log, system_text};
use crate::monitor::{self, Guard, Relay, Remote};
use crate::options::Options;
use crate::pid_file::{self, PidFileError};
use crate::random::System;
use crate::reload::{Keys, PolicyError, Reloadable};
use crate::sockets::{Listening, NoSockets, Sockets, port};
use crate::workers::Workers;

/// Who the child becomes; its root directory is that user's home.
const USER: &str = "_isakmpd";

/// Threads for public keys, at most.
const MOST_WORKERS: usize = 8;

/// What ends the start. `Display` is the line of the log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control FIFO.
    #[error(transparent)]
    Fifo(#[from] FifoError),
    /// The file of the process number.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// Going into the background.
    #[error("main: daemon (0, 0) failed: {}", system_text(.0))]
    Background(io::Error),
    /// No kernel, and no `-n`.
    #[error("app_init: cannot open connection to application")]
    Kernel,
    /// `-p` or `-N`.
    #[error("virtual_bind: bad {what}port \"{text}\"")]
    Port {
        /// Empty or `encap `.
        what: &'static str,
        /// As given.
        text: String,
    },
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The sockets.
    #[error("{}: {}", .0, system_text(&.0.0))]
    Sockets(#[from] NoSockets),
    /// Nobody to become.
    #[error("monitor_init: getpwnam(\"{0}\") failed")]
    NoUser(&'static str),
    /// No second process.
    #[error("monitor_init: fork of unprivileged child failed: {}", system_text(.0))]
    Split(io::Error),
    /// Privileges could not be given up.
    #[error("{}", drop_text(.0))]
    Drop(#[from] DropError),
    /// The child is alone.
    #[error("main: the monitor is gone")]
    MonitorGone,
    /// A call of the system's.
    #[error("main: {call} failed: {}", system_text(source))]
    Call {
        /// Its name.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

fn call(call: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Call { call, source }
}

fn drop_text(error: &DropError) -> String {
    let (text, source) = match error {
        DropError::Chroot { source, .. } | DropError::Chdir(source) => {
            ("monitor_init: chroot failed", Some(source))
        }
        DropError::SetGid { source, .. }
        | DropError::InitGroups { source, .. }
        | DropError::SetUid { source, .. }
        | DropError::Capabilities { source, .. } => {
            ("monitor_init: can't drop privileges", Some(source))
        }
        DropError::NotDropped(_) => ("monitor_init: can't drop privileges", None),
    };
    match source {
        Some(source) => format!("{text}: {}", system_text(source)),
        None => format!("{text}: {error}"),
    }
}

/// Files to be removed at the end, however it comes.
#[derive(Default)]
struct Traces(Vec<PathBuf>);

impl Drop for Traces {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Runs the daemon to its end. Returns the exit status.
#[must_use]
pub fn run(options: Options, log: &Rc<Log>) -> u8 {
    let mut traces = Traces::default();
    match daemon(&Rc::new(options), log, &mut traces) {
        Ok(status) => status,
        Err(error) => {
            log.fatal(error.to_string());
            1
        }
    }
}

/// Everything up to the two processes.
fn daemon(options: &Rc<Options>, log: &Rc<Log>, traces: &mut Traces) -> Result<u8, StartError> {
    if options.foreground == 0 {
        log.use_syslog();
    }
    log.set_verbose(options.verbose);
    log.print("isakmpd: starting");
    if options.seed {
        log.print("parse_args: -r ignored: random numbers are never deterministic");
    }
    let names = names();
    let fifo = Fifo::open(&options.fifo)?;
    traces.0.extend(fifo.path().map(ToOwned::to_owned));
    let ready = match options.foreground {
        0 => match background::split().map_err(StartError::Background)? {
            Side::Started(well) => {
                // The files are the other one's.
                traces.0.clear();
                return Ok(u8::from(!well));
            }
            Side::Background(ready) => Some(ready),
        },
        _ => None,
    };
    let signals = collect_signals(options)?;
    // The time zone, and what the library of keys reads, while their files can be.
    let _ = LocalTime::now();
    openssl::init();
    pid_file::write(&options.pid_file, std::process::id())?;
    traces.0.push(options.pid_file.clone());
    // No keys in a core; best effort.
    let _ = hardening::forbid_core_dumps();
    let _ = hardening::raise_descriptor_limit();
    let kernel = open_kernel(options, log)?;
    let listening = listening(options, &names, log)?;
    let null = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(call("open"))?;
    let notifier = Notifier::from_environment().connect();
    let user = User::find(USER)
        .ok()
        .flatten()
        .ok_or(StartError::NoUser(USER))?;
    match process_pair::split().map_err(StartError::Split)? {
        process_pair::Side::Parent(child) => {
            // The child says whether all went well.
            drop((ready, notifier, fifo));
            if options.foreground == 0 {
                rustix::stdio::dup2_stderr(&null).map_err(|error| call("dup2")(error.into()))?;
            }
            // Its name in lists of processes is all that depends on it.
            let _ = rustix::thread::set_name(c"monitor [priv]");
            if options.foreground > 1 {
                let pid = std::process::id();
                let line = child.as_fd().as_raw_fd();
                log.print(format!(
                    "monitor_init: stopped priv PID {pid} fd {line}, waiting for SIGCONT"
                ));
                process_pair::stop_here();
                child.signal(number::CONTINUE);
            }
            let guard = kernel.guard(listening.nat_t_port);
            Ok(monitor::run(child, &signals, guard, &traces.0, log)?)
        }
        process_pair::Side::Child(line) => {
            // These are the monitor's.
            traces.0.clear();
            drop(signals);
            let signals = collect_signals(options)?;
            privileges::drop_to(&user, user.home(), CapabilitySet::empty())?;
            log.set_privileged(false);
            log.debug(
                Class::Misc,
                10,
                || "monitor_init: privileges dropped for child process",
            );
            if options.foreground > 1 {
                let pid = std::process::id();
                let line = line.as_fd().as_raw_fd();
                log.print(format!("monitor_init: stopped child PID {pid} fd {line}"));
                process_pair::stop_here();
            }
            let monitor = Rc::new(Remote::new(line));
            let kernel = kernel.kernel(&monitor, log);
            let files: Rc<dyn Files> = monitor;
            log.renew_by(Rc::clone(&files));
            let mut daemon = prepare(
                options, log, &files, kernel, listening, names, fifo, signals,
            )?;
            daemon.begin()?;
            if ready.is_some() {
                rustix::stdio::dup2_stderr(&null).map_err(|error| call("dup2")(error.into()))?;
            }
            let report = confinement::confine_main();
            log.debug(Class::Misc, 10, || format!("main: {report}"));
            if let Some(ready) = ready {
                ready.tell();
            }
            if let Some(notifier) = notifier {
                // Nobody to be told is no error.
                let _ = notifier.ready();
            }
            daemon.run().map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => StartError::MonitorGone,
                _ => call("poll")(error),
            })?;
            Ok(0)
        }
    }
}

/// What is passed on to the child, and what the child waits for.
fn collect_signals(options: &Options) -> Result<Signals, StartError> {
    let mut wanted = vec![number::HANG_UP, number::USER1, number::TERMINATE];
    if options.foreground == 1 {
        wanted.push(number::INTERRUPT);
    }
    Signals::collect(&wanted).map_err(call("signal"))
}

#[allow(clippy::too_many_arguments)]
fn prepare(
    options: &Rc<Options>,
    log: &Rc<Log>,
    files: &Rc<dyn Files>,
    kernel: Box<dyn Kernel>,
    listening: Listening,
    names: isakmpd_conf::host::Names,
    fifo: Fifo,
    signals: Signals,
) -> Result<Daemon, StartError> {
    let mut host = Surveyed::new(names, listening.port);
    // What is wrong with it is found again, and said, when sockets are opened.
    let _ = host.look(&**files);
    let configuration = Rc::new(Running::new(Store::new(), host.host()));
    read_configuration(&configuration, &options.configuration, &**files, log);
    apply_levels(&configuration, log);
    let reloadable = Reloadable::load(options.no_policy, &configuration, files, log);
    let policy = reloadable.policy(&configuration, &**files, log)?;
    let now = Instant::now();
    let acquire_only = configuration.store().is_defined("General", "Acquire-Only");
    let engine = Engine::new(
        Setup {
            configuration: Rc::<Running>::clone(&configuration),
            credentials: Rc::<Keys>::clone(reloadable.keys()),
            policy,
            random: Box::new(System),
            options: ike::Options {
                nat_t: !options.no_nat_t,
                nat_t_port: listening.nat_t_port.unwrap_or(4500),
                passive: options.passive,
                acquire_only: options.acquire_only || acquire_only,
                limits: Limits::default(),
            },
        },
        now,
    );
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = Workers::start(threads.min(MOST_WORKERS), confinement::confine_worker)
        .map_err(call("pthread_create"))?;
    let parts = Parts {
        options: Rc::clone(options),
        log: Rc::clone(log),
        files: Rc::clone(files),
        configuration,
        reloadable,
        engine,
        kernel,
        host,
        sockets: Sockets::new(listening).map_err(call("epoll_create"))?,
        workers,
        fifo,
        signals,
        // Without it new addresses are found by the messages to them.
        changes: AddressChanges::open().ok(),
    };
    Ok(Daemon::new(parts, now))
}

/// The kernel, as it is opened before there are two processes.
enum Opened {
    /// `-n`: it takes no part.
    None(Box<dyn Kernel>),
    /// NETLINK_XFRM.
    Xfrm {
        requests: Requests,
        /// The child's, which hears them without privileges.
        notices: Notices,
        /// The monitor's.
        acquires: Notices,
    },
    /// PF_KEY; all but the line is the monitor's.
    PfKey {
        requests: pf_key::Requests,
        relay: Relay,
        /// The child's, which hears notices by it.
        line: DescriptorChannel,
    },
}

impl Opened {
    /// The monitor's part of it.
    fn guard(self, nat_t_port: Option<u16>) -> Option<Guard> {
        match self {
            Opened::None(_) => None,
            Opened::Xfrm {
                requests, acquires, ..
            } => Some(Guard::new(Box::new(requests), Some(acquires), nat_t_port)),
            Opened::PfKey {
                requests, relay, ..
            } => Some(Guard::new(Box::new(requests), None, nat_t_port).with_relay(relay)),
        }
    }

    /// The child's part of it.
    fn kernel(self, monitor: &Rc<Remote>, log: &Rc<Log>) -> Box<dyn Kernel> {
        match self {
            Opened::None(kernel) => kernel,
            Opened::Xfrm { notices, .. } => {
                let xfrm = Xfrm::new(Rc::clone(monitor), notices);
                Box::new(Ipsec::new(xfrm, Rc::clone(log)))
            }
            Opened::PfKey { line, .. } => {
                let pf_key = PfKey::new(Rc::clone(monitor), line);
                Box::new(Ipsec::new(pf_key, Rc::clone(log)))
            }
        }
    }
}

/// An interface of the kernel's that is ready.
type Open = fn(&Log) -> io::Result<Opened>;

fn open_kernel(options: &Options, log: &Log) -> Result<Opened, StartError> {
    if !options.no_kernel {
        let interfaces: [(&str, &str, Open); 2] = [
            ("xfrm", "XFRM", open_xfrm),
            ("pfkey", "PF_KEY", open_pf_key),
        ];
        let only = std::env::var_os(INTERFACE_VARIABLE);
        if let Some(only) = only.as_ref() {
            if !interfaces.iter().any(|(value, ..)| only == value) {
                let only = only.to_string_lossy();
                log.print(format!(
                    "app_init: {INTERFACE_VARIABLE}={only} is neither xfrm nor pfkey"
                ));
            }
        }
        for (value, name, open) in interfaces {
            if only.as_ref().is_some_and(|only| only != value) {
                continue;
            }
            match open(log) {
                Ok(opened) => return Ok(opened),
                Err(error) => log.error(format!("app_init: {name}"), &error),
            }
        }
        return Err(StartError::Kernel);
    }
    match std::env::var_os(FAKE_VARIABLE) {
        None => Ok(Opened::None(Box::new(NoKernel))),
        Some(path) => {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(call("open"))?;
            Ok(Opened::None(Box::new(Fake::new(Box::new(file)))))
        }
    }
}

fn open_xfrm(log: &Log) -> io::Result<Opened> {
    let mut requests = Requests::open()?;
    // Whoever may not look may not do anything else either.
    tell_removed(requests.remove_all(&XFRM_REQIDS, MARK)?, log);
    Ok(Opened::Xfrm {
        requests,
        notices: Notices::open()?,
        acquires: Notices::open()?,
    })
}

fn open_pf_key(log: &Log) -> io::Result<Opened> {
    let mut requests = pf_key::Requests::open()?;
    tell_removed(requests.remove_all(&PF_KEY_REQIDS)?, log);
    let (relay, line) = Relay::open()?;
    Ok(Opened::PfKey {
        requests,
        relay,
        line,
    })
}

/// What a daemon left that was killed.
fn tell_removed(left: usize, log: &Log) {
    if left != 0 {
        log.print(format!(
            "isakmpd: {left} SAs and policies removed that were left in the kernel"
        ));
    }
}

fn listening(
    options: &Options,
    names: &isakmpd_conf::host::Names,
    log: &Log,
) -> Result<Listening, StartError> {
    let read = |text: &OsStr, what| {
        port(text, names).map_err(|error| {
            log.print(error.to_string());
            let text = text.to_string_lossy().into_owned();
            StartError::Port { what, text }
        })
    };
    Ok(Listening {
        ipv4: options.ipv4,
        ipv6: options.ipv6,
        port: read(&options.port, "")?,
        nat_t_port: match options.no_nat_t {
            true => None,
            false => Some(read(&options.nat_t_port, "encap ")?),
        },
    })
}
