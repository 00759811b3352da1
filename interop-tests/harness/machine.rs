//! A machine of its own for tests that need what few kernels have: `interop-tests/kernel-vm` boots a stock kernel
//! over this machine's files. A test runs itself there once more and does many things in that one boot.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::program::{Finished, Guarded, collect};
use crate::skip::skip;
use crate::subject::workspace;

/// Set by kernel-vm.
const INSIDE: &str = "IN_KERNEL_VM";
/// Names of scenarios that have this in them, and no others.
const ONLY: &str = "KX_VM_ONLY";
/// Scenarios that are too slow for every day too.
const SLOW: &str = "KX_SLOW_VM";

/// What is missing for such a machine.
pub fn missing() -> Option<String> {
    for program in ["qemu-system-x86_64", "busybox", "cpio", "modprobe"] {
        let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        if !places
            .iter()
            .any(|place| Path::new(place).join(program).exists())
        {
            return Some(format!("no {program}"));
        }
    }
    let kernels = std::fs::read_dir("/boot").into_iter().flatten().flatten();
    let mut versions = kernels.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(PathBuf::from("/lib/modules").join(name.strip_prefix("vmlinuz-")?))
    });
    if versions.any(|modules| modules.exists()) {
        None
    } else {
        Some("no kernel under /boot with its modules".to_owned())
    }
}

/// True when such a machine can be had; tells why not.
pub fn can_be_had(test: &str) -> bool {
    if std::env::var_os("KX_SLOW").is_none() {
        skip(test, "starts a machine, takes a minute; KX_SLOW is not set");
        return false;
    }
    if let Some(reason) = missing() {
        skip(test, &reason);
        return false;
    }
    true
}

/// True in such a machine.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// A command that runs another one in a machine, in directory `dir`, for so long at most.
pub fn command(dir: &Path, limit: Duration) -> Command {
    let mut command = Command::new(workspace().join("interop-tests/kernel-vm"));
    command.arg("-t").arg(limit.as_secs().to_string());
    command.arg("-d").arg(dir);
    command.stdin(Stdio::null());
    command
}

/// Runs such a command to its end; both outputs of what ran inside are in `stdout`.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Guarded(command.spawn().expect("starting kernel-vm"));
    // It ends itself first, and says so.
    collect(child, limit + Duration::from_secs(20))
}

/// Something that is tried in the machine, beside others.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Only with `KX_SLOW_VM`.
    pub slow: bool,
    /// Panics when it fails.
    pub run: fn(),
}

/// Names functions as scenarios; `slow` before a name: only with `KX_SLOW_VM`.
#[macro_export]
macro_rules! scenarios {
    (@slow slow) => { true };
    (@slow) => { false };
    ($($($slow:ident)? : $name:path;)*) => {
        &[$($crate::machine::Scenario {
            name: stringify!($name),
            slow: $crate::scenarios!(@slow $($slow)?),
            run: $name,
        }),*]
    };
}

/// The calling test, `test`: its scenarios in a machine, `beside` of them at a time, after `prepare`.
pub fn test(test: &str, limit: Duration, beside: usize, prepare: fn(), scenarios: &[Scenario]) {
    if is_inside() {
        prepare();
        return all(beside, scenarios);
    }
    if !can_be_had(test) {
        return;
    }
    let own = std::env::current_exe().expect("this program's path");
    let here = std::env::current_dir().expect("the working directory");
    let mut command = command(&here, limit);
    command.args(["-M", "2048", "--", "env"]);
    for name in ["KX_BIN", "CARGO_TARGET_DIR"] {
        if let Some(dir) = std::env::var_os(name) {
            let dir = std::path::absolute(dir).expect("an absolute path");
            command.arg(format!("{name}={}", dir.display()));
        }
    }
    for name in [ONLY, SLOW, "RUST_BACKTRACE"] {
        if let Ok(value) = std::env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    command.arg(own).args(["--exact", test, "--nocapture"]);
    command.stdout(Stdio::piped());
    let mut machine = Guarded(command.spawn().expect("starting kernel-vm"));
    let output = machine.0.stdout.take().expect("its output");
    let mut tried = 0;
    // It ends by itself when `limit` is over.
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        tried += usize::from(line.starts_with("scenario "));
        eprintln!("{}", line.trim_end_matches('\r'));
    }
    let status = machine.0.wait().expect("kernel-vm's end");
    assert!(status.success(), "in the machine: {status}");
    assert!(tried > 0, "no scenario ran");
}

fn all(beside: usize, scenarios: &[Scenario]) {
    let only = std::env::var(ONLY).unwrap_or_default();
    let slow = std::env::var_os(SLOW).is_some();
    let wanted = scenarios
        .iter()
        .filter(|s| s.name.contains(&only) && (slow || !s.slow));
    let waiting = Mutex::new(wanted);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..beside {
            scope.spawn(|| {
                loop {
                    let next = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next();
                    let Some(scenario) = next else { break };
                    let begin = Instant::now();
                    let outcome = std::panic::catch_unwind(scenario.run);
                    let took = begin.elapsed().as_secs_f32();
                    let word = if outcome.is_ok() { "ok" } else { "FAILED" };
                    eprintln!("\nscenario {}: {word}, {took:.1} s", scenario.name);
                    if outcome.is_err() {
                        failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(scenario.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "failed: {failed:?}");
}
