//! The users of a keyfs, as keysrv, logind and the administrator's tools see them: through its socket,
//! or as ordinary files where its tree is mounted (keysrv spec 19.3).

mod carrier;
mod files;
mod served;

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use keyfs_db::File;
use kx_secret::SecretBytes;

use files::Files;
use served::Served;

/// The name of keyfs' socket in the directory where its tree would be mounted.
pub const SOCKET_NAME: &str = ".9p";

/// Most octets of a user's file that are read.
const MAX_CONTENT: usize = 4096;
/// Most users that are listed.
const MAX_USERS: usize = 1 << 20;

/// Why something about a user cannot be had or done. `Display` is the reason alone, in the system's or
/// keyfs' words: `user disabled`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such user, or no user can have this name (keysrv spec 9.3).
    #[error("file does not exist")]
    NoUser,
    /// The user is there, but the file cannot be opened.
    #[error("{0}")]
    Open(String),
    /// The file is open, but cannot be read or written: `user disabled`, `user expired`,
    /// `illegal write`, `unknown status`, `illegal expiry time`.
    #[error("{0}")]
    Access(String),
    /// The secret has been changed by somebody else.
    #[error("{}", keyfs_db::Refused::Changed)]
    Changed,
    /// The user cannot be made, removed or listed: `user already exists`, `file already exists`.
    #[error("{0}")]
    Change(String),
    /// keyfs is not there, is somebody else's, or says what we do not understand.
    #[error("{0}")]
    Unreachable(#[from] io::Error),
}

impl Error {
    fn senseless(text: String) -> Self {
        Self::Unreachable(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// What `status` says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// May log in.
    Ok,
    /// Was disabled.
    Disabled,
    /// Would be allowed, but the time is over. Cannot be set: see [`Accounts::set_expire`].
    Expired,
}

impl Status {
    /// As keyfs spells it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }
}

#[derive(Debug)]
enum Way {
    Served(Served),
    Files(Files),
}

/// A way to the users of one keyfs. Each call goes there; nothing is remembered.
#[derive(Debug)]
pub struct Accounts(Way);

impl Accounts {
    /// Finds keyfs at `path`: a socket in that directory, the path itself if it is a socket, otherwise
    /// the files below it.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let way = match socket_at(path) {
            Some(socket) => Way::Served(Served::connect(&socket)?),
            None => Way::Files(Files::at(path)?),
        };
        Ok(Self(way))
    }

    /// All names, in the order of the database if it comes through the socket.
    ///
    /// # Errors
    /// [`Error`].
    pub fn names(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        match &mut self.0 {
            Way::Served(served) => served.names(),
            Way::Files(files) => files.names(),
        }
    }

    /// Whether there is such a user.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn exists(&mut self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        let Ok(name) = plain(name.as_ref()) else {
            return Ok(false);
        };
        match &mut self.0 {
            Way::Served(served) => served.exists(name),
            Way::Files(files) => files.exists(name),
        }
    }

    fn read(&mut self, name: &[u8], file: File) -> Result<SecretBytes, Error> {
        let name = plain(name)?;
        match &mut self.0 {
            Way::Served(served) => served.read(name, file),
            Way::Files(files) => files.read(name, file),
        }
    }

    fn write(&mut self, name: &[u8], file: File, data: &[u8]) -> Result<(), Error> {
        let name = plain(name)?;
        match &mut self.0 {
            Way::Served(served) => served.write(name, file, data),
            Way::Files(files) => files.write(name, file, data),
        }
    }

    fn read_text(&mut self, name: &[u8], file: File) -> Result<String, Error> {
        let content = self.read(name, file)?;
        Ok(String::from_utf8_lossy(content.as_slice())
            .trim()
            .to_owned())
    }

    /// The secret, as it is; empty if the user has none.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Access`] with `user disabled` or `user expired` if so.
    pub fn secret(&mut self, name: impl AsRef<[u8]>) -> Result<SecretBytes, Error> {
        self.read(name.as_ref(), File::Secret)
    }

    /// The same, and from now on [`is_unchanged`](Self::is_unchanged) knows of this user.
    ///
    /// # Errors
    /// As [`secret`](Self::secret).
    pub fn watch_secret(&mut self, name: impl AsRef<[u8]>) -> Result<SecretBytes, Error> {
        let name = plain(name.as_ref())?;
        match &mut self.0 {
            Way::Served(served) => served.watch_secret(name),
            Way::Files(files) => files.read(name, File::Secret),
        }
    }

    /// Whether nobody has changed the user of the last [`watch_secret`](Self::watch_secret) since then, which
    /// our keyfs says by itself; always false with others. What time does to a user, it does not say.
    pub fn is_unchanged(&mut self) -> bool {
        match &mut self.0 {
            Way::Served(served) => served.is_unchanged(),
            Way::Files(_) => false,
        }
    }

    /// Replaces the secret. When this returns, it is safe on disk.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Access`] with `illegal write` beyond 255 octets.
    pub fn set_secret(&mut self, name: impl AsRef<[u8]>, secret: &[u8]) -> Result<(), Error> {
        self.write(name.as_ref(), File::Secret, secret)
    }

    /// Replaces the secret if it is still `old`. Our keyfs does it in one step; with another, and with a
    /// mounted tree, it is read and then written. When this returns, it is safe on disk.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Changed`] if it is another by now.
    pub fn exchange_secret(
        &mut self,
        name: impl AsRef<[u8]>,
        old: &[u8],
        new: &[u8],
    ) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        if let Way::Served(served) = &mut self.0 {
            if let Some(done) = served.exchange(name, old, new) {
                return done;
            }
        }
        if !self.secret(name)?.ct_eq(old) {
            return Err(Error::Changed);
        }
        self.set_secret(name, new)
    }

    /// Whether the user may log in.
    ///
    /// # Errors
    /// [`Error`].
    pub fn status(&mut self, name: impl AsRef<[u8]>) -> Result<Status, Error> {
        let text = self.read_text(name.as_ref(), File::Status)?;
        [Status::Ok, Status::Disabled, Status::Expired]
            .into_iter()
            .find(|status| status.text() == text)
            .ok_or_else(|| Error::senseless(format!("unknown status {text}")))
    }

    /// Allows the user to log in, and forgets the failures; or disables the user.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_status(&mut self, name: impl AsRef<[u8]>, status: Status) -> Result<(), Error> {
        self.write(name.as_ref(), File::Status, status.text().as_bytes())
    }

    /// When the user's time is over, in seconds since 1970; `None` is never.
    ///
    /// # Errors
    /// [`Error`].
    pub fn expire(&mut self, name: impl AsRef<[u8]>) -> Result<Option<u32>, Error> {
        let text = self.read_text(name.as_ref(), File::Expire)?;
        if text == "never" {
            return Ok(None);
        }
        let number = text.parse().map(Some);
        number.map_err(|_| Error::senseless(format!("unknown expiry time {text}")))
    }

    /// Sets when the user's time is over (`None`: never), and forgets the failures.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_expire(&mut self, name: impl AsRef<[u8]>, expire: Option<u32>) -> Result<(), Error> {
        let text = expire.map_or_else(|| "never".to_owned(), |time| time.to_string());
        self.write(name.as_ref(), File::Expire, text.as_bytes())
    }

    /// Failures since the last success.
    ///
    /// # Errors
    /// [`Error`].
    pub fn failures(&mut self, name: impl AsRef<[u8]>) -> Result<u32, Error> {
        let text = self.read_text(name.as_ref(), File::Log)?;
        let number = text.parse();
        number.map_err(|_| Error::senseless(format!("unknown count {text}")))
    }

    /// Logs a success: forgets the failures.
    ///
    /// # Errors
    /// [`Error`].
    pub fn log_good(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write(name.as_ref(), File::Log, b"good")
    }

    /// Logs a failure; the fiftieth disables the user.
    ///
    /// # Errors
    /// [`Error`].
    pub fn log_bad(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write(name.as_ref(), File::Log, b"bad")
    }

    /// Makes a user with an empty secret who never expires.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Change`] with `file already exists` or `user name too long`.
    pub fn create(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let Ok(name) = plain(name.as_ref()) else {
            return Err(Error::Change("bad character in file name".into()));
        };
        match &mut self.0 {
            Way::Served(served) => served.create(name),
            Way::Files(files) => files.create(name),
        }
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        match &mut self.0 {
            Way::Served(served) => served.remove(name),
            Way::Files(files) => files.remove(name),
        }
    }
}

/// Whether the keyfs at `path` is reached through its socket.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    socket_at(path).is_some()
}

/// The socket that belongs to a place, if there is one.
fn socket_at(path: &Path) -> Option<PathBuf> {
    let is_socket =
        |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let inside = path.join(SOCKET_NAME);
    if is_socket(&inside) {
        Some(inside)
    } else {
        is_socket(path).then(|| path.to_path_buf())
    }
}

/// Only what can be one element of a path, and is no control character (keysrv spec 9.3): names come
/// from certificates that others have made.
fn plain(name: &[u8]) -> Result<&[u8], Error> {
    let control = |text: &str| text.chars().any(|c| c.is_control() || c == '/');
    let bad = match std::str::from_utf8(name) {
        Ok(text) => control(text),
        Err(_) => name
            .iter()
            .any(|octet| octet.is_ascii_control() || *octet == b'/'),
    };
    if bad || name.is_empty() || name == b"." || name == b".." || name.len() > 255 {
        return Err(Error::NoUser);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_element_of_a_path() {
        for good in ["alice", "a b", "иван", "..a", &"x".repeat(255)] {
            assert!(plain(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/../b",
            "/",
            "a\0",
            "a\n",
            "\u{85}",
            &"x".repeat(256),
        ] {
            assert!(matches!(plain(bad.as_bytes()), Err(Error::NoUser)), "{bad}");
        }
    }
}
