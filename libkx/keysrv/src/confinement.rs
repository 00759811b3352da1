//! What a process that serves one connection gives up before it reads from it: files, programs, other
//! processes. What is left is the connection, and making others: the socket of keyfs is one.

use std::path::Path;

use kx_sys::sandbox::{self, Report};

use crate::accounts;

/// Gives it up for good. Best effort, and nothing at all (`None`) where the accounts of `keys` are
/// ordinary files, which have to be opened.
#[must_use]
pub fn confine(keys: &Path) -> Option<Report> {
    accounts::is_served(keys).then(|| {
        let calls = [
            sandbox::BASIC_CALLS,
            sandbox::SOCKET_CALLS,
            sandbox::PROXY_CALLS,
            sandbox::LOOK_CALLS,
        ];
        sandbox::confine(&calls, &[])
    })
}
