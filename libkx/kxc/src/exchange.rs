//! From a URL to a key: requests, redirects, and what the last answer says.

use kx_crypto::secret::SecretBytes;
use kx_http::client::{self, Event, MAX_REDIRECTS, ResponseError, ResponseHead, ResponseReader};
use kx_http::url::Url;

use crate::body::{PART, gunzip};
use crate::connection::{Connection, Limits};
use crate::error::{BodyError, FetchError, GetError};
use crate::tls::{TlsConfig, TlsError};

/// Octets of an answer's head. The original takes 10 MiB.
const HEAD_MAX: usize = 1024 * 1024;

/// Asks one server, and those that it names instead.
///
/// # Errors
/// [`FetchError`], without the ones of loading and of the URL's form.
pub(crate) fn fetch(
    tls: &TlsConfig,
    mut url: Url,
    limits: Limits,
) -> Result<SecretBytes, FetchError> {
    let mut referer = None;
    let mut last_location = Vec::new();
    for _ in 0..MAX_REDIRECTS {
        let answer = Answer::get(tls, &url, referer.as_deref(), limits).map_err(|cause| {
            FetchError::Get {
                url: url.to_redacted(),
                cause: Box::new(cause),
            }
        })?;
        let Some(location) = answer.head.redirect() else {
            return answer.key();
        };
        let next = url.redirect(location).map_err(|reason| FetchError::Get {
            url: url.to_redacted(),
            cause: Box::new(GetError::Location {
                location: location.to_vec(),
                reason,
            }),
        })?;
        last_location = location.to_vec();
        referer = url.referer(&next);
        url = next;
    }
    // Here the original shows the Location as it was sent.
    Err(FetchError::Get {
        url: last_location,
        cause: Box::new(GetError::TooManyRedirects),
    })
}

/// An answer of which the head is there.
struct Answer {
    head: ResponseHead,
    connection: Connection,
    reader: ResponseReader,
    part: SecretBytes,
}

/// Why an answer, or its rest, did not come.
enum Failure {
    Connection(TlsError),
    Http(ResponseError),
}

impl Answer {
    fn get(
        tls: &TlsConfig,
        url: &Url,
        referer: Option<&[u8]>,
        limits: Limits,
    ) -> Result<Self, GetError> {
        let target = url.target()?;
        let mut connection = Connection::open(tls, &target, limits)?;
        connection
            .send(&client::get(&target, referer))
            .map_err(before_body)?;
        let mut reader = ResponseReader::new(client::Limits {
            max_head: HEAD_MAX,
            max_body: crate::MAX_BODY,
        });
        let mut part = SecretBytes::zeroed(PART);
        match advance(&mut connection, &mut reader, &mut part) {
            Ok(Event::Head(head)) => Ok(Self {
                head,
                connection,
                reader,
                part,
            }),
            // The head comes first.
            Ok(_) => Err(GetError::Http(ResponseError::Closed)),
            Err(Failure::Http(error)) => Err(GetError::Http(error)),
            Err(Failure::Connection(error)) => Err(before_body(error)),
        }
    }

    /// The body, if this is an answer with a key.
    fn key(mut self) -> Result<SecretBytes, FetchError> {
        let body = self.body().map_err(FetchError::Body)?;
        if self.head.code == 200 {
            return Ok(body);
        }
        Err(FetchError::HttpStatus {
            status: self.head.code,
            status_text: self.head.status,
            body: body.as_slice().to_vec(),
        })
    }

    fn body(&mut self) -> Result<SecretBytes, BodyError> {
        let sent = match advance(&mut self.connection, &mut self.reader, &mut self.part) {
            Ok(Event::Body(body)) => SecretBytes::from(body),
            Ok(_) => return Err(BodyError::UnexpectedEof),
            Err(failure) => return Err(failure.into()),
        };
        if self.head.gzip {
            gunzip(sent.as_slice(), crate::MAX_BODY)
        } else {
            Ok(sent)
        }
    }
}

/// Reads on until there is an event.
fn advance(
    connection: &mut Connection,
    reader: &mut ResponseReader,
    part: &mut SecretBytes,
) -> Result<Event, Failure> {
    loop {
        match reader.poll().map_err(Failure::Http)? {
            Event::NeedInput => {}
            event => return Ok(event),
        }
        match connection
            .receive(part.as_mut_slice())
            .map_err(Failure::Connection)?
        {
            0 => reader.handle_eof(),
            n => reader.handle_input(part.as_slice().get(..n).unwrap_or_default()),
        }
    }
}

fn before_body(error: TlsError) -> GetError {
    match error {
        TlsError::Timeout => GetError::Timeout,
        other => GetError::Tls(other),
    }
}

impl From<Failure> for BodyError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connection(TlsError::Timeout) => Self::Timeout,
            Failure::Connection(TlsError::Eof | TlsError::UnexpectedEof) => Self::UnexpectedEof,
            Failure::Connection(other) => Self::Tls(other),
            Failure::Http(ResponseError::Body(client::BodyFailure::UnexpectedEof)) => {
                Self::UnexpectedEof
            }
            Failure::Http(ResponseError::Body(client::BodyFailure::TooLarge(_))) => Self::TooLarge,
            Failure::Http(other) => Self::Http(other),
        }
    }
}
