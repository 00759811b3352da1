//! What signer, countersigner and verify share (keysrv spec 15): messages on a connection, and the files of
//! `/keydb/signed` and `/keydb/countersigned`.
//!
//! A box sends its public key and gets it certified, but blinded: the certificate is of no use before the blind is
//! given out, and that is when somebody has compared what the box shows with what verify shows.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inferno_auth::framing::{self, FILE_LIMIT, FramingError, Message, Reader};
use inferno_auth::key::is_account_name;
use kx_sys::atomic_file::{self, Permissions};

use crate::program::Environment;

/// How long a box may take to send a message, and to take one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Blinds that wait for somebody to look at the box.
pub const SIGNED: &str = "signed";

/// Blinds that are given out.
pub const COUNTERSIGNED: &str = "countersigned";

/// A file of the directory `kind`. Its name comes from the network: the original takes `../keys`.
///
/// # Errors
/// What is said then.
pub fn file(env: &Environment, kind: &str, name: &str) -> Result<PathBuf, &'static str> {
    if !env.paths.built_in("/keydb").is_dir() {
        return Err("no key database");
    }
    if !is_account_name(name) {
        return Err("illegal name");
    }
    Ok(env.paths.built_in("/keydb").join(kind).join(name))
}

/// The next message of a box. None when it hung up, takes too long, or sends something else.
pub fn receive(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut reader = Reader::new(FILE_LIMIT);
    let mut octets = [0; 1024];
    loop {
        match reader.next_message() {
            Ok(Some(Message::Text(text))) => return Some(text.to_vec()),
            Ok(None) => {}
            Ok(Some(Message::Error(_))) | Err(_) => return None,
        }
        let left = until.saturating_duration_since(Instant::now());
        connection.set_read_timeout(Some(left)).ok()?;
        match connection.read(&mut octets) {
            Ok(0) => return None,
            Ok(count) => reader.receive(octets.get(..count)?),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Sends messages.
///
/// # Errors
/// The system's, and `InvalidData` for a message that is too long.
pub fn send(connection: &mut TcpStream, messages: &[&[u8]]) -> io::Result<()> {
    let octets = framed(messages)?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(&octets)
}

/// Writes messages to a file for its owner alone.
///
/// # Errors
/// As of [`send`].
pub fn store(path: &Path, messages: &[&[u8]]) -> io::Result<()> {
    atomic_file::write(path, &framed(messages)?, Permissions::Exact(0o600))
}

fn framed(messages: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    for message in messages {
        framing::write(&mut octets, message)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(octets)
}

/// Reads as many messages as asked for from a file.
///
/// # Errors
/// The system's; `InvalidData` if there are not so many.
pub fn load<const COUNT: usize>(path: &Path) -> io::Result<[Vec<u8>; COUNT]> {
    let limit = (FILE_LIMIT + framing::HEADER) * COUNT;
    let mut content = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    fs::File::open(path)?
        .take(limit)
        .read_to_end(&mut content)?;
    let mut rest = content.as_slice();
    let mut messages = std::array::from_fn(|_| Vec::new());
    for message in &mut messages {
        match framing::split(rest, FILE_LIMIT) {
            Ok(Some((Message::Text(text), after))) => {
                *message = text.to_vec();
                rest = after;
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    FramingError::Format,
                ));
            }
        }
    }
    Ok(messages)
}
