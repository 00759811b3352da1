//! Runs a program to its end, with a limit.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{machine, wait};

/// What a finished program left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Exit status; minus the signal's number when a signal ended it.
    pub rc: i32,
    /// Everything it wrote on stdout.
    pub stdout: Vec<u8>,
    /// Everything it wrote on stderr.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// stderr as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Exit status in Python's manner: minus the number of the signal that ended it.
pub fn status_number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A field of a process's state in `/proc`, for example `CapEff`. Empty if one of the two is not there.
pub fn status_field(pid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let value = fields.find_map(|(name, value)| (name == field).then_some(value));
    value.unwrap_or_default().trim().to_owned()
}

/// A child that cannot outlive the test.
#[derive(Debug)]
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `program` with `args`; panics if it cannot be started or lasts more than 30 s.
pub fn run<A: AsRef<OsStr>>(program: impl AsRef<Path>, args: &[A]) -> Finished {
    run_command(Command::new(program.as_ref()).args(args))
}

/// Runs a prepared command with empty stdin; panics if it cannot be started or lasts more
/// than 30 s (some minutes on an emulated processor).
pub fn run_command(command: &mut Command) -> Finished {
    let name = format!("{:?}", command.get_program());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
    let limit = if machine::is_inside() { 180 } else { 30 };
    collect(Guarded(child), Duration::from_secs(limit))
}

/// Reads both pipes of a child and waits for its end, at most `limit`.
pub fn collect(mut child: Guarded, limit: Duration) -> Finished {
    let out = child.0.stdout.take();
    let err = child.0.stderr.take();
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read_all(out));
        let stderr = scope.spawn(move || read_all(err));
        let status = wait::until(limit, || child.0.try_wait().ok().flatten());
        if status.is_none() {
            let _ = child.0.kill();
        }
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        let status = status.unwrap_or_else(|| panic!("the program ran longer than {limit:?}"));
        Finished {
            rc: status_number(status),
            stdout,
            stderr,
        }
    })
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}

/// True when a process is gone, or nothing but an exit status that nobody has fetched.
pub fn is_gone(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// Sends a signal, by name without SIG, to a process that the test started.
pub fn signal(pid: u32, name: &str) {
    let done = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(done.is_ok_and(|s| s.success()), "kill -{name} {pid} failed");
}
