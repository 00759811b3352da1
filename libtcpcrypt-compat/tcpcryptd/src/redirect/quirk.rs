//! What the original's divert mode needs (tcpcrypt spec 5.1).
//!
//! Its kernel fills a window with plain text, and the records that come of it are longer. What goes beyond our kernel's
//! window is dropped there (Linux 6.17 and later; before, as a rule, it was taken), and what the original sends again
//! is not the same octets. So our segments say a smaller [window](Share).
//!
//! At the end of a connection it does not count a FIN: what it acknowledges of ours then, and what it takes for an acknowledgement of its
//! own, is lower by the overhead of all records, and so are its own numbers behind its FIN. The kernel's TCP knows nothing of that. So from the first FIN on
//! the segments of such a connection go through the queue, and are changed here: acknowledgements of the peer's
//! FIN are lowered, and one without data goes out as it should be, for a peer that counts right; what the peer
//! acknowledges too low is raised.
//!
//! Peers whose SYN permits selective acknowledgements are somebody else: the original takes that option out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, Rewrite, Seq, View};

use super::connection::{Connection, Way};

/// What is left for records that will be shorter than those so far: one part in so many.
const RESERVE: u64 = 8;
/// Connections in their end that are kept at most.
const CAPACITY: usize = 4096;
/// How long: as the kernel goes on repeating what is not acknowledged.
const LIFETIME: Duration = Duration::from_secs(130);

/// The numbers of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quirk {
    pub tuple: FourTuple,
    /// The number behind our FIN, and how much lower the original has it. Once we have sent it.
    pub ours: Option<(Seq, u32)>,
    /// The number behind the peer's FIN, once it was seen on its way in. Until the octets in front of it are read,
    /// and so their overhead is known, the FIN is not acknowledged.
    pub fin: Option<Seq>,
    /// The number behind the peer's FIN, and how much lower the original wants it. Once it has come.
    pub theirs: Option<(Seq, u32)>,
}

/// How much of a window the peer may fill with plain text, so that the records fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Octets of the wire so far.
    wire: u64,
    /// Plain text in them.
    plain: u64,
}

impl Share {
    fn lower(self, window: u16) -> u16 {
        let whole = u64::from(window).saturating_mul(self.plain.min(self.wire));
        let fitting = whole.checked_div(self.wire).unwrap_or(u64::from(window));
        let share = fitting.saturating_sub(fitting.div_ceil(RESERVE));
        u16::try_from(share).unwrap_or(window)
    }
}

impl Connection {
    /// What segments to the peer have to say of our kernel's window; `None`: what they say.
    pub(super) fn window_share(&self) -> Option<Share> {
        let (far, stream) = (self.far.as_ref()?, self.stream.as_ref()?);
        self.is_with_original().then(|| Share {
            wire: far.read,
            plain: far.read.saturating_sub(stream.overhead().1),
        })
    }

    /// A FIN came or is about to go.
    pub(super) fn quirk_of_end(&mut self) {
        if !self.is_with_original() {
            return;
        }
        let (Some(far), Some(stream)) = (&self.far, &self.stream) else {
            return;
        };
        // Sequence numbers count modulo 2^32.
        let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
        let (sent, received) = stream.overhead();
        let (ours, theirs) = self.numbers;
        let tuple = self.far_tuple();
        let quirk = self.quirk.get_or_insert(Quirk::new(tuple));
        if far.shut {
            quirk.ours = Some((ours + low(far.written) + 1, low(sent)));
        }
        if far.ended {
            quirk.theirs = Some((theirs + low(far.read) + 1, low(received)));
        }
        // Without it the rules do not bring the segments here, and all is as it would be otherwise.
        let _ = far
            .socket
            .set_mark(super::MARK_WATCHED | super::MARK_ENDING);
    }

    /// Encryption is on: the peer's FIN is to be seen before the kernel answers it, and our windows are to be lowered.
    pub(super) fn watch(&self) {
        if let (Some(far), true) = (&self.far, self.is_with_original()) {
            let _ = far.socket.set_mark(super::MARK_WATCHED);
        }
    }

    /// The peer's FIN comes in.
    pub(super) fn fin_comes(&mut self, end: Seq) {
        let (Some(far), true) = (&self.far, self.is_with_original()) else {
            return;
        };
        let marks = super::MARK_WATCHED | super::MARK_ENDING;
        if far.socket.set_mark(marks).is_ok() {
            let tuple = self.far_tuple();
            let quirk = self.quirk.get_or_insert(Quirk::new(tuple));
            quirk.fin = Some(end);
        }
    }

    /// The wire's half, as the packets show it here.
    fn far_tuple(&self) -> FourTuple {
        match self.way {
            Way::Out => self.onward,
            Way::In => FourTuple {
                local: self.redirected.here,
                remote: self.redirected.opener,
            },
        }
    }
}

impl Quirk {
    fn new(tuple: FourTuple) -> Quirk {
        Quirk {
            tuple,
            ours: None,
            fin: None,
            theirs: None,
        }
    }

    /// The numbers that a segment should have; `None` if it has them.
    fn change(
        &self,
        direction: Direction,
        seq: Seq,
        ack: Seq,
        is_empty: bool,
    ) -> Option<(Seq, Seq)> {
        let (mut new_seq, mut new_ack) = (seq, ack);
        match direction {
            Direction::Out => {
                if let Some((end, less)) = self.theirs.filter(|(end, _)| ack == *end) {
                    new_ack = end + less.wrapping_neg();
                } else if self.theirs.is_none() && self.fin == Some(ack) {
                    new_ack = ack + u32::MAX;
                }
            }
            Direction::In => {
                if let Some((end, less)) = self.ours {
                    if ack == end + less.wrapping_neg() {
                        new_ack = end;
                    }
                }
                // Behind its FIN it does not count its records in its own numbers, either.
                if let Some((end, less)) = self.theirs.filter(|_| is_empty) {
                    if seq == end + less.wrapping_neg() {
                        new_seq = end;
                    }
                }
            }
        }
        ((new_seq, new_ack) != (seq, ack)).then_some((new_seq, new_ack))
    }

    /// The numbers that `view` should have, if they are others.
    fn change_of(&self, direction: Direction, view: &View<'_>) -> Option<(Seq, Seq)> {
        let is_empty = view.seq_len() == 0;
        self.change(direction, view.seq(), view.ack(), is_empty)
    }

    /// Writes what acknowledges the peer's FIN as it should be, if `view` does that and is to be changed. With data it
    /// would come in front of them, and the original loses count.
    fn write_aside(&self, direction: Direction, view: &View<'_>, aside: &mut Vec<u8>) {
        let is_empty = view.seq_len() == 0 && !view.flags().has(Flags::RST);
        if direction == Direction::In || self.theirs.is_none() || !is_empty {
            return;
        }
        let mut fresh = Fresh::new(self.tuple, Direction::Out);
        fresh.seq = view.seq();
        fresh.ack = view.ack();
        fresh.window = view.window();
        let _ = fresh.write(&[], aside);
    }
}

/// Judges a segment behind the SYNs: true if `out` got the one that goes on in its place, and `aside` perhaps one more.
pub(super) fn judge(
    quirk: Option<&Quirk>,
    share: Option<Share>,
    direction: Direction,
    view: &View<'_>,
    out: &mut Vec<u8>,
    aside: &mut Vec<u8>,
) -> bool {
    let flags = view.flags();
    if !flags.has(Flags::ACK) || flags.has(Flags::SYN) {
        return false;
    }
    let window = match (share, direction) {
        (Some(share), Direction::Out) => share.lower(view.window()),
        _ => view.window(),
    };
    let numbers = quirk.and_then(|quirk| quirk.change_of(direction, view));
    if numbers.is_none() && window == view.window() {
        return false;
    }
    if let (Some(quirk), Some(_)) = (quirk, numbers) {
        quirk.write_aside(direction, view, aside);
    }
    let mut rewrite = Rewrite::of(view);
    (rewrite.seq, rewrite.ack) = numbers.unwrap_or((view.seq(), view.ack()));
    rewrite.window = window;
    rewrite.write(&[view.payload()], out)
}

/// Connections whose sockets are closed, and whose last segments still go to and fro.
#[derive(Debug, Default)]
pub(super) struct Ending {
    quirks: HashMap<FourTuple, (Quirk, Instant)>,
    order: VecDeque<(Instant, FourTuple)>,
}

impl Ending {
    pub(super) fn note(&mut self, now: Instant, quirk: Quirk) {
        self.expire(now);
        while self.order.len() >= CAPACITY {
            self.forget_oldest();
        }
        if self.quirks.insert(quirk.tuple, (quirk, now)).is_none() || self.order.is_empty() {
            self.order.push_back((now, quirk.tuple));
        }
    }

    pub(super) fn get(&self, tuple: &FourTuple) -> Option<&Quirk> {
        self.quirks.get(tuple).map(|(quirk, _)| quirk)
    }

    /// Another connection has these ends now.
    pub(super) fn remove(&mut self, tuple: &FourTuple) {
        self.quirks.remove(tuple);
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            if now.saturating_duration_since(*since) < LIFETIME {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, tuple)) = self.order.pop_front() {
            self.quirks.remove(&tuple);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quirk() -> Quirk {
        let end = |text: &str| text.parse().expect("address");
        Quirk {
            tuple: FourTuple {
                local: end("10.0.0.1:1"),
                remote: end("10.0.0.2:2"),
            },
            ours: Some((Seq(1000), 60)),
            fin: Some(Seq(30)),
            theirs: Some((Seq(30), 40)),
        }
    }

    #[test]
    fn acknowledgements_of_a_fin_are_translated() {
        let quirk = quirk();
        let change = |direction, ack| quirk.change(direction, Seq(7), Seq(ack), true);
        let to = |ack: u32| Some((Seq(7), Seq(ack)));
        assert_eq!(change(Direction::Out, 30), to(30u32.wrapping_sub(40)));
        assert_eq!(change(Direction::Out, 29), None);
        assert_eq!(change(Direction::In, 940), to(1000));
        assert_eq!(change(Direction::In, 1000), None);
        assert_eq!(change(Direction::In, 941), None);
        let low = Seq(30u32.wrapping_sub(40));
        let empty = |is| quirk.change(Direction::In, low, Seq(1), is);
        assert_eq!(empty(true), Some((Seq(30), Seq(1))));
        assert_eq!(empty(false), None);
        let early = Quirk {
            theirs: None,
            ..quirk
        };
        let not_yet = early.change(Direction::Out, Seq(7), Seq(30), true);
        assert_eq!(not_yet, Some((Seq(7), Seq(29))));
        let open = Quirk::new(quirk.tuple);
        assert_eq!(open.change(Direction::In, low, Seq(940), true), None);
        assert_eq!(open.change(Direction::Out, Seq(7), Seq(30), true), None);
    }

    #[test]
    fn records_fit_the_window_that_is_said() {
        // As many octets of plain text as the window says, in records as long as those so far.
        for (wire, plain) in [(1428, 1408), (25, 5), (1 << 40, 1 << 39), (0, 0), (7, 9)] {
            for window in [0, 1, 2, 78, 8191, u16::MAX] {
                let said = u64::from(Share { wire, plain }.lower(window));
                let filled = said * wire.max(1) / plain.clamp(1, wire.max(1));
                assert!(
                    filled <= u64::from(window),
                    "{wire}/{plain} of {window}: {said}"
                );
                assert!(said <= u64::from(window) * 7 / 8);
            }
        }
        let full = Share {
            wire: 1428,
            plain: 1408,
        };
        assert_eq!(full.lower(1000), 861);
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let mut ending = Ending::default();
        for number in 0..CAPACITY * 2 {
            let [.., a, b] = u32::try_from(number).expect("small").to_be_bytes();
            let mut quirk = quirk();
            quirk.tuple.local = std::net::SocketAddr::from(([10, 0, a, b], 1));
            ending.note(now, quirk);
            ending.note(now, quirk);
        }
        assert!(ending.quirks.len() <= CAPACITY && ending.order.len() <= CAPACITY);
        assert!(ending.get(&quirk().tuple).is_none());
    }
}
