//! tcpcrypt as state machines: TCP-ENO, the key exchange, the records, and the half of a TCP that
//! keeps two numberings apart.
//!
//! Packets and instants in, packets, deadlines and events out. No socket, clock, file or thread.
//! An [`endpoint::Endpoint`] is a whole host; two of them in memory (`examples/pair.rs`):
//!
//! ```
#![doc = include_str!("../examples/pair.rs")]
//! ```
#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
mod conn;
pub mod dialect;
pub mod endpoint;
pub mod eno;
pub mod entropy;
pub mod event;
pub mod flow;
pub mod framing;
pub mod legacy;
mod network;
pub mod packet;
pub mod records;
pub mod rfc8547;
pub mod rfc8548;
pub mod seq;
pub mod stream;
pub mod verdict;
