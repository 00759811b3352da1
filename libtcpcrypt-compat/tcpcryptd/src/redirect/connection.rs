//! A connection between an application of this host and a peer, as the proxy has it.

use std::net::SocketAddr;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use tcpcrypt_proto::endpoint::{Endpoint, Fate};
use tcpcrypt_proto::eno::EnoOption;
use tcpcrypt_proto::packet::{Flags, FourTuple, Seq, View};
use tcpcrypt_proto::records::Dialect;
use tcpcrypt_proto::stream::{Client, Server, Settled, Stream};

use super::buffers::Buffers;
use super::end::End;
use super::quirk::Quirk;
use super::table::Side;

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
    pub here: SocketAddr,
    pub opener: SocketAddr,
}

/// The SYN-ACK that the opener waits for.
pub(super) struct Held {
    /// The queue's number for it; `None` once it is decided.
    pub id: Option<u32>,
    pub packet: Vec<u8>,
}

/// By what the rules know the handshake of the half that we open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It is over, or plain.
    None,
    /// Type of service: its segments come through the queue.
    Tos,
    /// A mark: the program does what is to be done.
    Mark,
}

/// What a SYN-ACK to a SYN of ours said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub option: Option<EnoOption>,
    /// The number behind it.
    pub end: Seq,
    /// It permits selective acknowledgements.
    pub sack: bool,
}

/// By what a connection is known to packets, programs and events; see there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub redirected: Redirected,
    pub listed: FourTuple,
    pub alias: Option<FourTuple>,
    pub onward: FourTuple,
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
    /// What the segments of the half that we open bear.
    pub sign: Sign,
    pub client: Option<Client>,
    pub server: Option<Server>,
    pub agreed: Settled,
    /// The option of our segments behind the SYN, until the peer has sent one behind its own.
    pub following: Option<EnoOption>,
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
    /// In the queue of those that have more to do.
    pub queued: bool,
    pub fate: Fate,
}

impl Connection {
    /// The SYN-ACK to our SYN came.
    pub(super) fn answered(&mut self, host: &mut Endpoint, now: Instant, answer: Answer) {
        let Some(client) = &mut self.client else {
            return;
        };
        self.numbers.1 = answer.end;
        self.sack = answer.sack;
        self.agreed = client.answered(host, now, answer.option);
        self.following = client.following();
    }

    /// The handshake is over, in one way or the other.
    pub(super) fn settled(&mut self, host: &mut Endpoint) {
        let fate = match self.stream.as_ref().and_then(Stream::session) {
            Some(identity) => Fate::Encrypted(identity),
            None => Fate::Plain,
        };
        if self.fate == fate {
            return;
        }
        self.fate = fate;
        self.unmark_settled();
        if self.is_with_original() {
            self.watch();
            if let (Some(far), Some(stream)) = (&self.far, &mut self.stream) {
                far.socket.limit_flight(super::FLIGHT);
                stream.assume_original();
            }
        } else if let Some(far) = &self.far {
            far.socket.keep_alive();
        }
        host.redirected(self.listed, self.alias, fate);
    }

    /// The handshake is over. Through the queue, segments of a session that goes on get the option until the peer has
    /// answered one; the program does that by itself.
    fn unmark_settled(&mut self) {
        let goes_on = self.agreed == Settled::Resumed && self.following.is_some();
        if self.sign != Sign::Tos || !goes_on {
            self.unmark();
        }
    }

    /// Takes note of what epoll says of one of its sockets; true if a connection that stood has failed.
    pub(super) fn has_failed(&mut self, side: Side, flags: EventFlags) -> bool {
        use EventFlags as F;
        let end = match side {
            Side::Near => &mut self.near,
            Side::Far => &mut self.far,
        };
        let Some(end) = end else { return false };
        end.readable |= flags.intersects(F::IN | F::RDHUP | F::HUP | F::ERR);
        end.writable |= flags.intersects(F::OUT);
        flags.intersects(F::ERR) && self.connected
    }

    /// Whether it is a stream that needs nothing but its sockets and its keys from here on: the handshake and all that
    /// the queue and the kernel's program have to do with it are over, and it has carried as many octets as a
    /// connection that is worth another thread's while.
    pub(super) fn is_stream(&self) -> bool {
        let (Some(near), Some(far), Some(stream)) = (&self.near, &self.far, &self.stream) else {
            return false;
        };
        self.connected
            && stream.is_ready()
            && self.fate != Fate::Undecided
            && self.sign == Sign::None
            && !self.is_with_original()
            && near.moved().max(far.moved()) >= super::STREAM
    }

    /// By what the table knows it.
    pub(super) fn names(&self) -> Names {
        Names {
            redirected: self.redirected,
            listed: self.listed,
            alias: self.alias,
            onward: self.onward,
        }
    }

    /// What waits to be written is not to be.
    pub(super) fn forget_waiting(&mut self, buffers: &mut Buffers) {
        for end in [&mut self.near, &mut self.far].into_iter().flatten() {
            end.forget(buffers);
        }
    }

    /// Whether it is encrypted with what may be the original in divert mode.
    pub(super) fn is_with_original(&self) -> bool {
        let stream = self.stream.as_ref().filter(|it| it.session().is_some());
        !self.sack && stream.is_some_and(|it| it.dialect() == Some(Dialect::Legacy))
    }

    /// The option that a segment of ours has to have behind the SYN.
    pub(super) fn option_of(&self, view: &View<'_>) -> Option<EnoOption> {
        let option = self.following.filter(|_| !view.flags().has(Flags::RST))?;
        let begun = self.stream.is_some() || self.client.is_some();
        let is_due = match self.agreed {
            Settled::Plain => false,
            Settled::Exchange => {
                self.fate == Fate::Undecided && begun && view.seq() == self.numbers.0
            }
            Settled::Resumed => true,
        };
        is_due.then_some(option)
    }

    /// The peer has answered a segment of ours, if we wait for that.
    pub(super) fn look_for_answer(&mut self) {
        if self.sign != Sign::Tos || self.following.is_none() {
            return;
        }
        let Some(far) = &self.far else { return };
        if self.fate != Fate::Undecided && far.was_answered() {
            self.unmark();
        }
    }

    /// Packets of the half that we open are like others.
    pub(super) fn unmark(&mut self) {
        let sign = std::mem::replace(&mut self.sign, Sign::None);
        let (Way::Out, Some(far)) = (self.way, &self.far) else {
            return;
        };
        // At worst packets go on coming through the queue, unchanged.
        let _ = match sign {
            Sign::None => Ok(()),
            Sign::Tos => far.socket.set_tos(0),
            Sign::Mark => far.socket.set_mark(0),
        };
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
