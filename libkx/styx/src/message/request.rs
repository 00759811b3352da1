//! Requests.

use kx_secret::SecretBytes;

use super::{Malformed, count, count_of, enclose, envelope, kind, string};
use crate::wire::{Reader, put_data};

/// A request with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Comes back in the reply.
    pub tag: u16,
    /// What is asked for.
    pub body: Tmessage<'a>,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tmessage<'a> {
    /// Agree on version and message size.
    Version {
        /// Octets of the longest message, its size included.
        msize: u32,
        /// `9P2000`.
        version: &'a [u8],
    },
    /// Begin to authenticate.
    Auth {
        /// New fid for the authentication file.
        afid: u32,
        /// User.
        uname: &'a [u8],
        /// Which tree.
        aname: &'a [u8],
    },
    /// Give me the root.
    Attach {
        /// New fid for the root.
        fid: u32,
        /// Authentication fid or [`NOFID`](super::NOFID).
        afid: u32,
        /// User.
        uname: &'a [u8],
        /// Which tree.
        aname: &'a [u8],
    },
    /// Forget a request.
    Flush {
        /// The other request's tag.
        oldtag: u16,
    },
    /// Go down the tree.
    Walk {
        /// From here.
        fid: u32,
        /// New fid for the place that is reached; may be the same.
        newfid: u32,
        /// Elements, at most [`MAX_WALK`](super::MAX_WALK).
        names: Vec<&'a [u8]>,
    },
    /// Prepare for reading or writing.
    Open {
        /// The file.
        fid: u32,
        /// [`OREAD`](super::OREAD) and its kin.
        mode: u8,
    },
    /// Make a file and open it.
    Create {
        /// The directory; stands for the new file afterwards.
        fid: u32,
        /// The new file's.
        name: &'a [u8],
        /// Permission bits and [`DMDIR`](super::DMDIR).
        perm: u32,
        /// [`OREAD`](super::OREAD) and its kin.
        mode: u8,
    },
    /// Read.
    Read {
        /// An open file.
        fid: u32,
        /// Where.
        offset: u64,
        /// How many octets at most.
        count: u32,
    },
    /// Write.
    Write {
        /// An open file.
        fid: u32,
        /// Where.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// Forget a fid.
    Clunk {
        /// Which.
        fid: u32,
    },
    /// Remove a file, and forget the fid in any case.
    Remove {
        /// Which.
        fid: u32,
    },
    /// Describe a file.
    Stat {
        /// Which.
        fid: u32,
    },
    /// Change a file's description.
    Wstat {
        /// Which.
        fid: u32,
        /// A directory entry, see [`Stat::parse`](super::Stat::parse). Servers differ in what they do with a bad one.
        stat: &'a [u8],
    },
}

impl<'a> Request<'a> {
    /// The request that `message` is, its size in front included.
    ///
    /// # Errors
    /// [`Malformed`] if it is anything else.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, tag, mut from) = envelope(message)?;
        let body = Tmessage::read(kind, &mut from)?;
        from.end()?;
        Ok(Self { tag, body })
    }

    /// Appends the whole message.
    ///
    /// # Errors
    /// [`Malformed::Long`], [`Malformed::Walk`]; nothing is appended then.
    pub fn build(&self, out: &mut SecretBytes) -> Result<(), Malformed> {
        enclose(out, self.body.kind(), self.tag, |out| self.body.put(out))
    }
}

impl<'a> Tmessage<'a> {
    fn read(kind: u8, from: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match kind {
            kind::VERSION => Self::Version {
                msize: from.u32()?,
                version: from.string()?,
            },
            kind::AUTH => Self::Auth {
                afid: from.u32()?,
                uname: from.string()?,
                aname: from.string()?,
            },
            kind::ATTACH => Self::Attach {
                fid: from.u32()?,
                afid: from.u32()?,
                uname: from.string()?,
                aname: from.string()?,
            },
            kind::FLUSH => Self::Flush {
                oldtag: from.u16()?,
            },
            kind::WALK => {
                let (fid, newfid) = (from.u32()?, from.u32()?);
                let count = count(from)?;
                let names = (0..count).map(|_| from.string());
                Self::Walk {
                    fid,
                    newfid,
                    names: names.collect::<Result<_, _>>()?,
                }
            }
            kind::OPEN => Self::Open {
                fid: from.u32()?,
                mode: from.u8()?,
            },
            kind::CREATE => Self::Create {
                fid: from.u32()?,
                name: from.string()?,
                perm: from.u32()?,
                mode: from.u8()?,
            },
            kind::READ => Self::Read {
                fid: from.u32()?,
                offset: from.u64()?,
                count: from.u32()?,
            },
            kind::WRITE => Self::Write {
                fid: from.u32()?,
                offset: from.u64()?,
                data: from.data()?,
            },
            kind::CLUNK => Self::Clunk { fid: from.u32()? },
            kind::REMOVE => Self::Remove { fid: from.u32()? },
            kind::STAT => Self::Stat { fid: from.u32()? },
            kind::WSTAT => Self::Wstat {
                fid: from.u32()?,
                stat: from.string()?,
            },
            other => return Err(Malformed::Type(other)),
        })
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Version { .. } => kind::VERSION,
            Self::Auth { .. } => kind::AUTH,
            Self::Attach { .. } => kind::ATTACH,
            Self::Flush { .. } => kind::FLUSH,
            Self::Walk { .. } => kind::WALK,
            Self::Open { .. } => kind::OPEN,
            Self::Create { .. } => kind::CREATE,
            Self::Read { .. } => kind::READ,
            Self::Write { .. } => kind::WRITE,
            Self::Clunk { .. } => kind::CLUNK,
            Self::Remove { .. } => kind::REMOVE,
            Self::Stat { .. } => kind::STAT,
            Self::Wstat { .. } => kind::WSTAT,
        }
    }

    fn put(&self, out: &mut SecretBytes) -> Result<(), Malformed> {
        match self {
            Self::Version { msize, version } => {
                out.extend_from_slice(&msize.to_le_bytes());
                string(out, version)?;
            }
            Self::Auth { afid, uname, aname } => {
                out.extend_from_slice(&afid.to_le_bytes());
                string(out, uname)?;
                string(out, aname)?;
            }
            Self::Attach {
                fid,
                afid,
                uname,
                aname,
            } => {
                out.extend_from_slice(&fid.to_le_bytes());
                out.extend_from_slice(&afid.to_le_bytes());
                string(out, uname)?;
                string(out, aname)?;
            }
            Self::Flush { oldtag } => out.extend_from_slice(&oldtag.to_le_bytes()),
            Self::Walk { fid, newfid, names } => {
                out.extend_from_slice(&fid.to_le_bytes());
                out.extend_from_slice(&newfid.to_le_bytes());
                count_of(out, names)?;
                for name in names {
                    string(out, name)?;
                }
            }
            Self::Open { fid, mode } => {
                out.extend_from_slice(&fid.to_le_bytes());
                out.push(*mode);
            }
            Self::Create {
                fid,
                name,
                perm,
                mode,
            } => {
                out.extend_from_slice(&fid.to_le_bytes());
                string(out, name)?;
                out.extend_from_slice(&perm.to_le_bytes());
                out.push(*mode);
            }
            Self::Read { fid, offset, count } => {
                out.extend_from_slice(&fid.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Write { fid, offset, data } => {
                out.extend_from_slice(&fid.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                put_data(out, data);
            }
            Self::Clunk { fid } | Self::Remove { fid } | Self::Stat { fid } => {
                out.extend_from_slice(&fid.to_le_bytes());
            }
            Self::Wstat { fid, stat } => {
                out.extend_from_slice(&fid.to_le_bytes());
                string(out, stat)?;
            }
        }
        Ok(())
    }
}
