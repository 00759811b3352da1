//! The key exchange of both roles and dialects (tcpcrypt spec 4.2, 4.3 and 7.2). Errors carry the original's words.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::{self, PrivateKey};
use kx_crypto::secret::SecretBytes;

use crate::eno::{EnoOption, Tep};
use crate::event::{Events, KeyLog, Line};
use crate::legacy::init::{self, Init1, Init2, InitError, Message, NONCE_LEN, cipher_id};
use crate::legacy::keys::{Exchange, Role, Session};
use crate::records::Dialect;
use crate::rfc8547::Host;
use crate::rfc8548::exchange::{self as standard, ExchangeError};
use crate::rfc8548::init as standard_init;
use crate::rfc8548::negotiation::Settled;

use super::{Context, Keyed};

/// Without random numbers or memory nothing can be agreed on.
const LIBRARY: Line = Line::HandshakeFailed("cryptographic library failed");

fn init1_error(error: InitError) -> Line {
    Line::HandshakeFailed(match error {
        InitError::Magic => "can't find init1",
        InitError::Length => "bad init1 len",
        InitError::NoCipher | InitError::UnofferedCipher => "init1: can't negotiate",
        InitError::PublicKey => "init1: bad pubkey",
    })
}

fn init2_error(error: InitError) -> Line {
    Line::HandshakeFailed(match error {
        InitError::Magic => "init2: can't find opt",
        InitError::Length => "init2: bad len",
        InitError::NoCipher | InitError::UnofferedCipher => "init2: select_sym()",
        InitError::PublicKey => "init2: bad pubkey",
    })
}

fn agree(key: &PrivateKey, peer: &[u8], error: fn(InitError) -> Line) -> Result<SecretBytes, Line> {
    key.agree(peer).map_err(|cause| bad_key(cause, error))
}

fn bad_key(cause: ecdh::Error, error: fn(InitError) -> Line) -> Line {
    match cause {
        ecdh::Error::PublicKey | ecdh::Error::PrivateKey => error(InitError::PublicKey),
        ecdh::Error::Library => LIBRARY,
    }
}

fn init1_failed(error: ExchangeError) -> Line {
    match error {
        ExchangeError::Init(error) => init1_error(error),
        ExchangeError::Library => LIBRARY,
    }
}

fn init2_failed(error: ExchangeError) -> Line {
    match error {
        ExchangeError::Init(error) => init2_error(error),
        ExchangeError::Library => LIBRARY,
    }
}

/// The same for the standard, whose public keys go over the wire in another form.
fn log_standard_keys(
    wanted: bool,
    events: &mut Events,
    key: &PrivateKey,
    peer: &[u8],
    shared: &SecretBytes,
) {
    if !wanted {
        return;
    }
    if let Ok(private) = key.scalar() {
        events.keys(KeyLog {
            private,
            public: key.compressed_public(),
            peer: peer.to_vec(),
            shared: SecretBytes::from(shared.as_slice().to_vec()),
        });
    }
}

fn log_keys(cx: &mut Context<'_>, key: &PrivateKey, peer: &[u8], shared: &SecretBytes) {
    if !cx.config.key_log {
        return;
    }
    if let Ok(private) = key.scalar() {
        cx.events.keys(KeyLog {
            private,
            public: key.public().to_vec(),
            peer: peer.to_vec(),
            shared: SecretBytes::from(shared.as_slice().to_vec()),
        });
    }
}

/// The longest message that is taken, and one octet that shows that there are more.
pub(super) fn limit(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Legacy => init::MAX_LEN + 1,
        Dialect::Standard => standard_init::MAX_LEN + 1,
    }
}

/// How many octets of `stream` the message has, once that many are there.
pub(crate) fn whole(
    dialect: Dialect,
    message: Message,
    stream: &[u8],
) -> Result<Option<usize>, Line> {
    let len = match dialect {
        Dialect::Legacy => message.len(stream),
        Dialect::Standard => standard_init::len(message, stream),
    };
    let len = len.map_err(|error| match message {
        Message::Init1 => init1_error(error),
        Message::Init2 => init2_error(error),
    })?;
    Ok(len.filter(|len| stream.len() >= *len))
}

/// Whether `stream` may be the beginning of the message.
pub(crate) fn may_begin(dialect: Dialect, message: Message, stream: &[u8]) -> bool {
    match dialect {
        Dialect::Legacy => message.len(stream).is_ok(),
        // One that is too long is a message all the same.
        Dialect::Standard => standard_init::len(message, stream) != Err(InitError::Magic),
    }
}

/// What was agreed on in the standard, and by which options.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(super) settled: Settled,
    pub(super) ours: EnoOption,
    pub(super) theirs: EnoOption,
}

impl Terms {
    fn agreed(&self) -> standard::Agreed<'_> {
        let (a, b) = match self.settled.host {
            Host::A => (&self.ours, &self.theirs),
            Host::B => (&self.theirs, &self.ours),
        };
        standard::Agreed {
            a,
            b,
            tep: self.settled.tep,
            tep_octet: self.settled.tep_octet,
        }
    }
}

/// What the host that begins keeps between INIT1 and INIT2.
pub(crate) enum Question {
    Legacy(Box<LegacyQuestion>),
    Standard(Box<standard::Question>, Terms),
}

impl Question {
    /// In the standard.
    pub(super) fn standard(cx: &mut Context<'_>, terms: Terms) -> Result<Self, Line> {
        let ciphers = &cx.config.standard_ciphers;
        let question = standard::Question::new(cx.entropy, terms.settled.tep, ciphers);
        let question = question.map_err(init2_failed)?;
        Ok(Question::Standard(Box::new(question), terms))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Question::Legacy(_) => Dialect::Legacy,
            Question::Standard(..) => Dialect::Standard,
        }
    }

    /// INIT1, the same in each repetition.
    pub(crate) fn init1(&self) -> &[u8] {
        match self {
            Question::Legacy(question) => &question.init1,
            Question::Standard(question, _) => question.init1(),
        }
    }

    /// How many octets INIT2 has if nothing stands behind its key.
    pub(super) fn init2_lens(&self) -> Vec<u32> {
        match self {
            Question::Legacy(_) => LEGACY_LENS.to_vec(),
            Question::Standard(_, terms) => vec![init_len(terms.settled.tep, 2)],
        }
    }

    /// Reads INIT2, from its first octet to its last.
    pub(crate) fn answered(&self, cx: &mut Context<'_>, init2: &[u8]) -> Result<Keyed, Line> {
        match self {
            Question::Legacy(question) => question.answered(cx, init2).map(Keyed::legacy),
            Question::Standard(question, terms) => {
                let (wanted, events) = (cx.config.key_log, &mut *cx.events);
                let mut log = |key: &PrivateKey, peer: &[u8], shared: &SecretBytes| {
                    log_standard_keys(wanted, events, key, peer, shared);
                };
                let pending = question.answered(terms.agreed(), init2, &mut log);
                let pending = Box::new(pending.map_err(init2_failed)?);
                Ok(Keyed::Standard(pending, terms.settled.host))
            }
        }
    }
}

/// Lengths of INIT messages of the original.
pub(super) const LEGACY_LENS: [u32; 4] = [108, 110, 176, 178];

/// Octets of an INIT message of the standard with so many octets for ciphers.
fn init_len(tep: Tep, ciphers: usize) -> u32 {
    let curve = tep.curve();
    let field = match tep {
        Tep::P256 | Tep::P521 => 2,
        Tep::X25519 | Tep::X448 => 0,
    };
    let len = standard_init::HEADER_LEN + ciphers + NONCE_LEN + field + curve.compressed_len();
    u32::try_from(len).unwrap_or(0)
}

/// How many octets INIT1 of the standard has, if it has one, two or three ciphers.
pub(super) fn init1_lens(tep: Tep) -> Vec<u32> {
    (1..=3)
        .map(|ciphers| init_len(tep, 1 + 2 * ciphers))
        .collect()
}

/// What the other host keeps from INIT1 to the moment it has the keys.
///
/// INIT2 can be sent before the secret is known: what it says does not depend on it, and the peer needs as long for
/// the same multiplication.
pub(crate) enum Reply {
    Legacy(Box<LegacyReply>),
    Standard(Box<standard::Reply>, Terms),
}

impl Reply {
    /// In the standard.
    pub(super) fn standard(cx: &mut Context<'_>, terms: Terms, init1: &[u8]) -> Result<Self, Line> {
        let ciphers = &cx.config.standard_ciphers;
        let reply = standard::Reply::new(cx.entropy, terms.settled.tep, ciphers, init1);
        let reply = reply.map_err(init1_failed)?;
        Ok(Reply::Standard(Box::new(reply), terms))
    }

    pub(crate) fn init2(&self) -> &[u8] {
        match self {
            Reply::Legacy(reply) => &reply.init2,
            Reply::Standard(reply, _) => reply.init2(),
        }
    }

    /// The multiplication, and all keys.
    pub(crate) fn session(&self, cx: &mut Context<'_>) -> Result<Keyed, Line> {
        match self {
            Reply::Legacy(reply) => reply.session(cx).map(Keyed::legacy),
            Reply::Standard(reply, terms) => {
                let (wanted, events) = (cx.config.key_log, &mut *cx.events);
                let mut log = |key: &PrivateKey, peer: &[u8], shared: &SecretBytes| {
                    log_standard_keys(wanted, events, key, peer, shared);
                };
                let pending = reply.session(terms.agreed(), &mut log);
                let pending = Box::new(pending.map_err(init1_failed)?);
                Ok(Keyed::Standard(pending, terms.settled.host))
            }
        }
    }
}

/// What a client keeps between INIT1 and INIT2.
pub(crate) struct LegacyQuestion {
    tep: Tep,
    key: PrivateKey,
    nonce: [u8; NONCE_LEN],
    /// INIT1, the same in each repetition.
    pub(crate) init1: Vec<u8>,
    syn: EnoOption,
    syn_ack: EnoOption,
}

impl LegacyQuestion {
    pub(crate) fn new(
        cx: &mut Context<'_>,
        tep: Tep,
        syn: EnoOption,
        syn_ack: EnoOption,
    ) -> Result<Self, Line> {
        let key = cx.entropy.private_key(tep.curve()).map_err(|_| LIBRARY)?;
        let mut nonce = [0; NONCE_LEN];
        cx.entropy.fill(&mut nonce).map_err(|_| LIBRARY)?;
        let ciphers = cx.config.ciphers.map(cipher_id);
        let mut init1 = Vec::new();
        Init1 {
            ciphers: &ciphers,
            nonce: &nonce,
            public: key.public(),
        }
        .build(&mut init1);
        Ok(Self {
            tep,
            key,
            nonce,
            init1,
            syn,
            syn_ack,
        })
    }

    /// Reads INIT2, from its first octet to its last.
    pub(crate) fn answered(&self, cx: &mut Context<'_>, init2: &[u8]) -> Result<Session, Line> {
        let message = Init2::parse(init2, self.tep.curve()).map_err(init2_error)?;
        let algorithm = message.chosen(&cx.config.ciphers).map_err(init2_error)?;
        let shared = agree(&self.key, message.public, init2_error)?;
        log_keys(cx, &self.key, message.public, &shared);
        let exchange = Exchange {
            syn: &self.syn,
            syn_ack: &self.syn_ack,
            init1: &self.init1,
            init2,
            client_nonce: &self.nonce,
            shared_secret: &shared,
        };
        Ok(exchange.session(Role::Client, self.tep, algorithm))
    }
}

/// The same in the original's dialect.
pub(crate) struct LegacyReply {
    tep: Tep,
    algorithm: Algorithm,
    key: PrivateKey,
    syn: EnoOption,
    syn_ack: EnoOption,
    init1: Vec<u8>,
    pub(crate) init2: Vec<u8>,
}

impl LegacyReply {
    /// To INIT1, given from its first octet to its last, with a key that can be agreed with.
    pub(crate) fn new(
        cx: &mut Context<'_>,
        tep: Tep,
        syn: &EnoOption,
        syn_ack: &EnoOption,
        init1: &[u8],
    ) -> Result<Self, Line> {
        const OURS: [Algorithm; 2] = [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm];
        let message = Init1::parse(init1, tep.curve()).map_err(init1_error)?;
        let algorithm = message.choose(&OURS).map_err(init1_error)?;
        ecdh::check_point(tep.curve(), message.public)
            .map_err(|cause| bad_key(cause, init1_error))?;
        let key = cx.entropy.private_key(tep.curve()).map_err(|_| LIBRARY)?;
        let mut nonce = [0; NONCE_LEN];
        cx.entropy.fill(&mut nonce).map_err(|_| LIBRARY)?;
        let mut init2 = Vec::new();
        Init2 {
            cipher: cipher_id(algorithm),
            nonce: &nonce,
            public: key.public(),
        }
        .build(&mut init2);
        Ok(Self {
            tep,
            algorithm,
            key,
            syn: *syn,
            syn_ack: *syn_ack,
            init1: init1.to_vec(),
            init2,
        })
    }

    /// The multiplication, and all keys.
    pub(crate) fn session(&self, cx: &mut Context<'_>) -> Result<Session, Line> {
        let message = Init1::parse(&self.init1, self.tep.curve()).map_err(init1_error)?;
        let shared = agree(&self.key, message.public, init1_error)?;
        log_keys(cx, &self.key, message.public, &shared);
        let exchange = Exchange {
            syn: &self.syn,
            syn_ack: &self.syn_ack,
            init1: &self.init1,
            init2: &self.init2,
            client_nonce: message.nonce,
            shared_secret: &shared,
        };
        Ok(exchange.session(Role::Server, self.tep, self.algorithm))
    }
}
