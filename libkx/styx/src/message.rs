//! The messages of 9P2000, their octets and nothing else (keysrv spec 8).
//!
//! ```
//! use styx::message::{Request, Tmessage};
//! let mut out = Default::default();
//! let clunk = Request { tag: 1, body: Tmessage::Clunk { fid: 7 } };
//! clunk.build(&mut out)?;
//! assert_eq!(out.as_slice(), b"\x0b\0\0\0\x78\x01\0\x07\0\0\0");
//! assert_eq!(Request::parse(out.as_slice())?, clunk);
//! # Ok::<(), styx::message::Malformed>(())
//! ```

mod reply;
mod request;

use kx_secret::SecretBytes;

pub use reply::{Reply, Rmessage};
pub use request::{Request, Tmessage};

pub use crate::stat::{DMDIR, QTDIR, Qid, Stat};
use crate::wire::{Reader, put_string};

/// The tag of a version request.
pub const NOTAG: u16 = 0xffff;
/// The authentication fid of who has none.
pub const NOFID: u32 = u32::MAX;
/// Most elements of a walk.
pub const MAX_WALK: usize = 16;
/// Octets of size, type and tag.
pub const HEADER_LEN: usize = 7;
/// What both ends keep free in a message for everything but data.
pub const IO_HEADER: u32 = 24;
/// The one version spoken here.
pub const VERSION: &[u8] = b"9P2000";

/// Open for reading.
pub const OREAD: u8 = 0;
/// Open for writing.
pub const OWRITE: u8 = 1;
/// Open for both.
pub const ORDWR: u8 = 2;
/// Open to execute, that is to read and to search.
pub const OEXEC: u8 = 3;
/// Empty the file on opening.
pub const OTRUNC: u8 = 0x10;
/// Remove the file when the fid goes.
pub const ORCLOSE: u8 = 0x40;

/// Octets that are no message, or a message that has no octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It ends before its fields do.
    #[error("message too short")]
    Short,
    /// It goes on after its last field.
    #[error("octets after the message")]
    Trailing,
    /// The size in front is not its length.
    #[error("bad length in Styx message header")]
    Size,
    /// No message has this type, or not in this direction.
    #[error("invalid message type {0}")]
    Type(u8),
    /// A walk of more than [`MAX_WALK`] elements.
    #[error("too many elements in a walk")]
    Walk,
    /// A field is longer than can be said.
    #[error("message too long")]
    Long,
}

mod kind {
    pub(super) const VERSION: u8 = 100;
    pub(super) const AUTH: u8 = 102;
    pub(super) const ATTACH: u8 = 104;
    pub(super) const ERROR: u8 = 106;
    pub(super) const FLUSH: u8 = 108;
    pub(super) const WALK: u8 = 110;
    pub(super) const OPEN: u8 = 112;
    pub(super) const CREATE: u8 = 114;
    pub(super) const READ: u8 = 116;
    pub(super) const WRITE: u8 = 118;
    pub(super) const CLUNK: u8 = 120;
    pub(super) const REMOVE: u8 = 122;
    pub(super) const STAT: u8 = 124;
    pub(super) const WSTAT: u8 = 126;
    /// What a reply's type is more than its request's.
    pub(super) const REPLY: u8 = 1;
}

/// Opens the envelope: the size must be the length.
fn envelope(message: &[u8]) -> Result<(u8, u16, Reader<'_>), Malformed> {
    let mut from = Reader::new(message);
    let size = from.u32()?;
    if usize::try_from(size) != Ok(message.len()) {
        return Err(Malformed::Size);
    }
    Ok((from.u8()?, from.u16()?, from))
}

/// Appends a whole message whose fields `body` writes; the size is filled in at the end.
fn enclose(
    out: &mut SecretBytes,
    kind: u8,
    tag: u16,
    body: impl FnOnce(&mut SecretBytes) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&tag.to_le_bytes());
    let built = body(out).and_then(|()| {
        let len = out.len().saturating_sub(start);
        let size = u32::try_from(len).map_err(|_| Malformed::Long)?;
        let place = out.as_mut_slice().get_mut(start..).unwrap_or_default();
        if let Some(place) = place.first_chunk_mut::<4>() {
            *place = size.to_le_bytes();
        }
        Ok(())
    });
    if built.is_err() {
        out.truncate(start);
    }
    built
}

/// A string must be countable in 16 bits; what is cut silently would not come back.
fn string(out: &mut SecretBytes, octets: &[u8]) -> Result<(), Malformed> {
    u16::try_from(octets.len()).map_err(|_| Malformed::Long)?;
    put_string(out, octets);
    Ok(())
}

/// A list's length in front of it.
fn count_of<T>(out: &mut SecretBytes, list: &[T]) -> Result<(), Malformed> {
    if list.len() > MAX_WALK {
        return Err(Malformed::Walk);
    }
    let count = u16::try_from(list.len()).map_err(|_| Malformed::Walk)?;
    out.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

/// Reads a list's length.
fn count(from: &mut Reader<'_>) -> Result<usize, Malformed> {
    let count = usize::from(from.u16()?);
    if count > MAX_WALK {
        return Err(Malformed::Walk);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(request: &Request<'_>) -> SecretBytes {
        let mut out = SecretBytes::default();
        request.build(&mut out).expect("built");
        out
    }

    /// What Inferno's passwd sends first (keysrv spec 8).
    #[test]
    fn the_first_request_of_a_client() {
        let request = Request {
            tag: NOTAG,
            body: Tmessage::Version {
                msize: 8216,
                version: VERSION,
            },
        };
        let octets = b"\x13\0\0\0\x64\xff\xff\x18\x20\0\0\x06\x009P2000";
        assert_eq!(built(&request).as_slice(), octets);
        assert_eq!(Request::parse(octets), Ok(request));
    }

    #[test]
    fn sizes_are_believed_only_when_true() {
        let request = Request {
            tag: 1,
            body: Tmessage::Walk {
                fid: 1,
                newfid: 2,
                names: vec![b"alice", b"secret"],
            },
        };
        let octets = built(&request);
        let octets = octets.as_slice();
        for len in 0..octets.len() {
            let cut = octets.get(..len).expect("shorter");
            assert!(Request::parse(cut).is_err(), "{len}");
        }
        let mut longer = octets.to_vec();
        longer.push(0);
        assert_eq!(Request::parse(&longer), Err(Malformed::Size));
        if let Some(size) = longer.first_mut() {
            *size += 1;
        }
        assert_eq!(Request::parse(&longer), Err(Malformed::Trailing));
    }

    #[test]
    fn only_requests_are_requests_and_replies_replies() {
        for kind in 0..=255u8 {
            let message = [7, 0, 0, 0, kind, 1, 0];
            let request = Request::parse(&message);
            let reply = Reply::parse(&message);
            let (valid_request, valid_reply) = (
                (100..=126).contains(&kind) && kind % 2 == 0 && kind != 106,
                (101..=127).contains(&kind) && kind % 2 == 1,
            );
            assert_eq!(request == Err(Malformed::Type(kind)), !valid_request);
            assert_eq!(reply == Err(Malformed::Type(kind)), !valid_reply);
        }
    }

    #[test]
    fn walks_are_bounded() {
        let names = vec![&b"x"[..]; MAX_WALK + 1];
        let mut out = SecretBytes::default();
        let request = Request {
            tag: 1,
            body: Tmessage::Walk {
                fid: 1,
                newfid: 2,
                names,
            },
        };
        assert_eq!(request.build(&mut out), Err(Malformed::Walk));
        assert!(out.is_empty(), "nothing half built");
        let mut octets = vec![0, 0, 0, 0, 110, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 17, 0];
        octets.extend([0; 34]);
        let len = octets.len() as u8;
        *octets.first_mut().expect("size") = len;
        assert_eq!(Request::parse(&octets), Err(Malformed::Walk));
    }
}
