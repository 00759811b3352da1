//! IKEv1 (RFC 2409) without sockets, clocks, files or threads: bytes and time go in, bytes, events and
//! work for other threads come out of one [`Engine`].
#![forbid(unsafe_code)]

pub mod cipher;
pub mod config;
mod connections;
pub mod credentials;
mod delete;
mod dpd;
mod engine;
pub mod event;
mod exchange;
pub mod job;
pub mod journal;
pub mod kernel;
pub mod keys;
mod lifetime;
mod nat;
mod phase1;
mod phase2;
pub mod policy;
pub mod random;
mod report;
pub mod sa;
mod status;

pub use engine::{Engine, Limits, Options, Phase, Setup};
pub use exchange::{ExchangeId, ExchangeSummary};
pub use report::Report;
