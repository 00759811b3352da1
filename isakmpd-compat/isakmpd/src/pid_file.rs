//! The file with the number of the process.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::log::system_text;

/// It could not be written. The text is the original's.
#[derive(Debug, thiserror::Error)]
#[error("write_pid_file: fopen (\"{:.100}\", \"w\") failed: {}", path.display().to_string(), system_text(source))]
pub struct PidFileError {
    path: PathBuf,
    source: io::Error,
}

/// Writes it anew: what is there, be it a link, is removed first.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, number: u32) -> Result<(), PidFileError> {
    // Whether there was one does not matter.
    let _ = std::fs::remove_file(path);
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()));
    written.map_err(|source| PidFileError {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_anew_and_never_through_a_link() {
        let directory = tempfile::tempdir().expect("directory");
        let (path, other) = (directory.path().join("pid"), directory.path().join("other"));
        std::fs::write(&other, "kept").expect("written");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        write(&path, 4711).expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"4711\n");
        assert_eq!(std::fs::read(&other).expect("read"), b"kept");
        let error = write(&directory.path().join("x/pid"), 1).expect_err("no directory");
        let text = error.to_string();
        assert!(text.starts_with("write_pid_file: fopen (\"/"), "{text}");
        assert!(
            text.ends_with("/x/pid\", \"w\") failed: No such file or directory"),
            "{text}"
        );
    }
}
