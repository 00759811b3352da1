//! The client of kxd: fetches keys over TLS, as the kxc program and as a library (kxd spec section 8).
//!
//! ```no_run
//! use std::time::Duration;
//! use kxc::{ClientBuilder, PemSource};
//!
//! # fn main() -> Result<(), Vec<kxc::FetchError>> {
//! let mut settings = ClientBuilder::new();
//! settings
//!     .client_cert(PemSource::File("/etc/kxc/cert.pem".into()))
//!     .client_key(PemSource::File("/etc/kxc/key.pem".into()))
//!     .server_cert(PemSource::File("/etc/kxc/server.pem".into()))
//!     .retry(Duration::from_secs(30));
//! let client = settings.build().map_err(|e| vec![e])?;
//! let key = client.fetch_any(&["kxd://one.example/disk", "kxd://two.example/disk"])?;
//! assert!(!key.is_empty());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod body;
mod client;
mod connection;
mod dial;
mod error;
mod exchange;
mod stream;
mod tls;

pub use client::{Client, ClientBuilder, PemSource, most_telling};
pub use dial::DialError;
pub use error::{
    BodyError, ClientPairError, Code, FetchError, FileError, GetError, LoadServerCertsError,
};
pub use kx_crypto::secret::SecretBytes;
pub use tls::{TlsError, UntrustedServer};

/// The longest answer that is taken, in octets, compressed or not. The original has no limit.
pub const MAX_BODY: usize = 64 * 1024 * 1024;
