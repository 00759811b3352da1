//! One connection to a server, with TLS or (after a redirect only) without.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use kx_http::url::{Scheme, Target};
use openssl::ssl::{ErrorCode, SslStream};

use crate::dial::dial;
use crate::error::GetError;
use crate::stream::{Ended, TimedStream};
use crate::tls::{TlsConfig, TlsError, classify};

/// The time limits of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// When everything must be over.
    pub(crate) total: Option<Instant>,
    /// How long it may take to reach a server.
    pub(crate) connect: Option<Duration>,
}

impl Limits {
    fn connect_deadline(&self) -> Option<Instant> {
        let connect = self
            .connect
            .and_then(|limit| Instant::now().checked_add(limit));
        match (connect, self.total) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

pub(crate) enum Connection {
    Plain(TimedStream),
    Tls(SslStream<TimedStream>),
}

impl Connection {
    /// Connects; with TLS the server has been judged when this returns.
    ///
    /// # Errors
    /// As the parts.
    pub(crate) fn open(tls: &TlsConfig, target: &Target, limits: Limits) -> Result<Self, GetError> {
        let deadline = limits.connect_deadline();
        // Host and port of a target are ASCII.
        let host = String::from_utf8_lossy(&target.host);
        let port = String::from_utf8_lossy(&target.port);
        let stream = TimedStream::new(dial(&host, &port, deadline)?, deadline);
        let mut connection = match target.scheme {
            Scheme::Http => Self::Plain(stream),
            Scheme::Https => Self::Tls(tls.connect(&host, stream)?),
        };
        connection.stream().set_deadline(limits.total);
        Ok(connection)
    }

    fn stream(&mut self) -> &mut TimedStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// [`TlsError`]. When the server has said why it closed, that.
    pub(crate) fn send(&mut self, octets: &[u8]) -> Result<(), TlsError> {
        let sent = match self {
            Self::Plain(stream) => stream.write_all(octets),
            Self::Tls(stream) => stream.write_all(octets),
        };
        if sent.is_ok() {
            return Ok(());
        }
        let failure = classify(self.stream(), None);
        match self.receive(&mut [0; 1]) {
            Err(alert @ TlsError::Alert(_)) => Err(alert),
            _ => Err(failure),
        }
    }

    /// Takes what has come; 0 is the end.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) fn receive(&mut self, into: &mut [u8]) -> Result<usize, TlsError> {
        match self {
            Self::Plain(stream) => {
                let received = stream.read(into);
                received.map_err(|_: io::Error| classify(stream, None))
            }
            Self::Tls(stream) => loop {
                let error = match stream.ssl_read(into) {
                    Ok(n) => return Ok(n),
                    Err(error) => error,
                };
                match error.code() {
                    ErrorCode::ZERO_RETURN => return Ok(0),
                    ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => {}
                    _ => return ended(stream.get_ref(), &error),
                }
            },
        }
    }
}

/// The original takes an end between two records as a proper one, even without close_notify.
fn ended(stream: &TimedStream, error: &openssl::ssl::Error) -> Result<usize, TlsError> {
    match classify(stream, error.ssl_error()) {
        TlsError::Eof if stream.ended() == Some(&Ended::Eof { at_boundary: true }) => Ok(0),
        other => Err(other),
    }
}
