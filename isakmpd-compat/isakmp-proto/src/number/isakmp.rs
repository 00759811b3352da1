//! Numbers of ISAKMP itself (RFC 2408, and mode-config).

use super::numbers;

numbers! {
    /// Payload types (isakmpd-wire 1.1).
    PayloadType: u8 {
        NONE = 0;
        SA = 1;
        PROPOSAL = 2;
        TRANSFORM = 3;
        KEY_EXCHANGE = 4, "KEY_EXCH";
        ID = 5;
        CERT = 6;
        CERT_REQUEST = 7, "CERT_REQ";
        HASH = 8;
        SIGNATURE = 9, "SIG";
        NONCE = 10;
        NOTIFY = 11;
        DELETE = 12;
        VENDOR_ID = 13, "VENDOR";
        ATTRIBUTE = 14;
        SAK = 15;
        SAT = 16;
        KEY_DOWNLOAD = 17, "KD";
        SEQUENCE = 18, "SEQ";
        POSSESSION = 19, "POP";
        NAT_D = 20;
        NAT_OA = 21;
        NAT_D_DRAFT = 130;
        NAT_OA_DRAFT = 131;
    }
    names only {
        22 = "RESERVED_MIN";
        127 = "RESERVED_MAX";
        128 = "PRIVATE_MIN";
        255 = "PRIVATE_MAX";
    }
}

impl PayloadType {
    /// A number RFC 2408 keeps for later: 22 to 127.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        (22..=127).contains(&self.0)
    }

    /// A private number without a meaning here: 128 and above, but for the drafts' NAT-D and NAT-OA.
    #[must_use]
    pub fn is_unknown_private(self) -> bool {
        self.0 >= 128 && self != Self::NAT_D_DRAFT && self != Self::NAT_OA_DRAFT
    }
}

numbers! {
    /// Exchange types (isakmpd-wire 1.2), with those of IKE (RFC 2409).
    ExchangeType: u8 {
        NONE = 0;
        BASE = 1;
        /// Main Mode.
        ID_PROT = 2;
        AUTH_ONLY = 3;
        AGGRESSIVE = 4;
        INFORMATIONAL = 5, "INFO";
        /// Mode-config.
        TRANSACTION = 6;
        QUICK_MODE = 32;
        NEW_GROUP_MODE = 33;
    }
    names only {
        7 = "FUTURE_MIN";
        31 = "FUTURE_MAX";
        255 = "DOI_MAX";
    }
}

impl ExchangeType {
    /// The name in those log lines of the original that know RFC 2408 only: Quick Mode is `DOI_MIN` there.
    #[must_use]
    pub fn base_name(self) -> String {
        match self.0 {
            32 => "DOI_MIN".to_owned(),
            33 => "<Unknown 33>".to_owned(),
            _ => self.to_string(),
        }
    }
}

/// Bits of the header's flags octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags;

impl Flags {
    /// The payloads are encrypted.
    pub const ENCRYPTED: u8 = 1;
    /// The sender wants to see CONNECTED before it uses the SA.
    pub const COMMIT: u8 = 2;
    /// Authenticated but not encrypted.
    pub const AUTH_ONLY: u8 = 4;
    /// Every bit with a meaning.
    pub const ALL: u8 = 7;
}

numbers! {
    /// Notify message types (isakmpd-wire 1.6).
    NotifyType: u16 {
        INVALID_PAYLOAD_TYPE = 1;
        DOI_NOT_SUPPORTED = 2;
        SITUATION_NOT_SUPPORTED = 3;
        INVALID_COOKIE = 4;
        INVALID_MAJOR_VERSION = 5;
        INVALID_MINOR_VERSION = 6;
        INVALID_EXCHANGE_TYPE = 7;
        INVALID_FLAGS = 8;
        INVALID_MESSAGE_ID = 9;
        INVALID_PROTOCOL_ID = 10;
        INVALID_SPI = 11;
        INVALID_TRANSFORM_ID = 12;
        ATTRIBUTES_NOT_SUPPORTED = 13;
        NO_PROPOSAL_CHOSEN = 14;
        BAD_PROPOSAL_SYNTAX = 15;
        PAYLOAD_MALFORMED = 16;
        INVALID_KEY_INFORMATION = 17;
        INVALID_ID_INFORMATION = 18;
        INVALID_CERT_ENCODING = 19;
        INVALID_CERTIFICATE = 20;
        CERT_TYPE_UNSUPPORTED = 21;
        INVALID_CERT_AUTHORITY = 22;
        INVALID_HASH_INFORMATION = 23;
        AUTHENTICATION_FAILED = 24;
        INVALID_SIGNATURE = 25;
        ADDRESS_NOTIFICATION = 26;
        NOTIFY_SA_LIFETIME = 27;
        CERTIFICATE_UNAVAILABLE = 28;
        UNSUPPORTED_EXCHANGE_TYPE = 29;
        UNEQUAL_PAYLOAD_LENGTHS = 30;
        STATUS_CONNECTED = 16384;
        RESPONDER_LIFETIME = 24576;
        REPLAY_STATUS = 24577;
        INITIAL_CONTACT = 24578;
        DPD_R_U_THERE = 36136, "STATUS_DPD_R_U_THERE";
        DPD_R_U_THERE_ACK = 36137, "STATUS_DPD_R_U_THERE_ACK";
    }
    names only {
        31 = "RESERVED_MIN";
        8191 = "RESERVED_MAX";
        8192 = "PRIVATE_MIN";
        16383 = "PRIVATE_MAX";
        16385 = "STATUS_RESERVED1_MIN";
        24575 = "STATUS_RESERVED1_MAX";
        32767 = "STATUS_DOI_MAX";
        32768 = "STATUS_PRIVATE_MIN";
        40959 = "STATUS_PRIVATE_MAX";
        40960 = "STATUS_RESERVED2_MIN";
        65535 = "STATUS_RESERVED2_MAX";
    }
}

impl NotifyType {
    /// Whether the original takes a notification of this type in the IPsec DOI: no number that RFC 2408
    /// reserves, and of the DOI's range only the three that RFC 2407 assigns.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        matches!(self.0, 1..=30 | 8192..=16384 | 24576..=24578 | 32768..=40959)
    }
}

numbers! {
    /// Certificate encodings (isakmpd-wire 1.7).
    CertEncoding: u8 {
        NONE = 0;
        PKCS = 1;
        PGP = 2;
        DNS = 3;
        X509_SIG = 4;
        X509_KE = 5;
        KERBEROS = 6;
        CRL = 7;
        ARL = 8;
        SPKI = 9;
        X509_ATTR = 10;
        KEYNOTE = 11;
        HASH_URL_PKIX_CERT = 12;
        HASH_URL_PKIX_BUNDLE = 13;
    }
    names only {
        14 = "RESERVED_MIN";
        255 = "RESERVED_MAX";
    }
}

numbers! {
    /// Domains of interpretation.
    Doi: u32 {
        ISAKMP = 0;
        IPSEC = 1;
    }
}

numbers! {
    /// Protocols of a proposal, a notification or a DELETE (isakmpd-wire 1.4).
    Protocol: u8 {
        ISAKMP = 1;
        AH = 2, "IPSEC_AH";
        ESP = 3, "IPSEC_ESP";
        IPCOMP = 4;
    }
}

impl Protocol {
    /// ISAKMP itself or one of the three of the IPsec DOI.
    #[must_use]
    pub fn is_known(self) -> bool {
        (1..=4).contains(&self.0)
    }
}

numbers! {
    /// Kinds of ATTRIBUTE payload (draft-dukes-ike-mode-cfg).
    CfgType: u8 {
        REQUEST = 1;
        REPLY = 2;
        SET = 3;
        ACK = 4;
    }
    names only {
        5 = "FUTURE_MIN";
        127 = "FUTURE_MAX";
        128 = "PRIVATE_MIN";
        255 = "PRIVATE_MAX";
    }
}

numbers! {
    /// Attributes of mode-config (isakmpd-wire 2.6).
    CfgAttribute: u16 {
        INTERNAL_IP4_ADDRESS = 1;
        INTERNAL_IP4_NETMASK = 2;
        INTERNAL_IP4_DNS = 3;
        INTERNAL_IP4_NBNS = 4;
        /// Seconds, 4 octets.
        INTERNAL_ADDRESS_EXPIRY = 5;
        INTERNAL_IP4_DHCP = 6;
        APPLICATION_VERSION = 7;
        INTERNAL_IP6_ADDRESS = 8;
        INTERNAL_IP6_NETMASK = 9;
        INTERNAL_IP6_DNS = 10;
        INTERNAL_IP6_NBNS = 11;
        INTERNAL_IP6_DHCP = 12;
        INTERNAL_IP4_SUBNET = 13;
        SUPPORTED_ATTRIBUTES = 14;
        INTERNAL_IP6_SUBNET = 15;
    }
    names only {
        16 = "FUTURE_MIN";
        16383 = "FUTURE_MAX";
        16384 = "PRIVATE_MIN";
        32767 = "PRIVATE_MAX";
    }
}
