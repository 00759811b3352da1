//! Inferno's keys, certificates, station-to-station authentication, record layer and login, without sockets.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod authinfo;
pub mod certificate;
pub mod floor;
pub mod framing;
pub mod generate;
pub mod key;
pub mod login;
pub mod number;
pub mod peer_text;
pub mod session;
pub mod ssl;
pub mod sts;
