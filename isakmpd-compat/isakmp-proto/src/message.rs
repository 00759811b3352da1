//! Whole messages in clear text: read with every bound checked, and built (isakmpd-wire 2, 5).

use crate::header::{HEADER_LENGTH, Header, MAX_MESSAGE};
use crate::malformed::Malformed;
use crate::number::{AttributeClass, CertEncoding, Doi, ExchangeType, PayloadType, Protocol};
use crate::octets::Reader;
use crate::payload::{GENERIC_LENGTH, Payload, encode_generic, generic_header};

/// The most payloads of one message, those inside SA not counted.
pub const MAX_PAYLOADS: usize = 256;

/// A payload and where it stands in its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The payload.
    pub payload: Payload,
    /// Octets of the message before its generic header.
    pub offset: usize,
    /// Octets of the payload, its generic header included.
    pub length: usize,
}

/// A message in clear text whose structure is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header as received: its length includes padding.
    pub header: Header,
    /// The payloads in the order of the wire, private ones left out.
    pub payloads: Vec<Placed>,
    octets: Vec<u8>,
}

impl Message {
    /// Reads a message: header (steps 1 and 4 to 8 of isakmpd-wire 5) and the chain of payloads with all that
    /// is in them (step 10). What follows the last payload is padding. [`Self::check`] is step 11.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn parse(clear_text: &[u8]) -> Result<Self, Malformed> {
        let header = Header::parse(clear_text)?;
        header.check()?;
        Self::parse_payloads(header, clear_text)
    }

    /// The same after [`Header::parse`] and [`Header::check`], for a message that was decrypted in between.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn parse_payloads(header: Header, clear_text: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(clear_text);
        reader.take(HEADER_LENGTH).ok_or(Malformed::Length)?;
        // First the chain as such, then what is inside: a hole in the chain is reported before a bad SA.
        let mut links = Vec::new();
        let mut payload = header.next_payload;
        while payload != PayloadType::NONE {
            if links.len() == MAX_PAYLOADS {
                return Err(Malformed::TooMany {
                    what: "payloads",
                    limit: MAX_PAYLOADS,
                });
            }
            let offset = clear_text.len().saturating_sub(reader.rest().len());
            let generic = generic_header(&mut reader, payload)?;
            if matches!(payload, PayloadType::PROPOSAL | PayloadType::TRANSFORM) {
                return Err(Malformed::Unexpected(payload));
            }
            links.push((payload, offset, generic.body));
            payload = generic.next;
        }
        let length = clear_text.len().saturating_sub(reader.rest().len());
        let payloads = links
            .into_iter()
            .filter(|(ty, _, _)| !ty.is_unknown_private())
            .map(|(ty, offset, body)| {
                Ok(Placed {
                    payload: Payload::parse(ty, body)?,
                    offset,
                    length: body.len().saturating_add(GENERIC_LENGTH),
                })
            })
            .collect::<Result<_, _>>()?;
        let octets = clear_text.iter().take(length).copied().collect();
        Ok(Self {
            header,
            payloads,
            octets,
        })
    }

    /// Step 11 of isakmpd-wire 5, as far as the message alone decides it, in the original's order (by payload
    /// number, not by place). Phase 1 is what has message ID zero. The caller checks the HASH of an
    /// INFORMATIONAL first, and what depends on SAs.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn check(&self) -> Result<(), Malformed> {
        let mut payloads: Vec<&Payload> = self.payloads.iter().map(|p| &p.payload).collect();
        payloads.sort_by_key(|payload| payload.payload_type());
        payloads
            .into_iter()
            .try_for_each(|payload| self.check_payload(payload))?;
        let exchange = self.header.exchange;
        let ike = [ExchangeType::QUICK_MODE, ExchangeType::NEW_GROUP_MODE];
        if exchange.0 >= 32 && !ike.contains(&exchange) {
            return Err(Malformed::DoiExchangeType(exchange));
        }
        Ok(())
    }

    fn check_payload(&self, payload: &Payload) -> Result<(), Malformed> {
        let phase_1 = self.header.is_phase_1();
        match payload {
            Payload::Sa(sa) => sa.check(if phase_1 {
                AttributeClass::Ike
            } else {
                AttributeClass::Ipsec
            }),
            Payload::Id(id) if !(1..=11).contains(&id.id_type.0) => {
                Err(Malformed::IdType(id.id_type.0))
            }
            Payload::Cert(cert) if cert.encoding.0 >= 14 => {
                Err(Malformed::CertEncoding(cert.encoding.0))
            }
            Payload::CertReq(request) if request.encoding.0 >= 14 => {
                Err(Malformed::CertEncoding(request.encoding.0))
            }
            Payload::CertReq(request)
                if ![CertEncoding::X509_SIG, CertEncoding::KEYNOTE].contains(&request.encoding) =>
            {
                Err(Malformed::CertRequestType(request.encoding.0))
            }
            Payload::Notify(notify) => {
                check_doi(notify.doi).ok_or(Malformed::NotifyDoi(notify.doi.0))?;
                check_protocol(notify.doi, notify.protocol)
                    .ok_or(Malformed::NotifyProtocol(notify.protocol.0))?;
                let ty = notify.notify_type;
                // DOI 0 has no notifications of its own.
                let accepted = ty.is_accepted()
                    && !(notify.doi == Doi::ISAKMP && (24576..32768).contains(&ty.0));
                if accepted {
                    Ok(())
                } else {
                    Err(Malformed::NotifyType(ty.0))
                }
            }
            Payload::Delete(delete) => {
                check_doi(delete.doi).ok_or(Malformed::DeleteDoi(delete.doi.0))?;
                if self.header.exchange != ExchangeType::INFORMATIONAL {
                    return Err(Malformed::DeleteExchange(self.header.exchange));
                }
                check_protocol(delete.doi, delete.protocol)
                    .ok_or(Malformed::DeleteProtocol(delete.protocol.0))
            }
            Payload::VendorId(_) if !phase_1 => Err(Malformed::VendorIdPhase),
            Payload::NatD(_) if !phase_1 => Err(Malformed::NatDPhase),
            _ => Ok(()),
        }
    }

    /// The message's octets, padding left out. The length field still counts the padding.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What follows the payload at `index`, padding excluded: what HASH(1) and HASH(2) cover.
    #[must_use]
    pub fn rest_after(&self, index: usize) -> &[u8] {
        self.payloads
            .get(index)
            .and_then(|placed| placed.offset.checked_add(placed.length))
            .and_then(|end| self.octets.get(end..))
            .unwrap_or_default()
    }

    /// The body of the payload at `index`, without its generic header: SAi_b, IDii_b, IDir_b.
    #[must_use]
    pub fn body(&self, index: usize) -> &[u8] {
        self.payloads
            .get(index)
            .and_then(|placed| body(&self.octets, placed))
            .unwrap_or_default()
    }

    /// The payload at `index` as it was sent, generic header included.
    #[must_use]
    pub fn whole(&self, index: usize) -> &[u8] {
        self.payloads
            .get(index)
            .and_then(|placed| whole(&self.octets, placed))
            .unwrap_or_default()
    }

    /// Place of the first payload of a type.
    #[must_use]
    pub fn index_of(&self, ty: PayloadType) -> Option<usize> {
        self.payloads
            .iter()
            .position(|placed| placed.payload.payload_type() == ty)
    }

    /// The payloads of a type with their places.
    pub fn all(&self, ty: PayloadType) -> impl Iterator<Item = (usize, &Payload)> {
        self.payloads
            .iter()
            .enumerate()
            .map(|(index, placed)| (index, &placed.payload))
            .filter(move |(_, payload)| payload.payload_type() == ty)
    }
}

fn check_doi(doi: Doi) -> Option<()> {
    [Doi::ISAKMP, Doi::IPSEC].contains(&doi).then_some(())
}

fn check_protocol(doi: Doi, protocol: Protocol) -> Option<()> {
    let known = protocol == Protocol::ISAKMP || (doi == Doi::IPSEC && protocol.is_known());
    known.then_some(())
}

fn whole<'a>(octets: &'a [u8], placed: &Placed) -> Option<&'a [u8]> {
    octets.get(placed.offset..placed.offset.checked_add(placed.length)?)
}

fn body<'a>(octets: &'a [u8], placed: &Placed) -> Option<&'a [u8]> {
    whole(octets, placed)?.get(GENERIC_LENGTH..)
}

/// Why a message could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A payload, or something inside it, does not fit its length field.
    #[error("payload {0} does not fit its length field")]
    Payload(PayloadType),
    /// More than 65535 octets in all.
    #[error("message longer than 65535 octets")]
    Message,
    /// [`Built::fill`] with another length than the place has, or no payload there.
    #[error("no payload of that length there")]
    Fill,
}

/// Payloads put together to a message, in order.
#[derive(Clone, Debug)]
pub struct Builder {
    header: Header,
    payloads: Vec<Payload>,
}

impl Builder {
    /// A message with this header; length and first payload type are filled in by [`Self::build`].
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            header,
            payloads: Vec::new(),
        }
    }

    /// Appends a payload and gives its place.
    pub fn push(&mut self, payload: Payload) -> usize {
        self.payloads.push(payload);
        self.payloads.len().saturating_sub(1)
    }

    /// The octets, unpadded; the length field counts exactly them.
    ///
    /// # Errors
    /// A payload or the message is too long.
    pub fn build(self) -> Result<Built, BuildError> {
        let types: Vec<PayloadType> = self.payloads.iter().map(Payload::payload_type).collect();
        let mut header = self.header;
        header.next_payload = types.first().copied().unwrap_or(PayloadType::NONE);
        let nexts = types.iter().copied().skip(1).chain([PayloadType::NONE]);
        let mut octets = header.encode().to_vec();
        let mut payloads = Vec::with_capacity(self.payloads.len());
        for (payload, next) in self.payloads.into_iter().zip(nexts) {
            let offset = octets.len();
            encode_generic(next, &mut octets, |out| payload.encode(out))
                .ok_or(BuildError::Payload(payload.payload_type()))?;
            let length = octets.len().saturating_sub(offset);
            payloads.push(Placed {
                payload,
                offset,
                length,
            });
        }
        if octets.len() > MAX_MESSAGE {
            return Err(BuildError::Message);
        }
        header.length = u32::try_from(octets.len()).map_err(|_| BuildError::Message)?;
        octets.splice(..HEADER_LENGTH, header.encode());
        Ok(Built(Message {
            header,
            payloads,
            octets,
        }))
    }
}

/// A message ready to be hashed, filled in, encrypted and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built(Message);

impl Built {
    /// Puts octets of the same length into the body of the payload at `index`: a HASH over what follows it.
    ///
    /// # Errors
    /// [`BuildError::Fill`].
    pub fn fill(&mut self, index: usize, octets: &[u8]) -> Result<(), BuildError> {
        let placed = self.0.payloads.get_mut(index).ok_or(BuildError::Fill)?;
        let start = placed
            .offset
            .checked_add(GENERIC_LENGTH)
            .ok_or(BuildError::Fill)?;
        let end = placed
            .offset
            .checked_add(placed.length)
            .ok_or(BuildError::Fill)?;
        let place = self.0.octets.get_mut(start..end).ok_or(BuildError::Fill)?;
        if place.len() != octets.len() {
            return Err(BuildError::Fill);
        }
        placed.payload =
            Payload::parse(placed.payload.payload_type(), octets).map_err(|_| BuildError::Fill)?;
        place.copy_from_slice(octets);
        Ok(())
    }

    /// The message, with its offsets.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.0
    }

    /// The octets to send, or to pad and encrypt.
    #[must_use]
    pub fn into_octets(self) -> Vec<u8> {
        self.0.octets
    }
}

impl std::ops::Deref for Built {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0
    }
}
