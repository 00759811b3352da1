//! Authinfo files on disk (keysrv spec 3): a certified key, private.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use inferno_auth::authinfo::{AUTHINFO_LIMIT, AuthInfo};
use kx_secret::SecretBytes;
use kx_sys::atomic_file::{self, Permissions};

/// Why a file cannot be read or written. For reading `Display` is the original's text; where that has
/// only one for several reasons, the system's stands behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthInfoFileError {
    /// It is not there.
    #[error("'{}' does not exist", .0.display())]
    Missing(PathBuf),
    /// It may not be read.
    #[error("{}: input or format error ({})", .0.display(), kx_log::format_errno(.1))]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is no authinfo.
    #[error("{}: input or format error", .0.display())]
    Format(PathBuf),
    /// It cannot be written.
    #[error("{}", kx_log::format_errno(.0))]
    Write(#[source] io::Error),
    /// A part of it is longer than the format allows.
    #[error("input or format error")]
    TooLong,
}

/// Reads a file. Nothing is verified.
///
/// # Errors
/// [`AuthInfoFileError`].
pub fn read(path: &Path) -> Result<AuthInfo, AuthInfoFileError> {
    let content = content(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => AuthInfoFileError::Missing(path.to_path_buf()),
        _ => AuthInfoFileError::Unreadable(path.to_path_buf(), error),
    })?;
    AuthInfo::parse(content.as_slice()).map_err(|_| AuthInfoFileError::Format(path.to_path_buf()))
}

fn content(path: &Path) -> io::Result<SecretBytes> {
    let mut file = fs::File::open(path)?;
    let mut content = SecretBytes::zeroed(AUTHINFO_LIMIT);
    let mut length = 0;
    while let Some(room) = content
        .as_mut_slice()
        .get_mut(length..)
        .filter(|room| !room.is_empty())
    {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => length = length.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(length);
    Ok(content)
}

/// Writes a file: a new one for its owner alone, one that is there with the permissions that it has.
/// Who reads meanwhile, or after a crash, finds the old content or the new; but a file of another
/// user, or what is no regular file, is written in place.
///
/// # Errors
/// [`AuthInfoFileError`].
pub fn write(path: &Path, info: &AuthInfo) -> Result<(), AuthInfoFileError> {
    let content = info.to_bytes().map_err(|_| AuthInfoFileError::TooLong)?;
    store(path, content.as_slice()).map_err(AuthInfoFileError::Write)
}

fn store(path: &Path, content: &[u8]) -> io::Result<()> {
    let permissions = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0o600,
        Err(error) => return Err(error),
        Ok(found) if found.is_file() && found.uid() == kx_sys::user_name::effective_number() => {
            found.permissions().mode() & 0o777
        }
        Ok(_) => {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).truncate(true).mode(0o600).open(path)?;
            return file.write_all(content);
        }
    };
    atomic_file::write(path, content, Permissions::Exact(permissions))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo"
    );

    #[test]
    fn golden_files_are_read_and_written_the_same() {
        let directory = tempfile::tempdir().expect("directory");
        let mut count = 0;
        for entry in fs::read_dir(GOLDEN).expect("golden files") {
            let golden = entry.expect("entry").path();
            let Ok(info) = read(&golden) else { continue };
            let copy = directory.path().join(golden.file_name().expect("name"));
            write(&copy, &info).expect("written");
            let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&copy), 0o600);
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o640)).expect("chmod");
            write(&copy, &info).expect("written again");
            assert_eq!(mode(&copy), 0o640);
            let again = read(&copy).expect("read again");
            assert_eq!(again.public_key().owner(), info.public_key().owner());
            count += 1;
        }
        assert!(count > 0);
    }

    #[test]
    fn errors_begin_with_the_originals_text() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("default");
        let text = |path: &Path| match read(path) {
            Ok(_) => panic!("nothing to read"),
            Err(error) => error.to_string(),
        };
        let missing = format!("'{}' does not exist", path.display());
        assert_eq!(text(&path), missing);
        let original = format!("{}: input or format error", path.display());
        let of_directory = text(directory.path());
        assert!(of_directory.ends_with(": input or format error (is a directory)"));
        for content in [&b""[..], b"0003\nabc", &[b'x'; 100_000]] {
            fs::write(&path, content).expect("written");
            assert_eq!(text(&path), original);
        }
        let nowhere = directory.path().join("no/default");
        let info = fs::read_dir(GOLDEN).expect("golden files");
        let info = info
            .filter_map(|entry| read(&entry.ok()?.path()).ok())
            .next();
        let error = write(&nowhere, &info.expect("one")).expect_err("no directory");
        assert_eq!(error.to_string(), "no such file or directory");
    }
}
