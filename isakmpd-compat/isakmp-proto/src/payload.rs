//! Payloads as owned values, read and written (RFC 2408 section 3; isakmpd-wire 1.1, 2).

use crate::attribute::{self, Attribute, BadAttributes};
use crate::malformed::Malformed;
use crate::number::{CertEncoding, CfgType, Doi, IdType, NotifyType, PayloadType, Protocol};
use crate::octets::Reader;
use crate::sa::{Sa, gross_length};

/// Octets of a generic payload header.
pub const GENERIC_LENGTH: usize = 4;

/// The most SPIs of one DELETE.
pub const MAX_SPIS: usize = 1024;

/// An ID payload (RFC 2407 section 4.6.2). [`crate::identity`] reads and writes its data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// What the data is.
    pub id_type: IdType,
    /// IP protocol number, 0 for any.
    pub protocol: u8,
    /// Port in host order, 0 for any.
    pub port: u16,
    /// The identification.
    pub data: Vec<u8>,
}

impl Id {
    /// The octets after the generic header: what HASH_I and HASH_R cover, and what a CERT is looked for under.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = vec![self.id_type.0, self.protocol];
        body.extend(self.port.to_be_bytes());
        body.extend(&self.data);
        body
    }

    /// Reads a body, as [`Self::body`] writes it; `None` if it is shorter than 4 octets.
    #[must_use]
    pub fn from_body(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self {
            id_type: IdType(reader.u8()?),
            protocol: reader.u8()?,
            port: reader.u16()?,
            data: reader.rest().to_vec(),
        })
    }
}

/// A CERT payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cert {
    /// What the data is.
    pub encoding: CertEncoding,
    /// The certificate, DER for X.509.
    pub data: Vec<u8>,
}

/// A CERTREQ payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertReq {
    /// The wanted encoding.
    pub encoding: CertEncoding,
    /// Name of the wanted authority (a DER name for X.509); empty for any.
    pub authority: Vec<u8>,
}

/// A NOTIFY payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Domain of interpretation.
    pub doi: Doi,
    /// What the SPI belongs to.
    pub protocol: Protocol,
    /// At most 255 octets.
    pub spi: Vec<u8>,
    /// What is said.
    pub notify_type: NotifyType,
    /// Depends on the type.
    pub data: Vec<u8>,
}

/// A DELETE payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Domain of interpretation.
    pub doi: Doi,
    /// What the SPIs belong to.
    pub protocol: Protocol,
    /// Octets of each SPI: 16 for ISAKMP, 4 for ESP and AH.
    pub spi_size: u8,
    /// The SPIs, each of that size.
    pub spis: Vec<Vec<u8>>,
}

/// An ATTRIBUTE payload (mode-config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeConfig {
    /// REQUEST, REPLY, SET or ACK.
    pub kind: CfgType,
    /// Ties an answer to its question.
    pub identifier: u16,
    /// Attributes of [`crate::number::CfgAttribute`].
    pub attributes: Vec<Attribute>,
}

/// Which of its two numbers a NAT traversal payload goes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatForm {
    /// RFC 3947: 20 and 21.
    Rfc,
    /// The drafts before it: 130 and 131.
    Draft,
}

/// A NAT-D payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatD {
    /// The number it goes under.
    pub form: NatForm,
    /// HASH(CKY-I | CKY-R | address | port).
    pub hash: Vec<u8>,
}

/// A NAT-OA payload: the address a host has behind the NAT. Never sent by the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatOa {
    /// The number it goes under.
    pub form: NatForm,
    /// IPV4_ADDR or IPV6_ADDR.
    pub id_type: IdType,
    /// The address.
    pub address: Vec<u8>,
}

/// Any payload that stands by itself in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// What is proposed or chosen.
    Sa(Sa),
    /// A Diffie-Hellman public value.
    KeyExchange(Vec<u8>),
    /// Who or what.
    Id(Id),
    /// A certificate.
    Cert(Cert),
    /// A wish for certificates.
    CertReq(CertReq),
    /// HASH_I, HASH_R, HASH(1), HASH(2) or HASH(3).
    Hash(Vec<u8>),
    /// A signature over HASH_I or HASH_R.
    Signature(Vec<u8>),
    /// A nonce.
    Nonce(Vec<u8>),
    /// An error or a status.
    Notify(Notify),
    /// SAs that are gone.
    Delete(Delete),
    /// What the sender is and can.
    VendorId(Vec<u8>),
    /// Mode-config.
    ModeConfig(ModeConfig),
    /// Where the sender believes both sides are.
    NatD(NatD),
    /// A host's own address.
    NatOa(NatOa),
}

impl Payload {
    /// The type it goes under.
    #[must_use]
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::KeyExchange(_) => PayloadType::KEY_EXCHANGE,
            Self::Id(_) => PayloadType::ID,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERT_REQUEST,
            Self::Hash(_) => PayloadType::HASH,
            Self::Signature(_) => PayloadType::SIGNATURE,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::ModeConfig(_) => PayloadType::ATTRIBUTE,
            Self::NatD(NatD {
                form: NatForm::Rfc, ..
            }) => PayloadType::NAT_D,
            Self::NatD(NatD {
                form: NatForm::Draft,
                ..
            }) => PayloadType::NAT_D_DRAFT,
            Self::NatOa(NatOa {
                form: NatForm::Rfc, ..
            }) => PayloadType::NAT_OA,
            Self::NatOa(NatOa {
                form: NatForm::Draft,
                ..
            }) => PayloadType::NAT_OA_DRAFT,
        }
    }

    /// Reads the body of a payload of type `ty`.
    ///
    /// # Errors
    /// What does not fit inside the body; a type that does not stand by itself; unknown types.
    pub fn parse(ty: PayloadType, body: &[u8]) -> Result<Self, Malformed> {
        let too_short = || Malformed::PayloadTooShort(gross_length(body));
        let mut reader = Reader::new(body);
        let parsed = match ty {
            PayloadType::SA => return Sa::parse(body).map(Self::Sa),
            PayloadType::PROPOSAL | PayloadType::TRANSFORM | PayloadType::NONE => {
                return Err(Malformed::Unexpected(ty));
            }
            PayloadType::KEY_EXCHANGE => Some(Self::KeyExchange(body.to_vec())),
            PayloadType::ID => Id::from_body(body).map(Self::Id),
            PayloadType::CERT => reader.u8().map(|encoding| {
                Self::Cert(Cert {
                    encoding: CertEncoding(encoding),
                    data: reader.rest().to_vec(),
                })
            }),
            PayloadType::CERT_REQUEST => reader.u8().map(|encoding| {
                Self::CertReq(CertReq {
                    encoding: CertEncoding(encoding),
                    authority: reader.rest().to_vec(),
                })
            }),
            PayloadType::HASH => Some(Self::Hash(body.to_vec())),
            PayloadType::SIGNATURE => Some(Self::Signature(body.to_vec())),
            PayloadType::NONCE => Some(Self::Nonce(body.to_vec())),
            PayloadType::NOTIFY => Notify::parse(reader).map(Self::Notify),
            PayloadType::DELETE => {
                let delete = Delete::parse(reader).ok_or_else(too_short)?;
                return delete.map(Self::Delete);
            }
            PayloadType::VENDOR_ID => Some(Self::VendorId(body.to_vec())),
            PayloadType::ATTRIBUTE => {
                let mode_config = ModeConfig::parse(reader).ok_or_else(too_short)?;
                return mode_config.map(Self::ModeConfig);
            }
            PayloadType::NAT_D | PayloadType::NAT_D_DRAFT => Some(Self::NatD(NatD {
                form: nat_form(ty),
                hash: body.to_vec(),
            })),
            PayloadType::NAT_OA | PayloadType::NAT_OA_DRAFT => {
                reader.array().map(|[id_type, _, _, _]: [u8; 4]| {
                    Self::NatOa(NatOa {
                        form: nat_form(ty),
                        id_type: IdType(id_type),
                        address: reader.rest().to_vec(),
                    })
                })
            }
            _ => return Err(Malformed::UnknownMinimum(ty)),
        };
        parsed.ok_or_else(too_short)
    }

    /// Appends the body's octets; `None` if something does not fit its length field.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Sa(sa) => return sa.encode(out),
            Self::Id(id) => out.extend(id.body()),
            Self::Cert(Cert {
                encoding,
                data: rest,
            })
            | Self::CertReq(CertReq {
                encoding,
                authority: rest,
            }) => {
                out.push(encoding.0);
                out.extend(rest);
            }
            Self::KeyExchange(octets)
            | Self::Hash(octets)
            | Self::Signature(octets)
            | Self::Nonce(octets)
            | Self::VendorId(octets)
            | Self::NatD(NatD { hash: octets, .. }) => out.extend(octets),
            Self::Notify(notify) => {
                out.extend(notify.doi.0.to_be_bytes());
                out.extend([notify.protocol.0, u8::try_from(notify.spi.len()).ok()?]);
                out.extend(notify.notify_type.0.to_be_bytes());
                out.extend(&notify.spi);
                out.extend(&notify.data);
            }
            Self::Delete(delete) => {
                out.extend(delete.doi.0.to_be_bytes());
                out.extend([delete.protocol.0, delete.spi_size]);
                out.extend(u16::try_from(delete.spis.len()).ok()?.to_be_bytes());
                for spi in &delete.spis {
                    if spi.len() != usize::from(delete.spi_size) {
                        return None;
                    }
                    out.extend(spi);
                }
            }
            Self::ModeConfig(mode_config) => {
                out.extend([mode_config.kind.0, 0]);
                out.extend(mode_config.identifier.to_be_bytes());
                mode_config
                    .attributes
                    .iter()
                    .for_each(|attribute| attribute.encode(out));
            }
            Self::NatOa(nat_oa) => {
                out.extend([nat_oa.id_type.0, 0, 0, 0]);
                out.extend(&nat_oa.address);
            }
        }
        Some(())
    }
}

impl Notify {
    fn parse(mut reader: Reader<'_>) -> Option<Self> {
        let doi = Doi(reader.u32()?);
        let protocol = Protocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let notify_type = NotifyType(reader.u16()?);
        let spi = reader.take(usize::from(spi_size))?.to_vec();
        Some(Self {
            doi,
            protocol,
            spi,
            notify_type,
            data: reader.rest().to_vec(),
        })
    }
}

impl Delete {
    /// `None`: shorter than count and size say, or SPIs of no octets.
    fn parse(mut reader: Reader<'_>) -> Option<Result<Self, Malformed>> {
        let doi = Doi(reader.u32()?);
        let protocol = Protocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = usize::from(reader.u16()?);
        if spi_size == 0 && count != 0 {
            return None;
        }
        if count > MAX_SPIS {
            return Some(Err(Malformed::TooMany {
                what: "SPIs",
                limit: MAX_SPIS,
            }));
        }
        let spis = (0..count)
            .map(|_| reader.take(usize::from(spi_size)).map(<[u8]>::to_vec))
            .collect::<Option<_>>()?;
        Some(Ok(Self {
            doi,
            protocol,
            spi_size,
            spis,
        }))
    }
}

impl ModeConfig {
    fn parse(mut reader: Reader<'_>) -> Option<Result<Self, Malformed>> {
        let kind = CfgType(reader.u8()?);
        let _reserved = reader.u8()?;
        let identifier = reader.u16()?;
        match attribute::parse(reader.rest()) {
            Ok(attributes) => Some(Ok(Self {
                kind,
                identifier,
                attributes,
            })),
            Err(BadAttributes::Overrun) => None,
            Err(BadAttributes::TooMany) => Some(Err(Malformed::TooMany {
                what: "attributes",
                limit: attribute::MAX_ATTRIBUTES,
            })),
        }
    }
}

fn nat_form(ty: PayloadType) -> NatForm {
    match ty {
        PayloadType::NAT_D_DRAFT | PayloadType::NAT_OA_DRAFT => NatForm::Draft,
        _ => NatForm::Rfc,
    }
}

/// The least length a whole payload of this type must have; `None` for types that are malformed as such.
fn minimum_length(ty: PayloadType) -> Option<u16> {
    Some(match ty {
        PayloadType::SA
        | PayloadType::PROPOSAL
        | PayloadType::TRANSFORM
        | PayloadType::ID
        | PayloadType::ATTRIBUTE
        | PayloadType::NAT_OA
        | PayloadType::NAT_OA_DRAFT => 8,
        PayloadType::CERT | PayloadType::CERT_REQUEST => 5,
        PayloadType::NOTIFY | PayloadType::DELETE => 12,
        PayloadType::KEY_EXCHANGE
        | PayloadType::HASH
        | PayloadType::SIGNATURE
        | PayloadType::NONCE
        | PayloadType::VENDOR_ID
        | PayloadType::NAT_D
        | PayloadType::NAT_D_DRAFT => 4,
        // Passed over unread; still it must hold its own header.
        _ if ty.is_unknown_private() => 4,
        _ => return None,
    })
}

/// One link of a chain of payloads.
pub(crate) struct Generic<'a> {
    pub(crate) next: PayloadType,
    pub(crate) body: &'a [u8],
}

/// Reads one generic header and takes that payload's body: isakmpd-wire 5 step 10, in its order.
pub(crate) fn generic_header<'a>(
    reader: &mut Reader<'a>,
    payload: PayloadType,
) -> Result<Generic<'a>, Malformed> {
    let [next, reserved, high, low] = reader.array().ok_or(Malformed::ShortMessage)?;
    let next = PayloadType(next);
    if next.is_reserved() {
        return Err(Malformed::NextPayload { next, payload });
    }
    if reserved != 0 {
        return Err(Malformed::Reserved(reserved));
    }
    let length = u16::from_be_bytes([high, low]);
    let minimum = minimum_length(payload).ok_or(Malformed::UnknownMinimum(payload))?;
    if length < minimum {
        return Err(Malformed::PayloadTooShort(length));
    }
    let body = usize::from(length)
        .checked_sub(GENERIC_LENGTH)
        .and_then(|length| reader.take(length))
        .ok_or(Malformed::PayloadTooLong(length))?;
    Ok(Generic { next, body })
}

/// Appends a generic header and a body; `None` if the body does not fit its length field.
pub(crate) fn encode_generic(
    next: PayloadType,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let start = out.len();
    out.extend([next.0, 0, 0, 0]);
    body(out)?;
    let length = u16::try_from(out.len().checked_sub(start)?).ok()?;
    out.get_mut(start.checked_add(2)?..start.checked_add(GENERIC_LENGTH)?)?
        .copy_from_slice(&length.to_be_bytes());
    Some(())
}
