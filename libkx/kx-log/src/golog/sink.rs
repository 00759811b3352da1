//! The places a line can go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::memory::Memory;
use super::syslog::Syslog;
use super::{OpenError, Target};

pub(super) enum Sink {
    File {
        path: PathBuf,
        file: File,
        /// The last write ended inside a line.
        torn: bool,
    },
    Stdout {
        file: File,
        torn: bool,
    },
    Syslog(Syslog),
    Memory(Memory),
}

impl Sink {
    pub(super) fn open(target: &Target) -> Result<Self, OpenError> {
        match target {
            Target::File(path) => match open_file(path) {
                Ok(file) => Ok(Self::File {
                    path: path.clone(),
                    file,
                    torn: false,
                }),
                Err(source) => Err(OpenError::File {
                    path: path.clone(),
                    source,
                }),
            },
            // Its own handle: the standard library's buffers, and hides errors of a closed descriptor.
            Target::Stdout => match io::stdout().as_fd().try_clone_to_owned() {
                Ok(fd) => Ok(Self::Stdout {
                    file: fd.into(),
                    torn: false,
                }),
                Err(source) => Err(OpenError::Stdout { source }),
            },
            Target::Syslog => match Syslog::open() {
                Ok(syslog) => Ok(Self::Syslog(syslog)),
                Err(_) => Err(OpenError::Syslog),
            },
        }
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::File { path, file, torn } => {
                *file = open_file(path)?;
                *torn = false;
                Ok(())
            }
            Self::Syslog(syslog) => syslog.reopen(),
            Self::Stdout { .. } | Self::Memory(_) => Ok(()),
        }
    }

    /// Writes one line, LF included.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::File { file, torn, .. } | Self::Stdout { file, torn } => {
                write_line(file, torn, line.as_bytes())
            }
            Self::Syslog(syslog) => syslog.send(line.as_bytes()),
            Self::Memory(memory) => memory.append(line),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// One `write(2)` unless the system takes less than all. After a line that was cut short (a full disk) the next one
/// starts on a line of its own.
fn write_line(mut file: &File, torn: &mut bool, line: &[u8]) -> io::Result<()> {
    if *torn {
        file.write_all(b"\n")?;
        *torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                *torn = !rest.is_empty();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
