//! The client's end: one request at a time over anything that carries whole messages.

use kx_secret::SecretBytes;

use crate::message::{
    HEADER_LEN, IO_HEADER, MAX_WALK, Malformed, NOFID, NOTAG, OREAD, OTRUNC, OWRITE, Qid, Reply,
    Request, Rmessage, Stat, Tmessage, VERSION,
};

/// Carries messages to a server and back.
pub trait Call {
    /// Why a message did not get there, or none came back.
    type Error;

    /// Sends one whole request and appends exactly one whole reply.
    ///
    /// # Errors
    /// The carrier's.
    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> Result<(), Self::Error>;
}

/// A carrier that also knows what to do with replies that nobody waits for.
pub trait Post: Call {
    /// Sends one whole request, at the latest before the next call's. Its reply, when it comes, is the
    /// carrier's own business, and no call returns it.
    ///
    /// # Errors
    /// The carrier's.
    fn post(&mut self, request: &[u8]) -> Result<(), Self::Error>;
}

/// Why a request had no success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The carrier failed.
    #[error("{0}")]
    Call(E),
    /// The server says no: its own text.
    #[error("{0}")]
    Refused(String),
    /// What came back is no reply, or the request cannot be said.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A reply to another request.
    #[error("unexpected reply")]
    Unexpected,
    /// The server speaks no version that we do.
    #[error("incompatible 9P version")]
    Version,
    /// A file is longer than the caller wants it.
    #[error("file too long")]
    TooLong,
}

/// A place in the server's tree. It is forgotten by [`Client::clunk`] or [`Client::remove`], not by
/// being dropped.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Fid(u32);

/// The client's end of a connection.
#[derive(Debug)]
pub struct Client<C> {
    carrier: C,
    msize: u32,
    next: u32,
    /// Numbers that were used and may be used again.
    free: Vec<u32>,
}

/// Inferno's clients use this one too (keysrv spec 8).
const TAG: u16 = 1;

impl<C: Call> Client<C> {
    /// Agrees on the version and on messages of at most `msize` octets.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Version`] if the server does not speak 9P2000.
    pub fn new(carrier: C, msize: u32) -> Result<Self, Error<C::Error>> {
        let mut client = Self {
            carrier,
            msize,
            next: 0,
            free: Vec::new(),
        };
        let request = Request {
            tag: NOTAG,
            body: Tmessage::Version {
                msize,
                version: VERSION,
            },
        };
        let (agreed, known) = client.exchange(request, |reply| match reply {
            Rmessage::Version { msize, version } => Some((msize, version == VERSION)),
            _ => None,
        })?;
        if !known || agreed > msize || agreed <= IO_HEADER {
            return Err(Error::Version);
        }
        client.msize = agreed;
        Ok(client)
    }

    /// What carries the messages.
    pub fn carrier(&self) -> &C {
        &self.carrier
    }

    /// What carries the messages.
    pub fn carrier_mut(&mut self) -> &mut C {
        &mut self.carrier
    }

    /// Octets of the longest message that was agreed on.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    fn exchange<V>(
        &mut self,
        request: Request<'_>,
        expect: impl FnOnce(Rmessage<'_>) -> Option<V>,
    ) -> Result<V, Error<C::Error>> {
        let mut sent = SecretBytes::default();
        request.build(&mut sent)?;
        let mut received = SecretBytes::default();
        self.carrier
            .call(sent.as_slice(), &mut received)
            .map_err(Error::Call)?;
        let reply = Reply::parse(received.as_slice())?;
        if reply.tag != request.tag {
            return Err(Error::Unexpected);
        }
        match reply.body {
            Rmessage::Error { ename } => {
                Err(Error::Refused(String::from_utf8_lossy(ename).into_owned()))
            }
            body => expect(body).ok_or(Error::Unexpected),
        }
    }

    fn ask<V>(
        &mut self,
        body: Tmessage<'_>,
        expect: impl FnOnce(Rmessage<'_>) -> Option<V>,
    ) -> Result<V, Error<C::Error>> {
        self.exchange(Request { tag: TAG, body }, expect)
    }

    fn new_fid(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let fid = self.next;
            self.next = self.next.wrapping_add(1);
            fid
        })
    }

    /// Gets the root of the server's tree.
    ///
    /// # Errors
    /// [`Error`].
    pub fn attach(&mut self, uname: &[u8], aname: &[u8]) -> Result<Fid, Error<C::Error>> {
        let fid = self.new_fid();
        let request = Tmessage::Attach {
            fid,
            afid: NOFID,
            uname,
            aname,
        };
        let attached = self.ask(request, |reply| match reply {
            Rmessage::Attach { .. } => Some(Fid(fid)),
            _ => None,
        });
        self.kept(fid, attached)
    }

    /// Frees a number that the server did not take.
    fn kept<V>(
        &mut self,
        fid: u32,
        result: Result<V, Error<C::Error>>,
    ) -> Result<V, Error<C::Error>> {
        if matches!(result, Err(Error::Refused(_))) {
            self.free.push(fid);
        }
        result
    }

    /// Goes from one place to another. No name at all gives the same place a second time.
    ///
    /// # Errors
    /// [`Error`]; `file does not exist` also where the server tells it by a shorter list.
    pub fn walk(&mut self, from: &Fid, names: &[&[u8]]) -> Result<Fid, Error<C::Error>> {
        if names.len() > MAX_WALK {
            return Err(Malformed::Walk.into());
        }
        let newfid = self.new_fid();
        let request = Tmessage::Walk {
            fid: from.0,
            newfid,
            names: names.to_vec(),
        };
        let walked = self
            .ask(request, |reply| match reply {
                Rmessage::Walk { qids } if qids.len() <= names.len() => Some(qids.len()),
                _ => None,
            })
            .and_then(|passed| {
                if passed == names.len() {
                    Ok(Fid(newfid))
                } else {
                    Err(Error::Refused("file does not exist".into()))
                }
            });
        self.kept(newfid, walked)
    }

    /// Opens a place for reading or writing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(&mut self, fid: &Fid, mode: u8) -> Result<Qid, Error<C::Error>> {
        self.ask(Tmessage::Open { fid: fid.0, mode }, |reply| match reply {
            Rmessage::Open { qid, .. } => Some(qid),
            _ => None,
        })
    }

    /// Makes a file or directory and opens it; `directory` stands for it then.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(
        &mut self,
        directory: &Fid,
        name: &[u8],
        perm: u32,
        mode: u8,
    ) -> Result<Qid, Error<C::Error>> {
        let request = Tmessage::Create {
            fid: directory.0,
            name,
            perm,
            mode,
        };
        self.ask(request, |reply| match reply {
            Rmessage::Create { qid, .. } => Some(qid),
            _ => None,
        })
    }

    /// Appends at most `count` octets, and not more than fit in a message. Returns how many; 0 at the
    /// end of the file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(
        &mut self,
        fid: &Fid,
        offset: u64,
        count: u32,
        out: &mut SecretBytes,
    ) -> Result<usize, Error<C::Error>> {
        let count = count.min(self.msize.saturating_sub(IO_HEADER));
        let request = Tmessage::Read {
            fid: fid.0,
            offset,
            count,
        };
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        self.ask(request, |reply| match reply {
            Rmessage::Read { data } if data.len() <= most => {
                out.extend_from_slice(data);
                Some(data.len())
            }
            _ => None,
        })
    }

    /// Writes in one message, and returns the count that the server tells.
    ///
    /// # Errors
    /// [`Error`]; [`Malformed::Long`] if it does not fit in one.
    pub fn write(&mut self, fid: &Fid, offset: u64, data: &[u8]) -> Result<u32, Error<C::Error>> {
        let room = self.msize.saturating_sub(IO_HEADER);
        if u32::try_from(data.len()).map_or(true, |len| len > room) {
            return Err(Malformed::Long.into());
        }
        let request = Tmessage::Write {
            fid: fid.0,
            offset,
            data,
        };
        self.ask(request, |reply| match reply {
            Rmessage::Write { count } => Some(count),
            _ => None,
        })
    }

    /// Forgets a place.
    ///
    /// # Errors
    /// [`Error`].
    pub fn clunk(&mut self, fid: Fid) -> Result<(), Error<C::Error>> {
        let done = self.ask(Tmessage::Clunk { fid: fid.0 }, |reply| {
            matches!(reply, Rmessage::Clunk).then_some(())
        });
        if done.is_ok() {
            self.free.push(fid.0);
        }
        done
    }

    /// Removes a file; the place is forgotten in any case.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&mut self, fid: Fid) -> Result<(), Error<C::Error>> {
        let done = self.ask(Tmessage::Remove { fid: fid.0 }, |reply| {
            matches!(reply, Rmessage::Remove).then_some(())
        });
        // After a refusal some servers remember it nevertheless, so that number is left alone.
        if done.is_ok() {
            self.free.push(fid.0);
        }
        done
    }

    /// Describes a file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stat(&mut self, fid: &Fid) -> Result<Stat, Error<C::Error>> {
        self.ask(Tmessage::Stat { fid: fid.0 }, |reply| match reply {
            Rmessage::Stat { stat } => Some(stat),
            _ => None,
        })
    }

    /// Changes a file's description; see [`Stat::unchanged`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn wstat(&mut self, fid: &Fid, stat: &Stat) -> Result<(), Error<C::Error>> {
        let mut octets = SecretBytes::default();
        stat.build(&mut octets)?;
        let request = Tmessage::Wstat {
            fid: fid.0,
            stat: octets.as_slice(),
        };
        self.ask(request, |reply| {
            matches!(reply, Rmessage::Wstat).then_some(())
        })
    }

    /// Walks to a place, does something there and forgets it. The error of the deed goes before that of
    /// the forgetting.
    fn at<V>(
        &mut self,
        root: &Fid,
        names: &[&[u8]],
        deed: impl FnOnce(&mut Self, &Fid) -> Result<V, Error<C::Error>>,
    ) -> Result<V, Error<C::Error>> {
        let fid = self.walk(root, names)?;
        let done = deed(self, &fid);
        let forgotten = self.clunk(fid);
        let value = done?;
        forgotten?;
        Ok(value)
    }

    /// The whole content of a file, at most `limit` octets.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooLong`].
    pub fn read_file(
        &mut self,
        root: &Fid,
        names: &[&[u8]],
        limit: usize,
    ) -> Result<SecretBytes, Error<C::Error>> {
        self.at(root, names, |client, fid| {
            client.open(fid, OREAD)?;
            let mut content = SecretBytes::default();
            loop {
                let offset = content.len() as u64;
                if client.read(fid, offset, u32::MAX, &mut content)? == 0 {
                    return Ok(content);
                }
                if content.len() > limit {
                    return Err(Error::TooLong);
                }
            }
        })
    }

    /// Writes a file with one request, as the servers of Inferno want their commands. The file is
    /// opened for truncation. Returns the count that the server tells.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write_file(
        &mut self,
        root: &Fid,
        names: &[&[u8]],
        data: &[u8],
    ) -> Result<u32, Error<C::Error>> {
        self.at(root, names, |client, fid| {
            client.open(fid, OWRITE | OTRUNC)?;
            client.write(fid, 0, data)
        })
    }

    /// The entries of a directory, at most `limit` of them.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooLong`].
    pub fn list(
        &mut self,
        root: &Fid,
        names: &[&[u8]],
        limit: usize,
    ) -> Result<Vec<Stat>, Error<C::Error>> {
        self.at(root, names, |client, fid| {
            client.open(fid, OREAD)?;
            let mut entries = Vec::new();
            let mut offset = 0u64;
            loop {
                let mut piece = SecretBytes::default();
                let count = client.read(fid, offset, u32::MAX, &mut piece)?;
                if count == 0 {
                    return Ok(entries);
                }
                offset = offset.saturating_add(count as u64);
                entries.extend(Stat::parse_all(piece.as_slice())?);
                if entries.len() > limit {
                    return Err(Error::TooLong);
                }
            }
        })
    }
}

impl<C: Post> Client<C> {
    /// Asks to read from the start of a file, as request `tag`, without waiting for the answer, which is the
    /// carrier's: see [`Post::post`]. All other requests have the tag 1.
    ///
    /// # Errors
    /// [`Error`].
    pub fn post_read(&mut self, fid: &Fid, tag: u16) -> Result<(), Error<C::Error>> {
        let body = Tmessage::Read {
            fid: fid.0,
            offset: 0,
            count: self.msize.saturating_sub(IO_HEADER),
        };
        let mut sent = SecretBytes::default();
        Request { tag, body }.build(&mut sent)?;
        self.carrier.post(sent.as_slice()).map_err(Error::Call)
    }
}

/// The length of the message at the front of `octets`, for carriers that cut messages out of a stream.
/// `None` while it is not known.
///
/// # Errors
/// [`Malformed::Size`] if it is no length of a message, or more than `msize`.
pub fn message_len(octets: &[u8], msize: u32) -> Result<Option<usize>, Malformed> {
    let Some(size) = octets.first_chunk::<4>() else {
        return Ok(None);
    };
    let size = u32::from_le_bytes(*size);
    let len = usize::try_from(size).map_err(|_| Malformed::Size)?;
    if len < HEADER_LEN || size > msize {
        return Err(Malformed::Size);
    }
    Ok(Some(len))
}
