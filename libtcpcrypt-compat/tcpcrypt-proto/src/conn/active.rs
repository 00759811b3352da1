//! A connection that this host opens (tcpcrypt spec 4, 5 and 7).
//!
//! SYN with our offer; SYN-ACK with the server's choice; the local TCP's acknowledgement of it carries INIT1;
//! INIT2 turns encryption on. A resumed session is on with the SYN-ACK.

use std::time::{Duration, Instant};

use crate::eno::Kind;
use crate::event::Line;
use crate::flow::Numbers;
use crate::legacy::init::Message;
use crate::packet::{Direction, Flags, FourTuple, Fresh, Rewrite, Seq, View};
use crate::records::Dialect;
use crate::rfc8547::{Host, host};
use crate::verdict::Verdict;

use super::ask::{Ask, Reached};
use super::crossed::{self, Crossed, Crossing};
use super::exchange::{self, Question};
use super::init_timers::{Due, Pace, Repeats};
use super::reset::Ends;
use super::segment::{self, Prefix, Syn};
use super::{Agreed, Context, Keyed, Move, Next, Passive, Wish, establish};

/// The machine.
pub(crate) struct Active {
    tuple: FourTuple,
    wish: Wish,
    started: Instant,
    syn: Syn,
    ask: Ask,
    /// In the standard, the SYN as it was sent last: it may meet one of the peer's.
    sent: Option<Vec<u8>>,
    /// The peer's SYN, answered by ours, as the SYN-ACK that the local TCP would get.
    met: Option<Vec<u8>>,
    /// From the SYN-ACK on.
    exchange: Option<Box<KeyExchange>>,
}

/// Both have agreed to exchange keys.
struct KeyExchange {
    question: Question,
    syn: Syn,
    /// The peer's application knows of encryption.
    peer_aware: bool,
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
        u32::try_from(self.question.init1().len()).unwrap_or(0)
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
        let room = segment::room(view);
        let (ask, rewrite) = Ask::new(cx, tuple.remote.ip(), wish, room, |config, option| {
            segment::with_option(config, view, option)
        })?;
        let mut machine = Self {
            tuple,
            wish,
            started: cx.now,
            syn: Syn::of(view),
            ask,
            sent: None,
            met: None,
            exchange: None,
        };
        let verdict = machine.send_syn(&rewrite, out);
        Some((machine, verdict))
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
        self.ask.give_up(cx);
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
            // It answers a SYN that we have not seen.
            return Move::plain();
        }
        Move::stay(Verdict::Accept)
    }

    /// The same SYN with the same offer. A SYN that has no more room for it gives encryption up.
    fn syn_again(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let with_option = segment::with_option(cx.config, view, &self.ask.option());
        let Some(rewrite) = with_option.filter(|_| view.payload().is_empty()) else {
            cx.events.line(Line::NoSpaceForHello);
            return Move::plain();
        };
        self.syn = Syn::of(view);
        Move::stay(self.send_syn(&rewrite, out))
    }

    fn send_syn(&mut self, rewrite: &Rewrite<'_>, out: &mut Vec<u8>) -> Verdict {
        let start = out.len();
        let verdict = segment::replace(rewrite, &[], out);
        let packet = out.get(start..).unwrap_or_default();
        self.sent = (self.ask.option().kind() == Kind::Standard).then(|| packet.to_vec());
        verdict
    }

    /// A SYN of the peer that met ours.
    fn crossed(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let theirs = segment::eno(view).filter(|_| segment::has_room_for_records(view));
        let sent = self.sent.as_deref().map(View::parse);
        let (Some(theirs), Some(Ok(own))) = (theirs, sent) else {
            return Move::plain();
        };
        match self.ask.crossed(cx, &theirs) {
            Crossing::Plain => Move::plain(),
            Crossing::Opening => {
                let answer = crossed::as_answer(&own, view);
                let met = crossed::as_answer(view, &own);
                cx.outbox
                    .push(Direction::Out, self.tuple.interface(), answer);
                self.met = Some(met);
                // The peer's SYN-ACK is what the local TCP gets.
                Move::stay(Verdict::Drop)
            }
            Crossing::Accepting(said, plan) => {
                let crossed = Crossed::new(cx, (&own, self.started), view);
                crossed.send_answer(cx, &self.tuple);
                out.extend_from_slice(crossed.for_local());
                let (tuple, wish) = (self.tuple, self.wish);
                let began = (self.syn, self.started);
                let machine =
                    Passive::crossed(tuple, wish, began, view, theirs, (said, plan), crossed);
                Move::new(Verdict::Replace, Next::Accepting(Box::new(machine)))
            }
        }
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
            return self.crossed(cx, view, out);
        }
        if kind == Flags::SYN | Flags::ACK && is_ours {
            return self.syn_ack(cx, view, out);
        }
        if kind == Flags::RST | Flags::ACK && is_ours {
            return Move::new(Verdict::Accept, Next::Over);
        }
        match self.met.take() {
            Some(met) if kind == Flags::ACK && is_ours => {
                let moved = self.syn_ack_was_lost(cx, &met, view, out);
                self.met = Some(met);
                moved
            }
            met => {
                self.met = met;
                Move::stay(Verdict::Accept)
            }
        }
    }

    /// Our SYN-ACK has made a connection of the peer's SYN, and its own did not come: this segment does its work.
    fn syn_ack_was_lost(
        &mut self,
        cx: &mut Context<'_>,
        met: &[u8],
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let syn_ack = View::parse(met).ok();
        let Some(syn_ack) = syn_ack.filter(|syn_ack| syn_ack.seq() + 1 == view.seq()) else {
            return Move::stay(Verdict::Accept);
        };
        if segment::says_eno(view, self.ask.option().kind()) {
            return self.syn_ack(cx, &syn_ack, out);
        }
        out.extend_from_slice(met);
        Move::new(Verdict::Replace, Next::Plain)
    }

    fn syn_ack(&mut self, cx: &mut Context<'_>, view: &View<'_>, out: &mut Vec<u8>) -> Move {
        let answer = segment::eno(view);
        if answer.is_some() && !segment::has_room_for_records(view) {
            return Move::plain();
        }
        // Who answers a SYN is host B: this one has sent a SYN of its own, which met ours.
        if self.ask.is_for_host_b() && answer.is_some_and(|answer| host(&answer) == Some(Host::A)) {
            return self.crossed(cx, view, out);
        }
        match self.ask.answered(cx, answer) {
            Reached::Plain => Move::plain(),
            Reached::Resumed(keyed, aware) => self.resumed(cx, keyed, aware, view, out),
            Reached::Exchange(question, aware) => {
                self.begin_exchange(cx, question, aware, view, out)
            }
        }
    }

    fn resumed(
        &mut self,
        cx: &mut Context<'_>,
        keyed: Keyed,
        peer_aware: bool,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let peer = Syn::of(view);
        let (ours, theirs) = (self.syn.isn + 1, peer.isn + 1);
        let numbers = Numbers {
            out_plain: ours,
            out_wire: ours,
            in_plain: theirs,
            in_wire: theirs,
        };
        let mut agreed = self.agreed(cx, &peer, numbers, peer_aware);
        // The original says nothing more (tcpcrypt spec 7.6).
        agreed.eno = match keyed {
            Keyed::Legacy(_) => None,
            Keyed::Standard(..) => Some(self.ask.bare()),
        };
        match establish(cx, keyed, &agreed) {
            Ok(established) => {
                let mtu = self.syn.bounded_mtu(cx.config.mtu);
                let rewrite = segment::syn_for_local(mtu, view);
                let verdict = segment::replace(&rewrite, &[], out);
                Move::new(verdict, Next::Encrypted(established))
            }
            Err(line) => Move::failed(line),
        }
    }

    fn agreed(&self, cx: &Context<'_>, peer: &Syn, numbers: Numbers, peer_aware: bool) -> Agreed {
        let shown = self.syn.bounded_mtu(cx.config.mtu);
        Agreed {
            options: segment::flow_options(cx.config, self.tuple, &self.syn, peer, shown),
            numbers,
            peer_isn: peer.isn,
            application: u8::from(self.wish.app_aware) | u8::from(peer_aware) << 1,
            no_cache: self.wish.no_cache,
            opener: true,
            kind: self.ask.option().kind(),
            eno: None,
        }
    }

    fn begin_exchange(
        &mut self,
        cx: &mut Context<'_>,
        question: Result<Question, Line>,
        peer_aware: bool,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Move {
        let question = match question {
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
            peer_aware,
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
        let bare = self.ask.bare();
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
        if exchange.question.dialect() == Dialect::Standard {
            rewrite.flags |= Flags::PSH;
        }
        let init1 = exchange.question.init1();
        let fits = rewrite.options.append(bare.as_bytes());
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
            let lens = exchange.question.init2_lens();
            return incoming_reset(view, first, self.syn.isn + 1, &lens, out);
        }
        if flags.handshake() == Flags::SYN | Flags::ACK && view.seq() == exchange.syn.isn {
            // The local TCP answers it, and that brings INIT1 once more.
            return syn_ack_for_local(self.syn.bounded_mtu(cx.config.mtu), view, out);
        }
        if flags.has(Flags::SYN) || !flags.has(Flags::ACK) {
            return Move::stay(Verdict::Drop);
        }
        if !view.payload().is_empty() {
            let limit = exchange::limit(exchange.question.dialect()) - 1;
            exchange.received.add(first, view, limit);
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
        let dialect = exchange.question.dialect();
        let octets = exchange.received.octets();
        let init2 = match exchange::whole(dialect, Message::Init2, octets) {
            Ok(Some(len)) => octets.get(..len).unwrap_or_default(),
            Ok(None) => return Move::stay(Verdict::Drop),
            Err(line) => return Move::failed(line),
        };
        let (ours, theirs) = (self.syn.isn + 1, exchange.syn.isn + 1);
        let init2_len = u32::try_from(init2.len()).unwrap_or(0);
        let numbers = Numbers {
            out_plain: ours,
            out_wire: ours + exchange.init1_len(),
            in_plain: theirs,
            in_wire: theirs + init2_len,
        };
        let agreed = self.agreed(cx, &exchange.syn, numbers, exchange.peer_aware);
        let established = exchange
            .question
            .answered(cx, init2)
            .and_then(|keyed| establish(cx, keyed, &agreed));
        let established = match established {
            Ok(established) => established,
            Err(line) => return Move::failed(line),
        };
        let mut ack = Fresh::new(self.tuple, Direction::Out);
        ack.seq = agreed.numbers.out_wire;
        ack.ack = agreed.numbers.in_wire;
        ack.window = exchange.window;
        cx.outbox.owe(cx.now, ack);
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
/// the two exactly; else it is for the local TCP to refuse. `lens` are the lengths that the message may have.
pub(super) fn incoming_reset(
    view: &View<'_>,
    first: Seq,
    ack: Seq,
    lens: &[u32],
    out: &mut Vec<u8>,
) -> Move {
    if view.seq() == first {
        return Move::new(Verdict::Accept, Next::Over);
    }
    let ahead = view.seq().since(first);
    let is_behind_init = lens.contains(&ahead);
    if !is_behind_init {
        return Move::stay(Verdict::Drop);
    }
    let mut rewrite = segment::closed_ack_for_local(view, first, ack);
    rewrite.flags = view.flags();
    Move::new(segment::replace(&rewrite, &[], out), Next::Over)
}
