//! What is asked of a service, and how fast it answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use interop_tests::inferno::database::User;
use interop_tests::inferno::domain::{Domain, Inferno, Place, Session};
use interop_tests::inferno::ninep::NineP;
use interop_tests::inferno::original::Original;
use interop_tests::inferno::ours::{Root, live_threads, memory_kb, processor_time};
use interop_tests::program::{Guarded, collect, signal};
use interop_tests::wait::{self, SOON};

/// Clients at once.
pub(crate) const CLIENTS: usize = 4;
/// Clients at once where waiting for the disk can be shared.
pub(crate) const CROWD: usize = 64;
const SECRET: &[u8] = b"the secret of a user";

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    /// Time for each figure.
    pub each: Duration,
    /// Users of the large database.
    pub users: usize,
    /// Connections at once.
    pub connections: usize,
}

/// Who is asked.
#[derive(Debug)]
pub(crate) enum Subject {
    /// This `inferno-auth`.
    Ours(PathBuf),
    /// The original.
    Original(&'static Original),
}

/// What was measured; NaN is what could not be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Authentications up to an attached session, per second.
    pub sessions: f64,
    /// Checks of a secret per second, one client.
    pub checks: f64,
    /// The same, `CLIENTS`.
    pub checks_at_once: f64,
    /// Processor time of the service for each of these, microseconds.
    pub check_us: f64,
    /// Processor time of the clients for each of these, microseconds.
    pub client_us: f64,
    /// Changes per second, one client.
    pub changes: f64,
    /// The same, `CLIENTS`.
    pub changes_at_once: f64,
    /// The same, `CROWD`.
    pub changes_of_crowd: f64,
    /// fsync and fdatasync for each change.
    pub syncs: f64,
    /// Logins per second.
    pub logins: f64,
    /// Start of the whole service with the large database, seconds.
    pub large_start: f64,
    /// Checks per second there.
    pub large_checks: f64,
    /// Changes per second there.
    pub large_changes: f64,
    /// Memory of a service to which nobody is connected, kB.
    pub idle_kb: f64,
    /// More of it for each session, kB.
    pub session_kb: f64,
}

impl Subject {
    /// In the table.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Subject::Ours(_) => "kx",
            Subject::Original(_) => "original",
        }
    }

    fn start(&self, users: &[User]) -> Box<dyn Running> {
        match self {
            Subject::Ours(program) => {
                let limits = ["--max-conn", "4096", "--max-per-address", "4096"];
                Box::new(Domain::on(Root::of(program), users, &limits))
            }
            Subject::Original(original) => Box::new(Inferno::new(original, users)),
        }
    }
}

/// A service that was started.
trait Running {
    fn place(&self) -> &Place;
    fn processes(&self) -> Vec<u32>;
}

impl Running for Domain {
    fn place(&self) -> &Place {
        self
    }

    fn processes(&self) -> Vec<u32> {
        self.root.processes()
    }
}

impl Running for Inferno {
    fn place(&self) -> &Place {
        self
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.running.id()]
    }
}

/// One user for each client, and one whose password is stored as a digest.
fn users(more: usize) -> Vec<User> {
    let clients = (0..CROWD).map(|n| User::new(&client(n), SECRET));
    let others = (0..more).map(|n| User::hashed(&format!("user{n:05}"), "some password"));
    let login = [User::hashed("login", "some password")];
    // In front: the original serves some 4,000 users and no more.
    clients.chain(login).chain(others).collect()
}

fn client(n: usize) -> String {
    format!("client{n}")
}

/// Calls what `prepare` gives to each client until the time is over; per second.
fn rate<W: FnMut()>(clients: usize, each: Duration, prepare: impl Fn(usize) -> W + Sync) -> f64 {
    rate_and_cost(clients, each, prepare, Vec::new)[0]
}

/// The same, and the microseconds of processor time that these processes and we have used for each call.
fn rate_and_cost<W: FnMut()>(
    clients: usize,
    each: Duration,
    prepare: impl Fn(usize) -> W + Sync,
    processes: impl Fn() -> Vec<u32>,
) -> [f64; 3] {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let ready = std::sync::Barrier::new(clients + 1);
    std::thread::scope(|scope| {
        for n in 0..clients {
            let (over, done, ready, prepare) = (&over, &done, &ready, &prepare);
            scope.spawn(move || {
                let mut work = prepare(n);
                ready.wait();
                while !over.load(Ordering::Relaxed) {
                    work();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ready.wait();
        let (theirs, ours) = (processes(), [std::process::id()]);
        let used = || (processor_time(&theirs), processor_time(&ours));
        let (before, earlier) = (used(), done.load(Ordering::Relaxed));
        let began = Instant::now();
        std::thread::sleep(each);
        let counted = (done.load(Ordering::Relaxed) - earlier) as f64;
        let took = began.elapsed();
        let after = used();
        over.store(true, Ordering::Relaxed);
        let per_call = |before: f64, after: f64| (after - before) * 1e6 / counted;
        [
            counted / took.as_secs_f64(),
            per_call(before.0, after.0),
            per_call(before.1, after.1),
        ]
    })
}

/// A connection from which each record is read with one call of the system, not header and body with one
/// each: less of the machine goes to the clients.
struct InOne {
    stream: TcpStream,
    /// What was read, and what of it was taken.
    buffer: [u8; 512],
    ready: std::ops::Range<usize>,
}

impl InOne {
    fn new(stream: TcpStream) -> InOne {
        InOne {
            stream,
            buffer: [0; 512],
            ready: 0..0,
        }
    }
}

impl Read for InOne {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            self.ready = 0..self.stream.read(&mut self.buffer)?;
        }
        let taken = (&self.buffer[self.ready.clone()]).read(out)?;
        self.ready.start += taken;
        Ok(taken)
    }
}

impl Write for InOne {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A session of client `n`. The original, when the machine has much else to do, hangs up on some.
fn session(place: &Place, n: usize) -> Session {
    let info = place.issue_quickly(&client(n));
    wait::until(SOON, || place.session(&info).ok()).expect("a session")
}

/// Per second, and the processor time of service and clients for each.
fn checks(running: &dyn Running, clients: usize, each: Duration) -> [f64; 3] {
    let place = running.place();
    let prepare = |n| {
        let mut session = session(place, n);
        let (root, hash) = (session.root, interop_tests::inferno::keys::sha1(SECRET));
        let hash = interop_tests::inferno::keys::hex(&hash);
        let file = session.client.walk(root, &["secret"]).expect("secret");
        session.client.open(file, 1).expect("opened");
        let mut client = NineP::new(session.client.carrier.over(InOne::new));
        move || {
            let count = client.write(file, 0, hash.as_bytes());
            assert_eq!(count, Ok(0), "a check");
        }
    };
    rate_and_cost(clients, each, prepare, || running.processes())
}

fn changes(place: &Place, clients: usize, each: Duration) -> f64 {
    rate(clients, each, |n| {
        let mut session = session(place, n);
        let mut turn = 0u32;
        move || {
            // A session goes on by the secret that it found.
            turn += 1;
            let new = format!("another secret {turn}").into_bytes();
            session.change(SECRET, &new).expect("a change");
        }
    })
}

/// fsyncs for each change, by strace.
fn syncs(running: &dyn Running) -> f64 {
    const CHANGES: u32 = 20;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range"]);
    let processes = running.processes().into_iter();
    let threads: Vec<u32> = processes.flat_map(live_threads).collect();
    for id in &threads {
        command.arg("-p").arg(id.to_string());
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(child) = command.spawn() else {
        return f64::NAN;
    };
    let child = Guarded(child);
    let id = child.0.id();
    let traced = wait::until(SOON, || {
        let mut all = threads.iter();
        let status = |id: &u32| std::fs::read_to_string(format!("/proc/{id}/status")).ok();
        all.all(|id| status(id).is_none_or(|text| !text.contains("TracerPid:\t0\n")))
            .then_some(())
    });
    if traced.is_none() {
        return f64::NAN;
    }
    let mut session = running.place().session_of(&client(0));
    for n in 0..CHANGES {
        let new = format!("another secret {n}").into_bytes();
        let new = if n + 1 == CHANGES {
            SECRET.to_vec()
        } else {
            new
        };
        session.change(SECRET, &new).expect("a change");
    }
    signal(id, "INT");
    let said = collect(child, SOON).stderr_text();
    let calls = said.lines().filter(|line| line.contains("sync(")).count();
    calls as f64 / f64::from(CHANGES)
}

/// Memory without and with many sessions.
fn memory(running: &dyn Running, connections: usize) -> (f64, f64) {
    let idle = memory_kb(&running.processes()) as f64;
    let place = running.place();
    let info = place.issue_quickly(&client(0));
    let sessions: Vec<_> = (0..connections)
        .map_while(|_| place.session(&info).ok())
        .collect();
    let full = memory_kb(&running.processes()) as f64;
    if sessions.len() < connections {
        eprintln!("no more than {} sessions at once", sessions.len());
    }
    match sessions.len() {
        0 => (idle, f64::NAN),
        n => (idle, (full - idle) / n as f64),
    }
}

/// One round.
pub(crate) fn measure(subject: &Subject, amounts: Amounts) -> Figures {
    let Amounts {
        each,
        users: many,
        connections,
    } = amounts;
    let running = subject.start(&users(10));
    let place = running.place();
    let sessions = rate(CLIENTS, each, |n| {
        let info = place.issue(&client(n));
        move || drop(place.session(&info).expect("a session"))
    });
    let logins = rate(CLIENTS, each, |_| {
        let key = place.signer.key.owned_by("login");
        move || {
            drop(
                place
                    .login_with(key.clone(), "some password")
                    .expect("a login"),
            )
        }
    });
    let [one_checks, ..] = checks(&*running, 1, each);
    let [checks_at_once, check_us, client_us] = checks(&*running, CLIENTS, each);
    let syncs = syncs(&*running);
    let (idle_kb, session_kb) = memory(&*running, connections);
    let changes_at_once = changes(place, CLIENTS, each);
    drop(running);
    // Whoever changed a secret does not know it any more: the next one starts anew.
    let running = subject.start(&users(10));
    let one_changes = changes(running.place(), 1, each);
    drop(running);
    let running = subject.start(&users(10));
    let changes_of_crowd = changes(running.place(), CROWD, each);
    drop(running);

    let began = Instant::now();
    let large = subject.start(&users(many));
    let large_start = began.elapsed().as_secs_f64();
    let [large_checks, ..] = checks(&*large, 1, each);
    let large_changes = changes(large.place(), 1, each);
    Figures {
        sessions,
        checks: one_checks,
        checks_at_once,
        check_us,
        client_us,
        changes: one_changes,
        changes_at_once,
        changes_of_crowd,
        syncs,
        logins,
        large_start,
        large_checks,
        large_changes,
        idle_kb,
        session_kb,
    }
}
