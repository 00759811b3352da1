//! Finding out that packets of encrypted connections do not come to the queue any more, because somebody
//! took the rules away: from then on the kernel's segments leave in the clear.
//!
//! What the rules look like does not matter, nor who made them and with which program: a probe is sent, a
//! segment of an encrypted connection as this host's TCP would send it, and has to come through the queue.
//! The kernel puts it there while it is being sent, so that an empty queue without it is an answer; nothing
//! is guessed from time. Rules of others that come and go change nothing. Probes are dropped where they
//! come; one that escapes, because the rules are gone, has a wrong checksum and no data, and no host
//! looks at it.
//!
//! This is done each [`PERIOD`] while there are encrypted connections, and at once when nftables says that
//! its rules changed.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kx_sys::rule_changes::RuleChanges;
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Fresh, Seq, View};

/// How long plain text may leave before it is noticed, where the kernel does not tell of changes.
pub const PERIOD: Duration = Duration::from_millis(100);
/// Connections looked at each time, in turn.
pub const IN_TURN: usize = 4;
/// Connections looked at when rules changed, and together when probes are missing.
pub const AT_ONCE: usize = 64;
/// Connections that are proven as soon as they are encrypted; when there are more, in turn.
const EAGER: usize = 16;
/// Least time between two looks that no change of the rules asks for. Connections that come and go within
/// less would be given a probe each, at a fifth of what they cost otherwise.
const SPACING: Duration = Duration::from_millis(3);
/// So often a probe of a connection has to be missing in a row.
pub const CONFIRMATIONS: usize = 3;

/// What was sent and has not come yet.
#[derive(Debug)]
pub struct RuleWatch {
    /// Where nftables tells of changes; `None` where it does not.
    pub changes: Option<RuleChanges>,
    nonce: Seq,
    other_nonce: Seq,
    waiting: HashSet<FourTuple>,
    last: Option<FourTuple>,
    next: Option<Instant>,
    /// Until then there was just a look.
    spaced: Option<Instant>,
    /// Connections of which a probe has come once. Of others it says nothing by itself that none comes:
    /// somebody's rules may let packets of root pass, or these connections take another way by a route of
    /// their own.
    proven: HashSet<FourTuple>,
}

impl RuleWatch {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(changes: Option<RuleChanges>) -> RuleWatch {
        // Whoever knows these could have real segments taken for probes.
        let random = || RandomState::new().build_hasher().finish().to_ne_bytes();
        let [a, b, c, d, ..] = random();
        let [e, f, g, h, ..] = random();
        RuleWatch {
            changes,
            nonce: Seq(u32::from_ne_bytes([a, b, c, d])),
            other_nonce: Seq(u32::from_ne_bytes([e, f, g, h])),
            waiting: HashSet::new(),
            last: None,
            next: None,
            spaced: None,
            proven: HashSet::new(),
        }
    }

    /// When to look again; `encrypted` is the number of connections, and `fresh` whether some of them became so
    /// since the last look.
    pub fn deadline(&mut self, now: Instant, encrypted: usize, fresh: bool) -> Option<Instant> {
        if encrypted == 0 {
            self.next = None;
        } else if self.next.is_none() {
            // The first one: its packets came just now, so the probe will.
            self.next = Some(self.spaced.map_or(now, |until| until.max(now)));
        }
        if encrypted > 0 && fresh && self.proven.len() < EAGER {
            return self.next.min(self.spaced.or(self.next));
        }
        self.next
    }

    /// True if it is time to look; the next time is later.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = now.checked_add(PERIOD);
        }
        due
    }

    /// The connection that was looked at last, behind which it goes on.
    #[must_use]
    pub fn last(&self) -> Option<FourTuple> {
        self.last
    }

    /// Remembers it.
    pub fn go_on_behind(&mut self, last: Option<FourTuple>) {
        self.last = last.or(self.last);
    }

    /// A new round: what came late of the one before does not matter any more.
    pub fn begin(&mut self, now: Instant) {
        self.waiting.clear();
        self.spaced = now.checked_add(SPACING);
    }

    /// Makes the probe of a connection in place of what `packet` holds; false if there is none.
    pub fn probe(&mut self, ends: FourTuple, packet: &mut Vec<u8>) -> bool {
        packet.clear();
        let probe = Fresh {
            seq: self.nonce,
            ack: self.other_nonce,
            ..Fresh::new(ends, Direction::Out)
        };
        if !probe.write(&[], packet) {
            return false;
        }
        // The checksum stands four octets in front of the end of a segment without data and options.
        let at = packet.len().saturating_sub(4);
        if let Some(octet) = packet.get_mut(at) {
            *octet ^= 0x5a;
        }
        true
    }

    /// The probe of a connection was sent.
    pub fn sent(&mut self, ends: FourTuple) {
        self.waiting.insert(ends);
    }

    /// True for a probe among the packets that leave this host. It has done its work.
    pub fn came(&mut self, interface: u32, packet: &[u8]) -> bool {
        // Most packets are not that short.
        let is_bare = matches!(packet.len(), 40 | 60);
        let Some(view) = is_bare.then(|| View::parse(packet).ok()).flatten() else {
            return false;
        };
        let is_probe = view.seq() == self.nonce
            && view.ack() == self.other_nonce
            && view.flags() == Flags::ACK
            && view.payload().is_empty();
        if is_probe {
            let ends = view.tuple(Direction::Out).on_interface(interface);
            if self.waiting.remove(&ends) {
                self.proven.insert(ends);
            }
        }
        is_probe
    }

    /// True while probes have not come.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Connections whose probes have not come although they would have to: those that are proven, and with
    /// them the others of the same family.
    #[must_use]
    pub fn missing(&self) -> Vec<FourTuple> {
        let mut gone = [false; 2];
        for ends in self.waiting.intersection(&self.proven) {
            gone[family(ends)] = true;
        }
        let telling = |ends: &&FourTuple| gone[family(ends)];
        self.waiting.iter().filter(telling).copied().collect()
    }

    /// True while connections that just became encrypted are to be proven at once: nothing would be known
    /// without them.
    #[must_use]
    pub fn is_eager(&self, now: Instant) -> bool {
        self.proven.len() < EAGER && self.spaced.is_none_or(|until| until <= now)
    }

    /// Forgets connections that are no more, when they have become many.
    pub fn forget(&mut self, encrypted: usize, is_encrypted: impl Fn(&FourTuple) -> bool) {
        if self.proven.len() > encrypted.saturating_mul(2).saturating_add(EAGER) {
            self.proven.retain(is_encrypted);
        }
    }
}

fn family(ends: &FourTuple) -> usize {
    usize::from(matches!(ends.local, SocketAddr::V6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: [&str; 2]) -> FourTuple {
        let [local, remote] = text.map(|text| text.parse().expect("an address"));
        FourTuple { local, remote }
    }

    #[test]
    fn a_probe_is_known_and_nobody_else_takes_it() {
        let four = ends(["10.0.0.1:80", "10.0.0.2:4000"]);
        let six = ends(["[fd00::1]:80", "[fd00::2]:4000"]);
        let mut watch = RuleWatch::new(None);
        let mut packet = Vec::new();
        for ends in [four, six] {
            assert!(watch.probe(ends, &mut packet));
            let view = View::parse(&packet).expect("a segment");
            assert!(!view.is_intact(), "its checksum is wrong");
            watch.sent(ends);
            // Until one has come of this connection, it says nothing that none comes.
            assert!(watch.missing().is_empty() && watch.is_waiting());
            let interface = 7;
            assert!(watch.came(interface, &packet));
            assert!(!watch.is_waiting());
            watch.sent(ends);
            assert_eq!(watch.missing(), [ends]);
            watch.begin(Instant::now());
            assert!(!watch.is_waiting());
        }
        // Everything else is no probe: other numbers, flags, data, noise.
        assert!(!RuleWatch::new(None).came(0, &packet));
        for at in [0, 6, 40 + 4, 40 + 8, 40 + 13] {
            let mut other = packet.clone();
            other[at] ^= 0x11;
            assert!(!watch.came(0, &other), "octet {at}");
        }
        for length in 0..packet.len() {
            assert!(!watch.came(0, &packet[..length]));
        }
    }

    #[test]
    fn what_was_never_seen_goes_with_its_family() {
        let [a, b, c] = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"];
        let [a, b, c] = [a, b, c].map(|remote| ends(["10.0.0.1:80", remote]));
        let six = ends(["[fd00::1]:80", "[fd00::2]:4000"]);
        let mut watch = RuleWatch::new(None);
        let mut packet = Vec::new();
        for ends in [a, b] {
            watch.sent(ends);
            assert!(watch.probe(ends, &mut packet) && watch.came(0, &packet));
        }
        // Probes of one have never come, but others do.
        watch.begin(Instant::now());
        watch.sent(c);
        assert!(watch.missing().is_empty());
        // Now those of another do not, which came before.
        watch.sent(a);
        watch.sent(six);
        let mut missing = watch.missing();
        missing.sort();
        assert_eq!(missing, [a, c]);
        // A connection that is no more takes no memory for ever.
        watch.forget(0, |_| false);
        assert_eq!(watch.proven.len(), 2);
        for port in 1..=60 {
            let ends = ends(["10.0.0.1:80", &format!("10.0.0.3:{port}")]);
            watch.sent(ends);
            assert!(watch.probe(ends, &mut packet) && watch.came(0, &packet));
        }
        assert!(!watch.is_eager(Instant::now()));
        watch.forget(1, |ends| *ends == b);
        assert_eq!(watch.proven.len(), 1);
    }

    #[test]
    fn the_time_to_look() {
        let mut watch = RuleWatch::new(None);
        let now = Instant::now();
        assert_eq!(watch.deadline(now, 0, false), None);
        assert!(!watch.is_due(now));
        assert_eq!(watch.deadline(now, 1, false), Some(now));
        assert!(watch.is_due(now));
        assert!(!watch.is_due(now));
        assert_eq!(watch.deadline(now, 1, false), Some(now + PERIOD));
        assert!(watch.is_due(now + PERIOD));
        assert_eq!(watch.deadline(now, 0, false), None);
        assert!(!watch.is_due(now + 9 * PERIOD));
    }

    #[test]
    fn connections_that_come_and_go_get_no_look_each() {
        let mut watch = RuleWatch::new(None);
        let now = Instant::now();
        assert!(watch.is_eager(now));
        watch.begin(now);
        assert!(!watch.is_eager(now));
        assert!(watch.is_eager(now + SPACING));
        assert_eq!(watch.deadline(now, 1, false), Some(now + SPACING));
        assert!(watch.is_due(now + SPACING));
        // One that stays has its look after that time, not only when it is its turn.
        assert_eq!(watch.deadline(now, 1, false), Some(now + SPACING + PERIOD));
        assert_eq!(watch.deadline(now, 1, true), Some(now + SPACING));
        assert_eq!(watch.deadline(now, 0, false), None);
        let later = now + 2 * SPACING;
        assert_eq!(watch.deadline(later, 1, false), Some(later));
    }
}
