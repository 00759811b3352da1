//! Certificates as kxd and kxc judge them: PEM, X.509, and the rules by which one is allowed or
//! not.
//!
//! It is pure: octets and a time in, verdicts out, in the very words of the Go programs that kx
//! replaces. It is not a general path validator (no revocation, usage is always that of a TLS
//! server), and it does not do TLS.
//!
//! ```
//! use kx_cert::anchors::Anchors;
//! use kx_cert::{Certificate, pem};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop-tests");
//! # let vectors = format!("{root}/vectors/kxd/clientcerts");
//! # let sent = std::fs::read(format!("{vectors}/self-p256/cert.pem"))?;
//! # let allowed_clients = std::fs::read(format!("{vectors}/self-p256/allowed_clients"))?;
//! let block = pem::blocks(&sent).next().ok_or("no certificate")?;
//! let leaf = Certificate::parse(&block.der)?;
//! let now = "2026-11-21T00:00:00Z".parse()?;
//! let chains = Anchors::load(&allowed_clients, &leaf)?.verify(&leaf, &[], &now)?;
//! assert_eq!(kx_cert::chain_text::chain(&chains[0]), leaf.short());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod algorithm;
pub mod anchors;
mod certificate;
pub mod chain_text;
pub mod client_chain;
mod constraints;
mod der;
mod error;
mod extensions;
pub mod name;
mod oid;
pub mod pair;
pub mod pem;
mod policy;
pub mod server_name;
pub mod star;
pub mod verify;

pub use algorithm::{CertificateSignature, PublicKeyKind};
pub use certificate::Certificate;
pub use error::{ParseError, PublicKeyError, StringError};
pub use oid::Oid;
pub use server_name::ServerName;
