//! What Quick Mode offers and takes (isakmpd-wire 1.4, 2.4, 4.1).

use isakmp_proto::attribute::Attribute;
use isakmp_proto::number::{Encapsulation, IpsecAttribute, IpsecAuth, LifeType, Protocol};
use isakmp_proto::sa::{Proposal, Sa, Transform};

use crate::config::{Amount, Life, Lives, QuickMode, Value};
use crate::phase2::keymat;
use crate::sa::{Lifetime, NatState, NatTraversal};

/// Alternatives that are put to the policy for one SA payload, at most.
const MOST_QUESTIONS: usize = 256;

/// Combinations of transforms that are looked at for one SA payload, at most.
const MOST_COMBINATIONS: usize = 4096;

/// What we offer, with SPIs still to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The proposals of all suites; those of one suite have its number, from 1.
    pub(crate) proposals: Vec<Proposal>,
    /// Replay window of each of them, packets.
    pub(crate) windows: Vec<u32>,
    /// Group of the KE payload, 0 for none.
    pub(crate) group: u16,
}

/// Why nothing can be offered; the text is the original's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OfferError {
    /// Some transforms want a group, others none or another one.
    #[error("initiator_send_HASH_SA_NONCE: differing group descriptions in a proposal")]
    Groups,
    /// A protocol that is none of AH, ESP, IPCOMP.
    #[error("initiator_send_HASH_SA_NONCE: invalid PROTCOL_ID: {0}")]
    Protocol(u8),
    /// Nothing to offer, or more than the numbers of a message can count.
    #[error("initiator_send_HASH_SA_NONCE: no usable suite in section [{0}]")]
    Nothing(String),
}

/// The offer of a configuration.
///
/// # Errors
/// [`OfferError`].
pub(crate) fn offer(configuration: &QuickMode, nat: NatState) -> Result<Offer, OfferError> {
    let mut offer = Offer {
        proposals: Vec::new(),
        windows: Vec::new(),
        group: 0,
    };
    let nothing = || OfferError::Nothing(configuration.name.clone());
    let mut group = None;
    for (number, suite) in (1_u8..).zip(&configuration.suites) {
        for protocol in &suite.protocols {
            if !(2..=4).contains(&protocol.protocol) {
                return Err(OfferError::Protocol(protocol.protocol));
            }
            let compresses = protocol.protocol == Protocol::IPCOMP.0;
            let mut transforms = Vec::with_capacity(protocol.transforms.len());
            for (number, transform) in (1_u8..).zip(&protocol.transforms) {
                if !compresses {
                    let wanted = constant(transform.group).unwrap_or(0);
                    if *group.get_or_insert(wanted) != wanted {
                        return Err(OfferError::Groups);
                    }
                }
                transforms.push(Transform {
                    number,
                    id: transform.id,
                    attributes: attributes(protocol.protocol, transform, nat),
                });
            }
            if transforms.is_empty() {
                return Err(nothing());
            }
            offer.windows.push(protocol.replay_window);
            offer.proposals.push(Proposal {
                number,
                protocol: Protocol(protocol.protocol),
                spi: Vec::new(),
                transforms,
            });
        }
    }
    if offer.proposals.is_empty() {
        return Err(nothing());
    }
    offer.group = group.unwrap_or(0);
    Ok(offer)
}

/// Attributes in the original's order.
fn attributes(protocol: u8, transform: &crate::config::Transform, nat: NatState) -> Vec<Attribute> {
    let mut out = Vec::new();
    let lives: &[Life] = match &transform.lives {
        Lives::Any => &[],
        Lives::These(lives) => lives,
    };
    for life in lives {
        if let Value::Is(life_type) = life.life_type {
            out.push(Attribute::basic(IpsecAttribute::SA_LIFE_TYPE, life_type));
        }
        if let Some(duration) = amount(Some(&life.duration)) {
            out.push(Attribute::number(
                IpsecAttribute::SA_LIFE_DURATION,
                duration,
            ));
        }
    }
    if let Some(mode) = constant(transform.encapsulation) {
        let mode = if protocol == Protocol::ESP.0 {
            over_udp(mode, nat)
        } else {
            mode
        };
        out.push(Attribute::basic(IpsecAttribute::ENCAPSULATION_MODE, mode));
    }
    let mut number = |ty: IpsecAttribute, value: Option<u32>| {
        out.extend(value.map(|value| Attribute::number(ty, value)));
    };
    if protocol == Protocol::IPCOMP.0 {
        number(
            IpsecAttribute::COMPRESS_DICTIONARY_SIZE,
            amount(transform.compress_dictionary_size.as_ref()),
        );
        number(
            IpsecAttribute::COMPRESS_PRIVATE_ALGORITHM,
            amount(transform.compress_private_algorithm.as_ref()),
        );
    } else {
        number(
            IpsecAttribute::AUTHENTICATION_ALGORITHM,
            constant(transform.authentication).map(u32::from),
        );
        number(
            IpsecAttribute::GROUP_DESCRIPTION,
            constant(transform.group).map(u32::from),
        );
        number(
            IpsecAttribute::KEY_LENGTH,
            amount(transform.key_length.as_ref()),
        );
        number(
            IpsecAttribute::KEY_ROUNDS,
            amount(transform.key_rounds.as_ref()),
        );
    }
    number(
        IpsecAttribute::ECN_TUNNEL,
        constant(transform.ecn_tunnel)
            .filter(|on| *on != 0)
            .map(u32::from),
    );
    out
}

fn constant(value: Option<Value>) -> Option<u16> {
    match value {
        Some(Value::Is(number)) => Some(number),
        Some(Value::Any) | None => None,
    }
}

/// What is offered; zero is not.
fn amount(amount: Option<&Amount>) -> Option<u32> {
    match amount {
        Some(Amount::Number { offer, .. }) => Some(*offer).filter(|offer| *offer != 0),
        _ => None,
    }
}

/// TUNNEL and TRANSPORT behind a NAT (RFC 3947 section 5.1, or its drafts).
fn over_udp(mode: u16, nat: NatState) -> u16 {
    if !nat.encapsulates() {
        return mode;
    }
    let draft = nat.traversal == NatTraversal::Draft;
    let mapped = match (Encapsulation(mode), draft) {
        (Encapsulation::TUNNEL, false) => Encapsulation::UDP_ENCAP_TUNNEL,
        (Encapsulation::TUNNEL, true) => Encapsulation::UDP_ENCAP_TUNNEL_DRAFT,
        (Encapsulation::TRANSPORT, false) => Encapsulation::UDP_ENCAP_TRANSPORT,
        (Encapsulation::TRANSPORT, true) => Encapsulation::UDP_ENCAP_TRANSPORT_DRAFT,
        (other, _) => other,
    };
    mapped.0
}

/// One protocol as agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Agreed {
    /// 2 AH, 3 ESP, 4 IPCOMP.
    pub(crate) protocol: u8,
    /// TRANSFORM_ID
    pub(crate) transform: u8,
    /// AUTHENTICATION_ALGORITHM; 0: none.
    pub(crate) authentication: u16,
    /// ENCAPSULATION_MODE; 0: not said.
    pub(crate) encapsulation: u16,
    /// Bits; 0: not said.
    pub(crate) key_length: u16,
    /// GROUP_DESCRIPTION; 0: none.
    pub(crate) group: u16,
    /// As far as said.
    pub(crate) lifetime: Lifetime,
}

impl Agreed {
    /// Reads one transform of a proposal for `protocol`.
    #[must_use]
    pub(crate) fn read(protocol: Protocol, transform: &Transform) -> Self {
        let mut agreed = Self {
            protocol: protocol.0,
            transform: transform.id,
            ..Self::default()
        };
        let mut life_type = None;
        for attribute in &transform.attributes {
            let Some(number) = attribute.as_number() else {
                continue;
            };
            let short = u16::try_from(number).unwrap_or(0);
            match IpsecAttribute(attribute.ty) {
                IpsecAttribute::SA_LIFE_TYPE => life_type = Some(LifeType(short)),
                IpsecAttribute::SA_LIFE_DURATION => match life_type.take() {
                    Some(LifeType::SECONDS) => agreed.lifetime.seconds = Some(number),
                    Some(LifeType::KILOBYTES) => agreed.lifetime.kilobytes = Some(number),
                    _ => {}
                },
                IpsecAttribute::GROUP_DESCRIPTION => agreed.group = short,
                IpsecAttribute::ENCAPSULATION_MODE => agreed.encapsulation = short,
                IpsecAttribute::AUTHENTICATION_ALGORITHM => agreed.authentication = short,
                IpsecAttribute::KEY_LENGTH => agreed.key_length = short,
                _ => {}
            }
        }
        agreed
    }

    /// One of the tunnel modes.
    #[must_use]
    pub(crate) fn is_tunnel(&self) -> bool {
        [
            Encapsulation::TUNNEL,
            Encapsulation::UDP_ENCAP_TUNNEL,
            Encapsulation::UDP_ENCAP_TUNNEL_DRAFT,
        ]
        .contains(&Encapsulation(self.encapsulation))
    }

    /// Compression that says no mode: it has that of the protocol around it.
    #[must_use]
    pub(crate) fn follows(&self) -> bool {
        self.protocol == Protocol::IPCOMP.0 && self.encapsulation == 0
    }

    /// One of the modes in UDP.
    #[must_use]
    pub(crate) fn is_in_udp(&self) -> bool {
        !matches!(
            Encapsulation(self.encapsulation),
            Encapsulation(0) | Encapsulation::TUNNEL | Encapsulation::TRANSPORT
        )
    }
}

/// Whether the implementation can do what a transform of `protocol` says.
fn compatible(protocol: Protocol, transform: &Transform) -> bool {
    let agreed = Agreed::read(protocol, transform);
    transform.attributes.iter().all(attribute_is_known) && keymat::lengths(&agreed).is_some()
}

fn attribute_is_known(attribute: &Attribute) -> bool {
    let Some(number) = attribute.as_number() else {
        return false;
    };
    let Ok(short) = u16::try_from(number) else {
        return attribute.ty == IpsecAttribute::SA_LIFE_DURATION.0;
    };
    match IpsecAttribute(attribute.ty) {
        IpsecAttribute::SA_LIFE_TYPE => matches!(short, 1 | 2),
        IpsecAttribute::SA_LIFE_DURATION | IpsecAttribute::KEY_LENGTH => true,
        IpsecAttribute::GROUP_DESCRIPTION => matches!(short, 1..=5 | 14..=21 | 25..=30),
        IpsecAttribute::ENCAPSULATION_MODE => matches!(short, 1..=4 | 61443 | 61444),
        IpsecAttribute::AUTHENTICATION_ALGORITHM => matches!(short, 1..=8),
        _ => false,
    }
}

/// What a responder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The suite: the initiator's proposals, each with the one transform taken, its SPIs still the initiator's.
    pub(crate) proposals: Vec<Proposal>,
    /// The same, read.
    pub(crate) agreed: Vec<Agreed>,
}

/// Why nothing was chosen; NO_PROPOSAL_CHOSEN is the answer. The texts are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoChoice {
    /// Nothing that is known, or the policy refused it all.
    #[error("message_negotiate_sa: no compatible proposal found")]
    Incompatible,
    /// AH without an algorithm.
    #[error("responder_recv_HASH_SA_NONCE: AH proposed without an algorithm attribute")]
    AhWithoutAlgorithm,
    /// A KE payload, but no transform says its group.
    #[error("responder_recv_HASH_SA_NONCE: KEY_EXCH payload without a group desc. attribute")]
    KeWithoutGroup,
    /// A group in the transforms, but no KE payload. The original went on without perfect forward secrecy.
    #[error("responder_recv_HASH_SA_NONCE: group desc. attribute without a KEY_EXCH payload")]
    GroupWithoutKe,
}

/// Chooses a suite as responder: suites in the initiator's order, and in each the transforms in their order;
/// `key_exchange` says whether a KE payload came, `permits` asks the policy.
///
/// # Errors
/// [`NoChoice`]
pub(crate) fn choose(
    sa: &Sa,
    key_exchange: bool,
    mut permits: impl FnMut(&[Proposal], &[Agreed]) -> bool,
) -> Result<Choice, NoChoice> {
    let mut reason = NoChoice::Incompatible;
    let mut questions = 0;
    for suite in sa.proposals.chunk_by(|a, b| a.number == b.number) {
        if !is_a_bundle(suite) {
            continue;
        }
        let usable: Vec<Vec<&Transform>> = suite
            .iter()
            .map(|p| {
                p.transforms
                    .iter()
                    .filter(|t| compatible(p.protocol, t))
                    .collect()
            })
            .collect();
        for taken in Combinations::new(&usable).take(MOST_COMBINATIONS) {
            let agreed: Vec<Agreed> = suite
                .iter()
                .zip(&taken)
                .map(|(p, t)| Agreed::read(p.protocol, t))
                .collect();
            if let Err(why) = fits_together(&agreed, key_exchange) {
                if reason == NoChoice::Incompatible {
                    reason = why;
                }
                continue;
            }
            let proposals: Vec<Proposal> = suite
                .iter()
                .zip(&taken)
                .map(|(p, t)| Proposal {
                    transforms: vec![(*t).clone()],
                    ..p.clone()
                })
                .collect();
            questions += 1;
            if questions > MOST_QUESTIONS {
                return Err(NoChoice::Incompatible);
            }
            if permits(&proposals, &agreed) {
                return Ok(Choice { proposals, agreed });
            }
            reason = NoChoice::Incompatible;
        }
    }
    Err(reason)
}

/// Each protocol once, ISAKMP not among them, SPIs of the right size.
fn is_a_bundle(suite: &[Proposal]) -> bool {
    suite.len() <= 3
        && suite.iter().enumerate().all(|(index, proposal)| {
            spi_of(proposal).is_some()
                && suite
                    .iter()
                    .skip(index.saturating_add(1))
                    .all(|other| other.protocol != proposal.protocol)
        })
}

/// The SPI of a phase 2 proposal: 4 octets, and for IPCOMP 2, or 4 that begin with zeroes (RFC 3173). Never
/// below 256 but for IPCOMP.
#[must_use]
pub(crate) fn spi_of(proposal: &Proposal) -> Option<u32> {
    let spi = match proposal.spi.as_slice() {
        [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
        [a, b] if proposal.protocol == Protocol::IPCOMP => u32::from(u16::from_be_bytes([*a, *b])),
        _ => return None,
    };
    match proposal.protocol {
        Protocol::AH | Protocol::ESP => Some(spi).filter(|spi| *spi >= 0x100),
        Protocol::IPCOMP => Some(spi).filter(|spi| (1..=0xffff).contains(spi)),
        _ => None,
    }
}

/// An SPI as it goes into a proposal: CPIs of IPCOMP have 2 octets.
#[must_use]
pub(crate) fn spi_octets(protocol: u8, spi: u32) -> Vec<u8> {
    match (Protocol(protocol), u16::try_from(spi)) {
        (Protocol::IPCOMP, Ok(cpi)) => cpi.to_be_bytes().to_vec(),
        _ => spi.to_be_bytes().to_vec(),
    }
}

/// One tunnel that a packet enters first, one group, and that only with a KE payload.
fn fits_together(agreed: &[Agreed], key_exchange: bool) -> Result<(), NoChoice> {
    let mut group = None;
    for protocol in agreed {
        if protocol.protocol == Protocol::AH.0 && protocol.authentication == 0 {
            return Err(NoChoice::AhWithoutAlgorithm);
        }
        let compresses = protocol.protocol == Protocol::IPCOMP.0;
        if !(compresses && protocol.group == 0)
            && *group.get_or_insert(protocol.group) != protocol.group
        {
            return Err(NoChoice::Incompatible);
        }
    }
    if !nests(agreed) {
        return Err(NoChoice::Incompatible);
    }
    match (key_exchange, group.unwrap_or(0)) {
        (true, 0) => Err(NoChoice::KeWithoutGroup),
        (false, 1..) => Err(NoChoice::GroupWithoutKe),
        _ => Ok(()),
    }
}

/// Whether from the inside out no tunnel goes around transport mode: between gateways no packet would match the
/// inner SA. Transport mode around a tunnel is what AH around an ESP tunnel usually is (RFC 2401 section 4.3).
fn nests(agreed: &[Agreed]) -> bool {
    let mut modes: Vec<(u8, bool)> = agreed
        .iter()
        .filter(|one| !one.follows())
        .map(|one| (one.protocol, one.is_tunnel()))
        .collect();
    modes.sort_by_key(|(protocol, _)| inside_out(*protocol));
    modes.is_sorted_by_key(|(_, tunnel)| !tunnel)
}

/// Sorts protocols as a packet goes through them: compression first, then ESP, AH last.
pub(crate) fn inside_out(protocol: u8) -> std::cmp::Reverse<u8> {
    std::cmp::Reverse(protocol)
}

/// All ways to take one transform of each protocol; the last protocol's change fastest.
struct Combinations<'a> {
    usable: &'a [Vec<&'a Transform>],
    next: Option<Vec<usize>>,
}

impl<'a> Combinations<'a> {
    fn new(usable: &'a [Vec<&'a Transform>]) -> Self {
        let possible = usable.iter().all(|transforms| !transforms.is_empty());
        Self {
            usable,
            next: possible.then(|| vec![0; usable.len()]),
        }
    }
}

impl<'a> Iterator for Combinations<'a> {
    type Item = Vec<&'a Transform>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut places = self.next.take()?;
        let taken = places
            .iter()
            .zip(self.usable)
            .map(|(place, transforms)| transforms.get(*place).copied())
            .collect::<Option<Vec<_>>>();
        for (place, transforms) in places.iter_mut().zip(self.usable).rev() {
            *place = place.saturating_add(1);
            if *place < transforms.len() {
                self.next = Some(places);
                break;
            }
            *place = 0;
        }
        taken
    }
}

/// What the responder's answer took of our offer: for each of its proposals the place in [`Offer::proposals`].
/// The whole suite must be there, each transform value for value one that we offered; the number of the
/// proposal need not be ours, since some responders count anew.
#[must_use]
pub(crate) fn taken_of(offer: &Offer, answer: &[Proposal]) -> Option<Vec<usize>> {
    let number = answer.first()?.number;
    if !is_a_bundle(answer)
        || answer
            .iter()
            .any(|p| p.transforms.len() != 1 || p.number != number)
    {
        return None;
    }
    let mut numbers: Vec<u8> = offer.proposals.iter().map(|p| p.number).collect();
    numbers.dedup();
    numbers.sort_by_key(|n| *n != number);
    numbers.into_iter().find_map(|number| {
        let suite: Vec<(usize, &Proposal)> = offer
            .proposals
            .iter()
            .enumerate()
            .filter(|(_, p)| p.number == number)
            .collect();
        if suite.len() != answer.len() {
            return None;
        }
        answer
            .iter()
            .map(|taken| {
                suite
                    .iter()
                    .find(|(_, offered)| offers(offered, taken))
                    .map(|(index, _)| *index)
            })
            .collect()
    })
}

fn offers(offered: &Proposal, taken: &Proposal) -> bool {
    offered.protocol == taken.protocol
        && taken.transforms.first().is_some_and(|taken| {
            let values = normal(&taken.attributes);
            offered
                .transforms
                .iter()
                .any(|ours| ours.id == taken.id && normal(&ours.attributes) == values)
        })
}

/// Attributes without their form and order; a duration goes with its life type.
fn normal(attributes: &[Attribute]) -> Vec<(u16, u32, Option<u32>, Vec<u8>)> {
    let mut life_type = 0;
    let mut values: Vec<_> = attributes
        .iter()
        .map(|attribute| {
            let number = attribute.as_number();
            if attribute.ty == IpsecAttribute::SA_LIFE_TYPE.0 {
                life_type = number.unwrap_or(0);
            }
            let of = if attribute.ty == IpsecAttribute::SA_LIFE_DURATION.0 {
                life_type
            } else {
                0
            };
            let octets = if number.is_some() {
                Vec::new()
            } else {
                attribute.octets()
            };
            (attribute.ty, of, number, octets)
        })
        .collect();
    values.sort();
    values
}

/// Seconds and kilobytes of a whole suite: what the last protocol says counts, as in the original.
#[must_use]
pub(crate) fn lifetime_of(agreed: &[Agreed]) -> Lifetime {
    agreed
        .iter()
        .fold(Lifetime::default(), |all, one| Lifetime {
            seconds: one.lifetime.seconds.or(all.seconds),
            kilobytes: one.lifetime.kilobytes.or(all.kilobytes),
        })
}

/// The group of a suite, 0 for none.
#[must_use]
pub(crate) fn group_of(agreed: &[Agreed]) -> u16 {
    agreed
        .iter()
        .map(|one| one.group)
        .find(|group| *group != 0)
        .unwrap_or(0)
}

/// The AH transform that goes with an authentication algorithm.
pub(crate) fn ah_transform_matches(transform: u8, authentication: u16) -> bool {
    use isakmp_proto::number::AhTransform as Ah;
    matches!(
        (Ah(transform), IpsecAuth(authentication)),
        (Ah::MD5, IpsecAuth::HMAC_MD5)
            | (Ah::SHA, IpsecAuth::HMAC_SHA)
            | (Ah::SHA2_256, IpsecAuth::HMAC_SHA2_256)
            | (Ah::SHA2_384, IpsecAuth::HMAC_SHA2_384)
            | (Ah::SHA2_512, IpsecAuth::HMAC_SHA2_512)
            | (Ah::RIPEMD, IpsecAuth::HMAC_RIPEMD)
    )
}

#[cfg(test)]
mod tests;
