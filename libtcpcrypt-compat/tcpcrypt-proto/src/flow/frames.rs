//! What only the standard has in the data phase (RFC 8548 sections 3.6 to 3.9): a frame that says where the stream ends,
//! and frames without data, for a new key. Those stand for nothing that the local TCP sent, so it repeats none of them;
//! that is done here.

use std::time::{Duration, Instant};

use crate::framing::{Flags as RecordFlags, RecordError};
use crate::packet::{Flags, View};
use crate::records::Dialect;

use super::Flow;
use super::emit::Resend;
use super::outbound::Outbound;

/// Frames without data that are made at once. The peer can ask for one by each frame of its own; what is left is
/// made with the next packets.
const MOST_AT_ONCE: usize = 4;

/// Frames without data, one behind the other, that may wait for an acknowledgement.
const MOST_AWAITED: usize = 16;

/// Time to the first repetition of such a frame.
const INTERVAL: Duration = Duration::from_millis(500);

/// Longest time between two repetitions.
const LONGEST: Duration = Duration::from_secs(60);

/// Repetitions. A peer that is there has acknowledged by then; one that is not shows when there are data again.
const REPETITIONS: u8 = 15;

/// A segment of a frame that is not whole is acknowledged if it is one of so many, as any TCP would.
const ACKNOWLEDGED: u8 = 2;

/// The clock of frames that the local TCP knows nothing of.
#[derive(Default)]
pub(super) struct Frames {
    /// The local TCP has sent a segment, so there is one to make others alike.
    spoken: bool,
    at: Option<Instant>,
    interval: Duration,
    repeated: u8,
    /// Segments since the last one that was acknowledged for the frame's sake.
    incomplete: u8,
}

impl Frames {
    /// The local TCP has sent a segment.
    pub(super) fn spoke(&mut self) {
        self.spoken = true;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.at
    }

    /// Starts when such a frame was made.
    fn start(&mut self, now: Instant) {
        self.interval = INTERVAL;
        self.repeated = 0;
        self.at = now.checked_add(INTERVAL);
    }
}

impl Flow {
    /// Goes to the key that the peer went to, and makes the frames that are due for it or for another reason.
    pub(super) fn follow_peer(&mut self, now: Instant) -> Result<(), RecordError> {
        self.out.follow(self.inbound.opener());
        for _ in 0..MOST_AT_ONCE {
            let waits = !self.frames.spoken || !self.out.is_record_due();
            if waits || self.out.empty_at_end(MOST_AWAITED) >= MOST_AWAITED {
                break;
            }
            let from = self.out.map.end().wire;
            self.out.seal_empty(RecordFlags::default())?;
            self.frames.start(now);
            self.resend(Resend {
                from,
                to: self.out.map.end().wire,
                flags: Flags::default(),
            });
        }
        Ok(())
    }

    /// Whether a segment of the local TCP only asks whether the peer is still there. A frame under a new key goes with
    /// it, which nobody else can answer (RFC 8548 section 3.9). At most one is on its way, none as long as the one before
    /// is not answered (3.8), and none where the peer has no room.
    pub(super) fn is_keep_alive(&self, packet: &View<'_>) -> bool {
        let map = &self.out.map;
        let asks = packet.payload().len() <= 1 && !packet.flags().has(Flags::FIN);
        asks && self.out.fin.is_none()
            && map.base() == map.end()
            && self.out.is_followed(self.inbound.opener())
            && self.latest_in.window > 0
            && packet.seq() == self.out.plain.seq(map.end().plain) - 1
    }

    /// Whether a segment that completed no frame is to be acknowledged at once. Without this the sender of a long
    /// frame would wait at the end of each of its windows.
    pub(super) fn acknowledges_incomplete(&mut self) -> bool {
        if self.inbound.opener().dialect() == Dialect::Legacy {
            return false;
        }
        self.frames.incomplete = (self.frames.incomplete + 1) % ACKNOWLEDGED;
        self.frames.incomplete == 0
    }

    /// Sends frames again that the local TCP knows nothing of, as long as nothing else is awaited: before that the
    /// local TCP repeats what is in front of them, and they go with it.
    pub(super) fn repeat_frames(&mut self, now: Instant) {
        if self.frames.at.is_none_or(|at| now < at) {
            return;
        }
        self.frames.at = None;
        let (base, end) = (self.out.map.base(), self.out.map.end());
        if base == end || self.frames.repeated >= REPETITIONS {
            return;
        }
        if base.plain == end.plain {
            self.frames.repeated += 1;
            self.frames.interval = self.frames.interval.saturating_mul(2).min(LONGEST);
            let fin = self.out.fin.is_some();
            self.resend(Resend {
                from: base.wire,
                to: end.wire,
                flags: if fin { Flags::FIN } else { Flags::default() },
            });
        }
        self.frames.at = now.checked_add(self.frames.interval);
    }
}

impl Outbound {
    /// Makes a frame without data behind all others.
    fn seal_empty(&mut self, flags: RecordFlags) -> Result<(), RecordError> {
        let offset = u64::try_from(self.map.end().wire).map_err(|_| RecordError::Reused)?;
        self.append_record(offset, flags, &[])?;
        self.map.push_kept(flags.overhead());
        Ok(())
    }

    /// The local TCP closes: the stream ends behind what was made so far, and the last frame must have said so.
    pub(super) fn finish(&mut self) -> Result<(), RecordError> {
        if self.may_end() {
            return Ok(());
        }
        self.seal_empty(RecordFlags {
            fin: true,
            urgent: None,
        })
    }

    /// How many frames without data there are behind the last with data, counted up to `most`, that are not
    /// acknowledged.
    fn empty_at_end(&self, most: usize) -> usize {
        self.map.empty_at_end(most)
    }
}
