//! Key exchange daemon: gives keys over mutual TLS to the clients that may have them.
//!
//! This is the library behind the program `kxd`, a drop-in for albertito/kxd. It is the server;
//! the client is [`client`] (the crate `kxc`), which the C library uses without any of this.
//!
//! A request is decided in [`refusal`]'s order; [`authz`] says which certificate may have a key.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod authz;
pub mod check;
mod clock;
pub mod email;
mod handler;
pub mod hook;
pub mod key_store;
pub mod limits;
pub mod log_source;
pub mod metrics;
pub mod options;
pub mod refusal;
pub mod server;
pub mod tls;
mod turns;

/// The client: fetching keys, with the same shape as the C library.
pub use kxc as client;
