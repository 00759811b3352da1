//! Whose packet it is, and what becomes of it.

use crate::conn::{
    Active, Move, Next, Passive, answer_with_resets, has_data_beside_eno, is_stray_init1,
    without_data,
};
use crate::event::Line;
use crate::flow::{Closing, Failure, Step};
use crate::packet::{Flags, FourTuple, View};
use crate::verdict::{Direction, Verdict};

use super::Endpoint;
use super::table::{State, Successor, Unwanted};
use super::tombstones::How;

const SYN: Flags = Flags::SYN;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const REFUSAL: Flags = Flags(Flags::RST.0 | Flags::ACK.0);

impl Endpoint {
    /// A packet that could be read.
    pub(super) fn decide(
        &mut self,
        tuple: FourTuple,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let verdict = self.judge(tuple, direction, view, out);
        let discards = direction == Direction::In && has_data_beside_eno(view);
        match verdict {
            Verdict::Accept if discards => without_data(view, out),
            verdict => verdict,
        }
    }

    fn judge(
        &mut self,
        tuple: FourTuple,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let kind = view.flags().handshake();
        if self.table.get(&tuple).is_none() {
            return match kind {
                SYN if is_damaged(direction, view) => Verdict::Drop,
                SYN => self.begin(tuple, direction, view, out),
                _ => self.of_nobody(tuple, direction, view),
            };
        }
        if is_damaged(direction, view) {
            return Verdict::Drop;
        }
        match (kind, direction) {
            (SYN, Direction::Out) => self.outgoing_syn(tuple, view, out),
            (SYN, Direction::In) => self.incoming_syn(tuple, view, out),
            (SYN_ACK | REFUSAL, Direction::Out) => match self.succession(&tuple, view) {
                Some(verdict) => verdict,
                None => self.of_connection(tuple, direction, view, out),
            },
            _ => self.of_connection(tuple, direction, view, out),
        }
    }

    /// A packet of a connection that we do not know: it was there before us, or it is plain.
    fn of_nobody(&mut self, tuple: FourTuple, direction: Direction, view: &View<'_>) -> Verdict {
        if direction == Direction::In && is_stray_init1(view, &self.services.config) {
            self.services.events.line(Line::SendingRst);
            answer_with_resets(view, direction, tuple, &mut self.services.outbox, true);
            return Verdict::Drop;
        }
        Verdict::Accept
    }

    /// The first packet of a connection.
    fn begin(
        &mut self,
        tuple: FourTuple,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let wish = match direction {
            Direction::Out => self.ports.consume(tuple.local.port()),
            Direction::In => self.ports.copy(tuple.local.port()),
        };
        let limits = self.services.config.limits;
        if !self.services.config.encrypts() {
            return Verdict::Accept;
        }
        if self.table.alive() >= limits.connections {
            self.services.events.line(Line::TableFull);
            return Verdict::Accept;
        }
        let mut cx = self.services.context(self.now);
        let (state, verdict) = match direction {
            Direction::Out if !wish.enabled => {
                let (isn, since) = (view.seq(), self.now);
                let unwanted = Unwanted { isn, since };
                (State::Unwanted(Box::new(unwanted)), Verdict::Accept)
            }
            Direction::Out => match Active::begin(&mut cx, tuple, wish, view, out) {
                Some((machine, verdict)) => (State::Active(Box::new(machine)), verdict),
                None => return self.ended_up_plain(),
            },
            Direction::In => match Passive::begin(&mut cx, tuple, wish, view, out) {
                Some((machine, verdict)) => {
                    let peer = tuple.remote.ip();
                    if let Some(oldest) = self.table.one_too_many(peer, &limits) {
                        self.give_way(&oldest);
                    }
                    (State::Passive(Box::new(machine)), verdict)
                }
                None => return self.ended_up_plain(),
            },
        };
        self.table.insert(tuple, state, &limits);
        verdict
    }

    fn ended_up_plain(&mut self) -> Verdict {
        if self.services.config.debug {
            self.services.events.line(Line::Plain);
        }
        Verdict::Accept
    }

    /// The local TCP opens a connection between addresses that had one.
    fn outgoing_syn(&mut self, tuple: FourTuple, view: &View<'_>, out: &mut Vec<u8>) -> Verdict {
        let same = match self.table.get(&tuple).map(|connection| &connection.state) {
            Some(State::Active(machine)) => machine.isn() == view.seq() && machine.is_unanswered(),
            Some(State::Passive(machine)) => {
                !machine.has_answered() || machine.has_crossed(view.seq())
            }
            Some(State::Unwanted(it)) => it.isn == view.seq(),
            _ => false,
        };
        if same {
            return self.of_connection(tuple, Direction::Out, view, out);
        }
        // It would not if it still had the old one.
        self.forget(&tuple);
        self.begin(tuple, Direction::Out, view, out)
    }

    /// A peer opens a connection between addresses that have one. Until the local TCP agrees, the old one
    /// stands: anybody can send a SYN.
    fn incoming_syn(&mut self, tuple: FourTuple, view: &View<'_>, out: &mut Vec<u8>) -> Verdict {
        let same = match self.table.get(&tuple).map(|connection| &connection.state) {
            Some(State::Active(_) | State::Unwanted(..)) => true,
            Some(State::Passive(machine)) => machine.isn() == view.seq(),
            Some(State::Encrypted(established)) => established.peer_isn == view.seq(),
            Some(State::Ended(_)) | None => false,
        };
        if same {
            return self.of_connection(tuple, Direction::In, view, out);
        }
        let wish = self.ports.copy(tuple.local.port());
        let mut cx = self.services.context(self.now);
        let Some(connection) = self.table.get_mut(&tuple) else {
            return Verdict::Accept;
        };
        if let Some(mut machine) = connection.successor.take().and_then(|old| old.machine) {
            machine.give_up(&mut cx);
        }
        let begun = match cx.config.encrypts() {
            true => Passive::begin(&mut cx, tuple, wish, view, out),
            false => None,
        };
        let (machine, verdict) = match begun {
            Some((machine, verdict)) => (Some(Box::new(machine)), verdict),
            None => (None, Verdict::Accept),
        };
        connection.successor = Some(Box::new(Successor {
            isn: view.seq(),
            machine,
        }));
        self.table.schedule(&tuple, &self.services.config.limits);
        verdict
    }

    /// Whether the local TCP answers a SYN that came for addresses that have a connection: then that one is
    /// over.
    fn succession(&mut self, tuple: &FourTuple, view: &View<'_>) -> Option<Verdict> {
        let connection = self.table.get_mut(tuple)?;
        let answers = connection
            .successor
            .as_ref()
            .is_some_and(|successor| view.ack() == successor.isn + 1);
        if !answers {
            return None;
        }
        let kind = view.flags().handshake();
        if kind == REFUSAL {
            // It refuses the new one.
            let refused = connection.successor.take();
            if let Some(mut machine) = refused.and_then(|successor| successor.machine) {
                machine.give_up(&mut self.services.context(self.now));
            }
            return Some(Verdict::Accept);
        }
        let successor = connection.successor.take()?;
        self.forget(tuple);
        let machine = successor.machine?;
        let limits = self.services.config.limits;
        self.table.insert(*tuple, State::Passive(machine), &limits);
        None
    }

    /// A packet of a connection that we know.
    fn of_connection(
        &mut self,
        tuple: FourTuple,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let Some(connection) = self.table.get_mut(&tuple) else {
            return Verdict::Accept;
        };
        let mut cx = self.services.context(self.now);
        let moved = match &mut connection.state {
            State::Unwanted(..) if direction == Direction::Out => return Verdict::Accept,
            // The SYN was answered, or came at the same time as the peer's.
            State::Unwanted(..) => {
                self.forget(&tuple);
                return Verdict::Accept;
            }
            State::Active(machine) => machine.handle(&mut cx, direction, view, out),
            State::Passive(machine) => machine.handle(&mut cx, direction, view, out),
            State::Encrypted(_) => return self.of_flow(tuple, direction, view, out),
            State::Ended(ended) => {
                let verdict = match &mut ended.how {
                    How::Closed(tombstone) => judged(match direction {
                        Direction::Out => tombstone.outgoing(view, out),
                        Direction::In => tombstone.incoming(view, out),
                    }),
                    How::Reset => {
                        answer_with_resets(view, direction, tuple, cx.outbox, false);
                        Verdict::Drop
                    }
                };
                if direction == Direction::Out && view.seq_len() > 0 {
                    self.linger(&tuple);
                }
                return verdict;
            }
        };
        self.moved(tuple, moved, direction, view, out)
    }

    /// What a handshake made of a packet.
    fn moved(
        &mut self,
        tuple: FourTuple,
        moved: Move,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        match moved.next {
            Next::Stay => self.table.schedule(&tuple, &self.services.config.limits),
            Next::Agreeing => {
                self.agreeing(tuple);
                self.table.schedule(&tuple, &self.services.config.limits);
            }
            Next::Accepting(machine) => {
                let limits = &self.services.config.limits;
                self.table.change(&tuple, State::Passive(machine), limits);
            }
            Next::Plain => {
                self.stats.plain = self.stats.plain.saturating_add(1);
                self.forget(&tuple);
                self.ended_up_plain();
            }
            Next::Over => self.forget(&tuple),
            Next::Encrypted(established) => self.encrypted(&tuple, established),
            Next::EncryptedFromHere(established) => {
                self.encrypted(&tuple, established);
                return self.of_flow(tuple, direction, view, out);
            }
            Next::Failed(line) => {
                self.services.events.line(line);
                self.abort(&tuple);
            }
        }
        moved.verdict
    }

    /// A packet of an encrypted connection.
    fn of_flow(
        &mut self,
        tuple: FourTuple,
        direction: Direction,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let now = self.now;
        let Some(connection) = self.table.get_mut(&tuple) else {
            return Verdict::Drop;
        };
        let State::Encrypted(established) = &mut connection.state else {
            return Verdict::Drop;
        };
        established.seen = now;
        let step = match direction {
            // The local TCP has not taken the third segment yet, because too many wait to be accepted.
            Direction::Out if view.flags().handshake() == SYN_ACK => {
                return match view.ack() == established.peer_isn + 1 {
                    true => Verdict::Accept,
                    false => Verdict::Drop,
                };
            }
            Direction::Out => {
                self.services.outbox.owes_nothing(&tuple);
                established.flow.outgoing(now, view, out)
            }
            Direction::In => established.flow.incoming(now, view, out),
        };
        if established.unconfirmed.is_some() {
            established.confirm(&mut self.services.context(now), &tuple);
        }
        if let Step::Failed(failure) = step {
            self.services.events.line(match failure {
                Failure::Mac => Line::MacCheckFailed,
                Failure::Malformed => Line::Broken("malformed record"),
                Failure::Truncated => Line::Broken("connection closed inside a record"),
                Failure::UsedUp => Line::Broken("key used up"),
                Failure::Library => Line::Broken("cryptographic library failed"),
            });
            self.abort(&tuple);
            return Verdict::Drop;
        }
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(tuple);
        }
        match established.flow.closing() {
            Closing::Open | Closing::HalfClosed => {
                let wanted = connection.deadline(&self.services.config.limits);
                if connection.entered.is_none() || wanted < connection.entered {
                    self.table.schedule(&tuple, &self.services.config.limits);
                }
            }
            Closing::Closed | Closing::Reset => self.closed(&tuple),
        }
        judged(step)
    }
}

/// Whether a packet was changed on its way by accident. Not every network card finds that out, and the kernel
/// looks behind the queue, where it would see the checksum that we wrote. Without this a broken bit in a record
/// would pass for an attack, and end the connection.
fn is_damaged(direction: Direction, view: &View<'_>) -> bool {
    direction == Direction::In && !view.is_intact()
}

fn judged(step: Step) -> Verdict {
    match step {
        Step::Accept => Verdict::Accept,
        Step::Replace => Verdict::Replace,
        Step::Drop | Step::Failed(_) => Verdict::Drop,
    }
}
