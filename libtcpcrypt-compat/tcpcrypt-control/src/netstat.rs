//! The list of encrypted connections (tcpcrypt spec 3.3): rows back to back, without alignment.

use std::net::{Ipv4Addr, SocketAddrV4};

use thiserror::Error;

/// Octets of a row in front of the session id.
pub const ROW_HEADER_LEN: usize = 16;

/// One encrypted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// This host's end.
    pub local: SocketAddrV4,
    /// The other end.
    pub remote: SocketAddrV4,
    /// Its session id; at most 65535 octets.
    pub session_id: &'a [u8],
}

/// A list that ends in the middle of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a row of {need} octets where {have} are left")]
pub struct NetstatError {
    /// Octets that the row has, as far as known.
    pub need: usize,
    /// Octets that are there.
    pub have: usize,
}

/// Appends `row` to the list in `out` if the whole list then has at most `room` octets; says whether
/// it did. A list ends at the first row that does not fit.
#[must_use]
pub fn push(out: &mut Vec<u8>, start: usize, room: usize, row: &Row<'_>) -> bool {
    let used = out.len().saturating_sub(start);
    let Ok(id_len) = u16::try_from(row.session_id.len()) else {
        return false;
    };
    if room.saturating_sub(used) < ROW_HEADER_LEN + row.session_id.len() {
        return false;
    }
    out.extend_from_slice(&row.local.ip().octets());
    out.extend_from_slice(&row.local.port().to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&row.remote.ip().octets());
    out.extend_from_slice(&row.remote.port().to_be_bytes());
    out.extend_from_slice(&id_len.to_be_bytes());
    out.extend_from_slice(row.session_id);
    true
}

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
    type Item = Result<Row<'a>, NetstatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let have = self.rest.len();
        if have == 0 {
            return None;
        }
        let Some((head, rest)) = self.rest.split_first_chunk::<ROW_HEADER_LEN>() else {
            self.rest = &[];
            let need = ROW_HEADER_LEN;
            return Some(Err(NetstatError { need, have }));
        };
        let [a, b, c, d, p, q, _, _, e, f, g, h, r, s, n, m] = *head;
        let id_len = usize::from(u16::from_be_bytes([n, m]));
        let Some((session_id, rest)) = rest.split_at_checked(id_len) else {
            self.rest = &[];
            let need = ROW_HEADER_LEN + id_len;
            return Some(Err(NetstatError { need, have }));
        };
        self.rest = rest;
        Some(Ok(Row {
            local: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])),
            remote: SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([r, s])),
            session_id,
        }))
    }
}

/// Value of a get request for [`crate::OptionName::NetstatPage`]: the rows behind one, in the order
/// of (local, remote), as many as fit.
///
/// A daemon takes requests of 4096 octets, so the room of a large page cannot be offered the way the
/// other options do it, by as many octets of padding; it is a number here. The reply is a list as
/// that of NETSTAT, of at most `room` octets; an empty one is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Longest list wanted, in octets. A daemon gives at most [`PageRequest::ROOM_MAX`].
    pub room: u32,
    /// The last row that the client has: local, then remote end. Both 0.0.0.0:0 ask for the first
    /// page.
    pub after: (SocketAddrV4, SocketAddrV4),
}

impl PageRequest {
    /// Length of the value in octets.
    pub const LEN: usize = 16;

    /// Longest list in one reply, in octets: with a header it is within one datagram of UDP.
    pub const ROOM_MAX: u32 = 65_000;

    /// The first page.
    #[must_use]
    pub fn first(room: u32) -> Self {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self {
            room,
            after: (nowhere, nowhere),
        }
    }

    /// Reads the value of a request; `None` if it has another length.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let data: &[u8; Self::LEN] = data.try_into().ok()?;
        let [r0, r1, r2, r3, a, b, c, d, p, q, e, f, g, h, s, t] = *data;
        Some(Self {
            room: u32::from_ne_bytes([r0, r1, r2, r3]),
            after: (
                SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])),
                SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([s, t])),
            ),
        })
    }

    /// The value as it is sent: room in native order, then addresses and ports in network order.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let (local, remote) = self.after;
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.room.to_ne_bytes());
        bytes[4..8].copy_from_slice(&local.ip().octets());
        bytes[8..10].copy_from_slice(&local.port().to_be_bytes());
        bytes[10..14].copy_from_slice(&remote.ip().octets());
        bytes[14..16].copy_from_slice(&remote.port().to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint() -> impl Strategy<Value = SocketAddrV4> {
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
    }

    #[test]
    fn rows_that_fit() {
        let row = Row {
            local: "10.77.0.1:44617".parse().unwrap(),
            remote: "10.77.0.2:5202".parse().unwrap(),
            session_id: &[0x21; 33],
        };
        for (room, fits) in [(48, 0), (49, 1), (97, 1), (98, 2), (1200, 24)] {
            let mut out = b"before".to_vec();
            while push(&mut out, 6, room, &row) {}
            assert_eq!(rows(&out[6..]).count(), fits, "{room}");
        }
        let mut out = Vec::new();
        assert!(push(&mut out, 0, 49, &row));
        assert_eq!(out[..12], *b"\x0a\x4d\0\x01\xae\x49\0\0\x0a\x4d\0\x02");
        assert_eq!(out[12..16], *b"\x14\x52\0\x21");
    }

    #[test]
    fn a_list_that_breaks_off() {
        assert_eq!(
            rows(&[0; 15]).collect::<Vec<_>>(),
            [Err(NetstatError { need: 16, have: 15 })]
        );
        let mut list = [0; 40];
        list[15] = 33;
        assert_eq!(
            rows(&list).collect::<Vec<_>>(),
            [Err(NetstatError { need: 49, have: 40 })]
        );
    }

    proptest! {
        #[test]
        fn any_octets(list in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (good, bad): (Vec<_>, Vec<_>) = rows(&list).partition(Result::is_ok);
            prop_assert!(bad.len() <= 1);
            let octets: usize = good.iter().flatten().map(|r| ROW_HEADER_LEN + r.session_id.len()).sum();
            prop_assert!(octets == list.len() || bad.len() == 1);
        }

        #[test]
        fn written_and_read(
            wanted in proptest::collection::vec(
                (endpoint(), endpoint(), proptest::collection::vec(any::<u8>(), 0..40)), 0..10)
        ) {
            let mut list = Vec::new();
            for (local, remote, id) in &wanted {
                let row = Row { local: *local, remote: *remote, session_id: id };
                prop_assert!(push(&mut list, 0, 10_000, &row));
            }
            let seen: Vec<_> = rows(&list)
                .map(|r| r.map(|r| (r.local, r.remote, r.session_id.to_vec())))
                .collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn pages(room: u32, local in endpoint(), remote in endpoint()) {
            let page = PageRequest { room, after: (local, remote) };
            prop_assert_eq!(PageRequest::parse(&page.to_bytes()), Some(page));
            prop_assert_eq!(PageRequest::parse(&page.to_bytes()[1..]), None);
        }
    }
}
