//! Replies.

use kx_secret::SecretBytes;

use super::{Malformed, Qid, Stat, count, count_of, enclose, envelope, kind, string};
use crate::wire::{Reader, put_data};

/// A reply with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The request's.
    pub tag: u16,
    /// What is answered.
    pub body: Rmessage<'a>,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rmessage<'a> {
    /// What is agreed.
    Version {
        /// Octets of the longest message.
        msize: u32,
        /// `9P2000` or `unknown`.
        version: &'a [u8],
    },
    /// Identity of the authentication file.
    Auth {
        /// Its identity.
        qid: Qid,
    },
    /// Any request's failure.
    Error {
        /// Why.
        ename: &'a [u8],
    },
    /// It is forgotten.
    Flush,
    /// The root is there.
    Attach {
        /// Its identity.
        qid: Qid,
    },
    /// Identities of the places passed; fewer than asked for if one was missing.
    Walk {
        /// One an element.
        qids: Vec<Qid>,
    },
    /// It is open.
    Open {
        /// The file's identity.
        qid: Qid,
        /// Octets that go in one read or write; 0 if not told.
        iounit: u32,
    },
    /// It is made and open.
    Create {
        /// The file's identity.
        qid: Qid,
        /// As in `Open`.
        iounit: u32,
    },
    /// What was read.
    Read {
        /// None at the end of the file.
        data: &'a [u8],
    },
    /// How much was written.
    Write {
        /// Octets.
        count: u32,
    },
    /// The fid is forgotten.
    Clunk,
    /// The file is gone.
    Remove,
    /// The description.
    Stat {
        /// The directory entry.
        stat: Stat,
    },
    /// It is changed.
    Wstat,
}

impl<'a> Reply<'a> {
    /// The reply that `message` is, its size in front included.
    ///
    /// # Errors
    /// [`Malformed`] if it is anything else.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, tag, mut from) = envelope(message)?;
        let body = Rmessage::read(kind, &mut from)?;
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

impl<'a> Rmessage<'a> {
    fn read(kind: u8, from: &mut Reader<'a>) -> Result<Self, Malformed> {
        // Replies are odd and one more than what they answer.
        let asked = kind
            .checked_sub(kind::REPLY)
            .filter(|asked| asked % 2 == 0)
            .ok_or(Malformed::Type(kind))?;
        Ok(match asked {
            kind::VERSION => Self::Version {
                msize: from.u32()?,
                version: from.string()?,
            },
            kind::AUTH => Self::Auth {
                qid: Qid::read(from)?,
            },
            kind::ERROR => Self::Error {
                ename: from.string()?,
            },
            kind::FLUSH => Self::Flush,
            kind::ATTACH => Self::Attach {
                qid: Qid::read(from)?,
            },
            kind::WALK => {
                let count = count(from)?;
                let qids = (0..count).map(|_| Qid::read(from));
                Self::Walk {
                    qids: qids.collect::<Result<_, _>>()?,
                }
            }
            kind::OPEN => Self::Open {
                qid: Qid::read(from)?,
                iounit: from.u32()?,
            },
            kind::CREATE => Self::Create {
                qid: Qid::read(from)?,
                iounit: from.u32()?,
            },
            kind::READ => Self::Read { data: from.data()? },
            kind::WRITE => Self::Write { count: from.u32()? },
            kind::CLUNK => Self::Clunk,
            kind::REMOVE => Self::Remove,
            kind::STAT => Self::Stat {
                stat: Stat::parse(from.string()?)?,
            },
            kind::WSTAT => Self::Wstat,
            _ => return Err(Malformed::Type(kind)),
        })
    }

    fn kind(&self) -> u8 {
        let asked = match self {
            Self::Version { .. } => kind::VERSION,
            Self::Auth { .. } => kind::AUTH,
            Self::Error { .. } => kind::ERROR,
            Self::Flush => kind::FLUSH,
            Self::Attach { .. } => kind::ATTACH,
            Self::Walk { .. } => kind::WALK,
            Self::Open { .. } => kind::OPEN,
            Self::Create { .. } => kind::CREATE,
            Self::Read { .. } => kind::READ,
            Self::Write { .. } => kind::WRITE,
            Self::Clunk => kind::CLUNK,
            Self::Remove => kind::REMOVE,
            Self::Stat { .. } => kind::STAT,
            Self::Wstat => kind::WSTAT,
        };
        asked | kind::REPLY
    }

    fn put(&self, out: &mut SecretBytes) -> Result<(), Malformed> {
        match self {
            Self::Version { msize, version } => {
                out.extend_from_slice(&msize.to_le_bytes());
                string(out, version)?;
            }
            Self::Error { ename } => string(out, ename)?,
            Self::Auth { qid } | Self::Attach { qid } => qid.put(out),
            Self::Walk { qids } => {
                count_of(out, qids)?;
                for qid in qids {
                    qid.put(out);
                }
            }
            Self::Open { qid, iounit } | Self::Create { qid, iounit } => {
                qid.put(out);
                out.extend_from_slice(&iounit.to_le_bytes());
            }
            Self::Read { data } => put_data(out, data),
            Self::Write { count } => out.extend_from_slice(&count.to_le_bytes()),
            Self::Stat { stat } => {
                let len = stat.wire_len().ok_or(Malformed::Long)?;
                let len = u16::try_from(len).map_err(|_| Malformed::Long)?;
                out.extend_from_slice(&len.to_le_bytes());
                stat.build(out)?;
            }
            Self::Flush | Self::Clunk | Self::Remove | Self::Wstat => {}
        }
        Ok(())
    }
}
