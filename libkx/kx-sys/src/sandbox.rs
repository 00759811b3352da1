//! Giving up what the process does not need any more: system calls (seccomp) and files
//! (Landlock). Best effort: an old kernel is no reason not to start, but the program can say what
//! was done.

use std::collections::BTreeMap;
use std::fmt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What was done. `Display` is one line for a log.
#[derive(Debug)]
pub struct Report {
    /// New programs cannot gain privileges.
    pub no_new_privileges: bool,
    /// Number of system calls allowed, or why there is no filter.
    pub seccomp: Result<usize, String>,
    /// Files and TCP ports: how far the kernel enforces it, or why not.
    pub landlock: Result<RulesetStatus, String>,
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
            Ok(RulesetStatus::FullyEnforced) => formatter.write_str("on, no files, no TCP"),
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

/// A system call that does many things, of which some are allowed: those that its first argument, of 32 bits,
/// names.
#[derive(Debug, Clone, Copy)]
pub struct PartOfCall {
    /// The call.
    pub call: i64,
    /// Its first argument.
    pub first: &'static [u32],
}

/// Confines this thread, and those that it starts, for good: no files, no new TCP ports, no system
/// call that is not among `calls` or `parts`. Any other call fails with `EPERM`; a C library that uses one
/// that we did not foresee should find an error, not kill a daemon that holds connections.
#[must_use]
pub fn confine(calls: &[&[i64]], parts: &[PartOfCall]) -> Report {
    // Who may not make sockets need not be told where to connect; who may, has connecting as its work.
    let connects = calls.iter().any(|list| list.contains(&libc::SYS_connect));
    let landlock = no_files(connects).map_err(|error| error.to_string());
    let no_new_privileges = rustix::thread::set_no_new_privs(true).is_ok();
    let seccomp = only(calls, parts).map_err(|error| error.to_string());
    Report {
        no_new_privileges,
        seccomp,
        landlock,
    }
}

fn no_files(connects: bool) -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V5;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?;
    let rules = match connects {
        // A port is taken as the near end of a connection only: there is no system call to listen.
        true => rules,
        false => rules.handle_access(AccessNet::from_all(abi))?,
    };
    Ok(rules.create()?.restrict_self()?.ruleset)
}

fn only(calls: &[&[i64]], parts: &[PartOfCall]) -> Result<usize, Box<dyn std::error::Error>> {
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
