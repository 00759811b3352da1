//! Why a message was refused: the original's log text, and what it answers (isakmpd-wire 5).

use crate::number::{ExchangeType, NotifyType, PayloadType};

/// What to do with a refused message, besides logging [`Malformed::log_text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Log `dropped message from A port P due to notification type NAME` and send that notification.
    Notify(NotifyType),
    /// Log the same line with the name `<Unknown 0>`; send nothing.
    Drop,
    /// Neither.
    Ignore,
}

/// Why a message was refused. `Display` is the original's log line where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than a header, or not as long as the header says.
    #[error("message_recv: bad message length")]
    Length,
    /// The header's first payload cannot be one. A wrong pre-shared key looks like this.
    #[error(
        "message_recv: invalid payload type {0} in ISAKMP header (check passphrases, if applicable and in Phase 1)"
    )]
    FirstPayload(u8),
    /// Not version 1.x.
    #[error("message_recv: invalid version major {0}")]
    MajorVersion(u8),
    /// Not version 1.0.
    #[error("message_recv: invalid version minor {0}")]
    MinorVersion(u8),
    /// No exchange, a reserved one, or a phase 2 exchange without phase 1.
    #[error("message_recv: invalid exchange type {}", .0.base_name())]
    ExchangeType(ExchangeType),
    /// A phase 2 exchange type the IPsec DOI does not have.
    #[error("message_recv: invalid DOI exchange type {}", .0.0)]
    DoiExchangeType(ExchangeType),
    /// Bits without a meaning in the flags octet.
    #[error("message_recv: invalid flags 0x{0:x}")]
    Flags(u8),
    /// A first message with a message ID.
    #[error("message_recv: invalid message id")]
    MessageId,
    /// A payload's generic header does not fit.
    #[error("message_parse_payloads: short message")]
    ShortMessage,
    /// A payload is followed by one of a reserved type.
    #[error("message_parse_payloads: invalid next payload type {next} in payload of type {}", .payload.0)]
    NextPayload {
        /// The type of the payload that would follow.
        next: PayloadType,
        /// The payload that says so.
        payload: PayloadType,
    },
    /// The second octet of a generic header is not zero.
    #[error("message_parse_payloads: reserved field non-zero: {0:x}")]
    Reserved(u8),
    /// A payload type that has a name only.
    #[error("message_parse_payloads: unknown minimum payload size for payload type {0}")]
    UnknownMinimum(PayloadType),
    /// Shorter than its fixed fields, or than the lengths inside it say.
    #[error("message_parse_payloads: payload too short: {0}")]
    PayloadTooShort(u16),
    /// Reaches beyond the message, or beyond the payload it is in.
    #[error("message_parse_payloads: payload too long: {0}")]
    PayloadTooLong(u16),
    /// A payload where that type has no place: Proposal and Transform outside SA.
    #[error("message_parse_payloads: payload type {0} unexpected")]
    Unexpected(PayloadType),
    /// More payloads, proposals, transforms, attributes or SPIs than the named limit (the original has none).
    #[error("message_parse_payloads: more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An SA payload of a DOI that is not ISAKMP's or IPsec's.
    #[error("message_validate_sa: DOI not supported")]
    SaDoi(u32),
    /// The SA payload ends before its situation. The original logs a second line, see [`Self::log_lines`].
    #[error("ipsec_validate_situation: payload too short: {0}")]
    SituationTooShort(usize),
    /// A situation other than identity only.
    #[error("message_validate_sa: situation not supported")]
    Situation(u32),
    /// A proposal for a protocol the DOI does not have.
    #[error("proposal for protocol {0}")]
    ProposalProtocol(u8),
    /// Proposal numbers that go down, or transform numbers that do not go up.
    #[error("proposal or transform numbers out of order")]
    ProposalOrder,
    /// A transform ID out of its protocol's range.
    #[error("transform {id} of protocol {protocol}")]
    TransformId {
        /// The proposal's protocol.
        protocol: u8,
        /// The transform ID.
        id: u8,
    },
    /// A transform's reserved octets are not zero.
    #[error("reserved field of a transform non-zero")]
    TransformReserved,
    /// A transform attribute of a type that the phase does not have, or attributes that do not fit.
    #[error("attributes of a transform not supported")]
    Attributes,
    /// An ID type of 0 or above 11.
    #[error("identification of type {0}")]
    IdType(u8),
    /// A certificate encoding of 14 or above.
    #[error("certificate encoding {0}")]
    CertEncoding(u8),
    /// A request for certificates that are neither X.509 signature ones nor KeyNote.
    #[error("certificate request of type {0}")]
    CertRequestType(u8),
    /// A notification of an unknown DOI.
    #[error("message_validate_notify: DOI not supported")]
    NotifyDoi(u32),
    /// A notification about an unknown protocol.
    #[error("message_validate_notify: protocol not supported")]
    NotifyProtocol(u8),
    /// A notification type that is reserved.
    #[error("message_validate_notify: message type not supported")]
    NotifyType(u16),
    /// A DELETE of an unknown DOI.
    #[error("message_validate_delete: DOI not supported")]
    DeleteDoi(u32),
    /// A DELETE in another exchange than an INFORMATIONAL one.
    #[error("message_validate_delete: delete in exchange other than INFO: {}", .0.base_name())]
    DeleteExchange(ExchangeType),
    /// A DELETE for an unknown protocol.
    #[error("message_validate_delete: protocol not supported")]
    DeleteProtocol(u8),
    /// A vendor ID outside phase 1.
    #[error("vendor ID outside phase 1")]
    VendorIdPhase,
    /// NAT-D outside phase 1.
    #[error("message_validate_nat_d: NAT-D payload must be in phase 1")]
    NatDPhase,
}

impl Malformed {
    /// What the original does about it.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        use NotifyType as N;
        Reaction::Notify(match self {
            Self::Length => return Reaction::Drop,
            Self::NotifyDoi(_)
            | Self::NotifyProtocol(_)
            | Self::NotifyType(_)
            | Self::DeleteDoi(_)
            | Self::DeleteExchange(_)
            | Self::DeleteProtocol(_) => return Reaction::Ignore,
            Self::FirstPayload(_)
            | Self::NextPayload { .. }
            | Self::Unexpected(_)
            | Self::VendorIdPhase => N::INVALID_PAYLOAD_TYPE,
            Self::MajorVersion(_) => N::INVALID_MAJOR_VERSION,
            Self::MinorVersion(_) => N::INVALID_MINOR_VERSION,
            Self::ExchangeType(_) | Self::DoiExchangeType(_) => N::INVALID_EXCHANGE_TYPE,
            Self::Flags(_) => N::INVALID_FLAGS,
            Self::MessageId => N::INVALID_MESSAGE_ID,
            Self::ShortMessage => N::UNEQUAL_PAYLOAD_LENGTHS,
            Self::Reserved(_)
            | Self::UnknownMinimum(_)
            | Self::PayloadTooShort(_)
            | Self::PayloadTooLong(_)
            | Self::TooMany { .. }
            | Self::TransformReserved
            | Self::NatDPhase => N::PAYLOAD_MALFORMED,
            Self::SaDoi(_) => N::DOI_NOT_SUPPORTED,
            Self::SituationTooShort(_) | Self::Situation(_) => N::SITUATION_NOT_SUPPORTED,
            Self::ProposalProtocol(_) => N::INVALID_PROTOCOL_ID,
            Self::ProposalOrder => N::BAD_PROPOSAL_SYNTAX,
            Self::TransformId { .. } => N::INVALID_TRANSFORM_ID,
            Self::Attributes => N::ATTRIBUTES_NOT_SUPPORTED,
            Self::IdType(_) => N::INVALID_ID_INFORMATION,
            Self::CertEncoding(_) => N::INVALID_CERT_ENCODING,
            Self::CertRequestType(_) => N::CERT_TYPE_UNSUPPORTED,
        })
    }

    /// The notification to answer with, if any.
    #[must_use]
    pub fn notify(&self) -> Option<NotifyType> {
        match self.reaction() {
            Reaction::Notify(notify) => Some(notify),
            Reaction::Drop | Reaction::Ignore => None,
        }
    }

    /// The lines the original logs before it reacts, in order: none, one or two.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        match self {
            Self::ProposalProtocol(_)
            | Self::ProposalOrder
            | Self::TransformId { .. }
            | Self::TransformReserved
            | Self::Attributes
            | Self::IdType(_)
            | Self::CertEncoding(_)
            | Self::CertRequestType(_)
            | Self::VendorIdPhase => Vec::new(),
            Self::SituationTooShort(_) => {
                vec![self.to_string(), Self::Situation(0).to_string()]
            }
            _ => vec![self.to_string()],
        }
    }
}
