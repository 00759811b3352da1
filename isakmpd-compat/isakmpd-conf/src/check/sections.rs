//! What kinds of sections there are, which tags each has, and what the tags refer to (isakmpd-config 2 and 3).

/// A kind of section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// `[General]`
    General,
    /// `[Phase 1]`
    Phase1,
    /// `[Phase 2]`
    Phase2,
    /// `[X509-certificates]`
    X509,
    /// `[KeyNote]`
    KeyNote,
    /// ISAKMP-peer
    Peer,
    /// Phase1-ID
    Phase1Id,
    /// ISAKMP-configuration
    Phase1Configuration,
    /// ISAKMP-transform
    Phase1Transform,
    /// Lifetime
    Lifetime,
    /// IPsec-connection
    Connection,
    /// IPsec-ID
    IpsecId,
    /// IPsec-configuration
    QuickModeConfiguration,
    /// IPsec-suite
    Suite,
    /// IPsec-protocol
    Protocol,
    /// IPsec-transform
    IpsecTransform,
    /// IKECFG-ID
    ModeConfig,
    /// A section named as an identity that has its key.
    Key,
}

/// What the value of a tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refers {
    /// Itself.
    Nothing,
    /// A list of words.
    Words,
    /// Nobody looks at it; the 2004 version or another program did.
    Ignored,
    /// The name of a section.
    One(Kind),
    /// A list of names of sections.
    Each(Kind),
    /// The same, or `ANY`.
    EachOrAny(Kind),
}

use Refers::{Each, EachOrAny, Ignored, Nothing, One, Words};

type Tags = &'static [(&'static str, Refers)];

const GENERAL: Tags = &[
    ("Acquire-Only", Nothing),
    ("Check-interval", Nothing),
    ("Default-phase-1-ID", One(Kind::Phase1Id)),
    ("Default-phase-1-lifetime", Nothing),
    ("Default-phase-2-lifetime", Nothing),
    ("Default-phase-2-suites", Each(Kind::Suite)),
    ("Delete-SAs", Nothing),
    ("DES-compat", Nothing),
    ("DPD-check-interval", Nothing),
    ("Exchange-max-time", Nothing),
    ("GCM-PFS-compat", Nothing),
    ("Listen-on", Words),
    ("Loglevel", Words),
    ("Logverbose", Nothing),
    ("NAT-T-Keepalive", Nothing),
    ("Policy-file", Nothing),
    ("Pubkey-directory", Nothing),
    ("Renegotiate-on-HUP", Nothing),
    ("Retransmits", Nothing),
    ("Shared-SADB", Nothing),
    ("Use-Keynote", Nothing),
];

const PEER: Tags = &[
    ("Phase", Nothing),
    ("Transport", Nothing),
    ("Address", Nothing),
    ("Port", Nothing),
    ("Local-address", Nothing),
    ("Configuration", One(Kind::Phase1Configuration)),
    ("Authentication", Nothing),
    ("ID", One(Kind::Phase1Id)),
    ("Remote-ID", One(Kind::Phase1Id)),
    ("Flags", Words),
    ("Credentials", Nothing),
    ("Credential_Type", Nothing),
    ("PKAuthentication", Nothing),
    ("Refcount", Nothing),
];

const PHASE_1_ID: Tags = &[
    ("ID-type", Nothing),
    ("Address", Nothing),
    ("Network", Nothing),
    ("Netmask", Nothing),
    ("Name", Nothing),
    ("Refcount", Nothing),
];

const IPSEC_ID: Tags = &[
    ("ID-type", Nothing),
    ("Address", Nothing),
    ("Network", Nothing),
    ("Netmask", Nothing),
    ("Protocol", Nothing),
    ("Port", Nothing),
    ("Refcount", Nothing),
];

const PHASE_1_CONFIGURATION: Tags = &[
    ("DOI", Nothing),
    ("EXCHANGE_TYPE", Nothing),
    ("Transforms", Each(Kind::Phase1Transform)),
    ("Refcount", Nothing),
];

const PHASE_1_TRANSFORM: Tags = &[
    ("ENCRYPTION_ALGORITHM", Nothing),
    ("HASH_ALGORITHM", Nothing),
    ("AUTHENTICATION_METHOD", Nothing),
    ("GROUP_DESCRIPTION", Nothing),
    ("GROUP_TYPE", Nothing),
    ("PRF", Nothing),
    ("KEY_LENGTH", Nothing),
    ("FIELD_SIZE", Nothing),
    ("GROUP_ORDER", Nothing),
    ("Life", EachOrAny(Kind::Lifetime)),
];

const CONNECTION: Tags = &[
    ("Phase", Nothing),
    ("ISAKMP-peer", One(Kind::Peer)),
    ("Configuration", One(Kind::QuickModeConfiguration)),
    ("Local-ID", One(Kind::IpsecId)),
    ("Remote-ID", One(Kind::IpsecId)),
    ("NAT-ID", One(Kind::IpsecId)),
    ("Flags", Words),
    ("Acquire-ID", Nothing),
    ("PF-Tag", Ignored),
    ("Next-hop", Ignored),
    ("Refcount", Nothing),
];

const IPSEC_TRANSFORM: Tags = &[
    ("TRANSFORM_ID", Nothing),
    ("ENCAPSULATION_MODE", Nothing),
    ("AUTHENTICATION_ALGORITHM", Nothing),
    ("GROUP_DESCRIPTION", Nothing),
    ("KEY_LENGTH", Nothing),
    ("KEY_ROUNDS", Nothing),
    ("COMPRESS_DICTIONARY_SIZE", Nothing),
    ("COMPRESS_PRIVATE_ALGORITHM", Nothing),
    ("ECN_TUNNEL", Nothing),
    ("Life", EachOrAny(Kind::Lifetime)),
];

const MODE_CONFIG: Tags = &[
    ("Mode", Nothing),
    ("Attributes", Words),
    ("Address", Nothing),
    ("Netmask", Nothing),
    ("Nameserver", Nothing),
    ("WINS-server", Nothing),
    ("DHCP-server", Nothing),
    ("Network", Nothing),
    ("Prefix", Nothing),
    ("Lifetime", Nothing),
];

impl Kind {
    /// The manual's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Phase1 => "Phase 1",
            Self::Phase2 => "Phase 2",
            Self::X509 => "X509-certificates",
            Self::KeyNote => "KeyNote",
            Self::Peer => "ISAKMP-peer",
            Self::Phase1Id => "Phase1-ID",
            Self::Phase1Configuration => "ISAKMP-configuration",
            Self::Phase1Transform => "ISAKMP-transform",
            Self::Lifetime => "Lifetime",
            Self::Connection => "IPsec-connection",
            Self::IpsecId => "IPsec-ID",
            Self::QuickModeConfiguration => "IPsec-configuration",
            Self::Suite => "IPsec-suite",
            Self::Protocol => "IPsec-protocol",
            Self::IpsecTransform => "IPsec-transform",
            Self::ModeConfig => "IKECFG-ID",
            Self::Key => "identity with a key",
        }
    }

    /// Its tags. Those of `[Phase 1]` are addresses, and one more.
    pub(super) fn tags(self) -> Tags {
        match self {
            Self::General => GENERAL,
            Self::Phase1 => &[("Default", One(Kind::Peer))],
            Self::Phase2 => &[
                ("Connections", Each(Kind::Connection)),
                ("Passive-connections", Each(Kind::Connection)),
            ],
            Self::X509 => &[
                ("CA-directory", Nothing),
                ("Cert-directory", Nothing),
                ("CRL-directory", Nothing),
                ("Private-key", Nothing),
                ("Private-key-directory", Nothing),
                ("Accept-self-signed", Nothing),
            ],
            Self::KeyNote => &[("Credential-directory", Nothing)],
            Self::Peer => PEER,
            Self::Phase1Id => PHASE_1_ID,
            Self::Phase1Configuration => PHASE_1_CONFIGURATION,
            Self::Phase1Transform => PHASE_1_TRANSFORM,
            Self::Lifetime => &[("LIFE_TYPE", Nothing), ("LIFE_DURATION", Nothing)],
            Self::Connection => CONNECTION,
            Self::IpsecId => IPSEC_ID,
            Self::QuickModeConfiguration => &[
                ("DOI", Nothing),
                ("EXCHANGE_TYPE", Nothing),
                ("Suites", Each(Kind::Suite)),
                ("Refcount", Nothing),
            ],
            Self::Suite => &[("Protocols", Each(Kind::Protocol))],
            Self::Protocol => &[
                ("PROTOCOL_ID", Nothing),
                ("Transforms", Each(Kind::IpsecTransform)),
                ("ReplayWindow", Nothing),
            ],
            Self::IpsecTransform => IPSEC_TRANSFORM,
            Self::ModeConfig => MODE_CONFIG,
            Self::Key => &[("Authentication", Nothing)],
        }
    }

    pub(super) fn tag(self, tag: &str) -> Option<Refers> {
        self.tags()
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(tag))
            .map(|(_, refers)| *refers)
    }
}
