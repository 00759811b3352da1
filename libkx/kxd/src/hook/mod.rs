//! The hook: a program of the administrator's that is run before a key is given and may refuse it
//! (kxd spec 5).
//!
//! The hook runs in a task of its own. When the client goes away the hook is not disturbed (the
//! original's is not, either): it ends by itself or at its time limit, and is reaped. What the
//! caller hands over as `guard` stays until then, so a bound on hooks holds for those too.
//!
//! One difference: the original waits for the end of the hook's output, so that a child of the
//! hook that keeps it open delays the answer for as long as it lives. Here the hook's own end
//! decides; the output may come [`OUTPUT_GRACE`] longer.

mod environment;
mod outcome;
mod output;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kx_cert::Certificate;
use kx_cert::verify::Chain;
use kx_sys::dir;
use kx_sys::spawn::{Child, Command, ExitStatus};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use outcome::HookError;
use output::{Captured, drain_both};

/// How long a hook may run; then it is killed, itself only, and the request refused.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How long after the hook's end its output may still come, from children that it left.
pub const OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// How long after the kill the end may take before the client is answered without it.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// For so long the output of children left behind is read on, so that they do not die of SIGPIPE.
const LINGER: Duration = Duration::from_secs(600);
/// For so many hooks at most, in the whole process.
const MOST_LINGERING: usize = 64;
/// Where the system has no pidfd: how often a hook is asked whether it has ended.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// What the hook is to know.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The program, as configured.
    pub path: &'a Path,
    /// Its working directory.
    pub data_dir: &'a Path,
    /// Cleaned, without `/v1/`.
    pub key_path: &'a [u8],
    /// `ip:port`.
    pub remote_addr: &'a str,
    /// The sender of notifications, also if none are sent.
    pub mail_from: &'a str,
    /// The addresses notifications go to.
    pub email_to: &'a [Vec<u8>],
    /// The certificate that was allowed.
    pub client: &'a Certificate,
    /// Why it was: its chains to an allowed one.
    pub chains: &'a [Chain],
}

/// Whether there is no hook: `stat` says that it does not exist. (A dangling link is no hook. A
/// hook that cannot be looked at is one, and will fail to start.)
#[must_use]
pub fn is_absent(path: &Path) -> bool {
    let missing = Some(Errno::NOENT.raw_os_error());
    dir::stat(path).is_err_and(|error| error.raw_os_error() == missing)
}

/// Runs the hook and waits for its verdict.
///
/// # Errors
/// [`HookError`]: 403 `Prevented by hook`.
pub async fn run(request: &Request<'_>) -> Result<(), HookError> {
    run_holding(request, ()).await
}

/// [`run`], keeping `guard` until the hook has ended, even if nobody waits for it any more. For the
/// permit of a semaphore.
///
/// # Errors
/// As [`run`].
pub async fn run_holding<G: Send + 'static>(
    request: &Request<'_>,
    guard: G,
) -> Result<(), HookError> {
    run_limited(request, guard, TIME_LIMIT).await
}

/// [`run_holding`] with another time limit than the original's.
///
/// # Errors
/// As [`run`].
pub async fn run_limited<G: Send + 'static>(
    request: &Request<'_>,
    guard: G,
    limit: Duration,
) -> Result<(), HookError> {
    let mut command = Command::new(program(request.path)?);
    environment::fill(&mut command, request);
    command.directory(request.data_dir);
    let (answer, verdict) = oneshot::channel();
    tokio::spawn(supervise(command, limit, answer, guard));
    verdict.await.unwrap_or(Err(HookError::Lost))
}

/// The original searches a name without a slash in `PATH`.
fn program(path: &Path) -> Result<PathBuf, HookError> {
    let name = path.as_os_str();
    if name.as_bytes().contains(&b'/') {
        return Ok(path.to_path_buf());
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    search_path(name, &search)
}

fn search_path(name: &OsStr, search: &OsStr) -> Result<PathBuf, HookError> {
    let name = Path::new(name);
    // An empty PATH has no entries, but an empty entry is the current directory.
    let entries = std::env::split_paths(search).filter(|_| !search.is_empty());
    for entry in entries {
        let candidate = if entry.as_os_str().is_empty() {
            name.into()
        } else {
            entry.join(name)
        };
        let is_file = dir::stat(&candidate).is_ok_and(|found| found.kind != dir::Kind::Directory);
        if is_file && dir::check_executable(&candidate).is_ok() {
            if candidate.is_absolute() {
                return Ok(candidate);
            }
            return Err(HookError::RelativeToCurrent(name.to_path_buf()));
        }
    }
    Err(HookError::NotInPath(name.to_path_buf()))
}

/// Starts the hook, sees it to its end, answers, and cleans up behind it.
async fn supervise<G>(
    command: Command,
    limit: Duration,
    answer: oneshot::Sender<Result<(), HookError>>,
    guard: G,
) {
    let deadline = Instant::now() + limit;
    // In another thread: the file system of the hook may be a slow one.
    let mut child = match tokio::task::spawn_blocking(move || command.spawn()).await {
        Ok(Ok(child)) => child,
        Ok(Err(error)) => {
            let _ = answer.send(Err(error.into()));
            return;
        }
        Err(_) => return, // the runtime is being shut down
    };
    let stderr = Mutex::new(Captured::default());
    let mut output = pin!(drain_both(
        child.take_stdout(),
        child.take_stderr(),
        &stderr
    ));
    let mut output_open = true;
    let end = End::of(&mut child);

    let mut answer = Some(answer);
    let mut kill_sent = false;
    let mut alarm = Some(deadline);
    let status = loop {
        tokio::select! {
            () = &mut output, if output_open => output_open = false,
            () = end.hint() => match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(_) => break ExitStatus::Unknown,
            },
            () = until(alarm), if alarm.is_some() => {
                if kill_sent {
                    // In the kernel's hands, or not ours to kill (set-uid). The client has waited enough;
                    // the guard stays until the process is gone.
                    alarm = None;
                    let killed = ExitStatus::Signaled { signal: 9, core_dumped: false };
                    send(&mut answer, verdict(killed, true, &stderr));
                } else {
                    kill_sent = true;
                    let _ = child.kill();
                    alarm = Some(Instant::now() + KILL_GRACE);
                }
            }
        }
    };
    if output_open && answer.is_some() {
        output_open = tokio::time::timeout(OUTPUT_GRACE, &mut output)
            .await
            .is_err();
    }
    send(&mut answer, verdict(status, kill_sent, &stderr));
    drop(guard);
    if output_open {
        if let Some(_place) = LingeringPlace::take() {
            let _ = tokio::time::timeout(LINGER, output).await;
        }
    }
}

fn send(
    answer: &mut Option<oneshot::Sender<Result<(), HookError>>>,
    verdict: Result<(), HookError>,
) {
    if let Some(answer) = answer.take() {
        let _ = answer.send(verdict);
    }
}

fn verdict(status: ExitStatus, kill_sent: bool, stderr: &Mutex<Captured>) -> Result<(), HookError> {
    match status {
        ExitStatus::Exited(0) if kill_sent => Err(HookError::TooLate),
        ExitStatus::Exited(0) => Ok(()),
        status => {
            let stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner).text();
            Err(HookError::Exited { status, stderr })
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What tells us to look whether the child has ended.
enum End {
    Descriptor(AsyncFd<OwnedFd>),
    Polling,
}

impl End {
    // Newer releases of tokio want `unsafe` here, since a type could show them another descriptor each
    // time it is asked. `OwnedFd` does not.
    #[allow(deprecated)]
    fn of(child: &mut Child) -> End {
        let watched = child
            .take_pidfd()
            .and_then(|pidfd| AsyncFd::with_interest(pidfd, Interest::READABLE).ok());
        watched.map_or(End::Polling, End::Descriptor)
    }

    async fn hint(&self) {
        match self {
            End::Descriptor(pidfd) => match pidfd.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => tokio::time::sleep(POLL_PAUSE).await,
            },
            End::Polling => tokio::time::sleep(POLL_PAUSE).await,
        }
    }
}

/// One of the places for output that outlives its hook.
struct LingeringPlace;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

impl LingeringPlace {
    fn take() -> Option<LingeringPlace> {
        if LINGERING.fetch_add(1, Ordering::Relaxed) < MOST_LINGERING {
            return Some(LingeringPlace);
        }
        LINGERING.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for LingeringPlace {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_without_a_slash_are_searched_in_path() {
        let place = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| place.path().join(name);
        for (name, mode) in [("hook", 0o755), ("unmarked", 0o644)] {
            std::fs::write(at(name), "").expect("written");
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode))
                .expect("mode");
        }
        std::fs::create_dir(at("dir")).expect("directory");
        let search = format!("/nonexistent:{}", place.path().display());
        let found = |name: &str, search: &str| {
            search_path(OsStr::new(name), OsStr::new(search)).map_err(|error| error.to_string())
        };
        assert_eq!(found("hook", &search), Ok(at("hook")));
        for (name, search) in [("unmarked", search.as_str()), ("dir", &search), ("sh", "")] {
            let text = format!("exec: \"{name}\": executable file not found in $PATH");
            assert_eq!(found(name, search), Err(text));
        }
        // The test runs in the directory of its crate; there is nothing executable in it but what
        // is reached by a relative way out of it.
        let up = "../".repeat(32);
        let text = "exec: \"sh\": cannot run executable found relative to current directory";
        assert_eq!(found("sh", &format!("{up}bin")), Err(text.to_owned()));
    }
}
