//! The client: its settings, the files it loads, and in which order it tries which server.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kx_cert::anchors::{ServerCertificates, parse_server_certificates};
use kx_cert::pair;
use kx_crypto::secret::SecretBytes;
use kx_http::url::{ExtractError, Url};

use crate::connection::Limits;
use crate::error::{ClientPairError, FetchError, FileError, LoadServerCertsError};
use crate::exchange;
use crate::tls::TlsConfig;

/// A PEM file may have so many octets. The original has no limit.
const PEM_MAX: u64 = 16 * 1024 * 1024;
/// The wait between two rounds does not grow beyond this, unless it was longer to begin with.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// The limit for reaching one server where another one, or another try, would follow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where PEM text comes from.
#[derive(Debug, Clone)]
pub enum PemSource {
    /// A file, read when the client is built.
    File(PathBuf),
    /// The text itself.
    Memory(Arc<SecretBytes>),
}

impl Default for PemSource {
    /// The file with the empty name, as the original's flags: it cannot be opened.
    fn default() -> Self {
        Self::File(PathBuf::new())
    }
}

impl PemSource {
    /// A copy of the text; it is wiped when no longer used.
    #[must_use]
    pub fn memory(text: &[u8]) -> Self {
        let mut copy = SecretBytes::with_capacity(text.len());
        copy.extend_from_slice(text);
        Self::Memory(Arc::new(copy))
    }

    fn load(&self) -> Result<Arc<SecretBytes>, FileError> {
        match self {
            Self::Memory(text) => Ok(Arc::clone(text)),
            Self::File(path) => {
                let failed = |step, error| FileError {
                    step,
                    path: path.clone(),
                    error,
                };
                let mut file = File::open(path).map_err(|e| failed("open", e))?;
                let text = read_secret(&mut file).map_err(|e| failed("read", e))?;
                Ok(Arc::new(text))
            }
        }
    }
}

fn read_secret(file: &mut File) -> io::Result<SecretBytes> {
    let mut text = SecretBytes::with_capacity(8 * 1024);
    let mut part = SecretBytes::zeroed(8 * 1024);
    let mut file = file.take(PEM_MAX + 1);
    loop {
        match file.read(part.as_mut_slice()) {
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(part.as_slice().get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if text.len() as u64 > PEM_MAX {
        return Err(io::Error::from_raw_os_error(libc_efbig()));
    }
    Ok(text)
}

/// EFBIG, "file too large".
fn libc_efbig() -> i32 {
    rustix::io::Errno::FBIG.raw_os_error()
}

/// The settings of a [`Client`].
#[derive(Debug, Clone, Default)]
pub struct ClientBuilder {
    client_cert: PemSource,
    client_key: PemSource,
    server_cert: PemSource,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry: Duration,
    retry_wait: Option<Duration>,
}

impl ClientBuilder {
    /// Nothing set: no files, no time limits, no second try.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The client's certificate, with its chain behind it if there is one.
    pub fn client_cert(&mut self, source: PemSource) -> &mut Self {
        self.client_cert = source;
        self
    }

    /// The private key of the client's certificate.
    pub fn client_key(&mut self, source: PemSource) -> &mut Self {
        self.client_key = source;
        self
    }

    /// The certificates that a server may have, or their authorities.
    pub fn server_cert(&mut self, source: PemSource) -> &mut Self {
        self.server_cert = source;
        self
    }

    /// The limit for a whole fetch: all servers and all tries together. Zero is none.
    pub fn timeout(&mut self, limit: Duration) -> &mut Self {
        self.timeout = (!limit.is_zero()).then_some(limit);
        self
    }

    /// The limit for reaching one server, from the look-up of its name to the end of the handshake.
    /// Zero is none. When not set it is none for one server and one try, else ten seconds.
    pub fn connect_timeout(&mut self, limit: Duration) -> &mut Self {
        self.connect_timeout = Some(limit);
        self
    }

    /// How long to go on trying while no server can be reached. Zero is one try.
    pub fn retry(&mut self, time: Duration) -> &mut Self {
        self.retry = time;
        self
    }

    /// The wait before the second try, one second when not set. It doubles up to ten seconds.
    pub fn retry_wait(&mut self, wait: Duration) -> &mut Self {
        self.retry_wait = Some(wait);
        self
    }

    /// Loads what the settings name, in the original's order: certificate, key, server certificates.
    ///
    /// # Errors
    /// [`FetchError::ClientPair`] and [`FetchError::ServerCerts`].
    pub fn build(&self) -> Result<Client, FetchError> {
        let pair = self.load_pair().map_err(FetchError::ClientPair)?;
        let trusted = self.load_trusted().map_err(FetchError::ServerCerts)?;
        let tls = TlsConfig::new(&pair, Arc::new(trusted))
            .map_err(|e| FetchError::ClientPair(ClientPairError::Library(e)))?;
        Ok(Client {
            tls,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            retry: self.retry,
            retry_wait: self.retry_wait.unwrap_or(RETRY_WAIT),
        })
    }

    fn load_pair(&self) -> Result<pair::KeyPair, ClientPairError> {
        let cert = self.client_cert.load()?;
        let key = self.client_key.load()?;
        Ok(pair::load(cert.as_slice(), key.as_slice())?)
    }

    fn load_trusted(&self) -> Result<ServerCertificates, LoadServerCertsError> {
        let text = self.server_cert.load()?;
        Ok(parse_server_certificates(text.as_slice())?)
    }
}

/// Fetches keys. It may be used by several threads at the same time.
pub struct Client {
    tls: TlsConfig,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry: Duration,
    retry_wait: Duration,
}

impl Client {
    /// The key behind one URL.
    ///
    /// # Errors
    /// [`FetchError`], of the last try.
    pub fn fetch(&self, url: &[u8]) -> Result<SecretBytes, FetchError> {
        let mut failures = Failures::new(1);
        match self.run(&[url], &mut failures) {
            Some(key) => Ok(key),
            None => Err(failures.into_single()),
        }
    }

    /// The key from the first of several servers that gives it, asked in this order.
    ///
    /// A server that gave an answer, whatever it was, or that is none of ours, is not asked again;
    /// one that could not be reached is, as long as [`ClientBuilder::retry`] says.
    ///
    /// # Errors
    /// One failure for each server that was tried, in order; at least one.
    pub fn fetch_any<U: AsRef<[u8]>>(&self, urls: &[U]) -> Result<SecretBytes, Vec<FetchError>> {
        let mut failures = Failures::new(urls.len());
        match self.run(urls, &mut failures) {
            Some(key) => Ok(key),
            None => Err(failures.into_vec()),
        }
    }

    fn run<U: AsRef<[u8]>>(&self, urls: &[U], failures: &mut Failures) -> Option<SecretBytes> {
        let start = Instant::now();
        let deadline = self.timeout.and_then(|t| start.checked_add(t));
        let retry_until = start.checked_add(self.retry);
        let connect = self.connect_limit(urls.len());
        let mut wait = self.retry_wait;
        loop {
            for (i, url) in urls.iter().enumerate() {
                if failures.is_final(i) {
                    continue;
                }
                match self.try_one(url.as_ref(), deadline, connect) {
                    Ok(key) => return Some(key),
                    Err(e) => failures.note(i, e),
                }
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    return None;
                }
            }
            let end = match (retry_until, deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let left = end.map(|e| e.saturating_duration_since(Instant::now()));
            if !failures.any_unreachable() || left.is_some_and(|l| l.is_zero()) {
                return None;
            }
            std::thread::sleep(left.map_or(wait, |l| l.min(wait)));
            wait = wait
                .saturating_mul(2)
                .min(RETRY_WAIT_MAX.max(self.retry_wait));
        }
    }

    fn connect_limit(&self, servers: usize) -> Option<Duration> {
        match self.connect_timeout {
            Some(limit) => (!limit.is_zero()).then_some(limit),
            None => (servers > 1 || !self.retry.is_zero()).then_some(CONNECT_TIMEOUT),
        }
    }

    fn try_one(
        &self,
        url: &[u8],
        total: Option<Instant>,
        connect: Option<Duration>,
    ) -> Result<SecretBytes, FetchError> {
        let url = Url::for_key(url).map_err(FetchError::Url)?;
        exchange::fetch(&self.tls, url, Limits { total, connect })
    }
}

/// The last failure of each server.
struct Failures(Vec<Option<FetchError>>);

impl Failures {
    fn new(servers: usize) -> Self {
        Self(std::iter::repeat_with(|| None).take(servers).collect())
    }

    fn note(&mut self, server: usize, error: FetchError) {
        if let Some(slot) = self.0.get_mut(server) {
            *slot = Some(error);
        }
    }

    fn is_final(&self, server: usize) -> bool {
        matches!(self.0.get(server), Some(Some(e)) if !e.is_unreachable())
    }

    fn any_unreachable(&self) -> bool {
        self.0.iter().flatten().any(FetchError::is_unreachable)
    }

    fn into_vec(self) -> Vec<FetchError> {
        let all: Vec<_> = self.0.into_iter().flatten().collect();
        if all.is_empty() { vec![no_url()] } else { all }
    }

    fn into_single(self) -> FetchError {
        self.0.into_iter().flatten().next().unwrap_or_else(no_url)
    }
}

/// What the original says when no URL is given.
fn no_url() -> FetchError {
    FetchError::Url(ExtractError::Scheme)
}

/// Of the failures of several servers the one to report when only one can be: the first that is an
/// answer of some kind, else the first.
#[must_use]
pub fn most_telling(failures: &[FetchError]) -> Option<&FetchError> {
    failures
        .iter()
        .find(|e| !e.is_unreachable())
        .or(failures.first())
}
