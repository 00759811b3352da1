//! `-apart`: each host on a processor of its own, as two hosts have it. Without it the kernel puts both onto one
//! when that is cheaper than waking the other, and their arithmetic is done one after the other.

use std::fs;
use std::sync::OnceLock;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

static ASKED: OnceLock<()> = OnceLock::new();

/// One of the hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    fn processor(self) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(match self {
            Side::Client => 0,
            Side::Server => 1,
        });
        set
    }
}

/// From now on.
pub(crate) fn ask() {
    let _ = ASKED.set(());
}

/// Whether it was asked for.
pub(crate) fn is_asked() -> bool {
    ASKED.get().is_some()
}

/// The calling thread is an application's of this host.
pub(crate) fn pin_thread(side: Side) {
    if is_asked() {
        let _ = sched_setaffinity(None, &side.processor());
    }
}

/// The process, with all threads that it has, runs on this host.
pub(crate) fn pin_process(pid: u32, side: Side) {
    if !is_asked() {
        return;
    }
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let number = task.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = number.and_then(Pid::from_raw) {
            let _ = sched_setaffinity(Some(pid), &side.processor());
        }
    }
}
