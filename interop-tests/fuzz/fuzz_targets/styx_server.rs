//! Both dialects of the server over keyfs' rules: any octets in any pieces, the same answers, each one
//! message of at most the size that was agreed on.
#![no_main]
use std::sync::Arc;

use kx_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;
use styx::message::{DMDIR, NOTAG, QTDIR, Qid, Reply, Request, Stat, Tmessage};
use styx::server::{Dialect, Limits, Server, Tree};

const NOW: u32 = 1_800_000_000;

/// Users as in keyfs, without a disk.
#[derive(Clone)]
struct Users(Arc<[u8]>, keyfs_db::Database);

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    User(keyfs_db::UserId),
    File(keyfs_db::UserId, keyfs_db::File),
}

use Place::{File, Root, User};

impl Tree for Users {
    type Node = Place;
    type Error = String;

    fn attach(&mut self, uname: &[u8], _: &[u8]) -> Result<(Place, Vec<u8>), String> {
        Ok((Root, uname.to_vec()))
    }

    fn qid(&self, place: &Place) -> Qid {
        let (kind, path) = match place {
            Root => (QTDIR, 0),
            User(user) => (QTDIR, 16 * u64::from(user.generation) + 1),
            File(user, file) => (0, 16 * u64::from(user.generation) + 2 + *file as u64),
        };
        Qid {
            kind,
            version: 0,
            path,
        }
    }

    fn stat(&mut self, place: &Place, now: u32) -> Result<Stat, String> {
        let (name, mode) = match place {
            Root => (b"/".to_vec(), DMDIR | 0o755),
            User(user) => {
                let user = self.1.user(*user).ok_or("file does not exist")?;
                (user.name().to_vec(), DMDIR | 0o500)
            }
            File(_, file) => (file.name().into(), 0o600),
        };
        Ok(Stat {
            qid: self.qid(place),
            mode,
            atime: now,
            name,
            uid: self.0.to_vec(),
            ..Stat::default()
        })
    }

    fn walk(&mut self, directory: &Place, name: &[u8]) -> Result<Place, String> {
        let found = match *directory {
            Root if name != b".." => self.1.find(name).map(User),
            User(user) if name != b".." => {
                keyfs_db::File::of_name(name).map(|file| File(user, file))
            }
            File(user, _) => Some(User(user)),
            _ => Some(Root),
        };
        found.ok_or("file does not exist".into())
    }

    fn create(&mut self, _: &Place, name: &[u8], _: u32, _: u8) -> Result<Place, String> {
        let name = name.to_vec();
        let made = self.1.apply(&keyfs_db::Change::Create { name });
        made.map(User).map_err(|error| error.to_string())
    }

    fn entries(
        &mut self,
        _: &Place,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), String> {
        let users: Vec<_> = self.1.users().map(|(id, _)| id).collect();
        for id in users.into_iter().skip(from) {
            if !take(&self.stat(&User(id), now)?) {
                break;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        place: &Place,
        offset: u64,
        count: usize,
        now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), String> {
        let File(user, file) = *place else {
            return Err("no file".into());
        };
        let content = self
            .1
            .read(user, file, now)
            .map_err(|error| error.to_string())?;
        let rest = content
            .as_slice()
            .get(offset as usize..)
            .unwrap_or_default();
        out.extend_from_slice(rest.get(..count).unwrap_or(rest));
        Ok(())
    }

    fn write(&mut self, place: &Place, _: u64, data: &[u8]) -> Result<u32, String> {
        let File(user, file) = *place else {
            return Err("no file".into());
        };
        let change = keyfs_db::Change::Write {
            user,
            file,
            data: data.to_vec().into(),
        };
        self.1.apply(&change).map_err(|error| error.to_string())?;
        Ok(data.len() as u32)
    }

    fn remove(&mut self, place: &Place) -> Result<(), String> {
        let User(user) = *place else {
            return Err("permission denied".into());
        };
        let removed = self.1.apply(&keyfs_db::Change::Remove { user });
        removed.map(|_| ()).map_err(|error| error.to_string())
    }

    fn wstat(&mut self, place: &Place, stat: &Stat) -> Result<(), String> {
        let User(user) = *place else {
            return Err("permission denied".into());
        };
        let name = stat.name.clone();
        let renamed = self.1.apply(&keyfs_db::Change::Rename { user, name });
        renamed.map(|_| ()).map_err(|error| error.to_string())
    }
}

fn answers(dialect: Dialect, pieces: &[&[u8]]) -> Vec<u8> {
    let mut database = keyfs_db::Database::default();
    let name = b"a".to_vec();
    database
        .apply(&keyfs_db::Change::Create { name })
        .expect("made");
    let tree = Users(b"o".as_slice().into(), database);
    let limits = Limits {
        fids: 8,
        waiting: 1 << 20,
    };
    let mut server = Server::with_limits(dialect, tree, limits);
    let mut all = Vec::new();
    'all: for piece in pieces {
        if server.receive(piece).is_err() {
            break;
        }
        loop {
            let mut out = SecretBytes::default();
            match server.poll_reply(NOW, &mut out) {
                Ok(true) => {
                    assert!(out.len() <= 65_560);
                    Reply::parse(out.as_slice()).expect("one whole reply");
                    all.extend_from_slice(out.as_slice());
                }
                Ok(false) => break,
                Err(_) => break 'all,
            }
        }
    }
    all
}

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (exportfs, at, octets) = input;
    let dialect = if exportfs {
        Dialect::Exportfs
    } else {
        Dialect::Styxservers
    };
    // Past the beginning, which is hard to guess.
    let mut whole = SecretBytes::default();
    for body in [
        Tmessage::Version {
            msize: 8216,
            version: b"9P2000",
        },
        Tmessage::Attach {
            fid: 0,
            afid: u32::MAX,
            uname: b"o",
            aname: b"",
        },
    ] {
        Request { tag: NOTAG, body }
            .build(&mut whole)
            .expect("built");
    }
    whole.extend_from_slice(octets);
    let whole = whole.as_slice();
    let (one, two) = whole.split_at(usize::from(at).min(whole.len()));
    assert_eq!(answers(dialect, &[whole]), answers(dialect, &[one, two]));
    answers(dialect, &[octets]);
});
