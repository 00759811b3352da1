//! What the guard has to know of every connection that is encrypted: the next numbers at both ends.
//!
//! The numbers are read off the packets as they leave the daemon, so that the protocol need not know
//! of the guard, and are kept in memory that both processes share: four words for a connection.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kx_sys::shared_words::SharedWords;
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Seq, View};

/// Connections in the table; others are not guarded. Memory is used as they come.
const CONNECTIONS: usize = 1 << 16;
const WORDS: usize = 4;

/// How long closed connections stay, for their last segments.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// The word that says whether a place is taken, in the low half of the second.
const TAKEN: u32 = 1;

/// What is known of one connection: the next numbers. "Plain" is the numbering of this host's TCP,
/// "wire" that of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which connection.
    pub ends: FourTuple,
    /// What this host's TCP will send next.
    pub plain_out: Seq,
    /// The same as the wire shows it.
    pub wire_out: Seq,
    /// What the wire will bring next.
    pub wire_in: Seq,
    /// The same as this host's TCP expects it.
    pub plain_in: Seq,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It went on unchanged.
    Accepted,
    /// This went on in its place.
    Replaced(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    /// FIN was seen from this host, from the other.
    closed: [bool; 2],
}

/// The daemon's view: it writes.
#[derive(Debug)]
pub struct Table {
    shared: SharedWords,
    places: HashMap<FourTuple, Place>,
    free: Vec<usize>,
    next: usize,
    closing: VecDeque<(Instant, FourTuple)>,
}

impl Table {
    /// An empty table, to be made before the guard is.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Table> {
        Ok(Table {
            shared: SharedWords::new(CONNECTIONS * WORDS)?,
            places: HashMap::new(),
            free: Vec::new(),
            next: 0,
            closing: VecDeque::new(),
        })
    }

    /// A packet came through the queue and went on.
    pub fn judged(
        &mut self,
        now: Instant,
        direction: Direction,
        before: &[u8],
        outcome: Outcome<'_>,
    ) {
        let after = match outcome {
            // The common case of plain traffic when nothing is encrypted.
            Outcome::Accepted if self.places.is_empty() => return,
            Outcome::Accepted => before,
            Outcome::Replaced(after) => after,
        };
        let (Ok(before), Ok(after)) = (View::parse(before), View::parse(after)) else {
            return;
        };
        let replaced = matches!(outcome, Outcome::Replaced(_));
        let ends = after.tuple(direction);
        self.expire(now);
        if after.flags().has(Flags::RST) || !replaced && !after.payload().is_empty() {
            // It ended; or it shows data as they are and became plain after all.
            self.remove(ends);
        } else if let Some(entry) = self.entry(ends, replaced && !after.flags().has(Flags::SYN)) {
            // Who acknowledges says in its own numbering what it expects.
            let [_, _, plain, wire] = entry;
            let (before_side, after_side) = match direction {
                Direction::In => (wire, plain),
                Direction::Out => (plain, wire),
            };
            advance(before_side, SENT, before.end());
            advance(after_side, EXPECTED, after.end());
            if before.flags().has(Flags::ACK) {
                advance(before_side, EXPECTED, before.ack());
            }
            self.note_fin(now, ends, direction, after.flags());
        }
    }

    /// The daemon made a packet.
    pub fn injected(&mut self, now: Instant, direction: Direction, packet: &[u8]) {
        let Ok(packet) = View::parse(packet) else {
            return;
        };
        let ends = packet.tuple(direction);
        if packet.flags().has(Flags::RST) {
            self.remove(ends);
        } else if let Some(entry) = self.entry(ends, !packet.flags().has(Flags::SYN)) {
            let [_, _, plain, wire] = entry;
            let side = match direction {
                Direction::In => plain,
                Direction::Out => wire,
            };
            advance(side, EXPECTED, packet.end());
            self.note_fin(now, ends, direction, packet.flags());
        }
    }

    /// What the table holds. The guard calls this when the daemon is gone.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.shared
            .words()
            .chunks_exact(WORDS)
            .filter_map(|words| read(words.try_into().ok()?))
    }

    /// The words of a connection; made if there are none and `make` says so. Only IPv4 has room.
    fn entry(&mut self, ends: FourTuple, make: bool) -> Option<&[AtomicU64; WORDS]> {
        if let Some(place) = self.places.get(&ends) {
            return words(&self.shared, place.index);
        }
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (ends.local, ends.remote) else {
            return None;
        };
        if !make {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.next < CONNECTIONS => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        let closed = [false; 2];
        self.places.insert(ends, Place { index, closed });
        let words = words(&self.shared, index)?;
        let both = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let ports = u32::from(local.port()) << 16 | u32::from(remote.port());
        words[0].store(
            both(local.ip().to_bits(), remote.ip().to_bits()),
            Ordering::Relaxed,
        );
        words[2].store(0, Ordering::Relaxed);
        words[3].store(0, Ordering::Relaxed);
        words[1].store(both(ports, TAKEN), Ordering::Release);
        Some(words)
    }

    fn note_fin(&mut self, now: Instant, ends: FourTuple, direction: Direction, flags: Flags) {
        if !flags.has(Flags::FIN) {
            return;
        }
        if let Some(place) = self.places.get_mut(&ends) {
            let before = place.closed;
            place.closed[usize::from(direction == Direction::In)] = true;
            if place.closed == [true; 2] && before != place.closed {
                self.closing.push_back((now, ends));
            }
        }
    }

    /// Forgets connections that closed long ago. One of the same name that is open again stays.
    fn expire(&mut self, now: Instant) {
        while let Some((closed, ends)) = self.closing.front().copied() {
            if now.saturating_duration_since(closed) < AFTERLIFE {
                return;
            }
            self.closing.pop_front();
            if self
                .places
                .get(&ends)
                .is_some_and(|place| place.closed == [true; 2])
            {
                self.remove(ends);
            }
        }
    }

    fn remove(&mut self, ends: FourTuple) {
        if let Some(place) = self.places.remove(&ends) {
            if let Some(words) = words(&self.shared, place.index) {
                words[1].store(0, Ordering::Release);
            }
            self.free.push(place.index);
        }
    }
}

fn words(shared: &SharedWords, index: usize) -> Option<&[AtomicU64; WORDS]> {
    let start = index.checked_mul(WORDS)?;
    shared.words().get(start..)?.first_chunk()
}

/// The third word is about the TCP of this host, the fourth about that of the other end. What it has
/// sent stands in the high half, what it expects in the low one.
const SENT: u32 = 32;
const EXPECTED: u32 = 0;

/// Stores a number if it lies ahead of the one that is there, or if none is there.
fn advance(word: &AtomicU64, half: u32, number: Seq) {
    let whole = word.load(Ordering::Relaxed);
    let mask = u64::from(u32::MAX) << half;
    let there = Seq(u32::try_from((whole & mask) >> half).unwrap_or(0));
    if there == Seq(0) || number.gt(there) {
        let whole = (whole & !mask) | u64::from(number.0) << half;
        word.store(whole, Ordering::Relaxed);
    }
}

fn read(words: &[AtomicU64; WORDS]) -> Option<Entry> {
    let [addresses, ports, plain, wire] = words.each_ref().map(|word| {
        let octets = word.load(Ordering::Acquire).to_be_bytes();
        let [a, b, c, d, e, f, g, h] = octets;
        (
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        )
    });
    if ports.1 == 0 {
        return None;
    }
    let [a, b, c, d] = ports.0.to_be_bytes();
    let local = SocketAddrV4::new(Ipv4Addr::from(addresses.0), u16::from_be_bytes([a, b]));
    let remote = SocketAddrV4::new(Ipv4Addr::from(addresses.1), u16::from_be_bytes([c, d]));
    Some(Entry {
        ends: FourTuple {
            local: local.into(),
            remote: remote.into(),
        },
        plain_out: Seq(plain.0),
        plain_in: Seq(plain.1),
        wire_in: Seq(wire.0),
        wire_out: Seq(wire.1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcpcrypt_proto::packet::Fresh;

    const ACK: Flags = Flags::ACK;
    const OUT: Direction = Direction::Out;
    const IN: Direction = Direction::In;

    fn ends(local_port: u16) -> FourTuple {
        FourTuple {
            local: SocketAddr::from(([10, 0, 0, 1], local_port)),
            remote: SocketAddr::from(([10, 0, 0, 2], 80)),
        }
    }

    fn packet(direction: Direction, seq: u32, ack: u32, flags: Flags, payload: usize) -> Vec<u8> {
        from_port(4000, direction, seq, ack, flags, payload)
    }

    fn from_port(
        port: u16,
        direction: Direction,
        seq: u32,
        ack: u32,
        flags: Flags,
        payload: usize,
    ) -> Vec<u8> {
        let packet = Fresh {
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            ..Fresh::new(ends(port), direction)
        };
        let mut out = Vec::new();
        assert!(packet.write(&[&vec![b'x'; payload]], &mut out));
        out
    }

    fn only(table: &Table) -> Entry {
        let entries: Vec<Entry> = table.entries().collect();
        assert_eq!(entries.len(), 1);
        entries[0]
    }

    #[test]
    fn numbers_of_both_sides_are_followed() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        let (plain, wire) = (
            packet(OUT, 100, 500, ACK, 10),
            packet(OUT, 210, 650, ACK, 30),
        );
        table.judged(now, OUT, &plain, Outcome::Replaced(&wire));
        let expected = Entry {
            ends: ends(4000),
            plain_out: Seq(110),
            wire_out: Seq(240),
            plain_in: Seq(500),
            wire_in: Seq(0),
        };
        assert_eq!(only(&table), expected);
        let (wire, plain) = (packet(IN, 650, 240, ACK, 25), packet(IN, 500, 110, ACK, 5));
        table.judged(now, IN, &wire, Outcome::Replaced(&plain));
        let expected = Entry {
            plain_in: Seq(505),
            wire_in: Seq(675),
            ..expected
        };
        assert_eq!(only(&table), expected);
        // What is sent again moves nothing.
        table.judged(now, IN, &wire, Outcome::Replaced(&plain));
        assert_eq!(only(&table), expected);
        table.injected(now, IN, &packet(IN, 505, 110, ACK, 7));
        table.injected(now, OUT, &packet(OUT, 240, 675, ACK, 0));
        let expected = Entry {
            plain_in: Seq(512),
            ..expected
        };
        assert_eq!(only(&table), expected);
    }

    #[test]
    fn plain_connections_are_not_guarded() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        // A SYN that got an option, and one with a lowered MSS.
        let syn = packet(OUT, 100, 0, Flags::SYN, 0);
        table.judged(now, OUT, &syn, Outcome::Replaced(&syn));
        let data = packet(OUT, 101, 500, ACK, 10);
        table.judged(now, OUT, &data, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
        // Half of a handshake, then data as they are.
        let ack = packet(OUT, 101, 500, ACK, 0);
        table.judged(now, OUT, &ack, Outcome::Replaced(&ack));
        assert_eq!(table.entries().count(), 1);
        table.judged(now, OUT, &data, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
    }

    #[test]
    fn connections_leave_when_they_are_reset_or_closed() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        let ack = packet(OUT, 101, 500, ACK, 0);
        let reset = packet(IN, 500, 101, Flags::RST, 0);
        table.judged(now, OUT, &ack, Outcome::Replaced(&ack));
        table.judged(now, IN, &reset, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);

        table.judged(now, OUT, &ack, Outcome::Replaced(&ack));
        let fin = packet(OUT, 101, 500, ACK | Flags::FIN, 0);
        let other_fin = packet(IN, 500, 102, ACK | Flags::FIN, 0);
        table.judged(now, OUT, &fin, Outcome::Replaced(&fin));
        table.judged(now, IN, &other_fin, Outcome::Replaced(&other_fin));
        assert_eq!(only(&table).wire_out, Seq(102));
        let later = now + AFTERLIFE;
        table.judged(later, OUT, &fin, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
        assert_eq!(table.free.len(), 1);
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        for port in 0..=u16::MAX {
            let ack = from_port(port, OUT, 101, 500, ACK, 0);
            table.judged(now, OUT, &ack, Outcome::Replaced(&ack));
        }
        let mut ack = from_port(1, OUT, 101, 500, ACK, 0);
        ack[15] = 99;
        table.judged(now, OUT, &ack, Outcome::Replaced(&ack));
        assert_eq!(table.entries().count(), CONNECTIONS);
    }
}
