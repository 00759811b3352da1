//! Phase 1 as far as Main Mode and Aggressive Mode share it.

pub(crate) mod authentication;
pub(crate) mod identity;
pub(crate) mod nat_d;
pub(crate) mod proposal;
pub(crate) mod steps;
pub(crate) mod vendor;

use std::rc::Rc;
use std::sync::Arc;

use isakmp_proto::message::Builder;
use isakmp_proto::payload::Id;
use isakmp_proto::sa::Transform;
use kx_crypto::key_exchange_group::{Group, KeyPair};
use zeroize::Zeroizing;

use crate::config::{Peer, Phase1};
use crate::credentials::Certificate;
use crate::exchange::Received;
use crate::sa::{NatState, Protection};

use proposal::Agreement;
use vendor::Vendors;

/// Which message is waited for, by its number in the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expects {
    /// The initiator's offer.
    First,
    /// The responder's choice.
    Second,
    /// Main Mode: the initiator's public value. Aggressive Mode: its HASH.
    Third,
    /// The responder's public value.
    Fourth,
    /// The initiator's identity.
    Fifth,
    /// The responder's identity.
    Sixth,
    /// Nothing more.
    Nothing,
}

/// What a job in a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Our key pair, then our KE goes out.
    Pair,
    /// g^xy, the responder's pair with it.
    Secret,
    /// The peer's signature is checked.
    Verify,
    /// Our signature is made.
    Sign,
    /// One after the other.
    VerifyAndSign,
}

/// One negotiation of an ISAKMP SA.
pub(crate) struct Negotiation {
    pub(crate) peer: Rc<Peer>,
    pub(crate) policy: Rc<Phase1>,
    pub(crate) expects: Expects,
    /// What we offered (initiator).
    pub(crate) offer: Vec<Transform>,
    /// SAi_b
    pub(crate) sa_body: Box<[u8]>,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) vendors: Vendors,
    pub(crate) nat: NatState,
    /// Ours (initiator), kept in case another public value of the peer's takes the place of a forged one.
    pub(crate) pair: Option<Arc<KeyPair>>,
    pub(crate) our_public: Vec<u8>,
    pub(crate) their_public: Vec<u8>,
    pub(crate) our_nonce: Vec<u8>,
    pub(crate) their_nonce: Vec<u8>,
    pub(crate) our_id: Option<Id>,
    pub(crate) their_id: Option<Id>,
    /// Authorities the peer wants certificates of, as they are reflected: encoding and name.
    pub(crate) requests: Vec<Certificate>,
    /// Certificates the peer sent.
    pub(crate) certificates: Vec<Certificate>,
    /// What goes with our signature.
    pub(crate) own_certificate: Option<Certificate>,
    /// From g^xy on; becomes the SA's.
    pub(crate) keys: Option<Protection>,
    /// Licensees the peer authenticated as.
    pub(crate) principals: Zeroizing<Vec<String>>,
    /// The HASH of the peer's message was right.
    pub(crate) authenticated: bool,
    /// The peer said INITIAL_CONTACT.
    pub(crate) initial_contact: bool,
    /// What the thread works at, and the message it is about.
    pub(crate) work: Option<Work>,
    pub(crate) pending: Option<Box<Received>>,
    /// Aggressive Mode's second message, while a thread signs.
    pub(crate) reply: Option<Builder>,
    /// How often a message took the place of an earlier one of the same step.
    pub(crate) replacements: u8,
}

impl Negotiation {
    pub(crate) fn new(peer: Rc<Peer>, policy: Rc<Phase1>) -> Self {
        Self {
            peer,
            policy,
            expects: Expects::First,
            offer: Vec::new(),
            sa_body: Box::default(),
            agreement: None,
            vendors: Vendors::default(),
            nat: NatState::default(),
            pair: None,
            our_public: Vec::new(),
            their_public: Vec::new(),
            our_nonce: Vec::new(),
            their_nonce: Vec::new(),
            our_id: None,
            their_id: None,
            requests: Vec::new(),
            certificates: Vec::new(),
            own_certificate: None,
            keys: None,
            principals: Zeroizing::default(),
            authenticated: false,
            initial_contact: false,
            work: None,
            pending: None,
            reply: None,
            replacements: 0,
        }
    }

    /// Nothing more is to be negotiated: only the SA and the last message stay.
    pub(crate) fn clear(&mut self) {
        self.offer = Vec::new();
        self.sa_body = Box::default();
        self.pair = None;
        self.our_public = Vec::new();
        self.their_public = Vec::new();
        self.requests = Vec::new();
        self.certificates = Vec::new();
        self.own_certificate = None;
        self.our_id = None;
        self.their_id = None;
    }

    /// The group agreed on.
    pub(crate) fn group(&self) -> Option<Group> {
        self.agreement.as_ref().map(|agreement| agreement.group)
    }
}
