//! The places a line can go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::backlog::{Backlog, Patient};
use super::memory::Memory;
use super::stream::{Stream, can_wait};
use super::syslog::Syslog;
use super::{OpenError, Target};

pub(super) enum Sink {
    File { path: PathBuf, output: Output },
    Stdout(Output),
    Syslog(Patient<Syslog>),
    Memory(Memory),
}

/// An open file.
pub(super) enum Output {
    /// On a disk.
    Plain {
        file: File,
        /// The last write ended inside a line.
        torn: bool,
    },
    /// Somebody has to take what is written.
    Stream(Patient<Stream>),
}

impl Sink {
    pub(super) fn open(target: &Target) -> Result<Self, OpenError> {
        match target {
            // A FIFO without a reader is waited for here, as the original does.
            Target::File(path) => match open_file(path, OFlags::empty()) {
                Ok(file) => Ok(Self::File {
                    path: path.clone(),
                    output: Output::own(file),
                }),
                Err(source) => Err(OpenError::File {
                    path: path.clone(),
                    source,
                }),
            },
            // Its own handle: the standard library's buffers, and hides errors of a closed descriptor.
            Target::Stdout => match io::stdout().as_fd().try_clone_to_owned() {
                Ok(fd) => Ok(Self::Stdout(Output::shared(fd.into()))),
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
            Self::File { path, output } => {
                // Clients wait for the log meanwhile, so a FIFO without a reader is an error now.
                *output = Output::own(open_file(path, OFlags::NONBLOCK)?);
                Ok(())
            }
            Self::Syslog(syslog) => Syslog::reopen(syslog),
            Self::Stdout(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Writes one line, LF included.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::File { output, .. } | Self::Stdout(output) => output.write(line.as_bytes()),
            Self::Syslog(syslog) => syslog.send(line.as_bytes()),
            Self::Memory(memory) => memory.append(line),
        }
    }

    /// Whether several lines can be written as one.
    pub(super) fn takes_several(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Stdout(_))
    }

    /// The lines that are owed, where there can be any.
    pub(super) fn backlog(&self) -> Option<Arc<dyn Backlog>> {
        match self {
            Self::File { output, .. } | Self::Stdout(output) => match output {
                Output::Plain { .. } => None,
                Output::Stream(stream) => Some(stream.backlog()),
            },
            Self::Syslog(syslog) => Some(syslog.backlog()),
            Self::Memory(_) => None,
        }
    }
}

impl Output {
    fn own(file: File) -> Self {
        if can_wait(&file) {
            Self::Stream(Patient::new(Stream::own(file)))
        } else {
            Self::Plain { file, torn: false }
        }
    }

    fn shared(file: File) -> Self {
        if can_wait(&file) {
            Self::Stream(Patient::new(Stream::shared(file)))
        } else {
            Self::Plain { file, torn: false }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain { file, torn } => write_line(file, torn, line),
            Self::Stream(stream) => stream.send(line),
        }
    }
}

fn open_file(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
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
