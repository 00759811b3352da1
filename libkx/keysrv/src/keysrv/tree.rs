//! The two files that a client of keysrv sees (keysrv spec 8.1, 9.1).

use std::borrow::Cow;
use std::time::Duration;

use kx_secret::SecretBytes;
use styx::message::{DMDIR, QTDIR, Qid, Stat};
use styx::server::Tree;

use super::account::{Account, Done, Refused};

/// Wrong hashes that are answered at once.
const FREE_FAILURES: u32 = 3;
/// What each further one costs.
const PENALTY: Duration = Duration::from_secs(1);
const DENIED: Cow<'static, str> = Cow::Borrowed("permission denied");
/// As Inferno's device says where a file comes from.
const DEVICE: u16 = b's' as u16;

/// The directory, or its only file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Secret,
}

/// What a session's user may do.
pub(super) struct SecretTree<'s> {
    pub(super) account: Account,
    /// Who runs the server, and so owns the files.
    pub(super) owner: String,
    /// Seconds since 1970 when the session began.
    pub(super) start: u32,
    pub(super) count_failures: bool,
    pub(super) failures: u32,
    pub(super) checks: u32,
    /// What there is to report, without what is secret.
    pub(super) log: &'s mut dyn FnMut(&str),
    pub(super) sleep: &'s dyn Fn(Duration),
    /// Seconds since 1970.
    pub(super) now: &'s dyn Fn() -> u32,
}

impl SecretTree<'_> {
    fn command(&mut self, data: &[u8]) -> Result<u32, Cow<'static, str>> {
        let done = self.account.command(data, (self.now)());
        match &done {
            // A client may check as often as it likes, and fill no log with it.
            Ok(Done::Checked) => {
                if self.checks == 0 {
                    (self.log)("secret checked");
                }
                self.checks = self.checks.saturating_add(1);
            }
            Ok(Done::Changed) => (self.log)("secret changed"),
            Err(error) => (self.log)(&error.to_string()),
        }
        if self.count_failures && matches!(done, Ok(_) | Err(Refused::Wrong)) {
            self.account.count(done.is_ok());
        }
        match done {
            // Inferno's clients look for an error, not at the count.
            Ok(Done::Checked) => Ok(0),
            Ok(Done::Changed) => Ok(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => {
                if error == Refused::Wrong {
                    self.failures = self.failures.saturating_add(1);
                    if self.failures > FREE_FAILURES {
                        (self.sleep)(PENALTY);
                    }
                }
                Err(error.to_string().into())
            }
        }
    }
}

impl Drop for SecretTree<'_> {
    fn drop(&mut self) {
        if self.checks > 1 {
            (self.log)(&format!("secret checked {} times", self.checks));
        }
    }
}

impl Tree for SecretTree<'_> {
    type Node = Node;
    type Error = Cow<'static, str>;

    fn attach(&mut self, _: &[u8], _: &[u8]) -> Result<(Node, Vec<u8>), Self::Error> {
        Ok((Node::Root, self.owner.clone().into_bytes()))
    }

    fn qid(&self, node: &Node) -> Qid {
        let (kind, path) = match node {
            Node::Root => (QTDIR, 10),
            Node::Secret => (0, 9),
        };
        Qid {
            kind,
            version: 0,
            path,
        }
    }

    fn stat(&mut self, node: &Node, now: u32) -> Result<Stat, Self::Error> {
        let (name, mode) = match node {
            Node::Root => (&b"keysrv"[..], DMDIR | 0o555),
            Node::Secret => (&b"secret"[..], 0o660),
        };
        let owner = self.owner.as_bytes();
        Ok(Stat {
            kind: DEVICE,
            device: 0,
            qid: self.qid(node),
            mode,
            atime: now,
            mtime: self.start,
            length: 0,
            name: name.to_vec(),
            uid: owner.to_vec(),
            gid: owner.to_vec(),
            muid: owner.to_vec(),
        })
    }

    fn walk(&mut self, _: &Node, name: &[u8]) -> Result<Node, Self::Error> {
        match name {
            b".." => Ok(Node::Root),
            b"secret" => Ok(Node::Secret),
            _ => Err(Cow::Borrowed("file does not exist")),
        }
    }

    fn create(&mut self, _: &Node, _: &[u8], _: u32, _: u8) -> Result<Node, Self::Error> {
        Err(Cow::Borrowed("mounted directory forbids creation"))
    }

    fn entries(
        &mut self,
        _: &Node,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), Self::Error> {
        if from == 0 {
            take(&self.stat(&Node::Secret, now)?);
        }
        Ok(())
    }

    fn read(
        &mut self,
        _: &Node,
        _: u64,
        _: usize,
        _: u32,
        _: &mut SecretBytes,
    ) -> Result<(), Self::Error> {
        match self.account.error() {
            Some(text) => Err(text.to_owned().into()),
            None => Ok(()),
        }
    }

    fn write(&mut self, _: &Node, _: u64, data: &[u8]) -> Result<u32, Self::Error> {
        self.command(data)
    }

    fn remove(&mut self, _: &Node) -> Result<(), Self::Error> {
        Err(DENIED)
    }

    fn wstat(&mut self, _: &Node, _: &Stat) -> Result<(), Self::Error> {
        Err(DENIED)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::keysrv::hash_text;

    #[test]
    fn wrong_hashes_cost_time_from_the_fourth_on() {
        let keys = tempfile::tempdir().expect("directory");
        let user = keys.path().join("alice");
        fs::create_dir(&user).expect("made");
        fs::write(user.join("secret"), "an old secret").expect("written");
        fs::write(user.join("log"), "0").expect("written");
        let (slept, said) = (Cell::new(Duration::ZERO), Cell::new(0));
        let mut tree = SecretTree {
            account: Account::look_up("alice", keys.path().to_path_buf(), false),
            owner: "root".into(),
            start: 0,
            checks: 0,
            now: &|| 0,
            count_failures: true,
            failures: 0,
            log: &mut |_| said.set(said.get() + 1),
            sleep: &|time| slept.set(slept.get() + time),
        };
        let log = || fs::read_to_string(user.join("log")).expect("there");
        for seconds in [0, 0, 0, 1, 2] {
            let answer = tree.write(&Node::Secret, 0, b"0123");
            assert_eq!(answer, Err("wrong secret".into()));
            assert_eq!(slept.get(), Duration::from_secs(seconds));
            assert_eq!(log(), "bad");
        }
        let right = hash_text(b"an old secret");
        assert_eq!(tree.write(&Node::Secret, 7, right.as_slice()), Ok(0));
        assert_eq!(log(), "good");
        assert_eq!(slept.get(), Duration::from_secs(2));
        assert_eq!(said.get(), 6);
    }
}
