//! The monitor, as it runs in production, and a child of ours that has been taken over: it asks for everything that
//! is not on the list (SECURITY.md). Nothing of it is given, all of it is in the log, and the monitor goes on serving;
//! what is no request at all is the end of such a child.
//!
//! No test harness: it has threads, and only a process with one can be split. Each round is a process of its own with
//! its own /etc and /run. It needs root, but nothing of the kernel's IPsec: a stand-in notes what would be asked there.

mod child;
mod kernel;
mod stage;

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isakmpd::confinement;
use isakmpd::log::Log;
use isakmpd::monitor::{self, Guard};
use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::privileges::{self, User};
use kx_sys::process_pair::{Side, split};
use kx_sys::signals::{Signals, number};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use kernel::{Recorder, Speech};

/// Which part of the test a process is.
const ROUND: &str = "KX_MONITOR_ROUND";

/// Descriptors of the monitor: fewer than are sent to it.
const DESCRIPTORS: u64 = 48;

/// What a child is to do.
#[derive(Clone, Copy)]
enum Round {
    /// Asks for what it may not have; the kernel takes part by this protocol, or (`-n`) not at all.
    Greedy(Option<Speech>),
    /// Says what is no request, and stays.
    Nonsense(usize),
    /// Closes the line, and stays.
    Mute,
}

fn main() {
    if let Some(reason) = stage::missing() {
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        eprintln!("SKIPPED monitor: {reason}");
        return;
    }
    let greedy = [None, Some(Speech::Xfrm), Some(Speech::PfKey)].map(Round::Greedy);
    let nonsense = (0..child::nonsense().len()).map(Round::Nonsense);
    let rounds = greedy.into_iter().chain(nonsense).chain([Round::Mute]);
    let wanted = std::env::var(ROUND).ok();
    for (at, round) in rounds.enumerate() {
        match &wanted {
            None => stage::start(ROUND, &at.to_string()),
            Some(number) if *number == at.to_string() => return play(round),
            Some(_) => {}
        }
    }
    assert!(wanted.is_none(), "no such round");
    println!("monitor: ok");
}

/// In the name spaces of this round.
fn play(round: Round) {
    let stage = stage::Stage::build();
    let before = stage.look();
    let begin = Instant::now();
    // What becomes the monitor can see nothing of this afterwards.
    let status = match split().expect("split") {
        Side::Parent(pair) => pair.wait().expect("waited"),
        Side::Child(line) => {
            drop(line);
            std::process::exit(both(round, &stage))
        }
    };
    let log = stage.log();
    // Thousands of lines are as they should be.
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    assert_eq!(status, Some(0), "{end}");
    let changes = stage::changes(&before, &stage.look());
    let refusals = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert!(!log.contains("panicked"), "{end}");
    match round {
        Round::Greedy(speech) => {
            assert_eq!(changes, [PathBuf::from(child::RESULT)]);
            for path in child::refused_paths() {
                let line = format!("Default m_priv_getfd: illegal path \"{path}\" [priv]");
                assert!(log.contains(&line), "{line} is not in the log: {end}");
            }
            assert_eq!(refusals("Disallowed port "), 2 * child::low_ports().count());
            let foreign = speech.map_or(0, |speech| kernel::foreign(speech).len());
            assert_eq!(refusals("monitor_loop: kernel request refused"), foreign);
        }
        Round::Nonsense(at) => {
            assert!(changes.is_empty(), "{changes:?}");
            let (octets, line) = &child::nonsense()[at];
            assert!(log.contains(line), "{line} is not in the log: {end}");
            // An empty message looks as the end of the line does.
            assert!(octets.is_empty() || begin.elapsed() < Duration::from_secs(4));
        }
        Round::Mute => assert!(changes.is_empty(), "{changes:?}"),
    }
}

/// Both processes, as the daemon starts them. Returns the exit status of the first.
fn both(round: Round, stage: &stage::Stage) -> i32 {
    let signals = Signals::collect(&[number::TERMINATE]).expect("signals");
    let user = User::find(stage::USER).expect("asked").expect("a user");
    match split().expect("split") {
        Side::Parent(child) => {
            rustix::stdio::dup2_stderr(stage.log_file()).expect("a log");
            let limit = Rlimit {
                current: Some(DESCRIPTORS),
                ..getrlimit(Resource::Nofile)
            };
            setrlimit(Resource::Nofile, limit).expect("few descriptors");
            let asked = Rc::new(RefCell::new(Vec::new()));
            let guard = match round {
                Round::Greedy(None) => None,
                Round::Greedy(Some(speech)) => Some(Recorder::new(speech, &asked)),
                _ => Some(Recorder::new(Speech::Xfrm, &asked)),
            };
            let guard = guard.map(|recorder| Guard::new(Box::new(recorder), None, None));
            let log = Rc::new(Log::stderr(true));
            let status = monitor::run(child, &signals, guard, &[], &log).expect("confined");
            let (expected, to_be_asked) = match round {
                Round::Greedy(speech) => (0, speech.map_or(0, |speech| kernel::own(speech).len())),
                Round::Nonsense(_) | Round::Mute => (1, 0),
            };
            assert_eq!(asked.borrow().len(), to_be_asked, "asked of the kernel");
            assert_eq!(status, expected);
            0
        }
        Side::Child(line) => {
            let status = File::open("/proc/self/status").expect("a view of this process");
            child::before(&user);
            privileges::drop_to(&user, user.home(), CapabilitySet::empty()).expect("dropped");
            child::dropped();
            let report = confinement::confine_main();
            child::confined(&report, &status);
            match round {
                Round::Greedy(speech) => child::asks_for_everything(&line, speech),
                Round::Nonsense(at) => says(&line, &child::nonsense()[at].0),
                Round::Mute => drop(line),
            }
            match round {
                Round::Greedy(_) => 0,
                _ => stays(),
            }
        }
    }
}

fn says(line: &DescriptorChannel, octets: &[u8]) {
    let parts = [std::io::IoSlice::new(octets)];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    let sent = rustix::net::sendmsg(line.as_fd(), &parts, &mut Default::default(), flags);
    assert_eq!(sent, Ok(octets.len()));
}

/// Until somebody ends it.
fn stays() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(600));
    }
}
