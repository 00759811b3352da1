//! Two hosts with a TCP like a kernel's, a daemon in front of each or none, and a network that
//! loses, repeats, reorders, damages, cuts and joins. Everything follows from a seed; time is a
//! number.
//!
//! ```ignore
//! let mut lab = Lab::new(1)
//!     .client(Host::tcpcrypt(Config::default()))
//!     .server(Host::tcpcrypt(Config::default()))
//!     .network(Network::lossy(0.01));
//! let conn = lab.connect();
//! lab.send(conn, Side::Client, b"hello");
//! lab.run(Duration::from_secs(1));
//! assert_eq!(lab.received(conn, Side::Server), b"hello");
//! ```
// Each test program uses another part of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod family;
pub(crate) mod front;
pub(crate) mod kernel;
mod lab;
pub(crate) mod narrow;
pub(crate) mod network;
pub(crate) mod offload;
pub(crate) mod rng;
mod tap;

pub(crate) use family::{eno_kind, is_standard};
pub(crate) use kernel::{End, Probe, Settings, State};
pub(crate) use lab::{Conn, Host, Lab, PORT, SIDES, Side};
pub(crate) use network::{Loopback, Network, Which};
pub(crate) use tap::{Seen, Stream, Tap};
