//! Two network namespaces with a cable between them, and who listens at it.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kx_sys::raw_socket::RawSocket;
use kx_sys::sock_ops::{RawOption, SockOps, SockOpsError, open_cgroup, own_cgroup};
use rustix::fd::AsFd;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for what should not.
const SILENCE: Duration = Duration::from_millis(200);

/// Names the directory of a cgroup to attach to, instead of our own.
pub(crate) const CGROUP: &str = "KX_SOCK_OPS_CGROUP";

/// The program, attached to our own cgroup; `None` where that is not to be had.
pub(crate) fn attach() -> Option<SockOps> {
    let attached = match std::env::var_os(CGROUP) {
        Some(path) => open_cgroup(Path::new(&path)),
        None => own_cgroup(),
    };
    let attached = attached.and_then(|cgroup| SockOps::attach(cgroup.as_fd()));
    match attached {
        Ok(sock_ops) => Some(sock_ops),
        Err(
            error @ (SockOpsError::NoBpf
            | SockOpsError::NotPermitted { .. }
            | SockOpsError::NoCgroup),
        ) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) struct Cable {
    a: String,
    b: String,
}

/// Deleted also when the test fails.
impl Drop for Cable {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(command: &str) -> bool {
    let output = Command::new("sh").args(["-ec", command]).output();
    let output = output.expect("a shell");
    if !output.status.success() {
        println!("{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

impl Cable {
    /// `None` where we may not make them.
    pub(crate) fn new() -> Option<Cable> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("kxbpf-{}-{number}{end}", std::process::id());
        let (a, b) = (name('a'), name('b'));
        let cable = Cable { a, b };
        let (a, b) = (&cable.a, &cable.b);
        if !run(&format!("ip netns add {a}")) {
            println!("skipped: no network namespaces");
            return None;
        }
        let ends = format!(
            "ip netns add {b}
             ip -n {a} link add wire type veth peer name wire netns {b}
             for end in '{a} 1' '{b} 2'; do
                set -- $end
                ip -n $1 link set lo up
                ip -n $1 link set wire address 02:00:00:00:00:0$2
                ip -n $1 addr add 10.99.0.$2/24 dev wire
                ip -n $1 addr add fd99::$2/64 dev wire nodad
                ip -n $1 link set wire up
             done"
        );
        assert!(run(&ends), "the cable");
        Some(cable)
    }

    /// Runs a command at the end with the server.
    pub(crate) fn at_server(&self, command: &str) {
        let command = format!("ip netns exec {} sh -ec '{command}'", self.b);
        assert!(run(&command), "{command}");
    }

    /// The same at the client's.
    pub(crate) fn at_client(&self, command: &str) {
        let command = format!("ip netns exec {} sh -ec '{command}'", self.a);
        assert!(run(&command), "{command}");
    }

    /// Sockets that `work` makes belong to a namespace.
    fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(Path::new("/run/netns").join(name)).expect("namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).expect("entered");
                work()
            });
            thread.join().expect("done")
        })
    }

    /// A socket at the server's end, which is not bound yet.
    pub(crate) fn server_socket(&self, ip: IpAddr) -> OwnedFd {
        Cable::within(&self.b, || stream(ip))
    }

    /// A socket at the client's end, which is not connected yet.
    pub(crate) fn client_socket(&self, ip: IpAddr) -> OwnedFd {
        Cable::within(&self.a, || stream(ip))
    }

    /// A server; `sock_ops` knows of it.
    pub(crate) fn listen(&self, sock_ops: Option<&SockOps>, ip: IpAddr) -> TcpListener {
        let socket = self.server_socket(ip);
        rustix::net::bind(&socket, &SocketAddr::new(ip, port())).expect("bound");
        if let Some(sock_ops) = sock_ops {
            sock_ops.listen_on(&socket).expect("named");
        }
        rustix::net::listen(&socket, 1024).expect("listening");
        socket.into()
    }

    /// A client, connected.
    pub(crate) fn connect(
        &self,
        offer: Option<(&SockOps, &RawOption)>,
        to: SocketAddr,
    ) -> TcpStream {
        let socket = self.client_socket(to.ip());
        if let Some((sock_ops, option)) = offer {
            sock_ops.offer(&socket, option).expect("offered");
        }
        rustix::net::connect(&socket, &to).expect("connected");
        socket.into()
    }

    /// A socket for segments of our own making, at the client's end.
    pub(crate) fn client_raw(&self) -> RawSocket {
        Cable::within(&self.a, || RawSocket::open(0)).expect("raw socket")
    }

    /// The same at the server's.
    pub(crate) fn server_raw(&self) -> RawSocket {
        Cable::within(&self.b, || RawSocket::open(0)).expect("raw socket")
    }

    /// Begins to listen at the cable.
    pub(crate) fn capture(&self) -> Capture {
        let socket = Cable::within(&self.b, || {
            let all = Some(rustix::net::eth::ALL);
            let flags = SocketFlags::CLOEXEC;
            rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, all)
        });
        let socket = socket.expect("captured");
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE)).expect("timeout");
        let room = 8 << 20;
        sockopt::set_socket_recv_buffer_size_force(&socket, room).expect("room");
        Capture { socket }
    }
}

/// Each server has another, since programs of other tests know theirs by it.
fn port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id() % 400 * 50 + COUNT.fetch_add(1, Ordering::Relaxed);
    10_000 + u16::try_from(number % 20_000).expect("small")
}

fn stream(ip: IpAddr) -> OwnedFd {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None);
    let socket = socket.expect("socket");
    // Accepting and connecting end, too.
    for kind in [Timeout::Recv, Timeout::Send] {
        sockopt::set_socket_timeout(&socket, kind, Some(PATIENCE)).expect("timeout");
    }
    socket
}

pub(crate) struct Capture {
    socket: OwnedFd,
}

/// A TCP segment as it was on the cable.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) from_server: bool,
    /// The client's port.
    pub(crate) client: u16,
    /// Its number.
    pub(crate) number: u32,
    /// Lower six flags: FIN, SYN, RST, PSH, ACK, URG.
    pub(crate) flags: u8,
    /// Its ENO options of either kind.
    pub(crate) eno: Vec<Vec<u8>>,
    /// Octets of data.
    pub(crate) data: usize,
}

impl Segment {
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & 0x12 == 0x02
    }

    pub(crate) fn is_syn_ack(&self) -> bool {
        self.flags & 0x12 == 0x12
    }
}

impl Capture {
    /// The next one of this kind that crosses the cable with this server.
    pub(crate) fn next(&self, server: SocketAddr, want: fn(&Segment) -> bool) -> Segment {
        let mut packet = vec![0; 1 << 17];
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let received =
                rustix::net::recv(&self.socket, packet.as_mut_slice(), RecvFlags::empty());
            let length = received.map_or(0, |(length, _)| length);
            if let Some(segment) = parse(&packet[..length], server.port()).filter(want) {
                return segment;
            }
        }
        panic!("it does not come");
    }

    /// What crossed the cable with this server, until it is silent.
    pub(crate) fn segments(&self, server: SocketAddr) -> Vec<Segment> {
        let mut out = Vec::new();
        let mut packet = vec![0; 1 << 17];
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let received =
                rustix::net::recv(&self.socket, packet.as_mut_slice(), RecvFlags::empty());
            let Ok((length, _)) = received else {
                return out;
            };
            out.extend(parse(&packet[..length], server.port()));
        }
        panic!("it does not end");
    }
}

fn parse(packet: &[u8], server: u16) -> Option<Segment> {
    let (protocol, header) = match packet.first()? >> 4 {
        4 => (packet[9], usize::from(packet[0] & 15) * 4),
        6 => (packet[6], 40),
        _ => return None,
    };
    let tcp = packet.get(header..).filter(|_| protocol == 6)?;
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    if port(0) != server && port(2) != server {
        return None;
    }
    let length = usize::from(tcp[12] >> 4) * 4;
    let mut options = &tcp[20..length];
    let mut eno = Vec::new();
    while let [kind, rest @ ..] = options {
        match kind {
            0 => break,
            1 => options = rest,
            _ => {
                let length = rest.first().copied().map_or(0, usize::from);
                let Some((option, others)) = options.split_at_checked(length.max(2)) else {
                    break;
                };
                if *kind == 69 || *kind == 253 && option[2..].starts_with(&[0x45, 0x4e]) {
                    eno.push(option.to_vec());
                }
                options = others;
            }
        }
    }
    Some(Segment {
        from_server: port(0) == server,
        client: if port(0) == server { port(2) } else { port(0) },
        number: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        flags: tcp[13] & 0x3f,
        eno,
        data: tcp.len() - length,
    })
}
