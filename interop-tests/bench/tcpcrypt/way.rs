//! One way over the cable, measured once.

use std::fs;
use std::io;
use std::process::{Child, Stdio};
use std::time::Duration;

use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::host::Host;
use interop_tests::lab::implementation::Implementation;
use interop_tests::lab::{Lab, PORT, Settings};
use interop_tests::program::Guarded;
use interop_tests::wait;

use crate::apart::{self, Side};
use crate::far;
use crate::holders::Holders;
use crate::load::{self, Short};
use crate::over::{Over, Tls};
use crate::streams::{self, Carried, Streams};

/// Connections after which the original's timers run out ("tcpcrypt spec 5.1"), less a few.
const ORIGINAL_LASTS: usize = 800;
/// Among how many connections questions are asked: few; more than the original bears; nearly as many as a process may
/// have descriptors for here; and more than that.
pub(crate) const AMONG: [usize; 4] = [10, 1_000, 9_900, 50_000];
/// Short connections at the same time.
pub(crate) const CLIENTS: usize = 8;
/// Part of the packets lost on arrival, at each host.
pub(crate) const LOSS: f64 = 0.005;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) bulk: Duration,
    pub(crate) short: Duration,
    pub(crate) idle: usize,
    /// Questions and answers among some connections.
    pub(crate) questions: usize,
    /// Connections at most.
    pub(crate) many: usize,
}

/// What the packets pass.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Nothing.
    Bare,
    /// Nothing; the applications speak TLS 1.3.
    Tls,
    /// A queue at each end.
    Queue,
    /// A daemon at each end, with the name of whose it is.
    Daemon(&'static str, &'static Implementation, Mode),
}

/// How a daemon gets at the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By a queue, in the original's dialect.
    Divert,
    /// As an endpoint of both connections, in the standard.
    Redirect,
    /// The same, without threads that carry streams.
    RedirectAlone,
}

impl Mode {
    pub(crate) const ALL: [Mode; 3] = [Mode::Divert, Mode::Redirect, Mode::RedirectAlone];

    /// What `-ways` calls it.
    pub(crate) fn way(self) -> &'static str {
        match self {
            Mode::Divert => "kx",
            Mode::Redirect => "redirect",
            Mode::RedirectAlone => "redirect0",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Mode::Divert => &[],
            Mode::Redirect => &["-e", "--eno=rfc"],
            Mode::RedirectAlone => &["-e", "--eno=rfc", "--threads=0"],
        }
    }
}

impl Way {
    pub(crate) fn name(&self) -> String {
        match self {
            Way::Bare => "bare TCP".to_owned(),
            Way::Tls => "TLS 1.3".to_owned(),
            Way::Queue => "NFQUEUE alone".to_owned(),
            Way::Daemon(name, _, mode) => [&[*name], mode.options()].concat().join(" "),
        }
    }

    /// The mode of the daemons, if there are any.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self {
            Way::Daemon(_, _, mode) => Some(*mode),
            _ => None,
        }
    }

    pub(crate) fn over(&self, resume: bool) -> Over {
        match self {
            Way::Tls => Over::Tls(Tls::new(resume).expect("TLS 1.3")),
            _ => Over::Tcp,
        }
    }

    /// Whether every packet goes through somebody's hands.
    pub(crate) fn has_processes(&self) -> bool {
        !matches!(self, Way::Bare | Way::Tls)
    }

    /// Whether a session can go on in another connection.
    fn may_resume(&self) -> bool {
        self.mode().is_some() || matches!(self, Way::Tls)
    }

    fn is_original(&self) -> bool {
        matches!(self, Way::Daemon(_, implementation, _) if implementation.original)
    }

    /// How many connections there may be.
    pub(crate) fn most(&self) -> usize {
        match self.is_original() {
            true => ORIGINAL_LASTS,
            false => usize::MAX,
        }
    }
}

/// What a way showed in one round; NaN is what it did not finish or what was not tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) bulk: Carried,
    pub(crate) streams: Streams,
    pub(crate) full: Phase,
    pub(crate) resumed: Phase,
    /// Microseconds from connect to the first answer while a packet takes [`far::AWAY`]: full, and resumed.
    pub(crate) far_us: [f64; 2],
    pub(crate) lossy_s: f64,
    /// Octets of a daemon per silent connection.
    pub(crate) idle: f64,
    /// Both daemons, microseconds per question and answer, among so many connections as [`AMONG`] says.
    pub(crate) among_us: [f64; AMONG.len()],
}

/// Short connections with one sort of key exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Both daemons, microseconds per connection, while they come one after the other.
    pub(crate) daemon_cpu_us: f64,
    pub(crate) at_once_per_second: f64,
}

const NOTHING: Phase = Phase {
    per_second: f64::NAN,
    p50_us: f64::NAN,
    p99_us: f64::NAN,
    daemon_cpu_us: f64::NAN,
    at_once_per_second: f64::NAN,
};

/// What stands between the two hosts and the cable.
pub(crate) enum Between<'l> {
    Nothing,
    Queues(Vec<Guarded>),
    Daemons([Daemon<'l>; 2]),
}

impl<'l> Between<'l> {
    pub(crate) fn start(way: &Way, lab: &'l Lab, options: &[&str]) -> Between<'l> {
        match way {
            Way::Bare | Way::Tls => Between::Nothing,
            Way::Queue => {
                let children = lab.hosts();
                let children =
                    children.map(|host| Guarded(queue_process(host, "-accept-all", 666)));
                divert(lab);
                Between::Queues(children.into())
            }
            Way::Daemon(_, implementation, mode) => {
                let options = [options, mode.options()].concat();
                let daemons = lab
                    .hosts()
                    .map(|host| Daemon::start(host, implementation, &options));
                match mode {
                    Mode::Divert => divert(lab),
                    Mode::Redirect | Mode::RedirectAlone => lab.redirect(&PORT.to_string()),
                }
                Between::Daemons(daemons)
            }
        }
    }

    pub(crate) fn apart(self) -> Between<'l> {
        for (pid, side) in self.pids().into_iter().zip([Side::Client, Side::Server]) {
            apart::pin_process(pid, side);
        }
        self
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Between::Nothing => Vec::new(),
            Between::Queues(children) => children.iter().map(|child| child.0.id()).collect(),
            Between::Daemons(daemons) => daemons.iter().map(Daemon::pid).collect(),
        }
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.pids().into_iter().map(cpu).sum()
    }
}

/// What comes and goes to the queue, but for what our daemon makes itself, as in our own rules. The other ways
/// make no packets with that mark.
fn divert(lab: &Lab) {
    lab.divert(&PORT.to_string());
    for host in lab.hosts() {
        host.rule("-I OUTPUT -p tcp -m mark --mark 0x74637001 -j ACCEPT");
    }
}

/// This program once more, inside a host, as what has a queue there.
pub(crate) fn queue_process(host: &Host, what: &str, number: u16) -> Child {
    let me = std::env::current_exe().expect("this program");
    let mut command = host.command(me);
    command.arg(what).stdin(Stdio::null());
    command.stdout(Stdio::null());
    let child = command.spawn().expect("the queue");
    let queues = wait::until(wait::SOON, || {
        let table = host.output("cat /proc/self/net/netfilter/nfnetlink_queue");
        table.contains(&number.to_string()).then_some(())
    });
    assert!(queues.is_some(), "no queue");
    child
}

/// CPU time of all threads of a process, as the scheduler counts it.
fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let total = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(total.sum())
}

/// CPU time of this process, also of threads that have ended.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

pub(crate) fn note<T>(way: &Way, what: &str, result: io::Result<T>) -> Option<T> {
    if let Err(error) = &result {
        eprintln!("{}: {what}: {error}", way.name());
    }
    result.ok()
}

/// Measures a way once; a laboratory for each part, so that nothing is left over from the last.
pub(crate) fn measure(
    way: &Way,
    settings: Settings,
    amounts: Amounts,
    only: Option<&str>,
    first: bool,
) -> Figures {
    let wanted = |part: &str| only.is_none_or(|only| only.split(',').any(|one| one == part));
    let mut figures = Figures {
        bulk: Carried::NOTHING,
        streams: Streams::NOTHING,
        full: NOTHING,
        resumed: NOTHING,
        far_us: [f64::NAN; 2],
        lossy_s: f64::NAN,
        idle: f64::NAN,
        among_us: [f64::NAN; AMONG.len()],
    };
    if wanted("bulk") {
        figures.bulk = streams::bulk(way, settings, amounts);
    }
    if wanted("streams") {
        figures.streams = streams::streams(way, settings, amounts);
    }
    if wanted("full") {
        figures.full = phase(way, settings, amounts, &["-c"]);
    }
    // Without a daemon there is no difference.
    figures.resumed = figures.full;
    if way.may_resume() && wanted("resumed") {
        figures.resumed = phase(way, settings, amounts, &[]);
    }
    if wanted("far") {
        let [full, resumed] = &mut figures.far_us;
        *full = far(way, settings, amounts, &["-c"]);
        *resumed = match way.may_resume() {
            true => far(way, settings, amounts, &[]),
            false => *full,
        };
    }
    // What does not end takes long: the original has one chance.
    if !matches!(way, Way::Tls) && wanted("lossy") && (first || !way.is_original()) {
        let lab = Lab::new(settings);
        let _between = Between::start(way, &lab, &[]);
        lab.lose(LOSS);
        if let Some(took) = note(way, "under loss", load::lossy(&lab)) {
            figures.lossy_s = took.as_secs_f64();
        }
    }
    if way.mode().is_some() && first && wanted("idle") {
        figures.idle = idle(way, settings, amounts).unwrap_or(f64::NAN);
    }
    if way.has_processes() && wanted("many") {
        for (us, count) in figures.among_us.iter_mut().zip(AMONG) {
            if let Some(count) = possible(way, count, amounts, first) {
                *us = among(way, settings, count, amounts).unwrap_or(f64::NAN);
            }
        }
    }
    figures
}

/// Short connections, `clients` at once, and CPU time of the daemons meanwhile.
fn short(
    way: &Way,
    lab: &Lab,
    amounts: Amounts,
    options: &[&str],
    clients: usize,
) -> Option<(Short, Duration)> {
    let between = Between::start(way, lab, options).apart();
    // The first connection is nobody's measure: ARP, page faults, the first session.
    let over = way.over(options.is_empty());
    note(
        way,
        "warming up",
        load::short(lab, &over, 1, amounts.short, 5),
    )?;
    let before = between.cpu();
    let result = load::short(lab, &over, clients, amounts.short, way.most() - 5);
    let short = note(way, "short connections", result)?;
    Some((short, between.cpu().saturating_sub(before)))
}

/// Between hosts that are not beside each other.
fn far(way: &Way, settings: Settings, amounts: Amounts, options: &[&str]) -> f64 {
    let lab = Lab::new(settings);
    let _away = far::move_apart(&lab);
    short(way, &lab, amounts, options, 1).map_or(f64::NAN, |(one, _)| one.p50_us)
}

fn phase(way: &Way, settings: Settings, amounts: Amounts, options: &[&str]) -> Phase {
    let run = |clients| short(way, &Lab::new(settings), amounts, options, clients);
    let Some((one, cpu)) = run(1) else {
        return NOTHING;
    };
    let cpu = cpu.as_secs_f64() * 1e6 / one.count as f64;
    Phase {
        per_second: one.per_second,
        p50_us: one.p50_us,
        p99_us: one.p99_us,
        daemon_cpu_us: match way.has_processes() {
            true => cpu,
            false => f64::NAN,
        },
        at_once_per_second: run(CLIENTS).map_or(f64::NAN, |(many, _)| many.per_second),
    }
}

/// CPU time of both daemons per question and answer among `count` connections, in microseconds.
fn among(way: &Way, settings: Settings, count: usize, amounts: Amounts) -> Option<f64> {
    let lab = Lab::new(settings);
    let between = Between::start(way, &lab, &[]);
    let held = note(way, "many connections", Holders::open(&lab, count))?;
    note(way, "among many", held.talk(amounts.questions / 10))?;
    let before = between.cpu();
    note(way, "among many", held.talk(amounts.questions))?;
    let cpu = between.cpu().saturating_sub(before);
    Some(cpu.as_secs_f64() * 1e6 / amounts.questions as f64)
}

/// How many connections there are instead of `count`, if the way can have about so many. What takes long to open is
/// opened once.
fn possible(way: &Way, count: usize, amounts: Amounts, first: bool) -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let most = match way.mode() {
        _ if way.is_original() => return (count <= 1_000).then_some(count.min(ORIGINAL_LASTS)),
        // Its daemon has two descriptors for each.
        Some(Mode::Redirect | Mode::RedirectAlone) => descriptors.saturating_sub(200) / 2,
        _ => usize::MAX,
    };
    let is_long = count > 10_000;
    (count <= most.min(amounts.many) && (first || !is_long)).then_some(count)
}

/// Memory of both daemons, halved, per silent connection.
fn idle(way: &Way, settings: Settings, amounts: Amounts) -> Option<f64> {
    let lab = Lab::new(settings);
    let between = Between::start(way, &lab, &["-c"]);
    let Between::Daemons(daemons) = &between else {
        return None;
    };
    let count = amounts.idle.min(way.most());
    let resident = || daemons.iter().map(Daemon::resident_kib).sum::<u64>();
    let warm = note(way, "silent connections", load::hold_idle(&lab, count / 10))?;
    let before = resident();
    let held = note(way, "silent connections", load::hold_idle(&lab, count))?;
    std::thread::sleep(Duration::from_secs(2));
    let grown = resident().saturating_sub(before);
    drop((warm, held));
    Some(grown as f64 * 1024.0 / 2.0 / count as f64)
}
