//! What the child tries: first alone, then with the monitor's help.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use isakmpd::files::Access;
use isakmpd::monitor::{MAX_MESSAGE, Reply, Request};
use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::privileges::User;
use kx_sys::sandbox::Report;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::kernel::{self, Speech};

/// The only file that is written.
pub(crate) const RESULT: &str = "/run/isakmpd.result";

/// All below 1024 but 500.
pub(crate) fn low_ports() -> impl Iterator<Item = u16> {
    (0..1024).filter(|port| *port != 500)
}

/// Refused for reading, with EACCES if nothing else is said.
const NOT_READABLE: &[&str] = &[
    "/etc/shadow",
    "/etc/isakmpd/../shadow",
    "/etc/isakmpd/sub/../../shadow",
    "/etc/isakmpd/shadow",
    "/etc/isakmpd/out/secret",
    "/etc/isakmpd/device",
    "/etc/isakmpd/fifo",
    "/etc/isakmpd/sub",
    "/etc/isakmpd",
    "/",
    "/dev/null",
    "/dev/zero",
    "/proc/self/environ",
    "/proc/1/root/etc/shadow",
    "/proc/self/fd/0",
    "/run/secret",
    "/run/out/secret",
    "/run/other/secret",
    "/run/isakmpd-other/secret",
    "/run/fifo",
    "/run/device",
    "/run/socket",
    "/var/run/../../etc/shadow",
];

/// Refused for writing of every kind.
const NOT_WRITABLE: &[&str] = &[
    "/etc/isakmpd/isakmpd.conf",
    "/etc/isakmpd/new",
    "/etc/passwd",
    "/mnt/new",
    "/proc/sys/kernel/core_pattern",
    "/run",
    "/run/secret",
    "/run/out/new",
    "/run/isakmpd.conf",
    "/run/other",
    "/run/other/new",
    "/run/other/../../etc/new",
    "/run/isakmpd-other/new",
    "/run/leads-nowhere",
    "/run/fifo",
    "/run/device",
    "/run/socket",
];

/// No directories of the child's.
const NOT_LISTED: &[&str] = &[
    "/",
    "/etc",
    "/mnt",
    "/proc/self/fd",
    "/etc/isakmpd/out",
    "/etc/isakmpd/..",
    "/run/out",
    "/run/other",
    "/run/isakmpd-other",
];

pub(crate) fn refused_paths() -> impl Iterator<Item = &'static str> {
    let all = [NOT_READABLE, NOT_WRITABLE, NOT_LISTED].concat();
    all.into_iter()
}

/// What is no request, and what the log says of it.
pub(crate) fn nonsense() -> Vec<(Vec<u8>, String)> {
    let unknown = |code: u8| format!("monitor_loop: got unknown code {code} [priv]");
    let long = [&b"\x02/"[..], &[b'x'; 4096]].concat();
    let mut all = vec![
        (Vec::new(), String::new()),
        (
            vec![1; MAX_MESSAGE + 1],
            "monitor_loop: request failed: ".to_owned(),
        ),
        (
            vec![0; 100_000],
            "monitor_loop: request failed: ".to_owned(),
        ),
    ];
    for octets in [
        // Kinds that there are not.
        &b"\x00"[..],
        b"\x08",
        b"\xff\xff\xff\xff",
        // Cut off, or with something behind.
        b"\x01",
        b"\x01\x00",
        b"\x02",
        b"\x03",
        b"\x03\x00\x01\xf4\x7f\0\0",
        b"\x04\x00",
        b"\x07\x00",
        b"\x06",
        // Flags of open(2) there are none of; a zero octet ends no path.
        b"\x01\x04/run/x",
        b"\x01\x00/etc/isakmpd/isakmpd.conf\0/etc/shadow",
        &long,
        // More files than may be asked for.
        b"\x06/1\0/2\0/3\0/4\0/5\0/6\0/7\0/8\0/9",
        // Sockets of other families: an address of a link layer, a path.
        b"\x03\x00\x01\xf4\x02\x00\x00\x00\x00\x01",
        b"\x03\x00\x01\xf4/run/socket",
    ] {
        all.push((octets.to_vec(), unknown(octets[0])));
    }
    all
}

/// As root still.
pub(crate) fn before(user: &User) {
    assert!(File::open("/etc/shadow").is_ok());
    assert_ne!(user.uid(), 0);
}

/// Without privileges, in another root.
pub(crate) fn dropped() {
    for path in [
        "/etc/passwd",
        "/../etc/passwd",
        "/../../mnt/secret",
        "/proc/self/status",
        "/run/isakmpd.conf",
    ] {
        assert!(File::open(path).is_err(), "{path}");
    }
    for root in ["/", "/..", "/../..", "."] {
        assert_eq!(std::fs::read_dir(root).expect(root).count(), 0, "{root}");
    }
    assert!(File::create("/new").is_err());
}

/// As it talks to the network: what the kernel says of it, and calls that are not among its own.
pub(crate) fn confined(report: &Report, mut status: &File) {
    assert!(
        report.no_new_privileges && report.seccomp.is_ok(),
        "{report}"
    );
    let mut text = vec![0; 8192];
    let length = status.read(&mut text).expect("a view of this process");
    let text = String::from_utf8_lossy(&text[..length]);
    let field = |name: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name}")).trim()
    };
    for name in ["Uid", "Gid", "Groups"] {
        let mut numbers = field(name).split_whitespace();
        assert!(numbers.all(|number| number == "64997"), "{name}");
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
    let forbidden = Some(libc::EPERM);
    let number = |error: std::io::Error| error.raw_os_error();
    assert_eq!(File::open("/").map_err(number).err(), Some(forbidden));
    assert_eq!(File::create("/new").map_err(number).err(), Some(forbidden));
    assert_eq!(
        std::fs::read_dir("/").map_err(number).err(),
        Some(forbidden)
    );
    let thread = std::thread::Builder::new().spawn(|| ());
    assert_eq!(thread.map_err(number).err(), Some(forbidden));
    let program = std::process::Command::new("/bin/true").spawn();
    assert!(program.is_err());
    assert_eq!(rustix::process::chroot("."), Err(Errno::PERM));
    let everybody = rustix::process::Pid::from_raw(1).expect("a process");
    assert_eq!(
        rustix::process::test_kill_process(everybody),
        Err(Errno::PERM)
    );
    assert!(rustix::thread::capabilities(None).is_err());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0");
    assert_eq!(udp.map_err(number).err(), Some(forbidden));
    // Sockets of netlink are left to it, for addresses. They change no SA: either there is none of this kind, or it
    // has not the capability.
    if let Ok(mut requests) = kx_sys::xfrm::Requests::open() {
        let nobody: IpAddr = [192, 0, 2, 1].into();
        let asked = requests.ask(&kx_sys::xfrm::remove(nobody, nobody, 50, 1));
        assert_eq!(asked.map_err(number).err(), Some(forbidden));
    }
    assert_eq!(
        kx_sys::pf_key::Requests::open().map_err(number).err(),
        Some(forbidden)
    );
}

/// The line, without [`isakmpd::monitor::Remote`]: that asks for nothing wrong.
struct Line<'a>(&'a DescriptorChannel);

impl Line<'_> {
    fn receive(&self) -> (Reply, Option<OwnedFd>) {
        let mut buffer = [0; MAX_MESSAGE];
        let received = self.0.receive(&mut buffer).expect("received");
        let (length, descriptor) = received.expect("the monitor is there");
        let reply = Reply::decode(&buffer[..length]).expect("a reply");
        (reply, descriptor)
    }

    fn ask(&self, request: &Request) -> (Reply, Option<OwnedFd>) {
        self.0.send(&request.encode(), None).expect("sent");
        self.receive()
    }

    /// It is refused, and nothing comes with that.
    fn refused(&self, request: &Request, number: i32) {
        let (reply, descriptor) = self.ask(request);
        assert_eq!(reply, Reply::Failed(number), "{request:?}");
        assert!(descriptor.is_none(), "{request:?}");
    }

    fn kernel(&self, octets: &[u8]) -> Reply {
        // As `Request::Kernel` writes it.
        self.0.send(&[&[5], octets].concat(), None).expect("sent");
        let (reply, descriptor) = self.receive();
        assert!(descriptor.is_none());
        reply
    }

    /// What the daemon itself asks for.
    fn is_served(&self) {
        let open = |access, path: &str| {
            let (reply, descriptor) = self.ask(&Request::Open(access, path.into()));
            assert_eq!(reply, Reply::Done, "{path}");
            File::from(descriptor.expect("a file"))
        };
        let mut text = String::new();
        for path in [
            "/etc/isakmpd/isakmpd.conf",
            "/var/run/isakmpd-site/isakmpd.conf",
            "/run/isakmpd.conf",
        ] {
            let mut file = open(Access::Read, path);
            file.read_to_string(&mut text).expect("read");
        }
        assert_eq!(text, "textsitetext");
        let mut file = open(Access::Public, "/var/run/isakmpd.result");
        file.write_all(b"done").expect("written");
    }
}

/// The hostile child. It ends as if nothing had been.
pub(crate) fn asks_for_everything(line: &DescriptorChannel, speech: Option<Speech>) {
    let line = Line(line);
    line.is_served();
    files(&line);
    directories(&line);
    ports(&line, speech);
    descriptors(&line);
    match speech {
        Some(speech) => {
            for octets in kernel::foreign(speech) {
                let reply = line.kernel(&octets);
                assert_eq!(reply, Reply::Failed(libc::EACCES), "{octets:02x?}");
            }
            for octets in kernel::own(speech) {
                let expected = kernel::tells(speech, &octets).map_or(Reply::Done, Reply::Found);
                assert_eq!(line.kernel(&octets), expected, "{octets:02x?}");
            }
        }
        None => {
            for octets in kernel::own(Speech::Xfrm) {
                assert_eq!(line.kernel(&octets), Reply::Failed(libc::EACCES));
            }
        }
    }
    flood(&line);
    line.is_served();
}

fn files(line: &Line<'_>) {
    let open = |access, path: &str| Request::Open(access, path.into());
    for path in NOT_READABLE {
        line.refused(&open(Access::Read, path), libc::EACCES);
        // In a search it ends the search.
        let places = ["/etc/isakmpd/none", path, "/etc/isakmpd/isakmpd.conf"];
        let (reply, descriptor) =
            line.ask(&Request::OpenFirst(vec![places.map(Into::into).to_vec()]));
        assert_eq!(reply, Reply::First(vec![(1, Some(libc::EACCES))]), "{path}");
        assert!(descriptor.is_none(), "{path}");
    }
    for path in NOT_WRITABLE {
        for access in [Access::Public, Access::Private, Access::Append] {
            line.refused(&open(access, path), libc::EACCES);
        }
    }
    for (path, number) in [
        ("/etc/isakmpd/none", libc::ENOENT),
        ("/run/none/file", libc::ENOENT),
        ("/etc/isakmpd/loop", libc::ELOOP),
        ("/etc/isakmpd/isakmpd.conf/x", libc::ENOTDIR),
    ] {
        line.refused(&open(Access::Read, path), number);
    }
    let long = format!("/etc/isakmpd/{}", "x".repeat(300));
    line.refused(&open(Access::Read, &long), libc::ENAMETOOLONG);
}

fn directories(line: &Line<'_>) {
    for path in NOT_LISTED {
        line.refused(&Request::ReadDirectory(path.into()), libc::EACCES);
    }
    let directory = Path::new("/etc/isakmpd");
    // Of all that lies there, one is a file.
    let (reply, descriptor) = line.ask(&Request::ReadDirectory(directory.into()));
    assert_eq!(reply, Reply::Entry(None, directory.join("isakmpd.conf")));
    assert!(descriptor.is_some());
    assert_eq!(line.receive().0, Reply::Done);
}

fn ports(line: &Line<'_>, speech: Option<Speech>) {
    let addresses: [IpAddr; 2] = ["0.0.0.0", "::"].map(|text| text.parse().expect("an address"));
    for port in low_ports() {
        for address in addresses {
            let request = Request::Bind(port % 2 == 0, SocketAddr::new(address, port));
            line.refused(&request, libc::EACCES);
        }
    }
    let elsewhere = "[2001:db8::9]:500".parse().expect("an address");
    let elsewhere = Request::Bind(true, elsewhere);
    line.refused(&elsewhere, libc::EADDRNOTAVAIL);
    // With the kernel's IPsec, sockets are made known to it, which is not everywhere.
    if speech.is_none() {
        for port in [500, 4500] {
            let request = Request::Bind(true, SocketAddr::new(addresses[0], port));
            let (reply, descriptor) = line.ask(&request);
            assert_eq!(reply, Reply::Done);
            drop(descriptor.expect("a socket"));
        }
    }
}

/// Descriptors that come with requests are closed: the monitor has room for few.
fn descriptors(line: &Line<'_>) {
    let (line_end, stderr) = (line.0.as_fd(), std::io::stderr());
    let request = Request::Open(Access::Read, "/etc/isakmpd/isakmpd.conf".into()).encode();
    for count in [1, 2, 3, 16, 1, 1, 2, 2] {
        for _ in 0..64 {
            let all: Vec<BorrowedFd<'_>> = vec![stderr.as_fd(); count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&all)));
            let parts = [IoSlice::new(&request)];
            sendmsg(line_end, &parts, &mut control, SendFlags::empty()).expect("sent");
            let (reply, descriptor) = line.receive();
            assert_eq!(reply, Reply::Done, "{count} descriptors");
            assert!(descriptor.is_some());
        }
    }
}

/// More requests than there is room for, and nobody who reads the replies.
fn flood(line: &Line<'_>) {
    let request = Request::Open(Access::Read, "/etc/isakmpd/none".into()).encode();
    let parts = [IoSlice::new(&request)];
    let mut sent = 0;
    while sent < 10_000 {
        let put = sendmsg(
            line.0.as_fd(),
            &parts,
            &mut SendAncillaryBuffer::default(),
            SendFlags::DONTWAIT,
        );
        match put {
            Ok(_) => sent += 1,
            Err(Errno::AGAIN) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((100..10_000).contains(&sent), "{sent} wait to be answered");
    for _ in 0..sent {
        assert_eq!(line.receive().0, Reply::Failed(libc::ENOENT));
    }
    for _ in 0..3000 {
        line.refused(
            &Request::Open(Access::Read, "/etc/isakmpd/none".into()),
            libc::ENOENT,
        );
    }
}
