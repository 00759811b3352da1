//! What a device forgets at SELECT of the applet, reset and power off.

use std::collections::BTreeSet;

use crate::apdu::StatusWord;
use crate::cvc::Reference;
use crate::key::EcPublic;

/// How far below the root a certificate stands. Who is two below signs no certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Root,
    Issuer,
    Device,
}

/// A key whose certificate was checked.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) chr: Reference,
    pub(super) key: EcPublic,
    pub(super) level: Level,
}

/// What was verified and chosen.
#[derive(Default)]
pub(super) struct Session {
    /// Whether the applet is selected.
    pub(super) selected: bool,
    /// Whether the user PIN was verified.
    pub(super) user_pin: bool,
    /// Whether the SO-PIN was verified.
    pub(super) so_pin: bool,
    /// The selected file.
    pub(super) file: Option<u16>,
    /// The last random octets, good for one authentication.
    pub(super) challenge: Option<Vec<u8>>,
    /// Holder of the key chosen to check the next certificate.
    pub(super) verifier: Option<Reference>,
    /// Slot of the registered key chosen to authenticate with.
    pub(super) authenticator: Option<usize>,
    /// Slots whose keys have authenticated.
    pub(super) authenticated: BTreeSet<usize>,
    /// Certificates checked in this session.
    pub(super) learnt: Vec<Known>,
    /// What did not fit in the last response.
    pub(super) rest: Vec<u8>,
    /// The word after the data, if it is not 9000.
    pub(super) word: Option<StatusWord>,
}
