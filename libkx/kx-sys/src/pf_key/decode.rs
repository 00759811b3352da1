//! Requests, and policies that the kernel tells, from octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::xfrm::{Algorithm, Lifetime, Mode, Policy, Sa, Selector, Template};

use super::extension::{
    Frame, native_u16, native_u32, native_u64, socket_address, socket_address_length,
};
use super::number::{self, extension, kind};
use super::request::{Message, Request};

/// More protocols around one packet than any policy has (XFRM_MAX_DEPTH).
const MOST_TEMPLATES: usize = 6;

impl Message {
    /// What it says.
    pub(super) fn request(&self) -> Option<Request<'_>> {
        let (frame, rest) = Frame::parse(&self.0)?;
        if !rest.is_empty() {
            return None;
        }
        Some(match frame.kind {
            kind::GETSPI => {
                let range = frame.find(extension::SPIRANGE)?;
                let range = native_u32(range, 4)?..=native_u32(range, 8)?;
                Request::AllocateSpi(sa(&frame, 0, Vec::new())?, range)
            }
            kind @ (kind::ADD | kind::UPDATE) => {
                let octets = frame.find(extension::SA)?;
                let spi = u32::from_be_bytes(*octets.get(4..)?.first_chunk()?);
                let sa = sa(&frame, spi, algorithms(&frame, octets)?)?;
                Request::Install(
                    Sa {
                        replay_window: u32::from(*octets.get(8)?),
                        ..sa
                    },
                    kind == kind::UPDATE,
                )
            }
            kind @ (kind::DELETE | kind::GET) => {
                let octets = frame.find(extension::SA)?;
                let spi = u32::from_be_bytes(*octets.get(4..)?.first_chunk()?);
                let source = frame.address(extension::ADDRESS_SRC)?.0;
                let destination = frame.address(extension::ADDRESS_DST)?.0;
                let protocol = number::protocol(frame.sa_type)?;
                match kind {
                    kind::GET => Request::Look(source, destination, protocol, spi),
                    _ => Request::Remove(source, destination, protocol, spi),
                }
            }
            kind @ (kind::SPDADD | kind::SPDUPDATE) => {
                Request::PutPolicy(policy(&frame)?, kind == kind::SPDUPDATE)
            }
            kind::SPDDELETE => {
                let octets = frame.find(extension::POLICY)?;
                Request::RemovePolicy(selector(&frame)?, number::direction(*octets.get(6)?)?)
            }
            _ => return None,
        })
    }
}

/// All of an SA but its window.
fn sa<'a>(frame: &Frame<'a>, spi: u32, algorithms: Vec<Algorithm<'a>>) -> Option<Sa<'a>> {
    let sa2 = frame.find(extension::SA2)?;
    let ports = (
        frame.nat_t_port(extension::NAT_T_SPORT),
        frame.nat_t_port(extension::NAT_T_DPORT),
    );
    let limits = |kind| -> (Option<u64>, Option<u64>) {
        let octets = frame.find(kind).unwrap_or_default();
        let limit = |at| native_u64(octets, at).filter(|limit| *limit != 0);
        (limit(8), limit(16))
    };
    let (hard_octets, hard_seconds) = limits(extension::LIFETIME_HARD);
    let (soft_octets, soft_seconds) = limits(extension::LIFETIME_SOFT);
    Some(Sa {
        source: frame.address(extension::ADDRESS_SRC)?.0,
        destination: frame.address(extension::ADDRESS_DST)?.0,
        spi,
        protocol: number::protocol(frame.sa_type)?,
        mode: number::mode(*sa2.get(4)?)?,
        reqid: native_u32(sa2, 12)?,
        replay_window: 0,
        algorithms,
        encapsulation: ports.0.zip(ports.1),
        lifetime: Lifetime {
            soft_octets,
            hard_octets,
            soft_seconds,
            hard_seconds,
        },
        selector: None,
        sequence: frame.sequence,
    })
}

/// Of `struct sadb_sa` and the keys.
fn algorithms<'a>(frame: &Frame<'a>, octets: &[u8]) -> Option<Vec<Algorithm<'a>>> {
    let [authentication, cipher] = *octets.get(10..)?.first_chunk::<2>()?;
    let mut all = Vec::new();
    if number::sa_type(108) == frame.sa_type {
        all.push(Algorithm::Compression(number::compression(cipher)?));
        return Some(all);
    }
    if cipher != 0 {
        let key = key(frame, extension::KEY_ENCRYPT)?;
        all.push(Algorithm::Cipher(number::cipher(cipher)?, key));
    }
    if authentication != 0 {
        let key = key(frame, extension::KEY_AUTH)?;
        let (name, bits) = number::authentication(authentication)?;
        all.push(Algorithm::Authentication(name, key, bits));
    }
    Some(all)
}

fn key<'a>(frame: &Frame<'a>, kind: u16) -> Option<&'a [u8]> {
    let octets = frame.find(kind)?;
    let length = usize::from(native_u16(octets, 4)?) / 8;
    octets.get(8..)?.get(..length)
}

/// The traffic of a policy.
pub(super) fn selector(frame: &Frame<'_>) -> Option<Selector> {
    let (source, source_prefix, protocol, source_port) = frame.address(extension::ADDRESS_SRC)?;
    let (destination, prefix, _, destination_port) = frame.address(extension::ADDRESS_DST)?;
    Some(Selector {
        source: (source, source_prefix),
        destination: (destination, prefix),
        protocol: match protocol {
            number::ANY_PROTOCOL => 0,
            protocol => protocol,
        },
        source_port,
        destination_port,
    })
}

/// A policy, as it is sent or told.
pub(super) fn policy(frame: &Frame<'_>) -> Option<Policy> {
    let octets = frame.find(extension::POLICY)?;
    let selector = selector(frame)?;
    let mut templates = Vec::new();
    let mut rest = octets.get(16..)?;
    while !rest.is_empty() && templates.len() < MOST_TEMPLATES {
        let length = usize::from(native_u16(rest, 0)?);
        if length < 16 {
            return None;
        }
        let (one, others) = rest.split_at_checked(length)?;
        rest = others;
        templates.push(template(one, selector.source.0)?);
    }
    Some(Policy {
        selector,
        direction: number::direction(*octets.get(6)?)?,
        priority: native_u32(octets, 12)?,
        templates,
    })
}

fn template(octets: &[u8], like: IpAddr) -> Option<Template> {
    let mode = number::mode(*octets.get(4)?)?;
    let (source, destination) = match mode {
        Mode::Transport => {
            let any = match like {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            (any, any)
        }
        Mode::Tunnel => {
            let ends = octets.get(16..)?;
            let source = socket_address(ends)?.0;
            let destination = ends.get(socket_address_length(source)..)?;
            (source, socket_address(destination)?.0)
        }
    };
    Some(Template {
        source,
        destination,
        protocol: u8::try_from(native_u16(octets, 2)?).ok()?,
        mode,
        reqid: native_u32(octets, 8)?,
        optional: *octets.get(5)? == number::LEVEL_USE,
    })
}
