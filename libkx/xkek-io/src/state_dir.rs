//! A directory in which a software card, or its certification authority, keeps what it must not lose or
//! show: files sealed with AES-256-GCM under the key file `key`, which only its owner may read.
//!
//! Each file is replaced as a whole (temporary file, `fsync`, `rename`, `fsync` of the directory), so that
//! it is the old or the new one whenever the process or the machine stops; the one that changes with each
//! command is an [`AlternatingFile`](crate::alternating_file::AlternatingFile). One process at a time has
//! the directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kx_crypto::aead::{Algorithm, NonceLen, Open, Seal, TAG_LEN};
use kx_crypto::random;
use kx_secret::SecretBytes;
use kx_sys::atomic_file::{self, Permissions};
use kx_sys::file_lock::FileLock;

/// What each sealed file begins with: name of the format and its version.
const MAGIC: &[u8; 8] = b"kxvcard1";
const NONCE_LEN: usize = 12;
const KEY_LEN: usize = 32;
/// No card's state is longer. A longer file is not ours.
const MAX_LEN: u64 = 64 * 1024 * 1024;
/// How long a wait for the lock sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has it.
    #[error("{}: in use by another process", .0.display())]
    InUse(PathBuf),
    /// The key file may be read by others.
    #[error("{}: others may read the key; it must have mode 0600", .0.display())]
    KeyOpen(PathBuf),
    /// The key file is none.
    #[error("{}: not a key file", .0.display())]
    NotAKey(PathBuf),
    /// A sealed file is damaged, of another kind, or sealed with another key.
    #[error("{}: damaged, or the key file is another one's", .0.display())]
    Damaged(PathBuf),
    /// What was in the file is no state that this version knows.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    State(PathBuf, #[source] xkek::device::StateError),
    /// Making keys or certificates failed.
    #[error("cannot make a card: {0}")]
    Personalise(#[source] xkek::device::PersonaliseError),
    /// The random number generator or the cipher failed.
    #[error("the cryptographic library fails")]
    Library,
    /// The system's.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
}

/// An opened directory; it is locked as long as this lives.
pub struct StateDir {
    path: PathBuf,
    key: SecretBytes,
    _lock: FileLock,
}

impl std::fmt::Debug for StateDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateDir({})", self.path.display())
    }
}

impl StateDir {
    /// Opens `path`, or makes it (mode 0700) with a new key. `wait` is how long another process may have
    /// it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: &Path, wait: Duration) -> Result<Self, Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Io(path, error)
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(at(path))?;
        let lock_file = path.join("lock");
        let end = Instant::now().checked_add(wait);
        let lock = loop {
            if let Some(lock) = FileLock::take(&lock_file).map_err(at(&lock_file))? {
                break lock;
            }
            if end.is_none_or(|end| Instant::now() >= end) {
                return Err(Error::InUse(path.to_owned()));
            }
            std::thread::sleep(PAUSE);
        };
        let key = key(&path.join("key"))?;
        Ok(Self {
            path: path.to_owned(),
            key,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of the sealed file `name`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn load(&self, name: &str) -> Result<Option<SecretBytes>, Error> {
        let path = self.path.join(name);
        let sealed = match fs::metadata(&path).and_then(|found| {
            if found.len() > MAX_LEN {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            fs::read(&path)
        }) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Io(path, error)),
        };
        sealed
            .strip_prefix(MAGIC)
            .and_then(|sealed| self.unseal(&bound_to(name), sealed))
            .map(Some)
            .ok_or(Error::Damaged(path))
    }

    /// Whether these octets begin as those of a file that [`save`](Self::save) wrote.
    pub(crate) fn is_single(octets: &[u8]) -> bool {
        octets.starts_with(MAGIC)
    }

    /// Replaces the sealed file `name`. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`Error::Library`], [`Error::Io`]: what is there then is the old or the new content.
    pub fn save(&self, name: &str, content: &SecretBytes) -> Result<(), Error> {
        let sealed = [&MAGIC[..], &self.seal(&bound_to(name), content)?].concat();
        let path = self.path.join(name);
        atomic_file::write(&path, &sealed, Permissions::Exact(0o600))
            .map_err(|error| Error::Io(path, error))
    }

    /// How much longer than its content a seal is.
    pub(crate) const SEAL_LEN: usize = NONCE_LEN + TAG_LEN;

    /// Nonce, encrypted content and tag; `label` is what the tag covers besides.
    pub(crate) fn seal(&self, label: &[u8], content: &SecretBytes) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce).map_err(|_| Error::Library)?;
        // The copy holds the secret until it is sealed in place; if that fails it is wiped.
        let mut text = SecretBytes::with_capacity(content.len());
        text.extend_from_slice(content.as_slice());
        let mut seal = Seal::new(Algorithm::Aes256Gcm, self.key.as_slice(), NonceLen::Twelve)
            .map_err(|_| Error::Library)?;
        let tag = seal
            .seal(&nonce, label, text.as_mut_slice())
            .map_err(|_| Error::Library)?;
        Ok([&nonce[..], text.as_slice(), &tag].concat())
    }

    /// What [`seal`](Self::seal) sealed; `None` if it is damaged or of another label.
    pub(crate) fn unseal(&self, label: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let mut text = SecretBytes::from(text.to_vec());
        let key = self.key.as_slice();
        let mut open = Open::new(Algorithm::Aes256Gcm, key, NonceLen::Twelve).ok()?;
        open.open(nonce, label, text.as_mut_slice(), tag).ok()?;
        Some(text)
    }

    /// Replaces the file `name` that everybody may read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn publish(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        atomic_file::write(&path, content, Permissions::Masked(0o644))
            .map_err(|error| Error::Io(path, error))
    }
}

/// What the seal covers besides the content: one file cannot be put in another's place.
fn bound_to(name: &str) -> Vec<u8> {
    [&MAGIC[..], name.as_bytes()].concat()
}

/// Reads the key file, or makes it.
fn key(path: &Path) -> Result<SecretBytes, Error> {
    let at = |error| Error::Io(path.to_owned(), error);
    match fs::metadata(path) {
        Ok(found) => {
            if found.permissions().mode() & 0o077 != 0 {
                return Err(Error::KeyOpen(path.to_owned()));
            }
            if !found.is_file() || found.len() != KEY_LEN as u64 {
                return Err(Error::NotAKey(path.to_owned()));
            }
            Ok(SecretBytes::from(fs::read(path).map_err(at)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = SecretBytes::zeroed(KEY_LEN);
            random::fill_private(key.as_mut_slice()).map_err(|_| Error::Library)?;
            atomic_file::write(path, key.as_slice(), Permissions::Exact(0o600)).map_err(at)?;
            Ok(key)
        }
        Err(error) => Err(at(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, StateDir};
    use kx_secret::SecretBytes;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn secret() -> SecretBytes {
        SecretBytes::from(b"the state of a card".to_vec())
    }

    #[test]
    fn what_was_saved_is_there_and_not_in_clear() {
        let root = tempfile::tempdir().expect("directory");
        let path = root.path().join("a/b");
        let dir = StateDir::open(&path, Duration::ZERO).expect("made");
        assert!(dir.load("state").expect("looked").is_none());
        dir.save("state", &secret()).expect("saved");
        drop(dir);
        let dir = StateDir::open(&path, Duration::ZERO).expect("there");
        let state = dir.load("state").expect("loaded").expect("there");
        assert!(state.ct_eq(secret().as_slice()));
        for (name, mode) in [("key", 0o600), ("state", 0o600)] {
            let file = path.join(name);
            let bits = fs::metadata(&file).expect("file").permissions().mode() & 0o777;
            assert_eq!(bits, mode, "{name}");
            let content = fs::read(&file).expect("read");
            assert!(!content.windows(5).any(|w| w == b"state"), "{name}");
        }
        let mode = fs::metadata(&path).expect("dir").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn every_damaged_octet_is_found() {
        let root = tempfile::tempdir().expect("directory");
        let dir = StateDir::open(root.path(), Duration::ZERO).expect("made");
        dir.save("state", &secret()).expect("saved");
        let path = root.path().join("state");
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            if let Some(octet) = damaged.get_mut(at) {
                *octet ^= 1;
            }
            fs::write(&path, &damaged).expect("written");
            assert!(
                matches!(dir.load("state"), Err(Error::Damaged(_))),
                "octet {at}"
            );
            fs::write(&path, whole.get(..at).expect("within")).expect("written");
            assert!(
                matches!(dir.load("state"), Err(Error::Damaged(_))),
                "cut at {at}"
            );
        }
        fs::write(root.path().join("other"), &whole).expect("written");
        assert!(
            matches!(dir.load("other"), Err(Error::Damaged(_))),
            "renamed"
        );
    }

    #[test]
    fn one_process_at_a_time_and_nobody_else_reads_the_key() {
        let root = tempfile::tempdir().expect("directory");
        let dir = StateDir::open(root.path(), Duration::ZERO).expect("made");
        let second = StateDir::open(root.path(), Duration::ZERO);
        assert!(matches!(second, Err(Error::InUse(_))));
        drop(dir);
        let key = root.path().join("key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("changed");
        let open = StateDir::open(root.path(), Duration::ZERO);
        assert!(matches!(open, Err(Error::KeyOpen(_))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&key, b"short").expect("written");
        let short = StateDir::open(root.path(), Duration::ZERO);
        assert!(matches!(short, Err(Error::NotAKey(_))));
    }
}
