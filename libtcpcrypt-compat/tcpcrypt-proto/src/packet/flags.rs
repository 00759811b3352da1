//! The control bits of a TCP header (RFC 9293 section 3.1, RFC 3168).

use std::ops::{BitOr, BitOrAssign};

/// A set of control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo.
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced.
    pub const CWR: Flags = Flags(0x80);

    /// True when every bit of `wanted` is set.
    pub fn has(self, wanted: Flags) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// These bits without those of `unwanted`.
    pub fn without(self, unwanted: Flags) -> Flags {
        Flags(self.0 & !unwanted.0)
    }

    /// SYN, ACK, RST and FIN alone: what kind of segment of a handshake it is. ECE and CWR stand
    /// on SYNs of hosts that use ECN and change nothing here (tcpcrypt spec 2.5).
    pub fn handshake(self) -> Flags {
        let kinds = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        Flags(self.0 & kinds.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}
