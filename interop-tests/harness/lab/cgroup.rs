//! A cgroup of its own for a host's daemon: programs of one daemon in the kernel are not called for another's sockets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait;

/// How long processes that were killed may be on their way.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cgroup of version 2 below that of this process.
#[derive(Debug)]
pub struct Cgroup {
    outside: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Makes one; `None` where that is not possible.
    pub fn new(name: &str) -> Option<Cgroup> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let mounted = line.split(' ').nth(4)?;
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let outside = Path::new(mounted).join(own);
        let path = outside.join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Cgroup { outside, path })
    }

    /// Whoever writes his number into this file is in it.
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Moves a process into it.
    pub fn enter(&self, process: u32) {
        std::fs::write(self.processes(), process.to_string()).expect("moving it in");
    }

    /// Moves a process out of it.
    pub fn leave(&self, process: u32) {
        let there = self.outside.join("cgroup.procs");
        std::fs::write(there, process.to_string()).expect("moving it out");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        wait::until(PATIENCE, || std::fs::remove_dir(&self.path).ok());
    }
}
