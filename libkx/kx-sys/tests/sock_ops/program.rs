//! The program itself: what it needs, what it costs, when it goes.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use kx_sys::privileges::keep_only;
use kx_sys::sock_ops::SockOpsError;
use rustix::thread::CapabilitySet;

use super::*;
use crate::cable::CGROUP;

/// Whether the kernel lets nobody without `CAP_BPF` look into maps: before 5.19, where that is not set otherwise.
fn is_strict() -> bool {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().expect("a text").split('.');
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let setting = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let is_disabled = setting.is_ok_and(|text| text.trim() != "0");
    (next(), next()) < (Some(5), Some(19)) && is_disabled
}

/// What a daemon can still do when it has dropped its privileges.
#[test]
fn nothing_is_needed_after_the_beginning_but_by_old_kernels() {
    let Some((cable, sock_ops)) = lab() else {
        return;
    };
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let socket = cable.client_socket(SERVER);
    let offer = eno(&[0x21]);
    let kept = sock_ops.capabilities_to_work().expect("known");
    assert_eq!(kept.contains(CapabilitySet::BPF), is_strict());
    assert!(CapabilitySet::BPF.contains(kept));
    let at_client = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            keep_only(kept).expect("dropped");
            let refused = SockOps::attach(listener.as_fd()).expect_err("not permitted");
            assert!(matches!(refused, SockOpsError::NotPermitted { .. }));
            sock_ops.offer(&socket, &offer).expect("offered");
            sock_ops
                .add_session(&session(5), &eno(&[0xa1]))
                .expect("added");
            rustix::net::connect(&socket, &address(&listener)).expect("connected");
            look(&sock_ops, &socket)
        });
        thread.join().expect("done")
    });
    assert_eq!(at_client, seen(offer, eno(&[0x21]), Some(&BARE)));
}

/// Not a test by itself: what the next one runs in a cgroup of its own.
#[test]
fn counted() {
    if std::env::var_os(CGROUP).is_none() {
        return;
    }
    std::fs::write(
        Path::new(&std::env::var_os(CGROUP).expect("set")).join("cgroup.procs"),
        std::process::id().to_string(),
    )
    .expect("entered");
    let (cable, sock_ops) = lab().expect("had before");
    let _counting = call_bpf(ENABLE_STATISTICS, 0).expect("counting");
    let number = sock_ops.program_id().expect("a number");
    let listener = cable.listen(Some(&sock_ops), SERVER);
    let mut client = cable.connect(Some((&sock_ops, &eno(&[0x21]))), address(&listener));
    let mut server = accept(&listener);
    talk(&mut client, &mut server);
    let before = runs(number);
    assert!(before > 8, "{before}");
    for _ in 0..100 {
        talk(&mut client, &mut server);
    }
    assert_eq!(runs(number), before);
}

/// How often the program was called since it is counted.
fn runs(program: u32) -> u64 {
    let descriptor = call_bpf(PROGRAM_BY_ID, program).expect("ours");
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let info = std::fs::read_to_string(path).expect("described");
    let mut lines = info.lines();
    let runs = lines.find_map(|line| line.strip_prefix("run_cnt:")?.trim().parse().ok());
    runs.expect("counted")
}

#[test]
fn behind_the_handshake_the_program_is_not_called() {
    let Some(sock_ops) = attach() else { return };
    drop(sock_ops);
    let own = kx_sys::sock_ops::own_cgroup().expect("found before");
    let own = std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd())).expect("a path");
    let cgroup = own.join(format!("kxbpf-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&cgroup) {
        return println!("skipped: {}: {error}", cgroup.display());
    }
    let child = std::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "program::counted"])
        .env(CGROUP, &cgroup)
        .output()
        .expect("started");
    std::fs::remove_dir(&cgroup).expect("empty again");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

/// `BPF_PROG_GET_FD_BY_ID`
const PROGRAM_BY_ID: libc::c_int = 13;
/// `BPF_ENABLE_STATS`
const ENABLE_STATISTICS: libc::c_int = 32;

/// A command that takes a number and makes a descriptor.
fn call_bpf(command: libc::c_int, number: u32) -> Option<OwnedFd> {
    let attributes = [number, 0, 0];
    // SAFETY: the structure of these commands: a number, and words that are zero.
    #[allow(unsafe_code)]
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    let descriptor = libc::c_int::try_from(descriptor)
        .ok()
        .filter(|it| *it >= 0)?;
    // SAFETY: the call just made it.
    #[allow(unsafe_code)]
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether the kernel still has the program with this number.
fn is_loaded(program: u32) -> bool {
    call_bpf(PROGRAM_BY_ID, program).is_some()
}

const HOLDER: &str = "KX_SOCK_OPS_HOLDER";

/// Not a test by itself: the process that the next one kills.
#[test]
fn holder() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let sock_ops = attach().expect("attached");
    println!("\nprogram {}", sock_ops.program_id().expect("a number"));
    std::thread::sleep(PATIENCE);
}

#[test]
fn the_program_goes_with_its_owner() {
    use std::io::BufRead;
    let Some(sock_ops) = attach() else { return };
    let number = sock_ops.program_id().expect("a number");
    assert!(is_loaded(number));
    drop(sock_ops);
    wait_until_gone(number);
    let mut child = std::process::Command::new(std::env::current_exe().expect("ourselves"))
        .args(["--exact", "program::holder", "--nocapture"])
        .env(HOLDER, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let output = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let number = lines.find_map(|line| line.strip_prefix("program ")?.parse().ok());
    let number = number.expect("a number");
    assert!(is_loaded(number));
    child.kill().expect("killed");
    child.wait().expect("gone");
    wait_until_gone(number);
}

/// The kernel cleans up a little later.
fn wait_until_gone(program: u32) {
    let begun = Instant::now();
    while is_loaded(program) {
        assert!(begun.elapsed() < PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}
