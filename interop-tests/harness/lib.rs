//! What the compliance tests share: starting a subject, talking to it as a foreign client,
//! playing the servers it talks to, and comparing what it does with what was recorded.
//!
//! The *subject* is whatever directory `KX_BIN` names (it must hold `kxd`, `kxc` and
//! `kxgencert`); without it, this workspace's newest build. The same tests run against the
//! original programs (`make check-original`), which proves that they demand the original's
//! behaviour and not our opinion of it.
//!
//! Nothing here is used outside of tests, so failures panic with a sentence that says what
//! could not be set up.

#![deny(unsafe_code)]

pub mod certificates;
pub mod config;
pub mod daemon;
pub mod http_text;
pub mod independent_peer;
pub mod inferno;
pub mod isakmpd;
pub mod lab;
pub mod machine;
pub mod normalize;
pub mod peers;
pub mod program;
pub mod scripted_server;
pub mod skip;
pub mod smart_card;
pub mod smtp_sink;
pub mod subject;
pub mod table;
pub mod tls_client;
pub mod undisturbed;
pub mod wait;
