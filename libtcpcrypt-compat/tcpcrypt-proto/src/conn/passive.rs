//! A connection that this host accepts (tcpcrypt spec 4, 5 and 7).
//!
//! SYN with the client's offer; SYN-ACK with our choice; the third segment shows by its option that the client
//! has seen it, and brings INIT1; INIT2 is ours to send, and its acknowledgement turns encryption on. A resumed
//! session is on with the third segment.

mod crossing;

use std::time::Instant;

use crate::eno::EnoOption;
use crate::event::Line;
use crate::flow::Numbers;
use crate::legacy::init::Message;
use crate::packet::{Direction, Flags, FourTuple, Fresh, Rewrite, Seq, View};
use crate::records::Dialect;
use crate::rfc8548::init;
use crate::verdict::Verdict;

use super::active::incoming_reset;
use super::crossed::Crossed;
use super::exchange::{self, LEGACY_LENS, Reply};
use super::init_timers::{Due, Pace, Repeats};
use super::plan::{Plan, Said};
use super::reset::Ends;
use super::segment::{self, Prefix, Syn};
use super::{Agreed, Context, Keyed, Move, Next, Wish, establish};

/// Numbers behind the third segment's that may come before it, out of order, on a resumed connection.
const REORDERING: u32 = 1 << 20;

/// The machine.
pub(crate) struct Passive {
    tuple: FourTuple,
    wish: Wish,
    started: Instant,
    syn: Syn,
    /// In the SYN.
    offer: EnoOption,
    plan: Plan,
    answer: Option<Answer>,
    /// The SYN came again without the option, so our SYN-ACK has none any more.
    withdrawn: bool,
    /// Both have opened it, and we are host B.
    crossed: Option<Box<Crossed>>,
    stage: Stage,
}

/// The SYN-ACK as it was sent.
struct Answer {
    syn: Syn,
    said: Said,
    sent: Instant,
    /// Another SYN came since, so the next SYN-ACK answers that.
    stale: bool,
}

enum Stage {
    /// The third segment has not come.
    Offered,
    /// The client has shown that it has our choice. What has come of INIT1.
    Agreed(Prefix),
    /// INIT2 is on its way.
    Answered(Box<Answered>),
}

struct Answered {
    keys: Keys,
    init1_len: u32,
    init2_len: u32,
    /// The packet with INIT2.
    packet: Vec<u8>,
    repeats: Option<Repeats>,
}

/// What encryption is turned on with.
enum Keys {
    /// To be agreed on, at leisure or when they are needed.
    Due(Reply),
    There(Keyed),
    /// They were turned on, or could not be agreed on.
    Gone,
}

impl Keys {
    /// Agrees on them if that was not done.
    fn agree(&mut self, cx: &mut Context<'_>) -> Result<(), Line> {
        if let Keys::Due(reply) = self {
            let session = reply.session(cx);
            *self = Keys::Gone;
            *self = Keys::There(session?);
        }
        Ok(())
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Result<Option<Keyed>, Line> {
        self.agree(cx)?;
        Ok(match std::mem::replace(self, Keys::Gone) {
            Keys::There(keyed) => Some(keyed),
            Keys::Due(_) | Keys::Gone => None,
        })
    }
}

impl Passive {
    /// A SYN of a peer. `None` if the connection is plain.
    pub(crate) fn begin(
        cx: &mut Context<'_>,
        tuple: FourTuple,
        wish: Wish,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(Self, Verdict)> {
        if !wish.enabled {
            return None;
        }
        let offer = segment::eno(view).filter(|offer| cx.config.reads(offer.kind()))?;
        if !segment::has_room_for_records(view) {
            return None;
        }
        let plan = Plan::new(cx, wish, &offer)?;
        let machine = Self {
            tuple,
            wish,
            started: cx.now,
            syn: Syn::of(view),
            offer,
            plan,
            answer: None,
            withdrawn: false,
            crossed: None,
            stage: Stage::Offered,
        };
        Some((machine, syn_for_local(cx, view, out)))
    }

    /// The number of the peer's SYN.
    pub(crate) fn isn(&self) -> Seq {
        self.syn.isn
    }

    /// When the handshake began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Whether the client may already hold us to our word.
    pub(crate) fn has_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether the client has shown that it has our answer, or the local TCP believes to be connected.
    pub(crate) fn is_agreed(&self) -> bool {
        !matches!(self.stage, Stage::Offered) || self.crossed.is_some()
    }

    /// Where both ends stand.
    pub(crate) fn ends(&self) -> Ends {
        let (sent, received) = match &self.stage {
            Stage::Answered(answered) => (answered.init2_len, answered.init1_len),
            Stage::Offered | Stage::Agreed(_) => (0, 0),
        };
        Ends {
            local: self.answer.as_ref().map(|answer| answer.syn.isn + 1),
            remote: Some(self.syn.isn + 1),
            sent,
            received,
        }
    }

    /// Nothing comes of it: what was not used can be used by another.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>) {
        self.plan.give_up(cx, self.tuple.remote.ip());
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Answered(answered) => Some(answered.repeats.as_ref()?.next()),
            Stage::Offered => self.crossed.as_ref()?.deadline(),
            Stage::Agreed(_) => None,
        }
    }

    /// Sends INIT2 again, or the SYN-ACK.
    pub(crate) fn timeout(&mut self, cx: &mut Context<'_>) -> Next {
        if let (Stage::Offered, Some(crossed)) = (&self.stage, &mut self.crossed) {
            return crossed.timeout(cx, &self.tuple);
        }
        let Stage::Answered(answered) = &mut self.stage else {
            return Next::Stay;
        };
        let Some(repeats) = &mut answered.repeats else {
            return Next::Stay;
        };
        match repeats.due(cx.now) {
            Due::Nothing => Next::Stay,
            Due::Repeat => {
                cx.events.line(Line::Retransmitting);
                cx.outbox.push(
                    Direction::Out,
                    self.tuple.interface(),
                    answered.packet.clone(),
                );
                Next::Stay
            }
            Due::GiveUp => Next::Failed(Line::RetransmitTimeout),
        }
    }

    /// Agrees on keys that will be needed. False if there was nothing to do.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(crate) fn prepare(&mut self, cx: &mut Context<'_>) -> Result<bool, Line> {
        match &mut self.stage {
            Stage::Answered(answered) if matches!(answered.keys, Keys::Due(_)) => {
                answered.keys.agree(cx).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// A packet of the connection.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        match direction {
            Direction::Out => self.outgoing(cx, view, out),
            Direction::In => self.incoming(cx, view, out),
        }
    }

    fn outgoing(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let flags = view.flags();
        if flags.has(Flags::RST) {
            return self.outgoing_reset(cx, view, out);
        }
        if let Some(crossed) = &self.crossed {
            return crossed.outgoing(cx, &self.tuple, view);
        }
        match flags.handshake() {
            kind if kind == Flags::SYN | Flags::ACK && view.ack() == self.syn.isn + 1 => {
                self.syn_ack(cx, view, out)
            }
            // Both open at once: there are no roles.
            kind if kind == Flags::SYN && self.answer.is_none() => Move::plain(),
            // Before the third segment, an answer about an older connection.
            _ if matches!(self.stage, Stage::Offered) && view.payload().is_empty() => {
                Move::stay(Verdict::Accept)
            }
            // The local TCP probes the closed window, or acknowledges what the peer counts otherwise.
            _ => Move::stay(Verdict::Drop),
        }
    }

    /// Puts our choice into the SYN-ACK, the same into each of its repetitions.
    fn syn_ack(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        if self.withdrawn {
            return Move::stay(Verdict::Accept);
        }
        let same = self.answer.as_ref();
        let same = same.filter(|answer| answer.syn.isn == view.seq() && !answer.stale);
        let same = same.map(|answer| answer.said);
        let is_same = same.is_some();
        let made = same.or_else(|| {
            let (peer, room) = (self.tuple.remote.ip(), segment::room(view));
            let aware = self.wish.app_aware;
            self.plan.option(cx, &self.offer, aware, peer, room)
        });
        let Some(said) = made else {
            return Move::stay(Verdict::Drop);
        };
        let fits = !segment::has_own_eno(view) && view.payload().is_empty();
        let with_option = segment::with_option(cx.config, view, &said.option).filter(|_| fits);
        let Some(rewrite) = with_option else {
            cx.events.line(Line::NoSpaceForEno);
            if self.answer.is_some() {
                // It was said before that there will be encryption.
                return Move::failed(Line::SendingRst);
            }
            return Move::plain();
        };
        if !is_same {
            self.answer = Some(Answer {
                syn: Syn::of(view),
                said,
                sent: cx.now,
                stale: false,
            });
        }
        Move::stay(segment::replace(&rewrite, &[], out))
    }

    /// The local TCP refuses or aborts: the peer may count INIT2 or not.
    fn outgoing_reset(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let ends = self.ends();
        let mut rewrite = Rewrite::of(view);
        if let Some(local) = ends.local.filter(|_| ends.sent > 0) {
            let mut fresh = Fresh::new(self.tuple, Direction::Out);
            fresh.flags = Flags::RST | Flags::ACK;
            fresh.seq = local + ends.sent;
            fresh.ack = self.syn.isn + 1 + ends.received;
            cx.outbox.fresh(&fresh, &[]);
            rewrite.ack = fresh.ack;
        }
        Move::new(segment::replace(&rewrite, &[], out), Next::Over)
    }

    fn incoming(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let flags = view.flags();
        let first = self.syn.isn + 1;
        let ours = self.ends().local;
        if flags.has(Flags::RST) {
            let lens = match &self.plan {
                Plan::Exchange(Dialect::Standard, tep) => exchange::init1_lens(*tep),
                _ => LEGACY_LENS.to_vec(),
            };
            return incoming_reset(view, first, ours.unwrap_or_default(), &lens, out);
        }
        if flags.has(Flags::SYN) && self.crossed.is_some() {
            return self.syn_of_crossing_peer(cx, view);
        }
        if flags.has(Flags::SYN) {
            return match flags.has(Flags::ACK) {
                true => Move::stay(Verdict::Accept),
                false => self.syn_again(cx, view, out),
            };
        }
        let Some(ours) = ours.filter(|_| flags.has(Flags::ACK)) else {
            // Nothing to acknowledge yet: the local TCP will refuse it.
            return Move::stay(Verdict::Accept);
        };
        match (&self.stage, &self.plan) {
            (Stage::Offered, _) if view.ack() != ours => Move::stay(Verdict::Accept),
            (Stage::Offered, Plan::Resume(_)) => self.resumed(cx, view, ours),
            (Stage::Offered, Plan::Exchange(..)) => self.third_segment(cx, view, ours, out),
            (Stage::Agreed(_), _) if view.ack() != ours => Move::stay(Verdict::Drop),
            (Stage::Agreed(_), _) => self.init1(cx, view, ours, out),
            (Stage::Answered(_), _) => self.acknowledgement(cx, view, ours, out),
        }
    }

    /// The peer has not seen our SYN-ACK. Its last SYN counts.
    fn syn_again(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let syn_ack_was_seen = !matches!(self.stage, Stage::Offered);
        let offer = segment::eno(view).filter(|offer| cx.config.reads(offer.kind()));
        if syn_ack_was_seen || offer == Some(self.offer) {
            return Move::stay(syn_for_local(cx, view, out));
        }
        let Some(offer) = offer.filter(|_| segment::has_room_for_records(view)) else {
            if self.answer.is_none() {
                return Move::plain();
            }
            // The client may know our answer to the SYN before; the third segment tells. In the standard it does so
            // in a resumed session too. Then what is thrown away because of the option can go through without it
            // (RFC 8547 section 4.6).
            self.withdrawn |= self.plan.dialect() == Dialect::Standard;
            return Move::stay(syn_for_local(cx, view, out));
        };
        self.give_up(cx);
        let Some(plan) = Plan::new(cx, self.wish, &offer) else {
            self.plan = Plan::Resume(None);
            return match self.answer {
                None => Move::plain(),
                Some(_) => Move::stay(syn_for_local(cx, view, out)),
            };
        };
        self.plan = plan;
        self.offer = offer;
        self.syn = Syn::of(view);
        if let Some(answer) = &mut self.answer {
            answer.stale = true;
        }
        Move::stay(syn_for_local(cx, view, out))
    }

    /// Turns a resumed session on. The segment is the first for the flow.
    fn resumed(&mut self, cx: &mut Context<'_>, view: &View<'_>, ours: Seq) -> Move {
        let first = self.syn.isn + 1;
        if view.seq().since(first) > REORDERING {
            return Move::stay(Verdict::Accept);
        }
        // In the original's dialect nothing more is said.
        if self.plan.dialect() == Dialect::Standard && !self.has_option(view) {
            cx.events.line(Line::NoEnoInInit1);
            return Move::plain();
        }
        let said = self.answer.as_ref().map(|answer| answer.said);
        let Some(keyed) = said.and_then(|said| self.plan.resumed(&said)) else {
            return Move::stay(Verdict::Drop);
        };
        let numbers = Numbers {
            out_plain: ours,
            out_wire: ours,
            in_plain: first,
            in_wire: first,
        };
        self.establish(cx, keyed, numbers)
    }

    /// Whether a segment has the option that those of an opener have, in our kind.
    fn has_option(&self, view: &View<'_>) -> bool {
        segment::says_eno(view, self.offer.kind())
    }

    fn establish(&mut self, cx: &mut Context<'_>, keyed: Keyed, numbers: Numbers) -> Move {
        let Some(answer) = &self.answer else {
            return Move::stay(Verdict::Drop);
        };
        let peer_aware = answer.said.is_peer_aware(&self.offer);
        let application = u8::from(self.wish.app_aware) | u8::from(peer_aware) << 1;
        let agreed = Agreed {
            options: segment::flow_options(
                cx.config,
                self.tuple,
                &answer.syn,
                &self.syn,
                cx.config.mtu,
            ),
            numbers,
            peer_isn: self.syn.isn,
            application,
            no_cache: self.wish.no_cache,
            opener: false,
            kind: self.offer.kind(),
            eno: None,
        };
        match establish(cx, keyed, &agreed) {
            Ok(established) => Move::new(Verdict::Drop, Next::EncryptedFromHere(established)),
            Err(line) => Move::failed(line),
        }
    }

    /// The first segment behind the SYNs. Without the option the client has not seen ours, or it was told not
    /// to believe it.
    fn third_segment(
        &mut self,
        cx: &mut Context<'_>,
        view: &View<'_>,
        ours: Seq,
        out: &mut Vec<u8>,
    ) -> Move {
        if self.has_option(view) {
            self.stage = Stage::Agreed(Prefix::default());
            return self.init1(cx, view, ours, out);
        }
        cx.events.line(Line::NoEnoInInit1);
        let stream = view.payload();
        let begins = match self.plan.dialect() {
            Dialect::Legacy => Message::Init1.len(stream),
            Dialect::Standard => init::len(Message::Init1, stream),
        };
        if view.seq() == self.syn.isn + 1 && matches!(begins, Ok(Some(_))) {
            // Only the option was taken off. The client will not go on in the clear, and INIT1 is no data.
            return Move::failed(Line::SendingRst);
        }
        Move::plain()
    }

    fn init1(
        &mut self,
        cx: &mut Context<'_>,
        view: &View<'_>,
        ours: Seq,
        out: &mut Vec<u8>,
    ) -> Move {
        let first = self.syn.isn + 1;
        let Stage::Agreed(prefix) = &mut self.stage else {
            return Move::stay(Verdict::Drop);
        };
        let dialect = self.plan.dialect();
        prefix.add(first, view, exchange::limit(dialect));
        let stream = prefix.octets();
        match exchange::whole(dialect, Message::Init1, stream) {
            // Octets behind it make it wrong as well.
            Ok(Some(_)) => {}
            Ok(None) if view.payload().is_empty() && view.flags().has(Flags::FIN) => {
                return Move::failed(Line::HandshakeFailed("can't find init1"));
            }
            Ok(None) => return Move::stay(acknowledgement_for_local(view, first, ours, out)),
            Err(line) => return Move::failed(line),
        }
        let Some(answer) = &self.answer else {
            return Move::stay(Verdict::Drop);
        };
        let init1_len = u32::try_from(stream.len()).unwrap_or(0);
        let Some(replied) = self.plan.reply(cx, &self.offer, &answer.said, stream) else {
            return Move::stay(Verdict::Drop);
        };
        let reply = match replied {
            Ok(reply) => reply,
            Err(line) => return Move::failed(line),
        };
        let init2 = reply.init2();
        let init2_len = u32::try_from(init2.len()).unwrap_or(0);
        let mut fresh = Fresh::new(self.tuple, Direction::Out);
        fresh.seq = ours;
        fresh.ack = first + init1_len;
        fresh.window = answer.syn.bounded_window(&self.syn, view.window());
        if dialect == Dialect::Standard {
            fresh.flags |= Flags::PSH;
        }
        let bare = self.bare();
        if bare.is_some_and(|bare| !fresh.options.append(bare.as_bytes())) {
            return Move::failed(Line::NoSpaceForEno);
        }
        let mut packet = Vec::new();
        fresh.write(&[init2], &mut packet);
        cx.outbox
            .push(Direction::Out, self.tuple.interface(), packet.clone());
        let round_trip = segment::round_trip(cx.now.saturating_duration_since(answer.sent));
        let repeats = || Repeats::start(cx.now, round_trip, Pace::Steady);
        self.stage = Stage::Answered(Box::new(Answered {
            keys: Keys::Due(reply),
            init1_len,
            init2_len,
            packet,
            repeats: cx.config.timers.then(repeats),
        }));
        let verdict = acknowledgement_for_local(view, first, ours, out);
        Move::new(verdict, Next::Agreeing)
    }

    /// A segment while INIT2 is on its way: its acknowledgement turns encryption on, and the segment is the
    /// first for the flow.
    fn acknowledgement(
        &mut self,
        cx: &mut Context<'_>,
        view: &View<'_>,
        ours: Seq,
        out: &mut Vec<u8>,
    ) -> Move {
        let first = self.syn.isn + 1;
        let Stage::Answered(answered) = &mut self.stage else {
            return Move::stay(Verdict::Drop);
        };
        let numbers = Numbers {
            out_plain: ours,
            out_wire: ours + answered.init2_len,
            in_plain: first,
            in_wire: first + answered.init1_len,
        };
        if view.ack() == numbers.out_wire {
            return match answered.keys.take(cx) {
                Ok(Some(keyed)) => self.establish(cx, keyed, numbers),
                Ok(None) => Move::stay(Verdict::Drop),
                Err(line) => Move::failed(line),
            };
        }
        let is_init1 = view.seq().since(first) < answered.init1_len;
        if view.ack() == ours && is_init1 && !view.payload().is_empty() {
            // INIT1 again, or the last part of it: the client has not got INIT2. The local TCP may not have got the third segment.
            cx.outbox.push(
                Direction::Out,
                self.tuple.interface(),
                answered.packet.clone(),
            );
            return Move::stay(acknowledgement_for_local(view, first, ours, out));
        }
        Move::stay(Verdict::Drop)
    }
}

/// A SYN that keeps the local TCP from sending.
fn syn_for_local(cx: &Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Verdict {
    let mut rewrite = segment::syn_for_local(cx.config.mtu, view);
    rewrite.window = 0;
    segment::replace(&rewrite, &[], out)
}

/// A segment with INIT1 as the local TCP gets it: the third of a handshake without more.
fn acknowledgement_for_local(view: &View<'_>, seq: Seq, ack: Seq, out: &mut Vec<u8>) -> Verdict {
    let rewrite = segment::closed_ack_for_local(view, seq, ack);
    segment::replace(&rewrite, &[], out)
}
