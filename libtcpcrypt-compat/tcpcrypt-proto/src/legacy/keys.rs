//! The key schedule (tcpcrypt spec 4.3) and the chain of resumed sessions (4.4).
//!
//! Two connections under one generation of keys would use the same nonces, which gives everything away.
//! So a [`Session`] is not `Clone`, and taking its keys out consumes it; what comes back beside them is
//! the next generation.

use kx_crypto::aead::Algorithm;
use kx_crypto::hkdf::{Key, expand_key, extract};
use kx_crypto::secret::SecretBytes;

use crate::eno::{EnoOption, ResumeId, Tep};
use crate::legacy::init::NONCE_LEN;
use crate::legacy::record::{Opener, RecordError, Sealer};

const CONST_NEXTK: u8 = 0x01;
const CONST_SESSID: u8 = 0x02;
const CONST_REKEY: u8 = 0x03;
const CONST_KEY_C: u8 = 0x04;
const CONST_KEY_S: u8 = 0x05;

/// Which end of a connection we are. It is the same in all sessions that come of one exchange: a session
/// is never resumed the other way round (spec 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The opener.
    Client,
    /// The one that was connected to.
    Server,
}

/// A session id: an octet that names the key exchange, with the topmost bit when resumed, and 32 octets.
/// Equal at both ends and different for every connection; not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; SessionId::LEN]);

impl SessionId {
    /// Octets of it.
    pub const LEN: usize = 33;

    /// The octets, as netstat and the library show them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SessionId::LEN] {
        &self.0
    }

    /// The session id under this pseudorandom key. `tep_octet` has the topmost bit in a resumed session.
    #[must_use]
    pub fn derive(tep_octet: u8, prk: &Key) -> Self {
        Self::of(tep_octet, &expand_key(prk, &[&[CONST_SESSID]]))
    }

    /// The octet and behind it the 32 others, in either dialect.
    pub(crate) fn of(tep_octet: u8, hash: &Key) -> Self {
        let mut id = [0; SessionId::LEN];
        let octets = std::iter::once(&tep_octet).chain(hash.as_bytes());
        for (to, from) in id.iter_mut().zip(octets) {
            *to = *from;
        }
        Self(id)
    }

    /// The front of it, which names the session in a SYN.
    fn resume_id(&self) -> ResumeId {
        let mut id = [0; ResumeId::LEN];
        for (to, from) in id.iter_mut().zip(&self.0) {
            *to = *from;
        }
        ResumeId(id)
    }
}

/// What both ends saw and agreed on in an exchange.
pub struct Exchange<'a> {
    /// The ENO option of the SYN, the last one that was sent.
    pub syn: &'a EnoOption,
    /// The ENO option of the SYN-ACK.
    pub syn_ack: &'a EnoOption,
    /// The client's message, all octets of it.
    pub init1: &'a [u8],
    /// The server's message, all octets of it.
    pub init2: &'a [u8],
    /// The nonce in `init1`.
    pub client_nonce: &'a [u8; NONCE_LEN],
    /// What the two keys agree on: the x coordinate.
    pub shared_secret: &'a SecretBytes,
}

impl Exchange<'_> {
    /// The transcript: each option of the SYNs, and behind each an empty one.
    #[must_use]
    pub fn transcript(&self) -> Vec<u8> {
        let bare = EnoOption::bare();
        [self.syn, &bare, self.syn_ack, &bare]
            .map(EnoOption::as_bytes)
            .concat()
    }

    /// The pseudorandom key of the first session.
    #[must_use]
    pub fn prk(&self) -> Key {
        let parts = [
            &self.transcript(),
            self.init1,
            self.init2,
            self.shared_secret.as_slice(),
        ];
        extract(self.client_nonce, &parts)
    }

    /// The first session. `role` is ours.
    #[must_use]
    pub fn session(&self, role: Role, tep: Tep, algorithm: Algorithm) -> Session {
        Session::derive(
            tep.octet(),
            &self.prk(),
            Suite {
                role,
                tep,
                algorithm,
            },
        )
    }
}

/// The master key of the session under this pseudorandom key.
#[must_use]
pub fn master_key(prk: &Key) -> Key {
    expand_key(prk, &[&[CONST_REKEY]])
}

/// The pseudorandom key of the session that comes after the one under this pseudorandom key.
#[must_use]
pub fn next_key(prk: &Key) -> Key {
    expand_key(prk, &[&[CONST_NEXTK]])
}

/// What stays the same through a chain of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// Our end.
    pub role: Role,
    /// The key exchange the chain began with.
    pub tep: Tep,
    /// The cipher of the records.
    pub algorithm: Algorithm,
}

/// One generation of keys that no connection has used. It is good for one connection.
pub struct Session {
    id: SessionId,
    master: Key,
    next: Key,
    suite: Suite,
}

impl Session {
    fn derive(tep_octet: u8, prk: &Key, suite: Suite) -> Self {
        Self {
            id: SessionId::derive(tep_octet, prk),
            master: master_key(prk),
            next: next_key(prk),
            suite,
        }
    }

    /// The id that the connection will have.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The name in the SYN that asks for this session. Only a session that came out of
    /// [`enable`](Self::enable) can be resumed.
    #[must_use]
    pub fn resume_id(&self) -> ResumeId {
        self.id.resume_id()
    }

    /// Role, key exchange and cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The moment encryption is turned on: the keys of this connection, and the generation after it for the
    /// cache.
    #[must_use]
    pub fn enable(self) -> Enabled {
        let suite = self.suite;
        Enabled {
            id: self.id,
            keys: TrafficKeys::derive(&self.master, suite),
            next: Session::derive(suite.tep.resumed_octet(), &self.next, suite),
        }
    }
}

/// What comes out of a session.
pub struct Enabled {
    /// The connection's session id.
    pub id: SessionId,
    /// The connection's keys.
    pub keys: TrafficKeys,
    /// What a later connection between the two may use.
    pub next: Session,
}

/// The keys of one connection.
pub struct TrafficKeys {
    client: Key,
    server: Key,
    suite: Suite,
}

impl TrafficKeys {
    /// The keys under a master key.
    #[must_use]
    pub fn derive(master: &Key, suite: Suite) -> Self {
        Self {
            client: expand_key(master, &[&[CONST_KEY_C]]),
            server: expand_key(master, &[&[CONST_KEY_S]]),
            suite,
        }
    }

    /// The client's key and the server's, for comparison with recordings. All 32 octets, of which the cipher
    /// takes as many as it needs.
    #[must_use]
    pub fn as_keys(&self) -> (&Key, &Key) {
        (&self.client, &self.server)
    }

    /// Role, key exchange and cipher.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The two halves of the connection: for what we send and what we receive. `out_start` and `in_start` are
    /// the sequence numbers on the wire of offset 0 of either direction.
    ///
    /// # Errors
    /// [`RecordError::Library`].
    pub fn split(self, out_start: u32, in_start: u32) -> Result<(Sealer, Opener), RecordError> {
        let (ours, theirs) = match self.suite.role {
            Role::Client => (&self.client, &self.server),
            Role::Server => (&self.server, &self.client),
        };
        let algorithm = self.suite.algorithm;
        Ok((
            Sealer::new(algorithm, ours, out_start)?,
            Opener::new(algorithm, theirs, in_start)?,
        ))
    }
}
