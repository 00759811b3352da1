//! A whole connection to or of keysrv: authentication, the algorithm line, records (keysrv spec 5, 6).
//!
//! The program moves octets and passes time on; what it gets are the peer's name and the data of
//! records.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kx_secret::SecretBytes;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::floor::Warning;
use crate::framing::{self, FILE_LIMIT, FramingError, Message, Reader};
use crate::ssl::{Algorithms, Opener, Policy, PolicyError, Sealer, SslError};
use crate::sts::{self, Authenticated, Config, Exchange, READ_TIME, Sts, StsError};

/// The algorithm line that `passwd` sends.
pub const ALGORITHM_LINE: &str = "sha1/rc4_256";

/// Which end this is.
pub enum Role {
    /// Names the algorithms, and talks first.
    Client {
        /// The owner that the peer's key must have, if any: every user's key passes for a server's.
        server_name: Option<String>,
    },
    /// Takes or refuses the algorithms.
    Server {
        /// Which.
        policy: Policy,
        /// How long a client may send nothing, if that is bounded.
        idle: Option<Duration>,
    },
}

/// Why a session ends before its peer wants.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Authentication failed.
    #[error(transparent)]
    Sts(#[from] StsError),
    /// The peer has another name than it should.
    #[error("server is {0}")]
    ServerName(String),
    /// The client left, or sent something else, where the algorithm line is due.
    #[error("can't read client ssl algorithm: {0}")]
    AlgorithmLine(String),
    /// The line is refused.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A record is wrong.
    #[error(transparent)]
    Ssl(#[from] SslError),
    /// The peer left inside a record.
    #[error("hungup")]
    HungUp,
    /// The client has sent nothing for too long.
    #[error("timed out")]
    TimedOut,
}

/// What the program must know.
pub enum Event {
    /// The peer is who it says. A client may send from here on.
    Authenticated {
        /// The owner in its certified key.
        owner: String,
        /// What there is to say against its key.
        warnings: Vec<Warning>,
    },
    /// The algorithms are agreed on. A server may send from here on.
    Ready(Algorithms),
    /// The data of one record.
    Data(Zeroizing<Vec<u8>>),
    /// The session is broken. What is still to be transmitted may be an error for the peer, which
    /// is to be listened to until [`Event::Closed`].
    Failed(SessionError),
    /// The connection is to be closed.
    Closed,
}

enum State {
    Sts(Box<Sts>),
    /// The server waits for the line.
    Line {
        reader: Reader,
        secret: SecretBytes,
    },
    Records,
    Closed,
}

/// One end of a connection.
pub struct Session {
    role: Role,
    state: State,
    sealer: Sealer,
    opener: Opener,
    out: Vec<u8>,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
}

impl Session {
    /// A machine for a new connection.
    #[must_use]
    pub fn new(role: Role, config: Config, now: Instant) -> Self {
        Self::over(role, Sts::new(config, now))
    }

    /// The same with a given part of the key exchange: for replays.
    #[must_use]
    pub fn with_exchange(
        role: Role,
        config: Config,
        exchange: Box<dyn Exchange>,
        now: Instant,
    ) -> Self {
        Self::over(role, Sts::with_exchange(config, exchange, now))
    }

    fn over(role: Role, sts: Sts) -> Self {
        Self {
            role,
            state: State::Sts(Box::new(sts)),
            sealer: Sealer::new(),
            opener: Opener::new(),
            out: Vec::new(),
            events: VecDeque::new(),
            deadline: None,
        }
    }

    /// Takes octets of the peer in.
    pub fn receive(&mut self, now: Instant, octets: &[u8]) {
        match &mut self.state {
            State::Sts(sts) => {
                sts.receive(now, octets);
                self.follow_sts(now);
            }
            State::Line { reader, .. } => {
                reader.receive(octets);
                self.read_line(now);
            }
            State::Records => {
                self.opener.receive(octets);
                self.open_records(now);
            }
            State::Closed => {}
        }
    }

    /// The peer says no more.
    pub fn receive_end(&mut self, now: Instant) {
        match &mut self.state {
            State::Sts(sts) => {
                sts.receive_end(now);
                self.follow_sts(now);
            }
            State::Line { reader, .. } => {
                let error = reader.at_end();
                self.fail(line_error(error));
            }
            State::Records if self.opener.is_between() => self.close(),
            State::Records => self.fail(SessionError::HungUp),
            State::Closed => {}
        }
    }

    /// Sends `data` to the peer, in one record if it fits. Before [`Event::Authenticated`] or
    /// [`Event::Ready`] and after the end nothing is sent.
    ///
    /// # Errors
    ///
    /// [`SslError::Exhausted`].
    pub fn send(&mut self, data: &[u8]) -> Result<(), SslError> {
        if !matches!(self.state, State::Records) {
            return Ok(());
        }
        self.sealer.seal(data, &mut self.out)
    }

    /// Moves what the peer is to get to the end of `out`; `false` when there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let any = !self.out.is_empty();
        out.append(&mut self.out);
        match &mut self.state {
            State::Sts(sts) => sts.poll_transmit(out) || any,
            _ => any,
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Sts(sts) => sts.poll_timeout(),
            State::Closed => None,
            _ => self.deadline,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Sts(sts) = &mut self.state {
            sts.handle_timeout(now);
            self.follow_sts(now);
        } else if self.poll_timeout().is_some_and(|deadline| now >= deadline) {
            self.fail(SessionError::TimedOut);
        }
    }

    fn fail(&mut self, error: SessionError) {
        self.events.push_back(Event::Failed(error));
        self.close();
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(Event::Closed);
        }
    }

    fn follow_sts(&mut self, now: Instant) {
        while let State::Sts(sts) = &mut self.state {
            let Some(event) = sts.poll_event() else {
                return;
            };
            // What it has said is said before what comes next, in whatever state.
            sts.poll_transmit(&mut self.out);
            match event {
                sts::Event::Authenticated(peer) => self.authenticated(now, *peer),
                sts::Event::Failed(error) => self.events.push_back(Event::Failed(error.into())),
                sts::Event::Closed => self.close(),
            }
        }
    }

    fn authenticated(&mut self, now: Instant, peer: Authenticated) {
        let Authenticated {
            owner,
            secret,
            warnings,
            rest,
        } = peer;
        match &self.role {
            Role::Client { server_name } => {
                if server_name.as_ref().is_some_and(|name| *name != owner) {
                    self.fail(SessionError::ServerName(owner));
                    return;
                }
                self.events
                    .push_back(Event::Authenticated { owner, warnings });
                // Shorter than any limit.
                let _ = framing::write(&mut self.out, ALGORITHM_LINE.as_bytes());
                self.begin_records(now, Algorithms::SHA1_RC4_256, &secret, &rest);
            }
            Role::Server { .. } => {
                self.events
                    .push_back(Event::Authenticated { owner, warnings });
                let mut reader = Reader::new(FILE_LIMIT);
                reader.receive(&rest);
                self.state = State::Line { reader, secret };
                self.deadline = Some(now + READ_TIME);
                self.read_line(now);
            }
        }
    }

    fn read_line(&mut self, now: Instant) {
        let State::Line { reader, .. } = &mut self.state else {
            return;
        };
        let policy = match self.role {
            Role::Server { policy, .. } => policy,
            Role::Client { .. } => Policy::Exact,
        };
        let result = match reader.next_message() {
            Ok(None) => return,
            Ok(Some(Message::Text(line))) => policy.choose(line).map_err(SessionError::from),
            Ok(Some(Message::Error(text))) => {
                Err(SessionError::AlgorithmLine(text.escape_ascii().to_string()))
            }
            Err(error) => Err(line_error(error)),
        };
        match (result, std::mem::replace(&mut self.state, State::Records)) {
            (Ok(algorithms), State::Line { reader, secret }) => {
                self.begin_records(now, algorithms, &secret, &reader.into_rest());
            }
            (Err(error), _) => self.fail(error),
            (Ok(_), _) => {}
        }
    }

    fn begin_records(
        &mut self,
        now: Instant,
        algorithms: Algorithms,
        secret: &SecretBytes,
        rest: &[u8],
    ) {
        self.state = State::Records;
        self.note_activity(now);
        let result = self
            .sealer
            .protect(algorithms, secret.as_slice())
            .and_then(|()| self.opener.protect(algorithms, secret.as_slice()));
        if let Err(error) = result {
            self.fail(error.into());
            return;
        }
        self.events.push_back(Event::Ready(algorithms));
        self.opener.receive(rest);
        self.open_records(now);
    }

    fn note_activity(&mut self, now: Instant) {
        self.deadline = match self.role {
            Role::Server { idle, .. } => idle.and_then(|idle| now.checked_add(idle)),
            Role::Client { .. } => None,
        };
    }

    fn open_records(&mut self, now: Instant) {
        loop {
            match self.opener.open() {
                Ok(None) => return,
                Ok(Some(data)) => {
                    self.note_activity(now);
                    self.events.push_back(Event::Data(data));
                }
                Err(error) => {
                    self.fail(error.into());
                    return;
                }
            }
        }
    }
}

fn line_error(error: FramingError) -> SessionError {
    SessionError::AlgorithmLine(error.to_string())
}
