//! The transforms of phase 1: what is offered, what is chosen, and whether the choice was offered
//! (isakmpd-wire 1.3, 2.1, 4.1).

use isakmp_proto::attribute::{Attribute, AttributeValue};
use isakmp_proto::number::{
    ExchangeType, GroupDescription, IkeAttribute, IkeAuth, IkeEncryption, IkeHash, LifeType,
    Protocol,
};
use isakmp_proto::sa::{Proposal, Sa, Transform};
use kx_crypto::cbc::Algorithm;
use kx_crypto::key_exchange_group::Group;
use kx_crypto::prf::Hash;

use crate::cipher;
use crate::config::{Amount, Life, Lives, Phase1, Phase1Transform, Value};
use crate::journal::{Class, Journal};
use crate::policy::Phase1Facts;
use crate::sa::Lifetime;

/// KEY_IKE
const KEY_IKE: u8 = 1;

/// An SA of phase 1 whose proposal says nothing else lives so long, in seconds.
const DEFAULT_LIFETIME: u32 = 28_800;

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The transform, as it is on the wire.
    pub(crate) transform: Transform,
    /// Number of its proposal.
    pub(crate) proposal: u8,
    /// As numbers.
    pub(crate) facts: Phase1Facts,
    pub(crate) algorithm: Algorithm,
    /// Octets of the encryption key.
    pub(crate) key_len: usize,
    pub(crate) hash: Hash,
    pub(crate) group: Group,
    pub(crate) lifetime: Lifetime,
}

impl Agreement {
    /// RSA_SIG; else a pre-shared key.
    pub(crate) fn signs(&self) -> bool {
        self.facts.authentication == IkeAuth::RSA_SIG.0
    }
}

/// Why no offer can be made. `Display` is the original's line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CannotOffer {
    /// A transform that needs more than is built in.
    #[error("ike_phase_1_initiator_send_SA: section [{0}] has unsupported attribute(s)")]
    Unsupported(String),
    /// Aggressive Mode sends its public value at once: one group only.
    #[error("ike_phase_1_initiator_send_SA: differing group descriptions in a proposal")]
    Groups,
    /// No transforms, or one without a mandatory attribute.
    #[error("ike_phase_1_initiator_send_SA: [{0}] has no usable Transforms")]
    Nothing(String),
}

/// What we offer: the transforms of `policy` in their order, numbered from 0.
pub(crate) fn offer(policy: &Phase1) -> Result<Vec<Transform>, CannotOffer> {
    let nothing = || CannotOffer::Nothing(policy.name.clone());
    let aggressive = ExchangeType(policy.exchange_type) == ExchangeType::AGGRESSIVE;
    let mut transforms = Vec::with_capacity(policy.transforms.len());
    for (number, section) in policy.transforms.iter().enumerate() {
        let number = u8::try_from(number).map_err(|_| nothing())?;
        let attributes = attributes_of(section).ok_or_else(nothing)?;
        let transform = Transform {
            number,
            id: KEY_IKE,
            attributes,
        };
        if aggressive && section.group != policy.transforms.first().and_then(|first| first.group) {
            return Err(CannotOffer::Groups);
        }
        if !is_compatible(&transform) {
            return Err(CannotOffer::Unsupported(section.name.clone()));
        }
        transforms.push(transform);
    }
    if transforms.is_empty() {
        Err(nothing())
    } else {
        Ok(transforms)
    }
}

/// The payload that carries transforms.
pub(crate) fn payload(number: u8, transforms: Vec<Transform>) -> Sa {
    Sa::new(vec![Proposal {
        number,
        protocol: Protocol::ISAKMP,
        spi: Vec::new(),
        transforms,
    }])
}

/// Attributes in the original's order; `None` without a mandatory one. `ANY` offers 0, which nobody supports.
fn attributes_of(section: &Phase1Transform) -> Option<Vec<Attribute>> {
    let basic = |ty: IkeAttribute, value: Value| {
        let value = match value {
            Value::Any => 0,
            Value::Is(value) => value,
        };
        Attribute::basic(ty, value)
    };
    let mut attributes = vec![
        basic(IkeAttribute::ENCRYPTION_ALGORITHM, section.encryption?),
        basic(IkeAttribute::HASH_ALGORITHM, section.hash?),
        basic(IkeAttribute::AUTHENTICATION_METHOD, section.authentication?),
        match section.group {
            Some(group) => basic(IkeAttribute::GROUP_DESCRIPTION, group),
            None => basic(IkeAttribute::GROUP_TYPE, section.group_type?),
        },
    ];
    if let Lives::These(lives) = &section.lives {
        for life in lives {
            attributes.push(basic(IkeAttribute::LIFE_TYPE, life.life_type));
            if let Some(duration) = offered(&life.duration) {
                attributes.push(Attribute::number(IkeAttribute::LIFE_DURATION, duration));
            }
        }
    }
    attributes.extend(section.prf.map(|prf| basic(IkeAttribute::PRF, prf)));
    for (ty, amount) in [
        (IkeAttribute::KEY_LENGTH, &section.key_length),
        (IkeAttribute::FIELD_SIZE, &section.field_size),
        (IkeAttribute::GROUP_ORDER, &section.group_order),
    ] {
        let value = amount.as_ref().and_then(offered);
        attributes.extend(value.map(|value| Attribute::number(ty, value)));
    }
    Some(attributes)
}

fn offered(amount: &Amount) -> Option<u32> {
    match amount {
        Amount::Number { offer, .. } if *offer != 0 => Some(*offer),
        _ => None,
    }
}

/// Whether we could do what a transform says, whatever the configuration.
fn is_compatible(transform: &Transform) -> bool {
    let attributes = transform.attributes.iter().all(|attribute| {
        let Some(value) = short_number(attribute) else {
            return attribute.ty == IkeAttribute::LIFE_DURATION.0
                && attribute.as_number().is_some();
        };
        match IkeAttribute(attribute.ty) {
            IkeAttribute::ENCRYPTION_ALGORITHM => cipher::algorithm(value).is_some(),
            IkeAttribute::HASH_ALGORITHM => hash(value).is_some(),
            IkeAttribute::AUTHENTICATION_METHOD => {
                [IkeAuth::PRE_SHARED, IkeAuth::RSA_SIG].contains(&IkeAuth(value))
            }
            IkeAttribute::GROUP_DESCRIPTION => Group::from_number(value).is_some(),
            IkeAttribute::LIFE_TYPE => {
                [LifeType::SECONDS, LifeType::KILOBYTES].contains(&LifeType(value))
            }
            IkeAttribute::LIFE_DURATION => true,
            IkeAttribute::KEY_LENGTH => value % 8 == 0,
            _ => false,
        }
    });
    attributes && key_length_is_usable(transform)
}

fn key_length_is_usable(transform: &Transform) -> bool {
    let value = |ty| first_number(transform, ty);
    let Some((algorithm, _)) =
        value(IkeAttribute::ENCRYPTION_ALGORITHM).and_then(cipher::algorithm)
    else {
        return true;
    };
    let Some(bits) = value(IkeAttribute::KEY_LENGTH) else {
        return true;
    };
    let len = usize::from(bits / 8);
    let range = match algorithm {
        Algorithm::Blowfish => (12..=56).contains(&len),
        Algorithm::Cast => (12..=16).contains(&len),
        _ => true,
    };
    len == 0 || (range && algorithm.takes_key_of(len))
}

/// A value of 16 bits, in whichever form.
fn short_number(attribute: &Attribute) -> Option<u16> {
    match &attribute.value {
        AttributeValue::Basic(value) => Some(*value),
        AttributeValue::Variable(_) => u16::try_from(attribute.as_number()?).ok(),
    }
}

fn first_number(transform: &Transform, ty: IkeAttribute) -> Option<u16> {
    transform
        .attributes
        .iter()
        .find(|attribute| attribute.ty == ty.0)
        .and_then(short_number)
}

fn hash(number: u16) -> Option<Hash> {
    match IkeHash(number) {
        IkeHash::MD5 => Some(Hash::Md5),
        IkeHash::SHA => Some(Hash::Sha1),
        IkeHash::SHA2_256 => Some(Hash::Sha256),
        IkeHash::SHA2_384 => Some(Hash::Sha384),
        IkeHash::SHA2_512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// A transform as an agreement; `None` if encryption, hash, authentication method or group is missing.
pub(crate) fn agreement(proposal: u8, transform: &Transform) -> Option<Agreement> {
    let value = |ty| first_number(transform, ty);
    let encryption = value(IkeAttribute::ENCRYPTION_ALGORITHM)?;
    let hash_number = value(IkeAttribute::HASH_ALGORITHM)?;
    let authentication = value(IkeAttribute::AUTHENTICATION_METHOD)?;
    let group_number = value(IkeAttribute::GROUP_DESCRIPTION)?;
    let (algorithm, longest) = cipher::algorithm(encryption)?;
    let key_length = value(IkeAttribute::KEY_LENGTH).unwrap_or(0);
    Some(Agreement {
        transform: transform.clone(),
        proposal,
        facts: Phase1Facts {
            encryption,
            hash: hash_number,
            authentication,
            group: group_number,
            key_length,
        },
        algorithm,
        key_len: if key_length == 0 {
            longest
        } else {
            usize::from(key_length / 8)
        },
        hash: hash(hash_number)?,
        group: Group::from_number(group_number)?,
        lifetime: lifetime(transform),
    })
}

fn lifetime(transform: &Transform) -> Lifetime {
    let mut lifetime = Lifetime::default();
    let mut life_type = LifeType(0);
    for attribute in &transform.attributes {
        match (IkeAttribute(attribute.ty), life_type) {
            (IkeAttribute::LIFE_TYPE, _) => {
                life_type = LifeType(short_number(attribute).unwrap_or(0));
            }
            (IkeAttribute::LIFE_DURATION, LifeType::SECONDS) => {
                lifetime.seconds = attribute.as_number();
            }
            (IkeAttribute::LIFE_DURATION, LifeType::KILOBYTES) => {
                lifetime.kilobytes = attribute.as_number();
            }
            _ => {}
        }
    }
    if lifetime.seconds.unwrap_or(0) == 0 {
        lifetime.seconds = Some(DEFAULT_LIFETIME);
    }
    lifetime
}

/// The first transform, in the initiator's order, that one of our sections accepts.
pub(crate) fn choose(
    proposal: &Proposal,
    policy: &Phase1,
    journal: &mut Journal,
) -> Option<Transform> {
    let number = proposal.number;
    for transform in proposal
        .transforms
        .iter()
        .filter(|transform| is_compatible(transform))
    {
        journal.debug(Class::Negotiation, 30, || {
            format!(
                "message_negotiate_sa: transform {} proto {} proposal {number} ok",
                transform.number, proposal.protocol.0
            )
        });
        let accepted = policy
            .transforms
            .iter()
            .any(|section| accepts(section, transform, journal));
        journal.debug(Class::Negotiation, 20, || {
            let result = if accepted { "success" } else { "failure" };
            format!("ike_phase_1_validate_prop: {result}")
        });
        journal.debug(Class::Negotiation, 30, || {
            let result = if accepted { "succeeded" } else { "failed" };
            format!("message_negotiate_sa: proposal {number} {result}")
        });
        if accepted {
            return Some(transform.clone());
        }
    }
    None
}

/// Whether the responder's transform is one that we offered, attribute for attribute.
pub(crate) fn was_offered(offer: &[Transform], chosen: &Transform) -> bool {
    let holds = |wanted: &[Attribute], there: &[Attribute]| {
        wanted
            .iter()
            .all(|attribute| there.iter().any(|other| attribute.says_the_same(other)))
    };
    offer.iter().any(|offered| {
        offered.attributes.len() == chosen.attributes.len()
            && holds(&offered.attributes, &chosen.attributes)
            && holds(&chosen.attributes, &offered.attributes)
    })
}

/// Whether a section accepts every attribute. What it has and the offer lacks does not matter.
fn accepts(section: &Phase1Transform, transform: &Transform, journal: &mut Journal) -> bool {
    let mut life = None;
    transform
        .attributes
        .iter()
        .all(|attribute| match IkeAttribute(attribute.ty) {
            ty @ (IkeAttribute::LIFE_TYPE | IkeAttribute::LIFE_DURATION) => {
                accepts_life(section, ty, attribute, &mut life, journal)
            }
            ty @ (IkeAttribute::KEY_LENGTH
            | IkeAttribute::FIELD_SIZE
            | IkeAttribute::GROUP_ORDER) => {
                let amount = match ty {
                    IkeAttribute::KEY_LENGTH => &section.key_length,
                    IkeAttribute::FIELD_SIZE => &section.field_size,
                    _ => &section.group_order,
                };
                matches_amount(amount.as_ref(), attribute.as_number())
            }
            ty => accepts_constant(section, ty, attribute, journal),
        })
}

fn accepts_constant(
    section: &Phase1Transform,
    ty: IkeAttribute,
    attribute: &Attribute,
    journal: &mut Journal,
) -> bool {
    let ours = match ty {
        IkeAttribute::ENCRYPTION_ALGORITHM => section.encryption,
        IkeAttribute::HASH_ALGORITHM => section.hash,
        IkeAttribute::AUTHENTICATION_METHOD => section.authentication,
        IkeAttribute::GROUP_DESCRIPTION => section.group,
        IkeAttribute::GROUP_TYPE => section.group_type,
        IkeAttribute::PRF => section.prf,
        _ => return false,
    };
    let Some(ours) = ours else {
        journal.plain(format!(
            "attribute_unacceptable: attr {ty} does not exist in {}",
            section.name
        ));
        return false;
    };
    let got = short_number(attribute);
    let expected = match ours {
        Value::Any => return true,
        Value::Is(ours) if got == Some(ours) => return true,
        Value::Is(ours) => constant_name(ty, ours),
    };
    journal.plain(format!(
        "attribute_unacceptable: {ty}: got {}, expected {expected}",
        constant_name(ty, got.unwrap_or(0))
    ));
    false
}

fn constant_name(ty: IkeAttribute, value: u16) -> String {
    match ty {
        IkeAttribute::ENCRYPTION_ALGORITHM => IkeEncryption(value).to_string(),
        IkeAttribute::HASH_ALGORITHM => IkeHash(value).to_string(),
        IkeAttribute::AUTHENTICATION_METHOD => IkeAuth(value).to_string(),
        IkeAttribute::GROUP_DESCRIPTION => GroupDescription(value).to_string(),
        _ => value.to_string(),
    }
}

fn accepts_life<'a>(
    section: &'a Phase1Transform,
    ty: IkeAttribute,
    attribute: &Attribute,
    current: &mut Option<&'a Life>,
    journal: &mut Journal,
) -> bool {
    let lives = match &section.lives {
        Lives::Any => return true,
        Lives::These(lives) => lives,
    };
    if lives.is_empty() {
        journal.plain("attribute_unacceptable: life attribute received, none in policy");
        return false;
    }
    let Some(value) = attribute.as_number() else {
        return false;
    };
    if ty == IkeAttribute::LIFE_TYPE {
        *current = lives.iter().find(|life| match life.life_type {
            Value::Any => true,
            Value::Is(ours) => u32::from(ours) == value,
        });
        if current.is_none() {
            journal.plain(format!(
                "attribute_unacceptable: unrecognized LIFE_TYPE {value}"
            ));
        }
        return current.is_some();
    }
    let Some(life) = current.take() else {
        journal.plain("attribute_unacceptable: LIFE_DURATION without LIFE_TYPE");
        return false;
    };
    let accepted = matches_amount(Some(&life.duration), Some(value));
    if !accepted {
        journal.plain(format!(
            "attribute_unacceptable: LIFE_DURATION: got {value},  expected {}",
            amount_text(&life.duration)
        ));
    }
    accepted
}

fn matches_amount(amount: Option<&Amount>, value: Option<u32>) -> bool {
    match (amount, value) {
        (Some(Amount::Any), Some(_)) => true,
        (Some(Amount::Number { accept, .. }), Some(value)) => accept.contains(&value),
        _ => false,
    }
}

/// As the section has it.
fn amount_text(amount: &Amount) -> String {
    match amount {
        Amount::Any => "ANY".to_owned(),
        Amount::Invalid => String::new(),
        Amount::Number { offer, accept } if accept.start() == offer && accept.end() == offer => {
            offer.to_string()
        }
        Amount::Number { offer, accept } => {
            format!("{offer},{}:{}", accept.start(), accept.end())
        }
    }
}
