//! Reading files that may be anything, and who else can.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::report::Report;

const OTHERS_MAY_READ: u32 = 0o004;
const GROUP_MAY_WRITE: u32 = 0o020;
const OTHERS_MAY_WRITE: u32 = 0o002;
const OTHERS_MAY_ENTER: u32 = 0o001;

/// The content of a regular file, `limit` octets at most.
pub(super) fn read(path: &Path, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // Room for all of it from the start: growing would leave copies of a key behind.
    let size = usize::try_from(file.metadata()?.len())
        .unwrap_or(usize::MAX)
        .min(limit);
    let mut content = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(io::Error::other(format!("larger than {limit} octets")));
    }
    Ok(content)
}

/// Opens for reading without waiting for whoever is at the other end of a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

/// `open PATH: WHY` without the path.
pub(super) fn text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => kx_log::golog::format_errno(error),
        None => error.to_string(),
    }
}

/// Reports when a secret can be read, or changed, by others than its owner and group.
pub(super) fn check_secret(report: &mut Report, path: &Path, metadata: &Metadata) {
    if metadata.mode() & OTHERS_MAY_READ != 0 && others_get_to(path) {
        report.error(path, "everybody on this machine can read it", "chmod o-rwx");
    }
    check_writable(report, path, metadata);
}

/// Reports when others than the owner can change what decides about keys.
pub(super) fn check_writable(report: &mut Report, path: &Path, metadata: &Metadata) {
    if metadata.mode() & OTHERS_MAY_WRITE != 0 && others_get_to(path) {
        report.error(path, "everybody on this machine can change it", "chmod o-w");
    } else if metadata.mode() & GROUP_MAY_WRITE != 0 && metadata.gid() != 0 {
        let problem = format!("group {} can change it", metadata.gid());
        report.warning(path, problem, "chmod g-w unless that is meant");
    }
}

/// Whether all directories above let others through. If that cannot be told, they do.
fn others_get_to(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return true;
    };
    real.ancestors().skip(1).all(|dir| {
        dir.metadata()
            .map_or(true, |m| m.mode() & OTHERS_MAY_ENTER != 0)
    })
}
