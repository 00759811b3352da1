//! As much of a 9P2000 client as the tests need ("keysrv spec 8").

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::records::Records;

/// Something that carries messages.
pub trait Carrier {
    /// Sends one; false when the connection is gone.
    fn put(&mut self, message: &[u8]) -> bool;
    /// The next one; none at the end.
    fn get(&mut self) -> Option<Vec<u8>>;
}

impl<S: Read + Write> Carrier for Records<S> {
    fn put(&mut self, message: &[u8]) -> bool {
        self.send(message).is_ok()
    }

    fn get(&mut self) -> Option<Vec<u8>> {
        let message = self.receive()?;
        let size = u32::from_le_bytes(*message.first_chunk()?);
        assert_eq!(size as usize, message.len(), "one reply is one record");
        Some(message)
    }
}

impl Carrier for UnixStream {
    fn put(&mut self, message: &[u8]) -> bool {
        self.write_all(message).is_ok()
    }

    fn get(&mut self) -> Option<Vec<u8>> {
        let mut size = [0; 4];
        self.read_exact(&mut size).ok()?;
        let mut message = size.to_vec();
        message.resize(u32::from_le_bytes(size) as usize, 0);
        self.read_exact(message.get_mut(4..)?).ok()?;
        Some(message)
    }
}

/// Kinds of requests.
#[allow(missing_docs)]
pub mod kind {
    pub const VERSION: u8 = 100;
    pub const AUTH: u8 = 102;
    pub const ATTACH: u8 = 104;
    pub const ERROR: u8 = 107;
    pub const FLUSH: u8 = 108;
    pub const WALK: u8 = 110;
    pub const OPEN: u8 = 112;
    pub const CREATE: u8 = 114;
    pub const READ: u8 = 116;
    pub const WRITE: u8 = 118;
    pub const CLUNK: u8 = 120;
    pub const REMOVE: u8 = 122;
    pub const STAT: u8 = 124;
    pub const WSTAT: u8 = 126;
}

/// Open modes.
pub const OREAD: u8 = 0;
/// For writing.
pub const OWRITE: u8 = 1;
/// Emptied.
pub const OTRUNC: u8 = 0x10;
/// No fid.
pub const NOFID: u32 = u32::MAX;

/// A string with its length.
pub fn string(text: &str) -> Vec<u8> {
    let mut out = u16::try_from(text.len())
        .expect("a string")
        .to_le_bytes()
        .to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

/// A whole message.
pub fn message(kind: u8, tag: u16, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut out = u32::try_from(body.len() + 7)
        .expect("a message")
        .to_le_bytes()
        .to_vec();
    out.push(kind);
    out.extend(tag.to_le_bytes());
    out.extend(body);
    out
}

/// A client.
#[derive(Debug)]
pub struct NineP<C> {
    /// What is below.
    pub carrier: C,
    next_fid: u32,
}

impl<C: Carrier> NineP<C> {
    /// Nothing said yet.
    pub fn new(carrier: C) -> NineP<C> {
        NineP {
            carrier,
            next_fid: 1,
        }
    }

    /// One request and the body of its answer.
    ///
    /// # Errors
    ///
    /// The text of Rerror, or `hungup`.
    pub fn call(&mut self, kind: u8, body: &[&[u8]]) -> Result<Vec<u8>, String> {
        let tag = if kind == kind::VERSION { u16::MAX } else { 1 };
        self.raw(&message(kind, tag, body))
    }

    /// The same with a message made by hand.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn raw(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let hungup = || "hungup".to_owned();
        if !self.carrier.put(request) {
            return Err(hungup());
        }
        let reply = self.carrier.get().ok_or_else(hungup)?;
        let body = reply.get(7..).unwrap_or_default().to_vec();
        assert_eq!(reply.get(5..7), request.get(5..7), "the tag");
        if reply.get(4) == Some(&kind::ERROR) {
            let text = body.get(2..).unwrap_or_default();
            return Err(String::from_utf8_lossy(text).into_owned());
        }
        assert_eq!(
            reply.get(4).copied(),
            request.get(4).map(|t| t + 1),
            "the answer's kind"
        );
        Ok(body)
    }

    /// Tversion; gives the size and the version agreed on.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn version(&mut self, size: u32, version: &str) -> Result<(u32, String), String> {
        let body = self.call(kind::VERSION, &[&size.to_le_bytes(), &string(version)])?;
        let size = u32::from_le_bytes(*body.first_chunk().expect("a size"));
        let version = String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned();
        Ok((size, version))
    }

    /// A fid that was not used yet.
    pub fn fid(&mut self) -> u32 {
        self.next_fid += 1;
        self.next_fid
    }

    /// Tattach; gives the root's fid.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn attach(&mut self, user: &str) -> Result<u32, String> {
        let fid = self.fid();
        let parts: [&[u8]; 4] = [
            &fid.to_le_bytes(),
            &NOFID.to_le_bytes(),
            &string(user),
            &string(""),
        ];
        self.call(kind::ATTACH, &parts).map(|_| fid)
    }

    /// Twalk to a new fid.
    ///
    /// # Errors
    ///
    /// As `call`; `stopped` if only some of the names were there.
    pub fn walk(&mut self, from: u32, names: &[&str]) -> Result<u32, String> {
        let fid = self.fid();
        let mut body = [from.to_le_bytes(), fid.to_le_bytes()].concat();
        body.extend(u16::try_from(names.len()).expect("names").to_le_bytes());
        names.iter().for_each(|name| body.extend(string(name)));
        let answer = self.call(kind::WALK, &[&body])?;
        let walked = u16::from_le_bytes(*answer.first_chunk().expect("a count"));
        match usize::from(walked) == names.len() {
            true => Ok(fid),
            false => Err("stopped".to_owned()),
        }
    }

    /// Topen.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn open(&mut self, fid: u32, mode: u8) -> Result<(), String> {
        self.call(kind::OPEN, &[&fid.to_le_bytes(), &[mode]])
            .map(drop)
    }

    /// Tcreate.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn create(&mut self, fid: u32, name: &str, mode: u32, open: u8) -> Result<(), String> {
        let parts: [&[u8]; 4] = [
            &fid.to_le_bytes(),
            &string(name),
            &mode.to_le_bytes(),
            &[open],
        ];
        self.call(kind::CREATE, &parts).map(drop)
    }

    /// Tread.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, String> {
        let parts: [&[u8]; 3] = [
            &fid.to_le_bytes(),
            &offset.to_le_bytes(),
            &count.to_le_bytes(),
        ];
        let body = self.call(kind::READ, &parts)?;
        Ok(body.get(4..).unwrap_or_default().to_vec())
    }

    /// Twrite; gives the count of the answer.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, String> {
        let count = u32::try_from(data.len()).expect("a count").to_le_bytes();
        let parts: [&[u8]; 4] = [&fid.to_le_bytes(), &offset.to_le_bytes(), &count, data];
        let body = self.call(kind::WRITE, &parts)?;
        Ok(u32::from_le_bytes(*body.first_chunk().expect("a count")))
    }

    /// Tclunk.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn clunk(&mut self, fid: u32) -> Result<(), String> {
        self.call(kind::CLUNK, &[&fid.to_le_bytes()]).map(drop)
    }

    /// Walks, opens, reads from the start, clunks.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn contents(&mut self, root: u32, path: &[&str]) -> Result<Vec<u8>, String> {
        let fid = self.walk(root, path)?;
        let data = self.open(fid, OREAD).and_then(|()| self.read(fid, 0, 4096));
        self.clunk(fid)?;
        data
    }

    /// Walks, opens truncating, writes once, clunks.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn store(&mut self, root: u32, path: &[&str], data: &[u8]) -> Result<u32, String> {
        let fid = self.walk(root, path)?;
        let opened = self.open(fid, OWRITE | OTRUNC);
        let count = opened.and_then(|()| self.write(fid, 0, data));
        self.clunk(fid)?;
        count
    }
}

/// A client of the socket at `path`, attached; with the root's fid.
pub fn dial(path: &Path) -> (NineP<UnixStream>, u32) {
    let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a limit");
    let mut client = NineP::new(stream);
    client.version(8216, "9P2000").expect("a version");
    let root = client.attach("test").expect("attached");
    (client, root)
}
