//! ISAKMP messages (RFC 2408, with the IPsec DOI of RFC 2407): parsing with every bound checked, and building.
//!
//! Bytes in, values out: no sockets, clock or state. [`message::Message`] is a whole message in clear text,
//! [`message::Builder`] makes one; [`malformed::Malformed`] says why a received one is refused, in the words
//! of the original's log, and what to answer.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod header;
pub mod identity;
pub mod malformed;
pub mod message;
pub mod nat_t;
pub mod number;
mod octets;
pub mod outline;
pub mod payload;
pub mod sa;
pub mod vendor_id;
