//! What a router says of a packet that the next link cannot carry: "fragmentation needed" (RFC 1191) and
//! "packet too big" (RFC 4443 section 3.2), with the beginning of the packet behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::{Sum, pseudo_header_of};
use super::ipv6::{self, Pieces};
use super::{Direction, FourTuple};
use crate::seq::Seq;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP_OF_IPV6: u8 = 58;

/// Octets in front of the quoted packet, in both families.
const HEADER: usize = 8;

/// Such a message about a TCP packet of this host, read only. Its own checksum is right.
#[derive(Debug, Clone, Copy)]
pub struct TooBig<'a> {
    /// The IP packet, no longer than it says.
    packet: &'a [u8],
    /// Where ICMP begins.
    icmp: usize,
    /// Where the quoted sequence number is.
    seq_at: usize,
    seq: Seq,
    ends: FourTuple,
    mtu: u32,
}

impl<'a> TooBig<'a> {
    /// Reads a whole IP packet. `None` for everything else, and for what is broken, cut off or itself in pieces.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<TooBig<'a>> {
        let is_ipv6 = match packet.first()? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let (packet, icmp) = match is_ipv6 {
            true => frame_of_ipv6(packet)?,
            false => frame_of_ipv4(packet)?,
        };
        let message = packet.get(icmp..)?;
        let fixed: [u8; HEADER] = *message.first_chunk()?;
        let (kind, mtu) = match is_ipv6 {
            true => (2, fixed[4..].first_chunk().copied()?),
            false => (3, [0, 0, fixed[6], fixed[7]]),
        };
        if fixed[0] != kind || (!is_ipv6 && fixed[1] != 4) {
            return None;
        }
        if sum_of(packet, icmp)? != 0 {
            return None;
        }
        let quoted_at = icmp.checked_add(HEADER)?;
        let quoted = packet.get(quoted_at..)?;
        let (source, destination, tcp) = match is_ipv6 {
            true => quoted_over_ipv6(quoted)?,
            false => quoted_over_ipv4(quoted)?,
        };
        let [a, b, c, d, seq @ ..]: [u8; 8] = *quoted.get(tcp..)?.first_chunk()?;
        let source = SocketAddr::new(source, u16::from_be_bytes([a, b]));
        let destination = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
        Some(TooBig {
            packet,
            icmp,
            seq_at: quoted_at.checked_add(tcp)?.checked_add(4)?,
            seq: Seq(u32::from_be_bytes(seq)),
            ends: FourTuple::of(source, destination, Direction::Out),
            mtu: u32::from_be_bytes(mtu),
        })
    }

    /// The connection of the quoted packet, which this host sent.
    #[must_use]
    pub fn ends(&self) -> FourTuple {
        self.ends
    }

    /// The quoted sequence number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Octets of the longest packet that the link carries. As the router says it: 0 if it does not.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Appends the same message about another sequence number.
    pub fn write(&self, seq: Seq, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(self.packet);
        let Some(packet) = out.get_mut(begin..) else {
            return;
        };
        if let Some(place) = place(packet, self.seq_at, 4) {
            place.copy_from_slice(&seq.0.to_be_bytes());
        }
        let checksum_at = self.icmp.saturating_add(2);
        if let Some(place) = place(packet, checksum_at, 2) {
            place.fill(0);
        }
        let sum = sum_of(packet, self.icmp).unwrap_or_default();
        if let Some(place) = place(packet, checksum_at, 2) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

fn place(packet: &mut [u8], at: usize, length: usize) -> Option<&mut [u8]> {
    packet.get_mut(at..at.checked_add(length)?)
}

/// The checksum over a message: 0 if the one in it is right.
fn sum_of(packet: &[u8], icmp: usize) -> Option<u16> {
    let message = packet.get(icmp..)?;
    let mut sum = match packet.first()? >> 4 {
        6 => {
            let (source, destination) = addresses_of_ipv6(packet)?;
            pseudo_header_of(ICMP_OF_IPV6, source, destination, message.len())
        }
        _ => Sum::default(),
    };
    sum.add(message);
    Some(sum.finish())
}

fn be16(octets: &[u8], at: usize) -> Option<usize> {
    let pair = octets.get(at..)?.first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*pair)))
}

/// Octets of an IPv4 header.
fn header_of_ipv4(packet: &[u8]) -> Option<usize> {
    let length = usize::from(packet.first()? & 15).checked_mul(4)?;
    (length >= 20 && packet.first()? >> 4 == 4).then_some(length)
}

fn frame_of_ipv4(packet: &[u8]) -> Option<(&[u8], usize)> {
    let header = header_of_ipv4(packet)?;
    let packet = packet.get(..be16(packet, 2)?)?;
    let whole = be16(packet, 6)? & 0x3fff == 0;
    (whole && packet.get(9) == Some(&ICMP)).then_some((packet, header))
}

fn frame_of_ipv6(packet: &[u8]) -> Option<(&[u8], usize)> {
    let packet = packet.get(..be16(packet, 4)?.checked_add(ipv6::FIXED)?)?;
    (packet.get(6) == Some(&ICMP_OF_IPV6)).then_some((packet, ipv6::FIXED))
}

/// The addresses of a quoted packet, and where TCP begins in it.
type Quoted = (IpAddr, IpAddr, usize);

fn quoted_over_ipv4(quoted: &[u8]) -> Option<Quoted> {
    let header = header_of_ipv4(quoted)?;
    let first = be16(quoted, 6)? & 0x1fff == 0;
    if !first || quoted.get(9) != Some(&TCP) {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(*quoted.get(at..)?.first_chunk::<4>()?));
    Some((address(12)?.into(), address(16)?.into(), header))
}

fn quoted_over_ipv6(quoted: &[u8]) -> Option<Quoted> {
    if quoted.first()? >> 4 != 6 {
        return None;
    }
    let tcp = ipv6::headers(quoted, Pieces::FirstWillDo).ok()?;
    let (source, destination) = addresses_of_ipv6(quoted)?;
    Some((source, destination, tcp))
}

fn addresses_of_ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
    Some((address(8)?.into(), address(24)?.into()))
}
