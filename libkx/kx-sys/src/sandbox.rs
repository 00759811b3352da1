//! Giving up what the process does not need any more: system calls (seccomp) and files
//! (Landlock). Best effort: an old kernel is no reason not to start, but the program can say what
//! was done.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What was done. `Display` is one line for a log.
#[derive(Debug)]
pub struct Report {
    /// Files may be opened in some places.
    pub files: bool,
    /// New programs cannot gain privileges.
    pub no_new_privileges: bool,
    /// Number of system calls allowed, or why there is no filter.
    pub seccomp: Result<usize, String>,
    /// Files and TCP ports: how far the kernel enforces it, or why not.
    pub landlock: Result<RulesetStatus, String>,
}

impl Report {
    /// Whether the kernel holds us to the files that we named.
    #[must_use]
    pub fn restricts_files(&self) -> bool {
        use RulesetStatus::{FullyEnforced, PartiallyEnforced};
        matches!(self.landlock, Ok(FullyEnforced | PartiallyEnforced))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = if self.no_new_privileges { "on" } else { "off" };
        write!(formatter, "no_new_privs {flag}; seccomp ")?;
        match &self.seccomp {
            Ok(calls) => write!(formatter, "on, {calls} calls allowed")?,
            Err(reason) => write!(formatter, "off ({reason})")?,
        }
        formatter.write_str("; Landlock ")?;
        match &self.landlock {
            Ok(RulesetStatus::FullyEnforced) => match self.files {
                true => formatter.write_str("on, few files, no TCP"),
                false => formatter.write_str("on, no files, no TCP"),
            },
            Ok(RulesetStatus::PartiallyEnforced) => {
                formatter.write_str("on in part, as far as this kernel can")
            }
            Ok(RulesetStatus::NotEnforced) => formatter.write_str("off (not in this kernel)"),
            Err(reason) => write!(formatter, "off ({reason})"),
        }
    }
}

/// System calls of every program: memory, time, its own descriptors, its end. No opening of files
/// or sockets, no programs, no other processes.
pub const BASIC_CALLS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// System calls on sockets that are open already.
pub const SOCKET_CALLS: &[i64] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
];

/// System calls that wait for what a list of the kernel's names.
pub const EPOLL_CALLS: &[i64] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// System calls that make connections.
pub const PROXY_CALLS: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
];

/// System calls that carry octets between connections that are there.
pub const CARRY_CALLS: &[i64] = &[
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// System calls that look at files without opening them, and at oneself.
pub const LOOK_CALLS: &[i64] = &[
    libc::SYS_fcntl,
    libc::SYS_geteuid,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// A system call that does many things, of which some are allowed: those that its first argument, of 32 bits,
/// names.
#[derive(Debug, Clone, Copy)]
pub struct PartOfCall<'a> {
    /// The call.
    pub call: i64,
    /// Its first argument.
    pub first: &'a [u32],
}

/// What may be done with files of a directory, at any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Files are read, and directories listed.
    Read,
    /// The same, and regular files are made, written and emptied.
    Write,
    /// Files are removed.
    Remove,
}

/// A directory, links of its path followed now, and what may be done below it.
pub type Place<'a> = (&'a Path, May);

/// Confines this thread, and those that it starts, for good: no files, no new TCP ports, no system
/// call that is not among `calls` or `parts`. Any other call fails with `EPERM`; a C library that uses one
/// that we did not foresee should find an error, not kill a daemon that holds connections.
#[must_use]
pub fn confine(calls: &[&[i64]], parts: &[PartOfCall<'_>]) -> Report {
    confine_to(&[], calls, parts)
}

/// As [`confine`], but for files in some places, for which the system calls must be among `calls`. A place that is
/// not there is none.
#[must_use]
pub fn confine_to(places: &[Place<'_>], calls: &[&[i64]], parts: &[PartOfCall<'_>]) -> Report {
    // Who may not make sockets need not be told where to connect; who may, has connecting as its work.
    let connects = calls.iter().any(|list| list.contains(&libc::SYS_connect));
    let landlock = few_files(places, connects).map_err(|error| error.to_string());
    let no_new_privileges = rustix::thread::set_no_new_privs(true).is_ok();
    let seccomp = only(calls, parts).map_err(|error| error.to_string());
    Report {
        files: !places.is_empty(),
        no_new_privileges,
        seccomp,
        landlock,
    }
}

fn few_files(places: &[Place<'_>], connects: bool) -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V5;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?;
    let rules = match connects {
        // A port is taken as the near end of a connection only: there is no system call to listen.
        true => rules,
        false => rules.handle_access(AccessNet::from_all(abi))?,
    };
    let mut rules = rules.create()?.set_compatibility(CompatLevel::BestEffort);
    for (path, may) in places {
        if let Ok(directory) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(directory, rights(*may)))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

fn rights(may: May) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match may {
        May::Read => read,
        May::Write => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg,
        May::Remove => AccessFs::RemoveFile.into(),
    }
}

fn only(calls: &[&[i64]], parts: &[PartOfCall<'_>]) -> Result<usize, Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls
        .iter()
        .flat_map(|list| list.iter())
        .map(|&call| (call, Vec::new()))
        .collect();
    for part in parts {
        let mut allowed = Vec::new();
        for &first in part.first {
            let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
            let condition = SeccompCondition::new(0, length, equal, u64::from(first))?;
            allowed.push(SeccompRule::new(vec![condition])?);
        }
        rules.insert(part.call, allowed);
    }
    let count = rules.len();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_it_no_file_is_opened_and_no_socket_made() {
        // Confinement is for one thread, so the other tests go on.
        let result = std::thread::spawn(|| {
            let report = confine(&[BASIC_CALLS, SOCKET_CALLS], &[]);
            let file = std::fs::File::open("/proc/self/status").map(drop);
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").map(drop);
            (report, file, socket)
        })
        .join()
        .expect("the thread lives on");
        let (report, file, socket) = result;
        println!("{report}");
        assert!(report.no_new_privileges);
        if report.seccomp.is_ok() {
            let error = file.expect_err("no files");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            let error = socket.expect_err("no sockets");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        std::fs::File::open("/proc/self/status").expect("the rest of the process is free");
    }

    #[test]
    fn files_are_opened_where_they_may_be_only() {
        use std::fs::{File, OpenOptions, read_dir, remove_file, rename, write};

        const FILE_CALLS: &[i64] = &[
            libc::SYS_openat,
            libc::SYS_getdents64,
            libc::SYS_fcntl,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_renameat2,
            libc::SYS_unlinkat,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink,
        ];
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().to_owned();
        for name in ["read", "write", "remove", "else"] {
            std::fs::create_dir(path.join(name)).expect("made");
            write(path.join(name).join("file"), "text").expect("written");
        }
        std::thread::spawn(move || {
            let at = |name: &str| path.join(name);
            let places = [
                ("read", May::Read),
                ("write", May::Write),
                ("remove", May::Remove),
            ];
            let places = places.map(|(name, may)| (path.join(name), may));
            let places: Vec<Place<'_>> = places.iter().map(|(path, may)| (&**path, *may)).collect();
            let report = confine_to(&places, &[BASIC_CALLS, FILE_CALLS], &[]);
            assert!(report.files);
            if !report.restricts_files() {
                println!("{report}");
                return;
            }
            let append = |name: &str| OpenOptions::new().append(true).open(at(name)).map(drop);
            assert!(File::open(at("read/file")).is_ok());
            assert!(read_dir(at("read")).is_ok());
            assert!(append("write/file").is_ok());
            assert!(write(at("write/new"), "x").is_ok());
            assert!(File::open(at("write/file")).is_ok());
            assert!(File::open(at("else/file")).is_err());
            assert!(read_dir(at("else")).is_err());
            assert!(append("read/file").is_err());
            assert!(write(at("read/new"), "x").is_err());
            assert!(remove_file(at("write/file")).is_err());
            assert!(rename(at("write/file"), at("write/other")).is_err());
            assert!(File::open(at("remove/file")).is_err());
            assert!(remove_file(at("remove/file")).is_ok());
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn of_a_call_only_the_named_part_is_left() {
        use std::os::fd::AsFd;

        const PART: PartOfCall = PartOfCall {
            call: libc::SYS_fcntl,
            first: &[1, 2],
        };
        // Descriptor 1 may be asked for its flags, and that no other.
        let result = std::thread::spawn(|| {
            let report = confine(&[BASIC_CALLS], &[PART]);
            let flags = |of: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_getfd(of).map(drop);
            let (one, zero) = (std::io::stdout(), std::io::stdin());
            (report, flags(one.as_fd()), flags(zero.as_fd()))
        })
        .join()
        .expect("the thread lives on");
        let (report, named, other) = result;
        if report.seccomp.is_ok() {
            assert_eq!((named, other), (Ok(()), Err(rustix::io::Errno::PERM)));
        }
    }
}
