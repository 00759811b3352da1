//! A request of a program in either form: the original's, which knows IPv4, or our own, which knows both families
//! (tcpcrypt spec 3.3 and 3.4).

use std::net::SocketAddr;

use tcpcrypt_control::netstat::PageRequest;
use tcpcrypt_control::{Datagram, OptionName, wide};

use crate::packet::FourTuple;

/// What a request is answered: its value, or an errno.
pub(super) type Answer = Result<Vec<u8>, i32>;

/// A request.
pub(super) struct Request<'a> {
    datagram: Datagram<'a>,
    pub is_wide: bool,
    pub ends: FourTuple,
    pub optname: u32,
    /// The value that a set request brings; nothing in others.
    pub value: &'a [u8],
    /// Octets that the answer to a get request may have.
    pub room: usize,
}

impl<'a> Request<'a> {
    /// Reads a request. `None` for what is not even a datagram. What should be one of the wider form and is
    /// none has no connection and an option that nobody knows.
    pub(super) fn parse(octets: &'a [u8]) -> Option<Self> {
        let datagram = Datagram::parse(octets).ok()?;
        let header = &datagram.header;
        let is_wide = OptionName::from_number(header.optname) == Some(OptionName::Wide);
        if let Some(inner) = wide::Request::parse(datagram.data).filter(|_| is_wide) {
            let room = inner.room.min(PageRequest::ROOM_MAX);
            return Some(Self {
                datagram,
                is_wide,
                ends: FourTuple {
                    local: inner.local,
                    remote: inner.remote,
                },
                optname: inner.optname,
                value: inner.value,
                room: usize::try_from(room).unwrap_or(0),
            });
        }
        Some(Self {
            is_wide: false,
            ends: FourTuple {
                local: SocketAddr::V4(header.local),
                remote: SocketAddr::V4(header.remote),
            },
            optname: header.optname,
            value: datagram.data,
            room: datagram.data.len(),
            datagram,
        })
    }

    /// What it is about.
    pub(super) fn name(&self) -> Option<OptionName> {
        OptionName::from_number(self.optname)
    }

    pub(super) fn is_set(&self) -> bool {
        self.datagram.header.is_set()
    }

    /// The row that the client has, of a wide request for a page. Nobody, of IPv4, has none yet.
    pub(super) fn after(&self) -> Option<FourTuple> {
        let is_none = |end: SocketAddr| end.is_ipv4() && end.ip().is_unspecified();
        let has_none = is_none(self.ends.local) && is_none(self.ends.remote);
        (!has_none).then_some(self.ends)
    }

    /// The datagram that answers it.
    pub(super) fn reply(&self, answer: &Answer) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.is_wide {
            let answer = answer.as_ref().map(Vec::as_slice).map_err(|errno| *errno);
            self.datagram.write_reply(answer, &mut out);
            return out;
        }
        let inner = match answer {
            Ok(value) => wide::Reply { error: 0, value },
            Err(errno) => wide::Reply {
                error: *errno,
                value: &[],
            },
        };
        let mut value = Vec::new();
        inner.write(&mut value);
        self.datagram.write_reply(Ok(&value), &mut out);
        out
    }
}
