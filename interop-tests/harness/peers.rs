//! Foreign programs that the subject talks to.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with Debian's own kxd, kxc and kxgencert, wherever there is one: `KX_REF_KXD`,
/// `/usr/bin` when the installed packages are Debian's, or what `interop-tests/peers.sh`
/// unpacked below `target/peers`.
pub fn debian_original() -> Option<PathBuf> {
    let mut places = Vec::new();
    places.extend(std::env::var_os("KX_REF_KXD").map(PathBuf::from));
    if installed_by_debian() {
        places.push(PathBuf::from("/usr/bin"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::subject::workspace().join("target"), PathBuf::from);
    places.push(target.join("peers/kxd/usr/bin"));
    places.into_iter().find(|dir| is_original(dir))
}

/// What `interop-tests/peers.sh` unpacked of a package that is not installed, if `program` is in it.
pub fn unpacked(name: &str, program: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::subject::workspace().join("target"), PathBuf::from);
    let dir = std::path::absolute(target.join("peers").join(name)).ok()?;
    dir.join(program).is_file().then_some(dir)
}

/// The original has no `-check`; ours does.
fn is_original(dir: &Path) -> bool {
    let usage = Command::new(dir.join("kxd")).arg("-h").output();
    let usage = usage.map(|o| String::from_utf8_lossy(&o.stderr).into_owned());
    usage.is_ok_and(|u| u.contains("-data_dir") && !u.contains("\n  -check\n"))
        && dir.join("kxc").exists()
        && dir.join("kxgencert").exists()
}

fn installed_by_debian() -> bool {
    Command::new("dpkg")
        .args(["-S", "/usr/bin/kxd"])
        .output()
        .is_ok_and(|o| o.status.success())
}

/// True when a program of this name is on the path.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
