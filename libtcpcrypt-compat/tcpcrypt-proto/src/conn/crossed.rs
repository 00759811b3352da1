//! Two hosts that open the same connection at the same time, by the standard (RFC 8547 sections 4.3 and 4.6). The
//! application of one of them asked to be host B; without that, and in the original's dialect, there are no roles and the
//! connection is plain.
//!
//! Neither of the two TCPs gets to see the other's SYN. Each host answers it with its own once more, as a SYN-ACK with the
//! same option, and each TCP gets a SYN-ACK, as if it had begun alone. Host A waits for the one that comes: it says
//! that B has seen A's option. Host B needs not wait, as A's first segment behind the SYNs will say the same.

use std::time::Instant;

use crate::event::Line;
use crate::packet::{Direction, Flags, FourTuple, Rewrite, Seq, View, options};
use crate::verdict::Verdict;

use super::init_timers::{Due, Pace, Repeats};
use super::plan::{Plan, Said};
use super::segment;
use super::{Context, Move, Next};

/// What the options of two SYNs that crossed agree on.
pub(crate) enum Crossing {
    /// Nothing.
    Plain,
    /// We are host A.
    Opening,
    /// We are host B, and this is what we said and what comes of it.
    Accepting(Said, Plan),
}

/// A SYN as if it answered the other one.
fn answering(mut syn: Rewrite<'_>, other: &View<'_>) -> Vec<u8> {
    syn.flags = Flags::SYN | Flags::ACK;
    syn.ack = other.seq() + 1;
    match options::timestamps(other.options()) {
        Some((value, _)) => syn.options.set_timestamp_reply(value),
        None => syn.options.blank(options::TIMESTAMPS),
    }
    let mut answer = Vec::new();
    // What cannot be written is lost like any packet.
    syn.write(&[], &mut answer);
    answer
}

/// The same.
pub(super) fn as_answer(syn: &View<'_>, other: &View<'_>) -> Vec<u8> {
    answering(Rewrite::of(syn), other)
}

/// What host B keeps until it has keys.
pub(super) struct Crossed {
    /// The number of our SYN.
    isn: Seq,
    /// That SYN as it answers the peer's.
    answer: Vec<u8>,
    /// The SYN-ACK of the local TCP.
    for_local: Vec<u8>,
    /// When the answer is sent again: the local TCP knows of none.
    repeats: Option<Repeats>,
}

impl Crossed {
    /// Our SYN, as it was sent and when for the first time, and the peer's; or the peer's SYN-ACK, where that was lost.
    pub(super) fn new(
        cx: &Context<'_>,
        (own, started): (&View<'_>, Instant),
        peer: &View<'_>,
    ) -> Self {
        let mut closed = segment::syn_for_local(cx.config.mtu, peer);
        closed.window = 0;
        let round_trip = segment::round_trip(cx.now.saturating_duration_since(started));
        let repeats = || Repeats::start(cx.now, round_trip, Pace::Doubling);
        Self {
            isn: own.seq(),
            answer: as_answer(own, peer),
            for_local: answering(closed, own),
            repeats: cx.config.timers.then(repeats),
        }
    }

    /// The number of our SYN.
    pub(super) fn isn(&self) -> Seq {
        self.isn
    }

    /// Our SYN-ACK, once more if need be.
    pub(super) fn send_answer(&self, cx: &mut Context<'_>, tuple: &FourTuple) {
        let packet = self.answer.clone();
        cx.outbox.push(Direction::Out, tuple.interface(), packet);
    }

    /// When our SYN-ACK is to be sent again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.repeats.as_ref()?.next())
    }

    /// Sends it again, if it is time.
    pub(super) fn timeout(&mut self, cx: &mut Context<'_>, tuple: &FourTuple) -> Next {
        let due = self.repeats.as_mut().map(|repeats| repeats.due(cx.now));
        match due {
            None | Some(Due::Nothing) => Next::Stay,
            Some(Due::Repeat) => {
                self.send_answer(cx, tuple);
                Next::Stay
            }
            Some(Due::GiveUp) => Next::Failed(Line::RetransmitTimeout),
        }
    }

    /// The SYN-ACK that keeps the local TCP from sending.
    pub(super) fn for_local(&self) -> &[u8] {
        &self.for_local
    }

    /// What the local TCP sends before there are keys, and is no reset. It goes nowhere: the SYN-ACK has gone out. A SYN shows
    /// that the local TCP has not got its own.
    pub(super) fn outgoing(
        &self,
        cx: &mut Context<'_>,
        tuple: &FourTuple,
        view: &View<'_>,
    ) -> Move {
        if view.flags().handshake() == Flags::SYN {
            let packet = self.for_local.clone();
            cx.outbox.push(Direction::In, tuple.interface(), packet);
        }
        Move::stay(Verdict::Drop)
    }
}
