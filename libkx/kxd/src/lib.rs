//! Key exchange daemon: gives keys over mutual TLS to the clients that may have them.
#![forbid(unsafe_code)]

pub mod email;
pub mod hook;
pub mod key_store;
pub mod limits;
pub mod metrics;
