//! Which cgroup this process is in.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::SockOpsError;

/// The directory of the cgroup (version 2) that this process is in, and so the sockets that it makes
/// from now on. Those that it made before belong to the one it was in then.
///
/// # Errors
/// [`SockOpsError::NoCgroup`] or [`SockOpsError::Cgroup`].
pub fn own_cgroup() -> Result<OwnedFd, SockOpsError> {
    let read = |path| std::fs::read_to_string(path).map_err(|_| SockOpsError::NoCgroup);
    let (groups, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let path = directory(&groups, &mounts).ok_or(SockOpsError::NoCgroup)?;
    open_cgroup(&path)
}

/// Opens the directory of a cgroup.
///
/// # Errors
/// [`SockOpsError::Cgroup`].
pub fn open_cgroup(path: &Path) -> Result<OwnedFd, SockOpsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| SockOpsError::Cgroup {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// The directory by what `/proc/self/cgroup` and `/proc/self/mountinfo` say.
fn directory(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // What is optional ends with a hyphen by itself.
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // What is mounted may be a part of the whole.
        let below = Path::new(group).strip_prefix(unescaped(root)).ok()?;
        Some(Path::new(&unescaped(point)).join(below))
    })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let octet = piece.get(..3).and_then(|it| u8::from_str_radix(it, 8).ok());
        match octet {
            Some(octet) if octet.is_ascii() => {
                out.push(char::from(octet));
                out.push_str(piece.get(3..).unwrap_or_default());
            }
            _ => {
                out.push('\\');
                out.push_str(piece);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 0:24 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
26 1 0:25 / /sys/fs/cgroup/my\\040own rw,relatime shared:10 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_directory_is_below_the_mount() {
        let found = directory("5:memory:/a\n0::/system.slice/x.service\n", MOUNTS);
        let expected = "/sys/fs/cgroup/my own/system.slice/x.service";
        assert_eq!(found, Some(expected.into()));
        assert_eq!(
            directory("0::/\n", MOUNTS),
            Some("/sys/fs/cgroup/my own/".into())
        );
        assert_eq!(directory("5:memory:/a\n", MOUNTS), None);
        assert_eq!(
            directory("0::/a\n", "25 1 0:24 / /x rw - cgroup c rw\n"),
            None
        );
        assert_eq!(directory("0::/a\n", "25 - cgroup2\nnonsense"), None);
    }

    #[test]
    fn a_part_that_is_mounted_is_taken_off() {
        let mounts = "26 1 0:25 /pod/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = directory("0::/pod/7/x\n", mounts);
        assert_eq!(found, Some("/sys/fs/cgroup/x".into()));
        assert_eq!(directory("0::/pod/8/x\n", mounts), None);
    }
}
