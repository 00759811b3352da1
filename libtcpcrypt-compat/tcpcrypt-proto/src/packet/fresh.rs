//! Packets that the daemon makes itself: INIT2, bare ACKs, resets, probes.

use std::net::IpAddr;

use super::checksum::pseudo_header;
use super::flags::Flags;
use super::options::OptionBuf;
use super::rewrite::Segment;
use super::{Direction, FourTuple};
use crate::seq::Seq;

/// A packet from nothing: IP id 0, TTL 128, "do not fragment", as the original's own packets are
/// (tcpcrypt spec 5.1).
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// The connection.
    pub tuple: FourTuple,
    /// Out: from local to remote. In: the other way, as if the peer had sent it.
    pub direction: Direction,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Options.
    pub options: OptionBuf,
    /// Over IPv4, routers may cut the packet in pieces, which are known by this number. Without it, not.
    pub fragments: Option<u16>,
}

impl Fresh {
    /// A packet without options.
    pub fn new(tuple: FourTuple, direction: Direction) -> Fresh {
        Fresh {
            tuple,
            direction,
            seq: Seq(0),
            ack: Seq(0),
            flags: Flags::ACK,
            window: 0,
            options: OptionBuf::new(),
            fragments: None,
        }
    }

    /// Octets of the packet with this many octets of data.
    pub fn length(&self, data: usize) -> usize {
        let ip: usize = match self.tuple.local.ip() {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        };
        ip.saturating_add(20)
            .saturating_add(self.options.padded_len())
            .saturating_add(data)
    }

    /// Appends the whole IP packet to `out`, with complete checksums. Nothing is appended, and the
    /// answer is false, if the addresses are of two families or the data does not fit.
    pub fn write(&self, payload: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let (from, to) = match self.direction {
            Direction::Out => (self.tuple.local, self.tuple.remote),
            Direction::In => (self.tuple.remote, self.tuple.local),
        };
        let mut ip = [0_u8; 40];
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ip[0] = 0x45;
                match self.fragments {
                    Some(id) => ip[4..6].copy_from_slice(&id.to_be_bytes()),
                    None => ip[6] = 0x40,
                }
                ip[8] = 128;
                ip[9] = 6;
                ip[12..16].copy_from_slice(&from.octets());
                ip[16..20].copy_from_slice(&to.octets());
                &ip[..20]
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ip[0] = 0x60;
                ip[6] = 6;
                ip[7] = 128;
                ip[8..24].copy_from_slice(&from.octets());
                ip[24..40].copy_from_slice(&to.octets());
                &ip[..]
            }
            _ => return false,
        };
        let [a, b] = from.port().to_be_bytes();
        let [c, d] = to.port().to_be_bytes();
        let segment = Segment {
            ports: [a, b, c, d],
            seq: self.seq,
            ack: self.ack,
            reserved: 0,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            options: &self.options,
        };
        let sum = |length| pseudo_header(from.ip(), to.ip(), length);
        segment.write(ip, sum, payload, out)
    }
}
