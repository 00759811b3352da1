//! Resets of connections that cannot go on and must not go on in the clear.

use crate::config::Config;
use crate::eno::Kind;
use crate::legacy::init::Message;
use crate::packet::{Direction, Flags, FourTuple, Fresh, Seq, View};
use crate::rfc8548::init;

use super::outbox::Outbox;
use super::segment;

/// Where both ends of a connection stand in its handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The next number that the local TCP sends, as it counts. `None` before its SYN.
    pub local: Option<Seq>,
    /// The next number that the peer sends, as the local TCP counts. `None` before its SYN.
    pub remote: Option<Seq>,
    /// Octets of our INIT message, if it was sent.
    pub sent: u32,
    /// Octets of the peer's INIT message, if it came.
    pub received: u32,
}

impl Ends {
    /// Resets the connection at both ends.
    pub(crate) fn reset(&self, tuple: FourTuple, outbox: &mut Outbox) {
        let Some(remote) = self.remote else {
            // The peer has no connection yet, and the local TCP has only asked for one.
            return;
        };
        let local = self.local.unwrap_or_default();
        let reset = |direction, seq, ack| {
            let mut fresh = Fresh::new(tuple, direction);
            fresh.flags = Flags::RST | Flags::ACK;
            (fresh.seq, fresh.ack) = (seq, ack);
            fresh
        };
        outbox.reset(&reset(Direction::In, remote, local));
        if self.local.is_none() {
            return;
        }
        let ack = remote + self.received;
        outbox.reset(&reset(Direction::Out, local + self.sent, ack));
        // A daemon that has not got as far as we counts as its TCP does.
        if self.sent > 0 {
            outbox.reset(&reset(Direction::Out, local, ack));
        }
    }
}

impl Ends {
    /// Ends a handshake that gives way to others. The local TCP must not go on with it. The peer is only told
    /// if it has shown that it is there: else a SYN under a false address would make us send even more.
    pub(crate) fn give_way(&self, tuple: FourTuple, outbox: &mut Outbox) {
        if self.sent > 0 {
            return self.reset(tuple, outbox);
        }
        if let (Some(local), Some(remote)) = (self.local, self.remote) {
            let mut fresh = Fresh::new(tuple, Direction::In);
            fresh.flags = Flags::RST | Flags::ACK;
            (fresh.seq, fresh.ack) = (remote, local);
            outbox.fresh(&fresh, &[]);
        }
    }
}

/// Resets both ends by the numbers of a segment that must not go through.
pub(crate) fn answer_with_resets(
    view: &View<'_>,
    direction: Direction,
    tuple: FourTuple,
    outbox: &mut Outbox,
    both: bool,
) {
    if view.flags().has(Flags::RST) {
        return;
    }
    let back = match direction {
        Direction::Out => Direction::In,
        Direction::In => Direction::Out,
    };
    let mut fresh = Fresh::new(tuple, back);
    fresh.flags = Flags::RST | Flags::ACK;
    fresh.seq = view.ack();
    fresh.ack = view.end();
    outbox.fresh(&fresh, &[]);
    if both {
        let mut fresh = Fresh::new(tuple, direction);
        fresh.flags = Flags::RST | Flags::ACK;
        fresh.seq = view.seq();
        fresh.ack = view.ack();
        outbox.fresh(&fresh, &[]);
    }
}

/// Whether a segment of a connection that we do not know is a client's INIT1: it has our option, which we must
/// have answered. We were started anew, or the connection gave way to others; an application must not get it.
pub(crate) fn is_stray_init1(view: &View<'_>, config: &Config) -> bool {
    let stream = view.payload();
    let len = match config.speaks_standard() {
        true => init::len(Message::Init1, stream),
        false => Message::Init1.len(stream),
    };
    view.flags().has(Flags::ACK)
        && !view.flags().has(Flags::SYN)
        && matches!(len, Ok(Some(_)))
        && [Kind::Experimental, Kind::Standard]
            .into_iter()
            .any(|kind| config.reads(kind) && segment::says_eno(view, kind))
}
