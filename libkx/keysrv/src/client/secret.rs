//! The client of a keysrv: an authenticated connection and the file `secret` at its end.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::{Floor, Warning};
use inferno_auth::session::{Event, Role, Session, SessionError};
use inferno_auth::sts::{Config, DRAIN_TIME};
use kx_secret::SecretBytes;
use styx::client::{Call, Client, Error, Fid};
use styx::message::{OTRUNC, OWRITE};

use crate::driver::Driver;
use crate::keysrv::hash_text;

/// Inferno's own size of messages.
const MSIZE: u32 = 8216;
/// Octets of a message's length, which stands in front.
const SIZE_LEN: usize = 4;
const FILE: &[u8] = b"secret";
/// Octets of `secret` that are read: there are none.
const CONTENT_LIMIT: usize = 4096;

/// What a caller may want.
#[derive(Clone, Debug)]
pub struct Options {
    /// The owner that the server's key must have; any, if none is given.
    pub server_name: Option<String>,
    /// What is refused of the server's key and certificate.
    pub floor: Floor,
    /// How long an answer may take, and the whole authentication.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            server_name: None,
            floor: Floor::default(),
            patience: Duration::from_secs(60),
        }
    }
}

/// Why there is no file to write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Authentication failed; the text of either end.
    #[error(transparent)]
    Authenticate(SessionError),
    /// The connection failed before the end of it.
    #[error("{}", kx_log::format_errno(.0))]
    Connection(#[source] io::Error),
    /// The server's files cannot be had.
    #[error("{0}")]
    Mount(String),
}

/// Why a write had no success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The server's text: `wrong secret`, `no existing secret`, ...
    #[error("{0}")]
    Refused(String),
    /// The connection is broken, or the server's answer is.
    #[error("{0}")]
    Broken(String),
}

type StyxError = Error<io::Error>;

impl From<StyxError> for SecretError {
    fn from(error: StyxError) -> Self {
        match error {
            Error::Refused(text) => Self::Refused(text),
            Error::Call(error) => Self::Broken(kx_log::format_errno(&error).to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Records that carry 9P messages.
struct Carrier {
    driver: Driver<Session>,
    patience: Duration,
    /// What came after the last whole message.
    input: SecretBytes,
}

impl Carrier {
    fn event(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.driver.machine.poll_event() {
                return Ok(event);
            }
            self.driver.wait()?;
        }
    }

    /// The length of the message in front, when it is there as a whole.
    fn whole(&self) -> Option<usize> {
        let size = self.input.as_slice().first_chunk::<SIZE_LEN>()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        (self.input.len() >= size.max(SIZE_LEN)).then_some(size.max(SIZE_LEN))
    }
}

impl Call for Carrier {
    type Error = io::Error;

    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> io::Result<()> {
        self.driver
            .set_deadline(Instant::now().checked_add(self.patience));
        self.driver
            .machine
            .send(request)
            .map_err(io::Error::other)?;
        loop {
            if let Some(size) = self.whole() {
                reply.extend_from_slice(self.input.as_slice().get(..size).unwrap_or_default());
                self.input.drop_front(size);
                return Ok(());
            }
            match self.event()? {
                Event::Data(data) => {
                    let most = usize::try_from(MSIZE).unwrap_or(usize::MAX);
                    if self.input.len().saturating_add(data.len()) > most {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    self.input.extend_from_slice(&data);
                }
                Event::Failed(error) => return Err(io::Error::other(error)),
                Event::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                Event::Authenticated { .. } | Event::Ready(_) => {}
            }
        }
    }
}

/// The file `secret` of an authenticated user.
pub struct SecretFile {
    client: Client<Carrier>,
    root: Fid,
    /// The file, open for writing once it was written to.
    open: Option<Fid>,
    peer: String,
    warnings: Vec<Warning>,
}

impl SecretFile {
    /// Authenticates both ends of `connection` with `info`, and attaches to the server's files as
    /// `user`, a name that the server does not look at. `unix_now`: seconds since 1970, for expiry.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(
        connection: TcpStream,
        info: AuthInfo,
        user: &str,
        options: &Options,
        unix_now: i64,
    ) -> Result<Self, ConnectError> {
        let role = Role::Client {
            server_name: options.server_name.clone(),
        };
        let config = Config {
            auth_info: Some(Arc::new(info)),
            floor: options.floor,
            unix_now,
        };
        let now = Instant::now();
        let session = Session::new(role, config, now);
        let mut driver = Driver::new(session, connection).map_err(ConnectError::Connection)?;
        driver.set_deadline(now.checked_add(options.patience));
        let mut carrier = Carrier {
            driver,
            patience: options.patience,
            input: SecretBytes::default(),
        };
        let (peer, warnings) = carrier.authenticate()?;
        let mount = |error: StyxError| ConnectError::Mount(SecretError::from(error).to_string());
        let mut client = Client::new(carrier, MSIZE).map_err(mount)?;
        let root = client.attach(user.as_bytes(), b"").map_err(mount)?;
        Ok(Self {
            client,
            root,
            open: None,
            peer,
            warnings,
        })
    }

    /// The owner of the server's key.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What there is to say against the server's key.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Writes a command: the hash of the secret, and after a blank the new secret if there is one.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn write(&mut self, command: &[u8]) -> Result<(), SecretError> {
        // A check is answered with a count of 0, so that the count says nothing.
        let file = match self.open.take() {
            Some(file) => file,
            None => self.open_for_writing()?,
        };
        let written = self.client.write(&file, 0, command);
        // It stays open: each write is a command of its own.
        self.open = Some(file);
        written?;
        Ok(())
    }

    fn open_for_writing(&mut self) -> Result<Fid, SecretError> {
        let file = self.client.walk(&self.root, &[FILE])?;
        self.client.open(&file, OWRITE | OTRUNC)?;
        Ok(file)
    }

    /// Asks whether the account has a secret.
    ///
    /// # Errors
    /// [`SecretError`]; it has none if [`SecretError::Refused`]: `no existing secret`,
    /// `user not registered: NAME`.
    pub fn exists(&mut self) -> Result<(), SecretError> {
        // Nothing can be read, which an account without a secret cannot even try.
        self.client.read_file(&self.root, &[FILE], CONTENT_LIMIT)?;
        Ok(())
    }

    /// Asks whether the account's secret is `secret`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn check(&mut self, secret: &[u8]) -> Result<(), SecretError> {
        self.write(hash_text(secret).as_slice())
    }

    /// Replaces the account's secret.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn change(&mut self, old: &[u8], new: &[u8]) -> Result<(), SecretError> {
        let mut command = hash_text(old);
        command.push(b' ');
        command.extend_from_slice(new);
        self.write(command.as_slice())
    }
}

impl Carrier {
    fn authenticate(&mut self) -> Result<(String, Vec<Warning>), ConnectError> {
        let mut peer = None;
        loop {
            match self.event().map_err(ConnectError::Connection)? {
                Event::Authenticated { owner, warnings } => peer = Some((owner, warnings)),
                Event::Ready(_) => {
                    let gone = || ConnectError::Connection(io::ErrorKind::UnexpectedEof.into());
                    return peer.ok_or_else(gone);
                }
                Event::Failed(error) => {
                    // The server learns why, which closing at once could prevent.
                    self.driver.drain(DRAIN_TIME);
                    return Err(ConnectError::Authenticate(error));
                }
                Event::Data(_) => {}
                Event::Closed => {
                    let gone = io::ErrorKind::UnexpectedEof.into();
                    return Err(ConnectError::Connection(gone));
                }
            }
        }
    }
}
