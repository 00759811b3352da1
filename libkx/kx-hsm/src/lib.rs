//! What the tools for SmartCard-HSM key domains share: `kx-hsm` ([`run`]) for custodians, and [`sc_hsm_tool`],
//! a drop-in for OpenSC's.
#![forbid(unsafe_code)]

pub mod apdu_log;
pub mod arguments;
pub mod ceremony;
pub mod device;
pub mod domain;
pub mod error;
pub mod exchange_key;
pub mod file;
pub mod files;
pub mod group;
pub mod init;
pub mod key;
pub mod key_type;
pub mod membership;
pub mod move_key;
pub mod pin;
pub mod pinentry;
pub mod pka;
pub mod private_key;
pub mod progress;
pub mod public_key;
pub mod report;
pub mod run;
pub mod sc_hsm_tool;
pub mod secret_source;
pub mod selftest;
pub mod share;
pub mod status;
pub mod task;
pub mod trust;
