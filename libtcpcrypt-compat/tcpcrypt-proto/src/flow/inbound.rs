//! What the peer sends: ciphertext in any cut and order, made into records, opened in order, and kept as
//! plaintext until the local TCP has acknowledged it.

use crate::framing::HEADER_LEN;
use crate::legacy::record::OffsetForm;
use crate::packet::Seq;
use crate::records::{Dialect, Opener};

use super::byte_store::{ByteStore, MAX_SLICES};
use super::line::Line;
use super::record_map::RecordMap;
use super::runs::Runs;
use super::{Failure, Numbers};

/// Octets of the wire that are taken beyond what was acknowledged on it: the largest window that Linux has by
/// default. It bounds all that a peer can make us hold; plaintext is never longer than its records.
pub(super) const MAX_UNACKED: i64 = 6 << 20;

/// What is taken beyond a small window: records are longer than what the window counts.
const WINDOW_SLACK: i64 = 128 << 10;

/// The direction from the wire to the local TCP.
pub(super) struct Inbound {
    pub(super) plain: Line,
    pub(super) wire: Line,
    opener: Opener,
    /// All before this place of the wire has come.
    pub(super) received: i64,
    /// The record that has begun and is not whole.
    partial: Vec<u8>,
    /// Opened records that the local TCP has not acknowledged.
    pub(super) map: RecordMap,
    /// Their plaintext.
    text: ByteStore,
    /// What came too early.
    pub(super) runs: Runs,
    /// All before this place of the plaintext was handed to the local TCP.
    pub(super) delivered: i64,
    /// All before this place of the plaintext was acknowledged by the local TCP.
    pub(super) acked: i64,
    /// The highest place that was acknowledged on the wire.
    pub(super) wire_acked: i64,
    /// The place of the peer's FIN on the wire.
    pub(super) fin: Option<i64>,
    /// The local TCP was told that the stream ends.
    pub(super) fin_delivered: bool,
    /// It has acknowledged that.
    pub(super) fin_acked: bool,
    /// The place in the plaintext that the latest urgent pointer points to.
    pub(super) urgent: Option<i64>,
    /// The FIN came when the local TCP had acknowledged the end already.
    pub(super) fin_was_late: bool,
    /// A record was genuine.
    pub(super) authenticated: bool,
    /// The window that the local TCP offers, in octets, if its scale is known.
    pub(super) window: Option<i64>,
}

/// What a segment brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Octets that continue the stream.
    Next,
    /// Octets for later, stored or left out.
    Early,
    /// Nothing that was not there.
    Old,
}

impl Inbound {
    pub(super) fn new(numbers: &Numbers, opener: Opener) -> Self {
        Self {
            plain: Line::new(numbers.in_plain),
            wire: Line::new(numbers.in_wire),
            opener,
            received: 0,
            partial: Vec::new(),
            map: RecordMap::new(),
            text: ByteStore::new(),
            runs: Runs::new(),
            delivered: 0,
            acked: 0,
            wire_acked: 0,
            fin: None,
            fin_delivered: false,
            fin_acked: false,
            fin_was_late: false,
            urgent: None,
            authenticated: false,
            window: None,
        }
    }

    /// Takes the payload of a segment, and its FIN.
    pub(super) fn take(&mut self, place: i64, payload: &[u8], fin: bool) -> Result<Taken, Failure> {
        let end = place.saturating_add_unsigned(payload.len() as u64);
        if end > self.wire_acked.saturating_add(self.limit()) {
            return Ok(Taken::Early);
        }
        if fin && self.fin.is_none() && end >= self.received {
            self.fin = Some(end);
        }
        let before = self.received;
        let (mut place, mut payload) = self.unknown_part(place, payload);
        let is_old = payload.is_empty();
        if place > self.received {
            let limit = usize::try_from(self.limit()).unwrap_or(usize::MAX);
            self.runs.insert(place, payload, limit);
            payload = &[];
        }
        // What continues the stream is taken however much waits behind it: nothing else makes room again.
        while !payload.is_empty() {
            let ahead = self.runs.start().unwrap_or(i64::MAX);
            let room = usize::try_from(ahead.saturating_sub(place)).unwrap_or(usize::MAX);
            let (next, rest) = payload.split_at(room.clamp(1, payload.len()));
            self.feed(next)?;
            self.feed_runs()?;
            let behind = place.saturating_add_unsigned(next.len() as u64);
            (place, payload) = self.unknown_part(behind, rest);
        }
        // In the standard the last frame says that it is (RFC 8548 section 3.7).
        let may_end = self.partial.is_empty() && self.opener.may_end();
        if self.fin_came() && !may_end {
            return Err(Failure::Truncated);
        }
        Ok(if self.received > before {
            Taken::Next
        } else if is_old {
            Taken::Old
        } else {
            Taken::Early
        })
    }

    /// Continues the stream with what had come too early for it.
    fn feed_runs(&mut self) -> Result<(), Failure> {
        while let Some(run) = self.runs.take(self.received) {
            let mut place = run.range().0;
            for piece in run.pieces() {
                let next = place.saturating_add_unsigned(piece.len() as u64);
                let (_, unknown) = self.unknown_part(place, piece);
                self.feed(unknown)?;
                place = next;
            }
        }
        Ok(())
    }

    /// What of a piece of the stream is neither taken nor behind the FIN.
    fn unknown_part<'p>(&self, place: i64, piece: &'p [u8]) -> (i64, &'p [u8]) {
        let known = usize::try_from(self.received.saturating_sub(place)).unwrap_or(0);
        let piece_rest = piece.get(known..).unwrap_or_default();
        let place = place.saturating_add_unsigned(known as u64);
        let room = match self.fin {
            Some(fin) => usize::try_from(fin.saturating_sub(place)).unwrap_or(0),
            None => usize::MAX,
        };
        (
            place,
            piece_rest
                .get(..room.min(piece_rest.len()))
                .unwrap_or_default(),
        )
    }

    /// Continues the stream, record by record.
    fn feed(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let mut rest = octets;
        while !rest.is_empty() {
            if self.opener.has_ended() {
                return Err(Failure::Malformed);
            }
            if self.partial.is_empty() {
                let whole = self.opener.len(rest)?.filter(|len| *len <= rest.len());
                if let Some((record, more)) = whole.and_then(|len| rest.split_at_checked(len)) {
                    self.received = self.received.saturating_add_unsigned(record.len() as u64);
                    self.open(record)?;
                    rest = more;
                    continue;
                }
            }
            let wanted = self.opener.len(&self.partial)?.unwrap_or(HEADER_LEN);
            let missing = wanted.saturating_sub(self.partial.len());
            let (part, more) = rest.split_at(missing.min(rest.len()));
            self.partial.extend_from_slice(part);
            self.received = self.received.saturating_add_unsigned(part.len() as u64);
            rest = more;
            if self.opener.len(&self.partial)? == Some(self.partial.len()) {
                let record = std::mem::take(&mut self.partial);
                self.open(&record)?;
            }
        }
        Ok(())
    }

    /// Opens the record that follows the last one.
    fn open(&mut self, record: &[u8]) -> Result<(), Failure> {
        let start = self.map.end();
        let offset = u64::try_from(start.wire).map_err(|_| Failure::Malformed)?;
        let opener = &mut self.opener;
        let (flags, len) = self.text.append(record.len(), |out| {
            let before = out.len();
            let flags = opener.open(offset, record, out)?;
            Ok::<_, Failure>((flags, out.len().saturating_sub(before)))
        })?;
        self.map.push(len, record.len());
        self.authenticated = true;
        if let Some(pointer) = flags.urgent {
            // The standard has the index of the last urgent octet, TCP that of the one behind it.
            let behind = i64::from(self.opener.dialect() == Dialect::Standard);
            let pointer = i64::from(pointer).saturating_add(behind);
            self.urgent = Some(start.plain.saturating_add(pointer));
        }
        Ok(())
    }

    /// How far beyond the acknowledged the peer may send.
    fn limit(&self) -> i64 {
        match self.window {
            Some(window) => window
                .saturating_add(window / 4)
                .saturating_add(WINDOW_SLACK)
                .min(MAX_UNACKED),
            None => MAX_UNACKED,
        }
    }

    /// How far ahead of the stream a segment may be that belongs to the connection.
    pub(super) fn reach(&self) -> i64 {
        self.limit()
    }

    /// What the original acknowledges a FIN with: the number that the place of the plaintext would have if
    /// records were no longer than their data (spec 5.1).
    pub(super) fn short_fin_ack(&self) -> i64 {
        self.opened().saturating_add(1)
    }

    /// Plaintext from one place to another, as far as it is there.
    pub(super) fn text<'a>(
        &'a self,
        from: i64,
        to: i64,
        slices: &mut [&'a [u8]; MAX_SLICES],
    ) -> usize {
        self.text.slices(from, to.min(self.map.end().plain), slices)
    }

    /// Where the plaintext ends that was opened so far.
    pub(super) fn opened(&self) -> i64 {
        self.map.end().plain
    }

    /// Whether the peer's FIN has come, and all before it.
    pub(super) fn fin_came(&self) -> bool {
        self.fin == Some(self.received)
    }

    /// The place of the end in the plaintext, once all before it has come. In the standard a frame says where it is, and
    /// the FIN that should be with it means nothing to the local TCP (RFC 8548 section 3.7).
    pub(super) fn fin_plain(&self) -> Option<i64> {
        let ended = self.opener.has_ended() || self.fin_came();
        (ended && self.partial.is_empty()).then(|| self.opened())
    }

    /// Whether the local TCP was told of an end whose FIN has not come.
    pub(super) fn awaits_fin(&self) -> bool {
        self.fin_delivered && !self.fin_came()
    }

    /// How much more than the records the peer has to see acknowledged: its FIN counts once it has come and the local
    /// TCP has acknowledged the end.
    pub(super) fn fin_len(&self) -> i64 {
        i64::from(self.fin_acked && self.fin_came())
    }

    /// Whether there is something for the local TCP that it was not given.
    pub(super) fn has_more(&self) -> bool {
        self.delivered < self.opened() || (self.fin_plain().is_some() && !self.fin_delivered)
    }

    /// Whether a record has begun and is not whole.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The local TCP has all plaintext before a place, or the FIN as well.
    pub(super) fn acknowledge(&mut self, place: i64) {
        if self.fin_delivered && place > self.delivered {
            self.fin_acked = true;
        }
        let place = place.min(self.delivered);
        if place > self.acked {
            self.acked = place;
            self.map.release(self.map.at_or_before_plain(place));
            self.text.release(place);
        }
    }

    /// What to acknowledge on the wire, without the FIN: whole records that the local TCP has, or, when it has
    /// all that it was given and nothing waits, every octet that came. The latter keeps a peer from repeating
    /// the first part of a record for ever.
    pub(super) fn wire_ack(&mut self) -> i64 {
        let place = if self.acked == self.opened() {
            self.received
        } else {
            self.map.base().wire
        };
        self.wire_acked = self.wire_acked.max(place);
        self.wire_acked
    }

    /// What the local TCP awaits next, as far as it has said: the number behind all that it acknowledged.
    pub(super) fn awaited(&self) -> i64 {
        self.acked.saturating_add(i64::from(self.fin_acked))
    }

    /// The number of the last octet that the local TCP acknowledged, or of the SYN.
    pub(super) fn nudge_seq(&self) -> Seq {
        self.plain.seq(self.acked.saturating_sub(1))
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }

    pub(super) fn form(&self) -> Option<OffsetForm> {
        self.opener.form()
    }

    /// Whether there is more room than connections keep that have nothing under way.
    pub(super) fn is_large(&self) -> bool {
        self.text.is_large() || self.map.is_large()
    }

    pub(super) fn rest(&mut self) {
        self.text.rest();
        self.map.rest();
    }

    /// Octets of memory held for the stream.
    pub(super) fn footprint(&self) -> usize {
        self.partial.capacity()
            + self.map.footprint()
            + self.text.footprint()
            + self.runs.footprint()
    }
}
