//! Requests as octets. Sizes and places of fields: "isakmpd-xfrm 1", linux/xfrm.h.

use std::net::IpAddr;

/// `XFRM_MSG_*`
pub(super) mod kind {
    pub(crate) const NEWSA: u16 = 0x10;
    pub(crate) const DELSA: u16 = 0x11;
    pub(crate) const GETSA: u16 = 0x12;
    pub(crate) const NEWPOLICY: u16 = 0x13;
    pub(crate) const DELPOLICY: u16 = 0x14;
    pub(crate) const GETPOLICY: u16 = 0x15;
    pub(crate) const ALLOCSPI: u16 = 0x16;
    pub(crate) const ACQUIRE: u16 = 0x17;
    pub(crate) const EXPIRE: u16 = 0x18;
    pub(crate) const UPDPOLICY: u16 = 0x19;
    pub(crate) const UPDSA: u16 = 0x1a;
    pub(crate) const MAPPING: u16 = 0x26;
}

/// `XFRMA_*`
mod attribute {
    pub(super) const ALG_CRYPT: u16 = 2;
    pub(super) const ALG_COMP: u16 = 3;
    pub(super) const ENCAP: u16 = 4;
    pub(super) const TMPL: u16 = 5;
    pub(super) const SRCADDR: u16 = 13;
    pub(super) const ALG_AEAD: u16 = 18;
    pub(super) const ALG_AUTH_TRUNC: u16 = 20;
    pub(super) const REPLAY_ESN_VAL: u16 = 23;
    /// None of them reaches beyond the SA (marks, devices, name spaces do).
    pub(super) const OF_SAS: &[u16] = &[
        ALG_CRYPT,
        ALG_COMP,
        ENCAP,
        ALG_AEAD,
        ALG_AUTH_TRUNC,
        REPLAY_ESN_VAL,
    ];
}

/// Octets of a `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// More than any request has, so that none is copied while it grows.
const MOST_OCTETS: usize = 2048;
/// NLM_F_REQUEST and NLM_F_ACK.
const ASKED: u16 = 0x1 | 0x4;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x1 | 0x300;
/// UDP_ENCAP_ESPINUDP of linux/udp.h.
const ESP_IN_UDP: u16 = 2;
/// A window above this needs the other form.
const PLAIN_WINDOW: u32 = 32;
/// The kernel takes no larger one.
pub const MOST_WINDOW: u32 = 4096;
/// XFRM_STATE_AF_UNSPEC: traffic of both families.
const AF_UNSPEC: u8 = 32;
/// XFRM_STATE_ALIGN4: AH's header ends at 4 octets.
const ALIGN4: u8 = 64;
/// AH, in the IP header.
const AH: u8 = 51;

/// A request with its header, all but the sequence number. It may hold keys and is wiped when it is dropped.
pub struct Message(pub(super) Vec<u8>);

impl Message {
    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// From octets that another process made of one of these; `None` unless it is one of the requests of this
    /// module, whole and not too long. What it asks for is not judged.
    #[must_use]
    pub fn from_octets(octets: Vec<u8>) -> Option<Message> {
        let message = Message(octets);
        let length = message
            .0
            .get(..4)?
            .try_into()
            .ok()
            .map(u32::from_ne_bytes)?;
        let asked = message
            .0
            .get(6..8)?
            .try_into()
            .ok()
            .map(u16::from_ne_bytes)?;
        let whole = usize::try_from(length).ok()? == message.0.len();
        let known = matches!(
            message.kind()?,
            kind::NEWSA
                | kind::UPDSA
                | kind::DELSA
                | kind::GETSA
                | kind::ALLOCSPI
                | kind::NEWPOLICY
                | kind::UPDPOLICY
                | kind::DELPOLICY
        );
        (whole && known && asked == ASKED && message.0.len() <= MOST_OCTETS).then_some(message)
    }

    /// What it is about, for whoever decides whether to send it for somebody else.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let body = self.0.get(HEADER..)?;
        let array = |at: usize| -> Option<[u8; 4]> { body.get(at..)?.get(..4)?.try_into().ok() };
        let number = |at| array(at).map(u32::from_ne_bytes);
        let short = |at| array(at).map(|[low, high, ..]| u16::from_ne_bytes([low, high]));
        Some(match self.kind()? {
            kind @ (kind::NEWSA | kind::UPDSA | kind::ALLOCSPI) => {
                let attributes = body.get(if kind == kind::ALLOCSPI { 232 } else { 224 }..)?;
                if !has_only(attributes, attribute::OF_SAS) {
                    return None;
                }
                let spi = u32::from_be_bytes(array(72)?);
                // The kernel chooses it.
                if (kind == kind::ALLOCSPI) != (spi == 0) {
                    return None;
                }
                Subject::Make {
                    name: StateName {
                        family: short(212)?,
                        destination: body.get(56..72)?.try_into().ok()?,
                        spi,
                        protocol: *body.get(76)?,
                    },
                    update: kind == kind::UPDSA,
                    reqid: number(208)?,
                    mark: number(204)?,
                }
            }
            kind::DELSA | kind::GETSA => {
                if !has_only(body.get(24..)?, &[attribute::SRCADDR]) {
                    return None;
                }
                Subject::State(StateName {
                    family: short(20)?,
                    destination: body.get(..16)?.try_into().ok()?,
                    spi: u32::from_be_bytes(array(16)?),
                    protocol: *body.get(22)?,
                })
            }
            kind::NEWPOLICY | kind::UPDPOLICY => {
                // The index is the kernel's, and the action is to let pass what the templates protect.
                if number(156)? != 0 || body.get(161..168)? != [0; 7] {
                    return None;
                }
                Subject::Policy {
                    name: PolicyName(body.get(..56)?.try_into().ok()?, *body.get(160)?),
                    replace: self.kind()? == kind::UPDPOLICY,
                    reqids: template_reqids(body.get(168..)?)?,
                }
            }
            kind::DELPOLICY => {
                // With an index the kernel would not look at the selector.
                if number(56)? != 0 || body.len() != 64 {
                    return None;
                }
                Subject::NoPolicy(PolicyName(body.get(..56)?.try_into().ok()?, *body.get(60)?))
            }
            _ => return None,
        })
    }

    pub(super) fn kind(&self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?))
    }
}

/// By what the kernel knows an SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateName {
    /// AF_INET or AF_INET6: the same octets are another address in the other one.
    pub family: u16,
    /// To where; an IPv4 address is in the first four octets.
    pub destination: [u8; 16],
    /// As on the wire.
    pub spi: u32,
    /// 50 ESP, 51 AH, 108 IPComp.
    pub protocol: u8,
}

/// By what the kernel knows a policy: selector and direction, as they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyName([u8; 56], u8);

impl StateName {
    pub(crate) fn new(to: IpAddr, protocol: u8, spi: u32) -> StateName {
        let mut octets = Vec::with_capacity(16);
        address(&mut octets, to);
        StateName {
            family: family(to),
            destination: octets.try_into().unwrap_or_default(),
            spi,
            protocol,
        }
    }
}

impl PolicyName {
    pub(crate) fn new(selector: &Selector, direction: Direction) -> PolicyName {
        let mut octets = Vec::with_capacity(56);
        selector.encode(&mut octets);
        PolicyName(octets.try_into().unwrap_or([0; 56]), direction.number())
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An SA, larval or whole, is to be made. The SPI of a larval one is 0.
    Make {
        /// Which.
        name: StateName,
        /// It takes the place of one.
        update: bool,
        /// What ties it to policies.
        reqid: u32,
        /// Its owner's mark ([`Sa::sequence`]).
        mark: u32,
    },
    /// An SA is to be looked at or removed.
    State(StateName),
    /// A policy is to be put.
    Policy {
        /// Which.
        name: PolicyName,
        /// In place of one.
        replace: bool,
        /// Of its templates.
        reqids: Vec<u32>,
    },
    /// A policy is to be removed.
    NoPolicy(PolicyName),
}

/// All attributes are whole and among `known`.
fn has_only(mut attributes: &[u8], known: &[u16]) -> bool {
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let [low, high, kind @ ..] = *head;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let next = attributes.get(length.next_multiple_of(4)..);
        match next {
            Some(next) if length >= 4 && known.contains(&u16::from_ne_bytes(kind)) => {
                attributes = next;
            }
            _ => return false,
        }
    }
    attributes.is_empty()
}

/// `None`: there is something else among the attributes, or no template.
fn template_reqids(attributes: &[u8]) -> Option<Vec<u32>> {
    let (head, value) = attributes.split_at_checked(4)?;
    let expected = [
        u16::try_from(attributes.len()).ok()?.to_ne_bytes(),
        attribute::TMPL.to_ne_bytes(),
    ]
    .concat();
    if head != expected || value.is_empty() || value.len() % 64 != 0 {
        return None;
    }
    let reqids = value.chunks_exact(64).map(|template| {
        let octets = template.get(44..48)?.try_into().ok()?;
        Some(u32::from_ne_bytes(octets))
    });
    reqids.collect()
}

impl Drop for Message {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Tunnel or transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The packet as it is.
    Transport,
    /// A packet in a packet.
    Tunnel,
}

impl Mode {
    const fn number(self) -> u8 {
        match self {
            Mode::Transport => 0,
            Mode::Tunnel => 1,
        }
    }
}

/// What traffic is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selector {
    /// Address and length of its prefix.
    pub source: (IpAddr, u8),
    /// Address and length of its prefix.
    pub destination: (IpAddr, u8),
    /// 0: all.
    pub protocol: u8,
    /// 0: all.
    pub source_port: u16,
    /// 0: all.
    pub destination_port: u16,
}

impl Selector {
    fn encode(&self, out: &mut Vec<u8>) {
        let mask = |port: u16| if port == 0 { 0u16 } else { 0xffff };
        address(out, self.destination.0);
        address(out, self.source.0);
        for port in [self.destination_port, self.source_port] {
            out.extend(port.to_be_bytes());
            out.extend(mask(port).to_be_bytes());
        }
        out.extend(family(self.source.0).to_ne_bytes());
        out.extend([self.destination.1, self.source.1, self.protocol, 0, 0, 0]);
        out.extend([0; 8]); // interface, user
    }
}

/// Limits; `None` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// Octets until it is told that the SA gets old.
    pub soft_octets: Option<u64>,
    /// Octets until it is gone.
    pub hard_octets: Option<u64>,
    /// Seconds from when it was made.
    pub soft_seconds: Option<u64>,
    /// Seconds from when it was made.
    pub hard_seconds: Option<u64>,
}

impl Lifetime {
    fn encode(&self, out: &mut Vec<u8>) {
        // For octets and packets 0 would mean at once; for seconds it means never ("isakmpd-xfrm 4").
        for octets in [self.soft_octets, self.hard_octets, None, None] {
            out.extend(octets.unwrap_or(u64::MAX).to_ne_bytes());
        }
        for seconds in [self.soft_seconds, self.hard_seconds, None, None] {
            out.extend(seconds.unwrap_or(0).to_ne_bytes());
        }
    }
}

/// A named algorithm of the kernel's and its key.
#[derive(Clone, Copy)]
pub enum Algorithm<'a> {
    /// A cipher.
    Cipher(&'a str, &'a [u8]),
    /// Authentication, and to how many bits it is cut.
    Authentication(&'a str, &'a [u8], u32),
    /// Both at once; the key with its salt, and the bits of the check value.
    Aead(&'a str, &'a [u8], u32),
    /// Compression.
    Compression(&'a str),
}

/// One SA.
#[derive(Clone)]
pub struct Sa<'a> {
    /// From where.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// As on the wire.
    pub spi: u32,
    /// 50 ESP, 51 AH, 108 IPComp.
    pub protocol: u8,
    /// Tunnel or transport.
    pub mode: Mode,
    /// What ties it to policies.
    pub reqid: u32,
    /// Packets; at most [`MOST_WINDOW`].
    pub replay_window: u32,
    /// In the order in which they are given.
    pub algorithms: Vec<Algorithm<'a>>,
    /// Ports of UDP around it.
    pub encapsulation: Option<(u16, u16)>,
    /// Limits.
    pub lifetime: Lifetime,
    /// What traffic it is for, of all that the policies send; `None`: all.
    pub selector: Option<Selector>,
    /// The owner's mark; the kernel keeps it and looks for a larval SA that has the same (0: none has).
    pub sequence: u32,
}

/// One protocol that a policy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// From where; for transport, unspecified.
    pub source: IpAddr,
    /// To where.
    pub destination: IpAddr,
    /// 50 ESP, 51 AH, 108 IPComp.
    pub protocol: u8,
    /// Tunnel or transport.
    pub mode: Mode,
    /// What ties it to SAs.
    pub reqid: u32,
    /// Packets may come without (IPComp of small ones).
    pub optional: bool,
}

/// Where a policy looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Coming to this host.
    In,
    /// Leaving it.
    Out,
    /// Going through it, having come in.
    Forward,
}

impl Direction {
    const fn number(self) -> u8 {
        match self {
            Direction::In => 0,
            Direction::Out => 1,
            Direction::Forward => 2,
        }
    }
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What traffic.
    pub selector: Selector,
    /// Where.
    pub direction: Direction,
    /// The lower number wins.
    pub priority: u32,
    /// Innermost first.
    pub templates: Vec<Template>,
}

/// An SPI is wanted: a larval SA that lives `net.core.xfrm_acq_expires` seconds.
#[must_use]
pub fn allocate_spi(sa: &Sa<'_>, range: std::ops::RangeInclusive<u32>) -> Message {
    let mut body = Vec::with_capacity(232);
    state(sa, &mut body);
    body.extend(range.start().to_ne_bytes());
    body.extend(range.end().to_ne_bytes());
    message(kind::ALLOCSPI, &body)
}

/// A whole SA: `update` the larval one, or a new one.
#[must_use]
pub fn install(sa: &Sa<'_>, update: bool) -> Message {
    let mut body = Vec::with_capacity(MOST_OCTETS);
    state(sa, &mut body);
    for algorithm in &sa.algorithms {
        encode_algorithm(*algorithm, &mut body);
    }
    if sa.replay_window > PLAIN_WINDOW {
        let window = sa.replay_window.min(MOST_WINDOW);
        let words = window.div_ceil(32);
        let mut value = Vec::new();
        for number in [words, 0, 0, 0, 0, window] {
            value.extend(number.to_ne_bytes());
        }
        value.resize(24 + 4 * words as usize, 0);
        encode_attribute(attribute::REPLAY_ESN_VAL, &value, &mut body);
    }
    if let Some((source, destination)) = sa.encapsulation {
        let mut value = Vec::new();
        value.extend(ESP_IN_UDP.to_ne_bytes());
        value.extend(source.to_be_bytes());
        value.extend(destination.to_be_bytes());
        value.extend([0; 2 + 16]);
        encode_attribute(attribute::ENCAP, &value, &mut body);
    }
    let made = message(if update { kind::UPDSA } else { kind::NEWSA }, &body);
    wipe(&mut body);
    made
}

/// An SA to be removed.
#[must_use]
pub fn remove(source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Message {
    message(kind::DELSA, &name(source, destination, protocol, spi))
}

/// An SA to be looked at.
#[must_use]
pub fn look(source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Message {
    message(kind::GETSA, &name(source, destination, protocol, spi))
}

/// A policy; to `replace` is to take the place of one with the same selector and direction.
#[must_use]
pub fn put_policy(policy: &Policy, replace: bool) -> Message {
    let mut body = Vec::with_capacity(256);
    policy.selector.encode(&mut body);
    Lifetime::default().encode(&mut body);
    body.extend([0; 32]); // counters
    body.extend(policy.priority.to_ne_bytes());
    body.extend([0; 4]); // index: the kernel's
    body.extend([policy.direction.number(), 0, 0, 0, 0, 0, 0, 0]);
    let mut value = Vec::new();
    for template in &policy.templates {
        address(&mut value, template.destination);
        value.extend([0; 4]); // any SPI
        value.extend([template.protocol, 0, 0, 0]);
        value.extend(family(template.destination).to_ne_bytes());
        value.extend([0; 2]);
        address(&mut value, template.source);
        value.extend(template.reqid.to_ne_bytes());
        value.extend([template.mode.number(), 0, u8::from(template.optional), 0]);
        value.extend([0xff; 12]); // all algorithms
    }
    encode_attribute(attribute::TMPL, &value, &mut body);
    let kind = if replace {
        kind::UPDPOLICY
    } else {
        kind::NEWPOLICY
    };
    message(kind, &body)
}

/// All SAs, or all policies.
pub(super) fn dump(policies: bool) -> Message {
    let kind = if policies {
        kind::GETPOLICY
    } else {
        kind::GETSA
    };
    let mut message = message(kind, &[]);
    if let Some(flags) = message.0.get_mut(6..8) {
        flags.copy_from_slice(&DUMP.to_ne_bytes());
    }
    message
}

/// A policy as a dump tells it: removed by the octets that it was told with.
pub(super) fn remove_told_policy(selector: &[u8; 56], direction: u8) -> Message {
    let mut body = selector.to_vec();
    body.extend([0; 4]);
    body.extend([direction, 0, 0, 0]);
    message(kind::DELPOLICY, &body)
}

/// A policy to be removed.
#[must_use]
pub fn remove_policy(selector: &Selector, direction: Direction) -> Message {
    let mut body = Vec::with_capacity(64);
    selector.encode(&mut body);
    body.extend([0; 4]); // index: any
    body.extend([direction.number(), 0, 0, 0]);
    message(kind::DELPOLICY, &body)
}

/// `struct xfrm_userpolicy_info` of a socket that this host's policies leave alone: what IP_XFRM_POLICY and
/// IPV6_XFRM_POLICY take ("isakmpd-xfrm 7").
#[must_use]
pub fn bypass(ipv6: bool, direction: Direction) -> Vec<u8> {
    let any: IpAddr = if ipv6 {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    let mut body = Vec::with_capacity(168);
    Selector {
        source: (any, 0),
        destination: (any, 0),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
    }
    .encode(&mut body);
    Lifetime::default().encode(&mut body);
    body.extend([0; 32 + 8]);
    body.extend([direction.number(), 0, 0, 0, 0, 0, 0, 0]);
    body
}

/// `struct xfrm_usersa_info`
fn state(sa: &Sa<'_>, out: &mut Vec<u8>) {
    match &sa.selector {
        Some(selector) => selector.encode(out),
        None => out.extend([0; 56]),
    }
    address(out, sa.destination);
    out.extend(sa.spi.to_be_bytes());
    out.extend([sa.protocol, 0, 0, 0]);
    address(out, sa.source);
    sa.lifetime.encode(out);
    out.extend([0; 32 + 12]); // counters, statistics
    out.extend(sa.sequence.to_ne_bytes());
    out.extend(sa.reqid.to_ne_bytes());
    out.extend(family(sa.destination).to_ne_bytes());
    let window = if sa.replay_window > PLAIN_WINDOW {
        0
    } else {
        u8::try_from(sa.replay_window).unwrap_or(0)
    };
    let mut flags = match sa.mode {
        Mode::Tunnel => AF_UNSPEC,
        Mode::Transport => 0,
    };
    // RFC 4302 3.3.3.2.1: 8 octets are for IPv6. Linux takes them for both, which with 16 octets of HMAC-SHA2-256
    // makes headers that others throw away.
    if sa.protocol == AH && sa.destination.is_ipv4() {
        flags |= ALIGN4;
    }
    out.extend([sa.mode.number(), window, flags]);
    out.extend([0; 7]);
}

/// `struct xfrm_usersa_id` and the source.
fn name(source: IpAddr, destination: IpAddr, protocol: u8, spi: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(48);
    address(&mut body, destination);
    body.extend(spi.to_be_bytes());
    body.extend(family(destination).to_ne_bytes());
    body.extend([protocol, 0]);
    let mut value = Vec::new();
    address(&mut value, source);
    encode_attribute(attribute::SRCADDR, &value, &mut body);
    body
}

fn encode_algorithm(algorithm: Algorithm<'_>, out: &mut Vec<u8>) {
    let (kind, name, key, cut) = match algorithm {
        Algorithm::Cipher(name, key) => (attribute::ALG_CRYPT, name, key, None),
        Algorithm::Compression(name) => (attribute::ALG_COMP, name, &[][..], None),
        Algorithm::Aead(name, key, bits) => (attribute::ALG_AEAD, name, key, Some(bits)),
        // ALG_AUTH alone would cut hmac(sha256) to 96 bits ("isakmpd-xfrm 9").
        Algorithm::Authentication(name, key, bits) => {
            (attribute::ALG_AUTH_TRUNC, name, key, Some(bits))
        }
    };
    let mut value = name.as_bytes().to_vec();
    value.resize(64, 0);
    let bits = u32::try_from(key.len().saturating_mul(8)).unwrap_or(u32::MAX);
    value.extend(bits.to_ne_bytes());
    if let Some(cut) = cut {
        value.extend(cut.to_ne_bytes());
    }
    value.reserve_exact(key.len());
    value.extend(key);
    encode_attribute(kind, &value, out);
    wipe(&mut value);
}

fn encode_attribute(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// With its header; the sequence number is the socket's to fill in.
fn message(kind: u16, body: &[u8]) -> Message {
    let mut octets = Vec::with_capacity(HEADER.saturating_add(body.len()));
    let length = u32::try_from(HEADER.saturating_add(body.len())).unwrap_or(u32::MAX);
    octets.extend(length.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(ASKED.to_ne_bytes());
    octets.extend([0; 8]);
    octets.extend(body);
    Message(octets)
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.extend(address.octets());
            out.extend([0; 12]);
        }
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

/// Keys do not stay behind in freed memory.
pub(crate) fn wipe(octets: &mut [u8]) {
    octets.fill(0);
    std::hint::black_box(octets);
}
