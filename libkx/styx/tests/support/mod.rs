//! A small tree in memory, and a client and a server that are joined by it.
// Not every test uses all of it, and none is a crate that others could use it from.
#![allow(dead_code, unreachable_pub)]

use std::fmt;

use kx_secret::SecretBytes;
use styx::client::Call;
use styx::message::{DMDIR, QTDIR, Qid, Reply, Request, Rmessage, Stat, Tmessage};
use styx::server::{Dialect, HangUp, Limits, Server, Tree};

pub const NOW: u32 = 1_800_000_000;

/// A file or directory; its number is its place in [`Memory::nodes`].
#[derive(Debug, Clone)]
pub struct Node {
    pub parent: usize,
    pub name: &'static str,
    pub mode: u32,
    pub content: Vec<u8>,
    pub gone: bool,
}

/// Files that belong to `owner` and the group `staff`.
#[derive(Debug, Clone)]
pub struct Memory {
    pub nodes: Vec<Node>,
    /// What was done to it.
    pub deeds: Vec<String>,
}

#[derive(Debug)]
pub struct Text(pub &'static str);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub const ROOT: usize = 0;
pub const DIR: usize = 1;
pub const SECRET: usize = 2;
pub const READ_ONLY: usize = 3;
pub const CLOSED: usize = 4;
pub const INNER: usize = 5;

impl Default for Memory {
    fn default() -> Self {
        let node = |parent, name, mode, content: &[u8]| Node {
            parent,
            name,
            mode,
            content: content.to_vec(),
            gone: false,
        };
        Self {
            nodes: vec![
                node(ROOT, "/", DMDIR | 0o755, b""),
                node(ROOT, "dir", DMDIR | 0o755, b""),
                node(ROOT, "secret", 0o660, b"0123456789"),
                node(ROOT, "readonly", 0o444, b"text"),
                node(ROOT, "closed", DMDIR | 0o600, b""),
                node(DIR, "inner", 0o600, b"inside"),
            ],
            deeds: Vec::new(),
        }
    }
}

impl Memory {
    fn node(&self, at: usize) -> Result<&Node, Text> {
        let node = self.nodes.get(at).filter(|node| !node.gone);
        node.ok_or(Text("file does not exist"))
    }
}

impl Tree for Memory {
    type Node = usize;
    type Error = Text;

    fn attach(&mut self, uname: &[u8], _aname: &[u8]) -> Result<(usize, Vec<u8>), Text> {
        if uname == b"nobody" {
            return Err(Text("nobody is not welcome"));
        }
        Ok((ROOT, uname.to_vec()))
    }

    fn qid(&self, at: &usize) -> Qid {
        let directory = self.nodes[*at].mode & DMDIR != 0;
        Qid {
            kind: if directory { QTDIR } else { 0 },
            version: 0,
            path: *at as u64,
        }
    }

    fn stat(&mut self, at: &usize, now: u32) -> Result<Stat, Text> {
        let qid = self.qid(at);
        let node = self.node(*at)?;
        Ok(Stat {
            kind: 115,
            device: 0,
            qid,
            mode: node.mode,
            atime: now,
            mtime: now,
            length: node.content.len() as u64,
            name: node.name.into(),
            uid: b"owner".to_vec(),
            gid: b"staff".to_vec(),
            muid: Vec::new(),
        })
    }

    fn walk(&mut self, directory: &usize, name: &[u8]) -> Result<usize, Text> {
        if name == b".." {
            return Ok(self.nodes[*directory].parent);
        }
        let found = self.nodes.iter().enumerate().skip(1).find(|(_, node)| {
            !node.gone && node.parent == *directory && node.name.as_bytes() == name
        });
        found.map(|(at, _)| at).ok_or(Text("file does not exist"))
    }

    fn create(&mut self, directory: &usize, name: &[u8], perm: u32, _: u8) -> Result<usize, Text> {
        if name != b"new" {
            return Err(Text("mounted directory forbids creation"));
        }
        self.nodes.push(Node {
            parent: *directory,
            name: "new",
            mode: perm,
            content: Vec::new(),
            gone: false,
        });
        Ok(self.nodes.len() - 1)
    }

    fn entries(
        &mut self,
        directory: &usize,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), Text> {
        let inside: Vec<usize> = (1..self.nodes.len())
            .filter(|at| self.nodes[*at].parent == *directory && !self.nodes[*at].gone)
            .collect();
        for at in inside.into_iter().skip(from) {
            if !take(&self.stat(&at, now)?) {
                break;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        at: &usize,
        offset: u64,
        count: usize,
        _now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), Text> {
        let content = &self.node(*at)?.content;
        let rest = content.get(offset as usize..).unwrap_or_default();
        out.extend_from_slice(&rest[..count.min(rest.len())]);
        Ok(())
    }

    fn write(&mut self, at: &usize, offset: u64, data: &[u8]) -> Result<u32, Text> {
        self.node(*at)?;
        if data == b"bad" {
            return Err(Text("wrong secret"));
        }
        self.deeds
            .push(format!("write {at} {offset} {}", data.len()));
        let content = &mut self.nodes[*at].content;
        content.truncate(offset as usize);
        content.extend_from_slice(data);
        Ok(data.len() as u32)
    }

    fn remove(&mut self, at: &usize) -> Result<(), Text> {
        if *at == ROOT {
            return Err(Text("permission denied"));
        }
        self.nodes[*at].gone = true;
        self.deeds.push(format!("remove {at}"));
        Ok(())
    }

    fn wstat(&mut self, at: &usize, stat: &Stat) -> Result<(), Text> {
        if stat.name.is_empty() {
            return Err(Text("permission denied"));
        }
        self.deeds.push(format!("rename {at}"));
        Ok(())
    }
}

/// A server, spoken to in whole messages.
pub struct Joined(pub Server<Memory>);

impl Call for Joined {
    type Error = HangUp;

    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> Result<(), HangUp> {
        self.0.receive(request)?;
        assert!(self.0.poll_reply(NOW, reply)?, "a reply for each request");
        Ok(())
    }
}

/// What came back, without borrowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Error(String),
    Version(u32, String),
    Qid(Qid),
    Open(Qid, u32),
    Walk(Vec<u64>),
    Data(Vec<u8>),
    Count(u32),
    Stat(Stat),
    Done,
}

impl Joined {
    pub fn new(dialect: Dialect) -> Self {
        Self(Server::new(dialect, Memory::default()))
    }

    pub fn limited(dialect: Dialect, limits: Limits) -> Self {
        Self(Server::with_limits(dialect, Memory::default(), limits))
    }

    /// Version and attach as `owner`, root is fid 0.
    pub fn attached(dialect: Dialect) -> Self {
        let mut joined = Self::new(dialect);
        joined.version(8216);
        joined.attach(0, b"owner");
        joined
    }

    pub fn ask(&mut self, body: Tmessage<'_>) -> Answer {
        let mut request = SecretBytes::default();
        Request { tag: 5, body }.build(&mut request).expect("built");
        let mut octets = SecretBytes::default();
        self.call(request.as_slice(), &mut octets)
            .expect("no hang-up");
        let reply = Reply::parse(octets.as_slice()).expect("a reply");
        assert_eq!(reply.tag, 5);
        match reply.body {
            Rmessage::Error { ename } => {
                Answer::Error(String::from_utf8(ename.to_vec()).expect("text"))
            }
            Rmessage::Version { msize, version } => {
                Answer::Version(msize, String::from_utf8(version.to_vec()).expect("text"))
            }
            Rmessage::Auth { qid } | Rmessage::Attach { qid } => Answer::Qid(qid),
            Rmessage::Open { qid, iounit } | Rmessage::Create { qid, iounit } => {
                Answer::Open(qid, iounit)
            }
            Rmessage::Walk { qids } => Answer::Walk(qids.iter().map(|qid| qid.path).collect()),
            Rmessage::Read { data } => Answer::Data(data.to_vec()),
            Rmessage::Write { count } => Answer::Count(count),
            Rmessage::Stat { stat } => Answer::Stat(stat),
            Rmessage::Flush | Rmessage::Clunk | Rmessage::Remove | Rmessage::Wstat => Answer::Done,
        }
    }

    pub fn version(&mut self, msize: u32) -> Answer {
        self.ask(Tmessage::Version {
            msize,
            version: b"9P2000",
        })
    }

    pub fn attach(&mut self, fid: u32, uname: &[u8]) -> Answer {
        self.ask(Tmessage::Attach {
            fid,
            afid: u32::MAX,
            uname,
            aname: b"",
        })
    }

    pub fn walk(&mut self, fid: u32, newfid: u32, names: &[&str]) -> Answer {
        self.ask(Tmessage::Walk {
            fid,
            newfid,
            names: names.iter().map(|name| name.as_bytes()).collect(),
        })
    }

    pub fn open(&mut self, fid: u32, mode: u8) -> Answer {
        self.ask(Tmessage::Open { fid, mode })
    }

    pub fn create(&mut self, fid: u32, name: &str, perm: u32, mode: u8) -> Answer {
        let name = name.as_bytes();
        self.ask(Tmessage::Create {
            fid,
            name,
            perm,
            mode,
        })
    }

    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Answer {
        self.ask(Tmessage::Read { fid, offset, count })
    }

    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Answer {
        self.ask(Tmessage::Write { fid, offset, data })
    }

    pub fn clunk(&mut self, fid: u32) -> Answer {
        self.ask(Tmessage::Clunk { fid })
    }

    pub fn remove(&mut self, fid: u32) -> Answer {
        self.ask(Tmessage::Remove { fid })
    }

    pub fn stat(&mut self, fid: u32) -> Answer {
        self.ask(Tmessage::Stat { fid })
    }

    pub fn wstat(&mut self, fid: u32, stat: &Stat) -> Answer {
        let mut octets = SecretBytes::default();
        stat.build(&mut octets).expect("built");
        let stat = octets.as_slice();
        self.ask(Tmessage::Wstat { fid, stat })
    }

    /// Walks from the root (fid 0) to a new fid and opens it.
    pub fn opened(&mut self, newfid: u32, names: &[&str], mode: u8) {
        assert!(matches!(self.walk(0, newfid, names), Answer::Walk(_)));
        assert!(matches!(self.open(newfid, mode), Answer::Open(..)));
    }
}

/// The server's refusal.
pub fn refused(text: &str) -> Answer {
    Answer::Error(text.to_owned())
}

/// The names in a piece of a directory.
pub fn names(answer: &Answer) -> Vec<String> {
    let Answer::Data(octets) = answer else {
        panic!("{answer:?}");
    };
    let entries = Stat::parse_all(octets).expect("whole entries");
    let text = |entry: Stat| String::from_utf8(entry.name).expect("text");
    entries.into_iter().map(text).collect()
}
