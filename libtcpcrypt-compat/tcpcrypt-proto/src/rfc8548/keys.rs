//! The key schedule (RFC 8548 sections 3.3 and 3.4) and the chain of session secrets (3.5).
//!
//! A session secret must never be behind two connections. So neither a [`Session`] nor a [`Pending`] is `Clone`, and
//! taking the keys out consumes them; what comes back beside the keys is the next secret of the chain.

use kx_crypto::aead::{self, Algorithm, NonceLen, Open, Seal};
use kx_crypto::hkdf::{KEY_LEN, Key, expand, expand_key, extract};
use kx_crypto::secret::SecretBytes;

use crate::eno::{EnoOption, ResumeId, Tep};
use crate::legacy::keys::SessionId;
use crate::rfc8547::{self, Host};
use crate::rfc8548::frame::{Opener, Sealer};
use crate::rfc8548::init::NONCE_LEN;
use crate::rfc8548::negotiation::{HALF_LEN, ResumptionNonce};

const CONST_NEXTK: u8 = 0x01;
const CONST_SESSID: u8 = 0x02;
const CONST_REKEY: u8 = 0x03;
const CONST_KEY_A: u8 = 0x04;
const CONST_KEY_B: u8 = 0x05;
const CONST_RESUME: u8 = 0x06;

/// Octets of a nonce, and so of what a nonce is masked with. All algorithms have the same.
pub const AEAD_NONCE_LEN: usize = 12;

/// Octets of the identifier of a resumed session: one half by each host.
const RESUME_LEN: usize = 2 * HALF_LEN;

/// What both ends saw and agreed on in an exchange.
pub struct Exchange<'a> {
    /// The ENO option of host A's SYN, the last one that was sent.
    pub a: &'a EnoOption,
    /// The ENO option of host B's SYN.
    pub b: &'a EnoOption,
    /// Host A's message, all octets of it.
    pub init1: &'a [u8],
    /// Host B's message, all octets of it.
    pub init2: &'a [u8],
    /// The nonce in `init1`.
    pub nonce_a: &'a [u8; NONCE_LEN],
    /// What the two keys agree on.
    pub shared_secret: &'a SecretBytes,
}

impl Exchange<'_> {
    /// The pseudorandom key, which is the first session secret.
    #[must_use]
    pub fn prk(&self) -> Key {
        let parts = [
            &rfc8547::transcript(self.a, self.b),
            self.init1,
            self.init2,
            self.shared_secret.as_slice(),
        ];
        extract(self.nonce_a, &parts)
    }

    /// The first session. `tep_octet` is the octet of the key exchange as host B sent it.
    #[must_use]
    pub fn session(&self, suite: Suite, tep_octet: u8) -> Pending {
        Pending {
            secret: self.prk(),
            nonces: None,
            tep_octet,
            suite,
        }
    }
}

/// What stays the same through a chain of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// Which host we were in the exchange that the chain began with. It decides about keys and halves of
    /// identifiers also where a later connection has the roles the other way round (RFC 8548 section 3.5).
    pub host: Host,
    /// The key exchange the chain began with.
    pub tep: Tep,
    /// The cipher of the frames.
    pub algorithm: Algorithm,
}

/// The secret of a session that no connection has had, to be stored and resumed: ss\[i] with i of at least 1. It is
/// good for one connection.
pub struct Session {
    secret: Key,
    /// What host A names it by, then what host B does.
    identifier: [u8; RESUME_LEN],
    suite: Suite,
}

impl Session {
    fn new(secret: Key, suite: Suite) -> Self {
        let mut identifier = [0; RESUME_LEN];
        // 18 octets are one block.
        let block = expand_key(&secret, &[&[CONST_RESUME]]);
        for (to, from) in identifier.iter_mut().zip(block.as_bytes()) {
            *to = *from;
        }
        Self {
            secret,
            identifier,
            suite,
        }
    }

    fn half(&self, host: Host) -> [u8; HALF_LEN] {
        let mut half = [0; HALF_LEN];
        let from = match host {
            Host::A => 0,
            Host::B => HALF_LEN,
        };
        for (to, from) in half.iter_mut().zip(self.identifier.iter().skip(from)) {
            *to = *from;
        }
        half
    }

    /// The half of the identifier that we send.
    #[must_use]
    pub fn our_half(&self) -> [u8; HALF_LEN] {
        self.half(self.suite.host)
    }

    /// The half of the identifier that the peer sends.
    #[must_use]
    pub fn peer_half(&self) -> [u8; HALF_LEN] {
        self.half(self.suite.host.peer())
    }

    /// What the peer asks for this session by, as a name for a cache: the octet of the key exchange and the peer's
    /// half.
    #[must_use]
    pub fn asked_by(&self) -> ResumeId {
        ResumeId::new(self.suite.tep, &self.peer_half())
    }

    /// Host, key exchange and cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The next of the chain, when this one was named and nothing came of it.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::new(next_secret(&self.secret), self.suite)
    }

    /// The session for a connection in which both named it. `tep_octet` is the octet of the key exchange as this
    /// connection's host B sent it.
    #[must_use]
    pub fn resume(self, tep_octet: u8, ours: ResumptionNonce, theirs: ResumptionNonce) -> Pending {
        let nonces = match self.suite.host {
            Host::A => [ours, theirs],
            Host::B => [theirs, ours],
        };
        Pending {
            secret: self.secret,
            nonces: Some(nonces),
            tep_octet,
            suite: self.suite,
        }
    }
}

/// The secret of the session that comes after the one with this secret.
fn next_secret(secret: &Key) -> Key {
    expand_key(secret, &[&[CONST_NEXTK]])
}

/// A session at the moment before encryption is turned on.
pub struct Pending {
    secret: Key,
    /// Of a resumed session, that of the host which was A in the exchange first.
    nonces: Option<[ResumptionNonce; 2]>,
    tep_octet: u8,
    suite: Suite,
}

impl Pending {
    /// CPRF(ss\[i], constant | sn\[i], 32).
    fn derive(&self, constant: u8) -> Key {
        let [a, b] = self.nonces.unwrap_or_default();
        expand_key(&self.secret, &[&[constant], a.as_bytes(), b.as_bytes()])
    }

    /// The session id that the connection will have.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::of(self.tep_octet, &self.derive(CONST_SESSID))
    }

    /// The first master key.
    #[must_use]
    pub fn master_key(&self) -> Key {
        self.derive(CONST_REKEY)
    }

    /// Whether it is a resumed one.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.nonces.is_some()
    }

    /// Host, key exchange and cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The moment encryption is turned on: the keys of this connection, and the next session for the cache.
    #[must_use]
    pub fn enable(self) -> Enabled {
        let suite = self.suite;
        Enabled {
            id: self.id(),
            keys: Keys {
                master: self.master_key(),
                suite,
            },
            next: Session::new(next_secret(&self.secret), suite),
        }
    }
}

/// What comes out of a session.
pub struct Enabled {
    /// The connection's session id.
    pub id: SessionId,
    /// The connection's keys.
    pub keys: Keys,
    /// What a later connection between the two may use.
    pub next: Session,
}

/// The keys of one connection.
pub struct Keys {
    master: Key,
    suite: Suite,
}

impl Keys {
    /// The keys under a first master key.
    #[must_use]
    pub fn new(master: Key, suite: Suite) -> Self {
        Self { master, suite }
    }

    /// Host, key exchange and cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The two halves of the connection: for what we send and what we receive.
    ///
    /// # Errors
    /// [`aead::Error::Library`].
    pub fn split(self) -> Result<(Sealer, Opener), aead::Error> {
        let (ours, theirs) = match self.suite.host {
            Host::A => (CONST_KEY_A, CONST_KEY_B),
            Host::B => (CONST_KEY_B, CONST_KEY_A),
        };
        let algorithm = self.suite.algorithm;
        let copy = Key::from(self.master.as_bytes());
        Ok((
            Sealer::new(Chain::new(self.master, ours, algorithm))?,
            Opener::new(Chain::new(copy, theirs, algorithm))?,
        ))
    }
}

/// The generations of the key of one direction.
pub struct Chain {
    /// mk\[j].
    master: Key,
    constant: u8,
    algorithm: Algorithm,
    /// j.
    generation: u64,
}

impl Chain {
    fn new(master: Key, constant: u8, algorithm: Algorithm) -> Self {
        Self {
            master,
            constant,
            algorithm,
            generation: 0,
        }
    }

    /// Counts from 0.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation after this one.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            master: expand_key(&self.master, &[&[CONST_REKEY]]),
            constant: self.constant,
            algorithm: self.algorithm,
            // One generation takes a frame, and no connection has 2^64 octets.
            generation: self.generation.saturating_add(1),
        }
    }

    /// Key and mask of the nonces, one behind the other.
    #[must_use]
    pub fn traffic_key(&self) -> SecretBytes {
        let mut octets = SecretBytes::zeroed(self.algorithm.key_len() + AEAD_NONCE_LEN);
        // 44 octets are well below what the function can give.
        let _two_blocks = expand(&self.master, &[&[self.constant]], octets.as_mut_slice());
        octets
    }

    fn parts(&self) -> (SecretBytes, Mask) {
        let mut key = self.traffic_key();
        let key_len = self.algorithm.key_len();
        let mask = Mask::new(key.as_slice().iter().skip(key_len));
        key.truncate(key_len);
        (key, mask)
    }

    /// The sending end of this generation, and what its nonces are masked with.
    pub(super) fn seal(&self) -> Result<(Seal, Mask), aead::Error> {
        let (key, mask) = self.parts();
        let seal = Seal::new(self.algorithm, key.as_slice(), NonceLen::Twelve)?;
        Ok((seal, mask))
    }

    /// The receiving end of this generation, and what its nonces are masked with.
    pub(super) fn open(&self) -> Result<(Open, Mask), aead::Error> {
        let (key, mask) = self.parts();
        let open = Open::new(self.algorithm, key.as_slice(), NonceLen::Twelve)?;
        Ok((open, mask))
    }
}

/// What the nonces of one key are masked with, "NR" in the RFC. As secret as the key, and wiped like it.
pub(super) struct Mask(Key);

impl Mask {
    /// Takes the first octets.
    pub(super) fn new<'a>(octets: impl Iterator<Item = &'a u8>) -> Self {
        let mut block = [0; KEY_LEN];
        let room = block.iter_mut().take(AEAD_NONCE_LEN);
        for (to, from) in room.zip(octets) {
            *to = *from;
        }
        Self(Key::from(&block))
    }

    /// The nonce of the frame at `offset`: the last 12 octets of the number, masked.
    pub(super) fn nonce(&self, offset: u64) -> [u8; AEAD_NONCE_LEN] {
        let mut nonce = [0; AEAD_NONCE_LEN];
        let place = u128::from(offset).to_be_bytes();
        let place = place.iter().skip(place.len() - AEAD_NONCE_LEN);
        for ((to, mask), place) in nonce.iter_mut().zip(self.0.as_bytes()).zip(place) {
            *to = mask ^ place;
        }
        nonce
    }
}
