//! Which programs are under test, and whose expectations hold for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// Whose behaviour a test demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project.
    Ours,
    /// The original's newest commit (kxd spec, first table).
    Head,
    /// The original as Debian 13 ships it.
    V017,
    /// The original as Debian 12 ships it.
    V015,
}

impl Kind {
    /// Name of this build's overriding results in the vectors' `differs`.
    pub fn differs_key(self) -> Option<&'static str> {
        match self {
            Kind::Ours | Kind::Head => None,
            Kind::V017 => Some("0.17 (Debian 13)"),
            Kind::V015 => Some("0.15 (Debian 12)"),
        }
    }
}

/// The programs under test.
#[derive(Debug)]
pub struct Subject {
    /// Directory that holds `kxd`, `kxc` and `kxgencert`.
    pub bin: PathBuf,
    /// Whose expectations hold.
    pub kind: Kind,
}

impl Subject {
    /// Path of one of the subject's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| {
    let bin = std::env::var_os("KX_BIN").map_or_else(newest_build, PathBuf::from);
    let bin = std::path::absolute(&bin).unwrap_or(bin);
    let kind = match std::env::var("KX_SUBJECT").ok().as_deref() {
        Some("ours") => Kind::Ours,
        Some("HEAD") => Kind::Head,
        Some("0.17") => Kind::V017,
        Some("0.15") => Kind::V015,
        Some(other) => panic!("KX_SUBJECT={other}: use ours, HEAD, 0.17 or 0.15"),
        None => detect(&bin),
    };
    eprintln!("subject: {kind:?} in {}", bin.display());
    Subject { bin, kind }
});

/// The programs under test (chosen once per process).
pub fn subject() -> &'static Subject {
    &SUBJECT
}

/// True when the programs under test are this project's.
pub fn ours() -> bool {
    subject().kind == Kind::Ours
}

/// Root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `target/release` or `target/debug`, whichever holds the newer kxd.
fn newest_build() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let age = |d: &PathBuf| {
        d.join("kxd")
            .metadata()
            .and_then(|m| m.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let candidates = [target.join("debug"), target.join("release")];
    candidates.into_iter().max_by_key(age).unwrap_or_default()
}

/// Tells the builds apart by what only they do.
fn detect(bin: &Path) -> Kind {
    let usage = |program: &str| {
        let out = Command::new(bin.join(program)).arg("-h").output();
        out.map(|o| String::from_utf8_lossy(&o.stderr).into_owned())
            .unwrap_or_default()
    };
    let kxd = usage("kxd");
    if kxd.is_empty() || kxd.contains("\n  -check\n") {
        Kind::Ours
    } else if kxd.contains("\n  -version\n") {
        Kind::Head
    } else if usage("kxgencert").contains("(default \"*\")") {
        Kind::V015
    } else {
        Kind::V017
    }
}
