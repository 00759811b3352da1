//! tcs in a network of its own, with a daemon that a test scripts: what it answers and logs, and what
//! is left of its privileges. The original's where `KX_REF_LIBTCPCRYPT` names its directory.
//!
//! Needs root.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use interop_tests::peers::on_path;
use interop_tests::program::{Guarded, run_command, status_field};
use interop_tests::skip::skip;
use interop_tests::subject::workspace;
use interop_tests::undisturbed::is_root;
use interop_tests::wait::{self, SOON};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto};
use rustix::thread::UnshareFlags;

#[path = "libtcpcrypt_abi/scripted_daemon.rs"]
#[allow(dead_code)]
mod scripted_daemon;

use scripted_daemon::{ScriptedDaemon, usual};

const REQUEST: &[u8] = b"GET /check HTTP/1.0\r\nHost: check.tcpcrypt.org\r\n\r\n";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Ours first, then the original's if it is given.
fn programs() -> Vec<(PathBuf, PathBuf)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "-p", "tcs"])
        .current_dir(workspace());
    assert!(cargo.status().unwrap().success(), "tcs does not build");
    // This test runs from target/PROFILE/deps.
    let exe = std::env::current_exe().unwrap();
    let ours = exe.ancestors().nth(3).unwrap().join("debug");
    let given = std::env::var_os("KX_REF_LIBTCPCRYPT").map(PathBuf::from);
    let original = given.and_then(|given| {
        let dir = if given.is_dir() {
            given
        } else {
            given.parent()?.to_owned()
        };
        dir.join("tcs").exists().then_some(dir)
    });
    let both = std::iter::once(ours).chain(original);
    both.map(|dir| (dir.join("tcs"), dir)).collect()
}

fn missing() -> Option<&'static str> {
    if !is_root() {
        return Some("needs root");
    }
    ["unshare", "ip", "mount", "setpriv"]
        .into_iter()
        .find(|program| !on_path(program))
}

/// Runs `test` in a network of its own. Programs that it starts are in it too.
fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only sockets that this thread opens from now on are in another network.
            let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.unwrap();
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.unwrap().success());
            test();
        });
        thread.join().unwrap();
    });
}

/// What the places of the system have in them when tcs starts.
#[derive(Clone, Copy)]
struct Places {
    user: bool,
    jail: bool,
}

/// A command that sees a /run of its own with the control socket in it, and a user tcpcryptd.
fn command(tcs: &Path, library: &Path, control: &Path, places: Places, wrapper: &str) -> Command {
    let script = format!(
        "set -e
         mount -t tmpfs tmpfs /run
         [ ! -e {control} ] || {{ : >/run/tcpcryptd.control; mount --bind {control} /run/tcpcryptd.control; }}
         grep -v ^tcpcryptd: /etc/passwd >/run/passwd
         ! {user} || echo tcpcryptd:x:64999:64999::/:/bin/false >>/run/passwd
         mount --bind /run/passwd /etc/passwd
         ! {jail} || mkdir -m 711 /run/tcpcryptd
         exec {wrapper} {tcs} \"$@\"",
        control = control.display(),
        tcs = tcs.display(),
        user = places.user,
        jail = places.jail,
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script, "sh"])
        .env("LD_LIBRARY_PATH", library)
        .env("LC_ALL", "C");
    command
}

/// The first packet of a connection from `source`, with an offer of tcpcrypt that is not the last
/// option: there the original does not see it.
fn send_offer(source: u16) {
    let mut packet = vec![
        0x45, 0, 0, 48, 0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1,
    ];
    packet.extend(source.to_be_bytes());
    packet.extend([
        0,
        80,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        7 << 4,
        0x02,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    packet.extend([253, 6, 0x45, 0x4e, 0x21, 0x22, 1, 1]);
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(ipproto::RAW),
    );
    let to = SocketAddrV4::new(HERE, 0);
    rustix::net::sendto(socket.unwrap(), &packet, SendFlags::empty(), &to).unwrap();
}

/// Asks from a port; the answer.
fn ask(source: u16) -> String {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(socket.as_fd(), &SocketAddrV4::new(HERE, source)).unwrap();
    let connected = wait::until(SOON, || {
        let to = SocketAddrV4::new(HERE, 80);
        rustix::net::connect(socket.as_fd(), &to).ok()
    });
    connected.expect("tcs takes connections");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn next_line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line
}

fn serves(tcs: &Path, library: &Path, ours: bool) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = ScriptedDaemon::start(&dir.path().join("control"), usual());
    let places = Places {
        user: true,
        jail: true,
    };
    // The original's log would come in one piece at its end.
    let wrapper = if ours { "" } else { "stdbuf -oL" };
    let mut command = command(tcs, library, daemon.path(), places, wrapper);
    let child = command.arg("127.0.0.1").stdout(Stdio::piped()).spawn();
    let mut child = Guarded(child.unwrap());
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    assert_eq!(next_line(&mut out), "Binding to 127.0.0.1\n");

    // The original cannot reach the daemon from its jail.
    let crypt = u8::from(ours);
    for (source, offers) in [(40001u16, false), (40002, true), (40003, false)] {
        let listens = wait::until(SOON, || {
            let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            // Port 80, listening.
            table.contains(":0050 00000000:0000 0A").then_some(())
        });
        listens.expect("tcs listens");
        if offers {
            send_offer(source);
            std::thread::sleep(Duration::from_millis(50));
        }
        let flag = u8::from(offers);
        assert_eq!(ask(source), format!("HTTP/1.0 200 OK\r\n\r\n{flag}"));
        let line = next_line(&mut out);
        let wanted =
            format!("] GOT 127.0.0.1:{source} -   80 [MSG 0] crypt {crypt} flags {flag}\n");
        assert!(line.ends_with(&wanted), "{line}");
        assert_eq!(line.find(']'), Some(18), "{line}");
    }
    assert_eq!(status_field(child.0.id(), "Uid"), ["64999"; 4].join("\t"));
    let root = std::fs::read_link(format!("/proc/{}/root", child.0.id())).unwrap();
    assert_eq!(root, Path::new("/run/tcpcryptd"));
    if ours {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status_field(child.0.id(), set), "0".repeat(16), "{set}");
        }
        // A daemon that is not there any more.
        drop(daemon);
        ask(40004);
        let line = next_line(&mut out);
        assert!(line.ends_with("crypt 0 flags 0\n"), "{line}");
    }
}

#[test]
fn answers_and_log() {
    if let Some(what) = missing() {
        return skip("answers_and_log", what);
    }
    for (number, (tcs, library)) in programs().into_iter().enumerate() {
        in_own_network(|| serves(&tcs, &library, number == 0));
    }
}

#[test]
fn reasons_not_to_start() {
    if let Some(what) = missing() {
        return skip("reasons_not_to_start", what);
    }
    let places = |user, jail| Places { user, jail };
    let unprivileged = "setpriv --reuid 64998 --clear-groups";
    let nowhere = Path::new("/does/not/exist");
    for (tcs, library) in programs() {
        in_own_network(|| {
            let fails = |places, wrapper, arguments: &[&str]| {
                let mut command = command(&tcs, &library, nowhere, places, wrapper);
                let done = run_command(command.args(arguments));
                assert_eq!(done.rc, 1, "{}", tcs.display());
                done.stderr_text()
            };
            assert_eq!(
                fails(places(false, true), "", &[]),
                "tcs: Can't find user 'tcpcryptd'\n"
            );
            assert_eq!(
                fails(places(true, false), "", &[]),
                "tcs: Could not chroot to /var/run/tcpcryptd: No such file or directory\n"
            );
            assert_eq!(
                fails(places(true, true), unprivileged, &[]),
                "tcs: socket(): Operation not permitted\n"
            );
            assert_eq!(
                fails(places(true, true), "", &["10.1.2.3"]),
                "tcs: bind(): Cannot assign requested address\n"
            );
            let _taken = std::net::TcpListener::bind((HERE, 7777)).unwrap();
            assert_eq!(
                fails(places(true, true), "", &[]),
                "tcs: bind(): Address already in use\n"
            );
        });
    }
}
