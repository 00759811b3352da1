//! Why a hook prevented a request, in the original's words.

use std::io;
use std::path::PathBuf;

use kx_log::golog::format_errno;
use kx_log::goquote::{escape_control, quote};
use kx_sys::spawn::{ExitStatus, SpawnError};
use std::os::unix::ffi::OsStrExt;

/// Display: what follows `Prevented by hook: ` in the log.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It ran and did not end with status 0.
    #[error("exited with error: {} -- stderr: {}", status_text(.status), quote(.stderr))]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error: all of it, or head, a remark, and tail.
        stderr: Vec<u8>,
    },
    /// It ended with status 0, but only when it was killed for taking too long.
    #[error("context deadline exceeded")]
    TooLate,
    /// It could not be started.
    #[error("fork/exec {}: {}", path_text(.0), format_errno(.1))]
    Execute(PathBuf, #[source] io::Error),
    /// The data directory cannot be the working directory.
    #[error("chdir {}: {}", path_text(.0), format_errno(.1))]
    Directory(PathBuf, #[source] io::Error),
    /// Something for it could not be had: `pipe2: too many open files`.
    #[error("{call}: {}", format_errno(.source))]
    Prepare {
        /// The system call.
        call: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A NUL in a value, from a subject name for instance.
    #[error("exec: environment variable contains NUL")]
    EnvironmentNul,
    /// A name without a slash that is nowhere in `PATH`.
    #[error("exec: {}: executable file not found in $PATH", quote(.0.as_os_str().as_bytes()))]
    NotInPath(PathBuf),
    /// A name without a slash, found by a relative entry of `PATH`.
    #[error(
        "exec: {}: cannot run executable found relative to current directory",
        quote(.0.as_os_str().as_bytes())
    )]
    RelativeToCurrent(PathBuf),
    /// The server is shutting down.
    #[error("server is stopping")]
    Lost,
}

impl From<SpawnError> for HookError {
    fn from(error: SpawnError) -> HookError {
        match error {
            SpawnError::Execute { path, source } => HookError::Execute(path, source),
            SpawnError::Directory { path, source } => HookError::Directory(path, source),
            SpawnError::Prepare { call, source } => HookError::Prepare { call, source },
            SpawnError::EnvironmentNul => HookError::EnvironmentNul,
            SpawnError::ArgumentNul => HookError::Prepare {
                call: "fork/exec",
                source: rustix::io::Errno::INVAL.into(),
            },
        }
    }
}

fn path_text(path: &std::path::Path) -> String {
    escape_control(path.as_os_str().as_bytes()).into_owned()
}

fn status_text(status: &ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => format!("exit status {code}"),
        ExitStatus::Signaled {
            signal,
            core_dumped,
        } => {
            let core = if *core_dumped { " (core dumped)" } else { "" };
            format!("signal: {}{core}", signal_text(*signal))
        }
        ExitStatus::Unknown => "status unknown".to_owned(),
    }
}

/// Go's words for the signals that end a process.
fn signal_text(signal: i32) -> String {
    let text = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        16 => "stack fault",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        26 => "virtual timer expired",
        27 => "profiling timer expired",
        29 => "I/O possible",
        30 => "power failure",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(status: ExitStatus, stderr: &[u8]) -> String {
        HookError::Exited {
            status,
            stderr: stderr.to_vec(),
        }
        .to_string()
    }

    #[test]
    fn verdicts_are_the_originals() {
        assert_eq!(
            exited(ExitStatus::Exited(3), b"bad \"thing\"\nx\t\x01"),
            r#"exited with error: exit status 3 -- stderr: "bad \"thing\"\nx\t\x01""#
        );
        let signaled = |signal, core_dumped| ExitStatus::Signaled {
            signal,
            core_dumped,
        };
        assert_eq!(
            exited(signaled(9, false), b""),
            r#"exited with error: signal: killed -- stderr: """#
        );
        assert_eq!(
            exited(signaled(11, true), b""),
            r#"exited with error: signal: segmentation fault (core dumped) -- stderr: """#
        );
        assert_eq!(
            exited(signaled(35, false), b""),
            r#"exited with error: signal: signal 35 -- stderr: """#
        );
        let missing = io::Error::from(rustix::io::Errno::NOENT);
        assert_eq!(
            HookError::Execute("/x/hook".into(), missing).to_string(),
            "fork/exec /x/hook: no such file or directory"
        );
    }
}
