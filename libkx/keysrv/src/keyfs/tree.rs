//! The database as a tree of files (keysrv spec 10.4).

use std::sync::Arc;

use keyfs_db::{Change, File, Refused, UserId};
use kx_secret::SecretBytes;
use styx::message::{DMDIR, QTDIR, Qid, Stat};
use styx::server::Tree;

use super::store::{ChangeError, Store};
use super::watch::Line;

/// Why something cannot be had or done. `Display` goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing of this name.
    #[error("file does not exist")]
    NotFound,
    /// Nobody may do this.
    #[error("permission denied")]
    Denied,
    /// The database does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database could not be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Ours: a client may ask for only so much at one time.
    #[error("too many reads wait")]
    TooMany,
}

/// A place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// `/`
    Root,
    /// `/alice`
    User(UserId),
    /// `/alice/secret`
    File(UserId, File),
    /// `/alice/exchange`, which is not listed: the reference has no such file. What is written there is
    /// the length of the old secret (one octet), the old secret and the new one; the secret is replaced if
    /// it is the old one.
    Exchange(UserId),
    /// `/alice/changes`, which is not listed either. A read of it is answered, with nothing, after the next
    /// change of this user.
    Changes(UserId),
}

/// Its name.
pub const EXCHANGE: &str = "exchange";
/// Its name.
pub const CHANGES: &str = "changes";

/// The tree that one client sees.
#[derive(Debug)]
pub struct KeyTree {
    store: Arc<Store>,
    owner: Arc<[u8]>,
    /// Where the client is told of changes.
    line: Option<Arc<Line>>,
}

impl Drop for KeyTree {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            self.store.watchers().remove(line);
        }
    }
}

impl KeyTree {
    /// The users in `store`, whose files belong to `owner`. Whoever got as far as this is the owner,
    /// whatever name is given (keysrv spec 19.3).
    #[must_use]
    pub fn new(store: Arc<Store>, owner: &[u8]) -> KeyTree {
        KeyTree {
            store,
            owner: owner.into(),
            line: None,
        }
    }

    /// The client can be told of changes there.
    #[must_use]
    pub fn with_line(mut self, line: &Arc<Line>) -> KeyTree {
        self.line = Some(Arc::clone(line));
        self
    }

    fn stat_of(&self, place: Place, name: &[u8], length: usize, now: u32) -> Stat {
        let mode = match place {
            Place::Root => DMDIR | 0o755,
            Place::User(_) => DMDIR | 0o500,
            Place::File(..) => 0o600,
            Place::Exchange(_) => 0o200,
            Place::Changes(_) => 0o400,
        };
        Stat {
            qid: qid(place),
            mode,
            atime: now,
            mtime: now,
            length: length as u64,
            name: name.to_vec(),
            uid: self.owner.to_vec(),
            gid: self.owner.to_vec(),
            ..Stat::default()
        }
    }

    fn exchange(&self, user: UserId, offset: u64, data: &[u8]) -> Result<u32, Error> {
        self.store.database().user(user).ok_or(Refused::Removed)?;
        let parts = data
            .split_first()
            .filter(|_| offset == 0)
            .and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
        let (old, new) = parts.ok_or(Refused::IllegalWrite)?;
        let copy = |part: &[u8]| {
            let mut copy = SecretBytes::with_capacity(part.len());
            copy.extend_from_slice(part);
            copy
        };
        let (old, new) = (copy(old), copy(new));
        self.store
            .change(Change::ExchangeSecret { user, old, new })?;
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    fn file_stat(&self, user: UserId, file: File, now: u32) -> Stat {
        let database = self.store.database();
        // Only the secret says its length, and it has none when the user is gone.
        let length = match (file, database.user(user)) {
            (File::Secret, Some(user)) => user.secret_len(),
            _ => 0,
        };
        let place = Place::File(user, file);
        self.stat_of(place, file.name().as_bytes(), length, now)
    }
}

/// The path is the reference's: the user's generation, the slot, the file. It has 12 bits for the slot, so
/// that there users from the 4097th on cannot be reached; here it is the generation that tells users apart.
fn qid(place: Place) -> Qid {
    let of = |user: UserId, file: u64| {
        let (slot, generation) = (u64::from(user.slot), u64::from(user.generation));
        (generation << 16) | ((slot & 0xfff) << 4) | file
    };
    let (kind, path) = match place {
        Place::Root => (QTDIR, 0),
        Place::User(user) => (QTDIR, of(user, 1)),
        Place::File(user, File::Secret) => (0, of(user, 2)),
        Place::File(user, File::Log) => (0, of(user, 3)),
        Place::File(user, File::Status) => (0, of(user, 4)),
        Place::File(user, File::Expire) => (0, of(user, 5)),
        Place::Exchange(user) => (0, of(user, 6)),
        Place::Changes(user) => (0, of(user, 7)),
    };
    Qid {
        kind,
        version: 0,
        path,
    }
}

impl Tree for KeyTree {
    type Node = Place;
    type Error = Error;

    fn attach(&mut self, _uname: &[u8], _aname: &[u8]) -> Result<(Place, Vec<u8>), Error> {
        Ok((Place::Root, self.owner.to_vec()))
    }

    fn qid(&self, place: &Place) -> Qid {
        qid(*place)
    }

    fn stat(&mut self, place: &Place, now: u32) -> Result<Stat, Error> {
        match *place {
            Place::Root => Ok(self.stat_of(Place::Root, b"/", 0, now)),
            Place::User(id) => {
                let database = self.store.database();
                let user = database.user(id).ok_or(Error::NotFound)?;
                Ok(self.stat_of(*place, user.name(), 0, now))
            }
            Place::File(user, file) => Ok(self.file_stat(user, file, now)),
            Place::Exchange(_) => Ok(self.stat_of(*place, EXCHANGE.as_bytes(), 0, now)),
            Place::Changes(_) => Ok(self.stat_of(*place, CHANGES.as_bytes(), 0, now)),
        }
    }

    fn walk(&mut self, directory: &Place, name: &[u8]) -> Result<Place, Error> {
        match *directory {
            Place::Root | Place::User(_) if name == b".." => Ok(Place::Root),
            Place::Root => {
                let user = self.store.database().find(name);
                user.map(Place::User).ok_or(Error::NotFound)
            }
            Place::User(user) if name == EXCHANGE.as_bytes() => Ok(Place::Exchange(user)),
            Place::User(user) if name == CHANGES.as_bytes() => Ok(Place::Changes(user)),
            Place::User(user) => {
                let file = File::of_name(name).ok_or(Error::NotFound)?;
                Ok(Place::File(user, file))
            }
            Place::File(user, _) | Place::Exchange(user) | Place::Changes(user)
                if name == b".." =>
            {
                Ok(Place::User(user))
            }
            Place::File(..) | Place::Exchange(_) | Place::Changes(_) => Err(Error::NotFound),
        }
    }

    fn create(
        &mut self,
        directory: &Place,
        name: &[u8],
        perm: u32,
        _mode: u8,
    ) -> Result<Place, Error> {
        if *directory != Place::Root || perm & DMDIR == 0 {
            return Err(Error::Denied);
        }
        let name = name.to_vec();
        Ok(Place::User(self.store.change(Change::Create { name })?))
    }

    fn entries(
        &mut self,
        directory: &Place,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), Error> {
        match *directory {
            Place::Root => {
                for (id, user) in self.store.database().users().skip(from) {
                    if !take(&self.stat_of(Place::User(id), user.name(), 0, now)) {
                        break;
                    }
                }
            }
            Place::User(user) => {
                // A user who is gone has no files, and nobody is told.
                if self.store.database().user(user).is_some() {
                    for file in File::ALL.into_iter().skip(from) {
                        if !take(&self.file_stat(user, file, now)) {
                            break;
                        }
                    }
                }
            }
            Place::File(..) | Place::Exchange(_) | Place::Changes(_) => return Err(Error::Denied),
        }
        Ok(())
    }

    fn wait(&mut self, place: &Place, tag: u16) -> Result<bool, Error> {
        let (Place::Changes(user), Some(line)) = (*place, &self.line) else {
            return Ok(false);
        };
        self.store.database().user(user).ok_or(Refused::Removed)?;
        if !self.store.watchers().add(user, line, tag) {
            return Err(Error::TooMany);
        }
        Ok(true)
    }

    fn forget(&mut self, tag: u16) {
        if let Some(line) = &self.line {
            self.store.watchers().forget(line, tag);
        }
    }

    fn read(
        &mut self,
        place: &Place,
        offset: u64,
        count: usize,
        now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), Error> {
        let Place::File(user, file) = *place else {
            return Err(Error::Denied);
        };
        let content = self.store.database().read(user, file, now)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.as_slice().get(start..).unwrap_or_default();
        out.extend_from_slice(rest.get(..count).unwrap_or(rest));
        Ok(())
    }

    fn write(&mut self, place: &Place, offset: u64, data: &[u8]) -> Result<u32, Error> {
        if let Place::Exchange(user) = *place {
            return self.exchange(user, offset, data);
        }
        let Place::File(user, file) = *place else {
            return Err(Error::Denied);
        };
        if file == File::Secret && offset != 0 {
            // Whether the user is still there is told before what is wrong with the write.
            self.store.database().user(user).ok_or(Refused::Removed)?;
            return Err(Refused::IllegalWrite.into());
        }
        let mut kept = SecretBytes::with_capacity(data.len());
        kept.extend_from_slice(data);
        let data_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.store.change(Change::Write {
            user,
            file,
            data: kept,
        })?;
        Ok(data_len)
    }

    fn remove(&mut self, place: &Place) -> Result<(), Error> {
        let change = match *place {
            Place::User(user) => Change::Remove { user },
            Place::File(user, File::Secret) => Change::ClearSecret { user },
            Place::Root | Place::File(..) | Place::Exchange(_) | Place::Changes(_) => {
                return Err(Error::Denied);
            }
        };
        self.store.change(change)?;
        Ok(())
    }

    fn wstat(&mut self, place: &Place, stat: &Stat) -> Result<(), Error> {
        let user = match *place {
            Place::User(user) => user,
            Place::File(user, _) if empties(stat) => {
                self.store.database().user(user).ok_or(Refused::Removed)?;
                return Ok(());
            }
            Place::Root | Place::File(..) | Place::Exchange(_) | Place::Changes(_) => {
                return Err(Error::Denied);
            }
        };
        self.store.database().user(user).ok_or(Refused::Removed)?;
        if stat.name.is_empty() {
            return Err(Error::Denied);
        }
        let name = stat.name.clone();
        self.store.change(Change::Rename { user, name })?;
        Ok(())
    }
}

/// Whether nothing but the length is changed, to 0. The reference denies that, too; but it is how the
/// kernel of Linux opens a file for truncation, so that a shell could not write to a mounted tree. As
/// opening for truncation it does nothing: only writing changes a file.
fn empties(stat: &Stat) -> bool {
    let names = [&stat.name, &stat.uid, &stat.gid, &stat.muid];
    stat.length == 0 && stat.mode == u32::MAX && names.iter().all(|name| name.is_empty())
}
