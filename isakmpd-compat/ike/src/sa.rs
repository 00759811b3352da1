//! Security associations: ISAKMP SAs (phase 1) and suites of IPsec SAs (phase 2), as the engine keeps them.

use std::rc::Rc;
use std::time::Instant;

use isakmp_proto::header::Cookie;
use isakmp_proto::identity::{BadIdentity, Identity};
use isakmp_proto::payload::Id;
use zeroize::Zeroizing;

use crate::cipher::Cipher;
use crate::event::Path;
use crate::keys::{Skeyids, phase_2_iv};
use crate::policy::Phase1Facts;

/// Names an SA for as long as the engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaId(pub u64);

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// Flags as `S` and the report print them (isakmpd.md 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Negotiated.
    pub const READY: u32 = 1;
    /// To be negotiated anew when it runs out.
    pub const STAY_ALIVE: u32 = 2;
    /// Made for a packet; negotiated anew only if it was used.
    pub const ON_DEMAND: u32 = 4;
    /// A newer one took its place.
    pub const REPLACED: u32 = 8;
    /// Told to go.
    pub const FADING: u32 = 0x10;
    /// Not to be answered.
    pub const ACTIVE_ONLY: u32 = 0x20;
    /// Mode-config runs after phase 1.
    pub const IKECFG: u32 = 0x40;
    /// The peer speaks DPD.
    pub const DPD: u32 = 0x80;
    /// The peer speaks NAT-T.
    pub const NAT_T: u32 = 0x100;
    /// We are behind a NAT and keep its mapping.
    pub const NAT_T_KEEPALIVE: u32 = 0x200;

    /// All of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Sets `bits`.
    pub const fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }

    /// Clears `bits`.
    pub const fn clear(&mut self, bits: u32) {
        self.0 &= !bits;
    }
}

/// Which NAT traversal was agreed (isakmpd-wire 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatTraversal {
    /// None.
    #[default]
    Off,
    /// A draft: NAT-D is payload 130, encapsulation modes 61443 and 61444.
    Draft,
    /// RFC 3947: NAT-D is payload 20, encapsulation modes 3 and 4.
    Rfc3947,
}

/// What the NAT-D payloads showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NatState {
    /// Agreed form.
    pub traversal: NatTraversal,
    /// Our address is not what the peer sees.
    pub we_are_behind: bool,
    /// The peer's address is not what it thinks.
    pub peer_is_behind: bool,
}

impl NatState {
    /// ESP goes in UDP.
    #[must_use]
    pub fn encapsulates(self) -> bool {
        self.traversal != NatTraversal::Off && (self.we_are_behind || self.peer_is_behind)
    }
}

/// Seconds and kilobytes agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// Seconds.
    pub seconds: Option<u32>,
    /// Kilobytes.
    pub kilobytes: Option<u32>,
}

/// What protects messages once phase 1 keys exist.
pub struct Protection {
    /// SKEYID and what is made of it, with their PRF (isakmpd-wire 3).
    pub keys: Skeyids,
    /// Cipher with the key expanded from SKEYID_e.
    pub cipher: Rc<Cipher>,
    /// Last ciphertext block of phase 1, from which every later exchange derives its IV.
    pub last_block: Vec<u8>,
}

impl Protection {
    /// IV of the first message of the phase 2 exchange with this message ID.
    #[must_use]
    pub fn phase2_iv(&self, message_id: u32) -> Vec<u8> {
        let hash = self.keys.choice().hash;
        // A hash that phase 1 used is there; an empty IV encrypts and decrypts nothing.
        phase_2_iv(hash, &self.last_block, message_id, self.cipher.block_len()).unwrap_or_default()
    }
}

/// An ISAKMP SA.
pub struct IsakmpSa {
    /// Its name in the engine.
    pub id: SaId,
    /// Section of the peer.
    pub name: Option<Rc<str>>,
    /// Who began.
    pub role: Role,
    /// Initiator's cookie.
    pub initiator_cookie: Cookie,
    /// Responder's cookie.
    pub responder_cookie: Cookie,
    /// Where its messages go.
    pub path: Path,
    /// Our identity.
    pub local_id: Identity,
    /// The peer's, authenticated.
    pub remote_id: Identity,
    /// Protocol and port that the peer's ID payload says (0: any), for the policy alone.
    pub remote_id_service: (u8, u16),
    /// What was agreed on.
    pub facts: Phase1Facts,
    /// It was made in Aggressive Mode.
    pub aggressive: bool,
    /// Keys.
    pub protection: Protection,
    /// Licensees the peer authenticated as.
    pub principals: Zeroizing<Vec<String>>,
    /// NAT traversal.
    pub nat: NatState,
    /// The peer sent an OpenBSD vendor ID.
    pub openbsd: bool,
    /// As printed.
    pub flags: Flags,
    /// As agreed.
    pub lifetime: Lifetime,
    /// When it was ready.
    pub since: Instant,
    /// Renegotiation.
    pub soft: Option<Instant>,
    /// The end.
    pub hard: Option<Instant>,
}

/// One side of the traffic of a suite: an ID payload of Quick Mode, and what an ID section with `Protocol` and
/// `Port` says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Address, network, or (NAT-T transport mode) a name.
    pub identity: Identity,
    /// IP protocol, 0: any.
    pub protocol: u8,
    /// Port, 0: any.
    pub port: u16,
}

impl Selector {
    /// The ID payload of it.
    #[must_use]
    pub fn to_id(&self) -> Id {
        self.identity.to_id(self.protocol, self.port)
    }
}

impl From<Identity> for Selector {
    /// Any protocol and port.
    fn from(identity: Identity) -> Self {
        Self {
            identity,
            protocol: 0,
            port: 0,
        }
    }
}

impl TryFrom<&Id> for Selector {
    type Error = BadIdentity;

    fn try_from(id: &Id) -> Result<Self, BadIdentity> {
        Ok(Self {
            identity: Identity::try_from(id)?,
            protocol: id.protocol,
            port: id.port,
        })
    }
}

impl std::fmt::Display for Selector {
    /// As in logs: the identity alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.identity.fmt(f)
    }
}

/// One protocol of a suite, both directions. Keys are the kernel's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolSa {
    /// 2 AH, 3 ESP, 4 IPCOMP.
    pub protocol: u8,
    /// The peer's: what we send with.
    pub outgoing_spi: u32,
    /// Ours: what we receive with.
    pub incoming_spi: u32,
    /// TRANSFORM_ID
    pub transform: u8,
    /// AUTHENTICATION_ALGORITHM, 0: none.
    pub authentication: u16,
    /// ENCAPSULATION_MODE as agreed (1-4, 61443, 61444).
    pub encapsulation: u16,
    /// Octets.
    pub encryption_key_len: usize,
    /// Octets.
    pub authentication_key_len: usize,
    /// Packets.
    pub replay_window: u32,
}

/// A suite of IPsec SAs.
pub struct IpsecSa {
    /// Its name in the engine.
    pub id: SaId,
    /// Section of the connection.
    pub name: Option<Rc<str>>,
    /// Who began.
    pub role: Role,
    /// The phase 1 cookies and message ID of its Quick Mode, as the FIFO's `d` names it.
    pub initiator_cookie: Cookie,
    /// Responder's cookie.
    pub responder_cookie: Cookie,
    /// Message ID of its Quick Mode.
    pub message_id: u32,
    /// Ends.
    pub path: Path,
    /// The peer is behind a NAT, which may give it another place.
    pub peer_is_behind: bool,
    /// Phase 1 identities: ours.
    pub phase1_local_id: Identity,
    /// The peer's.
    pub phase1_remote_id: Identity,
    /// Whether the identities below were sent (else they are the ends' addresses).
    pub ids_sent: bool,
    /// Our side of the traffic.
    pub local_filter: Selector,
    /// The peer's side.
    pub remote_filter: Selector,
    /// Innermost first.
    pub protocols: Vec<ProtocolSa>,
    /// Group of its KE payloads, 0 without.
    pub group: u16,
    /// As printed.
    pub flags: Flags,
    /// As agreed.
    pub lifetime: Lifetime,
    /// When it was ready.
    pub since: Instant,
    /// Renegotiation, where the engine's own clock does it.
    pub soft: Option<Instant>,
    /// The end.
    pub hard: Option<Instant>,
}
