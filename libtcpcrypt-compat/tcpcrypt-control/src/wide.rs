//! Requests about connections of either family: a form of our own beside the original's, which has room for IPv4
//! addresses only (tcpcrypt spec 3.4).
//!
//! It travels as the value of an ordinary datagram, whose option is [`OptionName::Wide`](crate::OptionName::Wide)
//! and whose addresses are zero. A daemon that does not know it, the original too, answers it with an error at
//! once, like any option it does not know; one that does never reports an error there, but in [`Reply::error`].
//! So a client learns with its first request whom it has before it.
//!
//! Addresses have 16 octets, those of IPv4 in the mapped form `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
//! Addresses, ports and rows are in network order; the other numbers are in native order, like those of the
//! datagram around them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::details::Details;

/// The version that a request and its reply name in their first octet.
pub const VERSION: u8 = 1;

/// Octets of a request in front of the value.
pub const REQUEST_LEN: usize = 56;

/// Octets of a reply in front of the value.
pub const REPLY_LEN: usize = 8;

/// Octets of a row of the list in front of the session id.
pub const ROW_LEN: usize = 48;

/// Nobody's address, with port 0: no connection.
pub const NOWHERE: SocketAddr = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));

/// What a request asks. Whether it sets a value is said by the datagram around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The connection's end on this host. Link-local addresses have their interface as scope. For the option
    /// [`NetstatPage`](crate::OptionName::NetstatPage), the last row that the client has.
    pub local: SocketAddr,
    /// The other end; [`NOWHERE`] for none.
    pub remote: SocketAddr,
    /// The option's number; see [`crate::OptionName`].
    pub optname: u32,
    /// Octets of the value that a get request has room for. A daemon gives no more than
    /// [`ROOM_MAX`](crate::netstat::PageRequest::ROOM_MAX).
    pub room: u32,
    /// The value that a set request brings.
    pub value: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the value of a datagram. `None` for another version and for what is too short.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (head, value) = data.split_first_chunk::<REQUEST_LEN>()?;
        if head.first() != Some(&VERSION) {
            return None;
        }
        let word = |at| Some(u32::from_ne_bytes(octets(head, at)?));
        let ports = (octets(head, 32)?, octets(head, 34)?);
        Some(Self {
            optname: word(4)?,
            room: word(8)?,
            local: end(octets(head, 16)?, ports.0, word(12)?),
            remote: end(octets(head, 36)?, ports.1, word(52)?),
            value,
        })
    }

    /// Appends the request to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.optname.to_ne_bytes());
        out.extend_from_slice(&self.room.to_ne_bytes());
        out.extend_from_slice(&scope(self.local).to_ne_bytes());
        out.extend_from_slice(&wide(self.local.ip()));
        out.extend_from_slice(&self.local.port().to_be_bytes());
        out.extend_from_slice(&self.remote.port().to_be_bytes());
        out.extend_from_slice(&wide(self.remote.ip()));
        out.extend_from_slice(&scope(self.remote).to_ne_bytes());
        out.extend_from_slice(self.value);
    }
}

/// What a daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// 0 or an errno value.
    pub error: i32,
    /// The value of a get request.
    pub value: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads the value of a datagram. `None` for another version and for what is too short.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (head, value) = data.split_first_chunk::<REPLY_LEN>()?;
        if head.first() != Some(&VERSION) {
            return None;
        }
        let error = i32::from_ne_bytes(octets(head, 4)?);
        Some(Self { error, value })
    }

    /// Appends the reply to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.error.to_ne_bytes());
        out.extend_from_slice(self.value);
    }
}

/// One encrypted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// How it is encrypted.
    pub details: Details,
    /// Its session id; at most 65535 octets.
    pub session_id: &'a [u8],
}

/// Appends `row` to the list in `out` if the list then has at most `room` octets; says whether it did. A list
/// ends at the first row that does not fit.
#[must_use]
pub fn push(out: &mut Vec<u8>, room: usize, row: &Row<'_>) -> bool {
    let Ok(id_len) = u16::try_from(row.session_id.len()) else {
        return false;
    };
    if room.saturating_sub(out.len()) < ROW_LEN + row.session_id.len() {
        return false;
    }
    let scope = scope(row.remote).max(scope(row.local));
    out.extend_from_slice(&wide(row.local.ip()));
    out.extend_from_slice(&wide(row.remote.ip()));
    out.extend_from_slice(&row.local.port().to_be_bytes());
    out.extend_from_slice(&row.remote.port().to_be_bytes());
    out.extend_from_slice(&scope.to_be_bytes());
    out.extend_from_slice(&row.details.to_bytes());
    out.extend_from_slice(&id_len.to_be_bytes());
    out.extend_from_slice(row.session_id);
    true
}

/// A list that ends in the middle of a row, or has an octet in it that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed list of connections")]
pub struct ListError;

/// The rows of a list.
#[must_use]
pub fn rows(list: &[u8]) -> Rows<'_> {
    Rows { rest: list }
}

/// Iterator over the rows of a list; after an error there are no more.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let row = take(&mut self.rest);
        if row.is_none() {
            self.rest = &[];
        }
        Some(row.ok_or(ListError))
    }
}

fn take<'a>(list: &mut &'a [u8]) -> Option<Row<'a>> {
    let (head, rest) = list.split_first_chunk::<ROW_LEN>()?;
    let id_len = usize::from(u16::from_be_bytes(octets(head, 46)?));
    let (session_id, rest) = rest.split_at_checked(id_len)?;
    let scope = u32::from_be_bytes(octets(head, 36)?);
    let row = Row {
        local: end(octets(head, 0)?, octets(head, 32)?, scope),
        remote: end(octets(head, 16)?, octets(head, 34)?, scope),
        details: Details::from_bytes(octets(head, 40)?)?,
        session_id,
    };
    *list = rest;
    Some(row)
}

fn octets<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Only link-local addresses need one.
fn scope(end: SocketAddr) -> u32 {
    match end {
        SocketAddr::V6(end) if end.ip().is_unicast_link_local() => end.scope_id(),
        _ => 0,
    }
}

fn end(ip: [u8; 16], port: [u8; 2], scope: u32) -> SocketAddr {
    let ip = Ipv6Addr::from(ip);
    let port = u16::from_be_bytes(port);
    match ip.to_ipv4_mapped() {
        Some(ip) => SocketAddr::new(ip.into(), port),
        None if ip.is_unicast_link_local() => SocketAddrV6::new(ip, port, 0, scope).into(),
        None => SocketAddr::new(ip.into(), port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::details::{Dialect, Role};

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v6 = prop_oneof![
            any::<[u8; 16]>(),
            any::<[u8; 8]>().prop_map(|low| {
                let mut ip = [0; 16];
                ip[..2].copy_from_slice(&[0xfe, 0x80]);
                ip[8..].copy_from_slice(&low);
                ip
            }),
        ];
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
            (v6, any::<u16>()).prop_map(SocketAddr::from),
        ]
    }

    fn with_scope(mut address: SocketAddr, scope: u32) -> SocketAddr {
        if let SocketAddr::V6(address) = &mut address {
            if address.ip().is_unicast_link_local() {
                address.set_scope_id(scope);
            }
        }
        address
    }

    fn details() -> impl Strategy<Value = Details> {
        (any::<bool>(), any::<bool>(), any::<u8>(), any::<u16>()).prop_map(
            |(rfc, a, tep, cipher)| Details {
                dialect: if rfc {
                    Dialect::Rfc8548
                } else {
                    Dialect::Legacy
                },
                role: if a { Role::A } else { Role::B },
                tep,
                cipher,
            },
        )
    }

    #[test]
    fn a_request_octet_by_octet() {
        let request = Request {
            local: "[fe80::1%7]:258".parse().unwrap(),
            remote: "10.77.0.2:8080".parse().unwrap(),
            optname: 2,
            room: 64,
            value: b"!",
        };
        let mut out = Vec::new();
        request.write(&mut out);
        let wanted = [
            &[1, 0, 0, 0][..],
            &2_u32.to_ne_bytes(),
            &64_u32.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[1, 2, 0x1f, 0x90],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 0, 2],
            &0_u32.to_ne_bytes(),
            b"!",
        ];
        assert_eq!(out, wanted.concat());
        assert_eq!(Request::parse(&out), Some(request));
        for len in 0..REQUEST_LEN {
            assert_eq!(Request::parse(&out[..len]), None);
        }
        out[0] = 2;
        assert_eq!(Request::parse(&out), None);
    }

    #[test]
    fn rows_that_fit() {
        let row = Row {
            local: "[fd00::1]:258".parse().unwrap(),
            remote: "[fd00::2]:80".parse().unwrap(),
            details: Details {
                dialect: Dialect::Legacy,
                role: Role::A,
                tep: 0x21,
                cipher: 1,
            },
            session_id: &[0x21; 33],
        };
        for (room, fits) in [(80, 0), (81, 1), (161, 1), (162, 2), (1200, 14)] {
            let mut out = Vec::new();
            while push(&mut out, room, &row) {}
            assert_eq!(rows(&out).count(), fits, "{room}");
        }
        let mut out = Vec::new();
        assert!(push(&mut out, 81, &row));
        assert_eq!(
            out[32..48],
            [1, 2, 0, 80, 0, 0, 0, 0, 1, b'A', 0x21, 0, 0, 1, 0, 33]
        );
        assert_eq!(rows(&out[..80]).next(), Some(Err(ListError)));
        out[40] = 9;
        assert_eq!(rows(&out).collect::<Vec<_>>(), [Err(ListError)]);
    }

    proptest! {
        #[test]
        fn requests_are_read_as_written(
            local in address(), remote in address(), scope: u32, optname: u32, room: u32,
            value in vec(any::<u8>(), 0..40),
        ) {
            let (local, remote) = (with_scope(local, scope), with_scope(remote, scope));
            let request = Request { local, remote, optname, room, value: &value };
            let mut out = Vec::new();
            request.write(&mut out);
            let seen = Request::parse(&out).unwrap();
            // A mapped address is that of IPv4.
            let canonical = |end: SocketAddr| with_scope(SocketAddr::new(end.ip().to_canonical(), end.port()), scope);
            prop_assert_eq!((seen.local, seen.remote), (canonical(local), canonical(remote)));
            prop_assert_eq!((seen.optname, seen.room, seen.value), (optname, room, &value[..]));
        }

        #[test]
        fn replies_are_read_as_written(error: i32, value in vec(any::<u8>(), 0..40)) {
            let reply = Reply { error, value: &value };
            let mut out = Vec::new();
            reply.write(&mut out);
            prop_assert_eq!(Reply::parse(&out), Some(reply));
            for len in 0..REPLY_LEN {
                prop_assert_eq!(Reply::parse(&out[..len]), None);
            }
        }

        #[test]
        fn rows_are_read_as_written(
            wanted in vec((address(), address(), details(), vec(any::<u8>(), 0..40)), 0..10), scope: u32,
        ) {
            let mut list = Vec::new();
            for (local, remote, details, session_id) in &wanted {
                let (local, remote) = (with_scope(*local, scope), with_scope(*remote, scope));
                let row = Row { local, remote, details: *details, session_id };
                prop_assert!(push(&mut list, 10_000, &row));
            }
            for (seen, (local, remote, details, session_id)) in rows(&list).zip(&wanted) {
                let seen = seen.unwrap();
                prop_assert_eq!(seen.local.ip(), local.ip().to_canonical());
                prop_assert_eq!(seen.remote.port(), remote.port());
                prop_assert_eq!(&seen.details, details);
                prop_assert_eq!(seen.session_id, &session_id[..]);
            }
            prop_assert_eq!(rows(&list).count(), wanted.len());
        }

        #[test]
        fn any_octets(mut octets in vec(any::<u8>(), 0..200)) {
            if let Some(first) = octets.first_mut() {
                *first &= 3;
            }
            let _ = (Request::parse(&octets), Reply::parse(&octets));
            let (good, bad): (Vec<_>, Vec<_>) = rows(&octets).partition(Result::is_ok);
            prop_assert!(bad.len() <= 1 && good.len() <= 4);
        }
    }
}
