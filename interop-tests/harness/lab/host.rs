//! One host of a laboratory: a network namespace with an address.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab::cgroup::Cgroup;
use crate::lab::rule_script::{self, LEGACY};
use crate::program::{Finished, run_command};
use crate::wait;

/// Longest wait of an application for its peer. Longer than any pause that a correct daemon
/// may cause, and short enough for a test to end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace with the device `wire`.
#[derive(Debug)]
pub struct Host {
    /// Name of the namespace.
    pub namespace: String,
    /// Its address on the cable.
    pub address: Ipv4Addr,
    /// Its other address, if it has IPv6.
    pub address6: Option<Ipv6Addr>,
    /// Its daemon's cgroup, where there are any.
    pub cgroup: Option<Cgroup>,
    dir: PathBuf,
}

impl Host {
    pub(crate) fn new(
        namespace: String,
        address: Ipv4Addr,
        address6: Option<Ipv6Addr>,
        dir: PathBuf,
    ) -> Host {
        Host {
            cgroup: Cgroup::new(&namespace),
            namespace,
            address,
            address6,
            dir,
        }
    }

    /// The address that tests use: over IPv6, if it has that.
    pub fn ip(&self) -> IpAddr {
        self.address6.map_or(self.address.into(), Into::into)
    }

    /// Where this host's control socket, jail and logs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    /// A daemon that will run on this host, in its cgroup. `ip netns` would hide where those are mounted.
    pub fn daemon(&self, program: impl AsRef<OsStr>) -> Command {
        let procs = self.cgroup.as_ref().map(Cgroup::processes);
        let mut command = Command::new("sh");
        command
            .args(["-euc", "echo $$ >\"$1\"; shift; exec nsenter \"$@\"", "sh"])
            .arg(procs.unwrap_or("/dev/null".into()))
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs shell commands on this host; panics when one fails.
    pub fn script(&self, text: &str) {
        let done = run_command(self.command("sh").args(["-euc", text]));
        assert_eq!(done.rc, 0, "{text}: {}", done.stderr_text());
    }

    /// What a command on this host prints on stdout.
    pub fn output(&self, text: &str) -> String {
        run_command(self.command("sh").args(["-c", text])).stdout_text()
    }

    /// Runs `work` in a thread on this host. Sockets that it makes stay on this host.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = Path::new("/run/netns").join(&self.namespace);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(&namespace).expect("opening the namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("entering the namespace");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A listener on every address of this host, once the port's last one is quite gone.
    pub fn listen(&self, port: u16) -> TcpListener {
        let any: IpAddr = match self.address6 {
            Some(_) => Ipv6Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::UNSPECIFIED.into(),
        };
        let listener = wait::until(wait::SOON, || {
            self.within(|| TcpListener::bind((any, port)).ok())
        });
        listener.unwrap_or_else(|| panic!("cannot listen on {port}"))
    }

    /// Connects, with a limit, to `to`; the stream has [`PATIENCE`] for every call.
    pub fn connect(&self, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let to = to.into();
        let stream = self.within(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        patient(&stream)?;
        Ok(stream)
    }

    /// A socket bound to a local port, not connected yet.
    pub fn bound(&self, port: u16) -> io::Result<std::os::fd::OwnedFd> {
        let own = SocketAddr::new(self.ip(), port);
        let family = match own {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        self.within(|| {
            let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &own)?;
            Ok(socket)
        })
    }

    /// Connects from a local port of one's choice.
    pub fn connect_from(&self, port: u16, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
        let socket = self.bound(port)?;
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Send,
            Some(PATIENCE),
        )?;
        rustix::net::connect(&socket, &to.into())?;
        let stream = TcpStream::from(socket);
        patient(&stream)?;
        Ok(stream)
    }

    /// One rule of iptables, e.g. `-A INPUT -p tcp -j DROP`; for IPv6 as well, if it has that.
    pub fn rule(&self, rule: &str) {
        self.script(&format!("iptables-legacy -w 20 {rule}"));
        if self.address6.is_some() {
            self.script(&format!("ip6tables-legacy -w 20 {rule}"));
        }
    }

    /// The rules of divert mode for these ports (multiport syntax). An unbound queue lets
    /// packets pass.
    pub fn divert(&self, ports: &str) {
        for chain in ["INPUT", "OUTPUT"] {
            self.rule(&format!(
                "-A {chain} -p tcp -m multiport --ports {ports} -j NFQUEUE --queue-num 666 --queue-bypass"
            ));
        }
    }

    /// The original's rules of redirect mode for these ports (multiport syntax; "tcpcrypt spec 2.5").
    /// `not`: all but these ports.
    pub fn redirect_as_original(&self, ports: &str, not: bool) {
        let not = if not { "!" } else { "" };
        let (to, from) = (
            format!("-p tcp -m multiport {not} --destination-ports {ports}"),
            format!("-p tcp -m multiport {not} --source-ports {ports}"),
        );
        let queue = "-j NFQUEUE --queue-num 666";
        let owner = "-m owner --uid-owner nobody";
        for rule in [
            "-A INPUT -i lo -p tcp --dport 65530 -m tos --tos 0x22 -j ACCEPT".to_owned(),
            format!("-A INPUT -p tcp ! -s 127.0.0.1 --dport 65530 --tcp-flags ALL SYN {queue}"),
            format!("-A INPUT {from} --tcp-flags ALL SYN,ACK {queue}"),
            format!("-A OUTPUT {to} -m tos --tos 0x04 {owner} {queue}"),
            format!("-A OUTPUT -p tcp --sport 65530 --tcp-flags ALL SYN,ACK {queue}"),
            format!("-t nat -A PREROUTING {to} -j REDIRECT --to-port 65530"),
            format!("-t nat -A OUTPUT {to} {owner} -j ACCEPT"),
            format!("-t nat -A OUTPUT ! -o lo {to} -j REDIRECT --to-port 65530"),
            "-t mangle -A POSTROUTING -m tos --tos 0x04 -j TOS --set-tos 0x00".to_owned(),
        ] {
            self.rule(&rule);
        }
    }

    /// Our rules of redirect mode for these ports, by the script that is shipped.
    pub fn redirect(&self, ports: &str) {
        let six = if self.address6.is_some() { "yes" } else { "no" };
        let variables = format!("MODE=redirect ONLY_PORTS={ports} IPV6={six}");
        rule_script::run(self, &format!("{LEGACY} {variables}"), "start");
    }

    /// Packets that arrive stay in order: those of one cable may be handled by several processors otherwise, and
    /// the original takes it badly.
    pub fn keep_order(&self) {
        self.script("echo 1 >/sys/class/net/wire/queues/rx-0/rps_cpus");
    }

    /// Loses TCP packets at random on arrival, in front of every queue.
    pub fn lose_incoming(&self, probability: f64) {
        self.rule(&format!(
            "-t mangle -A PREROUTING -p tcp -m statistic --mode random --probability {probability} -j DROP"
        ));
    }

    /// Takes the loss away again.
    pub fn lose_nothing(&self) {
        self.rule("-t mangle -F PREROUTING");
    }

    /// Removes a kind of TCP option from every arriving packet that matches, like a
    /// middlebox in front of this host, e.g. `--tcp-flags SYN,ACK SYN`.
    pub fn strip_incoming(&self, kind: u8, matching: &str) {
        self.rule(&format!(
            "-t mangle -A PREROUTING -p tcp {matching} -j TCPOPTSTRIP --strip-options {kind}"
        ));
    }
}

/// Gives a stream its time limits and sends what is written at once.
pub fn patient(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)
}

/// Runs shell commands; panics when one fails.
pub(crate) fn shell(text: &str) {
    let done = try_shell(text);
    assert_eq!(done.rc, 0, "{text}: {}", done.stderr_text());
}

/// Runs shell commands.
pub(crate) fn try_shell(text: &str) -> Finished {
    run_command(Command::new("sh").args(["-euc", text]))
}
