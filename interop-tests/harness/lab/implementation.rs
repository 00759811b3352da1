//! Whose programs run in a laboratory.
//!
//! - The subject: `KX_BIN`, a directory with `tcpcryptd` and `tcnetstat`; default is this
//!   workspace's newest build.
//! - The original: `KX_REF_TCPCRYPTD`, its daemon or the directory that holds it, with
//!   `tcnetstat` beside it; `KX_REF_LIBTCPCRYPT`, its `libtcpcrypt.so.0` or the directory that
//!   holds it, default the same directory. No distribution has them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

use crate::lab::host::Host;
use crate::subject::workspace;

/// The programs of one implementation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Implementation {
    /// The daemon.
    pub tcpcryptd: PathBuf,
    /// The lister.
    pub tcnetstat: PathBuf,
    /// Directory with `libtcpcrypt.so.0`.
    pub library: PathBuf,
    /// True for the original, false for ours.
    pub original: bool,
}

impl Implementation {
    /// The programs in a directory, if there is a `tcpcryptd`.
    pub fn in_directory(dir: &Path) -> Option<Implementation> {
        let dir = std::path::absolute(dir).ok()?;
        let tcpcryptd = dir.join("tcpcryptd");
        let text = std::fs::read(&tcpcryptd).ok()?;
        Some(Implementation {
            original: !is_rust(&text),
            tcnetstat: dir.join("tcnetstat"),
            library: dir,
            tcpcryptd,
        })
    }

    /// For messages.
    pub fn name(&self) -> &'static str {
        if self.original { "original" } else { "ours" }
    }

    /// A command for this tcnetstat on a host, with its library.
    pub fn tcnetstat(&self, host: &Host, control: &Path) -> Command {
        let mut command = host.command(&self.tcnetstat);
        command
            .arg("-u")
            .arg(control)
            .env("LD_LIBRARY_PATH", &self.library);
        command
    }
}

/// Programs of ours name the compiler's sources in their panic texts, stripped or not.
fn is_rust(program: &[u8]) -> bool {
    let mark = b"/rustc/";
    program.windows(mark.len()).any(|w| w == mark)
}

static SUBJECT: LazyLock<Option<Implementation>> = LazyLock::new(|| {
    let dir = std::env::var_os("KX_BIN").map_or_else(newest_build, PathBuf::from);
    let found = Implementation::in_directory(&dir);
    if let Some(subject) = &found {
        eprintln!("subject: {} in {}", subject.name(), dir.display());
    }
    found
});

static ORIGINAL: LazyLock<Option<Implementation>> = LazyLock::new(|| {
    let given = PathBuf::from(std::env::var_os("KX_REF_TCPCRYPTD")?);
    let dir = if given.is_dir() {
        given
    } else {
        given.parent()?.to_owned()
    };
    let mut found = Implementation::in_directory(&dir)
        .unwrap_or_else(|| panic!("KX_REF_TCPCRYPTD: no tcpcryptd in {}", dir.display()));
    if let Some(library) = std::env::var_os("KX_REF_LIBTCPCRYPT").map(PathBuf::from) {
        found.library = match library.parent() {
            Some(dir) if library.is_file() => dir.to_owned(),
            _ => library,
        };
    }
    Some(found)
});

/// The programs under test; nothing if they are not built.
pub fn subject() -> Option<&'static Implementation> {
    SUBJECT.as_ref()
}

/// The original, if given.
pub fn original() -> Option<&'static Implementation> {
    ORIGINAL.as_ref()
}

/// `target/release` or `target/debug`, whichever holds the newer tcpcryptd.
fn newest_build() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    let age = |d: &PathBuf| {
        let file = d.join("tcpcryptd").metadata();
        file.and_then(|m| m.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let candidates = [target.join("debug"), target.join("release")];
    candidates.into_iter().max_by_key(age).unwrap_or_default()
}
