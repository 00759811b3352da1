//! Requests as octets. What PF_KEY has no field for is left out: the selector of an SA, and the ends of a
//! template of transport mode. Structures: linux/pfkeyv2.h; what the kernel makes of them: net/key/af_key.c.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::xfrm::{
    Algorithm, Direction, Lifetime, Mode, Policy, PolicyName, Sa, Selector, StateName, Subject,
    Template, wipe,
};

use super::extension::{HEADER, UNIT};
use super::number::{self, extension, kind};

/// More than any request has, so that none is copied while it grows.
const MOST_OCTETS: usize = 2048;
/// The kernel clips larger ones without a word.
pub const MOST_WINDOW: u32 = 32;
/// IPSEC_MANUAL_REQID_MAX of linux/ipsec.h: in place of a larger one in a policy, the kernel takes one of its own.
pub const MOST_REQID: u32 = 0x3fff;

/// There is no way to say it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// An algorithm without a number.
    #[error("PF_KEY has no {0}")]
    Algorithm(String),
    /// A check value of another length than that of the number.
    #[error("PF_KEY has no {0} of {1} bits")]
    Bits(String, u32),
    /// A reqid above [`MOST_REQID`] (or 0) in a policy.
    #[error("PF_KEY has no reqid {0} for policies")]
    Reqid(u32),
}

/// A request with its header, all but the process. It may hold keys and is wiped when it is dropped.
pub struct Message(pub(super) Vec<u8>);

impl Drop for Message {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// What one message asks for.
#[derive(Clone)]
pub(super) enum Request<'a> {
    AllocateSpi(Sa<'a>, RangeInclusive<u32>),
    /// In place of a larval one, or new.
    Install(Sa<'a>, bool),
    /// Source, destination, protocol, SPI.
    Remove(IpAddr, IpAddr, u8, u32),
    Look(IpAddr, IpAddr, u8, u32),
    /// In place of one, or new.
    PutPolicy(Policy, bool),
    RemovePolicy(Selector, Direction),
}

impl Message {
    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// From octets that another process made of one of these; `None` unless these are exactly the octets that a
    /// function of this module makes. What it asks for is not judged.
    #[must_use]
    pub fn from_octets(octets: Vec<u8>) -> Option<Message> {
        let message = Message(octets);
        if message.0.len() > MOST_OCTETS {
            return None;
        }
        // Nothing is in it, or stands in another place, that was not looked at.
        let again = message.request()?.encode().ok()?;
        (again.0 == message.0).then_some(message)
    }

    /// What it is about, for whoever decides whether to send it for somebody else.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        Some(match self.request()? {
            Request::AllocateSpi(sa, _) => Subject::Make {
                name: StateName::new(sa.destination, sa.protocol, 0),
                update: false,
                reqid: sa.reqid,
                mark: sa.sequence,
            },
            Request::Install(sa, _) if sa.spi == 0 => return None,
            Request::Install(sa, update) => Subject::Make {
                name: StateName::new(sa.destination, sa.protocol, sa.spi),
                update,
                reqid: sa.reqid,
                mark: sa.sequence,
            },
            Request::Remove(_, destination, protocol, spi)
            | Request::Look(_, destination, protocol, spi) => {
                Subject::State(StateName::new(destination, protocol, spi))
            }
            Request::PutPolicy(policy, replace) => Subject::Policy {
                name: PolicyName::new(&policy.selector, policy.direction),
                replace,
                reqids: policy.templates.iter().map(|one| one.reqid).collect(),
            },
            Request::RemovePolicy(selector, direction) => {
                Subject::NoPolicy(PolicyName::new(&selector, direction))
            }
        })
    }
}

impl Request<'_> {
    pub(super) fn encode(&self) -> Result<Message, Unsupported> {
        Ok(match self {
            Request::AllocateSpi(sa, range) => allocate_spi(sa, range.clone()),
            Request::Install(sa, update) => install(sa, *update)?,
            Request::Remove(source, destination, protocol, spi) => {
                remove(*source, *destination, *protocol, *spi)
            }
            Request::Look(source, destination, protocol, spi) => {
                look(*source, *destination, *protocol, *spi)
            }
            Request::PutPolicy(policy, replace) => put_policy(policy, *replace)?,
            Request::RemovePolicy(selector, direction) => remove_policy(selector, *direction),
        })
    }
}

/// An SPI is wanted: a larval SA that lives `net.core.xfrm_acq_expires` seconds.
#[must_use]
pub fn allocate_spi(sa: &Sa<'_>, range: RangeInclusive<u32>) -> Message {
    let mut message = begin(kind::GETSPI, number::sa_type(sa.protocol), sa.sequence);
    ends(&mut message, sa.source, sa.destination);
    sa2(&mut message, sa);
    extend(&mut message, extension::SPIRANGE, |out| {
        out.extend(range.start().to_ne_bytes());
        out.extend(range.end().to_ne_bytes());
        out.extend([0; 4]);
    });
    end(message)
}

/// A whole SA: `update` the larval one, or a new one. Its selector is not told, and its replay window is at most
/// [`MOST_WINDOW`].
///
/// # Errors
/// An algorithm that PF_KEY does not have.
pub fn install(sa: &Sa<'_>, update: bool) -> Result<Message, Unsupported> {
    let (mut cipher, mut authentication) = (0, 0);
    let (mut cipher_key, mut authentication_key) = (None, None);
    for algorithm in &sa.algorithms {
        match *algorithm {
            Algorithm::Cipher(name, key) => {
                cipher = number::cipher_number(name)
                    .ok_or_else(|| Unsupported::Algorithm(name.to_owned()))?;
                cipher_key = Some(key);
            }
            Algorithm::Authentication(name, key, bits) => {
                authentication = number::authentication_number(name, bits)
                    .ok_or_else(|| Unsupported::Bits(name.to_owned(), bits))?;
                authentication_key = Some(key);
            }
            Algorithm::Compression(name) => {
                cipher = number::compression_number(name)
                    .ok_or_else(|| Unsupported::Algorithm(name.to_owned()))?;
            }
            Algorithm::Aead(name, ..) => return Err(Unsupported::Algorithm(name.to_owned())),
        }
    }
    let kind = if update { kind::UPDATE } else { kind::ADD };
    let mut message = begin(kind, number::sa_type(sa.protocol), sa.sequence);
    let window = u8::try_from(sa.replay_window.min(MOST_WINDOW)).unwrap_or(0);
    let details = [window, number::MATURE, authentication, cipher];
    sa_extension(&mut message, sa.spi, details);
    sa2(&mut message, sa);
    ends(&mut message, sa.source, sa.destination);
    for (kind, key) in [
        (extension::KEY_AUTH, authentication_key),
        (extension::KEY_ENCRYPT, cipher_key),
    ] {
        let Some(key) = key else { continue };
        extend(&mut message, kind, |out| {
            let bits = u16::try_from(key.len().saturating_mul(8)).unwrap_or(u16::MAX);
            out.extend(bits.to_ne_bytes());
            out.extend([0; 2]);
            out.extend(key);
        });
    }
    let Lifetime {
        soft_octets,
        hard_octets,
        soft_seconds,
        hard_seconds,
    } = sa.lifetime;
    // The kernel wants both or none of them.
    for (kind, octets, seconds) in [
        (extension::LIFETIME_HARD, hard_octets, hard_seconds),
        (extension::LIFETIME_SOFT, soft_octets, soft_seconds),
    ] {
        extend(&mut message, kind, |out| {
            out.extend([0; 4]); // packets
            // 0 is no limit.
            for limit in [octets, seconds, None] {
                out.extend(limit.map_or(0, |limit| limit.max(1)).to_ne_bytes());
            }
        });
    }
    if let Some((source, destination)) = sa.encapsulation {
        extend(&mut message, extension::NAT_T_TYPE, |out| {
            out.extend([number::ESP_IN_UDP, 0, 0, 0]);
        });
        for (kind, port) in [
            (extension::NAT_T_SPORT, source),
            (extension::NAT_T_DPORT, destination),
        ] {
            extend(&mut message, kind, |out| {
                out.extend(port.to_be_bytes());
                out.extend([0; 2]);
            });
        }
    }
    Ok(end(message))
}

/// An SA to be removed.
#[must_use]
pub fn remove(source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Message {
    name(kind::DELETE, source, destination, protocol, spi)
}

/// An SA to be looked at.
#[must_use]
pub fn look(source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Message {
    name(kind::GET, source, destination, protocol, spi)
}

fn name(kind: u8, source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Message {
    let mut message = begin(kind, number::sa_type(protocol), 0);
    sa_extension(&mut message, spi, [0, number::MATURE, 0, 0]);
    ends(&mut message, source, destination);
    end(message)
}

/// A policy; to `replace` is to take the place of one with the same selector and direction.
///
/// # Errors
/// A reqid that no policy can have.
pub fn put_policy(policy: &Policy, replace: bool) -> Result<Message, Unsupported> {
    if let Some(template) = policy.templates.iter().find(|one| !may_be_asked(one.reqid)) {
        return Err(Unsupported::Reqid(template.reqid));
    }
    let kind = if replace {
        kind::SPDUPDATE
    } else {
        kind::SPDADD
    };
    let mut message = begin(kind, 0, 0);
    selector_ends(&mut message, &policy.selector);
    extend(&mut message, extension::POLICY, |out| {
        policy_head(out, policy.direction, policy.priority);
        for template in &policy.templates {
            put_template(out, template);
        }
    });
    Ok(end(message))
}

fn may_be_asked(reqid: u32) -> bool {
    (1..=MOST_REQID).contains(&reqid)
}

/// A policy to be removed.
#[must_use]
pub fn remove_policy(selector: &Selector, direction: Direction) -> Message {
    let mut message = begin(kind::SPDDELETE, 0, 0);
    selector_ends(&mut message, selector);
    extend(&mut message, extension::POLICY, |out| {
        policy_head(out, direction, 0);
    });
    end(message)
}

/// `struct sadb_x_policy` of a socket that this host's policies leave alone: what IP_IPSEC_POLICY and
/// IPV6_IPSEC_POLICY take.
#[must_use]
pub fn bypass(direction: Direction) -> Vec<u8> {
    let mut policy = Vec::new();
    extend(&mut policy, extension::POLICY, |out| {
        out.extend(number::POLICY_BYPASS.to_ne_bytes());
        out.extend([number::direction_number(direction), 0]);
        out.extend([0; 8]); // index, priority
    });
    policy
}

/// A policy by its index, to be looked at or removed.
pub(super) fn by_index(kind: u8, index: u32) -> Message {
    let mut message = begin(kind, 0, 0);
    extend(&mut message, extension::POLICY, |out| {
        // The direction is in the index.
        out.extend(number::POLICY_IPSEC.to_ne_bytes());
        out.extend([1, 0]);
        out.extend(index.to_ne_bytes());
        out.extend([0; 4]);
    });
    end(message)
}

/// A message without extensions.
pub(super) fn plain(kind: u8, sa_type: u8) -> Message {
    end(begin(kind, sa_type, 0))
}

fn begin(kind: u8, sa_type: u8, sequence: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(MOST_OCTETS);
    // The length comes last.
    message.extend([number::VERSION, kind, 0, sa_type, 0, 0, 0, 0]);
    message.extend(sequence.to_ne_bytes());
    message.extend([0; HEADER - 12]);
    message
}

fn end(mut message: Vec<u8>) -> Message {
    set_length(&mut message, 0, 4);
    Message(message)
}

/// An extension; `fill` writes what follows its head.
fn extend(message: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = message.len();
    message.extend([0; 2]);
    message.extend(kind.to_ne_bytes());
    fill(message);
    message.resize(message.len().next_multiple_of(UNIT), 0);
    set_length(message, start, start);
}

/// The octets from `start` on, counted in units, are written to `at`.
fn set_length(message: &mut [u8], start: usize, at: usize) {
    let units = message.len().saturating_sub(start) / UNIT;
    let units = u16::try_from(units).unwrap_or(u16::MAX);
    if let Some(place) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = units.to_ne_bytes();
    }
}

/// `struct sadb_sa`; `details` are window, state, authentication, cipher.
fn sa_extension(message: &mut Vec<u8>, spi: u32, details: [u8; 4]) {
    extend(message, extension::SA, |out| {
        out.extend(spi.to_be_bytes());
        out.extend(details);
        out.extend([0; 4]); // flags
    });
}

/// `struct sadb_x_sa2`
fn sa2(message: &mut Vec<u8>, sa: &Sa<'_>) {
    extend(message, extension::SA2, |out| {
        out.extend([number::mode_number(sa.mode), 0, 0, 0]);
        out.extend([0; 4]); // sequence number
        out.extend(sa.reqid.to_ne_bytes());
    });
}

fn ends(message: &mut Vec<u8>, source: IpAddr, destination: IpAddr) {
    for (kind, address) in [
        (extension::ADDRESS_SRC, source),
        (extension::ADDRESS_DST, destination),
    ] {
        put_address(message, kind, (address, whole(address)), 0, 0);
    }
}

fn whole(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn selector_ends(message: &mut Vec<u8>, selector: &Selector) {
    let protocol = match selector.protocol {
        0 => number::ANY_PROTOCOL,
        protocol => protocol,
    };
    for (kind, network, port) in [
        (
            extension::ADDRESS_SRC,
            selector.source,
            selector.source_port,
        ),
        (
            extension::ADDRESS_DST,
            selector.destination,
            selector.destination_port,
        ),
    ] {
        put_address(message, kind, network, protocol, port);
    }
}

/// `struct sadb_address` and a socket address.
fn put_address(message: &mut Vec<u8>, kind: u16, network: (IpAddr, u8), protocol: u8, port: u16) {
    extend(message, kind, |out| {
        out.extend([protocol, network.1, 0, 0]);
        put_socket_address(out, network.0, port);
    });
}

fn put_socket_address(out: &mut Vec<u8>, address: IpAddr, port: u16) {
    match address {
        IpAddr::V4(address) => {
            out.extend(2u16.to_ne_bytes());
            out.extend(port.to_be_bytes());
            out.extend(address.octets());
            out.extend([0; 8]);
        }
        IpAddr::V6(address) => {
            out.extend(10u16.to_ne_bytes());
            out.extend(port.to_be_bytes());
            out.extend([0; 4]); // flow
            out.extend(address.octets());
            out.extend([0; 4]); // zone
        }
    }
}

/// `struct sadb_x_policy` without its head.
fn policy_head(out: &mut Vec<u8>, direction: Direction, priority: u32) {
    out.extend(number::POLICY_IPSEC.to_ne_bytes());
    out.extend([number::direction_number(direction), 0]);
    out.extend([0; 4]); // index: the kernel's
    out.extend(priority.to_ne_bytes());
}

/// `struct sadb_x_ipsecrequest`, whose length is counted in octets; its ends only in tunnel mode.
fn put_template(out: &mut Vec<u8>, template: &Template) {
    let start = out.len();
    let level = if template.optional {
        // The kernel takes SAs of any reqid for these.
        number::LEVEL_USE
    } else {
        number::LEVEL_UNIQUE
    };
    out.extend([0; 2]);
    out.extend(u16::from(template.protocol).to_ne_bytes());
    out.extend([number::mode_number(template.mode), level, 0, 0]);
    out.extend(template.reqid.to_ne_bytes());
    out.extend([0; 4]);
    if template.mode == Mode::Tunnel {
        put_socket_address(out, template.source, 0);
        put_socket_address(out, template.destination, 0);
    }
    out.resize(out.len().next_multiple_of(UNIT), 0);
    let length = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *place = length.to_ne_bytes();
    }
}
