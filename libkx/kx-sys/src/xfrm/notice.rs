//! What the kernel answers and tells. Nothing in here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::request::{HEADER, Mode, Selector, kind};

/// NLMSG_ERROR
const ERROR: u16 = 2;
/// NLMSG_DONE
const DONE: u16 = 3;
/// XFRMA_TMPL
const TEMPLATE: u16 = 5;

/// A message that the kernel sent, with its sequence number and where it came from: 0 is nobody's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) sequence: u32,
    pub(super) port: u32,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The end of a request, well or not.
    Done(Result<(), i32>),
    /// An SA that was asked for.
    State(State),
    /// A policy of a dump: selector, direction, and what ties it to SAs.
    Policy([u8; 56], u8, Option<u32>),
    /// Told by itself.
    Notice(Notice),
    /// Something else.
    Other,
}

/// What is known of an SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// 50 ESP, 51 AH, 108 IPComp.
    pub protocol: u8,
    /// What ties it to policies.
    pub reqid: u32,
    /// The owner's mark.
    pub sequence: u32,
    /// As on the wire.
    pub spi: u32,
    /// Octets that it carried.
    pub octets: u64,
    /// Packets that it carried.
    pub packets: u64,
}

/// What the kernel tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An SA gets old, or is gone.
    Expire {
        /// To where.
        destination: IpAddr,
        /// As on the wire; 0 of a larval one.
        spi: u32,
        /// 50 ESP, 51 AH, 108 IPComp.
        protocol: u8,
        /// It is gone.
        hard: bool,
        /// Packets that it carried.
        packets: u64,
    },
    /// A packet wants an SA.
    Acquire {
        /// Our end.
        source: IpAddr,
        /// The peer's.
        destination: IpAddr,
        /// 50 ESP, 51 AH, 108 IPComp.
        protocol: u8,
        /// Of the template.
        mode: Mode,
        /// What ties the policy to a connection.
        reqid: u32,
        /// The kernel's number for its question.
        sequence: u32,
        /// The traffic of the policy, not that of the packet.
        selector: Selector,
    },
    /// A packet of an incoming SA in UDP came from another place than the SA has, and is authentic. Told of each such
    /// packet until the SA has that place.
    Mapping {
        /// As on the wire.
        spi: u32,
        /// 50 ESP.
        protocol: u8,
        /// Where the SA has the peer.
        old: SocketAddr,
        /// Where the packet came from.
        new: SocketAddr,
    },
}

/// The messages of a datagram. One that is cut off ends it.
pub(super) fn messages(datagram: &[u8]) -> Vec<Received> {
    let mut rest = datagram;
    let mut all = Vec::new();
    while let Some(length) = native_u32(rest, 0) {
        let Ok(length) = usize::try_from(length) else {
            break;
        };
        let (Some(body), Some(kind)) = (rest.get(HEADER..length), native_u16(rest, 4)) else {
            break;
        };
        all.push(Received {
            sequence: native_u32(rest, 8).unwrap_or(0),
            port: native_u32(rest, 12).unwrap_or(0),
            content: content(kind, body).unwrap_or(Content::Other),
        });
        match rest.get(length.next_multiple_of(4)..) {
            Some(next) if length >= HEADER => rest = next,
            _ => break,
        }
    }
    all
}

fn content(message: u16, body: &[u8]) -> Option<Content> {
    Some(match message {
        ERROR => {
            let number = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
            Content::Done(if number == 0 {
                Ok(())
            } else {
                Err(number.saturating_neg())
            })
        }
        DONE => Content::Done(Ok(())),
        kind::NEWSA => Content::State(state(body)?),
        kind::NEWPOLICY => Content::Policy(
            body.get(..56)?.try_into().ok()?,
            *body.get(160)?,
            body.get(168..)
                .and_then(template)
                .and_then(|one| native_u32(one, 44)),
        ),
        kind::EXPIRE => {
            let state = state(body)?;
            Content::Notice(Notice::Expire {
                destination: state.destination,
                spi: state.spi,
                protocol: state.protocol,
                hard: *body.get(224)? != 0,
                packets: state.packets,
            })
        }
        kind::ACQUIRE => {
            // The selector of the packet may be of another family than the ends of the template.
            let template = template(body.get(280..)?)?;
            let family = native_u16(template, 24)?;
            Content::Notice(Notice::Acquire {
                // The template of transport mode has no addresses.
                destination: address(body, 0, family)?,
                protocol: *body.get(20)?,
                source: address(body, 24, family)?,
                mode: match *template.get(48)? {
                    0 => Mode::Transport,
                    1 => Mode::Tunnel,
                    _ => return None,
                },
                reqid: native_u32(template, 44)?,
                sequence: native_u32(body, 276)?,
                selector: selector(body.get(96..152)?)?,
            })
        }
        // `struct xfrm_user_mapping`
        kind::MAPPING => {
            let family = native_u16(body, 20)?;
            let place = |host, port| -> Option<SocketAddr> {
                let host = address(body, host, family)?;
                Some(SocketAddr::new(host, network_u16(body, port)?))
            };
            Content::Notice(Notice::Mapping {
                spi: u32::from_be_bytes(body.get(16..20)?.try_into().ok()?),
                protocol: *body.get(22)?,
                old: place(28, 60)?,
                new: place(44, 62)?,
            })
        }
        _ => Content::Other,
    })
}

/// Of `struct xfrm_usersa_info`.
fn state(body: &[u8]) -> Option<State> {
    body.get(..224)?;
    let family = native_u16(body, 212)?;
    Some(State {
        source: address(body, 80, family)?,
        destination: address(body, 56, family)?,
        protocol: *body.get(76)?,
        reqid: native_u32(body, 208)?,
        sequence: native_u32(body, 204)?,
        spi: u32::from_be_bytes(body.get(72..76)?.try_into().ok()?),
        octets: native_u64(body, 160)?,
        packets: native_u64(body, 168)?,
    })
}

/// The first template among the attributes.
fn template(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let length = usize::from(native_u16(attributes, 0)?);
        let kind = native_u16(attributes, 2)?;
        let value = attributes.get(4..length)?;
        if kind == TEMPLATE {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// Of `struct xfrm_selector`.
fn selector(octets: &[u8]) -> Option<Selector> {
    let family = native_u16(octets, 40)?;
    Some(Selector {
        source: (address(octets, 16, family)?, *octets.get(43)?),
        destination: (address(octets, 0, family)?, *octets.get(42)?),
        protocol: *octets.get(44)?,
        source_port: network_u16(octets, 36)?,
        destination_port: network_u16(octets, 32)?,
    })
}

fn address(octets: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    let octets: [u8; 16] = octets.get(at..)?.get(..16)?.try_into().ok()?;
    Some(match family {
        2 => {
            let [a, b, c, d, ..] = octets;
            Ipv4Addr::new(a, b, c, d).into()
        }
        10 => Ipv6Addr::from(octets).into(),
        _ => return None,
    })
}

fn network_u16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        octets.get(at..)?.get(..2)?.try_into().ok()?,
    ))
}

fn native_u16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        octets.get(at..)?.get(..2)?.try_into().ok()?,
    ))
}

fn native_u32(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        octets.get(at..)?.get(..4)?.try_into().ok()?,
    ))
}

fn native_u64(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(
        octets.get(at..)?.get(..8)?.try_into().ok()?,
    ))
}
