//! From a queued packet to its verdict.

use std::time::Instant;

use kx_sys::nfqueue::{Decision, Packet, Verdict as QueueVerdict};
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::packet::{Checksum, Direction, Flags, Notes, Rewrite, View};
use tcpcrypt_proto::verdict::Verdict;

use crate::guard::{Outcome, Table};
use crate::log::{Log, NOISY};
use crate::options::Options;
use crate::self_tests::{Dropper, Point};

/// Mark of packets that we send to the wire ("tcp", 1). They come through the queue like those of
/// the host, and are known by it.
pub const MARK_OUTWARD: u32 = 0x7463_7001;
/// Mark of packets that we send to this host ("tcp", 2). They come through the queue twice: on their
/// way out to the loopback interface, and in again.
pub const MARK_INWARD: u32 = 0x7463_7002;

/// What is done with packets that are not our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// `-a`
    Accept,
    /// `-m`
    Modify,
    /// tcpcrypt
    Encrypt,
}

/// Numbers for the state dump.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counters {
    /// Packets that came.
    pub packets: u64,
    /// Of these, replaced.
    pub replaced: u64,
    /// Of these, dropped.
    pub dropped: u64,
    /// Of these, made by ourselves.
    pub own: u64,
}

/// How packets are judged.
#[derive(Debug)]
pub struct Divert {
    policy: Policy,
    repeat: Option<u32>,
    /// Added to it when the packet belongs to a connection that is plain for good.
    plain: u32,
    dropper: Option<Dropper>,
    /// What the guard has to know; without a guard there is none.
    pub table: Option<Table>,
    /// What happened so far.
    pub counters: Counters,
}

impl Divert {
    /// The decision by which a packet ends here.
    pub const DROP: Decision = Decision {
        verdict: QueueVerdict::Drop,
        mark: None,
        replace: false,
    };

    /// As the command line says. `dropper` only with `-t 2`.
    #[must_use]
    pub fn new(options: &Options, dropper: Option<Dropper>) -> Divert {
        Divert {
            // The original asks for -a first, too.
            policy: if options.accept {
                Policy::Accept
            } else if options.modify {
                Policy::Modify
            } else {
                Policy::Encrypt
            },
            repeat: options.repeat_mark(),
            plain: options.plain_mark().unwrap_or(0),
            dropper,
            table: None,
            counters: Counters::default(),
        }
    }

    /// Judges a packet. A replacement is appended to `out`.
    pub fn decide(
        &mut self,
        endpoint: &mut Endpoint,
        log: &Log,
        now: Instant,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Decision {
        self.counters.packets += 1;
        if let Some(decision) = self.own(packet) {
            self.counters.own += 1;
            return decision;
        }
        let direction = match packet.hook {
            hook if hook.is_inward() => Direction::In,
            hook if hook.is_outward() => Direction::Out,
            // Not to or from this host: nothing of ours.
            _ => return self.pass(packet, false, 0),
        };
        let start = out.len();
        let verdict = self.verdict(endpoint, log, now, direction, packet, out);
        if let (Some(table), Policy::Encrypt) = (&mut self.table, self.policy) {
            let before = packet.payload;
            let after = out.get(start..).unwrap_or_default();
            match verdict {
                Verdict::Accept => {
                    table.judged(now, direction, packet.interface, before, Outcome::Accepted)
                }
                Verdict::Replace => {
                    let outcome = Outcome::Replaced(after);
                    table.judged(now, direction, packet.interface, before, outcome);
                }
                Verdict::Drop => {}
            }
        }
        match verdict {
            Verdict::Accept if self.plain != 0 && is_under_way(packet.payload) => {
                self.pass(packet, false, self.plain)
            }
            Verdict::Accept => self.pass(packet, false, 0),
            Verdict::Replace => {
                self.counters.replaced += 1;
                self.pass(packet, true, 0)
            }
            Verdict::Drop => {
                out.truncate(start);
                self.counters.dropped += 1;
                Self::DROP
            }
        }
    }

    fn verdict(
        &mut self,
        endpoint: &mut Endpoint,
        log: &Log,
        now: Instant,
        direction: Direction,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Verdict {
        match self.policy {
            Policy::Accept => return Verdict::Accept,
            Policy::Modify => return modified(packet, out),
            Policy::Encrypt => {}
        }
        let inward = direction == Direction::In;
        if self.drops(Point::Before, inward) {
            return Verdict::Drop;
        }
        if log.shows(NOISY) {
            if let Ok(view) = View::parse(packet.payload) {
                log.say(NOISY, PacketLine(&view, direction));
            }
        }
        let notes = notes_of(packet);
        let verdict = endpoint.handle_noted_packet(now, direction, packet.payload, notes, out);
        if self.drops(Point::After, inward) {
            return Verdict::Drop;
        }
        verdict
    }

    fn drops(&mut self, point: Point, inward: bool) -> bool {
        match &mut self.dropper {
            Some(dropper) => dropper.drops(point, inward),
            None => false,
        }
    }

    /// Packets of ours go on; where their way ends, the mark is taken off.
    fn own(&self, packet: &Packet<'_>) -> Option<Decision> {
        match packet.mark {
            MARK_INWARD if packet.hook.is_outward() => Some(Decision {
                verdict: QueueVerdict::Accept,
                mark: None,
                replace: false,
            }),
            MARK_INWARD | MARK_OUTWARD => Some(match self.repeat {
                Some(mark) => repeat(mark, false),
                None => Decision {
                    verdict: QueueVerdict::Accept,
                    mark: Some(0),
                    replace: false,
                },
            }),
            _ => None,
        }
    }

    /// The decision that lets a packet go on, our own ones included.
    #[must_use]
    pub fn let_pass(&self, packet: &Packet<'_>) -> Decision {
        self.own(packet)
            .unwrap_or_else(|| self.pass(packet, false, 0))
    }

    fn pass(&self, packet: &Packet<'_>, replace: bool, more: u32) -> Decision {
        match self.repeat {
            // Other bits of the mark belong to somebody else. A packet that comes although it has
            // the mark would come for ever: the rules do not look at it.
            Some(mark) if packet.mark & mark != mark => repeat(packet.mark | mark | more, replace),
            _ => Decision {
                verdict: QueueVerdict::Accept,
                mark: None,
                replace,
            },
        }
    }
}

/// True for segments after the first two of a connection. What the protocol leaves unchanged among
/// these belongs to a connection that it leaves alone: once it encrypts, or tries to, it changes every
/// segment that goes on, but for resets.
fn is_under_way(packet: &[u8]) -> bool {
    View::parse(packet).is_ok_and(|view| {
        let flags = view.flags();
        flags.has(Flags::ACK) && !flags.has(Flags::SYN) && !flags.has(Flags::RST)
    })
}

fn repeat(mark: u32, replace: bool) -> Decision {
    Decision {
        verdict: QueueVerdict::Repeat,
        mark: Some(mark),
        replace,
    }
}

/// What the kernel says of a packet.
fn notes_of(packet: &Packet<'_>) -> Notes {
    Notes {
        checksum: match (packet.partial_checksum, packet.unverified_checksum) {
            (true, _) => Checksum::Missing,
            (false, true) => Checksum::Unverified,
            (false, false) => Checksum::Verified,
        },
        is_super: packet.super_packet,
        is_truncated: packet.whole_length.is_some(),
        interface: packet.interface,
    }
}

/// The packet in its own place (`-m`). A checksum that is not there is made: the kernel takes what replaces a
/// packet for complete.
fn modified(packet: &Packet<'_>, out: &mut Vec<u8>) -> Verdict {
    if packet.whole_length.is_some() {
        return Verdict::Accept;
    }
    if !packet.partial_checksum {
        out.extend_from_slice(without_padding(packet.payload));
        return Verdict::Replace;
    }
    match View::parse(packet.payload) {
        Ok(view) if Rewrite::of(&view).write(&[view.payload()], out) => Verdict::Replace,
        _ => Verdict::Accept,
    }
}

/// An IP packet as long as it says, without what a link layer appended.
fn without_padding(packet: &[u8]) -> &[u8] {
    let field = |at: usize| {
        let stated = packet.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*stated)))
    };
    let (length, shortest) = match packet.first().map_or(0, |first| first >> 4) {
        4 => (field(2), 20),
        // 0 is the length of those that say it elsewhere.
        6 => (
            field(4).filter(|&n| n > 0).map(|n| n.saturating_add(40)),
            40,
        ),
        _ => (None, 0),
    };
    length
        .and_then(|length| packet.get(..length))
        .filter(|packet| packet.len() >= shortest)
        .unwrap_or(packet)
}

/// A packet as `-vvv` shows it: ends, length, flags, direction.
struct PacketLine<'a>(&'a View<'a>, Direction);

impl std::fmt::Display for PacketLine<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let PacketLine(view, direction) = *self;
        let ends = view.tuple(direction);
        let (from, to, way) = match direction {
            Direction::In => (ends.remote, ends.local, "in"),
            Direction::Out => (ends.local, ends.remote, "out"),
        };
        write!(formatter, "{from}->{to} {} ", view.total_length())?;
        let letters = [
            (Flags::SYN, "S"),
            (Flags::ACK, "A"),
            (Flags::RST, "R"),
            (Flags::FIN, "F"),
        ];
        for (flag, letter) in letters {
            if view.flags().has(flag) {
                formatter.write_str(letter)?;
            }
        }
        write!(formatter, " [{way}]")
    }
}
