//! TCP-ENO options (RFC 8547; also the experimental kind of tcpcryptd) in the handshakes of the
//! kernel's own TCP, by a program that the kernel runs at their events ("`sock_ops`", tcpcrypt-datapath
//! spec 4). No packet goes through user space for it.
//!
//! The program is attached to a cgroup of version 2, since that is what such programs are attached to,
//! but it does nothing to a socket that was not named to it. Before it connects a socket
//! [has its option set](SockOps::offer); before it listens it [is named](SockOps::listen_on), and what is
//! answered to whom [was said](SockOps::answer). When the connection stands, [`SockOps::seen`] has the options
//! of both directions octet for octet.
//!
//! Needs Linux 5.10 and, to begin, `CAP_BPF` and `CAP_NET_ADMIN`; what follows needs neither, but with
//! kernels before 5.19 where `kernel.unprivileged_bpf_disabled` is set it needs `CAP_BPF`
//! ([`SockOps::capabilities_to_work`]). The program is gone
//! when the descriptor of its link is closed, so also when its owner dies. What it was to write is then not
//! written, also not in SYNs that are repeated.
//!
//! The program is written here, instruction by instruction; nothing is compiled and no library is
//! needed.

mod cgroup;
mod error;
mod instruction;
mod program;
mod record;
mod syscall;
mod type_info;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::thread::CapabilitySet;

use crate::privileges;

use program::Maps;
use syscall::{Map, MapKind, MapShape, MapTypes};

pub use cgroup::{open_cgroup, own_cgroup};
pub use error::SockOpsError;
pub use record::{RawOption, Seen};
pub use syscall::WORKING;

/// The name of a session in a SYN: the octet of its key exchange with the highest bit set, and nine more.
pub type SessionName = [u8; program::SESSION];

/// `BPF_F_NO_PREALLOC`
const NOT_AT_ONCE: u32 = 1;
/// `BPF_F_CLONE`: accepted sockets get a copy of what is stored with the one that listens.
const CLONED: u32 = 1 << 9;
/// Listening sockets at most.
const PORTS: u32 = 64;

/// Sessions that clients may name, at most.
const SESSIONS: u32 = 1 << 14;

/// The loaded program with its maps.
#[derive(Debug)]
struct Loaded {
    program: OwnedFd,
    sockets: Map,
    ports: Map,
    answers: Map,
    sessions: Map,
    claims: Map,
}

/// The program, attached until this is dropped.
#[derive(Debug)]
pub struct SockOps {
    loaded: Loaded,
    _link: OwnedFd,
}

/// Looks whether the kernel would take all of it: makes the maps, loads the program, finds the cgroup, and
/// attaches nothing.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<(), SockOpsError> {
    own_cgroup()?;
    Loaded::new().map(drop)
}

impl Loaded {
    fn new() -> Result<Loaded, SockOpsError> {
        let octets = record::RECORD as u32;
        let types = with_memory(|| syscall::load_types(&type_info::describe(octets)))
            .map_err(|error| SockOpsError::new("describing types", error))?;
        let failed = |error| SockOpsError::new("making a map", error);
        let sockets = with_memory(|| {
            let shape = MapShape {
                kind: MapKind::SocketStorage,
                key: 4,
                value: octets,
                entries: 0,
                flags: NOT_AT_ONCE | CLONED,
            };
            let types = MapTypes {
                types: types.as_fd(),
                key: type_info::KEY,
                value: type_info::VALUE,
            };
            Map::new(shape, Some(types))
        })
        .map_err(failed)?;
        let map = |kind, key, value, entries, flags| {
            let shape = MapShape {
                kind,
                key,
                value,
                entries,
                flags,
            };
            with_memory(|| Map::new(shape, None)).map_err(failed)
        };
        let slot = record::SLOT as u32;
        let name = program::SESSION as u32;
        let ports = map(MapKind::Hash, 4, 4, PORTS, 0)?;
        let answers = map(MapKind::Array, 4, slot, program::ANSWERS, 0)?;
        let sessions = map(MapKind::Hash, name, slot, SESSIONS, NOT_AT_ONCE)?;
        let claim = program::CLAIM as u32;
        let claims = map(MapKind::Hash, name, claim, SESSIONS, NOT_AT_ONCE)?;
        let maps = Maps {
            sockets: sockets.number(),
            ports: ports.number(),
            answers: answers.number(),
            sessions: sessions.number(),
            claims: claims.number(),
        };
        let code = program::program(&maps).map_err(|error| SockOpsError::System {
            step: "writing the program",
            source: io::Error::other(error),
        })?;
        let program = syscall::load_program(&code).map_err(|(source, log)| {
            if log.is_empty() {
                return SockOpsError::new("loading the program", source);
            }
            SockOpsError::Verifier { source, log }
        })?;
        Ok(Loaded {
            program,
            sockets,
            ports,
            answers,
            sessions,
            claims,
        })
    }
}

/// Kernels before 5.11 count maps as locked memory, of which there is little by default.
fn with_memory<T>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    match make() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let unlimited = Rlimit {
                current: None,
                maximum: None,
            };
            setrlimit(Resource::Memlock, unlimited).map_err(|_| error)?;
            make()
        }
        result => result,
    }
}

impl SockOps {
    /// Attaches the program to the cgroup whose directory is `cgroup`, beside others that may be there. It is
    /// called for sockets made by processes that were in it, or below, when they made them.
    ///
    /// # Errors
    /// What is missing.
    pub fn attach(cgroup: BorrowedFd<'_>) -> Result<SockOps, SockOpsError> {
        let loaded = Loaded::new()?;
        let link = syscall::link(loaded.program.as_fd(), cgroup).map_err(|error| {
            match error.raw_os_error() {
                // Not the directory of such a cgroup.
                Some(libc::EBADF) => SockOpsError::NoCgroup,
                _ => SockOpsError::new("attaching the program", error),
            }
        })?;
        let sock_ops = SockOps {
            loaded,
            _link: link,
        };
        Ok(sock_ops)
    }

    /// What whoever works with the program has to keep of its capabilities: none since Linux 5.19; before it
    /// `CAP_BPF` where `kernel.unprivileged_bpf_disabled` is set. It is tried, in a thread that gives up all of them.
    ///
    /// # Errors
    /// The system's: it is of no use in either case.
    pub fn capabilities_to_work(&self) -> io::Result<CapabilitySet> {
        let look = || {
            let key = 0_u32.to_ne_bytes();
            let found = self.loaded.answers.get(&key, &mut [0; record::SLOT]);
            found.map(drop)
        };
        let look_without_rights = || match privileges::keep_only(CapabilitySet::empty()) {
            Ok(_) => look(),
            Err(error) => Err(io::Error::other(error)),
        };
        let without = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, look_without_rights);
            thread.map(std::thread::ScopedJoinHandle::join)
        })?;
        if let Ok(Ok(())) = without {
            return Ok(CapabilitySet::empty());
        }
        let all = rustix::thread::capabilities(None)?;
        match all.permitted.contains(CapabilitySet::BPF) {
            true => look().map(|()| CapabilitySet::BPF),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// The kernel's number of the program, as its tools show it.
    #[must_use]
    pub fn program_id(&self) -> Option<u32> {
        let number = self.loaded.program.as_raw_fd();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    }

    /// The SYN of this socket will carry `option`, as often as it is sent, if it fits beside those of the
    /// kernel (20 octets are left as a rule). To be called before it connects; the socket has to be made after
    /// the process came into the cgroup.
    ///
    /// # Errors
    /// The system's.
    pub fn offer(&self, socket: impl AsFd, option: &RawOption) -> io::Result<()> {
        let record = record::opener(option);
        self.loaded.sockets.set(&key_of(socket.as_fd()), &record)
    }

    /// From here on no segment of this socket carries an option of ours: not the one behind the SYNs either, by
    /// which the peer would learn that its answer came. Nothing is [seen](Self::seen) of it any more.
    ///
    /// # Errors
    /// The system's.
    pub fn withdraw(&self, socket: impl AsFd) -> io::Result<()> {
        self.loaded.sockets.remove(&key_of(socket.as_fd()))?;
        Ok(())
    }

    /// SYNs that come to this socket are answered. To be called between bind and listen. The kernel keeps the
    /// SYN's headers with connections until they are closed.
    ///
    /// # Errors
    /// The system's.
    pub fn listen_on(&self, socket: impl AsFd) -> io::Result<()> {
        let socket = socket.as_fd();
        let address = rustix::net::getsockname(socket)?;
        let address = std::net::SocketAddr::try_from(address)?;
        save_syns(socket)?;
        let port = u32::from(address.port()).to_ne_bytes();
        self.loaded.ports.set(&port, &[0; 4])?;
        let record = record::listener();
        self.loaded.sockets.set(&key_of(socket), &record)
    }

    /// A SYN with an option of `answer`'s kind (253 with the identifier 454E, or 69) in which `suboption` is the
    /// first that there is an answer to gets `answer`. As a rule 20 octets are left beside the options of the
    /// kernel; an answer that does not fit is left out though [`Seen`] has it.
    ///
    /// # Errors
    /// The system's; `InvalidInput` for an answer of another kind.
    pub fn answer(&self, suboption: u8, answer: &RawOption) -> io::Result<()> {
        let is_standard = is_standard(answer).ok_or(io::ErrorKind::InvalidInput)?;
        let key = program::answer_key(is_standard, suboption);
        self.loaded.answers.set(&key.to_ne_bytes(), &answer.slot())
    }

    /// A SYN that names this session gets `answer`: one SYN, whose repetitions are answered alike. All others
    /// are answered by their other suboptions, as if there were no session. When the connection stands, the
    /// session is not there any more.
    ///
    /// Two hosts that send the same name from the same port get both the same answer: a session may be turned
    /// on for one accepted connection only, and others with this answer have to be reset.
    ///
    /// # Errors
    /// The system's; `E2BIG` if there are too many.
    pub fn add_session(&self, name: &SessionName, answer: &RawOption) -> io::Result<()> {
        self.loaded.sessions.set(name, &answer.slot())
    }

    /// Takes a session back. False if it is a SYN's already, whose connection does not stand yet: then it has
    /// to stay what it is. True also if there is none of that name.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_session(&self, name: &SessionName) -> io::Result<bool> {
        // A claim of no connection: no SYN gets it from here on.
        if !self.loaded.claims.insert(name, &[0; program::CLAIM])? {
            return Ok(false);
        }
        self.drop_session(name)?;
        Ok(true)
    }

    /// Takes a session back though it may be a SYN's: for those whose SYN was answered and never became a
    /// connection. The kernel repeats a SYN-ACK for about a minute (`tcp_synack_retries`); to be called later.
    ///
    /// # Errors
    /// The system's.
    pub fn drop_session(&self, name: &SessionName) -> io::Result<()> {
        // In this order: the program looks again after it has claimed one.
        self.loaded.sessions.remove(name)?;
        self.loaded.claims.remove(name)?;
        Ok(())
    }

    /// What the options of this connection were, which stands or was accepted. Nothing, if the socket has
    /// nothing to do with us; without an answer, no more than the SYN's at the opener.
    ///
    /// # Errors
    /// The system's.
    pub fn seen(&self, socket: impl AsFd) -> io::Result<Seen> {
        let socket = socket.as_fd();
        // The kernel shows a connection as standing a moment before it calls the program, both in one hold of the
        // socket's lock. This question is answered under that lock, so what follows comes behind the program.
        let permits_sack = crate::tcp_proxy::permits_sack(socket)?;
        let mut record = [0; record::RECORD];
        let key = key_of(socket);
        let seen = match self.loaded.sockets.get(&key, &mut record)? {
            true => record::read(&record),
            false => Seen::default(),
        };
        Ok(Seen {
            permits_sack,
            ..seen
        })
    }
}

fn key_of(socket: BorrowedFd<'_>) -> [u8; 4] {
    socket.as_raw_fd().to_ne_bytes()
}

fn is_standard(option: &RawOption) -> Option<bool> {
    match option.as_bytes() {
        [program::STANDARD, ..] => Some(true),
        [program::EXPERIMENT, _, id @ ..] if id.starts_with(&program::EXPERIMENT_ID) => Some(false),
        _ => None,
    }
}

/// Repeated SYN-ACKs, and connections that stand, find the SYN's option by this.
#[allow(unsafe_code)]
fn save_syns(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that outlives the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVE_SYN,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
