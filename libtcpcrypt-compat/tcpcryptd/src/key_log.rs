//! `TCPCRYPT_KEYLOG`: a file that gets the keys of every exchange, so that a capture of a test can be
//! read (tcpcrypt spec 9). Only whoever starts the daemon can ask for it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// The variable with the path.
pub const VARIABLE: &str = "TCPCRYPT_KEYLOG";

/// The open file.
#[derive(Debug)]
pub struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens the file for appending; it is made for its owner's eyes.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &OsStr) -> io::Result<KeyLogFile> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(path).map(KeyLogFile)
    }

    /// Appends a line. A full disk is not the connections' fault.
    pub fn write(&mut self, line: impl std::fmt::Display) {
        let _ = self.0.write_all(format!("{line}\n").as_bytes());
    }
}
