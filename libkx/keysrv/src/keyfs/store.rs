//! The database on disk (keysrv spec 10.5). A change is answered when it is durable; changes that wait
//! at the same time share one write. When a write fails, memory and disk stay as they were.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use keyfs_db::{Change, Damaged, Database, Key, MAX_FILE_LEN, Refused, UserId};
use kx_log::format_errno;
use kx_sys::file_lock::FileLock;
use kx_sys::file_replacement::{Directory, Failed, Steps, replace, resolve};

use super::watch::Watchers;

/// Others may neither read nor write what holds secrets.
const OTHERS: u32 = 0o006;

/// Why a database cannot be used. `Display` is what stands after `keyfs: `.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be read; it may be missing.
    #[error("can't open {}: {}", .0.display(), open_reason(.0, .1))]
    Unreadable(PathBuf, #[source] io::Error),
    /// Another key, or not whole. Nothing was changed.
    #[error("{}: {}", .0.display(), .1)]
    Damaged(PathBuf, #[source] Damaged),
    /// Ours: everybody on this machine could read or write it.
    #[error("{}: accessible to others: its mode must be 600", .0.display())]
    Exposed(PathBuf),
    /// Ours: two would undo each other's changes.
    #[error("{}: in use by another keyfs", .0.display())]
    Locked(PathBuf),
}

/// Why a change was not made. `Display` goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It is not allowed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It could not be made durable.
    #[error("{0}")]
    Storage(String),
}

type Outcome = Result<UserId, ChangeError>;

/// What is needed to write the file.
struct Writer {
    steps: Box<dyn Steps>,
    key: Key,
    file: PathBuf,
    name: OsString,
    temporary: OsString,
    /// Held as long as we live.
    _lock: Option<FileLock>,
}

/// Changes on their way.
#[derive(Default)]
struct Queue {
    next: u64,
    waiting: Vec<(u64, Change)>,
    done: Vec<(u64, Outcome)>,
    /// Somebody is writing.
    busy: bool,
}

/// A database on disk, for many threads.
pub struct Store {
    /// What is on disk.
    database: RwLock<Database>,
    queue: Mutex<Queue>,
    finished: Condvar,
    writer: Mutex<Writer>,
    watchers: Watchers,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Why a file cannot be opened, in the original's words where it is not there.
pub(super) fn open_reason(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("'{}' does not exist", path.display()),
        _ => format_errno(error),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `F` with a suffix.
fn suffixed(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

impl Store {
    /// Opens the file, which must exist, if empty; and locks it for as long as the store lives. Where
    /// it is a symbolic link, its target is what is locked and replaced.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing was changed then.
    pub fn open(file: &Path, key: Key) -> Result<Store, OpenError> {
        let unreadable = |error: io::Error| OpenError::Unreadable(file.to_path_buf(), error);
        // The first look is for the text: a file that is missing is not locked.
        std::fs::metadata(file).map_err(unreadable)?;
        let (directory, name) = resolve(file).map_err(unreadable)?;
        let lock = directory.join(suffixed(&name, ".lock"));
        let lock = FileLock::take(&lock)
            .map_err(unreadable)?
            .ok_or_else(|| OpenError::Locked(file.to_path_buf()))?;
        // Looked up again, now that nobody else replaces it.
        let within = kx_sys::dir::Dir::open(&directory).map_err(unreadable)?;
        let opened = within
            .open_file(name.as_encoded_bytes())
            .map_err(unreadable)?;
        let found = opened.metadata().map_err(unreadable)?;
        if found.size > 0 && found.mode & OTHERS != 0 {
            return Err(OpenError::Exposed(file.to_path_buf()));
        }
        let content = opened.read_bounded(MAX_FILE_LEN).map_err(unreadable)?;
        let mut steps = Directory::open(&directory, 0o600, true).map_err(unreadable)?;
        steps.set_owner(found.uid, found.gid);
        let mut store = Store::with(Box::new(steps), file, &name, key, &content)?;
        let writer = store.writer.get_mut();
        writer.unwrap_or_else(PoisonError::into_inner)._lock = Some(lock);
        Ok(store)
    }

    /// A store over steps of one's own, with the content that the file has; `file` is for messages, and
    /// `name` is its name in the directory.
    ///
    /// # Errors
    /// [`OpenError::Damaged`].
    pub fn with(
        steps: Box<dyn Steps>,
        file: &Path,
        name: &OsStr,
        key: Key,
        content: &[u8],
    ) -> Result<Store, OpenError> {
        let database = Database::decode(&key, content)
            .map_err(|damaged| OpenError::Damaged(file.to_path_buf(), damaged))?;
        Ok(Store {
            database: RwLock::new(database),
            queue: Mutex::default(),
            finished: Condvar::new(),
            writer: Mutex::new(Writer {
                steps,
                key,
                file: file.to_path_buf(),
                name: name.to_owned(),
                temporary: suffixed(name, ".new"),
                _lock: None,
            }),
            watchers: Watchers::default(),
        })
    }

    /// What is on disk. A copy, which does not follow later changes.
    #[must_use]
    pub fn database(&self) -> Database {
        let database = self.database.read();
        database.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who is told of changes.
    #[must_use]
    pub fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// How many changes wait for the disk at this moment, those not counted that are being written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        locked(&self.queue).waiting.len()
    }

    /// Makes a change, and returns when it is durable: the user that was changed.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then, but see [`Failed::Unsure`].
    pub fn change(&self, change: Change) -> Result<UserId, ChangeError> {
        let mut queue = locked(&self.queue);
        let number = queue.next;
        queue.next = queue.next.wrapping_add(1);
        queue.waiting.push((number, change));
        loop {
            if let Some(at) = queue.done.iter().position(|(done, _)| *done == number) {
                return queue.done.swap_remove(at).1;
            }
            if queue.busy {
                // Somebody else writes; maybe for us, too.
                let woken = self.finished.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let batch = std::mem::take(&mut queue.waiting);
            drop(queue);
            let outcomes = self.commit(batch);
            queue = locked(&self.queue);
            queue.busy = false;
            queue.done.extend(outcomes);
            self.finished.notify_all();
        }
    }

    /// Makes all these changes durable with one write. Each is applied or refused by itself.
    fn commit(&self, batch: Vec<(u64, Change)>) -> Vec<(u64, Outcome)> {
        let old = self.database();
        let mut new = old.clone();
        let mut outcomes: Vec<(u64, Outcome)> = batch
            .iter()
            .map(|(number, change)| (*number, new.apply(change).map_err(ChangeError::from)))
            .collect();
        if outcomes.iter().all(|(_, outcome)| outcome.is_err()) {
            return outcomes;
        }
        let written = locked(&self.writer).write(&old, &new);
        if written.current == Current::New {
            let mut database = self
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *database = new;
            drop(database);
            let changed = outcomes
                .iter()
                .filter_map(|(_, outcome)| outcome.as_ref().ok());
            self.watchers
                .announce(&changed.copied().collect::<HashSet<_>>());
        }
        if let Some(text) = written.error {
            for (_, outcome) in &mut outcomes {
                if outcome.is_ok() {
                    *outcome = Err(ChangeError::Storage(text.clone()));
                }
            }
        }
        outcomes
    }
}

/// Which content the file has.
#[derive(Debug, PartialEq, Eq)]
enum Current {
    Old,
    New,
}

struct Written {
    current: Current,
    error: Option<String>,
}

impl Writer {
    /// Replaces the old content by the new. If it cannot be made sure that the new content survives a
    /// crash, the old one is put back.
    fn write(&mut self, old: &Database, new: &Database) -> Written {
        let (current, error) = match self.put(new) {
            Ok(()) => (Current::New, None),
            Err(Failed::Before(error)) => (Current::Old, Some(error)),
            Err(Failed::Unsure(error)) => match self.put(old) {
                Ok(()) | Err(Failed::Unsure(_)) => (Current::Old, Some(error)),
                // It cannot be put back: then everybody shall see what a reader of the file sees.
                Err(Failed::Before(_)) => (Current::New, Some(error)),
            },
        };
        let error = error.map(|error| {
            let (file, reason) = (self.file.display(), format_errno(&error));
            format!("error writing to {file}: {reason}")
        });
        Written { current, error }
    }

    fn put(&mut self, database: &Database) -> Result<(), Failed> {
        let mut iv = [0; 16];
        kx_crypto::random::fill(&mut iv)
            .map_err(|error| Failed::Before(io::Error::other(error)))?;
        let content = database
            .encode(&self.key, iv)
            .map_err(|error| Failed::Before(io::Error::other(error)))?;
        replace(&mut *self.steps, &self.name, &self.temporary, &content)
    }
}
