//! What the local TCP sends: plaintext made into records, each made once and kept until it is acknowledged.

use crate::framing::{self, Flags, RecordError};
use crate::legacy::record::OffsetForm;
use crate::records::{Dialect, Opener, Sealer};

use super::Numbers;
use super::byte_store::{ByteStore, MAX_SLICES, PIECE};
use super::line::Line;
use super::record_map::{Border, RecordMap};

/// Octets of records that are kept for retransmission. The local TCP's own send buffer is smaller; plaintext
/// beyond it is dropped, and comes again.
pub(super) const MAX_UNACKED: i64 = 16 << 20;

/// Octets of the longest frame that is made of a super-packet. The receiver can open it when all of it has come, and not
/// before; longer ones are no faster (tcpcrypt-datapath 2.2), and four of these hold the longest super-packet.
const FRAME: usize = PIECE;

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
            let urgent = urgent_from(flags.urgent, sealed);
            let flags = Flags {
                fin: flags.fin && more.is_empty(),
                urgent: urgent.map(|pointer| self.urgent_field(pointer)),
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

    /// What a record says of a pointer of the TCP header. That points to the octet behind the urgent ones (RFC 6093);
    /// the standard has the index of the last one (RFC 8548 section 3.7).
    fn urgent_field(&self, pointer: u16) -> u16 {
        match self.sealer.dialect() {
            Dialect::Legacy => pointer,
            Dialect::Standard => pointer.saturating_sub(1),
        }
    }

    /// Whether segments may cut records anywhere. The original needs a whole one in each.
    pub(super) fn divides(&self) -> bool {
        self.sealer.dialect() == Dialect::Standard
    }

    /// Octets of data in a record that segments may cut.
    pub(super) fn data_per_frame(flags: Flags) -> usize {
        FRAME - flags.overhead()
    }

    /// From where on the wire plaintext is sent that begins at a place.
    pub(super) fn wire_from(&self, plain: i64) -> i64 {
        match self.divides() {
            true => self.map.wire_of(plain),
            false => self.map.first_at_or_before_plain(plain).wire,
        }
    }

    /// Up to where on the wire plaintext is sent that ends at a place.
    pub(super) fn wire_to(&self, plain: i64) -> i64 {
        match self.divides() {
            true => self.map.wire_of(plain),
            false => self.map.at_or_after_plain(plain).wire,
        }
    }

    /// The same with the frames without any that may stand behind the last octet of plaintext.
    pub(super) fn wire_behind(&self, plain: i64) -> i64 {
        let end = self.map.end();
        match plain >= end.plain {
            true => end.wire,
            false => self.wire_to(plain),
        }
    }

    /// What of the plaintext need not be sent again when the peer has all before a place on the wire.
    pub(super) fn plain_before(&self, wire: i64) -> i64 {
        match self.divides() {
            true => self.map.plain_before(wire),
            false => self.map.at_or_before_wire(wire).plain,
        }
    }

    /// From where on the plaintext need not be sent again when the peer has what is behind a place on the wire.
    pub(super) fn plain_behind(&self, wire: i64) -> i64 {
        match self.divides() {
            true => self.map.plain_behind(wire),
            false => self.map.at_or_after_wire(wire).plain,
        }
    }

    /// How far from a place on the wire up to another the octets may go in one packet that the kernel cuts every
    /// `segment` octets, if it has room for `room`.
    pub(super) fn row(&self, from: i64, to: i64, segment: u16, room: i64) -> i64 {
        let segment = i64::from(segment).max(1);
        match (self.divides(), to.saturating_sub(from) <= room) {
            (true, true) => to,
            (true, false) => from.saturating_add(room / segment * segment),
            (false, _) => self.map.row(from, to, segment, room),
        }
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

    /// Whether the peer has gone to every key that we have gone to.
    pub(super) fn is_followed(&self, opener: &Opener) -> bool {
        self.sealer.is_followed(opener)
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

    /// Whether there is more room than connections keep that have nothing under way.
    pub(super) fn is_large(&self) -> bool {
        self.records.is_large() || self.map.is_large()
    }

    pub(super) fn rest(&mut self) {
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
