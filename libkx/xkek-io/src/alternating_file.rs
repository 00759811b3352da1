//! A sealed file of a state directory that is changed with one write to the disk: it has two halves, each with room
//! for a whole content and a number that counts the changes, and a change overwrites the older half.
//!
//! A new file beside the old one (as [`kx_sys::atomic_file`] does it) costs two commits of the file system: the
//! content, then the name. Octets that already have their place on the disk cost one flush, and the newer half is not
//! touched meanwhile, so that whenever the process or the machine stops the content before or after the change is
//! there. Only a content that its half has no room for makes a new file.
//!
//! What cannot be told from a write that was cut short is damage to the newer half: the content before it counts then,
//! and [`AlternatingFile::was_cut_short`] says so.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use kx_secret::SecretBytes;
use kx_sys::atomic_file::{self, Permissions};

use crate::state_dir::{Error, StateDir};

/// What each half begins with: name of the format and its version.
const MAGIC: &[u8; 8] = b"kxvcard2";
/// Magic, number of the change and length of what follows.
const HEAD_LEN: usize = MAGIC.len() + 8 + 4;
/// What the disk and the page cache write at once; nothing needs to be read before whole blocks are written.
const BLOCK: usize = 4096;
/// No card's state is longer. A longer file is not ours.
const MAX_LEN: u64 = 256 * 1024 * 1024;

/// The file, opened.
#[derive(Debug)]
pub struct AlternatingFile {
    name: &'static str,
    /// None: there is no such file yet, or one of the format before.
    halves: Option<Halves>,
    cut_short: bool,
}

#[derive(Debug)]
struct Halves {
    file: File,
    /// Octets of a half.
    room: usize,
    /// Which one counts, 0 or 1.
    newest: u64,
    /// Its number.
    number: u64,
}

impl AlternatingFile {
    /// Opens `name` in `dir` and returns its content; `None` if there is none. A file that
    /// [`StateDir::save`] wrote is taken as well; the first change makes it one of two halves.
    ///
    /// # Errors
    /// [`Error::Damaged`] when neither half is whole; [`Error::Io`].
    pub fn open(dir: &StateDir, name: &'static str) -> Result<(Self, Option<SecretBytes>), Error> {
        let path = dir.path().join(name);
        let at = |error| Error::Io(path.clone(), error);
        let none = Self {
            name,
            halves: None,
            cut_short: false,
        };
        let octets = match fs::metadata(&path) {
            Ok(found) if found.len() > MAX_LEN => {
                return Err(at(io::ErrorKind::FileTooLarge.into()));
            }
            Ok(_) => fs::read(&path).map_err(at)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((none, None)),
            Err(error) => return Err(at(error)),
        };
        if StateDir::is_single(&octets) {
            return Ok((none, dir.load(name)?));
        }
        let damaged = || Error::Damaged(path.clone());
        let room = octets.len() / 2;
        let (first, second) = octets.split_at(room);
        let read = [first, second].map(|half| unseal(dir, name, half));
        let (newest, number, content) = match read {
            [Some(first), Some(second)] if second.0 > first.0 => (1, second.0, second.1),
            [Some(first), _] => (0, first.0, first.1),
            [None, Some(second)] => (1, second.0, second.1),
            [None, None] => return Err(damaged()),
        };
        let other = if newest == 0 { second } else { first };
        let cut_short = unseal(dir, name, other).is_none() && other.iter().any(|octet| *octet != 0);
        let halves = Halves {
            file: open_to_write(&path).map_err(at)?,
            room,
            newest,
            number,
        };
        let found = Self {
            name,
            halves: Some(halves),
            cut_short,
        };
        Ok((found, Some(content)))
    }

    /// Whether one half was no content when the file was opened: the last change was interrupted and never confirmed,
    /// or the file was damaged.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Replaces the content. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`Error::Library`], [`Error::Io`]: what is there then is the old or the new content. Open the file anew.
    pub fn save(&mut self, dir: &StateDir, content: &SecretBytes) -> Result<(), Error> {
        let path = dir.path().join(self.name);
        let at = |error| Error::Io(path.clone(), error);
        let number = self.halves.as_ref().map_or(0, |halves| halves.number);
        let number = number.checked_add(1).ok_or(Error::Library)?;
        let needed = content
            .len()
            .saturating_add(HEAD_LEN + StateDir::SEAL_LEN)
            .next_multiple_of(BLOCK);
        if let Some(halves) = self.halves.as_mut().filter(|old| needed <= old.room) {
            let mut half = seal(dir, &label(self.name, number, halves.room), number, content)?;
            half.resize(needed, 0);
            let other = 1 - halves.newest.min(1);
            let offset = other.saturating_mul(u64::try_from(halves.room).unwrap_or(u64::MAX));
            halves.file.write_all_at(&half, offset).map_err(at)?;
            halves.file.sync_data().map_err(at)?;
            (halves.newest, halves.number) = (other, number);
            return Ok(());
        }
        let room = needed.next_power_of_two();
        let mut both = seal(dir, &label(self.name, number, room), number, content)?;
        both.resize(room.saturating_mul(2), 0);
        atomic_file::write(&path, &both, Permissions::Exact(0o600)).map_err(at)?;
        self.halves = Some(Halves {
            file: open_to_write(&path).map_err(at)?,
            room,
            newest: 0,
            number,
        });
        Ok(())
    }
}

fn open_to_write(path: &std::path::Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).open(path)
}

/// What the seal covers besides the content: a half cannot be put in another file's place, nor count for another
/// change, nor pass when the file was cut.
fn label(name: &str, number: u64, room: usize) -> Vec<u8> {
    let room = u64::try_from(room).unwrap_or(u64::MAX).to_be_bytes();
    [&MAGIC[..], &number.to_be_bytes(), &room, name.as_bytes()].concat()
}

/// What a half begins with.
fn seal(
    dir: &StateDir,
    label: &[u8],
    number: u64,
    content: &SecretBytes,
) -> Result<Vec<u8>, Error> {
    let sealed = dir.seal(label, content)?;
    let len = u32::try_from(sealed.len()).map_err(|_| Error::Library)?;
    let head = [&MAGIC[..], &number.to_be_bytes(), &len.to_be_bytes()].concat();
    Ok([head, sealed].concat())
}

/// Number and content of a half, if it is whole.
fn unseal(dir: &StateDir, name: &str, half: &[u8]) -> Option<(u64, SecretBytes)> {
    let (head, rest) = half.split_at_checked(HEAD_LEN)?;
    let (number, len) = head.strip_prefix(MAGIC)?.split_first_chunk()?;
    let number = u64::from_be_bytes(*number);
    let len = usize::try_from(u32::from_be_bytes(len.try_into().ok()?)).ok()?;
    let content = dir.unseal(&label(name, number, half.len()), rest.get(..len)?)?;
    Some((number, content))
}

#[cfg(test)]
mod tests {
    use super::{AlternatingFile, BLOCK};
    use crate::state_dir::{Error, StateDir};
    use kx_secret::SecretBytes;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::time::Duration;

    fn content(octet: u8, len: usize) -> SecretBytes {
        SecretBytes::from(vec![octet; len])
    }

    fn dir(path: &Path) -> StateDir {
        StateDir::open(path, Duration::ZERO).expect("directory")
    }

    /// What is there when it is opened anew.
    fn kept(dir: &StateDir) -> (SecretBytes, bool) {
        let (file, content) = AlternatingFile::open(dir, "state").expect("opened");
        (content.expect("there"), file.was_cut_short())
    }

    #[test]
    fn the_last_content_counts_and_the_file_is_the_same_one() {
        let root = tempfile::tempdir().expect("directory");
        let dir = dir(root.path());
        let (mut file, nothing) = AlternatingFile::open(&dir, "state").expect("opened");
        assert!(nothing.is_none());
        file.save(&dir, &content(1, 100)).expect("saved");
        let path = root.path().join("state");
        let made = fs::metadata(&path).expect("file");
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        assert_eq!(made.len(), 2 * BLOCK as u64);
        for octet in 2..40 {
            file.save(&dir, &content(octet, 100 * usize::from(octet)))
                .expect("saved");
            let (now, cut_short) = kept(&dir);
            assert!(now.ct_eq(&vec![octet; 100 * usize::from(octet)]), "{octet}");
            assert!(!cut_short);
            if octet % 3 == 0 {
                file = AlternatingFile::open(&dir, "state").expect("opened").0;
            }
        }
        // Nothing that fits makes a new file.
        assert_eq!(fs::metadata(&path).expect("file").ino(), made.ino());
    }

    #[test]
    fn what_does_not_fit_makes_a_longer_file() {
        let root = tempfile::tempdir().expect("directory");
        let dir = dir(root.path());
        let (mut file, _) = AlternatingFile::open(&dir, "state").expect("opened");
        for len in [10, 5000, 100, 4048, 4049, 20_000, 0] {
            file.save(&dir, &content(7, len)).expect("saved");
            assert_eq!(kept(&dir).0.len(), len);
        }
        let len = fs::metadata(root.path().join("state")).expect("file").len();
        assert_eq!(len, 2 * 32_768);
    }

    #[test]
    fn a_write_that_is_cut_short_anywhere_leaves_the_content_before() {
        let root = tempfile::tempdir().expect("directory");
        let dir = dir(root.path());
        let path = root.path().join("state");
        let (mut file, _) = AlternatingFile::open(&dir, "state").expect("opened");
        file.save(&dir, &content(1, 60)).expect("saved");
        file.save(&dir, &content(2, 60)).expect("saved");
        let before = fs::read(&path).expect("read");
        file.save(&dir, &content(3, 60)).expect("saved");
        let after = fs::read(&path).expect("read");
        // The newest is in the first half again.
        for written in 0..200 {
            let torn = [&after[..written], &before[written..]].concat();
            fs::write(&path, &torn).expect("written");
            let (now, cut_short) = kept(&dir);
            let whole = now.ct_eq(&[3; 60]);
            assert!(whole || now.ct_eq(&[2; 60]), "after {written} octets");
            assert_eq!(
                cut_short,
                !whole && torn != before,
                "after {written} octets"
            );
            // And the card goes on from there.
            let (mut file, _) = AlternatingFile::open(&dir, "state").expect("opened");
            file.save(&dir, &content(4, 60)).expect("saved");
            assert!(kept(&dir).0.ct_eq(&[4; 60]));
        }
    }

    #[test]
    fn damage_is_found() {
        let root = tempfile::tempdir().expect("directory");
        let dir = dir(root.path());
        let path = root.path().join("state");
        let (mut file, _) = AlternatingFile::open(&dir, "state").expect("opened");
        file.save(&dir, &content(1, 20)).expect("saved");
        file.save(&dir, &content(2, 20)).expect("saved");
        let whole = fs::read(&path).expect("read");
        let sealed = super::HEAD_LEN + 12 + 20 + 16;
        for at in 0..sealed {
            let mut damaged = whole.clone();
            damaged[BLOCK + at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            let (now, cut_short) = kept(&dir);
            assert!(now.ct_eq(&[1; 20]) && cut_short, "octet {at}");
            damaged[at] ^= 0x80;
            fs::write(&path, &damaged).expect("written");
            let opened = AlternatingFile::open(&dir, "state");
            assert!(matches!(opened, Err(Error::Damaged(_))), "octet {at}");
        }
        let mut cut = vec![0, 1, 30, sealed, BLOCK - 1, BLOCK, BLOCK + 1];
        cut.push(whole.len() - 1);
        for len in cut {
            fs::write(&path, &whole[..len]).expect("written");
            let opened = AlternatingFile::open(&dir, "state");
            assert!(matches!(opened, Err(Error::Damaged(_))), "cut at {len}");
        }
        // An old half cannot be made the newest, nor the file put in another's place.
        let mut renumbered = whole.clone();
        renumbered[15] = 9;
        fs::write(&path, &renumbered).expect("written");
        assert!(kept(&dir).0.ct_eq(&[2; 20]));
        fs::write(root.path().join("other"), &whole).expect("written");
        let opened = AlternatingFile::open(&dir, "other");
        assert!(matches!(opened, Err(Error::Damaged(_))));
    }

    #[test]
    fn a_file_of_the_format_before_is_taken_over() {
        let root = tempfile::tempdir().expect("directory");
        let dir = dir(root.path());
        dir.save("state", &content(5, 3000)).expect("saved");
        assert!(kept(&dir).0.ct_eq(&[5; 3000]));
        let (mut file, _) = AlternatingFile::open(&dir, "state").expect("opened");
        file.save(&dir, &content(6, 3000)).expect("saved");
        assert!(kept(&dir).0.ct_eq(&[6; 3000]));
    }
}
