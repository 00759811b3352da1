//! One test in a laboratory, and the list of those that the original fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;

use crate::lab::implementation::{Implementation, original, subject};
use crate::lab::{Lab, Settings, missing};
use crate::skip::skip;

/// Which daemons a case wants on the client's and the server's host.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// On 10.77.0.1.
    pub client: &'static Implementation,
    /// On 10.77.0.2.
    pub server: &'static Implementation,
}

/// Why the original is known to fail a test, if it is.
fn fails_on_original(name: &str) -> Option<String> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tcpcrypt_original_fails.json");
    let text = std::fs::read_to_string(list).expect("tcpcrypt_original_fails.json");
    let list: Value = serde_json::from_str(&text).expect("tcpcrypt_original_fails.json");
    let reason = list.get(name)?.as_str().expect("a reason");
    Some(reason.to_owned())
}

/// Runs a test of the subject against itself in a laboratory of its own, or tells why not.
///
/// When the subject is the original, a test of `tests/tcpcrypt_original_fails.json` must fail:
/// so each of them has been seen to be able to. A reason that begins with `sometimes:` allows
/// either.
pub fn case(name: &str, settings: Settings, body: impl Fn(&Lab, Pair)) {
    let Some(subject) = ready(name) else { return };
    let pair = Pair {
        client: subject,
        server: subject,
    };
    let reason = fails_on_original(name).filter(|_| subject.original);
    let Some(reason) = reason else {
        body(&Lab::new(settings), pair);
        return;
    };
    let lab = Lab::new(settings);
    let result = catch_unwind(AssertUnwindSafe(|| body(&lab, pair)));
    assert!(
        result.is_err() || reason.starts_with("sometimes:"),
        "the original passes {name}, which is listed as: {reason}"
    );
    eprintln!("{name}: the original, as listed: {reason}");
}

/// Runs a test of the subject against the original in both directions, each in a laboratory
/// of its own, or tells why not.
pub fn crossings(name: &str, settings: Settings, body: impl Fn(&Lab, Pair)) {
    let Some(subject) = ready(name) else { return };
    let Some(original) = original() else {
        skip(name, "KX_REF_TCPCRYPTD does not name an original tcpcryptd");
        return;
    };
    for (client, server) in [(subject, original), (original, subject)] {
        eprintln!("{name}: client {}, server {}", client.name(), server.name());
        body(&Lab::new(settings), Pair { client, server });
    }
}

/// The subject, unless something is missing.
fn ready(name: &str) -> Option<&'static Implementation> {
    if let Some(reason) = missing() {
        skip(name, &reason);
        return None;
    }
    let subject = subject();
    if subject.is_none() {
        skip(name, "no tcpcryptd is built (KX_BIN)");
    }
    subject
}
