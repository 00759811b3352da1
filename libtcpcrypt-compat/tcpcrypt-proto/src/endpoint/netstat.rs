//! The list of encrypted connections (tcpcrypt spec 3.3).

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Bound;

use tcpcrypt_control::netstat::{self, PageRequest, Row};

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

    fn rows(&self, from: Bound<FourTuple>, room: usize) -> Vec<u8> {
        let mut list = Vec::new();
        let own = self.table.encrypted.range((from, Bound::Unbounded));
        let own = own.filter_map(|tuple| {
            match self.table.get(tuple).map(|connection| &connection.state) {
                Some(State::Encrypted(established)) => Some((tuple, &established.id)),
                _ => None,
            }
        });
        let redirected = self.redirected.fates.range((from, Bound::Unbounded));
        let redirected = redirected.filter_map(|(tuple, fate)| match fate {
            Fate::Encrypted(id, _) => Some((tuple, id)),
            _ => None,
        });
        let (mut own, mut redirected) = (own.peekable(), redirected.peekable());
        loop {
            // A daemon has connections of one kind or of the other; should it have both, in their order.
            let is_own = match (own.peek(), redirected.peek()) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((one, _)), Some((other, _))) => one <= other,
            };
            let next = if is_own {
                own.next()
            } else {
                redirected.next()
            };
            let Some((tuple, id)) = next else { break };
            let Some((local, remote)) = v4(tuple) else {
                continue;
            };
            let row = Row {
                local,
                remote,
                session_id: id.as_bytes(),
            };
            if !netstat::push(&mut list, 0, room, &row) {
                break;
            }
        }
        list
    }
}

/// The protocol has no place for longer addresses.
fn v4(tuple: &FourTuple) -> Option<(SocketAddrV4, SocketAddrV4)> {
    match (tuple.local, tuple.remote) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => Some((local, remote)),
        _ => None,
    }
}
