//! The key exchange of both roles (tcpcrypt spec 4.2 and 4.3). Errors carry the original's words.

use kx_crypto::aead::Algorithm;
use kx_crypto::ecdh::{self, PrivateKey};
use kx_crypto::secret::SecretBytes;

use crate::eno::{EnoOption, Tep};
use crate::event::{KeyLog, Line};
use crate::legacy::init::{Init1, Init2, InitError, Message, NONCE_LEN, cipher_id};
use crate::legacy::keys::{Exchange, Role, Session};

use super::Context;

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

/// How many octets of `stream` the message has, once that many are there.
pub(crate) fn whole(message: Message, stream: &[u8]) -> Result<Option<usize>, Line> {
    let len = message.len(stream).map_err(|error| match message {
        Message::Init1 => init1_error(error),
        Message::Init2 => init2_error(error),
    })?;
    Ok(len.filter(|len| stream.len() >= *len))
}

/// What a client keeps between INIT1 and INIT2.
pub(crate) struct Question {
    tep: Tep,
    key: PrivateKey,
    nonce: [u8; NONCE_LEN],
    /// INIT1, the same in each repetition.
    pub(crate) init1: Vec<u8>,
}

impl Question {
    pub(crate) fn new(cx: &mut Context<'_>, tep: Tep) -> Result<Self, Line> {
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
        })
    }

    /// Reads INIT2, from its first octet to its last.
    pub(crate) fn answered(
        &self,
        cx: &mut Context<'_>,
        syn: &EnoOption,
        syn_ack: &EnoOption,
        init2: &[u8],
    ) -> Result<Session, Line> {
        let message = Init2::parse(init2, self.tep.curve()).map_err(init2_error)?;
        let algorithm = message.chosen(&cx.config.ciphers).map_err(init2_error)?;
        let shared = agree(&self.key, message.public, init2_error)?;
        log_keys(cx, &self.key, message.public, &shared);
        let exchange = Exchange {
            syn,
            syn_ack,
            init1: &self.init1,
            init2,
            client_nonce: &self.nonce,
            shared_secret: &shared,
        };
        Ok(exchange.session(Role::Client, self.tep, algorithm))
    }
}

/// What a server keeps from INIT1 to the moment it has the keys.
///
/// INIT2 can be sent before the secret is known: what it says does not depend on it, and the client needs as long
/// for the same multiplication.
pub(crate) struct Reply {
    tep: Tep,
    algorithm: Algorithm,
    key: PrivateKey,
    syn: EnoOption,
    syn_ack: EnoOption,
    init1: Vec<u8>,
    pub(crate) init2: Vec<u8>,
}

impl Reply {
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
