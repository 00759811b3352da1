//! Privilege separation (isakmpd 2): the monitor stays root and opens what the child, which talks to the
//! network, may ask for.

mod client;
mod guard;
mod message;
mod pf_key;
mod server;

pub use client::Remote;
pub use guard::{Guard, Interface};
pub use message::{MAX_MESSAGE, Reply, Request};
pub use pf_key::{MAX_NOTICE, Relay};
pub use server::{answer, run};
