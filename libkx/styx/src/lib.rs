//! 9P2000, which Inferno calls Styx: messages, and both ends of a connection as state machines.
//!
//! [`message`] turns octets into messages and back. [`server::Server`] answers the requests of one
//! connection out of a [`server::Tree`] that the user of the crate provides; it speaks with the
//! voice of one of two servers of Inferno ([`server::Dialect`]). [`client::Client`] sends requests
//! and understands the replies. There are no sockets, clocks or threads in here.
//!
//! Secrets travel in these messages, so whatever holds whole ones is wiped when it is dropped.
#![forbid(unsafe_code)]

pub mod client;
pub mod message;
pub mod server;
pub mod stat;
mod text;
mod wire;
