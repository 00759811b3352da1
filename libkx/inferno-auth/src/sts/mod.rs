//! Station-to-station authentication, version 1 (keysrv spec 5).
//!
//! Both ends run the same machine. It is given what comes from the peer and gives what the peer is to
//! get; at the end stands who the peer is and a secret that only the two know.

mod error;
mod exchange;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kx_crypto::bignum::BigNum;
use kx_secret::SecretBytes;

pub use self::error::StsError;
pub use self::exchange::{Exchange, Fresh};
use crate::authinfo::AuthInfo;
use crate::certificate::Certificate;
use crate::floor::{Floor, Warning};
use crate::framing::{self, CONNECTION_LIMIT, Message, Reader};
use crate::key::PublicKey;
use crate::number;

/// How long a peer may be silent where a message of it is due.
pub const READ_TIME: Duration = Duration::from_secs(30);
/// How long a refused peer is listened to, so that it can read why.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Messages that may come before the peer's `OK`.
const SKIP_LIMIT: u32 = 8;
const VERSION: &[u8] = b"1";
const STATUS: &[u8] = b"OK";

/// Who the peer is, and what only the two of us know.
pub struct Authenticated {
    /// The owner in the peer's certified key.
    pub owner: String,
    /// The Diffie-Hellman secret, big-endian without leading zeroes.
    pub secret: SecretBytes,
    /// What there is to say against the peer's key.
    pub warnings: Vec<Warning>,
    /// What the peer sent after its last message.
    pub rest: Vec<u8>,
}

/// What the program must know.
pub enum Event {
    /// Authentication is through, here and at the peer.
    Authenticated(Box<Authenticated>),
    /// It failed. The peer is told with what is still to be transmitted.
    Failed(StsError),
    /// Nothing more will be said or listened to.
    Closed,
}

/// What one end brings with it.
pub struct Config {
    /// Our keys; the version is exchanged without them too, then both learn what is missing.
    pub auth_info: Option<Arc<AuthInfo>>,
    /// What is refused in a peer's key and certificate.
    pub floor: Floor,
    /// Seconds since 1970, for expiry.
    pub unix_now: i64,
}

enum State {
    Version,
    Exponential,
    Certificate,
    PublicKey(Certificate),
    Signature(PublicKey),
    Status {
        skipped: u32,
        owner: String,
        secret: SecretBytes,
    },
    /// Failed; what the peer still says is thrown away.
    Draining {
        skipped: u32,
    },
    Closed,
}

/// One end of an authentication.
pub struct Sts {
    config: Config,
    exchange: Box<dyn Exchange>,
    state: State,
    reader: Reader,
    out: Vec<u8>,
    events: VecDeque<Event>,
    deadline: Instant,
    mine: Option<BigNum>,
    his: Option<BigNum>,
    warnings: Vec<Warning>,
}

impl Sts {
    /// A machine that says its version first. `now` is when the peer's time begins.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        Self::with_exchange(config, Box::new(Fresh::default()), now)
    }

    /// The same with a given part of the key exchange: for replays.
    #[must_use]
    pub fn with_exchange(config: Config, exchange: Box<dyn Exchange>, now: Instant) -> Self {
        let mut sts = Self {
            config,
            exchange,
            state: State::Version,
            reader: Reader::new(CONNECTION_LIMIT),
            out: Vec::new(),
            events: VecDeque::new(),
            deadline: now + READ_TIME,
            mine: None,
            his: None,
            warnings: Vec::new(),
        };
        // One octet is never too long.
        let _ = framing::write(&mut sts.out, VERSION);
        sts
    }

    /// Takes octets of the peer in.
    pub fn receive(&mut self, now: Instant, octets: &[u8]) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.reader.receive(octets);
        // The message is taken out of the buffer, so that the machine may change while it is looked at.
        while !matches!(self.state, State::Closed) {
            let message = match self.reader.next_message() {
                Ok(None) => return,
                Ok(Some(Message::Text(text))) => Ok(text.to_vec()),
                Ok(Some(Message::Error(text))) => Err(text.to_vec()),
                Err(error) => {
                    self.fail_or_close(now, error.into());
                    return;
                }
            };
            match message {
                Ok(text) => {
                    if let Err(error) = self.message(now, &text) {
                        self.fail(now, error);
                    }
                }
                Err(text) => self.peer_error(now, &text),
            }
        }
    }

    /// The peer says no more.
    pub fn receive_end(&mut self, now: Instant) {
        let error = match self.state {
            // The original has lost what it read when it comes to the status.
            State::Status { .. } => StsError::Format,
            _ => self.reader.at_end().into(),
        };
        self.fail_or_close(now, error);
        self.close();
    }

    /// Moves what the peer is to get to the end of `out`; `false` when there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let any = !self.out.is_empty();
        out.append(&mut self.out);
        any
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Closed)).then_some(self.deadline)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.deadline {
            self.fail_or_close(now, StsError::TimedOut);
        }
    }

    /// Ends the authentication for a reason of the caller's, which the peer is told.
    fn fail(&mut self, now: Instant, error: StsError) {
        framing::write_error(&mut self.out, &error.to_peer());
        self.events.push_back(Event::Failed(error));
        self.state = State::Draining { skipped: 0 };
        self.deadline = now + DRAIN_TIME;
    }

    /// An error of the connection: the first is told, a second ends it.
    fn fail_or_close(&mut self, now: Instant, error: StsError) {
        match self.state {
            State::Closed => {}
            State::Draining { .. } => self.close(),
            _ => self.fail(now, error),
        }
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(Event::Closed);
        }
    }

    fn peer_error(&mut self, now: Instant, text: &[u8]) {
        let error = match self.state {
            // The original's reader gives the length as a negative number, and -1 is its failure.
            State::Status { .. } if text.len() == 1 => StsError::Format,
            _ => StsError::from_peer(text),
        };
        self.fail_or_close(now, error);
    }

    fn message(&mut self, now: Instant, text: &[u8]) -> Result<(), StsError> {
        // What is thrown away earns no time.
        if !matches!(self.state, State::Draining { .. }) {
            self.deadline = now + READ_TIME;
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Version => {
                check_version(text)?;
                self.introduce()?;
                self.state = State::Exponential;
            }
            State::Exponential => {
                self.his = Some(self.exponential(text)?);
                self.state = State::Certificate;
            }
            State::Certificate => {
                let certificate =
                    Certificate::parse(text).map_err(|_| StsError::CertificateSyntax)?;
                self.state = State::PublicKey(certificate);
            }
            State::PublicKey(certificate) => {
                let key = self.certified_key(&certificate, text)?;
                self.sign()?;
                self.state = State::Signature(key);
            }
            State::Signature(key) => {
                let secret = self.check_signature(&key, text)?;
                send(&mut self.out, STATUS)?;
                self.state = State::Status {
                    skipped: 0,
                    owner: key.owner().to_owned(),
                    secret,
                };
            }
            State::Status { owner, secret, .. } if text == STATUS => {
                let reader = std::mem::replace(&mut self.reader, Reader::new(0));
                let rest = reader.into_rest();
                self.events
                    .push_back(Event::Authenticated(Box::new(Authenticated {
                        owner,
                        secret,
                        warnings: std::mem::take(&mut self.warnings),
                        rest,
                    })));
            }
            State::Status {
                skipped,
                owner,
                secret,
            } => {
                let skipped = skipped.saturating_add(1);
                if skipped > SKIP_LIMIT {
                    return Err(StsError::Format);
                }
                self.state = State::Status {
                    skipped,
                    owner,
                    secret,
                };
            }
            State::Draining { skipped } => {
                if text == STATUS || skipped >= SKIP_LIMIT {
                    self.events.push_back(Event::Closed);
                } else {
                    self.state = State::Draining {
                        skipped: skipped.saturating_add(1),
                    };
                }
            }
            State::Closed => {}
        }
        Ok(())
    }

    fn auth_info(&self) -> Result<Arc<AuthInfo>, StsError> {
        self.config.auth_info.clone().ok_or(StsError::NoAuthInfo)
    }

    /// Messages 2a to 2c.
    fn introduce(&mut self) -> Result<(), StsError> {
        let info = self.auth_info()?;
        let mine = self
            .exchange
            .exponential(&info.group)
            .map_err(|_| StsError::Conversion)?;
        send(&mut self.out, number::text_z(&mine).as_bytes())?;
        send(&mut self.out, &info.certificate.text())?;
        send(&mut self.out, info.public_key().text())?;
        self.mine = Some(mine);
        Ok(())
    }

    fn exponential(&self, text: &[u8]) -> Result<BigNum, StsError> {
        let info = self.auth_info()?;
        let his = number::read_standalone(text).map_err(|_| StsError::Implausible)?;
        if !info.group.is_plausible(&his) {
            return Err(StsError::Implausible);
        }
        if self.mine.as_ref() == Some(&his) {
            return Err(StsError::Replay);
        }
        Ok(his)
    }

    fn certified_key(
        &mut self,
        certificate: &Certificate,
        text: &[u8],
    ) -> Result<PublicKey, StsError> {
        let info = self.auth_info()?;
        let key = PublicKey::parse(text).map_err(|_| StsError::PublicKey)?;
        self.warnings = self
            .config
            .floor
            .check_key(&key)
            .map_err(|_| StsError::PublicKey)?;
        self.config
            .floor
            .check_certificate(certificate)
            .map_err(|_| StsError::KeyMismatch)?;
        if !certificate.verify(&info.signer_key, text) {
            return Err(StsError::KeyMismatch);
        }
        if certificate.is_expired(self.config.unix_now) {
            return Err(StsError::Expired);
        }
        Ok(key)
    }

    /// Message 3.
    fn sign(&mut self) -> Result<(), StsError> {
        let info = self.auth_info()?;
        let (Some(mine), Some(his)) = (&self.mine, &self.his) else {
            return Err(StsError::Conversion);
        };
        let data = number::text_z(mine) + &number::text_z(his);
        let signature = Certificate::sign(&info.private_key, 0, data.as_bytes())
            .map_err(|_| StsError::Conversion)?;
        send(&mut self.out, &signature.text())
    }

    fn check_signature(&mut self, key: &PublicKey, text: &[u8]) -> Result<SecretBytes, StsError> {
        let signature = Certificate::parse(text).map_err(|_| StsError::SignatureSyntax)?;
        self.config
            .floor
            .check_certificate(&signature)
            .map_err(|_| StsError::Signature)?;
        let info = self.auth_info()?;
        let (Some(mine), Some(his)) = (&self.mine, &self.his) else {
            return Err(StsError::Conversion);
        };
        // factotum signs the numbers without the leading zero.
        let signed = [
            number::text_z(his) + &number::text_z(mine),
            number::text_p(his) + &number::text_p(mine),
        ];
        if !signed
            .iter()
            .any(|data| signature.verify(key, data.as_bytes()))
        {
            return Err(StsError::Signature);
        }
        self.exchange
            .agree(&info.group, his)
            .map_err(|_| StsError::Conversion)
    }
}

/// The original reads a number and what follows it not at all, but counts the characters.
fn check_version(text: &[u8]) -> Result<(), StsError> {
    if text.len() > 4 {
        return Err(StsError::Version);
    }
    let after_blanks = text.trim_ascii_start();
    let after_sign = after_blanks.strip_prefix(b"+").unwrap_or(after_blanks);
    let digits = after_sign
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .fold(0u32, |value, octet| {
            value
                .saturating_mul(10)
                .saturating_add(u32::from(octet.wrapping_sub(b'0')))
        });
    if digits == 1 {
        Ok(())
    } else {
        Err(StsError::Version)
    }
}

fn send(out: &mut Vec<u8>, text: &[u8]) -> Result<(), StsError> {
    if text.len() > CONNECTION_LIMIT {
        return Err(StsError::Conversion);
    }
    Ok(framing::write(out, text)?)
}
