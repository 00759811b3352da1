//! A laboratory for isakmpd: hosts (network namespaces) with a cable or a masquerading router between them, an
//! isakmpd of either implementation on each, strongSwan and libreswan as peers, and captures.
//!
//! Every daemon sees an /etc and a /run of its own, so that many run at once and nothing of the machine is
//! touched. All is taken away when it is dropped, also by a panic.

pub mod configuration;
pub mod daemon;
pub mod gateways;
pub mod implementation;
pub mod ipsec;
pub mod libreswan;
pub mod network;
pub mod packets;
pub mod process;
pub mod recorded;
pub mod stage;
pub mod strongswan;
pub mod with_kernel;
pub mod with_strongswan;

use std::time::Duration;

/// Longest wait for something that a negotiation should reach without a resend being lost twice; also on an emulated
/// processor.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why no laboratory can be had here, if so.
pub fn missing() -> Option<String> {
    if !crate::undisturbed::is_root() {
        return Some("needs root for namespaces".to_owned());
    }
    for program in ["ip", "unshare", "nsenter"] {
        if !crate::peers::on_path(program) {
            return Some(format!("no program {program}"));
        }
    }
    stage::missing()
}
