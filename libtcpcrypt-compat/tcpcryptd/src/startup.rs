//! From the command line to the running daemon, in the original's order and with its words
//! (tcpcrypt spec 2.1): open everything, then give everything up.

mod protocol;
mod redirect_mode;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kx_sys::companion::{self, Side};
use kx_sys::conntrack::LiberalTracking;
use kx_sys::conntrack_lookup::ConntrackLookup;
use kx_sys::nfqueue::{self, Queue};
use kx_sys::notify::Notifier;
use kx_sys::privileges::{self, DropError, User};
use kx_sys::rule_changes::RuleChanges;
use kx_sys::sandbox::{self, PartOfCall};
use kx_sys::signals::{Signals, number};
use kx_sys::sock_ops::SockOpsError;
use kx_sys::socket_end::SocketEnder;
use kx_sys::tcp_proxy::raise_file_limit;
use rustix::thread::CapabilitySet;
use tcpcrypt_control::{Address, AddressError};

use crate::control_socket::ControlSocket;
use crate::divert::Divert;
use crate::event_loop::{Daemon, Ended, Parts};
use crate::guard::{self, Guard, Table};
use crate::injector::Injector;
use crate::key_log::{self, KeyLogFile};
use crate::log::{ALWAYS, DEBUG, DEFAULT, Log, NOISY, system_text};
use crate::options::Options;
use crate::redirect;
use crate::rule_watch::RuleWatch;
use crate::self_tests::{self, Dropper, TestError};
use crate::usage;

use protocol::endpoint;
use redirect_mode::{begin_listening, bind_listeners, missing, proxy};

/// Octets of additional randomness that the original reads.
const SEED: usize = 4;

/// What divert mode needs, and its guard.
const DIVERT_CALLS: [&[i64]; 3] = [
    sandbox::BASIC_CALLS,
    sandbox::SOCKET_CALLS,
    sandbox::EPOLL_CALLS,
];

/// What ends the start. `Display` is the line behind the program's name.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `-r`
    #[error("Could not open random device {path}: {}", system_text(source))]
    OpenRandom {
        /// As given.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Neither of the two is there.
    #[error("Could not find a random device")]
    NoRandom,
    /// Too short, or not readable.
    #[error("Could not read random seed from {0}")]
    ReadRandom(String),
    /// Nothing but zeros in it.
    #[error("Could not provide random seed")]
    NoSeed,
    /// `-t`
    #[error("Test {0} out of range")]
    TestRange(i32),
    /// `-t 2` without `-T`.
    #[error("Need a packet number parameter.  1 is first.")]
    NoPacketNumber,
    /// `-t 0` and `-t 1`.
    #[error(transparent)]
    Test(#[from] TestError),
    /// The queue.
    #[error("{}: {}", .0.step, system_text(&.0.source))]
    Queue(#[from] nfqueue::OpenError),
    /// `-u`
    #[error("interpreting socket address '{text}': {source}")]
    Address {
        /// As given.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// A call of the system's, by its name.
    #[error("{call}: {}", system_text(source))]
    Call {
        /// With parentheses.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// `-U`, nobody of that name.
    #[error("Can't find user '{0}'")]
    NoUser(String),
    /// `-U`, and nobody knows.
    #[error("Can't find user '{name}': {}", system_text(source))]
    User {
        /// As given.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// `TCPCRYPT_KEYLOG`
    #[error("Could not open key log {path}: {}", system_text(source))]
    KeyLog {
        /// As given.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// `--eno-by=ebpf`
    #[error("no eBPF program for handshakes: {}", missing(.0))]
    Program(SockOpsError),
    /// `-D`
    #[error("a check of debug mode (-D) failed")]
    Check,
    /// Privileges could not be given up.
    #[error("{}", drop_text(.0))]
    Drop(#[from] DropError),
}

fn call(call: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Call { call, source }
}

fn drop_text(error: &DropError) -> String {
    match error {
        DropError::SetGid { source, .. }
        | DropError::InitGroups { source, .. }
        | DropError::Chroot { source, .. }
        | DropError::Chdir(source)
        | DropError::SetUid { source, .. }
        | DropError::Capabilities { source, .. } => format!("{error}: {}", system_text(source)),
        DropError::NotDropped(_) => error.to_string(),
    }
}

/// Runs what the options ask for, to its end.
///
/// # Errors
/// What the original says on standard error before it ends with code 1. Nothing is changed then.
pub fn run(options: &Options, log: &mut Log) -> Result<(), StartError> {
    let signals = Signals::collect(&[
        number::INTERRUPT,
        number::TERMINATE,
        number::USER1,
        number::USER2,
    ])
    .map_err(call("signal(SIGINT)"))?;
    log.say(ALWAYS, "Initializing...");
    let seed = read_seed(options, log)?;
    match options.test {
        None => daemon(options, log, signals, &seed, None),
        Some(test) => self_test(test, options, log, signals, &seed),
    }
}

fn self_test(
    test: i32,
    options: &Options,
    log: &mut Log,
    signals: Signals,
    seed: &[u8],
) -> Result<(), StartError> {
    let name = usize::try_from(test)
        .ok()
        .and_then(|index| usage::TESTS.get(index))
        .ok_or(StartError::TestRange(test))?;
    log.say(ALWAYS, format_args!("Running test {test}: {name}"));
    match test {
        0 => self_tests::cipher_throughput(log, &signals)?,
        1 => self_tests::mac_throughput(log, &signals, options)?,
        _ => {
            let dropper = Dropper::new(options).ok_or(StartError::NoPacketNumber)?;
            return daemon(options, log, signals, seed, Some(dropper));
        }
    }
    log.say_part("\n");
    log.dump(&[], "");
    Ok(())
}

/// Additional randomness, from the device that was named or one of the usual ones.
fn read_seed(options: &Options, log: &Log) -> Result<[u8; SEED], StartError> {
    let (path, mut file) = match &options.random_path {
        Some(path) => {
            let shown = path.to_string_lossy().into_owned();
            match File::open(path) {
                Ok(file) => (shown, file),
                Err(source) => {
                    return Err(StartError::OpenRandom {
                        path: shown,
                        source,
                    });
                }
            }
        }
        None => ["/dev/urandom", "/dev/random"]
            .into_iter()
            .find_map(|path| Some((path.to_owned(), File::open(path).ok()?)))
            .ok_or(StartError::NoRandom)?,
    };
    log.say_part(format_args!("Reading random seed from {path} "));
    let mut seed = [0; SEED];
    file.read_exact(&mut seed)
        .map_err(|_| StartError::ReadRandom(path))?;
    log.say_part("\n");
    if seed == [0; SEED] {
        return Err(StartError::NoSeed);
    }
    Ok(seed)
}

fn daemon(
    options: &Options,
    log: &mut Log,
    signals: Signals,
    seed: &[u8],
    dropper: Option<Dropper>,
) -> Result<(), StartError> {
    let listeners = match options.redirect {
        true => Some(bind_listeners(log)?),
        false => None,
    };
    let settings = nfqueue::Settings {
        // In redirect mode there are handshakes only.
        super_packets: !options.redirect,
        ..nfqueue::Settings::new(options.queue_number())
    };
    let queue = Queue::open(settings)?;
    let statistics = nfqueue::Statistics::open(options.queue_number()).ok();
    log.say(
        DEFAULT,
        format_args!(
            "Divert packets using iptables -j NFQUEUE --queue-num {}",
            options.divert_port
        ),
    );
    if !options.driver_params.is_empty() {
        let mark = options.repeat_mark().unwrap_or(0);
        let line = format_args!("Also, add -m mark --mark 0x0/0x{mark:x}");
        log.say(DEFAULT, line);
    }
    let injector = Injector::open().map_err(call("socket()"))?;
    let control = bind_control(options, log)?;
    let key_log = open_key_log(log)?;
    let mut endpoint = endpoint(options, seed, key_log.is_some());
    let notifier = Notifier::from_environment().connect();
    let rules = RuleWatch::new(hear_of_rules(log));
    // Best effort: resets end nearly all connections.
    let ender = SocketEnder::open().ok();
    let mut tracking = track_liberally(log);
    if let Some(listeners) = listeners {
        let lookup = ConntrackLookup::open().map_err(call("nfct_open()"))?;
        let threads = options.threads.unwrap_or_else(redirect::threads);
        let connections = redirect::connections_of(raise_file_limit(), threads);
        let begun = begin_listening(options, log, &listeners, &mut endpoint);
        let program = match begun {
            Ok(program) => program,
            Err(error) => {
                if let Some(tracking) = &mut tracking {
                    let _ = tracking.restore();
                }
                return Err(error);
            }
        };
        return proxy(
            log,
            notifier.as_ref(),
            redirect::Parts {
                queue,
                listeners,
                program,
                lookup,
                injector,
                control,
                signals,
                endpoint,
                key_log,
                connections,
                tracking,
                threads,
            },
        );
    }
    if let Err(error) = drop_privileges(options, log, CapabilitySet::empty()) {
        if let Some(tracking) = &mut tracking {
            let _ = tracking.restore();
        }
        return Err(error);
    }
    // After giving up privileges, so that the guard has no more than we; before giving up the making
    // of processes.
    let mut divert = Divert::new(options, dropper);
    let guard = match Table::new().and_then(|table| Ok((companion::start(guard::NAME)?, table))) {
        Ok((Side::First(companion), table)) => {
            divert.table = Some(table);
            Some(companion)
        }
        Ok((Side::Companion(watch), table)) => {
            drop((control, signals, endpoint, rules, ender));
            confine(log, NOISY, &DIVERT_CALLS, &[]);
            let guard = Guard {
                queue,
                divert,
                injector,
                table,
                tracking,
                packet: Vec::new(),
            };
            guard.stand_by(watch, log);
            return Ok(());
        }
        Err(error) => {
            let text = system_text(&error);
            log.say(DEFAULT, format_args!("No guard process: {text}"));
            None
        }
    };
    let daemon = Daemon::new(Parts {
        queue,
        statistics,
        divert,
        guard,
        injector,
        control,
        signals,
        tracking,
        endpoint,
        key_log,
        rules,
        ender,
        enabled: !options.disable,
    });
    let mut daemon = daemon.map_err(call("epoll_create()"))?;
    confine(log, DEBUG, &DIVERT_CALLS, &[]);
    log.say(ALWAYS, "Running");
    if let Some(notifier) = &notifier {
        let _ = notifier.ready();
    }
    let result = daemon.run(log);
    if let Some(notifier) = &notifier {
        let _ = notifier.stopping();
    }
    match result.map_err(call("read(divert)"))? {
        Ended::Signal => {
            daemon.dump(log);
            Ok(())
        }
        Ended::Check => Err(StartError::Check),
    }
}

fn open_key_log(log: &Log) -> Result<Option<KeyLogFile>, StartError> {
    let Some(path) = std::env::var_os(key_log::VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let shown = path.to_string_lossy().into_owned();
    match KeyLogFile::open(&path) {
        Ok(file) => {
            log.say(ALWAYS, format_args!("Writing the keys to {shown}"));
            Ok(Some(file))
        }
        Err(source) => Err(StartError::KeyLog {
            path: shown,
            source,
        }),
    }
}

fn bind_control(options: &Options, log: &Log) -> Result<ControlSocket, StartError> {
    let text = &options.control;
    let address = Address::parse(text.as_bytes()).map_err(|source| StartError::Address {
        text: text.to_string_lossy().into_owned(),
        source,
    })?;
    let line = format_args!("Opening control socket at {address}");
    log.say(DEFAULT, line);
    ControlSocket::bind(&address).map_err(call("bind()"))
}

/// Connection tracking sees plain sequence numbers on one side of us and others on the other; in redirect mode
/// so it is at the end of connections with the original, and what it disbelieves it does not redirect.
fn track_liberally(log: &Log) -> Option<LiberalTracking> {
    match LiberalTracking::set() {
        Ok(tracking) => {
            if tracking.as_ref().is_some_and(LiberalTracking::was_changed) {
                log.say(
                    DEFAULT,
                    "Setting nf_conntrack_tcp_be_liberal to 1 until the end",
                );
            }
            tracking
        }
        Err(error) => {
            log.say(
                DEFAULT,
                format_args!(
                    "Could not set nf_conntrack_tcp_be_liberal: {}",
                    system_text(&error)
                ),
            );
            None
        }
    }
}

/// Without it, rules that are gone are noticed a little later.
fn hear_of_rules(log: &Log) -> Option<RuleChanges> {
    match RuleChanges::open() {
        Ok(changes) => Some(changes),
        Err(error) => {
            let text = system_text(&error);
            log.say(DEBUG, format_args!("No news of nftables' rules: {text}"));
            None
        }
    }
}

/// All but what every daemon works with, and `more`.
fn drop_privileges(options: &Options, log: &Log, more: CapabilitySet) -> Result<(), StartError> {
    let jail = options.jail_dir.to_string_lossy();
    let name = options.jail_user.to_string_lossy();
    log.say(
        DEFAULT,
        format_args!("Attempting to drop privileges with chroot={jail} and user={name}"),
    );
    let user = User::find(&name)
        .map_err(|source| StartError::User {
            name: name.clone().into_owned(),
            source,
        })?
        .ok_or_else(|| StartError::NoUser(name.into_owned()))?;
    let jail = Path::new(&options.jail_dir);
    privileges::drop_to(&user, jail, CapabilitySet::NET_ADMIN | more)?;
    Ok(())
}

/// Best effort: the limit for core files may be fixed from outside, the kernel may be old.
fn confine(log: &Log, level: u8, calls: &[&[i64]], parts: &[PartOfCall]) {
    let _ = kx_sys::hardening::forbid_core_dumps();
    let report = sandbox::confine(calls, parts);
    log.say(level, format_args!("Sandbox: {report}"));
}
