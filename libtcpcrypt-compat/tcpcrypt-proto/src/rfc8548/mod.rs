//! The standard tcpcrypt (RFC 8548): what it says in ENO options, the two messages of the key exchange, the key
//! schedule with the chain of resumed sessions, and frames with rekeying.
//!
//! It runs under options of either kind: under 253 between hosts that found each other by key exchanges that the
//! original has not got (tcpcrypt spec 7.7).

pub mod exchange;
pub mod frame;
pub mod init;
pub mod keys;
pub mod negotiation;
