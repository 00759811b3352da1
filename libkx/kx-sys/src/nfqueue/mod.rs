//! The kernel's packet queue (`-j NFQUEUE`, nfnetlink_queue): packets of a rule set come to a
//! process, which says what becomes of each and may put another in its place.
//!
//! Built for many packets: a batch is received with one call into slots that were made before,
//! verdicts are collected (replacements written in place) and sent with one call. Nothing is
//! allocated per packet. The order of opening is that of tcpcrypt-datapath spec 2.5.

mod batch;
mod message;
mod statistics;
mod verdict;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

pub use batch::Batch;
pub use message::{Hook, Malformed, Message, Messages, Packet};
pub use statistics::{Losses, Statistics};
pub use verdict::{Decision, MAX_PAYLOAD, Verdict, Verdicts};

use message::message_type;

/// As much of a packet as an attribute can hold.
const COPY_RANGE: u32 = 0xffff;
/// Option of netlink sockets: losing messages is counted, but not reported as an error.
const NO_ENOBUFS: libc::c_int = libc::NETLINK_NO_ENOBUFS;

/// What to open.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The number in the rules.
    pub number: u16,
    /// Packets that may wait for a verdict; more are dropped, or pass with `--queue-bypass`.
    pub max_length: u32,
    /// Octets of packets that may wait to be read.
    pub receive_buffer: usize,
    /// Packets as big as the stack handles them (`NFQA_CFG_F_GSO`), not cut to segments.
    pub super_packets: bool,
}

impl Settings {
    /// For queue `number`: 16384 packets, 32 MiB, segments.
    #[must_use]
    pub fn new(number: u16) -> Settings {
        Settings {
            number,
            max_length: 16384,
            receive_buffer: 32 << 20,
            super_packets: false,
        }
    }
}

/// A queue could not be opened. The step's name is the one that the original's message has
/// (tcpcrypt spec 2.1): `nfq_create_queue(): Operation not permitted`.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct OpenError {
    /// `nfq_open()`, `nfq_unbind_pf()`, `nfq_bind_pf()`, `nfq_create_queue()` or `nfq_set_mode()`.
    pub step: &'static str,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// An open queue.
#[derive(Debug)]
pub struct Queue {
    socket: OwnedFd,
    settings: Settings,
    super_packets: bool,
}

impl Queue {
    /// Opens a queue; from now on packets come.
    ///
    /// # Errors
    /// The kernel has no queues, the capability `CAP_NET_ADMIN` is missing, the number is taken
    /// (also `EPERM`).
    pub fn open(settings: Settings) -> Result<Queue, OpenError> {
        let at = |step| move |source| OpenError { step, source };
        let socket = connect().map_err(at("nfq_open()"))?;
        let mut control = Control {
            socket: &socket,
            sequence: 0,
            number: settings.number,
        };
        control
            .command(libc::NFQNL_CFG_CMD_PF_UNBIND, 0)
            .map_err(at("nfq_unbind_pf()"))?;
        control
            .command(libc::NFQNL_CFG_CMD_PF_BIND, 0)
            .map_err(at("nfq_bind_pf()"))?;
        // Before there is a queue: what it sends first must fit already.
        set_buffers(&socket, settings.receive_buffer);
        control
            .command(libc::NFQNL_CFG_CMD_BIND, settings.number)
            .map_err(at("nfq_create_queue()"))?;
        let mut super_packets = settings.super_packets;
        let mut configured = control.configure(settings.max_length, super_packets);
        if super_packets && refused(&configured) {
            // Linux before 3.10 knows no super-packets.
            super_packets = false;
            configured = control.configure(settings.max_length, false);
        }
        configured.map_err(at("nfq_set_mode()"))?;
        Ok(Queue {
            socket,
            settings,
            super_packets,
        })
    }

    /// True if packets come uncut, which the kernel may have refused.
    #[must_use]
    pub fn has_super_packets(&self) -> bool {
        self.super_packets
    }

    /// The buffer for the verdicts of this queue.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        Verdicts::new(self.settings.number)
    }

    /// Fills `batch` with what is there, without waiting. Returns the number of datagrams.
    ///
    /// # Errors
    /// The system's.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.receive(self.socket.as_fd())
    }

    /// Sends the collected verdicts and empties the buffer, also after an error: the packets are
    /// lost then, which TCP repairs.
    ///
    /// # Errors
    /// The system's. Verdicts for packets that are gone are answered by a message, not by an
    /// error.
    pub fn send(&self, verdicts: &mut Verdicts) -> io::Result<()> {
        if verdicts.is_empty() {
            return Ok(());
        }
        let result = rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, verdicts.octets(), SendFlags::empty())
        });
        verdicts.clear();
        result?;
        Ok(())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A netlink socket that talks to the kernel alone: connected, so that no other process can send
/// to it.
fn connect() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(rustix::net::netlink::NETFILTER),
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Best effort: beyond the system's limits only with `CAP_NET_ADMIN`, and not in every container.
fn set_buffers(socket: &OwnedFd, octets: usize) {
    if sockopt::set_socket_recv_buffer_size_force(socket, octets).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, octets);
    }
    let send = 8 << 20;
    if sockopt::set_socket_send_buffer_size_force(socket, send).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, send);
    }
    set_option(socket, NO_ENOBUFS);
}

#[allow(unsafe_code)]
fn set_option(socket: &OwnedFd, option: libc::c_int) {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that outlives the call and its length is given. An option that
    // is not known changes nothing.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

fn refused(result: &io::Result<()>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP))
}

/// Requests of which each is answered before the next.
struct Control<'a> {
    socket: &'a OwnedFd,
    sequence: u32,
    number: u16,
}

impl Control<'_> {
    /// One `NFQA_CFG_CMD` for the address family IPv4 and queue `number`.
    fn command(&mut self, command: libc::c_int, number: u16) -> io::Result<()> {
        let mut request = self.request(number);
        let family = (libc::AF_INET as u16).to_be_bytes();
        let value = [command as u8, 0, family[0], family[1]];
        attribute(&mut request, libc::NFQA_CFG_CMD, &value);
        self.exchange(request)
    }

    /// Copying, flags and length in one message, so that no packet comes in between.
    fn configure(&mut self, max_length: u32, super_packets: bool) -> io::Result<()> {
        let mut request = self.request(self.number);
        let mut params = COPY_RANGE.to_be_bytes().to_vec();
        params.push(libc::NFQNL_COPY_PACKET as u8);
        attribute(&mut request, libc::NFQA_CFG_PARAMS, &params);
        attribute(
            &mut request,
            libc::NFQA_CFG_QUEUE_MAXLEN,
            &max_length.to_be_bytes(),
        );
        if super_packets {
            let flag = (libc::NFQA_CFG_F_GSO as u32).to_be_bytes();
            attribute(&mut request, libc::NFQA_CFG_FLAGS, &flag);
            attribute(&mut request, libc::NFQA_CFG_MASK, &flag);
        }
        self.exchange(request)
    }

    fn request(&mut self, number: u16) -> Vec<u8> {
        self.sequence += 1;
        let mut request = vec![0; 4];
        let kind = message_type(libc::NFQNL_MSG_CONFIG);
        request.extend_from_slice(&kind.to_ne_bytes());
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&self.sequence.to_ne_bytes());
        request.extend_from_slice(&[0; 4]);
        request.extend_from_slice(&[libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8]);
        request.extend_from_slice(&number.to_be_bytes());
        request
    }

    fn exchange(&mut self, mut request: Vec<u8>) -> io::Result<()> {
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
        request[..4].copy_from_slice(&length.to_ne_bytes());
        rustix::net::send(self.socket, &request, SendFlags::empty())?;
        let mut buffer = vec![0; 70 * 1024];
        loop {
            let (count, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(self.socket, buffer.as_mut_slice(), RecvFlags::empty())
            })?;
            for message in Messages::new(buffer.get(..count).unwrap_or_default()) {
                match message? {
                    Message::Answer { sequence, error } if sequence == self.sequence => {
                        return match error {
                            None => Ok(()),
                            Some(number) => Err(io::Error::from_raw_os_error(number)),
                        };
                    }
                    // One that was faster than the answer; nobody is there yet to look at it.
                    Message::Packet(packet) => {
                        let mut verdicts = Verdicts::new(self.number);
                        verdicts.give(packet.id, Verdict::Accept, None);
                        rustix::net::send(self.socket, verdicts.octets(), SendFlags::empty())?;
                    }
                    _ => {}
                }
            }
        }
    }
}

fn attribute(out: &mut Vec<u8>, kind: libc::c_int, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&(kind as u16).to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(message::aligned(out.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_can_be_bound_once() {
        let settings = Settings {
            super_packets: true,
            ..Settings::new(64_123)
        };
        let queue = match Queue::open(settings) {
            Ok(queue) => queue,
            Err(error) => {
                assert_eq!(error.step, "nfq_unbind_pf()");
                println!("skipped: {error}");
                return;
            }
        };
        assert!(queue.has_super_packets());
        let error = Queue::open(settings).expect_err("taken");
        assert_eq!(error.step, "nfq_create_queue()");
        assert_eq!(error.source.raw_os_error(), Some(libc::EPERM));
        assert_eq!(queue.receive(&mut Batch::new(2)).expect("nothing"), 0);

        // A verdict for a packet that is not there is answered, not fatal.
        let mut verdicts = queue.verdicts();
        verdicts.give(1, Verdict::Accept, None);
        queue.send(&mut verdicts).expect("sent");
        assert!(verdicts.is_empty());
        let mut batch = Batch::new(2);
        assert_eq!(queue.receive(&mut batch).expect("the answer"), 1);
        let datagram = batch.datagrams().next().expect("one");
        let Some(Ok(Message::Answer { error, .. })) = Messages::new(datagram).next() else {
            panic!("an answer");
        };
        assert_eq!(error, Some(libc::ENOENT));
    }
}
