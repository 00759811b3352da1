//! What is left of a connection that has ended: enough to translate acknowledgements and FINs that come late,
//! and to let no plaintext out and no payload in (tcpcrypt spec 5.1: the original forgets too early).

use crate::packet::{Flags, Rewrite, Seq, View, options};

use super::closing::Peer;
use super::{Flow, Step};

/// The numbers of one direction at its end.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Behind the FIN, as the local TCP counts.
    plain: Seq,
    /// The same on the wire.
    wire: Seq,
    /// The same as the original in divert mode has it.
    short: Seq,
}

impl End {
    /// Numbers at the end differ by the same as the end itself. Those of long ago come out too old, and old
    /// they are.
    fn to_wire(self, plain: Seq) -> Seq {
        plain + self.wire.since(self.plain)
    }

    fn to_short(self, plain: Seq) -> Seq {
        plain + self.short.since(self.plain)
    }

    fn to_plain(self, wire: Seq) -> Seq {
        wire + self.plain.since(self.wire)
    }
}

/// A connection that is closed or reset.
#[derive(Debug, Clone, Copy)]
pub struct Tombstone {
    out: End,
    inbound: End,
    peer: Peer,
    /// A peer that is not known for sure gets either number in turns.
    short_next: bool,
}

impl Flow {
    /// What to keep of a flow that is [closed or reset](Flow::closing).
    #[must_use]
    pub fn tombstone(&self) -> Tombstone {
        let (out, inbound) = (&self.out, &self.inbound);
        let fin = i64::from(inbound.fin_delivered);
        let plain = inbound.delivered.saturating_add(fin);
        // The wire number that belongs to what was delivered; all of it if nothing waits.
        let wire = if inbound.has_more() {
            inbound.map.at_or_before_plain(inbound.delivered).wire
        } else {
            inbound.received
        };
        Tombstone {
            out: End {
                plain: out.plain.seq(out.next_plain()),
                wire: out.wire.seq(out.next_wire()),
                short: out.wire.seq(out.next_plain()),
            },
            inbound: End {
                plain: inbound.plain.seq(plain),
                wire: inbound.wire.seq(wire.saturating_add(fin)),
                short: inbound.wire.seq(plain),
            },
            peer: self.peer,
            short_next: true,
        }
    }
}

impl Tombstone {
    /// Translates a packet of the local TCP. Its data, if any, stay here: the peer has acknowledged them, and
    /// what goes instead is old, so that it says so again.
    pub fn outgoing(&mut self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        let flags = packet.flags();
        if flags.has(Flags::SYN) {
            return Step::Drop;
        }
        let short = match self.peer {
            Peer::Ordinary => false,
            known if flags.has(Flags::RST) => known == Peer::Original,
            // One like us that sends both numbers passes for the original if the second is lost.
            Peer::Unknown | Peer::Original => {
                self.short_next = !self.short_next;
                !self.short_next
            }
        };
        let mut rewrite = Rewrite::of(packet);
        rewrite.flags = flags.without(Flags::URG | Flags::PSH);
        rewrite.seq = if flags.has(Flags::FIN) {
            self.out.wire - 1
        } else if short {
            self.out.to_short(packet.seq())
        } else {
            self.out.to_wire(packet.seq())
        };
        if flags.has(Flags::ACK) {
            rewrite.ack = if short && packet.ack() == self.inbound.plain {
                self.inbound.short
            } else {
                self.inbound.to_wire(packet.ack())
            };
        }
        rewrite.options.remove(options::SACK);
        rewrite.write(&[], out);
        Step::Replace
    }

    /// Translates a packet from the wire. Its payload, if any, stays here.
    pub fn incoming(&self, packet: &View<'_>, out: &mut Vec<u8>) -> Step {
        let flags = packet.flags();
        if flags.has(Flags::SYN) {
            return Step::Drop;
        }
        let mut rewrite = Rewrite::of(packet);
        rewrite.flags = flags.without(Flags::URG | Flags::PSH);
        rewrite.seq = if flags.has(Flags::FIN) {
            self.inbound.plain - 1
        } else if self.peer != Peer::Ordinary && packet.seq() == self.inbound.short {
            self.inbound.plain
        } else {
            self.inbound.to_plain(packet.seq())
        };
        if flags.has(Flags::ACK) {
            rewrite.ack = if self.peer != Peer::Ordinary && packet.ack() == self.out.short {
                self.out.plain
            } else {
                let ack = self.out.to_plain(packet.ack());
                if ack.gt(self.out.plain) {
                    return Step::Drop;
                }
                ack
            };
        }
        rewrite.options.remove(options::SACK);
        rewrite.write(&[], out);
        Step::Replace
    }
}
