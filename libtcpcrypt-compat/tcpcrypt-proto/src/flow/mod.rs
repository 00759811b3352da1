//! The data phase of one connection: half a TCP between the local TCP, which sends and awaits plaintext, and
//! the wire, which carries records (tcpcrypt-datapath 2.8, tcpcrypt spec 4.5 and 5.1).
//!
//! Packets go through one by one and are replaced by what they are on the other side: other data, other
//! numbers. Where one packet becomes several, or one is needed that nobody sent, it comes from
//! [`Flow::poll_transmit`].

mod acks;
mod byte_store;
mod closing;
mod emit;
mod frames;
mod gap;
mod inbound;
mod incoming;
mod line;
mod outbound;
mod outgoing;
mod path;
mod record_map;
mod runs;
mod sack;
mod stamps;
mod super_packet;
mod timers;
mod tombstone;
mod window;

use std::collections::VecDeque;
use std::time::Instant;

use crate::eno::EnoOption;
use crate::framing::RecordError;
use crate::packet::{Direction, Flags, FourTuple, Seq, View, options};
use crate::records::{Dialect, Opener, Sealer};

use closing::Peer;
use emit::Resend;
use frames::Frames;
use gap::Gap;
use inbound::Inbound;
use outbound::Outbound;
use path::Path;
use stamps::Stamps;
use super_packet::SegmentSize;
use timers::Timers;

pub use tombstone::Tombstone;

/// The next sequence number of each numbering at the moment encryption starts. "out" is what the local TCP
/// sends, "in" what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Of the local TCP's own next octet.
    pub out_plain: Seq,
    /// The same octet's on the wire: offset 0 of the records we send.
    pub out_wire: Seq,
    /// Of the next octet that the local TCP awaits.
    pub in_plain: Seq,
    /// The same octet's on the wire: offset 0 of the records we receive.
    pub in_wire: Seq,
}

/// What the handshake settled, beside the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOptions {
    /// Both ends.
    pub tuple: FourTuple,
    /// Both SYNs permitted SACK, as they were on the wire. It also says that the peer is not the original in
    /// divert mode, which takes the permission out (spec 5.1).
    pub sack: bool,
    /// Both SYNs had timestamps.
    pub timestamps: bool,
    /// Octets of the longest IP packet on the path.
    pub mtu: u16,
    /// The longest segment of the local TCP, its TCP options counted in: the smaller one of the MSS that it
    /// announced and that it was shown. Into such segments the kernel cuts its super-packets.
    pub segment: Option<u16>,
    /// The window scale that the local TCP announced, if both did (RFC 7323). Without it the bound on what is
    /// held for the peer is a constant.
    pub local_window_scale: Option<u8>,
    /// The window scale that the peer announced, if both did.
    pub remote_window_scale: Option<u8>,
}

impl FlowOptions {
    /// A connection without options, over Ethernet.
    #[must_use]
    pub fn new(tuple: FourTuple) -> Self {
        Self {
            tuple,
            sack: false,
            timestamps: false,
            mtu: 1500,
            segment: None,
            local_window_scale: None,
            remote_window_scale: None,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on as it is.
    Accept,
    /// The packet that was appended to `out` goes on in its place.
    Replace,
    /// It goes nowhere.
    Drop,
    /// The stream is broken. The packet goes nowhere, and the caller calls [`Flow::reset`].
    Failed(Failure),
}

/// Why a stream is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A record is not what the peer sealed. The text is the original's.
    #[error("MAC check failed")]
    Mac,
    /// What should be a record is none.
    #[error("malformed record")]
    Malformed,
    /// The peer's FIN stands inside a record.
    #[error("connection closed inside a record")]
    Truncated,
    /// The key has done as much as it may.
    #[error("key used up")]
    UsedUp,
    /// The cryptographic library failed.
    #[error("cryptographic library failed")]
    Library,
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Mac => Failure::Mac,
            RecordError::Malformed | RecordError::Finished => Failure::Malformed,
            RecordError::UsedUp | RecordError::Reused => Failure::UsedUp,
            RecordError::TooLong | RecordError::Library => Failure::Library,
        }
    }
}

/// How far a connection is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// No FIN in either direction.
    Open,
    /// A FIN was sent or received, and not all is acknowledged.
    HalfClosed,
    /// Both FINs are acknowledged: a [`Tombstone`] is enough from here on.
    Closed,
    /// A reset was sent or received: a [`Tombstone`] is enough from here on.
    Reset,
}

/// What was last passed on in one direction, for packets of our own.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    ack: Seq,
    window: u16,
    timestamps: Option<(u32, u32)>,
}

/// The data phase of one connection.
///
/// A flow that has nothing under way holds 34 kB of buffers at most, and 1.5 kB once it was silent for some seconds. What it holds at most is bounded by constants,
/// whatever the peer sends: about 16 MiB of records on their way out (only what the local TCP sent), and about
/// 6 MiB of octets received, with as much again for the borders of the shortest possible records.
pub struct Flow {
    out: Outbound,
    inbound: Inbound,
    options: FlowOptions,
    peer: Peer,
    /// As last seen on packets from the local TCP, with the ack as on the wire.
    latest_out: Latest,
    /// As last seen on packets from the wire, with the ack as the local TCP got it.
    latest_in: Latest,
    /// The highest acknowledgement from the wire, as a place.
    heard: i64,
    /// Records that wait for a packet of our own.
    resends: VecDeque<Resend>,
    /// The peer sent a FIN that was not yet acknowledged by its true number.
    fin_unanswered: bool,
    /// An acknowledgement of the peer's FIN by its true number is due.
    true_ack_due: bool,
    /// One octet is to be repeated to the local TCP, so that it acknowledges.
    nudge_due: bool,
    /// What goes with each segment until the peer has sent one behind its SYN. In a box, as no flow has it for long.
    announced: Option<Box<EnoOption>>,
    /// Resets to be sent, first onto the wire, then to the local TCP.
    resets_due: u8,
    reset: bool,
    segment_size: SegmentSize,
    path: Path,
    stamps: Stamps,
    gap: Option<Gap>,
    /// Plaintext, from one place to another, that the local TCP is given once more.
    repeating: Option<(i64, i64)>,
    timers: Timers,
    frames: Frames,
}

impl Flow {
    /// A flow at the moment encryption starts.
    #[must_use]
    pub fn new(
        numbers: Numbers,
        sealer: impl Into<Sealer>,
        opener: impl Into<Opener>,
        options: FlowOptions,
        now: Instant,
    ) -> Self {
        let sealer = sealer.into();
        // Nobody who speaks the standard numbers as the original in divert mode does.
        let ordinary = options.sack || sealer.dialect() == Dialect::Standard;
        Self {
            out: Outbound::new(&numbers, sealer, !ordinary),
            inbound: Inbound::new(&numbers, opener.into()),
            options,
            peer: if ordinary {
                Peer::Ordinary
            } else {
                Peer::Unknown
            },
            announced: None,
            latest_out: Latest {
                ack: numbers.in_wire,
                ..Latest::default()
            },
            latest_in: Latest {
                ack: numbers.out_plain,
                ..Latest::default()
            },
            heard: 0,
            resends: VecDeque::new(),
            fin_unanswered: false,
            true_ack_due: false,
            nudge_due: false,
            resets_due: 0,
            reset: false,
            segment_size: SegmentSize::new(options.segment),
            path: Path::new(&numbers, &options.tuple, options.mtu, ordinary),
            stamps: Stamps::default(),
            gap: None,
            repeating: None,
            timers: Timers::new(now),
            frames: Frames::default(),
        }
    }

    /// Has each segment for the wire carry the option until the peer has sent a segment behind its SYN (RFC 8547
    /// section 4.6).
    pub(crate) fn announce(&mut self, option: EnoOption) {
        self.announced = Some(Box::new(option));
    }

    /// Translates a packet of the local TCP. With [`Step::Replace`] the whole IP packet for the wire was
    /// appended to `out`; else `out` is as it was.
    pub fn outgoing(&mut self, now: Instant, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        self.timers.outgoing(now);
        let flags = packet.flags();
        // An answer to a SYN that was repeated. Ours to that one is a nudge (see `incoming`).
        if flags.has(Flags::SYN) {
            return Step::Drop;
        }
        if flags.has(Flags::RST) {
            return self.outgoing_reset(packet, out);
        }
        if !flags.has(Flags::ACK) {
            return Step::Drop;
        }
        self.latest_out.window = self.bounded(packet.window(), self.options.local_window_scale);
        self.latest_out.timestamps = self.timestamps_of(packet);
        if let Some(scale) = self.options.local_window_scale {
            self.inbound.window = Some(i64::from(packet.window()) << scale.min(14));
        }
        self.frames.spoke();
        if self.is_keep_alive(packet) {
            self.out.rekey();
        }
        let before = out.len();
        let step = self.outgoing_segment(packet, out);
        self.look_for_gap(now, packet);
        self.then_follow(now, before, step, out)
    }

    /// Makes the frames that are due behind a packet.
    fn then_follow(&mut self, now: Instant, before: usize, step: Step, out: &mut Vec<u8>) -> Step {
        if matches!(step, Step::Failed(_)) {
            return step;
        }
        if self.is_large() {
            self.timers.rest_later();
        }
        match self.follow_peer(now) {
            Ok(()) => step,
            Err(error) => {
                out.truncate(before);
                Step::Failed(error.into())
            }
        }
    }

    /// Translates a packet from the wire. With [`Step::Replace`] the whole IP packet for the local TCP was
    /// appended to `out`; else `out` is as it was.
    pub fn incoming(&mut self, now: Instant, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        self.timers.active(now);
        let flags = packet.flags();
        if flags.has(Flags::RST) {
            return self.incoming_reset(packet, out);
        }
        if flags.has(Flags::SYN) {
            // The peer has not seen the end of the handshake, or begins anew. Either way the local TCP shall
            // say where it stands.
            return self.replace_by_nudge(packet, self.latest_in.ack, out);
        }
        if !flags.has(Flags::ACK) {
            return Step::Drop;
        }
        self.announced = None;
        let before = out.len();
        let step = self.incoming_segment(packet, out);
        let step = self.then_follow(now, before, step, out);
        if self.inbound.is_incomplete() {
            self.timers.incomplete(now, self.inbound.received);
        }
        step
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // While there is another timer it is sooner.
        let given_up = || self.timers.given_up_at().filter(|_| self.out.is_awaited());
        let gap = self.gap.as_ref().and_then(Gap::due);
        let own = self.timers.next().into_iter().chain(gap).min();
        let own = own.or_else(given_up);
        own.into_iter().chain(self.frames.next()).min()
    }

    /// Whether the local TCP must have given up the connection: it has not repeated what the peer still has to
    /// acknowledge. The caller calls [`Flow::reset`], which is for the peer's sake; and should the local TCP
    /// be there all the same, it must not go on in the clear.
    #[must_use]
    pub fn is_given_up(&self, now: Instant) -> bool {
        self.out.is_awaited() && self.timers.given_up_at().is_some_and(|at| at <= now)
    }

    /// Does what is due at `now`. Early and late calls do no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let incomplete = self
            .inbound
            .is_incomplete()
            .then_some(self.inbound.received);
        if self.timers.incomplete_is_due(now, incomplete) {
            self.nudge_due = true;
        }
        self.fill_gap(now);
        if self.timers.rest_is_due(now) {
            self.out.rest();
            self.inbound.rest();
            self.resends = VecDeque::new();
        }
        self.repeat_frames(now);
    }

    /// How far the connection is on its way to the end.
    #[must_use]
    pub fn closing(&self) -> Closing {
        if self.reset {
            Closing::Reset
        } else if self.out.fin_acked && self.inbound.fin_len() > 0 {
            Closing::Closed
        } else if self.out.fin.is_some() || self.inbound.fin.is_some() || self.inbound.fin_delivered
        {
            Closing::HalfClosed
        } else {
            Closing::Open
        }
    }

    /// Whether a record of the peer was genuine: it has the keys (tcpcrypt spec 4.4).
    #[must_use]
    pub fn authenticated_once(&self) -> bool {
        self.inbound.authenticated
    }

    /// Octets of the longest IP packet on the path. No segment of the local TCP is longer, so what replaces a
    /// super-packet is two at least if it is.
    pub(crate) fn mtu(&self) -> u16 {
        self.path.mtu()
    }

    /// Whether there is more room than connections keep that have nothing under way.
    fn is_large(&self) -> bool {
        self.out.is_large() || self.inbound.is_large()
    }

    /// Octets of memory held beside the flow itself.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.out.footprint()
            + self.inbound.footprint()
            + self.resends.capacity() * size_of::<Resend>()
    }

    /// The sender makes its nonces as the peer was seen to make them (spec 4.5).
    fn follow_form(&mut self) {
        if let Some(form) = self.inbound.form() {
            self.out.set_form(form);
        }
    }

    fn timestamps_of(&self, packet: &View<'_>) -> Option<(u32, u32)> {
        if self.options.timestamps {
            options::timestamps(packet.options())
        } else {
            None
        }
    }

    fn latest(&self, direction: Direction) -> &Latest {
        match direction {
            Direction::Out => &self.latest_out,
            Direction::In => &self.latest_in,
        }
    }
}
