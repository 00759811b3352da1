//! Records in a stream: the data phase.

use crate::conn::Identity;
use crate::flow::Failure;
use crate::framing::{Flags, HEADER_LEN, MAX_DATA_LEN};
use crate::legacy::record::OffsetForm;
use crate::records::{Dialect, Opener, Sealer};

use super::bequest::Bequest;

/// With this much room for octets of the wire, a whole record always fits.
pub const READ_ROOM: usize = HEADER_LEN + u16::MAX as usize;

/// Records without data that are made in a row. The peer can ask for one by each record of its own; the others are
/// made when these are gone.
const MOST_OWED: usize = 4;

/// The last record that is made in the standard.
const LAST: Flags = Flags {
    fin: true,
    urgent: None,
};

/// Both directions of an encrypted connection.
pub struct Records {
    sealer: Sealer,
    opener: Opener,
    sent: Count,
    received: Count,
    identity: Identity,
    /// Unless somebody else keeps it.
    pub(super) bequest: Option<Bequest>,
    authenticated: bool,
}

/// Octets of one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    wire: u64,
    plain: u64,
}

impl Records {
    pub(super) fn new(
        sealer: Sealer,
        opener: Opener,
        identity: Identity,
        bequest: Bequest,
    ) -> Self {
        Self {
            sealer,
            opener,
            sent: Count::default(),
            received: Count::default(),
            identity,
            bequest: Some(bequest),
            authenticated: false,
        }
    }

    /// Opens whole records at the front of `input` until about `room` octets of data are there. Returns the
    /// number of octets taken.
    pub(super) fn receive(
        &mut self,
        input: &[u8],
        room: usize,
        plain: &mut Vec<u8>,
    ) -> Result<usize, Failure> {
        let before = plain.len();
        let mut taken = 0;
        while plain.len().saturating_sub(before) < room {
            let rest = input.get(taken..).unwrap_or_default();
            let Some(len) = self.opener.len(rest)? else {
                break;
            };
            let Some(whole) = rest.get(..len) else { break };
            let start = plain.len();
            self.opener.open(self.received.wire, whole, plain)?;
            self.authenticated = true;
            taken = taken.saturating_add(len);
            self.received.add(len, plain.len().saturating_sub(start))?;
        }
        if let Some(form) = self.opener.form() {
            self.sealer.set_form(form);
        }
        self.sealer.follow(&self.opener);
        Ok(taken)
    }

    pub(super) fn send(
        &mut self,
        data: &[u8],
        most: usize,
        wire: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        for piece in data.chunks(most.clamp(1, MAX_DATA_LEN)) {
            self.seal(Flags::default(), piece, wire)?;
        }
        Ok(())
    }

    fn seal(&mut self, flags: Flags, data: &[u8], wire: &mut Vec<u8>) -> Result<(), Failure> {
        let start = wire.len();
        self.sealer.seal(self.sent.wire, flags, data, wire)?;
        self.sent.add(wire.len().saturating_sub(start), data.len())
    }

    /// The last record, where the dialect has one. The original's leaves it to the FIN of the TCP; a proxy sets no
    /// flag in the records (spec 4.5).
    pub(super) fn finish(&mut self, wire: &mut Vec<u8>) -> Result<(), Failure> {
        match self.sealer.may_end() {
            true => Ok(()),
            false => self.seal(LAST, &[], wire),
        }
    }

    /// Whether a record is due though there are no data: the peer went to the next key, or we are to.
    pub(super) fn owes(&self) -> bool {
        self.sealer.is_record_due()
    }

    /// Makes those records, not too many.
    pub(super) fn pay(&mut self, wire: &mut Vec<u8>) -> Result<(), Failure> {
        for _ in 0..MOST_OWED {
            if !self.owes() {
                break;
            }
            self.seal(Flags::default(), &[], wire)?;
        }
        Ok(())
    }

    /// Makes the next record the first under a new key, where the dialect can.
    pub(super) fn rekey(&mut self) {
        self.sealer.rekey();
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.sealer.dialect()
    }

    /// Whether the peer has said that this was all, where the dialect has a word for it.
    pub(super) fn has_ended(&self) -> bool {
        self.opener.has_ended()
    }

    /// Whether the peer's stream may end here.
    pub(super) fn may_end(&self) -> bool {
        self.opener.may_end()
    }

    /// The peer subtracts sequence numbers (spec 4.5), unless its records show something else.
    pub(super) fn assume_subtracted(&mut self) {
        if self.opener.form().is_none() {
            self.sealer.set_form(OffsetForm::Subtracted);
        }
    }

    /// A record of the peer was genuine: it has the keys.
    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    pub(super) fn session(&self) -> Identity {
        self.identity
    }

    pub(super) fn overhead(&self) -> (u64, u64) {
        (self.sent.overhead(), self.received.overhead())
    }
}

impl Count {
    fn add(&mut self, wire: usize, plain: usize) -> Result<(), Failure> {
        let more = |sum: u64, len: usize| sum.checked_add(u64::try_from(len).ok()?);
        let sums = (more(self.wire, wire), more(self.plain, plain));
        let (Some(wire), Some(plain)) = sums else {
            return Err(Failure::UsedUp);
        };
        *self = Self { wire, plain };
        Ok(())
    }

    fn overhead(self) -> u64 {
        self.wire.saturating_sub(self.plain)
    }
}
