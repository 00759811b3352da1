//! What somebody sends who is no IKE implementation: first messages, notifications in clear, garbage; also with
//! source addresses that are not the sender's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};

use crate::lab::host::Host;

/// Next payload numbers, exchange types and notify types that are used here (RFC 2408 section 3).
const SA: u8 = 1;
const NOTIFY: u8 = 11;
const MAIN_MODE: u8 = 2;
const INFORMATIONAL: u8 = 5;
/// R-U-THERE of RFC 3706.
pub const R_U_THERE: u16 = 36136;

/// A message: header and body.
pub fn message(icookie: u64, rcookie: u64, next: u8, exchange: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(28 + body.len());
    octets.extend(icookie.to_be_bytes());
    octets.extend(rcookie.to_be_bytes());
    octets.extend([next, 0x10, exchange, 0]);
    octets.extend(0_u32.to_be_bytes());
    let length = u32::try_from(28 + body.len()).expect("a short message");
    octets.extend(length.to_be_bytes());
    octets.extend(body);
    octets
}

/// The first message of a Main Mode: AES-128, SHA2-256, pre-shared key, group 14, an hour.
pub fn first_message(icookie: u64) -> Vec<u8> {
    let attributes: [(u16, u16); 7] = [
        (1, 7),
        (2, 4),
        (3, 1),
        (4, 14),
        (11, 1),
        (12, 3600),
        (14, 128),
    ];
    let mut transform = vec![0, 0, 0, 36, 0, 1, 0, 0];
    for (kind, value) in attributes {
        transform.extend((0x8000 | kind).to_be_bytes());
        transform.extend(value.to_be_bytes());
    }
    let mut proposal = vec![0, 0, 0, 44, 1, 1, 0, 1];
    proposal.extend(transform);
    let mut sa = vec![0, 0, 0, 56, 0, 0, 0, 1, 0, 0, 0, 1];
    sa.extend(proposal);
    message(icookie, 0, SA, MAIN_MODE, &sa)
}

/// A notification in clear, with its own cookies as SPI.
pub fn clear_notify(icookie: u64, rcookie: u64, kind: u16) -> Vec<u8> {
    let mut notify = vec![0, 0, 0, 32, 0, 0, 0, 1, 1, 16];
    notify.extend(kind.to_be_bytes());
    notify.extend(icookie.to_be_bytes());
    notify.extend(rcookie.to_be_bytes());
    notify.extend(7_u32.to_be_bytes());
    message(icookie, rcookie, NOTIFY, INFORMATIONAL, &notify)
}

/// Numbers that are the same in every run (xorshift).
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed that is not zero.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.draw() % limit).unwrap_or(0)
    }
}

/// A UDP socket of a host at one of its addresses.
pub fn socket(host: &Host, port: u16) -> UdpSocket {
    let address = SocketAddr::new(host.address.into(), port);
    let socket = host.within(|| UdpSocket::bind(address).expect("a UDP socket"));
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("the socket's limit");
    socket
}

/// Sends UDP over IPv4 from any address.
#[derive(Debug)]
pub struct Spoofer(OwnedFd);

impl Spoofer {
    /// One on `host`.
    pub fn new(host: &Host) -> Spoofer {
        Spoofer(host.within(|| {
            rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))
                .expect("a raw socket")
        }))
    }

    /// Sends one datagram; says whether there was room for it.
    pub fn send(&self, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> io::Result<()> {
        let udp = u16::try_from(8 + data.len()).expect("a short datagram");
        let mut packet = vec![0x45, 0];
        packet.extend((20 + udp).to_be_bytes());
        // Identification and checksum are the kernel's work.
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        packet.extend(from.0.octets());
        packet.extend(to.0.octets());
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend(udp.to_be_bytes());
        // No checksum.
        packet.extend([0, 0]);
        packet.extend(data);
        let to = SocketAddrV4::new(to.0, 0);
        rustix::net::sendto(&self.0, &packet, SendFlags::empty(), &SocketAddr::V4(to))?;
        Ok(())
    }
}
