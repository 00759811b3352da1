//! The data directory: which keys there are and what is configured for each (kxd spec 3).
//!
//! Everything is looked at anew for each request, so that changes act at once; what is kept of
//! `allowed_clients`, and when it may be used, says [`ClientsFile`]'s module. All look-ups of one
//! request go through one open directory ([`KeyDir`]), with `openat`: whatever is renamed meanwhile,
//! the request sees the files of one directory, and of the client's text only plain names, relative
//! to the data directory, reach the kernel. Calls are made in place, without a thread: the data
//! directory is taken to be on a local file system.

mod allowed_hosts;
mod clients_file;
pub(crate) mod lines;
mod read_key;
mod resolver;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clients_file::Lately;
use kx_crypto::secret::SecretBytes;
use kx_log::golog::format_errno;
use kx_log::goquote;
use kx_sys::dir::{self, Dir, File, Kind, Stamp};
use rustix::io::Errno;

pub use allowed_hosts::{AllowedHosts, HostNotAllowed};
pub use clients_file::ClientsFile;
pub use resolver::Resolver;

/// Longest key that is given out: 64 MiB. cryptsetup takes key files of 8 MiB at most, so a bigger
/// one is no key but an accident, and it would be held in memory once per request.
pub const KEY_LIMIT: u64 = 64 << 20;
/// Longest `allowed_clients`: 16 MiB, some ten thousand certificates.
pub const ALLOWED_CLIENTS_LIMIT: usize = 16 << 20;
/// Longest `allowed_hosts` and `email_to`: 1 MiB.
pub const LIST_LIMIT: usize = 1 << 20;
/// `PATH_MAX` of Linux: the original hands whole paths to the kernel, which refuses longer ones.
const PATH_LIMIT: usize = 4096;

/// The data directory. It need not exist.
#[derive(Debug, Clone)]
pub struct KeyStore {
    /// Cleaned as the original does; where we open it.
    root: PathBuf,
    lately: Arc<Lately>,
}

/// Why there is no key directory for a request.
#[derive(Debug)]
pub enum LookupError {
    /// No such key: answered with 404 `Unknown key`.
    Unknown,
    /// It cannot be told: answered with 500 `Error checking key`. Shown as
    /// `stat FULLPATH: not a directory`.
    Check {
        /// What was looked at: the key's directory, or `key` in it.
        full_path: Vec<u8>,
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such key"),
            Self::Check { full_path, source } => write!(
                f,
                "stat {}: {}",
                goquote::escape_control(full_path),
                format_errno(source)
            ),
        }
    }
}

impl std::error::Error for LookupError {}

/// Why a file of a key cannot be read. Shown as `open FULLPATH: permission denied`.
#[derive(Debug)]
pub struct ReadError {
    /// `open` or `read`.
    pub call: &'static str,
    /// The file.
    pub full_path: Vec<u8>,
    /// What is wrong.
    pub reason: ReadReason,
}

/// The last part of a [`ReadError`].
#[derive(Debug)]
pub enum ReadReason {
    /// The system's error.
    System(io::Error),
    /// A FIFO, socket or device. (The original waits for ever at a FIFO.)
    NotRegular,
    /// Longer than the limit for such a file. (The original has none.)
    TooLarge,
    /// The key is written to all the time; what could be read may be a mixture.
    Changing,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: ",
            self.call,
            goquote::escape_control(&self.full_path)
        )?;
        match &self.reason {
            ReadReason::System(error) => f.write_str(&format_errno(error)),
            ReadReason::NotRegular => f.write_str("not a regular file"),
            ReadReason::TooLarge => f.write_str("file too large"),
            ReadReason::Changing => f.write_str("file keeps changing"),
        }
    }
}

impl std::error::Error for ReadError {}

impl KeyStore {
    /// The store below `data_dir`; the directory is not looked at yet.
    #[must_use]
    pub fn new(data_dir: impl AsRef<Path>) -> KeyStore {
        let cleaned = clean(data_dir.as_ref().as_os_str().as_bytes());
        KeyStore {
            root: PathBuf::from(OsStr::from_bytes(&cleaned)),
            lately: Arc::default(),
        }
    }

    /// The directory, cleaned.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the directory of the key `key_path` (cleaned, without `/v1/`, no slash at either end)
    /// after a look whether its `key` is a regular file.
    ///
    /// # Errors
    /// [`LookupError`], with the texts of kxd spec 3, row 3.
    pub fn lookup(&self, key_path: &[u8]) -> Result<KeyDir, LookupError> {
        let full_path = self.full_path(key_path);
        let failed = |full_path: Vec<u8>, error: io::Error| match error.raw_os_error() {
            Some(number) if number == Errno::NOENT.raw_os_error() => LookupError::Unknown,
            _ => LookupError::Check {
                full_path,
                source: error,
            },
        };
        let directory = match self.walk(key_path, &full_path) {
            Ok(Some(directory)) => directory,
            Ok(None) => return Err(LookupError::Unknown),
            Err(error) => return Err(failed(full_path, error)),
        };
        if too_long(&full_path, "key") {
            return Err(failed(join(&full_path, "key"), Errno::NAMETOOLONG.into()));
        }
        // Before the stamps are looked at: were this thread stopped, a write of just now would look old.
        let now = Stamp::now();
        match directory.stat(b"key") {
            Ok(key) if key.kind == Kind::Regular => Ok(KeyDir {
                directory,
                full_path,
                seen: Seen { key, now },
                lately: Arc::clone(&self.lately),
            }),
            Ok(_) => Err(LookupError::Unknown),
            Err(error) => Err(failed(join(&full_path, "key"), error)),
        }
    }

    /// Opens the directory. `None`: it is something else.
    fn walk(&self, key_path: &[u8], full_path: &[u8]) -> io::Result<Option<Dir>> {
        if key_path.contains(&0) {
            return Err(Errno::INVAL.into());
        }
        if full_path.len() >= PATH_LIMIT {
            return Err(Errno::NAMETOOLONG.into());
        }
        let mut directory = Dir::open(&self.root)?;
        if let Ok(found) = directory.open_dir_below(key_path) {
            return Ok(Some(found));
        }
        // One after the other, to tell what is wrong.
        let mut parts = key_path.split(|&octet| octet == b'/').peekable();
        while let Some(part) = parts.next() {
            match directory.open_dir(part) {
                Ok(next) => directory = next,
                Err(error) => {
                    let last = parts.peek().is_none();
                    let not_directory = error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error());
                    // A file in the last place is no key; in a place before, it is an error.
                    if last && not_directory && directory.stat(part)?.kind != Kind::Directory {
                        return Ok(None);
                    }
                    return Err(error);
                }
            }
        }
        Ok(Some(directory))
    }

    /// Data directory and key path joined, for messages only.
    fn full_path(&self, key_path: &[u8]) -> Vec<u8> {
        let mut path = match self.root.as_os_str().as_bytes() {
            b"." => Vec::new(),
            b"/" => b"/".to_vec(),
            root => [root, b"/"].concat(),
        };
        path.extend_from_slice(key_path);
        path
    }
}

/// Go's `path.Clean`: by text alone, without asking the file system.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&octet| octet == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// The open directory of one key.
#[derive(Debug)]
pub struct KeyDir {
    directory: Dir,
    full_path: Vec<u8>,
    seen: Seen,
    lately: Arc<Lately>,
}

/// The key as it was when it was looked up, and when that was.
#[derive(Debug, Clone, Copy)]
struct Seen {
    key: dir::Metadata,
    now: Stamp,
}

impl KeyDir {
    /// Data directory and key path joined, for messages.
    #[must_use]
    pub fn full_path(&self) -> &[u8] {
        &self.full_path
    }

    /// The content of `allowed_clients`; `None` if there is no such file.
    ///
    /// # Errors
    /// [`ReadError`]: 500 `Error loading certs`.
    pub fn allowed_clients(&self) -> Result<Option<Arc<ClientsFile>>, ReadError> {
        const NAME: &str = "allowed_clients";
        if !self.lately.is_empty()
            && let Ok(metadata) = self.directory.stat(NAME.as_bytes())
            && let Some(file) = self.lately.find(&metadata)
        {
            return Ok(Some(file));
        }
        let now = Stamp::now();
        let read = self.read_file(NAME, ALLOWED_CLIENTS_LIMIT)?;
        Ok(read.map(|(metadata, text)| {
            self.lately.keep(&metadata, &now, &text);
            Arc::new(ClientsFile::new(text))
        }))
    }

    /// The lines of `allowed_hosts`; `None` if there is no such file, which lets every host pass.
    ///
    /// # Errors
    /// [`ReadError`]: 500 `Error loading allowed hosts`.
    pub fn allowed_hosts(&self) -> Result<Option<AllowedHosts>, ReadError> {
        let text = self.read_list("allowed_hosts", LIST_LIMIT)?;
        Ok(text.map(|text| AllowedHosts::parse(&text)))
    }

    /// The addresses in `email_to`, in order: every line with an `@`, trimmed (kxd spec 6). Empty
    /// if there is no such file, too. They are what the administrator wrote: not necessarily UTF-8.
    ///
    /// # Errors
    /// [`ReadError`]: 500 `Error sending notification`, but nothing to the hook.
    pub fn email_to(&self) -> Result<Vec<Vec<u8>>, ReadError> {
        let text = self.read_list("email_to", LIST_LIMIT)?.unwrap_or_default();
        Ok(crate::email::recipients(&text))
    }

    /// The key, whole, as it was at one point of time: a key that is replaced meanwhile gives the
    /// old or the new one, a key that is being written to in place is waited for.
    ///
    /// # Errors
    /// [`ReadError`]: 500 `Error getting key data`.
    pub async fn key(&self) -> Result<SecretBytes, ReadError> {
        let file = self
            .open("key")
            .map_err(|error| self.system("open", "key", error))?;
        read_key::read(&file, &self.seen)
            .await
            .map_err(|reason| self.error("read", "key", reason))
    }

    fn read_list(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.read_file(name, limit)?.map(|(_, text)| text))
    }

    /// The text, and what the file looked like before it was read.
    fn read_file(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Option<(dir::Metadata, Vec<u8>)>, ReadError> {
        let file = match self.open(name) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                return Ok(None);
            }
            result => result.map_err(|error| self.system("open", name, error))?,
        };
        let result = readable(&file).and_then(|metadata| {
            file.read_expected(limit, metadata.size)
                .map(|text| (metadata, text))
                .map_err(|error| match error.raw_os_error() {
                    Some(number) if number == Errno::FBIG.raw_os_error() => ReadReason::TooLarge,
                    _ => ReadReason::System(error),
                })
        });
        result
            .map(Some)
            .map_err(|reason| self.error("read", name, reason))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        if too_long(&self.full_path, name) {
            return Err(Errno::NAMETOOLONG.into());
        }
        self.directory.open_file(name.as_bytes())
    }

    fn system(&self, call: &'static str, name: &str, error: io::Error) -> ReadError {
        self.error(call, name, ReadReason::System(error))
    }

    fn error(&self, call: &'static str, name: &str, reason: ReadReason) -> ReadError {
        ReadError {
            call,
            full_path: join(&self.full_path, name),
            reason,
        }
    }
}

fn join(directory: &[u8], name: &str) -> Vec<u8> {
    [directory, b"/", name.as_bytes()].concat()
}

fn too_long(directory: &[u8], name: &str) -> bool {
    directory.len().saturating_add(name.len()) >= PATH_LIMIT - 1
}

/// Lets through what can be read to an end: regular files, and `/dev/null`, to which people link
/// lists that shall be empty. For a directory the error comes as it does from `read`.
fn readable(file: &File) -> Result<dir::Metadata, ReadReason> {
    let metadata = file.metadata().map_err(ReadReason::System)?;
    match metadata.kind {
        Kind::Regular => Ok(metadata),
        Kind::Directory => Err(ReadReason::System(Errno::ISDIR.into())),
        _ if metadata.is_null_device() => Ok(metadata),
        _ => Err(ReadReason::NotRegular),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directories_are_cleaned_and_joined_as_by_the_original() {
        for (given, root, full) in [
            ("/etc/kxd/data", "/etc/kxd/data", "/etc/kxd/data/d/e"),
            ("/etc//kxd/./data/", "/etc/kxd/data", "/etc/kxd/data/d/e"),
            ("/etc/../data", "/data", "/data/d/e"),
            ("/../..", "/", "/d/e"),
            ("/", "/", "/d/e"),
            ("", ".", "d/e"),
            (".", ".", "d/e"),
            ("a/../..", "..", "../d/e"),
            ("../../a", "../../a", "../../a/d/e"),
        ] {
            let store = KeyStore::new(given);
            assert_eq!(store.root(), Path::new(root), "{given}");
            assert_eq!(store.full_path(b"d/e"), full.as_bytes(), "{given}");
        }
    }
}
