//! A connection between an application of this host and a peer, as the proxy has it.

use std::net::SocketAddrV4;
use std::time::Instant;

use tcpcrypt_proto::endpoint::{Endpoint, Fate};
use tcpcrypt_proto::packet::{FourTuple, Seq};
use tcpcrypt_proto::stream::{Client, Server, Settled, Stream};

use super::end::End;
use super::quirk::Quirk;

/// Who opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// An application of this host.
    Out,
    /// A peer.
    In,
}

/// The addresses of a SYN-ACK of the redirected half: ours and the opener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Redirected {
    pub here: SocketAddrV4,
    pub opener: SocketAddrV4,
}

/// The SYN-ACK that the opener waits for.
pub(super) struct Held {
    /// The queue's number for it; `None` once it is decided.
    pub id: Option<u32>,
    pub packet: Vec<u8>,
}

/// One connection.
pub(super) struct Connection {
    pub way: Way,
    pub redirected: Redirected,
    /// As it is listed: this host's application or its socket's address, and the peer.
    pub listed: FourTuple,
    /// As this host's application sees it, if that is something else.
    pub alias: Option<FourTuple>,
    /// The half that we open, as the packets show it.
    pub onward: FourTuple,
    /// Toward this host's application.
    pub near: Option<End>,
    /// Toward the peer.
    pub far: Option<End>,
    pub held: Held,
    /// The half that we open stands.
    pub connected: bool,
    /// Handshake packets of the half that we open still come through the queue.
    pub marked: bool,
    pub client: Option<Client>,
    pub server: Option<Server>,
    pub agreed: Settled,
    /// The numbers behind the SYNs on the wire: ours, the peer's.
    pub numbers: (Seq, Seq),
    /// The peer's SYN permits selective acknowledgements: it is not the original in divert mode.
    pub sack: bool,
    pub stream: Option<Stream>,
    /// The front of a record.
    pub partial: Vec<u8>,
    /// Plain text that came before the application was there.
    pub unread: Vec<u8>,
    pub quirk: Option<Quirk>,
    /// Entered among the timers for this.
    pub deadline: Option<Instant>,
    pub used: Instant,
    /// In the queue of those that have more to do.
    pub queued: bool,
    pub fate: Fate,
}

impl Connection {
    /// The peer.
    pub(super) fn peer(&self) -> std::net::SocketAddr {
        self.listed.remote
    }

    /// The handshake is over, in one way or the other.
    pub(super) fn settled(&mut self, host: &mut Endpoint, now: Instant) {
        let fate = match self.stream.as_ref().and_then(Stream::session) {
            Some(identity) => Fate::Encrypted(identity),
            None => Fate::Plain,
        };
        if self.fate == fate {
            return;
        }
        self.fate = fate;
        // Only who was asked has answered.
        if self.way == Way::Out && self.marked {
            host.remember_peer(now, self.peer(), fate == Fate::Plain);
        }
        if fate != Fate::Plain {
            self.watch_for_end();
            if let (Some(far), false) = (&self.far, self.sack) {
                far.socket.limit_flight(super::FLIGHT);
            }
            if let (Some(stream), false) = (&mut self.stream, self.sack) {
                stream.assume_original();
            }
        }
        if let (Some(far), true) = (&self.far, self.sack) {
            far.socket.keep_alive();
        }
        host.redirected(self.listed, self.alias, fate);
        self.unmark();
    }

    /// Packets of the half that we open need not come through the queue any more.
    pub(super) fn unmark(&mut self) {
        if !std::mem::take(&mut self.marked) {
            return;
        }
        if let (Way::Out, Some(far)) = (self.way, &self.far) {
            // At worst packets go on coming through the queue, unchanged.
            let _ = far.socket.set_tos(0);
        }
    }

    /// Nothing comes of it, or it has ended.
    pub(super) fn give_up(&mut self, host: &mut Endpoint, now: Instant) {
        if let Some(mut client) = self.client.take() {
            client.give_up(host, now);
        }
        if let Some(server) = self.server.take() {
            server.give_up(host, now);
        }
        host.redirected_ended(self.listed, self.alias);
    }
}
