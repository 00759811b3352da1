//! Asking the kernel's connection tracking about one connection, by its exact addresses.
//!
//! A proxy that is to hold a connection back until it knows whether the other end is there needs the original
//! destination before there is a socket to ask (`SO_ORIGINAL_DST`). Names and numbers are those of
//! `linux/netfilter/nfnetlink_conntrack.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = (1 << 8) | 1;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`; `CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`, `CTA_IP_V6_SRC`, `CTA_IP_V6_DST`; `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PROTO_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `NLA_F_NESTED`, and the bits that are no part of a type.
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// Octets of a `struct nlmsghdr` and of the `struct nfgenmsg` behind it.
const HEADERS: usize = 20;

/// A request fits, over IPv6 as well.
const REQUEST: usize = 128;

/// Where a connection comes from and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Sender of the packets.
    pub source: SocketAddr,
    /// Their receiver.
    pub destination: SocketAddr,
}

/// A socket to ask with.
#[derive(Debug)]
pub struct ConntrackLookup {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl ConntrackLookup {
    /// Opens the socket. Asking needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<ConntrackLookup> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(rustix::net::netlink::NETFILTER),
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(ConntrackLookup {
            socket,
            sequence: 0,
            buffer: vec![0; 16 * 1024],
        })
    }

    /// The ends that the connection had before any translation, by what its answering packets show.
    /// `None` if it is not tracked.
    ///
    /// # Errors
    /// The system's; `InvalidData` for an answer that makes no sense.
    pub fn original_of_reply(&mut self, reply: Ends) -> io::Result<Option<Ends>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.sequence, reply);
        rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.socket, &request, SendFlags::empty())
        })?;
        loop {
            let (count, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())
            })?;
            let datagram = self.buffer.get(..count).unwrap_or_default();
            if let Some(answer) = answer(datagram, self.sequence) {
                return answer;
            }
        }
    }
}

fn request(sequence: u32, reply: Ends) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(REQUEST);
    put_ip(&mut addresses, reply.source, V4_SOURCE, V6_SOURCE);
    put_ip(
        &mut addresses,
        reply.destination,
        V4_DESTINATION,
        V6_DESTINATION,
    );
    let mut ports = Vec::with_capacity(REQUEST);
    put(&mut ports, PROTO_NUMBER, &[libc::IPPROTO_TCP as u8]);
    put(&mut ports, SOURCE_PORT, &reply.source.port().to_be_bytes());
    put(
        &mut ports,
        DESTINATION_PORT,
        &reply.destination.port().to_be_bytes(),
    );
    let mut tuple = Vec::with_capacity(REQUEST);
    put(&mut tuple, TUPLE_IP | NESTED, &addresses);
    put(&mut tuple, TUPLE_PROTO | NESTED, &ports);
    let mut message = Vec::with_capacity(REQUEST);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&GET.to_ne_bytes());
    message.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    let family = match reply.source {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    message.extend_from_slice(&[family as u8, libc::NFNETLINK_V0 as u8, 0, 0]);
    put(&mut message, TUPLE_REPLY | NESTED, &tuple);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

fn put_ip(message: &mut Vec<u8>, end: SocketAddr, four: u16, six: u16) {
    match end.ip() {
        IpAddr::V4(ip) => put(message, four, &ip.octets()),
        IpAddr::V6(ip) => put(message, six, &ip.octets()),
    }
}

fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// What a datagram says to request `sequence`; `None` if it says nothing to it.
fn answer(datagram: &[u8], sequence: u32) -> Option<io::Result<Option<Ends>>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed netlink message");
    let length = u32::from_ne_bytes(chunk(datagram, 0)?);
    let kind = u16::from_ne_bytes(chunk(datagram, 4)?);
    if u32::from_ne_bytes(chunk(datagram, 8)?) != sequence {
        return None;
    }
    if i32::from(kind) == libc::NLMSG_ERROR {
        let error = i32::from_ne_bytes(chunk(datagram, 16)?).saturating_neg();
        return Some(match error {
            // An acknowledgement, without anything to acknowledge.
            0 => Err(malformed()),
            libc::ENOENT => Ok(None),
            error => Err(io::Error::from_raw_os_error(error)),
        });
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let attributes = datagram.get(HEADERS..length).unwrap_or_default();
    Some(ends(attributes).map(Some).ok_or_else(malformed))
}

fn ends(attributes: &[u8]) -> Option<Ends> {
    let tuple = find(attributes, TUPLE_ORIGINAL)?;
    let (addresses, ports) = (find(tuple, TUPLE_IP)?, find(tuple, TUPLE_PROTO)?);
    let ip = |four, six| -> Option<IpAddr> {
        if let Some(octets) = find(addresses, four) {
            return Some(Ipv4Addr::from(chunk(octets, 0)?).into());
        }
        let octets: [u8; 16] = chunk(find(addresses, six)?, 0)?;
        Some(Ipv6Addr::from(octets).into())
    };
    let end = |four, six, port| {
        let port: [u8; 2] = chunk(find(ports, port)?, 0)?;
        Some(SocketAddr::new(ip(four, six)?, u16::from_be_bytes(port)))
    };
    Some(Ends {
        source: end(V4_SOURCE, V6_SOURCE, SOURCE_PORT)?,
        destination: end(V4_DESTINATION, V6_DESTINATION, DESTINATION_PORT)?,
    })
}

/// The first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(chunk(attributes, 0)?));
        let kind = u16::from_ne_bytes(chunk(attributes, 2)?) & TYPE_MASK;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn chunk<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    /// What the kernel would answer, built with the same pieces.
    fn reply(sequence: u32, ends: Ends) -> Vec<u8> {
        let mut message = request(sequence, ends);
        let kind = (TUPLE_ORIGINAL | NESTED).to_ne_bytes();
        message[HEADERS + 2..HEADERS + 4].copy_from_slice(&kind);
        message
    }

    fn both() -> [Ends; 2] {
        [
            ("10.0.0.1:5555", "10.0.0.2:80"),
            ("[fd77::1]:5555", "[fd77::2]:80"),
        ]
        .map(|(source, destination)| Ends {
            source: end(source),
            destination: end(destination),
        })
    }

    #[test]
    fn answers_are_read() {
        for ends in both() {
            let found = answer(&reply(7, ends), 7).expect("ours").expect("no error");
            assert_eq!(found, Some(ends));
            assert!(answer(&reply(7, ends), 8).is_none());
        }
        let mut error = vec![0; 36];
        error[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        error[8..12].copy_from_slice(&7u32.to_ne_bytes());
        error[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert!(matches!(answer(&error, 7), Some(Ok(None))));
        error[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert!(matches!(answer(&error, 7), Some(Err(_))));
    }

    #[test]
    fn damaged_answers_do_no_harm() {
        for ends in both() {
            let whole = reply(7, ends);
            for length in 0..whole.len() {
                let _ = answer(&whole[..length], 7);
            }
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut changed = whole.clone();
                    changed[at] ^= 1 << bit;
                    let _ = answer(&changed, 7);
                }
            }
        }
        assert!(find(&[0; 8], 1).is_none(), "lengths of 0 end it");
    }

    #[test]
    fn a_connection_that_nobody_tracks_is_none() {
        let Ok(mut lookup) = ConntrackLookup::open() else {
            return;
        };
        for nobody in both() {
            match lookup.original_of_reply(nobody) {
                Ok(found) => assert_eq!(found, None),
                Err(error) => println!("skipped: {error}"),
            }
        }
    }
}
