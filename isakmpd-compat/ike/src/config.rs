//! What the engine asks of the configuration: the sections of isakmpd.conf(5) as values.
//!
//! Everything is asked for at the time of use, as the original does, so that a change through the
//! FIFO or SIGHUP counts from the next exchange on. Values are shared ([`Rc`]), since ten thousand
//! peers may name the same transform.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use isakmp_proto::identity::Identity;
use kx_secret::SecretBytes;

use crate::event::Address;
use crate::sa::Selector;

/// A section, tag or value that cannot be used; the text is the original's, without a line end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A constant attribute of a transform section: `ANY` accepts every value and offers none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `ANY`.
    Any,
    /// The number on the wire.
    Is(u16),
}

/// `X,Y:Z` or `X` (isakmpd-config 1): what is offered, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// `ANY`.
    Any,
    /// `X` offered, `Y..=Z` (or exactly `X`) accepted. Bits, seconds or kilobytes.
    Number {
        /// What we offer.
        offer: u32,
        /// What we take of the other side.
        accept: RangeInclusive<u32>,
    },
    /// Neither form: matches nothing, and an offer of it cannot be made.
    Invalid,
}

/// A Lifetime section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// 1 SECONDS, 2 KILOBYTES (isakmpd-wire 1.3); `ANY` accepts both.
    pub life_type: Value,
    /// Seconds or kilobytes.
    pub duration: Amount,
}

/// The `Life` tag of a transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lives {
    /// `Life= ANY`.
    Any,
    /// The sections listed, in their order; may be empty.
    These(Vec<Life>),
}

/// An ISAKMP-transform section. `None`: the tag is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase1Transform {
    /// The section.
    pub name: String,
    /// ENCRYPTION_ALGORITHM
    pub encryption: Option<Value>,
    /// HASH_ALGORITHM
    pub hash: Option<Value>,
    /// AUTHENTICATION_METHOD
    pub authentication: Option<Value>,
    /// GROUP_DESCRIPTION
    pub group: Option<Value>,
    /// GROUP_TYPE
    pub group_type: Option<Value>,
    /// PRF
    pub prf: Option<Value>,
    /// KEY_LENGTH, bits
    pub key_length: Option<Amount>,
    /// FIELD_SIZE, bits
    pub field_size: Option<Amount>,
    /// GROUP_ORDER
    pub group_order: Option<Amount>,
    /// Life
    pub lives: Lives,
}

/// An ISAKMP-configuration section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase1 {
    /// The section.
    pub name: String,
    /// 0 ISAKMP or 1 IPSEC.
    pub doi: u32,
    /// 2 ID_PROT or 4 AGGRESSIVE.
    pub exchange_type: u8,
    /// In the order of the `Transforms` tag.
    pub transforms: Vec<Phase1Transform>,
}

/// An ISAKMP-peer section (isakmpd-config 3).
pub struct Peer {
    /// The section.
    pub name: String,
    /// `Address`; needed to initiate.
    pub address: Option<Address>,
    /// `Port`, default the port that we listen on.
    pub port: u16,
    /// `Local-address`.
    pub local_address: Option<Address>,
    /// `Configuration`, the name of a section for [`Configuration::phase1`].
    pub configuration: String,
    /// `Authentication`, decoded.
    pub authentication: Option<Rc<SecretBytes>>,
    /// `ID`, or `[General] Default-phase-1-ID`; without it the local address is our ID.
    pub id: Option<Identity>,
    /// `Remote-ID`.
    pub remote_id: Option<Identity>,
    /// `Flags` has `ikecfg`.
    pub ikecfg: bool,
}

/// An IPsec-transform section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// The section.
    pub name: String,
    /// TRANSFORM_ID; its numbers depend on the protocol (isakmpd-wire 1.4).
    pub id: u8,
    /// ENCAPSULATION_MODE: 1 TUNNEL, 2 TRANSPORT.
    pub encapsulation: Option<Value>,
    /// AUTHENTICATION_ALGORITHM
    pub authentication: Option<Value>,
    /// GROUP_DESCRIPTION: perfect forward secrecy.
    pub group: Option<Value>,
    /// KEY_LENGTH, bits
    pub key_length: Option<Amount>,
    /// KEY_ROUNDS
    pub key_rounds: Option<Amount>,
    /// COMPRESS_DICTIONARY_SIZE
    pub compress_dictionary_size: Option<Amount>,
    /// COMPRESS_PRIVATE_ALGORITHM
    pub compress_private_algorithm: Option<Amount>,
    /// ECN_TUNNEL
    pub ecn_tunnel: Option<Value>,
    /// Life
    pub lives: Lives,
}

/// An IPsec-protocol section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The section.
    pub name: String,
    /// PROTOCOL_ID: 2 AH, 3 ESP, 4 IPCOMP.
    pub protocol: u8,
    /// ReplayWindow, packets.
    pub replay_window: u32,
    /// In the order of the `Transforms` tag.
    pub transforms: Vec<Transform>,
}

/// An IPsec-suite section: protocols that are applied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// The section.
    pub name: String,
    /// In the order of the `Protocols` tag.
    pub protocols: Vec<Protocol>,
}

/// An IPsec-configuration section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuickMode {
    /// The section.
    pub name: String,
    /// In the order of the `Suites` tag.
    pub suites: Vec<Suite>,
}

/// An IPsec-connection section (isakmpd-config 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The section.
    pub name: String,
    /// `ISAKMP-peer`.
    pub peer: String,
    /// `Configuration`, the name of a section for [`Configuration::quick_mode`].
    pub configuration: String,
    /// `Local-ID`.
    pub local_id: Option<Selector>,
    /// `Remote-ID`.
    pub remote_id: Option<Selector>,
    /// `NAT-ID`: the source network of the flow.
    pub nat_id: Option<Selector>,
    /// `Flags` has `Active-only`.
    pub active_only: bool,
    /// `Flags` has `__ondemand`.
    pub on_demand: bool,
    /// `Flags` has `Loose-IDs`, ours: without a policy one matching identity is enough and every peer may ask for
    /// it, as in the original.
    pub loose_ids: bool,
    /// `PF-Tag`, unused on Linux but for a warning.
    pub pf_tag: Option<String>,
}

/// `[General]` and the options that overrule it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct General {
    /// Times a message is sent again.
    pub retransmits: u32,
    /// Life of an unfinished exchange.
    pub exchange_max_time: Duration,
    /// How often the connections to keep up are looked at.
    pub check_interval: Duration,
    /// `None`: no probes.
    pub dpd_check_interval: Option<Duration>,
    /// Between NAT keepalives.
    pub nat_t_keepalive: Duration,
    /// Replay window 0, and errors of a second update ignored.
    pub shared_sadb: bool,
    /// DELETEs at shutdown.
    pub delete_sas: bool,
    /// `Renegotiate-on-HUP`.
    pub renegotiate_on_hup: bool,
}

/// An IKECFG-ID section (isakmpd-config 3, isakmpd-wire 2.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModeConfig {
    /// The section.
    pub name: String,
    /// `Mode` is there and is not SET: we ask.
    pub request: bool,
    /// Names of `Attributes`, as written.
    pub attributes: Vec<String>,
    /// `Address`
    pub address: Option<IpAddr>,
    /// `Netmask`
    pub netmask: Option<IpAddr>,
    /// `Nameserver`
    pub nameserver: Option<IpAddr>,
    /// `WINS-server`
    pub wins_server: Option<IpAddr>,
    /// `DHCP-server`
    pub dhcp_server: Option<IpAddr>,
    /// `Network`
    pub network: Option<IpAddr>,
    /// `Prefix`
    pub prefix: Option<u8>,
    /// `Lifetime`, seconds.
    pub lifetime: Option<u32>,
}

/// What a responder finds for the identities of a Quick Mode (isakmpd-wire 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMatch {
    /// Both identities are this connection's, in either order.
    Both(Rc<Connection>),
    /// One of them is this connection's Local-ID (second round of the original).
    LocalOnly(Rc<Connection>),
    /// Nothing.
    None,
}

/// The configuration as the engine sees it; `isakmpd-conf` implements it.
pub trait Configuration {
    /// `[General]`.
    fn general(&self) -> Rc<General>;
    /// The peer section for the source address of a first message, and whether the address itself was
    /// listed in `[Phase 1]` (isakmpd-wire 4).
    fn peer_for_address(&self, address: Address) -> Option<(String, bool)>;
    /// # Errors
    /// No such section, not `Phase= 1`, or a value that cannot be used.
    fn peer(&self, name: &str) -> Result<Rc<Peer>, ConfigError>;
    /// # Errors
    /// As [`peer`](Self::peer).
    fn phase1(&self, name: &str) -> Result<Rc<Phase1>, ConfigError>;
    /// The key of an Aggressive exchange: `Authentication` of a section named as the initiator's ID text.
    fn authentication_of(&self, id_text: &str) -> Option<Rc<SecretBytes>>;
    /// `[Phase 2] Connections`, to be kept up.
    fn connections(&self) -> Vec<String>;
    /// All that peers may ask for: `Passive-connections`, and `Connections` that are not Active-only.
    fn passive_connections(&self) -> Vec<String>;
    /// # Errors
    /// As [`peer`](Self::peer).
    fn connection(&self, name: &str) -> Result<Rc<Connection>, ConfigError>;
    /// # Errors
    /// As [`peer`](Self::peer).
    fn quick_mode(&self, name: &str) -> Result<Rc<QuickMode>, ConfigError>;
    /// The passive connection of two identities: `initiator` is IDci, `responder` is IDcr. Of several that have
    /// both, the one whose `ISAKMP-peer` is `peer`, the section of the phase 1 peer, is preferred.
    fn connection_for_ids(
        &self,
        initiator: &Identity,
        responder: &Identity,
        peer: Option<&str>,
    ) -> IdMatch;
    /// The section of a peer's phase 1 identity: `[ipv4/A.B.C.D]` and so on.
    fn mode_config(&self, peer_id: &Identity) -> Option<Rc<ModeConfig>>;
}
