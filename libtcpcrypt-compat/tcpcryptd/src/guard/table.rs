//! What the guard has to know of every connection that is encrypted: the next numbers at both ends.
//!
//! The numbers are read off the packets as they leave the daemon, so that the protocol need not know
//! of the guard, and are kept in memory that both processes share: eight words for a connection.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kx_sys::shared_words::SharedWords;
use tcpcrypt_proto::packet::{Direction, Flags, FourTuple, Seq, View};

/// Connections in the table; others are not guarded. Memory is used as they come.
const CONNECTIONS: usize = 1 << 16;
/// Four of addresses, IPv4 in the mapped form; ports, and whether the place is taken; the interface of link-local
/// addresses; numbers of this host's TCP, and of the other's.
const WORDS: usize = 8;
const PORTS: usize = 4;

/// How long closed connections stay, for their last segments.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// What says that a place is taken, in the low half of the word with the ports.
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
        interface: u32,
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
        let ends = after.tuple(direction).on_interface(interface);
        self.expire(now);
        if after.flags().has(Flags::RST) || !replaced && !after.payload().is_empty() {
            // It ended; or it shows data as they are and became plain after all.
            self.remove(ends);
        } else if let Some(entry) = self.entry(ends, replaced && !after.flags().has(Flags::SYN)) {
            // Who acknowledges says in its own numbering what it expects.
            let [.., plain, wire] = entry;
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
    pub fn injected(&mut self, now: Instant, direction: Direction, interface: u32, packet: &[u8]) {
        let Ok(packet) = View::parse(packet) else {
            return;
        };
        let ends = packet.tuple(direction).on_interface(interface);
        if packet.flags().has(Flags::RST) {
            self.remove(ends);
        } else if let Some(entry) = self.entry(ends, !packet.flags().has(Flags::SYN)) {
            let [.., plain, wire] = entry;
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

    /// The words of a connection; made if there are none and `make` says so.
    fn entry(&mut self, ends: FourTuple, make: bool) -> Option<&[AtomicU64; WORDS]> {
        if let Some(place) = self.places.get(&ends) {
            return words(&self.shared, place.index);
        }
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
        let ports = u64::from(ends.local.port()) << 16 | u64::from(ends.remote.port());
        let ([a, b], [c, d]) = (halves(ends.local), halves(ends.remote));
        let interface = u64::from(ends.interface());
        for (word, value) in words.iter().zip([a, b, c, d, 0, interface, 0, 0]) {
            word.store(value, Ordering::Relaxed);
        }
        words[PORTS].store(ports << 32 | u64::from(TAKEN), Ordering::Release);
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
                words[PORTS].store(0, Ordering::Release);
            }
            self.free.push(place.index);
        }
    }
}

fn words(shared: &SharedWords, index: usize) -> Option<&[AtomicU64; WORDS]> {
    let start = index.checked_mul(WORDS)?;
    shared.words().get(start..)?.first_chunk()
}

/// The last word but one is about the TCP of this host, the last about that of the other end. What it has
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

fn halves(end: SocketAddr) -> [u64; 2] {
    let address = match end.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let [high, low] = [address.to_bits() >> 64, address.to_bits()];
    [high, low].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0))
}

fn read(words: &[AtomicU64; WORDS]) -> Option<Entry> {
    // The one that is written last.
    let ports = words[PORTS].load(Ordering::Acquire);
    if ports & u64::from(u32::MAX) == 0 {
        return None;
    }
    let [a, b, c, d, _, interface, plain, wire] =
        words.each_ref().map(|word| word.load(Ordering::Acquire));
    let [p, q, r, s, ..] = ports.to_be_bytes();
    let ends = FourTuple {
        local: end([a, b], u16::from_be_bytes([p, q])),
        remote: end([c, d], u16::from_be_bytes([r, s])),
    };
    let (plain, wire) = (numbers(plain), numbers(wire));
    Some(Entry {
        ends: ends.on_interface(numbers(interface).1.0),
        plain_out: plain.0,
        plain_in: plain.1,
        wire_in: wire.0,
        wire_out: wire.1,
    })
}

fn end([high, low]: [u64; 2], port: u16) -> SocketAddr {
    let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    SocketAddr::new(address.to_canonical(), port)
}

/// The halves of a word.
fn numbers(word: u64) -> (Seq, Seq) {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    let (high, low) = ([a, b, c, d], [e, f, g, h]);
    (Seq(u32::from_be_bytes(high)), Seq(u32::from_be_bytes(low)))
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
        table.judged(now, OUT, 0, &plain, Outcome::Replaced(&wire));
        let expected = Entry {
            ends: ends(4000),
            plain_out: Seq(110),
            wire_out: Seq(240),
            plain_in: Seq(500),
            wire_in: Seq(0),
        };
        assert_eq!(only(&table), expected);
        let (wire, plain) = (packet(IN, 650, 240, ACK, 25), packet(IN, 500, 110, ACK, 5));
        table.judged(now, IN, 0, &wire, Outcome::Replaced(&plain));
        let expected = Entry {
            plain_in: Seq(505),
            wire_in: Seq(675),
            ..expected
        };
        assert_eq!(only(&table), expected);
        // What is sent again moves nothing.
        table.judged(now, IN, 0, &wire, Outcome::Replaced(&plain));
        assert_eq!(only(&table), expected);
        table.injected(now, IN, 0, &packet(IN, 505, 110, ACK, 7));
        table.injected(now, OUT, 0, &packet(OUT, 240, 675, ACK, 0));
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
        table.judged(now, OUT, 0, &syn, Outcome::Replaced(&syn));
        let data = packet(OUT, 101, 500, ACK, 10);
        table.judged(now, OUT, 0, &data, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
        // Half of a handshake, then data as they are.
        let ack = packet(OUT, 101, 500, ACK, 0);
        table.judged(now, OUT, 0, &ack, Outcome::Replaced(&ack));
        assert_eq!(table.entries().count(), 1);
        table.judged(now, OUT, 0, &data, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
    }

    #[test]
    fn connections_leave_when_they_are_reset_or_closed() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        let ack = packet(OUT, 101, 500, ACK, 0);
        let reset = packet(IN, 500, 101, Flags::RST, 0);
        table.judged(now, OUT, 0, &ack, Outcome::Replaced(&ack));
        table.judged(now, IN, 0, &reset, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);

        table.judged(now, OUT, 0, &ack, Outcome::Replaced(&ack));
        let fin = packet(OUT, 101, 500, ACK | Flags::FIN, 0);
        let other_fin = packet(IN, 500, 102, ACK | Flags::FIN, 0);
        table.judged(now, OUT, 0, &fin, Outcome::Replaced(&fin));
        table.judged(now, IN, 0, &other_fin, Outcome::Replaced(&other_fin));
        assert_eq!(only(&table).wire_out, Seq(102));
        let later = now + AFTERLIFE;
        table.judged(later, OUT, 0, &fin, Outcome::Accepted);
        assert_eq!(table.entries().count(), 0);
        assert_eq!(table.free.len(), 1);
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        for port in 0..=u16::MAX {
            let ack = from_port(port, OUT, 101, 500, ACK, 0);
            table.judged(now, OUT, 0, &ack, Outcome::Replaced(&ack));
        }
        let mut ack = from_port(1, OUT, 101, 500, ACK, 0);
        ack[15] = 99;
        table.judged(now, OUT, 0, &ack, Outcome::Replaced(&ack));
        assert_eq!(table.entries().count(), CONNECTIONS);
    }

    #[test]
    fn connections_over_ipv6_have_their_interface() {
        let mut table = Table::new().expect("memory");
        let now = Instant::now();
        for (local, remote, interface) in [
            ("[fe80::1%3]:4000", "[fe80::2%3]:80", 3),
            ("[fe80::1%4]:4000", "[fe80::2%4]:80", 4),
            ("[2001:db8::1]:4000", "[2001:db8:ffff::2]:80", 0),
        ] {
            let ends = FourTuple {
                local: local.parse().expect("an address"),
                remote: remote.parse().expect("an address"),
            };
            let ack = Fresh {
                seq: Seq(101),
                ack: Seq(500),
                ..Fresh::new(ends, OUT)
            };
            let mut packet = Vec::new();
            assert!(ack.write(&[], &mut packet));
            table.judged(now, OUT, interface, &packet, Outcome::Replaced(&packet));
            let entry = table.entries().find(|entry| entry.ends == ends);
            let entry = entry.expect("the connection");
            assert_eq!((entry.wire_out, entry.plain_in), (Seq(101), Seq(500)));
        }
        assert_eq!(table.entries().count(), 3);
    }
}
