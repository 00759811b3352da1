//! Messages as text, in the form in which Inferno's servers trace them. Data are only counted, so
//! that no secret gets into a trace.

use std::fmt::{self, Display, Formatter};

use crate::message::{Qid, Reply, Request, Rmessage, Stat, Tmessage};

/// A string in double quotes. Control characters would reach somebody's terminal, so they are escaped.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in String::from_utf8_lossy(self.0).chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        f.write_str("\"")
    }
}

/// An unsigned number in the places where the reference prints a signed one.
#[allow(clippy::cast_possible_wrap)]
fn signed(number: u32) -> i32 {
    number as i32
}

impl Display for Qid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Qid(16r{:x},{},16r{:02x})",
            self.path,
            signed(self.version),
            self.kind
        )
    }
}

impl Display for Stat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Dir({},{},{},{},8r{:o},{},{},{},16r{:x},{})",
            Quoted(&self.name),
            Quoted(&self.uid),
            Quoted(&self.gid),
            self.qid,
            self.mode,
            signed(self.atime),
            signed(self.mtime),
            self.length,
            self.kind,
            signed(self.device)
        )
    }
}

fn listed<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    one: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("array[] of {")?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        one(item, f)?;
    }
    f.write_str("}")
}

impl Display for Request<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match &self.body {
            Tmessage::Version { .. } => "Version",
            Tmessage::Auth { .. } => "Auth",
            Tmessage::Attach { .. } => "Attach",
            Tmessage::Flush { .. } => "Flush",
            Tmessage::Walk { .. } => "Walk",
            Tmessage::Open { .. } => "Open",
            Tmessage::Create { .. } => "Create",
            Tmessage::Read { .. } => "Read",
            Tmessage::Write { .. } => "Write",
            Tmessage::Clunk { .. } => "Clunk",
            Tmessage::Remove { .. } => "Remove",
            Tmessage::Stat { .. } => "Stat",
            Tmessage::Wstat { .. } => "Wstat",
        };
        write!(f, "Tmsg.{name}({},", self.tag)?;
        match &self.body {
            Tmessage::Version { msize, version } => {
                write!(f, "{},{}", signed(*msize), Quoted(version))?;
            }
            Tmessage::Auth { afid, uname, aname } => {
                write!(f, "{afid},{},{}", Quoted(uname), Quoted(aname))?;
            }
            Tmessage::Attach {
                fid,
                afid,
                uname,
                aname,
            } => write!(f, "{fid},{afid},{},{}", Quoted(uname), Quoted(aname))?,
            Tmessage::Flush { oldtag } => write!(f, "{oldtag}")?,
            Tmessage::Walk { fid, newfid, names } => {
                write!(f, "{fid},{newfid},")?;
                if names.is_empty() {
                    f.write_str("nil")?;
                } else {
                    listed(f, names, |name, f| Quoted(name).fmt(f))?;
                }
            }
            Tmessage::Open { fid, mode } => write!(f, "{fid},{mode}")?,
            Tmessage::Create {
                fid,
                name,
                perm,
                mode,
            } => write!(f, "{fid},{},8r{perm:o},{mode}", Quoted(name))?,
            Tmessage::Read { fid, offset, count } => write!(f, "{fid},{offset},{count}")?,
            Tmessage::Write { fid, offset, data } => {
                write!(f, "{fid},{offset},array[{}] of byte", data.len())?;
            }
            Tmessage::Clunk { fid } | Tmessage::Remove { fid } | Tmessage::Stat { fid } => {
                write!(f, "{fid}")?;
            }
            Tmessage::Wstat { fid, stat } => match Stat::parse(stat) {
                Ok(stat) => write!(f, "{fid},{stat}")?,
                Err(_) => write!(f, "{fid},ILLEGAL")?,
            },
        }
        f.write_str(")")
    }
}

impl Display for Reply<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match &self.body {
            Rmessage::Version { .. } => "Version",
            Rmessage::Auth { .. } => "Auth",
            Rmessage::Error { .. } => "Error",
            Rmessage::Flush => "Flush",
            Rmessage::Attach { .. } => "Attach",
            Rmessage::Walk { .. } => "Walk",
            Rmessage::Open { .. } => "Open",
            Rmessage::Create { .. } => "Create",
            Rmessage::Read { .. } => "Read",
            Rmessage::Write { .. } => "Write",
            Rmessage::Clunk => "Clunk",
            Rmessage::Remove => "Remove",
            Rmessage::Stat { .. } => "Stat",
            Rmessage::Wstat => "Wstat",
        };
        write!(f, "Rmsg.{name}({}", self.tag)?;
        match &self.body {
            Rmessage::Version { msize, version } => {
                write!(f, ",{},{}", signed(*msize), Quoted(version))?;
            }
            Rmessage::Error { ename } => write!(f, ",{}", Quoted(ename))?,
            Rmessage::Auth { qid } | Rmessage::Attach { qid } => write!(f, ",{qid}")?,
            Rmessage::Walk { qids } => {
                f.write_str(",")?;
                listed(f, qids, |qid, f| qid.fmt(f))?;
            }
            Rmessage::Open { qid, iounit } | Rmessage::Create { qid, iounit } => {
                write!(f, ",{qid},{}", signed(*iounit))?;
            }
            Rmessage::Read { data } => write!(f, ",array[{}] of byte", data.len())?,
            Rmessage::Write { count } => write!(f, ",{}", signed(*count))?,
            Rmessage::Stat { stat } => write!(f, ",{stat}")?,
            Rmessage::Flush | Rmessage::Clunk | Rmessage::Remove | Rmessage::Wstat => {}
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Tmessage<'_>) -> String {
        Request { tag: 1, body }.to_string()
    }

    #[test]
    fn requests_are_traced() {
        let version = Tmessage::Version {
            msize: 8216,
            version: b"9P2000",
        };
        assert_eq!(request(version), "Tmsg.Version(1,8216,\"9P2000\")");
        let walk = |names| Tmessage::Walk {
            fid: 1,
            newfid: 2,
            names,
        };
        assert_eq!(request(walk(vec![])), "Tmsg.Walk(1,1,2,nil)");
        assert_eq!(
            request(walk(vec![b"alice", b"secret"])),
            "Tmsg.Walk(1,1,2,array[] of {\"alice\",\"secret\"})"
        );
        assert_eq!(
            request(walk(vec![b"a\x1b[2J"])),
            "Tmsg.Walk(1,1,2,array[] of {\"a\\u{1b}[2J\"})"
        );
        let create = Tmessage::Create {
            fid: 3,
            name: b"bob",
            perm: 0x8000_01fd,
            mode: 0,
        };
        assert_eq!(request(create), "Tmsg.Create(1,3,\"bob\",8r20000000775,0)");
    }

    #[test]
    fn data_are_only_counted() {
        let write = Tmessage::Write {
            fid: 4,
            offset: 0,
            data: b"geheim",
        };
        assert_eq!(request(write), "Tmsg.Write(1,4,0,array[6] of byte)");
        let read = Reply {
            tag: 1,
            body: Rmessage::Read { data: b"geheim" },
        };
        assert_eq!(read.to_string(), "Rmsg.Read(1,array[6] of byte)");
    }

    #[test]
    fn replies_are_traced() {
        let qid = Qid {
            kind: 0x80,
            version: 0,
            path: 0x11,
        };
        let reply = |body| Reply { tag: 9, body }.to_string();
        assert_eq!(
            reply(Rmessage::Walk { qids: vec![qid] }),
            "Rmsg.Walk(9,array[] of {Qid(16r11,0,16r80)})"
        );
        assert_eq!(
            reply(Rmessage::Open { qid, iounit: 8192 }),
            "Rmsg.Open(9,Qid(16r11,0,16r80),8192)"
        );
        assert_eq!(reply(Rmessage::Clunk), "Rmsg.Clunk(9)");
        let stat = Stat {
            qid,
            mode: 0x8000_0140,
            name: b"alice".to_vec(),
            uid: b"inferno".to_vec(),
            gid: b"inferno".to_vec(),
            atime: 7,
            ..Stat::default()
        };
        assert_eq!(
            reply(Rmessage::Stat { stat }),
            "Rmsg.Stat(9,Dir(\"alice\",\"inferno\",\"inferno\",Qid(16r11,0,16r80),8r20000000500,7,0,0,16r0,0))"
        );
    }
}
