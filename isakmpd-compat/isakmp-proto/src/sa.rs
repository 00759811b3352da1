//! The SA payload with its proposals and transforms (RFC 2408 sections 3.4 to 3.6).

use crate::attribute::{self, Attribute, BadAttributes};
use crate::malformed::Malformed;
use crate::number::{AttributeClass, Doi, PayloadType, Protocol};
use crate::octets::Reader;

/// The situation "identity only", the one that is understood.
pub const SITUATION_IDENTITY_ONLY: u32 = 1;

/// The most proposals of one SA payload.
pub const MAX_PROPOSALS: usize = 256;

/// The most transforms of one proposal: their numbers are one octet and strictly increasing.
pub const MAX_TRANSFORMS: usize = 256;

/// An SA payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa {
    /// Domain of interpretation.
    pub doi: Doi,
    /// Situation of the IPsec DOI; DOI 0 has none on the wire and reads as zero.
    pub situation: u32,
    /// The proposals in the order of the wire.
    pub proposals: Vec<Proposal>,
}

/// One protocol of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Proposals of the same number belong together.
    pub number: u8,
    /// What is proposed.
    pub protocol: Protocol,
    /// The sender's SPI, at most 255 octets; empty in phase 1.
    pub spi: Vec<u8>,
    /// The alternatives.
    pub transforms: Vec<Transform>,
}

/// One alternative of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Its number within the proposal.
    pub number: u8,
    /// Transform ID; its table depends on the proposal's protocol.
    pub id: u8,
    /// Attributes in the order of the wire.
    pub attributes: Vec<Attribute>,
}

impl Sa {
    /// An SA payload of the IPsec DOI, identity only.
    #[must_use]
    pub fn new(proposals: Vec<Proposal>) -> Self {
        Self {
            doi: Doi::IPSEC,
            situation: SITUATION_IDENTITY_ONLY,
            proposals,
        }
    }

    /// Reads a body (without generic header).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let doi = Doi(reader.u32().ok_or(Malformed::ShortMessage)?);
        let situation = match doi {
            Doi::ISAKMP => 0,
            Doi::IPSEC => {
                let left = reader.rest().len();
                reader.u32().ok_or(Malformed::SituationTooShort(left))?
            }
            _ => return Err(Malformed::SaDoi(doi.0)),
        };
        if doi == Doi::IPSEC && situation != SITUATION_IDENTITY_ONLY {
            return Err(Malformed::Situation(situation));
        }
        let mut proposals = Vec::new();
        chain(
            PayloadType::PROPOSAL,
            reader.rest(),
            MAX_PROPOSALS,
            "proposals",
            |body| {
                proposals.push(Proposal::parse(body)?);
                Ok(())
            },
        )?;
        Ok(Self {
            doi,
            situation,
            proposals,
        })
    }

    /// Appends the body's octets.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend(self.doi.0.to_be_bytes());
        if self.doi != Doi::ISAKMP {
            out.extend(self.situation.to_be_bytes());
        }
        encode_chain(
            PayloadType::PROPOSAL,
            &self.proposals,
            out,
            Proposal::encode,
        )
    }

    /// The checks of isakmpd-wire 5 step 11 on proposals, then on transforms, as the original orders them.
    pub(crate) fn check(&self, class: AttributeClass) -> Result<(), Malformed> {
        let mut last = 0;
        for proposal in &self.proposals {
            // DOI 0 has no protocol but ISAKMP.
            let known = proposal.protocol == Protocol::ISAKMP
                || (self.doi == Doi::IPSEC && proposal.protocol.is_known());
            if !known {
                return Err(Malformed::ProposalProtocol(proposal.protocol.0));
            }
            if proposal.number < last {
                return Err(Malformed::ProposalOrder);
            }
            last = proposal.number;
        }
        self.proposals
            .iter()
            .try_for_each(|proposal| proposal.check_transforms(self.doi, class))
    }
}

impl Proposal {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let too_short = || Malformed::PayloadTooShort(gross_length(body));
        let mut reader = Reader::new(body);
        let mut fixed = || Some((reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?));
        // The count of transforms is not trusted: the chain says how many there are.
        let (number, protocol, spi_size, _count) = fixed().ok_or_else(too_short)?;
        let spi = reader
            .take(usize::from(spi_size))
            .ok_or_else(too_short)?
            .to_vec();
        let mut transforms = Vec::new();
        chain(
            PayloadType::TRANSFORM,
            reader.rest(),
            MAX_TRANSFORMS,
            "transforms",
            |body| {
                transforms.push(Transform::parse(body)?);
                Ok(())
            },
        )?;
        Ok(Self {
            number,
            protocol: Protocol(protocol),
            spi,
            transforms,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend([
            self.number,
            self.protocol.0,
            u8::try_from(self.spi.len()).ok()?,
            u8::try_from(self.transforms.len()).ok()?,
        ]);
        out.extend(&self.spi);
        encode_chain(
            PayloadType::TRANSFORM,
            &self.transforms,
            out,
            Transform::encode,
        )
    }

    fn check_transforms(&self, doi: Doi, class: AttributeClass) -> Result<(), Malformed> {
        let mut last = None;
        for transform in &self.transforms {
            let id = transform.id;
            let known = doi == Doi::IPSEC
                && match self.protocol {
                    Protocol::AH => (2..=8).contains(&id),
                    Protocol::ESP => matches!(id, 1..=23 | 249..=253),
                    Protocol::IPCOMP => (1..=4).contains(&id),
                    _ => id == Transform::KEY_IKE,
                };
            if !known {
                return Err(Malformed::TransformId {
                    protocol: self.protocol.0,
                    id,
                });
            }
            if last.is_some_and(|last| transform.number <= last) {
                return Err(Malformed::ProposalOrder);
            }
            last = Some(transform.number);
            if !transform
                .attributes
                .iter()
                .all(|attribute| class.accepts(attribute.ty))
            {
                return Err(Malformed::Attributes);
            }
        }
        Ok(())
    }
}

impl Transform {
    /// The transform ID of phase 1.
    pub const KEY_IKE: u8 = 1;

    /// The first attribute of this type.
    #[must_use]
    pub fn attribute(&self, ty: impl Into<u16>) -> Option<&Attribute> {
        let ty = ty.into();
        self.attributes.iter().find(|attribute| attribute.ty == ty)
    }

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut fixed = || Some((reader.u8()?, reader.u8()?, reader.u16()?));
        let (number, id, reserved) =
            fixed().ok_or_else(|| Malformed::PayloadTooShort(gross_length(body)))?;
        if reserved != 0 {
            return Err(Malformed::TransformReserved);
        }
        let attributes = attribute::parse(reader.rest()).map_err(|bad| match bad {
            BadAttributes::Overrun => Malformed::Attributes,
            BadAttributes::TooMany => Malformed::TooMany {
                what: "attributes",
                limit: attribute::MAX_ATTRIBUTES,
            },
        })?;
        Ok(Self {
            number,
            id,
            attributes,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend([self.number, self.id, 0, 0]);
        self.attributes
            .iter()
            .for_each(|attribute| attribute.encode(out));
        Some(())
    }
}

/// A payload's length field, from its body.
pub(crate) fn gross_length(body: &[u8]) -> u16 {
    u16::try_from(body.len().saturating_add(4)).unwrap_or(u16::MAX)
}

/// Walks a chain of payloads that all have type `ty`, inside another payload. What follows the last one is not looked at.
fn chain(
    ty: PayloadType,
    octets: &[u8],
    limit: usize,
    what: &'static str,
    mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(octets);
    let mut payload = ty;
    let mut count = 0;
    loop {
        let generic = crate::payload::generic_header(&mut reader, payload)?;
        // A private payload in between is passed over, as anywhere.
        if !payload.is_unknown_private() {
            if payload != ty {
                return Err(Malformed::Unexpected(payload));
            }
            if count == limit {
                return Err(Malformed::TooMany { what, limit });
            }
            count += 1;
            each(generic.body)?;
        }
        payload = generic.next;
        if payload == PayloadType::NONE {
            return Ok(());
        }
    }
}

fn encode_chain<T>(
    ty: PayloadType,
    items: &[T],
    out: &mut Vec<u8>,
    encode: impl Fn(&T, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let last = items.len().checked_sub(1)?;
    for (index, item) in items.iter().enumerate() {
        let next = if index == last { PayloadType::NONE } else { ty };
        crate::payload::encode_generic(next, out, |out| encode(item, out))?;
    }
    Some(())
}
