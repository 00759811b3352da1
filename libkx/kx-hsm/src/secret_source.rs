//! Where a PIN or password comes from: the terminal, a descriptor, a variable, a file, a pinentry program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kx_secret::SecretBytes;
use kx_sys::terminal::Terminal;

use crate::files;
use crate::pinentry::{self, PinentryError, Question};

/// Octets at most.
const LIMIT: usize = 4096;

/// A place, as the command line names it.
#[derive(Default)]
pub enum SecretSource {
    /// `ask`, or nothing: the terminal without echo.
    #[default]
    Ask,
    /// `fd:N`: the first line of a descriptor.
    Descriptor(u32),
    /// `env:NAME`.
    Variable(OsString),
    /// `file:PATH`: the first line of a file.
    File(PathBuf),
    /// `pinentry` or `pinentry:PROGRAM`.
    Pinentry(String),
    /// The word itself. Everybody on the machine can see it while the program runs.
    Literal(SecretBytes),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nobody to ask.
    #[error("{what}: there is no terminal to ask on; use env:, fd:, file: or pinentry ({error})")]
    NoTerminal {
        /// What was wanted.
        what: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// The place cannot be read.
    #[error("{what}: {place}: {error}")]
    Place {
        /// What was wanted.
        what: String,
        /// Where it was to be.
        place: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// No such variable.
    #[error("{what}: no variable {name}")]
    NoVariable {
        /// What was wanted.
        what: String,
        /// Its name.
        name: String,
    },
    /// Pinentry's complaint.
    #[error("{what}: {error}")]
    Pinentry {
        /// What was wanted.
        what: String,
        /// Its words.
        error: PinentryError,
    },
    /// Not a number after `fd:`.
    #[error("{0}: not a descriptor")]
    Descriptor(String),
    /// Two answers that should be one.
    #[error("{0}: the two are not the same")]
    Differ(String),
}

impl SecretSource {
    /// Reads the word of an option.
    ///
    /// # Errors
    /// [`SecretError::Descriptor`].
    pub fn parse(word: &OsStr) -> Result<Self, SecretError> {
        let octets = word.as_bytes();
        let after = |prefix: &[u8]| octets.strip_prefix(prefix).map(OsStr::from_bytes);
        if let Some(number) = after(b"fd:") {
            let text = number.to_string_lossy();
            let number = text.parse();
            return number
                .map(Self::Descriptor)
                .map_err(|_| SecretError::Descriptor(word.to_string_lossy().into_owned()));
        }
        if let Some(name) = after(b"env:") {
            return Ok(Self::Variable(name.to_owned()));
        }
        if let Some(path) = after(b"file:") {
            return Ok(Self::File(PathBuf::from(path)));
        }
        if let Some(program) = after(b"pinentry:") {
            return Ok(Self::Pinentry(program.to_string_lossy().into_owned()));
        }
        Ok(match octets {
            b"ask" => Self::Ask,
            b"pinentry" => Self::Pinentry("pinentry".to_owned()),
            _ => Self::Literal(SecretBytes::from(octets.to_vec())),
        })
    }

    /// The secret; `what` says which, as in "User PIN of card A".
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(&self, what: &str) -> Result<SecretBytes, SecretError> {
        let place = |place: String, error| SecretError::Place {
            what: what.to_owned(),
            place,
            error,
        };
        match self {
            Self::Ask => ask(what),
            Self::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                first_line(&path).map_err(|error| place(format!("descriptor {number}"), error))
            }
            Self::Variable(name) => match std::env::var_os(name) {
                Some(value) => Ok(SecretBytes::from(value.as_bytes().to_vec())),
                None => Err(SecretError::NoVariable {
                    what: what.to_owned(),
                    name: name.to_string_lossy().into_owned(),
                }),
            },
            Self::File(path) => {
                first_line(path).map_err(|error| place(path.display().to_string(), error))
            }
            Self::Pinentry(program) => {
                let terminal = std::env::var("GPG_TTY").ok();
                let question = Question {
                    description: what,
                    prompt: "",
                };
                pinentry::ask(program, terminal.as_deref(), question).map_err(|error| {
                    SecretError::Pinentry {
                        what: what.to_owned(),
                        error,
                    }
                })
            }
            Self::Literal(secret) => {
                let mut copy = SecretBytes::with_capacity(secret.len());
                copy.extend_from_slice(secret.as_slice());
                Ok(copy)
            }
        }
    }

    /// As [`read`](Self::read); what is asked for is asked twice.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_new(&self, what: &str) -> Result<SecretBytes, SecretError> {
        let secret = self.read(what)?;
        if matches!(self, Self::Ask | Self::Pinentry(_)) {
            let again = self.read(&format!("{what}, again"))?;
            if !secret.ct_eq(again.as_slice()) {
                return Err(SecretError::Differ(what.to_owned()));
            }
        }
        Ok(secret)
    }
}

fn first_line(path: &Path) -> std::io::Result<SecretBytes> {
    let mut content = files::read_secret(path, LIMIT)?;
    let end = content.as_slice().iter().position(|&octet| octet == b'\n');
    content.truncate(end.unwrap_or(content.len()));
    Ok(content)
}

fn ask(what: &str) -> Result<SecretBytes, SecretError> {
    let no = |error| SecretError::NoTerminal {
        what: what.to_owned(),
        error,
    };
    let mut terminal = Terminal::controlling().map_err(no)?;
    // Echo first: who answers when the question is seen must not be seen.
    terminal.set_echo(false).map_err(no)?;
    let answer = terminal
        .write(format!("{what}: ").as_bytes())
        .and_then(|()| line(&mut terminal));
    let _ = terminal.write(b"\n");
    terminal.set_echo(true).map_err(no)?;
    answer.map_err(no)
}

/// A line of the terminal without its end.
pub(crate) fn line(terminal: &mut Terminal) -> std::io::Result<SecretBytes> {
    let mut line = SecretBytes::with_capacity(128);
    while line.len() < LIMIT {
        match terminal.read()? {
            None if line.is_empty() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            None | Some(b'\n' | b'\r') => break,
            Some(octet) => line.push(octet),
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Result<Vec<u8>, String> {
        let source = SecretSource::parse(OsStr::new(word)).map_err(|error| error.to_string())?;
        let secret = source.read("PIN").map_err(|error| error.to_string())?;
        Ok(secret.as_slice().to_vec())
    }

    #[test]
    fn places_are_read() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("pin");
        std::fs::write(&path, "123456\nmore").expect("written");
        assert_eq!(
            read(&format!("file:{}", path.display())),
            Ok(b"123456".to_vec())
        );
        assert_eq!(read("123:x"), Ok(b"123:x".to_vec()));
        let file = std::fs::File::open(&path).expect("open");
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(read(&format!("fd:{number}")), Ok(b"123456".to_vec()));
        let home = std::env::var("PATH").expect("a variable that is always there");
        assert_eq!(read("env:PATH"), Ok(home.into_bytes()));
    }

    #[test]
    fn places_that_are_not_there_are_named() {
        assert_eq!(read("fd:x"), Err("fd:x: not a descriptor".to_owned()));
        let error = read("env:KX_NO_SUCH_VARIABLE").expect_err("none");
        assert_eq!(error, "PIN: no variable KX_NO_SUCH_VARIABLE");
        assert!(
            read("file:/nowhere/pin")
                .expect_err("none")
                .contains("/nowhere/pin")
        );
        assert!(
            read("pinentry:/nowhere/p")
                .expect_err("none")
                .contains("/nowhere/p")
        );
    }
}
