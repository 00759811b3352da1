//! Writing a file so that a reader, or a crash, sees the old content or the new, never a part:
//! a temporary file beside it, `fsync`, `rename`, `fsync` of the directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file_replacement::{Directory, Failed, replace, resolve};

/// Who may do what with the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permissions {
    /// These bits, whatever the umask says. For secrets: `Exact(0o600)`.
    Exact(u32),
    /// These bits less the umask, as `open(2)` does it.
    Masked(u32),
}

/// Replaces or creates `path` with `content`. A symbolic link stays and the file it points to is
/// replaced. The file is never readable by more than its final permissions allow.
///
/// # Errors
/// The system's; `InvalidInput` if there is something else than a regular file. On an error the
/// former content is there unharmed, and no temporary file is left.
pub fn write(path: &Path, content: &[u8], permissions: Permissions) -> io::Result<()> {
    let (directory, name) = resolve(path)?;
    let (bits, exact) = match permissions {
        Permissions::Exact(bits) => (bits, true),
        Permissions::Masked(bits) => (bits, false),
    };
    let mut directory = Directory::open(&directory, bits, exact)?;
    replace(&mut directory, &name, &beside(&name), content).map_err(|failed| match failed {
        Failed::Before(error) | Failed::Unsure(error) => error,
    })
}

/// A name for a new file beside `name` that nobody else takes. One that is there was left by a process
/// of the same number.
fn beside(name: &OsStr) -> OsString {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // Names are long at most 255 octets: keep room for what is put around.
    let stem = name.as_bytes();
    let stem = stem.get(..stem.len().min(200)).unwrap_or(stem);
    let mut temporary = OsString::from(".");
    temporary.push(OsStr::from_bytes(stem));
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    temporary
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("file").permissions().mode() & 0o7777
    }

    #[test]
    fn new_and_replaced_files_have_content_and_mode() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("key.pem");
        write(&path, b"one", Permissions::Exact(0o600)).expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"one");
        assert_eq!(mode(&path), 0o600);
        write(&path, b"two", Permissions::Exact(0o666)).expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(mode(&path), 0o666, "whatever the umask");
        let names = std::fs::read_dir(directory.path()).expect("list").count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (link, target) = (
            directory.path().join("link"),
            directory.path().join("target"),
        );
        std::fs::write(&target, "old").expect("written");
        std::os::unix::fs::symlink("target", &link).expect("link");
        write(&link, b"new", Permissions::Masked(0o644)).expect("written");
        assert!(std::fs::symlink_metadata(&link).expect("link").is_symlink());
        assert_eq!(std::fs::read(&target).expect("read"), b"new");
    }

    #[test]
    fn what_is_not_a_file_is_refused_and_nothing_is_left() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let inner = directory.path().join("d");
        std::fs::create_dir(&inner).expect("directory");
        let error = write(&inner, b"x", Permissions::Exact(0o600)).expect_err("a directory");
        assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
        let error =
            write(Path::new("/dev/null"), b"x", Permissions::Exact(0o600)).expect_err("device");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = write(
            &directory.path().join("no/file"),
            b"x",
            Permissions::Exact(0o600),
        )
        .expect_err("no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("list").count(),
            1
        );
    }
}
