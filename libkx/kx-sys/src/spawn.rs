//! Starting a program as a hook is started (kxd spec 5): no shell, an exact environment, nothing
//! open but standard input (`/dev/null`), output and error (pipes), signals as after login.
//!
//! `posix_spawn` does it: it neither copies the parent's memory nor runs our code in the child, so
//! it is fast in a big process and safe in one with threads.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// What to start, and with what around it.
#[derive(Debug, Clone)]
pub struct Command {
    path: OsString,
    arguments: Vec<OsString>,
    environment: Vec<OsString>,
    directory: Option<PathBuf>,
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A NUL in the path or an argument.
    #[error("argument contains NUL")]
    ArgumentNul,
    /// A NUL in the environment.
    #[error("environment variable contains NUL")]
    EnvironmentNul,
    /// The working directory cannot be looked at.
    #[error("chdir {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The program, or something it needs, cannot be executed, or no process can be made.
    #[error("fork/exec {}: {source}", path.display())]
    Execute {
        /// The program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Pipes or `/dev/null` cannot be had; the call and the system's error.
    #[error("{call}: {source}")]
    Prepare {
        /// `pipe2`, `open /dev/null`, ...
        call: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

fn preparing(call: &'static str) -> impl FnOnce(Errno) -> SpawnError {
    move |error| SpawnError::Prepare {
        call,
        source: error.into(),
    }
}

impl Command {
    /// The program at `path`, with `path` as its only argument (`argv[0]`) and an empty
    /// environment. No search in `PATH`; a relative path counts from the working directory *given here*.
    #[must_use]
    pub fn new(path: impl Into<OsString>) -> Command {
        let path = path.into();
        Command {
            arguments: vec![path.clone()],
            path,
            environment: Vec::new(),
            directory: None,
        }
    }

    /// What the program is to think it was called, in place of its path (`argv[0]`).
    pub fn called(&mut self, name: impl Into<OsString>) -> &mut Command {
        if let Some(first) = self.arguments.first_mut() {
            *first = name.into();
        }
        self
    }

    /// One more argument.
    pub fn argument(&mut self, argument: impl Into<OsString>) -> &mut Command {
        self.arguments.push(argument.into());
        self
    }

    /// One more variable, after those given before. Names given twice are passed twice.
    pub fn environment(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Command {
        let mut entry = OsString::from(name);
        entry.push("=");
        entry.push(value);
        self.environment.push(entry);
        self
    }

    /// The working directory; ours if not given.
    pub fn directory(&mut self, directory: impl Into<PathBuf>) -> &mut Command {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it. Returns when the new program runs, or cannot.
    ///
    /// # Errors
    /// [`SpawnError`]; no process is left then.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(preparing("open /dev/null"))?;
        let null = clear_of_standard(null)?;
        let (stdout, stdout_child) = output_pipe()?;
        let (stderr, stderr_child) = output_pipe()?;
        let standard = [
            (null.as_fd(), 0),
            (stdout_child.as_fd(), 1),
            (stderr_child.as_fd(), 2),
        ];
        let (pid, pidfd) = self.start_with(&standard)?;
        Ok(Child {
            pid,
            pidfd,
            stdout: Some(stdout),
            stderr: Some(stderr),
            status: None,
        })
    }

    /// Starts it as inetd does: a connection is its standard input and output; standard error is
    /// ours.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn_on(&self, connection: BorrowedFd<'_>) -> Result<Child, SpawnError> {
        let copy = rustix::io::fcntl_dupfd_cloexec(connection, 3).map_err(preparing("fcntl"))?;
        let (pid, pidfd) = self.start_with(&[(copy.as_fd(), 0), (copy.as_fd(), 1)])?;
        Ok(Child {
            pid,
            pidfd,
            stdout: None,
            stderr: None,
            status: None,
        })
    }

    /// Starts it with these descriptors in these places; the numbers from 3 are closed.
    fn start_with(
        &self,
        standard: &[(BorrowedFd<'_>, libc::c_int)],
    ) -> Result<(Pid, Option<OwnedFd>), SpawnError> {
        let path = CString::new(self.path.as_bytes()).map_err(|_| SpawnError::ArgumentNul)?;
        let arguments = c_strings(&self.arguments).ok_or(SpawnError::ArgumentNul)?;
        let environment = c_strings(&self.environment).ok_or(SpawnError::EnvironmentNul)?;

        // Asked before, since afterwards one error code stands for both.
        let directory = match &self.directory {
            None => None,
            Some(directory) => {
                let complaint = |source| SpawnError::Directory {
                    path: directory.clone(),
                    source,
                };
                crate::dir::stat(directory).map_err(complaint)?;
                Some(
                    CString::new(directory.as_os_str().as_bytes())
                        .map_err(|_| SpawnError::ArgumentNul)?,
                )
            }
        };

        let setup = || -> Result<libc::pid_t, Errno> {
            let mut actions = FileActions::new()?;
            // Before the descriptors: it may need one for itself.
            if let Some(directory) = &directory {
                actions.change_directory(directory)?;
            }
            for &(descriptor, place) in standard {
                actions.duplicate(descriptor, place)?;
            }
            actions.close_from(3)?;
            let mut attributes = Attributes::new()?;
            attributes.reset_signals()?;
            start(&path, &arguments, &environment, &actions, &attributes)
        };
        let number = setup().map_err(|error| SpawnError::Execute {
            path: PathBuf::from(&self.path),
            source: error.into(),
        })?;
        let pid = Pid::from_raw(number).ok_or_else(|| SpawnError::Execute {
            path: PathBuf::from(&self.path),
            source: Errno::SRCH.into(),
        })?;
        crate::hardening::restore_limits(pid);
        // Not reaped yet, so the number is still this child's. An old kernel or a strict sandbox has
        // no pidfd; the caller then has to ask from time to time.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok((pid, pidfd))
    }
}

fn c_strings(texts: &[OsString]) -> Option<Vec<CString>> {
    texts
        .iter()
        .map(|text| CString::new(text.clone().into_vec()).ok())
        .collect()
}

/// A descriptor of 0, 1 or 2 (they may have been closed at our start) would be overwritten while
/// the child's are put in place.
fn clear_of_standard(descriptor: OwnedFd) -> Result<OwnedFd, SpawnError> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    rustix::io::fcntl_dupfd_cloexec(&descriptor, 3).map_err(preparing("fcntl"))
}

/// Our end, which does not block, and the child's, which does.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    let (ours, childs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(preparing("pipe2"))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(preparing("fcntl"))?;
    Ok((ours, clear_of_standard(childs)?))
}

/// The C library's functions return the error number instead of setting `errno`.
fn checked(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_raw_os_error(result))
    }
}

/// An initialised `posix_spawn_file_actions_t`. Boxed: it must not move.
struct FileActions(Box<MaybeUninit<libc::posix_spawn_file_actions_t>>);

impl FileActions {
    fn new() -> Result<FileActions, Errno> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to memory of the right size and alignment, which this initialises.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        Ok(FileActions(actions))
    }

    fn duplicate(&mut self, from: BorrowedFd<'_>, to: libc::c_int) -> Result<(), Errno> {
        let from = from.as_raw_fd();
        // SAFETY: initialised by `new`; the other arguments are numbers.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(self.0.as_mut_ptr(), from, to) })
    }

    fn change_directory(&mut self, directory: &CString) -> Result<(), Errno> {
        // SAFETY: initialised by `new`; the text ends with NUL and is copied by the call.
        checked(unsafe {
            libc::posix_spawn_file_actions_addchdir_np(self.0.as_mut_ptr(), directory.as_ptr())
        })
    }

    /// Descriptors somebody left us without close-on-exec do not reach the child either.
    #[cfg(target_env = "gnu")]
    fn close_from(&mut self, first: libc::c_int) -> Result<(), Errno> {
        // SAFETY: initialised by `new`; the other argument is a number.
        checked(unsafe {
            libc::posix_spawn_file_actions_addclosefrom_np(self.0.as_mut_ptr(), first)
        })
    }

    /// Other C libraries have no such action; close-on-exec must do.
    #[cfg(not(target_env = "gnu"))]
    fn close_from(&mut self, _first: libc::c_int) -> Result<(), Errno> {
        Ok(())
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, not used afterwards.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

/// An initialised `posix_spawnattr_t`. Boxed: it must not move.
struct Attributes(Box<MaybeUninit<libc::posix_spawnattr_t>>);

impl Attributes {
    fn new() -> Result<Attributes, Errno> {
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to memory of the right size and alignment, which this initialises.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        Ok(Attributes(attributes))
    }

    /// No signal blocked, none ignored: Rust programs ignore SIGPIPE, and a shell script would
    /// inherit that.
    fn reset_signals(&mut self) -> Result<(), Errno> {
        let (none, all) = (empty_set(), full_set());
        // SAFETY: initialised by `new`; the set is initialised and copied by the call.
        checked(unsafe { libc::posix_spawnattr_setsigmask(self.0.as_mut_ptr(), &none) })?;
        // SAFETY: as above.
        checked(unsafe { libc::posix_spawnattr_setsigdefault(self.0.as_mut_ptr(), &all) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        #[allow(clippy::cast_possible_truncation)] // 0x0c
        let flags = flags as libc::c_short;
        // SAFETY: initialised by `new`; the other argument is a number.
        checked(unsafe { libc::posix_spawnattr_setflags(self.0.as_mut_ptr(), flags) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, not used afterwards.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory of the right size and alignment, which this initialises.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above, which cannot fail with a valid pointer.
    unsafe { set.assume_init() }
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is to memory of the right size and alignment, which this initialises.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above, which cannot fail with a valid pointer.
    unsafe { set.assume_init() }
}

fn start(
    path: &CString,
    arguments: &[CString],
    environment: &[CString],
    actions: &FileActions,
    attributes: &Attributes,
) -> Result<libc::pid_t, Errno> {
    let vector = |texts: &[CString]| -> Vec<*mut libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr().cast_mut())
            .chain([ptr::null_mut()])
            .collect()
    };
    let (argv, envp) = (vector(arguments), vector(environment));
    let mut pid: libc::pid_t = 0;
    // SAFETY: `path` and every element of the two vectors end with NUL, both vectors end with a null
    // pointer and live until after the call, which does not write to them in spite of its types;
    // actions and attributes are initialised; `pid` is written to.
    checked(unsafe {
        libc::posix_spawn(
            &mut pid,
            path.as_ptr(),
            actions.0.as_ptr(),
            attributes.0.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    })?;
    Ok(pid)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal.
    Signaled {
        /// Its number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// Somebody else took the status: unknown.
    Unknown,
}

/// A running program. It must be reaped with [`Child::try_wait`]; dropping it does not end it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    status: Option<ExitStatus>,
}

impl Child {
    /// A process that was made without a program ([`crate::fork`]).
    pub(crate) fn of_fork(pid: Pid) -> Child {
        Child {
            pid,
            pidfd: None,
            stdout: None,
            stderr: None,
            status: None,
        }
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Becomes readable when the process has ended. `None` on systems without.
    pub fn take_pidfd(&mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    /// What it writes to standard output; does not block. `None` the second time.
    pub fn take_stdout(&mut self) -> Option<OwnedFd> {
        self.stdout.take()
    }

    /// What it writes to standard error; does not block. `None` the second time.
    pub fn take_stderr(&mut self) -> Option<OwnedFd> {
        self.stderr.take()
    }

    /// Kills this process, not its children. Nothing happens when it has been reaped.
    ///
    /// # Errors
    /// The system's; `EPERM` for a set-uid program under a kxd that is not root.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        // The number cannot be another's: only `try_wait` frees it.
        match rustix::process::kill_process(self.pid, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reaps the process if it has ended; its status, also when asked again. Does not block.
    ///
    /// # Errors
    /// The system's; does not happen in practice.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        self.status = match rustix::process::waitid(WaitId::Pid(self.pid), options) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Exited(code),
                (None, Some(signal)) => ExitStatus::Signaled {
                    signal,
                    core_dumped: status.dumped(),
                },
                (None, None) => ExitStatus::Unknown,
            }),
            // SIGCHLD is ignored in this process, or another part of it waits for everything.
            Err(Errno::CHILD) => Some(ExitStatus::Unknown),
            Err(error) => return Err(error.into()),
        };
        Ok(self.status)
    }

    /// Waits until `limit` by asking again and again. For places where nothing else can run.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn wait_blocking(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let start = std::time::Instant::now();
        loop {
            match self.try_wait()? {
                None if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
                status => return Ok(status),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.try_wait();
    }
}

/// Makes sure that ended children stay until they are reaped: a parent that ignores SIGCHLD hands
/// that on, and every status would be lost. To be called at start.
///
/// # Errors
/// The system's.
pub fn reset_sigchld() -> io::Result<()> {
    // SAFETY: restoring the default action installs no handler of ours.
    let result = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if result == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
