//! Writing the two files.
//!
//! As in the original a file is opened in place and cut to nothing, not replaced by a new one: symbolic links are
//! followed, an existing file keeps its mode and owner, and `/dev/stdout` works. All octets are made before the first
//! file is opened, and each file is written by one system call, so that what can stay half done is little.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use kx_log::format_errno;
use kx_log::goquote::quote;

use crate::Pair;

/// Why a file was not written.
#[derive(Debug)]
pub struct FileError {
    message: Vec<u8>,
}

impl FileError {
    /// What kxgencert prints, without LF. Paths stand in it as given and need not be UTF-8.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    fn new(what: &str, step: &str, path: &OsStr, error: &io::Error) -> Self {
        let quoted = quote(path.as_bytes());
        let mut message = format!("{what} to {step} {quoted}: {step} ").into_bytes();
        message.extend_from_slice(path.as_bytes());
        message.extend_from_slice(format!(": {}", format_errno(error)).as_bytes());
        Self { message }
    }
}

/// Writes the certificate, then the key. A new certificate file has mode 0666, a new key file 0600 (kxd spec D3; the
/// original: 0666), both less the umask.
///
/// # Errors
///
/// The first failure; a certificate that was written stays. Unlike the original, a full disk is a failure.
pub fn write(pair: &Pair, certificate: &OsStr, key: &OsStr) -> Result<(), FileError> {
    write_file("Failed", certificate, 0o666, pair.certificate_pem())?;
    write_file("failed", key, 0o600, pair.key_pem().as_slice())
}

fn write_file(what: &str, path: &OsStr, mode: u32, octets: &[u8]) -> Result<(), FileError> {
    // Reading is asked for because the original does: it decides which files can be opened.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(|error| FileError::new(what, "open", path, &error))?;
    file.write_all(octets)
        .map_err(|error| FileError::new(what, "write", path, &error))
}
