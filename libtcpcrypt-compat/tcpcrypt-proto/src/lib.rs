//! tcpcrypt as state machines: TCP-ENO, the key exchange, the records, and the half of a TCP that
//! keeps two numberings apart.
//!
//! Packets and instants in, packets, deadlines and events out. No socket, clock, file or thread.
#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
mod conn;
pub mod endpoint;
pub mod eno;
pub mod entropy;
pub mod event;
pub mod flow;
pub mod legacy;
pub mod packet;
pub mod seq;
pub mod verdict;
