//! A link in the middle of the path that carries less than those of the hosts.

use tcpcrypt_proto::packet::{Direction, Fresh, Seq, TooBig, View};
use tcpcrypt_proto::verdict::Verdict;

use super::{Lab, Side};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow {
    pub(crate) mtu: u16,
    /// How many of the router's messages arrive.
    pub(crate) tells: f64,
}

/// Whether a router may cut a packet.
pub(crate) fn may_be_cut(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && packet[6] & 0x40 == 0
}

/// What a router says of a packet.
pub(crate) fn refusal(lost: &[u8], mtu: u16) -> Vec<u8> {
    let view = View::parse(lost).expect("a packet");
    // The addresses turned round, with TCP in place of ICMP, and that in its place: lengths and sums by hand.
    let mut fresh = Fresh::new(view.tuple(Direction::Out), Direction::In);
    fresh.seq = Seq(0);
    let mut packet = Vec::new();
    assert!(fresh.write(&[], &mut packet));
    let is_ipv6 = packet[0] >> 4 == 6;
    let at = packet.len() - 20;
    packet.truncate(at);
    packet.extend_from_slice(if is_ipv6 {
        &[2, 0, 0, 0]
    } else {
        &[3, 4, 0, 0]
    });
    packet.extend_from_slice(&u32::from(mtu).to_be_bytes());
    packet.extend_from_slice(&lost[..at + 28]);
    let length = (packet.len() - if is_ipv6 { 40 } else { 0 }) as u16;
    let length_at = if is_ipv6 { 4 } else { 2 };
    packet[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    packet[if is_ipv6 { 6 } else { 9 }] = if is_ipv6 { 58 } else { 1 };
    let mut summed = packet[at..].to_vec();
    if is_ipv6 {
        summed.extend_from_slice(&packet[8..40]);
        summed.extend_from_slice(&u32::from(length).to_be_bytes());
        summed.extend_from_slice(&[0, 0, 0, 58]);
    }
    let sum = summed.chunks(2).fold(0_u32, |sum, pair| {
        sum + (u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
    });
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Whether it is a router that speaks.
pub(super) fn is_message(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        6 => packet[6] == 58,
        _ => packet[9] == 1,
    }
}

impl Lab {
    /// Whether a packet comes through. The router says so if not.
    pub(super) fn comes_through(&mut self, from: Side, packet: &[u8]) -> bool {
        let Some(Narrow { mtu, tells }) = self.narrow else {
            return true;
        };
        if packet.len() <= usize::from(mtu) || may_be_cut(packet) {
            return true;
        }
        if self.rng.chance(tells) {
            self.arrive_later(from, refusal(packet, mtu));
        }
        false
    }

    /// What a router says to one of the hosts.
    pub(super) fn hear(&mut self, side: Side, message: &[u8]) {
        let (now, instant) = (self.now(), self.instant());
        let front = self.front(side);
        let mut out = Vec::new();
        let verdict = front.packet(instant, Direction::In, message, &mut out);
        let message = match verdict {
            Verdict::Replace => &out[..],
            Verdict::Accept => message,
            Verdict::Drop => return,
        };
        let message = TooBig::parse(message).expect("a message that is whole");
        self.kernel(side)
            .too_big(now, message.ends(), message.seq(), message.mtu());
    }
}
