//! What a daemon's processes have used.

use std::fs;

/// All processes of a daemon.
#[derive(Debug, Clone)]
pub(crate) struct Processes(pub Vec<u32>);

impl Processes {
    /// CPU time of all threads so far, in ms, as the scheduler counts it.
    pub(crate) fn cpu_ms(&self) -> f64 {
        let tasks = self.0.iter().flat_map(|pid| {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            tasks.into_iter().flatten().flatten()
        });
        let nanoseconds = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        nanoseconds.sum::<f64>() / 1e6
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> f64 {
        let of = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        };
        self.0.iter().filter_map(of).sum()
    }
}
