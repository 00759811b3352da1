//! A TCP packet as it came from the queue: checked once, then read without copying.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::checksum::pseudo_header;
use super::flags::Flags;
use super::ipv6::{self, Pieces};
use super::notes::{Checksum, Notes};
use super::options::{self, Options};
use super::{Direction, FourTuple};
use crate::seq::Seq;

/// Why some octets are not a TCP packet that can be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    Version(u8),
    /// A header or length field says more than there is.
    #[error("{have} octets where {need} are needed")]
    Short {
        /// Octets needed.
        need: usize,
        /// Octets there.
        have: usize,
    },
    /// An IP header length below the minimum.
    #[error("IP header of {0} octets")]
    IpHeader(usize),
    /// A piece of a packet.
    #[error("fragment")]
    Fragment,
    /// An IPv6 packet whose length is in an option (RFC 2675).
    #[error("jumbogram")]
    Jumbogram,
    /// Not TCP, or TCP behind extension headers that are not passed over.
    #[error("protocol {0}")]
    Protocol(u8),
    /// A TCP header length below the minimum.
    #[error("TCP header of {0} octets")]
    TcpHeader(usize),
}

/// A TCP packet over IPv4 or IPv6, read only. Octets behind the IP total length are not part of it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    ip: &'a [u8],
    header: &'a [u8; 20],
    options: &'a [u8],
    payload: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    notes: Notes,
}

fn cut(octets: &[u8], at: usize) -> Result<(&[u8], &[u8]), ParseError> {
    octets.split_at_checked(at).ok_or(ParseError::Short {
        need: at,
        have: octets.len(),
    })
}

fn be16(octets: &[u8], at: usize) -> u16 {
    let pair = octets.get(at..).and_then(|o| o.first_chunk::<2>());
    u16::from_be_bytes(pair.copied().unwrap_or_default())
}

fn array<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    let found = octets.get(at..).and_then(|o| o.first_chunk::<N>());
    found.copied().unwrap_or([0; N])
}

impl<'a> View<'a> {
    /// Reads a whole IP packet.
    ///
    /// # Errors
    ///
    /// What [`ParseError`] names; such a packet belongs to no connection.
    pub fn parse(packet: &'a [u8]) -> Result<View<'a>, ParseError> {
        let (ip, segment, source, destination) = match packet.first().map_or(0, |b| b >> 4) {
            4 => ipv4(packet)?,
            6 => ipv6(packet)?,
            version => return Err(ParseError::Version(version)),
        };
        let (header, _) = segment.split_first_chunk::<20>().ok_or(ParseError::Short {
            need: 20,
            have: segment.len(),
        })?;
        let length = usize::from(header[12] >> 4).wrapping_mul(4);
        if length < 20 {
            return Err(ParseError::TcpHeader(length));
        }
        let (whole, payload) = cut(segment, length)?;
        Ok(View {
            ip,
            header,
            options: whole.get(20..).unwrap_or_default(),
            payload,
            source,
            destination,
            notes: Notes::default(),
        })
    }

    /// The same packet with what else is known of it.
    #[must_use]
    pub fn with_notes(self, notes: Notes) -> View<'a> {
        View { notes, ..self }
    }

    /// Whether the packet is one of many segments.
    pub fn is_super(&self) -> bool {
        self.notes.is_super
    }

    /// Sender and receiver as this host sees them.
    pub fn tuple(&self, direction: Direction) -> FourTuple {
        let source = SocketAddr::new(self.source, be16(self.header, 0));
        let destination = SocketAddr::new(self.destination, be16(self.header, 2));
        FourTuple::of(source, destination, direction)
    }

    /// Sequence number.
    pub fn seq(&self) -> Seq {
        Seq(u32::from_be_bytes(array(self.header, 4)))
    }

    /// Acknowledgement number, whether or not the flag is set.
    pub fn ack(&self) -> Seq {
        Seq(u32::from_be_bytes(array(self.header, 8)))
    }

    /// Control bits.
    pub fn flags(&self) -> Flags {
        Flags(self.header[13])
    }

    /// Window, unscaled.
    pub fn window(&self) -> u16 {
        be16(self.header, 14)
    }

    /// Urgent pointer, whether or not the flag is set.
    pub fn urgent(&self) -> u16 {
        be16(self.header, 18)
    }

    /// The octets of the TCP options, padding included.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The TCP options one by one.
    pub fn each_option(&self) -> Options<'a> {
        options::each(self.options)
    }

    /// The data.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The IP header with its options, or with the extension headers behind it.
    pub fn ip_header(&self) -> &'a [u8] {
        self.ip
    }

    /// Address of the sender.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Address of the receiver.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The fixed part of the TCP header.
    pub(super) fn tcp_header(&self) -> &'a [u8; 20] {
        self.header
    }

    /// Octets of the whole IP packet.
    pub fn total_length(&self) -> usize {
        [self.ip, self.header.as_slice(), self.options, self.payload]
            .iter()
            .fold(0, |sum, part| sum.saturating_add(part.len()))
    }

    /// Whether the TCP checksum is right, by what the kernel says or else by a look at it. The queue of arriving
    /// packets stands in front of the kernel's own look, and the one that the kernel sees later is ours.
    pub fn is_intact(&self) -> bool {
        match self.notes.checksum {
            Checksum::Verified | Checksum::Missing => return true,
            Checksum::Unverified => {}
        }
        let length = self.total_length().saturating_sub(self.ip.len());
        let mut sum = pseudo_header(self.source, self.destination, length);
        for part in [self.header.as_slice(), self.options, self.payload] {
            sum.add(part);
        }
        sum.finish() == 0
    }

    /// What the segment takes of the sequence space: data, SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        let data = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let one = |flag| u32::from(self.flags().has(flag));
        data.saturating_add(one(Flags::SYN))
            .saturating_add(one(Flags::FIN))
    }

    /// The sequence number behind the segment.
    pub fn end(&self) -> Seq {
        self.seq() + self.seq_len()
    }
}

type Parts<'a> = (&'a [u8], &'a [u8], IpAddr, IpAddr);

fn ipv4(packet: &[u8]) -> Result<Parts<'_>, ParseError> {
    let length = usize::from(packet.first().map_or(0, |b| b & 15)).wrapping_mul(4);
    if length < 20 {
        return Err(ParseError::IpHeader(length));
    }
    cut(packet, length)?;
    let (packet, _) = cut(packet, usize::from(be16(packet, 2)))?;
    let (ip, segment) = cut(packet, length)?;
    // More fragments, or an offset.
    if be16(ip, 6) & 0x3fff != 0 {
        return Err(ParseError::Fragment);
    }
    protocol(ip.get(9).copied())?;
    let source = Ipv4Addr::from(array::<4>(ip, 12));
    let destination = Ipv4Addr::from(array::<4>(ip, 16));
    Ok((ip, segment, source.into(), destination.into()))
}

fn ipv6(packet: &[u8]) -> Result<Parts<'_>, ParseError> {
    let (fixed, rest) = cut(packet, ipv6::FIXED)?;
    let length = usize::from(be16(fixed, 4));
    // Hop-by-hop options come first; one of them says the length.
    if length == 0 && fixed.get(6) == Some(&0) {
        return Err(ParseError::Jumbogram);
    }
    cut(rest, length)?;
    let (packet, _) = cut(packet, ipv6::FIXED.saturating_add(length))?;
    let (ip, segment) = cut(packet, ipv6::headers(packet, Pieces::Refused)?)?;
    let (source, destination) = ipv6_addresses(ip);
    Ok((ip, segment, source, destination))
}

fn ipv6_addresses(ip: &[u8]) -> (IpAddr, IpAddr) {
    let source = Ipv6Addr::from(array::<16>(ip, 8));
    let destination = Ipv6Addr::from(array::<16>(ip, 24));
    (source.into(), destination.into())
}

/// The ends of a TCP packet that [`View::parse`] refuses, as far as its addresses and ports are there: of the
/// first fragment, of a jumbogram, of a packet that was cut off.
pub fn ends_of_refused(packet: &[u8], direction: Direction) -> Option<FourTuple> {
    let ((source, destination), segment) = match packet.first()? >> 4 {
        4 => {
            let length = usize::from(packet.first()? & 15).checked_mul(4)?;
            let first = be16(packet, 6) & 0x1fff == 0;
            if !first || packet.get(9) != Some(&6) || length < 20 {
                return None;
            }
            let source = Ipv4Addr::from(array::<4>(packet, 12));
            let destination = Ipv4Addr::from(array::<4>(packet, 16));
            ((source.into(), destination.into()), packet.get(length..)?)
        }
        6 => {
            let at = ipv6::headers(packet, Pieces::FirstWillDo).ok()?;
            (ipv6_addresses(packet), packet.get(at..)?)
        }
        _ => return None,
    };
    let ports = segment.first_chunk::<4>()?;
    let source = SocketAddr::new(source, be16(ports, 0));
    let destination = SocketAddr::new(destination, be16(ports, 2));
    Some(FourTuple::of(source, destination, direction))
}

fn protocol(number: Option<u8>) -> Result<(), ParseError> {
    match number {
        Some(6) => Ok(()),
        other => Err(ParseError::Protocol(other.unwrap_or(0))),
    }
}
