//! The list of encrypted connections (tcpcrypt spec 3.3).

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Bound;

use tcpcrypt_control::netstat::{self, PageRequest, Row};
use tcpcrypt_control::wide;

use crate::conn::Identity;
use crate::packet::FourTuple;

use super::table::State;
use super::{Endpoint, Fate};

impl Endpoint {
    /// As many rows as fit `room` octets.
    pub(super) fn list(&self, room: usize) -> Vec<u8> {
        self.rows(Bound::Unbounded, room)
    }

    /// The rows behind one that the program has.
    pub(super) fn page(&self, request: &PageRequest) -> Vec<u8> {
        let (local, remote) = request.after;
        let after = FourTuple {
            local: SocketAddr::V4(local),
            remote: SocketAddr::V4(remote),
        };
        let room = request.room.min(PageRequest::ROOM_MAX);
        self.rows(Bound::Excluded(after), usize::try_from(room).unwrap_or(0))
    }

    /// Rows of either family: all, or those behind one that the program has.
    pub(super) fn wide_rows(&self, after: Option<FourTuple>, room: usize) -> Vec<u8> {
        let mut list = Vec::new();
        for (tuple, identity) in self.encrypted_from(bound(after)) {
            let row = wide::Row {
                local: tuple.local,
                remote: tuple.remote,
                details: identity.details,
                session_id: identity.id.as_bytes(),
            };
            if !wide::push(&mut list, room, &row) {
                break;
            }
        }
        list
    }

    fn rows(&self, from: Bound<FourTuple>, room: usize) -> Vec<u8> {
        let mut list = Vec::new();
        for (tuple, identity) in self.encrypted_from(from) {
            // Those of IPv6 come behind all others.
            let Some((local, remote)) = v4(tuple) else {
                break;
            };
            let row = Row {
                local,
                remote,
                session_id: identity.id.as_bytes(),
            };
            if !netstat::push(&mut list, 0, room, &row) {
                break;
            }
        }
        list
    }

    /// A daemon has connections of one kind or of the other; should it have both, in their order.
    fn encrypted_from(
        &self,
        from: Bound<FourTuple>,
    ) -> impl Iterator<Item = (&FourTuple, Identity)> {
        let own = self.table.encrypted.range((from, Bound::Unbounded));
        let own = own.filter_map(|tuple| match &self.table.get(tuple)?.state {
            State::Encrypted(established) => Some((tuple, established.identity())),
            _ => None,
        });
        let redirected = self.redirected.fates.range((from, Bound::Unbounded));
        let redirected = redirected.filter_map(|(tuple, fate)| match fate {
            Fate::Encrypted(identity) => Some((tuple, *identity)),
            _ => None,
        });
        let (mut own, mut redirected) = (own.peekable(), redirected.peekable());
        std::iter::from_fn(move || match (own.peek(), redirected.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => redirected.next(),
            (Some(_), _) => own.next(),
            (None, _) => redirected.next(),
        })
    }
}

fn bound(after: Option<FourTuple>) -> Bound<FourTuple> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The original's protocol has no place for longer addresses.
fn v4(tuple: &FourTuple) -> Option<(SocketAddrV4, SocketAddrV4)> {
    match (tuple.local, tuple.remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => Some((local, remote)),
        _ => None,
    }
}
