//! The tests of `handshake` over IPv6.

#[path = "handshake/active.rs"]
mod active;
#[path = "handshake/fallback.rs"]
mod fallback;
#[path = "handshake/host.rs"]
mod host;
#[path = "handshake/passive.rs"]
mod passive;
#[path = "handshake/reopened.rs"]
mod reopened;
#[path = "handshake/resumed.rs"]
mod resumed;
#[path = "handshake/rules.rs"]
mod rules;
#[path = "handshake/standard.rs"]
mod standard;
#[path = "handshake/standard_data.rs"]
mod standard_data;
#[path = "handshake/standard_refused.rs"]
mod standard_refused;
