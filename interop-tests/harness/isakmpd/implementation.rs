//! Whose isakmpd runs in a laboratory.
//!
//! - The subject: `isakmpd` in the directory `KX_BIN`, by default this workspace's newest build. With
//!   `KX_ISAKMPD=original` the original is the subject, which shows that the tests demand what it does.
//! - The original: `KX_REF_ISAKMPD`. No distribution of today has it.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::SystemTime;

use crate::isakmpd::missing;
use crate::skip::skip;
use crate::subject::workspace;

/// One isakmpd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    /// The daemon.
    pub isakmpd: PathBuf,
    /// True for the original, false for ours.
    pub original: bool,
}

impl Implementation {
    /// For messages.
    pub fn name(&self) -> &'static str {
        if self.original { "original" } else { "ours" }
    }
}

static ORIGINAL: LazyLock<Option<Implementation>> = LazyLock::new(|| {
    let isakmpd = PathBuf::from(std::env::var_os("KX_REF_ISAKMPD")?);
    assert!(
        isakmpd.is_file(),
        "KX_REF_ISAKMPD: no {}",
        isakmpd.display()
    );
    Some(Implementation {
        isakmpd,
        original: true,
    })
});

static SUBJECT: LazyLock<Option<Implementation>> = LazyLock::new(|| {
    let found = match std::env::var("KX_ISAKMPD").as_deref() {
        Ok("original") => ORIGINAL.clone(),
        Ok(other) if other != "ours" => panic!("KX_ISAKMPD={other}: use ours or original"),
        _ => ours(),
    };
    if let Some(subject) = &found {
        eprintln!(
            "subject: {} in {}",
            subject.name(),
            subject.isakmpd.display()
        );
    }
    found
});

/// The original, if given.
pub fn original() -> Option<&'static Implementation> {
    ORIGINAL.as_ref()
}

/// The isakmpd under test, or tells why the test cannot run.
pub fn subject(test: &str) -> Option<&'static Implementation> {
    if let Some(reason) = missing() {
        skip(test, &reason);
        return None;
    }
    let subject = SUBJECT.as_ref();
    if subject.is_none() {
        skip(test, "no isakmpd is built (KX_BIN)");
    }
    subject
}

/// The subject and the original, each in both roles, or tells why not.
pub fn crossings(test: &str) -> Vec<[&'static Implementation; 2]> {
    let Some(subject) = subject(test) else {
        return Vec::new();
    };
    let Some(original) = original() else {
        skip(test, "KX_REF_ISAKMPD does not name an original isakmpd");
        return Vec::new();
    };
    vec![[subject, original], [original, subject]]
}

fn ours() -> Option<Implementation> {
    let dir = std::env::var_os("KX_BIN").map_or_else(newest_build, PathBuf::from);
    let isakmpd = std::path::absolute(dir.join("isakmpd")).ok()?;
    isakmpd.is_file().then_some(Implementation {
        isakmpd,
        original: false,
    })
}

/// `target/release` or `target/debug`, whichever holds the newer isakmpd.
fn newest_build() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let age = |d: &PathBuf| {
        let file = d.join("isakmpd").metadata();
        file.and_then(|m| m.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let candidates = [target.join("debug"), target.join("release")];
    candidates.into_iter().max_by_key(age).unwrap_or_default()
}
