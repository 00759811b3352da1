//! The user's end.

use std::collections::VecDeque;
use std::time::Instant;

use kx_crypto::bignum::BigNum;
use kx_crypto::dh::Group;
use kx_crypto::random::{self, Unavailable};
use kx_secret::SecretBytes;
use thiserror::Error;
use zeroize::Zeroizing;

use super::message::{Received, Records, parse};
use super::{VECTOR_LEN, password_hash, step4_secret};
use crate::authinfo::AuthInfo;
use crate::certificate::Certificate;
use crate::floor::Floor;
use crate::generate::{self, GenerateError};
use crate::key::{PrivateKey, PublicKey};
use crate::number;
use crate::ssl::Algorithms;
use crate::sts::{Exchange, Fresh};

/// Fewest bits of a modulus that is worth exchanging keys with.
const MODULUS_FLOOR: u32 = 512;

/// Why a login fails, in the original's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server refused before the password mattered.
    #[error("remote: {0}")]
    Remote(String),
    /// The server answers for somebody else.
    #[error("unexpected reply from signer: {0}")]
    Reply(String),
    /// What came cannot be read with this password. The step's number stands behind it.
    #[error("name or secret incorrect ({0})")]
    Secret(&'static str),
    /// Numbers with which nothing is secret.
    #[error("bogus diffie hellman constants")]
    Bogus,
    /// No key of the signer, or one that is not good enough.
    #[error("can't get signer's public key: {0}")]
    SignerKey(String),
    /// No certificate, or not the signer's of our key.
    #[error("can't get certificate: {0}")]
    Certificate(String),
    /// Our own numbers or keys cannot be computed.
    #[error("can't make keys")]
    Keys,
    /// The server has been silent for too long.
    #[error("login timed out")]
    TimedOut,
}

/// What the program must know. Both are the last event.
pub enum ClientEvent {
    /// The signer has certified our new key.
    Done(Box<AuthInfo>),
    /// It failed.
    Failed(ClientError),
}

/// Makes the user's key, of the kind and size of the signer's.
pub type MakeKey = Box<dyn FnOnce(&PublicKey, &str) -> Result<PrivateKey, GenerateError> + Send>;

/// What the user's end draws.
pub struct ClientChoices {
    /// Of step 3.
    pub vector: [u8; VECTOR_LEN],
    /// Of step 7.
    pub exchange: Box<dyn Exchange>,
    /// Of step 9.
    pub make_key: MakeKey,
}

impl ClientChoices {
    /// Fresh ones.
    ///
    /// # Errors
    ///
    /// [`Unavailable`].
    pub fn fresh() -> Result<Self, Unavailable> {
        let mut vector = [0; VECTOR_LEN];
        random::fill(&mut vector)?;
        Ok(Self {
            vector,
            exchange: Box::new(Fresh::default()),
            make_key: Box::new(generate::key_from),
        })
    }
}

enum State {
    Acknowledgement,
    Exponential,
    Base(BigNum),
    Modulus { his: BigNum, alpha: BigNum },
    SignerKey(Group),
    Certificate(Box<Pending>),
    Over,
}

struct Pending {
    group: Group,
    signer_key: PublicKey,
    private_key: PrivateKey,
}

/// The user's end of a login.
pub struct Client {
    name: String,
    hash: SecretBytes,
    floor: Floor,
    vector: [u8; VECTOR_LEN],
    exchange: Box<dyn Exchange>,
    make_key: Option<MakeKey>,
    state: State,
    records: Records,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// A machine that says `name` first. `floor`: what is refused in the signer's key.
    #[must_use]
    pub fn new(
        name: &str,
        password: &[u8],
        floor: Floor,
        choices: ClientChoices,
        now: Instant,
    ) -> Self {
        let mut client = Self {
            name: name.to_owned(),
            hash: password_hash(password),
            floor,
            vector: choices.vector,
            exchange: choices.exchange,
            make_key: Some(choices.make_key),
            state: State::Acknowledgement,
            records: Records::new(now),
            events: VecDeque::new(),
        };
        if client.records.send(name.as_bytes()).is_err() {
            client.fail(ClientError::Keys);
        }
        client
    }

    /// Takes octets of the server in.
    pub fn receive(&mut self, now: Instant, octets: &[u8]) {
        self.records.receive(octets);
        while !matches!(self.state, State::Over) {
            let record = match self.records.next(now) {
                Ok(None) => return,
                Ok(Some(record)) => Ok(record),
                Err(error) => Err(error),
            };
            if let Err(error) = self.step(record) {
                self.fail(error);
            }
        }
    }

    /// The server says no more.
    pub fn receive_end(&mut self) {
        if !matches!(self.state, State::Over)
            && let Err(error) = self.step(Err(Received::HungUp))
        {
            self.fail(error);
        }
    }

    /// Moves what the server is to get to the end of `out`; `false` when there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.records.poll_transmit(out)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Over)).then(|| self.records.timeout())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.fail(ClientError::TimedOut);
        }
    }

    fn fail(&mut self, error: ClientError) {
        self.state = State::Over;
        self.events.push_back(ClientEvent::Failed(error));
    }

    fn step(&mut self, record: Result<Zeroizing<Vec<u8>>, Received>) -> Result<(), ClientError> {
        let payload = match &record {
            Ok(record) => parse(record),
            Err(error) => Err(error.clone()),
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Acknowledgement => self.acknowledged(payload),
            State::Exponential => self.exponential(payload),
            State::Base(his) => {
                let alpha = constant(payload, "alpha")?;
                self.state = State::Modulus { his, alpha };
                Ok(())
            }
            State::Modulus { his, alpha } => {
                let p = constant(payload, "p")?;
                self.answer(&his, Group { alpha, p })
            }
            State::SignerKey(group) => {
                let text = payload.map_err(|error| ClientError::SignerKey(error.to_string()))?;
                self.show_key(group, text)
            }
            State::Certificate(pending) => {
                let text = payload.map_err(|error| ClientError::Certificate(error.to_string()))?;
                self.finish(*pending, text)
            }
            State::Over => Ok(()),
        }
    }

    fn acknowledged(&mut self, payload: Result<&[u8], Received>) -> Result<(), ClientError> {
        let text = payload.map_err(|error| ClientError::Remote(error.to_string()))?;
        if text != self.name.as_bytes() {
            return Err(ClientError::Reply(
                String::from_utf8_lossy(text).into_owned(),
            ));
        }
        self.records
            .send(&self.vector)
            .map_err(|_| ClientError::Keys)?;
        let secret = step4_secret(self.hash.as_slice(), self.vector);
        self.records
            .expect(Algorithms::RC4, secret.as_slice())
            .map_err(|_| ClientError::Keys)?;
        self.state = State::Exponential;
        Ok(())
    }

    fn exponential(&mut self, payload: Result<&[u8], Received>) -> Result<(), ClientError> {
        const STEP: &str = "alpha**r0 mod p";
        let text = match payload {
            Ok(text) => text,
            Err(Received::HungUp) => {
                return Err(ClientError::Remote(Received::HungUp.to_string()));
            }
            // An error comes in clear, and decrypted it is no better than noise.
            Err(_) => return Err(ClientError::Secret(STEP)),
        };
        let his = number::read_login(text).map_err(|_| ClientError::Secret(STEP))?;
        self.records
            .expect(Algorithms::CLEAR, &[])
            .map_err(|_| ClientError::Keys)?;
        self.state = State::Base(his);
        Ok(())
    }

    fn answer(&mut self, his: &BigNum, group: Group) -> Result<(), ClientError> {
        let bits = group.p.bits();
        if group.alpha.bits() > bits || group.alpha.bits() < 2 || bits < MODULUS_FLOOR {
            return Err(ClientError::Bogus);
        }
        if !group.check() || !group.is_plausible(his) {
            return Err(ClientError::Bogus);
        }
        let mine = self
            .exchange
            .exponential(&group)
            .map_err(|_| ClientError::Keys)?;
        self.records
            .send(number::text_p(&mine).as_bytes())
            .map_err(|_| ClientError::Keys)?;
        let secret = self
            .exchange
            .agree(&group, his)
            .map_err(|_| ClientError::Keys)?;
        for end in [Records::expect, Records::protect] {
            end(&mut self.records, Algorithms::SHA1, secret.as_slice())
                .map_err(|_| ClientError::Keys)?;
        }
        self.state = State::SignerKey(group);
        Ok(())
    }

    fn show_key(&mut self, group: Group, text: &[u8]) -> Result<(), ClientError> {
        let signer_key =
            PublicKey::parse(text).map_err(|error| ClientError::SignerKey(error.to_string()))?;
        self.floor
            .check_key(&signer_key)
            .map_err(|error| ClientError::SignerKey(error.to_string()))?;
        let make_key = self.make_key.take().ok_or(ClientError::Keys)?;
        let private_key = make_key(&signer_key, &self.name).map_err(|_| ClientError::Keys)?;
        self.records
            .send(private_key.public().text())
            .map_err(|_| ClientError::Keys)?;
        self.state = State::Certificate(Box::new(Pending {
            group,
            signer_key,
            private_key,
        }));
        Ok(())
    }

    fn finish(&mut self, pending: Pending, text: &[u8]) -> Result<(), ClientError> {
        let certificate = Certificate::parse(text)
            .map_err(|error| ClientError::Certificate(error.to_string()))?;
        // The original keeps whatever comes, and learns of it when it is refused elsewhere.
        if !certificate.verify(&pending.signer_key, pending.private_key.public().text()) {
            return Err(ClientError::Certificate(
                "pk doesn't match certificate".to_owned(),
            ));
        }
        self.events.push_back(ClientEvent::Done(Box::new(AuthInfo {
            signer_key: pending.signer_key,
            certificate,
            private_key: pending.private_key,
            group: pending.group,
        })));
        Ok(())
    }
}

/// A number of steps 5 and 6.
fn constant(payload: Result<&[u8], Received>, name: &'static str) -> Result<BigNum, ClientError> {
    let text = payload.map_err(|error| match error {
        Received::Failure => ClientError::Secret(name),
        other => ClientError::Remote(other.to_string()),
    })?;
    number::read_login(text).map_err(|_| ClientError::Bogus)
}
