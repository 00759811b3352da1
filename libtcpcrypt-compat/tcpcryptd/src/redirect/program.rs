//! The options of our handshakes by a program that the kernel runs, without their segments coming through the
//! queue. What it cannot do the queue does, as it does all where there is no program.
//!
//! At the end that is connected to, the program answers by itself, by a table. It knows neither settings of ports
//! nor sessions; but the SYN-ACK waits in the queue in any case, and who lets it go puts right what the host has
//! decided otherwise.

use std::io;
use std::os::fd::AsFd;

use kx_sys::sock_ops::{self, RawOption, SockOps, SockOpsError};
use kx_sys::tcp_proxy::{Listener, ProxySocket};
use rustix::thread::CapabilitySet;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::eno::EnoOption;
use tcpcrypt_proto::packet::Seq;
use tcpcrypt_proto::stream::Server;

/// The program, in the kernel until this is dropped.
#[derive(Debug)]
pub struct Program(SockOps);

/// What the program saw of a connection that stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The ENO option of the SYN, if one was sent or answered.
    pub syn: Option<EnoOption>,
    /// That of the SYN-ACK.
    pub syn_ack: Option<EnoOption>,
    /// That of the segment behind; at the opener, what it is to carry.
    pub third: Option<EnoOption>,
    /// The numbers behind the SYNs: ours, the peer's.
    pub numbers: (Seq, Seq),
    /// Both ends permit selective acknowledgements.
    pub sack: bool,
}

impl Program {
    /// Attaches it to the cgroup that this process is in, and to listeners, which must not listen yet.
    ///
    /// # Errors
    /// What is missing.
    pub fn attach(listeners: &[Listener]) -> Result<Program, SockOpsError> {
        let cgroup = sock_ops::own_cgroup()?;
        let program = SockOps::attach(cgroup.as_fd())?;
        for listener in listeners {
            let named = program.listen_on(listener);
            named.map_err(|source| SockOpsError::System {
                step: "naming a listener",
                source,
            })?;
        }
        Ok(Program(program))
    }

    /// What is to be kept of the capabilities to work with it.
    ///
    /// # Errors
    /// The system's; the program is of no use then.
    pub fn capabilities(&self) -> io::Result<CapabilitySet> {
        self.0.capabilities_to_work()
    }

    /// Says what is to be answered. To be called with the rights that are left for work.
    ///
    /// # Errors
    /// The system's; the program is of no use then.
    pub fn prepare(&self, host: &mut Endpoint) -> io::Result<()> {
        for (suboption, answer) in Server::answers(host) {
            self.0.answer(suboption, &raw(&answer)?)?;
        }
        Ok(())
    }

    /// The SYN of a socket that is not connected yet will have this option.
    pub(super) fn offer(&self, socket: &ProxySocket, option: &EnoOption) -> io::Result<()> {
        self.0.offer(socket, &raw(option)?)
    }

    /// The segments behind the SYN will have no option.
    pub(super) fn withdraw(&self, socket: &ProxySocket) -> io::Result<()> {
        self.0.withdraw(socket)
    }

    /// What was seen of a socket's connection. Where that cannot be had nothing was.
    pub(super) fn seen(&self, socket: &ProxySocket) -> Seen {
        let seen = self.0.seen(socket).unwrap_or_default();
        let option = |raw: Option<RawOption>| EnoOption::find_any(raw?.as_bytes()).ok().flatten();
        Seen {
            syn: option(seen.syn),
            syn_ack: option(seen.syn_ack),
            third: option(seen.third),
            numbers: (Seq(seen.numbers.0), Seq(seen.numbers.1)),
            sack: seen.permits_sack,
        }
    }
}

fn raw(option: &EnoOption) -> io::Result<RawOption> {
    RawOption::new(option.as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
