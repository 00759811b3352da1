//! The frame of all messages: a header and extensions, none of which comes twice. Nothing here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number::{VERSION, extension};

/// Octets of a `struct sadb_msg`.
pub(super) const HEADER: usize = 16;
/// Lengths are counted in these.
pub(super) const UNIT: usize = 8;

/// A whole message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    /// The system's number of what went wrong; 0: nothing did.
    pub(super) error: u8,
    pub(super) sa_type: u8,
    pub(super) sequence: u32,
    pub(super) process: u32,
    extensions: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first message of `octets`, and what follows it. `None`: it is not whole, or of another version.
    pub(super) fn parse(octets: &'a [u8]) -> Option<(Frame<'a>, &'a [u8])> {
        let [version, kind, error, sa_type] = *octets.first_chunk::<4>()?;
        let length = units(octets, 4)?;
        if version != VERSION || length < HEADER {
            return None;
        }
        let (message, rest) = octets.split_at_checked(length)?;
        let frame = Frame {
            kind,
            error,
            sa_type,
            sequence: native_u32(message, 8)?,
            process: native_u32(message, 12)?,
            extensions: message.get(HEADER..)?,
        };
        Some((frame, rest))
    }

    /// Its extensions with their heads, in their order. One that is not whole ends them.
    pub(super) fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.extensions;
        std::iter::from_fn(move || {
            let length = units(rest, 0)?;
            let kind = native_u16(rest, 2)?;
            if length == 0 || !(1..=extension::LAST).contains(&kind) {
                return None;
            }
            let (one, others) = rest.split_at_checked(length)?;
            rest = others;
            Some((kind, one))
        })
    }

    /// The extension of a kind.
    pub(super) fn find(&self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self.extensions();
        all.find_map(|(found, octets)| (found == kind).then_some(octets))
    }

    /// An address extension: address, length of the prefix, protocol, port.
    pub(super) fn address(&self, kind: u16) -> Option<(IpAddr, u8, u8, u16)> {
        let octets = self.find(kind)?;
        let [protocol, prefix] = *octets.get(4..)?.first_chunk::<2>()?;
        let (address, port) = socket_address(octets.get(8..)?)?;
        Some((address, prefix, protocol, port))
    }

    /// An extension with a port of ESP in UDP.
    pub(super) fn nat_t_port(&self, kind: u16) -> Option<u16> {
        let octets = self.find(kind)?.get(4..)?;
        Some(u16::from_be_bytes(*octets.first_chunk()?))
    }
}

/// A `struct sockaddr_in` or `struct sockaddr_in6`.
pub(super) fn socket_address(octets: &[u8]) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(*octets.get(2..)?.first_chunk()?);
    let address = match native_u16(octets, 0)? {
        2 => Ipv4Addr::from(*octets.get(4..16)?.first_chunk::<4>()?).into(),
        10 => Ipv6Addr::from(*octets.get(8..28)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some((address, port))
}

/// Octets of a `struct sockaddr_in` or `struct sockaddr_in6`.
pub(super) fn socket_address_length(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 16,
        IpAddr::V6(_) => 28,
    }
}

fn units(octets: &[u8], at: usize) -> Option<usize> {
    usize::from(native_u16(octets, at)?).checked_mul(UNIT)
}

pub(super) fn native_u16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

pub(super) fn native_u32(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

pub(super) fn native_u64(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}
