//! The steps by which the content of a file is replaced so that a reader, or a crash after any of
//! them, sees the old content or the new: a new file beside the old, `fsync`, `rename`, `fsync` of
//! the directory.
//!
//! The steps go through a trait, so that a test can let each of them fail.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// What can be done in one directory, to one new file at a time.
pub trait Steps: Send {
    /// Makes the new file, which must not exist, empty and only for its owner.
    ///
    /// # Errors
    /// The system's.
    fn create(&mut self, name: &OsStr) -> io::Result<()>;

    /// Appends to the new file, possibly less than all; returns how much.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize>;

    /// Gets the new file's content onto the disk, and lets go of the file.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()>;

    /// Gets the directory's names onto the disk.
    ///
    /// # Errors
    /// The system's.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, name: &OsStr) -> io::Result<()>;
}

/// How far a replacement got that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The old content is there, and nothing else is left.
    #[error("{0}")]
    Before(#[source] io::Error),
    /// The new content is there, but a crash may bring the old one back.
    #[error("{0}")]
    Unsure(#[source] io::Error),
}

/// Replaces the content of `name` by way of a new file `temporary` beside it. If there is one of that
/// name, it was left by a crash, and goes.
///
/// # Errors
/// [`Failed`].
pub fn replace(
    steps: &mut dyn Steps,
    name: &OsStr,
    temporary: &OsStr,
    content: &[u8],
) -> Result<(), Failed> {
    let created = match steps.create(temporary) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => steps
            .remove(temporary)
            .and_then(|()| steps.create(temporary)),
        result => result,
    };
    created.map_err(Failed::Before)?;
    if let Err(error) = fill(steps, content) {
        let _ = steps.remove(temporary);
        return Err(Failed::Before(error));
    }
    if let Err(error) = steps.rename(temporary, name) {
        // Over a network it can be done and yet told to have failed; then nothing is left to remove.
        return Err(match steps.remove(temporary) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Failed::Unsure(error),
            _ => Failed::Before(error),
        });
    }
    steps.sync_directory().map_err(Failed::Unsure)
}

fn fill(steps: &mut dyn Steps, mut content: &[u8]) -> io::Result<()> {
    while !content.is_empty() {
        match steps.write(content) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => content = content.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    steps.sync()
}

/// A directory of the system, to replace files in.
#[derive(Debug)]
pub struct Directory {
    directory: OwnedFd,
    bits: u32,
    /// Give new files these bits whatever the umask says.
    exact: bool,
    owner: Option<(u32, u32)>,
    file: Option<OwnedFd>,
}

impl Directory {
    /// The directory at `path`. New files get the permission `bits`, less the umask unless `exact`.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, bits: u32, exact: bool) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory {
            directory: rustix::fs::open(path, flags, Mode::empty())?,
            bits,
            exact,
            owner: None,
            file: None,
        })
    }

    /// New files are given to this user and group, if they are not theirs anyway.
    pub fn set_owner(&mut self, user: u32, group: u32) {
        let own = rustix::process::geteuid().as_raw() == user;
        self.owner = (!own).then_some((user, group));
    }

    fn file(&self) -> io::Result<&OwnedFd> {
        self.file.as_ref().ok_or_else(|| Errno::BADF.into())
    }
}

impl Steps for Directory {
    fn create(&mut self, name: &OsStr) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(self.bits & 0o777);
        let file = rustix::fs::openat(&self.directory, name, flags, mode)?;
        let settled = self.settle(&file);
        if let Err(error) = settled {
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.file()?, octets)?)
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file.take().ok_or(Errno::BADF)?;
        Ok(rustix::fs::fsync(&file)?)
    }

    fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.directory,
            from,
            &self.directory,
            to,
        )?)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn remove(&mut self, name: &OsStr) -> io::Result<()> {
        self.file = None;
        Ok(rustix::fs::unlinkat(
            &self.directory,
            name,
            AtFlags::empty(),
        )?)
    }
}

impl Directory {
    fn settle(&self, file: &OwnedFd) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::fs::fchown(file, Some(user), Some(group))?;
        }
        if self.exact {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.bits & 0o7777))?;
        }
        Ok(())
    }
}

/// Where the regular file is that `path` leads to, links followed: its directory and its name there.
/// It need not exist.
///
/// # Errors
/// The system's; `InvalidInput` if there is something else than a regular file.
pub fn resolve(path: &Path) -> io::Result<(PathBuf, OsString)> {
    let target = follow(path)?;
    let name = target.file_name().ok_or(Errno::ISDIR)?.to_owned();
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((directory, name))
}

fn follow(path: &Path) -> io::Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(found) if found.is_dir() => return Err(Errno::ISDIR.into()),
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_path_buf()),
        Err(error) => return Err(error),
    }
    if std::fs::symlink_metadata(path)?.is_symlink() {
        std::fs::canonicalize(path)
    } else {
        Ok(path.to_path_buf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_crash_has_left_goes() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (file, left) = (place.path().join("f"), place.path().join("f.new"));
        std::fs::write(&file, "old").expect("written");
        std::fs::write(&left, "half").expect("written");
        let mut directory = Directory::open(place.path(), 0o600, true).expect("opened");
        replace(&mut directory, "f".as_ref(), "f.new".as_ref(), b"new").expect("replaced");
        assert_eq!(std::fs::read(&file).expect("read"), b"new");
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(!left.exists());
    }

    /// Each step fails in turn: the old content stays, and nothing else.
    #[test]
    fn a_failure_leaves_the_old_content() {
        struct Failing(Directory, usize);
        impl Failing {
            fn count(&mut self) -> io::Result<()> {
                self.1 = self.1.wrapping_sub(1);
                if self.1 == 0 {
                    return Err(Errno::IO.into());
                }
                Ok(())
            }
        }
        impl Steps for Failing {
            fn create(&mut self, name: &OsStr) -> io::Result<()> {
                self.count()?;
                self.0.create(name)
            }
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                self.count()?;
                self.0.write(octets.get(..2).unwrap_or(octets))
            }
            fn sync(&mut self) -> io::Result<()> {
                self.count()?;
                self.0.sync()
            }
            fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()> {
                self.count()?;
                self.0.rename(from, to)
            }
            fn sync_directory(&mut self) -> io::Result<()> {
                self.count()?;
                self.0.sync_directory()
            }
            fn remove(&mut self, name: &OsStr) -> io::Result<()> {
                self.0.remove(name)
            }
        }
        // create, write, write, sync, rename, sync_directory
        for step in 1..=7 {
            let place = tempfile::tempdir().expect("temporary directory");
            let file = place.path().join("f");
            std::fs::write(&file, "old").expect("written");
            let directory = Directory::open(place.path(), 0o600, true).expect("opened");
            let mut steps = Failing(directory, step);
            let result = replace(&mut steps, "f".as_ref(), "t".as_ref(), b"new!");
            let expected: &[u8] = match (step, result) {
                (1..=5, Err(Failed::Before(_))) => b"old",
                (6, Err(Failed::Unsure(_))) | (7, Ok(())) => b"new!",
                (step, result) => panic!("step {step}: {result:?}"),
            };
            assert_eq!(std::fs::read(&file).expect("read"), expected);
            assert_eq!(std::fs::read_dir(place.path()).expect("list").count(), 1);
        }
    }
}
