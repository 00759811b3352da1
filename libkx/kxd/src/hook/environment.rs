//! The hook's environment: exactly these variables in exactly this order (kxd spec 5).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use kx_cert::chain_text;
use kx_sys::spawn::Command;

use super::Request;

/// Copied from our own environment; empty when unset. (`PWD` is not the working directory then.)
const COPIED: [&str; 4] = ["USER", "PWD", "SHELL", "PATH"];

pub(super) fn fill(command: &mut Command, request: &Request<'_>) {
    for name in COPIED {
        command.environment(name, std::env::var_os(name).unwrap_or_default());
    }
    command.environment("KEY_PATH", OsStr::from_bytes(request.key_path));
    command.environment("REMOTE_ADDR", request.remote_addr);
    command.environment("MAIL_FROM", request.mail_from);
    if !request.email_to.is_empty() {
        let addresses = request.email_to.join(&b' ');
        command.environment("EMAIL_TO", OsStr::from_bytes(&addresses));
    }
    command.environment("CLIENT_CERT_SIGNATURE", request.client.signature_hex());
    command.environment(
        "CLIENT_CERT_SUBJECT",
        OsString::from(request.client.subject_full()),
    );
    for (number, chain) in request.chains.iter().enumerate() {
        command.environment(&format!("CHAIN_{number}"), chain_text::chain(chain));
    }
}
