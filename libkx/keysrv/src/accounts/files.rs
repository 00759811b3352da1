//! Users by way of ordinary files: keyfs' tree, mounted by v9fs or the like.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use keyfs_db::{File, Refused};
use kx_log::format_errno;
use kx_secret::SecretBytes;

use super::{Error, MAX_CONTENT, MAX_USERS};

/// The place where the tree is mounted.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

/// Looking fails: either there is nothing, or it cannot be looked at.
fn unseen(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoUser,
        _ => Error::Open(format_errno(&error)),
    }
}

fn unchanged(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Change("file already exists".into()),
        io::ErrorKind::NotFound => Error::NoUser,
        _ => Error::Change(format_errno(&error)),
    }
}

impl Files {
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        // Said now rather than as many users that are not there.
        std::fs::read_dir(path)?;
        Ok(Self(path.to_path_buf()))
    }

    fn user(&self, name: &[u8]) -> PathBuf {
        self.0.join(OsStr::from_bytes(name))
    }

    fn path(&self, name: &[u8], file: File) -> Result<PathBuf, Error> {
        let user = self.user(name);
        std::fs::metadata(&user).map_err(unseen)?;
        Ok(user.join(file.name()))
    }

    pub(super) fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)?.take(MAX_USERS) {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().into_vec());
            }
        }
        Ok(names)
    }

    pub(super) fn exists(&self, name: &[u8]) -> Result<bool, Error> {
        match std::fs::metadata(self.user(name)) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) => match unseen(error) {
                Error::NoUser => Ok(false),
                other => Err(other),
            },
        }
    }

    pub(super) fn read(&self, name: &[u8], file: File) -> Result<SecretBytes, Error> {
        let path = self.path(name, file)?;
        let opened = OpenOptions::new().read(true).open(path);
        let mut opened = opened.map_err(|error| Error::Open(format_errno(&error)))?;
        let mut content = SecretBytes::zeroed(MAX_CONTENT);
        let mut len = 0;
        while let Some(room) = content.as_mut_slice().get_mut(len..) {
            match opened.read(room) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unread(name, file, &error)),
            }
        }
        content.truncate(len);
        Ok(content)
    }

    /// The kernel makes a number of keyfs' words; the status tells what they were.
    fn unread(&self, name: &[u8], file: File, error: &io::Error) -> Error {
        let status = match file {
            File::Secret => self.read(name, File::Status).unwrap_or_default(),
            _ => SecretBytes::default(),
        };
        Error::Access(match status.as_slice() {
            b"disabled" => Refused::Disabled.to_string(),
            b"expired" => Refused::Expired.to_string(),
            _ => format_errno(error),
        })
    }

    pub(super) fn write(&self, name: &[u8], file: File, data: &[u8]) -> Result<(), Error> {
        let path = self.path(name, file)?;
        let mut options = OpenOptions::new();
        options.write(true);
        // Emptying first is for plain files; some servers do not let the kernel do it, nor need it.
        let opened = options
            .clone()
            .truncate(true)
            .open(&path)
            .or_else(|_| options.open(&path));
        let mut opened = opened.map_err(|error| Error::Open(format_errno(&error)))?;
        let written = opened.write(data);
        match written {
            Ok(count) if count == data.len() => Ok(()),
            Ok(_) => Err(Error::Access(Refused::IllegalWrite.to_string())),
            Err(error) => Err(Error::Access(format_errno(&error))),
        }
    }

    pub(super) fn create(&self, name: &[u8]) -> Result<(), Error> {
        std::fs::create_dir(self.user(name)).map_err(unchanged)
    }

    pub(super) fn remove(&self, name: &[u8]) -> Result<(), Error> {
        std::fs::remove_dir(self.user(name)).map_err(unchanged)
    }
}
