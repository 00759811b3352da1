//! The certifying end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use kx_crypto::random;
use kx_secret::SecretBytes;
use zeroize::Zeroizing;

use super::message::{Received, Records, parse};
use super::{HASH_LEN, VECTOR_LEN, step4_secret};
use crate::authinfo::AuthInfo;
use crate::certificate::Certificate;
use crate::floor::Floor;
use crate::key::PublicKey;
use crate::number;
use crate::ssl::Algorithms;
use crate::sts::Exchange;

const FORMAT: &str = "input or format error";

/// What the server brings with it.
pub struct ServerConfig {
    /// The signer's own keys, or why they cannot be read (`readauthinfo ...`).
    pub signer: Result<Arc<AuthInfo>, String>,
    /// Unknown users see the same as those with a wrong password.
    pub hide_users: bool,
    /// What is refused in a user's key.
    pub floor: Floor,
    /// Seconds since 1970, for the signer's expiry.
    pub unix_now: i64,
}

/// What a user's entry says.
pub struct Account {
    /// The stored secret.
    pub secret: SecretBytes,
    /// Seconds since 1970; 0 is never.
    pub expire: i32,
}

/// Why there is no account to use; the tail of the error's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Of the secret: `'/mnt/keys/NAME' file does not exist`, `user disabled`, `user expired`.
    Secret(String),
    /// Of the time of expiry.
    Expiry(String),
}

/// What the program must know or do.
pub enum ServerEvent {
    /// Look this user up, and give the result to [`Server::answer`].
    Lookup(String),
    /// The key of this user was certified. The last event.
    Done(String),
    /// It failed, and the peer is told with what is still to be transmitted. The last event.
    Failed(ServerError),
}

/// What is logged and, but for [`ServerError::TimedOut`], told to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerError {
    /// The text of keysrv spec 11.1.
    Text(String),
    /// The login has taken too long.
    TimedOut,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::TimedOut => f.write_str("login timed out"),
        }
    }
}

enum State {
    Name,
    Vector,
    Lookup([u8; VECTOR_LEN]),
    Exponential { expire: i32, hidden: bool },
    Key { expire: i32, hidden: bool },
    Over,
}

/// The certifying end of a login.
pub struct Server {
    signer: Option<Arc<AuthInfo>>,
    hide_users: bool,
    floor: Floor,
    exchange: Box<dyn Exchange>,
    name: String,
    state: State,
    records: Records,
    events: VecDeque<ServerEvent>,
}

impl Server {
    /// A machine that waits for a name; without a signer's key it refuses at once.
    #[must_use]
    pub fn new(config: ServerConfig, exchange: Box<dyn Exchange>, now: Instant) -> Self {
        let mut server = Self {
            signer: None,
            hide_users: config.hide_users,
            floor: config.floor,
            exchange,
            name: String::new(),
            state: State::Name,
            records: Records::new(now),
            events: VecDeque::new(),
        };
        let signer = config.signer.and_then(|signer| {
            if signer.certificate.is_past(config.unix_now) {
                return Err("signer key expired".to_owned());
            }
            Ok(signer)
        });
        match signer {
            Ok(signer) => server.signer = Some(signer),
            Err(why) => server.refuse(format!("can't read signer's own key: {why}")),
        }
        server
    }

    /// Takes octets of the user in.
    pub fn receive(&mut self, now: Instant, octets: &[u8]) {
        self.records.receive(octets);
        self.advance(now);
    }

    /// The user says no more.
    pub fn receive_end(&mut self) {
        if !matches!(self.state, State::Over) {
            self.step(Err(Received::HungUp));
        }
    }

    /// The result of [`ServerEvent::Lookup`].
    pub fn answer(&mut self, now: Instant, account: Result<Account, Lookup>) {
        let State::Lookup(vector) = self.state else {
            return;
        };
        if let Err(text) = self.challenge(vector, account) {
            self.refuse(text);
        }
        self.advance(now);
    }

    /// Moves what the user is to get to the end of `out`; `false` when there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.records.poll_transmit(out)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
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
            self.state = State::Over;
            self.events
                .push_back(ServerEvent::Failed(ServerError::TimedOut));
        }
    }

    fn advance(&mut self, now: Instant) {
        while !matches!(self.state, State::Over | State::Lookup(_)) {
            match self.records.next(now) {
                Ok(None) => return,
                Ok(Some(record)) => self.step(Ok(record)),
                Err(error) => self.step(Err(error)),
            }
        }
    }

    fn refuse(&mut self, text: String) {
        self.state = State::Over;
        // A peer that cannot be told finds out by the end of the connection.
        let _ = self.records.send_error(&text);
        self.events
            .push_back(ServerEvent::Failed(ServerError::Text(text)));
    }

    fn step(&mut self, record: Result<Zeroizing<Vec<u8>>, Received>) {
        let payload = match &record {
            Ok(record) => parse(record),
            Err(error) => Err(error.clone()),
        };
        let result = match std::mem::replace(&mut self.state, State::Over) {
            State::Name => self.name(payload),
            State::Vector => self.vector(payload),
            State::Exponential { expire, hidden } => self.exponential(payload, expire, hidden),
            State::Key { expire, hidden } => self.certify(payload, expire, hidden),
            // Nothing is read while a user is looked up: only an end of the connection comes here.
            State::Lookup(_) => Err(Received::HungUp.to_string()),
            State::Over => Ok(()),
        };
        if let Err(text) = result {
            self.refuse(text);
        }
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), String> {
        self.records
            .send(payload)
            .map_err(|error| format!("can't send: {error}"))
    }

    fn name(&mut self, payload: Result<&[u8], Received>) -> Result<(), String> {
        let name = payload.map_err(|error| error.to_string())?;
        self.name = String::from_utf8_lossy(name).into_owned();
        self.send(name)?;
        self.state = State::Vector;
        Ok(())
    }

    fn vector(&mut self, payload: Result<&[u8], Received>) -> Result<(), String> {
        let vector = payload
            .map_err(|error| error.to_string())
            .and_then(|vector| <[u8; VECTOR_LEN]>::try_from(vector).map_err(|_| FORMAT.to_owned()))
            .map_err(|why| format!("can't get initialization vector: {why}"))?;
        self.state = State::Lookup(vector);
        self.events
            .push_back(ServerEvent::Lookup(self.name.clone()));
        Ok(())
    }

    /// What is asked of the user, and whether the user exists only seemingly.
    fn account(&self, account: Result<Account, Lookup>) -> Result<(Account, bool), String> {
        let name = &self.name;
        let error = match account {
            Ok(account) if account.secret.len() >= HASH_LEN => return Ok((account, false)),
            Ok(_) => format!("bad password for {name}: not SHA1 hashed?"),
            Err(Lookup::Secret(why)) => format!("no password entry for {name}: {why}"),
            Err(Lookup::Expiry(why)) => format!("expiry time for {name}: {why}"),
        };
        if !self.hide_users {
            return Err(error);
        }
        let mut secret = SecretBytes::zeroed(HASH_LEN);
        random::fill_private(secret.as_mut_slice()).map_err(|error| error.to_string())?;
        Ok((Account { secret, expire: 0 }, true))
    }

    /// Steps 4 to 6.
    fn challenge(
        &mut self,
        vector: [u8; VECTOR_LEN],
        account: Result<Account, Lookup>,
    ) -> Result<(), String> {
        let (account, hidden) = self.account(account)?;
        let signer = self.signer()?;
        let mine = self
            .exchange
            .exponential(&signer.group)
            .map_err(|error| format!("can't send (alpha**r0 mod p): {error}"))?;
        let secret = step4_secret(account.secret.as_slice(), vector);
        self.records
            .protect(Algorithms::RC4, secret.as_slice())
            .map_err(|error| format!("can't push alg rc4: {error}"))?;
        self.send(number::text_p(&mine).as_bytes())?;
        self.records
            .protect(Algorithms::CLEAR, &[])
            .map_err(|error| format!("can't clear alg: {error}"))?;
        self.send(number::text_p(&signer.group.alpha).as_bytes())?;
        self.send(number::text_p(&signer.group.p).as_bytes())?;
        self.state = State::Exponential {
            expire: account.expire,
            hidden,
        };
        Ok(())
    }

    fn signer(&self) -> Result<Arc<AuthInfo>, String> {
        self.signer
            .clone()
            .ok_or_else(|| "can't read signer's own key".to_owned())
    }

    /// Steps 7 and 8.
    fn exponential(
        &mut self,
        payload: Result<&[u8], Received>,
        expire: i32,
        hidden: bool,
    ) -> Result<(), String> {
        let signer = self.signer()?;
        let his = payload
            .map_err(|error| error.to_string())
            .and_then(|text| {
                number::read_login(text)
                    .ok()
                    .filter(|his| signer.group.is_plausible(his))
                    .ok_or_else(|| "implausible parameter value".to_owned())
            })
            .map_err(|why| format!("can't get alpha**r1 mod p:{why}"))?;
        let secret = self
            .exchange
            .agree(&signer.group, &his)
            .map_err(|error| format!("can't set digest secret: {error}"))?;
        for end in [Records::expect, Records::protect] {
            end(&mut self.records, Algorithms::SHA1, secret.as_slice())
                .map_err(|error| format!("can't push alg sha1: {error}"))?;
        }
        self.send(signer.public_key().text())?;
        self.state = State::Key { expire, hidden };
        Ok(())
    }

    /// Steps 9 and 10.
    fn certify(
        &mut self,
        payload: Result<&[u8], Received>,
        expire: i32,
        hidden: bool,
    ) -> Result<(), String> {
        const BAD: &str = "bad public key";
        let (text, key) = payload
            .map_err(|error| error.to_string())
            .and_then(|text| {
                // The digest of the record can be extended by who reads it: nothing may follow the key.
                let key = PublicKey::parse_exact(text).map_err(|_| BAD.to_owned())?;
                self.floor.check_key(&key).map_err(|_| BAD.to_owned())?;
                Ok((text, key))
            })
            .map_err(|why| format!("client public key: {why}"))?;
        if hidden {
            return Err(format!("client public key: {BAD}"));
        }
        if key.owner() != self.name {
            return Err("pk name doesn't match user name".to_owned());
        }
        let signer = self.signer()?;
        let certificate = Certificate::sign(&signer.private_key, expire, text)
            .map_err(|error| format!("can't send certificate: {error}"))?;
        self.send(&certificate.text())?;
        self.events.push_back(ServerEvent::Done(self.name.clone()));
        Ok(())
    }
}
