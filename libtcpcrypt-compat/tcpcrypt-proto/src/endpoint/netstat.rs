//! The list of encrypted connections (tcpcrypt spec 3.3).

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Bound;

use tcpcrypt_control::netstat::{self, PageRequest, Row};
use tcpcrypt_control::wide;

use crate::conn::Established;
use crate::packet::FourTuple;

use super::Endpoint;
use super::table::State;

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
        for (tuple, established) in self.encrypted_from(bound(after)) {
            let row = wide::Row {
                local: tuple.local,
                remote: tuple.remote,
                details: established.details,
                session_id: established.id.as_bytes(),
            };
            if !wide::push(&mut list, room, &row) {
                break;
            }
        }
        list
    }

    fn rows(&self, from: Bound<FourTuple>, room: usize) -> Vec<u8> {
        let mut list = Vec::new();
        for (tuple, established) in self.encrypted_from(from) {
            // Those of IPv6 come behind all others.
            let Some((local, remote)) = v4(tuple) else {
                break;
            };
            let row = Row {
                local,
                remote,
                session_id: established.id.as_bytes(),
            };
            if !netstat::push(&mut list, 0, room, &row) {
                break;
            }
        }
        list
    }

    fn encrypted_from(
        &self,
        from: Bound<FourTuple>,
    ) -> impl Iterator<Item = (&FourTuple, &Established)> {
        let tuples = self.table.encrypted.range((from, Bound::Unbounded));
        tuples.filter_map(|tuple| match &self.table.get(tuple)?.state {
            State::Encrypted(established) => Some((tuple, established.as_ref())),
            _ => None,
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
