//! One request and its answer.
use kx_crypto::secret::SecretBytes;
use crate::connection::{Connection, Limits};
use crate::error::{FetchError, GetError};
use crate::tls::TlsConfig;

#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ResponseError;
pub(crate) fn fetch(tls: &TlsConfig, url: kx_http::url::Url, limits: Limits) -> Result<SecretBytes, FetchError> {
    let failed = |cause| FetchError::Get { url: url.to_redacted(), cause };
    let target = url.target().map_err(|e| failed(GetError::Target(e)))?;
    let mut c = Connection::open(tls, &target, limits).map_err(failed)?;
    c.send(b"").map_err(|e| failed(e.into()))?;
    c.receive(&mut []).map_err(|e| failed(e.into()))?;
    Err(failed(GetError::TooManyRedirects))
}
