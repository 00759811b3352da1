//! A connection that this host opens (tcpcrypt spec 4 and 5).
//!
//! SYN with our offer; SYN-ACK with the server's choice; the local TCP's acknowledgement of it carries INIT1;
//! INIT2 turns encryption on. A resumed session is on with the SYN-ACK.

use std::time::{Duration, Instant};

use crate::eno::{Answer, EnoOption, Offer, Tep};
use crate::event::Line;
use crate::flow::Numbers;
use crate::legacy::init::{MAX_LEN, Message};
use crate::legacy::keys::Session;
use crate::packet::{Direction, Flags, FourTuple, Fresh, Rewrite, Seq, View};
use crate::verdict::Verdict;

use super::exchange::{self, Question};
use super::init_timers::{Due, Pace, Repeats};
use super::reset::Ends;
use super::segment::{self, Prefix, Syn};
use super::{Agreed, Context, Move, Next, Wish, establish, resume};

/// The machine.
pub(crate) struct Active {
    tuple: FourTuple,
    wish: Wish,
    started: Instant,
    syn: Syn,
    /// As in the SYN, the same in each repetition.
    offer: EnoOption,
    /// Named in the SYN and not turned on.
    session: Option<Box<Session>>,
    /// From the SYN-ACK on.
    exchange: Option<Box<KeyExchange>>,
}

/// Both have agreed to exchange keys.
struct KeyExchange {
    question: Question,
    syn: Syn,
    answer: EnoOption,
    repeats: Option<Repeats>,
    round_trip: Duration,
    /// The packet with INIT1 as it was sent last.
    sent: Vec<u8>,
    /// The local TCP's window.
    window: u16,
    received: Prefix,
}

impl KeyExchange {
    fn init1_len(&self) -> u32 {
        u32::try_from(self.question.init1.len()).unwrap_or(0)
    }
}

fn offer<'a>(teps: &'a [Tep], wish: Wish, session: Option<&Session>) -> Offer<'a> {
    Offer {
        teps,
        app_aware: wish.app_aware,
        resume: session.map(Session::resume_id),
    }
}

impl Active {
    /// A SYN of the local TCP. `None` if the connection is plain.
    pub(crate) fn begin(
        cx: &mut Context<'_>,
        tuple: FourTuple,
        wish: Wish,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(Self, Verdict)> {
        // Data in a SYN would be in the clear.
        if !wish.enabled || !view.payload().is_empty() || segment::has_own_eno(view) {
            return None;
        }
        let mut session = resume::for_peer(cx, tuple.remote.ip(), wish);
        let mut option = offer(cx.teps, wish, session.as_deref()).build();
        let mut with_option = segment::with_option(cx.config, view, &option);
        if with_option.is_none() && session.is_some() {
            resume::put_back(cx, tuple.remote.ip(), session.take());
            option = offer(cx.teps, wish, None).build();
            with_option = segment::with_option(cx.config, view, &option);
        }
        let Some(rewrite) = with_option else {
            cx.events.line(Line::NoSpaceForHello);
            return None;
        };
        let machine = Self {
            tuple,
            wish,
            started: cx.now,
            syn: Syn::of(view),
            offer: option,
            session,
            exchange: None,
        };
        Some((machine, segment::replace(&rewrite, &[], out)))
    }

    /// The number of our SYN.
    pub(crate) fn isn(&self) -> Seq {
        self.syn.isn
    }

    /// Whether the peer's SYN was not seen yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.exchange.is_none()
    }

    /// When the handshake began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Where both ends stand.
    pub(crate) fn ends(&self) -> Ends {
        let exchange = self.exchange.as_deref();
        let sent = exchange.filter(|exchange| !exchange.sent.is_empty());
        Ends {
            local: Some(self.syn.isn + 1),
            remote: exchange.map(|exchange| exchange.syn.isn + 1),
            sent: sent.map_or(0, KeyExchange::init1_len),
            received: 0,
        }
    }

    /// Nothing comes of it: what was not used can be used by another.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>) {
        resume::put_back(cx, self.tuple.remote.ip(), self.session.take());
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let repeats = self.exchange.as_ref()?.repeats.as_ref()?;
        Some(repeats.next())
    }

    /// Sends INIT1 again.
    pub(crate) fn timeout(&mut self, cx: &mut Context<'_>) -> Next {
        let Some(exchange) = &mut self.exchange else {
            return Next::Stay;
        };
        let Some(repeats) = &mut exchange.repeats else {
            return Next::Stay;
        };
        match repeats.due(cx.now) {
            Due::Nothing => Next::Stay,
            Due::Repeat => {
                cx.events.line(Line::Retransmitting);
                cx.outbox.push(
                    Direction::Out,
                    self.tuple.interface(),
                    exchange.sent.clone(),
                );
                Next::Stay
            }
            Due::GiveUp => Next::Failed(Line::RetransmitTimeout),
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
        match (direction, self.exchange.is_some()) {
            (Direction::Out, false) => self.outgoing_before_answer(cx, view, out),
            (Direction::In, false) => self.incoming_before_answer(cx, view, out),
            (Direction::Out, true) => self.outgoing(cx, view, out),
            (Direction::In, true) => self.incoming(cx, view, out),
        }
    }

    fn outgoing_before_answer(
        &mut self,
        cx: &mut Context<'_>,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let kind = view.flags().handshake();
        if kind == Flags::SYN && view.seq() == self.syn.isn {
            return self.syn_again(cx, view, out);
        }
        if kind == Flags::SYN | Flags::ACK {
            // Both open at once: there are no roles.
            return Move::plain();
        }
        Move::stay(Verdict::Accept)
    }

    /// The same SYN with the same offer. A SYN that has no more room for it gives encryption up.
    fn syn_again(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let with_option = segment::with_option(cx.config, view, &self.offer);
        let Some(rewrite) = with_option.filter(|_| view.payload().is_empty()) else {
            cx.events.line(Line::NoSpaceForHello);
            return Move::plain();
        };
        self.syn = Syn::of(view);
        Move::stay(segment::replace(&rewrite, &[], out))
    }

    fn incoming_before_answer(
        &mut self,
        cx: &mut Context<'_>,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let kind = view.flags().handshake();
        let is_ours = view.ack() == self.syn.isn + 1;
        if kind == Flags::SYN {
            return Move::plain();
        }
        if kind == Flags::SYN | Flags::ACK && is_ours {
            return self.syn_ack(cx, view, out);
        }
        if kind == Flags::RST | Flags::ACK && is_ours {
            return Move::new(Verdict::Accept, Next::Over);
        }
        Move::stay(Verdict::Accept)
    }

    fn syn_ack(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let Some(answer) = segment::eno(view) else {
            return Move::plain();
        };
        if !segment::has_room_for_records(view) {
            return Move::plain();
        }
        match offer(cx.teps, self.wish, self.session.as_deref()).answer(&answer) {
            Answer::Plain => {
                cx.events.line(Line::NoCipher);
                Move::plain()
            }
            Answer::Resumed => match self.session.take() {
                Some(session) => self.resumed(cx, *session, &answer, view, out),
                None => Move::plain(),
            },
            Answer::Exchange(tep) => {
                if self.session.take().is_some() {
                    // It does not know the session; nobody else will want it.
                    cx.events.line(Line::SessionCachingFailed);
                }
                self.begin_exchange(cx, tep, answer, view, out)
            }
        }
    }

    fn resumed(
        &mut self,
        cx: &mut Context<'_>,
        session: Session,
        answer: &EnoOption,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let peer = Syn::of(view);
        let (ours, theirs) = (self.syn.isn + 1, peer.isn + 1);
        let agreed = Agreed {
            options: segment::flow_options(cx.config, self.tuple, &self.syn, &peer),
            numbers: Numbers {
                out_plain: ours,
                out_wire: ours,
                in_plain: theirs,
                in_wire: theirs,
            },
            peer_isn: peer.isn,
            application: self.application(answer),
            no_cache: self.wish.no_cache,
        };
        match establish(cx, session, &agreed) {
            Ok(established) => {
                let mtu = self.syn.bounded_mtu(cx.config.mtu);
                let rewrite = segment::syn_for_local(mtu, view);
                let verdict = segment::replace(&rewrite, &[], out);
                Move::new(verdict, Next::Encrypted(established))
            }
            Err(line) => Move::failed(line),
        }
    }

    fn application(&self, answer: &EnoOption) -> u8 {
        u8::from(self.wish.app_aware) | u8::from(answer.app_aware()) << 1
    }

    fn begin_exchange(
        &mut self,
        cx: &mut Context<'_>,
        tep: Tep,
        answer: EnoOption,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let question = match Question::new(cx, tep) {
            Ok(question) => question,
            Err(line) => {
                // Nothing was promised to the server yet.
                cx.events.line(line);
                return Move::plain();
            }
        };
        let round_trip = cx.now.saturating_duration_since(self.started);
        self.exchange = Some(Box::new(KeyExchange {
            question,
            syn: Syn::of(view),
            answer,
            repeats: None,
            round_trip: segment::round_trip(round_trip),
            sent: Vec::new(),
            window: 0,
            received: Prefix::default(),
        }));
        syn_ack_for_local(self.syn.bounded_mtu(cx.config.mtu), view, out)
    }

    /// Everything that the local TCP sends before encryption is on becomes INIT1.
    fn outgoing(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let Some(exchange) = &mut self.exchange else {
            return Move::stay(Verdict::Drop);
        };
        let flags = view.flags();
        if flags.has(Flags::RST) {
            return self.outgoing_reset(cx, view, out);
        }
        if flags.has(Flags::SYN) || !flags.has(Flags::ACK) {
            return Move::stay(Verdict::Drop);
        }
        let mut rewrite = Rewrite::of(view);
        // Probes of a closed window have the number before the next one, or an octet of data.
        rewrite.seq = self.syn.isn + 1;
        rewrite.flags = flags.without(Flags::FIN | Flags::PSH | Flags::URG);
        rewrite.urgent = 0;
        let init1 = exchange.question.init1.as_slice();
        let fits = segment::append(&mut rewrite.options, &EnoOption::bare());
        if !fits || rewrite.length(init1.len()) > usize::from(cx.config.mtu) {
            cx.events.line(Line::NoSpaceForEno);
            return Move::failed(Line::SendingRst);
        }
        let start = out.len();
        let verdict = segment::replace(&rewrite, &[init1], out);
        exchange.sent = out.get(start..).unwrap_or_default().to_vec();
        exchange.window = view.window();
        if exchange.repeats.is_none() && cx.config.timers {
            let repeats = Repeats::start(cx.now, exchange.round_trip, Pace::Doubling);
            exchange.repeats = Some(repeats);
        }
        Move::stay(verdict)
    }

    /// The local TCP aborts: the peer may count INIT1 or not.
    fn outgoing_reset(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let ends = self.ends();
        if ends.sent > 0 {
            let mut fresh = Fresh::new(self.tuple, Direction::Out);
            fresh.flags = Flags::RST | Flags::ACK;
            fresh.seq = self.syn.isn + 1 + ends.sent;
            fresh.ack = ends.remote.unwrap_or_default();
            cx.outbox.fresh(&fresh, &[]);
        }
        let rewrite = Rewrite::of(view);
        Move::new(segment::replace(&rewrite, &[], out), Next::Over)
    }

    fn incoming(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let Some(exchange) = &mut self.exchange else {
            return Move::stay(Verdict::Drop);
        };
        let first = exchange.syn.isn + 1;
        let flags = view.flags();
        if flags.has(Flags::RST) {
            return incoming_reset(view, first, self.syn.isn + 1, out);
        }
        if flags.handshake() == Flags::SYN | Flags::ACK && view.seq() == exchange.syn.isn {
            // The local TCP answers it, and that brings INIT1 once more.
            return syn_ack_for_local(self.syn.bounded_mtu(cx.config.mtu), view, out);
        }
        if flags.has(Flags::SYN) || !flags.has(Flags::ACK) {
            return Move::stay(Verdict::Drop);
        }
        if !view.payload().is_empty() {
            exchange.received.add(first, view, MAX_LEN);
            return self.init2(cx, view, out);
        }
        if flags.has(Flags::FIN) && view.seq() == first {
            return Move::failed(Line::HandshakeFailed("init2: can't find opt"));
        }
        // The local TCP knows nothing of INIT1, which this may acknowledge.
        if view.ack() == self.syn.isn + 1 {
            let rewrite = segment::closed_ack_for_local(view, view.seq(), view.ack());
            return Move::stay(segment::replace(&rewrite, &[], out));
        }
        Move::stay(Verdict::Drop)
    }

    /// Turns encryption on, if INIT2 is whole. Its packet becomes what opens the local TCP's window.
    fn init2(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let Some(exchange) = &self.exchange else {
            return Move::stay(Verdict::Drop);
        };
        let octets = exchange.received.octets();
        let init2 = match exchange::whole(Message::Init2, octets) {
            Ok(Some(len)) => octets.get(..len).unwrap_or_default(),
            Ok(None) => return Move::stay(Verdict::Drop),
            Err(line) => return Move::failed(line),
        };
        let (ours, theirs) = (self.syn.isn + 1, exchange.syn.isn + 1);
        let init2_len = u32::try_from(init2.len()).unwrap_or(0);
        let agreed = Agreed {
            options: segment::flow_options(cx.config, self.tuple, &self.syn, &exchange.syn),
            numbers: Numbers {
                out_plain: ours,
                out_wire: ours + exchange.init1_len(),
                in_plain: theirs,
                in_wire: theirs + init2_len,
            },
            peer_isn: exchange.syn.isn,
            application: self.application(&exchange.answer),
            no_cache: self.wish.no_cache,
        };
        let established = exchange
            .question
            .answered(cx, &self.offer, &exchange.answer, init2)
            .and_then(|session| establish(cx, session, &agreed));
        let established = match established {
            Ok(established) => established,
            Err(line) => return Move::failed(line),
        };
        let mut ack = Fresh::new(self.tuple, Direction::Out);
        ack.seq = agreed.numbers.out_wire;
        ack.ack = agreed.numbers.in_wire;
        ack.window = exchange.window;
        cx.outbox.fresh(&ack, &[]);
        let mut rewrite = segment::closed_ack_for_local(view, theirs, ours);
        rewrite.window = exchange.syn.bounded_window(&self.syn, view.window());
        let verdict = segment::replace(&rewrite, &[], out);
        Move::new(verdict, Next::Encrypted(established))
    }
}

/// A SYN-ACK that keeps the local TCP from sending.
fn syn_ack_for_local(mtu: u16, view: &View<'_>, out: &mut Vec<u8>) -> Move {
    let mut rewrite = segment::syn_for_local(mtu, view);
    rewrite.window = 0;
    Move::stay(segment::replace(&rewrite, &[], out))
}

/// A reset by the peer, which may count its INIT message that we have not seen whole. The number must be one of
/// the two exactly; else it is for the local TCP to refuse.
pub(super) fn incoming_reset(view: &View<'_>, first: Seq, ack: Seq, out: &mut Vec<u8>) -> Move {
    if view.seq() == first {
        return Move::new(Verdict::Accept, Next::Over);
    }
    let ahead = view.seq().since(first);
    let is_behind_init = [108, 110, 176, 178].contains(&ahead);
    if !is_behind_init {
        return Move::stay(Verdict::Drop);
    }
    let mut rewrite = segment::closed_ack_for_local(view, first, ack);
    rewrite.flags = view.flags();
    Move::new(segment::replace(&rewrite, &[], out), Next::Over)
}
