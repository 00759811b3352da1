//! Walking a directory tree by descriptors: every look-up is `openat` or `fstatat` relative to an
//! open directory, by plain names only, so that a path can be neither swapped between two steps
//! nor escape by `..`.
//!
//! Symbolic links are followed, also to places outside of the tree: administrators link keys in
//! from elsewhere (kxd spec 3). What cannot happen is that the *client's* text leaves the tree.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::lease::ReadLease;

/// What a name stands for, after following links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A pipe with a name.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// Anything else.
    Other,
}

/// A point of the file system's clock: seconds and nanoseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Whole seconds.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: i64,
}

impl Stamp {
    /// Now, by the clock from which the kernel stamps files (it moves in steps of a timer tick).
    #[must_use]
    pub fn now() -> Stamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Stamp {
            seconds: now.tv_sec,
            nanoseconds: now.tv_nsec,
        }
    }

    /// `self - earlier` in milliseconds, negative if `earlier` is the later one; saturates.
    #[must_use]
    pub fn milliseconds_since(&self, earlier: &Stamp) -> i64 {
        let seconds = self.seconds.saturating_sub(earlier.seconds);
        let nanoseconds = self.nanoseconds.saturating_sub(earlier.nanoseconds);
        seconds
            .saturating_mul(1000)
            .saturating_add(nanoseconds / 1_000_000)
    }
}

/// The part of `stat(2)` that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Octets, for a regular file.
    pub size: u64,
    /// Last change of the content.
    pub modified: Stamp,
    /// Last change of content, mode, owner, links or name.
    pub changed: Stamp,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device and inode number: the identity of the file.
    pub id: (u64, u64),
    /// For a device: its (major, minor) number.
    pub device: (u32, u32),
}

impl Metadata {
    /// True for `/dev/null` by whatever name.
    #[must_use]
    pub fn is_null_device(&self) -> bool {
        self.kind == Kind::CharacterDevice && self.device == (1, 3)
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // widths differ by architecture
fn metadata_of(stat: &rustix::fs::Stat) -> Metadata {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        _ => Kind::Other,
    };
    Metadata {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: Stamp {
            seconds: stat.st_mtime as i64,
            nanoseconds: stat.st_mtime_nsec as i64,
        },
        changed: Stamp {
            seconds: stat.st_ctime as i64,
            nanoseconds: stat.st_ctime_nsec as i64,
        },
        mode: u32::from(stat.st_mode) & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        id: (stat.st_dev as u64, stat.st_ino as u64),
        device: (
            rustix::fs::major(stat.st_rdev as u64),
            rustix::fs::minor(stat.st_rdev as u64),
        ),
    }
}

/// `stat(2)` of a whole path, links followed. For paths from the configuration only.
///
/// # Errors
/// The system's, as it is.
pub fn stat(path: &Path) -> io::Result<Metadata> {
    Ok(metadata_of(&rustix::fs::stat(path)?))
}

/// Whether this process may execute `path`, by its effective user and groups.
///
/// # Errors
/// The system's: usually `EACCES`.
pub fn check_executable(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        AtFlags::EACCESS,
    )?)
}

/// An open directory, good for look-ups only (`O_PATH`: needs the right to search, not to list).
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Dir {
    /// Opens a directory by its full path.
    ///
    /// # Errors
    /// The system's; `ENOTDIR` if it is something else.
    pub fn open(path: &Path) -> io::Result<Dir> {
        Ok(Dir(rustix::fs::open(path, DIRECTORY, Mode::empty())?))
    }

    /// Opens the directory `name` in this one, following links.
    ///
    /// # Errors
    /// The system's; `EINVAL` if `name` is not one plain name.
    pub fn open_dir(&self, name: &[u8]) -> io::Result<Dir> {
        let name = single(name)?;
        Ok(Dir(rustix::fs::openat(
            &self.0,
            name,
            DIRECTORY,
            Mode::empty(),
        )?))
    }

    /// Opens a directory below this one by several plain names with slashes between, following links:
    /// what [`open_dir`](Self::open_dir) does name by name, in one call.
    ///
    /// # Errors
    /// The system's; `EINVAL` if one of them is not a plain name.
    pub fn open_dir_below(&self, names: &[u8]) -> io::Result<Dir> {
        for name in names.split(|&octet| octet == b'/') {
            single(name)?;
        }
        Ok(Dir(rustix::fs::openat(
            &self.0,
            names,
            DIRECTORY,
            Mode::empty(),
        )?))
    }

    /// `fstatat` of `name` in this directory, following links.
    ///
    /// # Errors
    /// The system's; `EINVAL` if `name` is not one plain name.
    pub fn stat(&self, name: &[u8]) -> io::Result<Metadata> {
        let name = single(name)?;
        Ok(metadata_of(&rustix::fs::statat(
            &self.0,
            name,
            AtFlags::empty(),
        )?))
    }

    /// Opens `name` for reading, following links. Never waits: not for the writer of a FIFO, not
    /// for the carrier of a line.
    ///
    /// # Errors
    /// The system's; `EINVAL` if `name` is not one plain name.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let name = single(name)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(File(rustix::fs::openat(
            &self.0,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    /// The names in this directory without `.` and `..`, at most `limit` of them, in the order of
    /// the file system.
    ///
    /// # Errors
    /// The system's; `EACCES` if it may be searched but not listed.
    pub fn names(&self, limit: usize) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = rustix::fs::openat(&self.0, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(listing)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() >= limit {
                break;
            }
            names.push(OsStr::from_bytes(name).to_os_string());
        }
        Ok(names)
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Lets only one plain name through: no separator, no NUL, not empty, no `.` or `..`.
fn single(name: &[u8]) -> io::Result<&[u8]> {
    let plain = !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.iter().any(|&octet| octet == b'/' || octet == 0);
    if plain {
        Ok(name)
    } else {
        Err(rustix::io::Errno::INVAL.into())
    }
}

/// A file open for reading, never blocking.
#[derive(Debug)]
pub struct File(OwnedFd);

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl File {
    /// `fstat` of the open file.
    ///
    /// # Errors
    /// The system's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata_of(&rustix::fs::fstat(&self.0)?))
    }

    /// A lease on it, see [`ReadLease`].
    ///
    /// # Errors
    /// As [`ReadLease::take`].
    pub fn lease(&self) -> io::Result<ReadLease<'_>> {
        ReadLease::take(self.0.as_fd())
    }

    /// Reads at `offset` until `buffer` is full or the file ends; returns the octets read.
    ///
    /// # Errors
    /// The system's; `EISDIR` for a directory.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0usize;
        while let Some(rest) = buffer.get_mut(done..) {
            if rest.is_empty() {
                break;
            }
            let position = offset
                .checked_add(done as u64)
                .ok_or(rustix::io::Errno::OVERFLOW)?;
            match rustix::io::pread(&self.0, rest, position) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    /// Reads the rest of the file from its current position.
    ///
    /// # Errors
    /// The system's; `EFBIG` when there are more than `limit` octets.
    pub fn read_bounded(&self, limit: usize) -> io::Result<Vec<u8>> {
        self.read_expected(limit, 0)
    }

    /// As [`read_bounded`](Self::read_bounded). A regular file of `size` octets, from its beginning, is
    /// not asked once more whether that was all, if it gives just these although there was room for more.
    ///
    /// # Errors
    /// As [`read_bounded`](Self::read_bounded).
    pub fn read_expected(&self, limit: usize, size: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut piece = [0u8; 8192];
        loop {
            match rustix::io::read(&self.0, &mut piece) {
                Ok(0) => return Ok(content),
                Ok(count) => {
                    let new = piece.get(..count).unwrap_or_default();
                    if content.len().saturating_add(new.len()) > limit {
                        return Err(rustix::io::Errno::FBIG.into());
                    }
                    content.extend_from_slice(new);
                    if count < piece.len() && content.len() as u64 == size {
                        return Ok(content);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
