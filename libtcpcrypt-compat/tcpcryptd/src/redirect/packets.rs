//! Packets of the queue: whose they are, and what becomes of them.

use std::net::IpAddr;
use std::time::Instant;

use kx_sys::conntrack_lookup::Ends;
use kx_sys::nfqueue::{Decision, Hook, Packet, Verdict, Verdicts};
use tcpcrypt_proto::eno::{EnoOption, Kind};
use tcpcrypt_proto::packet::options;
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, OptionBuf, Rewrite, View};
use tcpcrypt_proto::stream::{Server, Settled};

use crate::divert::{MARK_INWARD, MARK_OUTWARD};

use super::connection::{Answer, Held, Redirected, Sign};
use super::quirk;
use super::table::{Key, SeenSyn};
use super::{HELD, MARK_REDIRECT, PORT, Proxy, SMALLEST_MSS};

const SYN: Flags = Flags::SYN;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const RST: Flags = Flags::RST;

/// Octets that the option behind a SYN takes, with padding.
const SHORT_OPTION: u16 = 4;

/// What becomes of a packet.
enum Judged {
    Accept,
    /// Accepted with this bit in its mark.
    Mark(u32),
    /// What was written into the buffer goes on in its place.
    Replace,
    Drop,
    /// It waits; its verdict comes later.
    Hold,
}

impl Proxy {
    /// A packet of the queue gets its verdict, now or later.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        verdicts: &mut Verdicts,
    ) {
        self.counters.packets += 1;
        let mut out = std::mem::take(&mut self.packet);
        out.clear();
        let judged = self.judge(now, packet, &mut out, verdicts);
        let (verdict, mark, replace) = match judged {
            Judged::Accept => (Verdict::Accept, None, false),
            Judged::Mark(bit) => (Verdict::Accept, Some(packet.mark | bit), false),
            Judged::Replace => (Verdict::Accept, None, true),
            Judged::Drop => (Verdict::Drop, None, false),
            Judged::Hold => {
                self.packet = out;
                return;
            }
        };
        self.counters.dropped += u64::from(verdict == Verdict::Drop);
        self.counters.replaced += u64::from(replace);
        verdicts.decide(packet.id, |buffer| {
            if replace {
                buffer.extend_from_slice(&out);
            }
            Decision {
                verdict,
                mark,
                replace,
            }
        });
        self.packet = out;
    }

    fn judge(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        verdicts: &mut Verdicts,
    ) -> Judged {
        if matches!(packet.mark, MARK_INWARD | MARK_OUTWARD) {
            return Judged::Accept;
        }
        let Ok(view) = View::parse(packet.payload) else {
            return Judged::Accept;
        };
        let direction = match packet.hook {
            hook if hook.is_inward() => Direction::In,
            hook if hook.is_outward() => Direction::Out,
            _ => return Judged::Accept,
        };
        if direction == Direction::In && !packet.partial_checksum && !view.is_intact() {
            return Judged::Drop;
        }
        let tuple = view.tuple(direction);
        match (view.flags().handshake(), direction) {
            (SYN, Direction::Out) => self.outgoing_syn(now, tuple, &view, out),
            (SYN, Direction::In) => self.incoming_syn(now, packet.hook, tuple, &view),
            (SYN_ACK, Direction::Out) => {
                self.outgoing_syn_ack(now, tuple, &view, packet, out, verdicts)
            }
            (SYN_ACK, Direction::In) => self.incoming_syn_ack(now, tuple, &view, out),
            (RST, Direction::Out) if tuple.local.port() == PORT => self.stray_reset(&tuple),
            _ => self.segment(direction, tuple, &view, out),
        }
    }

    /// A SYN of ours gets the offer; one of an application is redirected or not.
    fn outgoing_syn(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Judged {
        let Some(key) = self.table.by_onward.get(&tuple).copied() else {
            let leave = tuple.remote.port() == PORT
                || is_link_local(tuple.remote.ip())
                || self.is_full()
                || !view.payload().is_empty()
                || has_eno(view)
                || self
                    .host
                    .leaves_alone(now, tuple.local.port(), &tuple.remote);
            if leave {
                return Judged::Accept;
            }
            let asked = SeenSyn {
                offer: None,
                asked: true,
                sack: options::sack_permitted(view.options()),
            };
            self.syns.note(now, tuple.local, view.seq(), asked);
            return Judged::Mark(MARK_REDIRECT);
        };
        self.ending.remove(&tuple);
        let Some(connection) = self.table.get(key) else {
            return Judged::Accept;
        };
        let (Some(client), Sign::Tos) = (&mut connection.client, connection.sign) else {
            return Judged::Accept;
        };
        connection.numbers.0 = view.seq() + 1;
        let room = room_in(view);
        let Some(offer) = client.offer(&mut self.host, now, room) else {
            if let Some(mut client) = connection.client.take() {
                client.give_up(&mut self.host, now);
            }
            connection.unmark();
            return Judged::Accept;
        };
        replaced(with_option(view, Some(&offer), out))
    }

    /// A SYN of a peer: before it is redirected (our rules), or redirected already (the original's).
    fn incoming_syn(
        &mut self,
        now: Instant,
        hook: Hook,
        tuple: FourTuple,
        view: &View<'_>,
    ) -> Judged {
        let from = tuple.remote;
        let is_before = hook == Hook::Prerouting;
        if !is_before && tuple.local.port() != PORT || from.ip().is_loopback() {
            return Judged::Accept;
        }
        let offer = eno(view);
        let is_wanted = has_room(view)
            && !is_link_local(from.ip())
            && offer.is_some_and(|it| Server::is_wanted(&self.host, tuple.local.port(), &it));
        // Anybody can send SYNs; those too many find the application as they would without us.
        if is_before && (!is_wanted || self.is_full() || self.has_too_many_begun()) {
            return Judged::Accept;
        }
        let sack = options::sack_permitted(view.options());
        let syn = SeenSyn {
            offer,
            asked: is_before,
            sack,
        };
        self.syns.note(now, from, view.seq(), syn);
        match is_before {
            true => Judged::Mark(MARK_REDIRECT),
            false => Judged::Accept,
        }
    }

    /// A SYN-ACK of our listener waits until the other half stands.
    fn outgoing_syn_ack(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        view: &View<'_>,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        verdicts: &mut Verdicts,
    ) -> Judged {
        let (here, opener) = (tuple.local, tuple.remote);
        if here.port() != PORT {
            return Judged::Accept;
        }
        let redirected = redirected(&tuple);
        if let Some(key) = self.table.by_redirected.get(&redirected).copied() {
            if let Some(judged) = self.repeated_syn_ack(now, key, view, out) {
                return judged;
            }
            // The opener began anew; the old one was not accepted and never will be.
            if let Some(mut old) = self.table.take(key) {
                self.drop_held(&mut old, verdicts);
                self.destroy(now, key, old, None);
            }
        }
        self.ending.remove(&tuple);
        let ends = Ends {
            source: here,
            destination: opener,
        };
        let original = match self.lookup.original_of_reply(ends) {
            Ok(Some(original)) if original.destination.port() != PORT => original,
            // Nobody redirected it.
            _ => {
                self.turn_away(tuple, view);
                return Judged::Drop;
            }
        };
        if self.is_full() || !here.ip().is_loopback() && self.has_too_many_begun() {
            self.turn_away(tuple, view);
            return Judged::Drop;
        }
        // What waits takes room in the queue from everybody's handshakes.
        let has_place = self.held < HELD;
        self.held += usize::from(has_place);
        let held = Held {
            id: has_place.then_some(packet.id),
            packet: packet.payload.to_vec(),
        };
        match self.begin(now, redirected, original, Some(view), held) {
            Ok(()) if has_place => Judged::Hold,
            Ok(()) => Judged::Drop,
            Err(_) => {
                self.held = self.held.saturating_sub(usize::from(has_place));
                self.turn_away(tuple, view);
                Judged::Drop
            }
        }
    }

    /// The same SYN-ACK again. `None` if it is another's.
    fn repeated_syn_ack(
        &mut self,
        now: Instant,
        key: Key,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Judged> {
        let connection = self.table.get(key)?;
        let first = View::parse(&connection.held.packet).ok()?;
        if (first.seq(), first.ack()) != (view.seq(), view.ack()) {
            return None;
        }
        if !connection.connected {
            return Some(Judged::Drop);
        }
        let room = room_in(view);
        let server = connection.server.as_mut();
        let answer = match server.map(|server| server.answer(&mut self.host, now, room)) {
            Some(None) => return Some(Judged::Drop),
            Some(answer) => answer,
            None => None,
        };
        if eno(view) == answer {
            return Some(Judged::Accept);
        }
        Some(replaced(with_option(view, answer.as_ref(), out)))
    }

    /// Tells an opener that there is nobody, and our listener that it is gone.
    pub(super) fn turn_away(&mut self, tuple: FourTuple, view: &View<'_>) {
        self.counters.refused += 1;
        let mut packet = Vec::new();
        for (direction, seq, ack) in [
            (Direction::Out, view.end(), view.ack()),
            (Direction::In, view.ack(), view.end()),
        ] {
            let mut fresh = Fresh::new(tuple, direction);
            fresh.flags = Flags::RST | Flags::ACK;
            (fresh.seq, fresh.ack) = (seq, ack);
            packet.clear();
            if fresh.write(&[], &mut packet) {
                self.injector.send(direction, 0, &packet);
            }
        }
    }

    /// The answer to a SYN of ours.
    fn incoming_syn_ack(
        &mut self,
        now: Instant,
        tuple: FourTuple,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Judged {
        let Some(key) = self.table.by_onward.get(&tuple).copied() else {
            return Judged::Accept;
        };
        let Some(connection) = self.table.get(key) else {
            return Judged::Accept;
        };
        if connection.sign != Sign::Tos
            || connection.connected
            || view.ack() != connection.numbers.0
        {
            return Judged::Accept;
        }
        let seen = Answer {
            option: eno(view).filter(|_| has_room(view)),
            end: view.end(),
            sack: options::sack_permitted(view.options()),
        };
        connection.answered(&mut self.host, now, seen);
        match (connection.agreed, connection.following) {
            // The first segments that it sends are as long as the peer takes them, and are to have room for the option.
            (Settled::Resumed, Some(_)) => {
                let mut rewrite = Rewrite::of(view);
                rewrite
                    .options
                    .lower_mss(SHORT_OPTION, SMALLEST_MSS - SHORT_OPTION, u16::MAX);
                replaced(rewrite.write(&[], out))
            }
            _ => Judged::Accept,
        }
    }

    /// Any other segment.
    fn segment(
        &mut self,
        direction: Direction,
        tuple: FourTuple,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Judged {
        let key = self.table.by_onward.get(&tuple).copied();
        let key = key.or_else(|| self.redirected_key(&tuple));
        let mut quirk = self.ending.get(&tuple).copied();
        let mut share = None;
        if let Some(connection) = key.and_then(|key| self.table.get(key)) {
            if direction == Direction::Out && connection.sign == Sign::Tos {
                if let Some(option) = connection.option_of(view) {
                    return with_eno(connection.agreed, view, &option, out);
                }
            }
            if direction == Direction::In && view.flags().has(Flags::FIN) {
                connection.fin_comes(view.end());
            }
            quirk = connection.quirk.or(quirk);
            share = connection.window_share();
        }
        let mut aside = Vec::new();
        let changed = quirk::judge(quirk.as_ref(), share, direction, view, out, &mut aside);
        if !aside.is_empty() {
            self.injector.send(Direction::Out, 0, &aside);
        }
        match changed {
            true => Judged::Replace,
            false => Judged::Accept,
        }
    }

    /// The kernel says that it has no socket for what an opener sent. While the acknowledgement of a SYN-ACK becomes a
    /// socket on one processor, another that has the data behind it finds neither, for a moment (seen with Linux 6.18).
    /// Here that is no rarity: the SYN-ACK comes from our thread, the data from the application's. They come again.
    fn stray_reset(&self, tuple: &FourTuple) -> Judged {
        let redirected = redirected(tuple);
        let waits = self.table.by_redirected.contains_key(&redirected);
        match waits || self.redirected_key(tuple).is_some() {
            true => Judged::Drop,
            false => Judged::Accept,
        }
    }

    fn redirected_key(&self, tuple: &FourTuple) -> Option<Key> {
        self.table.by_accepted.get(&redirected(tuple)).copied()
    }
}

/// The half that an opener made, by the addresses of our packets.
fn redirected(tuple: &FourTuple) -> Redirected {
    Redirected {
        here: tuple.local,
        opener: tuple.remote,
    }
}

fn replaced(written: bool) -> Judged {
    match written {
        true => Judged::Replace,
        false => Judged::Drop,
    }
}

/// Our segments show by the short option that we have seen the peer's choice. Where keys are to be exchanged one
/// without data stays here: the one that matters has INIT1.
fn with_eno(agreed: Settled, view: &View<'_>, option: &EnoOption, out: &mut Vec<u8>) -> Judged {
    match agreed == Settled::Exchange && view.payload().is_empty() {
        true => Judged::Drop,
        false => replaced(with_option(view, Some(option), out)),
    }
}

/// The same segment with this ENO option, or none, in place of what the program wrote; says whether there was room.
pub(super) fn with_option(view: &View<'_>, option: Option<&EnoOption>, out: &mut Vec<u8>) -> bool {
    let mut rewrite = Rewrite::of(view);
    rewrite.options = without_eno(view);
    option.is_none_or(|option| rewrite.options.append(option.as_bytes()))
        && rewrite.write(&[view.payload()], out)
}

/// Octets that an ENO option may have.
pub(super) fn room_in(view: &View<'_>) -> usize {
    OptionBuf::room_in(without_eno(view).as_slice())
}

fn without_eno(view: &View<'_>) -> OptionBuf {
    let mut options = OptionBuf::from_header(view.options());
    match eno(view).map(|option| option.kind()) {
        Some(Kind::Experimental) => options.remove(tcpcrypt_proto::eno::KIND),
        Some(Kind::Standard) => options.remove(tcpcrypt_proto::eno::RFC_KIND),
        None => {}
    }
    options
}

/// The ENO option of a segment. Two of them, or one that cannot be read, are none.
pub(super) fn eno(view: &View<'_>) -> Option<EnoOption> {
    EnoOption::find_any(view.options()).ok().flatten()
}

/// Whether a SYN negotiates by itself. That is somebody else's business.
fn has_eno(view: &View<'_>) -> bool {
    EnoOption::find_any(view.options()) != Ok(None)
        || options::find(view.options(), tcpcrypt_proto::eno::RFC_KIND).is_some()
}

/// Such an address means nothing without its interface, which nobody has who is not on it.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn has_room(view: &View<'_>) -> bool {
    options::mss(view.options()).is_none_or(|mss| mss >= SMALLEST_MSS)
}
