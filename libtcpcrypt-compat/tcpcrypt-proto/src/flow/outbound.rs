//! What the local TCP sends: plaintext made into records, each made once and kept until it is acknowledged.

use crate::framing::{self, Flags, RecordError};
use crate::legacy::record::OffsetForm;
use crate::records::{Opener, Sealer};

use super::Numbers;
use super::byte_store::{ByteStore, MAX_SLICES};
use super::line::Line;
use super::record_map::{Border, RecordMap};

/// Octets of records that are kept for retransmission. The local TCP's own send buffer is smaller; plaintext
/// beyond it is dropped, and comes again.
pub(super) const MAX_UNACKED: i64 = 16 << 20;

/// From here on the original's nonces would come again.
const LAST_OF_ORIGINAL: u64 = u32::MAX as u64;

/// The direction from the local TCP to the wire.
pub(super) struct Outbound {
    pub(super) plain: Line,
    pub(super) wire: Line,
    /// The records on their way. What is before them is acknowledged.
    pub(super) map: RecordMap,
    /// Their octets, by place on the wire.
    records: ByteStore,
    sealer: Sealer,
    /// Nobody has shown yet how the peer makes its nonces, and it is taken for the original.
    assumed: bool,
    /// Where the stream ends, once the local TCP has closed it. In front of its FIN all is numbered.
    pub(super) fin: Option<i64>,
    pub(super) fin_acked: bool,
}

impl Outbound {
    /// `original` if the peer may be the original in divert mode. All it takes behind the wrap of the sequence
    /// numbers is its own form of nonces, and a peer like us takes either (spec 4.5).
    pub(super) fn new(numbers: &Numbers, mut sealer: Sealer, original: bool) -> Self {
        if original {
            sealer.set_form(OffsetForm::Subtracted);
        }
        Self {
            plain: Line::new(numbers.out_plain),
            wire: Line::new(numbers.out_wire),
            map: RecordMap::new(),
            records: ByteStore::new(),
            sealer,
            assumed: original,
            fin: None,
            fin_acked: false,
        }
    }

    /// Makes records of data that follow all that was numbered so far, at most `per_record` octets in each.
    /// Stops where too much is under way.
    pub(super) fn seal(
        &mut self,
        data: &[u8],
        per_record: usize,
        flags: Flags,
    ) -> Result<(), RecordError> {
        let mut rest = data;
        let mut sealed = 0_usize;
        while !rest.is_empty() {
            let end = self.map.end();
            if end.wire.saturating_sub(self.map.base().wire) > MAX_UNACKED {
                return Ok(());
            }
            let (part, more) = rest.split_at(rest.len().min(per_record.max(1)));
            let flags = Flags {
                fin: flags.fin && more.is_empty(),
                urgent: urgent_from(flags.urgent, sealed),
            };
            let record_len = flags.overhead() + part.len();
            // Places on the wire are the nonce; they never fall behind 0.
            let offset = u64::try_from(end.wire).map_err(|_| RecordError::Reused)?;
            if self.assumed && offset > LAST_OF_ORIGINAL {
                self.set_form(OffsetForm::Counted);
            }
            self.append_record(offset, flags, part)?;
            self.map.push(part.len(), record_len);
            sealed += part.len();
            rest = more;
        }
        Ok(())
    }

    pub(super) fn append_record(
        &mut self,
        offset: u64,
        flags: Flags,
        data: &[u8],
    ) -> Result<(), RecordError> {
        let sealer = &mut self.sealer;
        let len = flags.overhead() + data.len();
        self.records
            .append(len, |out| sealer.seal(offset, flags, data, out))
    }

    /// Goes to the key that the peer went to.
    pub(super) fn follow(&mut self, opener: &Opener) {
        self.sealer.follow(opener);
    }

    /// The next record is to be the first under a new key.
    pub(super) fn rekey(&mut self) {
        self.sealer.rekey();
    }

    /// Whether a record is due, be it empty.
    pub(super) fn is_record_due(&self) -> bool {
        self.sealer.is_record_due()
    }

    /// Whether the stream may end behind the last record.
    pub(super) fn may_end(&self) -> bool {
        self.sealer.may_end()
    }

    /// The octets from one place on the wire to another. Says how many slices were filled in; `None` if they do
    /// not hold all of it.
    pub(super) fn octets<'a>(
        &'a self,
        from: i64,
        to: i64,
        slices: &mut [&'a [u8]; MAX_SLICES],
    ) -> Option<usize> {
        let used = self.records.slices(from, to, slices);
        let held = slices.iter().take(used).map(|slice| slice.len() as u64);
        let end = from.saturating_add_unsigned(held.sum());
        (end == to).then_some(used)
    }

    /// The peer has everything up to `border`.
    pub(super) fn acknowledge(&mut self, border: Border) {
        self.map.release(border);
        self.records.release(border.wire);
    }

    /// The number behind the FIN if one was sent, else behind the data.
    pub(super) fn next_wire(&self) -> i64 {
        self.map
            .end()
            .wire
            .saturating_add(i64::from(self.fin.is_some()))
    }

    /// The same in the numbering of the plaintext.
    pub(super) fn next_plain(&self) -> i64 {
        self.map
            .end()
            .plain
            .saturating_add(i64::from(self.fin.is_some()))
    }

    /// The peer was seen to make its nonces like this.
    pub(super) fn set_form(&mut self, form: OffsetForm) {
        self.assumed = false;
        self.sealer.set_form(form);
    }

    /// Whether the peer has not acknowledged everything that the local TCP sent.
    pub(super) fn is_awaited(&self) -> bool {
        self.map.base().plain != self.map.end().plain || (self.fin.is_some() && !self.fin_acked)
    }

    pub(super) fn rest(&mut self) {
        self.sealer.rest();
        self.records.rest();
        self.map.rest();
    }

    /// Octets of memory held for the stream.
    pub(super) fn footprint(&self) -> usize {
        self.map.footprint() + self.records.footprint()
    }
}

/// The urgent pointer as seen from `sealed` octets further on; none if it points to what is before.
pub(super) fn urgent_from(urgent: Option<u16>, sealed: usize) -> Option<u16> {
    match urgent {
        Some(pointer) if sealed > 0 => {
            let left = usize::from(pointer).checked_sub(sealed)?;
            u16::try_from(left).ok().filter(|left| *left > 0)
        }
        same => same,
    }
}

/// Octets of data in a record that has to fit a packet of `mtu` octets with headers of `headers` octets.
pub(super) fn data_per_record(mtu: u16, headers: usize, flags: Flags) -> usize {
    usize::from(mtu)
        .saturating_sub(headers)
        .saturating_sub(flags.overhead())
        .clamp(1, framing::MAX_DATA_LEN)
}
