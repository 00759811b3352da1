//! `kxd --check`: says what is wrong with a configuration before it matters (ours).
//!
//! It reads what the daemon would read and judges it by the daemon's own rules, above all what the
//! daemon silently passes over: a block of `allowed_clients` that is no certificate, an address in
//! `allowed_hosts` that never matches. Nothing is changed, nothing is resolved or connected to, and
//! the content of keys is not read.
//!
//! A problem is one line, `FILE:LINE: error: PROBLEM: WHAT TO DO` or `warning:`, without `LINE:` where
//! there is none. An error keeps a key from a client that is meant to have it, or gives it away; a
//! warning may be meant.

mod clients;
mod data_dir;
mod files;
mod hook;
mod hosts;
mod mail;
mod report;
mod server_pair;
mod settings;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};

use report::Report;

/// What is checked.
#[derive(Debug, Clone)]
pub struct CheckConfig {
    /// Server certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Keys and their configuration.
    pub data_dir: PathBuf,
    /// The hook; empty for none.
    pub hook: PathBuf,
    /// Whether the hook's path was given, so that it is missed if it is not there.
    pub hook_expected: bool,
    /// Literal address to listen on.
    pub ip_addr: String,
    /// Port as given.
    pub port: i64,
    /// `host:port` of the mail server; empty for no mail.
    pub smtp_addr: String,
    /// Sender of mail.
    pub email_from: String,
    /// Files that are appended to: the log, the access log.
    pub logs: Vec<PathBuf>,
    /// When certificates must be valid.
    pub now: DateTime<FixedOffset>,
}

/// Checks everything, writes one line per problem and a summary to `out`.
///
/// # Errors
/// Writing to `out` failed.
///
/// Returns whether there is no error; warnings do not count.
pub fn run(config: &CheckConfig, out: &mut dyn Write) -> io::Result<bool> {
    let mut report = Report::default();
    server_pair::check(&mut report, config);
    settings::check(&mut report, config);
    hook::check(&mut report, config);
    let keys = data_dir::check(&mut report, config);
    report.write(out, keys)
}
