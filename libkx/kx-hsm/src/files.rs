//! Files that the tools read and write.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kx_secret::SecretBytes;
use kx_sys::file_replacement::{Directory, Failed, replace};

/// Octets of a wrapped key with description and certificate at most.
pub const WRAPPED_KEY: usize = 64 * 1024;

/// The content of a file of at most `limit` octets.
///
/// # Errors
/// The system's; [`io::ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let count = File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(count).unwrap_or(u64::MAX) > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// As [`read`], for what is secret.
///
/// # Errors
/// As [`read`].
pub fn read_secret(path: &Path, limit: usize) -> io::Result<SecretBytes> {
    read(path, limit).map(SecretBytes::from)
}

/// Replaces the content of a file, whole or not at all. What is written is for nobody's eyes, wrapped or
/// not: only its owner can read it.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut temporary = OsStr::new(".").to_owned();
    temporary.push(name);
    temporary.push(".new");
    let mut steps = Directory::open(&directory, 0o600, false)?;
    replace(&mut steps, name, &temporary, content).map_err(|error| match error {
        Failed::Before(error) | Failed::Unsure(error) => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_too_much_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("share");
        for content in [&b"one"[..], b"two and more"] {
            write(&path, content).expect("written");
            assert_eq!(read(&path, 12).expect("read"), content);
        }
        let error = read(&path, 11).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let left = std::fs::read_dir(directory.path()).expect("list").count();
        assert_eq!(left, 1);
    }
}
