//! Records in a stream: the data phase.

use std::net::IpAddr;

use crate::conn::Identity;
use crate::flow::Failure;
use crate::legacy::keys::Session;
use crate::legacy::record::{self, Flags, MAX_DATA_LEN, OffsetForm, Opener, Sealer};

/// With this much room for octets of the wire, a whole record always fits.
pub const READ_ROOM: usize = record::HEADER_LEN + u16::MAX as usize;

/// Both directions of an encrypted connection.
pub struct Records {
    sealer: Sealer,
    opener: Opener,
    sent: Count,
    received: Count,
    identity: Identity,
    /// The next generation, to be stored once the peer has shown that it has this one (spec 4.4).
    successor: Option<(IpAddr, Box<Session>)>,
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
        successor: Option<(IpAddr, Box<Session>)>,
    ) -> Self {
        Self {
            sealer,
            opener,
            sent: Count::default(),
            received: Count::default(),
            identity,
            successor,
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
            let Some(len) = record::len(rest)? else { break };
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
        Ok(taken)
    }

    pub(super) fn send(
        &mut self,
        data: &[u8],
        most: usize,
        wire: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        for piece in data.chunks(most.clamp(1, MAX_DATA_LEN)) {
            let start = wire.len();
            let at = self.sent.wire;
            self.sealer.seal(at, Flags::default(), piece, wire)?;
            self.sent
                .add(wire.len().saturating_sub(start), piece.len())?;
        }
        Ok(())
    }

    /// The peer subtracts sequence numbers (spec 4.5), unless its records show something else.
    pub(super) fn assume_subtracted(&mut self) {
        if self.opener.form().is_none() {
            self.sealer.set_form(OffsetForm::Subtracted);
        }
    }

    /// The next generation, once, as soon as it may be stored.
    pub(super) fn confirmed(&mut self) -> Option<(IpAddr, Box<Session>)> {
        self.successor.take_if(|_| self.authenticated)
    }

    pub(super) fn session(&self) -> Identity {
        self.identity
    }

    pub(super) fn overhead(&self) -> (u64, u64) {
        (self.sent.overhead(), self.received.overhead())
    }

    pub(super) fn rest(&mut self) {
        self.sealer.rest();
        self.opener.rest();
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
