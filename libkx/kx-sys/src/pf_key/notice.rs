//! What the kernel answers and tells.

use std::net::SocketAddr;

use crate::xfrm::{Notice, Policy, State};

use super::decode;
use super::extension::{Frame, native_u32, native_u64};
use super::number::{self, extension, kind};

/// The SA of an answer, as it can be told here: without the owner's mark.
pub(super) fn state(frame: &Frame<'_>) -> Option<State> {
    let (octets, packets) = carried(frame);
    Some(State {
        source: frame.address(extension::ADDRESS_SRC)?.0,
        destination: frame.address(extension::ADDRESS_DST)?.0,
        protocol: number::protocol(frame.sa_type)?,
        reqid: native_u32(frame.find(extension::SA2)?, 12)?,
        sequence: 0,
        spi: spi(frame)?,
        octets,
        packets,
    })
}

/// The index of a policy, and the policy if it is not a socket's.
pub(super) fn policy(frame: &Frame<'_>) -> Option<(u32, Policy)> {
    Some((index(frame)?, decode::policy(frame)?))
}

/// The index of the policy that an ACQUIRE comes from.
pub(super) fn index(frame: &Frame<'_>) -> Option<u32> {
    native_u32(frame.find(extension::POLICY)?, 8)
}

fn spi(frame: &Frame<'_>) -> Option<u32> {
    let octets = frame.find(extension::SA)?.get(4..)?;
    Some(u32::from_be_bytes(*octets.first_chunk()?))
}

/// Octets and packets.
fn carried(frame: &Frame<'_>) -> (u64, u64) {
    let octets = frame.find(extension::LIFETIME_CURRENT).unwrap_or_default();
    let packets = native_u32(octets, 4).unwrap_or(0);
    (native_u64(octets, 8).unwrap_or(0), packets.into())
}

/// The notices in a datagram of [`super::Notices::take`]: an EXPIRE and a NEW_MAPPING by themselves, and an ACQUIRE with
/// the policy that it comes from behind it.
#[must_use]
pub fn notices(datagram: &[u8]) -> Vec<Notice> {
    let mut all = Vec::new();
    let mut rest = datagram;
    while let Some((frame, others)) = Frame::parse(rest) {
        rest = others;
        if frame.process != 0 || frame.error != 0 {
            continue;
        }
        match frame.kind {
            kind::EXPIRE => all.extend(expire(&frame)),
            kind::NAT_T_NEW_MAPPING => all.extend(mapping(&frame)),
            kind::ACQUIRE => {
                let Some((asked, others)) = Frame::parse(rest) else {
                    break;
                };
                rest = others;
                all.extend(acquire(&frame, &asked));
            }
            _ => {}
        }
    }
    all
}

fn expire(frame: &Frame<'_>) -> Option<Notice> {
    Some(Notice::Expire {
        destination: frame.address(extension::ADDRESS_DST)?.0,
        spi: spi(frame)?,
        protocol: number::protocol(frame.sa_type)?,
        // The limit that was reached comes with it.
        hard: frame.find(extension::LIFETIME_HARD).is_some(),
        packets: carried(frame).1,
    })
}

/// Source and destination are the old place and the new one; where the SA goes to is not told.
fn mapping(frame: &Frame<'_>) -> Option<Notice> {
    let place = |host, port| -> Option<SocketAddr> {
        let host = frame.address(host)?.0;
        Some(SocketAddr::new(host, frame.nat_t_port(port)?))
    };
    Some(Notice::Mapping {
        spi: spi(frame)?,
        protocol: number::protocol(frame.sa_type)?,
        old: place(extension::ADDRESS_SRC, extension::NAT_T_SPORT)?,
        new: place(extension::ADDRESS_DST, extension::NAT_T_DPORT)?,
    })
}

fn acquire(frame: &Frame<'_>, asked: &Frame<'_>) -> Option<Notice> {
    let (index_of_policy, policy) = policy(asked)?;
    let protocol = number::protocol(frame.sa_type)?;
    if asked.error != 0 || index_of_policy != index(frame)? {
        return None;
    }
    // One template may be there already.
    let mut templates = policy.templates.iter();
    let template = templates.find(|template| template.protocol == protocol)?;
    Some(Notice::Acquire {
        source: frame.address(extension::ADDRESS_SRC)?.0,
        destination: frame.address(extension::ADDRESS_DST)?.0,
        protocol,
        mode: template.mode,
        reqid: template.reqid,
        sequence: frame.sequence,
        selector: policy.selector,
    })
}
