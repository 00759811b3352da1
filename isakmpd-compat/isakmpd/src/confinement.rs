//! What the two processes can still do when everything is open. The child: nothing with files but what the monitor
//! opens, nothing with sockets but what it binds. The monitor: what is on its list, with few capabilities and in few
//! directories.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kx_sys::privileges::{self, DropError};
use kx_sys::sandbox::{
    self, BASIC_CALLS, EPOLL_CALLS, LOOK_CALLS, May, PartOfCall, Place, Report, SOCKET_CALLS,
};
use rustix::thread::CapabilitySet;

use crate::files::{CONFIGURATION, RUN};

/// Files, sockets and their options, the end of the child.
const MONITOR_CALLS: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    // realpath(3) wants them for a path that ends in a slash.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_setsockopt,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// The log's, the daemon's own, the kernel's IPsec. No raw ones, none of packets.
const MONITOR_SOCKETS: PartOfCall<'_> = PartOfCall {
    call: libc::SYS_socket,
    first: &[
        libc::AF_UNIX as u32,
        libc::AF_INET as u32,
        libc::AF_INET6 as u32,
        libc::AF_NETLINK as u32,
        libc::AF_KEY as u32,
    ],
};

/// Asking the kernel for the addresses of the interfaces, and a socket for where it is bound.
const ADDRESS_CALLS: &[i64] = &[libc::SYS_bind, libc::SYS_getsockname];

/// Sockets of netlink(7) only.
const NETLINK_SOCKETS: PartOfCall<'_> = PartOfCall {
    call: libc::SYS_socket,
    first: &[libc::AF_NETLINK as u32],
};

/// Confines the thread that talks to the network, and those that it starts.
#[must_use]
pub fn confine_main() -> Report {
    sandbox::confine(
        &[
            BASIC_CALLS,
            SOCKET_CALLS,
            EPOLL_CALLS,
            LOOK_CALLS,
            ADDRESS_CALLS,
        ],
        &[NETLINK_SOCKETS],
    )
}

/// Confines a thread that only computes.
pub(crate) fn confine_worker() {
    let _ = sandbox::confine(&[BASIC_CALLS], &[]);
}

/// Confines the process that stays root, before it hears of the child. `traces` are the files that it removes at the
/// end.
///
/// Capabilities: NET_ADMIN for the kernel's IPsec and the sockets' part in it, NET_BIND_SERVICE for port 500,
/// DAC_READ_SEARCH for files that belong to the daemon's user, KILL for signals to the child.
///
/// # Errors
/// Capabilities could not be given up. What the kernel does not know of the rest is no error.
pub(crate) fn confine_monitor(child: u32, traces: &[PathBuf]) -> Result<Report, DropError> {
    let mut keep = CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::KILL;
    let places_of_traces = || {
        let directories = traces.iter().filter_map(|trace| trace.parent());
        directories.map(|directory| match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        })
    };
    // To remove something from a directory of somebody else's.
    let is_foreign =
        |directory: &Path| std::fs::metadata(directory).is_ok_and(|data| data.uid() != 0);
    if places_of_traces().any(is_foreign) {
        keep |= CapabilitySet::DAC_OVERRIDE;
    }
    privileges::keep_only(keep)?;
    // A directory that is not there yet is one of those of its parent.
    let configuration = Path::new(CONFIGURATION)
        .ancestors()
        .find(|path| path.is_dir());
    let mut places: Vec<Place<'_>> = vec![(Path::new(RUN), May::Write)];
    places.extend(configuration.map(|path| (path, May::Read)));
    // The routes. The files of one process below it do not keep their identity.
    places.push((Path::new("/proc"), May::Read));
    places.extend(places_of_traces().map(|path| (path, May::Remove)));
    let signals_to_child = PartOfCall {
        call: libc::SYS_kill,
        first: &[child],
    };
    Ok(sandbox::confine_to(
        &places,
        &[BASIC_CALLS, SOCKET_CALLS, LOOK_CALLS, MONITOR_CALLS],
        &[MONITOR_SOCKETS, signals_to_child],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_does_its_work_and_nothing_else() {
        use crate::files::{Access, Direct, Files, Rules};
        use std::net::UdpSocket;
        use std::os::fd::AsFd;

        std::thread::spawn(|| {
            let directory = tempfile::tempdir().expect("directory");
            let trace = directory.path().join("fifo");
            std::fs::write(&trace, "").expect("written");
            let log = std::rc::Rc::new(crate::log::Log::memory());
            let one = std::process::id();
            let report = confine_monitor(one, std::slice::from_ref(&trace)).expect("confined");
            assert!(report.no_new_privileges);
            if report.seccomp.is_err() {
                println!("{report}");
                return;
            }
            let files = Direct::new(Rules::default(), log);
            assert!(files.bind(([127, 0, 0, 1], 40_501).into(), false).is_ok());
            assert!(files.read_directory(Path::new("/var/run/")).is_ok());
            let missing = files.read_directory(Path::new("/var/run/isakmpd-test/"));
            let missing = missing.map(drop).map_err(|error| error.kind());
            assert_eq!(missing, Err(std::io::ErrorKind::NotFound));
            let _ = files.default_interfaces();
            assert!(std::fs::read_to_string("/proc/net/route").is_ok());
            assert!(files.open(Path::new("/etc/passwd"), Access::Read).is_err());
            let signal = |pid: u32, number: u32| {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
                rustix::process::test_kill_process(pid).map_err(|error| (number, error))
            };
            assert_eq!(signal(one, 0), Ok(()));
            assert_eq!(signal(1, 0), Err((0, rustix::io::Errno::PERM)));
            // What no request needs.
            assert!(std::process::Command::new("/bin/true").spawn().is_err());
            assert!(std::thread::Builder::new().spawn(|| ()).is_err());
            assert!(rustix::process::chroot("/").is_err());
            assert!(rustix::fs::mkdir("/var/run/isakmpd-test", 0o700.into()).is_err());
            let raw = rustix::net::socket(
                rustix::net::AddressFamily::PACKET,
                rustix::net::SocketType::RAW,
                None,
            );
            assert!(raw.is_err());
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
            assert!(rustix::net::listen(socket.as_fd(), 1).is_err());
            if report.restricts_files() {
                assert!(std::fs::File::open("/bin/sh").is_err());
                assert!(std::fs::write(directory.path().join("new"), "").is_err());
            }
            assert!(std::fs::remove_file(&trace).is_ok());
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn interfaces_can_be_asked_for_and_nothing_else() {
        std::thread::spawn(|| {
            let report = confine_main();
            assert!(kx_sys::interface_addresses::interface_addresses().is_ok());
            if report.seccomp.is_ok() {
                assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
                assert!(std::fs::File::open("/etc/passwd").is_err());
            }
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn public_keys_need_no_more() {
        std::thread::spawn(|| {
            use kx_crypto::key_exchange_group::{Group, KeyPair};
            confine_worker();
            let group = Group::from_number(14).expect("MODP-2048");
            let (one, two) = (KeyPair::generate(group), KeyPair::generate(group));
            let (one, two) = (one.expect("a pair"), two.expect("a pair"));
            let shared = one.agree(two.public()).expect("agreed");
            assert!(shared.ct_eq(two.agree(one.public()).expect("agreed").as_slice()));
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
        })
        .join()
        .expect("no panic");
    }
}
