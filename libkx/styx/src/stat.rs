//! What a server says of a file: its identity ([`Qid`]) and its directory entry ([`Stat`]).

use kx_secret::SecretBytes;

use crate::message::Malformed;
use crate::wire::{Reader, put_string};

/// Set in [`Qid::kind`] of a directory.
pub const QTDIR: u8 = 0x80;
/// Set in [`Stat::mode`] of a directory.
pub const DMDIR: u32 = 0x8000_0000;

/// The server's identity of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Qid {
    /// [`QTDIR`] or 0, with further bits that are not used here.
    pub kind: u8,
    /// Counts changes, where the server does.
    pub version: u32,
    /// Different for different files of a tree.
    pub path: u64,
}

impl Qid {
    /// Octets on the wire.
    pub const LEN: usize = 13;

    /// Whether it is a directory's.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind & QTDIR != 0
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            kind: from.u8()?,
            version: from.u32()?,
            path: from.u64()?,
        })
    }

    pub(crate) fn put(&self, out: &mut SecretBytes) {
        out.push(self.kind);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.path.to_le_bytes());
    }
}

/// A directory entry. Names are octets: UTF-8 by custom, not by force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stat {
    /// For the server's own use: in Inferno a letter for the device.
    pub kind: u16,
    /// For the server's own use.
    pub device: u32,
    /// The file's identity.
    pub qid: Qid,
    /// Permission bits as in Unix, and [`DMDIR`].
    pub mode: u32,
    /// Last access, seconds since 1970.
    pub atime: u32,
    /// Last change, seconds since 1970.
    pub mtime: u32,
    /// Octets; 0 for a directory.
    pub length: u64,
    /// The last element of the path; `/` for a root.
    pub name: Vec<u8>,
    /// Owner.
    pub uid: Vec<u8>,
    /// Group.
    pub gid: Vec<u8>,
    /// Who changed it last.
    pub muid: Vec<u8>,
}

impl Stat {
    /// Octets of an entry with four empty names, its own length field included.
    pub const MIN_LEN: usize = 49;

    /// Octets on the wire, the length field in front included. `None` if it cannot be said in 16 bits.
    #[must_use]
    pub fn wire_len(&self) -> Option<usize> {
        let names = [&self.name, &self.uid, &self.gid, &self.muid];
        let total = names.iter().try_fold(Self::MIN_LEN, |sum, name| {
            u16::try_from(name.len()).ok()?;
            sum.checked_add(name.len())
        })?;
        // Twstat and Rstat have one more length in front, of all this.
        u16::try_from(total).ok()?;
        Some(total)
    }

    /// The entry that `octets` are, no more and no less.
    ///
    /// # Errors
    /// [`Malformed`] if they are anything else.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(octets);
        let stat = Self::read(&mut from)?;
        from.end()?;
        Ok(stat)
    }

    /// The entries that a directory's content is a sequence of.
    ///
    /// # Errors
    /// [`Malformed`] if it ends inside of one.
    pub fn parse_all(mut octets: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut entries = Vec::new();
        while !octets.is_empty() {
            let len = usize::from(Reader::new(octets).u16()?);
            let len = len.checked_add(2).ok_or(Malformed::Short)?;
            let (entry, rest) = octets.split_at_checked(len).ok_or(Malformed::Short)?;
            entries.push(Self::parse(entry)?);
            octets = rest;
        }
        Ok(entries)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut inner = Reader::new(from.string()?);
        let stat = Self {
            kind: inner.u16()?,
            device: inner.u32()?,
            qid: Qid::read(&mut inner)?,
            mode: inner.u32()?,
            atime: inner.u32()?,
            mtime: inner.u32()?,
            length: inner.u64()?,
            name: inner.string()?.to_vec(),
            uid: inner.string()?.to_vec(),
            gid: inner.string()?.to_vec(),
            muid: inner.string()?.to_vec(),
        };
        inner.end()?;
        Ok(stat)
    }

    /// Appends the entry.
    ///
    /// # Errors
    /// [`Malformed::Long`] if its names are too long to be said; nothing is appended then.
    pub fn build(&self, out: &mut SecretBytes) -> Result<(), Malformed> {
        let len = self.wire_len().ok_or(Malformed::Long)?;
        let inner = u16::try_from(len.saturating_sub(2)).map_err(|_| Malformed::Long)?;
        out.extend_from_slice(&inner.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.device.to_le_bytes());
        self.qid.put(out);
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.atime.to_le_bytes());
        out.extend_from_slice(&self.mtime.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        for name in [&self.name, &self.uid, &self.gid, &self.muid] {
            put_string(out, name);
        }
        Ok(())
    }

    /// An entry that changes nothing when it is written: every number all ones, every name empty
    /// (9P2000, stat(5)).
    #[must_use]
    pub fn unchanged() -> Self {
        Self {
            kind: u16::MAX,
            device: u32::MAX,
            qid: Qid {
                kind: u8::MAX,
                version: u32::MAX,
                path: u64::MAX,
            },
            mode: u32::MAX,
            atime: u32::MAX,
            mtime: u32::MAX,
            length: u64::MAX,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Stat {
        Stat {
            kind: 115,
            qid: Qid {
                kind: 0,
                version: 0,
                path: 0x12,
            },
            mode: 0o660,
            name: b"secret".to_vec(),
            uid: b"inferno".to_vec(),
            ..Stat::default()
        }
    }

    #[test]
    fn an_entry_is_as_long_as_it_says() {
        let mut out = SecretBytes::default();
        sample().build(&mut out).expect("short names");
        assert_eq!(Some(out.len()), sample().wire_len());
        assert_eq!(out.len(), Stat::MIN_LEN + 13);
        assert_eq!(Stat::parse(out.as_slice()), Ok(sample()));
    }

    #[test]
    fn entries_follow_each_other() {
        let mut out = SecretBytes::default();
        sample().build(&mut out).expect("built");
        Stat::unchanged().build(&mut out).expect("built");
        let entries = Stat::parse_all(out.as_slice()).expect("two");
        assert_eq!(entries, [sample(), Stat::unchanged()]);
        let cut = out.as_slice().get(..out.len() - 1).expect("cut");
        assert_eq!(Stat::parse_all(cut), Err(Malformed::Short));
        assert_eq!(Stat::parse(out.as_slice()), Err(Malformed::Trailing));
    }

    #[test]
    fn an_entry_ends_with_its_last_name() {
        let mut out = SecretBytes::default();
        sample().build(&mut out).expect("built");
        let mut octets = out.as_slice().to_vec();
        octets.push(0);
        if let Some(len) = octets.first_mut() {
            *len += 1;
        }
        assert_eq!(Stat::parse(&octets), Err(Malformed::Trailing));
    }

    #[test]
    fn names_that_cannot_be_counted_are_refused() {
        let mut out = SecretBytes::default();
        for len in [65_536 - 49, 65_536, 70_000] {
            let long = Stat {
                name: vec![b'x'; len],
                ..Stat::default()
            };
            assert_eq!(long.build(&mut out), Err(Malformed::Long));
            assert!(out.is_empty());
        }
        let longest = Stat {
            name: vec![b'x'; 65_535 - 49],
            ..Stat::default()
        };
        longest.build(&mut out).expect("fits exactly");
        assert_eq!(Stat::parse(out.as_slice()), Ok(longest));
    }
}
