//! What each request does. The order of the checks is the reference's: it decides which text a
//! client hears.

use kx_secret::SecretBytes;

use super::fids::{Fid, Full};
use super::permission::allows;
use super::{Dialect, HangUp, Refusal, Server, Tree};
use crate::message::{
    DMDIR, IO_HEADER, OEXEC, ORCLOSE, ORDWR, OREAD, OWRITE, Qid, Request, Rmessage, Stat, Tmessage,
    VERSION,
};

const NO_SESSION: &str = "Tversion not seen";
const NO_AUTHENTICATION: &str = "authentication not required";
const TOO_SMALL: &str = "message size too small";
const DENIED: &str = "permission denied";
const NOT_A_DIRECTORY: &str = "not a directory";
const EXISTS: &str = "file already exists";
const WRONG_MODE: &str = "read/write -- not open in suitable mode";
const BAD_NAME: &str = "bad character in file name";
const DOTS: &str = ". and .. are illegal names";
const BAD_STAT: &str = "malformed stat buffer";
const NO_SEEK: &str = "can't seek on a directory";
const ENTRY_TOO_LONG: &str = "i/o count too small";
/// Ours: the reference has no bound.
const TOO_MANY_FIDS: &str = "too many fids";

/// When a read is answered.
enum Answer {
    Now,
    Later,
}

fn text<E: std::fmt::Display>(error: E) -> Refusal {
    error.to_string().into()
}

fn refuse<V>(text: &'static str) -> Result<V, Refusal> {
    Err(text.into())
}

impl From<Full> for Refusal {
    fn from(Full: Full) -> Self {
        TOO_MANY_FIDS.into()
    }
}

impl<T: Tree> Server<T> {
    /// Does what is asked. What is read goes to `data`. `None` if the answer comes later.
    pub(super) fn request<'d>(
        &mut self,
        request: &Request<'_>,
        now: u32,
        data: &'d mut SecretBytes,
    ) -> Result<Result<Option<Rmessage<'d>>, Refusal>, HangUp> {
        if self.msize == 0 && !matches!(request.body, Tmessage::Version { .. }) {
            return Ok(refuse(NO_SESSION));
        }
        let answer = match request.body {
            Tmessage::Version { msize, version } => self.version(msize, version),
            Tmessage::Auth { .. } => refuse(NO_AUTHENTICATION),
            // Requests are dealt with one after the other, so the other one is answered already; or its
            // answer comes later, and then no more.
            Tmessage::Flush { oldtag } => {
                self.tree.forget(oldtag);
                Ok(Rmessage::Flush)
            }
            Tmessage::Attach {
                fid, uname, aname, ..
            } => self.attach(fid, uname, aname, now),
            Tmessage::Walk {
                fid,
                newfid,
                ref names,
            } => self.walk(fid, newfid, names, now),
            Tmessage::Open { fid, mode } => self.open(fid, mode, now),
            Tmessage::Create {
                fid,
                name,
                perm,
                mode,
            } => self.create(fid, name, perm, mode, now),
            Tmessage::Read { fid, offset, count } => {
                let tag = request.tag;
                match self.read(tag, (fid, offset, count), now, data) {
                    Ok(Answer::Later) => return Ok(Ok(None)),
                    Ok(Answer::Now) => Ok(Rmessage::Read {
                        data: data.as_slice(),
                    }),
                    Err(refusal) => Err(refusal),
                }
            }
            Tmessage::Write { fid, offset, data } => self.write(fid, offset, data),
            Tmessage::Clunk { fid } => match self.fids.remove(fid) {
                Some(_) => Ok(Rmessage::Clunk),
                None => refuse(self.dialect.unknown_fid()),
            },
            Tmessage::Remove { fid } => match self.fids.remove(fid) {
                Some(fid) => {
                    let removed = self.tree.remove(&fid.node).map_err(text);
                    removed.map(|()| Rmessage::Remove)
                }
                None => refuse(self.dialect.unknown_fid()),
            },
            Tmessage::Stat { fid } => match self.fids.get(fid) {
                Some(fid) => {
                    let stat = self.tree.stat(&fid.node, now).map_err(text);
                    stat.map(|stat| Rmessage::Stat { stat })
                }
                None => refuse(self.dialect.unknown_fid()),
            },
            Tmessage::Wstat { fid, stat } => self.wstat(fid, stat)?,
        };
        Ok(answer.map(Some))
    }

    fn version<'d>(&mut self, msize: u32, version: &[u8]) -> Result<Rmessage<'d>, Refusal> {
        let Some(msize) = self.dialect.msize(msize) else {
            return refuse(TOO_SMALL);
        };
        if !self.dialect.speaks(version) {
            return Ok(Rmessage::Version {
                msize,
                version: b"unknown",
            });
        }
        self.msize = msize;
        Ok(Rmessage::Version {
            msize,
            version: VERSION,
        })
    }

    /// Octets that a read or write can carry.
    fn iounit(&self) -> u32 {
        self.msize.saturating_sub(IO_HEADER)
    }

    fn fid(&self, fid: u32) -> Result<&Fid<T::Node>, Refusal> {
        self.fids
            .get(fid)
            .ok_or_else(|| self.dialect.unknown_fid().into())
    }

    fn attach<'d>(
        &mut self,
        fid: u32,
        uname: &[u8],
        aname: &[u8],
        now: u32,
    ) -> Result<Rmessage<'d>, Refusal> {
        let in_use = self.fids.contains(fid);
        if in_use {
            return refuse(self.dialect.fid_in_use());
        }
        let (root, user) = self.tree.attach(uname, aname).map_err(text)?;
        // A root that is gone is no root.
        self.tree.stat(&root, now).map_err(text)?;
        let qid = self.tree.qid(&root);
        self.fids.put(fid, Fid::new(root, user))?;
        Ok(Rmessage::Attach { qid })
    }

    fn walk<'d>(
        &mut self,
        fid: u32,
        newfid: u32,
        names: &[&[u8]],
        now: u32,
    ) -> Result<Rmessage<'d>, Refusal> {
        let from = self.fid(fid)?;
        if from.open.is_some() {
            return refuse(self.dialect.walk_of_open_fid());
        }
        let mut place = Fid::new(from.node.clone(), from.user.clone());
        let taken = newfid != fid && self.fids.contains(newfid);
        // The library looks at the new fid first, the kernel when the walk is done.
        if taken && self.dialect == Dialect::Styxservers {
            return refuse(self.dialect.fid_in_use());
        }
        let mut qids = Vec::with_capacity(names.len());
        for name in names {
            match self.step(&place, name, now) {
                Ok(node) => {
                    qids.push(self.tree.qid(&node));
                    place.node = node;
                }
                Err(refusal) if qids.is_empty() => return Err(refusal),
                Err(_) => return Ok(Rmessage::Walk { qids }),
            }
        }
        if taken {
            return refuse(self.dialect.fid_in_use());
        }
        self.fids.put(newfid, place)?;
        Ok(Rmessage::Walk { qids })
    }

    fn step(&mut self, from: &Fid<T::Node>, name: &[u8], now: u32) -> Result<T::Node, Refusal> {
        let stat = self.tree.stat(&from.node, now).map_err(text)?;
        if !stat.qid.is_directory() {
            return refuse(NOT_A_DIRECTORY);
        }
        if !allows(&from.user, OEXEC, &stat) {
            return refuse(DENIED);
        }
        // The kernel takes one dot, and at a root nothing at all, for the place itself.
        let here = self.dialect == Dialect::Exportfs && (name == b"." || name.is_empty());
        if here {
            return Ok(from.node.clone());
        }
        self.tree.walk(&from.node, name).map_err(text)
    }

    fn open<'d>(&mut self, fid: u32, mode: u8, now: u32) -> Result<Rmessage<'d>, Refusal> {
        let dialect = self.dialect;
        let found = self.fid(fid)?;
        if found.open.is_some() {
            return refuse(dialect.already_open());
        }
        let (node, user) = (found.node.clone(), found.user.clone());
        let stat = self.tree.stat(&node, now).map_err(text)?;
        if !dialect.knows_mode(mode) {
            return refuse(dialect.bad_mode());
        }
        let way = match dialect {
            // To the kernel a directory is open for reading or not at all.
            Dialect::Exportfs => mode,
            Dialect::Styxservers => mode & 3,
        };
        if stat.qid.is_directory() && way != OREAD {
            return refuse(dialect.directory_for_writing());
        }
        if !allows(&user, mode, &stat) {
            return refuse(DENIED);
        }
        if mode & ORCLOSE != 0 && dialect == Dialect::Styxservers {
            self.may_remove(&node, &stat, &user, now)?;
        }
        self.tree.open(&node, mode).map_err(text)?;
        let qid = self.tree.qid(&node);
        if let Some(found) = self.fids.get_mut(fid) {
            found.open = Some(mode);
            found.listed = (0, 0);
        }
        Ok(Rmessage::Open {
            qid,
            iounit: self.iounit(),
        })
    }

    /// Removing a file is writing its directory, and a root has none.
    fn may_remove(
        &mut self,
        node: &T::Node,
        file: &Stat,
        user: &[u8],
        now: u32,
    ) -> Result<(), Refusal> {
        let Ok(parent) = self.tree.walk(node, b"..") else {
            return refuse(DENIED);
        };
        let above = self.tree.stat(&parent, now).map_err(text)?;
        if same(above.qid, file.qid) || !allows(user, OWRITE, &above) {
            return refuse(DENIED);
        }
        Ok(())
    }

    fn create<'d>(
        &mut self,
        fid: u32,
        name: &[u8],
        perm: u32,
        mode: u8,
        now: u32,
    ) -> Result<Rmessage<'d>, Refusal> {
        let found = self.fid(fid)?;
        if found.open.is_some() {
            return refuse(self.dialect.already_open());
        }
        let (node, user) = (found.node.clone(), found.user.clone());
        match self.dialect {
            Dialect::Exportfs => kernel_name(name)?,
            Dialect::Styxservers => {
                let stat = self.tree.stat(&node, now).map_err(text)?;
                if stat.mode & DMDIR == 0 {
                    return refuse(NOT_A_DIRECTORY);
                }
                library_name(name)?;
                if !allows(&user, OWRITE, &stat) {
                    return refuse(DENIED);
                }
                if self.tree.walk(&node, name).is_ok() {
                    return refuse(EXISTS);
                }
                if !self.dialect.knows_mode(mode) {
                    return refuse(self.dialect.bad_mode());
                }
            }
        }
        let made = self.tree.create(&node, name, perm, mode).map_err(text)?;
        let qid = self.tree.qid(&made);
        let mut made = Fid::new(made, user);
        made.open = Some(mode);
        self.fids.put(fid, made)?;
        Ok(Rmessage::Create {
            qid,
            iounit: self.iounit(),
        })
    }

    fn read(
        &mut self,
        tag: u16,
        (fid, offset, count): (u32, u64, u32),
        now: u32,
        data: &mut SecretBytes,
    ) -> Result<Answer, Refusal> {
        let dialect = self.dialect;
        let found = self.fid(fid)?;
        let Some(mode) = found.open else {
            return refuse(dialect.not_open());
        };
        if !readable(dialect, mode) {
            return refuse(WRONG_MODE);
        }
        if count > self.iounit() {
            return refuse(dialect.count_too_big());
        }
        if i64::try_from(offset).is_err() {
            return refuse(dialect.negative_offset());
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (node, listed) = (found.node.clone(), found.listed);
        if !self.tree.qid(&node).is_directory() {
            if self.tree.wait(&node, tag).map_err(text)? {
                return Ok(Answer::Later);
            }
            let read = self.tree.read(&node, offset, count, now, data);
            return read.map(|()| Answer::Now).map_err(text);
        }
        let start = match (dialect, offset) {
            (_, offset) if offset == listed.0 => listed,
            (_, 0) | (Dialect::Styxservers, _) => (0, 0),
            (Dialect::Exportfs, _) => return refuse(NO_SEEK),
        };
        let listed = self.list(&node, start, offset, count, now, data)?;
        if let Some(found) = self.fids.get_mut(fid) {
            found.listed = listed;
        }
        Ok(Answer::Now)
    }

    /// Appends whole entries that begin at `offset` or later, at most `count` octets of them. `start`
    /// is an offset with the number of the entry there. Returns the place after the last.
    fn list(
        &mut self,
        directory: &T::Node,
        start: (u64, usize),
        offset: u64,
        count: usize,
        now: u32,
        data: &mut SecretBytes,
    ) -> Result<(u64, usize), Refusal> {
        let mut place = start;
        let mut too_long = false;
        let mut take = |entry: &Stat| {
            let Some(len) = entry.wire_len() else {
                // Cannot be told; left out.
                place.1 = place.1.saturating_add(1);
                return true;
            };
            let full = place.0 >= offset
                && (data.len().saturating_add(len) > count || entry.build(data).is_err());
            if full {
                too_long = data.is_empty();
                return false;
            }
            place.0 = place.0.saturating_add(len as u64);
            place.1 = place.1.saturating_add(1);
            true
        };
        self.tree
            .entries(directory, start.1, now, &mut take)
            .map_err(text)?;
        if too_long && count > 0 && self.dialect == Dialect::Exportfs {
            return refuse(ENTRY_TOO_LONG);
        }
        Ok(place)
    }

    fn write<'d>(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<Rmessage<'d>, Refusal> {
        let dialect = self.dialect;
        let found = self.fid(fid)?;
        let Some(mode) = found.open else {
            return refuse(dialect.not_open());
        };
        if dialect == Dialect::Styxservers && self.tree.qid(&found.node).is_directory() {
            return refuse(DENIED);
        }
        if !matches!(mode & 3, OWRITE | ORDWR) {
            return refuse(WRONG_MODE);
        }
        let most = usize::try_from(self.iounit()).unwrap_or(usize::MAX);
        // The library takes what the message had room for.
        if dialect == Dialect::Exportfs && data.len() > most {
            return refuse(dialect.count_too_big());
        }
        if i64::try_from(offset).is_err() {
            return refuse(dialect.negative_offset());
        }
        let node = found.node.clone();
        let count = self.tree.write(&node, offset, data).map_err(text)?;
        Ok(Rmessage::Write { count })
    }

    fn wstat<'d>(
        &mut self,
        fid: u32,
        octets: &[u8],
    ) -> Result<Result<Rmessage<'d>, Refusal>, HangUp> {
        let found = self.fids.get(fid);
        let (stat, node) = match (self.dialect, Stat::parse(octets), found) {
            // To the library a bad entry is a bad message, and an unknown fid one more thing that
            // cannot be changed.
            (Dialect::Styxservers, Err(malformed), _) => return Err(malformed.into()),
            (Dialect::Styxservers, Ok(_), None) => return Ok(refuse(DENIED)),
            (Dialect::Exportfs, _, None) => return Ok(refuse(self.dialect.unknown_fid())),
            (Dialect::Exportfs, Err(_), Some(_)) => return Ok(refuse(BAD_STAT)),
            (_, Ok(stat), Some(found)) => (stat, found.node.clone()),
        };
        let changed = self.tree.wstat(&node, &stat).map_err(text);
        Ok(changed.map(|()| Rmessage::Wstat))
    }
}

fn same(one: Qid, other: Qid) -> bool {
    one.path == other.path && one.kind == other.kind
}

/// What is opened to be executed can be read, where that is known at all.
fn readable(dialect: Dialect, mode: u8) -> bool {
    matches!(mode & 3, OREAD | ORDWR) || (dialect == Dialect::Exportfs && mode & 3 == OEXEC)
}

/// Names that the library takes. Slashes and zeros are ours to refuse: they would never be found again.
fn library_name(name: &[u8]) -> Result<(), Refusal> {
    if name.is_empty() || name.iter().any(|octet| matches!(octet, b'/' | 0)) {
        return refuse(BAD_NAME);
    }
    if name == b"." || name == b".." {
        return refuse(DOTS);
    }
    Ok(())
}

/// Names that the kernel takes; it shows what it does not.
fn kernel_name(name: &[u8]) -> Result<(), Refusal> {
    let bad = |octet: &u8| octet.is_ascii_control() || *octet == b'/';
    if name.iter().any(bad) {
        let shown = String::from_utf8_lossy(name);
        let plain = !shown.chars().any(|c| c <= ' ' || c == '\'');
        return Err(if plain {
            format!("{BAD_NAME}: {shown}").into()
        } else {
            format!("{BAD_NAME}: '{}'", shown.replace('\'', "''")).into()
        });
    }
    if name == b"." || name == b".." {
        return refuse("file name syntax");
    }
    Ok(())
}
