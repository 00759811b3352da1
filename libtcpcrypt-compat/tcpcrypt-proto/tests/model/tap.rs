//! What a listener on the wire sees, and what must be true of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tcpcrypt_proto::packet::{Direction, Flags, Seq, View, options};

use super::Side;
use super::family::is_standard;
use super::kernel::Ranges;

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) from: Side,
    pub(crate) packet: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Tap {
    pub(crate) seen: Vec<Seen>,
}

/// One direction of one connection as the wire carried it.
#[derive(Default)]
pub(crate) struct Stream {
    first: Seq,
    /// Octets behind the SYN, those that are not known as 0.
    pub(crate) octets: Vec<u8>,
    known: Ranges,
    /// Where segments with data began and ended.
    pub(crate) segments: Vec<(u64, u64)>,
    /// It is over IPv6, in the standard, or the SYN permits SACK, so nobody is the original, which reads no record in
    /// several segments.
    joins: bool,
}

/// Octets of the longest record.
const LONGEST: u64 = 16 * 1024;

impl Stream {
    fn add(&mut self, view: &View<'_>) {
        let data = view.payload();
        let at = view.seq().since(self.first + 1) as i32;
        if data.is_empty() {
            return;
        }
        assert!(at >= 0, "data in front of the stream, at {at}");
        let (from, to) = (at as usize, at as usize + data.len());
        if self.octets.len() < to {
            self.octets.resize(to, 0);
        }
        for (index, octet) in data.iter().enumerate() {
            let position = (from + index) as u64;
            if self.known.holds(position, position + 1) {
                assert_eq!(
                    self.octets[from + index],
                    *octet,
                    "octet {position} of the stream was sent as two different ones"
                );
            } else {
                self.octets[from + index] = *octet;
            }
        }
        self.known.add(from as u64, to as u64);
        self.segments.push((from as u64, to as u64));
    }

    /// Where INIT and the records end: `[0, end of INIT, end of record, ..]`. All that the stream
    /// has must be those; an incomplete one may be the last.
    pub(crate) fn borders(&self) -> Vec<u64> {
        let all = &self.octets;
        let mut borders = vec![0];
        let mut at = 0;
        if all.starts_with(&[0x15, 0x10, 0x1a, 0x0e]) || all.starts_with(&[0x09, 0x71, 0x05, 0xe0])
        {
            let length = [all[4], all[5], all[6], all[7]];
            at = u32::from_be_bytes(length) as usize;
            borders.push(at as u64);
        }
        while at + 3 <= all.len() {
            assert!(
                self.known.holds(at as u64, at as u64 + 3),
                "a hole at {at} was never sent"
            );
            let may_rekey = u8::from(is_standard());
            let is_control = all[at] <= may_rekey;
            assert!(is_control, "no record begins at {at} of {}", all.len());
            let length = usize::from(u16::from_be_bytes([all[at + 1], all[at + 2]]));
            assert!(length >= 17, "a record of {length} octets at {at}");
            at += 3 + length;
            if at <= all.len() {
                borders.push(at as u64);
            }
        }
        borders
    }

    /// What peers of the original need: each segment is one whole record or INIT, also when it is
    /// sent again (tcpcrypt spec 5.1). To another one, as SACK shows, a record that was lost as a whole may go in
    /// pieces: perhaps it was too long for the path. In the standard any segment may cut any record; there records are
    /// no longer than is good for who waits for the end of one.
    pub(crate) fn assert_records_in_segments(&self) {
        let borders = self.borders();
        if is_standard() {
            let lengths = borders.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(lengths.max() <= Some(LONGEST), "{borders:?}");
            return;
        }
        for (index, (from, to)) in self.segments.iter().enumerate() {
            let behind = borders.partition_point(|border| border <= from);
            let (Some(start), Some(end)) = (borders.get(behind - 1), borders.get(behind)) else {
                panic!("a segment from {from} to {to} without a record");
            };
            let was_lost = self.joins && self.segments[..index].contains(&(*start, *end));
            assert!(
                (from, to) == (start, end) || to <= end && was_lost,
                "a segment from {from} to {to}, a record from {start} to {end}"
            );
        }
    }
}

impl Tap {
    /// Packets from the `since`th on that have the marker in their data.
    pub(crate) fn showing(&self, since: usize, marker: &[u8]) -> usize {
        let has = |seen: &&Seen| seen.packet.windows(marker.len()).any(|w| w == marker);
        self.seen[since..].iter().filter(has).count()
    }

    /// The streams of all connections, in the order of their SYNs; a number that is sent twice
    /// with different octets is refused on the way: that is plaintext, or a keystream used twice.
    pub(crate) fn streams(&self) -> Vec<((Side, SocketAddr, SocketAddr), Stream)> {
        let mut all: Vec<((Side, SocketAddr, SocketAddr), Stream)> = Vec::new();
        let mut current: HashMap<(SocketAddr, SocketAddr), usize> = HashMap::new();
        for seen in &self.seen {
            let view = View::parse(&seen.packet).expect("packets of the model parse");
            let tuple = view.tuple(Direction::Out);
            let key = (tuple.local, tuple.remote);
            let known = current.get(&key).copied();
            if view.flags().has(Flags::SYN) {
                if known.is_none_or(|index| all[index].1.first != view.seq()) {
                    current.insert(key, all.len());
                    let stream = Stream {
                        first: view.seq(),
                        joins: is_standard()
                            || view.source().is_ipv6()
                            || options::find(view.options(), options::SACK_PERMITTED).is_some(),
                        ..Stream::default()
                    };
                    all.push(((seen.from, key.0, key.1), stream));
                }
            } else if let Some(index) = known {
                all[index].1.add(&view);
            }
        }
        all
    }
}
